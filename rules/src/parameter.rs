//! The arguments of events by the names that Falco has for them, as in `evt.arg.flags`.
//!
//! A name is valid whether or not a sensor tells the argument, as the name of an event is.

use std::fmt::Write as _;

use crate::event::{Argument, Event, Value};
use crate::field::{ArgumentRule, FieldId, Type};
use crate::names;
use crate::text::Escaped;

/// The name of an argument that `text` begins with, the longest that a field with such a rule takes.
pub(crate) fn prefix_of(rule: ArgumentRule, text: &str) -> Option<&str> {
    let length = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let longest = &text[..length];
    match rule {
        ArgumentRule::Parameter => {
            (1..=length).rev().map(|end| &text[..end]).find(|name| is_known(name))
        }
        ArgumentRule::EventName => {
            (1..=length).rev().map(|end| &text[..end]).find(|name| names::is_known(name))
        }
        _ => (length > 0).then_some(longest),
    }
}

/// Whether some event of Falco's has an argument of this name.
pub(crate) fn is_known(name: &str) -> bool {
    [TEXTS, BYTES, NUMBERS].iter().any(|names| names.binary_search(&name).is_ok())
}

/// Every name of an argument.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    [TEXTS, BYTES, NUMBERS].into_iter().flatten().copied()
}

/// The type that an argument has as it is. Of a name that events use for different things, the first counts, as in Falco.
pub(crate) fn raw_type(name: &str) -> Type {
    if TEXTS.binary_search(&name).is_ok() {
        Type::Text
    } else if BYTES.binary_search(&name).is_ok() {
        Type::Bytes
    } else {
        Type::Number
    }
}

/// The field that has the value of an argument of an event, if one has.
pub(crate) fn source(event_type: &str, name: &str) -> Option<FieldId> {
    if name == "res" {
        return Some(FieldId::EvtRawres);
    }
    let (_, _, sources) = EVENTS.iter().find(|(types, ..)| types.contains(&event_type))?;
    sources.iter().find(|(own, _)| *own == name).map(|(_, field)| *field)
}

/// The fields that arguments of this name, or any arguments, have their values from.
pub(crate) fn sources(name: Option<&str>) -> impl Iterator<Item = FieldId> {
    let of_events = EVENTS.iter().flat_map(|(_, _, sources)| sources.iter());
    let named = of_events.filter(move |(own, _)| name.is_none_or(|name| name == *own));
    let result = name.is_none_or(|name| name == "res").then_some(FieldId::EvtRawres);
    named.map(|(_, field)| *field).chain(result)
}

/// The value of an argument of an event: what the event itself says, or what the field has that is the same; as text,
/// unless it is asked for as it is.
pub(crate) fn value<'a>(event: &'a impl Event, field: FieldId, name: &str) -> Option<Value<'a>> {
    let value = event.field(field, Some(Argument::Name(name))).or_else(|| {
        let Some(Value::Text(event_type)) = event.field(FieldId::EvtType, None) else {
            return None;
        };
        event.field(source(str::from_utf8(&event_type).ok()?, name)?, None)
    })?;
    if field == FieldId::EvtRawarg {
        return Some(value).filter(|value| is_raw(value, name));
    }
    Some(match value {
        // Of a call that failed, the name of the error.
        Value::Number(..0) if name == "res" => event.field(FieldId::EvtRes, None)?,
        Value::Number(number) => number.to_string().into(),
        Value::Bool(value) => value.to_string().into(),
        Value::Address(address) => address.to_string().into(),
        text @ Value::Text(_) => text,
    })
}

/// Whether a value is of the type that the argument has as it is.
fn is_raw(value: &Value<'_>, name: &str) -> bool {
    matches!(value, Value::Number(_)) == (raw_type(name) == Type::Number)
}

/// Whether the argument can be had as it is from this field.
pub(crate) fn is_raw_source(field: FieldId, name: &str) -> bool {
    field == FieldId::EvtArg
        || (field.info().ty == Type::Number) == (raw_type(name) == Type::Number)
}

/// The name of the argument at a place of Falco's event.
pub(crate) fn name_at(event: &impl Event, place: u32) -> Option<&'static str> {
    let Some(Value::Text(event_type)) = event.field(FieldId::EvtType, None) else { return None };
    let (_, names, _) =
        EVENTS.iter().find(|(types, ..)| types.iter().any(|own| own.as_bytes() == &*event_type))?;
    names.split_ascii_whitespace().nth(usize::try_from(place).ok()?)
}

