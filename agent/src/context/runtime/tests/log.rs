//! What is logged: changes, once each.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::time::timeout;
use tracing::subscriber::{set_default, set_global_default};

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of a link that is kept for a while.
fn lines(
    host: &Host,
    time: Duration,
    patience: Duration,
    meanwhile: impl FnOnce() + Send + 'static,
) -> Vec<String> {
    // With no subscriber at all, threads of other tests would have tracing believe that nobody ever
    // wants these lines.
    let nobody = tracing_subscriber::fmt().with_writer(io::sink).with_env_filter("info").finish();
    // Another of these tests may have been first.
    let _ = set_global_default(nobody);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_env_filter("info")
        .finish();
    let guard = set_default(subscriber);
    let link = Link {
        endpoint: Endpoint { scope: host.scope, ..host.endpoint(Protocol::Docker) },
        source: SourceId(1),
        shared: Arc::new(Shared::new(10)),
        host: host.root.path().to_owned(),
        patience,
        service_accounts: false,
        aside: Aside::new(),
        state: State::default(),
    };
    let thread = thread::spawn(meanwhile);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async { timeout(time, link.keep()).await });
    thread.join().unwrap();
    drop(guard);
    assert!(ended.is_err() || host.scope != Scope::Host);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_runtime_that_is_hung_is_told_of_once() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Hung);
    let found = lines(&host, Duration::from_secs(4), Duration::from_millis(100), || ());
    let tries = docker.requests.load(std::sync::atomic::Ordering::Relaxed);
    assert!(tries > 1, "{tries}");
    let expected = "WARN /r.sock: no answer within 100 ms; alerts go without details of its \
                    containers meanwhile";
    assert_eq!(found, [expected]);
}

#[test]
fn absence_is_told_of_if_the_runtime_was_asked_for() {
    let host = Host::new();
    let found = lines(&host, Duration::from_secs(3), Duration::from_secs(2), || ());
    assert_eq!(found, ["WARN there is no runtime at /r.sock; it is looked for until there is"]);
}

#[test]
fn coming_and_going_is_told_of() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    let found = lines(&host, Duration::from_secs(4), Duration::from_secs(2), move || {
        until("followed", || docker.followers() == 1);
        thread::sleep(Duration::from_millis(300));
        docker.kill();
    });
    assert_eq!(
        found,
        ["INFO docker at /r.sock tells of its containers", "INFO the runtime at /r.sock is gone"]
    );
}
