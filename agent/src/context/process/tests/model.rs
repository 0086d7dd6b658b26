//! The table against a simulated kernel, which has the truth: forks, execs and exits in any order,
//! with few pids; events that wait in the lane, or are lost; scans that take their time.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use shrike_common::wire::Text;

use super::*;

/// Few, so that each is used again soon.
const PIDS: u32 = 12;

#[derive(Clone, Debug)]
enum Op {
    Fork(usize),
    /// With `CLONE_PARENT`.
    Sibling(usize),
    Exec(usize, u8),
    Exit(usize),
    /// So many events are lost from now on.
    Lose(u8),
    /// The agent sees that some are.
    Notice,
    Deliver(u8),
    /// Lists the processes, if no scan is under way.
    Start,
    /// Reads so many of the list.
    Read(u8),
    Merge,
    /// Nothing happens for so many seconds.
    Wait(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any::<usize>().prop_map(Op::Fork),
        1 => any::<usize>().prop_map(Op::Sibling),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(who, what)| Op::Exec(who, what)),
        4 => any::<usize>().prop_map(Op::Exit),
        1 => (1..6_u8).prop_map(Op::Lose),
        1 => Just(Op::Notice),
        5 => (1..20_u8).prop_map(Op::Deliver),
        2 => Just(Op::Start),
        4 => (1..8_u8).prop_map(Op::Read),
        3 => Just(Op::Merge),
        1 => (1..100_u8).prop_map(Op::Wait),
    ]
}

type Id = (u32, u64);

#[derive(Clone, Debug)]
struct Task {
    start: u64,
    /// Every parent that it has had, the present one last.
    parents: Vec<Id>,
    exe: Vec<u8>,
    args: Vec<u8>,
}

#[derive(Debug)]
enum Deed {
    Fork { flags: u64, child: Id },
    Exec { exe: Vec<u8>, args: Vec<u8> },
    Exit,
}

#[derive(Debug)]
struct Kernel {
    now: u64,
    tasks: BTreeMap<u32, Task>,
    last_pid: u32,
    is_attached: bool,
    lane: VecDeque<(Header, Deed)>,
    losing: u8,
    has_lost: bool,
}

impl Kernel {
    fn boot() -> Self {
        let init = Task {
            start: 0,
            parents: vec![(0, 0)],
            exe: b"/init".to_vec(),
            args: b"init\0".to_vec(),
        };
        Self {
            now: SECOND,
            tasks: BTreeMap::from([(1, init)]),
            last_pid: 1,
            is_attached: false,
            lane: VecDeque::new(),
            losing: 0,
            has_lost: false,
        }
    }

    fn pick(&self, who: usize) -> u32 {
        *self.tasks.keys().nth(who % self.tasks.len()).unwrap()
    }

    fn fork(&mut self, caller: u32, flags: u64) {
        let next = |pid: u32| if pid >= PIDS { 2 } else { pid + 1 };
        let mut pid = next(self.last_pid);
        while self.tasks.contains_key(&pid) {
            pid = next(pid);
            if pid == self.last_pid {
                return;
            }
        }
        if flags != 0 && caller == 1 {
            return;
        }
        self.last_pid = pid;
        // More than a tick: nobody gets a pid again within one.
        self.now += 13_000_001;
        let task = &self.tasks[&caller];
        let parent = if flags == 0 { (caller, task.start) } else { *task.parents.last().unwrap() };
        let child = Task { start: self.now, parents: vec![parent], ..task.clone() };
        let start = child.start;
        self.tasks.insert(pid, child);
        self.tell(caller, Deed::Fork { flags, child: (pid, start) });
    }

    fn exec(&mut self, pid: u32, what: u8) {
        let task = self.tasks.get_mut(&pid).unwrap();
        task.exe = format!("/bin/{}", what % 8).into_bytes();
        task.args = format!("{}\0{what}\0", what % 8).into_bytes();
        let (exe, args) = (task.exe.clone(), task.args.clone());
        self.tell(pid, Deed::Exec { exe, args });
    }

