//! Every series that the agent exports. One declaration each: name, labels and help.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use shrike_common::{Backend, Counter, Kind, Lane};

use crate::alert::Alert;
use crate::context::names::Names;
use crate::context::process::Processes;
use crate::context::runtime::{Directory, Family, Reason};
use crate::gap::Gap;

/// Declares the series: the registry, the handles and the documentation come from here.
macro_rules! series {
    ($($field:ident: $type:ty = $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// Handles on every series.
        pub(crate) struct Metrics {
            registry: Registry,
            $($field: $type,)*
        }

        impl Metrics {
            /// Registers every series.
            pub(crate) fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(let $field = <$type>::declare($name, &[$($label),*], $help)?;
                registry.register(Box::new($field.clone()))?;)*
                let metrics = Self { registry, $($field,)* };
                metrics.build_info.with_label_values(&[VERSION, REVISION]).set(1);
                Ok(metrics)
            }

            /// Each series: name, labels, help.
            #[cfg(test)]
            fn declared() -> Vec<(&'static str, &'static [&'static str], &'static str)> {
                vec![$(($name, &[$($label),*], $help)),*]
            }
        }
    };
}

series! {
    build_info: IntGaugeVec = "shrike_build_info" ["version", "revision"]
        "Always 1; the labels say which build this is.";
    events: IntCounterVec = "shrike_events_total" ["kind"]
        "Events received from the kernel.";
    attempted: IntCounterVec = "shrike_events_attempted_total" ["kind"]
        "Events that the probes had to send, received or lost.";
    lost: IntCounterVec = "shrike_events_lost_total" ["kind", "lane", "reason"]
        "Events that the probes could not send: ring_full, no_slot, over_share (more than the cgroup's \
         share of a lane that is more than half full).";
    members_lost: IntCounterVec = "shrike_members_lost_total" ["kind"]
        "Tasks of containers that found no room in the table of members and count as the host's, by what \
         made them.";
    missed: IntCounterVec = "shrike_events_missed_total" ["program"]
        "Runs of a probe that the kernel skipped (fentry and tracepoints only).";
    missing: IntGaugeVec = "shrike_events_missing" ["lane"]
        "Sequence numbers that never arrived: what was lost, as seen from the receiving end.";
    malformed: IntCounter = "shrike_records_malformed_total" []
        "Records from the kernel that could not be decoded.";
    probes: IntGaugeVec = "shrike_probe_attached" ["probe", "backend"]
        "1 if the probe is attached in this way, 0 if it could not be attached (backend is none) or no \
         rule needs it (unneeded).";
    silent: IntGauge = "shrike_pulse_failures" []
        "Backends and lanes of probes that gave no sign of life for more than 3 s, and other reasons \
         why probes may not run (ftrace_enabled is 0); 0 when all is well.";
    gaps: IntCounterVec = "shrike_gaps_total" ["reason"]
        "Spans of time that were not seen whole, each told by an alert: start, restart, loss, silence, probe.";
    gap_seconds: CounterVec = "shrike_gap_seconds_total" ["reason"]
        "How long they were together.";
    processes: IntGauge = "shrike_processes" []
        "Processes in the process table, including recently ended ones.";
    processes_refused: IntCounter = "shrike_processes_refused_total" []
        "Processes that found no room in the process table.";
    process_texts: IntGauge = "shrike_process_text_bytes" []
        "What the paths and arguments of processes take, each different one counted once.";
    process_texts_cut: IntCounter = "shrike_process_texts_cut_total" []
        "Paths and arguments of processes that were shortened, as there was no room for all of them.";
    process_rescans: IntCounter = "shrike_process_rescans_total" []
        "How often /proc was read again, as events of processes had been lost.";
    containers: IntGauge = "shrike_containers" []
        "Containers that are known, including some that are gone.";
    containers_refused: IntCounter = "shrike_containers_refused_total" []
        "Containers, and control groups, that found no room in their tables.";
    names_refused: IntCounter = "shrike_names_refused_total" []
        "Files of users or groups that were not read: too large, no file, or too many waited, or kept \
         others waiting.";
    names_evicted: IntCounter = "shrike_names_evicted_total" []
        "Containers whose users' names had to go, as there was no room for all.";
    names_late: IntCounter = "shrike_names_late_total" []
        "Containers whose files of users or groups took longer than 2 s to read, and have others' read \
         meanwhile.";
    runtimes: IntGaugeVec = "shrike_runtimes_connected" ["runtime"]
        "Container runtimes that are connected, to be asked about their containers: containerd and cri-o \
         over CRI, docker, podman.";
    runtime_connections: IntCounterVec = "shrike_runtime_connections_total" ["runtime"]
        "How often one was connected.";
    runtime_failures: IntCounterVec = "shrike_runtime_failures_total" ["reason"]
        "What went wrong with runtimes: connect, impostor (somebody else listens at its socket), hung, \
         garbage, too_large, closed, refused, unsupported.";
    runtime_containers: IntGauge = "shrike_runtime_containers" []
        "Containers of which a runtime has told.";
    runtime_containers_refused: IntCounter = "shrike_runtime_containers_refused_total" []
        "Containers that a runtime has told of and that found no room, anew with each list.";
    runtime_events_lost: IntCounter = "shrike_runtime_events_lost_total" []
        "Events of runtimes that came faster than they could be taken; the next list makes up for them.";
    runtime_records_failed: IntCounter = "shrike_runtime_records_failed_total" []
        "Records of Podman's containers that could not be read.";
    runtime_records_late: IntCounter = "shrike_runtime_records_late_total" []
        "Records of Podman's containers that took longer than 2 s to read, and have others' read meanwhile.";
    runtime_details_cut: IntCounter = "shrike_runtime_details_cut_total" []
        "Containers of which more was told than is kept: some of their texts, labels or mounts are cut or \
         left out.";
    runtime_questions: IntCounterVec = "shrike_runtime_questions_total" ["outcome"]
        "What became of containers that were to be asked for: asked, refused (too many wait, or it could \
         not be asked for shortly before), absent (none of those that were asked knew it); and unowned (no \
         runtime that is connected could know it), anew with each alert.";
    held: IntGauge = "shrike_alerts_held" []
        "Alerts that wait for what a runtime will tell, at most for 500 ms; or that are out and will be \
         told again with it.";
    hurried: IntCounter = "shrike_alerts_hurried_total" []
        "Alerts that left without waiting for what a runtime will tell, or, being urgent, will not come \
         again with it, as too many wait.";
    uninspected: IntCounter = "shrike_containers_uninspected_total" []
        "Containers whose first process had ended before its mounts, limits and label were read: rules \
         that ask for those saw nothing.";
    rules: IntGaugeVec = "shrike_rules" ["state"]
        "Rules that are loaded, and errors in the rule files.";
    alerts: IntCounterVec = "shrike_alerts_total" ["rule", "priority"]
        "Alerts raised.";
    alerts_lost: IntCounterVec = "shrike_alerts_lost_total" ["sink", "reason"]
        "Alerts that a sink gave up: queue_full, closed, rejected, retries_exhausted, shutdown.";
    deliveries: IntCounterVec = "shrike_sink_deliveries_total" ["sink", "outcome"]
        "Attempts to deliver an alert: delivered, failed.";
    queued: IntGaugeVec = "shrike_sink_queue_depth" ["sink"]
        "Alerts that wait for a sink.";
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REVISION: &str = env!("SHRIKE_REVISION");

/// Why a sink gave up an alert.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AlertLoss {
    /// Its queue was full.
    QueueFull,
    /// The sink has ended, as the console does when nobody reads it.
    Closed,
    /// The receiver does not want it.
    Rejected,
    /// It could not be delivered in time.
    RetriesExhausted,
    /// The agent ended first.
    Shutdown,
}

impl Metrics {
    /// An event arrived.
    pub(crate) fn received(&self, kind: Kind) {
        self.events.with_label_values(&[kind.name()]).inc();
    }

    /// A record could not be decoded.
    pub(crate) fn malformed(&self) {
        self.malformed.inc();
    }

    /// The probes' own count of `counter` has reached `total`.
    pub(crate) fn kernel_total(&self, counter: Counter, kind: Kind, total: u64) {
        match counter {
            Counter::Attempted => advance(&self.attempted.with_label_values(&[kind.name()]), total),
            Counter::NoMember => {
                advance(&self.members_lost.with_label_values(&[kind.name()]), total);
            }
            Counter::RingFull | Counter::NoSlot | Counter::OverShare => {
                let labels = [kind.name(), kind.lane().name(), counter.name()];
                advance(&self.lost.with_label_values(&labels), total);
            }
        }
    }

    /// There was a gap.
    pub(crate) fn gap(&self, gap: &Gap) {
        self.gaps.with_label_values(&[gap.reason.name()]).inc();
        self.gap_seconds.with_label_values(&[gap.reason.name()]).inc_by(gap.seconds());
    }

    /// The kernel's count of skipped runs of `program` has reached `total`.
    pub(crate) fn missed_total(&self, program: &str, total: u64) {
        advance(&self.missed.with_label_values(&[program]), total);
    }

    /// How many containers had ended before they could be looked at has reached `total`.
    pub(crate) fn uninspected(&self, total: u64) {
        advance(&self.uninspected, total);
    }

    /// How many sequence numbers of `lane` have not arrived.
    pub(crate) fn missing(&self, lane: Lane, count: u64) {
        self.missing.with_label_values(&[lane.name()]).set(gauge(count));
    }

    /// A probe is attached by `backend`.
    pub(crate) fn probe_attached(&self, probe: &str, backend: &str) {
        self.probes.with_label_values(&[probe, backend]).set(1);
    }

    /// A probe is not attached, since it could not be or need not be.
    pub(crate) fn probe_detached(&self, probe: &str, is_needed: bool) {
        for backend in Backend::ALL {
            // It may have been attached before; if not, there is nothing to forget.
            let _ = self.probes.remove_label_values(&[probe, backend.name()]);
        }
        let backend = if is_needed { "none" } else { "unneeded" };
        self.probes.with_label_values(&[probe, backend]).set(0);
    }

    /// How much is wrong with the probes' signs of life.
    pub(crate) fn silent(&self, count: usize) {
        self.silent.set(gauge(count));
    }

    /// The state of the process table.
    pub(crate) fn processes(&self, table: &Processes, rescans: u64) {
        self.processes.set(gauge(table.len()));
        self.process_texts.set(gauge(table.text_bytes()));
        advance(&self.process_texts_cut, table.texts_cut());
        advance(&self.processes_refused, table.refused());
        advance(&self.process_rescans, rescans);
    }

    /// The state of the table of containers.
    pub(crate) fn containers(&self, known: usize, refused: u64) {
        self.containers.set(gauge(known));
        advance(&self.containers_refused, refused);
    }

    /// The state of the names of users and groups.
    pub(crate) fn names(&self, names: &Names) {
        advance(&self.names_refused, names.refused());
        advance(&self.names_evicted, names.evicted());
        advance(&self.names_late, names.late());
    }

    /// How it stands with the runtimes.
    pub(crate) fn runtimes(&self, directory: &Directory) {
        let counters = directory.counters();
        for family in Family::ALL {
            let label = [family.name()];
            self.runtimes.with_label_values(&label).set(gauge(counters.connected(family)));
            let connections = self.runtime_connections.with_label_values(&label);
            advance(&connections, counters.connections(family));
        }
        for reason in Reason::ALL {
            let failures = self.runtime_failures.with_label_values(&[reason.name()]);
            advance(&failures, counters.failures(reason));
        }
        self.runtime_containers.set(gauge(directory.known()));
        advance(&self.runtime_containers_refused, counters.overflown.value());
        advance(&self.runtime_events_lost, counters.notices_lost.value());
        advance(&self.runtime_records_failed, counters.records_failed.value());
        advance(&self.runtime_records_late, counters.records_late.value());
        advance(&self.runtime_details_cut, counters.cut.value());
        for (outcome, counter) in [
            ("asked", &counters.wants),
            ("refused", &counters.refused),
            ("unowned", &counters.unowned),
            ("absent", &counters.absent),
        ] {
            let questions = self.runtime_questions.with_label_values(&[outcome]);
            advance(&questions, counter.value());
        }
    }

    /// How many alerts wait for a runtime.
    pub(crate) fn held(&self, count: usize) {
        self.held.set(gauge(count));
    }

    /// An alert left without waiting for a runtime.
    pub(crate) fn hurried(&self) {
        self.hurried.inc();
    }

    /// What came of the rule files.
    pub(crate) fn rules(&self, loaded: usize, errors: usize) {
        self.rules.with_label_values(&["loaded"]).set(gauge(loaded));
        self.rules.with_label_values(&["error"]).set(gauge(errors));
    }

    /// An alert was raised.
    pub(crate) fn alerted(&self, alert: &Alert) {
        self.alerts.with_label_values(&[&alert.rule, &alert.priority.to_string()]).inc();
    }

    /// A sink gave up alerts.
    pub(crate) fn alerts_lost(&self, sink: &str, reason: AlertLoss, count: u64) {
        let reason = match reason {
            AlertLoss::QueueFull => "queue_full",
            AlertLoss::Closed => "closed",
            AlertLoss::Rejected => "rejected",
            AlertLoss::RetriesExhausted => "retries_exhausted",
            AlertLoss::Shutdown => "shutdown",
        };
        self.alerts_lost.with_label_values(&[sink, reason]).inc_by(count);
    }

    /// A sink tried to deliver an alert.
    pub(crate) fn delivery(&self, sink: &str, delivered: bool) {
        let outcome = if delivered { "delivered" } else { "failed" };
        self.deliveries.with_label_values(&[sink, outcome]).inc();
    }

    /// The depth of a sink's queue.
    pub(crate) fn queued(&self, sink: &str) -> IntGauge {
        self.queued.with_label_values(&[sink])
    }

    /// All series in Prometheus' text format.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Brings a counter up to a total that somebody else counts.
fn advance(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A type of series, made the same way whether it has labels or not.
trait Declare: Collector + Clone + Sized {
    fn declare(name: &str, labels: &[&str], help: &str) -> Result<Self, prometheus::Error>;
}

impl Declare for IntCounter {
    fn declare(name: &str, _: &[&str], help: &str) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Declare for CounterVec {
    fn declare(name: &str, labels: &[&str], help: &str) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Declare for IntGauge {
    fn declare(name: &str, _: &[&str], help: &str) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Declare for IntCounterVec {
    fn declare(name: &str, labels: &[&str], help: &str) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Declare for IntGaugeVec {
    fn declare(name: &str, labels: &[&str], help: &str) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap()).unwrap()
    }

    #[test]
    fn kernel_totals_only_advance() {
        let metrics = Metrics::new().unwrap();
        metrics.kernel_total(Counter::RingFull, Kind::FileOpen, 7);
        metrics.kernel_total(Counter::RingFull, Kind::FileOpen, 7);
        metrics.kernel_total(Counter::RingFull, Kind::FileOpen, 9);
        let line =
            "shrike_events_lost_total{kind=\"file_open\",lane=\"bulk\",reason=\"ring_full\"} 9\n";
        assert!(text(&metrics).contains(line), "{}", text(&metrics));
    }

    #[test]
    fn counts_alerts_by_rule_and_priority() {
        let metrics = Metrics::new().unwrap();
        metrics.alerted(&crate::alert::tests::alert("A 'quoted' rule"));
        let line = "shrike_alerts_total{priority=\"Warning\",rule=\"A 'quoted' rule\"} 1\n";
        assert!(text(&metrics).contains(line), "{}", text(&metrics));
    }

    /// A series that is renamed must not live on in what operators load.
    #[test]
    fn every_series_that_is_deployed_exists() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let declared: Vec<_> = Metrics::declared().iter().map(|(name, ..)| *name).collect();
        let mut seen = 0;
        for file in ["deploy/prometheus/alerts.yaml", "deploy/README.md"] {
            let text = std::fs::read_to_string(format!("{root}/{file}")).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in words.filter(|word| word.starts_with("shrike_")) {
                assert!(declared.contains(&name), "{file} names {name}");
                seen += 1;
            }
        }
        assert!(seen > 5, "the files were read");
    }

    /// `docs/metrics.md` is written by this test when `SHRIKE_BLESS` is set.
    #[test]
    fn the_reference_lists_every_series() {
        let mut page = String::from(
            "# Metrics\n\nEvery series that `shrike run --metrics ADDR` serves at `/metrics`.\n\n\
             | series | labels | meaning |\n|---|---|---|\n",
        );
        for (name, labels, help) in Metrics::declared() {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            writeln!(page, "| `{name}` | {} | {help} |", labels.join(", ")).unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("SHRIKE_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page, "docs/metrics.md is old: run this test with SHRIKE_BLESS=1");
    }
}
