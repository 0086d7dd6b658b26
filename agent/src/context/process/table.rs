//! The table of processes, as events fill it.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::mem;
use std::sync::Arc;

use shrike_common::wire::Text;
use shrike_common::{Event, Exec, Fork, Header, Pid, StartTime};

use super::text::Texts;
use super::{CAPACITY, Cgroup, Image, Key, Name, Place, Process, Standing, environment, same};
use crate::context::cgroup::UNIFIED;

/// How many ended processes are remembered.
pub(super) const ENDED: usize = 4096;

/// How long an ended process without children is remembered, in nanoseconds of boot time: longer than
/// any event of its own waits for its outcome.
pub(super) const LINGER: u64 = 60_000_000_000;

/// The longest lineage that is followed.
const MAX_ANCESTORS: usize = 64;

/// The child's parent is that of the process that creates it.
const CLONE_PARENT: u64 = 0x8000;

/// Every process of the host.
///
/// An ended process stays for a while, and while it has children in the table: those have their
/// lineage from it. If there are too many, those that ended first go first, and those without children
/// before the others; a lineage then ends at the child. No other parent takes its place: that the
/// kernel gives the child to a reaper says nothing about where it came from.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// A tree: its memory grows by the process, where a hash table's doubles at once.
    pub(super) table: BTreeMap<Key, Box<Process>>,
    pub(super) texts: Texts,
    /// Whether it has children, when it ended, and which it is: the first is the next to be forgotten.
    pub(super) ended: BTreeSet<(bool, u64, Key)>,
    refused: u64,
    /// Events up to this time were lost: an image that is not known of a later time may be wrong.
    pub(super) lost: u64,
    pub(super) is_stale: bool,
    /// What had ended when the last scan listed the processes is not in the table any more.
    pub(super) listed: u64,
    /// The latest end of a process that nothing is remembered of.
    pub(super) forgotten: u64,
}

impl Processes {
    /// Follows an event: afterwards the table holds the state that rules should see with it.
    pub(crate) fn apply(&mut self, header: &Header, event: &Event<'_>) {
        match event {
            Event::Fork(fork) => self.fork(header, fork),
            Event::Exec(exec) => self.exec(header, exec),
            // It has just become a container's.
            Event::Boundary(_) => self.place(header),
            // A thread may be moved alone.
            Event::CgroupAttach(attach)
                if attach.hierarchy == UNIFIED && attach.target_tid == attach.target =>
            {
                if let Some(moved) = self.known(attach.target, attach.target_start) {
                    Arc::make_mut(&mut moved.place).cgroup = Cgroup::Id(attach.to);
                    moved.heard = moved.heard.max(header.time);
                }
            }
            _ => {}
        }
    }

    /// Follows an event after the rules have seen it: a process that ended is forgotten in time.
    pub(crate) fn settle(&mut self, header: &Header, event: &Event<'_>) {
        if !matches!(event, Event::Exit(_)) {
            return;
        }
        if let Some(process) = self.known(header.tgid, header.start) {
            process.heard = process.heard.max(header.time);
            self.end(Key::new(header.tgid, header.start), header.time);
        } else {
            self.forgotten = self.forgotten.max(header.time);
        }
        self.forget(header.time);
    }

    /// Forks, execs or exits up to `time` have been lost: only a scan that starts later can tell what
    /// is true.
    pub(crate) fn lost(&mut self, time: u64) {
        self.lost = self.lost.max(time);
        self.is_stale = true;
    }

    /// Whether something may be wrong that another scan would put right.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// The process with this pid that started at that time.
    pub(crate) fn get(&self, pid: Pid, start: StartTime) -> Option<&Process> {
        let process = self.table.get(&Key::new(pid, start))?;
        same(process.start, start).then_some(process)
    }

    /// The processes that have not ended, by pid.
    pub(crate) fn alive(&self) -> impl Iterator<Item = (Pid, &Process)> {
        let alive = self.table.iter().filter(|(_, process)| !process.has_ended());
        alive.map(|(key, process)| (key.pid, &**process))
    }

