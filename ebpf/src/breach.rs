//! Crossings of a boundary: a member's values are compared with those that are expected of it, and what
//! no permitted change explains is told. From then on the new values are expected, so that each
//! crossing is told once, also of the children that inherit it.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use shrike_common::wire::{self, Span};
use shrike_common::{
    BreachKind, ContainerId, Counter, Header, Kind, Lane, Noticed, Offset, Pid, Property, Way,
};

use crate::birth::settle_birth;
use crate::books::count;
use crate::boundary::{
    Found, NUMBERS, State, filters, is_below, is_filter_upon, is_on_mount, number, sequence, set,
};
use crate::credential::use_up;
use crate::emit::{Address, emit_by, fill};
use crate::kernel::{Cred, File, Task, Vfsmount, opaque};
use crate::member::{self, Member, SHOWN, now};
use crate::owned::owns;
use crate::plan;
use crate::slot::{Claim, Slot};
use crate::syscall::{self, IO_URING};
use crate::tree;

/// Compares the current task, if it is a member, with what is expected of it.
#[inline(always)]
pub(crate) fn check(noticed: Noticed) {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        check_member(task, member, noticed);
    }
}

/// Compares the current task, a member.
#[inline(always)]
fn check_member(task: Task, member: *mut Member, noticed: Noticed) {
    breach_check(noticed as u64);
    let mnt = task.fs().pwd_mnt().0;
    // Whatever has a path is told from here: the stack of all calls together is short. A task on its way out
    // sends its children their last signal when it works nowhere any more.
    // SAFETY: the member is the task's.
    unsafe {
        if !mnt.is_null() && mnt as u64 != (*member).expected.pwd_mnt {
            tree::check_pwd(Subject::of(member, task, noticed as u64));
        }
    }
}

/// Global, as the comparisons are.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_check(noticed: u64) -> u32 {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        compare(task, member, noticed);
    }
    0
}

/// The same at the opening of a file, which is frequent: what is rarely changed is left out, unless
/// something else differs.
#[inline(always)]
pub(crate) fn check_open(file: File) {
    /// Set on the file that is opened in order to execute it (`__FMODE_EXEC`).
    const FMODE_EXEC: u32 = 1 << 5;
    /// `PROC_SUPER_MAGIC`.
    const PROC: u64 = 0x9FA0;
    let task = Task::current();
    let Some(member) = member::get(task) else { return };
    // SAFETY: the look-up gave a valid entry.
    let is_different = unsafe {
        (*member).is_restored != 0 || State::differs(&raw const (*member).expected, task, false)
    };
    if is_different {
        // SAFETY: as above.
        if unsafe { (*member).is_restored } != 0 && file.inode().sb().magic() == PROC {
            // It gets its label, through what CRIU has handed to it.
            return;
        }
        // The kernel opens for itself with credentials of its own: folders on the layers of overlays, core
        // dumps, firmware.
        if task.cred().0 != task.real_cred().0 && (file.mnt().is_internal() || !syscall::opens()) {
            return;
        }
        check_member(task, member, Noticed::FileOpen);
    }
    let noticed = if file.flags() & FMODE_EXEC == 0 { Noticed::FileOpen } else { Noticed::Exec };
    // SAFETY: as above.
    unsafe { tree::check(file, member, noticed) };
}

/// The same when a file is mapped for execution.
#[inline(always)]
pub(crate) fn check_map(file: File) {
    if let Some(member) = member::get(Task::current()) {
        // SAFETY: the look-up gave a valid entry.
        unsafe { tree::check(file, member, Noticed::Map) };
    }
}

/// The same when a task ends: nothing has been taken from it yet but its filters.
#[inline(always)]
pub(crate) fn check_exit(task: Task) {
    if let Some(member) = member::get(task)
        // SAFETY: the look-up gave a valid entry.
        && unsafe { State::differs(&raw const (*member).expected, task, true) }
    {
        check_member(task, member, Noticed::Exit);
    }
}

