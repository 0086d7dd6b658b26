//! Where alerts leave the event thread. One that is about a container of which a runtime will soon tell more
//! waits for that, though never for long; one that is urgent leaves at once, and once more when more is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shrike_rules::{Argument, Event, FieldId, Kind, Output, Priority, Rule, Value};

use crate::alert::Alert;
use crate::context::container::Container;
use crate::context::runtime::{Directory, Want};
use crate::detect::{Sight, Told};
use crate::metrics::Metrics;
use crate::sink::Sinks;

/// How long an alert waits at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it is waited for a runtime when the alert is out already.
const LATER: Duration = Duration::from_secs(10);

/// How many may wait; any more leave as they are.
const MOST: usize = 1024;

/// How many of one container may, so that no container takes the places of all others.
const OF_CONTAINER: usize = 64;

/// From this one on, alerts do not wait.
const URGENT: Priority = Priority::Critical;

/// Hands alerts to the sinks.
pub(crate) struct Dispatch {
    sinks: Sinks,
    metrics: Arc<Metrics>,
    hostname: String,
    held: Vec<Held>,
}

/// An alert that waits.
struct Held {
    alert: Alert,
    /// Its message, with room for what the runtime will tell.
    rest: Output,
    container: Container,
    deadline: Instant,
    /// Whether it is out already.
    is_out: bool,
}

impl Dispatch {
    pub(crate) fn new(sinks: Sinks, metrics: Arc<Metrics>, hostname: String) -> Self {
        Self { sinks, metrics, hostname, held: Vec::new() }
    }

    /// The name of this node in alerts.
    pub(crate) fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Whether alerts wait.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Raises the alert of a rule that has matched.
    pub(crate) fn raise(&mut self, rule: &Rule, sight: &Sight<'_, '_>) {
        if !self.held.is_empty() && sight.details().is_some() {
            // What was held of this container comes first.
            self.go_on(sight.runtimes);
        }
        let time = sight.clock.timestamp(sight.header.time);
        let alert = Alert::new(rule, sight, sight.enriched(), time, &self.hostname);
        self.metrics.alerted(&alert);
        let expected = sight
            .untold()
            .filter(|(directory, container)| is_expected(directory, container))
            .map(|(_, container)| container);
        let Some(container) = expected else { return self.send(alert) };
        if !self.has_place(container) {
            self.metrics.hurried();
            return self.send(alert);
        }
        let is_out = rule.priority() <= URGENT;
        if is_out {
            self.send(alert.clone());
        }
        let deadline = Instant::now() + if is_out { LATER } else { PATIENCE };
        let rest = rule.output().settled(sight, FieldId::is_of_runtime);
        let container = container.clone();
        self.held.push(Held { alert, rest, container, deadline, is_out });
    }

    /// Lets go of the alerts that have waited long enough, and of those whose containers are known by now, or will
    /// not be.
    pub(crate) fn go_on(&mut self, directory: Option<&Directory>) {
        let now = Instant::now();
        let held = std::mem::take(&mut self.held);
        for mut held in held {
            if let Some(details) = held.container.details(directory) {
                held.alert.enrich(&held.rest, &Late(Told::new(&held.container, &details)));
                self.send(held.alert);
            } else if held.deadline > now && !is_hopeless(directory, &held.container) {
                self.held.push(held);
            } else if !held.is_out {
                self.send(held.alert);
            }
        }
        self.metrics.held(self.held.len());
    }

    /// Whether one more of a container may wait.
    fn has_place(&self, container: &Container) -> bool {
        let of_it = || self.held.iter().filter(|held| held.container.key == container.key).count();
        self.held.len() < MOST && of_it() < OF_CONTAINER
    }

    /// Lets go of all that wait.
    pub(crate) fn finish(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if !held.is_out {
                self.send(held.alert);
            }
        }
    }

    /// Hands over an alert that nothing is to be waited for.
    pub(crate) fn send(&self, alert: Alert) {
        self.sinks.send(&Arc::new(alert));
    }
}

/// Whether it will soon be known what its runtime tells of a container.
fn is_expected(directory: &Directory, container: &Container) -> bool {
    let Some(key) = container.key else { return false };
    // What has just come to be known is told at the next turn.
    let is_asked = matches!(directory.want(container.runtime, key), Want::Asked | Want::Known);
    let of_record = container.record.as_ref().is_some_and(|record| {
        // One that takes longer hangs: no alert is to wait for that.
        record.details().is_some() || record.is_open() && container.since.elapsed() < PATIENCE
    });
    is_asked || of_record
}

/// Whether nobody will tell more of it.
fn is_hopeless(directory: Option<&Directory>, container: &Container) -> bool {
    let is_unknown = container
        .key
        .is_none_or(|key| directory.is_none_or(|directory| directory.is_unknown(&key)));
    is_unknown && container.record.as_ref().is_none_or(|record| !record.is_open())
}

/// What a runtime has told, as an event that has nothing else.
struct Late<'a>(Told<'a>);

impl Event for Late<'_> {
    fn kind(&self) -> Kind {
        Kind::Boundary
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let name = match argument {
            Some(Argument::Name(name)) => Some(name),
            _ => None,
        };
        self.0.field(field, name)
    }
}
