//! Another look at `/proc` and at the cgroups when the tables of them may be wrong: on a thread of its own, since
//! a host has many, and not before the events that were sent meanwhile have been seen.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use super::cgroup::Cgroups;
use super::container::{Change, Containers};
use super::process::{Processes, Scan};
use crate::sensor::boot_time;

/// The least time between the end of one and the beginning of the next, in nanoseconds: a host that loses
/// events has enough to do.
const PAUSE: u64 = 5_000_000_000;

/// At most one at a time.
#[derive(Debug)]
pub(crate) struct Rescan {
    proc: PathBuf,
    /// Where the unified hierarchy is mounted.
    cgroups: PathBuf,
    state: State,
    /// When the next one may begin.
    not_before: u64,
    done: u64,
}

#[derive(Debug)]
enum State {
    Idle,
    Running(JoinHandle<io::Result<(Scan, Cgroups)>>),
    /// Until the events of its time have come.
    Waiting(Box<(Scan, Cgroups)>),
}

impl Rescan {
    /// Of the processes in a folder like `/proc`, and the cgroups in another one.
    pub(crate) fn new(proc: PathBuf, cgroups: PathBuf) -> Self {
        Self { proc, cgroups, state: State::Idle, not_before: 0, done: 0 }
    }

    /// Does what is next; all events that were sent before `seen` are in the table. Returns what that has changed.
    pub(crate) fn go_on(
        &mut self,
        processes: &mut Processes,
        containers: &mut Containers,
        seen: u64,
    ) -> Change {
        let mut change = Change::default();
        self.state = match mem::replace(&mut self.state, State::Idle) {
            State::Idle if processes.is_stale() && boot_time() >= self.not_before => {
                containers.begin();
                self.begin()
            }
            State::Running(thread) if thread.is_finished() => match thread.join() {
                Ok(Ok(found)) => State::Waiting(Box::new(found)),
                Ok(Err(error)) => self.give_up(&error),
                Err(_) => self.give_up(&io::Error::other("the thread failed")),
            },
            State::Waiting(found) if seen >= found.0.end() => {
                let (scan, cgroups) = *found;
                processes.merge(&scan);
                change = containers.merge(cgroups);
                self.done += 1;
                self.pause()
            }
            state => state,
        };
        change
    }

    /// How many were done.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    fn begin(&mut self) -> State {
        let (proc, cgroups) = (self.proc.clone(), self.cgroups.clone());
        // By one thread: events were lost, and who would handle the next ones has the processors.
        let scan = move || Ok((Scan::take(&proc, boot_time, 1)?, Cgroups::scan(&cgroups)?));
        match thread::Builder::new().name("rescan".to_owned()).spawn(scan) {
            Ok(thread) => State::Running(thread),
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &io::Error) -> State {
        let (proc, cgroups) = (self.proc.display(), self.cgroups.display());
        tracing::warn!("cannot read {proc} and {cgroups} again, after a loss: {error}");
        self.pause()
    }

    fn pause(&mut self) -> State {
        self.not_before = boot_time().saturating_add(PAUSE);
        State::Idle
    }
}
