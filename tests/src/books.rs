//! Nothing is lost in silence: a workload that counts itself, and the agent's books.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, scratch};
use crate::configuration::Configuration;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "books",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(5),
    wants: Configuration::is_single,
    tests: tests![balance_after_ten_thousand_opens, balance_when_the_ring_overflows],
};

/// How many files the workload opens.
const OPENS: u32 = 10_000;

/// With the default rings.
fn balance_after_ten_thousand_opens() -> Result<()> {
    let books = flood(&[])?;
    ensure!(books.received > 0, "nothing arrived: {books:?}");
    books.balance()
}

/// With a ring that holds a few dozen records.
fn balance_when_the_ring_overflows() -> Result<()> {
    let books = flood(&["--ring-size", "bulk=16KiB"])?;
    ensure!(books.dropped > 0, "nothing was dropped: {books:?}");
    ensure!(books.received > 0, "nothing arrived: {books:?}");
    books.balance()
}

/// What became of the workload's opens.
#[derive(Debug)]
struct Books {
    /// Events that the probe had to send while the workload ran.
    attempted: u64,
    /// Those that reached the workload's rule.
    received: u64,
    /// Those that could not be sent.
    dropped: u64,
    /// Runs of the probe that the kernel skipped; no event was attempted then.
    missed: u64,
}

impl Books {
    fn balance(&self) -> Result<()> {
        let Self { attempted, received, dropped, missed } = self;
        // Whose open it was that the kernel skipped, nobody knows: it may have been none of the workload's.
        let possible = *attempted..=attempted + missed;
        ensure!(possible.contains(&u64::from(OPENS)), "somebody else opened files: {self:?}");
        ensure!(received + dropped == *attempted, "{self:?}");
        Ok(())
    }
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
    // Its own start opens files, too: it waits until these are in the books.
    let mut workload = Command::new("/proc/self/exe")
        .arg("opener")
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let before = Totals::settled(&agent)?;
    let mut go = workload.stdin.take().context("no stdin")?;
    go.write_all(format!("{OPENS}\n").as_bytes())?;
    let mut done = String::new();
    BufReader::new(workload.stdout.take().context("no stdout")?).read_line(&mut done)?;
    ensure!(done.trim_end() == OPENS.to_string(), "the workload says {done:?}");
    let after = Totals::settled(&agent)?;
    drop(go);
    ensure!(workload.wait()?.success(), "the workload failed");
    let received = agent.metric("shrike_alerts_total", &[("rule", "Marked")])?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(Books {
        attempted: after.attempted - before.attempted,
        received,
        dropped: after.dropped - before.dropped,
        missed: after.missed - before.missed,
    })
}

/// The agent's counters for file opens.
#[derive(Debug, PartialEq)]
struct Totals {
    attempted: u64,
    received: u64,
    dropped: u64,
    missed: u64,
}

impl Totals {
    /// The totals when every event that a probe had to send is accounted for, and no more come.
    fn settled(agent: &Agent) -> Result<Self> {
        /// Longer than the agent takes to read the probes' counters again.
        const PAUSE: Duration = Duration::from_millis(1500);
        let mut settled = None;
        agent.wait("done with the books", |agent| {
            let before = Self::read(agent).ok();
            thread::sleep(PAUSE);
            settled = Self::read(agent).ok().filter(|now| {
                now.attempted == now.received + now.dropped && before.as_ref() == Some(now)
            });
            settled.is_some()
        })?;
        settled.context("the books were never done")
    }

    fn read(agent: &Agent) -> Result<Self> {
        let kind = [("kind", "file_open")];
        let lsm = agent.metric("shrike_events_missed_total", &[("program", "file_open_lsm")])?;
        let fentry =
            agent.metric("shrike_events_missed_total", &[("program", "file_open_fentry")])?;
        Ok(Self {
            attempted: agent.metric("shrike_events_attempted_total", &kind)?,
            received: agent.metric("shrike_events_total", &kind)?,
            dropped: agent.metric("shrike_events_lost_total", &kind)?,
            missed: lsm + fentry,
        })
    }
}

/// The workload's own main function: opens the file as often as a line on its standard input says,
/// tells how often it did, and lives on until that input ends.
pub fn opener(path: &Path) -> Result<()> {
    let mut lines = io::stdin().lines();
    let opens: u32 = lines.next().context("no number of opens")??.parse()?;
    let mut done = 0;
    while done < opens {
        File::open(path).with_context(|| format!("open number {done}"))?;
        done += 1;
    }
    println!("{done}");
    lines.try_for_each(|line| line.map(drop))?;
    Ok(())
}
