//! The one table of fields: the type checker, the evaluator, templates and documents read it.

use crate::event::KindSet;
use shrike_common::Kind;

/// Declares every field once; generates [`FieldId`] and the table behind [`FieldId::info`].
macro_rules! fields {
    ($($id:ident $name:literal $ty:ident $argument:expr, $kinds:expr, $doc:literal;)*) => {
        /// The identity of a field.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u16)]
        pub enum FieldId {
            $(#[doc = concat!("`", $name, "`: ", $doc, ".")] $id,)*
        }

        static FIELDS: &[Field] = &[
            $(Field {
                id: FieldId::$id,
                name: $name,
                ty: Type::$ty,
                argument: $argument,
                kinds: $kinds,
                doc: $doc,
            },)*
        ];
    };
}

/// What the table knows of a field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The identity of the field.
    pub id: FieldId,
    /// The name of the field in conditions and outputs.
    pub name: &'static str,
    /// The type of its value.
    pub ty: Type,
    /// The argument that it takes.
    pub argument: ArgumentRule,
    /// The kinds of events that can have it.
    pub kinds: KindSet,
    /// What it means, in a phrase.
    pub doc: &'static str,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// An IP address.
    Address,
    /// Text that is one of the known event names.
    EventName,
    /// An IP address that is compared with networks.
    Network,
    /// An integer.
    Number,
    /// An integer that may be named by its service.
    Port,
    /// Text.
    Text,
}

impl Type {
    /// The name of the type in messages and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Address => "IP address",
            Self::EventName => "event name",
            Self::Network => "IP network",
            Self::Number => "number",
            Self::Port => "port",
            Self::Text => "text",
        }
    }
}

/// Which argument a field takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArgumentRule {
    /// A number; without it the check walks the ancestors, the process itself excluded.
    Ancestor,
    /// None.
    None,
    /// A number, or nothing.
    OptionalIndex,
    /// A name.
    Name,
    /// A name, or nothing.
    OptionalName,
}

impl FieldId {
    /// What the table knows of the field.
    pub fn info(self) -> &'static Field {
        &FIELDS[self as usize]
    }

    /// The name of the field in conditions and outputs.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The fields that this one has its values from. An event is not asked for it then, but for these.
    pub fn sources(self) -> &'static [Self] {
        match self {
            Self::FdIp | Self::FdNet => &[Self::FdRip, Self::FdLip],
            Self::FdPort => &[Self::FdRport, Self::FdLport],
            Self::FdRnet => &[Self::FdRip],
            Self::FdLnet => &[Self::FdLip],
            Self::FdSnet => &[Self::FdSip],
            Self::FdCnet => &[Self::FdCip],
            _ => &[],
        }
    }

    /// Whether the field is what the program gave to a system call, which the probes read only if it is asked for.
    pub(crate) fn is_given(self) -> bool {
        self == Self::FdNameraw
    }

    /// Whether the field tells what became of a system call.
    pub(crate) fn is_result(self) -> bool {
        use FieldId::{EvtFailed, EvtRaw, EvtRawres, EvtRes, FdNum};
        matches!(self, EvtFailed | EvtRaw | EvtRawres | EvtRes | FdNum)
    }

    /// Whether the field tells what only the runtime of a container knows.
    pub fn is_of_runtime(self) -> bool {
        matches!(
            self,
            Self::ContainerHostIpc
                | Self::ContainerHostNetwork
                | Self::ContainerHostPid
                | Self::ContainerImage
                | Self::ContainerImageDigest
                | Self::ContainerImageId
                | Self::ContainerImageRepository
                | Self::ContainerImageTag
                | Self::ContainerLabel
                | Self::ContainerLabels
                | Self::ContainerMounts
                | Self::ContainerName
                | Self::ContainerPrivileged
                | Self::ContainerRestarts
                | Self::ContainerStartTs
                | Self::K8sNsName
                | Self::K8sPodLabel
                | Self::K8sPodLabels
                | Self::K8sPodName
                | Self::K8sPodSandboxId
                | Self::K8sSaName
        )
    }

    /// The field with exactly this name.
    pub fn by_name(name: &str) -> Option<Self> {
        FIELDS.iter().find(|field| field.name == name).map(|field| field.id)
    }
}