    /// The nearest ancestor of a process that has not ended.
    pub(crate) fn living_ancestor(&self, process: &Process) -> Option<(Pid, &Process)> {
        let parent = |process: &Process| Some((process.parent.0, self.parent(process)?));
        iter::successors(parent(process), |(_, ancestor)| parent(ancestor))
            .take(MAX_ANCESTORS)
            .find(|(_, ancestor)| ancestor.ended.is_none())
    }

    /// The ancestor that is `generations` above: 0 is the process itself, 1 its parent.
    pub(crate) fn ancestor(
        &self,
        pid: Pid,
        start: StartTime,
        generations: u32,
    ) -> Option<&Process> {
        let generations = usize::try_from(generations).ok()?;
        self.lineage(pid, start).nth(generations).map(|(_, process)| process)
    }

    /// A process and its ancestors, with their pids.
    pub(crate) fn lineage(
        &self,
        pid: Pid,
        start: StartTime,
    ) -> impl Iterator<Item = (Pid, &Process)> {
        let first = self.get(pid, start).map(|process| (pid, process));
        let parent = |&(_, process): &(Pid, &'_ Process)| {
            self.parent(process).map(|parent| (process.parent.0, parent))
        };
        iter::successors(first, parent).take(MAX_ANCESTORS + 1)
    }

    /// The process that leads the session of another.
    pub(crate) fn session_leader(&self, pid: Pid, start: StartTime) -> Option<&Process> {
        let process = self.get(pid, start)?;
        // Nobody else gets the leader's pid while there is somebody in its session.
        self.latest(process.standing.session, process.start)
    }

    /// The process that leads the process group of another.
    pub(crate) fn group_leader(&self, pid: Pid, start: StartTime) -> Option<&Process> {
        let process = self.get(pid, start)?;
        // Nobody else gets the leader's pid while there is somebody in its group.
        self.latest(process.standing.group, process.start)
    }

    /// How many processes are in the table, ended ones included.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many processes found no room in the table.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// How many bytes the paths and arguments have, each different one counted once.
    pub(crate) fn text_bytes(&self) -> usize {
        self.texts.bytes()
    }

    /// How many paths and arguments were too long for the room that was left.
    pub(crate) fn texts_cut(&self) -> u64 {
        self.texts.cut()
    }

    fn parent(&self, process: &Process) -> Option<&Process> {
        let (pid, start) = process.parent;
        if start == StartTime::default() {
            return self.latest(pid, process.start);
        }
        self.get(pid, start)
    }

    /// The process with this pid that was there at a time, as far as one can tell.
    pub(super) fn latest(&self, pid: Pid, time: StartTime) -> Option<&Process> {
        let (_, process) =
            self.table.range(Key { pid, tick: 0 }..=Key::new(pid, time)).next_back()?;
        (process.ended.is_none() || process.heard >= time.0).then_some(process)
    }

    fn fork(&mut self, header: &Header, fork: &Fork<'_>) {
        let parent = self.parent_of_child(header, fork);
        let key = Key::new(fork.child, fork.child_start);
        if let Some(child) = self.known(fork.child, fork.child_start) {
            // A scan has seen it, maybe after an exec. Where it came from the scan may have seen too
            // late.
            child.start = fork.child_start;
            child.vpid = fork.child_vpid;
            child.heard = child.heard.max(header.time);
            if child.place.membership.is_none() {
                let told = Place::told(header);
                child.place = Arc::new(child.place.found(&told));
            }
            return self.set_parent(key, parent);
        }
        self.place(header);
        let caller = self.get(header.tgid, header.start);
        let place = Place::of_child(header, fork.clone_flags);
        let child = Process {
            start: fork.child_start,
            parent,
            standing: caller.map(|caller| caller.standing).unwrap_or_default(),
            vpid: fork.child_vpid,
            place: place.shared(caller.map(|caller| &caller.place)),
            // What the caller calls itself since its exec is no name of the kernel's.
            name: caller.map_or(Name(header.comm), |caller| caller.name),
            image: caller.map(|caller| caller.image.inherited(header.time)).unwrap_or_default(),
            is_sibling: fork.clone_flags & CLONE_PARENT != 0,
            ..Process::heard(header.time)
        };
        self.insert(key, child);
        let child = self.table.get(&key).filter(|child| child.ended.is_none());
        if child.is_some_and(|child| !self.is_sure(&child.image)) {
            self.is_stale = true;
        }
    }

