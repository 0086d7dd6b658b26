//! Which containers are known, and as what.

use std::fs;

use shrike_common::{Breach, Pid, Uid};

use super::super::process;
use super::super::sample::{self, ACT, header, of};
use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn mkdir(containers: &mut Containers, id: u64, path: &str) {
    let event = sample::mkdir(id, path);
    containers.apply(&Header::default(), &event, &Processes::default());
}

fn rmdir(containers: &mut Containers, hierarchy: Hierarchy, id: u64, path: &str) {
    let event = sample::rmdir(hierarchy, id, path);
    containers.apply(&Header::default(), &event, &Processes::default());
}

fn act(containers: &mut Containers, header: &Header) {
    containers.apply(header, &ACT, &Processes::default());
}

fn exec(processes: &mut Processes, header: &Header, path: &str, line: &str) {
    let args = sample::arguments(line);
    processes.apply(header, &sample::exec(header.tgid, path, &args));
}

#[test]
fn a_container_keeps_its_name_wherever_its_tasks_go() {
    let mut containers = Containers::default();
    let path = format!("/system.slice/docker-{ID}.scope");
    mkdir(&mut containers, 7, &path);
    let own = header(1, 7, Membership::Member);
    // A runtime at work says where itself is, not more.
    act(&mut containers, &header(1, 7, Membership::Entering));
    assert!(containers.of(&own, &ACT).is_none());
    act(&mut containers, &own);
    assert_eq!(containers.of(&own, &ACT).unwrap().short_id(), "0123456789ab");
    // It has moved to the root.
    let escaped = header(1, 1, Membership::Member);
    for header in [&own, &escaped] {
        let container = containers.of(header, &ACT).unwrap();
        assert_eq!((&*container.id, container.runtime), (ID, Runtime::Docker));
    }
    assert!(containers.of(&header(0, 7, Membership::None), &ACT).is_none(), "that is the host's");
    // Another hierarchy may have a cgroup by that name.
    rmdir(&mut containers, 4, 7, &path);
    assert_eq!(containers.at(path.as_bytes(), NsId(0)), Some(ContainerId(1)));
    rmdir(&mut containers, UNIFIED, 7, &path);
    assert!(containers.at(path.as_bytes(), NsId(0)).is_none());
    assert!(containers.of(&own, &ACT).is_some(), "its last events may come later");
}

#[test]
fn who_was_caught_outside_does_not_say_where_its_container_is() {
    let mut containers = Containers::default();
    let [own, other] = [ID.to_owned(), ID.replace('0', "f")].map(|id| format!("/docker/{id}"));
    mkdir(&mut containers, 7, &own);
    mkdir(&mut containers, 8, &other);
    mkdir(&mut containers, 9, &format!("{own}/below"));
    let breach = Event::Breach(Breach { container: ContainerId(3), ..Breach::default() });
    let escaped = header(3, 8, Membership::Member);
    let caught = |containers: &mut Containers| {
        containers.apply(&escaped, &breach, &Processes::default());
        containers.of(&escaped, &breach).map(|container| container.id.clone())
    };
    assert_eq!(caught(&mut containers), None);
    // The tables of a former agent tell.
    containers.homes = HashMap::from([(ContainerId(3), CgroupId(7))]);
    assert_eq!(caught(&mut containers).as_deref(), Some(ID));
    assert_eq!(containers.of(&escaped, &breach).unwrap().started, None);
    // The rest is known by the first that acts at home.
    let own = of(5, header(3, 9, Membership::Member));
    let known = containers.apply(&own, &ACT, &Processes::default());
    assert_eq!(known.known, Some(ContainerId(3)));
    assert_eq!(containers.of(&own, &ACT).unwrap().started, Some(own.start));
    assert_eq!(containers.apply(&own, &ACT, &Processes::default()), Change::default());
}

#[test]
fn the_shortest_of_its_cgroups_is_a_containers_home() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("docker").join(ID).join("below");
    fs::create_dir_all(&path).unwrap();
    let id =
        |path: &Path| CgroupId(std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap()));
    let [below, own] = [id(&path), id(path.parent().unwrap())];
    let homes = [(below, ContainerId(3)), (own, ContainerId(3)), (CgroupId(0), ContainerId(3))];
    let containers = Containers::of_host(root.path(), Path::new("/proc"), &homes).unwrap();
    assert_eq!(containers.homes, HashMap::from([(ContainerId(3), own)]));
}

#[test]
fn none_is_called_as_the_host() {
    for (path, expected) in
        [("/lxc.payload.host", "lxc:host"), ("/host", "cgroup-7"), ("/a/hosts", "hosts")]
    {
        let mut containers = Containers::default();
        mkdir(&mut containers, 7, path);
        let task = header(3, 7, Membership::Member);
        act(&mut containers, &task);
        assert_eq!(containers.of(&task, &ACT).unwrap().short_id(), expected, "{path}");
    }
}

