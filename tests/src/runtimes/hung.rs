//! Runtimes that are slow, or never say a word, played by this process: their containers are real, made by runc in
//! the cgroups that Docker would make.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::oci::Bundle;
use crate::agent::Agent;
use crate::container::Rootfs;

const SOCKET: &str = "/run/docker.sock";

/// What a container of that runtime is called.
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const RULES: &str = "
- rule: Program in a container
  desc: It executes a program.
  condition: evt.type in (execve, execveat) and proc.name = true and container.id != host
  output: \"%container.full_id %container.type %container.name %container.label[team]\"
  priority: NOTICE
- rule: Urgent
  desc: It executes another one.
  condition: evt.type in (execve, execveat) and proc.name = pwd and container.id != host
  output: \"%container.name %container.label[team]\"
  priority: CRITICAL
";

/// How long the slow runtime thinks about a container: longer than an alert waits, and less than an urgent one.
const THOUGHT: Duration = Duration::from_secs(4);

/// Alerts leave as they do without it, and the agent says once what is wrong.
pub(super) fn silent() -> Result<()> {
    // Held, so that nobody is told that nobody is there.
    serve(|connection| {
        thread::sleep(Duration::from_hours(1));
        drop(connection);
        Ok(())
    })?;
    let agent = Agent::start(RULES, &[])?;
    let hung = |agent: &Agent| {
        agent.metric("shrike_runtime_failures_total", &[("reason", "hung")]).is_ok_and(|n| n > 1)
    };
    let rootfs = Rootfs::new()?;
    // While it is waited for, and when it has failed more than once.
    let first = start(&agent, &rootfs, "first", 2)?;
    agent.wait("tired of it", hung)?;
    let second = start(&agent, &rootfs, "second", 4)?;
    for alert in first.iter().chain(&second) {
        ensure!(alert["output_fields"]["container.name"] == Value::Null, "{alert}");
        ensure!(alert["enriched"] == false, "{alert}");
    }
    ensure!(second.len() == 4, "told more than once: {second:?}");
    ensure!(agent.metric("shrike_alerts_held", &[])? == 0, "an alert waits");
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains(SOCKET)).count();
    ensure!(lines == 1, "more or less than one line: {log}");
    fs::remove_file(SOCKET)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// What is urgent leaves at once and comes again with more; the rest waits a while, and no longer.
pub(super) fn slow() -> Result<()> {
    serve(answer)?;
    let agent = Agent::start(RULES, &[])?;
    let is_connected = |agent: &Agent| {
        let labels = [("runtime", "docker")];
        agent.metric("shrike_runtimes_connected", &labels).is_ok_and(|n| n == 1)
    };
    agent.wait("connected", is_connected)?;
    let rootfs = Rootfs::new()?;
    let alerts = start(&agent, &rootfs, "first", 3)?;
    let told = |alert: &Value| {
        let fields = &alert["output_fields"];
        let text = |name: &str| fields[name].as_str().unwrap_or("none").to_owned();
        let rule = alert["rule"].as_str().unwrap_or_default().to_owned();
        (rule, alert["enriched"] == true, text("container.name"), text("container.label[team]"))
    };
    let expected = |rule: &str, is_enriched: bool| {
        let [name, label] = if is_enriched { ["web", "blue"] } else { ["none", "none"] };
        (rule.to_owned(), is_enriched, name.to_owned(), label.to_owned())
    };
    let found: Vec<_> = alerts.iter().map(told).collect();
    // The second program is urgent, and told before the first one has waited long enough.
    let order = [("Urgent", false), ("Program in a container", false), ("Urgent", true)];
    ensure!(found == order.map(|(rule, more)| expected(rule, more)), "{alerts:#?}");
    ensure!(alerts[0]["uuid"] == alerts[2]["uuid"], "two alerts: {alerts:#?}");
    // Now that it is known, all of it is told at once.
    let alerts = start(&agent, &rootfs, "second", 5)?;
    ensure!(alerts.iter().skip(3).all(|alert| told(alert).1), "{alerts:#?}");
    fs::remove_file(SOCKET)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// Runs a container, and returns all alerts once there are so many.
fn start(agent: &Agent, rootfs: &Rootfs, name: &str, count: usize) -> Result<Vec<Value>> {
    let bundle = Bundle::new(rootfs.path())?;
    bundle.write("/bin/true; exec /bin/pwd", |config| {
        config["linux"]["cgroupsPath"] = format!("/docker/{ID}").into();
        Ok(())
    })?;
    bundle.run("runc", name)?;
    agent.wait("told of the container", |agent| agent.alerts().len() >= count)?;
    let alerts = agent.alerts();
    for alert in alerts.iter().filter(|alert| alert["rule"] != "Urgent") {
        let fields = &alert["output_fields"];
        let is_it = fields["container.full_id"] == ID && fields["container.type"] == "docker";
        ensure!(is_it, "{alert}");
    }
    Ok(alerts)
}

/// Plays a runtime: each connection in a thread of its own.
fn serve(connected: fn(UnixStream) -> Result<()>) -> Result<()> {
    let listener = UnixListener::bind(SOCKET)?;
    thread::spawn(move || {
        while let Ok((connection, _)) = listener.accept() {
            // A client that went away is no error.
            thread::spawn(move || connected(connection).unwrap_or_default());
        }
    });
    Ok(())
}

/// Answers a request, as far as the agent asks.
fn answer(mut connection: UnixStream) -> Result<()> {
    let lines: Vec<String> = BufReader::new(connection.try_clone()?)
        .lines()
        .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
        .collect::<Result<_, _>>()?;
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).context("no request")?;
    let path = path.split('?').next().unwrap_or_default();
    let body = if path == "/version" {
        json!({ "Version": "1", "ApiVersion": "1.41", "Components": [{ "Name": "Engine" }] })
    } else if path == "/events" {
        write!(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        thread::sleep(Duration::from_hours(1));
        return Ok(());
    } else if path == format!("/containers/{ID}/json") {
        thread::sleep(THOUGHT);
        json!({
            "Id": ID, "Name": "/web", "Image": "",
            "State": { "Pid": 1, "StartedAt": "2026-01-01T00:00:00Z" },
            "Config": { "Image": "nginx", "Labels": { "team": "blue" } },
        })
    } else {
        json!([])
    };
    let body = body.to_string();
    write!(connection, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")?;
    write!(connection, "Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    Ok(())
}
