//! Whether the agent knows when it is blind.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::actor;
use crate::agent::Agent;
use crate::configuration::Configuration;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "health",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(8),
    wants: Configuration::is_plain,
    tests: tests![silenced_probes_are_noticed, rules_are_reloaded, a_killed_agent_leaves_a_gap],
};

const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// With `ftrace_enabled` off, probes of hooks and functions do not run, though they are attached.
fn silenced_probes_are_noticed() -> Result<()> {
    let agent = Agent::start(&rule("Marked", "/tmp/marked"), &[])?;
    // Longer than the agent waits for a sign of life.
    thread::sleep(Duration::from_secs(6));
    let (status, body) = agent.get("/readyz")?;
    ensure!(status == 200, "not ready on a quiet host: {body}");
    ensure!(agent.metric("shrike_pulse_failures", &[])? == 0, "{}", agent.log());
    match fs::write(FTRACE_ENABLED, "0\n") {
        // Linux 7 does not let anybody do it while probes are attached.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let (status, body) = agent.get("/readyz")?;
            ensure!(status == 200, "not ready, though nothing is off: {body}");
            ensure!(fs::read_to_string(FTRACE_ENABLED)?.trim() == "1", "it is off");
            ensure!(agent.stop()?.success(), "the agent did not end well");
            return Ok(());
        }
        written => written.context("silence the probes")?,
    }
    agent.wait("aware of what is off", |agent| {
        agent.get("/readyz").is_ok_and(|(status, body)| {
            status == 503 && body.contains("ftrace_enabled is 0") && body.contains("sign of life")
        })
    })?;
    ensure!(agent.metric("shrike_pulse_failures", &[])? > 0, "the metric says all is well");
    fs::write(FTRACE_ENABLED, "1\n")?;
    agent
        .wait("well again", |agent| agent.get("/readyz").is_ok_and(|(status, _)| status == 200))?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// Under load, each event is judged by the rules that it was sent for: none is lost or doubled.
fn rules_are_reloaded() -> Result<()> {
    let dir = crate::agent::scratch()?;
    let file = dir.join("marked");
    fs::write(&file, "")?;
    let path = file.to_string_lossy().into_owned();
    let agent = Agent::start(&rule("Old", &path), &[])?;
    let open = |count: u64| -> Result<u64> {
        for _ in 0..count {
            fs::File::open(&file)?;
        }
        Ok(count)
    };
    let mut opened = open(500)?;
    // Errors change nothing.
    agent.reload("- rule: Broken\n  condition: nonsense\n")?;
    agent.wait("unhappy with the broken rules", |agent| {
        agent.log().contains("the former rules stay in force")
    })?;
    agent.reload(&(rule("New", &path) + PROGRAMS))?;
    let alerts = |rule: &str| agent.metric("shrike_alerts_total", &[("rule", rule)]);
    // All the time until the new rules are in force, and some more; no faster than the agent reads,
    // as this is not about overflow.
    while !agent.log().contains("rules in force: 2") {
        opened += open(100)?;
        agent.wait("reading", |_| {
            matches!((alerts("Old"), alerts("New")), (Ok(old), Ok(new)) if old + new + 1000 > opened)
        })?;
    }
    opened += open(500)?;
    agent.wait(
        "done with all events",
        |_| matches!((alerts("Old"), alerts("New")), (Ok(old), Ok(new)) if old + new >= opened),
    )?;
    let (old, new) = (alerts("Old")?, alerts("New")?);
    ensure!(old + new == opened, "{opened} opens, {old} by the old rules, {new} by the new ones");
    ensure!(old >= 500 && new >= 500, "{old} by the old rules, {new} by the new ones");
    ensure!(agent.metric("shrike_probe_attached", &[("probe", "bpf")])? == 1, "no bpf probe");
    agent.reload(&rule("Old", &path))?;
    agent.wait("rid of the probe", |agent| {
        agent.metric("shrike_probe_attached", &[("probe", "bpf")]).is_ok_and(|sum| sum == 0)
    })?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// The last mark of life in that folder: nanoseconds since 1970.
fn marked(state: &Path) -> Result<i128> {
    let text = fs::read_to_string(state.join("alive"))?;
    let boot_time = text.trim_end().split_once(' ').context("a strange mark")?.1;
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let now = i128::from(since_boot.tv_sec()) * 1_000_000_000 + i128::from(since_boot.tv_nsec());
    Ok(actor::now() - (now - boot_time.parse::<i128>()?))
}

/// An agent is killed while files are opened all the time. The next one tells since when nobody has
/// watched, and until when.
fn a_killed_agent_leaves_a_gap() -> Result<()> {
    let dir = crate::agent::scratch()?;
    let file = dir.join("marked");
    fs::write(&file, "")?;
    let state = dir.to_string_lossy().into_owned();
    let rule = rule("Marked", &file.to_string_lossy());
    let options = ["--state", state.as_str()];
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let flood = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = fs::File::open(&file);
                // No faster than the agent reads under emulation.
                thread::sleep(Duration::from_millis(5));
            }
        });
        let first = Agent::start(&rule, &options)?;
        let is_start = |gap: &Value| gap["output_fields"]["gap.reason"] == "start";
        first.wait("aware that it is the first", |agent| agent.gaps().iter().any(is_start))?;
        // It leaves a mark again and again.
        let mark = || marked(&dir).unwrap_or_default();
        for _ in 0..2 {
            let last = mark();
            first.wait("leaving marks", |_| mark() > last)?;
        }
        let before = mark();
        first.kill()?;
        let killed = actor::now();
        thread::sleep(Duration::from_secs(3));
        let restarted = actor::now();
        let second = Agent::start(&rule, &options)?;
        let ready = actor::now();
        let mut found = None;
        second.wait("aware of the gap", |agent| {
            found = agent.gaps().into_iter().find(|gap| !is_start(gap));
            found.is_some() && !agent.alerts().is_empty()
        })?;
        over.store(true, Ordering::Relaxed);
        flood.join().expect("the flood panicked");
        let gap = found.context("no gap")?;
        let fields = &gap["output_fields"];
        let time = |name: &str| fields[name].as_i64().map(i128::from).context("no time");
        let (start, end) = (time("gap.start")?, time("gap.end")?);
        ensure!(fields["gap.reason"] == "restart", "{gap}");
        // What a clock is off by that is read through another one.
        let latest = 100_000_000;
        ensure!((before - latest..=killed).contains(&start), "{start}: {before}, {killed}");
        ensure!((restarted..=ready).contains(&end), "{end}: {restarted}, {ready}");
        // Nothing in between was seen, and everything after.
        let times: Vec<i128> = second
            .alerts()
            .iter()
            .filter_map(|alert| alert["output_fields"]["evt.time"].as_i64().map(i128::from))
            .collect();
        ensure!(times.iter().all(|&time| time >= restarted) && !times.is_empty(), "{times:?}");
        ensure!(second.metric("shrike_gaps_total", &[("reason", "restart")])? == 1);
        ensure!(second.stop()?.success(), "the agent did not end well");
        Ok(())
    })?;
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// A rule that needs a probe which the others do not.
const PROGRAMS: &str = "
- rule: Programs
  desc: d
  condition: evt.type = bpf
  output: o
  priority: DEBUG
";

fn rule(name: &str, path: &str) -> String {
    format!(
        "
- rule: {name}
  desc: A file is opened.
  condition: evt.type = openat and fd.name = {path}
  output: \"%fd.name\"
  priority: DEBUG
"
    )
}