#[test]
fn a_cgroup_is_of_the_container_above() {
    let mut containers = Containers::default();
    mkdir(&mut containers, 7, "/own");
    act(&mut containers, &header(3, 7, Membership::Member));
    for path in ["/own", "/own/a/b"] {
        assert_eq!(containers.at(path.as_bytes(), NsId(0)), Some(ContainerId(3)), "{path}");
    }
    for path in ["", "/", "/other", "/ow", "/owner", "own"] {
        assert_eq!(containers.at(path.as_bytes(), NsId(0)), None, "{path}");
    }
}

#[test]
fn of_several_in_a_cgroup_the_mounts_tell() {
    let session = "/user.slice/user-1000.slice/session-3.scope";
    for (path, alone) in [("/own", Some(1)), (session, None), ("/", None)] {
        let mut containers = Containers::default();
        mkdir(&mut containers, 9, path);
        let of = |containers: &Containers, mnt: u32| {
            containers.at(path.as_bytes(), NsId(mnt)).map(|number| number.0)
        };
        let know = |containers: &mut Containers, number: u64, mnt: u32| {
            let mut task = header(number, 9, Membership::Member);
            task.ns.mnt = NsId(mnt);
            act(containers, &task);
        };
        know(&mut containers, 1, 51);
        let found = [51, 53, 0].map(|mnt| of(&containers, mnt));
        assert_eq!(found, [Some(1), alone, alone], "{path}");
        know(&mut containers, 2, 52);
        let found = [51, 52, 53, 0].map(|mnt| of(&containers, mnt));
        assert_eq!(found, [Some(1), Some(2), None, None], "{path}");
    }
}

#[test]
fn what_calls_itself_a_container_in_one_is_nested() {
    let other = ID.replace('0', "f");
    let path = format!("/docker/{ID}/docker/{other}");
    let mut containers = Containers::default();
    mkdir(&mut containers, 8, &path);
    let inner = header(2, 8, Membership::Member);
    act(&mut containers, &inner);
    let outer = containers.of(&inner, &ACT).unwrap();
    assert_eq!(&*outer.id, ID);
    assert_eq!(outer.nested(path.as_bytes()).unwrap().id, other.as_bytes());
    // Where its tasks are that have left it, nothing is within it.
    let elsewhere = format!("/docker/{other}/docker/{ID}");
    for path in [format!("/docker/{ID}/init.scope"), format!("/docker/{ID}"), elsewhere] {
        assert!(outer.nested(path.as_bytes()).is_none(), "{path}");
    }
}

#[test]
fn one_whose_runtime_is_not_known_has_its_cgroups_name_or_number() {
    let session = "/user.slice/user-1000.slice/session-3.scope";
    for (path, id) in [("/own", "own"), (session, "cgroup-9"), ("/", "cgroup-9")] {
        let mut containers = Containers::default();
        mkdir(&mut containers, 9, path);
        let task = header(3, 9, Membership::Member);
        act(&mut containers, &task);
        let container = containers.of(&task, &ACT).unwrap();
        assert_eq!((container.short_id(), container.runtime), (id, Runtime::Unknown));
    }
}

/// A user's Podman without a systemd: all containers are in the cgroup of the session.
#[test]
fn one_without_a_cgroup_of_its_own_is_told_by_its_conmon() {
    let session = "/user.slice/user-1000.slice/session-3.scope";
    let (mut containers, mut processes) = (Containers::default(), Processes::default());
    mkdir(&mut containers, 9, session);
    let ids = [ID.to_owned(), ID.replace('0', "f")];
    for (number, id) in (1..).zip(&ids) {
        let [conmon, first] = [10, 20].map(|base| base + number);
        let name = format!("web-{number}");
        let bundle = format!("/home/u/c/overlay-containers/{id}/userdata");
        let line = format!("conmon -c {id} -b {bundle} -n {name} --exit-dir /x");
        let of_host = Header { euid: Uid(1000), ..of(conmon, header(0, 9, Membership::None)) };
        exec(&mut processes, &of_host, "/usr/bin/conmon", &line);
        let own = header(number.into(), 9, Membership::Member);
        let own = Header { ppid: Pid(conmon), ..of(first, own) };
        exec(&mut processes, &own, "/bin/sh", "sh -n other");
        assert_eq!(containers.apply(&own, &ACT, &processes).known, Some(own.container));
        let container = containers.of(&own, &ACT).unwrap();
        assert_eq!((&*container.id, container.runtime), (&**id, Runtime::Podman));
        assert_eq!(container.name(), Some(&*name));
        assert_eq!(container.key.unwrap().scope, Scope::User(1000));
    }
}

