//! A Unix socket for programs of this host: whoever connects is sent each alert from then on, one
//! JSON object a line. Only root may connect.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream as Client;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::task::JoinHandle;

use super::{FAREWELL, Inbox};
use crate::alert::Alert;
use crate::metrics::AlertLoss;

/// How many alerts a client may be behind.
const BACKLOG: usize = 1024;

/// Starts to listen at `path`. Must be called within the async runtime.
pub(super) fn start(inbox: Inbox, path: &Path) -> anyhow::Result<JoinHandle<()>> {
    let socket = Socket::bind(path)?;
    Ok(tokio::spawn(serve(inbox, socket)))
}

/// The socket with its name in the file system, which goes with it.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    fn bind(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot listen at {}; choose another --socket", path.display());
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if is_in_use(path) {
                    bail!("another agent listens at {}; choose another --socket", path.display());
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
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Whether somebody listens, and goes on to. An agent that was killed takes a while to be gone:
/// the kernel first detaches its probes.
fn is_in_use(path: &Path) -> bool {
    let deadline = Instant::now() + FAREWELL;
    while Client::connect(path).is_ok() {
        if Instant::now() > deadline {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

async fn serve(mut inbox: Inbox, socket: Socket) {
    let (sender, _) = broadcast::channel::<Arc<Alert>>(BACKLOG);
    loop {
        tokio::select! {
            alert = inbox.receiver.recv() => {
                let Some(alert) = alert else { return };
                // Fails if nobody listens, which is no loss.
                let _ = sender.send(alert);
                inbox.done();
            }
            client = socket.listener.accept() => match client {
                Ok((client, _)) => {
                    let lost = inbox.losses();
                    tokio::spawn(follow(client, sender.subscribe(), lost));
                }
                Err(error) => tracing::warn!("cannot accept a client of the alerts: {error}"),
            },
        }
    }
}

/// Sends alerts to one client until either side ends.
async fn follow(mut client: UnixStream, mut alerts: Receiver<Arc<Alert>>, lost: impl Fn(u64)) {
    loop {
        let line = match alerts.recv().await {
            Ok(alert) => alert.to_json() + "\n",
            Err(RecvError::Lagged(count)) => {
                tracing::warn!("a client of the alerts is too slow: {count} were not sent to it");
                lost(count);
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        if client.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Inbox {
    /// Counts alerts that a client has missed.
    fn losses(&self) -> impl Fn(u64) + Send + 'static {
        let (metrics, name) = (self.metrics.clone(), self.name.clone());
        move |count| metrics.alerts_lost(&name, AlertLoss::QueueFull, count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::alert::tests::alert;
    use crate::metrics::Metrics;
    use crate::sink::Sinks;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn every_client_gets_every_alert_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/alerts.sock");
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut sinks = Sinks { queues: Vec::new(), metrics: metrics.clone() };
        let inbox = sinks.open("socket");
        let task = start(inbox, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        sinks.send(&Arc::new(alert("Before")));
        let clients: Vec<_> = (0..2).map(|_| Client::connect(&path).unwrap()).collect();
        // A client is served once it was accepted.
        tokio::time::sleep(Duration::from_millis(200)).await;
        sinks.send(&Arc::new(alert("After")));
        for client in clients {
            let mut line = String::new();
            BufReader::new(client).read_line(&mut line).unwrap();
            assert!(line.contains("\"rule\":\"After\""), "{line}");
        }
        drop(sinks);
        task.await.unwrap();
        assert!(!path.exists(), "the socket goes with the agent");
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_taken_over_but_not_one_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.sock");
        let abandoned = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(abandoned);
        let socket = Socket::bind(&path).unwrap();
        let error = Socket::bind(&path).err().unwrap().to_string();
        assert!(error.starts_with("another agent listens at "), "{error}");
        drop(socket);
    }
}
