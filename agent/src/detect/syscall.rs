//! The names of system calls.

use shrike_common::{Abi, Header};
use syscalls::{x86, x86_64};

/// The name of the system call that the acting task was in; `None` if it was in none, or in one
/// that this agent does not know.
pub(crate) fn name(header: &Header) -> Option<&'static str> {
    let number = usize::try_from(header.syscall).ok()?;
    match Abi::from_code(header.abi)? {
        Abi::X86_64 | Abi::X32 => x86_64::Sysno::new(number).map(|call| call.name()),
        Abi::I386 => x86::Sysno::new(number).map(|call| call.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_of_the_abi() {
        let call = |abi, syscall| name(&Header { abi, syscall, ..Header::default() });
        assert_eq!(call(Abi::X86_64 as u32, 257), Some("openat"));
        assert_eq!(call(Abi::X32 as u32, 257), Some("openat"));
        assert_eq!(call(Abi::I386 as u32, 295), Some("openat"));
        assert_eq!(call(Abi::X86_64 as u32, -1), None);
        assert_eq!(call(Abi::X86_64 as u32, 100_000), None);
        assert_eq!(call(9, 257), None);
    }
}
