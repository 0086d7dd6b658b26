//! What is said at the agent's socket. A client connects, writes one line of JSON, and reads one line of JSON
//! until the agent closes the connection:
//!
//! ```json
//! {"version":1,"ask":"snapshot"}
//! {"version":1,"snapshot":{"source":"agent","time":"…","host":{…},"containers":[…],"processes":[…]}}
//! ```
//!
//! or, if it cannot have what it asks for:
//!
//! ```json
//! {"version":1,"error":"nobody knows \"weather\" here; \"snapshot\" can be asked for"}
//! ```
//!
//! Keys may come to be added; anything else is another version.

use serde::{Deserialize, Serialize};

use super::snapshot::Snapshot;

/// The version that is spoken here.
pub(super) const VERSION: u32 = 1;

/// The only thing that can be asked for.
const SNAPSHOT: &str = "snapshot";

/// What a client asks for.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Request {
    version: u32,
    ask: Option<String>,
}

/// What it is told.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// What it asked for.
    Snapshot(Box<Snapshot>),
    /// Why not.
    Error(String),
}

/// What the agent writes.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Reply {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) answer: Answer,
}

/// Why a request is refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("that is no request; one is {{\"version\":{VERSION},\"ask\":{SNAPSHOT:?}}}")]
    NotARequest,
    #[error("version {0} is not spoken here, but version {VERSION}")]
    Version(u32),
    #[error("nobody knows {0:?} here; {SNAPSHOT:?} can be asked for")]
    Unknown(String),
}

impl Request {
    /// For a snapshot.
    pub(super) fn snapshot() -> Self {
        Self { version: VERSION, ask: Some(SNAPSHOT.to_owned()) }
    }

    /// Whether a line asks for a snapshot.
    pub(super) fn check(line: &[u8]) -> Result<(), Refusal> {
        let request: Self = serde_json::from_slice(line).map_err(|_| Refusal::NotARequest)?;
        match (request.version, request.ask) {
            (VERSION, Some(ask)) if ask == SNAPSHOT => Ok(()),
            (VERSION, Some(ask)) => Err(Refusal::Unknown(ask)),
            (VERSION, None) => Err(Refusal::NotARequest),
            (version, _) => Err(Refusal::Version(version)),
        }
    }
}

impl Reply {
    /// As it is written, with the end of its line.
    pub(super) fn line(answer: Answer) -> Vec<u8> {
        let reply = Self { version: VERSION, answer };
        // There is nothing in it that JSON does not know.
        let mut line = serde_json::to_vec(&reply).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_can_be_asked_for() {
        let check = |line: &str| Request::check(line.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(check(r#"{"version":1,"ask":"snapshot"}"#), Ok(()));
        assert_eq!(check(r#"{"ask":"snapshot","version":1,"more":[]}"#), Ok(()));
        assert!(Request::check(&serde_json::to_vec(&Request::snapshot()).unwrap()).is_ok());
        for (line, reason) in [
            ("", "that is no request; one is {\"version\":1,\"ask\":\"snapshot\"}"),
            ("{}", "that is no request"),
            (r#"{"version":1}"#, "that is no request"),
            (r#"{"version":2}"#, "version 2 is not spoken here, but version 1"),
            (r#"{"version":1,"ask":"a\nb"}"#, "nobody knows \"a\\nb\" here; \"snapshot\" can be"),
        ] {
            let error = check(line).unwrap_err();
            assert!(error.starts_with(reason), "{line}: {error}");
        }
    }

    #[test]
    fn an_error_is_a_line_of_its_own() {
        let line = Reply::line(Answer::Error("no".to_owned()));
        assert_eq!(line, b"{\"version\":1,\"error\":\"no\"}\n");
    }
}