/// Whoever runs `podman` may be below a program that is called like that.
#[test]
fn the_conmon_is_that_of_the_id_in_the_cgroup() {
    let named = |conmons: &[(&str, &str)]| {
        let (mut containers, mut processes) = (Containers::default(), Processes::default());
        mkdir(&mut containers, 9, &format!("/machine.slice/libpod-{ID}.scope"));
        let mut pid = 10;
        for (id, name) in conmons {
            let task = Header { ppid: Pid(pid - 1), ..of(pid, header(0, 1, Membership::None)) };
            let line = format!("conmon -c {id} -n {name} -b /b");
            exec(&mut processes, &task, "/usr/bin/conmon", &line);
            pid += 1;
        }
        let own = header(1, 9, Membership::Member);
        let own = Header { ppid: Pid(pid - 1), ..of(pid, own) };
        exec(&mut processes, &own, "/bin/sh", "sh");
        containers.apply(&own, &ACT, &processes);
        let container = containers.of(&own, &ACT).unwrap();
        assert_eq!((&*container.id, container.runtime), (ID, Runtime::Podman));
        container.name().map(str::to_owned)
    };
    let other = ID.replace('0', "f");
    assert_eq!(named(&[(&other, "other"), (ID, "own")]).as_deref(), Some("own"));
    assert_eq!(named(&[(&other, "other")]), None);
}

#[test]
fn there_is_room_again_when_their_processes_have_ended() {
    let (mut containers, mut processes) = (Containers::default(), Processes::default());
    mkdir(&mut containers, 9, "/session-3.scope");
    let task = |number: u32| of(number, header(number.into(), 9, Membership::Member));
    exec(&mut processes, &task(1), "/bin/sh", "sh");
    for number in 1..=u32::try_from(CAPACITY).unwrap() + 1 {
        containers.apply(&task(number), &ACT, &processes);
    }
    assert_eq!((containers.len(), containers.refused()), (2, 0));
    assert!(containers.of(&task(1), &ACT).is_some());
}

#[test]
fn those_whose_end_was_lost_end_with_another_look() {
    let mut containers = Containers::default();
    for number in 1..=3 {
        mkdir(&mut containers, number, &format!("/own-{number}"));
        act(&mut containers, &header(number, number, Membership::Member));
    }
    let there = |containers: &Containers| {
        let of = |number: &u64| containers.at(format!("/own-{number}").as_bytes(), NsId(0));
        [1, 2, 3].map(|number| of(&number)).map(|number| number.map(|number| number.0))
    };
    containers.begin();
    // One has taken the place of another, of which there was an event.
    mkdir(&mut containers, 12, "/own-2");
    assert_eq!(there(&containers), [Some(1), None, Some(3)]);
    act(&mut containers, &header(12, 12, Membership::Member));
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("own-3")).unwrap();
    let found = Cgroups::scan(root.path()).unwrap();
    let third = fs::metadata(root.path().join("own-3")).unwrap();
    let third = CgroupId(std::os::unix::fs::MetadataExt::ino(&third));
    assert!(containers.cgroup(third).is_none(), "another one than before");
    assert_eq!(containers.merge(found).gone, [ContainerId(1)]);
    assert_eq!(there(&containers), [None, Some(12), Some(3)]);
    assert!(containers.get(ContainerId(1)).is_some(), "its last events may come later");
    assert_eq!(containers.ended, [2, 1].map(ContainerId));
}

#[test]
fn those_that_are_gone_are_forgotten_in_time() {
    let mut containers = Containers::default();
    for number in 1..=u64::try_from(2 * ENDED).unwrap() {
        let path = format!("/own-{number}");
        mkdir(&mut containers, number, &path);
        act(&mut containers, &header(number, number, Membership::Member));
        rmdir(&mut containers, UNIFIED, number, &path);
    }
    assert_eq!(containers.len(), ENDED);
}

#[test]
fn other_hierarchies_are_asked_where_the_unified_one_has_no_name() {
    let proc = tempfile::tempdir().unwrap();
    fs::create_dir(proc.path().join("5")).unwrap();
    let text = format!("3:memory:/docker/{ID}\n0::/\n");
    fs::write(proc.path().join("5/cgroup"), text).unwrap();
    let mut containers = Containers { proc: Some(proc.path().to_owned()), ..Containers::default() };
    fs::write(proc.path().join("5/stat"), fs::read("/proc/self/stat").unwrap()).unwrap();
    let (_, start) = process::own().unwrap();
    let task = Header { tgid: Pid(5), start, ..header(4, 1, Membership::Member) };
    act(&mut containers, &task);
    assert_eq!(&*containers.of(&task, &ACT).unwrap().id, ID);
}
