//! Which tasks are a container's. Membership is carried by the task: it gets it when it executes the
//! container's program, and hands it on to its children before they run. Where a task is now does not
//! matter, since an escape changes exactly that.
//!
//! Members are kept by the address of their `task_struct` in a table that is never busy: task storage
//! of the kernel fails when another probe was preempted in the midst of it.

use core::arch::asm;

use aya_ebpf::Global;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::btf_map;
use shrike_common::{
    BreachKind, CgroupId, ContainerId, Counter, Kind, Lane, Membership, Noticed, NsId, Offset,
    Origin, Property, wire,
};

use crate::books::count;
use crate::boundary::{NUMBERS, State, number, sequence};
use crate::breach::{self, Subject, unique};
use crate::credential::{Announced, use_up};
use crate::emit::{Address, emit_of};
use crate::kernel::{Cgroup, Nsproxy, Task, Vfsmount, address, fetch_add, offset, read, read_at};
use crate::plan;
use crate::tree::{self, Seen};

/// The initial mount namespace, which has no fixed number.
#[unsafe(no_mangle)]
static INIT_MNT_NS: Global<u32> = Global::new(0);

/// How many tasks of containers there can be at a time.
const MEMBERS_KEPT: usize = 32_768;

#[btf_map]
static MEMBERS: HashMap<u64, Member, MEMBERS_KEPT> = HashMap::new();

/// How many members there are of each class of addresses: most tasks of the host are told from members
/// by a 0 here, which costs a fraction of a look-up in the table.
#[btf_map]
static CLASSES: Array<u64, { 1 << CLASS_BITS }> = Array::new();
const CLASS_BITS: u32 = 15;

/// What a new entry is made of.
#[btf_map]
static BLANK: Array<Member, 1> = Array::new();

/// The key of what stands in [`MEMBERS`] for a task while the agent shows it: no task has that address.
pub(crate) const SHOWN: u64 = 1;

/// The containers whose boundary this agent was told.
#[btf_map]
static CALLED: LruHashMap<u64, u32, 4096> = LruHashMap::new();

/// The number of the last container.
#[btf_map]
static LAST: Array<u64, 1> = Array::new();

/// Which namespaces containers own: those that they were given and those that their members made.
#[btf_map]
static NAMESPACES_OWNED: LruHashMap<Namespace, u64, 32_768> = LruHashMap::new();

/// The host's first process, which stands in for who filled a cgroup where that is not known; zeros until
/// the agent has shown it.
#[btf_map]
static HOST: Array<Filler, 1> = Array::new();

/// The addresses of that process's namespaces.
#[btf_map]
static HOST_NAMESPACES: Array<[u64; Nsproxy::COUNT], 1> = Array::new();

/// Who filled a cgroup.
#[btf_map]
static FILLERS: LruHashMap<CgroupId, Filler, 16_384> = LruHashMap::new();

/// What is known of a container's task.
#[repr(C)]
pub(crate) struct Member {
    /// The address of the task.
    pub(crate) key: u64,
    pub(crate) container: u64,
    /// When a complete comparison last found nothing.
    pub(crate) since: u64,
    /// The container's cgroup in the unified hierarchy.
    cgroup: Place,
    /// Where somebody outside is moving it to, or has.
    moved_to: Place,
    /// How many breaches were told of it, or of those that it comes from.
    pub(crate) told: u32,
    /// Not 0 if one could not be told: it is looked for again.
    pub(crate) is_lost: u32,
    /// Not 0 while it is restored from a checkpoint and has not got all that is its own yet.
    pub(crate) is_restored: u32,
    /// What it was made with that is not in here yet: flags of `clone(2)`.
    unborn: u32,
    /// The capabilities that the task can ever have.
    pub(crate) ceiling: u64,
    /// What was told last of its subjective credentials.
    pub(crate) told_subjective: u64,
    pub(crate) expected: State,
    pub(crate) announced: Announced,
    /// The mount that it opened a file by last.
    pub(crate) seen: Seen,
}