    fn parent_of_child(&self, header: &Header, fork: &Fork<'_>) -> (Pid, StartTime) {
        if fork.clone_flags & CLONE_PARENT == 0 {
            return (header.tgid, header.start);
        }
        // The caller may have been left behind since.
        let known = self.get(header.tgid, header.start).map(|caller| caller.parent);
        known.filter(|known| known.0 == header.ppid).unwrap_or((header.ppid, StartTime::default()))
    }

    fn exec(&mut self, header: &Header, exec: &Exec<'_>) {
        let is_cut = |text: Text<'_>| text.has(Text::TRUNCATED) || text.has(Text::UNREADABLE);
        let texts = &mut self.texts;
        let (args, is_args_cut) = texts.intern_cut(exec.args.bytes, is_cut(exec.args));
        let (env, is_env_cut) =
            texts.intern_cut(&environment::told(exec.env.bytes), is_cut(exec.env));
        let image = Image {
            exe: texts.intern(exec.path.bytes),
            args,
            env,
            cwd: texts.intern(exec.cwd.bytes),
            inode: exec.inode,
            dev: exec.dev,
            file: exec.file,
            is_args_cut,
            is_env_cut,
            since: header.time,
        };
        self.place(header);
        let Exec { group, session, tty, loginuid, .. } = *exec;
        let standing = Standing { group, session, tty, loginuid };
        let Some(process) = self.known(header.tgid, header.start) else {
            // A process whose fork was lost is known from its first exec on.
            let process = Process {
                start: header.start,
                parent: (header.ppid, StartTime::default()),
                standing,
                vpid: exec.vpid,
                place: Arc::new(Place::told(header)),
                name: Name(header.comm),
                image,
                ..Process::heard(header.time)
            };
            return self.insert(Key::new(header.tgid, header.start), process);
        };
        process.start = header.start;
        process.standing = standing;
        process.vpid = exec.vpid;
        process.name = Name(header.comm);
        process.heard = process.heard.max(header.time);
        let is_seen = process.image.exe == image.exe && process.image.args == image.args;
        let former = mem::replace(&mut process.image, image);
        if former.since > header.time && !is_seen {
            // A scan has seen later what it runs. The rules should see what the event tells all the
            // same: the events in between will tell the other image too, unless they are lost.
            self.is_stale = true;
        }
        self.release(former);
    }

    /// A process is where its event says.
    fn place(&mut self, header: &Header) {
        let told = Place::told(header);
        let Some(process) = self.get(header.tgid, header.start) else { return };
        let place = if *process.place == told {
            process.place.clone()
        } else {
            told.shared(self.parent(process).map(|parent| &parent.place))
        };
        if let Some(process) = self.known(header.tgid, header.start) {
            process.place = place;
            process.heard = process.heard.max(header.time);
        }
    }

    /// Whether an image is what the process ran when it was last heard of.
    pub(super) fn is_sure(&self, image: &Image) -> bool {
        image.since > self.lost
    }

    /// Like [`get`](Self::get), to be changed.
    pub(super) fn known(&mut self, pid: Pid, start: StartTime) -> Option<&mut Process> {
        let process = self.table.get_mut(&Key::new(pid, start))?;
        same(process.start, start).then_some(process)
    }