/// Every field, in the order of the table.
pub fn all() -> &'static [Field] {
    FIELDS
}

const ALL: KindSet = KindSet::ALL;
const BOUNDARY: KindSet = KindSet::of(Kind::Boundary);
const BPF: KindSet = KindSet::of(Kind::Bpf);
const BREACH: KindSet = KindSet::of(Kind::Breach);
const CONNECT: KindSet = KindSet::of(Kind::Connect);
const FILE_OPEN: KindSet = KindSet::of(Kind::FileOpen);
const ATTACH: KindSet = KindSet::of(Kind::CgroupAttach);
const CGROUP: KindSet =
    ATTACH.union(KindSet::of(Kind::CgroupMkdir)).union(KindSet::of(Kind::CgroupRmdir));
const CREATED: KindSet = KindSet::of(Kind::FileCreate);
const MAPPED: KindSet = KindSet::of(Kind::MmapExec);
const MKNOD: KindSet = KindSet::of(Kind::Mknod);
const FILE: KindSet = FILE_OPEN.union(CREATED).union(MKNOD).union(MAPPED);
const SOCKET: KindSet = CONNECT.union(KindSet::of(Kind::Socket));
const PATH: KindSet = FILE.union(CONNECT).union(KindSet::of(Kind::ModuleLoad));
const MOUNT: KindSet = KindSet::of(Kind::Mount);
const MOVE_MOUNT: KindSet = KindSet::of(Kind::MoveMount);
const NAMESPACES: KindSet = KindSet::of(Kind::Setns).union(KindSet::of(Kind::Unshare));
const PTRACE: KindSet = KindSet::of(Kind::Ptrace);
const SYSCTL: KindSet = KindSet::of(Kind::Sysctl);

use ArgumentRule::{Ancestor, Name, None as NoArgument, OptionalIndex, OptionalName};

