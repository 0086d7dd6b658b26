//! Removes what an agent leaves behind: that the next one finds it is wanted, unless there is to be none.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::alive;
use crate::launcher;
use crate::sensor::{Pins, PinsError};

/// Where an agent leaves something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    /// What is pinned in the kernel.
    pub(crate) pins: &'a Path,
    /// Its marks.
    pub(crate) state: &'a Path,
    /// The sockets of its alerts, and of what runs.
    pub(crate) sockets: [&'a Path; 2],
}

/// Removes all of it, and returns what that was. An agent that runs is left alone.
pub(crate) fn run(places: &Places<'_>) -> anyhow::Result<Vec<PathBuf>> {
    for socket in places.sockets {
        if UnixStream::connect(socket).is_ok() {
            bail!("an agent listens at {}; stop it first", socket.display());
        }
    }
    let mut removed = match Pins::find(places.pins) {
        Ok(Some(pins)) => pins.clean_up().context("cannot remove what is pinned")?,
        Ok(None) => Vec::new(),
        Err(PinsError::InUse(dir)) => bail!("an agent uses {}; stop it first", dir.display()),
        Err(error) => return Err(error).context("cannot remove what is pinned"),
    };
    let [alerts, agent] = places.sockets;
    for file in [&places.state.join(alive::FILE), alerts, agent] {
        if gone(fs::remove_file(file), file)? {
            removed.push(file.to_owned());
        }
    }
    removed.extend(launcher::clean_up(false).context("cannot remove what containers have left")?);
    // What else is in there is somebody else's; and it may be where a host's folder is mounted.
    if fs::remove_dir(places.state).is_ok() {
        removed.push(places.state.to_owned());
    }
    Ok(removed)
}

/// Whether it was removed; it need not have been there.
fn gone(outcome: io::Result<()>, path: &Path) -> anyhow::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn removes_what_is_there_and_nothing_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let (pins, state) = (dir.path().join("pins"), dir.path().join("state"));
        let sockets = ["alerts.sock", "agent.sock"].map(|name| dir.path().join(name));
        let places = Places { pins: &pins, state: &state, sockets: [&sockets[0], &sockets[1]] };
        assert_eq!(run(&places).unwrap(), [] as [PathBuf; 0]);

        fs::create_dir(&state).unwrap();
        fs::write(state.join("alive"), "").unwrap();
        fs::write(state.join("other"), "").unwrap();
        for socket in &sockets {
            let listener = UnixListener::bind(socket).unwrap();
            let error = run(&places).unwrap_err().to_string();
            assert!(error.starts_with("an agent listens at "), "{error}");
            drop(listener);
        }
        let [alerts, agent] = sockets.clone();
        assert_eq!(run(&places).unwrap(), [state.join("alive"), alerts, agent]);
        assert!(state.join("other").exists());
    }
}
