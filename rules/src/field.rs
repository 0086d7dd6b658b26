//! The one table of fields: the type checker, the evaluator, templates and documents read it.

use crate::event::KindSet;
use crate::parameter;
use shrike_common::Kind;

/// Declares every field once; generates [`FieldId`] and the table behind [`FieldId::info`].
macro_rules! fields {
    ($($id:ident $name:literal $ty:ident $argument:expr, $kinds:expr, $cost:ident, $doc:literal;)*) => {
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
                cost: Cost::$cost,
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
    /// The kinds of events that can have it. Of a field that only Falco's sensor has, none: it is known, so that rules
    /// with it load, and never has a value.
    pub kinds: KindSet,
    /// What it takes to have its value.
    pub cost: Cost,
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
    /// Bytes that are not text.
    Bytes,
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
            Self::Bytes => "byte buffer",
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
    /// A name that follows the field's own, after a dot.
    Dotted,
    /// The name of an event, likewise.
    EventName,
    /// A number, or nothing: the field is a list.
    List,
    /// None.
    None,
    /// A number, or nothing.
    OptionalIndex,
    /// A name.
    Name,
    /// A name, or nothing.
    OptionalName,
    /// The name of an argument of an event, after a dot; or a number.
    Parameter,
}

impl ArgumentRule {
    /// Whether the argument follows the field's name after a dot.
    pub(crate) fn is_dotted(self) -> bool {
        matches!(self, Self::Dotted | Self::EventName | Self::Parameter)
    }

    /// What stands behind the name of a field with such an argument, for a person.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Ancestor | Self::OptionalIndex | Self::List => "[N]",
            Self::Name | Self::OptionalName => "[NAME]",
            Self::Dotted | Self::Parameter => ".NAME",
            Self::EventName => ".EVENT",
        }
    }
}

/// What it takes to have the value of a field, the least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cost {
    /// It is in the record of the event.
    Record,
    /// A process, user or container must be looked up.
    Lookup,
    /// A text must be put together.
    Made,
    /// Ancestors must be looked up, one after the other.
    Walk,
    /// The runtime of a container must have told: an alert may have to wait for it.
    Runtime,
}

impl Cost {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Lookup => "lookup",
            Self::Made => "made",
            Self::Walk => "walk",
            Self::Runtime => "runtime",
        }
    }
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
        use FieldId::{EvtArgs, EvtFailed, EvtInfo, EvtRaw, EvtRawres, EvtRes, FdConnected, FdNum};
        matches!(
            self,
            EvtArgs | EvtFailed | EvtInfo | EvtRaw | EvtRawres | EvtRes | FdConnected | FdNum
        )
    }

    /// Whether the field tells what only the runtime of a container knows.
    pub fn is_of_runtime(self) -> bool {
        self.info().cost == Cost::Runtime
    }

    /// The field with exactly this name.
    pub fn by_name(name: &str) -> Option<Self> {
        FIELDS.iter().find(|field| field.name == name).map(|field| field.id)
    }

    /// The field that `text` begins with, the longest there is, with what follows its name after a dot; and the length
    /// of both.
    pub(crate) fn prefix_of(text: &str) -> Option<(Self, Option<&str>, usize)> {
        let fields = FIELDS.iter().filter(|field| text.starts_with(field.name));
        let field = fields.max_by_key(|field| field.name.len())?;
        let length = field.name.len();
        let dotted = text[length..].strip_prefix('.').filter(|_| field.argument.is_dotted());
        let dotted = dotted.and_then(|rest| parameter::prefix_of(field.argument, rest));
        let whole = length + dotted.map_or(0, |name| 1 + name.len());
        Some((field.id, dotted, whole))
    }
}

/// Every field, in the order of the table.
pub fn all() -> &'static [Field] {
    FIELDS
}

/// Of what only Falco's sensor tells.
const NOWHERE: KindSet = KindSet::NONE;
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

use ArgumentRule::{
    Ancestor, Dotted, EventName, List, Name, None as NoArgument, OptionalIndex, OptionalName,
    Parameter,
};

