mod log;
pub(crate) mod server;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use super::details::{HostNamespaces, Mount};
use super::*;
use server::{Fake, Manner};

/// A container with a number.
pub(crate) fn key(number: usize) -> Key {
    let id = format!("{:0>16x}{number:0>48x}", number.swap_bytes());
    Key { scope: Scope::Host, id: Id::parse(id.as_bytes()).unwrap() }
}

/// What could be said of it.
pub(crate) fn details(name: &str) -> Details {
    Details {
        name: name.to_owned(),
        privileged: Some(false),
        started: Some("2026-11-30T10:00:00Z".parse().unwrap()),
        ..Details::of(Family::Docker)
    }
}

/// A host with a socket, whose runtime is this process' user's.
pub(crate) struct Host {
    root: TempDir,
    pub(crate) scope: Scope,
}

impl Host {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let uid = fs::metadata(root.path()).unwrap().uid();
        Self { root, scope: if uid == 0 { Scope::Host } else { Scope::User(uid) } }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.path().join("r.sock")
    }

    pub(crate) fn endpoint(&self, protocol: Protocol) -> Endpoint {
        Endpoint { protocol, path: "/r.sock".into(), scope: self.scope, is_asked_for: true }
    }

    pub(crate) fn start(&self, protocol: Protocol) -> Directory {
        self.start_with(self.endpoint(protocol), CONTAINERS, Duration::from_secs(30))
    }

    /// With little patience.
    fn start_hasty(&self, protocol: Protocol) -> Directory {
        self.start_with(self.endpoint(protocol), CONTAINERS, Duration::from_secs(1))
    }

    fn start_with(&self, endpoint: Endpoint, containers: usize, patience: Duration) -> Directory {
        let config = Config {
            host: self.root.path().to_owned(),
            endpoints: vec![endpoint],
            discover: false,
            patience,
            containers,
            ..Config::default()
        };
        Directory::start(&config).unwrap()
    }

    pub(crate) fn key(&self, number: usize) -> Key {
        Key { scope: self.scope, ..key(number) }
    }
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn name(directory: &Directory, key: Key) -> Option<String> {
    directory.get(&key).map(|details| details.name.clone())
}

fn connected(directory: &Directory) -> u64 {
    directory.counters().connected(Family::Docker)
}

/// Whether there was this failure yet, and no other.
fn only(directory: &Directory, reason: Reason) -> bool {
    let failures = |reason| directory.counters().failures(reason);
    let others: Vec<_> =
        Reason::ALL.into_iter().filter(|&other| other != reason && failures(other) > 0).collect();
    assert_eq!(others, [], "instead of {reason:?}");
    failures(reason) > 0
}

/// Whether a runtime is asked. How soon it answers is up to the machine.
fn is_asked(directory: &Directory, runtime: Runtime, key: Key) -> bool {
    matches!(directory.want(runtime, key), Want::Asked | Want::Slow)
}

#[test]
fn what_runs_is_known_before_its_first_event() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    docker.add(key(1).id, "first");
    let directory = host.start(Protocol::Docker);
    until("listed", || directory.get(&host.key(1)).is_some());
    let found = directory.get(&host.key(1)).unwrap();
    assert_eq!(found.name, "first");
    assert_eq!((found.image.tag.as_str(), found.image.digest.as_str()), ("1", "sha256:7"));
    assert_eq!(directory.want(Runtime::Docker, host.key(1)), Want::Known);

    docker.add(key(2).id, "second");
    docker.tell("start", key(2).id);
    until("told of", || directory.get(&host.key(2)).is_some());
    docker.add(key(2).id, "renamed");
    docker.tell("rename", key(2).id);
    until("renamed", || name(&directory, host.key(2)).as_deref() == Some("renamed"));
}

