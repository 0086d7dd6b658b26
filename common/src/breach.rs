//! What a container's boundary consists of, and what can be seen of its crossing.

/// Declares an enum whose values have a number in records and a name in rules.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$value_doc:meta])* $value:ident = $code:literal $text:literal,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
            #[repr(u32)]
            pub enum $name { $($(#[$value_doc])* $value = $code,)* }

            impl $name {
                /// Every value, in the order of its number.
                pub const ALL: &'static [Self] = &[$(Self::$value),*];

                /// The name in rules, JSON and documentation.
                pub const fn name(self) -> &'static str {
                    match self { $(Self::$value => $text),* }
                }

                /// The value with this number.
                pub fn from_code(code: u32) -> Option<Self> {
                    Self::ALL.iter().copied().find(|&value| value as u32 == code)
                }
            }
        )*
    };
}

names! {
    /// What was crossed.
    BreachKind {
        /// A member runs in a namespace that its container does not own.
        Namespace = 0 "namespace",
        /// Capabilities beyond those that the member entered with or could get.
        Capability = 1 "capability",
        /// User or group ids, or a user namespace, that no permitted change gave.
        Credential = 2 "credential",
        /// Seccomp or `no_new_privs` is looser than recorded.
        Confinement = 3 "confinement",
        /// The task's root directory is on a mount that the container does not own.
        Root = 4 "root",
        /// A member was moved by a member out of the container's cgroups.
        Cgroup = 5 "cgroup",
    }

    /// The property of a task that shows it.
    Property {
        /// The mount namespace.
        MntNs = 0 "ns.mnt",
        /// The namespace of process ids, that for children.
        PidNs = 1 "ns.pid",
        /// The network namespace.
        NetNs = 2 "ns.net",
        /// The UTS namespace.
        UtsNs = 3 "ns.uts",
        /// The IPC namespace.
        IpcNs = 4 "ns.ipc",
        /// The cgroup namespace.
        CgroupNs = 5 "ns.cgroup",
        /// The time namespace.
        TimeNs = 6 "ns.time",
        /// The user namespace of the credentials.
        UserNs = 7 "ns.user",
        /// The root directory, told by the mount namespace that it is in.
        Root = 8 "root",
        /// One of the eight user and group ids; the evidence is the real user id and, in the upper half,
        /// the effective one.
        Ids = 9 "ids",
        /// The permitted, effective and ambient capabilities.
        Capabilities = 10 "capabilities",
        /// The capabilities that an exec can give (the bounding set).
        Bounding = 11 "bounding",
        /// Seccomp: the mode, and 256 if it is at work.
        Seccomp = 12 "seccomp",
        /// `no_new_privs`.
        NoNewPrivs = 13 "no_new_privs",
        /// The capabilities of the subjective credentials (`task_struct.cred`).
        SubjectiveCapabilities = 14 "subjective.capabilities",
        /// The user namespace of the subjective credentials.
        SubjectiveUserNs = 15 "subjective.ns.user",
        /// The cgroup.
        Cgroup = 16 "cgroup",
    }

    /// Where a probe noticed it.
    Noticed {
        /// When a file was opened.
        FileOpen = 0 "file_open",
        /// When a program was executed.
        Exec = 1 "exec",
        /// When a child was made, in the child.
        Fork = 2 "fork",
        /// In the act: credentials were installed (`commit_creds`).
        CommitCreds = 3 "commit_creds",
        /// In the act: namespaces were installed (`switch_task_namespaces`).
        SwitchNamespaces = 4 "switch_task_namespaces",
        /// In the act: a task was moved to another cgroup.
        CgroupAttach = 5 "cgroup_attach",
        /// When a socket was connected.
        Connect = 6 "connect",
        /// When a socket was made.
        Socket = 7 "socket",
        /// When access to another task was asked for.
        Ptrace = 8 "ptrace",
        /// When a file system was mounted.
        Mount = 9 "mount",
        /// When a mount was moved.
        MoveMount = 10 "move_mount",
        /// When a file was made.
        Mknod = 11 "mknod",
        /// When a kernel parameter was written.
        Sysctl = 12 "sysctl",
        /// When a kernel module was loaded.
        ModuleLoad = 13 "module_load",
        /// When the BPF system call was used.
        Bpf = 14 "bpf",
        /// When ids or capabilities were to be changed.
        CredentialChange = 15 "credential_change",
        /// When a file was mapped, or a mapping became executable.
        Map = 16 "map",
        /// When an agent started and looked at every member that slept.
        Roll = 17 "roll",
    }

    /// How a container came to be known, or a process to be in it.
    Origin {
        /// Its first process executed its program.
        Started = 0 "started",
        /// Another process came in from outside.
        Entered = 1 "entered",
        /// It was running already when the agent started.
        Found = 2 "found",
    }
}
