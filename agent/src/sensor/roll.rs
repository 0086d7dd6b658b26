//! The tasks that were there before the probes: the agent shows each of them to the probe that sits where
//! one task asks about another, so that containers are known which were started before.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::{Pid, getpgid};

/// How often the roll is called: a task that is born to one that has not been shown yet, and gets a
/// lower number, is found the second time.
const CALLS: u32 = 2;

/// Shows every thread of this host to the probes.
pub(super) fn call() -> io::Result<()> {
    for _ in 0..CALLS {
        for process in fs::read_dir("/proc")? {
            let process = process?;
            if number(&process.file_name()).is_some() {
                show_threads(&process.path());
            }
        }
    }
    Ok(())
}

/// A process may end at any moment.
fn show_threads(process: &Path) {
    let Ok(threads) = fs::read_dir(process.join("task")) else { return };
    for thread in threads.flatten().filter_map(|thread| number(&thread.file_name())) {
        // `security_task_getpgid`; what it answers does not matter.
        let _ = getpgid(Some(Pid::from_raw(thread)));
    }
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}
