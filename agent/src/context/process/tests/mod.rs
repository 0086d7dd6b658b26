//! What the table holds, and what it takes.

mod events;
mod memory;
mod merge;
mod model;
mod scan;

use std::sync::Arc;

use shrike_common::wire::Text;
use shrike_common::{Event, Exec, Exit, Fork, Header, Pid, StartTime};

use super::scan::Found;
use super::stat::Stat;
use super::*;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

fn header(pid: u32, start: u64, comm: &[u8]) -> Header {
    Header {
        tgid: Pid(pid),
        tid: Pid(pid),
        ppid: Pid(1),
        start: StartTime(start),
        time: start,
        comm: Name::new(comm).0,
        ..Header::default()
    }
}

fn at(time: u64, header: &Header) -> Header {
    Header { time, ..*header }
}

fn fork(processes: &mut Processes, caller: &Header, child: u32, start: u64) {
    fork_with(processes, caller, child, start, 0);
}

fn fork_with(processes: &mut Processes, caller: &Header, child: u32, start: u64, flags: u64) {
    let event = Event::Fork(Fork {
        clone_flags: flags,
        child_start: StartTime(start),
        child: Pid(child),
        child_vpid: Pid(child),
    });
    processes.apply(&at(start.max(caller.time), caller), &event);
}

fn exec(processes: &mut Processes, header: &Header, path: &[u8], args: &[u8]) {
    let (env, cwd) = (variables(args), directory(args));
    let event = Event::Exec(Exec {
        inode: 1,
        dev: 2,
        vpid: Pid(7),
        path: Text::new(path, 0),
        args: Text::new(args, 0),
        env: Text::new(&env, 0),
        cwd: Text::new(&cwd, 0),
        ..Exec::default()
    });
    processes.apply(header, &event);
}

fn exit(processes: &mut Processes, header: &Header) {
    let event = Event::Exit(Exit { status: 0, reserved: 0 });
    processes.apply(header, &event);
    processes.settle(header, &event);
}

fn found(time: u64, ppid: u32, start: u64, exe: &[u8], args: &[u8]) -> Found {
    Found {
        time,
        stat: Stat::new(exe, StartTime(start / TICK * TICK), Pid(ppid)),
        vpid: Pid(7),
        place: Arc::default(),
        loginuid: Standing::NOBODY,
        exe: Some(Arc::from(exe)),
        args: Arc::from(args),
        is_args_cut: false,
        env: Arc::from(variables(args)),
        is_env_cut: false,
        cwd: Arc::from(directory(args)),
    }
}

/// Some for each program, different from others'.
fn variables(args: &[u8]) -> Vec<u8> {
    [b"LD_PRELOAD=", args.split(|&byte| byte == 0).next().unwrap_or_default(), b"\0"].concat()
}

fn directory(args: &[u8]) -> Vec<u8> {
    [b"/of/", args.split(|&byte| byte == 0).next().unwrap_or_default()].concat()
}

fn scan(start: u64, end: u64, found: impl IntoIterator<Item = (u32, Found)>) -> Scan {
    let found = found.into_iter().map(|(pid, found)| (Pid(pid), found)).collect();
    let mut scan = Scan::default();
    (scan.start, scan.end, scan.found) = (start, end, found);
    scan
}

fn exe(processes: &Processes, pid: u32, start: u64) -> Option<String> {
    let process = processes.get(Pid(pid), StartTime(start))?;
    Some(String::from_utf8_lossy(process.exe()).into_owned())
}

fn parent(processes: &Processes, pid: u32, start: u64) -> Option<String> {
    let process = processes.ancestor(Pid(pid), StartTime(start), 1)?;
    Some(String::from_utf8_lossy(process.exe()).into_owned())
}

/// Checks what must hold at any time.
fn check_books(processes: &Processes) {
    let Processes { table, texts, ended, .. } = processes;
    let mut bytes = std::collections::BTreeSet::new();
    for (&key, process) in table {
        assert_eq!(key, Key::new(key.pid, process.start));
        let is_listed =
            process.ended.is_some_and(|time| ended.contains(&(process.children > 0, time, key)));
        assert_eq!(is_listed, process.ended.is_some());
        let (pid, start) = key_of(process.parent);
        let children = table
            .values()
            .filter(|other| other.is_linked && key_of(other.parent) == (key.pid, key.tick));
        assert_eq!(children.count(), process.children as usize);
        assert!(!process.is_linked || table.contains_key(&Key { pid, tick: start }));
        let Image { exe, args, env, cwd, .. } = &process.image;
        bytes.extend([exe, args, env, cwd].map(Arc::clone));
    }
    assert_eq!(ended.len(), table.values().filter(|process| process.ended.is_some()).count());
    assert_eq!(texts.bytes(), bytes.iter().map(|text| text.len()).sum::<usize>());
}

fn key_of((pid, start): (Pid, StartTime)) -> (Pid, u64) {
    (pid, start.0 / TICK)
}
