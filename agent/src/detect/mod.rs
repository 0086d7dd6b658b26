//! From an event to the rules that match it: what the rules see as fields comes from the event, its
//! header and the context.

mod bpf;
mod file;
pub(crate) mod files;
mod fstype;
mod payload;
mod process;
pub(crate) mod property;
pub(crate) mod result;
mod socket;
mod subject;
pub(crate) mod syscall;

use std::cell::OnceCell;
use std::sync::Arc;

pub(crate) use subject::Told;

use shrike_common::{Abi, ContainerId, Event, Header, Kind, Namespaces};
use shrike_rules::{Argument, FieldId, Stage, Value, event_type};

use crate::context::clock::Clock;
use crate::context::container::{Containers, container_of};
use crate::context::inspection::Inspection;
use crate::context::names::Names;
use crate::context::process::{Process, Processes};
use crate::context::runtime::{Details, Directory};

/// Set in the flags of an open by the kernel itself, to execute the file (`__FMODE_EXEC`).
const FMODE_EXEC: u32 = 1 << 5;

/// The system calls that return a descriptor.
const RETURNS_FD: [&str; 6] = ["creat", "open", "open_by_handle_at", "openat", "openat2", "socket"];

const NANOSECONDS: i128 = 1_000_000_000;

/// What Falco calls the container of a task that is in none.
pub(crate) const HOST: &str = "host";

/// An event with everything that is known about it.
pub(crate) struct Sight<'a, 'r> {
    /// Which one it is, counted from 1.
    pub(crate) number: u64,
    /// Who acted.
    pub(crate) header: &'a Header,
    /// What was done.
    pub(crate) event: &'a Event<'r>,
    /// What the system call returned, as far as that is known.
    pub(crate) result: Option<i64>,
    /// How much is known.
    pub(crate) stage: Stage,
    /// Where the acting process came from.
    pub(crate) processes: &'a Processes,
    /// The containers of the host.
    pub(crate) containers: &'a Containers,
    /// What runtimes tell of their containers, if they can be asked.
    pub(crate) runtimes: Option<&'a Directory>,
    /// What that is of the container that the event is about, once it was asked for.
    pub(crate) details: OnceCell<Option<Arc<Details>>>,
    /// The process and its parent, once they were looked up.
    pub(crate) kin: Kin<'a>,
    /// The names of users and groups.
    pub(crate) names: &'a Names,
    /// The namespaces of the host.
    pub(crate) host: &'a Namespaces,
    /// What the host gives to the container, when its boundary is recorded.
    pub(crate) inspection: Option<&'a Inspection>,
    /// The time of day.
    pub(crate) clock: Clock,
}

/// A process and its parent, once each was looked up: most rules ask for one of them.
pub(crate) type Kin<'a> = [OnceCell<Option<&'a Process>>; 2];

