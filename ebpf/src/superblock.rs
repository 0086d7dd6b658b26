//! File systems that members mount: whose each is.

use aya_ebpf::Global;
use shrike_common::{BreachKind, Noticed, Offset, Property};

use crate::breach::Subject;
use crate::kernel::{BlockDevice, Superblock, Task, Vfsmount, address, offset, read, read_at};
use crate::member::{self, Member};
use crate::tree::{S_IFREG, Tree, has_type, is_file_given, raise_epoch};

/// Where the kernel has `noop_backing_dev_info`, which every file system without a storage has; 0 if not
/// known.
#[unsafe(no_mangle)]
static NOOP_BDI: Global<u64> = Global::new(0);

/// Where a loop device (`struct loop_device`) has the file beneath it; 0 if not known.
#[unsafe(no_mangle)]
static LOOP_FILE: Global<u64> = Global::new(0);

/// The offset of `mount.mnt_next_for_sb`; 0 if the kernel has none.
#[unsafe(no_mangle)]
static MOUNT_NEXT: Global<u64> = Global::new(0);

/// `security_sb_kern_mount`: a member mounts a file system. One that it makes is its own, but for a disk of
/// the host; one that is there already is the host's, unless it was given. The kernel's own file systems
/// without a storage are everybody's.
#[inline(always)]
pub(crate) fn mounted(sb: Superblock) {
    raise_epoch();
    let task = Task::current();
    if let Some(member) = member::get(task) {
        mounted_by(member, task, sb);
    }
}

#[inline(never)]
fn mounted_by(member: *mut Member, task: Task, sb: Superblock) {
    // SAFETY: the look-up gave a valid entry.
    let container = unsafe { (*member).container };
    let root = sb.root().0 as u64;
    let tree = Tree::new(container, sb.0 as u64, root, sb.dev());
    if tree.is_given() {
        return;
    }
    tree.give_all();
    let is_new = is_unmounted(sb);
    let disk = sb.block_device();
    let bdev = disk.dev();
    let noop = NOOP_BDI.load();
    let is_stored = bdev != 0 || noop != 0 && sb.bdi() != noop;
    let is_foreign = if is_new {
        bdev != 0 && !Tree::shared(container).is_given() && !is_own_disk(disk, container)
    } else {
        is_stored
    };
    if is_foreign {
        let own = task.fs().root_dentry().sb().dev();
        // SAFETY: as above.
        let subject = unsafe { Subject::of(member, task, Noticed::Mount as u64) };
        subject.report(BreachKind::Filesystem, Property::Superblock, own.into(), sb.dev().into());
    }
}

/// Whether a file system has no mount yet, but for one that this very call makes: the kernel asks after it has
/// made it where it keeps the list by `mount.mnt_next_for_sb` (seen on 7.3, not on 6.12).
#[inline(always)]
fn is_unmounted(sb: Superblock) -> bool {
    let mounts = address(sb.0).wrapping_add(offset(Offset::SbMounts) as u64);
    let first: u64 = read_at(mounts);
    match MOUNT_NEXT.load() {
        // A list with nothing in it points to itself.
        0 => first == mounts,
        next => {
            let (namespace, next): (u64, u64) =
                (read(first, Offset::MountNs), read_at(first.wrapping_add(next)));
            first == 0 || namespace == 0 && next == 0
        }
    }
}

/// Whether a disk is a loop device over a file that the container has.
#[inline(always)]
fn is_own_disk(disk: BlockDevice, container: u64) -> bool {
    /// The major number of loop devices. Their partitions have others.
    const LOOP: u32 = 7;
    let disk: u64 = read(address(disk.0), Offset::BdevDisk);
    if read::<u32>(disk, Offset::GendiskMajor) != LOOP {
        return false;
    }
    let place = LOOP_FILE.load();
    if place == 0 {
        return true;
    }
    let device: u64 = read(disk, Offset::GendiskPrivate);
    let file: u64 = read_at(device.wrapping_add(place));
    let dentry: u64 = read(file, Offset::FileDentry);
    let mnt: u64 = read(file, Offset::FileMnt);
    // One that never had a name is the kernel's internally.
    has_type(dentry, S_IFREG)
        && (Vfsmount(mnt as *const _).is_internal() || is_file_given(container, dentry))
}
