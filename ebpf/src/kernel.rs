//! Typed access to the kernel's structs. Offsets come from the agent (see
//! [`shrike_common::Offset`]); since they are constants to the verifier, it checks every load of a
//! pointer that it knows the type of, and a wrong offset is refused rather than read.

mod signal;

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::Global;
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_task_pt_regs, generated};
use shrike_common::{CgroupId, Gid, Namespaces, NsId, OFFSETS, Offset, Pid, StartTime, Uid};

/// `sizeof(struct inode)`; 0 if it is not known.
#[unsafe(no_mangle)]
static INODE_SIZE: Global<u64> = Global::new(0);

/// Where a task has its `loginuid`; 0 in a kernel without audit.
#[unsafe(no_mangle)]
static LOGINUID: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
static OFFSET: [Global<u32>; OFFSETS] = [const { Global::new(0) }; OFFSETS];

pub(crate) type Pointer = *const c_void;

/// Where `field` is in its struct.
#[inline(always)]
pub(crate) fn offset(field: Offset) -> usize {
    OFFSET[field as usize].load() as usize
}

/// Declares structs of the kernel: a pointer each that the verifier knows the type of, and readers
/// for the fields that are asked for. A load from such a pointer cannot fault: the kernel answers
/// 0 for an address that is not mapped.
macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident { $($(#[$reader_doc:meta])* $reader:ident: $type:ty = $offset:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy)]
            #[repr(transparent)]
            pub(crate) struct $name(pub(crate) Pointer);

            impl $name {
                $(
                    $(#[$reader_doc])*
                    #[inline(always)]
                    pub(crate) fn $reader(self) -> $type {
                        // SAFETY: the field is of this type in every supported kernel, and the
                        // verifier checks the access. Volatile, or LLVM would merge the loads of
                        // two branches into one from either pointer, which the verifier refuses.
                        unsafe {
                            self.0.byte_add(offset(Offset::$offset)).cast::<$type>().read_volatile()
                        }
                    }
                )*
            }
        )*
    };
}

structs! {
    /// `struct block_device`.
    BlockDevice {
        dev: u32 = BdevDev,
    }
    /// `struct linux_binprm`: a program being executed.
    Binprm {
        cred: Cred = BinprmCred,
        file: File = BinprmFile,
        /// The address of the path that was asked for.
        filename: u64 = BinprmFilename,
        /// That of the program which is executed in the end: an interpreter, maybe.
        interp: u64 = BinprmInterp,
    }
    /// `struct cgroup`.
    Cgroup {
        level: u32 = CgroupLevel,
        node: KernfsNode = CgroupKn,
        root: CgroupRoot = CgroupRoot,
    }
    /// `struct cgroup_root`: a hierarchy.
    CgroupRoot {
        hierarchy: u32 = CgroupRootHierarchy,
    }
    /// `struct cgroup_namespace`.
    CgroupNs {
        inum: NsId = CgroupNsInum,
        root: CssSet = CgroupNsRoot,
    }
    /// `struct cred`.
    Cred {
        ambient: u64 = CredCapAmbient,
        bounding: u64 = CredCapBset,
        effective: u64 = CredCapEffective,
        euid: Uid = CredEuid,
        gid: Gid = CredGid,
        groups: GroupInfo = CredGroupInfo,
        inheritable: u64 = CredCapInheritable,
        permitted: u64 = CredCapPermitted,
        /// The address of what security modules keep.
        security: u64 = CredSecurity,
        securebits: u32 = CredSecurebits,
        uid: Uid = CredUid,
        user: UserNs = CredUserNs,
    }
    /// `struct css_set`: the cgroups of a task.
    CssSet {
        unified: Cgroup = CssSetDflCgrp,
    }
    /// `struct dentry`.
    Dentry {
        hash_pprev: u64 = DentryHashPprev,
        inode: Inode = DentryInode,
        name_hash: u32 = DentryNameHash,
        name_len: u32 = DentryNameLen,
        /// The first 8 bytes of the name, if it is a short one.
        name_start: u64 = DentryShortname,
        parent: Dentry = DentryParent,
        sb: Superblock = DentrySb,
    }
    /// `struct file`.
    File {
        dentry: Dentry = FileDentry,
        flags: u32 = FileFlags,
        inode: Inode = FileInode,
        mode: u32 = FileMode,
        mnt: Vfsmount = FileMnt,
    }
    /// `struct files_struct`: the descriptors of a task.
    FilesStruct {
        /// The address of the present table (`struct fdtable`).
        table: u64 = FilesFdt,
    }
    /// `struct file_system_type`.
    FileSystemType {
        name: u64 = FileSystemName,
    }
    /// `struct fs_struct`: a task's root and working directory.
    FsStruct {
        pwd_dentry: Dentry = FsPwdDentry,
        pwd_mnt: Vfsmount = FsPwdMnt,
        root_dentry: Dentry = FsRootDentry,
        root_mnt: Vfsmount = FsRootMnt,
    }
    /// `struct group_info`: supplementary groups.
    GroupInfo {
        count: u32 = GroupInfoCount,
    }
    /// `struct inode`.
    Inode {
        ino: u64 = InodeIno,
        links: u32 = InodeNlink,
        mode: u16 = InodeMode,
        rdev: u32 = InodeRdev,
        sb: Superblock = InodeSb,
    }
    /// `struct ipc_namespace`.
    IpcNs {
        inum: NsId = IpcNsInum,
    }
    /// `struct kernfs_node`.
    KernfsNode {
        id: CgroupId = KernfsNodeId,
    }
    /// `struct mm_struct`.
    Mm {
        arg_end: u64 = MmArgEnd,
        arg_start: u64 = MmArgStart,
        env_end: u64 = MmEnvEnd,
        env_start: u64 = MmEnvStart,
        exe_file: File = MmExeFile,
    }
    /// `struct mnt_namespace`.
    MntNs {
        inum: NsId = MntNsInum,
        /// Never given to two of them.
        unique: u64 = MntNsSeq,
    }
    /// `struct net`.
    Net {
        inum: NsId = NetInum,
    }
    /// `struct nsproxy`.
    Nsproxy {
        cgroup_ns: CgroupNs = NsproxyCgroup,
        ipc_ns: IpcNs = NsproxyIpc,
        mnt_ns: MntNs = NsproxyMnt,
        net_ns: Net = NsproxyNet,
        pid_ns_for_children: PidNs = NsproxyPidForChildren,
        time_ns: TimeNs = NsproxyTime,
        time_ns_for_children: TimeNs = NsproxyTimeForChildren,
        uts_ns: UtsNs = NsproxyUts,
    }
    /// `struct path`, where the kernel passes a pointer to one.
    PathRef {
        dentry: Dentry = PathDentry,
        mnt: Vfsmount = PathMnt,
    }
    /// `struct pid`: a task as its pid namespace and those above know it.
    PidRef {
        level: u32 = PidLevel,
    }
    /// `struct pid_namespace`.
    PidNs {
        inum: NsId = PidNsInum,
    }
    /// `struct pt_regs`: the registers at the entry into the kernel.
    Regs {
        bx: u64 = RegsBx,
        cx: u64 = RegsCx,
        di: u64 = RegsDi,
        dx: u64 = RegsDx,
        r10: u64 = RegsR10,
        si: u64 = RegsSi,
        syscall: u64 = RegsSyscall,
    }
    /// `struct seccomp_filter`: the last one of a chain.
    SeccompFilter {}
    /// `struct signal_struct`: what the threads of a process share.
    Signal {
        flags: u32 = SignalFlags,
        group_exit_code: i32 = SignalGroupExitCode,
        live: i32 = SignalLive,
        nr_threads: i32 = SignalNrThreads,
    }
    /// `struct sock`.
    Sock {}
    /// `struct socket`.
    Socket {
        /// The address of its `struct sock`.
        sock: u64 = SocketSk,
        ty: u16 = SocketType,
    }
    /// `struct super_block`.
    Superblock {
        /// The address of its `struct backing_dev_info`.
        bdi: u64 = SbBdi,
        block_device: BlockDevice = SbBdev,
        dev: u32 = SbDev,
        magic: u64 = SbMagic,
        root: Dentry = SbRoot,
        file_system_type: FileSystemType = SbType,
    }
    /// `struct task_struct`.
    Task {
        atomic_flags: u64 = TaskAtomicFlags,
        cgroups: CssSet = TaskCgroups,
        cred: Cred = TaskCred,
        exit_code: i32 = TaskExitCode,
        files: FilesStruct = TaskFiles,
        flags: u32 = TaskFlags,
        fs: FsStruct = TaskFs,
        group_leader: Task = TaskGroupLeader,
        mm: Mm = TaskMm,
        nivcsw: u64 = TaskNivcsw,
        nsproxy_or_null: Nsproxy = TaskNsproxy,
        nvcsw: u64 = TaskNvcsw,
        /// An `int` before Linux 7, of which this is the lower part.
        on_cpu: u8 = TaskOnCpu,
        parent: Task = TaskRealParent,
        real_cred: Cred = TaskRealCred,
        seccomp_filter: SeccompFilter = TaskSeccompFilter,
        seccomp_mode: u32 = TaskSeccompMode,
        signal: Signal = TaskSignal,
        start_boottime: StartTime = TaskStartBoottime,
        state: u32 = TaskState,
        syscall_work: u64 = TaskSyscallWork,
        tgid: Pid = TaskTgid,
        tid: Pid = TaskPid,
        thread_pid: PidRef = TaskThreadPid,
        thread_status: u32 = TaskStatus,
    }
    /// `struct time_namespace`.
    TimeNs {
        inum: NsId = TimeNsInum,
    }
    /// `struct user_namespace`.
    UserNs {
        inum: NsId = UserNsInum,
    }
    /// `struct uts_namespace`.
    UtsNs {
        inum: NsId = UtsNsInum,
    }
    /// `struct vfsmount`.
    Vfsmount {
        root: Dentry = VfsmountRoot,
        sb: Superblock = VfsmountSb,
    }
    /// `struct vm_area_struct`.
    Vma {
        file: File = VmaFile,
        flags: u64 = VmaFlags,
    }
}

/// `struct path`: a name in a mount.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) mnt: Vfsmount,
    pub(crate) dentry: Dentry,
}

