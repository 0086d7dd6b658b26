//! Changes of credentials: the kernel's permission hooks announce those that they allow, with their
//! values. What is installed must have been announced in the same system call, or be no gain. That it
//! passes through `commit_creds` proves nothing: this is what exploits call.

use shrike_common::{Noticed, Property};

use crate::boundary::{State, is_below, set};
use crate::breach::{self, Subject};
use crate::kernel::{Cred, Task};
use crate::member::{self, Member, in_user_namespace};
use crate::syscall::{SETNS, UNSHARE};

/// What was announced last.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Announced {
    pub(crate) ids: [u32; Cred::IDS],
    /// The permitted capabilities.
    pub(crate) permitted: u64,
    /// `orig_ax` of the system call in which it was.
    syscall: u64,
}

impl Announced {
    /// Whether exactly the ids that the member has as present were announced.
    ///
    /// # Safety
    ///
    /// `member` must be an entry.
    #[inline(always)]
    pub(crate) unsafe fn fits(&self, member: *const Member) -> bool {
        // SAFETY: the caller's promise.
        let present = unsafe { &(*member).present.ids };
        let mut differs = 0;
        for (id, present) in self.ids.iter().zip(present) {
            differs |= id ^ present;
        }
        differs == 0
    }
}

/// `security_task_fix_setuid`, `security_task_fix_setgid`, `security_capset` and
/// `security_bprm_committing_creds`: the kernel has allowed these credentials.
#[inline(always)]
pub(crate) fn announce(new: Cred) {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        breach::check(Noticed::CredentialChange);
        note(task, member, new);
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
            syscall = task.syscall();
        }
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
    // SAFETY: the member is an entry that only its own task changes.
    unsafe {
        let subject = Subject::of(member, task, Noticed::CommitCreds);
        let expected = &raw mut (*member).expected;
        let present = &raw mut (*member).present;
        let announced = &raw mut (*member).announced;
        State::take_credentials(present, new);
        let is_announced = (*announced).syscall == task.syscall();
        let permitted = if is_announced { (*announced).permitted } else { 0 };
        subject.check_credentials(permitted, is_announced && (*announced).fits(member));
        let (user_ns, own) = ((*present).user_ns, (*expected).user_ns);
        // Any other one was told just now.
        if user_ns != own && is_below(user_ns, own) {
            if UNSHARE.is_current() || SETNS.is_current() {
                in_user_namespace(member, user_ns);
            } else {
                subject.report_user_ns(Property::UserNs, own, user_ns);
            }
        }
        State::take_credentials(expected, new);
        // It is used up.
        set! { announced: syscall = u64::MAX; permitted = 0; }
    }
}
