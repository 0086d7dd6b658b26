//! Runs tests, each in a process of its own: what one of them breaks, crashes or hangs is its own.

use std::env;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::configuration::{Configuration, VARIABLE};
use crate::record::{Outcome, Record, Results};
use crate::suite::{SKIPPED, Suite, Test};

/// What a test may take at least, when those before it have used up the suite's budget.
const LEAST_LIMIT: Duration = Duration::from_secs(10);

/// How often a running test is looked at.
const TICK: Duration = Duration::from_millis(5);

/// How much of a test's output its record repeats.
const MESSAGE_BYTES: u64 = 16 * 1024;

/// Which tests are to be run.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// The guest that they run in.
    pub guest: &'a Configuration,
    /// A part of the names of the tests to run, `suite::test`.
    pub filter: &'a str,
}

/// Runs the selected tests of `suites` and returns how many failed.
pub fn run(suites: &[&Suite], selection: &Selection<'_>, mut results: Results) -> Result<usize> {
    let mut failed = 0;
    for suite in suites {
        let deadline = Instant::now() + suite.budget;
        for test in suite.tests.iter().filter(|test| selection.has(suite, test)) {
            let limit = deadline.saturating_duration_since(Instant::now()).max(LEAST_LIMIT);
            let record = run_test(suite, test, selection.guest, limit)?;
            failed += usize::from(record.outcome == Outcome::Failed);
            results.add(&record)?;
        }
    }
    results.finish()?;
    Ok(failed)
}

impl Selection<'_> {
    /// Whether `test` of `suite` is to be run.
    pub fn has(&self, suite: &Suite, test: &Test) -> bool {
        (suite.wants)(self.guest) && format!("{}::{}", suite.name, test.name).contains(self.filter)
    }
}

fn run_test(suite: &Suite, test: &Test, guest: &Configuration, limit: Duration) -> Result<Record> {
    // A file, not a pipe: a process that the test leaves running cannot hold it up.
    let mut output = tempfile()?;
    let start = Instant::now();
    let mut child = Command::new(env::current_exe()?)
        .args(["exec", suite.name, test.name])
        .env(VARIABLE, guest.to_string())
        // Errors know their line; a panic tells it anyway.
        .envs([("RUST_LIB_BACKTRACE", "1"), ("RUST_BACKTRACE", "0")])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()
        .context("cannot start the process of a test")?;
    let status = wait(&mut child, limit)?;
    let took = start.elapsed();
    let end = end_of(&mut output)?;
    let (outcome, message) = judge(status, end, limit);
    Ok(Record::new(suite.name, test.name, outcome, took, message))
}

/// A file that nobody else can open.
fn tempfile() -> Result<fs::File> {
    let path = env::temp_dir().join(format!("shrike-test-{}", std::process::id()));
    let file = fs::File::options()
        .read(true)
        .append(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Waits for the test, and ends it with all its children when its time is up.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            break None;
        }
        thread::sleep(TICK);
    };
    // What it left running must not disturb the next one. The group may be empty.
    let _ = killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL);
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}

fn end_of(output: &mut fs::File) -> Result<String> {
    let size = output.metadata()?.len();
    output.seek(SeekFrom::Start(size.saturating_sub(MESSAGE_BYTES)))?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn judge(status: Option<ExitStatus>, output: String, limit: Duration) -> (Outcome, String) {
    let failed = |reason: String| {
        let message = if output.is_empty() { reason } else { format!("{reason}\n{output}") };
        (Outcome::Failed, message)
    };
    let Some(status) = status else {
        return failed(format!("still running after {} s", limit.as_secs()));
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => (Outcome::Ok, cells(&output)),
        (Some(SKIPPED), _) => (Outcome::Skipped, output),
        // An error or a panic: its own message says it all.
        (Some(1 | 101), _) if !output.is_empty() => (Outcome::Failed, output),
        (Some(code), _) => failed(format!("its process ended with exit code {code}")),
        (None, signal) => {
            failed(format!("its process was ended by signal {}", signal.unwrap_or_default()))
        }
    }
}

/// What a test that is ok has found out about parts of what it tests: the lines that begin so.
fn cells(output: &str) -> String {
    output.lines().filter(|line| line.starts_with("cell ")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: Option<i32>, output: &str) -> (Outcome, String) {
        judge(status.map(ExitStatus::from_raw), output.to_owned(), Duration::from_secs(3))
    }

    #[test]
    fn exit_status_tells_the_outcome() {
        let code = |code: i32| Some(code << 8);
        assert_eq!(judged(code(0), "chatter"), (Outcome::Ok, String::new()));
        assert_eq!(judged(code(0), "a\ncell b: ok\n"), (Outcome::Ok, "cell b: ok".into()));
        assert_eq!(judged(code(77), "no BTF"), (Outcome::Skipped, "no BTF".into()));
        assert_eq!(
            judged(code(101), "panicked at x:1"),
            (Outcome::Failed, "panicked at x:1".into())
        );
        assert_eq!(judged(code(1), "Error: no alert"), (Outcome::Failed, "Error: no alert".into()));
        assert_eq!(judged(code(3), "words").1, "its process ended with exit code 3\nwords");
        assert_eq!(judged(Some(11), "").1, "its process was ended by signal 11");
        assert_eq!(judged(None, "").1, "still running after 3 s");
    }

    #[test]
    fn process_that_hangs_is_ended_with_its_children() {
        let mut child =
            Command::new("sh").args(["-c", "sleep 600 & wait"]).process_group(0).spawn().unwrap();
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert_eq!(wait(&mut child, Duration::from_millis(50)).unwrap(), None);
        // Its child is an orphan that init reaps in its own time.
        let deadline = Instant::now() + Duration::from_secs(10);
        while killpg(group, None).is_ok() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        assert!(killpg(group, None).is_err());
    }

    #[test]
    fn only_the_end_of_long_output_is_kept() {
        use std::io::Write;
        let mut output = tempfile().unwrap();
        output.write_all(&vec![b'x'; 20_000]).unwrap();
        output.write_all(b"the end\n").unwrap();
        let end = end_of(&mut output).unwrap();
        assert!(end.ends_with("the end") && end.len() < 17_000);
    }
}
