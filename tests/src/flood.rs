//! Floods: whatever one does as fast as it can, what others do must be seen, and what is lost must be
//! in the books to the last event.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::agent::{Agent, scratch};
use crate::configuration::Configuration;
use crate::suite::{Suite, Tier, skip};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "flood",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(10),
    wants: |guest| guest.smp || guest.is_single() && (guest.series == "6.12" || guest.preempt_full),
    tests: tests![
        others_are_seen_while_files_are_opened,
        others_are_seen_while_critical_events_are_caused,
        a_throttled_task_stops_nobody,
        no_record_is_torn,
    ],
};

/// How long a flood lasts.
const LENGTH: Duration = Duration::from_secs(20);

/// How many threads make it.
const THREADS: usize = 4;

/// How many files the other container opens meanwhile.
const OPENS: usize = 100;

/// How many records must be whole.
const MILLION: u64 = 1_000_000;

/// What is done as fast as possible.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum What {
    /// A file is opened.
    Open,
    /// A `bpf(2)` command that there is not.
    Bpf,
}

fn others_are_seen_while_files_are_opened() -> Result<()> {
    others_are_seen(What::Open, "file_open", OPENS as u64)
}

fn others_are_seen_while_critical_events_are_caused() -> Result<()> {
    others_are_seen(What::Bpf, "bpf", 0)
}

