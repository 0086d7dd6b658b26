//! Whether a file of rules is loaded, with which complaints, and to which rules.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shrike_rules::diagnose::Code;
use shrike_rules::{Loaded, Rule, Ruleset, Source};

/// A file of rules.
#[derive(Debug, Deserialize)]
pub(super) struct RuleFile {
    pub(super) name: String,
    yaml: String,
    load_ok: bool,
    code: Option<String>,
    error_contains: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    rules: Map<String, Value>,
}

impl RuleFile {
    pub(super) fn judge(&self) -> Result<(), String> {
        let loaded = Ruleset::load(&[Source::new("rules.yaml", &self.yaml)]);
        self.differs(&loaded).map_or(Ok(()), |found| {
            let all: String = loaded.diagnostics.iter().map(ToString::to_string).collect();
            Err(format!("{found}\n{all}"))
        })
    }

    fn differs(&self, loaded: &Loaded) -> Option<String> {
        let is_loaded = !loaded.has_errors();
        if is_loaded != self.load_ok {
            return Some(if is_loaded { "it is loaded" } else { "it is not loaded" }.to_owned());
        }
        let codes = loaded.diagnostics.iter().map(|found| found.code);
        let mut codes: Vec<_> = codes.filter(|code| !code.is_own()).map(Code::name).collect();
        if let Some(code) = self.code.as_deref().filter(|code| !codes.contains(code)) {
            return Some(format!("it lacks {code}"));
        }
        let has = |phrase: &str| loaded.diagnostics.iter().any(|d| d.message.contains(phrase));
        if let Some(phrase) = self.error_contains.as_deref().filter(|phrase| !has(phrase)) {
            return Some(format!("no message has {phrase:?}"));
        }
        if !self.load_ok {
            return None;
        }
        let mut expected: Vec<_> = self.warnings.iter().map(String::as_str).collect();
        expected.sort_unstable();
        codes.sort_unstable();
        if expected != codes {
            return Some(format!("the warnings are {codes:?}, not {expected:?}"));
        }
        let names: Vec<_> = loaded.ruleset.rules().iter().map(Rule::name).collect();
        if !self.rules.keys().eq(&names) {
            return Some(format!("the rules are {names:?}"));
        }
        loaded.ruleset.rules().iter().zip(self.rules.values()).find_map(|(rule, expected)| {
            let found = json!({
                // As it was written, which Falco's is not.
                "condition": expected["condition"],
                "output": rule.output().template(),
                "priority": rule.priority().name().to_lowercase(),
                "enabled": rule.is_enabled(),
                "tags": rule.tags(),
            });
            (found != *expected).then(|| format!("a rule is {found}, not {expected}"))
        })
    }
}
