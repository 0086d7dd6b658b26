//! The demonstration that `cargo xtask demo` runs in a guest: the agent with its default rules, an
//! ordinary container, and three that try to get out.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::alert::is_posture;
use crate::container::{Rootfs, SHRIKE};
use crate::escape::ORDINARY;
use crate::listener::{Listener, Post};

/// Where the host reads what is proven.
const RESULTS: &str = "/dev/virtio-ports/shrike.results";

/// The default rules.
const RULES: &str = concat!(
    include_str!("../../rules/default/boundary.yaml"),
    include_str!("../../rules/default/credentials.yaml"),
    include_str!("../../rules/default/escape.yaml")
);

/// An escape, as the technique of the self-test that performs it.
struct Escape {
    technique: &'static str,
    options: &'static [&'static str],
    story: &'static str,
}

const ESCAPES: [Escape; 3] = [
    Escape {
        technique: "usermode-helper",
        options: &["--privileged"],
        story: "A privileged container chooses the program that the kernel starts, as root on the \
                host, for every crash.",
    },
    Escape {
        technique: "proc-root",
        options: &["--pid=host", "--cap-add=SYS_PTRACE"],
        story: "A container that shares the host's pids opens the host's file system through \
                /proc/1/root.",
    },
    Escape {
        technique: "ptrace",
        options: &["--pid=host", "--cap-add=SYS_PTRACE"],
        story: "A container attaches to a process of the host, as a debugger does.",
    },
];

/// Shows it all; each escape carries its token.
pub fn run(tokens: &[String]) -> Result<()> {
    ensure!(tokens.len() == ESCAPES.len(), "{} tokens are needed", ESCAPES.len());
    let listener = Listener::start()?;
    let rootfs = Rootfs::new()?;
    let agent = Agent::start(RULES, &["--webhook", &listener.url()])?;
    println!("\nThe agent is ready: {} rules, a webhook.", agent.metric("shrike_rules", &[])?);

    println!("\nAn ordinary container works: a shell, files that come and go, 200 processes.");
    let ordinary = rootfs.script(&[], ORDINARY)?;
    ensure!(ordinary.text()?.ends_with("done"), "{ordinary:?}");
    for (escape, token) in ESCAPES.iter().zip(tokens) {
        println!("\n{}", escape.story);
        report(&json!({ "attempt": escape.attempt(token, &agent, &listener, &rootfs)? }))?;
    }
    // The escapes came later: whatever the ordinary container raised has arrived by now.
    let is_escape = |alert: &&Value| tokens.iter().any(|token| shows(alert, token));
    let alerts = agent.alerts();
    let others: Vec<&Value> =
        alerts.iter().filter(|alert| !is_escape(alert) && !is_posture(alert)).collect();
    println!("\nThe ordinary container raised {} alerts by what it did.", others.len());
    report(&json!({ "ordinary": { "alerts": others } }))?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

impl Escape {
    /// Tries to get out, and tells what the agent made of it.
    fn attempt(
        &self,
        token: &str,
        agent: &Agent,
        listener: &Listener,
        rootfs: &Rootfs,
    ) -> Result<Value> {
        let before = agent.alerts().len();
        let command = [SHRIKE, "technique", self.technique, "--token", token];
        println!("  $ shrike container run {} -- {}", self.options.join(" "), command.join(" "));
        let container = rootfs
            .launcher(self.options, &command)
            .stdout(Stdio::piped())
            .spawn()
            .context("start the launcher")?;
        let Post { body, arrived } = listener.post(token, |alert| shows(alert, token))?;
        let console = agent.alert(token, |alert| shows(alert, token))?;
        println!("  {} {}", body["priority"].as_str().unwrap_or_default(), summary(&console));
        let output = container.wait_with_output()?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the container said {output:?}"))?;
        let acted = said["time"].as_i64().context("the container told no time")?;
        println!("  {:.1} ms from the system call to the webhook", milliseconds(acted, arrived));
        // Another alert of this attempt would be on the console soon.
        std::thread::sleep(Duration::from_millis(200));
        let rule = &console["rule"];
        let counted =
            agent.alerts().iter().skip(before).filter(|alert| alert["rule"] == *rule).count();
        let name = rule.as_str().unwrap_or_default();
        let metric = agent.metric("shrike_alerts_total", &[("rule", name)])?;
        ensure!(metric == counted as u64, "the metric says {metric}, the console {counted}");
        Ok(json!({ "token": token, "console": console, "webhook": body, "counted": metric }))
    }
}

/// The rule, and its message up to the details.
fn summary(alert: &Value) -> String {
    let rule = alert["rule"].as_str().unwrap_or_default();
    let output = alert["output"].as_str().unwrap_or_default();
    let message = output.split_once(' ').map_or(output, |(_, message)| message);
    let message = message.split_once(' ').map_or(message, |(_, message)| message);
    let end = message.rfind(" (").unwrap_or(message.len());
    format!("{rule}: {}", &message[..end])
}

/// Whether the alert tells of what a process with this mark did.
fn shows(alert: &Value, token: &str) -> bool {
    let command = alert["output_fields"]["proc.cmdline"].as_str();
    !is_posture(alert) && command.is_some_and(|command| command.contains(token))
}

fn milliseconds(acted: i64, arrived: SystemTime) -> f64 {
    let arrived = arrived.duration_since(UNIX_EPOCH).unwrap_or_default();
    let acted = Duration::from_nanos(acted.unsigned_abs());
    arrived.saturating_sub(acted).as_secs_f64() * 1e3
}

fn report(value: &Value) -> Result<()> {
    let mut results = OpenOptions::new().append(true).open(RESULTS).context("open the results")?;
    writeln!(results, "{value}").context("write the results")
}
