//! The results of a run: a line for each as it comes, the closing line, and the report for the
//! documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use serde::Deserialize;

use crate::console::{alarming, line, muted, strong};

/// Where unit and doc tests run.
pub const HOST: &str = "host";

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It held.
    Ok,
    /// It did not.
    Failed,
    /// It had nothing to test.
    Skipped,
}

/// The result of a test, or of some that are told together.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// [`HOST`], or the guest's name.
    pub place: String,
    /// What the test belongs to.
    pub suite: String,
    /// Its name.
    pub test: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How many tests this stands for.
    pub count: usize,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed or was skipped; of one that held, what belongs into a report.
    pub message: String,
}

/// All results of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    /// Shows a result and keeps it.
    pub fn add(&mut self, entry: Entry) {
        line(entry.shown());
        self.entries.push(entry);
    }

    /// Drops the results of a place, where all is run again.
    pub fn forget(&mut self, place: &str) {
        self.entries.retain(|entry| entry.place != place);
    }

    /// Runs something on this machine that holds or does not, as a test.
    pub fn check(&mut self, suite: &str, test: &str, run: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let held = run();
        self.add(Entry {
            place: HOST.to_owned(),
            suite: suite.to_owned(),
            test: test.to_owned(),
            outcome: if held.is_ok() { Outcome::Ok } else { Outcome::Failed },
            count: 1,
            seconds: start.elapsed().as_secs_f64(),
            message: held.err().map(|error| format!("{error:#}")).unwrap_or_default(),
        });
    }

    /// The results of a suite.
    pub fn of(&self, suite: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.suite == suite)
    }

    /// How many tests ended with `outcome`.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).map(|entry| entry.count).sum()
    }

    /// Whether tests were run and all of them held.
    pub fn is_success(&self) -> bool {
        self.count(Outcome::Failed) == 0 && self.count(Outcome::Ok) > 0
    }

    /// The line that tells how it went.
    pub fn closing_line(&self) -> String {
        let count = |outcome| self.count(outcome);
        let mut text = format!("{} passed, {} failed", count(Outcome::Ok), count(Outcome::Failed));
        if count(Outcome::Skipped) > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {} skipped", count(Outcome::Skipped));
        }
        text
    }

    /// The report for the documentation, of the state `commit`.
    pub fn markdown(&self, commit: &str) -> String {
        let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
        for entry in &self.entries {
            let row = rows.entry((&entry.place, &entry.suite)).or_default();
            row.seconds += entry.seconds;
            match entry.outcome {
                Outcome::Ok => row.passed += entry.count,
                Outcome::Failed => row.failed += entry.count,
                Outcome::Skipped => row.skipped += entry.count,
            }
        }
        let mut text = format!(
            "# Test report\n\nWritten by `cargo xtask test --full` at commit {commit}.\n\n\
             | where | suite | passed | failed | skipped | seconds |\n\
             | --- | --- | ---: | ---: | ---: | ---: |\n"
        );
        for ((place, suite), row) in rows {
            let Row { passed, failed, skipped, seconds } = row;
            let _ = writeln!(
                text,
                "| {place} | {suite} | {passed} | {failed} | {skipped} | {seconds:.1} |"
            );
        }
        text + "\n" + &self.closing_line() + "\n"
    }
}

#[derive(Debug, Default)]
struct Row {
    passed: usize,
    failed: usize,
    skipped: usize,
    seconds: f64,
}

impl Entry {
    fn shown(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Ok => strong(&format!("{:>12}", "ok")),
            Outcome::Failed => alarming(&format!("{:>12}", "FAILED")),
            Outcome::Skipped => muted(&format!("{:>12}", "skipped")),
        };
        let Self { place, suite, test, seconds, .. } = self;
        let mut text = format!("{outcome} {place:<20} {suite}::{test} ({seconds:.1} s)");
        if self.outcome == Outcome::Ok {
            return text;
        }
        for line in self.message.lines() {
            text += "\n             ";
            text += line;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(place: &str, suite: &str, outcome: Outcome, count: usize) -> Entry {
        Entry {
            place: place.into(),
            suite: suite.into(),
            test: "t".into(),
            outcome,
            count,
            seconds: 1.25,
            message: String::new(),
        }
    }

    fn report(entries: &[Entry]) -> Report {
        Report { entries: entries.to_vec() }
    }

    #[test]
    fn closing_line_counts_everything_together() {
        let report = report(&[
            entry(HOST, "rules", Outcome::Ok, 40),
            entry("6.1-bpf", "guest", Outcome::Ok, 1),
            entry("6.1-bpf", "guest", Outcome::Failed, 1),
        ]);
        assert_eq!(report.closing_line(), "41 passed, 1 failed");
        assert!(!report.is_success());
    }

    #[test]
    fn skipped_tests_are_told_only_when_there_are_some() {
        let skipped = [entry(HOST, "a", Outcome::Ok, 2), entry(HOST, "a", Outcome::Skipped, 3)];
        assert_eq!(report(&skipped).closing_line(), "2 passed, 0 failed, 3 skipped");
        assert!(report(&skipped).is_success());
    }

    #[test]
    fn no_tests_are_no_success() {
        assert!(!report(&[]).is_success());
        assert!(!report(&[entry(HOST, "a", Outcome::Skipped, 3)]).is_success());
    }

    #[test]
    fn markdown_has_a_row_for_each_place_and_suite() {
        let text = report(&[
            entry("6.1-bpf", "guest", Outcome::Ok, 1),
            entry("6.1-bpf", "guest", Outcome::Failed, 1),
            entry(HOST, "rules", Outcome::Ok, 40),
        ])
        .markdown("abc1234");
        assert!(text.contains("at commit abc1234."), "{text}");
        assert!(
            text.contains(
                "| 6.1-bpf | guest | 1 | 1 | 0 | 2.5 |\n| host | rules | 40 | 0 | 0 | 1.2 |\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("\n41 passed, 1 failed\n"), "{text}");
    }

    #[test]
    fn message_stands_below_its_test() {
        let mut failed = entry("6.1-bpf", "guest", Outcome::Failed, 1);
        failed.message = "panicked\nat 3".into();
        let shown = failed.shown();
        assert!(
            shown.contains("guest::t (1.2 s)\n             panicked\n             at 3"),
            "{shown}"
        );
    }
}