impl Cred {
    /// How many ids there are: uid, gid, suid, sgid, euid, egid, fsuid, fsgid, side by side.
    pub(crate) const IDS: usize = 8;

    /// One of them.
    #[inline(always)]
    pub(crate) fn id(self, index: usize) -> u32 {
        // SAFETY: the eight ids follow one another in every supported kernel; the verifier checks the
        // access.
        unsafe {
            self.0.byte_add(offset(Offset::CredUid) + index * 4).cast::<u32>().read_volatile()
        }
    }

    /// The real and, in the upper half, the effective user id.
    #[inline(always)]
    pub(crate) fn user_ids(self) -> u64 {
        u64::from(self.id(0)) | u64::from(self.id(4)) << 32
    }

    #[inline(always)]
    pub(crate) fn user_ns(self) -> NsId {
        self.user().inum()
    }
}

impl File {
    #[inline(always)]
    pub(crate) fn path(self) -> Path {
        Path { mnt: self.mnt(), dentry: self.dentry() }
    }
}

impl GroupInfo {
    /// How many groups are looked at.
    const GROUPS: usize = 2;

    /// The first groups, mixed, and how many there are: what a change of any of them changes.
    #[inline(always)]
    pub(crate) fn digest(self) -> u32 {
        const SPREAD: u32 = 0x9E37_79B1;
        let count = self.count();
        let mut digest = count;
        for index in 0..Self::GROUPS {
            // All bits if there is such a group. What is read where there is none is nothing's.
            let mask = (i64::from(index as u32) - i64::from(count)) >> 63;
            digest = digest.wrapping_mul(SPREAD)
                ^ self.group(index) & opaque(mask.cast_unsigned()) as u32;
        }
        digest
    }

