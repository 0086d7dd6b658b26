//! Namespaces that a task changes to.

use shrike_common::{Counter, Kind, Namespaces, Noticed, NsId, wire};

use crate::birth::settle_birth;
use crate::books::count;
use crate::boundary::State;
use crate::breach::{Subject, is_lost};
use crate::kernel::{Nsproxy, Task, address};
use crate::member::{self, Member};
use crate::owned::{in_user_namespace, own, own_at, own_time};
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
        settle_birth(member, task);
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

/// The end of `unshare(2)`: what it was asked to make is the container's own, should [`switch`] have been
/// skipped.
#[inline(always)]
pub(crate) fn unshared(flags: u64, result: i32) {
    let task = Task::current();
    if result == 0
        && let Some(member) = member::get(task)
    {
        made(task, member, flags);
    }
}

#[inline(never)]
fn made(task: Task, member: *mut Member, flags: u64) {
    const NEW_USER: u64 = 0x1000_0000;
    /// `CLONE_NEWNS`, `NEWPID`, `NEWNET`, `NEWUTS`, `NEWIPC` and `NEWCGROUP`, in the order of
    /// [`State::ns`].
    const NEW: [u64; 6] = [0x2_0000, 0x2000_0000, 0x4000_0000, 0x400_0000, 0x800_0000, 0x200_0000];
    let Some(proxy) = task.nsproxy() else { return };
    // SAFETY: the member is an entry that only its own task changes.
    unsafe {
        let expected = &raw mut (*member).expected;
        for (index, flag) in NEW.into_iter().enumerate() {
            let at = proxy.at(index);
            if flags & flag != 0 && at != (*expected).ns[index] {
                own_at(member, index, at);
                (&raw mut (*expected).ns[index]).write_volatile(at);
            }
        }
        let user_ns = address(task.real_cred().user().0);
        if flags & NEW_USER != 0 && user_ns != (*expected).user_ns {
            in_user_namespace(member, user_ns);
            State::take_credentials(expected, task.real_cred());
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
