//! The ends of system calls that probes can listen at, for whoever asks what became of an action.

use crate::Kind;
use crate::probe::{Attach, Probe};

/// Declares a probe at the end of a system call of the 64-bit table.
macro_rules! native {
    ($call:ident [$($kind:ident),+]) => {
        SyscallExit {
            syscall: stringify!($call),
            is_compat: false,
            probe: Probe {
                name: concat!("exit_", stringify!($call)),
                kinds: &[$(Kind::$kind),+],
                ways: &[Attach::Fexit {
                    program: concat!("exit_", stringify!($call)),
                    function: concat!("__x64_sys_", stringify!($call)),
                }],
                arguments: &["pt_regs"],
            },
        }
    };
}

/// Declares one of the 32-bit table. The kernel has a function of its own for that only where the
/// arguments differ.
macro_rules! compat {
    ($call:ident [$($kind:ident),+]) => {
        SyscallExit {
            syscall: stringify!($call),
            is_compat: true,
            probe: Probe {
                name: concat!("exit_compat_", stringify!($call)),
                kinds: &[$(Kind::$kind),+],
                ways: &[
                    Attach::Fexit {
                        program: concat!("exit_compat_", stringify!($call)),
                        function: concat!("__ia32_compat_sys_", stringify!($call)),
                    },
                    Attach::Fexit {
                        program: concat!("exit_compat_", stringify!($call)),
                        function: concat!("__ia32_sys_", stringify!($call)),
                    },
                ],
                arguments: &["pt_regs"],
            },
        }
    };
}

/// Lists system calls by their tables, with the kinds of events that they cause.
macro_rules! exits {
    (
        both { $($both:ident $both_kinds:tt,)* }
        native { $($native:ident $native_kinds:tt,)* }
        compat { $($compat:ident $compat_kinds:tt,)* }
    ) => {
        /// The probes at the ends of system calls.
        pub const SYSCALL_EXITS: &[SyscallExit] = &[
            $(native!($both $both_kinds), compat!($both $both_kinds),)*
            $(native!($native $native_kinds),)*
            $(compat!($compat $compat_kinds),)*
        ];
    };
}

/// A probe at the end of a system call.
#[derive(Debug)]
pub struct SyscallExit {
    /// The name of the system call.
    pub syscall: &'static str,
    /// Whether it is the one of the 32-bit table.
    pub is_compat: bool,
    /// The probe. It sends outcomes, and attempts of its kinds.
    pub probe: Probe,
}

exits! {
    both {
        bpf [Bpf],
        connect [Connect],
        creat [FileOpen, FileCreate],
        execve [Exec],
        execveat [Exec],
        finit_module [ModuleLoad],
        fsconfig [Mount],
        init_module [ModuleLoad],
        mknod [Mknod, FileCreate],
        mknodat [Mknod, FileCreate],
        mount [Mount],
        move_mount [MoveMount],
        mprotect [MmapExec],
        open [FileOpen, FileCreate],
        open_by_handle_at [FileOpen],
        openat [FileOpen, FileCreate],
        openat2 [FileOpen, FileCreate],
        pidfd_getfd [Ptrace],
        pkey_mprotect [MmapExec],
        process_vm_readv [Ptrace],
        process_vm_writev [Ptrace],
        ptrace [Ptrace],
        setns [Setns],
        socket [Socket],
        socketpair [Socket],
        unshare [Unshare],
    }
    native {
        mmap [MmapExec],
    }
    compat {
        socketcall [Connect, Socket],
    }
}