    /// The last group, if there are more; 0 otherwise.
    #[inline(always)]
    pub(crate) fn last(self) -> u32 {
        let count = self.count();
        if count <= Self::GROUPS as u32 {
            return 0;
        }
        let at = offset(Offset::GroupInfoGid) as u64 + u64::from(count - 1) * 4;
        read_at(address(self.0).wrapping_add(at))
    }

    #[inline(always)]
    fn group(self, index: usize) -> u32 {
        // SAFETY: the groups follow one another; the verifier checks the access.
        unsafe {
            let at = self.0.byte_add(offset(Offset::GroupInfoGid) + index * 4);
            at.cast::<u32>().read_volatile()
        }
    }
}

impl Nsproxy {
    #[inline(always)]
    pub(crate) fn cgroup(self) -> NsId {
        self.cgroup_ns().inum()
    }

    #[inline(always)]
    pub(crate) fn ipc(self) -> NsId {
        self.ipc_ns().inum()
    }

    #[inline(always)]
    pub(crate) fn mnt(self) -> NsId {
        self.mnt_ns().inum()
    }

    #[inline(always)]
    pub(crate) fn net(self) -> NsId {
        self.net_ns().inum()
    }

    #[inline(always)]
    pub(crate) fn pid_for_children(self) -> NsId {
        self.pid_ns_for_children().inum()
    }

