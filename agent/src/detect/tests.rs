//! Events as rules see them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use shrike_common::wire::Text;
use shrike_common::{
    Address, Boundary, Bpf, Breach, BreachKind, CgroupAttach, CgroupId, CgroupMkdir, CgroupRmdir,
    Connect, Exec, Exit, FileCreate, FileOpen, Fork, Heartbeat, Membership, Mknod, MmapExec,
    ModuleLoad, Mount, MoveMount, Noticed, NsId, Outcome, Pid, Property, Ptrace, Setns, Socket,
    StartTime, Sysctl, Unshare, Way,
};
use shrike_rules::Event as _;
use shrike_rules::field::ArgumentRule;
use tempfile::TempDir;

use crate::context::runtime::{self, Family, HostNamespaces, Id, Image, Pod};
use crate::context::sample;

use super::*;

const OPENAT: i32 = 257;
const EXECVE: i32 = 59;
const IO_URING_ENTER: i32 = 426;

/// The namespaces of the host; a container has others.
const HOST: Namespaces = namespaces(100);

const fn namespaces(id: u32) -> Namespaces {
    let id = NsId(id);
    Namespaces { mnt: id, pid: id, net: id, user: id, uts: id, ipc: id, cgroup: id, time: id }
}

fn header(syscall: i32) -> Header {
    let mut comm = [0; 16];
    comm[..3].copy_from_slice(b"cat");
    Header {
        tgid: Pid(7),
        tid: Pid(7),
        start: StartTime(70),
        syscall,
        comm,
        permitted: 1,
        inheritable: 2,
        ..Header::default()
    }
}

fn open(path: &'static [u8], flags: u32) -> Event<'static> {
    Event::FileOpen(FileOpen {
        inode: 1,
        fs_magic: 0,
        dev: 0,
        flags,
        mode: 0o100_755,
        rdev: 0,
        mnt_ns: NsId(0),
        reserved: 0,
        path: Text::new(path, 0),
        given: Text::new(b"../given", 0),
    })
}

/// The value of a field, as text, after `cat` was executed by a process that nobody knows.
fn field(header: &Header, event: &Event<'_>, field: FieldId) -> Option<String> {
    let mut processes = Processes::default();
    processes.apply(header, &executed());
    value(&processes, header, event, field)
}

fn executed() -> Event<'static> {
    Event::Exec(Exec {
        inode: 1,
        dev: 1,
        vpid: Pid(2),
        path: Text::new(b"/bin/cat", 0),
        args: Text::new(b"cat\0-n\0a b\0", 0),
        env: Text::new(b"LD_PRELOAD=/tmp/x.so\0LD_X=\0HTTP_PROXIES=x\0", 0),
        cwd: Text::new(b"/srv", 0),
        session: Pid(2),
        group: Pid(2),
        ..Exec::default()
    })
}

/// The value of a field, as text.
fn value(
    processes: &Processes,
    header: &Header,
    event: &Event<'_>,
    field: FieldId,
) -> Option<String> {
    let sight = Sight {
        number: 1,
        header,
        event,
        result: None,
        stage: Stage::Whole,
        processes,
        containers: &Containers::default(),
        runtimes: None,
        details: OnceCell::new(),
        kin: Kin::default(),
        names: &Names::default(),
        host: &HOST,
        inspection: None,
        clock: Clock::now().unwrap(),
    };
    Some(match sight.field(field, None)? {
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Address(value) => value.to_string(),
        Value::Text(text) => String::from_utf8_lossy(&text).into_owned(),
    })
}

#[test]
fn an_open_has_the_name_of_its_system_call() {
    let event_type = |syscall, flags| {
        field(&header(syscall), &open(b"/etc/shadow", flags), FieldId::EvtType).unwrap()
    };
    assert_eq!(event_type(OPENAT, 0), "openat");
    assert_eq!(event_type(IO_URING_ENTER, 0), "openat", "not to be missed");
    assert_eq!(event_type(-1, 0), "openat", "a worker of io_uring is in no system call");
    assert_eq!(event_type(EXECVE, FMODE_EXEC), "file_open", "not a second execve");
}