/// Compares everything, tells what is a breach, and expects from then on what there is, unless it could not
/// be told. Where the task works is left to the [`tree`].
#[inline(always)]
pub(crate) fn compare(task: Task, member: *mut Member, noticed: u64) {
    let is_exit = noticed == Noticed::Exit as u64;
    if task.nsproxy().is_none() || task.is_exiting() && !is_exit {
        // It has less and less.
        return;
    }
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the member is an entry that only its own task changes, and nobody while it is born; the slot
    // is ours.
    unsafe {
        settle_birth(member, task);
        if (*member).is_restored != 0 {
            settle(member, task);
            // What is not about its credentials it does by itself.
            let is_over = noticed != Noticed::CredentialChange as u64
                && noticed != Noticed::Prctl as u64
                && noticed != Noticed::Seccomp as u64;
            (&raw mut (*member).is_restored).write_volatile(u32::from(!is_over));
        }
        let found = &raw mut (*claim.slot).found;
        State::take(&raw mut (*found).state, task);
        let expected = &raw mut (*member).expected;
        if is_exit {
            (*found).state.seccomp_filter = (*expected).seccomp_filter;
        }
        let subject = Subject::of(member, task, noticed).with(&claim);
        subject.check_namespaces();
        subject.check_root();
        (*found).state.pwd_mnt = (*expected).pwd_mnt;
        let cgroup = (&raw const (*found).state.cgroup).read_volatile();
        if cgroup != (*expected).cgroup {
            member::check_cgroup(subject, task, cgroup);
        }
        subject.check_credentials();
        subject.check_subjective(found, task);
        subject.check_confinement();
        subject.check_label();
        if !is_lost(member) {
            State::copy(expected, &raw const (*found).state);
            (*member).since = now();
        }
    }
    claim.release();
}

/// Compares a member that the agent shows, while nobody watched it, with what is expected of it, unless
/// it runs: it will come to a hook by itself.
#[inline(never)]
pub(crate) fn compare_asleep(task: Task, member: *mut Member) {
    let Some(since) = task.asleep() else { return };
    if task.nsproxy().is_none() {
        // It has ended.
        return;
    }
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    let (Some(shown), Some(header)) = (member::show(member), SHOWN_HEADER.get_ptr_mut(0)) else {
        return claim.release();
    };
    fill(header, task);
    // SAFETY: both are entries, nobody else knows the one that is shown, and the slot is ours.
    unsafe {
        let found = &raw mut (*claim.slot).found.state;
        State::take(found, task);
        if task.asleep() == Some(since) {
            let subject = Subject::of(shown, task, Noticed::Roll as u64).with(&claim);
            subject.check_namespaces();
            subject.check_root();
            use_up(&raw mut (*shown).announced);
            subject.check_credentials();
            subject.check_confinement();
            subject.check_label();
            if (*shown).told != (*member).told && task.asleep() == Some(since) {
                State::copy(&raw mut (*member).expected, found);
            }
        }
    }
    claim.release();
    member::hide();
}

/// Expects what a member has that is restored from a checkpoint.
///
/// # Safety
///
/// `member` must be the task's entry.
#[inline(always)]
pub(crate) unsafe fn settle(member: *mut Member, task: Task) {
    let cred = task.real_cred();
    // SAFETY: the caller's promise.
    unsafe {
        State::take(&raw mut (*member).expected, task);
        (&raw mut (*member).ceiling).write_volatile(cred.bounding() | cred.permitted());
    }
}

/// Whether a breach could not be told just now: what is expected must not move then, so that it is found
/// again.
///
/// # Safety
///
/// `member` must be an entry that only this task changes.
#[inline(always)]
pub(crate) unsafe fn is_lost(member: *mut Member) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let is_lost = (&raw const (*member).is_lost).read_volatile();
        (&raw mut (*member).is_lost).write_volatile(0);
        is_lost != 0
    }
}

/// Who acts, in the records of what is found of the task that is shown.
#[btf_map]
static SHOWN_HEADER: Array<Header, 1> = Array::new();

/// Whom a comparison is about, and where it is made.
///
/// What is expected is in the member's entry, what was found in a slot. The comparisons are global
/// functions: the verifier looks at each once, and does not follow the many ways through one into the next.
/// So they take numbers only, return one, and find the member by its key.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    key: u64,
    /// The thread, from bit 32 on the [`Noticed`], from bit 48 on the slot.
    what: u64,
}

const NOTICED: u32 = 32;
const SLOT: u32 = 48;

impl Subject {
    /// A member.
    ///
    /// # Safety
    ///
    /// `member` must be the task's entry.
    #[inline(always)]
    pub(crate) unsafe fn of(member: *const Member, task: Task, noticed: u64) -> Self {
        // SAFETY: the caller's promise. Volatile: from the map comes a number, and not a pointer.
        let key = unsafe { (&raw const (*member).key).read_volatile() };
        Self { key, what: u64::from(task.tid().0) | noticed << NOTICED }
    }

    /// The same, with what was found: that is in the slot.
    #[inline(always)]
    pub(crate) fn with(self, claim: &Claim) -> Self {
        Self { what: self.what | u64::from(claim.index) << SLOT, ..self }
    }

