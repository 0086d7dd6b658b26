//! Whether a condition parses, or has a meaning.

use serde::Deserialize;
use shrike_rules::{Ruleset, Severity, Source};

use super::rule;

/// A condition.
#[derive(Debug, Deserialize)]
pub(super) struct Condition {
    pub(super) expr: String,
    valid: bool,
    level: Level,
}

/// What is judged.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Its form only: names may be made up.
    Syntax,
    Semantic,
}

impl Condition {
    pub(super) fn judge(&self) -> Result<(), String> {
        /// What is said of a condition that is well formed.
        const BEYOND: [&str; 4] =
            ["nonexistent", "not supported yet", "Undefined macro", "is not a valid number"];
        let text = rule(&self.expr);
        let loaded = Ruleset::load(&[Source::new("rules.yaml", &text)]);
        let complaint = loaded.diagnostics.iter().find(|found| found.severity == Severity::Error);
        let message = complaint.map(|found| found.message.as_str()).unwrap_or_default();
        let is_beyond =
            self.level == Level::Syntax && BEYOND.iter().any(|phrase| message.contains(phrase));
        let is_valid = complaint.is_none() || is_beyond;
        // What is refused because it cannot be judged yet is not judged.
        let is_judged = is_valid || !message.contains("not supported yet");
        match (is_valid == self.valid && is_judged, message) {
            (true, _) => Ok(()),
            (false, "") => Err("it is taken".to_owned()),
            (false, message) => Err(message.to_owned()),
        }
    }
}