#[test]
fn a_path_has_a_directory_and_a_name() {
    let parts = |path| {
        let event = open(path, 0);
        let part = |name| field(&header(OPENAT), &event, name);
        (part(FieldId::FdDirectory), part(FieldId::FdFilename))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(parts(b"/etc/shadow"), (some("/etc"), some("shadow")));
    assert_eq!(parts(b"/vmlinuz"), (some("/"), some("vmlinuz")));
    assert_eq!(parts(b"tail-only"), (None, some("tail-only")));
}

#[test]
fn processes_are_told_as_falco_tells_them() {
    let event = open(b"/x", 0);
    let of = |name| field(&header(OPENAT), &event, name);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(FieldId::ProcName), some("cat"));
    assert_eq!(of(FieldId::ProcExe), some("cat"));
    assert_eq!(of(FieldId::ProcExepath), some("/bin/cat"));
    assert_eq!(of(FieldId::ProcArgs), some("-n a b"));
    assert_eq!(of(FieldId::ProcCmdline), some("cat -n a b"));
    assert_eq!(of(FieldId::ProcVpid), some("2"));
    assert_eq!(of(FieldId::ProcCwd), some("/srv/"));
    assert_eq!(of(FieldId::ProcEnv), some("LD_PRELOAD=/tmp/x.so LD_X="));
    assert_eq!(of(FieldId::ProcPname), None, "its parent is not known");
    assert_eq!(of(FieldId::UserName), None);
}

#[test]
fn no_process_can_choose_its_name() {
    let mut renamed = header(OPENAT);
    renamed.comm[..3].copy_from_slice(b"dog");
    let mut processes = Processes::default();
    processes.apply(&header(EXECVE), &executed());
    let text = |processes: &Processes, header: &Header, name| {
        value(processes, header, &open(b"/x", 0), name)
    };
    assert_eq!(text(&processes, &renamed, FieldId::ProcName).as_deref(), Some("cat"));
    assert_eq!(text(&processes, &renamed, FieldId::ProcCmdline).as_deref(), Some("cat -n a b"));
    assert_eq!(text(&processes, &renamed, FieldId::ThreadComm).as_deref(), Some("dog"));
    // Nor its children's.
    processes.apply(&renamed, &samples()[Kind::Fork as usize]);
    let child = Header { tgid: Pid(8), tid: Pid(8), start: StartTime(80), ..renamed };
    assert_eq!(text(&processes, &child, FieldId::ProcName).as_deref(), Some("cat"));
    // Of one that nobody knows, there is no other name.
    let unknown = Header { start: StartTime(999_999_999_999), ..renamed };
    assert_eq!(text(&processes, &unknown, FieldId::ProcName).as_deref(), Some("dog"));
}

#[test]
fn an_exec_is_no_file() {
    let event = executed();
    assert_eq!(field(&header(EXECVE), &event, FieldId::EvtType).as_deref(), Some("execve"));
    assert_eq!(field(&header(EXECVE), &event, FieldId::FdName), None);
}

/// An event of each kind, with something in every field.
fn samples() -> Vec<Event<'static>> {
    let text = |bytes: &'static str| Text::new(bytes.as_bytes(), 0);
    let joined = Namespaces { net: HOST.net, uts: NsId(7), ..namespaces(0) };
    let samples = vec![
        executed(),
        Event::Fork(Fork {
            clone_flags: 0,
            child_start: StartTime(80),
            child: Pid(8),
            child_vpid: Pid(3),
        }),
        Event::Exit(Exit { status: 0, reserved: 0 }),
        Event::FileOpen(FileOpen {
            inode: 1,
            fs_magic: 0x9FA0,
            dev: 0,
            flags: 0,
            mode: 0o060_600,
            rdev: 8 << 20 | 1,
            mnt_ns: HOST.mnt,
            reserved: 0,
            path: text("/dev/sda1"),
            given: text("sda1"),
        }),
        Event::Mount(Mount { fs_magic: 0xEF53, dev: 1, bdev: 8 << 20, fs_type: text("ext4") }),
        Event::MoveMount(MoveMount {
            fs_magic: 0xEF53,
            dev: 1,
            from_mnt_ns: NsId(0),
            fs_type: text("ext4"),
            to: text("/mnt"),
        }),
        Event::Setns(Setns { joined }),
        Event::Unshare(Unshare { joined }),
        ptrace(ContainerId(0)),
        connect("/run/docker.sock", "/var/run/docker.sock\0"),
        Event::Sysctl(Sysctl { name: text("kernel/core_pattern"), value: text("|/x\n") }),
        Event::ModuleLoad(ModuleLoad { path: text("/lib/a.ko") }),
        Event::Mknod(Mknod { mode: 0o060_600, rdev: 259 << 20 | 0x12C, path: text("/tmp/disk") }),
        Event::Bpf(Bpf { cmd: 5, prog_type: 2, prog_name: *b"probe\0\0\0\0\0\0\0\0\0\0\0" }),
        Event::Socket(Socket { family: 17, socket_type: 3, protocol: 0, reserved: 0 }),
        Event::MmapExec(MmapExec {
            inode: 7,
            fs_magic: 0x9FA0,
            dev: 1,
            prot: 5,
            mode: 0o100_755,
            mnt_ns: NsId(1),
            path: text("/lib/libc.so"),
        }),
        attach(),
        Event::FileCreate(FileCreate {
            fs_magic: 0x9FA0,
            dev: 1,
            mode: 0o100_644,
            path: text("/tmp/new"),
        }),
        Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 }),
        Event::Outcome(Outcome { result: 0, since: 0 }),
        Event::Boundary(Boundary {
            container: ContainerId(1),
            bounding: 1,
            permitted: 1,
            origin: 0,
            seccomp: 2,
            no_new_privs: 1,
            root_dev: 0x80_0001,
        }),
        Event::Breach(Breach {
            container: ContainerId(1),
            expected: 1,
            found: 3,
            since: 5,
            breach: BreachKind::Capability as u32,
            property: Property::Capabilities as u32,
            noticed: Noticed::CommitCreds as u32,
            task: Pid(7),
            way: Way::Opened as u32,
            reserved: 0,
            path: text("/etc/shadow"),
        }),
        Event::CgroupMkdir(CgroupMkdir {
            made: CgroupId(10),
            hierarchy: 0,
            level: 1,
            path: text("/made"),
        }),
        Event::CgroupRmdir(CgroupRmdir {
            removed: CgroupId(10),
            hierarchy: 0,
            level: 1,
            path: text("/made"),
        }),
    ];
    assert_eq!(samples.iter().map(Event::kind).collect::<Vec<_>>(), Kind::ALL);
    samples
}

