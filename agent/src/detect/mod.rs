//! From an event to the rules that match it: what the rules see as fields comes from the event, its
//! header and the context.

mod bpf;
mod file;
pub(crate) mod files;
mod fstype;
mod payload;
pub(crate) mod property;
pub(crate) mod result;
mod socket;
pub(crate) mod syscall;

use shrike_common::{Abi, ContainerId, Event, Header, Kind, Membership, Namespaces};
use shrike_rules::{Argument, FieldId, Stage, Value, event_type};

use crate::capability::Capabilities;
use crate::context::clock::Clock;
use crate::context::inspection::Inspection;
use crate::context::process::{Process, Processes};
use crate::context::user::Users;

/// Set in the flags of an open by the kernel itself, to execute the file (`__FMODE_EXEC`).
const FMODE_EXEC: u32 = 1 << 5;

/// The system calls that return a descriptor.
const RETURNS_FD: [&str; 6] = ["creat", "open", "open_by_handle_at", "openat", "openat2", "socket"];

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
    /// The names of users.
    pub(crate) users: &'a Users,
    /// The namespaces of the host.
    pub(crate) host: &'a Namespaces,
    /// What the host gives to the container, when its boundary is recorded.
    pub(crate) inspection: Option<&'a Inspection>,
    /// The time of day.
    pub(crate) clock: Clock,
}

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
            Some(Argument::Name(_)) => return None,
            None => None,
        };
        Some(match field {
            FieldId::EvtType => self.event_type().into(),
            FieldId::EvtNum => self.number.into(),
            FieldId::EvtTime => {
                self.clock.timestamp(header.time).strftime("%H:%M:%S.%9f").to_string().into()
            }
            FieldId::EvtRawtime => Value::Number(self.clock.timestamp(header.time).as_nanosecond()),
            FieldId::EvtCpu => header.cpu.into(),
            FieldId::EvtSource => "syscall".into(),
            FieldId::EvtFailed => (self.result? < 0).into(),
            FieldId::EvtRaw => header.has(Header::RAW).into(),
            FieldId::EvtRawres => self.result?.into(),
            FieldId::EvtRes => result::name(self.result?).into_owned().into(),
            FieldId::FdNum => {
                self.result.filter(|&result| result >= 0 && self.returns_fd())?.into()
            }
            FieldId::EvtSyscall => match syscall::name(header) {
                Some(name) => name.into(),
                None if header.syscall < 0 => return None,
                None => header.syscall.to_string().into(),
            },
            FieldId::EvtAbi => Abi::from_code(header.abi)?.name().into(),
            FieldId::EvtSeq => header.sequence.into(),
            FieldId::ProcPid => header.tgid.0.into(),
            FieldId::ProcPpid => header.ppid.0.into(),
            FieldId::ProcStartTime => header.start.0.into(),
            FieldId::ProcVpid => self.ancestor(0)?.vpid.0.into(),
            FieldId::ProcName => self.name()?.into(),
            FieldId::ProcExe => self.ancestor(0)?.arguments().next()?.into(),
            FieldId::ProcExepath => executable(self.ancestor(0)?)?,
            FieldId::ProcArgs => match index {
                Some(index) => self.ancestor(0)?.arguments().nth(index as usize + 1)?.into(),
                None => joined_arguments(self.ancestor(0)?).into(),
            },
            FieldId::ProcCmdline => command_line(self.name()?, self.ancestor(0)?).into(),
            FieldId::ProcPname => self.ancestor(1)?.name.as_slice().into(),
            FieldId::ProcPexe => self.ancestor(1)?.arguments().next()?.into(),
            FieldId::ProcPexepath => executable(self.ancestor(1)?)?,
            FieldId::ProcPcmdline => {
                let parent = self.ancestor(1)?;
                command_line(&parent.name, parent).into()
            }
            FieldId::ProcAname => self.ancestor(index?)?.name.as_slice().into(),
            FieldId::ProcIsExeFromMemfd => self.ancestor(0)?.exe.starts_with(b"/memfd:").into(),
            FieldId::ThreadTid => header.tid.0.into(),
            FieldId::ThreadCapEffective => Capabilities::from_bits(header.caps).names().into(),
            FieldId::UserUid => header.uid.0.into(),
            FieldId::UserEuid => header.euid.0.into(),
            FieldId::UserName => self.users.name(header.uid)?.into(),
            FieldId::GroupGid => header.gid.0.into(),
            FieldId::ContainerMembership => Membership::from_code(header.membership)?.name().into(),
            FieldId::ContainerNumber => match self.container() {
                ContainerId(0) => return None,
                container => container.0.into(),
            },
            FieldId::CgroupId => header.cgroup.0.into(),
            FieldId::NsMnt => header.ns.mnt.0.into(),
            FieldId::NsPid => header.ns.pid.0.into(),
            FieldId::NsNet => header.ns.net.0.into(),
            FieldId::NsUser => header.ns.user.0.into(),
            FieldId::NsUts => header.ns.uts.0.into(),
            FieldId::NsIpc => header.ns.ipc.0.into(),
            FieldId::NsCgroup => header.ns.cgroup.0.into(),
            FieldId::NsTime => header.ns.time.0.into(),
            _ => payload::field(self, field)?,
        })
    }
}

impl Sight<'_, '_> {
    /// The name of the event in Falco's terms: that of the system call. A file that is opened by
    /// another way than an open call (`io_uring`, a core dump) counts as `openat`, or rules that list
    /// the open calls would miss it; one that the kernel opens in order to execute it does not.
    fn event_type(&self) -> &'static str {
        let kind = self.event.kind();
        let own = event_type(kind, syscall::name(self.header));
        match self.event {
            Event::FileOpen(open)
                if own == event_type(kind, None) && open.flags & FMODE_EXEC == 0 =>
            {
                "openat"
            }
            _ => own,
        }
    }

    /// The container that the event is about: of the task, as a rule, but the kernel executes what a
    /// container set by a task of its own.
    fn container(&self) -> ContainerId {
        match self.event {
            Event::Breach(breach) => breach.container,
            _ => self.header.container,
        }
    }

    /// Whether the system call returns a descriptor.
    fn returns_fd(&self) -> bool {
        matches!(syscall::name(self.header), Some(name) if RETURNS_FD.contains(&name))
    }

    /// The name of the main thread. It may have changed since the exec: the thread's own events tell.
    fn name(&self) -> Option<&[u8]> {
        if self.header.tid == self.header.tgid {
            return Some(self.header.comm());
        }
        self.ancestor(0).map(|process| process.name.as_slice())
    }

    fn ancestor(&self, generations: u32) -> Option<&Process> {
        self.processes.ancestor(self.header.tgid, self.header.start, generations)
    }
}

fn executable(process: &Process) -> Option<Value<'_>> {
    (!process.exe.is_empty()).then(|| process.exe.as_slice().into())
}

/// Falco's `proc.args`: the arguments behind the first, joined by blanks.
fn joined_arguments(process: &Process) -> Vec<u8> {
    process.arguments().skip(1).collect::<Vec<_>>().join(&b' ')
}

/// Falco's `proc.cmdline`: the name and the arguments.
fn command_line(name: &[u8], process: &Process) -> Vec<u8> {
    let arguments = process.arguments().skip(1);
    [name].into_iter().chain(arguments).collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests;
