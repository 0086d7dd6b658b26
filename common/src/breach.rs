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
        /// Seccomp, `no_new_privs` or the label of a security module is looser than recorded.
        Confinement = 3 "confinement",
        /// The task's root directory is on a mount that the container does not own.
        Root = 4 "root",
        /// A member was moved by a member out of the container's cgroups.
        Cgroup = 5 "cgroup",
        /// A member has opened, executed, mapped or mounted what its container was not given.
        Filesystem = 6 "filesystem",
        /// The kernel has executed, as the host's root, a program that a container set or supplied.
        UsermodeHelper = 7 "usermode_helper",
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
        /// The mount that a file was reached by: of a namespace that the container does not own.
        Mount = 17 "mount",
        /// The same, of a detached tree.
        DetachedTree = 18 "mount.detached",
        /// The place of a file: its mount is the container's own, but it is not below the root of that.
        MountRoot = 19 "mount.root",
        /// The file system that was mounted, told by its device: the host's, or on a disk of the host's.
        Superblock = 20 "superblock",
        /// The kernel's setting that names a program, which a container has written.
        HelperSet = 21 "helper.set",
        /// The program, which comes from a container's files.
        HelperSupplied = 22 "helper.supplied",
        /// The capabilities that an executed file may make permitted.
        Inheritable = 23 "inheritable",
        /// How ids and capabilities depend on each other (`capabilities(7)`).
        Securebits = 24 "securebits",
        /// The supplementary groups; the evidence is how many there are and, in the upper half, the first.
        Groups = 25 "groups",
        /// The real and, in the upper half, the effective user id of the subjective credentials.
        SubjectiveIds = 26 "subjective.ids",
        /// The filters that seccomp asks, of which a task can only get more; the evidence is how many of them
        /// can be counted.
        SeccompFilter = 27 "seccomp.filter",
        /// Whether `AppArmor` confines the task: 1, or 0.
        AppArmor = 28 "apparmor",
        /// The security identifier (SID) that `SELinux` knows the task by.
        Selinux = 29 "selinux",
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
        /// When a kernel parameter was written.
        Sysctl = 11 "sysctl",
        /// When a kernel module was loaded.
        ModuleLoad = 12 "module_load",
        /// When the BPF system call was used.
        Bpf = 13 "bpf",
        /// When ids or capabilities were to be changed.
        CredentialChange = 14 "credential_change",
        /// When a file was mapped, or a mapping became executable.
        Map = 15 "map",
        /// When a descriptor came from another process.
        Receive = 16 "receive",
        /// When a signal was sent to another process.
        Kill = 17 "kill",
        /// When a seccomp filter had been installed.
        Seccomp = 18 "seccomp",
        /// When `prctl` was called.
        Prctl = 19 "prctl",
        /// When an agent started and looked at every member that slept.
        Roll = 20 "roll",
        /// When the task ended.
        Exit = 21 "exit",
        /// When a file, or an entry of a folder, was to be changed by its path.
        Change = 22 "path_change",
    }

    /// How a member came to a file outside of what its container was given.
    Way {
        /// No file is concerned.
        None = 0 "",
        /// It opened it by its path or handle.
        Opened = 1 "opened",
        /// It executed it.
        Executed = 2 "executed",
        /// It mapped it for execution.
        Mapped = 3 "mapped",
        /// It mounted it.
        Mounted = 4 "mounted",
        /// It took its descriptor from another process (`pidfd_getfd(2)`).
        Received = 5 "received",
        /// It opened it while it held a descriptor, or a working directory, on the same mount.
        Inherited = 6 "inherited",
        /// It works in it: it is its current directory.
        Cwd = 7 "cwd",
        /// It changed it by its path: what it is called, where it is, whose it is, how long it is; or an entry
        /// of the folder.
        Changed = 8 "changed",
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
