//! Namespaces that a task changes to.

use shrike_common::{Counter, Kind, Namespaces, Noticed, NsId, wire};

use crate::books::count;
use crate::boundary::State;
use crate::breach::{Subject, is_lost};
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
        installed(task, member, old, new);
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
fn installed(task: Task, member: *mut Member, old: Nsproxy, new: Nsproxy) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the member is an entry that only its own task changes; the slot is ours.
    unsafe {
        let found = &raw mut (*claim.slot).found.state;
        let subject = Subject::of(member, task, Noticed::SwitchNamespaces as u64).with(&claim);
        // What was slipped in before is not made here.
        expect(subject, member, found, old);
        if UNSHARE.is_current() || EXECVE.is_current() || EXECVEAT.is_current() {
            own(member, new);
            own_time(member, new);
        }
        expect(subject, member, found, new);
    }
    claim.release();
}

/// Tells which of these namespaces a member must not have, and expects them from then on.
///
/// # Safety
///
/// `member` must be the subject's entry, and `found` in its slot.
#[inline(always)]
unsafe fn expect(subject: Subject, member: *mut Member, found: *mut State, proxy: Nsproxy) {
    // SAFETY: the caller's promise.
    unsafe {
        State::take_namespaces(found, proxy);
        subject.check_namespaces();
        if !is_lost(member) {
            State::take_namespaces(&raw mut (*member).expected, proxy);
        }
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