#[test]
fn what_an_event_came_from_is_asked_for() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    let directory = host.start(Protocol::Docker);
    assert_eq!(directory.want(Runtime::Docker, host.key(1)), Want::Unowned);
    until("connected", || directory.owner(Runtime::Docker, host.scope));
    assert!(!directory.owner(Runtime::Podman, host.scope));
    assert!(!directory.owner(Runtime::Docker, Scope::User(12_345)));
    assert_eq!(directory.want(Runtime::Podman, host.key(1)), Want::Unowned);

    docker.add(key(1).id, "new");
    assert!(is_asked(&directory, Runtime::Docker, host.key(1)));
    until("answered", || directory.get(&host.key(1)).is_some());
    assert!(is_asked(&directory, Runtime::Unknown, host.key(2)));
    until("denied", || directory.want(Runtime::Unknown, host.key(2)) == Want::Absent);
    until("settled", || directory.waiting() == 0);
    let counters = directory.counters();
    assert_eq!((counters.wants.value(), counters.absent.value()), (2, 1));
}

#[test]
fn a_runtime_that_never_answers_is_no_owner() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Hung);
    let directory = host.start_hasty(Protocol::Docker);
    until("asked", || docker.requests.load(std::sync::atomic::Ordering::Relaxed) > 0);
    let start = Instant::now();
    for number in 0..1000 {
        assert_eq!(directory.want(Runtime::Docker, host.key(number)), Want::Unowned);
    }
    println!("asking in vain takes {:?}", start.elapsed() / 1000);
    until("given up", || directory.counters().failures(Reason::Hung) > 0);
    assert_eq!((connected(&directory), directory.waiting()), (0, 0));
}

#[test]
fn no_alert_waits_for_a_runtime_that_got_stuck() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::HungAtContainers);
    let directory = host.start_hasty(Protocol::Docker);
    until("connected", || directory.owner(Runtime::Docker, host.scope));
    for number in 0..3000 {
        let want = directory.want(Runtime::Docker, host.key(number));
        assert!(matches!(want, Want::Asked | Want::Slow | Want::Refused), "{want:?}");
    }
    until("noticed", || !directory.owner(Runtime::Docker, host.scope));
    assert_eq!(directory.want(Runtime::Docker, host.key(5000)), Want::Slow);
    until("given up", || directory.counters().failures(Reason::Hung) > 0);
    // Whoever did not answer has not said no.
    assert_eq!(directory.counters().absent.value(), 0);
    assert_ne!(directory.want(Runtime::Docker, host.key(0)), Want::Absent);
    // It still lists, and comes back.
    *docker.manner.lock().unwrap() = Manner::Well;
    docker.add(key(6000).id, "late");
    until("prompt again", || directory.owner(Runtime::Docker, host.scope));
    directory.want(Runtime::Docker, host.key(6000));
    until("known", || {
        directory.want(Runtime::Docker, host.key(6000));
        directory.get(&host.key(6000)).is_some()
    });
}

#[test]
fn a_slow_runtime_is_heard_in_the_end() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Slow(Duration::from_millis(500)));
    docker.add(key(1).id, "first");
    let directory = host.start(Protocol::Docker);
    until("known", || name(&directory, host.key(1)).as_deref() == Some("first"));
    assert!(!directory.owner(Runtime::Docker, host.scope));
}

#[test]
fn garbage_cuts_and_floods_are_told_apart() {
    for (manner, reason) in [
        (Manner::Garbage, Reason::Garbage),
        (Manner::Cut, Reason::Closed),
        (Manner::Huge, Reason::TooLarge),
    ] {
        let host = Host::new();
        let _docker = Fake::docker(&host.socket(), manner);
        let directory = host.start(Protocol::Docker);
        until("failed", || only(&directory, reason));
        assert_eq!(connected(&directory), 0);
    }
}

