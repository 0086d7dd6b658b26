//! A loaded rule and its priority.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::event::KindSet;
use crate::names::NameSet;
use crate::output::Output;

/// A rule that was loaded.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) priority: Priority,
    pub(crate) source: String,
    pub(crate) tags: Vec<String>,
    pub(crate) condition: String,
    pub(crate) output: Output,
    pub(crate) enabled: bool,
    pub(crate) asks_for_result: bool,
    pub(crate) asks_for_given: bool,
    pub(crate) kinds: KindSet,
    pub(crate) events: NameSet,
    /// How many checks the condition has with its macros expanded.
    pub(crate) checks: usize,
}

impl Rule {
    /// The name, unique within a ruleset.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the rule detects, for a person.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How urgent a match is.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The source of its events, `syscall` unless the file says otherwise.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The tags, in the order of the file.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The condition as written, with what later items appended, and with the exceptions as conditions.
    pub fn condition(&self) -> &str {
        &self.condition
    }

    /// The template of the message.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Whether the rule takes part in matching.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether the condition or the message has a field that tells the result of a system call, like
    /// `evt.rawres`. Such a rule is also for attempts that fail before anything is done.
    pub fn asks_for_result(&self) -> bool {
        self.asks_for_result
    }

    /// The names of the events that can satisfy the condition; none for a rule that is about any event.
    pub fn event_types(&self) -> impl Iterator<Item = &'static str> {
        let is_any = self.events == NameSet::all();
        self.events.names().filter(move |_| !is_any)
    }

    /// The kinds of events that can satisfy the condition.
    ///
    /// Empty for a rule about events that no sensor emits yet: it is loaded and never matches.
    pub fn kinds(&self) -> KindSet {
        self.kinds
    }
}

/// How urgent a match is; the most urgent is the least.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[expect(missing_docs, reason = "the names are syslog's own")]
pub enum Priority {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Informational,
    Debug,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// The word that Falco prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The text is not the name of a priority.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "unknown priority, expecting one of emergency, alert, critical, error, warning, notice, \
     informational, debug"
)]
pub struct UnknownPriority;

impl FromStr for Priority {
    type Err = UnknownPriority;

    /// Reads a name in any case; `info` is short for `informational`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.eq_ignore_ascii_case("info") {
            return Ok(Self::Informational);
        }
        Self::ALL
            .into_iter()
            .find(|priority| priority.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownPriority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read_in_any_case_and_printed_as_falco_does() {
        assert_eq!("WARNING".parse(), Ok(Priority::Warning));
        assert_eq!("Info".parse(), Ok(Priority::Informational));
        assert_eq!("warn".parse::<Priority>(), Err(UnknownPriority));
        assert_eq!(Priority::Informational.to_string(), "Informational");
        assert!(Priority::Emergency < Priority::Debug);
    }
}
