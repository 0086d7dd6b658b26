//! System calls as they are, without a library in between, and what the kernel makes of their
//! arguments.

use std::path::Path;
use std::ptr;

use anyhow::{Result, ensure};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::statfs;

/// A system call, with what it returns as the kernel does.
macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {{
        // SAFETY: what is passed outlives the call, and the kernel checks it.
        let result = unsafe { libc::syscall(libc::$number $(, $argument)*) };
        if result == -1 {
            -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
        } else {
            result
        }
    }};
}
pub(super) use call;

/// A system call of the 32-bit table, from 64-bit code. The arguments are below 4 GiB.
pub(crate) fn compat(number: u32, [first, second, third]: [u32; 3]) -> i64 {
    let result: u64;
    // SAFETY: what is passed outlives the call. The call keeps all registers but the result, and LLVM
    // reserves rbx, so that it is exchanged.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("rax") u64::from(number) => result,
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let [.., a, b, c, d] = result.to_be_bytes();
    i64::from(i32::from_be_bytes([a, b, c, d]))
}

/// Bytes that can be reached by an address of 32 bits.
pub(super) fn low(bytes: &[u8]) -> Result<u32> {
    // SAFETY: a new mapping, as large as what is copied into it.
    let at = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let at =
            libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        ensure!(at != libc::MAP_FAILED, "no memory below 4 GiB");
        ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len().min(4096));
        at
    };
    Ok(u32::try_from(at.expose_provenance())?)
}

/// A device number as the kernel has it within (`MKDEV`).
pub(super) fn dev(number: u64) -> u64 {
    major(number) << 20 | minor(number)
}

pub(super) fn magic(path: &Path) -> Result<i64> {
    Ok(statfs(path)?.filesystem_type().0)
}
