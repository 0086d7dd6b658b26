//! What is made of the tables.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use jiff::Timestamp;
use shrike_common::wire::Text;
use shrike_common::{
    ContainerId, Event, Exec, Fork, Header, Membership, Namespaces, NsId, NsType, Pid, Uid,
};

use super::snapshot::{Boundary, Process};
use super::*;
use crate::context::clock::Clock;
use crate::context::container::Containers;
use crate::context::names::Names;
use crate::context::process::{Processes, Standing};
use crate::context::sample::{self, ACT, start};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A process of the host of which nothing matters but this.
pub(super) fn process(pid: u32, parent: Option<u32>, started: i64) -> Process {
    Process {
        pid,
        vpid: pid,
        parent,
        started: Timestamp::from_second(started).unwrap(),
        uid: 0,
        user: None,
        name: "x".to_owned(),
        exe: String::new(),
        exe_upper_layer: None,
        args: Vec::new(),
        args_cut: false,
        cwd: None,
        group: 0,
        session: 0,
        tty: None,
        loginuid: None,
        cgroup: String::new(),
        namespaces: Namespaces::default(),
        container: None,
        membership: None,
    }
}

/// Namespaces that all have this number.
fn namespaces(number: u32) -> Namespaces {
    let mut ns = Namespaces::default();
    for ty in NsType::ALL {
        *ns.get_mut(ty) = NsId(number);
    }
    ns
}

/// What an agent of a small host knows.
#[derive(Default)]
pub(super) struct Host {
    processes: Processes,
    containers: Containers,
    names: Names,
}

impl Host {
    /// One with its first process.
    pub(super) fn new() -> Self {
        let mut host = Self::default();
        host.exec(&task(1, 0), "init");
        host
    }

    fn cgroup(&mut self, id: u64, path: &str) {
        self.apply(&Header::default(), &sample::mkdir(id, path));
    }

    fn fork(&mut self, caller: &Header, child: u32, flags: u64) {
        let event = Event::Fork(Fork {
            clone_flags: flags,
            child_start: start(Pid(child)),
            child: Pid(child),
            child_vpid: Pid(child),
        });
        self.apply(&Header { time: start(Pid(child)).0, ..*caller }, &event);
    }

    fn exec(&mut self, header: &Header, args: &str) {
        self.exec_of("/bin/x", header, args);
    }

    fn exec_of(&mut self, path: &str, header: &Header, args: &str) {
        let args = sample::arguments(args);
        self.apply(header, &sample::exec(header.tgid, path, &args));
    }

    fn apply(&mut self, header: &Header, event: &Event<'_>) {
        self.processes.apply(header, event);
        self.containers.apply(header, event, &self.processes);
    }

    pub(super) fn look(&self) -> Look {
        let Self { processes, containers, names } = self;
        let clock = Clock::at(0);
        let tables =
            Tables { processes, containers, runtimes: None, names, host: namespaces(1), clock };
        Look::take(&tables, Source::Agent)
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::of(&self.look(), Timestamp::UNIX_EPOCH);
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
        snapshot
    }
}

/// A task of the host.
fn task(pid: u32, cgroup: u64) -> Header {
    child(pid, namespaces(1), sample::header(0, cgroup, Membership::None))
}

/// A container's task.
fn member(pid: u32, cgroup: u64, container: u64) -> Header {
    let ns = Namespaces { net: NsId(1), ..namespaces(7) };
    child(pid, ns, sample::header(container, cgroup, Membership::Member))
}

/// A child of init has acted.
fn child(pid: u32, ns: Namespaces, header: Header) -> Header {
    let parent = Pid(u32::from(pid != 1));
    let mut header = Header { ppid: parent, ns, ..sample::of(pid, header) };
    header.comm[..1].copy_from_slice(b"x");
    header
}

fn containers(snapshot: &Snapshot) -> Vec<(&str, usize, Option<Boundary>)> {
    let all = snapshot.containers.iter();
    all.map(|one| (one.id.as_str(), one.processes, one.boundary)).collect()
}