fields! {
    EvtType "evt.type" EventName NoArgument, ALL, Record, "name of the system call or event";
    EvtNum "evt.num" Number NoArgument, ALL, Record, "number of the event since the agent started, from 1";
    EvtTime "evt.time" Text NoArgument, ALL, Made, "local time of day with nanoseconds";
    EvtRawtime "evt.rawtime" Number NoArgument, ALL, Record, "nanoseconds since the Unix epoch";
    EvtCpu "evt.cpu" Number NoArgument, ALL, Record, "CPU on which the event happened";
    EvtSource "evt.source" Text NoArgument, ALL, Record, "source of the event: syscall";
    EvtIsOpenRead "evt.is_open_read" Bool NoArgument, FILE_OPEN, Record, "whether the file was opened for reading";
    EvtIsOpenWrite "evt.is_open_write" Bool NoArgument, FILE_OPEN, Record, "whether the file was opened for writing";
    EvtIsOpenExec "evt.is_open_exec" Bool NoArgument, FILE_OPEN, Record, "whether the open created an executable file";
    EvtFailed "evt.failed" Bool NoArgument, ALL, Record, "whether the system call failed; like the other fields of the result, absent where it is not known";
    EvtRawres "evt.rawres" Number NoArgument, ALL, Record, "result of the system call: a negative error number if it failed";
    EvtRes "evt.res" Text NoArgument, ALL, Record, "result of the system call: SUCCESS, or the name of the error";
    EvtRaw "evt.raw" Bool NoArgument, ALL, Record, "whether the system call failed before the kernel had looked at what its arguments stand for: they are the caller's own words then";
    EvtSyscall "evt.syscall" Text NoArgument, ALL, Record, "system call that the task was in, by name or number";
    EvtAbi "evt.abi" Text NoArgument, ALL, Record, "table of the system call: x86_64, i386 or x32";
    EvtSeq "evt.seq" Number NoArgument, ALL, Record, "sequence number of the event on its CPU and lane";
    EvtArg "evt.arg" Text Parameter, ALL, Made, "an argument of the event, by the name that Falco has for it, as in evt.arg.flags, or by its place in Falco's event, as in evt.arg[0]; what the sensor does not tell is absent";
    EvtArgs "evt.args" Text NoArgument, ALL, Made, "the arguments of the event that are known, as NAME=VALUE, joined by blanks";
    EvtInfo "evt.info" Text NoArgument, ALL, Made, "the same as evt.args";
    EvtDir "evt.dir" Text NoArgument, ALL, Record, "direction of the event: always <, as a result is known or will be; Falco no longer has it";
    EvtTypeIs "evt.type.is" Number EventName, ALL, Record, "1 if evt.type is the one that is named, as in evt.type.is.open, or else 0";
    EvtCategory "evt.category" Text NoArgument, ALL, Record, "class of the event: file, process, net, ipc, user, system or other";
    EvtIsIo "evt.is_io" Bool NoArgument, ALL, Record, "whether the event moves data: no event of the sensor does";
    EvtIsIoRead "evt.is_io_read" Bool NoArgument, ALL, Record, "whether it reads data: likewise";
    EvtIsIoWrite "evt.is_io_write" Bool NoArgument, ALL, Record, "whether it writes data: likewise";
    EvtIsWait "evt.is_wait" Bool NoArgument, ALL, Record, "whether the event waits: no event of the sensor does";
    EvtIsAsync "evt.is_async" Bool NoArgument, ALL, Record, "whether the event has come another way than the others: none has";
    EvtIsSyslog "evt.is_syslog" Bool NoArgument, ALL, Record, "whether the event writes to syslog: no event of the sensor does";
    EvtCount "evt.count" Number NoArgument, ALL, Record, "always 1";
    EvtIsOpenCreate "evt.is_open_create" Bool NoArgument, NOWHERE, Record, "whether the open created the file: an event of its own tells, file_create";
    EvtTimeS "evt.time.s" Text NoArgument, ALL, Made, "local time of day without fractions";
    EvtTimeIso8601 "evt.time.iso8601" Text NoArgument, ALL, Made, "time in UTC as ISO 8601 has it, with nanoseconds";
    EvtDatetime "evt.datetime" Text NoArgument, ALL, Made, "local date and time with nanoseconds";
    EvtDatetimeS "evt.datetime.s" Text NoArgument, ALL, Made, "local date and time without fractions";
    EvtRawtimeS "evt.rawtime.s" Number NoArgument, ALL, Record, "whole seconds since the Unix epoch";
    EvtRawtimeNs "evt.rawtime.ns" Number NoArgument, ALL, Record, "the nanoseconds beyond them";
    EvtLatency "evt.latency" Number NoArgument, NOWHERE, Record, "time between the two events of a system call";
    EvtLatencyS "evt.latency.s" Number NoArgument, NOWHERE, Record, "time between the two events of a system call";
    EvtLatencyNs "evt.latency.ns" Number NoArgument, NOWHERE, Record, "time between the two events of a system call";
    EvtLatencyQuantized "evt.latency.quantized" Number NoArgument, NOWHERE, Record, "time between the two events of a system call";
    EvtWaitLatency "evt.wait_latency" Number NoArgument, NOWHERE, Record, "time between the two events of a system call";
    EvtLatencyHuman "evt.latency.human" Text NoArgument, NOWHERE, Record, "the same for a person";
    EvtDeltatime "evt.deltatime" Number NoArgument, NOWHERE, Record, "time since the event before";
    EvtDeltatimeS "evt.deltatime.s" Number NoArgument, NOWHERE, Record, "time since the event before";
    EvtDeltatimeNs "evt.deltatime.ns" Number NoArgument, NOWHERE, Record, "time since the event before";
    EvtReltime "evt.reltime" Number NoArgument, NOWHERE, Record, "time since the capture began";
    EvtReltimeS "evt.reltime.s" Number NoArgument, NOWHERE, Record, "time since the capture began";
    EvtReltimeNs "evt.reltime.ns" Number NoArgument, NOWHERE, Record, "time since the capture began";
    EvtOutputtime "evt.outputtime" Text NoArgument, NOWHERE, Record, "time as an option of a command line has it";
    EvtRawarg "evt.rawarg" Number Parameter, ALL, Record, "an argument of the event that is a number, as it is";
    EvtBuffer "evt.buffer" Bytes NoArgument, NOWHERE, Record, "data that the event moves";
    EvtBuflen "evt.buflen" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenIn "evt.buflen.in" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenOut "evt.buflen.out" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenFile "evt.buflen.file" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenFileIn "evt.buflen.file.in" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenFileOut "evt.buflen.file.out" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenNet "evt.buflen.net" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenNetIn "evt.buflen.net.in" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtBuflenNetOut "evt.buflen.net.out" Number NoArgument, NOWHERE, Record, "length of such data";
    EvtIoDir "evt.io_dir" Text NoArgument, NOWHERE, Record, "direction of such data";
    EvtCountError "evt.count.error" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountErrorFile "evt.count.error.file" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountErrorNet "evt.count.error.net" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountErrorMemory "evt.count.error.memory" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountErrorOther "evt.count.error.other" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountExit "evt.count.exit" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountProcinfo "evt.count.procinfo" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtCountThreadinfo "evt.count.threadinfo" Number NoArgument, NOWHERE, Record, "counter for charts";
    EvtAbspath "evt.abspath" Text Dotted, NOWHERE, Record, "absolute path that a system call was given; fd.name is the one that the kernel found";
    EvtInfraDockerName "evt.infra.docker.name" Text NoArgument, NOWHERE, Record, "event of Docker itself";
    EvtInfraDockerContainerId "evt.infra.docker.container.id" Text NoArgument, NOWHERE, Record, "event of Docker itself";
    EvtInfraDockerContainerName "evt.infra.docker.container.name" Text NoArgument, NOWHERE, Record, "event of Docker itself";
    EvtInfraDockerContainerImage "evt.infra.docker.container.image" Text NoArgument, NOWHERE, Record, "event of Docker itself";
    EvtPluginname "evt.pluginname" Text NoArgument, NOWHERE, Record, "name of the plugin that the event is from";
    EvtPlugininfo "evt.plugininfo" Text NoArgument, NOWHERE, Record, "what such a plugin tells of it";
    EvtAsynctype "evt.asynctype" Text NoArgument, NOWHERE, Record, "type of an event that has come another way";
    EvtHostname "evt.hostname" Text NoArgument, NOWHERE, Record, "name of this host: alerts have it as hostname";
    MmapProt "mmap.prot" Text NoArgument, MAPPED, Made, "protection of the mapping by name, joined by |";
    FdNum "fd.num" Number NoArgument, FILE_OPEN.union(CREATED).union(KindSet::of(Kind::Socket)), Record, "number of the descriptor that the system call returned";
    FdName "fd.name" Text NoArgument, PATH, Record, "path of the file; of a connection, where its listener is bound";
    FdNameraw "fd.nameraw" Text NoArgument, FILE_OPEN, Record, "path of the file as the program gave it to open(2) and its like; absent if it was opened otherwise; read again after the kernel has read it, so another thread may have changed it";
    FdDirectory "fd.directory" Text NoArgument, PATH, Record, "directory of the file";
    FdFilename "fd.filename" Text NoArgument, PATH, Record, "name of the file without its directory";
    FdBoundFilename "fd.bound.filename" Text NoArgument, CONNECT, Record, "name without its directory that the listener of a Unix socket was bound to, whatever it was renamed to";
    FdFiletype "fd.filetype" Text NoArgument, FILE, Record, "type of the file: regular, directory, block, char, fifo, socket, symlink";
    FdFstype "fd.fstype" Text NoArgument, FILE_OPEN.union(CREATED).union(MAPPED), Record, "file system that the file is on, if it is one of the kernel's own: proc, sysfs, cgroup, …";
    FdMountForeign "fd.mount.foreign" Bool NoArgument, FILE_OPEN.union(MAPPED), Record, "whether the file was reached through a mount of another mount namespace than the task's";
    FdMountNs "fd.mount.ns" Number NoArgument, FILE_OPEN.union(MAPPED), Record, "inode of the mount namespace that the file's mount belongs to; 0 for a detached or internal one";
    FdRdev "fd.rdev" Text NoArgument, FILE_OPEN.union(MKNOD), Made, "device that a device file stands for, as major:minor";
    FdType "fd.type" Text NoArgument, PATH, Record, "type of the descriptor: file, directory, …";
    FdTypechar "fd.typechar" Text NoArgument, PATH, Record, "type of the descriptor as one character: f, d, …";
    FdSockfamily "fd.sockfamily" Text NoArgument, CONNECT, Record, "family of the socket: ip or unix";
    FdL4proto "fd.l4proto" Text NoArgument, CONNECT, Record, "protocol of the connection: tcp, udp, icmp or raw";
    FdIp "fd.ip" Address NoArgument, CONNECT, Record, "IP addresses of both ends: one of them is equal, or none";
    FdNet "fd.net" Network NoArgument, CONNECT, Record, "networks of both ends, likewise";
    FdPort "fd.port" Port NoArgument, CONNECT, Record, "ports of both ends, likewise";
    FdRip "fd.rip" Address NoArgument, CONNECT, Record, "remote IP address: where a connection goes to";
    FdRnet "fd.rnet" Network NoArgument, CONNECT, Record, "network of the remote IP address";
    FdRport "fd.rport" Port NoArgument, CONNECT, Record, "remote port";
    FdLip "fd.lip" Address NoArgument, CONNECT, Record, "local IP address; absent as long as the kernel has not chosen one: of a connection that begins, if the program did not";
    FdLnet "fd.lnet" Network NoArgument, CONNECT, Record, "network of the local IP address; absent likewise";
    FdLport "fd.lport" Port NoArgument, CONNECT, Record, "local port; absent likewise";
    FdSip "fd.sip" Address NoArgument, CONNECT, Record, "IP address of the server: where a connection goes to";
    FdSnet "fd.snet" Network NoArgument, CONNECT, Record, "network of the server";
    FdSport "fd.sport" Port NoArgument, CONNECT, Record, "port of the server";
    FdCip "fd.cip" Address NoArgument, CONNECT, Record, "IP address of the client; absent where fd.lip is";
    FdCnet "fd.cnet" Network NoArgument, CONNECT, Record, "network of the client; absent where fd.lip is";
    FdCport "fd.cport" Port NoArgument, CONNECT, Record, "port of the client; absent where fd.lport is";
    FdIsServer "fd.is_server" Bool NoArgument, CONNECT, Record, "whether the process is the server's side of the connection";
    FdProto "fd.proto" Port NoArgument, CONNECT, Record, "port of the server";
    FdConnected "fd.connected" Bool NoArgument, CONNECT, Record, "whether the socket is connected: the result of a connect tells; absent until then";
    FdUid "fd.uid" Text NoArgument, NOWHERE, Record, "descriptor and thread as one text";
    FdContainername "fd.containername" Text NoArgument, NOWHERE, Record, "descriptor with its container as one text";
    FdContainerdirectory "fd.containerdirectory" Text NoArgument, NOWHERE, Record, "directory with its container as one text";
    FdCproto "fd.cproto" Text NoArgument, NOWHERE, Record, "name of the service of that port";
    FdSproto "fd.sproto" Text NoArgument, NOWHERE, Record, "name of the service of that port";
    FdLproto "fd.lproto" Text NoArgument, NOWHERE, Record, "name of the service of that port";
    FdRproto "fd.rproto" Text NoArgument, NOWHERE, Record, "name of the service of that port";
    FdNameChanged "fd.name_changed" Bool NoArgument, NOWHERE, Record, "whether the descriptor got another name by the event";
    FdCipName "fd.cip.name" Text NoArgument, NOWHERE, Record, "name of the host that the address belongs to: a name that is looked up afterwards proves nothing, and asking for it tells the other side";
    FdSipName "fd.sip.name" Text NoArgument, NOWHERE, Record, "name of the host that the address belongs to: a name that is looked up afterwards proves nothing, and asking for it tells the other side";
    FdLipName "fd.lip.name" Text NoArgument, NOWHERE, Record, "name of the host that the address belongs to: a name that is looked up afterwards proves nothing, and asking for it tells the other side";
    FdRipName "fd.rip.name" Text NoArgument, NOWHERE, Record, "name of the host that the address belongs to: a name that is looked up afterwards proves nothing, and asking for it tells the other side";
    FdDev "fd.dev" Number NoArgument, NOWHERE, Record, "number of the device that the file is on";
    FdDevMajor "fd.dev.major" Number NoArgument, NOWHERE, Record, "its major number";
    FdDevMinor "fd.dev.minor" Number NoArgument, NOWHERE, Record, "its minor number";
    FdIno "fd.ino" Number NoArgument, NOWHERE, Record, "inode number of the file";
    FdTypes "fd.types" Text List, NOWHERE, Record, "types of all descriptors of the process";
    FdIsUpperLayer "fd.is_upper_layer" Bool NoArgument, NOWHERE, Record, "whether the file is in the layer of an overlay that is written to";
    FdIsLowerLayer "fd.is_lower_layer" Bool NoArgument, NOWHERE, Record, "whether the file is in another layer of an overlay";
    ProcPid "proc.pid" Number NoArgument, ALL, Record, "process id in the host's namespace";
    ProcPpid "proc.ppid" Number NoArgument, ALL, Record, "process id of the parent";
    ProcVpid "proc.vpid" Number NoArgument, ALL, Lookup, "process id in its own namespace";
    ProcName "proc.name" Text NoArgument, ALL, Lookup, "name that the kernel gave the process when it executed its program, at most 15 bytes; of one that was there before the agent, what it called itself then; what it calls itself now is thread.comm";
    ProcExe "proc.exe" Text NoArgument, ALL, Lookup, "first argument of the process";
    ProcExepath "proc.exepath" Text NoArgument, ALL, Lookup, "path of the executable";
    ProcArgs "proc.args" Text OptionalIndex, ALL, Made, "arguments after the first, joined by blanks; one of them by index";
    ProcCmdline "proc.cmdline" Text NoArgument, ALL, Made, "name and arguments, joined by blanks";
    ProcPname "proc.pname" Text NoArgument, ALL, Lookup, "name of the parent";
    ProcPexe "proc.pexe" Text NoArgument, ALL, Lookup, "first argument of the parent";
    ProcPexepath "proc.pexepath" Text NoArgument, ALL, Lookup, "path of the parent's executable";
    ProcPcmdline "proc.pcmdline" Text NoArgument, ALL, Made, "name and arguments of the parent";
    ProcAname "proc.aname" Text Ancestor, ALL, Walk, "name of an ancestor: 0 the process itself, 1 its parent";
    ProcIsExeFromMemfd "proc.is_exe_from_memfd" Bool NoArgument, ALL, Lookup, "whether the executable is a memory file";
    ProcExeIno "proc.exe_ino" Number NoArgument, ALL, Lookup, "inode number of the executable; absent if the process was started before the agent";
    ProcIsExeUpperLayer "proc.is_exe_upper_layer" Bool NoArgument, ALL, Lookup, "whether the executable is in the layer of an overlay that is written to: it is not of the image; absent if the process was started before the agent";
    ProcPgid "proc.pgid" Number NoArgument, ALL, Lookup, "process group id in the host's namespace: that at the start of the process";
    ProcTty "proc.tty" Number NoArgument, ALL, Lookup, "controlling terminal, as major << 20 | minor; 0 if there is none";
    ProcSid "proc.sid" Number NoArgument, ALL, Lookup, "session id in the host's namespace: that at the start of the process";
    ProcSname "proc.sname" Text NoArgument, ALL, Lookup, "name of the session leader";
    ProcCwd "proc.cwd" Text NoArgument, ALL, Made, "working directory of the process when it executed its program, or was found, with a slash at the end";
    ProcEnv "proc.env" Text OptionalName, ALL, Made, "variables of the environment that change what a program does or where it connects to (LD_*, GLIBC_TUNABLES, proxies and the like), as NAME=VALUE, joined by blanks; the value of one by name";
    ProcEnvCut "proc.env_cut" Bool NoArgument, ALL, Lookup, "whether the environment is too long for all of proc.env to be told";
    ProcDuration "proc.duration" Number NoArgument, ALL, Record, "age of the process, nanoseconds";
    ProcPpidDuration "proc.ppid.duration" Number NoArgument, ALL, Lookup, "age of the parent, nanoseconds";
    ProcStartTime "proc.start_time" Number NoArgument, ALL, Record, "start of the process, nanoseconds since boot";
    ProcAexe "proc.aexe" Text Ancestor, ALL, Walk, "first argument of an ancestor";
    ProcAexepath "proc.aexepath" Text Ancestor, ALL, Walk, "path of an ancestor's executable";
    ProcAargs "proc.aargs" Text Ancestor, ALL, Walk, "arguments of an ancestor after the first, joined by blanks";
    ProcAcmdline "proc.acmdline" Text Ancestor, ALL, Walk, "name and arguments of an ancestor, joined by blanks";
    ProcApid "proc.apid" Number Ancestor, ALL, Walk, "process id of an ancestor";
    ProcCmdnargs "proc.cmdnargs" Number NoArgument, ALL, Lookup, "number of arguments after the first";
    ProcCmdlenargs "proc.cmdlenargs" Number NoArgument, ALL, Lookup, "bytes of the arguments after the first, without what joins them";
    ProcExeline "proc.exeline" Text NoArgument, ALL, Made, "all arguments, joined by blanks";
    ProcPvpid "proc.pvpid" Number NoArgument, ALL, Lookup, "process id of the parent in its own namespace";
    ProcSidExe "proc.sid.exe" Text NoArgument, ALL, Lookup, "first argument of the session leader";
    ProcSidExepath "proc.sid.exepath" Text NoArgument, ALL, Lookup, "path of the session leader's executable";
    ProcIsSidLeader "proc.is_sid_leader" Bool NoArgument, ALL, Lookup, "whether the process leads its session";
    ProcPgidName "proc.pgid.name" Text NoArgument, ALL, Lookup, "name of the leader of the process group";
    ProcPgidExe "proc.pgid.exe" Text NoArgument, ALL, Lookup, "first argument of the leader of the process group";
    ProcPgidExepath "proc.pgid.exepath" Text NoArgument, ALL, Lookup, "path of the executable of the leader of the process group";
    ProcIsPgidLeader "proc.is_pgid_leader" Bool NoArgument, ALL, Lookup, "whether the process leads its process group";
    ProcVpgidName "proc.vpgid.name" Text NoArgument, ALL, Lookup, "name of the leader of the process group";
    ProcVpgidExe "proc.vpgid.exe" Text NoArgument, ALL, Lookup, "first argument of the leader of the process group";
    ProcVpgidExepath "proc.vpgid.exepath" Text NoArgument, ALL, Lookup, "path of the executable of the leader of the process group";
    ProcIsVpgidLeader "proc.is_vpgid_leader" Bool NoArgument, ALL, Lookup, "whether the process leads its process group";
    ProcVpgid "proc.vpgid" Number NoArgument, ALL, Lookup, "process group id in its own namespace, if its leader is known";
    ProcPidTs "proc.pid.ts" Number NoArgument, ALL, Record, "start of the process, nanoseconds since the Unix epoch";
    ProcPpidTs "proc.ppid.ts" Number NoArgument, ALL, Lookup, "start of the parent, nanoseconds since the Unix epoch";
    ProcIsExeLowerLayer "proc.is_exe_lower_layer" Bool NoArgument, NOWHERE, Record, "whether the executable is in a layer of an overlay that is not written to";
    ProcAenv "proc.aenv" Text Ancestor, NOWHERE, Record, "environment of an ancestor";
    ProcLoginshellid "proc.loginshellid" Number NoArgument, NOWHERE, Record, "process id of the oldest shell among the ancestors";
    ProcIsExeWritable "proc.is_exe_writable" Bool NoArgument, NOWHERE, Record, "whether the process could write to its executable";
    ProcExeInoCtime "proc.exe_ino.ctime" Number NoArgument, NOWHERE, Record, "last change of the inode of the executable";
    ProcExeInoMtime "proc.exe_ino.mtime" Number NoArgument, NOWHERE, Record, "last change of the executable";
    ProcExeInoCtimeDurationProcStart "proc.exe_ino.ctime_duration_proc_start" Number NoArgument, NOWHERE, Record, "time between that of the inode and the start of the process";
    ProcExeInoCtimeDurationPidnsStart "proc.exe_ino.ctime_duration_pidns_start" Number NoArgument, NOWHERE, Record, "time between that of the inode and the start of the pid namespace";
    ProcPidnsInitStartTs "proc.pidns_init_start_ts" Number NoArgument, NOWHERE, Record, "start of the pid namespace";
    ProcFdopencount "proc.fdopencount" Number NoArgument, NOWHERE, Record, "number of open descriptors";
    ProcFdlimit "proc.fdlimit" Number NoArgument, NOWHERE, Record, "limit of open descriptors";
    ProcFdusage "proc.fdusage" Number NoArgument, NOWHERE, Record, "share of that limit in use";
    ProcVmsize "proc.vmsize" Number NoArgument, NOWHERE, Record, "virtual memory";
    ProcVmrss "proc.vmrss" Number NoArgument, NOWHERE, Record, "resident memory";
    ProcVmswap "proc.vmswap" Number NoArgument, NOWHERE, Record, "memory in swap";
    ProcNthreads "proc.nthreads" Number NoArgument, NOWHERE, Record, "number of threads";
    ProcNchilds "proc.nchilds" Number NoArgument, NOWHERE, Record, "number of children";
    ProcStdinType "proc.stdin.type" Text NoArgument, NOWHERE, Record, "type of the descriptor that is stdin";
    ProcStdinName "proc.stdin.name" Text NoArgument, NOWHERE, Record, "name of the descriptor that is stdin";
    ProcStdoutType "proc.stdout.type" Text NoArgument, NOWHERE, Record, "type of the descriptor that is stdout";
    ProcStdoutName "proc.stdout.name" Text NoArgument, NOWHERE, Record, "name of the descriptor that is stdout";
    ProcStderrType "proc.stderr.type" Text NoArgument, NOWHERE, Record, "type of the descriptor that is stderr";
    ProcStderrName "proc.stderr.name" Text NoArgument, NOWHERE, Record, "name of the descriptor that is stderr";
    ProcIsContainerHealthcheck "proc.is_container_healthcheck" Bool NoArgument, NOWHERE, Record, "whether the process is such a probe";
    ProcIsContainerLivenessProbe "proc.is_container_liveness_probe" Bool NoArgument, NOWHERE, Record, "whether the process is such a probe";
    ProcIsContainerReadinessProbe "proc.is_container_readiness_probe" Bool NoArgument, NOWHERE, Record, "whether the process is such a probe";
    ThreadTid "thread.tid" Number NoArgument, ALL, Record, "thread id in the host's namespace";
    ThreadComm "thread.comm" Text NoArgument, ALL, Record, "name of the thread as it is now, which it can change, at most 15 bytes";
    ThreadCapInheritable "thread.cap_inheritable" Text NoArgument, ALL, Made, "inheritable capabilities by name, joined by blanks";
    ThreadCapPermitted "thread.cap_permitted" Text NoArgument, ALL, Made, "permitted capabilities by name, joined by blanks";
    ThreadCapEffective "thread.cap_effective" Text NoArgument, ALL, Made, "effective capabilities by name, joined by blanks";
    ThreadIsmain "thread.ismain" Bool NoArgument, ALL, Record, "whether the thread is the main one of its process";
    ThreadNametid "thread.nametid" Text NoArgument, ALL, Made, "name of the thread and its id, one after the other";
    ThreadPfmajor "thread.pfmajor" Number NoArgument, NOWHERE, Record, "page faults that needed the disk";
    ThreadPfminor "thread.pfminor" Number NoArgument, NOWHERE, Record, "other page faults";
    ThreadVtid "thread.vtid" Number NoArgument, NOWHERE, Record, "thread id in its own namespace";
    ThreadExectime "thread.exectime" Number NoArgument, NOWHERE, Record, "processor time of the last turn";
    ThreadTotexectime "thread.totexectime" Number NoArgument, NOWHERE, Record, "processor time in all";
    ThreadCgroups "thread.cgroups" Text NoArgument, NOWHERE, Record, "cgroups of all controllers: cgroup.path is that of the unified hierarchy";
    ThreadCgroup "thread.cgroup" Text Dotted, NOWHERE, Record, "cgroup of one controller";
    ThreadCpu "thread.cpu" Number NoArgument, NOWHERE, Record, "share of a processor";
    ThreadCpuUser "thread.cpu.user" Number NoArgument, NOWHERE, Record, "share of a processor";
    ThreadCpuSystem "thread.cpu.system" Number NoArgument, NOWHERE, Record, "share of a processor";
    ThreadVmsize "thread.vmsize" Number NoArgument, NOWHERE, Record, "memory of the process";
    ThreadVmrss "thread.vmrss" Number NoArgument, NOWHERE, Record, "memory of the process";
    ThreadVmsizeB "thread.vmsize.b" Number NoArgument, NOWHERE, Record, "memory of the process";
    ThreadVmrssB "thread.vmrss.b" Number NoArgument, NOWHERE, Record, "memory of the process";
    UserUid "user.uid" Number NoArgument, ALL, Record, "user id in the host's namespace";
    UserEuid "user.euid" Number NoArgument, ALL, Record, "effective user id in the host's namespace";
    UserName "user.name" Text NoArgument, ALL, Lookup, "name of the user, in the container if a task of one acts";
    UserLoginuid "user.loginuid" Number NoArgument, ALL, Lookup, "user who has logged in, in the host's namespace; -1 if nobody has";
    UserLoginname "user.loginname" Text NoArgument, ALL, Lookup, "name of that user on the host";
    UserHomedir "user.homedir" Text NoArgument, NOWHERE, Record, "home directory of the user";
    UserShell "user.shell" Text NoArgument, NOWHERE, Record, "login shell of the user";
    GroupGid "group.gid" Number NoArgument, ALL, Record, "group id in the host's namespace";
    GroupName "group.name" Text NoArgument, ALL, Lookup, "name of the group, likewise";
    ContainerMembership "container.membership" Text NoArgument, ALL, Record, "whether the task is a container's: none, member, or entering while it has not executed the container's program yet";
    ContainerId "container.id" Text NoArgument, ALL, Lookup, "id of the task's container as its runtime has it, a digest shortened to 12 digits; host for a task of the host; where no runtime is known to name so, the name of its cgroup, or cgroup-NUMBER";
    ContainerFullId "container.full_id" Text NoArgument, ALL, Lookup, "that id in full length";
    ContainerType "container.type" Text NoArgument, ALL, Lookup, "runtime of the container: docker, containerd, cri-o, podman, lxc, …; unknown if nothing tells; host for a task of the host";
    ContainerName "container.name" Text NoArgument, ALL, Runtime, "name of the container; like the other fields that only its runtime knows, absent until that has told; host for a task of the host";
    ContainerImage "container.image" Text NoArgument, ALL, Runtime, "image of the container, as it was asked for";
    ContainerImageRepository "container.image.repository" Text NoArgument, ALL, Runtime, "repository of the image, with its registry";
    ContainerImageTag "container.image.tag" Text NoArgument, ALL, Runtime, "tag of the image";
    ContainerImageDigest "container.image.digest" Text NoArgument, ALL, Runtime, "digest of the image in its registry";
    ContainerImageId "container.image.id" Text NoArgument, ALL, Runtime, "id of the image on this host";
    ContainerPrivileged "container.privileged" Bool NoArgument, ALL, Runtime, "whether the container was asked to be privileged; container.boundary.privileged tells what it is";
    ContainerStartTs "container.start_ts" Number NoArgument, ALL, Runtime, "start of the container by its runtime, nanoseconds since the Unix epoch";
    ContainerLabel "container.label" Text Name, ALL, Runtime, "value of a label of the container, by the label's name";
    ContainerLabels "container.labels" Text NoArgument, ALL, Runtime, "labels of the container, as NAME:VALUE, joined by commas";
    ContainerMounts "container.mounts" Text NoArgument, ALL, Runtime, "mounts that the container was asked to have, as SOURCE:DESTINATION:MODE:WRITABLE:PROPAGATION, joined by blanks";
    ContainerHostPid "container.host_pid" Bool NoArgument, ALL, Runtime, "whether the container was given the host's pid namespace";
    ContainerHostNetwork "container.host_network" Bool NoArgument, ALL, Runtime, "whether the container was given the host's network namespace";
    ContainerHostIpc "container.host_ipc" Bool NoArgument, ALL, Runtime, "whether the container was given the host's IPC namespace";
    ContainerRestarts "container.restarts" Number NoArgument, ALL, Runtime, "how often the container was started again, by its runtime";
    ContainerDuration "container.duration" Number NoArgument, ALL, Lookup, "age of the container, by its first process, nanoseconds";
    ContainerNestedId "container.nested.id" Text NoArgument, ALL, Lookup, "id of the container within the container whose cgroup the task is in, shortened likewise: a name that was given from within, and may be anything";
    ContainerNestedType "container.nested.type" Text NoArgument, ALL, Lookup, "runtime of that one";
    ContainerNumber "container.number" Number NoArgument, ALL, Lookup, "number of the task's container, in the order in which containers came to be known";
    ContainerBoundaryOrigin "container.boundary.origin" Text NoArgument, BOUNDARY, Record, "how the boundary came to be known: started (a new container), entered (a process came into one from outside), or found (it was there before the agent)";
    ContainerBoundaryBounding "container.boundary.bounding" Text NoArgument, BOUNDARY, Made, "capabilities that the process can ever have, by name, joined by blanks";
    ContainerBoundaryPermitted "container.boundary.permitted" Text NoArgument, BOUNDARY, Made, "permitted capabilities by name, joined by blanks";
    ContainerBoundarySeccomp "container.boundary.seccomp" Text NoArgument, BOUNDARY, Record, "seccomp mode: none, strict or filter";
    ContainerBoundaryNoNewPrivs "container.boundary.no_new_privs" Bool NoArgument, BOUNDARY, Record, "whether no_new_privs is set";
    ContainerBoundaryPrivileged "container.boundary.privileged" Bool NoArgument, BOUNDARY, Record, "whether it can have every capability";
    ContainerBoundaryHostNamespaces "container.boundary.host_namespaces" Text NoArgument, BOUNDARY, Made, "types of its namespaces that are the host's, joined by |";
    ContainerBoundaryHostPaths "container.boundary.host_paths" Text NoArgument, BOUNDARY, Made, "paths of the host that are mounted in it, joined by |, but for what runtimes and kubelets manage, and for sockets of runtimes; absent if there are none, or if it ended at once";
    ContainerBoundaryRuntimeSockets "container.boundary.runtime_sockets" Text NoArgument, BOUNDARY, Made, "sockets of container runtimes that it can reach by those, joined by |";
    ContainerBoundaryMemoryLimited "container.boundary.memory_limited" Bool NoArgument, BOUNDARY, Record, "whether its cgroup, or one above, limits its memory";
    ContainerBoundaryPidsLimited "container.boundary.pids_limited" Bool NoArgument, BOUNDARY, Record, "whether its cgroup, or one above, limits the number of its tasks";
    ContainerBoundaryLabel "container.boundary.label" Text NoArgument, BOUNDARY, Record, "label of its process by AppArmor or SELinux; absent if neither is active";
    ContainerBoundaryConfined "container.boundary.confined" Bool NoArgument, BOUNDARY, Record, "whether that label confines it";
    ContainerBoundaryRootDevice "container.boundary.root.device" Text NoArgument, BOUNDARY, Record, "device of the root file system, as major:minor";
    ContainerMount "container.mount" Text Name, ALL, Runtime, "a mount of the container, as container.mounts has it, by its place from 0 or by a pattern of its source";
    ContainerMountSource "container.mount.source" Text Name, ALL, Runtime, "of a mount of the container what is mounted, by its place from 0 or by a pattern of its destination";
    ContainerMountDest "container.mount.dest" Text Name, ALL, Runtime, "of a mount of the container where it is mounted, by its place from 0 or by a pattern of its source";
    ContainerMountMode "container.mount.mode" Text Name, ALL, Runtime, "of a mount of the container its mode, by its place from 0 or by a pattern of its source";
    ContainerMountRdwr "container.mount.rdwr" Text Name, ALL, Runtime, "of a mount of the container whether it can be written to: true or false, by its place from 0 or by a pattern of its source";
    ContainerMountPropagation "container.mount.propagation" Text Name, ALL, Runtime, "of a mount of the container its propagation, by its place from 0 or by a pattern of its source";
    ContainerHealthcheck "container.healthcheck" Text NoArgument, NOWHERE, Record, "health check of the container";
    ContainerLivenessProbe "container.liveness_probe" Text NoArgument, NOWHERE, Record, "liveness probe of the container";
    ContainerReadinessProbe "container.readiness_probe" Text NoArgument, NOWHERE, Record, "readiness probe of the container";
    ContainerIp "container.ip" Text NoArgument, NOWHERE, Record, "IP address of the container";
    ContainerCniJson "container.cni.json" Text NoArgument, NOWHERE, Record, "answer of the network plugin";
    K8sNsName "k8s.ns.name" Text NoArgument, ALL, Runtime, "namespace in Kubernetes of the pod that the container is in";
    K8sPodName "k8s.pod.name" Text NoArgument, ALL, Runtime, "name of that pod";
    K8sPodLabel "k8s.pod.label" Text Name, ALL, Runtime, "value of a label of the pod, by the label's name";
    K8sPodLabels "k8s.pod.labels" Text NoArgument, ALL, Runtime, "labels of the pod, as NAME:VALUE, joined by commas";
    K8sPodSandboxId "k8s.pod.sandbox_id" Text NoArgument, ALL, Runtime, "id of the pod's sandbox, its first 12 digits";
    K8sSaName "k8s.sa.name" Text NoArgument, ALL, Runtime, "service account of the pod, if --service-accounts lets the agent read it off the pod's token";
    K8sPodUid "k8s.pod.uid" Text NoArgument, ALL, Lookup, "uid of the pod that the container is in";
    K8sPodQos "k8s.pod.qos" Text NoArgument, ALL, Lookup, "quality of service class of that pod: Guaranteed, Burstable or BestEffort";
    K8sPodId "k8s.pod.id" Text NoArgument, NOWHERE, Record, "id of the pod's sandbox; k8s.pod.uid is that of the pod";
    K8sPodFullSandboxId "k8s.pod.full_sandbox_id" Text NoArgument, NOWHERE, Record, "the same in full length";
    K8sPodIp "k8s.pod.ip" Text NoArgument, NOWHERE, Record, "IP address of the pod";
    K8sPodCniJson "k8s.pod.cni.json" Text NoArgument, NOWHERE, Record, "answer of the network plugin";
    K8sNsId "k8s.ns.id" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sNsLabel "k8s.ns.label" Text Name, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sNsLabels "k8s.ns.labels" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRcId "k8s.rc.id" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRcName "k8s.rc.name" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRcLabel "k8s.rc.label" Text Name, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRcLabels "k8s.rc.labels" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sSvcId "k8s.svc.id" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sSvcName "k8s.svc.name" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sSvcLabel "k8s.svc.label" Text Name, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sSvcLabels "k8s.svc.labels" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRsId "k8s.rs.id" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRsName "k8s.rs.name" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRsLabel "k8s.rs.label" Text Name, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sRsLabels "k8s.rs.labels" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sDeploymentId "k8s.deployment.id" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sDeploymentName "k8s.deployment.name" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sDeploymentLabel "k8s.deployment.label" Text Name, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    K8sDeploymentLabels "k8s.deployment.labels" Text NoArgument, NOWHERE, Record, "of the Kubernetes API, which is not asked; Falco no longer has it";
    BreachKind "breach.kind" Text NoArgument, BREACH, Record, "what was crossed: namespace, filesystem, capability, credential, confinement, root, cgroup or usermode_helper";
    BreachProperty "breach.property" Text NoArgument, BREACH, Record, "property of the task that shows it: ns.mnt, capabilities, ids, …";
    BreachExpected "breach.evidence.expected" Text NoArgument, BREACH, Made, "what was recorded: a number, or capabilities by name";
    BreachFound "breach.evidence.found" Text NoArgument, BREACH, Made, "what is now";
    BreachNoticed "breach.evidence.noticed" Text NoArgument, BREACH, Record, "where it was noticed: commit_creds, file_open, exec, …";
    BreachSince "breach.evidence.since" Text NoArgument, BREACH, Made, "local time at which a complete comparison last found the task within its boundary";
    BreachPath "breach.evidence.path" Text NoArgument, BREACH, Record, "file that is outside of what the container was given, or program that the kernel executed";
    BreachWay "breach.evidence.way" Text NoArgument, BREACH, Record, "how the task came to that file: opened, executed, mapped, mounted, received, or inherited if it held a descriptor or its working directory on the same mount";
    BreachTask "breach.task" Number NoArgument, BREACH, Record, "thread that it is about, in the host's namespace";
    BreachUnattended "breach.unattended" Bool NoArgument, BREACH, Record, "whether no agent was running when it happened";
    CgroupPath "cgroup.path" Text NoArgument, ALL, Lookup, "path of the task's control group, below the root of the unified hierarchy";
    CgroupTarget "cgroup.target" Text NoArgument, CGROUP, Record, "path of the cgroup that a process is moved to, or that is made or removed, below the root of its hierarchy";
    CgroupTargetId "cgroup.target.id" Number NoArgument, CGROUP, Record, "id of that cgroup";
    CgroupTargetPid "cgroup.target.pid" Number NoArgument, ATTACH, Record, "process id of the process that is moved";
    CgroupId "cgroup.id" Number NoArgument, ALL, Record, "id of the task's control group";
    NsMnt "ns.mnt" Number NoArgument, ALL, Record, "inode of the mount namespace";
    NsPid "ns.pid" Number NoArgument, ALL, Record, "inode of the pid namespace";
    NsNet "ns.net" Number NoArgument, ALL, Record, "inode of the network namespace";
    NsUser "ns.user" Number NoArgument, ALL, Record, "inode of the user namespace";
    NsUts "ns.uts" Number NoArgument, ALL, Record, "inode of the UTS namespace";
    NsIpc "ns.ipc" Number NoArgument, ALL, Record, "inode of the IPC namespace";
    NsCgroup "ns.cgroup" Number NoArgument, ALL, Record, "inode of the cgroup namespace";
    NsTime "ns.time" Number NoArgument, ALL, Record, "inode of the time namespace";
    NsJoined "ns.joined" Text NoArgument, NAMESPACES, Made, "types of the namespaces that the task changes to, joined by |";
    NsJoinedHost "ns.joined_host" Text NoArgument, NAMESPACES, Made, "those of them that are the host's";
    MountFstype "mount.fstype" Text NoArgument, MOUNT.union(MOVE_MOUNT), Record, "type of the file system that is mounted or moved";
    MountDevice "mount.device" Text NoArgument, MOUNT, Made, "block device that holds the file system, as major:minor";
    MountTarget "mount.target" Text NoArgument, MOVE_MOUNT, Record, "path that the mount is moved to";
    PtraceMode "ptrace.mode" Text NoArgument, PTRACE, Record, "access that is asked for: read or attach";
    PtraceCrosses "ptrace.crosses" Bool NoArgument, PTRACE, Record, "whether the other task is outside of the container of the one that asks";
    PtraceTargetMembership "ptrace.target.membership" Text NoArgument, PTRACE, Record, "whether the other task is a container's: none or member";
    PtraceTargetName "ptrace.target.name" Text NoArgument, PTRACE, Record, "name of the other task";
    PtraceTargetPid "ptrace.target.pid" Number NoArgument, PTRACE, Record, "process id of the other task in the host's namespace";
    SocketFamily "socket.family" Text NoArgument, SOCKET, Record, "address family, like AF_INET";
    SocketProtocol "socket.protocol" Number NoArgument, KindSet::of(Kind::Socket), Record, "protocol of a new socket";
    SocketType "socket.type" Text NoArgument, SOCKET, Record, "type of the socket, like SOCK_STREAM";
    SysctlName "sysctl.name" Text NoArgument, SYSCTL, Record, "kernel parameter that is written, as a path below /proc/sys";
    SysctlValue "sysctl.value" Text NoArgument, SYSCTL, Record, "text that is written";
    BpfCmd "bpf.cmd" Text NoArgument, BPF, Record, "command of the bpf call, like BPF_PROG_LOAD";
    BpfProgName "bpf.prog.name" Text NoArgument, BPF, Record, "name of the program";
    BpfProgType "bpf.prog.type" Text NoArgument, BPF, Record, "type of the program, like kprobe or lsm";
    SyscallType "syscall.type" Text NoArgument, ALL, Record, "name of the system call, absent where the event is of none";
    FdlistNums "fdlist.nums" Text NoArgument, NOWHERE, Record, "descriptors that a poll waits for";
    FdlistNames "fdlist.names" Text NoArgument, NOWHERE, Record, "descriptors that a poll waits for";
    FdlistCips "fdlist.cips" Text NoArgument, NOWHERE, Record, "descriptors that a poll waits for";
    FdlistSips "fdlist.sips" Text NoArgument, NOWHERE, Record, "descriptors that a poll waits for";
    FdlistCports "fdlist.cports" Text NoArgument, NOWHERE, Record, "descriptors that a poll waits for";
    FdlistSports "fdlist.sports" Text NoArgument, NOWHERE, Record, "descriptors that a poll waits for";
    FsPathName "fs.path.name" Text NoArgument, NOWHERE, Record, "path that a system call is about";
    FsPathNameraw "fs.path.nameraw" Text NoArgument, NOWHERE, Record, "the same as it was given";
    FsPathSource "fs.path.source" Text NoArgument, NOWHERE, Record, "path that a system call takes something from";
    FsPathSourceraw "fs.path.sourceraw" Text NoArgument, NOWHERE, Record, "the same as it was given";
    FsPathTarget "fs.path.target" Text NoArgument, NOWHERE, Record, "path that a system call puts something at";
    FsPathTargetraw "fs.path.targetraw" Text NoArgument, NOWHERE, Record, "the same as it was given";
    UtilCnt "util.cnt" Number NoArgument, NOWHERE, Record, "counter for charts";
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
