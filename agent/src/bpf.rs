//! `bpf(2)`, for what aya has no function for.

use std::io;

use aya_obj::generated::{bpf_attr, bpf_cmd};

/// Calls it, and returns what it answers: a new descriptor with some commands, 0 with others. `attr` must be
/// what the command takes, and what it points to as long as it says.
pub(crate) unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the caller's promise; the kernel knows how long `attr` is.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of_val(attr)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