/// The arguments of an event that are known, as `name=value`.
pub(crate) fn joined(event: &impl Event) -> Option<String> {
    let mut text = String::new();
    for place in 0.. {
        let Some(name) = name_at(event, place) else { break };
        let Some(value) = value(event, FieldId::EvtArg, name) else { continue };
        text.push_str(if text.is_empty() { "" } else { " " });
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Bool(value) => write!(text, "{name}={value}"),
            Value::Number(value) => write!(text, "{name}={value}"),
            Value::Address(value) => write!(text, "{name}={value}"),
            Value::Text(value) => write!(text, "{name}={}", Escaped(&value)),
        };
    }
    (!text.is_empty()).then_some(text)
}

/// The arguments of some events.
type Arguments = (&'static [&'static str], &'static str, &'static [(&'static str, FieldId)]);

/// For events by name: the names of the arguments that Falco's event has, in its order, and the fields that have the
/// values of those that are known; `evt.arg` itself if the event says so when it is asked for that name.
#[rustfmt::skip]
const EVENTS: &[Arguments] = {
    use FieldId::{
        EvtArg, BpfCmd, FdName, FdNum, GroupGid, MountFstype, ProcArgs, ProcCwd, ProcEnv, ProcExe,
        ProcExeIno, ProcExepath, ProcName, ProcPgid, ProcPid, ProcPpid, ProcTty, ProcVpgid, ProcVpid,
        PtraceTargetPid, SocketFamily, SocketProtocol, SocketType, ThreadCapEffective, ThreadCapInheritable,
        ThreadCapPermitted, ThreadTid, UserLoginuid, UserUid,
    };
    const OPENED: &[(&str, FieldId)] = &[("fd", FdNum), ("name", FdName), ("path", FdName), ("flags", EvtArg)];
    &[
        (&["execve", "execveat"], "res exe args tid pid ptid cwd fdlimit pgft_maj pgft_min vm_size vm_rss vm_swap comm cgroups env tty vpgid loginuid flags cap_inheritable cap_permitted cap_effective exe_ino exe_ino_ctime exe_ino_mtime uid trusted_exepath pgid gid filename", &[
            ("exe", ProcExe), ("args", ProcArgs), ("tid", ThreadTid), ("pid", ProcPid), ("ptid", ProcPpid), ("cwd", ProcCwd), ("comm", ProcName), ("env", ProcEnv), ("tty", ProcTty), ("vpgid", ProcVpgid), ("loginuid", UserLoginuid), ("flags", EvtArg), ("cap_inheritable", ThreadCapInheritable), ("cap_permitted", ThreadCapPermitted), ("cap_effective", ThreadCapEffective), ("exe_ino", ProcExeIno), ("uid", UserUid), ("trusted_exepath", ProcExepath), ("pgid", ProcPgid), ("gid", GroupGid),
        ]),
        (&["clone", "clone3", "fork", "vfork"], "res exe args tid pid ptid cwd fdlimit pgft_maj pgft_min vm_size vm_rss vm_swap comm cgroups flags uid gid vtid vpid pidns_init_start_ts", &[
            ("exe", ProcExe), ("args", ProcArgs), ("tid", ThreadTid), ("pid", ProcPid), ("ptid", ProcPpid), ("cwd", ProcCwd), ("comm", ProcName), ("uid", UserUid), ("gid", GroupGid), ("vpid", ProcVpid),
        ]),
        (&["procexit"], "status ret sig core reaper_tid", &[]),
        (&["open"], "fd name flags mode dev ino", OPENED),
        (&["openat"], "fd dirfd name flags mode dev ino", OPENED),
        (&["openat2"], "fd dirfd name flags mode resolve dev ino", OPENED),
        (&["creat"], "fd name mode dev ino creat_flags", OPENED),
        (&["open_by_handle_at"], "fd mountfd flags path dev ino", OPENED),
        (&["connect"], "res tuple fd addr", &[("tuple", FdName), ("addr", FdName)]),
        (&["mount"], "res dev dir type flags", &[("type", MountFstype)]),
        (&["fsconfig"], "res fd cmd key value_bytebuf value_charbuf aux", &[]),
        (&["setns"], "res fd nstype", &[]),
        (&["unshare"], "res flags", &[]),
        (&["ptrace"], "res addr data request pid", &[("pid", PtraceTargetPid)]),
        (&["process_vm_readv", "process_vm_writev"], "res pid data", &[("pid", PtraceTargetPid)]),
        (&["bpf"], "fd cmd", &[("cmd", BpfCmd)]),
        (&["init_module"], "res img length uargs", &[]),
        (&["finit_module"], "res fd uargs flags", &[]),
        (&["mknod"], "res path mode dev", &[("path", FdName)]),
        (&["mknodat"], "res dirfd path mode dev", &[("path", FdName)]),
        (&["socket"], "fd domain type proto", &[("fd", FdNum), ("domain", SocketFamily), ("type", SocketType), ("proto", SocketProtocol)]),
    ]
};

/// Arguments that are texts or paths.
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "arg2_str", "argv", "comm", "container_id", "cwd", "desc", "description", "dir", "exe",
    "exepath", "filename", "home", "image", "json", "linkpath", "name", "newpath", "oldpath",
    "path", "pathname", "quotafilepath", "root", "scope", "shell", "special", "sun_path", "tags",
    "target", "trusted_exepath", "uargs", "value_charbuf",
];

/// Arguments that are data or addresses.
#[rustfmt::skip]
const BYTES: &[&str] = &[
    "addr", "args", "cgroups", "data", "env", "fds", "img", "msgcontrol", "tuple",
    "value_bytebuf",
];

/// Arguments that are numbers.
#[rustfmt::skip]
const NUMBERS: &[&str] = &[
    "action", "arg", "arg2", "arg2_int", "arg3", "arg4", "arg5", "argument", "aux", "backlog",
    "cap_effective", "cap_inheritable", "cap_permitted", "clockid", "cmd", "core", "cpu",
    "cpu_sys", "cpu_usr", "cq_entries", "creat_flags", "cur", "dev", "dirfd", "domain", "dpid",
    "dqb_bhardlimit", "dqb_bsoftlimit", "dqb_btime", "dqb_curspace", "dqb_ihardlimit",
    "dqb_isoftlimit", "dqb_itime", "dqi_bgrace", "dqi_flags", "dqi_igrace", "egid", "entries",
    "error", "euid", "event_data", "event_type", "exe_ino", "exe_ino_ctime", "exe_ino_mtime",
    "exe_ino_num", "fd", "fd1", "fd2", "fd_in", "fd_out", "fd_type", "fdin", "fdlimit", "fdout",
    "features", "first", "flags", "gid", "how", "id", "in_fd", "initval", "ino", "ino_num",
    "interval", "ip", "key", "last", "len", "length", "level", "linkdirfd", "local_ip",
    "local_port", "loginuid", "mask", "max", "maxevents", "min_complete", "mnt_id", "mode",
    "mountfd", "newcur", "newdir", "newdirfd", "newfd", "newmax", "next", "nr_args", "nsems",
    "nsops", "nstype", "offin", "offout", "offset", "oldcur", "olddir", "olddirfd", "oldfd",
    "oldmax", "op", "opcode", "operation", "option", "optlen", "optname", "out_fd", "peer",
    "pgft_maj", "pgft_min", "pgid", "pgoffset", "pid", "pid_fd", "pidns_init_start_ts",
    "plugin_id", "pos", "ppid", "prot", "proto", "ptid", "queuelen", "queuemax", "queuepct",
    "quota_fmt", "quota_fmt_out", "ratio", "reaper_tid", "remote_ip", "remote_port", "request",
    "res", "res_or_fd", "resolve", "resource", "ret", "rgid", "ruid", "sem_flg_0", "sem_flg_1",
    "sem_num_0", "sem_num_1", "sem_op_0", "sem_op_1", "semflg", "semid", "semnum", "sgid", "sid",
    "sig", "sigmask", "size", "sk_pointer", "sk_proto", "sk_type", "source", "spid", "sq_entries",
    "sq_thread_cpu", "sq_thread_idle", "start_time", "status", "suid", "target_fd", "tid",
    "timeout", "to_submit", "tty", "type", "uid", "val", "vm_rss", "vm_size", "vm_swap", "vpgid",
    "vpid", "vtgid", "vtid", "whence",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_events_have_known_names() {
        for (types, arguments, sources) in EVENTS {
            let is_listed =
                |name: &str| arguments.split_ascii_whitespace().any(|other| other == name);
            assert!(types.iter().all(|name| names::kind_of(name).is_some()), "{types:?}");
            let unknown = arguments.split_ascii_whitespace().find(|name| !is_known(name));
            assert_eq!(unknown, None, "{types:?}");
            let all_open = types.iter().all(|name| name.starts_with("open") || *name == "creat");
            assert!(all_open || sources.iter().all(|(name, _)| is_listed(name)), "{types:?}");
        }
    }

    #[test]
    fn names_are_sorted() {
        assert!([TEXTS, BYTES, NUMBERS].iter().all(|names| names.is_sorted()));
    }

    #[test]
    fn the_longest_name_counts() {
        let found = |text| prefix_of(ArgumentRule::Parameter, text);
        assert_eq!(found("fd_in then"), Some("fd_in"));
        assert_eq!(found("fd_into"), Some("fd_in"));
        assert_eq!(found("flags, "), Some("flags"));
        assert_eq!(found("zzz"), None);
        assert_eq!(prefix_of(ArgumentRule::EventName, "openat)"), Some("openat"));
        assert_eq!(prefix_of(ArgumentRule::Dotted, "cpuset x"), Some("cpuset"));
        assert_eq!(prefix_of(ArgumentRule::Dotted, ""), None);
    }
}
