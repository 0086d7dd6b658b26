//! What follows from the values of an event, so that no test has to repeat itself. It never takes the
//! place of what is written down.

use std::borrow::Cow;
use std::net::IpAddr;

use super::event::{Given, Part};
use crate::event::Value;
use crate::field::FieldId;

/// A value that follows from others.
struct Derivation {
    field: FieldId,
    part: Part,
    make: fn(&Given) -> Option<Value<'static>>,
}

const fn whole(field: FieldId, make: fn(&Given) -> Option<Value<'static>>) -> Derivation {
    Derivation { field, part: Part::Whole, make }
}

const fn ancestor(level: u32, make: fn(&Given) -> Option<Value<'static>>) -> Derivation {
    Derivation { field: FieldId::ProcAname, part: Part::Index(level), make }
}

/// Everything that is derived, in this order: what is made of something derived stands below it.
const DERIVATIONS: &[Derivation] = &[
    whole(FieldId::EvtSource, |_| Some("syscall".into())),
    whole(FieldId::EvtDir, |_| Some("<".into())),
    whole(FieldId::EvtSyscall, |event| {
        let is_call = |name: &&[u8]| !NO_CALLS.iter().any(|other| other.as_bytes() == *name);
        event.text(FieldId::EvtType).filter(is_call).map(owned)
    }),
    // Who acts.
    ancestor(0, |event| copy(event, FieldId::ProcName)),
    ancestor(1, |event| copy(event, FieldId::ProcPname)),
    whole(FieldId::ProcName, |event| event.value(FieldId::ProcAname, &Part::Index(0)).cloned()),
    whole(FieldId::ProcPname, |event| event.value(FieldId::ProcAname, &Part::Index(1)).cloned()),
    whole(FieldId::ProcCmdline, |event| {
        let (name, arguments) = (event.text(FieldId::ProcName)?, event.text(FieldId::ProcArgs)?);
        let line = if arguments.is_empty() { name.to_vec() } else { [name, arguments].join(&b' ') };
        Some(line.into())
    }),
    whole(FieldId::ProcIsExeFromMemfd, |event| {
        Some(event.text(FieldId::ProcExepath)?.starts_with(b"/memfd:").into())
    }),
    // Its container.
    whole(FieldId::ContainerId, |event| {
        let is_host = event.text(FieldId::ContainerMembership) == Some(b"none");
        let id = event.text(FieldId::ContainerFullId).map(short).filter(|_| !is_host);
        if is_host { Some("host".into()) } else { id.map(owned) }
    }),
    whole(FieldId::ContainerMembership, |event| {
        let is_host = event.text(FieldId::ContainerId)? == b"host";
        Some(if is_host { "none" } else { "member" }.into())
    }),
    whole(FieldId::ContainerFullId, host),
    whole(FieldId::ContainerType, host),
    whole(FieldId::ContainerName, host),
    whole(FieldId::ContainerLabels, |event| labels(event, FieldId::ContainerLabel)),
    whole(FieldId::K8sPodLabels, |event| labels(event, FieldId::K8sPodLabel)),
    // What became of the system call.
    whole(FieldId::EvtFailed, |event| match event.value(FieldId::EvtRawres, &Part::Whole)? {
        Value::Number(result) => Some((*result < 0).into()),
        _ => None,
    }),
    whole(FieldId::EvtFailed, |event| Some((event.text(FieldId::EvtRes)? != b"SUCCESS").into())),
    whole(FieldId::EvtRes, |event| {
        let failed = event.value(FieldId::EvtFailed, &Part::Whole)?;
        (*failed == Value::Bool(false)).then(|| "SUCCESS".into())
    }),
    whole(FieldId::EvtIsOpenRead, |event| {
        let access = access(event)?;
        Some(matches!(access, b"O_RDONLY" | b"O_RDWR").into())
    }),
    whole(FieldId::EvtIsOpenWrite, |event| {
        let access = access(event)?;
        Some(matches!(access, b"O_WRONLY" | b"O_RDWR").into())
    }),
    // A connection: whoever connects is the client.
    whole(FieldId::FdRip, |event| copy(event, FieldId::FdSip)),
    whole(FieldId::FdSip, |event| copy(event, FieldId::FdRip)),
    whole(FieldId::FdRport, |event| copy(event, FieldId::FdSport)),
    whole(FieldId::FdSport, |event| copy(event, FieldId::FdRport)),
    whole(FieldId::FdLip, |event| copy(event, FieldId::FdCip)),
    whole(FieldId::FdCip, |event| copy(event, FieldId::FdLip)),
    whole(FieldId::FdLport, |event| copy(event, FieldId::FdCport)),
    whole(FieldId::FdCport, |event| copy(event, FieldId::FdLport)),
    whole(FieldId::FdName, |event| {
        let port = event.value(FieldId::FdRport, &Part::Whole)?;
        Some(match (remote(event)?, port) {
            (IpAddr::V4(address), Value::Number(port)) => format!("{address}:{port}").into(),
            (IpAddr::V6(address), Value::Number(port)) => format!("[{address}]:{port}").into(),
            _ => return None,
        })
    }),
    whole(FieldId::FdSockfamily, |event| Some(End::of(event)?.family().into())),
    whole(FieldId::SocketFamily, |event| Some(End::of(event)?.number().into())),
    whole(FieldId::FdIsServer, |event| End::of(event).map(|_| false.into())),
    // A file, or the socket at a path.
    whole(FieldId::FdDirectory, |event| {
        let (directory, _) = split(event)?;
        Some(if directory.is_empty() { "/".into() } else { owned(directory) })
    }),
    whole(FieldId::FdFilename, |event| Some(owned(split(event)?.1))),
    whole(FieldId::FdType, |event| Some(descriptor(event)?.0.into())),
    whole(FieldId::FdTypechar, |event| Some(descriptor(event)?.1.into())),
];