/// `others` is how many events of the kind the other container causes.
fn others_are_seen(what: What, kind: &str, others: u64) -> Result<()> {
    let dir = scratch()?;
    let (flooded, quiet) = (dir.join("flooded"), dir.join("quiet"));
    fs::write(&flooded, "")?;
    fs::write(&quiet, "")?;
    let agent = Agent::start(&rules(&flooded, &quiet), &[])?;
    let mut flood = Actor::start(&dir, "flooder", &["flooder", name(what)], &flooded)?;
    let mut other = Actor::start(&dir, "other", &["quiet"], &quiet)?;
    let before = Books::settled(&agent, kind)?;
    flood.go()?;
    other.go()?;
    let done = flood.done()?;
    ensure!(other.done()? == OPENS as u64, "the other one has opened less");
    let after = Books::settled(&agent, kind)?;
    let (attempted, missed) = (after.attempted - before.attempted, after.missed - before.missed);
    let all = done + others;
    // What the kernel skips it counts, whoever it was, in tracing programs only.
    ensure!(
        attempted + missed == all || missed > 0 && (all - missed..=all).contains(&attempted),
        "{done} and {others} others were done; {before:?}, {after:?}"
    );
    other_is_seen(&agent)?;
    let is_lossy = !Configuration::current()?.lsm_bpf;
    let lost = after.lost - before.lost;
    ensure!(missed == 0 || is_lossy, "an LSM program was skipped {missed} times");
    println!("cell {kind}: {done} events in {LENGTH:?}, {lost} lost, {missed} missed");
    // What was lost was told, with its number.
    if lost > 0 {
        agent.wait("done telling gaps", |agent| told(agent, kind) >= lost)?;
        ensure!(
            told(&agent, kind) == lost,
            "{lost} lost, {} told: {:?}",
            told(&agent, kind),
            agent.gaps()
        );
    }
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// All that the other one did is told, but for what the kernel says that it has skipped.
fn other_is_seen(agent: &Agent) -> Result<()> {
    let seen =
        |rule: &str| agent.alerts().iter().filter(|alert| alert["rule"] == rule).count() as u64;
    let missed = |program| agent.metric("shrike_events_missed_total", &[("program", program)]);
    let (opens, leaves) = (missed("file_open_fentry")?, missed("namespaces_fentry")?);
    let all = OPENS as u64;
    agent.wait("aware of what the other one did", |_| {
        seen("Quiet") + opens >= all && seen("Breach") + leaves >= 1
    })?;
    ensure!(seen("Quiet") <= all && seen("Breach") <= 1, "told twice: {:?}", agent.alerts());
    Ok(())
}

/// How many lost events of a kind the gaps tell.
fn told(agent: &Agent, kind: &str) -> u64 {
    let fields = |gap: &Value| {
        let fields = &gap["output_fields"];
        let is_kind = fields["gap.subject"].as_str()?.split(',').next() == Some(kind);
        is_kind.then(|| fields["gap.lost"].as_u64())?
    };
    agent.gaps().iter().filter_map(fields).sum()
}

/// While tasks are stopped in the middle of a hook, since they have used up their time.
fn a_throttled_task_stops_nobody() -> Result<()> {
    let dir = scratch()?;
    let (flooded, quiet) = (dir.join("flooded"), dir.join("quiet"));
    fs::write(&flooded, "")?;
    fs::write(&quiet, "")?;
    let agent = Agent::start(&rules(&flooded, &quiet), &[])?;
    let mut flood = Actor::start(&dir, "flooder", &["flooder", "open"], &flooded)?;
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu").context("enable cpu.max")?;
    fs::write(flood.cgroup.join("cpu.max"), "1000 100000")?;
    let mut other = Actor::start(&dir, "other", &["quiet"], &quiet)?;
    let before = Books::settled(&agent, "file_open")?;
    flood.go()?;
    other.go()?;
    ensure!(other.done()? == OPENS as u64, "the other one has opened less");
    other_is_seen(&agent)?;
    fs::write(flood.cgroup.join("cpu.max"), "max")?;
    let done = flood.done()?;
    let stat = fs::read_to_string(flood.cgroup.join("cpu.stat"))?;
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    ensure!(throttled.is_some_and(|count| count != "0"), "it was never throttled: {stat}");
    let after = Books::settled(&agent, "file_open")?;
    let (attempted, missed) = (after.attempted - before.attempted, after.missed - before.missed);
    let all = done + OPENS as u64;
    ensure!(
        attempted + missed == all || missed > 0 && (all - missed..=all).contains(&attempted),
        "{done} were done; {before:?}, {after:?}"
    );
    let is_lossy = !Configuration::current()?.lsm_bpf;
    ensure!(missed == 0 || is_lossy, "an LSM program was skipped {missed} times");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// Under full preemption probes interrupt each other. Each of four processes opens a file of its own:
/// a record with the name of one and the path of another would be torn.
fn no_record_is_torn() -> Result<()> {
    if !Configuration::current()?.preempt_full {
        skip("for kernels with full preemption");
    }
    let dir = scratch()?;
    let files: Vec<PathBuf> =
        (0..THREADS).map(|index| dir.join(format!("{index}-{}", "x".repeat(index * 60)))).collect();
    let mut pairs = Vec::new();
    for (index, file) in files.iter().enumerate() {
        fs::write(file, "")?;
        pairs.push(format!("(thread.comm = flooder-{index} and fd.name = {})", file.display()));
    }
    let rules = format!(
        "- rule: Torn\n  desc: d\n  output: \"%thread.comm %fd.name\"\n  priority: ERROR\n  condition: >-\n    \
         evt.type = openat and fd.directory = {} and not ({})\n",
        dir.display(),
        pairs.join(" or ")
    );
    let agent = Agent::start(&rules, &[])?;
    let mut received = 0;
    while received < MILLION {
        let mut flooders = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let name = format!("flooder-{index}");
            flooders.push(Actor::start(&dir, &name, &["flooder", "open", "--rename"], file)?);
        }
        for flooder in &mut flooders {
            flooder.go()?;
        }
        for flooder in &mut flooders {
            flooder.done()?;
        }
        let books = Books::settled(&agent, "file_open")?;
        ensure!(books.received > received, "nothing more arrives: {books:?}");
        received = books.received;
    }
    ensure!(agent.metric("shrike_records_malformed_total", &[])? == 0, "{}", agent.log());
    ensure!(agent.alerts().is_empty(), "torn: {:?}", agent.alerts());
    println!("cell torn: 0 of {received} records");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(())
}

fn name(what: What) -> &'static str {
    match what {
        What::Open => "open",
        What::Bpf => "bpf",
    }
}

/// The events of the flood come to the agent, which finds that no rule matches.
fn rules(flooded: &Path, quiet: &Path) -> String {
    format!(
        "
- rule: Flood
  desc: Never.
  condition: (evt.type = bpf or (evt.type = openat and fd.name = {})) and proc.name = nobody
  output: o
  priority: DEBUG
- rule: Quiet
  desc: A file that is not part of the flood.
  condition: evt.type = openat and fd.name = {}
  output: \"%fd.name\"
  priority: NOTICE
- rule: Breach
  desc: Something critical that is not part of the flood.
  condition: evt.type = unshare
  output: \"%ns.joined\"
  priority: CRITICAL
",
        flooded.display(),
        quiet.display()
    )
}

/// What the agent knows of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Books {
    attempted: u64,
    received: u64,
    lost: u64,
    missed: u64,
}

