//! Children: a member's are members of the same container before they run.

use shrike_common::{Counter, Kind, Noticed};

use crate::books::count;
use crate::boundary::State;
use crate::breach;
use crate::containment::fill;
use crate::kernel::Task;
use crate::member::{Member, add, get, remove};
use crate::owned::{in_user_namespace, own};

/// `security_task_alloc`: a child is being made, and has all of its parent's as yet. The kernel never skips a
/// program of an LSM hook, as it may one of the tracepoint that comes next: see [`settle_birth`].
#[inline(always)]
pub(crate) fn conceived(child: Task, clone_flags: u64) {
    if let Some(parent) = get(Task::current()) {
        conceive(child, parent, clone_flags);
    }
}

#[inline(never)]
fn conceive(child: Task, parent: *mut Member, clone_flags: u64) {
    // SAFETY: `parent` is an entry.
    match add(child, unsafe { &*parent }) {
        // SAFETY: the entry is the child's, which nobody knows yet.
        Some(member) => unsafe {
            (&raw mut (*member).unborn).write_volatile(clone_flags as u32 & NEW);
        },
        None => count(Counter::NoMember, Kind::Fork),
    }
}

/// `task_newtask`: the child does not run yet. Threads and io workers come here as well.
#[inline(always)]
pub(crate) fn born(child: Task, clone_flags: u64) {
    let parent = Task::current();
    let Some(member) = get(parent) else {
        // What had the address before may have left its entry.
        remove(child);
        let cgroup = child.cgroup();
        if cgroup.0 != parent.cgroup().0 {
            fill(cgroup.node().id(), parent);
        }
        return;
    };
    inherit(child, member, clone_flags);
}

#[inline(never)]
fn inherit(child: Task, parent: *mut Member, clone_flags: u64) {
    let made = clone_flags as u32 & NEW;
    if made != 0 {
        // What the child has beyond this was made in this very call.
        breach::check(Noticed::Fork);
    }
    // SAFETY: `parent` is an entry.
    let Some(member) = add(child, unsafe { &*parent }) else {
        return count(Counter::NoMember, Kind::Fork);
    };
    // SAFETY: the entry is the child's, which does not run yet.
    unsafe {
        (&raw mut (*member).unborn).write_volatile(made);
        breach::compare(child, member, Noticed::Fork as u64);
    }
}

/// What a child may be made with beyond its parent's: `CLONE_NEWTIME`, `NEWNS`, `NEWCGROUP`, `NEWUTS`,
/// `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`.
const NEW: u32 = 0x7E02_0080;
const NEW_USER: u32 = 0x1000_0000;

/// What a member was made with is its container's own: at its birth or, where the kernel has skipped the probe
/// of that, when it first comes to a hook.
///
/// # Safety
///
/// `member` must be the task's entry.
#[inline(always)]
pub(crate) unsafe fn settle_birth(member: *mut Member, task: Task) {
    // SAFETY: the caller's promise.
    if unsafe { (*member).unborn } != 0 {
        bear(member, task);
    }
}

#[inline(never)]
fn bear(member: *mut Member, task: Task) {
    let Some(proxy) = task.nsproxy() else { return };
    // SAFETY: the member is the task's.
    unsafe {
        let made = (&raw const (*member).unborn).read_volatile();
        (&raw mut (*member).unborn).write_volatile(0);
        own(member, proxy);
        let expected = &raw mut (*member).expected;
        State::take_namespaces(expected, proxy);
        State::take_root(expected, task);
        if made & NEW_USER != 0 {
            State::take_credentials(expected, task.real_cred());
            in_user_namespace(member, (&raw const (*expected).user_ns).read_volatile());
        }
    }
}
