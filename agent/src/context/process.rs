//! The process table: what each process runs and where it came from. Filled from `/proc` once, at
//! the start, and by the events from then on.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use shrike_common::{Control, Event, Exec, Fork, Header, Pid, StartTime};

/// How many ended processes are remembered, so that their children still have ancestors.
const ENDED: usize = 4096;

/// The most processes in the table; beyond, new ones are known by their events' headers only.
const CAPACITY: usize = 131_072;

/// The longest lineage that is followed.
const MAX_ANCESTORS: u32 = 64;

/// Nanoseconds in a clock tick of `/proc` (`USER_HZ`).
const TICK: u64 = Control::TICK;

/// A process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Process {
    /// When it started.
    pub(crate) start: StartTime,
    /// The process that created it, and when that one started.
    pub(crate) parent: (Pid, StartTime),
    /// Its pid in its own pid namespace.
    pub(crate) vpid: Pid,
    /// The name of its main thread.
    pub(crate) name: Vec<u8>,
    /// The path of its executable; empty if not known.
    pub(crate) exe: Vec<u8>,
    /// Its arguments, each ended by NUL.
    args: Vec<u8>,
    ended: bool,
}

/// Every process of the host.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    table: HashMap<Pid, Process>,
    ended: VecDeque<(Pid, StartTime)>,
    refused: u64,
}

impl Process {
    /// The arguments, the program's own name first.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        let args = self.args.strip_suffix(b"\0").unwrap_or(&self.args);
        args.split(|&byte| byte == 0).filter(|_| !self.args.is_empty())
    }
}

impl Processes {
    /// Reads the processes that run already. What changes meanwhile is in the events that follow.
    pub(crate) fn scan(proc: &Path) -> io::Result<Self> {
        let mut processes = Self::default();
        for entry in fs::read_dir(proc)? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that ends while it is read is not needed any more.
            if let Some(process) = read(&entry.path()) {
                processes.table.insert(Pid(pid), process);
            }
        }
        // `/proc` names parents by pid only.
        let starts: HashMap<Pid, StartTime> =
            processes.table.iter().map(|(&pid, process)| (pid, process.start)).collect();
        for process in processes.table.values_mut() {
            if let Some(&start) = starts.get(&process.parent.0) {
                process.parent.1 = start;
            }
        }
        Ok(processes)
    }

    /// Follows an event: afterwards the table holds the state that rules should see with it.
    pub(crate) fn apply(&mut self, header: &Header, event: &Event<'_>) {
        match event {
            Event::Fork(fork) => self.fork(header, fork),
            Event::Exec(exec) => self.exec(header, exec),
            _ => {}
        }
    }

    /// Follows an event after the rules have seen it: a process that ended is forgotten in time.
    pub(crate) fn settle(&mut self, header: &Header, event: &Event<'_>) {
        if !matches!(event, Event::Exit(_)) {
            return;
        }
        let process = self.table.get_mut(&header.tgid);
        let Some(process) = process.filter(|process| same(process.start, header.start)) else {
            return;
        };
        if std::mem::replace(&mut process.ended, true) {
            return;
        }
        self.ended.push_back((header.tgid, process.start));
        if self.ended.len() > ENDED
            && let Some((pid, start)) = self.ended.pop_front()
            && self.get(pid, start).is_some_and(|process| process.ended)
        {
            self.table.remove(&pid);
        }
    }

    /// The process with this pid that started at that time.
    pub(crate) fn get(&self, pid: Pid, start: StartTime) -> Option<&Process> {
        self.table.get(&pid).filter(|process| same(process.start, start))
    }

    /// The ancestor that is `generations` above: 0 is the process itself, 1 its parent.
    pub(crate) fn ancestor(
        &self,
        pid: Pid,
        start: StartTime,
        generations: u32,
    ) -> Option<&Process> {
        let mut process = self.get(pid, start)?;
        for _ in 0..generations.min(MAX_ANCESTORS) {
            process = self.get(process.parent.0, process.parent.1)?;
        }
        (generations <= MAX_ANCESTORS).then_some(process)
    }

    /// How many processes are in the table, ended ones included.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many processes found no room in the table.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    fn fork(&mut self, header: &Header, fork: &Fork<'_>) {
        let parent = self.get(header.tgid, header.start);
        let child = Process {
            start: fork.child_start,
            parent: (header.tgid, header.start),
            vpid: fork.child_vpid,
            name: header.comm().to_vec(),
            exe: parent.map(|parent| parent.exe.clone()).unwrap_or_default(),
            args: parent.map(|parent| parent.args.clone()).unwrap_or_default(),
            ended: false,
        };
        self.insert(fork.child, child);
    }

    fn exec(&mut self, header: &Header, exec: &Exec<'_>) {
        // A process whose fork was lost is known from its first exec on.
        let parent = self.get(header.tgid, header.start).map_or_else(
            || {
                let start = self.table.get(&header.ppid).map(|parent| parent.start);
                (header.ppid, start.unwrap_or_default())
            },
            |process| process.parent,
        );
        let process = Process {
            start: header.start,
            parent,
            vpid: exec.vpid,
            name: header.comm().to_vec(),
            exe: exec.path.bytes.to_vec(),
            args: exec.args.bytes.to_vec(),
            ended: false,
        };
        self.insert(header.tgid, process);
    }

    fn insert(&mut self, pid: Pid, process: Process) {
        if self.table.len() >= CAPACITY && !self.table.contains_key(&pid) {
            self.refused += 1;
            return;
        }
        self.table.insert(pid, process);
    }
}

