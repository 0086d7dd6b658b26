//! Connections.

use shrike_common::{Offset, wire};

use crate::emit::emit;
use crate::kernel::{Dentry, Path, Sock, Vfsmount, offset, read};

/// `security_unix_stream_connect`: the listener was found.
#[inline(always)]
pub(crate) fn unix_connect(listener: Sock) {
    let listener = listener.0 as u64;
    emit(|record| {
        /// `sizeof(sa_family_t)`, in front of the name.
        const FAMILY: u32 = 2;
        let address: u64 = read(listener, Offset::UnixAddr);
        let len: u32 = read(address, Offset::UnixAddressLen);
        let name = address + offset(Offset::UnixAddressName) as u64 + u64::from(FAMILY);
        let bound = record.kernel(name, len.saturating_sub(FAMILY));
        let dentry: u64 = read(listener, Offset::UnixPathDentry);
        let mnt: u64 = read(listener, Offset::UnixPathMnt);
        let path = if dentry == 0 {
            record.kernel(0, 0)
        } else {
            record.path(Path { mnt: Vfsmount(mnt as *const _), dentry: Dentry(dentry as *const _) })
        };
        wire::Connect { path, bound }
    });
}
