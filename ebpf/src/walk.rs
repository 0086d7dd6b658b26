//! The path of a file, by the one algorithm that is used everywhere: from the dentry up through its
//! mounts to the root of the mount namespace, then the names from the root down. It does not depend
//! on the root or the namespace of whoever asks, as `bpf_d_path` does.

use shrike_common::Offset;
use shrike_common::wire::Text;

use crate::kernel::{Path, offset, read, read_kernel};
use crate::slot::TEXT;

/// The most names in a path, a power of two; of a longer one, the last ones are kept.
const COMPONENTS: usize = 64;
/// The most mounts above one another on the way up.
const MOUNTS: usize = 16;

/// What the way up found, in map memory: as registers, the verifier of 6.1 would follow every
/// combination of their values.
#[repr(C)]
pub(crate) struct Components {
    names: [Name; COMPONENTS],
    count: u32,
    flags: u32,
    len: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    at: u64,
    len: u64,
}

/// Writes the path to `to` and returns its length, less than [`TEXT`], and its flags.
///
/// # Safety
///
/// `components` and `to` must belong to a claimed slot, `to` with room for two texts.
#[inline(always)]
pub(crate) unsafe fn path(components: *mut Components, to: *mut u8, path: Path) -> (usize, u16) {
    let mount = (path.mnt.0 as u64).wrapping_sub(offset(Offset::MountMnt) as u64);
    up(components, path.dentry.0 as u64, mount);
    let len = down(components, to);
    // SAFETY: the caller's promise.
    let flags = unsafe { (&raw const (*components).flags).read_volatile() };
    (len as usize & (TEXT - 1), flags as u16)
}

/// Collects the names from `dentry` up to the root of the namespace.
#[inline(never)]
fn up(components: *mut Components, dentry: u64, mount: u64) {
    let (mut dentry, mut mount) = (dentry, mount);
    // SAFETY: `components` is valid, see `path`; an index is masked.
    unsafe {
        let count = &raw mut (*components).count;
        let len = &raw mut (*components).len;
        let flags = &raw mut (*components).flags;
        count.write_volatile(0);
        len.write_volatile(0);
        flags.write_volatile(u32::from(deleted(dentry)));
        let mut root = mount_root(mount);
        for _ in 0..COMPONENTS + MOUNTS {
            if dentry == root {
                let parent: u64 = read(mount, Offset::MountParent);
                if parent == mount || parent == 0 {
                    return;
                }
                dentry = read(mount, Offset::MountMountpoint);
                mount = parent;
                root = mount_root(mount);
                continue;
            }
            let name = Name {
                at: read(dentry, Offset::DentryName),
                len: u64::from(read::<u32>(dentry, Offset::DentryNameLen)),
            };
            let parent: u64 = read(dentry, Offset::DentryParent);
            let top = parent == dentry || parent == 0;
            // The root of a file system is called "/"; an unnamed object's only dentry has its name.
            if !(top && name.len <= 1) {
                let (index, total) = (count.read_volatile(), len.read_volatile() + 1 + name.len);
                if index as usize >= COMPONENTS || total >= TEXT as u64 {
                    flags.write_volatile(flags.read_volatile() | u32::from(Text::TRUNCATED));
                    return;
                }
                (*components).names[index as usize & (COMPONENTS - 1)] = name;
                count.write_volatile(index + 1);
                len.write_volatile(total);
            }
            if top {
                flags.write_volatile(flags.read_volatile() | u32::from(Text::UNREACHABLE));
                return;
            }
            dentry = parent;
        }
        flags.write_volatile(flags.read_volatile() | u32::from(Text::TRUNCATED));
    }
}

/// Writes the collected names, the last one first.
#[inline(never)]
fn down(components: *mut Components, to: *mut u8) -> u64 {
    // SAFETY: `components` and `to` are valid, see `path`; indexes and lengths are masked, and a
    // write at less than `TEXT` of at most 256 bytes ends within two texts.
    unsafe {
        let count = (&raw const (*components).count).read_volatile() as usize;
        let flags = &raw mut (*components).flags;
        let truncated = flags.read_volatile() & u32::from(Text::TRUNCATED) != 0;
        let mut len = 0;
        if count == 0 && flags.read_volatile() & u32::from(Text::UNREACHABLE) == 0 {
            *to = b'/';
            return 1;
        }
        for step in 0..COMPONENTS {
            if step >= count {
                break;
            }
            let name = (*components).names[(count - 1 - step) & (COMPONENTS - 1)];
            // The tail of a path does not start at the root, and must not look as if it did.
            if step > 0 || !truncated {
                *to.add(len & (TEXT - 1)) = b'/';
                len += 1;
            }
            let wanted = name.len as usize & 0xFF;
            if !read_kernel(to.add(len & (TEXT - 1)), wanted as u32, name.at) {
                flags.write_volatile(flags.read_volatile() | u32::from(Text::UNREADABLE));
                break;
            }
            len += wanted;
        }
        len as u64
    }
}

#[inline(always)]
fn mount_root(mount: u64) -> u64 {
    read(mount.wrapping_add(offset(Offset::MountMnt) as u64), Offset::VfsmountRoot)
}

/// `d_unlinked`: not hashed, and not the root of something.
#[inline(always)]
fn deleted(dentry: u64) -> u16 {
    let hashed: u64 = read(dentry, Offset::DentryHashPprev);
    let parent: u64 = read(dentry, Offset::DentryParent);
    if hashed == 0 && parent != dentry { Text::DELETED } else { 0 }
}
