//! The names of system calls.

use std::sync::LazyLock;

use shrike_common::{Abi, Header, Kind};
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

/// `evt.type` of an event of `kind`, by the call that the task was in.
pub(crate) fn event_type(kind: Kind, header: &Header) -> &'static str {
    /// The calls of a table that are looked up beforehand; there are fewer.
    const CALLS: usize = 512;
    /// By kind, table and call: every event is asked for its type, mostly more than once.
    static TYPES: LazyLock<Vec<[Vec<&'static str>; 3]>> = LazyLock::new(|| {
        let of_call = |kind, abi: Abi, call: usize| {
            let syscall = i32::try_from(call).unwrap_or(-1);
            let header = Header { abi: abi as u32, syscall, ..Header::default() };
            shrike_rules::event_type(kind, name(&header))
        };
        let of_kind = |number: u16| match Kind::ALL.iter().find(|kind| **kind as u16 == number) {
            Some(kind) => [Abi::X86_64, Abi::I386, Abi::X32]
                .map(|abi| (0..CALLS).map(|call| of_call(*kind, abi, call)).collect()),
            None => Default::default(),
        };
        (0..Kind::LIMIT).map(of_kind).collect()
    });
    let known = || {
        let table = match Abi::from_code(header.abi)? {
            Abi::X86_64 => 0,
            Abi::I386 => 1,
            Abi::X32 => 2,
        };
        let call = usize::try_from(header.syscall).ok()?;
        TYPES.get(kind as usize)?[table].get(call).copied()
    };
    known().unwrap_or_else(|| shrike_rules::event_type(kind, name(header)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_an_event_is_that_of_its_call() {
        let all = (-2..600).chain([i32::MAX]);
        for syscall in all {
            for abi in [Abi::X86_64 as u32, Abi::I386 as u32, Abi::X32 as u32, 77] {
                let header = Header { abi, syscall, ..Header::default() };
                for &kind in Kind::ALL {
                    let expected = shrike_rules::event_type(kind, name(&header));
                    assert_eq!(event_type(kind, &header), expected, "{kind:?} {abi} {syscall}");
                }
            }
        }
    }

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