impl Books {
    /// When all is accounted for, and no more comes.
    fn settled(agent: &Agent, kind: &str) -> Result<Self> {
        /// Longer than the agent takes to read the probes' counters again.
        const PAUSE: Duration = Duration::from_millis(1500);
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut before = Self::read(agent, kind)?;
        loop {
            thread::sleep(PAUSE);
            let now = Self::read(agent, kind)?;
            if now == before && now.attempted == now.received + now.lost {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("the books are never done: {now:?}\n{}", agent.log());
            }
            before = now;
        }
    }

    fn read(agent: &Agent, kind: &str) -> Result<Self> {
        let of = |name: &str| agent.metric(name, &[("kind", kind)]);
        let missed = |program: String| {
            agent.metric("shrike_events_missed_total", &[("program", program.as_str())])
        };
        Ok(Self {
            attempted: of("shrike_events_attempted_total")?,
            received: of("shrike_events_total")?,
            lost: of("shrike_events_lost_total")?,
            missed: missed(format!("{kind}_lsm"))? + missed(format!("{kind}_fentry"))?,
        })
    }
}

/// A process in a cgroup of its own, which begins when it is told to, and says how much it has done.
struct Actor {
    cgroup: PathBuf,
    child: Child,
    go: Option<ChildStdin>,
}

impl Actor {
    fn start(dir: &Path, name: &str, action: &[&str], file: &Path) -> Result<Self> {
        let scope = dir.file_name().context("no name")?.to_string_lossy();
        let cgroup = PathBuf::from(format!("/sys/fs/cgroup/{scope}-{name}"));
        if !cgroup.exists() {
            fs::create_dir(&cgroup)?;
        }
        let mut child = Command::new("/proc/self/exe")
            .args(action)
            .args([&cgroup, file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let go = child.stdin.take();
        Ok(Self { cgroup, child, go })
    }

    fn go(&mut self) -> Result<()> {
        Ok(self.go.as_mut().context("it was told")?.write_all(b"go\n")?)
    }

    fn done(&mut self) -> Result<u64> {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        drop(self.go.take());
        ensure!(self.child.wait()?.success(), "the process failed");
        line.trim_end().parse().with_context(|| format!("it says {line:?}"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // All fail if it has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.cgroup);
    }
}

/// Enters the cgroup and waits for the word.
fn wait(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").context("join the cgroup")?;
    std::io::stdin().lines().next().context("nobody said go")??;
    Ok(())
}

/// The main function of the process that floods.
pub fn flooder(what: What, rename: bool, cgroup: &Path, file: &Path) -> Result<()> {
    if rename {
        let name = cgroup.to_string_lossy();
        let name = name.rfind("flooder").and_then(|at| name.get(at..)).context("no name")?;
        nix::sys::prctl::set_name(&std::ffi::CString::new(name)?)?;
    }
    wait(cgroup)?;
    let (over, total) = (AtomicBool::new(false), AtomicU64::new(0));
    let flood = || -> Result<()> {
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            match what {
                What::Open => drop(File::open(file)?),
                // SAFETY: the kernel knows no such command, and reads what is there.
                What::Bpf => unsafe {
                    let attr = [0_u64; 16];
                    libc::syscall(libc::SYS_bpf, 9999, attr.as_ptr(), size_of_val(&attr));
                },
            }
            count += 1;
        }
        total.fetch_add(count, Ordering::Relaxed);
        Ok(())
    };
    // A process whose name is looked at is its first thread.
    let others = if rename { 0 } else { THREADS - 1 };
    thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            thread::sleep(LENGTH);
            over.store(true, Ordering::Relaxed);
        });
        let others: Vec<_> = (0..others).map(|_| scope.spawn(flood)).collect();
        flood()?;
        others.into_iter().try_for_each(|other| other.join().expect("a thread panicked"))
    })?;
    println!("{}", total.into_inner());
    Ok(())
}

/// The main function of the other one: opens a file now and then, and leaves for another namespace.
pub fn quiet(cgroup: &Path, file: &Path) -> Result<()> {
    wait(cgroup)?;
    let pause = LENGTH / u32::try_from(OPENS)?;
    for count in 0..OPENS {
        File::open(file)?;
        if count == OPENS / 2 {
            unshare(CloneFlags::CLONE_NEWNS)?;
        }
        thread::sleep(pause * 9 / 10);
    }
    println!("{OPENS}");
    Ok(())
}
