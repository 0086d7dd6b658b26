//! Answers at the agent's socket. Whoever asks is root; all the same nobody can make the agent wait, or have it
//! do more than so much: requests are short, clients few, and all who ask at a time share one answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shrike_common::Uid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::protocol::{Answer, Reply, Request};
use super::question::Asker;
use super::snapshot::Snapshot;
use crate::socket::Socket;

/// How many clients there may be at a time.
const CLIENTS: usize = 16;

/// The longest request, in bytes.
const REQUEST: usize = 4096;

/// How long a client may take to write its request.
const WRITING: Duration = Duration::from_secs(5);

/// How long a client may take to read its answer.
const READING: Duration = Duration::from_secs(10);

/// The least time between two looks at the tables.
const PAUSE: Duration = Duration::from_millis(50);

/// An answer, for all who have asked.
type Line = Arc<Vec<u8>>;

/// Who waits for one.
type Waiting = oneshot::Sender<Line>;

/// What serves the socket.
pub(crate) struct Server {
    tasks: [JoinHandle<()>; 2],
}

impl Server {
    /// Starts to listen at `path`, for clients of root. Must be called within the async runtime.
    pub(crate) fn start(path: &Path, option: &str, asker: Asker) -> anyhow::Result<Self> {
        Self::start_for(path, option, asker, Uid(0))
    }

    fn start_for(path: &Path, option: &str, asker: Asker, user: Uid) -> anyhow::Result<Self> {
        let socket = Socket::bind(path, option)?;
        let (wanted, queue) = mpsc::channel(CLIENTS);
        let tasks =
            [tokio::spawn(answer(asker, queue)), tokio::spawn(listen(socket, wanted, user))];
        Ok(Self { tasks })
    }

    /// Ends it, and removes the socket.
    pub(crate) async fn finish(self) {
        for task in self.tasks {
            task.abort();
            // That it was aborted is no news.
            let _ = task.await;
        }
    }
}

/// Takes clients.
async fn listen(socket: Socket, wanted: mpsc::Sender<Waiting>, user: Uid) {
    let slots = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let client = match socket.accept().await {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!("cannot accept a client of the agent's socket: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        match client.peer_cred() {
            Ok(peer) if peer.uid() == user.0 => {}
            Ok(peer) => {
                tracing::warn!("refused a client of the agent's socket, user {}", peer.uid());
                continue;
            }
            Err(error) => {
                tracing::warn!("refused a client of the agent's socket: {error}");
                continue;
            }
        }
        match slots.clone().try_acquire_owned() {
            Ok(slot) => drop(tokio::spawn(serve(client, wanted.clone(), slot))),
            Err(_) => {
                // What does not fit into its buffer is not waited for.
                let _ = client.try_write(&error("there are too many clients; try again"));
            }
        }
    }
}

/// Serves one client.
async fn serve(mut client: UnixStream, wanted: mpsc::Sender<Waiting>, _slot: OwnedSemaphorePermit) {
    let line = match timeout(WRITING, request(&mut client)).await {
        Ok(Ok(request)) => match Request::check(&request) {
            Ok(()) => ask(&wanted).await,
            Err(refusal) => Arc::new(error(&refusal)),
        },
        Ok(Err(Failure::TooLong)) => {
            Arc::new(error(&format!("the request is longer than {REQUEST} bytes")))
        }
        Ok(Err(Failure::Gone)) => return,
        Err(_) => Arc::new(error(&format!("no request within {} s", WRITING.as_secs()))),
    };
    // Its loss, if it does not read.
    let _ = timeout(READING, client.write_all(&line)).await;
}

/// Why there is no request.
enum Failure {
    TooLong,
    /// The client has gone.
    Gone,
}

/// Reads a line.
async fn request(client: &mut UnixStream) -> Result<Vec<u8>, Failure> {
    let mut request = Vec::new();
    let mut limited = client.take(REQUEST as u64);
    loop {
        let read = limited.read_buf(&mut request).await.map_err(|_| Failure::Gone)?;
        if let Some(end) = request.iter().position(|&byte| byte == b'\n') {
            request.truncate(end);
            return Ok(request);
        }
        match read {
            0 if request.len() >= REQUEST => return Err(Failure::TooLong),
            // It has said all that it has to say.
            0 if request.is_empty() => return Err(Failure::Gone),
            0 => return Ok(request),
            _ => {}
        }
    }
}

async fn ask(wanted: &mpsc::Sender<Waiting>) -> Line {
    let (waiting, answer) = oneshot::channel();
    let _ = wanted.send(waiting).await;
    answer.await.unwrap_or_else(|_| Arc::new(error("the agent is ending")))
}

/// Makes one answer at a time; those who ask meanwhile share the next one.
async fn answer(mut asker: Asker, mut queue: mpsc::Receiver<Waiting>) {
    let mut all = Vec::new();
    while queue.recv_many(&mut all, CLIENTS).await > 0 {
        let line = match asker.look().await {
            Ok(look) => {
                let work = move || {
                    let snapshot = Snapshot::of(&look, Timestamp::now());
                    Reply::line(Answer::Snapshot(Box::new(snapshot)))
                };
                // It takes a while, and others wait for this thread.
                let line = tokio::task::spawn_blocking(work).await;
                line.unwrap_or_else(|_| error("the agent has failed to answer"))
            }
            Err(silence) => error(&silence),
        };
        let line = Arc::new(line);
        for waiting in all.drain(..) {
            let _ = waiting.send(line.clone());
        }
        sleep(PAUSE).await;
    }
}

fn error(reason: &(impl ToString + ?Sized)) -> Vec<u8> {
    Reply::line(Answer::Error(reason.to_string()))
}

#[cfg(test)]
mod tests;
