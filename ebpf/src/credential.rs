//! Changes of credentials: the kernel's permission hooks announce those that they allow, with their
//! values. What is installed must have been announced in the same system call, or be no gain. That it
//! passes through `commit_creds` proves nothing: this is what exploits call.

use shrike_common::{Counter, Kind, Noticed, Offset};

use crate::books::count;
use crate::boundary::{State, is_below, number, set};
use crate::breach::{self, Subject, is_lost};
use crate::kernel::{Cred, Task, read_at};
use crate::label;
use crate::member::{self, Member};
use crate::owned::{in_user_namespace, owns};
use crate::slot::Claim;
use crate::syscall::{LSM_SET_SELF_ATTR, SETNS, UNSHARE, WRITE};

/// What was announced last.
#[repr(C)]
pub(crate) struct Announced {
    pub(crate) ids: [u32; Cred::IDS],
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    /// The address of the supplementary groups.
    pub(crate) groups: u64,
    pub(crate) securebits: u32,
    pub(crate) apparmor: u32,
    pub(crate) selinux: u32,
    /// The number of the system call in which it was; [`NONE`] when it is used up.
    syscall: u32,
}

/// No system call.
const NONE: u32 = u32::MAX;

/// `security_task_fix_setuid`, `security_task_fix_setgid`, `security_task_fix_setgroups` and
/// `security_bprm_committing_creds`: the kernel has allowed these credentials.
#[inline(always)]
pub(crate) fn announce(new: Cred) {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        breach::check(Noticed::CredentialChange);
        note(task, member, new);
    }
}

/// `security_capset`: at its entry the new credentials are still the old ones, but what is asked for at
/// that address can only be had within the old ones.
#[inline(always)]
pub(crate) fn capset(new: Cred, inheritable: u64) {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        breach::check(Noticed::CredentialChange);
        note(task, member, new);
        let cred = task.real_cred();
        let limit = cred.inheritable() | cred.permitted() | cred.bounding();
        // SAFETY: the member is an entry that only its own task changes.
        unsafe {
            let announced = &raw mut (*member).announced;
            set! { announced: inheritable = read_at::<u64>(inheritable) & limit; }
        }
    }
}

#[inline(never)]
fn note(task: Task, member: *mut Member, new: Cred) {
    // SAFETY: the member is an entry that only its own task changes.
    unsafe {
        let announced = &raw mut (*member).announced;
        set! { announced:
            ids[0] = new.id(0);
            ids[1] = new.id(1);
            ids[2] = new.id(2);
            ids[3] = new.id(3);
            ids[4] = new.id(4);
            ids[5] = new.id(5);
            ids[6] = new.id(6);
            ids[7] = new.id(7);
            permitted = new.permitted();
            inheritable = new.inheritable();
            groups = new.groups().0 as u64;
            securebits = new.securebits();
            apparmor = label::apparmor(new);
            selinux = label::selinux(new);
            syscall = task.syscall() as u32;
        }
    }
}

const PR_SET_KEEPCAPS: u32 = 8;
const PR_SET_SECUREBITS: u32 = 28;
const PR_SET_MM: u32 = 35;
const PR_SET_NO_NEW_PRIVS: u32 = 38;

/// `security_task_prctl`: it changes the secure bits, or sets `no_new_privs`, which nothing refuses any
/// more. Both can be undone before anything else looks at the task. `rest` has the bits of the other
/// arguments.
#[inline(always)]
pub(crate) fn prctl(option: u32, value: u64, rest: u64) {
    if option == PR_SET_MM {
        member::restored(Task::current());
    }
    let is_bits = matches!(option, PR_SET_KEEPCAPS | PR_SET_SECUREBITS);
    if is_bits || option == PR_SET_NO_NEW_PRIVS && value == 1 && rest == 0 {
        let task = Task::current();
        if let Some(member) = member::get(task) {
            breach::check(Noticed::Prctl);
            changed(task, member, option, value);
        }
    }
}

#[inline(never)]
fn changed(task: Task, member: *mut Member, option: u32, value: u64) {
    /// `SECURE_KEEP_CAPS`.
    const KEEP_CAPS: u32 = 1 << 4;
    let (cred, value) = (task.real_cred(), value as u32);
    // SAFETY: the member is an entry that only its own task changes.
    unsafe {
        if option == PR_SET_NO_NEW_PRIVS {
            let expected = &raw mut (*member).expected;
            set! { expected: no_new_privs = 1; }
            return;
        }
        note(task, member, cred);
        let announced = &raw mut (*member).announced;
        let others = cred.securebits() & !KEEP_CAPS;
        let bits = if option == PR_SET_SECUREBITS { value } else { others | value << 4 };
        set! { announced: securebits = bits; }
    }
}

/// `commit_creds`: these credentials are about to be installed. What is expected moves with them, or a
/// task could go back to what it had before.
#[inline(always)]
pub(crate) fn commit(new: Cred) {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        committed(task, member, new);
    }
}

#[inline(never)]
fn committed(task: Task, member: *mut Member, new: Cred) {
    // If there is no slot, what is installed is judged at the next hook, by what was announced.
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the member is an entry that only its own task changes; the slot is ours.
    unsafe {
        let subject = Subject::of(member, task, Noticed::CommitCreds as u64).with(&claim);
        if (*member).is_restored != 0 {
            breach::settle(member, task);
            State::take_credentials(&raw mut (*member).expected, new);
            return claim.release();
        }
        let container = (*member).container;
        let expected = &raw mut (*member).expected;
        let present = &raw mut (*claim.slot).found.state;
        let announced = &raw mut (*member).announced;
        State::take_credentials(present, new);
        if (*announced).syscall != task.syscall() as u32 {
            // Of another call.
            use_up(announced);
        }
        let (user_ns, own) = ((*present).user_ns, (*expected).user_ns);
        // It makes one below its own, or joins one that it has made.
        let is_made = UNSHARE.is_current()
            || SETNS.is_current() && owns(container, user_ns, number(user_ns, Offset::UserNsInum));
        if user_ns != own && is_made && is_below(user_ns, own) {
            in_user_namespace(member, user_ns);
        }
        subject.check_credentials();
        // By a write a task may change its label as far as the policy lets it: see `relabelled`.
        let may_relabel = WRITE.is_current();
        let is_relabelled = LSM_SET_SELF_ATTR.is_current() || label::is_stale(task.real_cred());
        if !may_relabel && !is_relabelled {
            subject.check_label();
        }
        if !is_lost(member) {
            if !may_relabel || is_relabelled {
                State::take_label(expected, new);
            }
            State::take_rights(expected, new);
        }
        use_up(announced);
    }
    claim.release();
}

/// The end of `security_setprocattr`: what a task has changed its label to by `/proc/self/attr/current` is
/// expected from now on.
#[inline(always)]
pub(crate) fn relabelled(result: i32) {
    let task = Task::current();
    if result >= 0
        && let Some(member) = member::get(task)
    {
        // SAFETY: the member is an entry that only its own task changes.
        unsafe { State::take_label(&raw mut (*member).expected, task.real_cred()) };
    }
}

/// Announces nothing.
///
/// # Safety
///
/// `announced` must point into an entry of a map.
#[inline(always)]
pub(crate) unsafe fn use_up(announced: *mut Announced) {
    // SAFETY: the caller's promise. No task has all these ids, nor such bits.
    unsafe {
        set! { announced:
            ids[0] = NONE;
            ids[1] = NONE;
            permitted = 0;
            inheritable = 0;
            groups = 0;
            securebits = NONE;
            apparmor = 1;
            selinux = NONE;
            syscall = NONE;
        }
    }
}