/// The types of events that are no system calls.
const NO_CALLS: &[&str] = &[
    "boundary",
    "breach",
    "cgroup_attach",
    "cgroup_mkdir",
    "cgroup_rmdir",
    "file_create",
    "file_open",
    "mmap_exec",
    "procexit",
    "sysctl",
];

/// Adds to an event what follows from its values.
pub(super) fn complete(event: &mut Given) {
    for Derivation { field, part, make } in DERIVATIONS {
        if let Some(value) = make(event) {
            event.derive(*field, part.clone(), value);
        }
    }
}

/// The other end of a connection.
enum End {
    Ip(IpAddr),
    Unix,
}

impl End {
    fn of(event: &Given) -> Option<Self> {
        if let Some(address) = remote(event) {
            return Some(Self::Ip(address));
        }
        let is_connection = FieldId::FdSockfamily.info().kinds.contains(crate::Event::kind(event));
        let is_path = event.text(FieldId::FdName)?.starts_with(b"/");
        (is_connection && is_path).then_some(Self::Unix)
    }

    const fn family(&self) -> &'static str {
        match self {
            Self::Ip(_) => "ip",
            Self::Unix => "unix",
        }
    }

    const fn number(&self) -> &'static str {
        match self {
            Self::Ip(IpAddr::V4(_)) => "AF_INET",
            Self::Ip(IpAddr::V6(_)) => "AF_INET6",
            Self::Unix => "AF_UNIX",
        }
    }
}

fn remote(event: &Given) -> Option<IpAddr> {
    match event.value(FieldId::FdRip, &Part::Whole)? {
        Value::Address(address) => Some(*address),
        _ => None,
    }
}

/// What the descriptor stands for, as a word and as a character.
fn descriptor(event: &Given) -> Option<(&'static str, &'static str)> {
    match End::of(event) {
        Some(End::Ip(IpAddr::V4(_))) => return Some(("ipv4", "4")),
        Some(End::Ip(IpAddr::V6(_))) => return Some(("ipv6", "6")),
        Some(End::Unix) => return Some(("unix", "u")),
        None => {}
    }
    event.text(FieldId::FdName)?.starts_with(b"/").then_some(())?;
    Some(match event.text(FieldId::FdFiletype) {
        Some(b"directory") => ("directory", "d"),
        _ => ("file", "f"),
    })
}