fn ptrace(target_container: ContainerId) -> Event<'static> {
    let membership = if target_container.0 == 0 { Membership::None } else { Membership::Member };
    Event::Ptrace(Ptrace {
        mode: 2,
        target_membership: membership as u32,
        target_container,
        target_start: StartTime(1),
        target: Pid(1),
        reserved: 0,
        target_ns: HOST,
        target_comm: *b"init\0\0\0\0\0\0\0\0\0\0\0\0",
    })
}

/// The same by a task of the container.
fn inside(task: Header) -> Header {
    let Header { container, cgroup, membership, .. } = sample::header(1, 5, Membership::Member);
    Header { container, cgroup, membership, ..task }
}

/// A container of a pod in a container's pod.
fn containers() -> Containers {
    const PATH: &str = "/kubepods/burstable/pod0f6e6cb5-6c15-4c5a-8d7e-4d2c9a52f1a0/\
        0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/docker/\
        fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    let mut containers = Containers::default();
    let made = sample::mkdir(5, PATH);
    containers.apply(&Header::default(), &made, &Processes::default());
    let first = inside(header(EXECVE));
    containers.apply(&first, &executed(), &Processes::default());
    containers
}

/// What a runtime tells, of all fields.
fn details() -> Arc<Details> {
    let text = || "x".to_owned();
    let image = Image { name: text(), repository: text(), tag: text(), digest: text(), id: text() };
    let labels = BTreeMap::from([(text(), text())]);
    let pod = Pod { name: text(), namespace: text(), labels: labels.clone(), ..Pod::default() };
    let mount = runtime::Mount {
        source: "/srv".to_owned(),
        destination: "/data".to_owned(),
        mode: "ro".to_owned(),
        is_writable: false,
        propagation: "rprivate".to_owned(),
    };
    Arc::new(Details {
        name: text(),
        image,
        privileged: Some(true),
        started: Some(jiff::Timestamp::UNIX_EPOCH),
        labels,
        mounts: vec![mount],
        host: HostNamespaces { network: Some(false), pid: Some(true), ipc: Some(false) },
        service_account: Some(text()),
        sandbox: Id::parse(&[b'0'; 64]),
        pod: Some(Arc::new(pod)),
        ..Details::of(Family::Docker)
    })
}

/// Who leads the session of what was executed.
fn leader() -> Header {
    Header { tgid: Pid(2), tid: Pid(2), start: StartTime(20), ..header(EXECVE) }
}

/// A root where ids have names.
fn root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    fs::create_dir(&etc).unwrap();
    for file in ["passwd", "group"] {
        fs::write(etc.join(file), "root:x:0:0::/:/bin/sh\n").unwrap();
    }
    root
}

