//! Events for tests, as the probes send them.

use shrike_common::wire::Text;
use shrike_common::{
    CgroupId, CgroupMkdir, CgroupRmdir, ContainerId, Event, Exec, Header, Heartbeat, Membership,
    Pid, StartTime,
};

use super::cgroup::{Hierarchy, UNIFIED};

/// One of which nothing matters but who has acted.
pub(crate) const ACT: Event<'_> = Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 });

/// A cgroup of the unified hierarchy is made.
pub(crate) fn mkdir(made: u64, path: &str) -> Event<'_> {
    let path = Text::new(path.as_bytes(), 0);
    Event::CgroupMkdir(CgroupMkdir { made: CgroupId(made), hierarchy: UNIFIED, level: 1, path })
}

/// A cgroup is removed.
pub(crate) fn rmdir(hierarchy: Hierarchy, removed: u64, path: &str) -> Event<'_> {
    let path = Text::new(path.as_bytes(), 0);
    Event::CgroupRmdir(CgroupRmdir { removed: CgroupId(removed), hierarchy, level: 1, path })
}

/// A program is executed, by a process with this pid in its own namespace.
pub(crate) fn exec<'a>(vpid: Pid, path: &'a str, arguments: &'a str) -> Event<'a> {
    let [path, args] = [path, arguments].map(|text| Text::new(text.as_bytes(), 0));
    Event::Exec(Exec { vpid, path, args, ..Exec::default() })
}

/// The words of a line, as arguments of [`exec`].
pub(crate) fn arguments(line: &str) -> String {
    line.replace(' ', "\0") + "\0"
}

/// When the process with this pid has started: not at a tick, as only `/proc` tells it.
pub(crate) fn start(pid: Pid) -> StartTime {
    StartTime(u64::from(pid.0) * 1_000_000_000 + 1)
}

/// Some task has acted, in a container unless that is 0.
pub(crate) fn header(container: u64, cgroup: u64, membership: Membership) -> Header {
    Header {
        container: ContainerId(container),
        cgroup: CgroupId(cgroup),
        membership: membership as u32,
        ..Header::default()
    }
}

/// It was the process with this pid, right after its start.
pub(crate) fn of(pid: u32, header: Header) -> Header {
    let (pid, start) = (Pid(pid), start(Pid(pid)));
    Header { tgid: pid, tid: pid, start, time: start.0 + 1, ..header }
}
