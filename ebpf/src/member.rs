//! Which tasks are a container's.

use aya_ebpf::Global;
use shrike_common::{Membership, NsId};

use crate::kernel::Task;

/// The initial mount namespace, which has no fixed number.
#[unsafe(no_mangle)]
static INIT_MNT_NS: Global<u32> = Global::new(0);

/// A container's task has a mount namespace and a pid or cgroup namespace that are not the host's.
#[inline(always)]
pub(crate) fn of(task: Task) -> Membership {
    let Some(proxy) = task.nsproxy() else { return Membership::None };
    if proxy.mnt() == NsId(INIT_MNT_NS.load()) {
        return Membership::None;
    }
    let own_cgroups = proxy.cgroup() != NsId::INIT_CGROUP;
    // The namespace of processes costs more to find.
    let is_member = own_cgroups || task.pid_in_namespace().0 != NsId::INIT_PID;
    if is_member { Membership::Member } else { Membership::None }
}
