//! Where alerts go. Each sink has a queue of its own and works at its own pace; the event thread
//! never waits for one. What a sink cannot take is counted, and said.

mod backoff;
mod console;
mod resolver;
mod stream;
mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::IntGauge;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use crate::alert::Alert;
use crate::config::{Format, WebhookUrl};
use crate::metrics::{AlertLoss, Metrics};

/// How many alerts may wait for one sink.
const CAPACITY: usize = 16_384;

/// How long sinks may go on after the agent was asked to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The event thread's end of every sink.
pub(crate) struct Sinks {
    queues: Vec<Queue>,
    metrics: Arc<Metrics>,
}

/// The other end: what runs the sinks.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    metrics: Arc<Metrics>,
}

struct Queue {
    name: String,
    sender: Sender<Arc<Alert>>,
    depth: IntGauge,
}

struct Worker {
    name: String,
    task: JoinHandle<()>,
    depth: IntGauge,
}

/// What a sink takes its alerts from.
struct Inbox {
    name: String,
    receiver: Receiver<Arc<Alert>>,
    depth: IntGauge,
    metrics: Arc<Metrics>,
}

/// Starts the console, the socket and the webhooks. Must be called within the async runtime.
pub(crate) fn start(
    format: Format,
    socket: &Path,
    webhooks: &[WebhookUrl],
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Sinks, Workers)> {
    let mut sinks = Sinks { queues: Vec::new(), metrics: metrics.clone() };
    let mut workers = Workers { workers: Vec::new(), metrics: metrics.clone() };
    let inbox = sinks.open("console");
    workers.add("console", inbox.depth.clone(), {
        tokio::task::spawn_blocking(move || console::write(inbox, std::io::stdout(), format))
    });
    let inbox = sinks.open("socket");
    workers.add("socket", inbox.depth.clone(), stream::start(inbox, socket)?);
    for url in webhooks {
        let name = url.to_string();
        let inbox = sinks.open(&name);
        let depth = inbox.depth.clone();
        let task =
            webhook::start(inbox, url).with_context(|| format!("cannot set up webhook {url}"))?;
        workers.add(&name, depth, task);
    }
    Ok((sinks, workers))
}

impl Sinks {
    /// One that a test listens to.
    #[cfg(test)]
    pub(crate) fn heard(metrics: &Arc<Metrics>) -> (Self, Receiver<Arc<Alert>>) {
        let mut sinks = Self { queues: Vec::new(), metrics: metrics.clone() };
        let inbox = sinks.open("test");
        (sinks, inbox.receiver)
    }

    /// Hands an alert to every sink.
    pub(crate) fn send(&self, alert: &Arc<Alert>) {
        for Queue { name, sender, depth } in &self.queues {
            // Before it is sent: the sink takes it off the count, perhaps at once.
            depth.inc();
            let reason = match sender.try_send(alert.clone()) {
                Ok(()) => continue,
                Err(TrySendError::Full(_)) => AlertLoss::QueueFull,
                Err(TrySendError::Closed(_)) => AlertLoss::Closed,
            };
            depth.dec();
            self.metrics.alerts_lost(name, reason, 1);
        }
    }

    fn open(&mut self, name: &str) -> Inbox {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let depth = self.metrics.queued(name);
        self.queues.push(Queue { name: name.to_owned(), sender, depth: depth.clone() });
        Inbox { name: name.to_owned(), receiver, depth, metrics: self.metrics.clone() }
    }
}

impl Workers {
    /// Waits until every sink has emptied its queue, but not for ever. The queues must be closed,
    /// that is: [`Sinks`] dropped.
    pub(crate) async fn finish(self) {
        let deadline = tokio::time::Instant::now() + FAREWELL;
        for Worker { name, task, depth } in self.workers {
            let ended = tokio::time::timeout_at(deadline, task).await;
            let left = u64::try_from(depth.get()).unwrap_or_default();
            if ended.is_err() && left > 0 {
                self.metrics.alerts_lost(&name, AlertLoss::Shutdown, left);
                tracing::warn!("{name}: {left} alerts could not be delivered before the end");
            }
        }
    }

    fn add(&mut self, name: &str, depth: IntGauge, task: JoinHandle<()>) {
        self.workers.push(Worker { name: name.to_owned(), task, depth });
    }
}

impl Inbox {
    /// The alert is off the sink's hands.
    fn done(&self) {
        self.depth.dec();
    }

    /// The sink has given the alert up.
    fn lost(&self, reason: AlertLoss) {
        self.metrics.alerts_lost(&self.name, reason, 1);
        self.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;

    fn has(metrics: &Metrics, line: &str) -> bool {
        String::from_utf8(metrics.render().unwrap()).unwrap().lines().any(|found| found == line)
    }

    #[test]
    fn a_full_queue_is_counted_and_does_not_block() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut sinks = Sinks { queues: Vec::new(), metrics: metrics.clone() };
        let inbox = sinks.open("slow");
        let alert = Arc::new(alert("A rule"));
        for _ in 0..CAPACITY + 3 {
            sinks.send(&alert);
        }
        let lost = |reason: &str, count| {
            format!("shrike_alerts_lost_total{{reason=\"{reason}\",sink=\"slow\"}} {count}")
        };
        assert!(has(&metrics, &lost("queue_full", 3)));
        assert!(has(&metrics, &format!("shrike_sink_queue_depth{{sink=\"slow\"}} {CAPACITY}")));
        drop(inbox);
        sinks.send(&alert);
        assert!(has(&metrics, &lost("closed", 1)));
    }
}
