//! Unit and doc tests of the host crates: `cargo test`, and what its output says.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::report::{Entry, HOST, Outcome, Report};
use crate::console::Step;
use crate::process::{shown, tail};
use crate::workspace;

/// Runs the tests whose names contain `filter`, and adds their results.
pub fn run(filter: Option<&str>, report: &mut Report) -> Result<()> {
    let step = Step::start("Testing", "unit and doc tests");
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace", "--exclude", "shrike-ebpf", "--no-fail-fast"]);
    cargo.args(["--color", "never"]).args(filter);
    // One pipe for both streams keeps cargo's headings in their places.
    let (reader, writer) = io::pipe()?;
    cargo.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let words = shown(&cargo);
    let mut child = cargo.spawn().with_context(|| format!("cannot start `{words}`"))?;
    // The command still holds ends of the pipe.
    drop(cargo);

    let mut output = Output::default();
    let mut log = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(doing) = activity(&line) {
            step.detail(doing);
        }
        for entry in output.line(&line) {
            report.add(entry);
        }
        log += &line;
        log.push('\n');
    }
    let status = child.wait()?;
    fs::write(super::log_folder()?.join("unit.log"), &log)?;
    for entry in output.finish() {
        report.add(entry);
    }
    if !status.success() && report.count(Outcome::Failed) == 0 {
        bail!("`{words}` failed ({status})\n{}", tail(&log));
    }
    Ok(())
}

fn activity(line: &str) -> Option<&str> {
    line.trim_start()
        .strip_prefix("Compiling ")
        .or_else(|| line.trim_start().strip_prefix("Running "))
}

/// Reads the output of `cargo test`, line by line.
#[derive(Debug, Default)]
struct Output {
    program: Option<Program>,
}

/// One test program, or the doc tests of a crate.
#[derive(Debug)]
struct Program {
    name: String,
    since: Instant,
    /// How many tests it said it would run, since its last summary.
    announced: Option<usize>,
    summary: Summary,
    /// The names of those that failed, with what they said.
    failures: Vec<(String, String)>,
}

/// What the last line of a program counts. The lines before it may be torn by what tests print.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Summary {
    passed: usize,
    failed: usize,
    ignored: usize,
    seconds: f64,
}

impl Output {
    /// Takes a line, and hands out the results of a program when the next one begins.
    fn line(&mut self, line: &str) -> Vec<Entry> {
        if let Some(name) = heading(line) {
            let finished = self.finish();
            self.program = Some(Program::new(name));
            return finished;
        }
        if let Some(program) = &mut self.program {
            program.line(line);
        }
        Vec::new()
    }

    /// The results of the last program.
    fn finish(&mut self) -> Vec<Entry> {
        self.program.take().map(Program::entries).unwrap_or_default()
    }
}

impl Program {
    fn new(name: String) -> Self {
        let summary = Summary::default();
        Self { name, since: Instant::now(), announced: None, summary, failures: Vec::new() }
    }

    fn line(&mut self, line: &str) {
        if let Some(count) = announcement(line) {
            self.announced = Some(count);
        } else if let Some(summary) = Summary::read(line) {
            self.announced = None;
            self.summary.add(summary);
        } else if let Some(name) = failure(line) {
            self.failures.push((name.to_owned(), String::new()));
        } else if self.announced.is_some()
            && let Some((_, message)) = self.failures.last_mut()
        {
            message.push_str(line);
            message.push('\n');
        }
    }

    /// One result for all that passed, and one for each that failed.
    fn entries(mut self) -> Vec<Entry> {
        if let Some(announced) = self.announced {
            self.summary.seconds += self.since.elapsed().as_secs_f64();
            self.summary.failed += announced;
            let message = format!("the program ended before its {announced} tests did");
            self.failures = vec![("whole program".into(), message)];
        }
        let Summary { passed, failed, ignored, seconds } = self.summary;
        let entry = |test: &str, outcome, count, message: &str| Entry {
            place: HOST.into(),
            suite: self.name.clone(),
            test: test.to_owned(),
            outcome,
            count,
            seconds,
            message: message.trim_end().to_owned(),
        };
        let mut entries: Vec<Entry> = Vec::new();
        for (name, message) in &self.failures {
            // The list of names after the failures is no part of the last one.
            let message = message.split("\nfailures:\n").next().unwrap_or_default();
            entries.push(entry(name, Outcome::Failed, 1, message));
        }
        let unnamed = failed.saturating_sub(self.failures.len());
        for (count, outcome, word) in [
            (unnamed, Outcome::Failed, "failed"),
            (ignored, Outcome::Skipped, "ignored"),
            (passed, Outcome::Ok, "passed"),
        ] {
            if count > 0 {
                entries.push(entry(&format!("{count} {word}"), outcome, count, ""));
            }
        }
        entries
    }
}

