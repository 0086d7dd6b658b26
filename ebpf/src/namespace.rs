//! Namespaces that a task changes to.

use shrike_common::{Counter, Kind, Namespaces, Noticed, NsId, wire};

use crate::books::count;
use crate::boundary::State;
use crate::breach::Subject;
use crate::kernel::{Nsproxy, Task};
use crate::member::{self, Member, own, own_time};
use crate::plan::Wanted;
use crate::slot::Claim;
use crate::syscall::{EXECVE, EXECVEAT, SETNS, UNSHARE};

/// `switch_task_namespaces`: the new namespaces are about to be installed. Also reached at the end
/// of every task, with none.
#[inline(always)]
pub(crate) fn switch(task: Task, new: Nsproxy) {
    if new.0.is_null() {
        return;
    }
    let Some(old) = task.nsproxy() else { return };
    if let Some(member) = member::get(task) {
        installed(task, member, new);
    }
    let user = NsId(0);
    if SETNS.is_current() {
        let Some(wanted) = Wanted::of(Kind::Setns) else { return };
        wanted.emit(|_| wire::Setns { joined: changes(old, new, user) });
    } else if UNSHARE.is_current() {
        let Some(wanted) = Wanted::of(Kind::Unshare) else { return };
        wanted.emit(|_| wire::Unshare { joined: changes(old, new, user) });
    }
}

/// What is expected of a member moves at the moment when its namespaces do: those that it makes are its
/// container's, those that it joins must be. Nothing else than these calls may install any.
#[inline(never)]
fn installed(task: Task, member: *mut Member, new: Nsproxy) {
    // SAFETY: the member is an entry that only its own task changes; the slot is ours.
    unsafe {
        if UNSHARE.is_current() || EXECVE.is_current() || EXECVEAT.is_current() {
            own(member, new);
            own_time(member, new);
        } else {
            let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
            State::take_namespaces(&raw mut (*claim.slot).found.state, new);
            Subject::of(member, task, Noticed::SwitchNamespaces).with(&claim).check_namespaces();
            claim.release();
        }
        State::take_namespaces(&raw mut (*member).expected, new);
    }
}

/// The namespaces of `new` that `old` does not have.
#[inline(always)]
fn changes(old: Nsproxy, new: Nsproxy, user: NsId) -> Namespaces {
    let changed = |old: NsId, new: NsId| if old == new { NsId(0) } else { new };
    Namespaces {
        mnt: changed(old.mnt(), new.mnt()),
        pid: changed(old.pid_for_children(), new.pid_for_children()),
        net: changed(old.net(), new.net()),
        user,
        uts: changed(old.uts(), new.uts()),
        ipc: changed(old.ipc(), new.ipc()),
        cgroup: changed(old.cgroup(), new.cgroup()),
        time: changed(old.time(), new.time()),
    }
}