/// A cgroup, which tasks are to be in or below.
#[derive(Clone, Copy)]
#[repr(C)]
struct Place {
    id: u64,
    level: u64,
}

/// What a thread of a container may cost in memory: the kernel puts the key and 48 bytes of its own (`struct
/// htab_elem`) before the entry.
const _: () = assert!(size_of::<Member>() + size_of::<u64>() + 48 <= 512);

/// A namespace that belongs to a container, or, for container 0, a mount namespace of whichever.
#[derive(Clone, Copy)]
#[repr(C)]
struct Namespace {
    container: u64,
    address: u64,
    /// Addresses are given again; of most types, numbers are as well, but rarely both.
    unique: u64,
}

/// The task that put others into a cgroup.
#[derive(Clone, Copy)]
#[repr(C)]
struct Filler {
    mnt: NsId,
    pid: NsId,
    cgroup: NsId,
    reserved: u32,
    root: Root,
    /// The container whose cgroup it is; 0 if none that is known.
    container: u64,
}

/// A root directory, by the addresses of its dentry and its file system; 0 if not known.
#[derive(Clone, Copy)]
#[repr(C)]
struct Root {
    dentry: u64,
    sb: u64,
}

/// A task as a member, if it is one.
#[inline(always)]
pub(crate) fn get(task: Task) -> Option<*mut Member> {
    let members = CLASSES.get_ptr(class(task))?;
    // SAFETY: the look-up gave a valid entry. Volatile: others change it.
    if unsafe { members.read_volatile() } == 0 {
        return None;
    }
    MEMBERS.get_ptr_mut(task.0 as u64)
}

/// A member by its key.
#[inline(always)]
pub(crate) fn by_key(key: u64) -> Option<*mut Member> {
    MEMBERS.get_ptr_mut(key)
}

/// What a task is, and whose.
#[inline(always)]
pub(crate) fn of(task: Task) -> (Membership, ContainerId) {
    if let Some(member) = get(task) {
        // SAFETY: the look-up gave a valid entry.
        return (Membership::Member, ContainerId(unsafe { (*member).container }));
    }
    // SAFETY: as above.
    match unsafe { FILLERS.get(task.cgroup().node().id()) } {
        Some(filler) if filler.container != 0 => {
            (Membership::Entering, ContainerId(filler.container))
        }
        _ => (Membership::None, ContainerId(0)),
    }
}

/// The class of a task's address.
#[inline(always)]
fn class(task: Task) -> u32 {
    const SPREAD: u32 = 0x9E37_79B1;
    let low: u32;
    // SAFETY: copies a register. To the verifier, the lower half of a pointer is a number, of which
    // anything may be computed.
    unsafe { asm!("w0 = w1", in("r1") task.0, lateout("w0") low) };
    low.wrapping_mul(SPREAD) >> (u32::BITS - CLASS_BITS)
}

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

/// `cgroup_attach_task`: somebody outside is about to move a member.
#[inline(always)]
pub(crate) fn moving(target: Task, to: Cgroup) {
    if to.root().hierarchy() == 0
        && let Some(member) = get(target)
        && get(Task::current()).is_none()
    {
        // SAFETY: the look-up gave a valid entry. Volatile: the task runs.
        unsafe { (&raw mut (*member).moved_to).write_volatile(Place::of(address(to.0))) };
    }
}

/// `cgroup_attach_task`: the move is done. One call for a process that is moved as a whole.
#[inline(always)]
pub(crate) fn moved(target: Task, to: Cgroup) {
    if to.root().hierarchy() != 0 {
        // Of another hierarchy: its ids are not those that tasks are known by.
        return;
    }
    let mover = Task::current();
    let (is_member, target_member) = (get(mover).is_some(), get(target));
    match target_member {
        // SAFETY: the look-up gave a valid entry.
        Some(member) if is_member => unsafe {
            let subject = Subject::of(member, target, Noticed::CgroupAttach as u64);
            check_cgroup(subject, target, address(to.0));
        },
        // SAFETY: as above.
        Some(member) => unsafe {
            let to = address(to.0);
            if !(*member).cgroup.has(to) {
                (&raw mut (*member).cgroup).write_volatile(Place::of(to));
            }
        },
        None if !is_member => {
            let id = to.node().id();
            // Who moves itself may have its namespaces already.
            // SAFETY: the entry is only tested for.
            if mover.tgid() != target.tgid() || unsafe { FILLERS.get(id) }.is_none() {
                fill(id, mover);
            }
        }
        _ => {}
    }
}