/// The directory and the name of the file.
fn split(event: &Given) -> Option<(&[u8], &[u8])> {
    let path = event.text(FieldId::FdName).filter(|path| path.starts_with(b"/"))?;
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    Some((path.get(..slash)?, path.get(slash + 1..)?))
}

/// The first of the flags of an open, which says what the file may be used for.
fn access(event: &Given) -> Option<&[u8]> {
    match event.value(FieldId::EvtArg, &Part::Name("flags".to_owned()))? {
        Value::Text(flags) => flags.split(|&byte| byte == b'|').next(),
        _ => None,
    }
}

/// What fields of containers have for a task of the host.
fn host(event: &Given) -> Option<Value<'static>> {
    (event.text(FieldId::ContainerId)? == b"host").then(|| "host".into())
}

/// As Falco writes them.
fn labels(event: &Given, field: FieldId) -> Option<Value<'static>> {
    let label = |(name, value): (&str, &Value<'static>)| match value {
        Value::Text(text) => Some([name.as_bytes(), b":", text].concat()),
        _ => None,
    };
    let labels: Vec<_> = event.named(field).filter_map(label).collect();
    (!labels.is_empty()).then(|| labels.join(&b',').into())
}

/// A digest as it is mostly written.
fn short(id: &[u8]) -> &[u8] {
    let is_digest = id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit);
    if is_digest { id.get(..12).unwrap_or(id) } else { id }
}

fn copy(event: &Given, field: FieldId) -> Option<Value<'static>> {
    event.value(field, &Part::Whole).cloned()
}