#[test]
fn a_runtime_that_comes_back_is_connected_again() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    docker.add(key(1).id, "before");
    let directory = host.start(Protocol::Docker);
    until("known", || directory.get(&host.key(1)).is_some());
    docker.kill();
    until("lost", || connected(&directory) == 0);
    assert_eq!(name(&directory, host.key(1)).as_deref(), Some("before"));
    assert_eq!(directory.want(Runtime::Docker, host.key(2)), Want::Unowned);

    let docker = Fake::docker(&host.socket(), Manner::Well);
    docker.add(key(1).id, "after");
    docker.add(key(2).id, "made meanwhile");
    until("known", || directory.get(&host.key(2)).is_some());
    until("asked anew", || name(&directory, host.key(1)).as_deref() == Some("after"));
    assert_eq!(directory.counters().connections(Family::Docker), 2);
}

#[test]
fn events_that_end_are_followed_again() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    let directory = host.start(Protocol::Docker);
    until("connected", || docker.followers() == 1 && connected(&directory) == 1);
    docker.end_events();
    docker.add(key(1).id, "untold");
    until("listed", || directory.get(&host.key(1)).is_some());
    until("followed", || docker.followers() == 1);
    docker.add(key(2).id, "told");
    docker.tell("start", key(2).id);
    until("told of", || directory.get(&host.key(2)).is_some());
    assert_eq!(directory.counters().connections(Family::Docker), 1);
}

#[test]
fn without_events_there_are_lists() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::NoEvents);
    let directory = host.start(Protocol::Docker);
    until("connected", || connected(&directory) == 1);
    docker.add(key(1).id, "listed");
    until("listed", || directory.get(&host.key(1)).is_some());
    // Of what ended the lists tell too.
    let ends = || directory.shared.cache.ends(&host.key(1));
    assert!(!ends());
    docker.remove(key(1).id);
    until("ended", ends);
}

#[test]
fn a_thousand_containers_have_a_bound() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    for number in 0..1000 {
        docker.add(key(number).id, "c");
    }
    let directory = host.start_with(host.endpoint(Protocol::Docker), 100, Duration::from_secs(30));
    let (room, refused) = if host.scope == Scope::Host { (100, 900) } else { (50, 950) };
    until("full", || directory.known() == room);
    until("refused", || directory.counters().overflown.value() == refused);
}

#[test]
fn one_that_cannot_be_asked_for_is_left_alone_ever_longer() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::RefusingContainers);
    docker.add(key(1).id, "c");
    let directory = host.start(Protocol::Docker);
    let start = Instant::now();
    let refused = || directory.counters().failures(Reason::Refused);
    // Though there are events of it all the time.
    while start.elapsed() < Duration::from_secs(5) {
        directory.want(Runtime::Docker, host.key(1));
        thread::sleep(Duration::from_millis(10));
    }
    assert!((2..6).contains(&refused()), "{}", refused());
    *docker.manner.lock().unwrap() = Manner::Well;
    until("known", || directory.get(&host.key(1)).is_some());
}

#[test]
fn what_is_known_is_told_without_the_rest() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Partly);
    docker.add(key(1).id, "c");
    let directory = host.start(Protocol::Docker);
    until("known", || directory.get(&host.key(1)).is_some());
    let digest = || directory.get(&host.key(1)).unwrap().image.digest.clone();
    assert_eq!((name(&directory, host.key(1)).as_deref(), &*digest()), (Some("c"), ""));
    assert!(only(&directory, Reason::Refused));
    // It is asked for again.
    *docker.manner.lock().unwrap() = Manner::Well;
    until("whole", || digest() == "sha256:7");
}

#[test]
fn a_container_is_told_of_without_its_pod() {
    let host = Host::new();
    let _server = server::cri(&host.socket(), key(1).id, key(2).id, Manner::Partly);
    let directory = host.start(Protocol::Cri);
    until("known", || directory.get(&host.key(2)).is_some());
    let found = directory.get(&host.key(2)).unwrap();
    assert_eq!((&*found.name, &found.pod, found.sandbox), ("web", &None, None));
    assert!(directory.counters().failures(Reason::Refused) > 0);
}

#[test]
fn a_name_is_no_id() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    docker.add(key(1).id, &key(2).id.to_string());
    let directory = host.start(Protocol::Docker);
    until("known", || directory.get(&host.key(1)).is_some());
    until("denied", || directory.want(Runtime::Docker, host.key(2)) == Want::Absent);
}

