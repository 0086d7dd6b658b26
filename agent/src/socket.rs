//! Unix sockets at which the agent is to be reached by programs of this host. Only root may connect.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream as Client;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::{UnixListener, UnixStream};

/// How long a former agent may go on listening: one that was killed takes a while to be gone, as the kernel
/// first detaches its probes.
const GRACE: Duration = Duration::from_secs(5);

/// A socket with its name in the file system, which goes with it.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, which `option` has given. Must be called within the async runtime.
    pub(crate) fn bind(path: &Path, option: &str) -> anyhow::Result<Self> {
        let failed = || format!("cannot listen at {}; choose another {option}", path.display());
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if is_in_use(path) {
                    bail!("another agent listens at {}; choose another {option}", path.display());
                }
                // An agent that was killed has left it behind.
                fs::remove_file(path).and_then(|()| UnixListener::bind(path))
            }
            bound => bound,
        };
        let listener = listener.with_context(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).with_context(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Waits for the next client.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(client, _)| client)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Whether somebody listens, and goes on to.
fn is_in_use(path: &Path) -> bool {
    let deadline = Instant::now() + GRACE;
    while Client::connect(path).is_ok() {
        if Instant::now() > deadline {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_was_left_behind_is_taken_over_but_not_one_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/alerts.sock");
        fs::create_dir(dir.path().join("run")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&path, "--socket").unwrap();
        let error = Socket::bind(&path, "--socket").err().unwrap().to_string();
        assert!(error.starts_with("another agent listens at "), "{error}");
        assert!(error.ends_with("; choose another --socket"), "{error}");
        drop(socket);
        assert!(!path.exists(), "it goes with the agent");
    }

    #[tokio::test]
    async fn only_root_may_connect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/agent.sock");
        let _socket = Socket::bind(&path, "--agent-socket").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