    fn exit(&mut self, pid: u32) {
        if pid == 1 {
            return;
        }
        self.tell(pid, Deed::Exit);
        self.tasks.remove(&pid);
        for task in self.tasks.values_mut() {
            if task.parents.last().unwrap().0 == pid {
                task.parents.push((1, 0));
            }
        }
    }

    fn tell(&mut self, pid: u32, deed: Deed) {
        self.now += 1000;
        let task = &self.tasks[&pid];
        let parent = Pid(task.parents.last().unwrap().0);
        let header = Header { ppid: parent, time: self.now, ..header(pid, task.start, &task.exe) };
        if !self.is_attached {
            return;
        }
        if self.losing > 0 {
            self.losing -= 1;
            self.has_lost = true;
        } else {
            self.lane.push_back((header, deed));
        }
    }
}

/// What an agent does with the table.
struct Agent {
    processes: Processes,
    /// The scan and what it has not read yet.
    scan: Option<(Scan, VecDeque<u32>)>,
    has_merged: bool,
    /// Merges a scan even if older events wait.
    is_hasty: bool,
    /// How often the table was compared with the truth.
    compared: usize,
}

impl Agent {
    fn deliver(&mut self, kernel: &mut Kernel, count: usize) {
        for _ in 0..count {
            let Some((header, deed)) = kernel.lane.pop_front() else { return };
            let event = match &deed {
                Deed::Fork { flags, child: (pid, start) } => Event::Fork(Fork {
                    clone_flags: *flags,
                    child_start: StartTime(*start),
                    child: Pid(*pid),
                    child_vpid: Pid(pid + 1000),
                }),
                Deed::Exec { exe, args } => Event::Exec(Exec {
                    inode: 1,
                    dev: 1,
                    vpid: Pid(header.tgid.0 + 1000),
                    path: Text::new(exe, 0),
                    args: Text::new(args, 0),
                    ..Exec::default()
                }),
                Deed::Exit => Event::Exit(Exit { status: 0, reserved: 0 }),
            };
            self.processes.apply(&header, &event);
            if let Deed::Exec { exe, args } = &deed {
                let process = self.processes.get(header.tgid, header.start).unwrap();
                assert_eq!(
                    (process.exe(), &*process.image.args),
                    (&exe[..], &args[..]),
                    "for the rules"
                );
            }
            self.processes.settle(&header, &event);
        }
    }

    fn start(&mut self, kernel: &mut Kernel) {
        if self.scan.is_none() {
            kernel.now += 1000;
            let list = kernel.tasks.keys().copied().collect();
            self.scan = Some((scan(kernel.now, 0, []), list));
        }
    }

    fn read(&mut self, kernel: &mut Kernel, count: usize) {
        let Some((scan, list)) = &mut self.scan else { return };
        for _ in 0..count {
            let Some(pid) = list.pop_front() else { break };
            kernel.now += 1000;
            if let Some(task) = kernel.tasks.get(&pid) {
                let parent = task.parents.last().unwrap().0;
                let found = found(kernel.now, parent, task.start, &task.exe, &task.args);
                scan.found.insert(Pid(pid), Found { vpid: Pid(pid + 1000), ..found });
            }
        }
        if list.is_empty() && scan.end == 0 {
            kernel.now += 1000;
            scan.end = kernel.now;
        }
    }

    fn merge(&mut self, kernel: &Kernel) {
        let seen = kernel.lane.front().map_or(kernel.now, |(header, _)| header.time - 1);
        let is_due = |end| end > 0 && (self.is_hasty || !self.has_merged || seen >= end);
        if let Some((scan, _)) = self.scan.take_if(|(scan, _)| is_due(scan.end)) {
            self.processes.merge(&scan);
            self.has_merged = true;
        }
    }

    /// Whether the table claims to be true.
    fn is_sure(&self, kernel: &Kernel) -> bool {
        self.has_merged && kernel.lane.is_empty() && !kernel.has_lost && !self.processes.is_stale()
    }

