//! Nothing is lost in silence: a workload that counts itself, and the agent's books.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, scratch};
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "books",
    tier: Tier::Quick,
    budget: Duration::from_mins(2),
    wants: |_| true,
    tests: tests![balance_after_ten_thousand_opens, balance_when_the_ring_overflows,],
};

/// How many files the workload opens.
const OPENS: u32 = 10_000;

/// With the default rings.
fn balance_after_ten_thousand_opens() -> Result<()> {
    let books = flood(&[])?;
    ensure!(books.received + books.dropped == u64::from(OPENS), "{books:?}");
    ensure!(books.received > 0, "nothing arrived: {books:?}");
    Ok(())
}

/// With a ring that holds a few dozen records.
fn balance_when_the_ring_overflows() -> Result<()> {
    let books = flood(&["--ring-size", "bulk=16KiB"])?;
    ensure!(books.dropped > 0, "nothing was dropped: {books:?}");
    ensure!(books.received > 0, "nothing arrived: {books:?}");
    ensure!(books.received + books.dropped == u64::from(OPENS), "{books:?}");
    Ok(())
}

/// What became of the workload's opens.
#[derive(Debug)]
struct Books {
    /// Marked events that reached a rule.
    received: u64,
    /// Events that the probes count as lost while the workload ran.
    dropped: u64,
}

fn flood(options: &[&str]) -> Result<Books> {
    let dir = scratch()?;
    let file = dir.join("marked");
    fs::write(&file, "")?;
    let rules = format!(
        "- rule: Marked
  desc: The workload opens its file.
  condition: evt.type = openat and fd.name = {}
  output: \"%fd.name\"
  priority: DEBUG
",
        file.display()
    );
    let agent = Agent::start(&rules, options)?;
    let before = Totals::read(&agent)?;
    let status =
        Command::new("/proc/self/exe").arg("opener").arg(&file).arg(OPENS.to_string()).status()?;
    ensure!(status.success(), "the workload failed: {status}");
    // The books are closed when every event that a probe had to send is accounted for.
    let mut after = Totals::read(&agent)?;
    agent.wait("done with the books", |agent| {
        Totals::read(agent).is_ok_and(|now| {
            let settled = now.attempted == now.received + now.dropped && now == after;
            after = now;
            settled
        })
    })?;
    let matched = agent.metric("shrike_alerts_total", &[("rule", "Marked")])?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(Books { received: matched, dropped: after.dropped - before.dropped })
}

/// The agent's counters for file opens.
#[derive(Debug, PartialEq)]
struct Totals {
    attempted: u64,
    received: u64,
    dropped: u64,
}

impl Totals {
    fn read(agent: &Agent) -> Result<Self> {
        let kind = [("kind", "file_open")];
        Ok(Self {
            attempted: agent.metric("shrike_events_attempted_total", &kind)?,
            received: agent.metric("shrike_events_total", &kind)?,
            dropped: agent.metric("shrike_events_lost_total", &kind)?,
        })
    }
}

/// The workload's own main function.
pub fn opener(path: &Path, opens: u32) -> Result<()> {
    for done in 0..opens {
        File::open(path).with_context(|| format!("open number {done}"))?;
    }
    Ok(())
}
