//! What a rule sees of an event: its kind, and the values of its fields.
//!
//! The agent implements [`Event`] for whatever it decodes; nothing here knows where an event comes
//! from. All text is bytes, because paths and arguments come from hostile programs.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use shrike_common::Kind;

use crate::field::FieldId;
use crate::names;

/// An event that rules can be evaluated on.
///
/// `evt.type` of an event must be a name of its kind, as [`event_type`] gives it: rules are
/// sorted by kind at load time, and other names would be looked for in the wrong place.
pub trait Event {
    /// The kind of the event.
    fn kind(&self) -> Kind;

    /// How much is known of the event.
    fn stage(&self) -> Stage {
        Stage::Whole
    }

    /// The value of `field`, or `None` where the event has no such value.
    ///
    /// Fields that walk the ancestors (`proc.aname`) are asked with one [`Argument::Index`] after
    /// the other, from 1 (the parent) until the answer is `None`; 0 is the process itself.
    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>>;
}

/// How much is known of an event. Rules that ask for the result of a system call
/// ([`Rule::asks_for_result`](crate::Rule::asks_for_result)) have to wait for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// All that will be. Every rule judges it.
    Whole,
    /// The result is still to come: the rules that do not ask for it judge it.
    Begun,
    /// What had begun is whole now: the other rules judge it.
    Ended,
    /// Something was tried that failed before anything was done: for rules that ask for results.
    Attempt,
}

/// The argument of a field, as in `proc.aname[2]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Argument<'a> {
    /// A number.
    Index(u32),
    /// A name.
    Name(&'a str),
}

/// The value of a field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// A truth value.
    Bool(bool),
    /// A number; wide enough for every signed and unsigned 64-bit quantity.
    Number(i128),
    /// Bytes that are mostly text; not necessarily UTF-8.
    Text(Cow<'a, [u8]>),
    /// An IP address.
    Address(IpAddr),
}

impl From<IpAddr> for Value<'_> {
    fn from(value: IpAddr) -> Self {
        Self::Address(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Cow::Borrowed(value.as_bytes()))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(value: Vec<u8>) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value.into_bytes()))
    }
}

/// `evt.type` of an event of `kind` that the system call named `syscall` caused.
///
/// A call that is not of this kind (a file opened through `io_uring_enter`, or by `execve` for its
/// interpreter) yields the name that stands for the kind itself.
pub fn event_type(kind: Kind, syscall: Option<&str>) -> &'static str {
    let own = match kind {
        Kind::Exec => "execve",
        Kind::Fork => "clone",
        Kind::Exit => "procexit",
        Kind::FileOpen => "file_open",
        Kind::Mount => "mount",
        Kind::MoveMount => "move_mount",
        Kind::Setns => "setns",
        Kind::Unshare => "unshare",
        Kind::Ptrace => "ptrace",
        Kind::Connect => "connect",
        Kind::Sysctl => "sysctl",
        Kind::ModuleLoad => "init_module",
        Kind::Mknod => "mknod",
        Kind::Bpf => "bpf",
        Kind::CgroupAttach => "cgroup_attach",
        Kind::CgroupMkdir => "cgroup_mkdir",
        Kind::CgroupRmdir => "cgroup_rmdir",
        Kind::FileCreate => "file_create",
        Kind::Boundary => "boundary",
        Kind::Breach => "breach",
        Kind::Heartbeat => "heartbeat",
        Kind::Outcome => "outcome",
        Kind::MmapExec => "mmap_exec",
        Kind::Socket => "socket",
    };
    syscall
        .and_then(|name| names::NAMES.binary_search(&name).ok())
        .map(|index| names::NAMES[index])
        .filter(|name| names::kind_of(name) == Some(kind))
        .unwrap_or(own)
}

/// A set of kinds.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct KindSet(u128);

impl KindSet {
    /// Every kind that rules can see.
    pub const ALL: Self = {
        let (mut set, mut index) = (Self::NONE, 0);
        while index < Kind::ALL.len() {
            if !Kind::ALL[index].is_internal() {
                set = set.union(Self::of(Kind::ALL[index]));
            }
            index += 1;
        }
        set
    };

    /// No kind.
    pub const NONE: Self = Self(0);

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether some kind is in both sets.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The kinds of the set, in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |&kind| self.contains(kind))
    }

    /// The set with the kinds of `other` added.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The set of one kind.
    pub(crate) const fn of(kind: Kind) -> Self {
        Self(1 << kind as u16)
    }
}

impl From<Kind> for KindSet {
    fn from(kind: Kind) -> Self {
        Self::of(kind)
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, |set, kind| set.union(kind.into()))
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_type_is_always_a_name_of_its_kind() {
        assert_eq!(event_type(Kind::FileOpen, Some("openat2")), "openat2");
        assert_eq!(event_type(Kind::FileOpen, Some("io_uring_enter")), "file_open");
        assert_eq!(event_type(Kind::FileOpen, Some("execve")), "file_open");
        assert_eq!(event_type(Kind::Exec, Some("execveat")), "execveat");
        for kind in KindSet::ALL.iter() {
            assert_eq!(names::kind_of(event_type(kind, None)), Some(kind));
        }
    }

    #[test]
    fn a_kind_set_holds_what_was_put_in() {
        let set: KindSet = [Kind::Exec, Kind::FileOpen].into_iter().collect();
        assert!(set.contains(Kind::Exec) && !set.contains(Kind::Fork));
        assert_eq!(format!("{set:?}"), "{Exec, FileOpen}");
        assert!(KindSet::ALL.contains(Kind::Exec) && !KindSet::ALL.contains(Kind::Outcome));
    }
}
