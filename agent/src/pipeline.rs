//! The event thread: from records to alerts, one event after the other. It never waits for anything
//! but the kernel.

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use shrike_common::{
    CgroupId, ContainerId, Counter, Event, Header, Kind, Namespaces, PROBES, Pid, Probe, decode,
};
use shrike_rules::{Rule, Ruleset, Stage};

use crate::alive::Alive;
use crate::context::clock::Clock;
use crate::context::container::{Change, Containers};
use crate::context::inspection::{Inspection, Inspector};
use crate::context::names::Names;
use crate::context::process::Processes;
use crate::context::rescan::Rescan;
use crate::context::runtime::Directory;
use crate::detect::{Sight, result};
use crate::dispatch::Dispatch;
use crate::engine::Engine;
use crate::entrance::{Entrance, Entrances};
use crate::gap::{Gap, Gaps, Reason};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::outcome::{Outcomes, Waiting};
use crate::plan::Plans;
use crate::pulse::Pulse;
use crate::recording::Origin;
use crate::run;
use crate::sensor::{self, ProbeState, Sensor};
use crate::view::{Look, Questions, Source, Tables};

/// How often the books are read and the thread shows that it is alive, busy or not.
const TICK: Duration = Duration::from_secs(1);

/// How often alerts that wait are looked at.
const TURN: Duration = Duration::from_millis(10);

/// The kinds of event that the tables of processes and cgroups live by.
const LINEAGE: [Kind; 6] =
    [Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupMkdir, Kind::CgroupRmdir, Kind::CgroupAttach];

/// How many bites of the lanes are still taken at the end: more than the default rings hold.
const LAST_BITES: usize = 64;

/// Everything that the event thread works with.
pub(crate) struct Pipeline {
    pub(crate) sensor: Sensor,
    pub(crate) engine: Engine,
    /// Rules that are to be put in force.
    pub(crate) reloads: Receiver<Ruleset>,
    /// What is asked about what runs.
    pub(crate) questions: Questions,
    pub(crate) context: Context,
    pub(crate) pulse: Pulse,
    /// The mark for the next agent, if it can be left.
    pub(crate) alive: Option<Alive>,
    pub(crate) gaps: Gaps,
    pub(crate) dispatch: Dispatch,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
}

/// What is known beyond the event at hand.
pub(crate) struct Context {
    processes: Processes,
    containers: Containers,
    /// Who is asked about containers; `None` where the events are not of this host, or nobody is to be asked.
    runtimes: Option<Directory>,
    names: Names,
    host: Namespaces,
    clock: Clock,
    /// The agent's own process: what it does is not an event that rules should see.
    own: Pid,
    /// How many events there were.
    events: u64,
    outcomes: Outcomes,
    entrances: Entrances,
    /// These are `None` where the events are not of this host.
    rescan: Option<Rescan>,
    inspector: Option<Inspector>,
    /// How many events of processes are lost.
    lost: u64,
    /// How many containers had ended before they could be looked at.
    uninspected: Cell<u64>,
}

impl Pipeline {
    /// The subject of this thread in the agent's health.
    pub(crate) const HEALTH: &str = "events";

    /// Handles events until the other end of `stopped` is closed. Before, nobody had watched `since`
    /// then.
    pub(crate) fn run(mut self, since: &Gap, stopped: &OwnedFd) -> Result<(), Errno> {
        let ended = self.watch(since, stopped);
        // What waits leaves as it is, whatever has ended this.
        self.dispatch.finish();
        for gap in std::mem::take(&mut self.gaps).end() {
            self.tell(&gap);
        }
        ended
    }

