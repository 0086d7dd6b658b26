//! What memory the agent takes beside many containers with many processes, and whether it knows all of them.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{DEFAULT_RULES, report};
use crate::agent::Agent;
use crate::container::{Rootfs, container};

/// How many processes a container has.
const PROCESSES: usize = 20;

/// How long an agent may take to start beside all of them.
const PATIENCE: Duration = Duration::from_mins(20);

/// Starts so many containers, beside the agent and before the next one.
pub fn scale(count: usize) -> Result<()> {
    let rootfs = Rootfs::new()?;
    let agent = Agent::start(DEFAULT_RULES, &[])?;
    report("resident memory of the agent with nothing to know".into(), agent.resident()?)?;
    // Arguments that no other process has, as they are in real life; `sleep` adds them up.
    let script = format!(
        "i=1; while [ $i -lt {PROCESSES} ]; do sleep 100000 $0 $i & i=$((i+1)); done; exec sleep 100000 $0"
    );
    for number in 0..count {
        let name = format!("scale-{number}");
        let options = ["--detach", "--network=none", "--name", &name];
        let output =
            rootfs.launcher(&options, &["sh", "-c", &script, &number.to_string()]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let told = |when: &str, agent: &Agent| -> Result<()> {
        let known = soon(count)?;
        report(format!("containers that it knows, {when}"), number(known.containers))?;
        report(format!("processes in them, {when}"), number(known.processes))?;
        report(format!("resident memory of the agent, {when}"), agent.resident()?)?;
        let Known { containers, processes } = known;
        ensure!(
            containers == count && processes == count * PROCESSES,
            "it knows {containers} containers with {processes} processes, {when}"
        );
        Ok(())
    };
    told("started beside it", &agent)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    let (start, agent) = (Instant::now(), Agent::spawn(DEFAULT_RULES, &[])?);
    let is_ready =
        || agent.wait("ready", |agent| agent.get("/readyz").is_ok_and(|(status, _)| status == 200));
    // It looks at every one of them, which in an emulated guest takes minutes.
    while is_ready().is_err() {
        ensure!(start.elapsed() < PATIENCE, "not ready: {}", agent.log());
    }
    told("started before it", &agent)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    for number in 0..count {
        container(&["rm", "--force", &format!("scale-{number}")])?;
    }
    Ok(())
}

/// What the agent knows.
struct Known {
    containers: usize,
    processes: usize,
}

/// What it knows once that is all there is, or after a while: the last ones are still starting.
fn soon(count: usize) -> Result<Known> {
    const TRIES: u32 = 60;
    for _ in 1..TRIES {
        let known = known(count)?;
        if known.processes == count * PROCESSES {
            return Ok(known);
        }
        thread::sleep(Duration::from_secs(1));
    }
    known(count)
}

/// Asks the agent for what was started.
fn known(count: usize) -> Result<Known> {
    let output = Command::new("shrike").args(["ps", "--json"]).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(all["source"] == "agent", "the agent did not answer");
    let containers = all["containers"].as_array().context("no containers")?;
    let ours = containers.iter().filter_map(|container| {
        let id = container["id"].as_str().filter(|id| id.starts_with("scale-"))?;
        Some((id, container["processes"].as_u64()?))
    });
    let ours: BTreeSet<_> = ours.collect();
    ensure!(ours.len() <= count, "{} containers of {count}", ours.len());
    let processes: u64 = ours.iter().map(|(_, processes)| processes).sum();
    Ok(Known { containers: ours.len(), processes: usize::try_from(processes)? })
}

#[expect(clippy::cast_precision_loss, reason = "there are fewer")]
fn number(count: usize) -> f64 {
    count as f64
}
