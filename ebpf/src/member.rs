//! Which tasks are a container's. Membership is carried by the task: it gets it when it executes the
//! container's program, and hands it on to its children before they run. Where a task is now does not
//! matter, since an escape changes exactly that.
//!
//! Members are kept by the address of their `task_struct` in a table that is never busy: task storage
//! of the kernel fails when another probe was preempted in the midst of it.

use core::arch::asm;

use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::btf_map;
use shrike_common::{
    BreachKind, CgroupId, ContainerId, Counter, Kind, Lane, Membership, Noticed, NsId, Offset,
    Origin, Property, wire,
};

use crate::books::count;
use crate::boundary::{State, number};
use crate::breach::{self, Subject};
use crate::containment::{fill, filler, hosts_namespaces, is_contained, note_agent, note_host};
use crate::credential::{Announced, use_up};
use crate::emit::{Address, emit_of};
use crate::kernel::{Cgroup, Nsproxy, Task, address, fetch_add, offset, read, read_at};
use crate::owned::{container_of, in_user_namespace, own, own_at, own_one, own_time};
use crate::plan;
use crate::tree::{self, Seen};

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
    pub(crate) unborn: u32,
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
    match unsafe { filler(task.cgroup().node().id()).map(|filler| &*filler) } {
        Some(filler) if filler.container != 0 => {
            (Membership::Entering, ContainerId(filler.container))
        }
        _ => (Membership::None, ContainerId(0)),
    }
}

/// Whether a task that is no member is in the cgroup of a container.
#[inline(always)]
pub(crate) fn enters(task: Task) -> bool {
    member_enters(task.cgroup().node().id().0) != 0
}

/// A program of its own: whatever the rules ask about may ask this.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn member_enters(cgroup: u64) -> u32 {
    let Some(filler) = filler(CgroupId(cgroup)) else { return 0 };
    // SAFETY: the look-up gave a valid entry.
    let container = unsafe { (&raw const (*filler).container).read_volatile() };
    (container != 0).into()
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
            if mover.tgid() != target.tgid() || filler(id).is_none() {
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

/// The agent shows itself: see [`note_agent`].
#[inline(always)]
pub(crate) fn leave(agent: Task) {
    note_agent(agent);
    remove(agent);
}

/// A task that was there before the probes and comes from a member is one of the same container, whatever it
/// has changed to since; but for the host's namespaces, which it is told of at its next hook.
#[inline(never)]
fn adopt(task: Task, elder: *mut Member) {
    let (Some(proxy), Some(host)) = (task.nsproxy(), hosts_namespaces()) else { return };
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

/// Makes a task a member: of the container that owns its mount namespace, or of a new one.
#[inline(never)]
fn join(task: Task, origin: u32) {
    let (Some(blank), Some(proxy)) = (BLANK.get(0), task.nsproxy()) else { return };
    let Some(member) = add(task, blank) else { return count(Counter::NoMember, Kind::Exec) };
    let known = container_of(task);
    let container = if known == 0 { new_container() } else { known };
    let cgroup = task.cgroup();
    let filler = filler(cgroup.node().id());
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

fn new_container() -> u64 {
    // SAFETY: the look-up gave a valid entry.
    LAST.get_ptr_mut(0).map_or(0, |last| unsafe { fetch_add(last, 1) } + 1)
}

/// Adds a member, or replaces what had its address before.
#[inline(always)]
pub(crate) fn add(task: Task, like: &Member) -> Option<*mut Member> {
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
pub(crate) fn remove(task: Task) {
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