fields! {
    EvtType "evt.type" EventName NoArgument, ALL, "name of the system call or event";
    EvtNum "evt.num" Number NoArgument, ALL, "number of the event since the agent started, from 1";
    EvtTime "evt.time" Text NoArgument, ALL, "local time of day with nanoseconds";
    EvtRawtime "evt.rawtime" Number NoArgument, ALL, "nanoseconds since the Unix epoch";
    EvtCpu "evt.cpu" Number NoArgument, ALL, "CPU on which the event happened";
    EvtSource "evt.source" Text NoArgument, ALL, "source of the event: syscall";
    EvtIsOpenRead "evt.is_open_read" Bool NoArgument, FILE_OPEN, "whether the file was opened for reading";
    EvtIsOpenWrite "evt.is_open_write" Bool NoArgument, FILE_OPEN, "whether the file was opened for writing";
    EvtIsOpenExec "evt.is_open_exec" Bool NoArgument, FILE_OPEN, "whether the open created an executable file";
    EvtArgFlags "evt.arg.flags" Text NoArgument, FILE_OPEN, "open flags by name, joined by |";
    MmapProt "mmap.prot" Text NoArgument, MAPPED, "protection of the mapping by name, joined by |";
    EvtFailed "evt.failed" Bool NoArgument, ALL, "whether the system call failed; like the other fields of the result, absent where it is not known";
    EvtRawres "evt.rawres" Number NoArgument, ALL, "result of the system call: a negative error number if it failed";
    EvtRes "evt.res" Text NoArgument, ALL, "result of the system call: SUCCESS, or the name of the error";
    EvtRaw "evt.raw" Bool NoArgument, ALL, "whether the system call failed before the kernel had looked at what its arguments stand for: they are the caller's own words then";
    EvtSyscall "evt.syscall" Text NoArgument, ALL, "system call that the task was in, by name or number";
    EvtAbi "evt.abi" Text NoArgument, ALL, "table of the system call: x86_64, i386 or x32";
    EvtSeq "evt.seq" Number NoArgument, ALL, "sequence number of the event on its CPU and lane";
    FdNum "fd.num" Number NoArgument, FILE_OPEN.union(CREATED).union(KindSet::of(Kind::Socket)), "number of the descriptor that the system call returned";
    FdName "fd.name" Text NoArgument, PATH, "path of the file; of a connection, where its listener is bound";
    FdNameraw "fd.nameraw" Text NoArgument, FILE_OPEN, "path of the file as the program gave it to open(2) and its like; absent if it was opened otherwise; read again after the kernel has read it, so another thread may have changed it";
    FdDirectory "fd.directory" Text NoArgument, PATH, "directory of the file";
    FdFilename "fd.filename" Text NoArgument, PATH, "name of the file without its directory";
    FdBoundFilename "fd.bound.filename" Text NoArgument, CONNECT, "name without its directory that the listener of a Unix socket was bound to, whatever it was renamed to";
    FdFiletype "fd.filetype" Text NoArgument, FILE, "type of the file: regular, directory, block, char, fifo, socket, symlink";
    FdFstype "fd.fstype" Text NoArgument, FILE_OPEN.union(CREATED).union(MAPPED), "file system that the file is on, if it is one of the kernel's own: proc, sysfs, cgroup, …";
    FdMountForeign "fd.mount.foreign" Bool NoArgument, FILE_OPEN.union(MAPPED), "whether the file was reached through a mount of another mount namespace than the task's";
    FdMountNs "fd.mount.ns" Number NoArgument, FILE_OPEN.union(MAPPED), "inode of the mount namespace that the file's mount belongs to; 0 for a detached or internal one";
    FdRdev "fd.rdev" Text NoArgument, FILE_OPEN.union(MKNOD), "device that a device file stands for, as major:minor";
    FdType "fd.type" Text NoArgument, PATH, "type of the descriptor: file, directory, …";
    FdTypechar "fd.typechar" Text NoArgument, PATH, "type of the descriptor as one character: f, d, …";
    FdSockfamily "fd.sockfamily" Text NoArgument, CONNECT, "family of the socket: ip or unix";
    FdL4proto "fd.l4proto" Text NoArgument, CONNECT, "protocol of the connection: tcp, udp, icmp or raw";
    FdIp "fd.ip" Address NoArgument, CONNECT, "IP addresses of both ends: one of them is equal, or none";
    FdNet "fd.net" Network NoArgument, CONNECT, "networks of both ends, likewise";
    FdPort "fd.port" Port NoArgument, CONNECT, "ports of both ends, likewise";
    FdRip "fd.rip" Address NoArgument, CONNECT, "remote IP address: where a connection goes to";
    FdRnet "fd.rnet" Network NoArgument, CONNECT, "network of the remote IP address";
    FdRport "fd.rport" Port NoArgument, CONNECT, "remote port";
    FdLip "fd.lip" Address NoArgument, CONNECT, "local IP address; absent as long as the kernel has not chosen one: of a connection that begins, if the program did not";
    FdLnet "fd.lnet" Network NoArgument, CONNECT, "network of the local IP address; absent likewise";
    FdLport "fd.lport" Port NoArgument, CONNECT, "local port; absent likewise";
    FdSip "fd.sip" Address NoArgument, CONNECT, "IP address of the server: where a connection goes to";
    FdSnet "fd.snet" Network NoArgument, CONNECT, "network of the server";
    FdSport "fd.sport" Port NoArgument, CONNECT, "port of the server";
    FdCip "fd.cip" Address NoArgument, CONNECT, "IP address of the client; absent where fd.lip is";
    FdCnet "fd.cnet" Network NoArgument, CONNECT, "network of the client; absent where fd.lip is";
    FdCport "fd.cport" Port NoArgument, CONNECT, "port of the client; absent where fd.lport is";
    FdIsServer "fd.is_server" Bool NoArgument, CONNECT, "whether the process is the server's side of the connection";
    ProcPid "proc.pid" Number NoArgument, ALL, "process id in the host's namespace";
    ProcPpid "proc.ppid" Number NoArgument, ALL, "process id of the parent";
    ProcVpid "proc.vpid" Number NoArgument, ALL, "process id in its own namespace";
    ProcName "proc.name" Text NoArgument, ALL, "name of the process, at most 15 bytes";
    ProcExe "proc.exe" Text NoArgument, ALL, "first argument of the process";
    ProcExepath "proc.exepath" Text NoArgument, ALL, "path of the executable";
    ProcArgs "proc.args" Text OptionalIndex, ALL, "arguments after the first, joined by blanks; one of them by index";
    ProcCmdline "proc.cmdline" Text NoArgument, ALL, "name and arguments, joined by blanks";
    ProcPname "proc.pname" Text NoArgument, ALL, "name of the parent";
    ProcPexe "proc.pexe" Text NoArgument, ALL, "first argument of the parent";
    ProcPexepath "proc.pexepath" Text NoArgument, ALL, "path of the parent's executable";
    ProcPcmdline "proc.pcmdline" Text NoArgument, ALL, "name and arguments of the parent";
    ProcAname "proc.aname" Text Ancestor, ALL, "name of an ancestor: 0 the process itself, 1 its parent";
    ProcIsExeFromMemfd "proc.is_exe_from_memfd" Bool NoArgument, ALL, "whether the executable is a memory file";
    ProcExeIno "proc.exe_ino" Number NoArgument, ALL, "inode number of the executable; absent if the process was started before the agent";
    ProcIsExeUpperLayer "proc.is_exe_upper_layer" Bool NoArgument, ALL, "whether the executable is in the layer of an overlay that is written to: it is not of the image; absent if the process was started before the agent";
    ProcPgid "proc.pgid" Number NoArgument, ALL, "process group id in the host's namespace: that at the start of the process";
    ProcTty "proc.tty" Number NoArgument, ALL, "controlling terminal, as major << 20 | minor; 0 if there is none";
    ProcSid "proc.sid" Number NoArgument, ALL, "session id in the host's namespace: that at the start of the process";
    ProcSname "proc.sname" Text NoArgument, ALL, "name of the session leader";
    ProcCwd "proc.cwd" Text NoArgument, ALL, "working directory of the process when it executed its program, or was found, with a slash at the end";
    ProcEnv "proc.env" Text OptionalName, ALL, "variables of the environment that change what a program does or where it connects to (LD_*, GLIBC_TUNABLES, proxies and the like), as NAME=VALUE, joined by blanks; the value of one by name";
    ProcEnvCut "proc.env_cut" Bool NoArgument, ALL, "whether the environment is too long for all of proc.env to be told";
    ProcDuration "proc.duration" Number NoArgument, ALL, "age of the process, nanoseconds";
    ProcPpidDuration "proc.ppid.duration" Number NoArgument, ALL, "age of the parent, nanoseconds";
    ProcStartTime "proc.start_time" Number NoArgument, ALL, "start of the process, nanoseconds since boot";
    ThreadTid "thread.tid" Number NoArgument, ALL, "thread id in the host's namespace";
    ThreadCapInheritable "thread.cap_inheritable" Text NoArgument, ALL, "inheritable capabilities by name, joined by blanks";
    ThreadCapPermitted "thread.cap_permitted" Text NoArgument, ALL, "permitted capabilities by name, joined by blanks";
    ThreadCapEffective "thread.cap_effective" Text NoArgument, ALL, "effective capabilities by name, joined by blanks";
    UserUid "user.uid" Number NoArgument, ALL, "user id in the host's namespace";
    UserEuid "user.euid" Number NoArgument, ALL, "effective user id in the host's namespace";
    UserName "user.name" Text NoArgument, ALL, "name of the user, in the container if a task of one acts";
    UserLoginuid "user.loginuid" Number NoArgument, ALL, "user who has logged in, in the host's namespace; -1 if nobody has";
    UserLoginname "user.loginname" Text NoArgument, ALL, "name of that user on the host";
    GroupGid "group.gid" Number NoArgument, ALL, "group id in the host's namespace";
    GroupName "group.name" Text NoArgument, ALL, "name of the group, likewise";
    ContainerMembership "container.membership" Text NoArgument, ALL, "whether the task is a container's: none, member, or entering while it has not executed the container's program yet";
    ContainerId "container.id" Text NoArgument, ALL, "id of the task's container as its runtime has it, a digest shortened to 12 digits; host for a task of the host; where no runtime is known to name so, the name of its cgroup, or cgroup-NUMBER";
    ContainerFullId "container.full_id" Text NoArgument, ALL, "that id in full length";
    ContainerType "container.type" Text NoArgument, ALL, "runtime of the container: docker, containerd, cri-o, podman, lxc, …; unknown if nothing tells; host for a task of the host";
    ContainerName "container.name" Text NoArgument, ALL, "name of the container; like the other fields that only its runtime knows, absent until that has told; host for a task of the host";
    ContainerImage "container.image" Text NoArgument, ALL, "image of the container, as it was asked for";
    ContainerImageRepository "container.image.repository" Text NoArgument, ALL, "repository of the image, with its registry";
    ContainerImageTag "container.image.tag" Text NoArgument, ALL, "tag of the image";
    ContainerImageDigest "container.image.digest" Text NoArgument, ALL, "digest of the image in its registry";
    ContainerImageId "container.image.id" Text NoArgument, ALL, "id of the image on this host";
    ContainerPrivileged "container.privileged" Bool NoArgument, ALL, "whether the container was asked to be privileged; container.boundary.privileged tells what it is";
    ContainerStartTs "container.start_ts" Number NoArgument, ALL, "start of the container by its runtime, nanoseconds since the Unix epoch";
    ContainerLabel "container.label" Text Name, ALL, "value of a label of the container, by the label's name";
    ContainerLabels "container.labels" Text NoArgument, ALL, "labels of the container, as NAME:VALUE, joined by commas";
    ContainerMounts "container.mounts" Text NoArgument, ALL, "mounts that the container was asked to have, as SOURCE:DESTINATION:MODE:WRITABLE:PROPAGATION, joined by blanks";
    ContainerHostPid "container.host_pid" Bool NoArgument, ALL, "whether the container was given the host's pid namespace";
    ContainerHostNetwork "container.host_network" Bool NoArgument, ALL, "whether the container was given the host's network namespace";
    ContainerHostIpc "container.host_ipc" Bool NoArgument, ALL, "whether the container was given the host's IPC namespace";
    ContainerRestarts "container.restarts" Number NoArgument, ALL, "how often the container was started again, by its runtime";
    ContainerDuration "container.duration" Number NoArgument, ALL, "age of the container, by its first process, nanoseconds";
    ContainerNestedId "container.nested.id" Text NoArgument, ALL, "id of the container within the container whose cgroup the task is in, shortened likewise: a name that was given from within, and may be anything";
    ContainerNestedType "container.nested.type" Text NoArgument, ALL, "runtime of that one";
    ContainerNumber "container.number" Number NoArgument, ALL, "number of the task's container, in the order in which containers came to be known";
    ContainerBoundaryOrigin "container.boundary.origin" Text NoArgument, BOUNDARY, "how the boundary came to be known: started (a new container), entered (a process came into one from outside), or found (it was there before the agent)";
    ContainerBoundaryBounding "container.boundary.bounding" Text NoArgument, BOUNDARY, "capabilities that the process can ever have, by name, joined by blanks";
    ContainerBoundaryPermitted "container.boundary.permitted" Text NoArgument, BOUNDARY, "permitted capabilities by name, joined by blanks";
    ContainerBoundarySeccomp "container.boundary.seccomp" Text NoArgument, BOUNDARY, "seccomp mode: none, strict or filter";
    ContainerBoundaryNoNewPrivs "container.boundary.no_new_privs" Bool NoArgument, BOUNDARY, "whether no_new_privs is set";
    ContainerBoundaryPrivileged "container.boundary.privileged" Bool NoArgument, BOUNDARY, "whether it can have every capability";
    ContainerBoundaryHostNamespaces "container.boundary.host_namespaces" Text NoArgument, BOUNDARY, "types of its namespaces that are the host's, joined by |";
    ContainerBoundaryHostPaths "container.boundary.host_paths" Text NoArgument, BOUNDARY, "paths of the host that are mounted in it, joined by |, but for what runtimes and kubelets manage, and for sockets of runtimes; absent if there are none, or if it ended at once";
    ContainerBoundaryRuntimeSockets "container.boundary.runtime_sockets" Text NoArgument, BOUNDARY, "sockets of container runtimes that it can reach by those, joined by |";
    ContainerBoundaryMemoryLimited "container.boundary.memory_limited" Bool NoArgument, BOUNDARY, "whether its cgroup, or one above, limits its memory";
    ContainerBoundaryPidsLimited "container.boundary.pids_limited" Bool NoArgument, BOUNDARY, "whether its cgroup, or one above, limits the number of its tasks";
    ContainerBoundaryLabel "container.boundary.label" Text NoArgument, BOUNDARY, "label of its process by AppArmor or SELinux; absent if neither is active";
    ContainerBoundaryConfined "container.boundary.confined" Bool NoArgument, BOUNDARY, "whether that label confines it";
    ContainerBoundaryRootDevice "container.boundary.root.device" Text NoArgument, BOUNDARY, "device of the root file system, as major:minor";
    K8sNsName "k8s.ns.name" Text NoArgument, ALL, "namespace in Kubernetes of the pod that the container is in";
    K8sPodName "k8s.pod.name" Text NoArgument, ALL, "name of that pod";
    K8sPodLabel "k8s.pod.label" Text Name, ALL, "value of a label of the pod, by the label's name";
    K8sPodLabels "k8s.pod.labels" Text NoArgument, ALL, "labels of the pod, as NAME:VALUE, joined by commas";
    K8sPodSandboxId "k8s.pod.sandbox_id" Text NoArgument, ALL, "id of the pod's sandbox, its first 12 digits";
    K8sSaName "k8s.sa.name" Text NoArgument, ALL, "service account of the pod, if --service-accounts lets the agent read it off the pod's token";
    K8sPodUid "k8s.pod.uid" Text NoArgument, ALL, "uid of the pod that the container is in";
    K8sPodQos "k8s.pod.qos" Text NoArgument, ALL, "quality of service class of that pod: Guaranteed, Burstable or BestEffort";
    BreachKind "breach.kind" Text NoArgument, BREACH, "what was crossed: namespace, filesystem, capability, credential, confinement, root, cgroup or usermode_helper";
    BreachProperty "breach.property" Text NoArgument, BREACH, "property of the task that shows it: ns.mnt, capabilities, ids, …";
    BreachExpected "breach.evidence.expected" Text NoArgument, BREACH, "what was recorded: a number, or capabilities by name";
    BreachFound "breach.evidence.found" Text NoArgument, BREACH, "what is now";
    BreachNoticed "breach.evidence.noticed" Text NoArgument, BREACH, "where it was noticed: commit_creds, file_open, exec, …";
    BreachSince "breach.evidence.since" Text NoArgument, BREACH, "local time at which a complete comparison last found the task within its boundary";
    BreachPath "breach.evidence.path" Text NoArgument, BREACH, "file that is outside of what the container was given, or program that the kernel executed";
    BreachWay "breach.evidence.way" Text NoArgument, BREACH, "how the task came to that file: opened, executed, mapped, mounted, received, or inherited if it held a descriptor or its working directory on the same mount";
    BreachTask "breach.task" Number NoArgument, BREACH, "thread that it is about, in the host's namespace";
    BreachUnattended "breach.unattended" Bool NoArgument, BREACH, "whether no agent was running when it happened";
    CgroupPath "cgroup.path" Text NoArgument, ALL, "path of the task's control group, below the root of the unified hierarchy";
    CgroupTarget "cgroup.target" Text NoArgument, CGROUP, "path of the cgroup that a process is moved to, or that is made or removed, below the root of its hierarchy";
    CgroupTargetId "cgroup.target.id" Number NoArgument, CGROUP, "id of that cgroup";
    CgroupTargetPid "cgroup.target.pid" Number NoArgument, ATTACH, "process id of the process that is moved";
    CgroupId "cgroup.id" Number NoArgument, ALL, "id of the task's control group";
    NsMnt "ns.mnt" Number NoArgument, ALL, "inode of the mount namespace";
    NsPid "ns.pid" Number NoArgument, ALL, "inode of the pid namespace";
    NsNet "ns.net" Number NoArgument, ALL, "inode of the network namespace";
    NsUser "ns.user" Number NoArgument, ALL, "inode of the user namespace";
    NsUts "ns.uts" Number NoArgument, ALL, "inode of the UTS namespace";
    NsIpc "ns.ipc" Number NoArgument, ALL, "inode of the IPC namespace";
    NsCgroup "ns.cgroup" Number NoArgument, ALL, "inode of the cgroup namespace";
    NsTime "ns.time" Number NoArgument, ALL, "inode of the time namespace";
    NsJoined "ns.joined" Text NoArgument, NAMESPACES, "types of the namespaces that the task changes to, joined by |";
    NsJoinedHost "ns.joined_host" Text NoArgument, NAMESPACES, "those of them that are the host's";
    MountFstype "mount.fstype" Text NoArgument, MOUNT.union(MOVE_MOUNT), "type of the file system that is mounted or moved";
    MountDevice "mount.device" Text NoArgument, MOUNT, "block device that holds the file system, as major:minor";
    MountTarget "mount.target" Text NoArgument, MOVE_MOUNT, "path that the mount is moved to";
    PtraceMode "ptrace.mode" Text NoArgument, PTRACE, "access that is asked for: read or attach";
    PtraceCrosses "ptrace.crosses" Bool NoArgument, PTRACE, "whether the other task is outside of the container of the one that asks";
    PtraceTargetMembership "ptrace.target.membership" Text NoArgument, PTRACE, "whether the other task is a container's: none or member";
    PtraceTargetName "ptrace.target.name" Text NoArgument, PTRACE, "name of the other task";
    PtraceTargetPid "ptrace.target.pid" Number NoArgument, PTRACE, "process id of the other task in the host's namespace";
    SocketFamily "socket.family" Text NoArgument, SOCKET, "address family, like AF_INET";
    SocketProtocol "socket.protocol" Number NoArgument, KindSet::of(Kind::Socket), "protocol of a new socket";
    SocketType "socket.type" Text NoArgument, SOCKET, "type of the socket, like SOCK_STREAM";
    SysctlName "sysctl.name" Text NoArgument, SYSCTL, "kernel parameter that is written, as a path below /proc/sys";
    SysctlValue "sysctl.value" Text NoArgument, SYSCTL, "text that is written";
    BpfCmd "bpf.cmd" Text NoArgument, BPF, "command of the bpf call, like BPF_PROG_LOAD";
    BpfProgName "bpf.prog.name" Text NoArgument, BPF, "name of the program";
    BpfProgType "bpf.prog.type" Text NoArgument, BPF, "type of the program, like kprobe or lsm";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_index_their_own_row() {
        assert!(all().iter().all(|field| field.id.info().name == field.name));
    }

    #[test]
    fn names_are_unique_and_found() {
        let names: HashSet<_> = all().iter().map(|field| field.name).collect();
        assert_eq!(names.len(), all().len());
        assert_eq!(FieldId::by_name("proc.aname"), Some(FieldId::ProcAname));
        assert_eq!(FieldId::by_name("proc.nam"), None);
    }
}
