//! The trees of files that a container was given: what each of its mounts shows, told by superblock and
//! root, and each file whose descriptor somebody outside handed over. What a member opens, executes, maps
//! or mounts must be in one of them. By which mount it is reached does not matter, nor by which path.

use aya_ebpf::btf_maps::{Array, LruHashMap};
use aya_ebpf::macros::btf_map;
use shrike_common::{Counter, Kind, Noticed, Offset, Property, Way};

use crate::books::count;
use crate::boundary::sequence;
use crate::breach::{Subject, noticed};
use crate::kernel::{
    Dentry, File, FilesStruct, PathRef, Task, Vfsmount, address, fetch_add, offset, read, read_at,
};
use crate::member::{self, Member};
use crate::owned::owns;
use crate::plan;
use crate::slot::{Claim, Slot};
use crate::steps::{self, NEXT, STOP, Step, word};
use crate::syscall::PIDFD_GETFD;

/// How many trees are kept. One that is forgotten is given anew when it is reached by a mount of the
/// container's own.
const TREES_KEPT: usize = 32_768;

/// What is given, and for what: [`READ`] and [`WRITE`], with the number of the inode in the upper half, or
/// [`SHARED`]; and whose a root file system is.
#[btf_map]
static TREES: LruHashMap<Tree, u64, TREES_KEPT> = LruHashMap::new();

/// Raised with each file system that is given to be mounted: what was looked at before may be another
/// one at the same address by then.
#[btf_map]
static EPOCH: Array<u64, 1> = Array::new();

/// `FMODE_READ` and `FMODE_WRITE`.
const READ: u64 = 1;
const WRITE: u64 = 2;

/// Of what is judged: it is the current directory.
const PWD: u64 = 8;

/// Of the tree of nothing ([`Tree::shared`]): the container has a mount that propagates to the host.
const SHARED: u64 = 4;

/// `FMODE_PATH`: a descriptor that nothing can be read or written by.
const FMODE_PATH: u32 = 1 << 14;

/// A tree that a container was given.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Tree {
    container: u64,
    sb: u64,
    /// The dentry at its root.
    root: u64,
    /// The superblock's device: another one at the same address has another, as a rule.
    dev: u64,
}

/// The mount that a member has last opened a file by, and that is given.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Seen {
    sb: u64,
    root: u64,
    epoch: u64,
    /// Whether it shows its file system from the root: nothing can be above it.
    is_whole: u64,
    /// The dentry of which was last told that it is outside.
    told: u64,
}

/// Where a loop over dentries, mounts or descriptors is, and what it has found: see
/// [`steps`].
#[repr(C)]
pub(crate) struct Look {
    container: u64,
    sb: u64,
    dev: u64,
    /// The root of the mount, or the mount that the loop started at.
    root: u64,
    /// The present dentry, or mount.
    at: u64,
    /// What the file is wanted for.
    access: u64,
    /// What the entry says of the tree that it is in; 0 if it is in none.
    is_given: u64,
    /// Whether the mount's root was reached; or whether the loop goes up.
    is_below: u64,
    /// The mount of which a descriptor is looked for, and whether there is one.
    mnt: u64,
    is_held: u64,
    /// A table of descriptors.
    fds: u64,
    max_fds: u64,
}

impl Tree {
    #[inline(always)]
    pub(crate) fn new(container: u64, sb: u64, root: u64, dev: u32) -> Self {
        Self { container, sb, root, dev: dev.into() }
    }

    /// Stands for whether a mount of the container propagates to the host.
    pub(crate) fn shared(container: u64) -> Self {
        Self { container, sb: 0, root: 0, dev: 0 }
    }

    #[inline(always)]
    pub(crate) fn is_given(&self) -> bool {
        // SAFETY: the entry is only tested for.
        unsafe { TREES.get(self) }.is_some()
    }

    /// Gives it for reading and writing.
    #[inline(always)]
    pub(crate) fn give_all(&self) {
        self.give(READ | WRITE);
    }

    #[inline(always)]
    fn give(&self, access: u64) {
        self.keep(access | inode_number(self.root) << 32);
    }

    #[inline(always)]
    fn keep(&self, value: u64) {
        // The table forgets what it has not seen for longest.
        let _ = TREES.insert(self, value, 0);
    }
}

