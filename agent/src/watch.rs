//! Watching this host without rules, for `shrike events` and `shrike record`: the records of the
//! probes, until somebody has seen enough.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use shrike_common::{Counter, Kind, Namespaces};
use shrike_rules::KindSet;

use crate::context::process;
use crate::node::{self, LsmList};
use crate::plan::Plans;
use crate::sensor::{Sensor, SensorOptions};

/// How often one looks around when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// What is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Events of these kinds.
    pub(crate) kinds: KindSet,
    /// Only those of containers' tasks.
    pub(crate) containers: bool,
    /// With what became of them, and what was tried and failed.
    pub(crate) results: bool,
    /// For how long; until SIGINT or SIGTERM if not given.
    pub(crate) limit: Option<Duration>,
}

/// Who sees the records.
pub(crate) trait Watcher {
    /// Sees a record. An error ends it all.
    fn record(&mut self, record: &[u8]) -> io::Result<()>;

    /// Has seen all that there was for now. Returns whether it wants more.
    fn pause(&mut self) -> io::Result<bool>;
}

/// The probes, and what ends the watch.
pub(crate) struct Watch {
    sensor: Sensor,
    stop: SignalFd,
    scope: Scope,
    /// The host's namespaces.
    pub(crate) host: Namespaces,
}

impl Watch {
    /// Attaches the probes. Events are recorded from here on.
    pub(crate) fn start(scope: Scope) -> anyhow::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        signals.thread_block().context("cannot block signals")?;
        let stop = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)
            .context("cannot receive signals")?;
        let host =
            node::host_namespaces(Path::new("/proc")).context("cannot tell containers apart")?;
        let sensor = Sensor::start(&SensorOptions {
            ring_bytes: BTreeMap::default(),
            lsms: LsmList::read(Path::new(LsmList::PATH)).unwrap_or_default(),
            plans: Plans::of_kinds(scope.kinds, scope.containers, scope.results),
            own: process::own().context("cannot read /proc/self")?,
            init_mnt_ns: host.mnt,
            pins: None,
        })
        .context("cannot start the sensor")?;
        let missing =
            sensor.probes().iter().filter(|state| state.is_needed && state.attached.is_none());
        for state in missing {
            let reasons: Vec<String> =
                state.refused.iter().map(|refused| refused.reason.to_string()).collect();
            tracing::warn!("probe {} is not attached: {}", state.probe.name, reasons.join("; "));
        }
        let attached = sensor.probes().iter().filter(|state| state.attached.is_some()).count();
        tracing::info!("watching by {attached} probes");
        Ok(Self { sensor, stop, scope, host })
    }

    /// Hands every record to the watcher, in order, until it has seen enough.
    pub(crate) fn run(&mut self, watcher: &mut impl Watcher) -> anyhow::Result<io::Result<()>> {
        let start = Instant::now();
        let left = |limit: Duration| limit.saturating_sub(start.elapsed());
        loop {
            let timeout = self.scope.limit.map_or(TICK, left).min(TICK);
            let waited = self.sensor.wait([self.stop.as_fd()], timeout);
            let [stopped] = waited.context("cannot wait for events")?;
            let mut outcome = Ok(());
            self.sensor.read(|record| {
                if outcome.is_ok() {
                    outcome = watcher.record(record);
                }
            });
            match outcome.and_then(|()| watcher.pause()) {
                Ok(true)
                    if !stopped && self.scope.limit.is_none_or(|limit| !left(limit).is_zero()) => {}
                Ok(_) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// How many events the probes could not send.
    pub(crate) fn lost(&self) -> anyhow::Result<u64> {
        let mut lost = 0;
        for &kind in Kind::ALL {
            for counter in Counter::LOSSES {
                lost += self.sensor.total(counter, kind)?;
            }
        }
        Ok(lost)
    }
}

impl Scope {
    /// Whether an event of this kind by such a task is within.
    pub(crate) fn contains(&self, kind: Kind, is_member: bool) -> bool {
        let is_kind = self.kinds.contains(kind) || kind == Kind::Outcome && self.results;
        is_kind && (is_member || !self.containers)
    }
}
