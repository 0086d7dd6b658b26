//! Tasks that are moved between cgroups.

use shrike_common::{Kind, wire};

use crate::kernel::{Cgroup, Pointer, Task};
use crate::member;
use crate::plan::Wanted;

/// `cgroup_attach_task`: the move is done. One event for a process that is moved as a whole.
#[inline(always)]
pub(crate) fn attach(to: Cgroup, path: Pointer, target: Task) {
    /// Longer paths are cut.
    const PATH: u32 = 1024;
    member::moved(target, to);
    let Some(wanted) = Wanted::of(Kind::CgroupAttach) else { return };
    wanted.emit(|record| wire::CgroupAttach {
        to: to.node().id(),
        target_start: target.start(),
        target: target.tgid(),
        hierarchy: to.root().hierarchy(),
        path: record.string(path, PATH),
    });
}
