//! Whether the probes are alive. Links can look attached while nothing runs: `ftrace_enabled` may be
//! off, a lane full, a program detached. So the agent does something each second that reaches a probe
//! of every backend, and waits for the answer in every lane.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use nix::sys::prctl;
use nix::unistd::{getpgid, getpid};
use shrike_common::{Backend, Lane};

/// A probe may be late when much is going on; this many beats are not.
const MOST_MISSED: u32 = 3;

/// Whether the kernel patches calls of BPF programs into its functions.
const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// The name of the event thread, which it tells itself anew with each beat.
pub(crate) const THREAD: &std::ffi::CStr = c"events";

/// The answers, and how many beats each has been missing for.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    seen: BTreeSet<(Backend, Lane)>,
    missed: BTreeMap<(Backend, Lane), u32>,
}

impl Pulse {
    /// A probe has answered.
    pub(crate) fn saw(&mut self, backend: u32, lane: u32) {
        if let (Some(backend), Some(lane)) = (Backend::from_code(backend), Lane::from_code(lane)) {
            self.seen.insert((backend, lane));
        }
    }

    /// Asks the probes again, of which there are such as these backends run. Returns what is wrong.
    pub(crate) fn beat(&mut self, backends: impl IntoIterator<Item = Backend>) -> Vec<String> {
        let backends: BTreeSet<Backend> = backends.into_iter().collect();
        let expected =
            || backends.iter().flat_map(|&backend| Lane::ALL.map(|lane| (backend, lane)));
        self.missed = expected()
            .map(|answer| {
                let before = self.missed.get(&answer).copied().unwrap_or(0);
                (answer, if self.seen.contains(&answer) { 0 } else { before.saturating_add(1) })
            })
            .collect();
        self.seen.clear();
        let mut wrong: Vec<String> = Vec::new();
        for (backend, lane) in expected() {
            let missed = self.missed.get(&(backend, lane)).copied().unwrap_or(0);
            if missed > MOST_MISSED {
                let (backend, lane) = (backend.name(), lane.name());
                wrong.push(format!("no sign of life by {backend} in lane {lane} for {missed} s"));
            }
        }
        match ask() {
            Ok(true) => {}
            Ok(false) => wrong.push(format!("{FTRACE_ENABLED} is 0: lsm and fentry do not run")),
            Err(error) => wrong.push(format!("cannot ask for signs of life: {error}")),
        }
        wrong
    }
}

/// Does what the probes answer to. Returns whether `ftrace_enabled` is on.
fn ask() -> io::Result<bool> {
    // `task_rename`.
    prctl::set_name(THREAD)?;
    // `security_task_getpgid`: of another task, though it is this one.
    getpgid(Some(getpid()))?;
    // `cgroup/sysctl`.
    match fs::read_to_string(FTRACE_ENABLED) {
        Ok(text) => Ok(text.trim_end() != "0"),
        // A kernel without function tracing has no fentry either, which the probes tell.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lane_of_one_backend_that_falls_silent_is_named() {
        let mut pulse = Pulse::default();
        for _ in 0..10 {
            for lane in Lane::ALL {
                pulse.saw(Backend::Lsm as u32, lane as u32);
                if lane != Lane::Bulk {
                    pulse.saw(Backend::Fentry as u32, lane as u32);
                }
            }
            let wrong = pulse.beat([Backend::Lsm, Backend::Fentry]);
            assert!(
                wrong.iter().all(|wrong| wrong.contains("by fentry in lane bulk")),
                "{wrong:?}"
            );
        }
        let wrong = pulse.beat([Backend::Fentry]);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0], "no sign of life by fentry in lane bulk for 11 s");
        assert_eq!(pulse.beat([]), Vec::<String>::new());
    }
}