impl Summary {
    /// Reads `test result: ok. 2 passed; 0 failed; 1 ignored; …; finished in 0.50s`.
    fn read(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut summary = Self::default();
        for part in counts.split("; ") {
            match part.split_once(' ')? {
                (count, "passed") => summary.passed = count.parse().ok()?,
                (count, "failed") => summary.failed = count.parse().ok()?,
                (count, "ignored") => summary.ignored = count.parse().ok()?,
                ("finished", rest) => {
                    let seconds = rest.strip_prefix("in ")?.strip_suffix('s')?;
                    summary.seconds = seconds.parse().ok()?;
                }
                _ => {}
            }
        }
        Some(summary)
    }

    /// Doc tests of one crate may be run as several programs.
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.seconds += other.seconds;
    }
}

/// The name of the program that a line announces: `Running unittests src/lib.rs
/// (target/debug/deps/xtask-1f)` or `Doc-tests xtask`.
fn heading(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{package} (doc)"));
    }
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once(" (")?;
    let file = path.trim_end_matches(')').rsplit('/').next()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned())
}

/// The count of a line like `running 3 tests`.
fn announcement(line: &str) -> Option<usize> {
    let (count, noun) = line.strip_prefix("running ")?.split_once(' ')?;
    noun.starts_with("test").then(|| count.parse().ok())?
}

/// The name of a line like `---- cache::tests::lock stdout ----`.
fn failure(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Entry> {
        let mut output = Output::default();
        let mut entries: Vec<Entry> = text.lines().flat_map(|line| output.line(line)).collect();
        entries.extend(output.finish());
        entries
    }

    fn told(text: &str) -> Vec<(String, String, Outcome, usize)> {
        let told = |entry: Entry| (entry.suite, entry.test, entry.outcome, entry.count);
        entries(text).into_iter().map(told).collect()
    }

    fn line(
        suite: &str,
        test: &str,
        outcome: Outcome,
        count: usize,
    ) -> (String, String, Outcome, usize) {
        (suite.into(), test.into(), outcome, count)
    }

    const MIXED: &str = "   Compiling xtask v0.1.0 (/src/xtask)
    Finished `test` profile [optimized + debuginfo] target(s) in 3.05s
     Running unittests src/lib.rs (/target/debug/deps/shrike_rules-0a1b)

running 4 tests
test a::holds ... ok
test a::panics - should panic ... ok
test a::breaks ... FAILED
test a::slow ... ignored, takes minutes

failures:

---- a::breaks stdout ----

thread 'a::breaks' panicked at src/a.rs:3:5:
left == right

failures:
    a::breaks

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.50s

error: test failed, to rerun pass `-p shrike-rules --lib`
   Doc-tests shrike_common

running 1 test
test common/src/lib.rs - (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";

    #[test]
    fn every_test_is_counted_once() {
        assert_eq!(
            told(MIXED),
            [
                line("shrike_rules", "a::breaks", Outcome::Failed, 1),
                line("shrike_rules", "1 ignored", Outcome::Skipped, 1),
                line("shrike_rules", "2 passed", Outcome::Ok, 2),
                line("shrike_common (doc)", "1 passed", Outcome::Ok, 1),
            ]
        );
    }

    #[test]
    fn failure_carries_its_own_output() {
        let message = &entries(MIXED)[0].message;
        assert_eq!(message, "\nthread 'a::breaks' panicked at src/a.rs:3:5:\nleft == right");
    }

    #[test]
    fn program_that_dies_is_a_failure() {
        let text = "     Running unittests src/lib.rs (/t/deps/shrike-1)\n\nrunning 3 tests\n\
                    test a ... ok\nerror: test failed (signal: 11)\n\
                    \u{20}    Running unittests src/main.rs (/t/deps/other-2)\n\nrunning 0 tests\n\n\
                    test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; finished in 0.00s\n";
        assert_eq!(
            told(text),
            [
                line("shrike", "whole program", Outcome::Failed, 1),
                line("shrike", "2 failed", Outcome::Failed, 2)
            ]
        );
        assert_eq!(entries(text)[0].message, "the program ended before its 3 tests did");
    }

    #[test]
    fn lines_torn_by_output_do_not_change_the_counts() {
        let text = "     Running unittests src/lib.rs (/t/deps/x-1)\nrunning 2 tests\n\
                    test drive of the engine\ntest a ... something said\nok\ntest b ... ok\n\
                    test result: ok. 2 passed; 0 failed; 0 ignored; finished in 1.25s\n";
        assert_eq!(told(text), [line("x", "2 passed", Outcome::Ok, 2)]);
        assert!((entries(text)[0].seconds - 1.25).abs() < 1e-9);
    }
}