#[test]
fn a_container_has_its_processes_wherever_they_go() {
    let mut host = Host::new();
    let path = format!("/kubepods/burstable/pod0a-1b/{ID}");
    host.cgroup(7, &path);
    host.fork(&task(1, 0), 10, 0);
    host.exec(&member(10, 7, 1), "sleep 1");
    host.fork(&member(10, 7, 1), 11, 0);
    // It has left its cgroup.
    host.exec(&member(11, 1, 1), "sh");
    let snapshot = host.snapshot();
    assert_eq!(containers(&snapshot), [(ID, 2, Some(Boundary::Watched))]);
    let container = &snapshot.containers[0];
    assert_eq!((container.first, &*container.numbers), (10, &[1][..]));
    assert_eq!((container.runtime.as_str(), &container.cgroup), ("unknown", &path));
    assert_eq!(container.short_id(), "0123456789ab");
    assert_eq!(container.host_namespaces, ["net"]);
    let pod = container.pod.as_ref().unwrap();
    assert_eq!((pod.uid.as_str(), pod.qos.as_str()), ("0a-1b", "Burstable"));
    let shown: Vec<_> = snapshot
        .processes
        .iter()
        .map(|process| (process.pid, process.parent, process.container.as_deref()))
        .collect();
    assert_eq!(shown, [(1, None, None), (10, Some(1), Some(ID)), (11, Some(10), Some(ID))]);
    let first = &snapshot.processes[1];
    assert_eq!((first.args.join(" "), first.exe.as_str()), ("sleep 1".into(), "/bin/x"));
    assert_eq!(first.membership.as_deref(), Some("member"));
}

#[test]
fn what_a_process_belongs_to_is_told() {
    let mut host = Host::new();
    let exec = Exec {
        inode: 7,
        file: Exec::UPPER,
        cwd: Text::new(b"/srv", 0),
        group: Pid(11),
        session: Pid(10),
        tty: 136 << 20 | 3,
        loginuid: Uid(1000),
        ..Exec::default()
    };
    host.apply(&task(11, 0), &Event::Exec(exec));
    let nobody = Exec { loginuid: Standing::NOBODY, ..Exec::default() };
    host.apply(&task(12, 0), &Event::Exec(nobody));
    let snapshot = host.snapshot();
    let told = |index: usize| {
        let process: &Process = &snapshot.processes[index];
        let login = (process.tty, process.loginuid);
        (process.cwd.as_deref(), process.group, process.session, login, process.exe_upper_layer)
    };
    let login = (Some(136 << 20 | 3), Some(1000));
    assert_eq!(told(1), (Some("/srv"), 11, 10, login, Some(true)));
    assert_eq!(told(2), (None, 0, 0, (None, None), None));
}

#[test]
fn who_is_left_behind_is_below_the_nearest_ancestor_that_is_there() {
    let mut host = Host::new();
    host.fork(&task(1, 0), 10, 0);
    host.fork(&task(10, 0), 11, 0);
    host.fork(&task(11, 0), 12, 0);
    for pid in [10, 11] {
        let event = Event::Exit(shrike_common::Exit { status: 0, reserved: 0 });
        let header = Header { time: start(Pid(13)).0, ..task(pid, 0) };
        host.apply(&header, &event);
        host.processes.settle(&header, &event);
    }
    let shown: Vec<_> =
        host.snapshot().processes.iter().map(|process| (process.pid, process.parent)).collect();
    assert_eq!(shown, [(1, None), (12, Some(1))]);
}

#[test]
fn a_runtime_at_work_is_in_the_container_that_it_makes() {
    let mut host = Host::new();
    host.cgroup(7, "/shrike/web");
    host.exec(&task(10, 7), "shrike");
    assert_eq!(containers(&host.snapshot()), [("web", 1, Some(Boundary::None))]);
    host.exec(&member(10, 7, 3), "sh");
    assert_eq!(containers(&host.snapshot()), [("web", 1, Some(Boundary::Watched))]);
    // It is the host's to the kernel.
    host.cgroup(8, "/shrike/open");
    host.exec(&task(11, 8), "sh");
    let expected = [("web", 1, Some(Boundary::Watched)), ("open", 1, Some(Boundary::None))];
    assert_eq!(containers(&host.snapshot()), expected);
}

#[test]
fn a_container_in_another_one_has_a_parent() {
    let mut host = Host::new();
    let inner = ID.replace('0', "f");
    host.cgroup(7, &format!("/docker/{ID}"));
    host.cgroup(8, &format!("/docker/{ID}/docker/{inner}"));
    host.exec(&member(10, 7, 1), "dockerd");
    host.exec(&member(11, 8, 2), "sh");
    let snapshot = host.snapshot();
    let id = format!("{ID}/{inner}");
    let watched = Some(Boundary::Watched);
    assert_eq!(containers(&snapshot), [(ID, 1, watched), (&id, 1, watched)]);
    // The agent numbers both, and calls both by the outer one, which nobody in there has chosen.
    let numbers: Vec<_> = snapshot.containers.iter().map(|one| &*one.numbers).collect();
    assert_eq!(numbers, [&[1, 2][..], &[]]);
    let nested = &snapshot.containers[1];
    assert_eq!((nested.parent.as_deref(), nested.runtime.as_str()), (Some(ID), "docker"));
    assert_eq!(nested.short_id(), "0123456789ab/f123456789ab");
}