impl shrike_rules::Event for Sight<'_, '_> {
    fn kind(&self) -> Kind {
        self.event.kind()
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let header = self.header;
        let index = match argument {
            Some(Argument::Index(index)) => Some(index),
            Some(Argument::Name(name)) => {
                return subject::named(self, field, name)
                    .or_else(|| payload::parameter(self, field, name));
            }
            None => None,
        };
        Some(match field {
            FieldId::EvtType => self.event_type().into(),
            FieldId::EvtNum => self.number.into(),
            FieldId::EvtTime => self.time("%H:%M:%S.%9f"),
            FieldId::EvtTimeS => self.time("%H:%M:%S"),
            FieldId::EvtDatetime => self.time("%Y-%m-%d %H:%M:%S.%9f"),
            FieldId::EvtDatetimeS => self.time("%Y-%m-%d %H:%M:%S"),
            FieldId::EvtTimeIso8601 => self
                .clock
                .timestamp(header.time)
                .strftime("%Y-%m-%dT%H:%M:%S.%9fZ")
                .to_string()
                .into(),
            FieldId::EvtRawtime => Value::Number(self.clock.epoch(header.time)),
            FieldId::EvtRawtimeS => {
                Value::Number(self.clock.epoch(header.time).div_euclid(NANOSECONDS))
            }
            FieldId::EvtRawtimeNs => {
                Value::Number(self.clock.epoch(header.time).rem_euclid(NANOSECONDS))
            }
            FieldId::EvtCpu => header.cpu.into(),
            FieldId::EvtSource => "syscall".into(),
            FieldId::EvtDir => "<".into(),
            FieldId::EvtCategory => category(self.event.kind()).into(),
            FieldId::EvtCount => Value::Number(1),
            FieldId::EvtIsAsync
            | FieldId::EvtIsIo
            | FieldId::EvtIsIoRead
            | FieldId::EvtIsIoWrite
            | FieldId::EvtIsSyslog
            | FieldId::EvtIsWait => false.into(),
            FieldId::EvtFailed => (self.result? < 0).into(),
            FieldId::EvtRaw => header.has(Header::RAW).into(),
            FieldId::EvtRawres => self.result?.into(),
            FieldId::EvtRes => result::name(self.result?).into_owned().into(),
            FieldId::FdNum => {
                self.result.filter(|&result| result >= 0 && self.returns_fd())?.into()
            }
            FieldId::SyscallType => syscall::name(header)?.into(),
            FieldId::EvtSyscall => match syscall::name(header) {
                Some(name) => name.into(),
                None if header.syscall < 0 => return None,
                None => header.syscall.to_string().into(),
            },
            FieldId::EvtAbi => Abi::from_code(header.abi)?.name().into(),
            FieldId::EvtSeq => header.sequence.into(),
            FieldId::NsMnt => header.ns.mnt.0.into(),
            FieldId::NsPid => header.ns.pid.0.into(),
            FieldId::NsNet => header.ns.net.0.into(),
            FieldId::NsUser => header.ns.user.0.into(),
            FieldId::NsUts => header.ns.uts.0.into(),
            FieldId::NsIpc => header.ns.ipc.0.into(),
            FieldId::NsCgroup => header.ns.cgroup.0.into(),
            FieldId::NsTime => header.ns.time.0.into(),
            _ => {
                return subject::field(self, field, index).or_else(|| payload::field(self, field));
            }
        })
    }
}

impl Sight<'_, '_> {
    /// The same, with nothing looked up yet.
    pub(crate) fn anew(&self) -> Self {
        Self { details: OnceCell::new(), kin: Kin::default(), ..*self }
    }
}

impl Sight<'_, '_> {
    /// The name of the event in Falco's terms: that of the system call. A file that is opened by
    /// another way than an open call (`io_uring`, a core dump) counts as `openat`, or rules that list
    /// the open calls would miss it; one that the kernel opens in order to execute it does not.
    fn event_type(&self) -> &'static str {
        let kind = self.event.kind();
        let own = syscall::event_type(kind, self.header);
        match self.event {
            Event::FileOpen(open)
                if own == event_type(kind, None) && open.flags & FMODE_EXEC == 0 =>
            {
                "openat"
            }
            _ => own,
        }
    }

    /// The local time of the event in this format.
    fn time(&self, format: &str) -> Value<'static> {
        self.clock.timestamp(self.header.time).strftime(format).to_string().into()
    }

    /// The container that the event is about.
    fn container(&self) -> ContainerId {
        container_of(self.header, self.event)
    }

    /// Whether the system call returns a descriptor.
    fn returns_fd(&self) -> bool {
        matches!(syscall::name(self.header), Some(name) if RETURNS_FD.contains(&name))
    }
}

/// Falco's class of what such events do.
fn category(kind: Kind) -> &'static str {
    match kind {
        Kind::Exec | Kind::Exit | Kind::Fork | Kind::Ptrace => "process",
        Kind::FileCreate
        | Kind::FileOpen
        | Kind::Mknod
        | Kind::MmapExec
        | Kind::Mount
        | Kind::MoveMount => "file",
        Kind::Connect | Kind::Socket => "net",
        Kind::Bpf | Kind::ModuleLoad | Kind::Setns | Kind::Sysctl | Kind::Unshare => "system",
        Kind::Boundary
        | Kind::Breach
        | Kind::CgroupAttach
        | Kind::CgroupMkdir
        | Kind::CgroupRmdir
        | Kind::Heartbeat
        | Kind::Outcome => "other",
    }
}

#[cfg(test)]
mod tests;
