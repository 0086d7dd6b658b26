//! The one list of probes: which hook feeds which kind, and by which ways it can be attached.

use crate::Kind;

/// A place in the kernel that a probe listens at.
#[derive(Debug)]
pub struct Probe {
    /// The name in metrics, messages and documentation.
    pub name: &'static str,
    /// The kinds of event that it sends, or that would be wrong without it.
    pub kinds: &'static [Kind],
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
    /// The end of a kernel function, with its result.
    Fexit {
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
    /// Writes of kernel parameters by any task, at the root of the cgroup hierarchy.
    CgroupSysctl {
        /// The program in the object.
        program: &'static str,
    },
}

/// Every probe.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "exec",
        kinds: &[Kind::Exec, Kind::Boundary, Kind::Breach],
        ways: &[Attach::Tracepoint { program: "exec_tp", name: "sched_process_exec" }],
        arguments: &["task_struct", "", "linux_binprm"],
    },
    Probe {
        name: "fork",
        kinds: &[Kind::Fork, Kind::Boundary, Kind::Breach],
        ways: &[Attach::Tracepoint { program: "fork_tp", name: "task_newtask" }],
        arguments: &["task_struct"],
    },
    Probe {
        name: "exit",
        kinds: &[Kind::Exit, Kind::Breach],
        ways: &[Attach::Tracepoint { program: "exit_tp", name: "sched_process_exit" }],
        arguments: &["task_struct"],
    },
    Probe {
        name: "file_open",
        kinds: &[Kind::FileOpen, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "file_open_lsm", hook: "file_open" },
            Attach::Fentry { program: "file_open_fentry", function: "security_file_open" },
        ],
        arguments: &["file"],
    },
    Probe {
        name: "mount",
        kinds: &[Kind::Mount, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "mount_lsm", hook: "sb_kern_mount" },
            Attach::Fentry { program: "mount_fentry", function: "security_sb_kern_mount" },
        ],
        arguments: &["super_block"],
    },
    Probe {
        name: "move_mount",
        kinds: &[Kind::MoveMount, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "move_mount_lsm", hook: "move_mount" },
            Attach::Fentry { program: "move_mount_fentry", function: "security_move_mount" },
        ],
        arguments: &["path", "path"],
    },
    Probe {
        name: "namespaces",
        kinds: &[Kind::Setns, Kind::Unshare, Kind::Breach],
        ways: &[Attach::Fentry {
            program: "namespaces_fentry",
            function: "switch_task_namespaces",
        }],
        arguments: &["task_struct", "nsproxy"],
    },
    Probe {
        name: "ptrace",
        kinds: &[Kind::Ptrace, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "ptrace_lsm", hook: "ptrace_access_check" },
            Attach::Fentry { program: "ptrace_fentry", function: "security_ptrace_access_check" },
        ],
        arguments: &["task_struct"],
    },
    Probe {
        name: "unix_connect",
        kinds: &[Kind::Connect, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "unix_connect_lsm", hook: "unix_stream_connect" },
            Attach::Fentry {
                program: "unix_connect_fentry",
                function: "security_unix_stream_connect",
            },
        ],
        arguments: &["sock", "sock"],
    },
    Probe {
        name: "sysctl",
        kinds: &[Kind::Sysctl, Kind::Breach],
        ways: &[Attach::CgroupSysctl { program: "sysctl_cgroup" }],
        arguments: &[],
    },
    Probe {
        name: "module_file",
        kinds: &[Kind::ModuleLoad],
        ways: &[
            Attach::Lsm { program: "module_file_lsm", hook: "kernel_read_file" },
            Attach::Fentry { program: "module_file_fentry", function: "security_kernel_read_file" },
        ],
        arguments: &["file"],
    },
    Probe {
        name: "module_memory",
        kinds: &[Kind::ModuleLoad],
        ways: &[
            Attach::Lsm { program: "module_memory_lsm", hook: "kernel_load_data" },
            Attach::Fentry {
                program: "module_memory_fentry",
                function: "security_kernel_load_data",
            },
        ],
        arguments: &[],
    },
    Probe {
        name: "create",
        kinds: &[Kind::FileCreate],
        ways: &[
            Attach::Lsm { program: "create_lsm", hook: "path_mknod" },
            Attach::Fentry { program: "create_fentry", function: "security_path_mknod" },
        ],
        arguments: &["path", "dentry"],
    },
    Probe {
        name: "mknod",
        kinds: &[Kind::Mknod],
        ways: &[
            Attach::Lsm { program: "mknod_lsm", hook: "path_mknod" },
            Attach::Fentry { program: "mknod_fentry", function: "security_path_mknod" },
        ],
        arguments: &["path", "dentry"],
    },
    Probe {
        name: "bpf",
        kinds: &[Kind::Bpf],
        ways: &[
            Attach::Lsm { program: "bpf_lsm", hook: "bpf" },
            Attach::Fentry { program: "bpf_fentry", function: "security_bpf" },
        ],
        arguments: &["", "bpf_attr"],
    },
    Probe {
        name: "socket",
        kinds: &[Kind::Socket],
        ways: &[
            Attach::Lsm { program: "socket_lsm", hook: "socket_create" },
            Attach::Fentry { program: "socket_fentry", function: "security_socket_create" },
        ],
        arguments: &[],
    },
    Probe {
        name: "connect",
        kinds: &[Kind::Connect, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "connect_lsm", hook: "socket_connect" },
            Attach::Fentry { program: "connect_fentry", function: "security_socket_connect" },
        ],
        arguments: &["socket"],
    },
    Probe {
        name: "mmap",
        kinds: &[Kind::MmapExec, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "mmap_lsm", hook: "mmap_file" },
            Attach::Fentry { program: "mmap_fentry", function: "security_mmap_file" },
        ],
        arguments: &["file"],
    },
    Probe {
        name: "mprotect",
        kinds: &[Kind::MmapExec, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "mprotect_lsm", hook: "file_mprotect" },
            Attach::Fentry { program: "mprotect_fentry", function: "security_file_mprotect" },
        ],
        arguments: &["vm_area_struct"],
    },
    Probe {
        name: "cgroup_attach",
        kinds: &[Kind::CgroupAttach, Kind::Boundary, Kind::Breach],
        ways: &[Attach::Tracepoint { program: "cgroup_attach_tp", name: "cgroup_attach_task" }],
        arguments: &["cgroup", "", "task_struct"],
    },
    Probe {
        name: "cgroup_mkdir",
        kinds: &[Kind::CgroupMkdir],
        ways: &[Attach::Tracepoint { program: "cgroup_mkdir_tp", name: "cgroup_mkdir" }],
        arguments: &["cgroup"],
    },
    Probe {
        name: "cgroup_rmdir",
        kinds: &[Kind::CgroupRmdir],
        ways: &[Attach::Tracepoint { program: "cgroup_rmdir_tp", name: "cgroup_rmdir" }],
        arguments: &["cgroup"],
    },
    Probe {
        name: "fix_setuid",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "fix_setuid_lsm", hook: "task_fix_setuid" },
            Attach::Fentry { program: "fix_setuid_fentry", function: "security_task_fix_setuid" },
        ],
        arguments: &["cred"],
    },
    Probe {
        name: "fix_setgid",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "fix_setgid_lsm", hook: "task_fix_setgid" },
            Attach::Fentry { program: "fix_setgid_fentry", function: "security_task_fix_setgid" },
        ],
        arguments: &["cred"],
    },
    Probe {
        name: "capset",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "capset_lsm", hook: "capset" },
            Attach::Fentry { program: "capset_fentry", function: "security_capset" },
        ],
        arguments: &["cred"],
    },
    Probe {
        name: "committing_creds",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "committing_creds_lsm", hook: "bprm_committing_creds" },
            Attach::Fentry {
                program: "committing_creds_fentry",
                function: "security_bprm_committing_creds",
            },
        ],
        arguments: &["linux_binprm"],
    },
    Probe {
        name: "exec_check",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "exec_check_lsm", hook: "bprm_check_security" },
            Attach::Fentry { program: "exec_check_fentry", function: "security_bprm_check" },
        ],
        arguments: &["linux_binprm"],
    },
    Probe {
        name: "receive",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "receive_lsm", hook: "file_receive" },
            Attach::Fentry { program: "receive_fentry", function: "security_file_receive" },
        ],
        arguments: &["file"],
    },
    Probe {
        name: "kill",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "kill_lsm", hook: "task_kill" },
            Attach::Fentry { program: "kill_fentry", function: "security_task_kill" },
        ],
        arguments: &["task_struct"],
    },
    Probe {
        name: "release_agent",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fentry {
            program: "release_agent_fentry",
            function: "cgroup_release_agent_write",
        }],
        arguments: &["kernfs_open_file"],
    },
    Probe {
        name: "cgroup_option",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fentry {
            program: "cgroup_option_fentry",
            function: "cgroup1_parse_param",
        }],
        arguments: &["fs_context", "fs_parameter"],
    },
    Probe {
        name: "handle",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fentry { program: "handle_fentry", function: "file_open_root" }],
        arguments: &["path"],
    },
    Probe {
        name: "task_free",
        kinds: &[Kind::Boundary, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "task_free_lsm", hook: "task_free" },
            Attach::Fentry { program: "task_free_fentry", function: "security_task_free" },
        ],
        arguments: &["task_struct"],
    },
    // The kernel skips a program of a function where another task was preempted in the midst of it, so
    // that what was made is learned by two.
    Probe {
        name: "unshare_end",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fexit { program: "unshare_fexit", function: "ksys_unshare" }],
        arguments: &[],
    },
    // The tracepoint of this function comes after the move, when the task has been there for a while.
    Probe {
        name: "cgroup_move",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fentry { program: "cgroup_move_fentry", function: "cgroup_attach_task" }],
        arguments: &["cgroup", "task_struct"],
    },
    Probe {
        name: "commit_creds",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fentry { program: "commit_creds_fentry", function: "commit_creds" }],
        arguments: &["cred"],
    },
    Probe {
        name: "fix_setgroups",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "fix_setgroups_lsm", hook: "task_fix_setgroups" },
            Attach::Fentry {
                program: "fix_setgroups_fentry",
                function: "security_task_fix_setgroups",
            },
        ],
        arguments: &["cred"],
    },
    Probe {
        // Never as an LSM hook: there, 0 would be the result of the system call.
        name: "prctl",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fentry { program: "prctl_fentry", function: "security_task_prctl" }],
        arguments: &[],
    },
    Probe {
        name: "relabel",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fexit { program: "relabel_fexit", function: "security_setprocattr" }],
        arguments: &[],
    },
    Probe {
        name: "seccomp",
        kinds: &[Kind::Breach],
        ways: &[Attach::Fexit { program: "seccomp_fexit", function: "do_seccomp" }],
        arguments: &[],
    },
    // The kernel never skips a program of an LSM hook, as it may one of a tracepoint: what makes members is
    // learned at both.
    Probe {
        name: "inherit",
        kinds: &[Kind::Boundary, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "inherit_lsm", hook: "task_alloc" },
            Attach::Fentry { program: "inherit_fentry", function: "security_task_alloc" },
        ],
        arguments: &["task_struct"],
    },
    Probe {
        name: "committed_creds",
        kinds: &[Kind::Boundary, Kind::Breach],
        ways: &[
            Attach::Lsm { program: "committed_creds_lsm", hook: "bprm_committed_creds" },
            Attach::Fentry {
                program: "committed_creds_fentry",
                function: "security_bprm_committed_creds",
            },
        ],
        arguments: &["linux_binprm"],
    },
    Probe {
        name: "chmod",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "chmod_lsm", hook: "path_chmod" },
            Attach::Fentry { program: "chmod_fentry", function: "security_path_chmod" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "chown",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "chown_lsm", hook: "path_chown" },
            Attach::Fentry { program: "chown_fentry", function: "security_path_chown" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "link",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "link_lsm", hook: "path_link" },
            Attach::Fentry { program: "link_fentry", function: "security_path_link" },
        ],
        arguments: &["dentry", "path"],
    },
    Probe {
        name: "mkdir",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "mkdir_lsm", hook: "path_mkdir" },
            Attach::Fentry { program: "mkdir_fentry", function: "security_path_mkdir" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "rename",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "rename_lsm", hook: "path_rename" },
            Attach::Fentry { program: "rename_fentry", function: "security_path_rename" },
        ],
        arguments: &["path", "dentry", "path"],
    },
    Probe {
        name: "rmdir",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "rmdir_lsm", hook: "path_rmdir" },
            Attach::Fentry { program: "rmdir_fentry", function: "security_path_rmdir" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "symlink",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "symlink_lsm", hook: "path_symlink" },
            Attach::Fentry { program: "symlink_fentry", function: "security_path_symlink" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "truncate",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "truncate_lsm", hook: "path_truncate" },
            Attach::Fentry { program: "truncate_fentry", function: "security_path_truncate" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "unlink",
        kinds: &[Kind::Breach],
        ways: &[
            Attach::Lsm { program: "unlink_lsm", hook: "path_unlink" },
            Attach::Fentry { program: "unlink_fentry", function: "security_path_unlink" },
        ],
        arguments: &["path"],
    },
    Probe {
        name: "heartbeat_lsm",
        kinds: &[Kind::Heartbeat],
        ways: &[Attach::Lsm { program: "heartbeat_lsm", hook: "task_getpgid" }],
        arguments: &["task_struct"],
    },
    Probe {
        name: "heartbeat_fentry",
        kinds: &[Kind::Heartbeat],
        ways: &[Attach::Fentry { program: "heartbeat_fentry", function: "security_task_getpgid" }],
        arguments: &["task_struct"],
    },
    Probe {
        name: "heartbeat_tp_btf",
        kinds: &[Kind::Heartbeat],
        ways: &[Attach::Tracepoint { program: "heartbeat_tp", name: "task_rename" }],
        arguments: &[],
    },
];

