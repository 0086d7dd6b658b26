//! Files.

use shrike_common::wire;

use crate::emit::emit;
use crate::kernel::File;

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
            reserved: 0,
            path: record.path(file.path()),
        }
    });
}
