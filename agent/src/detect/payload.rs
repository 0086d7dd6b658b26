//! The fields that come from what an event itself carries.

use shrike_common::wire::Text;
use shrike_common::{
    Address, Boundary, Bpf, Breach, BreachKind, CgroupAttach, CgroupId, Connect, Event, Exec,
    FileCreate, FileOpen, Header, Membership, Mknod, MmapExec, ModuleLoad, Mount, MoveMount,
    Namespaces, Noticed, NsId, NsType, Origin, Property, Ptrace, Socket, Sysctl, Way,
};
use shrike_rules::{FieldId, Value};

use crate::capability::Capabilities;
use crate::context::clock::Clock;

use super::{Sight, bpf, file, fstype, socket};

/// The value of `field`; `None` if the event's kind has no such field.
pub(super) fn field<'a>(sight: &Sight<'a, '_>, field: FieldId) -> Option<Value<'a>> {
    let header = sight.header;
    match sight.event {
        Event::FileOpen(open) => file_open(open, header, field),
        Event::FileCreate(create) => created(create, field),
        Event::MmapExec(mapped) => mmap(mapped, header, field),
        Event::Mknod(mknod) => made(mknod, field),
        Event::CgroupAttach(attach) => cgroup(attach, field),
        Event::CgroupMkdir(made) => cgroup_target(made.made, made.path, field),
        Event::CgroupRmdir(removed) => cgroup_target(removed.removed, removed.path, field),
        Event::Connect(_) if field == FieldId::FdConnected => Some((sight.result? >= 0).into()),
        Event::Connect(connect) => connection(connect, field),
        Event::Socket(socket) => new_socket(socket, field),
        Event::ModuleLoad(load) => module(load, field),
        Event::Mount(mount) => file_system(mount, field),
        Event::MoveMount(moved) => move_mount(moved, field),
        Event::Setns(setns) => namespaces(&setns.joined, sight.host, field),
        Event::Unshare(unshare) => namespaces(&unshare.joined, sight.host, field),
        Event::Ptrace(ptrace) => access(ptrace, header, field),
        Event::Sysctl(sysctl) => kernel_parameter(sysctl, field),
        Event::Bpf(bpf) => program(bpf, field),
        Event::Boundary(boundary) => recorded(boundary, sight, field),
        Event::Breach(breach) => crossing(breach, header, sight.clock, field),
        Event::Exec(_)
        | Event::Exit(_)
        | Event::Fork(_)
        | Event::Heartbeat(_)
        | Event::Outcome(_) => None,
    }
}

/// An argument of the event by Falco's name for it, where no field has the same value.
pub(super) fn parameter(
    sight: &Sight<'_, '_>,
    field: FieldId,
    name: &str,
) -> Option<Value<'static>> {
    match (sight.event, field, name) {
        (Event::FileOpen(open), FieldId::EvtArg, "flags") => {
            Some(file::flag_names(open.flags).into())
        }
        (Event::FileOpen(open), FieldId::EvtRawarg, "flags") => Some(open.flags.into()),
        (Event::Exec(exec), FieldId::EvtArg, "flags") => Some(executable_flags(exec).into()),
        _ => None,
    }
}

/// What Falco tells of an executable as flags, as far as it is known.
fn executable_flags(exec: &Exec<'_>) -> String {
    let flags = [
        (exec.file & Exec::UPPER != 0, "EXE_UPPER_LAYER"),
        (exec.path.bytes.starts_with(b"/memfd:"), "EXE_FROM_MEMFD"),
    ];
    let names: Vec<_> =
        flags.into_iter().filter(|(is_set, _)| *is_set).map(|flag| flag.1).collect();
    if names.is_empty() { "0".to_owned() } else { names.join("|") }
}

fn file_open<'a>(open: &FileOpen<'a>, header: &Header, field: FieldId) -> Option<Value<'a>> {
    Some(match field {
        FieldId::EvtIsOpenRead => file::reads(open.flags).into(),
        FieldId::EvtIsOpenWrite => file::writes(open.flags).into(),
        FieldId::EvtIsOpenExec => {
            (file::creates(open.flags) && file::is_executable(open.mode)).into()
        }
        FieldId::FdFstype => fstype::name(open.fs_magic)?.into(),
        FieldId::FdNameraw if open.given.bytes.is_empty() => return None,
        FieldId::FdNameraw => open.given.bytes.into(),
        FieldId::FdMountNs => open.mnt_ns.0.into(),
        FieldId::FdMountForeign => is_foreign(open.mnt_ns, header.ns.mnt).into(),
        FieldId::FdType | FieldId::FdTypechar if file::is_directory(open.mode) => {
            descriptor(field, "directory", "d")?
        }
        _ => inode(open.mode, open.rdev, field).or_else(|| path(open.path, field))?,
    })
}