impl Attach {
    /// The program in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Lsm { program, .. }
            | Self::Fentry { program, .. }
            | Self::Fexit { program, .. }
            | Self::Tracepoint { program, .. }
            | Self::CgroupSysctl { program } => program,
        }
    }

    /// What runs the program.
    pub const fn backend(self) -> Backend {
        match self {
            Self::Lsm { .. } => Backend::Lsm,
            Self::Fentry { .. } => Backend::Fentry,
            Self::Fexit { .. } => Backend::Fexit,
            Self::Tracepoint { .. } => Backend::Tracepoint,
            Self::CgroupSysctl { .. } => Backend::CgroupSysctl,
        }
    }
}

/// What of the kernel runs a program.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Backend {
    /// The hooks of the security modules.
    Lsm = 0,
    /// The entries of functions.
    Fentry = 1,
    /// Tracepoints.
    Tracepoint = 2,
    /// The cgroup hierarchy, for kernel parameters.
    CgroupSysctl = 3,
    /// The ends of functions.
    Fexit = 4,
}

impl Backend {
    /// Every backend, in the order of its number.
    pub const ALL: [Self; 5] =
        [Self::Lsm, Self::Fentry, Self::Tracepoint, Self::CgroupSysctl, Self::Fexit];

    /// The `backend` label in metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::Tracepoint => "tp_btf",
            Self::CgroupSysctl => "cgroup/sysctl",
            Self::Fexit => "fexit",
        }
    }

    /// The backend with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&backend| backend as u32 == code)
    }
}
