//! Cgroups that come and go, and tasks that are moved between them.

use shrike_common::wire;

use crate::emit::emit;
use crate::kernel::{Cgroup, Pointer, Task};
use crate::member;

/// Longer paths are cut.
const PATH: u32 = 1024;

/// `cgroup_attach_task`: the move is done. One event for a process that is moved as a whole.
#[inline(always)]
pub(crate) fn attach(to: Cgroup, path: Pointer, target: Task) {
    member::moved(target, to);
    emit(|record| wire::CgroupAttach {
        to: to.node().id(),
        target_start: target.start(),
        target: target.tgid(),
        target_tid: target.tid(),
        hierarchy: to.root().hierarchy(),
        reserved: 0,
        path: record.string(path, PATH),
    });
}

/// `cgroup_mkdir`: it is there, and has no task yet.
#[inline(always)]
pub(crate) fn made(cgroup: Cgroup, path: Pointer) {
    emit(|record| wire::CgroupMkdir {
        made: cgroup.node().id(),
        hierarchy: cgroup.root().hierarchy(),
        level: cgroup.level(),
        path: record.string(path, PATH),
    });
}

/// `cgroup_rmdir`: its name is gone.
#[inline(always)]
pub(crate) fn removed(cgroup: Cgroup, path: Pointer) {
    emit(|record| wire::CgroupRmdir {
        removed: cgroup.node().id(),
        hierarchy: cgroup.root().hierarchy(),
        level: cgroup.level(),
        path: record.string(path, PATH),
    });
}