/// Whether what a member does with a file stays within what its container was given.
///
/// # Safety
///
/// `member` must be the current task's entry.
#[inline(always)]
pub(crate) unsafe fn check(file: File, member: *mut Member, noticed: Noticed) {
    // SAFETY: the caller's promise.
    if !unsafe { has_seen(member, file.mnt(), file.dentry()) } {
        judge(file, member, noticed);
    }
}

/// `security_path_*`: a member is about to change an entry of this folder, or a file itself, which it need not
/// open for that.
#[inline(always)]
pub(crate) fn changed(at: PathRef) {
    if let Some(member) = member::get(Task::current()) {
        changed_by(member, at);
    }
}

/// The same of an entry that goes from one folder to another.
#[inline(always)]
pub(crate) fn renamed(from: PathRef, to: PathRef) {
    if let Some(member) = member::get(Task::current()) {
        changed_by(member, from);
        changed_by(member, to);
    }
}

#[inline(always)]
fn changed_by(member: *mut Member, at: PathRef) {
    let (mnt, dentry) = (at.mnt(), at.dentry());
    // SAFETY: the member is the current task's.
    if !unsafe { has_seen(member, mnt, dentry) } {
        judge_path(address(dentry.0), address(mnt.0), member, Noticed::Change, WRITE);
    }
}

/// Whether a file is on the mount that its member has opened a file by last, and below the root of it.
///
/// # Safety
///
/// `member` must be the current task's entry.
#[inline(always)]
unsafe fn has_seen(member: *mut Member, mnt: Vfsmount, dentry: Dentry) -> bool {
    /// How far below the root of a mount files are looked for right here.
    const STEPS: u32 = 12;
    // SAFETY: the caller's promise.
    let seen = unsafe { &(*member).seen };
    let root = mnt.root();
    if mnt.sb().0 as u64 == seen.sb && root.0 as u64 == seen.root && epoch() == seen.epoch {
        if seen.is_whole != 0 {
            return true;
        }
        let mut at = dentry;
        for _ in 0..STEPS {
            if at.0 == root.0 {
                return true;
            }
            at = at.parent();
        }
    }
    false
}

/// The current task has executed its container's program: that must come from there.
#[inline(always)]
pub(crate) fn check_program() {
    let task = Task::current();
    if let Some(member) = member::get(task) {
        judge(task.mm().exe_file(), member, Noticed::Exec);
        // SAFETY: the look-up gave a valid entry.
        check_pwd(unsafe { Subject::of(member, task, Noticed::Exec as u64) });
    }
}