fn made<'a>(mknod: &Mknod<'a>, field: FieldId) -> Option<Value<'a>> {
    inode(mknod.mode, mknod.rdev, field).or_else(|| path(mknod.path, field))
}

fn created<'a>(create: &FileCreate<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::FdFstype => Some(fstype::name(create.fs_magic)?.into()),
        _ => inode(create.mode, 0, field).or_else(|| path(create.path, field)),
    }
}

fn mmap<'a>(mapped: &MmapExec<'a>, header: &Header, field: FieldId) -> Option<Value<'a>> {
    Some(match field {
        FieldId::FdFstype => fstype::name(mapped.fs_magic)?.into(),
        FieldId::FdMountNs => mapped.mnt_ns.0.into(),
        FieldId::FdMountForeign => is_foreign(mapped.mnt_ns, header.ns.mnt).into(),
        FieldId::MmapProt => file::protection_names(mapped.prot).into(),
        FieldId::FdRdev => return None,
        _ => inode(mapped.mode, 0, field).or_else(|| path(mapped.path, field))?,
    })
}

fn cgroup<'a>(attach: &CgroupAttach<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::CgroupTargetPid => Some(attach.target.0.into()),
        _ => cgroup_target(attach.to, attach.path, field),
    }
}

fn cgroup_target(id: CgroupId, path: Text<'_>, field: FieldId) -> Option<Value<'_>> {
    match field {
        FieldId::CgroupTarget => Some(path.bytes.into()),
        FieldId::CgroupTargetId => Some(id.0.into()),
        _ => None,
    }
}

fn new_socket<'a>(socket: &Socket<'_>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::SocketFamily => Some(socket::family(socket.family).into()),
        FieldId::SocketProtocol => Some(socket.protocol.into()),
        FieldId::SocketType => Some(socket::type_name(socket.socket_type).into()),
        _ => None,
    }
}

fn connection<'a>(connect: &Connect<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::SocketFamily => return Some(socket::family(connect.family).into()),
        FieldId::SocketType => return Some(socket::type_name(connect.socket_type).into()),
        _ => {}
    }
    match (socket::Family::of(connect.family), field) {
        (socket::Family::Other, _) => None,
        // Who connects is the client.
        (_, FieldId::FdIsServer) => Some(false.into()),
        (socket::Family::Unix, _) => unix_socket(connect, field),
        (socket::Family::Ip(name), _) => ip_socket(connect, name, field),
    }
}

fn ip_socket<'a>(connect: &Connect<'a>, family: &'static str, field: FieldId) -> Option<Value<'a>> {
    let address = |address: Address| Value::from(address.ip());
    Some(match field {
        FieldId::FdName => socket::address(connect.address.ip(), connect.port).into(),
        FieldId::FdSockfamily => "ip".into(),
        FieldId::FdL4proto => socket::protocol(connect.protocol, connect.socket_type)?.into(),
        FieldId::FdRip | FieldId::FdSip => address(connect.address),
        FieldId::FdRport | FieldId::FdSport | FieldId::FdProto => connect.port.into(),
        FieldId::FdLip | FieldId::FdCip => {
            (!connect.own_address.ip().is_unspecified()).then(|| address(connect.own_address))?
        }
        FieldId::FdLport | FieldId::FdCport => {
            (connect.own_port != 0).then_some(connect.own_port)?.into()
        }
        _ => descriptor(field, family, if family == "ipv6" { "6" } else { "4" })?,
    })
}

fn unix_socket<'a>(connect: &Connect<'a>, field: FieldId) -> Option<Value<'a>> {
    let bound = connect.bound.bytes;
    match field {
        FieldId::FdSockfamily => Some("unix".into()),
        FieldId::FdBoundFilename => {
            let name = bound.rsplit(|&byte| byte == b'/').next()?;
            Some(until_nul(name).into())
        }
        // An abstract name, shown as `ss` and `/proc/net/unix` do.
        FieldId::FdName if connect.path.bytes.is_empty() => Some(match bound.strip_prefix(b"\0") {
            Some(name) => [b"@", name].concat().into(),
            None => until_nul(bound).into(),
        }),
        _ => descriptor(field, "unix", "u").or_else(|| path(connect.path, field)),
    }
}

