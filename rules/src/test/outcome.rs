//! What became of a test.

use std::fmt;

use serde::Serialize;

use super::Message;
use super::explain::Reason;
use crate::text::Escaped;

/// What became of a test.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The test's name.
    pub test: String,
    /// The file that it stands in.
    pub file: String,
    /// The line of its name, from 1.
    pub line: usize,
    /// The column of its name in characters, from 1.
    pub column: usize,
    /// How many events it had.
    pub events: usize,
    /// What is not as it was expected; nothing if it has passed.
    pub failures: Vec<Failure>,
}

/// Something that is not as a test expects it. Events are counted from 1.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "failure")]
pub enum Failure {
    /// The rule and its trace are not of one mind: a mistake in shrike, not in the rule.
    Disagreement {
        /// The rule.
        rule: String,
        /// The event.
        event: usize,
    },
    /// A rule did not match.
    Missing {
        /// The rule.
        rule: String,
        /// The event that came nearest to it.
        event: usize,
        /// What kept it from matching.
        because: Vec<Reason>,
    },
    /// A recording has no event that rules see.
    NoEvent,
    /// A rule matched, and its message is another one.
    Output {
        /// The rule.
        rule: String,
        /// The event.
        event: usize,
        /// What the message should be, or what should be in it and is not.
        expected: Vec<String>,
        /// What it is.
        output: String,
    },
    /// A rule matched that should not.
    Unexpected {
        /// The rule.
        rule: String,
        /// The event.
        event: usize,
        /// The message.
        output: String,
    },
}

impl Outcome {
    /// Whether everything is as it was expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Failure {
    pub(super) fn output(rule: &str, event: usize, expected: &Message, output: String) -> Self {
        let expected = match expected {
            Message::Parts(parts) => {
                parts.iter().filter(|part| !output.contains(part.as_str())).cloned().collect()
            }
            Message::Whole(whole) => vec![whole.clone()],
        };
        Self::Output { rule: rule.to_owned(), event, expected, output }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, file, line, column, events, failures } = self;
        let word = if failures.is_empty() { "passed" } else { "failed" };
        let (test, file) = (Escaped(test.as_bytes()), Escaped(file.as_bytes()));
        write!(f, "{word}: {test}  ({file}:{line}:{column})")?;
        failures.iter().try_for_each(|failure| failure.write(f, *events))
    }
}

impl Failure {
    /// Writes it, of so many events, on lines of its own.
    fn write(&self, f: &mut fmt::Formatter<'_>, events: usize) -> fmt::Result {
        let of = |event: &usize| match events {
            1 => String::new(),
            _ => format!(" by event {event} of {events}"),
        };
        match self {
            Self::Disagreement { rule, event } => {
                let (rule, of) = (Escaped(rule.as_bytes()), of(event));
                write!(f, "\n  \"{rule}\" is judged in two ways{of}: a mistake in shrike itself")
            }
            Self::Missing { rule, event, because } => {
                let rule = Escaped(rule.as_bytes());
                write!(f, "\n  \"{rule}\" was not raised")?;
                if events > 1 {
                    write!(f, "; event {event} of {events} came nearest")?;
                }
                because.iter().try_for_each(|reason| reason.write(f, 4))
            }
            Self::NoEvent => write!(f, "\n  the recording has no event"),
            Self::Output { rule, event, expected, output } => {
                write!(
                    f,
                    "\n  \"{}\" has another message{}:",
                    Escaped(rule.as_bytes()),
                    of(event)
                )?;
                for text in expected {
                    write!(f, "\n    expected: {}", Escaped(text.as_bytes()))?;
                }
                write!(f, "\n    found:    {output}")
            }
            Self::Unexpected { rule, event, output } => {
                let rule = Escaped(rule.as_bytes());
                write!(f, "\n  \"{rule}\" was raised{}: {output}", of(event))
            }
        }
    }
}