/// What the rules make of other fields, and do not ask for.
const IS_MADE: [FieldId; 5] =
    [FieldId::EvtArg, FieldId::EvtArgs, FieldId::EvtInfo, FieldId::EvtRawarg, FieldId::EvtTypeIs];

/// The table says which kinds have a field; the answers are given here.
#[test]
fn every_field_has_a_value_in_each_of_its_kinds() {
    let child = Header { tgid: Pid(8), tid: Pid(8), start: StartTime(80), ..header(OPENAT) };
    let child = inside(child);
    let mut processes = Processes::default();
    processes.apply(&leader(), &executed());
    processes.apply(&header(EXECVE), &executed());
    processes.apply(&header(EXECVE), &samples()[Kind::Fork as usize]);
    let root = root();
    let names = Names::of_roots(root.path(), &[(ContainerId(1), root.path())]);
    let containers = containers();
    let mut missing = BTreeSet::new();
    for &kind in Kind::ALL {
        let is_asked =
            |info: &&shrike_rules::Field| info.kinds.contains(kind) && !IS_MADE.contains(&info.id);
        let fields = shrike_rules::fields().iter().filter(is_asked);
        missing.extend(fields.map(|info| (kind, info.name)));
    }
    for event in samples().into_iter().chain([connect_by_ip()]) {
        let inspection = Inspection {
            host_paths: vec![b"/srv".to_vec()],
            runtime_sockets: vec!["/run/docker.sock"],
            label: Some("unconfined".into()),
            ..Inspection::default()
        };
        let sight = Sight {
            number: 1,
            header: &child,
            event: &event,
            result: Some(7),
            stage: Stage::Whole,
            processes: &processes,
            containers: &containers,
            runtimes: None,
            details: OnceCell::from(Some(details())),
            kin: Kin::default(),
            names: &names,
            host: &HOST,
            inspection: Some(&inspection),
            clock: Clock::now().unwrap(),
        };
        missing.retain(|&(kind, name)| {
            let id = FieldId::by_name(name).unwrap();
            let argument = match id.info().argument {
                ArgumentRule::Ancestor => Some(Argument::Index(1)),
                ArgumentRule::Name if name.contains("mount") => Some(Argument::Name("0")),
                ArgumentRule::Name => Some(Argument::Name("x")),
                _ => None,
            };
            let sources = id.sources();
            let has = |field: &FieldId| sight.field(*field, argument).is_some();
            kind != event.kind() || !(has(&id) || sources.iter().any(has))
        });
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn a_file_is_foreign_if_its_mount_is_in_another_namespace() {
    let foreign = |mount: u32, task: u32| {
        let Event::FileOpen(open) = open(b"/etc/shadow", 0) else { unreachable!() };
        let event = Event::FileOpen(FileOpen { mnt_ns: NsId(mount), ..open });
        let header = Header { ns: namespaces(task), ..header(OPENAT) };
        field(&header, &event, FieldId::FdMountForeign).unwrap()
    };
    assert_eq!(foreign(100, 200), "true");
    assert_eq!(foreign(200, 200), "false");
    assert_eq!(foreign(0, 200), "false", "a pipe, or a tree that is not mounted");
    assert_eq!(foreign(200, 0), "false", "a task that has left its namespaces");
}

#[test]
fn devices_have_the_numbers_that_the_kernel_prints() {
    let samples = samples();
    let text = |kind: Kind, name| field(&header(0), &samples[kind as usize], name).unwrap();
    assert_eq!(text(Kind::FileOpen, FieldId::FdRdev), "8:1");
    assert_eq!(text(Kind::Mknod, FieldId::FdRdev), "259:300");
    assert_eq!(text(Kind::Mount, FieldId::MountDevice), "8:0");
    assert_eq!(text(Kind::FileOpen, FieldId::FdFiletype), "block");
    assert_eq!(text(Kind::FileOpen, FieldId::FdType), "file", "as Falco has it");
}

#[test]
fn a_setns_names_what_it_joins() {
    let samples = samples();
    let text = |name| field(&header(0), &samples[Kind::Setns as usize], name).unwrap();
    assert_eq!(text(FieldId::NsJoined), "net|uts");
    assert_eq!(text(FieldId::NsJoinedHost), "net");
    let inside = Event::Setns(Setns { joined: Namespaces { uts: NsId(7), ..namespaces(0) } });
    assert_eq!(field(&header(0), &inside, FieldId::NsJoinedHost), None);
}

#[test]
fn ptrace_crosses_out_of_a_container_only() {
    let container =
        Header { membership: Membership::Member as u32, container: ContainerId(2), ..header(0) };
    let crosses = |header: &Header, target| {
        field(header, &ptrace(ContainerId(target)), FieldId::PtraceCrosses).unwrap()
    };
    assert_eq!(crosses(&container, 0), "true", "the host");
    assert_eq!(crosses(&container, 3), "true", "another container");
    assert_eq!(crosses(&container, 2), "false", "its own");
    assert_eq!(crosses(&header(0), 2), "false", "the host may");
}

fn attach() -> Event<'static> {
    Event::CgroupAttach(CgroupAttach {
        to: CgroupId(9),
        target_start: StartTime(5),
        target: Pid(8),
        target_tid: Pid(8),
        hierarchy: 0,
        reserved: 0,
        path: Text::new(b"/system.slice", 0),
    })
}

fn connect(path: &'static str, bound: &'static str) -> Event<'static> {
    Event::Connect(Connect {
        family: 1,
        socket_type: 1,
        port: 0,
        protocol: 0,
        address: Address::default(),
        own_address: Address::default(),
        own_port: 0,
        reserved: 0,
        path: Text::new(path.as_bytes(), 0),
        bound: Text::new(bound.as_bytes(), 0),
    })
}

