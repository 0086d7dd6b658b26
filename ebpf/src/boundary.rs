//! What a member's boundary is: the values that it should have. They are compared with those that it
//! has, not only by address: an exploit can write ids or capabilities in place.

use shrike_common::{Offset, Property};

use crate::kernel::{Cred, Nsproxy, Task, opaque, read};
use crate::label;

/// What a member has, or is expected to have.
#[repr(C)]
pub(crate) struct State {
    /// The addresses of its namespaces, in the order of [`shrike_common::Property`]. It holds a
    /// reference to each, so that no other one can have the same address.
    pub(crate) ns: [u64; Nsproxy::COUNT],
    /// The address of the user namespace of its credentials.
    pub(crate) user_ns: u64,
    /// The addresses of the dentry and the mount of its root directory.
    pub(crate) root_dentry: u64,
    pub(crate) root_mnt: u64,
    /// The address of the mount of its working directory.
    pub(crate) pwd_mnt: u64,
    /// The address of its cgroup.
    pub(crate) cgroup: u64,
    pub(crate) ids: [u32; Cred::IDS],
    pub(crate) permitted: u64,
    pub(crate) effective: u64,
    pub(crate) ambient: u64,
    pub(crate) bounding: u64,
    pub(crate) inheritable: u64,
    /// The address of the supplementary groups, which are never changed, and a digest of them.
    pub(crate) groups: u64,
    pub(crate) groups_digest: u32,
    /// The last of them, if there are more than the digest is made of.
    pub(crate) group_last: u32,
    pub(crate) securebits: u32,
    reserved: u32,
    /// The address of the last filter.
    pub(crate) seccomp_filter: u64,
    pub(crate) seccomp: u32,
    pub(crate) no_new_privs: u32,
    /// The address of what security modules keep of the credentials.
    pub(crate) security: u64,
    /// See [`label`].
    pub(crate) apparmor: u32,
    pub(crate) selinux: u32,
}

/// What a comparison finds, in the slot of the probe that makes it.
#[repr(C)]
pub(crate) struct Found {
    pub(crate) state: State,
    /// Of the subjective credentials: the effective capabilities, the address of the user namespace, the
    /// real and, in the upper half, effective user id.
    pub(crate) subjective: u64,
    pub(crate) subjective_user_ns: u64,
    pub(crate) subjective_ids: u64,
}

/// Writes fields of a state in a map one by one: a whole one would be built on the stack first.
macro_rules! set {
    ($state:ident: $($field:ident $([$index:literal])? = $value:expr;)*) => {
        $((&raw mut (*$state).$field$([$index])?).write_volatile($value);)*
    };
}
pub(crate) use set;

impl State {
    /// How many supplementary groups there are and, in the upper half, the first.
    #[inline(always)]
    pub(crate) fn group_ids(&self) -> u64 {
        let count: u32 = read(self.groups, Offset::GroupInfoCount);
        let first: u32 = if count == 0 { 0 } else { read(self.groups, Offset::GroupInfoGid) };
        u64::from(count) | u64::from(first) << 32
    }

    /// The real and, in the upper half, the effective user id.
    #[inline(always)]
    pub(crate) fn user_ids(&self) -> u64 {
        u64::from(self.ids[0]) | u64::from(self.ids[4]) << 32
    }

