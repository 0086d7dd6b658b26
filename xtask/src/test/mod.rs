//! `cargo xtask test`: the source's form, unit and doc tests on this machine, and the suites in
//! guests.

pub mod events;
pub mod guests;
pub mod kit;
pub mod lint;
pub mod module;
pub mod policy;
pub mod probes;
pub mod report;
pub mod switches;
pub mod unit;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use self::guests::Selection;
use self::report::Report;
use crate::cache::Cache;
use crate::console::note;
use crate::process::capture;
use crate::setup::tool::Tool;
use crate::setup::{self, Part};
use crate::workspace;

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a choice it checks format and clippy, then runs unit and doc tests, then the suites in
guests with the kernels 6.1 and 6.12, each with and without bpf among the security modules. A
filter or a choice leaves the checks of the source out.

Logs go to vm-logs in the target folder. The last line is `N passed, N failed`.")]
pub struct Options {
    /// Also the newest kernel, full preemption, the suites that take long, and the probes built by
    /// each of the distribution's toolchains; writes docs/test-report.md and docs/events.md
    #[arg(long)]
    full: bool,
    /// Only unit and doc tests
    #[arg(long, conflicts_with_all = ["vm", "suites"])]
    unit: bool,
    /// Only the suites in guests
    #[arg(long)]
    vm: bool,
    /// Only in guests with this in their names, like 6.12-bpf
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// Only these suites, whether they take long or not
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    /// Only tests with this in their names
    #[arg(last = true, value_name = "FILTER")]
    filter: Option<String>,
}

/// Runs what was asked for. The result says whether all of it held.
pub fn run(cache: &Cache, options: &Options, offline: bool) -> Result<bool> {
    let stages = options.stages();
    let mut parts = vec![Part::Toolchain];
    if stages.guests {
        parts.extend(setup::guest_parts(guests::series(options.full)));
        parts.extend([Tool::Runc, Tool::ApparmorParser].map(Part::Tool));
        if options.selection().has(module::SUITE) {
            parts.extend(module::parts());
        }
        if options.selection().has(policy::SUITE) {
            parts.push(Part::Tool(Tool::Secilc));
        }
    }
    setup::ensure(cache, &parts, offline)?;

    let mut report = Report::default();
    if stages.lint {
        lint::check(cache, &mut report);
    }
    if stages.unit {
        unit::run(options.filter.as_deref(), &mut report)?;
    }
    if options.full && stages.lint {
        probes::build_by_every_rung(cache, &mut report);
    }
    if stages.guests {
        guests::run(cache, &options.selection(), offline, &mut report)?;
    }
    // A part of them cannot have seen all.
    if options.full && options.filter.is_none() && report.of(switches::SUITE).next().is_some() {
        let table = switches::Table::of(&report);
        let (shown, held) = (table.shown(), table.check());
        println!("{shown}");
        report.check(switches::SUITE, "every switch was seen from both sides", || held);
    }
    if options.full {
        if stages.lint {
            write(REPORT, &report.markdown(&commit()?))?;
        }
        // It has a column for each guest: those that were left out would be lost.
        let is_whole = options.guest.is_none() && options.filter.is_none();
        if is_whole && report.is_success() && report.of("matrix").next().is_some() {
            write(events::PATH, &events::page(&report))?;
        }
    }
    println!("{}", report.closing_line());
    Ok(report.is_success())
}

/// The folder of the logs.
fn log_folder() -> Result<PathBuf> {
    let folder = workspace::target().join("vm-logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stages {
    lint: bool,
    unit: bool,
    guests: bool,
}

impl Options {
    fn stages(&self) -> Stages {
        let only_guests = self.vm || self.guest.is_some() || !self.suites.is_empty();
        Stages {
            lint: !self.unit && !only_guests && self.filter.is_none(),
            unit: !only_guests,
            guests: !self.unit,
        }
    }

    fn selection(&self) -> Selection {
        Selection {
            full: self.full,
            guest: self.guest.clone(),
            suites: self.suites.clone(),
            filter: self.filter.clone(),
        }
    }
}

/// Where the results of a full run are written.
const REPORT: &str = "docs/test-report.md";

fn write(path: &str, text: &str) -> Result<()> {
    let path = workspace::root().join(path);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    note("Written", path.display());
    Ok(())
}

/// The commit that was tested, and whether the source differs from it.
fn commit() -> Result<String> {
    let git = |arguments: &[&str]| {
        capture(Command::new("git").args(arguments).current_dir(workspace::root()))
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let status =
        git(&["status", "--porcelain", "--", ".", ":!docs/test-report.md", ":!docs/events.md"])?;
    let changed = if status.is_empty() { "" } else { " with local changes" };
    Ok(format!("{}{changed}", commit.trim_end()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        let words = std::iter::once("test").chain(words.iter().copied());
        Line::try_parse_from(words).map(|line| line.options)
    }

    fn stages(words: &[&str]) -> (bool, bool, bool) {
        let Stages { lint, unit, guests } = parse(words).unwrap().stages();
        (lint, unit, guests)
    }

    #[test]
    fn everything_is_run_by_default() {
        assert_eq!(stages(&[]), (true, true, true));
        assert_eq!(stages(&["--full"]), (true, true, true));
    }

    #[test]
    fn choices_leave_the_rest_out() {
        assert_eq!(stages(&["--unit"]), (false, true, false));
        assert_eq!(stages(&["--vm"]), (false, false, true));
        assert_eq!(stages(&["guest"]), (false, false, true));
        assert_eq!(stages(&["--", "lock"]), (false, true, true));
    }

    #[test]
    fn suites_and_filter_are_told_apart() {
        let selection = parse(&["guest", "books", "--", "loopback"]).unwrap().selection();
        assert_eq!(selection.suites, ["guest", "books"]);
        assert_eq!(selection.filter.as_deref(), Some("loopback"));
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parse(&["--unit", "--vm"]).is_err());
        assert!(parse(&["--unit", "guest"]).is_err());
    }
}