    fn watch(&mut self, since: &Gap, stopped: &OwnedFd) -> Result<(), Errno> {
        self.tell(since);
        let lost = self.sensor.lost_unattended();
        if lost > 0 {
            // They had no room in the lane that this agent has found.
            let subject = format!("{}, unattended", Kind::Breach.name());
            self.tell(&Gap { reason: Reason::Loss, subject, lost, ..since.clone() });
        }
        self.tell_missing_probes();
        self.tick();
        self.health.met(Self::HEALTH);
        let mut ticked = Instant::now();
        loop {
            let waking = [stopped.as_fd(), self.questions.bell()];
            let at_most = if self.dispatch.is_holding() { TURN } else { TICK };
            let [is_over, is_asked] = self.sensor.wait(waking, at_most)?;
            if is_over {
                break;
            }
            self.read(sensor::boot_time());
            if is_asked {
                self.questions.answer(|| self.context.look_around());
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
        }
        // What happened before the end was asked for is still in the lanes.
        for _ in 0..LAST_BITES {
            self.read(sensor::boot_time());
        }
        // Nothing more will come of what waits for more.
        self.read(u64::MAX);
        self.tick();
        Ok(())
    }

    /// Handles what has come, and what has waited for more until `now`.
    fn read(&mut self, now: u64) {
        let Self { sensor, engine, context, pulse, dispatch, metrics, .. } = self;
        let mut judge = |sight: &Sight<'_, '_>| {
            for rule in engine.rules(sight.header.generation).matches(sight) {
                dispatch.raise(rule, sight);
            }
        };
        sensor.read(|record| match decode(record) {
            Ok((header, event)) => {
                metrics.received(event.kind());
                if let Event::Heartbeat(beat) = event {
                    return pulse.saw(beat.backend, header.lane);
                }
                context.see(&header, &event, record, &mut judge);
            }
            Err(error) => {
                metrics.malformed();
                tracing::warn!("refused a record of {} bytes: {error}", record.len());
            }
        });
        context.give_up(now, &mut judge);
        dispatch.go_on(context.runtimes.as_ref());
    }

    /// Puts other rules in force.
    fn reload(&mut self, ruleset: Ruleset) {
        let plans = Plans::of_rules(&ruleset);
        match self.sensor.follow(&plans) {
            Ok(generation) => {
                tracing::info!("rules in force: {}", ruleset.rules().len());
                self.metrics.rules(ruleset.rules().len(), 0);
                self.engine.replace(generation, ruleset);
                run::report_probes(&self.sensor, &self.metrics, &self.health);
                self.tell_missing_probes();
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!("the former rules stay in force: {error:#}");
            }
        }
    }

    /// What is done once a second.
    fn tick(&mut self) {
        // With the lanes read to their end, nothing that was sent before the last reload is left.
        if !self.sensor.is_busy() && !self.context.is_waiting() {
            self.engine.settle();
        }
        if let Some(ruleset) = self.reloads.try_iter().last() {
            self.reload(ruleset);
        }
        self.health.beat();
        self.context.refresh();
        let now = sensor::boot_time();
        self.check_pulse(now);
        self.read_books(now);
        for gap in self.gaps.look(now) {
            self.tell(&gap);
        }
        if let Some(alive) = &self.alive
            && let Err(error) = alive.mark(self.sensor.seen())
        {
            tracing::warn!("cannot write {}: {error}; no more marks", alive.path().display());
            self.alive = None;
        }
    }

    fn check_pulse(&mut self, now: u64) {
        let Self { sensor, metrics, health, pulse, gaps, .. } = self;
        let wrong = pulse.beat(sensor.backends());
        metrics.silent(wrong.len());
        if wrong.is_empty() {
            return health.met("pulse");
        }
        let wrong = wrong.join("; ");
        gaps.note(Reason::Silence, "", now, 0);
        health.unmet("pulse", wrong);
    }

    /// Compares what was sent with what has come, and tells both.
    fn read_books(&mut self, now: u64) {
        let Self { sensor, context, metrics, gaps, .. } = self;
        let mut lost = 0;
        metrics.processes(&context.processes, context.rescan.as_ref().map_or(0, Rescan::done));
        metrics.containers(context.containers.len(), context.containers.refused());
        if let Some(runtimes) = &context.runtimes {
            metrics.runtimes(runtimes);
        }
        metrics.names(&context.names);
        metrics.uninspected(context.uninspected.get());
        for &kind in Kind::ALL {
            for counter in Counter::ALL {
                match sensor.total(counter, kind) {
                    Ok(total) => {
                        metrics.kernel_total(counter, kind, total);
                        if LINEAGE.contains(&kind) && Counter::LOSSES.contains(&counter) {
                            lost += total;
                        }
                        // The agent knows by itself when nobody answers.
                        if Counter::GAPS.contains(&counter) && kind != Kind::Heartbeat {
                            let (kind, reason) = (kind.name(), counter.name());
                            gaps.count(&format!("{kind}, {reason}"), now, total);
                        }
                    }
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
        for (program, missed) in sensor.missed() {
            match missed {
                Ok(total) => {
                    metrics.missed_total(program, total);
                    if tells_lineage(program) {
                        lost += total;
                    }
                    gaps.count(&format!("{program}, missed"), now, total);
                }
                Err(error) => tracing::warn!("cannot ask about program {program}: {error}"),
            }
        }
        for (lane, missing) in sensor.missing() {
            metrics.missing(lane, missing);
        }
        context.make_up_for(lost, sensor.seen());
    }

    /// What a probe would see that is not attached, nobody sees from now on.
    fn tell_missing_probes(&self) {
        let missing =
            self.sensor.probes().iter().filter(|state| state.is_needed && state.attached.is_none());
        let mut names = Vec::new();
        for state in missing {
            names.push(state.probe.name);
            let rules = degraded(self.engine.present(), state);
            let rules = if rules.is_empty() { "none".to_owned() } else { rules.join(", ") };
            tracing::warn!("without probe {} these rules see less: {rules}", state.probe.name);
        }
        if !names.is_empty() {
            let (reason, subject, seen) = (Reason::Probe, names.join(", "), self.sensor.seen());
            self.tell(&Gap { reason, subject, start: seen, end: seen, lost: 0, is_open: true });
        }
    }

    /// Tells a gap as an alert of its own.
    fn tell(&self, gap: &Gap) {
        if gap.reason == Reason::Start {
            tracing::info!("{gap}");
        } else {
            tracing::warn!("{gap}");
        }
        self.metrics.gap(gap);
        let alert = gap.alert(self.context.clock, self.dispatch.hostname());
        self.metrics.alerted(&alert);
        self.dispatch.send(alert);
    }
}

/// Whether the tables of processes and cgroups live by what a program sends.
fn tells_lineage(program: &str) -> bool {
    let of_program = |probe: &&Probe| probe.ways.iter().any(|way| way.program() == program);
    let mut probes = PROBES.iter().filter(of_program);
    probes.any(|probe| probe.kinds.iter().any(|kind| LINEAGE.contains(kind)))
}

/// The names of the rules that see less without a probe.
fn degraded<'a>(ruleset: &'a Ruleset, missing: &ProbeState) -> Vec<&'a str> {
    let sees = |rule: &&Rule| {
        let asks = missing.exit.is_none() || rule.asks_for_result();
        rule.is_enabled()
            && asks
            && missing.probe.kinds.iter().any(|&kind| rule.kinds().contains(kind))
    };
    ruleset.rules().iter().filter(sees).map(Rule::name).collect()
}

impl Context {
    /// Looks around once. Events that are recorded meanwhile bring it up to date.
    pub(crate) fn scan(
        host: Namespaces,
        cgroups: &Path,
        homes: &[(CgroupId, ContainerId)],
        runtimes: Option<Directory>,
    ) -> io::Result<Self> {
        Ok(Self {
            processes: Processes::scan(Path::new("/proc"), sensor::boot_time)?,
            containers: Containers::of_host(cgroups, Path::new("/proc"), homes)?,
            runtimes,
            names: Names::of_host()?,
            host,
            clock: Clock::now()?,
            own: Pid(std::process::id()),
            events: 0,
            outcomes: Outcomes::default(),
            entrances: Entrances::default(),
            rescan: Some(Rescan::new("/proc".into(), cgroups.to_owned())),
            inspector: Some(Inspector::of_host()),
            lost: 0,
            uninspected: Cell::default(),
        })
    }

    /// What is known where a recording was made: only what is in it.
    pub(crate) fn of_recording(origin: &Origin) -> Self {
        Self {
            processes: Processes::default(),
            containers: Containers::default(),
            runtimes: None,
            names: Names::default(),
            host: origin.host(),
            clock: Clock::at(origin.boot),
            // No process has that one.
            own: Pid(0),
            events: 0,
            outcomes: Outcomes::default(),
            entrances: Entrances::default(),
            rescan: None,
            inspector: None,
            lost: 0,
            uninspected: Cell::default(),
        }
    }

    /// Follows what changes without an event.
    fn refresh(&mut self) {
        self.names.refresh();
        if let Err(error) = self.clock.refresh() {
            tracing::warn!("cannot read the clock: {error}");
        }
    }

    /// What runs, for those who ask.
    fn look_around(&self) -> Look {
        let Self { processes, containers, names, host, clock, .. } = self;
        let runtimes = self.runtimes.as_ref();
        let tables = Tables { processes, containers, runtimes, names, host: *host, clock: *clock };
        Look::take(&tables, Source::Agent)
    }

    /// Has `/proc` read again if more events of processes are lost than before.
    fn make_up_for(&mut self, lost: u64, seen: u64) {
        if lost > self.lost {
            self.lost = lost;
            // They may be of any time up to now.
            self.processes.lost(sensor::boot_time());
        }
        if let Some(rescan) = &mut self.rescan {
            let change = rescan.go_on(&mut self.processes, &mut self.containers, seen);
            self.follow(&change);
        }
    }

    /// What else there is to do about a change of the containers.
    fn follow(&mut self, change: &Change) {
        for &container in &change.gone {
            self.names.forget(container);
        }
        if let Some(container) = change.known {
            self.ask(container);
        }
    }

    /// Brings the context up to an event, hands both on, and forgets what ended with it. An event of
    /// which more will be known comes again then.
    pub(crate) fn see(
        &mut self,
        header: &Header,
        event: &Event<'_>,
        record: &[u8],
        look: &mut impl FnMut(&Sight<'_, '_>),
    ) {
        if let Event::Outcome(outcome) = event {
            for waiting in self.outcomes.ended(header, outcome.since) {
                self.look_again(&waiting, Some(outcome.result), look);
            }
            return;
        }
        self.events += 1;
        if header.has(Header::RAW) {
            // Nothing has happened. What became of it follows.
            return self.outcomes.wait(self.events, header, record);
        }
        self.processes.apply(header, event);
        let change = self.containers.apply(header, event, &self.processes);
        self.follow(&change);
        self.names.apply(header, event);
        if let Event::Boundary(boundary) = event
            && Entrances::is_one(boundary)
        {
            // Its process may have ended when it is handed on.
            let inspection = self.inspect(header, event);
            return self.entrances.wait(self.events, header, record, inspection);
        }
        if let Some(entrance) = self.entrances.done(header, event) {
            self.look_inside(&entrance, look);
        }
        let stage = if header.has(Header::OUTCOME) {
            self.outcomes.wait(self.events, header, record);
            Stage::Begun
        } else {
            Stage::Whole
        };
        let inspection = self.inspect(header, event);
        let result = result::implied(header, event);
        self.look(self.events, header, event, (stage, result), inspection.as_ref(), look);
        self.processes.settle(header, event);
    }

    /// Asks its runtime about a container: the answer may be there before it is needed.
    fn ask(&self, container: ContainerId) {
        if let Some(runtimes) = &self.runtimes
            && let Some(container) = self.containers.get(container)
            && let Some(key) = container.key
        {
            runtimes.want(container.runtime, key);
            if let Some(record) = &container.record {
                runtimes.read(record);
            }
        }
    }

    /// Whether there are events of which more will be known.
    fn is_waiting(&self) -> bool {
        !self.outcomes.is_empty() || !self.entrances.is_empty()
    }

    /// Hands on the events that have waited too long, as they are.
    pub(crate) fn give_up(&mut self, now: u64, look: &mut impl FnMut(&Sight<'_, '_>)) {
        for entrance in self.entrances.overdue(now) {
            self.look_inside(&entrance, look);
        }
        for waiting in self.outcomes.overdue(now) {
            self.look_again(&waiting, None, look);
        }
    }

    /// Hands on an event that has waited.
    fn look_again(
        &self,
        waiting: &Waiting,
        result: Option<i64>,
        look: &mut impl FnMut(&Sight<'_, '_>),
    ) {
        // It was decoded before.
        let Ok((header, event)) = decode(&waiting.record) else { return };
        let stage = if header.has(Header::RAW) { Stage::Attempt } else { Stage::Ended };
        self.look(waiting.number, &header, &event, (stage, result), None, look);
    }

    /// Hands on that a task has come into a container.
    fn look_inside(&self, entrance: &Entrance, look: &mut impl FnMut(&Sight<'_, '_>)) {
        let Ok((header, event)) = decode(&entrance.record) else { return };
        let state = (Stage::Whole, result::implied(&header, &event));
        self.look(entrance.number, &header, &event, state, entrance.inspection.as_ref(), look);
    }

    /// What the host gives to a container that has come to be known.
    fn inspect(&self, header: &Header, event: &Event<'_>) -> Option<Inspection> {
        let (Some(inspector), Event::Boundary(_)) = (&self.inspector, event) else { return None };
        inspector
            .inspect(header.tgid, header.start)
            .inspect_err(|error| {
                self.uninspected.update(|count| count + 1);
                tracing::debug!("cannot look at the container of {}: {error}", header.tgid.0);
            })
            .ok()
    }

    fn look(
        &self,
        number: u64,
        header: &Header,
        event: &Event<'_>,
        (stage, result): (Stage, Option<i64>),
        inspection: Option<&Inspection>,
        look: &mut impl FnMut(&Sight<'_, '_>),
    ) {
        if header.tgid == self.own {
            return;
        }
        look(&Sight {
            inspection,
            number,
            header,
            event,
            result,
            stage,
            processes: &self.processes,
            containers: &self.containers,
            runtimes: self.runtimes.as_ref(),
            details: OnceCell::new(),
            kin: crate::detect::Kin::default(),
            names: &self.names,
            host: &self.host,
            clock: self.clock,
        });
    }
}

#[cfg(test)]
mod tests {
    use shrike_common::SYSCALL_EXITS;
    use shrike_rules::Source;

    use super::*;

    #[test]
    fn a_missing_probe_degrades_the_rules_of_its_kinds() {
        let rule = |name: &str, condition: &str| {
            format!(
                "- rule: {name}\n  desc: d\n  output: o\n  priority: NOTICE\n  condition: {condition}\n"
            )
        };
        let text = rule("Opens", "evt.type = openat")
            + &rule("Fails", "evt.type = openat and evt.failed = true")
            + &rule("Mounts", "evt.type = mount");
        let ruleset = Ruleset::load(&[Source::new("r", &text)]).ruleset;
        let state = |probe, exit| ProbeState {
            probe,
            exit,
            is_needed: true,
            attached: None,
            refused: Vec::new(),
        };
        let open = PROBES.iter().find(|probe| probe.name == "file_open").unwrap();
        assert_eq!(degraded(&ruleset, &state(open, None)), ["Opens", "Fails"]);
        let exit = SYSCALL_EXITS.iter().find(|exit| exit.syscall == "openat").unwrap();
        assert_eq!(degraded(&ruleset, &state(&exit.probe, Some(exit))), ["Fails"]);
    }
}
