//! Events as rules see them.

use std::path::Path;

use shrike_common::wire::Text;
use shrike_common::{Exec, Pid, StartTime};
use shrike_rules::Event as _;

use super::*;

const OPENAT: i32 = 257;
const EXECVE: i32 = 59;
const IO_URING_ENTER: i32 = 426;

fn header(syscall: i32) -> Header {
    let mut comm = [0; 16];
    comm[..3].copy_from_slice(b"cat");
    Header { tgid: Pid(7), tid: Pid(7), start: StartTime(70), syscall, comm, ..Header::default() }
}

fn open(path: &'static [u8], flags: u32) -> Event<'static> {
    Event::FileOpen(FileOpen {
        inode: 1,
        fs_magic: 0,
        dev: 0,
        flags,
        mode: 0o100_755,
        reserved: 0,
        path: Text::new(path, 0),
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
        processes,
        users: &Users::read(Path::new("/nonexistent")),
        clock: Clock::now().unwrap(),
    };
    Some(match sight.field(field, None)? {
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
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
    assert_eq!(of(FieldId::ProcPname), None, "its parent is not known");
    assert_eq!(of(FieldId::UserName), None);
}

#[test]
fn a_renamed_main_thread_has_its_new_name_everywhere() {
    let mut renamed = header(OPENAT);
    renamed.comm[..3].copy_from_slice(b"dog");
    let mut processes = Processes::default();
    processes.apply(&header(EXECVE), &executed());
    let text = |header: &Header, name| value(&processes, header, &open(b"/x", 0), name);
    assert_eq!(text(&renamed, FieldId::ProcName).as_deref(), Some("dog"));
    assert_eq!(text(&renamed, FieldId::ProcCmdline).as_deref(), Some("dog -n a b"));
    let thread = Header { tid: Pid(8), ..renamed };
    assert_eq!(text(&thread, FieldId::ProcName).as_deref(), Some("cat"), "another thread's name");
}

#[test]
fn an_exec_is_no_file() {
    let event = executed();
    assert_eq!(field(&header(EXECVE), &event, FieldId::EvtType).as_deref(), Some("execve"));
    assert_eq!(field(&header(EXECVE), &event, FieldId::FdName), None);
}