/// Where the current task works must be in there as well.
#[inline(always)]
pub(crate) fn check_pwd(subject: Subject) {
    tree_check_pwd(subject.key(), subject.what());
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tree_check_pwd(key: u64, what: u64) -> u32 {
    let (Some(member), fs) = (member::by_key(key), Task::current().fs()) else { return 0 };
    let (dentry, mnt) = (address(fs.pwd_dentry().0), address(fs.pwd_mnt().0));
    if tell(Subject::from(key, what), member, dentry, mnt, READ | PWD) {
        // SAFETY: the look-up gave a valid entry.
        unsafe { (&raw mut (*member).expected.pwd_mnt).write_volatile(mnt) };
    }
    0
}

/// Whether a file is in a tree that a container was given.
#[inline(always)]
pub(crate) fn is_given(container: u64, dentry: u64, mnt: u64) -> bool {
    let root = Vfsmount::root_of(Vfsmount(mnt as *const _).mount());
    tree_find(dentry, root, container, READ) & GIVEN != 0
}

/// Whether a container was given a file, by whatever mount it is reached.
#[inline(always)]
pub(crate) fn is_file_given(container: u64, dentry: u64) -> bool {
    tree_find(dentry, 0, container, READ) & GIVEN != 0
}

/// `security_file_receive`: a descriptor comes from another process. What is handed over is given, what is
/// taken by force is not.
#[inline(always)]
pub(crate) fn received(file: File) {
    let Some(member) = member::get(Task::current()) else { return };
    if PIDFD_GETFD.is_current() {
        return judge(file, member, Noticed::Receive);
    }
    // SAFETY: the look-up gave a valid entry.
    let container = unsafe { (&raw const (*member).container).read_volatile() };
    let access = u64::from(file.mode()) & (READ | WRITE);
    // Its own files would only push others out of the table.
    if tree_find(address(file.dentry().0), 0, container, access) & GIVEN == 0 {
        give_file(file.0 as u64, container);
    }
}

/// `file_open_root`: a file is opened by its handle. A descriptor that only names a place reaches no other
/// hook, and the place can be mounted by it, which then shows nothing above itself.
#[inline(always)]
pub(crate) fn opened_by_handle(path: PathRef, flags: u32) {
    const O_PATH: u32 = 0o10_000_000;
    if flags & O_PATH == 0 {
        return;
    }
    if let Some(member) = member::get(Task::current()) {
        let (dentry, mnt) = (address(path.dentry().0), address(path.mnt().0));
        judge_path(dentry, mnt, member, Noticed::FileOpen, READ);
    }
}

/// `security_move_mount`: a member gives a tree a place among its mounts.
#[inline(always)]
pub(crate) fn moved(from: PathRef) {
    if let Some(member) = member::get(Task::current()) {
        let (dentry, mnt) = (address(from.dentry().0), address(from.mnt().0));
        judge_path(dentry, mnt, member, Noticed::MoveMount, READ);
    }
}

/// Gives to a container what its mounts show.
#[inline(never)]
pub(crate) fn give_mounts(task: Task, container: u64) {
    /// Two for each mount.
    const STEPS: u32 = 16_384;
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Boundary) };
    let slot = claim.slot;
    // SAFETY: the slot is ours; the steps are handed a pointer to the stack only.
    unsafe {
        word!(slot.look.container = container);
        word!(slot.look.is_below = 0);
        word!(slot.look.root = task.fs().root_mnt().mount());
        own_root(word!(slot.look.root), container);
        word!(slot.look.at = word!(slot.look.root));
        steps::take(slot, STEPS, next_mount);
    }
    claim.release();
}

/// One step through the mounts below one another: a mount and down to its first child, or up from one to the
/// next.
#[inline(never)]
extern "C" fn next_mount(_: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot.
    unsafe {
        let slot = *shared;
        let mount = word!(slot.look.at);
        let children = |mount: u64| mount.wrapping_add(offset(Offset::MountMounts) as u64);
        let of_child = |link: u64| link.wrapping_sub(offset(Offset::MountChild) as u64);
        if word!(slot.look.is_below) == 0 {
            give_mount(mount, word!(slot.look.container));
            let first: u64 = read(mount, Offset::MountMounts);
            if first == 0 {
                return STOP;
            }
            if first == children(mount) {
                word!(slot.look.is_below = 1);
            } else {
                word!(slot.look.at = of_child(first));
            }
            return NEXT;
        }
        if mount == word!(slot.look.root) {
            return STOP;
        }
        let next: u64 = read(mount, Offset::MountChild);
        let parent: u64 = read(mount, Offset::MountParent);
        if next == 0 || parent == 0 || parent == mount {
            return STOP;
        }
        if next == children(parent) {
            word!(slot.look.at = parent);
        } else {
            word!(slot.look.at = of_child(next));
            word!(slot.look.is_below = 0);
        }
        NEXT
    }
}

/// Notes whose root file system it is: as the tree of container 0.
#[inline(always)]
fn own_root(mount: u64, container: u64) {
    let sb = Vfsmount::sb_of(mount);
    let dev: u32 = read(sb, Offset::SbDev);
    Tree { container: 0, sb, root: Vfsmount::root_of(mount), dev: dev.into() }.keep(container);
}

/// The container whose root file system a file is on; 0 if none is known.
#[inline(always)]
pub(crate) fn owner(dentry: Dentry) -> u64 {
    let Some(claim) = Claim::new() else {
        count(Counter::NoSlot, Kind::Breach);
        return 0;
    };
    let slot = claim.slot;
    // SAFETY: the slot is ours.
    let owner = unsafe { find(slot, dentry.0 as u64, 0, 0, 0) };
    claim.release();
    owner
}

