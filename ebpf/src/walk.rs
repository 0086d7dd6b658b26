//! The path of a file, by the one algorithm that is used everywhere: from the dentry up through its
//! mounts to the root of the mount namespace, then the names from the root down. It does not depend
//! on the root or the namespace of whoever asks, as `bpf_d_path` does.
//!
//! Both ways are loops of [`steps`](crate::steps).

use shrike_common::Offset;
use shrike_common::wire::Text;

use crate::kernel::{Path, Vfsmount, offset, read, read_at, read_kernel};
use crate::slot::{RECORD, Slot, TEXT};
use crate::steps::{self, NEXT, STOP, word};

/// The most names in a path, a power of two; of a longer one, the last ones are kept.
const COMPONENTS: usize = 64;
/// The most mounts above one another on the way up.
const MOUNTS: usize = 16;
/// The longest name (`NAME_MAX`).
const NAME: usize = 255;

/// Where a walk is and what it has found: see [`steps`].
#[repr(C)]
pub(crate) struct Walk {
    names: [Name; COMPONENTS],
    count: u64,
    /// The length of the path, and the flags of its text.
    len: u64,
    flags: u64,
    /// The way up: the present dentry, its mount, that one's root, and where it is mounted.
    dentry: u64,
    mount: u64,
    root: u64,
    parent: u64,
    mountpoint: u64,
    /// The way down: where in the record the next byte goes.
    at: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    at: u64,
    len: u64,
}

const DELETED: u64 = Text::DELETED as u64;
const TRUNCATED: u64 = Text::TRUNCATED as u64;
const UNREACHABLE: u64 = Text::UNREACHABLE as u64;
const UNREADABLE: u64 = Text::UNREADABLE as u64;

/// Writes the path to the offset `to` of the record and returns its length, less than [`TEXT`],
/// and its flags.
///
/// # Safety
///
/// `slot` must be claimed, and its record have room for a text at `to`.
#[inline(always)]
pub(crate) unsafe fn path(slot: *mut Slot, to: usize, path: Path) -> (usize, u16) {
    let Path { dentry, mnt } = path;
    // One that is only about to be made has no inode yet.
    let is_deleted =
        dentry.hash_pprev() == 0 && dentry.parent().0 != dentry.0 && !dentry.inode().0.is_null();
    // SAFETY: the caller's promise.
    unsafe { walk(slot, to, dentry.0 as u64, mnt.mount(), is_deleted) }
}

/// The same of a dentry and a mount that only their addresses are known of.
///
/// # Safety
///
/// As of [`path`].
#[inline(always)]
pub(crate) unsafe fn path_at(slot: *mut Slot, to: usize, dentry: u64, mnt: u64) -> (usize, u16) {
    let hashed: u64 = read(dentry, Offset::DentryHashPprev);
    let parent: u64 = read(dentry, Offset::DentryParent);
    let is_deleted = hashed == 0 && parent != dentry;
    // SAFETY: the caller's promise.
    unsafe { walk(slot, to, dentry, Vfsmount(mnt as *const _).mount(), is_deleted) }
}

/// `is_deleted` is `d_unlinked`: not hashed, and not the root of something.
#[inline(always)]
unsafe fn walk(
    slot: *mut Slot,
    to: usize,
    dentry: u64,
    mount: u64,
    is_deleted: bool,
) -> (usize, u16) {
    // SAFETY: the caller's promise.
    unsafe {
        word!(slot.walk.count = 0);
        word!(slot.walk.len = 0);
        // Until the way up has come to an end.
        word!(slot.walk.flags = if is_deleted { DELETED | TRUNCATED } else { TRUNCATED });
        word!(slot.walk.dentry = dentry);
        enter(slot, mount);
        steps::take(slot, (COMPONENTS + MOUNTS) as u32, up);
        if word!(slot.walk.count) == 0 && word!(slot.walk.flags) & UNREACHABLE == 0 {
            (&raw mut (*slot).record).cast::<u8>().add(to).write(b'/');
            word!(slot.walk.len = 1);
        } else {
            word!(slot.walk.at = to as u64);
            steps::take(slot, COMPONENTS as u32, down);
            word!(slot.walk.len = word!(slot.walk.at).wrapping_sub(to as u64));
        }
        (word!(slot.walk.len) as usize & (TEXT - 1), word!(slot.walk.flags) as u16)
    }
}

