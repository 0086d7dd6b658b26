//! The one declaration of every event kind. From it come the layout of the records, the decoder,
//! the names in metrics and JSON, and the documentation.

use crate::field::Value;
use crate::wire::{Span, Wire};
use crate::{Address, CgroupId, ContainerId, Lane, Namespaces, NsId, Pid, StartTime, Uid};

macro_rules! kinds {
    ($(
        $(#[doc = $doc:literal])*
        $kind:ident = $code:literal $name:literal in $lane:ident when $need:ident {
            $($(#[doc = $field_doc:literal])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u16)]
        pub enum Kind { $($(#[doc = $doc])* $kind = $code,)* }

        impl Kind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The name in metrics, JSON and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// The lane that its events travel in.
            pub const fn lane(self) -> Lane {
                match self { $(Self::$kind => Lane::$lane),* }
            }

            /// When its events are wanted.
            pub const fn need(self) -> Need {
                match self { $(Self::$kind => Need::$need),* }
            }

            /// What it means, in Markdown with the links of this documentation.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$kind => concat!($($doc),*)),* }
            }

            /// Its fields, as they are declared.
            pub const fn declared(self) -> &'static [Declared] {
                match self {
                    $(Self::$kind => &[$(Declared {
                        name: stringify!($field),
                        ty: stringify!($type),
                        doc: concat!($($field_doc),*),
                    }),*]),*
                }
            }
        }

        /// An event as the agent sees it: the kind and its fields.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Event<'a> { $($(#[doc = $doc])* $kind($kind<'a>),)* }

        impl<'a> Event<'a> {
            /// The kind of the event.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }

            /// Hands out the name and the value of each field, in the order of the declaration.
            pub fn fields(&self, each: &mut dyn FnMut(&'static str, Value<'a>)) {
                match self {
                    $(Self::$kind(event) => {
                        $(each(stringify!($field), Value::from(event.$field));)*
                    })*
                }
            }

            /// Reads the fields of an event of `kind` that stand at `at` in `record`.
            pub(crate) fn view(kind: Kind, record: &'a [u8], at: usize) -> Option<Self> {
                match kind { $(Kind::$kind => wire::$kind::view(record, at).map(Self::$kind)),* }
            }
        }

        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
            pub struct $kind<'a> { $($(#[doc = $field_doc])* pub $field: <$type as Wire>::View<'a>,)* }
        )*

        /// The kinds' fields as they stand in a record, behind the header.
        pub(crate) mod wire {
            use super::{Address, CgroupId, ContainerId, Kind, Namespaces, NsId, Pid, Span, StartTime, Uid, Wire};

            /// The fixed part of a record, behind the header.
            pub trait Payload: Copy {
                /// The kind whose fields these are.
                const KIND: Kind;
            }

            $(
                $(#[doc = $doc])*
                #[derive(Clone, Copy, Debug, Default)]
                #[repr(C)]
                pub struct $kind { $($(#[doc = $field_doc])* pub $field: $type,)* }

                const _: () = assert!(
                    size_of::<$kind>() == 0 $(+ size_of::<$type>())*,
                    concat!(stringify!($kind), " has padding")
                );

                impl Payload for $kind {
                    const KIND: Kind = Kind::$kind;
                }

                impl Wire for $kind {
                    type View<'a> = super::$kind<'a>;

                    fn view(record: &[u8], at: usize) -> Option<Self::View<'_>> {
                        Some(super::$kind {
                            $($field: <$type as Wire>::view(
                                record,
                                at.checked_add(core::mem::offset_of!($kind, $field))?,
                            )?,)*
                        })
                    }
                }
            )*
        }
    };
}

impl Exec<'_> {
    /// The program's file is in the layer of an overlay that is written to: it is not of the image.
    pub const UPPER: u32 = 1;
    /// It has no name any more, or never had one.
    pub const UNLINKED: u32 = 2;
}

/// A field of a kind, for documentation.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: &'static str,
    /// What it means, in Markdown with the links of this documentation.
    pub doc: &'static str,
}

/// When the events of a kind are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Always: the agent itself follows them.
    Always,
    /// When a rule or a reader asks for them.
    Asked,
}

kinds! {
    /// A process executed a program (`sched_process_exec`): the new image is in place, arguments
    /// and credentials are final.
    Exec = 0 "exec" in Process when Always {
        /// The inode number of the program's file.
        inode: u64,
        /// The device of the file's superblock (kernel `dev_t`: major << 20 | minor).
        dev: u32,
        /// The pid of the process in its own pid namespace.
        vpid: Pid,
        /// Its process group.
        group: Pid,
        /// Its session.
        session: Pid,
        /// Its controlling terminal (kernel `dev_t`); 0 if it has none.
        tty: u32,
        /// The user who has logged in (`task_struct.loginuid`); 4294967295 if nobody has.
        loginuid: Uid,
        /// A set of [`Exec::UPPER`] and [`Exec::UNLINKED`].
        file: u32,
        /// Reserved; 0.
        reserved: u32,
        /// The path of the program's file, seen from the root of its mount namespace.
        path: Span,
        /// The arguments, the program's own name first, each ended by NUL.
        args: Span,
        /// Variables of its environment, as [`ENVIRONMENT`](crate::ENVIRONMENT) lists them and more, each ended
        /// by NUL.
        env: Span,
        /// Its working directory, seen from the root of its mount namespace.
        cwd: Span,
    }

    /// A process was created (`task_newtask`); threads are not reported.
    Fork = 1 "fork" in Process when Always {
        /// The `CLONE_*` flags.
        clone_flags: u64,
        /// When the child started.
        child_start: StartTime,
        /// The child.
        child: Pid,
        /// The child's pid in its own pid namespace.
        child_vpid: Pid,
    }

    /// The last thread of a process ended (`sched_process_exit`).
    Exit = 2 "exit" in Process when Always {
        /// The status as `wait(2)` gives it: exit code << 8, or the signal.
        status: i32,
        /// Reserved; 0.
        reserved: u32,
    }

    /// A file was opened (`security_file_open`). Reported once per open: the second file that
    /// overlayfs opens on a layer is not an event.
    FileOpen = 3 "file_open" in Bulk when Asked {
        /// The inode number.
        inode: u64,
        /// The magic number of the file system (`statfs.f_type`).
        fs_magic: u64,
        /// The device of the superblock (kernel `dev_t`: major << 20 | minor).
        dev: u32,
        /// The `O_*` flags of the open, and `__FMODE_EXEC` (1 << 5) when it is for execution.
        flags: u32,
        /// The file's type and permissions (`inode.i_mode`).
        mode: u32,
        /// The device that a device file stands for (kernel `dev_t`); 0 for other files.
        rdev: u32,
        /// The mount namespace that the file's mount belongs to; 0 for a mount of none (pipes,
        /// sockets, memory files) and for a detached tree.
        mnt_ns: NsId,
        /// Reserved; 0.
        reserved: u32,
        /// The path, seen from the root of the mount namespace.
        path: Span,
        /// The path as the program gave it to `open(2)` and its like, read when the file was found: another thread
        /// may have changed it. Empty if nobody asks for it.
        given: Span,
    }

    /// A file system was given to be mounted (`security_sb_kern_mount`), by `mount(2)` or by
    /// `fsconfig(2)`. Bind mounts make no new one and are not reported.
    Mount = 4 "mount" in Critical when Asked {
        /// The magic number of the file system (`statfs.f_type`).
        fs_magic: u64,
        /// The device of the superblock (kernel `dev_t`: major << 20 | minor).
        dev: u32,
        /// The block device that holds the file system (kernel `dev_t`); 0 if none does.
        bdev: u32,
        /// The name of the file system's type.
        fs_type: Span,
    }

    /// A mount or a detached tree is to be moved (`security_move_mount`, by `move_mount(2)`).
    MoveMount = 5 "move_mount" in Critical when Asked {
        /// The magic number of the file system (`statfs.f_type`).
        fs_magic: u64,
        /// The device of the superblock (kernel `dev_t`: major << 20 | minor).
        dev: u32,
        /// The mount namespace that the mount belongs to; 0 for a detached tree.
        from_mnt_ns: NsId,
        /// The name of the file system's type.
        fs_type: Span,
        /// Where it goes.
        to: Span,
    }

    /// A task joins existing namespaces by `setns(2)`; reported when the kernel has allowed it and
    /// installs them (`switch_task_namespaces`). The header still shows the old ones.
    Setns = 6 "setns" in Critical when Asked {
        /// The namespaces after it; `pid` is the one for children. Where a type is the same as
        /// before, its number is 0.
        joined: Namespaces,
    }

    /// A task leaves for new namespaces by `unshare(2)` (`switch_task_namespaces`). The header
    /// still shows the old ones.
    Unshare = 7 "unshare" in Critical when Asked {
        /// The namespaces after it; `pid` is the one for children. Where a type is the same as
        /// before, its number is 0. A new user namespace is not seen here.
        joined: Namespaces,
    }

    /// A task asks for access to another one (`security_ptrace_access_check`): by `ptrace(2)`,
    /// `process_vm_readv(2)`, `pidfd_getfd(2)`, or through `/proc/PID`. Checks that only decide
    /// what is shown (`PTRACE_MODE_NOAUDIT`) are not reported.
    Ptrace = 8 "ptrace" in Critical when Asked {
        /// The `PTRACE_MODE_*` flags: 1 to read, 2 to attach.
        mode: u32,
        /// The [`Membership`](crate::Membership) of the other task.
        target_membership: u32,
        /// When its process started.
        target_start: StartTime,
        /// The container that it belongs to; 0 if it is the host's.
        target_container: ContainerId,
        /// Its process.
        target: Pid,
        /// Reserved; 0.
        reserved: u32,
        /// Its namespaces.
        target_ns: Namespaces,
        /// Its name (`task_struct.comm`), ended by NUL.
        target_comm: [u8; 16],
    }

    /// A socket is to be connected (`security_socket_connect`), or was to a Unix listener that was
    /// found (`security_unix_stream_connect`).
    Connect = 9 "connect" in Bulk when Asked {
        /// The address family (`AF_*`).
        family: u32,
        /// The type of the socket (`SOCK_*`).
        socket_type: u32,
        /// The port; 0 if the family has none.
        port: u32,
        /// The protocol (`IPPROTO_*`) of an IP socket; 0 if it is not known.
        protocol: u32,
        /// The IP address.
        address: Address,
        /// The IP address that the socket itself is bound to, if it is: the kernel chooses one later.
        own_address: Address,
        /// And its port; 0 likewise.
        own_port: u32,
        /// Reserved; 0.
        reserved: u32,
        /// Where the Unix listener's socket is, seen from the root of the mount namespace that it
        /// was bound in; empty if it has an abstract name, and for datagrams.
        path: Span,
        /// What the Unix listener was bound to, as it was given, or what the sender of datagrams
        /// asks for: a path, or an abstract name behind a NUL. Renaming the socket does not change
        /// it.
        bound: Span,
    }

    /// A kernel parameter is to be written (`cgroup/sysctl`), by whatever path.
    Sysctl = 10 "sysctl" in Critical when Asked {
        /// Its name as under `/proc/sys`.
        name: Span,
        /// The text that was written.
        value: Span,
    }

    /// A kernel module is to be loaded (`security_kernel_read_file` in `finit_module(2)`,
    /// `security_kernel_load_data` in `init_module(2)`).
    ModuleLoad = 11 "module_load" in Critical when Asked {
        /// The path of its file; empty if it comes from memory.
        path: Span,
    }

    /// A device file, FIFO or socket is to be made (`security_path_mknod`).
    Mknod = 12 "mknod" in Bulk when Asked {
        /// Its type and permissions.
        mode: u32,
        /// The device that it stands for (kernel `dev_t`: major << 20 | minor).
        rdev: u32,
        /// Its path, seen from the root of the mount namespace.
        path: Span,
    }

    /// The BPF system call is used (`security_bpf`). Commands that only work with the elements of
    /// maps, or ask about objects, are not reported.
    Bpf = 13 "bpf" in Critical when Asked {
        /// The command (`enum bpf_cmd`).
        cmd: u32,
        /// The type of the program (`enum bpf_prog_type`) that `BPF_PROG_LOAD` loads; else 0.
        prog_type: u32,
        /// The name of that program, ended by NUL.
        prog_name: [u8; 16],
    }

    /// A socket is to be made (`security_socket_create`), for a process and not by the kernel for
    /// itself.
    Socket = 14 "socket" in Bulk when Asked {
        /// The address family (`AF_*`).
        family: u32,
        /// The type (`SOCK_*`), without flags.
        socket_type: u32,
        /// The protocol.
        protocol: u32,
        /// Reserved; 0.
        reserved: u32,
    }

    /// A file is to be mapped for execution (`security_mmap_file` with `PROT_EXEC`), or a mapping of
    /// it becomes executable (`security_file_mprotect`).
    MmapExec = 15 "mmap_exec" in Bulk when Asked {
        /// The inode number.
        inode: u64,
        /// The magic number of the file system (`statfs.f_type`).
        fs_magic: u64,
        /// The device of the superblock (kernel `dev_t`: major << 20 | minor).
        dev: u32,
        /// The `PROT_*` flags.
        prot: u32,
        /// The file's type and permissions (`inode.i_mode`).
        mode: u32,
        /// The mount namespace that the file's mount belongs to; 0 for a mount of none and for a
        /// detached tree.
        mnt_ns: NsId,
        /// The path, seen from the root of the mount namespace.
        path: Span,
    }

    /// A task, or a whole process, is moved to another cgroup (`cgroup_attach_task`). A child that is
    /// born into another cgroup by `clone3(2)` is not reported.
    CgroupAttach = 16 "cgroup_attach" in Process when Always {
        /// The cgroup that it is moved to.
        to: CgroupId,
        /// When the process started that is moved.
        target_start: StartTime,
        /// The process.
        target: Pid,
        /// The task that is moved: its main thread if it is moved as a whole, or another one alone.
        target_tid: Pid,
        /// The number of the hierarchy (`/proc/cgroups`); 0 for the unified one (cgroup v2).
        hierarchy: u32,
        /// Reserved; 0.
        reserved: u32,
        /// The path of the cgroup below the root of its hierarchy.
        path: Span,
    }

    /// A regular file is to be made (`security_path_mknod`), by `open(2)` or by `mknod(2)`. The
    /// kernel asks before it has looked: a file that is there, but whose name is not in memory, is
    /// reported too when it is opened with `O_CREAT`.
    FileCreate = 17 "file_create" in Bulk when Asked {
        /// The magic number of the file system (`statfs.f_type`).
        fs_magic: u64,
        /// The device of the superblock (kernel `dev_t`: major << 20 | minor).
        dev: u32,
        /// Its type and permissions.
        mode: u32,
        /// Its path, seen from the root of the mount namespace.
        path: Span,
    }

    /// The agent has asked the probes whether they are there. No rule sees this.
    Heartbeat = 18 "heartbeat" in Process when Always {
        /// The [`Backend`](crate::Backend) that answers; the header tells the lane.
        backend: u32,
        /// Reserved; 0.
        reserved: u32,
    }

    /// A system call has ended that had caused an event of which the outcome is asked for. Rules see
    /// it as a part of that event.
    Outcome = 19 "outcome" in Bulk when Asked {
        /// What the system call returned: a descriptor or the like, or a negative error number.
        result: i64,
        /// The events of the task since this time (nanoseconds of boot time) are meant.
        since: u64,
    }

    /// A container has come to be known, or a process has come into it from outside: what it has now
    /// is its boundary. The header is that of the process.
    Boundary = 20 "boundary" in Process when Always {
        /// The container.
        container: ContainerId,
        /// The capabilities that it can ever have (the bounding set), one bit each (`CAP_*`).
        bounding: u64,
        /// Its permitted capabilities.
        permitted: u64,
        /// The [`Origin`](crate::Origin).
        origin: u32,
        /// The seccomp mode: 0 none, 1 strict, 2 filter.
        seccomp: u32,
        /// Whether `no_new_privs` is set.
        no_new_privs: u32,
        /// The device of its root file system (kernel `dev_t`: major << 20 | minor).
        root_dev: u32,
    }

    /// A container's task has crossed the boundary of its container.
    Breach = 21 "breach" in Critical when Always {
        /// The container.
        container: ContainerId,
        /// What was recorded: of a namespace its inode number, of ids the real user id and (in the upper
        /// half) the effective one, of capabilities a bit each; of a mount that of its namespace.
        expected: u64,
        /// What is now.
        found: u64,
        /// When the task was last seen within its boundary by a complete comparison (nanoseconds of
        /// boot time).
        since: u64,
        /// The [`BreachKind`](crate::BreachKind).
        breach: u32,
        /// The [`Property`](crate::Property) that shows it.
        property: u32,
        /// Where it was [`Noticed`](crate::Noticed).
        noticed: u32,
        /// The task that it is about; mostly that of the header.
        task: Pid,
        /// The [`Way`](crate::Way) to a file that is outside.
        way: u32,
        /// Reserved; 0.
        reserved: u32,
        /// That file, seen from the root of the mount's namespace; or the program that the kernel executed.
        path: Span,
    }

    /// A cgroup was made (`cgroup_mkdir`), in any hierarchy.
    CgroupMkdir = 22 "cgroup_mkdir" in Process when Always {
        /// The cgroup.
        made: CgroupId,
        /// The number of the hierarchy (`/proc/cgroups`); 0 for the unified one (cgroup v2).
        hierarchy: u32,
        /// How many cgroups are above it.
        level: u32,
        /// Its path below the root of its hierarchy.
        path: Span,
    }

    /// A cgroup was removed (`cgroup_rmdir`), in any hierarchy.
    CgroupRmdir = 23 "cgroup_rmdir" in Process when Always {
        /// The cgroup.
        removed: CgroupId,
        /// The number of the hierarchy (`/proc/cgroups`); 0 for the unified one (cgroup v2).
        hierarchy: u32,
        /// How many cgroups were above it.
        level: u32,
        /// Its path below the root of its hierarchy.
        path: Span,
    }
}

impl Kind {
    /// Room for this many kinds in the maps that are indexed by kind.
    pub const LIMIT: u16 = 128;

    /// Whether events of this kind are between the probes and the agent: no rule and no reader sees
    /// them by themselves.
    pub const fn is_internal(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Outcome)
    }

    /// The kind with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|&kind| kind as u16 == code)
    }
}