/// A module that comes from memory has no file.
fn module<'a>(load: &ModuleLoad<'a>, field: FieldId) -> Option<Value<'a>> {
    (!load.path.bytes.is_empty()).then(|| path(load.path, field))?
}

fn file_system<'a>(mount: &Mount<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::MountFstype => Some(mount.fs_type.bytes.into()),
        FieldId::MountDevice => (mount.bdev != 0).then(|| device(mount.bdev).into()),
        _ => None,
    }
}

fn move_mount<'a>(moved: &MoveMount<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::MountFstype => Some(moved.fs_type.bytes.into()),
        FieldId::MountTarget => Some(moved.to.bytes.into()),
        _ => None,
    }
}

fn namespaces<'a>(joined: &Namespaces, host: &Namespaces, field: FieldId) -> Option<Value<'a>> {
    let names = |which: &dyn Fn(NsType) -> bool| {
        let types = NsType::ALL.into_iter().filter(|&ty| joined.get(ty).0 != 0 && which(ty));
        let names: Vec<&str> = types.map(NsType::name).collect();
        (!names.is_empty()).then(|| names.join("|").into())
    };
    match field {
        FieldId::NsJoined => names(&|_| true),
        FieldId::NsJoinedHost => names(&|ty| joined.get(ty) == host.get(ty)),
        _ => None,
    }
}

fn access<'a>(ptrace: &Ptrace<'a>, header: &Header, field: FieldId) -> Option<Value<'a>> {
    Some(match field {
        FieldId::PtraceMode => access_name(ptrace.mode).into(),
        FieldId::PtraceCrosses => crosses(ptrace, header).into(),
        FieldId::PtraceTargetMembership => {
            Membership::from_code(ptrace.target_membership)?.name().into()
        }
        FieldId::PtraceTargetName => until_nul(&ptrace.target_comm).to_vec().into(),
        FieldId::PtraceTargetPid => ptrace.target.0.into(),
        _ => return None,
    })
}

/// The name of the access that `PTRACE_MODE_*` flags ask for.
pub(super) fn access_name(mode: u32) -> &'static str {
    const PTRACE_MODE_ATTACH: u32 = 2;
    if mode & PTRACE_MODE_ATTACH != 0 { "attach" } else { "read" }
}

fn kernel_parameter<'a>(sysctl: &Sysctl<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::SysctlName => Some(sysctl.name.bytes.into()),
        // As `write(2)` got it, which is mostly a line.
        FieldId::SysctlValue => Some(sysctl.value.bytes.trim_ascii_end().into()),
        _ => None,
    }
}

fn program<'a>(loaded: &Bpf<'a>, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::BpfCmd => Some(bpf::command(loaded.cmd).into()),
        FieldId::BpfProgName => Some(until_nul(&loaded.prog_name).to_vec().into()),
        FieldId::BpfProgType => Some(bpf::program_type(loaded.prog_type).into()),
        _ => None,
    }
}

fn recorded<'a>(
    boundary: &Boundary<'_>,
    sight: &Sight<'a, '_>,
    field: FieldId,
) -> Option<Value<'a>> {
    Some(match field {
        FieldId::ContainerBoundaryPrivileged => {
            Capabilities::from_bits(boundary.bounding).are_all_known().into()
        }
        FieldId::ContainerBoundaryHostNamespaces => {
            let is_host = |&ty: &NsType| sight.header.ns.get(ty) == sight.host.get(ty);
            let names: Vec<&str> =
                NsType::ALL.into_iter().filter(is_host).map(NsType::name).collect();
            names.join("|").into()
        }
        FieldId::ContainerBoundaryHostPaths => {
            let paths = &sight.inspection?.host_paths;
            (!paths.is_empty()).then(|| paths.join(&b'|').into())?
        }
        FieldId::ContainerBoundaryRuntimeSockets => {
            let sockets = &sight.inspection?.runtime_sockets;
            (!sockets.is_empty()).then(|| sockets.join("|").into())?
        }
        FieldId::ContainerBoundaryMemoryLimited => sight.inspection?.is_memory_limited.into(),
        FieldId::ContainerBoundaryPidsLimited => sight.inspection?.is_pids_limited.into(),
        FieldId::ContainerBoundaryLabel => sight.inspection?.label.as_deref()?.into(),
        FieldId::ContainerBoundaryConfined => sight.inspection?.is_confined()?.into(),
        FieldId::ContainerBoundaryOrigin => Origin::from_code(boundary.origin)?.name().into(),
        FieldId::ContainerBoundaryBounding => capabilities(boundary.bounding).into(),
        FieldId::ContainerBoundaryPermitted => capabilities(boundary.permitted).into(),
        FieldId::ContainerBoundarySeccomp => seccomp(boundary.seccomp).into(),
        FieldId::ContainerBoundaryNoNewPrivs => (boundary.no_new_privs != 0).into(),
        FieldId::ContainerBoundaryRootDevice => device(boundary.root_dev).into(),
        _ => return None,
    })
}