fn connect_by_ip() -> Event<'static> {
    let Event::Connect(unix) = connect("", "") else { unreachable!() };
    let address = Address::v4([10, 0, 0, 1]);
    let own_address = Address::v4([10, 0, 0, 2]);
    let (protocol, port, own_port) = (6, 53, 4711);
    let ends = Connect { address, port, own_address, own_port, ..unix };
    Event::Connect(Connect { family: 2, protocol, ..ends })
}

#[test]
fn a_connection_over_ip_has_two_ends() {
    let text = |name| field(&header(0), &connect_by_ip(), name);
    let ends = |fields: [FieldId; 4]| fields.map(|name| text(name).unwrap());
    let remote = [FieldId::FdRip, FieldId::FdSip, FieldId::FdRport, FieldId::FdSport];
    assert_eq!(ends(remote), ["10.0.0.1", "10.0.0.1", "53", "53"]);
    let local = [FieldId::FdLip, FieldId::FdCip, FieldId::FdLport, FieldId::FdCport];
    assert_eq!(ends(local), ["10.0.0.2", "10.0.0.2", "4711", "4711"]);
    let Event::Connect(bound) = connect_by_ip() else { unreachable!() };
    let own_address = Address::v4([0, 0, 0, 0]);
    let free = Event::Connect(Connect { own_address, own_port: 0, protocol: 17, ..bound });
    let local = local.map(|name| field(&header(0), &free, name));
    assert_eq!(local, [const { None }; 4], "the kernel has not chosen them yet");
    assert_eq!(field(&header(0), &free, FieldId::FdL4proto).as_deref(), Some("udp"));
    assert_eq!(text(FieldId::FdL4proto).as_deref(), Some("tcp"));
    assert_eq!(text(FieldId::FdSockfamily).as_deref(), Some("ip"));
    assert_eq!(text(FieldId::FdIsServer).as_deref(), Some("false"));
    assert_eq!(text(FieldId::FdName).as_deref(), Some("10.0.0.1:53"));
    assert_eq!(text(FieldId::FdType).as_deref(), Some("ipv4"));
    assert_eq!(text(FieldId::SocketFamily).as_deref(), Some("AF_INET"));
    assert_eq!(text(FieldId::FdFilename), None);
}

#[test]
fn a_socket_keeps_the_name_of_its_bind() {
    let renamed = connect("/tmp/x", "/run/docker.sock\0");
    let text = |event: &Event<'_>, name| field(&header(0), event, name);
    assert_eq!(text(&renamed, FieldId::FdName).as_deref(), Some("/tmp/x"));
    assert_eq!(text(&renamed, FieldId::FdBoundFilename).as_deref(), Some("docker.sock"));
    let hidden = connect("", "\0hidden");
    assert_eq!(text(&hidden, FieldId::FdName).as_deref(), Some("@hidden"));
}

#[test]
fn a_parameter_is_shown_as_it_is_set() {
    let samples = samples();
    let text = |name| field(&header(0), &samples[Kind::Sysctl as usize], name).unwrap();
    assert_eq!(text(FieldId::SysctlName), "kernel/core_pattern");
    assert_eq!(text(FieldId::SysctlValue), "|/x");
}