    #[inline(always)]
    pub(crate) fn time(self) -> NsId {
        self.time_ns().inum()
    }

    #[inline(always)]
    pub(crate) fn uts(self) -> NsId {
        self.uts_ns().inum()
    }

    /// How many namespaces there are, beside that of the credentials.
    pub(crate) const COUNT: usize = 7;

    /// The address of one of them, in the order of [`shrike_common::Property`].
    #[inline(always)]
    pub(crate) fn at(self, index: usize) -> u64 {
        address(match index {
            0 => self.mnt_ns().0,
            1 => self.pid_ns_for_children().0,
            2 => self.net_ns().0,
            3 => self.uts_ns().0,
            4 => self.ipc_ns().0,
            5 => self.cgroup_ns().0,
            _ => self.time_ns().0,
        })
    }
}

impl PathRef {
    #[inline(always)]
    pub(crate) fn path(self) -> Path {
        Path { mnt: self.mnt(), dentry: self.dentry() }
    }
}

impl Inode {
    /// Whether an overlay has it in the layer that is written to. `struct ovl_inode` has the dentry there (
    /// `__upperdentry`) right behind the inode.
    #[inline(always)]
    pub(crate) fn is_upper(self) -> bool {
        const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
        let size = INODE_SIZE.load();
        size != 0
            && self.sb().magic() == OVERLAYFS_SUPER_MAGIC
            && read_at::<u64>(self.0 as u64 + size) != 0
    }
}