    /// Adds a process, if there is room.
    pub(super) fn insert(&mut self, key: Key, mut process: Process) {
        // Two processes with one pid within a tick: the former has ended.
        self.remove(key);
        let predecessor = self.table.range(Key { pid: key.pid, tick: 0 }..key).next_back();
        if let Some((&predecessor, _)) = predecessor {
            self.end(predecessor, process.heard);
        }
        if self.table.len() >= CAPACITY
            && let Some(&(_, _, oldest)) = self.ended.first()
        {
            self.remove(oldest);
        }
        if self.table.len() >= CAPACITY {
            self.refused += 1;
            return self.release(process.image);
        }
        process.is_linked = self.count(process.parent, true);
        let ended = (process.heard < self.listed).then_some(process.heard);
        self.table.insert(key, Box::new(process));
        if let Some(time) = ended {
            // Or it would have been on the list.
            self.end(key, time);
        }
    }

    /// Has a process end, if it has not yet.
    pub(super) fn end(&mut self, key: Key, time: u64) {
        let Some(process) = self.table.get_mut(&key) else { return };
        if process.ended.is_none() {
            process.ended = Some(time);
            self.ended.insert((process.children > 0, time, key));
        }
    }

    /// Forgets the ended processes that are too many or not needed any more.
    pub(super) fn forget(&mut self, now: u64) {
        while let Some(&(has_children, ended, key)) = self.ended.first() {
            let is_due = !has_children && ended.saturating_add(LINGER) < now;
            if !is_due && self.ended.len() <= ENDED {
                break;
            }
            self.remove(key);
        }
    }

    /// Removes a process, whether it has ended or not.
    fn remove(&mut self, key: Key) {
        let Some(process) = self.table.remove(&key) else { return };
        if let Some(ended) = process.ended {
            self.ended.remove(&(process.children > 0, ended, key));
            self.forgotten = self.forgotten.max(ended);
        }
        if process.is_linked {
            self.count(process.parent, false);
        }
        self.release(process.image);
    }

    /// Gives a process another parent.
    pub(super) fn set_parent(&mut self, key: Key, parent: (Pid, StartTime)) {
        let Some(process) = self.table.get_mut(&key) else { return };
        let former = mem::replace(&mut process.parent, parent);
        if mem::replace(&mut process.is_linked, false) {
            self.count(former, false);
        }
        self.link(key);
    }

    /// Has the parent of a process count it.
    pub(super) fn link(&mut self, key: Key) {
        let Some(parent) = self.table.get(&key).map(|process| process.parent) else { return };
        let is_linked = self.count(parent, true);
        if let Some(process) = self.table.get_mut(&key) {
            process.is_linked = is_linked;
        }
    }

    /// Counts a child that its parent has got or lost. Returns whether the parent is known.
    fn count(&mut self, (pid, start): (Pid, StartTime), is_born: bool) -> bool {
        let key = Key::new(pid, start);
        let Some(parent) = self.known(pid, start) else { return false };
        let was_parent = parent.children > 0;
        parent.children = if is_born {
            parent.children.saturating_add(1)
        } else {
            parent.children.saturating_sub(1)
        };
        let is_parent = parent.children > 0;
        if let Some(ended) = parent.ended
            && was_parent != is_parent
        {
            self.ended.remove(&(was_parent, ended, key));
            self.ended.insert((is_parent, ended, key));
        }
        true
    }

    /// Gives back the texts of an image.
    #[expect(clippy::needless_pass_by_value, reason = "nobody has the image afterwards")]
    pub(super) fn release(&mut self, image: Image) {
        for text in [&image.exe, &image.args, &image.env, &image.cwd] {
            self.texts.release(text);
        }
    }
}

impl Process {
    /// A process of which nothing is known but that it was there.
    pub(super) fn heard(time: u64) -> Self {
        Self {
            start: StartTime::default(),
            parent: (Pid::default(), StartTime::default()),
            standing: Standing::default(),
            vpid: Pid::default(),
            place: Arc::default(),
            name: Name::default(),
            image: Image::default(),
            heard: time,
            ended: None,
            children: 0,
            is_linked: false,
            is_sibling: false,
        }
    }
}