#[test]
fn one_that_another_runtime_knows_is_not_absent() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    let other = host.path().join("other.sock");
    let slow = Fake::docker(&other, Manner::Well);
    let endpoint = host.endpoint(Protocol::Docker);
    let config = Config {
        host: host.path().to_owned(),
        endpoints: vec![endpoint.clone(), Endpoint { path: "/other.sock".into(), ..endpoint }],
        discover: false,
        ..Config::default()
    };
    let directory = Directory::start(&config).unwrap();
    until("connected", || connected(&directory) == 2);
    docker.add(key(1).id, "c");
    *slow.manner.lock().unwrap() = Manner::Slow(Duration::from_millis(200));
    assert!(is_asked(&directory, Runtime::Docker, host.key(1)));
    until("known", || directory.get(&host.key(1)).is_some());
    // Asked later, answered later.
    assert!(is_asked(&directory, Runtime::Docker, host.key(2)));
    until("denied", || directory.want(Runtime::Docker, host.key(2)) == Want::Absent);
    assert_eq!(directory.counters().absent.value(), 1);
}

#[test]
fn a_runtime_without_containers_is_no_failure_again_and_again() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Unsupported);
    for (is_asked_for, more) in [(false, false), (true, true)] {
        let endpoint = Endpoint { is_asked_for, ..host.endpoint(Protocol::Docker) };
        let requests = || docker.requests.load(std::sync::atomic::Ordering::Relaxed);
        let before = requests();
        let directory = host.start_with(endpoint, CONTAINERS, Duration::from_secs(30));
        until("tried", || requests() >= before + 4);
        let failures = directory.counters().failures(Reason::Unsupported);
        assert_eq!(failures > 1, more, "{failures}");
    }
}

