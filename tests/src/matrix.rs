//! Every kind of event: allowed, denied and failed. The whole event is compared with what the acting
//! process says, and there must be one of it. The report makes a table of the cells.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::agent::scratch;
use crate::configuration::Configuration;
use crate::deed::{self, DEEDS, Deed, IMPOSSIBLE, Report};
use crate::suite::{Suite, Tier};
use crate::tests;

/// How long the agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The suite. Each test is named after its kind.
pub const SUITE: Suite = Suite {
    name: "matrix",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(8),
    wants: Configuration::is_single,
    tests: tests![
        exec,
        fork,
        exit,
        file_open,
        mount,
        move_mount,
        setns,
        unshare,
        ptrace,
        connect,
        sysctl,
        module_load,
        mknod,
        bpf,
        socket,
        mmap_exec,
        cgroup_attach,
        cgroup_mkdir,
        cgroup_rmdir,
        file_create,
    ],
};

macro_rules! kinds {
    ($($kind:ident)*) => {
        $(fn $kind() -> Result<()> { cells(stringify!($kind)) })*
    };
}

kinds! {
    exec fork exit file_open mount move_mount setns unshare ptrace connect sysctl module_load mknod
    bpf socket mmap_exec cgroup_attach cgroup_mkdir cgroup_rmdir file_create
}

fn cells(kind: &str) -> Result<()> {
    let dir = scratch()?;
    deed::set_the_scene(&dir)?;
    let events = Events::of(kind)?;
    for deed in DEEDS.iter().filter(|deed| deed.kind == kind) {
        let report = deed.order(&dir)?;
        events.expect(deed, &report)?;
        println!("cell {}: ok", deed.outcome);
    }
    for (_, outcome, reason) in IMPOSSIBLE.iter().filter(|(of, ..)| *of == kind) {
        println!("cell {outcome}: n/a: {reason}");
    }
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// The events of a kind, as `shrike events` shows them.
pub struct Events {
    process: Child,
    lines: Receiver<Value>,
}

impl Events {
    /// Waits until they are shown.
    pub fn of(kind: &str) -> Result<Self> {
        let mut process = Command::new("shrike")
            .args(["--log", "info", "events", "--json", "--results", "--kind", kind])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, lines) = mpsc::channel();
        let stdout = process.stdout.take().context("no standard output")?;
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(std::result::Result::ok);
            for line in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = process.stderr.take().context("no standard error")?;
        let mut log = BufReader::new(stderr).lines().map_while(std::result::Result::ok);
        let is_ready = log.any(|line| {
            eprintln!("{line}");
            line.contains("watching")
        });
        ensure!(is_ready, "the agent has ended");
        thread::spawn(move || log.for_each(|line| eprintln!("{line}")));
        Ok(Self { process, lines })
    }

    /// Waits for an event that fits.
    pub fn find(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.lines.recv_timeout(left).with_context(|| format!("no {what}"))?;
            if fits(&event) {
                return Ok(event);
            }
        }
    }

    /// Waits for the event of a deed, and sees that there is no second one.
    fn expect(&self, deed: &Deed, report: &Report) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        let found = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(event) if is_meant(&event, report)? => break event,
                Ok(event) if event["pid"] == report.facts.pid => others.push(event),
                Ok(_) => {}
                Err(_) => bail!(
                    "{} {}: no event\n{}\nbut {} of that process:\n{}",
                    deed.kind,
                    deed.outcome,
                    report.expected,
                    others.len(),
                    others.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
                ),
            }
        };
        // Longer than an event may wait for its outcome.
        let quiet = Instant::now() + Duration::from_millis(300);
        while let Ok(event) =
            self.lines.recv_timeout(quiet.saturating_duration_since(Instant::now()))
        {
            let is_same = event["sequence"] == found["sequence"] && event["cpu"] == found["cpu"];
            ensure!(!is_meant(&event, report)? && !is_same, "a second event: {event}");
        }
        Ok(())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Both fail if it has ended, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether an event is the one of a deed in all that can be known.
fn is_meant(event: &Value, report: &Report) -> Result<bool> {
    let mut event = event.clone();
    let mut expected = report.expected.clone();
    let fields = event.as_object_mut().context("no object")?;
    let time = fields.remove("time").context("no time")?;
    fields.remove("sequence");
    for name in ["cpu", "raw", "syscall", "tid"] {
        if expected[name].is_null() {
            expected[name] = fields[name].clone();
        }
    }
    // `/proc` counts them in ticks.
    if let Some(own) = fields.get_mut("fields").and_then(Value::as_object_mut) {
        for (_, value) in own.iter_mut().filter(|(name, _)| name.ends_with("_start")) {
            *value = (value.as_u64().context("no time")? / 10_000_000).into();
        }
    }
    if event != expected {
        return Ok(false);
    }
    let time: Timestamp = time.as_str().context("no text")?.parse()?;
    let time = time.as_nanosecond();
    ensure!(
        (report.facts.before..=report.facts.after).contains(&time),
        "{time} is not between {} and {}",
        report.facts.before,
        report.facts.after
    );
    Ok(true)
}
