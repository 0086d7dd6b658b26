//! Gaps: spans of time in which something may have happened that nobody saw. Each is told as an alert
//! of its own, with its span and its reason, so that silence always means that nothing was there.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;
use shrike_rules::Priority;
use uuid::Uuid;

use crate::alert::Alert;
use crate::context::clock::Clock;

/// The name that such an alert carries in the place of a rule's.
pub(crate) const RULE: &str = "Shrike internal: gap";

/// A gap that goes on is told anew this often, in nanoseconds.
const LONGEST: u64 = 10_000_000_000;

/// Why nobody saw what happened.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Reason {
    /// No agent was running since the host was started.
    Start,
    /// The agent had ended, or was ended.
    Restart,
    /// Events were lost.
    Loss,
    /// Probes gave no sign of life.
    Silence,
    /// Probes are not attached that are needed.
    Probe,
}

/// A span of time that was not seen whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Gap {
    pub(crate) reason: Reason,
    /// What is concerned: the kind of events and why they were lost, or probes; empty for everything.
    pub(crate) subject: String,
    /// Nanoseconds of boot time.
    pub(crate) start: u64,
    /// Nanoseconds of boot time; later than that, everything was seen again, unless `is_open`.
    pub(crate) end: u64,
    /// How many events are missing, as far as that is known.
    pub(crate) lost: u64,
    /// Whether it goes on.
    pub(crate) is_open: bool,
}

/// The gaps that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    open: BTreeMap<(Reason, String), Open>,
    /// When one looked last.
    looked: u64,
    /// What was lost altogether, by subject.
    totals: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Open {
    start: u64,
    end: u64,
    lost: u64,
}

impl Reason {
    /// The name in alerts and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Loss => "loss",
            Self::Silence => "silence",
            Self::Probe => "probe",
        }
    }
}

impl Gaps {
    /// From `now` on one looks; before, there was nothing to lose.
    pub(crate) fn from(now: u64) -> Self {
        Self { looked: now, ..Self::default() }
    }

    /// Something was not seen between the last look and `now`.
    pub(crate) fn note(&mut self, reason: Reason, subject: &str, now: u64, lost: u64) {
        let start = self.looked;
        let open = self.open.entry((reason, subject.to_owned())).or_insert(Open {
            start,
            end: now,
            lost: 0,
        });
        open.end = now;
        open.lost += lost;
    }

    /// What is lost altogether has been counted. If it is more than before, there is a gap.
    pub(crate) fn count(&mut self, subject: &str, now: u64, total: u64) {
        let before = self.totals.insert(subject.to_owned(), total).unwrap_or(0);
        // A probe that is attached anew counts from 0.
        let lost = total.saturating_sub(before);
        if lost > 0 {
            self.note(Reason::Loss, subject, now, lost);
        }
    }

    /// One has looked, and noted what was missing. Returns the gaps that have ended, and what there is
    /// so far of those that go on for long.
    pub(crate) fn look(&mut self, now: u64) -> Vec<Gap> {
        self.looked = now;
        let mut told = Vec::new();
        self.open.retain(|(reason, subject), open| {
            let is_open = open.end == now;
            if is_open && now - open.start < LONGEST {
                return true;
            }
            let Open { start, end, lost } = *open;
            told.push(Gap { reason: *reason, subject: subject.clone(), start, end, lost, is_open });
            *open = Open { start: now, end: now, lost: 0 };
            is_open
        });
        told
    }

    /// What is open at the end.
    pub(crate) fn end(self) -> impl Iterator<Item = Gap> {
        self.open.into_iter().map(|((reason, subject), Open { start, end, lost })| Gap {
            reason,
            subject,
            start,
            end,
            lost,
            is_open: true,
        })
    }
}

impl Gap {
    /// How long it is, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        std::time::Duration::from_nanos(self.end.saturating_sub(self.start)).as_secs_f64()
    }

    /// The alert that tells it.
    pub(crate) fn alert(&self, clock: Clock, hostname: &str) -> Alert {
        let time = clock.timestamp(self.end);
        let priority =
            if self.reason == Reason::Start { Priority::Notice } else { Priority::Warning };
        let message = self.to_string();
        let fields: [(&str, Json); 7] = [
            ("evt.time", number(time.as_nanosecond())),
            ("gap.reason", self.reason.name().into()),
            ("gap.subject", self.subject.clone().into()),
            ("gap.start", number(clock.timestamp(self.start).as_nanosecond())),
            ("gap.end", number(time.as_nanosecond())),
            ("gap.lost", self.lost.into()),
            ("gap.open", self.is_open.into()),
        ];
        Alert {
            uuid: Uuid::new_v4(),
            hostname: hostname.to_owned(),
            time,
            priority,
            rule: RULE.to_owned(),
            source: "internal".to_owned(),
            tags: Vec::new(),
            output: format!("{}: {priority} {message}", time.strftime("%H:%M:%S.%9f")),
            output_fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
            enriched: None,
            message,
        }
    }
}

/// Nanoseconds since 1970, which fit until 2262.
fn number(nanoseconds: i128) -> Json {
    i64::try_from(nanoseconds).map_or(Json::Null, Json::from)
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, subject, lost, is_open, .. } = self;
        let what = match reason {
            Reason::Start => "nothing was watched since the host was started",
            Reason::Restart => "nothing was watched while no agent was running",
            Reason::Loss => "events were lost",
            Reason::Silence => "probes may not have run",
            Reason::Probe => "probes are missing",
        };
        write!(f, "{what}, for {:.1} s (reason={}", self.seconds(), reason.name())?;
        if !subject.is_empty() {
            write!(f, " subject={subject}")?;
        }
        if *lost > 0 {
            write!(f, " lost={lost}")?;
        }
        write!(f, "{})", if *is_open { " going on" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_gap_spans_all_that_was_not_seen() {
        let mut gaps = Gaps::from(10 * SECOND);
        assert_eq!(gaps.look(11 * SECOND), []);
        for second in [12, 13] {
            gaps.count("file_open, ring_full", second * SECOND, 100 * (second - 11));
            gaps.count("exec, ring_full", second * SECOND, 0);
            assert_eq!(gaps.look(second * SECOND), []);
        }
        gaps.note(Reason::Silence, "", 14 * SECOND, 0);
        let loss = Gap {
            reason: Reason::Loss,
            subject: "file_open, ring_full".into(),
            start: 11 * SECOND,
            end: 13 * SECOND,
            lost: 200,
            is_open: false,
        };
        assert_eq!(gaps.look(14 * SECOND), std::slice::from_ref(&loss));
        let text =
            "events were lost, for 2.0 s (reason=loss subject=file_open, ring_full lost=200)";
        assert_eq!(loss.to_string(), text);
        let silence: Vec<_> = gaps.end().map(|gap| (gap.start, gap.end, gap.is_open)).collect();
        assert_eq!(silence, [(13 * SECOND, 14 * SECOND, true)]);
    }

    #[test]
    fn a_long_gap_is_told_in_parts() {
        let mut gaps = Gaps::from(0);
        let mut told = Vec::new();
        for second in 1..=25 {
            gaps.note(Reason::Loss, "", second * SECOND, 1);
            told.extend(gaps.look(second * SECOND));
        }
        told.extend(gaps.look(26 * SECOND));
        let spans: Vec<_> =
            told.iter().map(|gap| (gap.start / SECOND, gap.end / SECOND, gap.lost)).collect();
        assert_eq!(spans, [(0, 10, 10), (10, 20, 10), (20, 25, 5)]);
        assert!(told[0].is_open && !told[2].is_open);
    }
}