/// A user's Podman without a systemd has no cgroups for its containers.
#[test]
fn containers_in_the_cgroup_of_a_session_are_several() {
    let mut host = Host::new();
    host.cgroup(7, "/user.slice/user-1000.slice/session-3.scope");
    let mounts = |header: Header, mnt| {
        let ns = Namespaces { mnt: NsId(mnt), ..header.ns };
        Header { ns, ..header }
    };
    let ids = [ID.to_owned(), ID.replace('0', "f")];
    for (number, id) in (1..).zip(&ids) {
        let conmon = 10 + number;
        let line = format!("conmon -c {id} -n web-{number} -b /b");
        host.exec_of("/usr/bin/conmon", &task(conmon, 7), &line);
        let first = Header { ppid: Pid(conmon), ..member(20 + number, 7, number.into()) };
        host.exec(&mounts(first, 50 + number), "sh");
    }
    // Those of which no event has told yet: one of each, and the sandbox of a browser.
    for (pid, mnt) in [(31, 51), (32, 52), (33, 60)] {
        let found = Header { membership: u32::MAX, ..task(pid, 7) };
        host.exec(&mounts(found, mnt), "x");
    }
    let snapshot = host.snapshot();
    let watched = Some(Boundary::Watched);
    assert_eq!(containers(&snapshot), [(&*ids[0], 2, watched), (&*ids[1], 2, watched)]);
    let names: Vec<_> = snapshot.containers.iter().map(|one| one.name.as_deref()).collect();
    assert_eq!(names, [Some("web-1"), Some("web-2")]);
    let of = |pid| {
        let mut all = snapshot.processes.iter();
        all.find(|process| process.pid == pid).unwrap().container.as_deref()
    };
    assert_eq!([31, 32, 33].map(of), [Some(&*ids[0]), Some(&*ids[1]), None]);
}

#[test]
fn two_runtimes_may_use_the_same_name() {
    let mut host = Host::new();
    host.cgroup(7, "/shrike/web");
    host.cgroup(8, "/lxc.payload/web");
    host.exec(&member(10, 7, 1), "a");
    host.exec(&member(11, 8, 2), "b");
    let watched = Some(Boundary::Watched);
    let expected = [("web@/shrike/web", 1, watched), ("web@/lxc.payload/web", 1, watched)];
    assert_eq!(containers(&host.snapshot()), expected);
}

#[test]
fn what_nothing_names_is_one_for_each_pid_namespace() {
    let mut host = Host::new();
    host.cgroup(7, "/own");
    host.exec(&member(10, 7, 1), "told of by an event");
    for (pid, ns) in [(11, 8), (12, 9), (13, 8)] {
        host.exec(&Header { ns: namespaces(ns), ..task(pid, 7) }, "not told of");
    }
    // A service with mounts of its own.
    host.exec(&Header { ns: Namespaces { mnt: NsId(5), ..namespaces(1) }, ..task(14, 7) }, "no");
    // Which namespace it has been given is not known yet.
    host.fork(&task(1, 7), 15, 0x2002_0000);
    let expected = [
        ("own", 1, Some(Boundary::Watched)),
        ("pid-8", 2, Some(Boundary::None)),
        ("pid-9", 1, Some(Boundary::None)),
    ];
    assert_eq!(containers(&host.snapshot()), expected);
}

#[test]
fn names_of_users_are_those_of_who_acts() {
    let roots = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (root, name) in roots.iter().zip(["host", "inner"]) {
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), format!("{name}:x:5:5::/:/bin/sh\n")).unwrap();
    }
    let mut host = Host::new();
    host.names = Names::of_roots(roots[0].path(), &[(ContainerId(1), roots[1].path())]);
    host.cgroup(7, "/shrike/web");
    host.cgroup(8, "/shrike/unknown");
    for header in [task(10, 0), member(11, 7, 1), task(12, 8)] {
        host.exec(&Header { euid: Uid(5), ..header }, "x");
    }
    let snapshot = host.snapshot();
    let names: Vec<_> = snapshot.processes.iter().map(|one| one.user.as_deref()).collect();
    assert_eq!(names[1..], [Some("host"), Some("inner"), None]);
    assert_eq!(snapshot.processes[1].uid, 5);
}

