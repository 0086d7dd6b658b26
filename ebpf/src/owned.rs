//! Namespaces that are containers' own: those that they were given, and those that their members make.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use shrike_common::Offset;

use crate::boundary::{NUMBERS, number, sequence};
use crate::breach::unique;
use crate::kernel::{Nsproxy, Task, address};
use crate::member::Member;

/// Which namespaces containers own: those that they were given and those that their members made.
#[btf_map]
static NAMESPACES_OWNED: LruHashMap<Namespace, u64, 32_768> = LruHashMap::new();

/// A namespace that belongs to a container, or, for container 0, a mount namespace of whichever.
#[derive(Clone, Copy)]
#[repr(C)]
struct Namespace {
    container: u64,
    address: u64,
    /// Addresses are given again; of most types, numbers are as well, but rarely both.
    unique: u64,
}

/// The container that owns a task's mount namespace; 0 if none does.
#[inline(always)]
pub(crate) fn container_of(task: Task) -> u64 {
    let Some(proxy) = task.nsproxy() else { return 0 };
    let mnt = proxy.mnt_ns();
    let key = Namespace { container: 0, address: mnt.0 as u64, unique: mnt.unique() };
    // SAFETY: the entry is only read.
    unsafe { NAMESPACES_OWNED.get(key) }.copied().unwrap_or(0)
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

/// Gives a namespace to a container.
#[inline(always)]
pub(crate) fn own_one(container: u64, address: u64, unique: u64) {
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
