//! Files.

use shrike_common::wire;

use crate::emit::emit;
use crate::kernel::{Dentry, File, Path, PathRef};

/// `security_file_open`: permissions were checked, the file system has not opened it yet.
#[inline(always)]
pub(crate) fn open(file: File) {
    /// Set on the second file that overlayfs opens, on a layer.
    const FMODE_NOACCOUNT: u32 = 1 << 29;
    if file.mode() & FMODE_NOACCOUNT != 0 {
        return;
    }
    emit(|record| {
        let inode = file.inode();
        let sb = inode.sb();
        wire::FileOpen {
            inode: inode.ino(),
            fs_magic: sb.magic(),
            dev: sb.dev(),
            flags: file.flags(),
            mode: u32::from(inode.mode()),
            rdev: inode.rdev(),
            mnt_ns: file.mnt().namespace(),
            reserved: 0,
            path: record.path(file.path()),
        }
    });
}

/// `security_path_mknod`: also reached by an open that creates a regular file.
#[inline(always)]
pub(crate) fn mknod(dir: PathRef, dentry: Dentry, mode: u16, device: u32) {
    const S_IFMT: u16 = 0o170_000;
    const S_IFREG: u16 = 0o100_000;
    if mode & S_IFMT == S_IFREG || mode & S_IFMT == 0 {
        return;
    }
    emit(|record| wire::Mknod {
        mode: u32::from(mode),
        rdev: decode(device),
        path: record.path(Path { mnt: dir.mnt(), dentry }),
    });
}

/// From the encoding of `mknod(2)` to that of the kernel (`new_decode_dev`, `MKDEV`).
#[inline(always)]
fn decode(device: u32) -> u32 {
    let major = device >> 8 & 0xFFF;
    let minor = device & 0xFF | device >> 12 & 0xF_FF00;
    major << 20 | minor
}
