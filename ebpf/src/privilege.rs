//! Power over other tasks.

use shrike_common::{Kind, wire};

use crate::kernel::Task;
use crate::member;
use crate::plan::Wanted;

/// `security_ptrace_access_check`: the current task asks for access to `target`.
#[inline(always)]
pub(crate) fn ptrace(target: Task, mode: u32) {
    /// Only asks what may be shown, and happens by the thousand.
    const PTRACE_MODE_NOAUDIT: u32 = 4;
    if mode & PTRACE_MODE_NOAUDIT != 0 {
        return;
    }
    let Some(wanted) = Wanted::of(Kind::Ptrace).and_then(|wanted| wanted.class(mode >> 1 & 1))
    else {
        return;
    };
    let (membership, container) = member::of(target);
    wanted.emit(|_| wire::Ptrace {
        mode,
        target_membership: membership as u32,
        target_container: container,
        target_start: target.start(),
        target: target.tgid(),
        reserved: 0,
        target_ns: target.namespaces(),
        target_comm: target.comm(),
    });
}
