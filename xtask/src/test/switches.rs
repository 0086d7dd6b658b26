//! The switches of the launcher, each as it was seen from inside of a container and from outside, from the
//! results of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::report::{Outcome, Report};

/// The suite that has seen them.
pub const SUITE: &str = "launcher";

/// The suite that has seen some of them where the others cannot: if it was run as well.
const ALSO: &str = super::policy::SUITE;

/// What was seen of a switch.
type Row<'a> = (&'a str, &'a str, &'a str);

/// All that the guests have told.
#[derive(Debug, Default)]
pub struct Table<'a> {
    /// The switches that there are.
    switches: BTreeSet<&'a str>,
    /// The guests in which each was seen so.
    rows: BTreeMap<Row<'a>, BTreeSet<&'a str>>,
    /// What `shrike container gc` has found at the end, by guest.
    left: BTreeMap<&'a str, &'a str>,
}

impl<'a> Table<'a> {
    /// Collects what the tests have told.
    pub fn of(report: &'a Report) -> Self {
        let mut table = Self::default();
        let entries = report.of(SUITE).chain(report.of(ALSO));
        for entry in entries.filter(|entry| entry.outcome == Outcome::Ok) {
            for cell in entry.message.lines().filter_map(|line| line.strip_prefix("cell ")) {
                if let Some(switches) = cell.strip_prefix("switches: ") {
                    table.switches.extend(switches.split_whitespace());
                } else if let Some(left) = cell.strip_prefix("left: ") {
                    table.left.insert(&entry.place, left);
                } else if let Some((switch, rest)) = cell.split_once(" | ") {
                    let (inside, outside) = rest.split_once(" | ").unwrap_or((rest, ""));
                    let row = (switch, inside.trim(), outside.trim());
                    table.rows.entry(row).or_default().insert(&entry.place);
                }
            }
        }
        table
    }

    /// An error if a switch was not seen from both sides, or something is left.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.switches.is_empty(), "no guest has told which switches there are");
        let of = |(switch, ..): &Row<'a>| switch.split(' ').next().unwrap_or_default();
        let empty: Vec<_> = self
            .rows
            .keys()
            .filter(|(_, inside, outside)| inside.is_empty() || outside.is_empty())
            .collect();
        ensure!(empty.is_empty(), "one side is empty: {empty:?}");
        let seen: BTreeSet<&str> = self.rows.keys().map(of).collect();
        let missing: Vec<_> = self.switches.difference(&seen).collect();
        ensure!(missing.is_empty(), "no test has seen what these do: {missing:?}");
        let unknown: Vec<_> = seen.difference(&self.switches).collect();
        ensure!(unknown.is_empty(), "there are no such switches: {unknown:?}");
        let left: Vec<_> = self.left.iter().filter(|(_, left)| **left != "0 leftovers").collect();
        ensure!(left.is_empty() && !self.left.is_empty(), "what is left: {left:?}");
        Ok(())
    }

    /// The table, and what is left.
    pub fn shown(&self) -> String {
        let guests = self.left.len();
        let mut text = String::from("| switch | inside | outside | guests |\n|---|---|---|---|\n");
        for ((switch, inside, outside), places) in &self.rows {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| `{switch}` | {inside} | {outside} | {} of {guests} |",
                places.len()
            );
        }
        for (place, left) in &self.left {
            let _ = writeln!(text, "{place}: {left}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::report::Entry;

    fn report(messages: &[&str]) -> Report {
        let mut report = Report::default();
        for message in messages {
            report.add(Entry {
                place: "6.1-bpf".into(),
                suite: SUITE.into(),
                test: "t".into(),
                outcome: Outcome::Ok,
                count: 1,
                seconds: 0.0,
                message: (*message).into(),
            });
        }
        report
    }

    fn checked(messages: &[&str]) -> Result<(), String> {
        let all = [&["cell left: 0 leftovers", "cell switches: --cpus --user"], messages].concat();
        Table::of(&report(&all)).check().map_err(|error| error.to_string())
    }

    #[test]
    fn every_switch_must_have_been_seen_from_both_sides() {
        let cpus = "cell --cpus N | 1 | 2";
        assert_eq!(
            checked(&[cpus, "cell --user UID | 7 | 7\ncell --user UID:GID | 7 | 8"]),
            Ok(())
        );
        assert!(checked(&[cpus]).unwrap_err().contains("\"--user\""));
        assert!(checked(&[cpus, "cell --user UID | 7 | "]).unwrap_err().contains("empty"));
        assert!(checked(&[cpus, "cell --user UID | 7"]).unwrap_err().contains("empty"));
        let unknown = checked(&[cpus, "cell --user | 7 | 7", "cell --x | 1 | 1"]);
        assert!(unknown.unwrap_err().contains("\"--x\""));
        let left = checked(&[cpus, "cell --user | 7 | 7", "cell left: 1 leftover"]);
        assert!(left.unwrap_err().contains("1 leftover"));
    }

    #[test]
    fn the_table_has_a_line_for_each_way_that_a_switch_was_seen() {
        let report = report(&["cell left: 0 leftovers", "cell --cpus N | a; b | 2"]);
        let shown = Table::of(&report).shown();
        assert!(shown.contains("| `--cpus N` | a; b | 2 | 1 of 1 |\n"), "{shown}");
        assert!(shown.ends_with("6.1-bpf: 0 leftovers\n"), "{shown}");
    }
}