fn owned(text: &[u8]) -> Value<'static> {
    Value::Text(Cow::Owned(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use shrike_common::Kind;

    use super::*;
    use crate::event::{Argument, Event};

    fn event(kind: Kind, values: &[(FieldId, Value<'static>)]) -> Given {
        let mut event = Given::new(kind);
        for (field, value) in values {
            event.set(*field, Part::Whole, Some(value.clone()));
        }
        event.complete()
    }

    fn texts(event: &Given, fields: &[FieldId]) -> String {
        let text = |field: &FieldId| match event.field(*field, None) {
            Some(Value::Text(text)) => String::from_utf8(text.into_owned()).unwrap(),
            other => format!("{other:?}"),
        };
        fields.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_path_tells_of_its_file() {
        use FieldId::{FdDirectory, FdFilename, FdName, FdType, FdTypechar};
        let fields = [FdDirectory, FdFilename, FdType, FdTypechar];
        let of = |path: &str| {
            texts(&event(Kind::FileOpen, &[(FdName, path.to_owned().into())]), &fields)
        };
        assert_eq!(of("/etc/shadow"), "/etc shadow file f");
        assert_eq!(of("/x"), "/ x file f");
        assert_eq!(of("x"), "None None None None");
    }

    #[test]
    fn an_address_tells_of_its_connection() {
        use FieldId::{FdIsServer, FdName, FdRip, FdSip, FdSockfamily, FdSport, FdType};
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let values = [(FdSip, address.into()), (FdSport, 443_u32.into())];
        let connection = event(Kind::Connect, &values);
        assert_eq!(
            texts(&connection, &[FdName, FdSockfamily, FdType]),
            "[2001:db8::1]:443 ip ipv6"
        );
        assert_eq!(connection.field(FdRip, None), Some(address.into()));
        assert_eq!(connection.field(FdIsServer, None), Some(false.into()));
        let socket = event(Kind::Connect, &[(FdName, "/run/x.sock".into())]);
        let fields = [FdSockfamily, FdType, FieldId::SocketFamily, FieldId::FdFilename];
        assert_eq!(texts(&socket, &fields), "unix unix AF_UNIX x.sock");
    }

    #[test]
    fn a_container_is_one_or_the_host() {
        use FieldId::{ContainerFullId, ContainerId, ContainerMembership, ContainerName};
        let of = |field, value: &'static str| {
            let fields = [ContainerId, ContainerMembership, ContainerName];
            texts(&event(Kind::Exec, &[(field, value.into())]), &fields)
        };
        assert_eq!(of(ContainerId, "host"), "host none host");
        assert_eq!(of(ContainerMembership, "none"), "host none host");
        assert_eq!(of(ContainerId, "0123456789ab"), "0123456789ab member None");
        assert_eq!(of(ContainerMembership, "member"), "None member None");
        let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(of(ContainerFullId, digest), "0123456789ab member None");
    }

    #[test]
    fn what_is_written_down_stays() {
        use FieldId::{ContainerId, ContainerMembership, EvtSource, EvtType, FdFilename, FdName};
        let mut odd = Given::new(Kind::FileOpen);
        odd.set(FdName, Part::Whole, Some("/a/b".into()));
        odd.set(FdFilename, Part::Whole, None);
        odd.set(EvtSource, Part::Whole, Some("elsewhere".into()));
        odd.set(ContainerId, Part::Whole, Some("host".into()));
        odd.set(ContainerMembership, Part::Whole, Some("entering".into()));
        let odd = odd.complete();
        let fields = [FdFilename, EvtSource, ContainerMembership, EvtType];
        assert_eq!(texts(&odd, &fields), "None elsewhere entering None");
    }

    #[test]
    fn a_field_that_a_kind_cannot_have_is_not_derived() {
        let exec = event(Kind::Exec, &[(FieldId::FdName, "/a/b".into())]);
        assert_eq!(exec.field(FieldId::FdFilename, None), None);
    }

    #[test]
    fn names_and_ancestors_are_the_same() {
        let mut exec = Given::new(Kind::Exec);
        exec.set(FieldId::ProcAname, Part::Index(1), Some("runc".into()));
        exec.set(FieldId::ProcName, Part::Whole, Some("sh".into()));
        exec.set(FieldId::ProcArgs, Part::Whole, Some("-c id".into()));
        let exec = exec.complete();
        assert_eq!(texts(&exec, &[FieldId::ProcPname, FieldId::ProcCmdline]), "runc sh -c id");
        let own = exec.field(FieldId::ProcAname, Some(Argument::Index(0)));
        assert_eq!(own, Some("sh".into()));
    }

    #[test]
    fn a_result_tells_whether_it_failed() {
        use FieldId::{EvtFailed, EvtRawres, EvtRes};
        let of = |field, value| texts(&event(Kind::Mount, &[(field, value)]), &[EvtFailed, EvtRes]);
        assert_eq!(of(EvtRawres, 0_u32.into()), "Some(Bool(false)) SUCCESS");
        assert_eq!(of(EvtRawres, Value::Number(-1)), "Some(Bool(true)) None");
        assert_eq!(of(EvtRes, "EPERM".into()), "Some(Bool(true)) EPERM");
    }

    #[test]
    fn flags_tell_what_a_file_is_opened_for() {
        use FieldId::{EvtArg, EvtIsOpenRead, EvtIsOpenWrite};
        for (flags, reads, writes) in [
            ("O_RDONLY", true, false),
            ("O_WRONLY|O_CREAT", false, true),
            ("O_RDWR|O_CLOEXEC", true, true),
        ] {
            let mut open = Given::new(Kind::FileOpen);
            open.set(EvtArg, Part::Name("flags".to_owned()), Some(flags.into()));
            let open = open.complete();
            assert_eq!(open.field(EvtIsOpenRead, None), Some(reads.into()), "{flags}");
            assert_eq!(open.field(EvtIsOpenWrite, None), Some(writes.into()), "{flags}");
        }
    }

    #[test]
    fn labels_are_joined() {
        let mut exec = Given::new(Kind::Exec);
        for (name, value) in [("b", "2"), ("a", "1")] {
            exec.set(FieldId::ContainerLabel, Part::Name(name.to_owned()), Some(value.into()));
        }
        assert_eq!(texts(&exec.complete(), &[FieldId::ContainerLabels]), "a:1,b:2");
    }

    #[test]
    fn everything_that_is_derived_is_documented() {
        let document = include_str!("../../../docs/rule-tests.md");
        let table = document.split("### What follows from values").nth(1).unwrap();
        for Derivation { field, .. } in DERIVATIONS {
            assert!(table.contains(&format!("`{}", field.name())), "{}", field.name());
        }
    }
}