#[inline(always)]
fn give_mount(mount: u64, container: u64) {
    let sb = Vfsmount::sb_of(mount);
    let dev: u32 = read(sb, Offset::SbDev);
    Tree { container, sb, root: Vfsmount::root_of(mount), dev: dev.into() }.give(READ | WRITE);
    // The number of the group of mounts that it shares events with.
    if read::<i32>(mount, Offset::MountGroup) != 0 {
        Tree::shared(container).keep(SHARED);
    }
}

/// Gives to a container the files that a task holds which becomes its member: they were handed over. A
/// folder is not: what is below it would be given, too.
#[inline(never)]
pub(crate) fn give_descriptors(task: Task, container: u64) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Boundary) };
    let slot = claim.slot;
    // SAFETY: the slot is ours; the steps are handed a pointer to the stack only.
    unsafe {
        word!(slot.look.container = container);
        each_descriptor(slot, task.files(), give_descriptor);
    }
    claim.release();
}

extern "C" fn give_descriptor(index: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot.
    unsafe {
        let slot = *shared;
        let Some(file) = file_of(slot, index) else { return STOP };
        if file != 0 {
            give_file(file, word!(slot.look.container));
        }
        NEXT
    }
}

/// The address of the file of a descriptor, 0 if it is free; `None` behind the last one.
///
/// # Safety
///
/// `slot` must be claimed.
#[inline(always)]
unsafe fn file_of(slot: *mut Slot, index: u64) -> Option<u64> {
    // SAFETY: the caller's promise.
    let (fds, count) = unsafe { (word!(slot.look.fds), word!(slot.look.max_fds)) };
    (index < count).then(|| read_at(fds.wrapping_add(index * 8)))
}

/// Gives a file to a container, for what its descriptor is good for.
#[inline(always)]
fn give_file(file: u64, container: u64) {
    let mode: u32 = read(file, Offset::FileMode);
    let dentry: u64 = read(file, Offset::FileDentry);
    let mnt: u64 = read(file, Offset::FileMnt);
    if mode & FMODE_PATH != 0
        || has_type(dentry, S_IFDIR)
        || Vfsmount(mnt as *const _).is_internal()
    {
        return;
    }
    let sb: u64 = read(dentry, Offset::DentrySb);
    let dev: u32 = read(sb, Offset::SbDev);
    let access = u64::from(mode) & (READ | WRITE);
    Tree { container, sb, root: dentry, dev: dev.into() }.give(access);
}

/// Runs a step for each descriptor of a table.
///
/// # Safety
///
/// `slot` must be claimed.
#[inline(always)]
unsafe fn each_descriptor(slot: *mut Slot, files: FilesStruct, step: Step) {
    /// Of more, those with the lowest numbers are looked at.
    const MOST: u32 = 1024;
    let table = files.table();
    // SAFETY: the caller's promise.
    unsafe {
        word!(slot.look.fds = read(table, Offset::FdtableFd));
        word!(slot.look.max_fds = read::<u32>(table, Offset::FdtableMax).into());
        steps::take(slot, MOST, step);
    }
}

#[inline(always)]
fn judge(file: File, member: *mut Member, noticed: Noticed) {
    let access = u64::from(file.mode()) & (READ | WRITE);
    judge_path(address(file.dentry().0), address(file.mnt().0), member, noticed, access);
}

#[inline(never)]
fn judge_path(dentry: u64, mnt: u64, member: *mut Member, noticed: Noticed, access: u64) {
    // SAFETY: the callers' promise.
    let subject = unsafe { Subject::of(member, Task::current(), noticed as u64) };
    tell(subject, member, dentry, mnt, access);
}

/// Returns whether nothing is wrong, or it is told.
#[inline(always)]
fn tell(subject: Subject, member: *mut Member, dentry: u64, mnt: u64, access: u64) -> bool {
    let verdict = tree_judge(subject.key(), dentry, mnt, subject.what(), access);
    // Told from here and not from there: the stack of all calls together is short.
    if verdict != 0 && !subject.report_file(verdict, dentry, mnt) && plan::generation().is_some() {
        // SAFETY: as above. It is looked for again.
        unsafe { (&raw mut (*member).seen.told).write_volatile(0) };
        return false;
    }
    true
}