    fn compare(&mut self, kernel: &Kernel) {
        self.compared += 1;
        for (&pid, task) in &kernel.tasks {
            let start = StartTime(task.start);
            let process = self.processes.get(Pid(pid), start);
            let process = process.unwrap_or_else(|| panic!("{pid} is missing"));
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert!(process.ended.is_none(), "{pid} has not ended");
            assert_eq!(shown(process.exe()), shown(&task.exe), "exe of {pid}");
            assert_eq!(shown(&process.image.args), shown(&task.args), "args of {pid}");
            assert_eq!(process.vpid, Pid(pid + 1000));
            let (parent, parent_start) = *task.parents.last().unwrap();
            let is_parent = |&(pid, start): &Id| {
                process.parent.0 == Pid(pid) && same(process.parent.1, StartTime(start))
            };
            assert!(
                task.parents.iter().any(is_parent) || process.parent.1 == StartTime(0),
                "{:?} has never been a parent of {pid}",
                process.parent
            );
            // The one that it was born with still lives.
            if task.parents.len() == 1 && parent != 0 {
                let known = self.processes.ancestor(Pid(pid), start, 1).expect("a parent");
                assert!(same(known.start, StartTime(parent_start)), "the parent of {pid}");
                assert_eq!(process.parent.0, Pid(parent));
            }
        }
        let alive = self.processes.table.iter().filter(|(_, process)| process.ended.is_none());
        for (key, process) in alive {
            let task = kernel.tasks.get(&key.pid.0);
            assert!(
                task.is_some_and(|task| same(StartTime(task.start), process.start)),
                "{key:?} is no more"
            );
        }
    }
}

/// Runs what happened before the probes were attached, and after.
fn run(before: &[Op], after: &[Op], is_hasty: bool) -> usize {
    let mut kernel = Kernel::boot();
    let processes = Processes::default();
    let mut agent = Agent { processes, scan: None, has_merged: false, is_hasty, compared: 0 };
    for op in before {
        step(&mut kernel, &mut agent, op);
    }
    kernel.is_attached = true;
    kernel.losing = 0;
    agent.scan = None;
    agent.has_merged = false;
    agent.processes = Processes::default();
    for op in after {
        step(&mut kernel, &mut agent, op);
        check_books(&agent.processes);
        if agent.is_sure(&kernel) {
            agent.compare(&kernel);
        }
    }
    // Nothing happens any more: one scan is under way, one makes good what was lost, and one what that
    // has left open.
    step(&mut kernel, &mut agent, &Op::Notice);
    for _ in 0..3 {
        agent.start(&mut kernel);
        agent.read(&mut kernel, usize::MAX);
        agent.deliver(&mut kernel, usize::MAX);
        agent.merge(&kernel);
        check_books(&agent.processes);
    }
    assert!(agent.is_sure(&kernel));
    agent.compare(&kernel);
    agent.compared
}

fn step(kernel: &mut Kernel, agent: &mut Agent, op: &Op) {
    match *op {
        Op::Fork(who) => kernel.fork(kernel.pick(who), 0),
        Op::Sibling(who) => kernel.fork(kernel.pick(who), 0x8000),
        Op::Exec(who, what) => kernel.exec(kernel.pick(who), what),
        Op::Exit(who) => kernel.exit(kernel.pick(who)),
        Op::Lose(count) => kernel.losing = count,
        Op::Notice => {
            if std::mem::take(&mut kernel.has_lost) {
                agent.processes.lost(kernel.now);
            }
        }
        Op::Deliver(count) => agent.deliver(kernel, count.into()),
        Op::Start => agent.start(kernel),
        Op::Read(count) => agent.read(kernel, count.into()),
        Op::Merge => agent.merge(kernel),
        Op::Wait(seconds) => kernel.now += u64::from(seconds) * SECOND,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_kernel(
        before in prop::collection::vec(op(), 0..40),
        after in prop::collection::vec(op(), 0..160),
        is_hasty: bool,
    ) {
        run(&before, &after, is_hasty);
    }
}

#[test]
fn the_model_compares_often() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let ops = prop::collection::vec(op(), 160);
    let compared: usize =
        (0..100).map(|_| run(&[], &ops.new_tree(&mut runner).unwrap().current(), false)).sum();
    println!("{compared} comparisons in 100 runs of 160 steps");
    assert!(compared > 300, "{compared}");
}
