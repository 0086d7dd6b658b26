//! The process that acted and its relatives, as rules see them.

use shrike_common::Header;
use shrike_rules::{FieldId, Value};

use super::Sight;
use super::subject::age;
use crate::capability::Capabilities;
use crate::context::process::Process;

/// A field of these; `index` is its argument.
pub(super) fn field<'a>(
    sight: &'a Sight<'_, '_>,
    field: FieldId,
    index: Option<u32>,
) -> Option<Value<'a>> {
    let header = sight.header;
    Some(match field {
        FieldId::ProcPid => header.tgid.0.into(),
        FieldId::ProcPpid => header.ppid.0.into(),
        FieldId::ProcStartTime => header.start.0.into(),
        FieldId::ProcVpid => sight.ancestor(0)?.vpid.0.into(),
        FieldId::ProcName => sight.name().into(),
        FieldId::ProcExe => sight.ancestor(0)?.arguments().next()?.into(),
        FieldId::ProcExepath => executable(sight.ancestor(0)?)?,
        FieldId::ProcArgs => match index {
            Some(index) => sight.ancestor(0)?.arguments().nth(index as usize + 1)?.into(),
            None => joined_arguments(sight.ancestor(0)?).into(),
        },
        FieldId::ProcCmdline => command_line(sight.name(), sight.ancestor(0)?).into(),
        FieldId::ProcPname => sight.ancestor(1)?.name().into(),
        FieldId::ProcPexe => sight.ancestor(1)?.arguments().next()?.into(),
        FieldId::ProcPexepath => executable(sight.ancestor(1)?)?,
        FieldId::ProcPcmdline => {
            let parent = sight.ancestor(1)?;
            command_line(parent.name(), parent).into()
        }
        FieldId::ProcAname => sight.ancestor(index?)?.name().into(),
        FieldId::ProcAexe => sight.ancestor(index?)?.arguments().next()?.into(),
        FieldId::ProcAexepath => executable(sight.ancestor(index?)?)?,
        FieldId::ProcAargs => joined_arguments(sight.ancestor(index?)?).into(),
        FieldId::ProcAcmdline => {
            let ancestor = sight.ancestor(index?)?;
            command_line(ancestor.name(), ancestor).into()
        }
        FieldId::ProcApid => {
            let (pid, _) = sight.lineage().nth(index? as usize)?;
            pid.0.into()
        }
        FieldId::ProcCmdnargs => {
            Value::Number(i128::try_from(sight.ancestor(0)?.arguments().skip(1).count()).ok()?)
        }
        FieldId::ProcCmdlenargs => {
            let bytes: usize = sight.ancestor(0)?.arguments().skip(1).map(<[u8]>::len).sum();
            Value::Number(i128::try_from(bytes).ok()?)
        }
        FieldId::ProcExeline => {
            sight.ancestor(0)?.arguments().collect::<Vec<_>>().join(&b' ').into()
        }
        FieldId::ProcPvpid => sight.ancestor(1)?.vpid.0.into(),
        FieldId::ProcPidTs => Value::Number(sight.clock.epoch(header.start.0)),
        FieldId::ProcPpidTs => Value::Number(sight.clock.epoch(sight.ancestor(1)?.start.0)),
        FieldId::ProcSidExe => sight.session_leader()?.arguments().next()?.into(),
        FieldId::ProcSidExepath => executable(sight.session_leader()?)?,
        FieldId::ProcIsSidLeader => (sight.ancestor(0)?.standing.session == header.tgid).into(),
        FieldId::ProcVpgid => sight.group_leader()?.vpid.0.into(),
        FieldId::ProcPgidName | FieldId::ProcVpgidName => sight.group_leader()?.name().into(),
        FieldId::ProcPgidExe | FieldId::ProcVpgidExe => {
            sight.group_leader()?.arguments().next()?.into()
        }
        FieldId::ProcPgidExepath | FieldId::ProcVpgidExepath => executable(sight.group_leader()?)?,
        FieldId::ProcIsPgidLeader | FieldId::ProcIsVpgidLeader => {
            (sight.ancestor(0)?.standing.group == header.tgid).into()
        }
        FieldId::ThreadComm => header.comm().into(),
        FieldId::ThreadIsmain => (header.tid == header.tgid).into(),
        FieldId::ThreadNametid => {
            [header.comm(), header.tid.0.to_string().as_bytes()].concat().into()
        }
        FieldId::ProcSid => sight.ancestor(0)?.standing.session.0.into(),
        FieldId::ProcPgid => sight.ancestor(0)?.standing.group.0.into(),
        FieldId::ProcTty => sight.ancestor(0)?.standing.tty.into(),
        FieldId::ProcIsExeUpperLayer => sight.ancestor(0)?.is_upper()?.into(),
        FieldId::ProcSname => sight.session_leader()?.name().into(),
        FieldId::ProcExeIno => sight.ancestor(0)?.exe_file()?.0.into(),
        FieldId::ProcIsExeFromMemfd => is_from_memory(sight.ancestor(0)?)?.into(),
        FieldId::ProcCwd => {
            let cwd = sight.ancestor(0)?.cwd();
            match cwd {
                b"" => return None,
                [.., b'/'] => cwd.into(),
                _ => [cwd, b"/"].concat().into(),
            }
        }
        FieldId::ProcEnv => {
            let variables: Vec<_> = sight.ancestor(0)?.environment().collect();
            variables.join(&b' ').into()
        }
        FieldId::ProcEnvCut => sight.ancestor(0)?.is_environment_cut().into(),
        FieldId::ProcDuration => age(header.time, header.start),
        FieldId::ProcPpidDuration => age(header.time, sight.ancestor(1)?.start),
        FieldId::ThreadTid => header.tid.0.into(),
        _ => capabilities(header, field)?,
    })
}

fn capabilities(header: &Header, field: FieldId) -> Option<Value<'static>> {
    let set = match field {
        FieldId::ThreadCapEffective => header.effective,
        FieldId::ThreadCapPermitted => header.permitted,
        FieldId::ThreadCapInheritable => header.inheritable,
        _ => return None,
    };
    Some(Capabilities::from_bits(set).names().into())
}

fn executable(process: &Process) -> Option<Value<'_>> {
    (!process.exe().is_empty()).then(|| process.exe().into())
}

/// Whether what it executes is a memory file, if that is known.
fn is_from_memory(process: &Process) -> Option<bool> {
    (!process.exe().is_empty()).then(|| process.exe().starts_with(b"/memfd:"))
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
