//! What goes wrong with a runtime.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a runtime could not be asked.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("its socket takes no connection")]
    Connect(#[source] io::Error),
    #[error(
        "its socket is of uid {found}, or served by it, instead of uid {expected}, and not believed"
    )]
    Impostor { expected: u32, found: u32 },
    #[error("no answer within {} ms", .0.as_millis())]
    Hung(Duration),
    #[error("its answer is not understood: {0}")]
    Garbage(String),
    #[error("its answer is too large")]
    TooLarge,
    #[error("it closed the connection: {0}")]
    Closed(String),
    #[error("it refused: {0}")]
    Refused(String),
    /// As containerd with its plugin for Kubernetes switched off.
    #[error("it does not offer this interface")]
    Unsupported,
}

/// The kinds of failures, as metrics name them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// Nobody listens.
    Connect,
    /// Somebody else than the owner of the runtime listens.
    Impostor,
    /// No answer in time.
    Hung,
    /// An answer in no known form.
    Garbage,
    /// An answer of more than may be kept.
    TooLarge,
    /// The connection ended before the answer did.
    Closed,
    /// An error as answer.
    Refused,
    /// The interface is not there.
    Unsupported,
}

/// The most characters of a runtime's own words that are shown.
const EXCERPT: usize = 200;

impl Failure {
    /// What kind it is.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Connect(_) => Reason::Connect,
            Self::Impostor { .. } => Reason::Impostor,
            Self::Hung(_) => Reason::Hung,
            Self::Garbage(_) => Reason::Garbage,
            Self::TooLarge => Reason::TooLarge,
            Self::Closed(_) => Reason::Closed,
            Self::Refused(_) => Reason::Refused,
            Self::Unsupported => Reason::Unsupported,
        }
    }
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Connect,
        Self::Impostor,
        Self::Hung,
        Self::Garbage,
        Self::TooLarge,
        Self::Closed,
        Self::Refused,
        Self::Unsupported,
    ];

    /// Its place in a table.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Impostor => 1,
            Self::Hung => 2,
            Self::Garbage => 3,
            Self::TooLarge => 4,
            Self::Closed => 5,
            Self::Refused => 6,
            Self::Unsupported => 7,
        }
    }

    /// As the label of a metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Impostor => "impostor",
            Self::Hung => "hung",
            Self::Garbage => "garbage",
            Self::TooLarge => "too_large",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What a runtime said, fit for a log.
pub(super) fn excerpt(text: &str) -> String {
    let visible = |char: char| if char.is_control() { ' ' } else { char };
    text.trim().chars().take(EXCERPT).map(visible).collect()
}

/// An error with its cause: "client error" alone says nothing.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
