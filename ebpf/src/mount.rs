//! File systems that are mounted, and mounts that are moved.

use shrike_common::wire::Span;
use shrike_common::{Kind, wire};

use crate::emit::Record;
use crate::kernel::{PathRef, Pointer, Superblock};
use crate::plan::Wanted;
use crate::{superblock, tree};

/// `security_sb_kern_mount`: the file system is there, and may be mounted.
#[inline(always)]
pub(crate) fn mount(sb: Superblock) {
    superblock::mounted(sb);
    let Some(wanted) = Wanted::of(Kind::Mount) else { return };
    wanted.emit(|record| wire::Mount {
        fs_magic: sb.magic(),
        dev: sb.dev(),
        // Null where no block device is beneath, which reads as 0.
        bdev: sb.block_device().dev(),
        fs_type: type_name(record, sb),
    });
}

/// `security_move_mount`: both paths are resolved. What is moved is mostly a detached tree, which
/// has no path: its file system is told.
#[inline(always)]
pub(crate) fn move_mount(from: PathRef, to: PathRef) {
    tree::moved(from);
    let Some(wanted) = Wanted::of(Kind::MoveMount) else { return };
    wanted.emit(|record| {
        let sb = from.dentry().sb();
        wire::MoveMount {
            fs_magic: sb.magic(),
            dev: sb.dev(),
            from_mnt_ns: from.mnt().namespace(),
            to: record.path(to.path()),
            fs_type: type_name(record, sb),
        }
    });
}

#[inline(always)]
fn type_name(record: &mut Record, sb: Superblock) -> Span {
    /// No type of file system has a name as long as that.
    const NAME: u32 = 64;
    record.string(sb.file_system_type().name() as Pointer, NAME)
}