/// Whether the cgroup at an address is within a member's container's, or where somebody outside has moved
/// it to. That names the leader of a process only, for all of its threads.
#[inline(always)]
pub(crate) fn check_cgroup(subject: Subject, task: Task, cgroup: u64) {
    member_check_cgroup(subject.key(), subject.what(), cgroup, address(task.group_leader().0));
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn member_check_cgroup(key: u64, what: u64, cgroup: u64, leader: u64) -> u32 {
    let Some(member) = by_key(key) else { return 0 };
    // SAFETY: the look-ups gave valid entries.
    unsafe {
        if (*member).cgroup.has(cgroup) || (*member).moved_to.has(cgroup) {
            return 0;
        }
        if let Some(leader) = by_key(leader)
            && ((*leader).cgroup.has(cgroup) || (*leader).moved_to.has(cgroup))
        {
            return 0;
        }
        let (own, now) = ((*member).cgroup.id, Place::of(cgroup));
        Subject::from(key, what).report(BreachKind::Cgroup, Property::Cgroup, own, now.id);
        if !breach::is_lost(member) {
            // From now on this is where it is.
            (*member).cgroup = now;
        }
    }
    0
}

impl Place {
    /// The cgroup at an address.
    #[inline(always)]
    fn of(cgroup: u64) -> Self {
        let node: u64 = read(cgroup, Offset::CgroupKn);
        let level: u32 = read(cgroup, Offset::CgroupLevel);
        Self { id: read(node, Offset::KernfsNodeId), level: level.into() }
    }

    /// Whether the cgroup at an address is this one or below it.
    #[inline(always)]
    fn has(self, cgroup: u64) -> bool {
        let level: u32 = read(cgroup, Offset::CgroupLevel);
        let at = cgroup.wrapping_add(offset(Offset::CgroupAncestors) as u64 + self.level * 8);
        let ancestor: u64 = read_at(at);
        let node: u64 = read(ancestor, Offset::CgroupKn);
        self.id != 0
            && u64::from(level) >= self.level
            && read::<u64>(node, Offset::KernfsNodeId) == self.id
    }
}

/// `security_bprm_committed_creds`: the new image is in place, credentials and confinement are final.
#[inline(always)]
pub(crate) fn executed() {
    if get(Task::current()).is_some() {
        breach::check(Noticed::Exec);
    } else {
        enter();
    }
}

/// `sched_process_exec`, a little later: the kernel may have skipped the probe of a function, and this one, but
/// hardly both.
#[inline(always)]
pub(crate) fn starts() {
    if get(Task::current()).is_none() {
        enter();
    }
}

#[inline(always)]
fn enter() {
    if member_enter() != 0 {
        tree::check_program();
    }
}

/// Whether the current task has become a member. Global, as the comparisons are.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn member_enter() -> u32 {
    let task = Task::current();
    if is_contained(task) {
        let origin = if !plan::is_roll_called() {
            // Its parent may be a member that has not been shown yet.
            Origin::Found
        } else if container_of(task) == 0 {
            Origin::Started
        } else {
            Origin::Entered
        };
        join(task, origin as u32);
        return u32::from(!matches!(origin, Origin::Found));
    }
    0
}