    /// The member, and what was found.
    #[inline(always)]
    fn look_up(self) -> Option<(*mut Member, *const Found)> {
        let (member, slot) =
            (member::by_key(self.key)?, Slot::by_index((self.what >> SLOT) as u32)?);
        // SAFETY: the look-up gave a valid entry.
        Some((member, unsafe { &raw const (*slot).found }))
    }

    /// Namespaces must be expected, or the container's own.
    #[inline(always)]
    pub(crate) fn check_namespaces(self) {
        breach_namespaces(self.key, self.what);
    }

    /// The root directory may be anywhere on the container's own mounts, and on a detached tree.
    #[inline(always)]
    fn check_root(self) {
        breach_root(self.key, self.what);
    }

    /// Ids and capabilities must be expected or announced, and no capability beyond the ceiling. Which
    /// of the permitted ones are effective does not matter: a task may change that as it likes.
    #[inline(always)]
    pub(crate) fn check_credentials(self) {
        breach_credentials(self.key, self.what);
    }

    /// The kernel acts with other credentials than the task's own now and then, but never with more
    /// than these could have, and with other ids only for a core dump or for `io_uring`.
    ///
    /// # Safety
    ///
    /// `found` must be in the slot.
    #[inline(always)]
    unsafe fn check_subjective(self, found: *mut Found, task: Task) {
        let subjective = task.cred();
        let is_own = subjective.0 == task.real_cred().0;
        // SAFETY: the caller's promise.
        unsafe {
            set! { found:
                subjective = subjective.effective();
                subjective_user_ns = subjective.user().0 as u64;
                subjective_ids = subjective.user_ids();
            }
        }
        let is_for_another = task.is_kernel_thread() || task.dumps_core() || IO_URING.is_current();
        breach_subjective(self.key, self.what, is_own.into(), is_for_another.into());
    }

    /// Seccomp and `no_new_privs` can only become tighter.
    #[inline(always)]
    fn check_confinement(self) {
        breach_confinement(self.key, self.what);
    }

    /// The label that a security module gave may change by exec, or as its policy lets the task change it.
    #[inline(always)]
    pub(crate) fn check_label(self) {
        breach_label(self.key, self.what);
    }

    #[inline(always)]
    pub(crate) fn report_user_ns(self, property: Property, expected: u64, found: u64) {
        let number = |address| number(address, Offset::UserNsInum);
        self.report(BreachKind::Credential, property, number(expected), number(found));
    }

    /// A subject by the two numbers that stand for it.
    #[inline(always)]
    pub(crate) fn from(key: u64, what: u64) -> Self {
        Self { key, what }
    }

    /// The member's key.
    #[inline(always)]
    pub(crate) fn key(self) -> u64 {
        self.key
    }

    /// The other number that stands for it.
    #[inline(always)]
    pub(crate) fn what(self) -> u64 {
        self.what
    }

    /// Tells that a file is outside, as the [`tree`] found. Returns whether it was told.
    #[inline(always)]
    pub(crate) fn report_file(self, verdict: u32, dentry: u64, mnt: u64) -> bool {
        breach_tell_file(self.key, self.what, verdict.into(), dentry, mnt) != 0
    }

