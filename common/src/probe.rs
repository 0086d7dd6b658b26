//! The one list of probes: which hook feeds which kind, and by which ways it can be attached.

use crate::Kind;

/// A place in the kernel that a probe listens at.
#[derive(Debug)]
pub struct Probe {
    /// The name in metrics, messages and documentation.
    pub name: &'static str,
    /// The kind of event that it sends.
    pub kind: Kind,
    /// The ways to attach it, the best one first.
    pub ways: &'static [Attach],
    /// The struct that each leading argument of the hook must point to.
    pub arguments: &'static [&'static str],
}

/// A way to attach a probe, and the program of the eBPF object that is made for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attach {
    /// An LSM hook: never skipped, and the kernel's own copies as arguments. Runs only where
    /// `bpf` is among the active LSMs.
    Lsm {
        /// The program in the object.
        program: &'static str,
        /// The hook, without the prefix `security_`.
        hook: &'static str,
    },
    /// The entry of a kernel function. Skipped when the same program already runs on that CPU.
    Fentry {
        /// The program in the object.
        program: &'static str,
        /// The function.
        function: &'static str,
    },
    /// A tracepoint, with typed arguments.
    Tracepoint {
        /// The program in the object.
        program: &'static str,
        /// The tracepoint.
        name: &'static str,
    },
}

/// Every probe.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "exec",
        kind: Kind::Exec,
        ways: &[Attach::Tracepoint { program: "exec_tp", name: "sched_process_exec" }],
        arguments: &["task_struct", "", "linux_binprm"],
    },
    Probe {
        name: "fork",
        kind: Kind::Fork,
        ways: &[Attach::Tracepoint { program: "fork_tp", name: "task_newtask" }],
        arguments: &["task_struct"],
    },
    Probe {
        name: "exit",
        kind: Kind::Exit,
        ways: &[Attach::Tracepoint { program: "exit_tp", name: "sched_process_exit" }],
        arguments: &["task_struct"],
    },
    Probe {
        name: "file_open",
        kind: Kind::FileOpen,
        ways: &[
            Attach::Lsm { program: "file_open_lsm", hook: "file_open" },
            Attach::Fentry { program: "file_open_fentry", function: "security_file_open" },
        ],
        arguments: &["file"],
    },
];

impl Attach {
    /// The program in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Lsm { program, .. }
            | Self::Fentry { program, .. }
            | Self::Tracepoint { program, .. } => program,
        }
    }

    /// The `backend` label in metrics and messages.
    pub const fn backend(self) -> &'static str {
        match self {
            Self::Lsm { .. } => "lsm",
            Self::Fentry { .. } => "fentry",
            Self::Tracepoint { .. } => "tp_btf",
        }
    }
}