    /// Takes over everything that a task has.
    ///
    /// # Safety
    ///
    /// `state` must point into an entry of a map that only this task changes.
    #[inline(always)]
    pub(crate) unsafe fn take(state: *mut Self, task: Task) {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(proxy) = task.nsproxy() {
                Self::take_namespaces(state, proxy);
            }
            Self::take_root(state, task);
            Self::take_credentials(state, task.real_cred());
            Self::take_confinement(state, task);
            set! { state: cgroup = task.cgroup().0 as u64; }
        }
    }

    /// # Safety
    ///
    /// As of [`Self::take`].
    #[inline(always)]
    pub(crate) unsafe fn take_namespaces(state: *mut Self, proxy: Nsproxy) {
        // SAFETY: the caller's promise.
        unsafe {
            set! { state:
                ns[0] = proxy.mnt_ns().0 as u64;
                ns[1] = proxy.pid_ns_for_children().0 as u64;
                ns[2] = proxy.net_ns().0 as u64;
                ns[3] = proxy.uts_ns().0 as u64;
                ns[4] = proxy.ipc_ns().0 as u64;
                ns[5] = proxy.cgroup_ns().0 as u64;
                ns[6] = proxy.time_ns().0 as u64;
            }
        }
    }

    /// # Safety
    ///
    /// As of [`Self::take`].
    #[inline(always)]
    pub(crate) unsafe fn take_root(state: *mut Self, task: Task) {
        let fs = task.fs();
        // SAFETY: the caller's promise.
        unsafe {
            set! { state:
                root_dentry = fs.root_dentry().0 as u64;
                root_mnt = fs.root_mnt().0 as u64;
                pwd_mnt = fs.pwd_mnt().0 as u64;
            }
        }
    }

    /// # Safety
    ///
    /// As of [`Self::take`].
    #[inline(always)]
    pub(crate) unsafe fn take_credentials(state: *mut Self, cred: Cred) {
        // SAFETY: the caller's promise.
        unsafe {
            Self::take_rights(state, cred);
            Self::take_label(state, cred);
        }
    }

    /// # Safety
    ///
    /// As of [`Self::take`].
    #[inline(always)]
    pub(crate) unsafe fn take_label(state: *mut Self, cred: Cred) {
        // SAFETY: the caller's promise.
        unsafe {
            set! { state:
                security = cred.security();
                apparmor = label::apparmor(cred);
                selinux = label::selinux(cred);
            }
        }
    }

    /// All that credentials are but the label.
    ///
    /// # Safety
    ///
    /// As of [`Self::take`].
    #[inline(always)]
    pub(crate) unsafe fn take_rights(state: *mut Self, cred: Cred) {
        // SAFETY: the caller's promise.
        unsafe {
            set! { state:
                user_ns = cred.user().0 as u64;
                permitted = cred.permitted();
                effective = cred.effective();
                ambient = cred.ambient();
                bounding = cred.bounding();
                inheritable = cred.inheritable();
                securebits = cred.securebits();
                groups = cred.groups().0 as u64;
                groups_digest = cred.groups().digest();
                group_last = cred.groups().last();
                ids[0] = cred.id(0);
                ids[1] = cred.id(1);
                ids[2] = cred.id(2);
                ids[3] = cred.id(3);
                ids[4] = cred.id(4);
                ids[5] = cred.id(5);
                ids[6] = cred.id(6);
                ids[7] = cred.id(7);
            }
        }
    }

    /// # Safety
    ///
    /// As of [`Self::take`].
    #[inline(always)]
    pub(crate) unsafe fn take_confinement(state: *mut Self, task: Task) {
        // SAFETY: the caller's promise.
        unsafe {
            set! { state:
                seccomp = task.seccomp();
                seccomp_filter = task.seccomp_filter().0 as u64;
                no_new_privs = task.no_new_privs();
            }
        }
    }

    /// Makes one state the same as another.
    ///
    /// # Safety
    ///
    /// Both must point into entries of maps.
    #[inline(always)]
    pub(crate) unsafe fn copy(to: *mut Self, from: *const Self) {
        const WORDS: usize = size_of::<State>() / size_of::<u64>();
        for word in 0..WORDS {
            // SAFETY: the caller's promise.
            unsafe {
                let value = from.cast::<u64>().add(word).read_volatile();
                to.cast::<u64>().add(word).write_volatile(value);
            }
        }
    }

    /// Whether a task has anything else than is expected: all of it but what takes several steps to read,
    /// which are the last of many groups and the labels: of these, the address of both.
    ///
    /// # Safety
    ///
    /// `state` must point into an entry of a map.
    // A subprogram: the verifier follows what comes after it for its two results only, and not for each
    // value that can differ.
    #[inline(never)]
    pub(crate) unsafe fn differs(state: *const Self, task: Task, is_exiting: bool) -> bool {
        // SAFETY: the caller's promise.
        let state = unsafe { &*state };
        let Some(proxy) = task.nsproxy() else { return false };
        let (fs, cred) = (task.fs(), task.real_cred());
        let groups = cred.groups();
        // Pointers are compared one by one: the verifier does not let them be combined.
        if proxy.mnt_ns().0 as u64 != state.ns[0]
            || proxy.pid_ns_for_children().0 as u64 != state.ns[1]
            || proxy.net_ns().0 as u64 != state.ns[2]
            || proxy.uts_ns().0 as u64 != state.ns[3]
            || proxy.ipc_ns().0 as u64 != state.ns[4]
            || proxy.cgroup_ns().0 as u64 != state.ns[5]
            || proxy.time_ns().0 as u64 != state.ns[6]
            || cred.user().0 as u64 != state.user_ns
            || groups.0 as u64 != state.groups
            || cred.security() != state.security
            || fs.root_dentry().0 as u64 != state.root_dentry
            || fs.pwd_mnt().0 as u64 != state.pwd_mnt
            || task.cgroup().0 as u64 != state.cgroup
            // A task that ends may have given up its filters already.
            || !is_exiting && task.seccomp_filter().0 as u64 != state.seccomp_filter
            || task.cred().0 != cred.0
        {
            return true;
        }
        let mut ids = cred.securebits() ^ state.securebits;
        for index in 0..Cred::IDS {
            ids |= cred.id(index) ^ state.ids[index];
        }
        let caps = cred.effective() ^ state.effective
            | cred.permitted() ^ state.permitted
            | cred.inheritable() ^ state.inheritable
            | cred.bounding() ^ state.bounding
            | cred.ambient() ^ state.ambient;
        let rest = task.seccomp() ^ state.seccomp
            | task.no_new_privs() ^ state.no_new_privs
            | groups.digest() ^ state.groups_digest;
        opaque(u64::from(ids) | caps | u64::from(rest)) != 0
    }
}

