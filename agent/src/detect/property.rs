//! The properties that the probes can decide by, under the names that rules know them by.

use shrike_common::Kind;
use shrike_rules::{FieldId, Value};

use super::{bpf, file, payload, socket};

pub(crate) use super::file::{reads, writes};
pub(crate) use super::fstype::NAMES as FILE_SYSTEMS;

/// The field that tells the class of an event of `kind` (see [`shrike_common::Plan`]), and its value
/// for this class.
pub(crate) fn class(kind: Kind, class: u32) -> Option<(FieldId, Option<Value<'static>>)> {
    Some(match kind {
        Kind::FileOpen | Kind::FileCreate | Kind::Mknod => {
            (FieldId::FdFiletype, file::type_name(class << 12).map(Value::from))
        }
        Kind::Connect | Kind::Socket => (FieldId::SocketFamily, Some(socket::family(class).into())),
        Kind::Bpf => (FieldId::BpfCmd, Some(bpf::command(class).into())),
        Kind::Ptrace => (FieldId::PtraceMode, Some(payload::access_name(class << 1).into())),
        _ => return None,
    })
}
