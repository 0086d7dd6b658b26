//! What the probes must know of the running kernel: where the fields that they read are. The agent
//! finds the numbers in the kernel's BTF and writes them into the object's read-only data before
//! it is loaded, where the verifier sees them as constants.

/// How many offsets there are.
pub const OFFSETS: usize = Offset::ALL.len();

macro_rules! offsets {
    ($($name:ident = $root:ident . $($field:ident).+ $(or $($other:ident).+)?,)*) => {
        /// A field of a kernel struct.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(usize)]
        #[expect(missing_docs, reason = "each is the kernel's own field, see `Offset::path`")]
        pub enum Offset { $($name,)* }

        impl Offset {
            /// Every offset, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The struct's name in the kernel.
            pub const fn root(self) -> &'static str {
                match self { $(Self::$name => stringify!($root)),* }
            }

            /// The dotted path of the field within the struct.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => path!($($field).+)),* }
            }

            /// The path of the field in kernels that call it otherwise.
            pub const fn other_path(self) -> Option<&'static str> {
                match self { $(Self::$name => other!($($($other).+)?)),* }
            }
        }
    };
}

/// Joins field names by dots (`stringify!` of a path would put blanks between them).
macro_rules! path {
    ($first:ident $(. $rest:ident)*) => {
        concat!(stringify!($first) $(, ".", stringify!($rest))*)
    };
}

macro_rules! other {
    () => {
        None
    };
    ($($field:ident).+) => {
        Some(path!($($field).+))
    };
}

