//! Watches the alerts of the running agent.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;

use super::attempt::Act;
use super::report::Outcome;

/// The alerts that arrive from now on.
pub(super) struct Watch {
    alerts: Receiver<(Alert, Timestamp)>,
}

/// What matters of an alert.
#[derive(Debug, Deserialize)]
struct Alert {
    rule: String,
    time: Timestamp,
    output_fields: Fields,
}

#[derive(Debug, Deserialize)]
struct Fields {
    #[serde(rename = "proc.pid")]
    pid: Option<u32>,
    #[serde(rename = "cgroup.id")]
    cgroup: Option<u64>,
}

impl Watch {
    /// Connects to the agent.
    pub(super) fn start(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| {
            format!("cannot reach an agent at {}; start one with `shrike run`", socket.display())
        })?;
        let (sender, alerts) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let now = Timestamp::now();
                // An alert without these fields is none that is waited for.
                let Ok(alert) = serde_json::from_str(&line) else { continue };
                if sender.send((alert, now)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { alerts })
    }

    /// Waits for the alert that the act must raise.
    pub(super) fn verdict(&self, rule: &str, act: &Act, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.alerts.recv_timeout(left) {
                Ok((alert, arrived)) if alert.is_of(rule, act) => {
                    let latency = arrived.duration_since(act.time);
                    return Outcome::Detected { latency: latency.try_into().unwrap_or_default() };
                }
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Outcome::Failed { reason: "the agent has ended".to_owned() };
                }
            }
        }
        Outcome::Missed
    }
}

impl Alert {
    /// Whether it names the very process in its own cgroup, and is not older than the act.
    fn is_of(&self, rule: &str, act: &Act) -> bool {
        self.rule == rule
            && self.output_fields.pid == Some(act.pid)
            && self.output_fields.cgroup.is_none_or(|cgroup| cgroup == act.cgroup)
            && self.time >= act.time
    }
}
