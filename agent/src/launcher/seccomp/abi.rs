//! The ways into the kernel that a filter tells apart, and their numbers for system calls.

use syscalls::{x86, x86_64};

/// A set of numbers for system calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Abi {
    /// The native one.
    X86_64,
    /// That of 32-bit programs: any program can call it, by `int 0x80`.
    I386,
    /// The native one with 32-bit pointers.
    X32,
}

/// What x32 adds to its numbers.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// What x32 does not have in common with x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`), from
/// [`X32_FIRST`] on.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

const X32_FIRST: u32 = 512;

impl Abi {
    /// The number of the system call with this name, if this ABI has it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let id = match self {
            Self::X86_64 => name.parse::<x86_64::Sysno>().ok()?.id(),
            Self::I386 => name.parse::<x86::Sysno>().ok()?.id(),
            Self::X32 => return x32_number(name),
        };
        u32::try_from(id).ok()
    }

    /// The highest number that this program has a name for. A later one is that of a call which
    /// was invented after every profile that it can read was written.
    pub(super) fn newest(self) -> u32 {
        match self {
            Self::X86_64 => x86_64::Sysno::last().id().unsigned_abs(),
            Self::I386 => x86::Sysno::last().id().unsigned_abs(),
            Self::X32 => X32_BIT | (X32_FIRST + 35),
        }
    }
}

fn x32_number(name: &str) -> Option<u32> {
    let own = (X32_FIRST..).zip(X32_OWN).find(|(_, own)| *own == name).map(|(number, _)| number);
    own.or_else(|| Abi::X86_64.number(name)).map(|number| X32_BIT | number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_abi_has_its_numbers() {
        for (abi, name, number) in [
            (Abi::X86_64, "execve", Some(59)),
            (Abi::I386, "execve", Some(11)),
            (Abi::X32, "execve", Some(X32_BIT + 520)),
            (Abi::X32, "read", Some(X32_BIT)),
            (Abi::X32, "pwritev2", Some(Abi::X32.newest())),
            (Abi::X86_64, "socketcall", None),
            (Abi::I386, "socketcall", Some(102)),
            (Abi::X86_64, "no_such_call", None),
        ] {
            assert_eq!(abi.number(name), number, "{name} of {abi:?}");
        }
    }
}
