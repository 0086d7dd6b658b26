//! Where alerts leave the event thread. One that is about a container of which a runtime will soon tell more
//! waits for that, though never for long; one that is urgent leaves at once, and once more when more is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shrike_rules::{Argument, Event, FieldId, Kind, Output, Priority, Rule, Value};

use crate::alert::Alert;
use crate::context::container::Container;
use crate::context::runtime::{Details, Directory, Record, Want};
use crate::detect::{Sight, Told};
use crate::metrics::Metrics;
use crate::sink::Sinks;

/// How long an alert waits at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it is waited for a runtime when the alert is out already.
const LATER: Duration = Duration::from_secs(10);

/// How many may wait, and how many that are out; any more leave as they are.
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
        let outlook = sight.runtimes.zip(sight.its_container());
        let is_settled =
            outlook.is_some_and(|(directory, container)| settled(directory, container).is_some());
        if is_settled && sight.its_container().is_some_and(|container| self.is_kept(container)) {
            // What was held of this container comes first.
            self.go_on(sight.runtimes);
        }
        let time = sight.clock.timestamp(sight.header.time);
        let enriched = sight.enriched().map(|is_told| is_told && is_settled);
        let alert = Alert::new(rule, sight, enriched, time, &self.hostname);
        self.metrics.alerted(&alert);
        let is_out = rule.priority() <= URGENT;
        let is_named = sight.details().is_some();
        let expected = outlook
            .filter(|_| !(is_settled && is_named))
            .filter(|(directory, container)| {
                is_asked(directory, container, is_out) || !is_named && is_read(container, is_out)
            })
            .map(|(_, container)| container);
        let Some(container) = expected else { return self.send(alert) };
        if !self.has_place(container, is_out) {
            self.metrics.hurried();
            return self.send(alert);
        }
        if is_out {
            self.send(alert.clone());
        }
        let deadline = Instant::now() + patience(is_out);
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
            let all = directory.and_then(|directory| settled(directory, &held.container));
            let is_all = all.is_some() || directory.is_none();
            let is_over =
                held.deadline <= now || !held.is_out && !is_coming(directory, &held.container);
            if all.is_none() && !is_over {
                self.held.push(held);
                continue;
            }
            // What is out comes again with all there is, or not at all.
            let is_due = !held.is_out || is_all;
            let told = all.or_else(|| held.container.details(directory)).filter(|_| is_due);
            if let Some(details) = told {
                held.alert.enrich(&held.rest, &Late(Told::new(&held.container, &details)), is_all);
                self.send(held.alert);
            } else if !held.is_out {
                self.send(held.alert);
            }
        }
        self.metrics.held(self.held.len());
    }

    /// Whether alerts of a container are kept back.
    fn is_kept(&self, container: &Container) -> bool {
        self.held.iter().any(|held| !held.is_out && held.container.key == container.key)
    }

    /// Whether one more of a container may wait, among those that are out already or those that are not: these
    /// wait for seconds, and are not to take the places of those that are kept back.
    fn has_place(&self, container: &Container, is_out: bool) -> bool {
        let alike = || self.held.iter().filter(|held| held.is_out == is_out);
        let of_it = || alike().filter(|held| held.container.key == container.key).count();
        alike().count() < MOST && of_it() < OF_CONTAINER
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

/// How long what a runtime will tell is waited for.
fn patience(is_out: bool) -> Duration {
    if is_out { LATER } else { PATIENCE }
}

/// What is known of a container, unless a runtime may soon tell more than was written down.
fn settled(directory: &Directory, container: &Container) -> Option<Arc<Details>> {
    let key = container.key?;
    let told = directory.get(&key);
    if told.is_some() || directory.may_tell(container.runtime, &key) {
        return told;
    }
    container.record.as_ref()?.details().cloned()
}

/// Asks for a container, unless that was done. Whether an alert can wait for the answer.
fn is_asked(directory: &Directory, container: &Container, is_out: bool) -> bool {
    let Some(key) = container.key else { return false };
    match directory.want(container.runtime, key) {
        // What has just come to be known is told at the next turn.
        Want::Asked | Want::Known => true,
        // What is out can come again later: a runtime that starts a container takes its time, or denies it first.
        Want::Slow | Want::Absent | Want::Refused => is_out,
        Want::Unowned => false,
    }
}

/// Whether it will soon be known what was written down of a container.
fn is_read(container: &Container, is_out: bool) -> bool {
    container.record.as_ref().is_some_and(|record| {
        // One that takes longer hangs: no alert is to wait for that.
        let is_prompt = container.since.elapsed() < patience(is_out);
        record.details().is_some() || record.is_open() && is_prompt
    })
}

/// Whether somebody may still tell of a container. Unlike to expect that, this asks nobody.
fn is_coming(directory: Option<&Directory>, container: &Container) -> bool {
    let of_runtime = directory
        .zip(container.key)
        .is_some_and(|(directory, key)| directory.may_tell(container.runtime, &key));
    // One that was read since is told at the next turn.
    let is_written = |record: &Arc<Record>| record.is_open() || record.details().is_some();
    of_runtime || container.record.as_ref().is_some_and(is_written)
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

#[cfg(test)]
mod tests;