/// What each namespace is told by, in the order of [`State::ns`].
pub(crate) const NUMBERS: [(Property, Offset); Nsproxy::COUNT] = [
    (Property::MntNs, Offset::MntNsInum),
    (Property::PidNs, Offset::PidNsInum),
    (Property::NetNs, Offset::NetInum),
    (Property::UtsNs, Offset::UtsNsInum),
    (Property::IpcNs, Offset::IpcNsInum),
    (Property::CgroupNs, Offset::CgroupNsInum),
    (Property::TimeNs, Offset::TimeNsInum),
];

/// The number of the namespace at an address, as `/proc/PID/ns` shows it.
#[inline(always)]
pub(crate) fn number(address: u64, inum: Offset) -> u64 {
    u64::from(read::<u32>(address, inum))
}

/// What tells the mount namespace at an address from all others that were ever there.
#[inline(always)]
pub(crate) fn sequence(address: u64) -> u64 {
    read(address, Offset::MntNsSeq)
}

/// Whether a user namespace is `ancestor` or below it.
#[inline(always)]
pub(crate) fn is_below(user_ns: u64, ancestor: u64) -> bool {
    boundary_is_below(user_ns, ancestor) != 0
}

/// Whether a directory is the root of the mount at an address, or below it. What lies too deep is.
#[inline(always)]
pub(crate) fn is_on_mount(dentry: u64, mnt: u64) -> bool {
    boundary_is_on_mount(dentry, mnt) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn boundary_is_on_mount(dentry: u64, mnt: u64) -> u32 {
    const DEPTH: u32 = 32;
    let root: u64 = read(mnt, Offset::VfsmountRoot);
    let mut at = dentry;
    for _ in 0..DEPTH {
        if at == root {
            return 1;
        }
        let parent = read(at, Offset::DentryParent);
        if parent == at {
            return 0;
        }
        at = parent;
    }
    1
}

/// Whether a filter is `first` or was installed after it. A chain that is too long is.
#[inline(always)]
pub(crate) fn is_filter_upon(filter: u64, first: u64) -> bool {
    boundary_filters(filter, first) & NOT_UPON == 0
}

/// How many filters there are, as far as they are counted.
#[inline(always)]
pub(crate) fn filters(filter: u64) -> u64 {
    u64::from(boundary_filters(filter, 0) & !NOT_UPON)
}

/// Set where the chain ends without that filter.
const NOT_UPON: u32 = 1 << 31;

/// How many filters there are before `first`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn boundary_filters(filter: u64, first: u64) -> u32 {
    const FILTERS: u32 = 32;
    let mut at = filter;
    for count in 0..FILTERS {
        if at == first {
            return count;
        }
        if at == 0 {
            return count | NOT_UPON;
        }
        at = read(at, Offset::SeccompFilterPrev);
    }
    FILTERS
}

/// Global: the verifier looks at it once and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn boundary_is_below(user_ns: u64, ancestor: u64) -> u32 {
    /// How deep they can be nested, and one more.
    const DEPTH: u32 = 34;
    let mut at = user_ns;
    for _ in 0..DEPTH {
        if at == ancestor {
            return 1;
        }
        if at == 0 {
            return 0;
        }
        at = read(at, Offset::UserNsParent);
    }
    0
}