#[test]
fn containers_without_processes_do_not_run() {
    let mut host = Host::new();
    host.cgroup(7, "/shrike/web");
    host.apply(&member(10, 7, 1), &ACT);
    assert_eq!(host.containers.len(), 1);
    assert_eq!(containers(&host.snapshot()), []);
}

#[test]
fn a_look_at_20_000_processes_is_short() {
    let mut host = Host::new();
    for number in 0..200 {
        host.cgroup(number + 10, &format!("/shrike/container-{number}"));
    }
    for pid in 2..20_002 {
        let number = u64::from(pid % 200);
        let header = member(pid, number + 10, number + 1);
        // The first one of a container is somebody else's child.
        let parent = pid % 200 + 200;
        let caller =
            if pid <= parent { task(1, 0) } else { member(parent, number + 10, number + 1) };
        host.fork(&caller, pid, 0);
        host.exec(&header, &format!("program --number={pid} {}", "x".repeat(100)));
    }
    let mut best = std::time::Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        let look = host.look();
        best = best.min(begin.elapsed());
        assert_eq!(look.rows.len(), 20_001);
    }
    let begin = Instant::now();
    let snapshot = Snapshot::of(&host.look(), Timestamp::UNIX_EPOCH);
    let worked_out = begin.elapsed();
    let begin = Instant::now();
    let json = serde_json::to_vec(&snapshot).unwrap();
    println!(
        "a look: {best:?}; worked out: {worked_out:?}; {} bytes of JSON: {:?}",
        json.len(),
        begin.elapsed()
    );
    assert_eq!(snapshot.containers.len(), 200);
    // Many times what it takes: this machine may have other things to do.
    assert!(best < std::time::Duration::from_millis(500), "{best:?}");
}

#[test]
fn what_a_container_says_of_itself_has_a_bound() {
    let mut host = Host::new();
    host.exec(&task(2, 7), &" ".repeat(4000));
    for pid in 3..3000 {
        host.fork(&task(2, 7), pid, 0);
    }
    let snapshot = host.snapshot();
    let arguments = |process: &Process| process.args.len() + usize::from(process.args_cut);
    assert_eq!(snapshot.processes.iter().map(arguments).max(), Some(257));
    let kept: usize = snapshot.processes.iter().map(|process| process.args.capacity()).sum();
    assert!(kept * size_of::<String>() <= 2 * (32 << 20), "{kept}");
}

#[test]
fn directories_have_a_bound() {
    let mut host = Host::new();
    let long = "/x".repeat(2048);
    let cwd = Text::new(long.as_bytes(), 0);
    host.apply(&task(2, 7), &Event::Exec(Exec { cwd, ..Exec::default() }));
    for pid in 3..10_000 {
        host.fork(&task(2, 7), pid, 0);
    }
    let snapshot = host.snapshot();
    let told: usize = snapshot.processes.iter().flat_map(|one| &one.cwd).map(String::len).sum();
    assert!((16 << 20..=32 << 20).contains(&told), "{told}");
}

#[test]
fn proc_tells_of_this_process_and_its_children() {
    // Until its input ends, under a name that must not steer a terminal.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read -r line", "name\x1b[2J"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let own = std::process::id();
    let snapshot = loop {
        let snapshot = Proc::open(Path::new("/proc")).unwrap().read().unwrap();
        let it = snapshot.processes.iter().find(|process| process.pid == child.id()).unwrap();
        // It has executed its program.
        if it.args.len() == 4 {
            break snapshot;
        }
    };
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    let find = |pid| snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
    let it = find(child.id());
    assert_eq!((it.parent, it.args[3].as_str()), (Some(own), "name\x1b[2J"));
    assert_eq!((it.membership.as_deref(), snapshot.source), (None, Source::Proc));
    // Even root may not look at the first process everywhere.
    let has_names = fs::read("/proc/1/root/etc/passwd").is_ok();
    let uid = nix::unistd::geteuid().as_raw();
    assert_eq!((it.uid, it.user.is_some()), (uid, has_names));
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(link.to_str().unwrap(), format!("net:[{}]", it.namespaces.net));
    let parent = find(own).parent.unwrap();
    assert_eq!(parent, std::os::unix::process::parent_id());
    let pids: Vec<u32> = snapshot.processes.iter().map(|process| process.pid).collect();
    assert!(pids.is_sorted() && pids.contains(&1));
    let mut branches: Vec<u32> = tree(&snapshot.processes).iter().map(|b| b.process.pid).collect();
    branches.sort_unstable();
    assert_eq!(branches, pids);
}