#[test]
fn whoever_is_not_the_owner_is_told_nothing() {
    let host = Host::new();
    let docker = Fake::docker(&host.socket(), Manner::Well);
    let endpoint = Endpoint { scope: Scope::User(12_345), ..host.endpoint(Protocol::Docker) };
    let directory = host.start_with(endpoint, CONTAINERS, Duration::from_secs(30));
    until("refused", || directory.counters().failures(Reason::Impostor) > 0);
    assert_eq!(docker.requests.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_pod_over_cri() {
    let host = Host::new();
    let (sandbox, container) = (host.key(1), host.key(2));
    let _server = server::cri(&host.socket(), sandbox.id, container.id, Manner::Well);
    let directory = host.start(Protocol::Cri);
    until("known", || directory.get(&container).is_some() && directory.get(&sandbox).is_some());
    let pod = Arc::new(Pod {
        name: "cart".to_owned(),
        namespace: "shop".to_owned(),
        uid: "u-1".to_owned(),
        labels: [("app".to_owned(), "cart".to_owned())].into(),
    });
    let namespaces = HostNamespaces { network: Some(true), pid: Some(false), ipc: Some(false) };
    let expected = Details {
        family: Family::Containerd,
        name: "web".to_owned(),
        image: Image {
            name: "nginx:1".to_owned(),
            repository: "nginx".to_owned(),
            tag: "1".to_owned(),
            digest: "sha256:7".to_owned(),
            id: "sha256:9".to_owned(),
        },
        labels: [("a".to_owned(), "b".to_owned())].into(),
        mounts: vec![Mount {
            source: "/var/data".to_owned(),
            destination: "/data".to_owned(),
            mode: String::new(),
            is_writable: false,
            propagation: "rslave".to_owned(),
        }],
        privileged: Some(true),
        started: Some("1970-01-01T00:00:02Z".parse().unwrap()),
        restarts: 3,
        host: namespaces,
        pod: Some(pod.clone()),
        service_account: None,
        sandbox: Some(sandbox.id),
        is_sandbox: false,
        is_cut: false,
    };
    assert_eq!(*directory.get(&container).unwrap(), expected);
    let found = directory.get(&sandbox).unwrap();
    assert_eq!((found.is_sandbox, found.host), (true, namespaces));
    assert_eq!((&found.pod, found.privileged), (&Some(pod), Some(false)));
    assert!(is_asked(&directory, Runtime::Containerd, host.key(3)));
    until("denied", || directory.want(Runtime::Containerd, host.key(3)) == Want::Absent);
}

#[test]
fn what_starts_is_told_over_cri() {
    for (manner, family) in
        [(Manner::Telling, Family::Containerd), (Manner::TellingAsCriO, Family::CriO)]
    {
        let host = Host::new();
        let _server = server::cri(&host.socket(), key(1).id, key(2).id, manner);
        let directory = host.start(Protocol::Cri);
        until("told of", || directory.get(&host.key(2)).is_some());
        assert_eq!(directory.get(&host.key(2)).unwrap().family, family);
    }
}

#[test]
fn a_restart_is_noticed_over_cri() {
    let host = Host::new();
    let server = server::cri(&host.socket(), key(1).id, key(2).id, Manner::Telling);
    let directory = host.start(Protocol::Cri);
    until("known", || directory.get(&host.key(2)).is_some());
    drop(server);
    let _server = server::cri(&host.socket(), key(1).id, key(3).id, Manner::Well);
    until("known", || directory.get(&host.key(3)).is_some());
    assert!(directory.get(&host.key(2)).is_some());
    let counters = directory.counters();
    let connected = counters.connected(Family::Containerd);
    assert_eq!((connected, counters.connections(Family::Containerd)), (1, 2));
    assert!(counters.failures(Reason::Closed) > 0);
}

#[test]
fn cri_that_does_not_work() {
    for (manner, reason) in [
        (Manner::Hung, Reason::Hung),
        (Manner::Garbage, Reason::Garbage),
        (Manner::Huge, Reason::TooLarge),
    ] {
        let host = Host::new();
        let _server = server::cri(&host.socket(), key(1).id, key(2).id, manner);
        let directory = match manner {
            Manner::Hung => host.start_hasty(Protocol::Cri),
            _ => host.start(Protocol::Cri),
        };
        // If the connection is found broken before a question was sent, its reason is lost.
        let is_lost =
            || reason == Reason::Garbage && directory.counters().failures(Reason::Closed) > 0;
        until("failed", || is_lost() || only(&directory, reason));
        assert_eq!(directory.counters().connected(Family::Containerd), 0);
    }
}

#[test]
fn users_are_believed_of_their_own_containers_only() {
    let host = Host::new();
    let folder = host.root.path().join("run/user/4242/podman");
    fs::create_dir_all(&folder).unwrap();
    // Served by another than user 4242.
    let docker = Fake::docker(&folder.join("podman.sock"), Manner::Well);
    docker.add(key(1).id, "claimed");
    let config = Config { host: host.root.path().to_owned(), ..Config::default() };
    let directory = Directory::start(&config).unwrap();
    until("refused", || directory.counters().failures(Reason::Impostor) > 0);
    assert_eq!(directory.known(), 0);
}

#[test]
fn a_socket_that_nobody_serves_is_a_failure() {
    let host = Host::new();
    drop(UnixListener::bind(host.socket()).unwrap());
    assert!(Path::new(&host.socket()).exists());
    for protocol in [Protocol::Docker, Protocol::Cri] {
        let directory = host.start(protocol);
        until("refused", || directory.counters().failures(Reason::Connect) > 0);
    }
}

#[test]
fn a_task_that_panics_is_seen_to_have_ended() {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let lives = tasks.spawn(std::future::pending()).id();
        let expected = [tasks.spawn(async { panic!() }).id(), tasks.spawn(async {}).id()];
        let mut found = Vec::new();
        while found.len() < expected.len() {
            task::yield_now().await;
            found.extend(ended(&mut tasks));
        }
        assert!(expected.iter().all(|task| found.contains(task)) && !found.contains(&lives));
    });
}
