//! The system call that a task is in.

use shrike_common::Abi;

use crate::kernel::{Regs, Task};

/// A system call that a probe must tell from others, by its number in each table.
#[derive(Clone, Copy)]
pub(crate) struct Syscall {
    x86_64: i32,
    i386: i32,
}

/// The arguments of a system call.
#[derive(Clone, Copy)]
pub(crate) struct Args {
    regs: Regs,
    is_compat: bool,
}

impl Args {
    /// Those of the call that a task is in, which may be one of the 32-bit table.
    #[inline(always)]
    pub(crate) fn of(task: Task, is_compat: bool) -> Self {
        Self { regs: task.regs(), is_compat }
    }
}

/// Declares how the arguments are numbered.
macro_rules! arguments {
    ($($name:ident = $native:ident $compat:ident;)*) => {
        impl Args {
            $(
                #[inline(always)]
                pub(crate) fn $name(self) -> u64 {
                    if self.is_compat {
                        self.regs.$compat() & u64::from(u32::MAX)
                    } else {
                        self.regs.$native()
                    }
                }
            )*
        }
    };
}

arguments! {
    first = di bx;
    second = si cx;
    third = dx dx;
    fourth = r10 si;
}

pub(crate) const CREAT: Syscall = Syscall { x86_64: 85, i386: 8 };
pub(crate) const EXECVE: Syscall = Syscall { x86_64: 59, i386: 11 };
pub(crate) const EXECVEAT: Syscall = Syscall { x86_64: 322, i386: 358 };
pub(crate) const FINIT_MODULE: Syscall = Syscall { x86_64: 313, i386: 350 };
pub(crate) const INIT_MODULE: Syscall = Syscall { x86_64: 175, i386: 128 };
pub(crate) const IO_URING: Syscall = Syscall { x86_64: 426, i386: 426 };
pub(crate) const LSM_SET_SELF_ATTR: Syscall = Syscall { x86_64: 460, i386: 460 };
pub(crate) const OPEN: Syscall = Syscall { x86_64: 2, i386: 5 };
pub(crate) const OPENAT: Syscall = Syscall { x86_64: 257, i386: 295 };
pub(crate) const OPENAT2: Syscall = Syscall { x86_64: 437, i386: 437 };
pub(crate) const OPEN_BY_HANDLE_AT: Syscall = Syscall { x86_64: 304, i386: 342 };
pub(crate) const PIDFD_GETFD: Syscall = Syscall { x86_64: 438, i386: 438 };
pub(crate) const SETNS: Syscall = Syscall { x86_64: 308, i386: 346 };
pub(crate) const UNSHARE: Syscall = Syscall { x86_64: 272, i386: 310 };
pub(crate) const WRITE: Syscall = Syscall { x86_64: 1, i386: 4 };

/// The calls by which a task has a file opened.
const OPENING: [Syscall; 8] =
    [OPEN, CREAT, OPENAT, OPEN_BY_HANDLE_AT, OPENAT2, EXECVE, EXECVEAT, IO_URING];

/// Whether the current task has asked for a file to be opened, or works for one that did.
#[inline(never)]
pub(crate) fn opens() -> bool {
    let task = Task::current();
    let (abi, number) = of(task);
    let mut found = u32::from(task.is_kernel_thread());
    for call in OPENING {
        found |= u32::from(call.is(abi, number));
    }
    found != 0
}

/// The address of the path that the current task has given to have a file opened; 0 if it has given none.
#[inline(never)]
pub(crate) fn path_to_open() -> u64 {
    let task = Task::current();
    let (abi, number) = of(task);
    let args = Args::of(task, matches!(abi, Abi::I386));
    if OPENAT.is(abi, number) || OPENAT2.is(abi, number) {
        args.second()
    } else if OPEN.is(abi, number) || CREAT.is(abi, number) {
        args.first()
    } else {
        0
    }
}

impl Syscall {
    /// Whether the current task is in this call.
    #[inline(always)]
    pub(crate) fn is_current(self) -> bool {
        let (abi, number) = of(Task::current());
        self.is(abi, number)
    }

    #[inline(always)]
    fn is(self, abi: Abi, number: i32) -> bool {
        number == if matches!(abi, Abi::I386) { self.i386 } else { self.x86_64 }
    }
}

/// The system call that `task` is in, and its table; -1 if it is in none.
#[inline(always)]
pub(crate) fn of(task: Task) -> (Abi, i32) {
    /// Set in `orig_ax` for the x32 table (`__X32_SYSCALL_BIT`).
    const X32_BIT: u64 = 1 << 30;
    if task.is_kernel_thread() {
        return (Abi::X86_64, -1);
    }
    let number = task.syscall();
    if number as i64 == -1 {
        (Abi::X86_64, -1)
    } else if task.is_compat() {
        (Abi::I386, number as i32)
    } else if number & X32_BIT != 0 {
        (Abi::X32, (number & !X32_BIT) as i32)
    } else {
        (Abi::X86_64, number as i32)
    }
}
