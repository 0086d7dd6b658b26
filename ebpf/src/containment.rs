//! What tells a task that is contained from all others: what it has, as against who put it into its cgroup.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::{Array, LruHashMap};
use aya_ebpf::macros::btf_map;
use shrike_common::{CgroupId, Filler, NsId, Offset, Root};

use crate::kernel::{Nsproxy, Task, Vfsmount, read};

/// The initial mount namespace, which has no fixed number.
#[unsafe(no_mangle)]
static INIT_MNT_NS: Global<u32> = Global::new(0);

/// The host's first process, which stands in for who filled a cgroup where that is not known; zeros until
/// the agent has shown it.
#[btf_map]
static HOST: Array<Filler, 1> = Array::new();

/// The addresses of that process's namespaces.
#[btf_map]
static HOST_NAMESPACES: Array<[u64; Nsproxy::COUNT], 1> = Array::new();

/// The mount namespace that the agent itself is in, by what tells it from all others; 0 until it has shown itself.
#[btf_map]
static AGENTS_MOUNTS: Array<u64, 1> = Array::new();

/// Who filled a cgroup.
#[btf_map]
static FILLERS: LruHashMap<CgroupId, Filler, 16_384> = LruHashMap::new();

/// The first process of the host, unless it is that of a container that is all that is seen.
#[inline(always)]
pub(crate) fn note_host(task: Task) {
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
            (*host).root = root_of(task);
        }
    }
}

/// The root directory of a task.
#[inline(always)]
fn root_of(task: Task) -> Root {
    let dentry = task.fs().root_dentry();
    Root { dentry: dentry.0 as u64, sb: dentry.sb().0 as u64 }
}

/// The agent shows itself. It runs in a container as a rule, which was given the host: neither the agent nor who
/// comes into its mounts is contained, and what they start are containers of their own. An agent that goes on with
/// the tables of a former one shall be no other than the first.
#[inline(always)]
pub(crate) fn note_agent(task: Task) {
    let (Some(mounts), Some(proxy)) = (AGENTS_MOUNTS.get_ptr_mut(0), task.nsproxy()) else {
        return;
    };
    // SAFETY: the look-up gave a valid entry.
    unsafe { mounts.write_volatile(proxy.mnt_ns().unique()) };
}

/// Who filled a cgroup, if that is known.
#[inline(always)]
pub(crate) fn filler(cgroup: CgroupId) -> Option<*mut Filler> {
    FILLERS.get_ptr_mut(cgroup)
}

/// The addresses of the namespaces of the host's first process, if there are any to be told from a container's.
#[inline(always)]
pub(crate) fn hosts_namespaces() -> Option<&'static [u64; Nsproxy::COUNT]> {
    HOST_NAMESPACES.get(0)
}

/// Whether a task that is no member looks like one: it has its own mounts, its root directory is the
/// root of these, and it has its own processes, cgroups or root file system; own as against whoever put
/// it into its cgroup. Who has the same root directory is not contained in anything: hooks of a
/// runtime before the root is changed, services with mounts of their own, sandboxes that show all.
#[inline(never)]
pub(crate) fn is_contained(task: Task) -> bool {
    let (Some(host), Some(proxy)) = (HOST.get_ptr(0), task.nsproxy()) else { return false };
    let agents = AGENTS_MOUNTS.get(0).copied().unwrap_or(0);
    if agents != 0 && proxy.mnt_ns().unique() == agents {
        return false;
    }
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

/// Notes who puts tasks into a cgroup.
#[inline(never)]
pub(crate) fn fill(cgroup: CgroupId, by: Task) {
    let Some(proxy) = by.nsproxy() else { return };
    // SAFETY: the entry is only read.
    let container = unsafe { FILLERS.get(cgroup) }.map_or(0, |filler| filler.container);
    let filler = Filler {
        mnt: proxy.mnt(),
        pid: proxy.pid_for_children(),
        cgroup: proxy.cgroup(),
        reserved: 0,
        root: root_of(by),
        container,
    };
    // The table forgets what it has not seen for longest: the host's namespaces stand in then.
    let _ = FILLERS.insert(cgroup, filler, 0);
}
