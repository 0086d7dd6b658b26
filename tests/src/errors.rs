//! What a user sees when something is wrong: one clear message, and an agent that goes on where it
//! can.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::mount::{MsFlags, mount, umount};

use crate::actor::{self, Guise};
use crate::agent::{Agent, scratch};
use crate::configuration::Configuration;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "errors",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(5),
    wants: Configuration::is_plain,
    tests: tests![
        a_bad_rule_is_shown_and_the_good_ones_work,
        a_file_that_is_no_yaml_ends_the_agent,
        an_unknown_option_is_a_usage_error,
        a_kernel_without_btf_is_one_clear_error,
        an_unreachable_webhook_is_a_warning,
    ],
};

/// A rule with an error does not take the others down.
fn a_bad_rule_is_shown_and_the_good_ones_work() -> Result<()> {
    let dir = scratch()?;
    let file = dir.join("marked");
    fs::write(&file, "")?;
    let rules = format!(
        "- rule: Bad
  desc: Its condition names a field that does not exist.
  condition: evt.type = openat and fd.nam = /etc/shadow
  output: x
  priority: NOTICE

- rule: Good
  desc: The other one.
  condition: evt.type = openat and fd.name = {}
  output: \"%fd.name\"
  priority: NOTICE
",
        file.display()
    );
    let agent = Agent::spawn(&rules, &[])?;
    agent.wait("watching", |agent| {
        agent.get("/readyz").is_ok_and(|(_, why)| !why.contains("events:"))
    })?;
    let facts = actor::open(&file, Guise::Host)?;
    agent.alert("the good rule", |alert| alert["rule"] == "Good")?;
    ensure!(agent.alerts().iter().all(|alert| alert["rule"] == "Good"), "pid {}", facts.pid);
    let log = agent.log();
    for part in [
        "fd.nam",
        "rules.yaml:3:36",
        "3 |   condition: evt.type = openat and fd.nam = /etc/shadow",
        "  |                                    ^^^^^^",
        "fd.name",
    ] {
        ensure!(log.contains(part), "the log lacks {part:?}:\n{log}");
    }
    let (status, reasons) = agent.get("/readyz")?;
    ensure!(status == 503 && reasons.contains("rule"), "/readyz: {status} {reasons}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// Without a single rule there is nothing to do.
fn a_file_that_is_no_yaml_ends_the_agent() -> Result<()> {
    let mut agent = Agent::spawn("- rule: [unclosed\n  desc: x\n", &[])?;
    let status = agent.exit()?;
    ensure!(status.code() == Some(1), "{status}");
    let log = agent.log();
    ensure!(log.contains("rules.yaml:") && log.contains('^'), "{log}");
    Ok(())
}

fn an_unknown_option_is_a_usage_error() -> Result<()> {
    let output = Command::new("shrike").args(["run", "--rulez", "x"]).output()?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    let log = stderr(&output);
    ensure!(log.contains("--rulez") && log.contains("--rules"), "{log}");
    Ok(())
}

/// The kernel has BTF; for this test its directory is covered.
fn a_kernel_without_btf_is_one_clear_error() -> Result<()> {
    const BTF: &str = "/sys/kernel/btf";
    mount(Some("none"), BTF, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let agent = Agent::spawn("- list: none\n  items: []\n", &[]).and_then(|mut agent| {
        let status = agent.exit()?;
        Ok((status, agent.log()))
    });
    let doctor = Command::new("shrike").arg("doctor").output();
    umount(BTF)?;
    let (status, log) = agent?;
    ensure!(status.code() == Some(1), "{status}: {log}");
    ensure!(log.contains("/sys/kernel/btf/vmlinux"), "{log}");
    ensure!(log.contains("CONFIG_DEBUG_INFO_BTF"), "{log}");
    let doctor = doctor?;
    ensure!(doctor.status.code() == Some(1), "{}", doctor.status);
    let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(report.contains("CONFIG_DEBUG_INFO_BTF"), "{report}");
    Ok(())
}

/// Nobody listens at the webhook's address: alerts go on to the console, and the loss is counted.
fn an_unreachable_webhook_is_a_warning() -> Result<()> {
    let dir = scratch()?;
    let file = dir.join("marked");
    fs::write(&file, "")?;
    let rules = format!(
        "- rule: Marked
  desc: A test opens a file of its own.
  condition: evt.type = openat and fd.name = {}
  output: \"%fd.name\"
  priority: NOTICE
",
        file.display()
    );
    let agent = Agent::start(&rules, &["--webhook", "http://127.0.0.1:9/"])?;
    let facts = actor::open(&file, Guise::Host)?;
    agent.alert("the rule", |alert| alert["rule"] == "Marked")?;
    agent.wait("warned", |agent| agent.log().contains("http://127.0.0.1:9/"))?;
    let warnings = agent.log().lines().filter(|line| line.contains("127.0.0.1:9")).count();
    ensure!(warnings == 1, "{warnings} warnings for the alert of pid {}", facts.pid);
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