offsets! {
    BdevDev = block_device.bd_dev,
    BdevDisk = block_device.bd_disk,
    BinprmCred = linux_binprm.cred,
    BinprmFile = linux_binprm.file,
    BinprmFilename = linux_binprm.filename,
    BinprmInterp = linux_binprm.interp,
    CgroupAncestors = cgroup.ancestors,
    CgroupKn = cgroup.kn,
    CgroupLevel = cgroup.level,
    CgroupNsInum = cgroup_namespace.ns.inum,
    CgroupNsRoot = cgroup_namespace.root_cset,
    CgroupRoot = cgroup.root,
    CgroupRootHierarchy = cgroup_root.hierarchy_id,
    CredCapAmbient = cred.cap_ambient,
    CredCapBset = cred.cap_bset,
    CredCapEffective = cred.cap_effective,
    CredCapInheritable = cred.cap_inheritable,
    CredCapPermitted = cred.cap_permitted,
    CssSetDflCgrp = css_set.dfl_cgrp,
    CredEuid = cred.euid,
    CredGid = cred.gid,
    CredGroupInfo = cred.group_info,
    CredSecurebits = cred.securebits,
    CredSecurity = cred.security,
    CredUid = cred.uid,
    CredUserNs = cred.user_ns,
    DentryHashPprev = dentry.d_hash.pprev,
    DentryInode = dentry.d_inode,
    DentryName = dentry.d_name.name,
    DentryNameHash = dentry.d_name.hash,
    DentryNameLen = dentry.d_name.len,
    DentryParent = dentry.d_parent,
    DentryShortname = dentry.d_iname or d_shortname,
    DentrySb = dentry.d_sb,
    FdtableFd = fdtable.fd,
    FdtableMax = fdtable.max_fds,
    FileDentry = file.f_path.dentry,
    FileFlags = file.f_flags,
    FileInode = file.f_inode,
    FileMnt = file.f_path.mnt,
    FileMode = file.f_mode,
    FilesFdt = files_struct.fdt,
    FileSystemName = file_system_type.name,
    FsPwdDentry = fs_struct.pwd.dentry,
    FsParameterKey = fs_parameter.key,
    FsParameterString = fs_parameter.string,
    FsPwdMnt = fs_struct.pwd.mnt,
    FsRootDentry = fs_struct.root.dentry,
    FsRootMnt = fs_struct.root.mnt,
    GendiskMajor = gendisk.major,
    GendiskPrivate = gendisk.private_data,
    GroupInfoCount = group_info.ngroups,
    GroupInfoGid = group_info.gid,
    InodeIno = inode.i_ino,
    InodeNlink = inode.i_nlink,
    InodeMode = inode.i_mode,
    InodeRdev = inode.i_rdev,
    InodeSb = inode.i_sb,
    IpcNsInum = ipc_namespace.ns.inum,
    KernfsNodeId = kernfs_node.id,
    LsmBlobCred = lsm_blob_sizes.lbs_cred,
    MmArgEnd = mm_struct.arg_end,
    MmArgStart = mm_struct.arg_start,
    MmEnvEnd = mm_struct.env_end,
    MmEnvStart = mm_struct.env_start,
    MmExeFile = mm_struct.exe_file,
    MntNsInum = mnt_namespace.ns.inum,
    MntNsSeq = mnt_namespace.seq or ns.ns_id,
    MountChild = mount.mnt_child,
    MountGroup = mount.mnt_group_id,
    MountMnt = mount.mnt,
    MountMountpoint = mount.mnt_mountpoint,
    MountMounts = mount.mnt_mounts,
    MountNs = mount.mnt_ns,
    MountParent = mount.mnt_parent,
    NetInum = net.ns.inum,
    NsproxyCgroup = nsproxy.cgroup_ns,
    NsproxyIpc = nsproxy.ipc_ns,
    NsproxyMnt = nsproxy.mnt_ns,
    NsproxyNet = nsproxy.net_ns,
    NsproxyPidForChildren = nsproxy.pid_ns_for_children,
    NsproxyTime = nsproxy.time_ns,
    NsproxyTimeForChildren = nsproxy.time_ns_for_children,
    NsproxyUts = nsproxy.uts_ns,
    PathDentry = path.dentry,
    PathMnt = path.mnt,
    PidLevel = pid.level,
    PidNsInum = pid_namespace.ns.inum,
    PidNumbers = pid.numbers,
    RegsBx = pt_regs.bx,
    RegsCx = pt_regs.cx,
    RegsDi = pt_regs.di,
    RegsDx = pt_regs.dx,
    RegsR10 = pt_regs.r10,
    RegsSi = pt_regs.si,
    RegsSyscall = pt_regs.orig_ax,
    SbBdi = super_block.s_bdi,
    SbBdev = super_block.s_bdev,
    SbDev = super_block.s_dev,
    SbMagic = super_block.s_magic,
    SbMounts = super_block.s_mounts,
    SbRoot = super_block.s_root,
    SbType = super_block.s_type,
    SeccompFilterPrev = seccomp_filter.prev,
    SignalFlags = signal_struct.flags,
    SignalGroupExitCode = signal_struct.group_exit_code,
    SignalLive = signal_struct.live.counter,
    SignalNrThreads = signal_struct.nr_threads,
    SignalPids = signal_struct.pids,
    SignalTty = signal_struct.tty,
    SockNum = sock.__sk_common.skc_num,
    SockProtocol = sock.sk_protocol,
    SockRcvSaddr = sock.__sk_common.skc_rcv_saddr,
    // In a kernel without IPv6, no socket has one.
    SockRcvSaddr6 = sock.__sk_common.skc_v6_rcv_saddr or __sk_common.skc_rcv_saddr,
    SocketSk = socket.sk,
    SocketType = socket.type,
    TaskAtomicFlags = task_struct.atomic_flags,
    TaskCgroups = task_struct.cgroups,
    TaskComm = task_struct.comm,
    TaskCred = task_struct.cred,
    TaskExitCode = task_struct.exit_code,
    TaskFiles = task_struct.files,
    TaskFlags = task_struct.flags,
    TaskFs = task_struct.fs,
    TaskGroupLeader = task_struct.group_leader,
    TaskMm = task_struct.mm,
    TaskNivcsw = task_struct.nivcsw,
    TaskNsproxy = task_struct.nsproxy,
    TaskNvcsw = task_struct.nvcsw,
    TaskOnCpu = task_struct.on_cpu,
    TaskPid = task_struct.pid,
    TaskRealCred = task_struct.real_cred,
    TaskRealParent = task_struct.real_parent,
    TaskSeccompFilter = task_struct.seccomp.filter,
    TaskSeccompMode = task_struct.seccomp.mode,
    TaskSignal = task_struct.signal,
    TaskStartBoottime = task_struct.start_boottime,
    TaskState = task_struct.__state,
    TaskStatus = task_struct.thread_info.status,
    TaskSyscallWork = task_struct.thread_info.syscall_work,
    TaskTgid = task_struct.tgid,
    TaskThreadPid = task_struct.thread_pid,
    TimeNsInum = time_namespace.ns.inum,
    TtyDriver = tty_struct.driver,
    TtyDriverMajor = tty_driver.major,
    TtyDriverMinorStart = tty_driver.minor_start,
    TtyIndex = tty_struct.index,
    UnixAddr = unix_sock.addr,
    UnixAddressLen = unix_address.len,
    UnixAddressName = unix_address.name,
    UnixPathDentry = unix_sock.path.dentry,
    UnixPathMnt = unix_sock.path.mnt,
    UpidNr = upid.nr,
    UpidNs = upid.ns,
    UserNsInum = user_namespace.ns.inum,
    UserNsParent = user_namespace.parent,
    UtsNsInum = uts_namespace.ns.inum,
    VfsmountFlags = vfsmount.mnt_flags,
    VfsmountRoot = vfsmount.mnt_root,
    VfsmountSb = vfsmount.mnt_sb,
    VmaFlags = vm_area_struct.vm_flags,
    VmaFile = vm_area_struct.vm_file,
}
