//! Whether the agent knows when it is blind.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::agent::Agent;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "health",
    tier: Tier::Quick,
    budget: Duration::from_mins(1),
    wants: |_| true,
    tests: tests![silenced_probes_are_noticed, rules_are_reloaded],
};

const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// With `ftrace_enabled` off, probes of hooks and functions do not run, though they are attached.
fn silenced_probes_are_noticed() -> Result<()> {
    let agent = Agent::start(&rule("Marked", "/tmp/marked"), &[])?;
    // Longer than the agent waits for a sign of life.
    std::thread::sleep(Duration::from_secs(6));
    let (status, body) = agent.get("/readyz")?;
    ensure!(status == 200, "not ready on a quiet host: {body}");
    ensure!(agent.metric("shrike_pulse_failures", &[])? == 0, "{}", agent.log());
    fs::write(FTRACE_ENABLED, "0\n")?;
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
    agent.reload(&(rule("New", &path) + MOUNTS))?;
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
    ensure!(agent.metric("shrike_probe_attached", &[("probe", "mount")])? == 1, "no mount probe");
    agent.reload(&rule("Old", &path))?;
    agent.wait("rid of the probe", |agent| {
        agent.metric("shrike_probe_attached", &[("probe", "mount")]).is_ok_and(|sum| sum == 0)
    })?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// A rule that needs a probe which the others do not.
const MOUNTS: &str = "
- rule: Mounts
  desc: d
  condition: evt.type = mount
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
