//! Events that wait for what becomes of them. Rules that ask for the result of a system call judge
//! its events when it ends; since whoever acts may put that off for ever, not later than a second
//! after.

use std::collections::{HashMap, VecDeque};

use shrike_common::{Header, Pid, StartTime};

/// How long an event waits, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// How many events wait at most; beyond that the oldest are judged without a result.
const MOST: usize = 16_384;

/// The events that wait, by their thread.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    threads: HashMap<Thread, Vec<Waiting>>,
    /// All of them in the order of their arrival, and some that have gone.
    queue: VecDeque<(u64, Thread)>,
    count: usize,
}

/// A thread: its number, and when its process started.
type Thread = (Pid, StartTime);

/// An event that waits.
#[derive(Debug, PartialEq)]
pub(crate) struct Waiting {
    /// Its number.
    pub(crate) number: u64,
    /// Its record.
    pub(crate) record: Box<[u8]>,
    time: u64,
}

impl Outcomes {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lets an event wait.
    pub(crate) fn wait(&mut self, number: u64, header: &Header, record: &[u8]) {
        let (time, thread) = (header.time, thread(header));
        let waiting = Waiting { number, record: record.into(), time };
        self.threads.entry(thread).or_default().push(waiting);
        self.queue.push_back((time, thread));
        self.count += 1;
    }

    /// The events of a thread that have waited for this outcome: those since a time. Older ones will
    /// never have one, and go on waiting.
    pub(crate) fn ended(&mut self, header: &Header, since: u64) -> Vec<Waiting> {
        let key = thread(header);
        let Some(all) = self.threads.get_mut(&key) else { return Vec::new() };
        let first = all.partition_point(|waiting| waiting.time < since);
        let ended = all.split_off(first);
        if all.is_empty() {
            self.threads.remove(&key);
        }
        self.count -= ended.len();
        ended
    }

    /// The events that need not wait any longer at this time.
    pub(crate) fn overdue(&mut self, now: u64) -> Vec<Waiting> {
        let mut overdue = Vec::new();
        while let Some(&(time, thread)) = self.queue.front() {
            let first = self.threads.get(&thread).and_then(|all| all.first());
            let is_done = first.is_none_or(|waiting| waiting.time > time);
            if !is_done && time.saturating_add(PATIENCE) > now && self.count <= MOST {
                break;
            }
            self.queue.pop_front();
            if !is_done {
                overdue.extend(self.gone(thread, time));
            }
        }
        overdue
    }

    /// Takes the events of a thread up to a time.
    fn gone(&mut self, thread: Thread, time: u64) -> Vec<Waiting> {
        let Some(all) = self.threads.get_mut(&thread) else { return Vec::new() };
        let end = all.partition_point(|waiting| waiting.time <= time);
        let kept = all.split_off(end);
        let gone = std::mem::replace(all, kept);
        if all.is_empty() {
            self.threads.remove(&thread);
        }
        self.count -= gone.len();
        gone
    }
}

fn thread(header: &Header) -> Thread {
    (header.tid, header.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    fn header(tid: u32, time: u64) -> Header {
        Header { tid: Pid(tid), time, ..Header::default() }
    }

    fn numbers(waiting: &[Waiting]) -> Vec<u64> {
        waiting.iter().map(|waiting| waiting.number).collect()
    }

    #[test]
    fn an_outcome_is_that_of_its_own_system_call() {
        let mut outcomes = Outcomes::default();
        // The outcome of the first one is lost.
        for (number, tid, time) in [(1, 7, 100), (2, 7, 200), (3, 8, 200), (4, 7, 201)] {
            outcomes.wait(number, &header(tid, time), b"record");
        }
        assert_eq!(numbers(&outcomes.ended(&header(7, 300), 200)), [2, 4]);
        assert_eq!(numbers(&outcomes.ended(&header(7, 400), 350)), NONE);
        assert_eq!(numbers(&outcomes.ended(&header(9, 400), 0)), NONE);
        assert!(!outcomes.is_empty());
        assert_eq!(numbers(&outcomes.overdue(1_000_000_000)), NONE);
        assert_eq!(numbers(&outcomes.overdue(1_000_000_100)), [1]);
        assert_eq!(numbers(&outcomes.overdue(u64::MAX)), [3]);
        assert!(outcomes.is_empty() && outcomes.threads.is_empty() && outcomes.queue.is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outcomes = Outcomes::default();
        for (number, tid) in (0..).zip(0..u32::try_from(MOST).unwrap() + 10) {
            outcomes.wait(number, &header(tid, number), b"");
        }
        assert_eq!(numbers(&outcomes.overdue(MOST as u64)), (0..10).collect::<Vec<_>>());
    }
}
