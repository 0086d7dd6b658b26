//! A runtime that takes connections and never says a word.

use std::fs;
use std::os::unix::net::UnixListener;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::oci::Bundle;
use crate::agent::Agent;
use crate::container::Rootfs;

const SOCKET: &str = "/run/docker.sock";

/// What a container of that runtime would be called.
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const RULES: &str = "
- rule: Program in a container
  desc: It executes a program.
  condition: evt.type in (execve, execveat) and proc.name = true and container.id != host
  output: \"%container.full_id %container.type %container.name %evt.rawtime\"
  priority: NOTICE
";

/// Alerts leave as they do without it, and the agent says once what is wrong.
pub(super) fn run() -> Result<()> {
    let listener = UnixListener::bind(SOCKET)?;
    thread::spawn(move || {
        // Held, so that nobody is told that nobody is there.
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            held.push(connection);
        }
    });
    let agent = Agent::start(RULES, &[])?;
    let hung = |agent: &Agent| {
        agent.metric("shrike_runtime_failures_total", &[("reason", "hung")]).is_ok_and(|n| n > 1)
    };
    let rootfs = Rootfs::new()?;
    let bundle = Bundle::new(rootfs.path())?;
    bundle.write("exec /bin/true", |config| {
        config["linux"]["cgroupsPath"] = format!("/docker/{ID}").into();
        Ok(())
    })?;
    // While it is waited for, and when it has failed more than once.
    let first = told(&agent, &bundle, "first")?;
    agent.wait("tired of it", hung)?;
    let second = told(&agent, &bundle, "second")?;
    ensure!(first["uuid"] != second["uuid"], "one alert for two containers");
    ensure!(agent.metric("shrike_alerts_held", &[])? == 0, "an alert waits");
    let unowned = [("outcome", "unowned")];
    ensure!(agent.metric("shrike_runtime_questions_total", &unowned)? >= 2);
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains(SOCKET));
    ensure!(lines.clone().count() == 1, "more or less than one line: {log}");
    fs::remove_file(SOCKET)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// The alert of a container that was started now.
fn told(agent: &Agent, bundle: &Bundle, name: &str) -> Result<Value> {
    let before = agent.alerts().len();
    bundle.run("runc", name)?;
    agent.wait("told of the container", |agent| agent.alerts().len() > before)?;
    let alert = agent.alerts().pop().context("no alert")?;
    let fields = &alert["output_fields"];
    ensure!(
        fields["container.full_id"] == ID
            && fields["container.type"] == "docker"
            && fields["container.name"] == Value::Null
            && alert["enriched"] == false,
        "{alert}"
    );
    Ok(alert)
}
