//! Asks the agent that runs.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Answer, Reply, Request, VERSION};
use super::snapshot::Snapshot;

/// How long the agent may say nothing: a little longer than it waits itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest answer: many times what the largest host has.
const LONGEST: u64 = 1 << 30;

/// Why there is no snapshot of the agent's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It may not be running.
    #[error("no agent listens at {}", .0.display())]
    NoAgent(PathBuf),
    #[error("only root may ask the agent at {}; try again with sudo", .0.display())]
    NotRoot(PathBuf),
    #[error("cannot ask the agent at {}", path.display())]
    Ask { path: PathBuf, source: io::Error },
    #[error("the agent at {} has said nothing for {} s", .0.display(), PATIENCE.as_secs())]
    Silent(PathBuf),
    #[error("the agent at {} has ended before its answer did", .0.display())]
    Cut(PathBuf),
    #[error("the agent at {} speaks version {version} of the protocol, this is version {VERSION}; \
             use the agent's own `shrike`", path.display())]
    Version { path: PathBuf, version: u64 },
    #[error("the answer of the agent at {} makes no sense", path.display())]
    Garbage { path: PathBuf, source: serde_json::Error },
    #[error("the agent at {} refuses: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
}

/// Asks the agent at `path` for a snapshot.
pub(crate) fn ask(path: &Path) -> Result<Snapshot, AskError> {
    let here = || path.to_owned();
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::Silent(here()),
        _ => AskError::Ask { path: here(), source },
    };
    let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NoAgent(here()),
        ErrorKind::PermissionDenied => AskError::NotRoot(here()),
        _ => failed(error),
    })?;
    let answer = exchange(stream).map_err(failed)?;
    let Some(line) = answer.strip_suffix(b"\n") else { return Err(AskError::Cut(here())) };
    match serde_json::from_slice(line) {
        Ok(Reply { version: VERSION, answer: Answer::Snapshot(snapshot) }) => Ok(*snapshot),
        Ok(Reply { version: VERSION, answer: Answer::Error(reason) }) => {
            Err(AskError::Refused { path: here(), reason })
        }
        Ok(Reply { version, .. }) => {
            Err(AskError::Version { path: here(), version: version.into() })
        }
        Err(source) => Err(match version(line) {
            Some(version) if version != u64::from(VERSION) => {
                AskError::Version { path: here(), version }
            }
            _ => AskError::Garbage { path: here(), source },
        }),
    }
}

fn exchange(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(&Request::snapshot())?;
    request.push(b'\n');
    // One that has too many clients answers before it has read anything, and closes.
    let written = stream.write_all(&request);
    let mut answer = Vec::new();
    match stream.take(LONGEST).read_to_end(&mut answer) {
        // It is all there.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => {}
        read => drop(read?),
    }
    if answer.is_empty() {
        written?;
    }
    Ok(answer)
}

/// The version of an answer, whatever else is in it.
fn version(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(line).ok()?.get("version")?.as_u64()
}
