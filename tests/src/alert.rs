//! One process opens one file that a rule names; every door shows the same alert, and every field
//! of the event's header is what the process knew of itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::actor::{self, Facts, Guise};
use crate::agent::{Agent, scratch};
use crate::configuration::Configuration;
use crate::listener::Listener;
use crate::suite::{Suite, Tier};
use crate::tests;

/// Whether an alert tells what a container was given when it started, and not what it does.
pub fn is_posture(alert: &Value) -> bool {
    alert["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "posture"))
}

/// The suite.
pub const SUITE: Suite = Suite {
    name: "alert",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(4),
    wants: Configuration::is_plain,
    tests: tests![names_the_acting_process, names_its_cgroup_and_namespaces,],
};

/// A rule whose output holds the whole header.
fn rules(path: &Path) -> String {
    format!(
        "- rule: Marked file opened
  desc: A test opens a file of its own.
  condition: evt.type in (open, openat, openat2) and fd.name = {path}
  output: >
    %fd.name opened (evt_type=%evt.type syscall=%evt.syscall abi=%evt.abi time=%evt.rawtime
    cpu=%evt.cpu seq=%evt.seq pid=%proc.pid tid=%thread.tid ppid=%proc.ppid vpid=%proc.vpid
    start=%proc.start_time name=%proc.name exepath=%proc.exepath args=%proc.args
    uid=%user.uid euid=%user.euid gid=%group.gid caps=%thread.cap_effective
    permitted=%thread.cap_permitted inheritable=%thread.cap_inheritable cgroup=%cgroup.id
    mnt=%ns.mnt pidns=%ns.pid net=%ns.net user=%ns.user uts=%ns.uts ipc=%ns.ipc
    cgroupns=%ns.cgroup timens=%ns.time given=%fd.nameraw)
  priority: WARNING
  tags: [test, T1005]
",
        path = path.display()
    )
}

/// A process of the host, whose ids are its own.
fn names_the_acting_process() -> Result<()> {
    every_door_shows_the_truth(Guise::Host)
}

/// A process in its own cgroup and a namespace of each type.
fn names_its_cgroup_and_namespaces() -> Result<()> {
    every_door_shows_the_truth(Guise::Isolated)
}

fn every_door_shows_the_truth(guise: Guise) -> Result<()> {
    let dir = scratch()?;
    let file = dir.join("marked");
    fs::write(&file, "")?;
    let listener = Listener::start()?;
    let agent = Agent::start(&rules(&file), &["--webhook", &listener.url()])?;
    let facts = actor::open(&file, guise)?;

    let ours = |alert: &Value| alert["output_fields"]["proc.pid"] == facts.pid;
    let console = agent.alert("the actor's pid", ours)?;
    let posted = listener.expect("the actor's pid", ours)?;
    ensure!(posted == console, "the webhook got {posted}\nthe console shows {console}");
    let labels = [("rule", "Marked file opened"), ("priority", "Warning")];
    let counted = agent.metric("shrike_alerts_total", &labels)?;
    ensure!(counted == 1, "shrike_alerts_total is {counted}");

    falco_shaped(&console, &file)?;
    tells_the_facts(&console["output_fields"], &facts, &file)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// The keys that Falco's own consumers ask for.
fn falco_shaped(alert: &Value, file: &Path) -> Result<()> {
    ensure!(alert["rule"] == "Marked file opened", "{alert}");
    ensure!(alert["priority"] == "Warning", "{alert}");
    ensure!(alert["source"] == "syscall", "{alert}");
    ensure!(alert["tags"] == serde_json::json!(["test", "T1005"]), "{alert}");
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    ensure!(alert["hostname"] == hostname.trim_end(), "{alert}");
    let output = alert["output"].as_str().context("no output")?;
    let text = format!("Warning {} opened (evt_type=openat ", file.display());
    ensure!(output.contains(&text), "{output}");
    let time = alert["time"].as_str().context("no time")?;
    ensure!(time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000000000Z".len(), "{time}");
    ensure!(alert["uuid"].as_str().is_some_and(|uuid| uuid.len() == 36), "{alert}");
    Ok(())
}

fn tells_the_facts(fields: &Value, facts: &Facts, file: &Path) -> Result<()> {
    /// `/proc` counts in hundredths of a second, events in nanoseconds.
    const TICK: u64 = 10_000_000;
    // Exhaustive: a new fact must be compared, too.
    let Facts {
        pid,
        tid,
        ppid,
        vpid,
        uid,
        euid,
        gid,
        comm,
        cap_effective,
        cap_permitted,
        cap_inheritable,
        start_ticks,
        cpu,
        cgroup,
        ns,
        before,
        after,
    } = facts;
    let equal = |name: &str, expected: Value| {
        let found = &fields[name];
        ensure!(*found == expected, "{name} is {found}, the actor says {expected}");
        Ok(())
    };
    ensure!(pid != tid, "the actor should act in a second thread");
    equal("fd.name", file.display().to_string().into())?;
    equal("fd.nameraw", file.display().to_string().into())?;
    equal("evt.type", "openat".into())?;
    equal("evt.syscall", "openat".into())?;
    equal("evt.abi", "x86_64".into())?;
    equal("proc.pid", (*pid).into())?;
    equal("thread.tid", (*tid).into())?;
    equal("proc.ppid", (*ppid).into())?;
    equal("proc.vpid", (*vpid).into())?;
    equal("proc.name", comm.as_str().into())?;
    equal("user.uid", (*uid).into())?;
    equal("user.euid", (*euid).into())?;
    equal("group.gid", (*gid).into())?;
    equal("evt.cpu", (*cpu).into())?;
    equal("cgroup.id", (*cgroup).into())?;
    for (name, inode) in ns {
        equal(&format!("ns.{name}"), (*inode).into())?;
    }
    let start = fields["proc.start_time"].as_u64().context("proc.start_time is no number")?;
    ensure!(start / TICK == *start_ticks, "started at {start} ns, the actor says {start_ticks}");
    for (name, set) in [
        ("thread.cap_effective", cap_effective),
        ("thread.cap_permitted", cap_permitted),
        ("thread.cap_inheritable", cap_inheritable),
    ] {
        let caps = fields[name].as_str().context("no capabilities")?;
        let count = caps.split_whitespace().count();
        ensure!(
            count == set.count_ones() as usize,
            "{name} is {count} capabilities ({caps}), the actor says {set:x}"
        );
    }
    let time = i128::from(fields["evt.rawtime"].as_i64().context("evt.rawtime is no number")?);
    ensure!((*before..=*after).contains(&time), "{time} is not within {before} and {after}");
    ensure!(fields["evt.seq"].is_u64(), "evt.seq is {}", fields["evt.seq"]);
    Ok(())
}