impl Task {
    /// The task that entered the kernel.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper has no precondition.
        Self(unsafe { bpf_get_current_task_btf() }.cast())
    }

    /// The thread's name.
    #[inline(always)]
    pub(crate) fn comm(self) -> [u8; 16] {
        // SAFETY: `comm` has 16 bytes (`TASK_COMM_LEN`); the verifier checks the access.
        unsafe {
            let comm = self.0.byte_add(offset(Offset::TaskComm)).cast::<u64>();
            core::mem::transmute::<[u64; 2], [u8; 16]>([*comm, *comm.add(1)])
        }
    }

    /// The task that made it: of a thread, the first one of its process; of a process, the parent.
    #[inline(always)]
    pub(crate) fn elder(self) -> Self {
        if self.tid().0 == self.tgid().0 { self.parent() } else { self.group_leader() }
    }

    /// Whether the task writes its memory into a core file (`PF_DUMPCORE`).
    #[inline(always)]
    pub(crate) fn dumps_core(self) -> bool {
        const FLAG: u32 = 0x200;
        self.flags() & FLAG != 0
    }

    /// Whether the task is on its way out (`PF_EXITING`).
    #[inline(always)]
    pub(crate) fn is_exiting(self) -> bool {
        const FLAG: u32 = 4;
        self.flags() & FLAG != 0
    }

    /// Whether the task never runs in user space: a kernel thread, or an `io_uring` worker.
    #[inline(always)]
    pub(crate) fn is_kernel_thread(self) -> bool {
        /// `PF_IO_WORKER | PF_KTHREAD`.
        const FLAGS: u32 = 0x10 | 0x20_0000;
        self.flags() & FLAGS != 0
    }

    /// If the task sleeps, a number that is another one when it has run since. A task that installs
    /// credentials or namespaces never sleeps half way.
    #[inline(always)]
    pub(crate) fn asleep(self) -> Option<u64> {
        /// `TASK_RUNNING`: also of one that waits for a processor.
        const RUNNING: u32 = 0;
        let is_asleep = self.state() != RUNNING && self.on_cpu() == 0;
        is_asleep.then(|| self.nvcsw() + self.nivcsw())
    }

    /// Whether the task is in a system call of the 32-bit table.
    #[inline(always)]
    pub(crate) fn is_compat(self) -> bool {
        /// `TS_COMPAT`.
        const FLAG: u32 = 2;
        self.thread_status() & FLAG != 0
    }

    /// The namespaces that the task is in; past `exit_task_namespaces`, only some.
    #[inline(always)]
    pub(crate) fn namespaces(self) -> Namespaces {
        let mut ns = Namespaces {
            pid: self.pid_in_namespace().0,
            user: self.real_cred().user_ns(),
            mnt: NsId(0),
            net: NsId(0),
            uts: NsId(0),
            ipc: NsId(0),
            cgroup: NsId(0),
            time: NsId(0),
        };
        if let Some(proxy) = self.nsproxy() {
            ns.mnt = proxy.mnt();
            ns.net = proxy.net();
            ns.uts = proxy.uts();
            ns.ipc = proxy.ipc();
            ns.cgroup = proxy.cgroup();
            ns.time = proxy.time();
        }
        ns
    }

    /// `None` for a task that has left its namespaces on its way out.
    #[inline(always)]
    pub(crate) fn nsproxy(self) -> Option<Nsproxy> {
        let proxy = self.nsproxy_or_null();
        (!proxy.0.is_null()).then_some(proxy)
    }

    /// The pid namespace that the task is in (`ns_of_pid(task_pid(task))`), and its pid there.
    #[inline(always)]
    pub(crate) fn pid_in_namespace(self) -> (NsId, Pid) {
        /// `sizeof(struct upid)`: a number and a pointer.
        const UPID: u64 = 16;
        let pid = self.thread_pid();
        let level = pid.level();
        if level == 0 {
            // The host's own: what it is called is known to be so everywhere.
            return (NsId::INIT_PID, self.tid());
        }
        // The element is found by the level, which the verifier cannot follow: read as plain memory.
        let upid = pid.0 as u64 + offset(Offset::PidNumbers) as u64 + u64::from(level) * UPID;
        let ns: u64 = read(upid, Offset::UpidNs);
        (NsId(read(ns, Offset::PidNsInum)), Pid(read(upid, Offset::UpidNr)))
    }

    /// Who has logged in; nobody has, in a kernel that does not know.
    #[inline(always)]
    pub(crate) fn loginuid(self) -> Uid {
        const NOBODY: Uid = Uid(u32::MAX);
        match LOGINUID.load() {
            0 => NOBODY,
            at => read_at(self.0 as u64 + at),
        }
    }

    /// The cgroup in the unified hierarchy.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Cgroup {
        self.cgroups().unified()
    }

    /// The seccomp mode, and 256 if it is at work (`SYSCALL_WORK_SECCOMP`).
    #[inline(always)]
    pub(crate) fn seccomp(self) -> u32 {
        const SYSCALL_WORK_SECCOMP: u64 = 1;
        self.seccomp_mode() | ((self.syscall_work() & SYSCALL_WORK_SECCOMP) as u32) << 8
    }

    /// Whether `no_new_privs` is set (`PFA_NO_NEW_PRIVS`): 0 or 1.
    #[inline(always)]
    pub(crate) fn no_new_privs(self) -> u32 {
        (self.atomic_flags() & 1) as u32
    }

    /// When the process started.
    #[inline(always)]
    pub(crate) fn start(self) -> StartTime {
        self.group_leader().start_boottime()
    }

    /// The number of the system call as the entry code left it (`orig_ax`).
    #[inline(always)]
    pub(crate) fn syscall(self) -> u64 {
        self.regs().syscall()
    }

    /// The registers at the entry into the kernel.
    #[inline(always)]
    pub(crate) fn regs(self) -> Regs {
        // SAFETY: the helper takes any task.
        Regs(unsafe { bpf_task_pt_regs(self.0.cast_mut().cast()) } as Pointer)
    }
}

impl Vfsmount {
    /// The address of the `struct mount` around it.
    #[inline(always)]
    pub(crate) fn mount(self) -> u64 {
        (self.0 as u64).wrapping_sub(offset(Offset::MountMnt) as u64)
    }

    /// The mount namespace that the mount belongs to; 0 if to none, or to that of a detached tree.
    #[inline(always)]
    pub(crate) fn namespace(self) -> NsId {
        // Of a mount that the kernel uses internally, the pointer is null or an error: unreadable.
        match NsId(read(self.namespace_at(), Offset::MntNsInum)) {
            NsId::ANON_MNT => NsId(0),
            namespace => namespace,
        }
    }

    /// The address of that namespace.
    #[inline(always)]
    pub(crate) fn namespace_at(self) -> u64 {
        read(self.mount(), Offset::MountNs)
    }