/// One step up: out of a mount, or past a name.
#[inline(never)]
extern "C" fn up(_: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot; the index is masked.
    unsafe {
        let slot = *shared;
        let (dentry, mount) = (word!(slot.walk.dentry), word!(slot.walk.mount));
        if dentry == word!(slot.walk.root) {
            let parent = word!(slot.walk.parent);
            if parent == mount || parent == 0 {
                word!(slot.walk.flags = word!(slot.walk.flags) & !TRUNCATED);
                return STOP;
            }
            word!(slot.walk.dentry = word!(slot.walk.mountpoint));
            enter(slot, parent);
            return NEXT;
        }
        let (parent, name) = parent_and_name(dentry);
        let top = parent == dentry || parent == 0;
        // The root of a file system is called "/"; an unnamed object's only dentry has its name.
        if !(top && name.len <= 1) {
            let (count, len) = (word!(slot.walk.count), word!(slot.walk.len) + 1 + name.len);
            if count >= COMPONENTS as u64 || len >= TEXT as u64 {
                return STOP;
            }
            (*slot).walk.names[count as usize & (COMPONENTS - 1)] = name;
            word!(slot.walk.count = count + 1);
            word!(slot.walk.len = len);
        }
        if top {
            word!(slot.walk.flags = word!(slot.walk.flags) & !TRUNCATED | UNREACHABLE);
            return STOP;
        }
        word!(slot.walk.dentry = parent);
        NEXT
    }
}

/// One step down: writes the next name, the last one found first.
#[inline(never)]
extern "C" fn down(step: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot; indexes and lengths are bounded.
    unsafe {
        let slot = *shared;
        let (count, flags) = (word!(slot.walk.count), word!(slot.walk.flags));
        if step >= count {
            return STOP;
        }
        let mut at = word!(slot.walk.at) as usize;
        // Never: the way up has kept the path shorter than a text.
        if at >= RECORD - 1 - NAME {
            return STOP;
        }
        let record = (&raw mut (*slot).record).cast::<u8>();
        // The tail of a path does not start at the root, and must not look as if it did.
        if step > 0 || flags & TRUNCATED == 0 {
            record.add(at).write(b'/');
            at += 1;
        }
        let name = (*slot).walk.names[(count - 1 - step) as usize & (COMPONENTS - 1)];
        let len = name.len as usize & NAME;
        if !read_kernel(record.add(at), len as u32, name.at) {
            word!(slot.walk.flags = flags | UNREADABLE);
            word!(slot.walk.at = at as u64);
            return STOP;
        }
        word!(slot.walk.at = (at + len) as u64);
        NEXT
    }
}

/// What a dentry is called, and below which one. They stand side by side in most kernels, and are read
/// at once: each read costs as much as all else in a step.
#[inline(always)]
fn parent_and_name(dentry: u64) -> (u64, Name) {
    const BYTES: usize = 24;
    let parent = offset(Offset::DentryParent);
    let (name, len) = (offset(Offset::DentryName), offset(Offset::DentryNameLen));
    if name.wrapping_sub(parent) > BYTES - 8 || len.wrapping_sub(parent) > BYTES - 4 {
        let name = Name {
            at: read(dentry, Offset::DentryName),
            len: u64::from(read::<u32>(dentry, Offset::DentryNameLen)),
        };
        return (read(dentry, Offset::DentryParent), name);
    }
    let bytes: [u8; BYTES] = read(dentry, Offset::DentryParent);
    let bytes = bytes.as_ptr();
    // SAFETY: both offsets were compared with the length.
    unsafe {
        let at = bytes.add(name - parent).cast::<u64>().read_unaligned();
        let len = bytes.add(len - parent).cast::<u32>().read_unaligned();
        (bytes.cast::<u64>().read_unaligned(), Name { at, len: len.into() })
    }
}

/// Goes on in this mount. What is read of it stands side by side in most kernels.
///
/// # Safety
///
/// `slot` must be claimed.
#[inline(always)]
unsafe fn enter(slot: *mut Slot, mount: u64) {
    const WORDS: usize = 3;
    let start = offset(Offset::MountParent);
    let mountpoint = offset(Offset::MountMountpoint).wrapping_sub(start) / 8;
    let root = offset(Offset::MountMnt) + offset(Offset::VfsmountRoot);
    let root_word = root.wrapping_sub(start) / 8;
    let (parent, mountpoint, root) = if mountpoint < WORDS && root_word < WORDS {
        let words: [u64; WORDS] = read(mount, Offset::MountParent);
        // SAFETY: both indices were compared with the length.
        unsafe { (words[0], *words.get_unchecked(mountpoint), *words.get_unchecked(root_word)) }
    } else {
        let mountpoint = read(mount, Offset::MountMountpoint);
        (read(mount, Offset::MountParent), mountpoint, read_at(mount.wrapping_add(root as u64)))
    };
    // SAFETY: the caller's promise.
    unsafe {
        word!(slot.walk.mount = mount);
        word!(slot.walk.parent = parent);
        word!(slot.walk.mountpoint = mountpoint);
        word!(slot.walk.root = root);
    }
}
