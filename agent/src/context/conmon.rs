//! conmon(8), by which Podman has each of its containers watched from outside, and of whose processes it is an
//! ancestor. Its arguments tell which container that is. Nothing else does where Podman makes no cgroups, as
//! that of a user without a systemd: all containers are in the cgroup of the user's session then.
//!
//! Whoever can run a program can call it conmon: what it says is believed of containers below it only, and as
//! much as what their user says. One in a container says nothing: that is for whoever made the container to say.

use shrike_common::{ContainerId, Pid, StartTime, Uid};

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
    /// The one above a process that is the outermost, but for those in containers.
    pub(super) fn above(processes: &'a Processes, pid: Pid, start: StartTime) -> Option<Self> {
        let outside = || {
            processes
                .lineage(pid, start)
                .filter(|(_, process)| process.place.container == ContainerId(0))
                .filter_map(|(pid, process)| Self::of(pid, process))
        };
        // Its first process forks the one that stays, and ends.
        let outermost = outside().last()?;
        outside().find(|conmon| conmon.id == outermost.id)
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