fn crossing<'a>(
    breach: &Breach<'a>,
    header: &Header,
    clock: Clock,
    field: FieldId,
) -> Option<Value<'a>> {
    let property = Property::from_code(breach.property)?;
    Some(match field {
        FieldId::BreachKind => BreachKind::from_code(breach.breach)?.name().into(),
        FieldId::BreachProperty => property.name().into(),
        FieldId::BreachExpected => evidence(property, breach.expected).into(),
        FieldId::BreachFound => evidence(property, breach.found).into(),
        FieldId::BreachNoticed => Noticed::from_code(breach.noticed)?.name().into(),
        FieldId::BreachSince => {
            clock.timestamp(breach.since).strftime("%H:%M:%S.%9f").to_string().into()
        }
        FieldId::BreachTask => breach.task.0.into(),
        FieldId::BreachWay => match Way::from_code(breach.way)? {
            Way::None => return None,
            way => way.name().into(),
        },
        FieldId::BreachPath => (!breach.path.bytes.is_empty()).then(|| breach.path.bytes.into())?,
        FieldId::BreachUnattended => is_unattended(breach, header).into(),
        _ => return None,
    })
}

/// Whether nobody watched when it happened: it was sent then, or found when the agent started.
fn is_unattended(breach: &Breach<'_>, header: &Header) -> bool {
    header.has(Header::UNATTENDED) || breach.noticed == Noticed::Roll as u32
}

/// A value of a property.
fn evidence(property: Property, value: u64) -> String {
    match property {
        Property::Bounding
        | Property::Capabilities
        | Property::Inheritable
        | Property::SubjectiveCapabilities => capabilities(value),
        // The real and the effective one; how many, and the first.
        Property::Groups | Property::Ids | Property::SubjectiveIds => {
            format!("{}/{}", value & 0xFFFF_FFFF, value >> 32)
        }
        Property::Seccomp => seccomp(u32::try_from(value & 0xFF).unwrap_or_default()).to_owned(),
        Property::Superblock => device(u32::try_from(value).unwrap_or_default()),
        _ => value.to_string(),
    }
}

/// The names of capabilities.
fn capabilities(bits: u64) -> String {
    Capabilities::from_bits(bits).names()
}

/// The name of a seccomp mode.
fn seccomp(mode: u32) -> &'static str {
    match mode {
        0 => "none",
        1 => "strict",
        _ => "filter",
    }
}

/// What the mode of a file tells.
fn inode<'a>(mode: u32, rdev: u32, field: FieldId) -> Option<Value<'a>> {
    match field {
        FieldId::FdFiletype => Some(file::type_name(mode)?.into()),
        FieldId::FdRdev => file::is_device(mode).then(|| device(rdev).into()),
        _ => None,
    }
}

fn path(text: Text<'_>, field: FieldId) -> Option<Value<'_>> {
    let path = text.bytes;
    let slash = path.iter().rposition(|&byte| byte == b'/');
    match field {
        FieldId::FdName => Some(path.into()),
        FieldId::FdDirectory => match slash? {
            0 => Some("/".into()),
            slash => Some(path.get(..slash)?.into()),
        },
        FieldId::FdFilename => Some(path.get(slash.map_or(0, |slash| slash + 1)..)?.into()),
        _ => descriptor(field, "file", "f"),
    }
}

fn descriptor(field: FieldId, name: &'static str, letter: &'static str) -> Option<Value<'static>> {
    match field {
        FieldId::FdType => Some(name.into()),
        FieldId::FdTypechar => Some(letter.into()),
        _ => None,
    }
}

/// A kernel `dev_t` as `/proc/partitions` and `/sys/dev` write it.
fn device(dev: u32) -> String {
    format!("{}:{}", dev >> 20, dev & 0xF_FFFF)
}

/// Whether a mount is in another namespace than the task; one that is in none is everybody's.
fn is_foreign(mount: NsId, task: NsId) -> bool {
    mount.0 != 0 && task.0 != 0 && mount != task
}

/// Whether a container's task reaches out of its container.
fn crosses(ptrace: &Ptrace<'_>, header: &Header) -> bool {
    header.membership == Membership::Member as u32 && ptrace.target_container != header.container
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}
