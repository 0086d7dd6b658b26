//! The properties that the probes can decide by, under the names that rules know them by.

use shrike_common::Kind;
use shrike_rules::{Alternative, FieldId, Value};

use super::{bpf, file, payload, result, socket};

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

/// Whether what failed before a hook was reached can satisfy an alternative.
pub(crate) fn can_fail(alternative: &Alternative<'_>) -> bool {
    /// The highest error number that a system call returns (`MAX_ERRNO`).
    const MOST: i64 = 4095;
    let yes = Value::Bool(true);
    let allows = |field, value: &Value<'_>| alternative.allows(field, Some(value));
    let is_possible = |error: i64| {
        allows(FieldId::EvtRawres, &Value::from(-error))
            && allows(FieldId::EvtRes, &result::name(-error).into_owned().into())
    };
    alternative.allows(FieldId::FdNum, None)
        && allows(FieldId::EvtFailed, &yes)
        && allows(FieldId::EvtRaw, &yes)
        && (1..=MOST).any(is_possible)
}
