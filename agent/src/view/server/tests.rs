//! Clients of all kinds at a real socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream as Client};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::super::question::{Questions, channel};
use super::super::snapshot::Source;
use super::super::tests::Host;
use super::super::{AskError, ask};
use super::*;

/// An agent with nothing but its socket and an event thread.
struct Agent {
    runtime: Runtime,
    server: Option<Server>,
    events: Option<thread::JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    /// How many looks were taken.
    looks: Arc<AtomicUsize>,
    path: PathBuf,
    _dir: TempDir,
}

impl Agent {
    /// One whose event thread takes so long for a look.
    fn start(time: Duration) -> Self {
        Self::start_for(Uid(nix::unistd::geteuid().as_raw()), time)
    }

    fn start_for(user: Uid, time: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/agent.sock");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (asker, questions) = channel().unwrap();
        let server = runtime
            .block_on(async { Server::start_for(&path, "--agent-socket", asker, user) })
            .unwrap();
        let (is_over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let events = thread::spawn({
            let (is_over, looks) = (is_over.clone(), looks.clone());
            move || events(&questions, time, &is_over, &looks)
        });
        let (server, events) = (Some(server), Some(events));
        Self { runtime, server, events, is_over, looks, path, _dir: dir }
    }

    fn connect(&self) -> Client {
        let client = Client::connect(&self.path).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// What is answered to this.
    fn answer(&self, request: &[u8]) -> String {
        let mut client = self.connect();
        // It may be refused before it is read.
        let _ = client.write_all(request);
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer
    }

    fn end_events(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.events.take().unwrap().join().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.finish());
        }
        assert!(!self.path.exists(), "the socket goes with the agent");
    }
}

fn events(questions: &Questions, time: Duration, is_over: &AtomicBool, looks: &AtomicUsize) {
    let host = Host::new();
    while !is_over.load(Ordering::SeqCst) {
        let timeout = PollTimeout::try_from(20_i32).unwrap();
        poll(&mut [PollFd::new(questions.bell(), PollFlags::POLLIN)], timeout).unwrap();
        questions.answer(|| {
            looks.fetch_add(1, Ordering::SeqCst);
            thread::sleep(time);
            host.look()
        });
    }
}

const REQUEST_LINE: &[u8] = b"{\"version\":1,\"ask\":\"snapshot\"}\n";

#[test]
fn the_agent_tells_what_it_knows() {
    let agent = Agent::start(Duration::ZERO);
    let snapshot = ask(&agent.path).unwrap();
    assert_eq!((snapshot.source, snapshot.processes.len()), (Source::Agent, 1));
    let answer = agent.answer(REQUEST_LINE);
    assert!(answer.starts_with("{\"version\":1,\"snapshot\":{\"source\":\"agent\","), "{answer}");
    assert_eq!(answer.matches('\n').count(), 1);
}

#[test]
fn others_than_root_are_neither_read_nor_answered() {
    let agent = Agent::start_for(Uid(nix::unistd::geteuid().as_raw() + 1), Duration::ZERO);
    assert_eq!(agent.answer(REQUEST_LINE), "");
    assert_eq!(agent.looks.load(Ordering::SeqCst), 0);
    assert!(ask(&agent.path).is_err());
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let agent = Agent::start(Duration::ZERO);
    let long = vec![b'x'; 100_000];
    for (request, reason) in [
        (&b"\n"[..], "that is no request"),
        (b"{\"version\":7,\"ask\":\"x\"}\n", "version 7 is not spoken here"),
        (b"{\"version\":1,\"ask\":\"x\"}\n", "nobody knows \\\"x\\\" here"),
        (&long, "the request is longer than 4096 bytes"),
    ] {
        let answer = agent.answer(request);
        // Who writes on after the answer may lose it.
        let is_lost = request.len() > REQUEST && answer.is_empty();
        let expected = format!("{{\"version\":1,\"error\":\"{reason}");
        assert!(is_lost || answer.starts_with(&expected), "{answer}");
    }
    assert_eq!(agent.looks.load(Ordering::SeqCst), 0);
    // One that has said all, without the end of the line.
    let mut client = agent.connect();
    client.write_all(REQUEST_LINE.trim_ascii_end()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("snapshot"), "{answer}");
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_waiting_for_long() {
    let agent = Agent::start(Duration::ZERO);
    let silent: Vec<Client> = (1..CLIENTS).map(|_| agent.connect()).collect();
    // There is room for one more.
    assert!(ask(&agent.path).is_ok());
    let last = agent.connect();
    // It is served once it was accepted.
    thread::sleep(Duration::from_millis(200));
    let error = ask(&agent.path).unwrap_err().to_string();
    assert!(error.ends_with(" refuses: there are too many clients; try again"), "{error}");
    for mut client in silent.into_iter().chain([last]) {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("no request within 5 s"), "{answer}");
    }
    assert!(ask(&agent.path).is_ok());
}

#[test]
fn those_who_ask_meanwhile_share_an_answer() {
    let agent = Agent::start(Duration::from_millis(300));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask(&agent.path).unwrap());
        }
    });
    let looks = agent.looks.load(Ordering::SeqCst);
    assert!((1..=4).contains(&looks), "{looks}");
}

#[test]
fn an_agent_that_ends_says_so() {
    let mut agent = Agent::start(Duration::ZERO);
    agent.end_events();
    let error = ask(&agent.path).unwrap_err().to_string();
    assert!(error.ends_with(" refuses: the agent is ending"), "{error}");
}

/// What is made of an agent that answers like this.
fn asked(answer: &'static [u8]) -> AskError {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; REQUEST_LINE.len()];
        client.read_exact(&mut request).unwrap();
        assert_eq!(request, REQUEST_LINE);
        client.write_all(answer).unwrap();
    });
    let error = ask(&path).unwrap_err();
    agent.join().unwrap();
    error
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for answer in [&b""[..], b"{\"version\":1,\"snapsh", b"{}"] {
        assert!(matches!(asked(answer), AskError::Cut(_)));
    }
    for answer in [&b"\n"[..], b"hello\n", b"{}\n", b"{\"version\":1,\"snapshot\":{}}\n"] {
        assert!(matches!(asked(answer), AskError::Garbage { .. }));
    }
    let other = asked(b"{\"version\":2,\"picture\":{}}\n");
    assert!(matches!(other, AskError::Version { version: 2, .. }));
}

#[test]
fn nobody_there_is_told_from_one_who_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    assert!(matches!(ask(&path), Err(AskError::NoAgent(_))));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(ask(&path), Err(AskError::NoAgent(_))), "one has been killed");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    // To a folder, nobody connects.
    assert!(matches!(ask(&path), Err(AskError::NoAgent(_) | AskError::Ask { .. })));
}