/// A task writes down where its program is (`PR_SET_MM`): that is how one is restored from a checkpoint, which
/// never executes what it was. It gets its credentials and its filters after this, before it goes on.
#[inline(always)]
pub(crate) fn restored(task: Task) {
    if get(task).is_none() {
        member_restore();
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn member_restore() -> u32 {
    if member_enter() != 0
        && let Some(member) = get(Task::current())
    {
        // SAFETY: the look-up gave a valid entry.
        unsafe { (&raw mut (*member).is_restored).write_volatile(1) };
    }
    0
}

/// A task that was there before the probes, as the agent shows it. A member from an earlier agent's time
/// is compared with what is expected of it.
#[inline(always)]
pub(crate) fn found(task: Task) {
    if task.is_kernel_thread() {
        return;
    }
    if task.tgid().0 == 1 {
        note_host(task);
    }
    if let Some(member) = get(task) {
        // SAFETY: the look-up gave a valid entry.
        let container = unsafe { (*member).container };
        // SAFETY: the entry is only tested for.
        if unsafe { CALLED.get(container) }.is_some() {
            breach::compare_asleep(task, member);
        } else {
            // The roll is called more than once.
            tell(task, container, Origin::Found as u32);
        }
    } else if let Some(elder) = get(task.elder()) {
        adopt(task, elder);
    } else if is_contained(task) {
        join(task, Origin::Found as u32);
    }
}

/// A task that was there before the probes and comes from a member is one of the same container, whatever it
/// has changed to since; but for the host's namespaces, which it is told of at its next hook.
#[inline(never)]
fn adopt(task: Task, elder: *mut Member) {
    let (Some(proxy), Some(host)) = (task.nsproxy(), HOST_NAMESPACES.get(0)) else { return };
    // SAFETY: `elder` is an entry.
    let Some(member) = add(task, unsafe { &*elder }) else {
        return count(Counter::NoMember, Kind::Exec);
    };
    // SAFETY: the entry is the task's, which the agent shows.
    unsafe {
        let expected = &raw mut (*member).expected;
        (*member).since = now();
        (*member).ceiling = task.real_cred().bounding() | task.real_cred().permitted();
        use_up(&raw mut (*member).announced);
        for (index, &hosts) in host.iter().enumerate() {
            let at = proxy.at(index);
            if at != (*expected).ns[index] && at != hosts {
                own_at(member, index, at);
                (&raw mut (*expected).ns[index]).write_volatile(at);
            }
        }
        let user_ns = address(task.real_cred().user().0);
        if user_ns != (*expected).user_ns {
            in_user_namespace(member, user_ns);
        }
        State::take_root(expected, task);
        State::take_credentials(expected, task.real_cred());
        State::take_confinement(expected, task);
    }
}

/// What stands for a member while the agent shows its task: another processor may run that meanwhile.
#[inline(always)]
pub(crate) fn show(member: *const Member) -> Option<*mut Member> {
    // SAFETY: `member` is an entry.
    MEMBERS.insert(SHOWN, unsafe { &*member }, 0).ok()?;
    let shown = MEMBERS.get_ptr_mut(SHOWN)?;
    // SAFETY: the look-up gave a valid entry.
    unsafe { (&raw mut (*shown).key).write_volatile(SHOWN) };
    Some(shown)
}

/// The task is no longer shown.
#[inline(always)]
pub(crate) fn hide() {
    let _ = MEMBERS.remove(SHOWN);
}

/// `security_task_free`: nobody refers to the task any more.
#[inline(always)]
pub(crate) fn freed(task: Task) {
    remove(task);
}

/// The first process of the host, unless it is that of a container that is all that is seen.
#[inline(always)]
fn note_host(task: Task) {
    let (Some(host), Some(proxy)) = (HOST.get_ptr_mut(0), task.nsproxy()) else { return };
    let Some(namespaces) = HOST_NAMESPACES.get_ptr_mut(0) else { return };
    if proxy.mnt().0 == INIT_MNT_NS.load() {
        // SAFETY: the look-ups gave valid entries.
        unsafe {
            for index in 0..Nsproxy::COUNT {
                (&raw mut (*namespaces)[index]).write_volatile(proxy.at(index));
            }
            (*host).mnt = proxy.mnt();
            (*host).pid = NsId::INIT_PID;
            (*host).cgroup = NsId::INIT_CGROUP;
            (*host).root = Root::of(task);
        }
    }
}

impl Root {
    #[inline(always)]
    fn of(task: Task) -> Self {
        let dentry = task.fs().root_dentry();
        Self { dentry: dentry.0 as u64, sb: dentry.sb().0 as u64 }
    }
}

/// Whether a task that is no member looks like one: it has its own mounts, its root directory is the
/// root of these, and it has its own processes, cgroups or root file system; own as against whoever put
/// it into its cgroup. Who has the same root directory is not contained in anything: hooks of a
/// runtime before the root is changed, services with mounts of their own, sandboxes that show all.
#[inline(never)]
fn is_contained(task: Task) -> bool {
    let (Some(host), Some(proxy)) = (HOST.get_ptr(0), task.nsproxy()) else { return false };
    let filler = FILLERS.get_ptr(task.cgroup().node().id()).unwrap_or(host);
    // Entries are read where they are: a copy is too much for the stack of all callers together.
    // SAFETY: the look-ups gave valid entries.
    let (filler, host) = unsafe { (&*filler, &*host) };
    if proxy.mnt() == filler.mnt || proxy.mnt().0 == INIT_MNT_NS.load() {
        return false;
    }
    let root = task.fs().root_dentry();
    let dentry = root.0 as u64;
    if dentry == filler.root.dentry || dentry == host.root.dentry {
        return false;
    }
    let is_own =
        |ns: NsId, fillers: NsId, init: NsId| ns != if fillers.0 == 0 { init } else { fillers };
    let has_own = is_own(proxy.pid_for_children(), filler.pid, NsId::INIT_PID)
        || is_own(proxy.cgroup(), filler.cgroup, NsId::INIT_CGROUP)
        || filler.root.sb != 0 && root.sb().0 as u64 != filler.root.sb;
    has_own && is_namespace_root(task)
}

/// Whether a task's root directory is that of its mount namespace: on the topmost mount, at its root,
/// and every mount beneath is covered at its root (`mnt_ns->root` is the one below all).
#[inline(never)]
fn is_namespace_root(task: Task) -> bool {
    const MOUNTS: u32 = 8;
    let (fs, Some(proxy)) = (task.fs(), task.nsproxy()) else { return false };
    let mnt = fs.root_mnt();
    if mnt.root_at() != fs.root_dentry().0 as u64 || mnt.namespace_at() != proxy.mnt_ns().0 as u64 {
        return false;
    }
    let mut mount = mnt.mount();
    for _ in 0..MOUNTS {
        let parent: u64 = read(mount, Offset::MountParent);
        if parent == mount {
            return true;
        }
        if read::<u64>(mount, Offset::MountMountpoint) != Vfsmount::root_of(parent) {
            return false;
        }
        mount = parent;
    }
    false
}

/// Makes a task a member: of the container that owns its mount namespace, or of a new one.
#[inline(never)]
fn join(task: Task, origin: u32) {
    let (Some(blank), Some(proxy)) = (BLANK.get(0), task.nsproxy()) else { return };
    let Some(member) = add(task, blank) else { return count(Counter::NoMember, Kind::Exec) };
    let known = container_of(task);
    let container = if known == 0 { new_container() } else { known };
    let cgroup = task.cgroup();
    let filler = FILLERS.get_ptr_mut(cgroup.node().id());
    // SAFETY: the entry is the task's, which is in this very hook or is shown by the agent.
    unsafe {
        (*member).container = container;
        (*member).since = now();
        let fillers = filler.map_or(NsId::INIT_CGROUP, |filler| (*filler).cgroup);
        (*member).cgroup = place(cgroup, proxy, fillers);
        (*member).ceiling = task.real_cred().bounding() | task.real_cred().permitted();
        use_up(&raw mut (*member).announced);
        if known == 0 {
            // Nothing is expected yet, so all of it is taken for new.
            own(member, proxy);
            own_time(member, proxy);
            let user_ns = address(task.real_cred().user().0);
            own_one(container, user_ns, number(user_ns, Offset::UserNsInum));
        }
        State::take(&raw mut (*member).expected, task);
    }
    if let Some(filler) = filler
        && has_own_cgroup(task)
    {
        // SAFETY: the look-up gave a valid entry.
        unsafe { (*filler).container = container };
    }
    if known == 0 {
        tree::give_mounts(task, container);
    }
    tree::give_descriptors(task, container);
    if known == 0 || origin == Origin::Entered as u32 {
        tell(task, container, origin);
    }
}

/// The cgroup that a member's container has: what its own cgroup namespace shows as the root, where it has one.
/// It may have cgroups below, and the task may be in one of them.
#[inline(always)]
fn place(cgroup: Cgroup, proxy: Nsproxy, fillers: NsId) -> Place {
    let namespace = proxy.cgroup();
    if namespace != NsId::INIT_CGROUP && namespace != fillers {
        let root = Place::of(address(proxy.cgroup_ns().root().unified().0));
        if root.has(address(cgroup.0)) {
            return root;
        }
    }
    Place::of(address(cgroup.0))
}

/// Whether the cgroup of a task that becomes a member is its container's alone. Who has no right to
/// make cgroups starts containers in the one that it is in itself: the rest of a user's session does not
/// enter anything.
#[inline(always)]
fn has_own_cgroup(task: Task) -> bool {
    let (cgroup, parent) = (task.cgroup(), task.parent());
    cgroup.level() != 0 && (parent.cgroup().0 != cgroup.0 || get(parent).is_some())
}

/// Tells what a task has that has just become a member.
#[inline(never)]
fn tell(task: Task, container: u64, origin: u32) {
    let cred = task.real_cred();
    // If there is no room, it is told once more.
    let _ = CALLED.insert(container, 1, 0);
    emit_of(task, Address::now(Lane::Critical), |_| wire::Boundary {
        container: ContainerId(container),
        bounding: cred.bounding(),
        permitted: cred.permitted(),
        origin,
        seccomp: task.seccomp_mode(),
        no_new_privs: task.no_new_privs(),
        root_dev: task.fs().root_dentry().sb().dev(),
    });
}

/// The container that owns a task's mount namespace; 0 if none does.
#[inline(always)]
fn container_of(task: Task) -> u64 {
    let Some(proxy) = task.nsproxy() else { return 0 };
    let mnt = proxy.mnt_ns();
    let key = Namespace { container: 0, address: mnt.0 as u64, unique: mnt.unique() };
    // SAFETY: the entry is only read.
    unsafe { NAMESPACES_OWNED.get(key) }.copied().unwrap_or(0)
}

fn new_container() -> u64 {
    // SAFETY: the look-up gave a valid entry.
    LAST.get_ptr_mut(0).map_or(0, |last| unsafe { fetch_add(last, 1) } + 1)
}

/// Gives to a member's container those of these namespaces that are not expected.
///
/// # Safety
///
/// `member` must be an entry.
#[inline(always)]
pub(crate) unsafe fn own(member: *const Member, proxy: Nsproxy) {
    // SAFETY: the caller's promise.
    let expected = unsafe { &(*member).expected.ns };
    for (index, &expected) in expected.iter().enumerate() {
        let at = proxy.at(index);
        if at != expected {
            // SAFETY: as above.
            unsafe { own_at(member, index, at) };
        }
    }
}

/// Gives to a member's container the namespace at an address, by its place in [`State::ns`].
///
/// # Safety
///
/// `member` must be an entry.
#[inline(always)]
pub(crate) unsafe fn own_at(member: *const Member, index: usize, at: u64) {
    // SAFETY: the caller's promise.
    let container = unsafe { (*member).container };
    let (property, inum) = NUMBERS[index];
    if index == 0 {
        own_mounts(container, at);
    }
    own_one(container, at, unique(property, at, inum));
}

/// Notes whose mount namespace it is.
#[inline(always)]
fn own_mounts(container: u64, mnt: u64) {
    let key = Namespace { container: 0, address: mnt, unique: sequence(mnt) };
    // The table forgets what it has not seen for longest.
    let _ = NAMESPACES_OWNED.insert(key, container, 0);
}

/// Gives to a member's container the namespace of time that its children will be in.
///
/// # Safety
///
/// `member` must be an entry.
#[inline(always)]
pub(crate) unsafe fn own_time(member: *const Member, proxy: Nsproxy) {
    // SAFETY: the caller's promise.
    let container = unsafe { (*member).container };
    let time_ns = address(proxy.time_ns_for_children().0);
    own_one(container, time_ns, number(time_ns, Offset::TimeNsInum));
}

#[inline(always)]
fn own_one(container: u64, address: u64, unique: u64) {
    member_own(container, address, unique);
}

/// Global, as all that takes numbers only: the verifier looks at it once and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn member_own(container: u64, address: u64, unique: u64) -> u32 {
    let key = Namespace { container, address, unique };
    // The table forgets what it has not seen for longest.
    u32::from(NAMESPACES_OWNED.insert(key, container, 0).is_ok())
}

/// Whether a namespace is a container's own.
#[inline(always)]
pub(crate) fn owns(container: u64, address: u64, unique: u64) -> bool {
    member_owns(container, address, unique) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn member_owns(container: u64, address: u64, unique: u64) -> u32 {
    let key = Namespace { container, address, unique };
    // SAFETY: the entry is only tested for.
    u32::from(unsafe { NAMESPACES_OWNED.get(key) }.is_some())
}

/// A member has come into a user namespace below its own: there it may have every capability.
///
/// # Safety
///
/// `member` must be an entry.
#[inline(always)]
pub(crate) unsafe fn in_user_namespace(member: *mut Member, user_ns: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (*member).ceiling = u64::MAX;
        own_one((*member).container, user_ns, number(user_ns, Offset::UserNsInum));
    }
}

/// Notes who puts tasks into a cgroup.
#[inline(never)]
fn fill(cgroup: CgroupId, by: Task) {
    let Some(proxy) = by.nsproxy() else { return };
    // SAFETY: the entry is only read.
    let container = unsafe { FILLERS.get(cgroup) }.map_or(0, |filler| filler.container);
    let filler = Filler {
        mnt: proxy.mnt(),
        pid: proxy.pid_for_children(),
        cgroup: proxy.cgroup(),
        reserved: 0,
        root: Root::of(by),
        container,
    };
    // The table forgets what it has not seen for longest: the host's namespaces stand in then.
    let _ = FILLERS.insert(cgroup, filler, 0);
}

/// Adds a member, or replaces what had its address before.
#[inline(always)]
fn add(task: Task, like: &Member) -> Option<*mut Member> {
    let key = task.0 as u64;
    if MEMBERS.get_ptr(key).is_none() {
        let members = CLASSES.get_ptr_mut(class(task))?;
        // SAFETY: the look-up gave a valid entry.
        unsafe { fetch_add(members, 1) };
    }
    if MEMBERS.insert(key, like, 0).is_err() {
        remove_class(task);
        return None;
    }
    let member = MEMBERS.get_ptr_mut(key)?;
    // SAFETY: the look-up gave a valid entry.
    unsafe { (&raw mut (*member).key).write_volatile(task.0 as u64) };
    Some(member)
}

#[inline(always)]
fn remove(task: Task) {
    if get(task).is_some() && MEMBERS.remove(task.0 as u64).is_ok() {
        remove_class(task);
    }
}

#[inline(always)]
fn remove_class(task: Task) {
    if let Some(members) = CLASSES.get_ptr_mut(class(task)) {
        // SAFETY: the look-up gave a valid entry.
        unsafe { fetch_add(members, u64::MAX) };
    }
}

/// The time that records carry.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_boot_ns() }
}
