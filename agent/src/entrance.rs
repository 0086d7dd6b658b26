//! Tasks that have just come into a container. What they may do is recorded in the middle of an `execve`, and the
//! program that it starts is told of at its end: until then their arguments are those of the runtime.

use std::collections::VecDeque;

use shrike_common::{Boundary, Event, Header, Origin};

use crate::context::inspection::Inspection;

/// How long that is waited for, in nanoseconds. Who is restored from a checkpoint executes nothing.
const PATIENCE: u64 = 100_000_000;

/// Those that wait, the first one first.
#[derive(Debug, Default)]
pub(crate) struct Entrances(VecDeque<Entrance>);

/// One that waits.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// The number of its event.
    pub(crate) number: u64,
    /// The record of that.
    pub(crate) record: Box<[u8]>,
    /// What was found when it came.
    pub(crate) inspection: Option<Inspection>,
    header: Header,
}

impl Entrances {
    /// Whether a task with this boundary is about to execute its program.
    pub(crate) fn is_one(boundary: &Boundary<'_>) -> bool {
        Origin::from_code(boundary.origin) != Some(Origin::Found)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets one wait.
    pub(crate) fn wait(
        &mut self,
        number: u64,
        header: &Header,
        record: &[u8],
        inspection: Option<Inspection>,
    ) {
        let record = record.into();
        self.0.push_back(Entrance { number, record, inspection, header: *header });
    }

    /// The one that an event ends the waiting of: it says what the task runs, or that it has ended.
    pub(crate) fn done(&mut self, header: &Header, event: &Event<'_>) -> Option<Entrance> {
        if !matches!(event, Event::Exec(_) | Event::Exit(_)) {
            return None;
        }
        let is_its = |entrance: &Entrance| {
            (entrance.header.tgid, entrance.header.start) == (header.tgid, header.start)
        };
        let at = self.0.iter().position(is_its)?;
        self.0.remove(at)
    }

    /// Those that need not wait any longer at this time.
    pub(crate) fn overdue(&mut self, now: u64) -> Vec<Entrance> {
        let is_overdue =
            |entrance: &&Entrance| entrance.header.time.saturating_add(PATIENCE) <= now;
        let count = self.0.iter().take_while(is_overdue).count();
        self.0.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use shrike_common::{Exec, Exit, Pid};

    use super::*;

    fn header(pid: u32, time: u64) -> Header {
        Header { tgid: Pid(pid), tid: Pid(pid), time, ..Header::default() }
    }

    #[test]
    fn who_comes_in_waits_for_its_own_program_and_not_for_ever() {
        let mut entrances = Entrances::default();
        for (number, pid) in [(1, 7), (2, 8), (3, 9), (4, 10)] {
            entrances.wait(number, &header(pid, number), b"", None);
        }
        let exec = Event::Exec(Exec::default());
        let exit = Event::Exit(Exit { status: 0, reserved: 0 });
        let number = |entrance: Option<Entrance>| entrance.map(|entrance| entrance.number);
        assert_eq!(number(entrances.done(&header(6, 5), &exec)), None);
        assert_eq!(number(entrances.done(&header(8, 5), &exec)), Some(2));
        assert_eq!(number(entrances.done(&header(8, 6), &exec)), None, "once");
        assert_eq!(number(entrances.done(&header(9, 7), &exit)), Some(3));
        assert!(entrances.overdue(PATIENCE).is_empty());
        let overdue = entrances.overdue(PATIENCE + 1);
        assert_eq!(overdue.iter().map(|entrance| entrance.number).collect::<Vec<_>>(), [1]);
        assert!(!entrances.is_empty());
        assert_eq!(entrances.overdue(u64::MAX).len(), 1);
        assert!(entrances.is_empty());
    }
}