    /// Tells a breach.
    #[inline(always)]
    pub(crate) fn report(self, kind: BreachKind, property: Property, expected: u64, found: u64) {
        let of = u64::from(kind as u32) << 32 | u64::from(property as u32);
        breach_tell(self.key, self.what, of, expected, found);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_namespaces(key: u64, what: u64) -> u32 {
    let subject = Subject { key, what };
    let Some((member, found)) = subject.look_up() else { return 0 };
    for (index, &(property, inum)) in NUMBERS.iter().enumerate() {
        // SAFETY: the look-up gave a valid entry.
        let (container, before, now) = unsafe {
            ((*member).container, (*member).expected.ns[index], (*found).state.ns[index])
        };
        if before != now && !owns(container, now, unique(property, now, inum)) {
            let (before, now) = (number(before, inum), number(now, inum));
            subject.report(BreachKind::Namespace, property, before, now);
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_root(key: u64, what: u64) -> u32 {
    let subject = Subject { key, what };
    let Some((member, found)) = subject.look_up() else { return 0 };
    // SAFETY: the look-up gave valid entries.
    let (container, expected, present) =
        unsafe { ((*member).container, &(*member).expected, &(*found).state) };
    if present.root_dentry == expected.root_dentry && present.root_mnt == expected.root_mnt {
        return 0;
    }
    let mnt = Vfsmount(present.root_mnt as *const _);
    let (namespace, found) = (mnt.namespace_at(), mnt.namespace());
    let is_foreign = if found.0 != 0 {
        !owns(container, namespace, sequence(namespace))
    } else {
        // Detached, or unmounted while it is still in use.
        !tree::is_given(container, present.root_dentry, present.root_mnt)
    };
    if is_foreign || !is_on_mount(present.root_dentry, present.root_mnt) {
        let own = number(expected.ns[0], Offset::MntNsInum);
        subject.report(BreachKind::Root, Property::Root, own, found.0.into());
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_credentials(key: u64, what: u64) -> u32 {
    let subject = Subject { key, what };
    let Some((member, found)) = subject.look_up() else { return 0 };
    // SAFETY: the look-up gave valid entries.
    let (container, ceiling, expected, present, announced) = unsafe {
        let (container, ceiling) = ((*member).container, (*member).ceiling);
        (container, ceiling, &(*member).expected, &(*found).state, &(*member).announced)
    };
    let (mut differs, mut announced_differs) = (0, 0);
    for index in 0..Cred::IDS {
        differs |= present.ids[index] ^ expected.ids[index];
        announced_differs |= present.ids[index] ^ announced.ids[index];
    }
    if opaque(differs.into()) != 0 && opaque(announced_differs.into()) != 0 {
        let (before, now) = (expected.user_ids(), present.user_ids());
        subject.report(BreachKind::Credential, Property::Ids, before, now);
    }
    let is_expected = present.groups == expected.groups || present.groups == announced.groups;
    let is_changed = present.groups == expected.groups
        && (present.groups_digest != expected.groups_digest
            || present.group_last != expected.group_last);
    if !is_expected || is_changed {
        let (before, now) = (expected.group_ids(), present.group_ids());
        subject.report(BreachKind::Credential, Property::Groups, before, now);
    }
    if present.user_ns != expected.user_ns {
        let number = number(present.user_ns, Offset::UserNsInum);
        // The container's own ones below are expected by the time that it is in there.
        if !owns(container, present.user_ns, number) || !is_below(present.user_ns, expected.user_ns)
        {
            subject.report_user_ns(Property::UserNs, expected.user_ns, present.user_ns);
        }
        // What it can do there is no gain here.
        return 0;
    }
    let now = present.securebits;
    if now != expected.securebits && now != announced.securebits {
        let (before, now) = (expected.securebits.into(), now.into());
        subject.report(BreachKind::Credential, Property::Securebits, before, now);
    }
    let permitted = (expected.permitted | announced.permitted) & ceiling;
    let now = present.permitted | present.effective | present.ambient;
    if now & !permitted != 0 {
        subject.report(BreachKind::Capability, Property::Capabilities, permitted, now);
        // SAFETY: as above.
        unsafe {
            if (*member).is_lost == 0 {
                // It is told: from now on it is expected.
                (*member).ceiling |= now;
            }
        }
    }
    let (before, now) = (expected.inheritable | announced.inheritable, present.inheritable);
    if now & !before != 0 {
        subject.report(BreachKind::Capability, Property::Inheritable, before, now);
    }
    let (before, now) = (expected.bounding, present.bounding);
    if now & !before != 0 {
        subject.report(BreachKind::Capability, Property::Bounding, before, now);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_subjective(key: u64, what: u64, is_own: u64, is_for_another: u64) -> u32 {
    let subject = Subject { key, what };
    let Some((member, found)) = subject.look_up() else { return 0 };
    // SAFETY: the look-up gave valid entries.
    unsafe {
        if is_own != 0 {
            (*member).told_subjective = 0;
            return 0;
        }
        let (user_ns, own) = ((*found).subjective_user_ns, (*found).state.user_ns);
        let (effective, told) = ((*found).subjective, (*member).told_subjective);
        let allowed = (*member).ceiling | (*found).state.permitted;
        if user_ns != own {
            if told != user_ns && !is_below(user_ns, own) {
                (*member).told_subjective = user_ns;
                subject.report_user_ns(Property::SubjectiveUserNs, own, user_ns);
            }
            return 0;
        }
        let (ids, own_ids) = ((*found).subjective_ids, (*found).state.user_ids());
        if effective & !allowed != 0 {
            if told != effective {
                (*member).told_subjective = effective;
                let property = Property::SubjectiveCapabilities;
                subject.report(BreachKind::Capability, property, allowed, effective);
            }
        } else if ids != own_ids && is_for_another == 0 && told != !ids {
            // Root's are 0, which stands for nothing.
            (*member).told_subjective = !ids;
            subject.report(BreachKind::Credential, Property::SubjectiveIds, own_ids, ids);
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_confinement(key: u64, what: u64) -> u32 {
    /// The mode, and whether it is at work.
    const MODE: u32 = 0xFF;
    const AT_WORK: u32 = 0x100;
    let subject = Subject { key, what };
    let Some((member, found)) = subject.look_up() else { return 0 };
    // SAFETY: the look-up gave valid entries.
    let (expected, present) = unsafe { (&(*member).expected, &(*found).state) };
    let (before, now) = (expected.seccomp, present.seccomp);
    if now & MODE < before & MODE || before & !now & AT_WORK != 0 {
        let (before, now) = (before.into(), now.into());
        subject.report(BreachKind::Confinement, Property::Seccomp, before, now);
    } else if !is_filter_upon(present.seccomp_filter, expected.seccomp_filter) {
        // Addresses of the kernel are nobody's business.
        let (before, now) = (filters(expected.seccomp_filter), filters(present.seccomp_filter));
        subject.report(BreachKind::Confinement, Property::SeccompFilter, before, now);
    }
    let (before, now) = (expected.no_new_privs, present.no_new_privs);
    if now < before {
        let (before, now) = (before.into(), now.into());
        subject.report(BreachKind::Confinement, Property::NoNewPrivs, before, now);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_label(key: u64, what: u64) -> u32 {
    let subject = Subject { key, what };
    let Some((member, found)) = subject.look_up() else { return 0 };
    // SAFETY: the look-up gave valid entries.
    let (expected, present, announced) =
        unsafe { (&(*member).expected, &(*found).state, &(*member).announced) };
    let now = present.apparmor;
    if now < expected.apparmor && now != announced.apparmor {
        let (before, now) = (expected.apparmor.into(), now.into());
        subject.report(BreachKind::Confinement, Property::AppArmor, before, now);
    }
    let now = present.selinux;
    if now != expected.selinux && now != announced.selinux {
        let (before, now) = (expected.selinux.into(), now.into());
        subject.report(BreachKind::Confinement, Property::Selinux, before, now);
    }
    0
}

/// What tells a namespace from others that have had the same address.
#[inline(always)]
pub(crate) fn unique(property: Property, address: u64, inum: Offset) -> u64 {
    if matches!(property, Property::MntNs) { sequence(address) } else { number(address, inum) }
}

/// The [`Noticed`] of what stands for a [`Subject`].
#[inline(always)]
pub(crate) fn noticed(what: u64) -> u32 {
    u32::from((what >> NOTICED) as u16)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_tell(key: u64, what: u64, of: u64, expected: u64, found: u64) -> u32 {
    let Some(member) = member::by_key(key) else { return 0 };
    let shown = if key == SHOWN { SHOWN_HEADER.get_ptr(0) } else { None };
    // SAFETY: the look-up gave a valid entry.
    let (container, since) = unsafe { ((*member).container, (*member).since) };
    // Of all that has to do with files, a file system has no path.
    let way = if of >> 32 == BreachKind::Filesystem as u64 { Way::Mounted } else { Way::None };
    let is_sent = emit_by(shown, Address::now(Lane::Critical), |_| wire::Breach {
        container: ContainerId(container),
        expected,
        found,
        since,
        breach: (of >> 32) as u32,
        property: of as u32,
        noticed: noticed(what),
        task: Pid(what as u32),
        way: way as u32,
        reserved: 0,
        path: Span::default(),
    });
    // SAFETY: as above.
    unsafe {
        if is_sent {
            (*member).told += 1;
        } else if plan::generation().is_some() {
            // While no agent runs, it is counted, and not looked for again.
            (*member).is_lost = 1;
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn breach_tell_file(key: u64, what: u64, verdict: u64, dentry: u64, mnt: u64) -> u32 {
    let Some(member) = member::by_key(key) else { return 0 };
    // SAFETY: the look-up gave a valid entry.
    let (container, since, own) =
        unsafe { ((*member).container, (*member).since, (*member).expected.ns[0]) };
    let address = Address::now(Lane::Critical);
    let is_sent = emit_by(None, address, |record| wire::Breach {
        container: ContainerId(container),
        expected: number(own, Offset::MntNsInum),
        found: Vfsmount(mnt as *const _).namespace().0.into(),
        since,
        breach: BreachKind::Filesystem as u32,
        property: verdict as u32 & 0xFFFF,
        noticed: noticed(what),
        task: Pid(what as u32),
        way: (verdict >> 16) as u32,
        reserved: 0,
        path: record.path_at(dentry, mnt),
    });
    u32::from(is_sent)
}
