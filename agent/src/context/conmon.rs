//! conmon(8), by which Podman has each of its containers watched from outside, and of whose processes it is an
//! ancestor. Its arguments tell which container that is. Nothing else does where Podman makes no cgroups, as
//! that of a user without a systemd: all containers are in the cgroup of the user's session then.
//!
//! Whoever can run a program can call it conmon: what it says is believed of containers below it only, and as
//! much as what their user says. One in a container says nothing: that is for whoever made the container to say.
//! Of those that were there before the agent, no event tells that they are in one, but their namespaces do.

use shrike_common::{ContainerId, NsId, Pid, StartTime, Uid};

use super::process::{Process, Processes};
use super::runtime::Id;

/// What it is called.
const NAME: &[u8] = b"conmon";

/// A conmon, and the container that it watches.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Conmon<'a> {
    pub(super) pid: Pid,
    pub(super) start: StartTime,
    /// Whose it is.
    pub(super) uid: Uid,
    pub(super) id: Id,
    /// The name of the container.
    pub(super) name: &'a [u8],
    /// The folder of the container's bundle; of an exec's within that.
    pub(super) bundle: &'a [u8],
}

impl<'a> Conmon<'a> {
    /// The one above a process that watches the container with this id. Where no id is known, it is the outermost:
    /// whoever is further in may be of the container. Those in containers do not count.
    pub(super) fn above(
        processes: &'a Processes,
        (pid, start): (Pid, StartTime),
        id: Option<Id>,
    ) -> Option<Self> {
        let mnt = processes.get(pid, start)?.place.ns.mnt;
        let outside = || {
            processes
                .lineage(pid, start)
                .filter(|&(pid, process)| is_outside(pid, process, mnt))
                .filter_map(|(pid, process)| Self::of(pid, process))
        };
        let id = id.or_else(|| Some(outside().last()?.id))?;
        // Its first process forks the one that stays, and ends.
        outside().find(|conmon| conmon.id == id)
    }

    fn of(pid: Pid, process: &'a Process) -> Option<Self> {
        let name = process.exe().rsplit(|&byte| byte == b'/').next();
        if name != Some(NAME) {
            return None;
        }
        let option = |short: &[u8], long: &[u8]| {
            let mut arguments = process.arguments();
            arguments.find(|argument| *argument == short || *argument == long)?;
            arguments.next()
        };
        Some(Self {
            pid,
            start: process.start,
            uid: process.place.uid,
            id: Id::parse(option(b"-c", b"--cid")?)?,
            name: option(b"-n", b"--name")?,
            bundle: option(b"-b", b"--bundle")?,
        })
    }
}

/// Whether a process is in no container, and not in the one with these mounts: a user's conmon has mounts of its
/// user's, but never those of what it watches.
fn is_outside(pid: Pid, process: &Process, mnt: NsId) -> bool {
    let place = &process.place;
    let has_mounts = mnt != NsId(0) && place.ns.mnt == mnt;
    place.container == ContainerId(0) && process.vpid == pid && !has_mounts
}

#[cfg(test)]
mod tests {
    use shrike_common::Membership;

    use super::super::sample::{self, header, of, start};
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// A process that calls itself conmon.
    #[derive(Clone, Copy)]
    struct Watcher {
        pid: u32,
        vpid: u32,
        name: &'static str,
        mnt: u32,
        container: u64,
    }

    /// One of the host.
    const OUTER: Watcher = Watcher { pid: 10, vpid: 10, name: "outer", mnt: 1, container: 0 };

    /// The name that is told of a container below these, the outermost first.
    fn told(watchers: &[Watcher]) -> Option<&'static str> {
        let mut processes = Processes::default();
        let mut run = |pid, ppid, (vpid, mnt, container), line: &str| {
            let mut task = of(pid, header(container, 1, Membership::None));
            (task.ppid, task.ns.mnt) = (Pid(ppid), NsId(mnt));
            let path = line.split(' ').next().unwrap();
            let arguments = sample::arguments(line);
            processes.apply(&task, &sample::exec(Pid(vpid), path, &arguments));
        };
        let mut parent = 1;
        for &Watcher { pid, vpid, name, mnt, container } in watchers {
            let line = format!("/usr/bin/conmon -c {ID} -n {name} -b /b");
            run(pid, parent, (vpid, mnt, container), &line);
            parent = pid;
        }
        run(20, parent, (5, 7, 3), "/bin/sh");
        let found = Conmon::above(&processes, (Pid(20), start(Pid(20))), None)?;
        let is_it = |watcher: &&Watcher| watcher.name.as_bytes() == found.name;
        watchers.iter().find(is_it).map(|watcher| watcher.name)
    }

    #[test]
    fn the_one_that_stays_is_told() {
        assert_eq!(told(&[]), None);
        let second = Watcher { pid: 11, vpid: 11, name: "second", ..OUTER };
        assert_eq!(told(&[OUTER, second]), Some("second"));
        // A user's.
        assert_eq!(told(&[Watcher { mnt: 2, ..OUTER }]), Some("outer"));
    }

    #[test]
    fn one_in_a_container_says_nothing() {
        let inner = Watcher { pid: 11, vpid: 11, name: "inner", mnt: 8, ..OUTER };
        for (inner, why) in [
            (Watcher { container: 3, ..inner }, "an event has told"),
            (Watcher { vpid: 2, ..inner }, "it has pids of its own"),
            (Watcher { mnt: 7, ..inner }, "it has the mounts of the container"),
        ] {
            assert_eq!(told(&[OUTER, inner]), Some("outer"), "{why}");
            assert_eq!(told(&[inner]), None, "{why}");
        }
    }
}