/// This process.
pub(crate) fn own() -> Option<(Pid, StartTime)> {
    Some((Pid(std::process::id()), read(Path::new("/proc/self"))?.start))
}

/// Whether two start times are of one process: `/proc` counts in ticks, events in nanoseconds.
fn same(a: StartTime, b: StartTime) -> bool {
    a.0 / TICK == b.0 / TICK
}

/// Reads a process from its directory under `/proc`; `None` if it has ended.
fn read(dir: &Path) -> Option<Process> {
    let stat = fs::read(dir.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may contain anything, also blanks and parentheses: what follows it is found from
    // the end.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let ticks: u64 = fields.nth(17)?.parse().ok()?;
    let status = fs::read(dir.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let vpid = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let mut name = fs::read(dir.join("comm")).ok()?;
    name.pop_if(|last| *last == b'\n');
    Some(Process {
        start: StartTime(ticks * TICK),
        parent: (Pid(parent), StartTime::default()),
        vpid: Pid(vpid.split_whitespace().next_back()?.parse().ok()?),
        name,
        // Kernel threads have none.
        exe: fs::read_link(dir.join("exe"))
            .map(|path| path.into_os_string().into_vec())
            .unwrap_or_default(),
        args: fs::read(dir.join("cmdline")).ok()?,
        ended: false,
    })
}

#[cfg(test)]
mod tests {
    use shrike_common::Exit;
    use shrike_common::wire::Text;

    use super::*;

    fn header(pid: u32, start: u64, comm: &[u8]) -> Header {
        let mut header = Header {
            tgid: Pid(pid),
            tid: Pid(pid),
            ppid: Pid(1),
            start: StartTime(start),
            ..Header::default()
        };
        header.comm[..comm.len()].copy_from_slice(comm);
        header
    }

    fn fork(processes: &mut Processes, parent: &Header, child: u32, start: u64) {
        let event = Event::Fork(Fork {
            clone_flags: 0,
            child_start: StartTime(start),
            child: Pid(child),
            child_vpid: Pid(child),
        });
        processes.apply(parent, &event);
    }

    fn exec(processes: &mut Processes, header: &Header, path: &[u8]) {
        let event = Event::Exec(Exec {
            inode: 1,
            dev: 1,
            vpid: Pid(7),
            path: Text::new(path, 0),
            args: Text::new(b"a\0b\0", 0),
        });
        processes.apply(header, &event);
    }

    fn exit(processes: &mut Processes, header: &Header) {
        let event = Event::Exit(Exit { status: 0, reserved: 0 });
        processes.apply(header, &event);
        processes.settle(header, &event);
    }

    #[test]
    fn follows_fork_and_exec() {
        let mut processes = Processes::default();
        let shell = header(100, 1_000_000_000, b"sh");
        exec(&mut processes, &shell, b"/bin/sh");
        fork(&mut processes, &shell, 101, 2_000_000_000);
        let child = processes.get(Pid(101), StartTime(2_000_000_000)).unwrap();
        assert_eq!((child.name.as_slice(), child.exe.as_slice()), (&b"sh"[..], &b"/bin/sh"[..]));
        exec(&mut processes, &header(101, 2_000_000_000, b"cat"), b"/bin/cat");
        let name = |generations| {
            let start = StartTime(2_000_000_000);
            processes.ancestor(Pid(101), start, generations).map(|process| process.name.clone())
        };
        assert_eq!(name(0), Some(b"cat".to_vec()));
        assert_eq!(name(1), Some(b"sh".to_vec()));
        assert_eq!(name(2), None);
    }

    #[test]
    fn splits_arguments() {
        let with = |args: &[u8]| Process { args: args.to_vec(), ..Process::default() };
        let split = |args| with(args).arguments().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(split(b"a\0\0b\0"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert_eq!(split(b"cut of"), [b"cut of".to_vec()]);
        assert_eq!(split(b""), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn remembers_an_ended_parent_but_not_for_ever() {
        let mut processes = Processes::default();
        let parent = header(100, 1_000_000_000, b"parent");
        exec(&mut processes, &parent, b"/bin/parent");
        fork(&mut processes, &parent, 101, 2_000_000_000);
        exit(&mut processes, &parent);
        let child = StartTime(2_000_000_000);
        assert!(processes.ancestor(Pid(101), child, 1).is_some());
        for pid in 0..u32::try_from(ENDED).unwrap() {
            let other = header(1000 + pid, 3_000_000_000, b"x");
            exec(&mut processes, &other, b"/x");
            exit(&mut processes, &other);
        }
        assert!(processes.ancestor(Pid(101), child, 1).is_none());
        assert_eq!(processes.len(), ENDED + 1, "the ended ones and the child");
    }

    #[test]
    fn tells_a_reused_pid_from_its_predecessor() {
        let mut processes = Processes::default();
        exec(&mut processes, &header(100, 1_000_000_000, b"old"), b"/old");
        exec(&mut processes, &header(100, 5_000_000_000, b"new"), b"/new");
        assert_eq!(processes.get(Pid(100), StartTime(1_000_000_000)), None);
        assert_eq!(processes.get(Pid(100), StartTime(5_000_000_000)).unwrap().name, b"new");
    }

    #[test]
    fn a_lineage_that_runs_in_circles_ends() {
        let mut processes = Processes::default();
        let own = header(100, 1_000_000_000, b"loop");
        fork(&mut processes, &own, 100, 1_000_000_000);
        assert!(processes.ancestor(Pid(100), own.start, u32::MAX).is_none());
    }

    #[test]
    fn reads_itself_from_proc() {
        let processes = Processes::scan(Path::new("/proc")).unwrap();
        let own = processes.table.get(&Pid(std::process::id())).unwrap();
        assert_eq!(own.parent.0, Pid(std::os::unix::process::parent_id()));
        assert_eq!(own.exe, std::env::current_exe().unwrap().into_os_string().into_vec());
        let first = std::env::args().next().unwrap();
        assert_eq!(own.arguments().next().unwrap(), first.as_bytes());
        assert!(own.start.0 > 0 && own.start.0.is_multiple_of(TICK));
    }
}