/// What is wrong with a file: the property that shows it and, in the upper half, the way to it; 0 if nothing
/// is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tree_judge(key: u64, dentry: u64, mnt: u64, what: u64, access: u64) -> u32 {
    let Some(member) = member::by_key(key) else { return 0 };
    // SAFETY: the look-up gave a valid entry.
    let container = unsafe { (*member).container };
    let mount = Vfsmount(mnt as *const _).mount();
    let (sb, root) = (Vfsmount::sb_of(mount), Vfsmount::root_of(mount));
    let dev: u32 = read(sb, Offset::SbDev);
    let shown = Tree { container, sb, root, dev: dev.into() };
    let is_whole = root == read(sb, Offset::SbRoot);
    if is_whole && shown.is_given() {
        // SAFETY: as above.
        unsafe { see(member, &shown, true) };
        return 0;
    }
    let mnt_ref = Vfsmount(mnt as *const _);
    if mnt_ref.is_internal() {
        return 0;
    }
    let found = tree_find(dentry, root, container, access & (READ | WRITE));
    let (is_given, is_below) = (found & GIVEN != 0, found & BELOW != 0);
    if is_given {
        if is_below {
            // SAFETY: as above.
            unsafe { see(member, &shown, is_whole) };
        }
        return 0;
    }
    let namespace = mnt_ref.namespace_at();
    // SAFETY: as above.
    let own = unsafe { (*member).expected.ns[0] };
    let is_own = namespace == own || owns(container, namespace, sequence(namespace));
    if is_own && is_below {
        // Neither made from within, or it would be known, nor there at the start: it was propagated.
        shown.give(READ | WRITE);
        return 0;
    }
    let property = if is_own {
        Property::MountRoot
    } else if mnt_ref.namespace().0 == 0 {
        Property::DetachedTree
    } else {
        Property::Mount
    };
    // SAFETY: as above.
    unsafe {
        if (*member).seen.told == dentry {
            return 0;
        }
        (*member).seen.told = dentry;
    }
    let way = if access & PWD == 0 { way(what, mnt) } else { Way::Cwd };
    property as u32 | (way as u32) << 16
}

/// What [`tree_find`] answers.
const GIVEN: u32 = 1;
const BELOW: u32 = 2;

/// Whether a file is in a tree that is given, and whether it is below the root of its mount.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tree_find(dentry: u64, root: u64, container: u64, access: u64) -> u32 {
    let Some(claim) = Claim::new() else {
        count(Counter::NoSlot, Kind::Breach);
        return GIVEN;
    };
    let slot = claim.slot;
    // SAFETY: the slot is ours.
    let found = unsafe {
        let given = if find(slot, dentry, root, container, access) == 0 { 0 } else { GIVEN };
        let below = if word!(slot.look.is_below) == 0 { 0 } else { BELOW };
        given | below
    };
    claim.release();
    found
}

/// What the entry of the first tree says that a file is in, of those that are good for the access.
///
/// # Safety
///
/// `slot` must be claimed.
#[inline(always)]
unsafe fn find(slot: *mut Slot, dentry: u64, root: u64, container: u64, access: u64) -> u64 {
    /// Deeper files are found by their mount.
    const STEPS: u32 = 256;
    let sb: u64 = read(dentry, Offset::DentrySb);
    // SAFETY: the caller's promise; the steps are handed a pointer to the stack only.
    unsafe {
        word!(slot.look.container = container);
        word!(slot.look.sb = sb);
        word!(slot.look.dev = read::<u32>(sb, Offset::SbDev).into());
        word!(slot.look.root = root);
        word!(slot.look.at = dentry);
        word!(slot.look.access = access);
        word!(slot.look.is_given = 0);
        word!(slot.look.is_below = 0);
        steps::take(slot, STEPS, up);
        word!(slot.look.is_given)
    }
}

