//! What came of a technique.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Technique;

/// A technique and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was tried.
    #[serde(serialize_with = "names", flatten)]
    pub(crate) technique: &'static Technique,
    /// What came of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What came of a technique.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum Outcome {
    /// The agent raised the alert.
    Detected {
        /// From right before the system call to the alert's arrival.
        #[serde(rename = "latency_seconds", serialize_with = "seconds")]
        latency: Duration,
    },
    /// It did not, in time.
    Missed,
    /// The technique could not be tried.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Report {
    /// Whether the agent detected it.
    pub(crate) fn is_detected(&self) -> bool {
        matches!(self.outcome, Outcome::Detected { .. })
    }
}

/// One line for a person.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.technique.name;
        match &self.outcome {
            Outcome::Detected { latency } => {
                let milliseconds = latency.as_secs_f64() * 1e3;
                write!(f, "{name:<18} detected  {milliseconds:>8.1} ms  {}", self.technique.rule)
            }
            Outcome::Missed => {
                write!(f, "{name:<18} MISSED    {:>11}  {}", "", self.technique.rule)
            }
            Outcome::Failed { reason } => write!(f, "{name:<18} FAILED    {:>11}  {reason}", ""),
        }
    }
}

fn names<S: Serializer>(technique: &Technique, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("technique", technique.name)?;
    map.serialize_entry("rule", technique.rule)?;
    map.end()
}

fn seconds<S: Serializer>(latency: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(latency.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::technique::TECHNIQUES;

    fn report(outcome: Outcome) -> Report {
        Report { technique: &TECHNIQUES[0], outcome }
    }

    #[test]
    fn a_machine_reads_every_outcome() {
        let json = |outcome| serde_json::to_value(report(outcome)).unwrap();
        let (name, rule) = (TECHNIQUES[0].name, TECHNIQUES[0].rule);
        let detected = Outcome::Detected { latency: Duration::from_millis(1500) };
        let expected = serde_json::json!({
            "technique": name, "rule": rule, "outcome": "detected", "latency_seconds": 1.5
        });
        assert_eq!(json(detected), expected);
        assert_eq!(json(Outcome::Missed)["outcome"], "missed");
        assert_eq!(json(Outcome::Failed { reason: "no".into() })["reason"], "no");
    }

    #[test]
    fn a_person_sees_what_was_not_detected() {
        assert!(report(Outcome::Missed).to_string().contains("MISSED"));
        let failed = Outcome::Failed { reason: "not permitted".into() };
        assert!(report(failed).to_string().ends_with("not permitted"));
    }
}
