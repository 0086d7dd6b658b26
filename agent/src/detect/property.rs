//! The properties that the probes can decide by, under the names that rules know them by.

use shrike_common::Kind;
use shrike_rules::{FieldId, Value};

use super::{bpf, file, payload, socket};

pub(crate) use super::file::{reads, writes};
pub(crate) use super::fstype::NAMES as FILE_SYSTEMS;

/// The fields of which the class of an event of `kind` (see [`shrike_common::Plan`]) tells the value,
/// or that they have none.
pub(crate) fn class(kind: Kind, class: u32) -> Vec<(FieldId, Option<Value<'static>>)> {
    let family = || (FieldId::SocketFamily, Some(socket::family(class).into()));
    match kind {
        Kind::FileOpen | Kind::FileCreate | Kind::Mknod => {
            vec![(FieldId::FdFiletype, file::type_name(class << 12).map(Value::from))]
        }
        Kind::Connect if socket::Family::of(class) != socket::Family::Unix => {
            vec![family(), (FieldId::FdFilename, None), (FieldId::FdBoundFilename, None)]
        }
        Kind::Connect | Kind::Socket => vec![family()],
        Kind::Bpf => vec![(FieldId::BpfCmd, Some(bpf::command(class).into()))],
        Kind::Ptrace => {
            vec![(FieldId::PtraceMode, Some(payload::access_name(class << 1).into()))]
        }
        _ => Vec::new(),
    }
}