/// One step up through the folders.
#[inline(never)]
extern "C" fn up(_: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot.
    unsafe {
        let slot = *shared;
        let at = word!(slot.look.at);
        if at == word!(slot.look.root) {
            word!(slot.look.is_below = 1);
        }
        let (container, sb, dev) =
            (word!(slot.look.container), word!(slot.look.sb), word!(slot.look.dev));
        let access = word!(slot.look.access);
        if let Some(given) = TREES.get(Tree { container, sb, root: at, dev })
            && *given & access == access
            // Another file may be at the same address by now. Whose it is, is asked of root file systems.
            && (container == 0 || *given >> 32 == inode_number(at))
        {
            word!(slot.look.is_given = *given);
            return STOP;
        }
        let parent: u64 = read(at, Offset::DentryParent);
        if parent == at {
            // One that is found by its handle may hang in nothing.
            let top: u64 = read(sb, Offset::SbRoot);
            if top == at {
                return STOP;
            }
            word!(slot.look.at = top);
            return NEXT;
        }
        if parent == 0 {
            return STOP;
        }
        word!(slot.look.at = parent);
        NEXT
    }
}

/// How the member came to what is outside.
#[inline(always)]
fn way(what: u64, mnt: u64) -> Way {
    const OPENED: u32 = Noticed::FileOpen as u32;
    const EXECUTED: u32 = Noticed::Exec as u32;
    const MAPPED: u32 = Noticed::Map as u32;
    const RECEIVED: u32 = Noticed::Receive as u32;
    const CHANGED: u32 = Noticed::Change as u32;
    match noticed(what) {
        OPENED | CHANGED if tree_is_held(mnt) != 0 => Way::Inherited,
        CHANGED => Way::Changed,
        OPENED => Way::Opened,
        EXECUTED => Way::Executed,
        MAPPED => Way::Mapped,
        RECEIVED => Way::Received,
        _ => Way::Mounted,
    }
}

/// Whether the current task holds a descriptor on that mount, or works in a folder on it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tree_is_held(mnt: u64) -> u32 {
    let task = Task::current();
    if task.fs().pwd_mnt().0 as u64 == mnt {
        return 1;
    }
    let Some(claim) = Claim::new() else {
        count(Counter::NoSlot, Kind::Breach);
        return 0;
    };
    let slot = claim.slot;
    // SAFETY: the slot is ours; the steps are handed a pointer to the stack only.
    let is_held = unsafe {
        word!(slot.look.mnt = mnt);
        word!(slot.look.is_held = 0);
        each_descriptor(slot, task.files(), is_descriptor_of);
        word!(slot.look.is_held)
    };
    claim.release();
    u32::from(is_held != 0)
}

extern "C" fn is_descriptor_of(index: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot.
    unsafe {
        let slot = *shared;
        let Some(file) = file_of(slot, index) else { return STOP };
        if file != 0 && read::<u64>(file, Offset::FileMnt) == word!(slot.look.mnt) {
            word!(slot.look.is_held = 1);
            return STOP;
        }
        NEXT
    }
}

/// Remembers a mount that is given.
///
/// # Safety
///
/// `member` must be an entry.
#[inline(always)]
unsafe fn see(member: *mut Member, shown: &Tree, is_whole: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let seen = &raw mut (*member).seen;
        (&raw mut (*seen).sb).write_volatile(shown.sb);
        (&raw mut (*seen).root).write_volatile(shown.root);
        (&raw mut (*seen).epoch).write_volatile(epoch());
        (&raw mut (*seen).is_whole).write_volatile(is_whole.into());
    }
}

/// What was looked at before may be another tree from now on.
#[inline(always)]
pub(crate) fn raise_epoch() {
    if let Some(epoch) = EPOCH.get_ptr_mut(0) {
        // SAFETY: the look-up gave a valid entry.
        unsafe { fetch_add(epoch, 1) };
    }
}

#[inline(always)]
fn epoch() -> u64 {
    // SAFETY: the look-up gave a valid entry. Volatile: others change it.
    EPOCH.get_ptr(0).map_or(0, |epoch| unsafe { epoch.read_volatile() })
}

const S_IFDIR: u16 = 0o040_000;
pub(crate) const S_IFREG: u16 = 0o100_000;

#[inline(always)]
pub(crate) fn has_type(dentry: u64, ty: u16) -> bool {
    const S_IFMT: u16 = 0o170_000;
    let inode: u64 = read(dentry, Offset::DentryInode);
    read::<u16>(inode, Offset::InodeMode) & S_IFMT == ty
}

/// The lower half of the number of a file.
#[inline(always)]
fn inode_number(dentry: u64) -> u64 {
    let inode: u64 = read(dentry, Offset::DentryInode);
    read::<u32>(inode, Offset::InodeIno).into()
}