    /// Whether the kernel uses the mount internally: its namespace is an error (`MNT_NS_INTERNAL`), or none,
    /// as of one that was unmounted while somebody was still there (`umount2(MNT_DETACH)`), with a flag.
    #[inline(always)]
    pub(crate) fn is_internal(self) -> bool {
        const ERRORS: u64 = (-4096_i64).cast_unsigned();
        const MNT_INTERNAL: u32 = 0x4000;
        match self.namespace_at() {
            0 => read::<u32>(self.0 as u64, Offset::VfsmountFlags) & MNT_INTERNAL != 0,
            namespace => namespace >= ERRORS,
        }
    }

    /// The address of the dentry at the root of the mount.
    #[inline(always)]
    pub(crate) fn root_at(self) -> u64 {
        Self::root_of(self.mount())
    }

    /// The address of the superblock of the `struct mount` at an address.
    #[inline(always)]
    pub(crate) fn sb_of(mount: u64) -> u64 {
        let sb = offset(Offset::MountMnt) + offset(Offset::VfsmountSb);
        read_at(mount.wrapping_add(sb as u64))
    }

    /// The address of the root of the `struct mount` at an address.
    #[inline(always)]
    pub(crate) fn root_of(mount: u64) -> u64 {
        let root = offset(Offset::MountMnt) + offset(Offset::VfsmountRoot);
        read_at(mount.wrapping_add(root as u64))
    }
}

/// The address that a pointer holds, as a number, which may be computed with and handed to global functions.
#[inline(always)]
pub(crate) fn address(pointer: Pointer) -> u64 {
    unknown(pointer as u64)
}

/// Hides from the verifier what it knows of a value: after its bytes were swapped, it is any number.
#[inline(always)]
pub(crate) fn unknown(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: swaps the bytes of a register, and swaps them back.
    unsafe {
        asm!(
            "{0} = be64 {0}",
            "{0} = be64 {0}",
            inout(reg) value,
            options(pure, nomem, nostack)
        );
    }
    value
}

/// Hides from LLVM what a number is made of: of a sum of differences it makes a branch for each of
/// them, and the verifier follows every way through these.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: copies a register to itself. An instruction it must be, or the line information is refused.
    unsafe { asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// Reads a field of a struct at an address that the verifier does not know the type of; 0 if it
/// cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(base: u64, field: Offset) -> T {
    read_at(base.wrapping_add(offset(field) as u64))
}

/// Reads a value at an address; the type's default if it cannot be read.
#[inline(always)]
pub(crate) fn read_at<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: there is room for the value. The helper checks the address, and writes zeros if it cannot
    // be read: the verifier need not follow two ways from here.
    unsafe {
        let to = (&raw mut value).cast();
        generated::bpf_probe_read_kernel(to, size_of::<T>() as u32, address as Pointer);
    }
    value
}

/// Copies `len` bytes of kernel memory.
///
/// # Safety
///
/// `to` must have room for them.
#[inline(always)]
pub(crate) unsafe fn read_kernel(to: *mut u8, len: u32, from: u64) -> bool {
    // SAFETY: `to` has the room, the helper checks `from`.
    unsafe { generated::bpf_probe_read_kernel(to.cast(), len, from as Pointer) == 0 }
}

/// Copies `len` bytes of the current process's memory.
///
/// # Safety
///
/// `to` must have room for them.
#[inline(always)]
pub(crate) unsafe fn read_user(to: *mut u8, len: u32, from: u64) -> bool {
    // SAFETY: `to` has the room, the helper checks `from`.
    unsafe { generated::bpf_probe_read_user(to.cast(), len, from as Pointer) == 0 }
}

/// Declares the atomic operations that the compiler's own atomics lack on this target.
macro_rules! atomics {
    ($($(#[$doc:meta])* $name:ident = $operation:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// `at` must point to an entry of a map.
            #[inline(always)]
            pub(crate) unsafe fn $name(at: *mut u64, operand: u64) -> u64 {
                let mut value = operand;
                // SAFETY: `at` is valid; the operation changes that word and `value` only.
                unsafe {
                    asm!(
                        concat!("{value} = ", $operation, "((u64 *)({at} + 0), {value})"),
                        at = in(reg) at,
                        value = inout(reg) value,
                    );
                }
                value
            }
        )*
    };
}

atomics! {
    /// Adds to `*at` and returns what it was.
    fetch_add = "atomic_fetch_add";
    /// Ands `*at` and returns what it was.
    fetch_and = "atomic_fetch_and";
    /// Ors `*at` and returns what it was.
    fetch_or = "atomic_fetch_or";
}
