//! A Unix socket for programs of this host: whoever connects is sent each alert from then on, one
//! JSON object a line. Only root may connect.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::task::JoinHandle;

use super::Inbox;
use crate::alert::Alert;
use crate::metrics::AlertLoss;
use crate::socket::Socket;

/// How many alerts a client may be behind.
const BACKLOG: usize = 1024;

/// Starts to listen at `path`. Must be called within the async runtime.
pub(super) fn start(inbox: Inbox, path: &Path) -> anyhow::Result<JoinHandle<()>> {
    let socket = Socket::bind(path, "--socket")?;
    Ok(tokio::spawn(serve(inbox, socket)))
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
            client = socket.accept() => match client {
                Ok(client) => {
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
    use std::os::unix::net::UnixStream as Client;
    use std::time::Duration;

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
        sinks.send(&Arc::new(alert("Before")));
        let first_line = |client: Client| {
            tokio::task::spawn_blocking(move || {
                let mut line = String::new();
                BufReader::new(client).read_line(&mut line).unwrap();
                line
            })
        };
        let clients: Vec<_> = (0..2).map(|_| first_line(Client::connect(&path).unwrap())).collect();
        // A client is served once it was accepted, which nobody tells.
        while clients.iter().any(|client| !client.is_finished()) {
            sinks.send(&Arc::new(alert("After")));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for client in clients {
            let line = client.await.unwrap();
            assert!(line.contains("\"rule\":\"After\""), "{line}");
        }
        drop(sinks);
        task.await.unwrap();
        assert!(!path.exists(), "the socket goes with the agent");
    }
}
