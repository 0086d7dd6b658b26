//! An event made of whatever values a test gives it.
#![allow(dead_code, unreachable_pub, reason = "each suite uses its own part of this")]
#![allow(clippy::panic, reason = "a test may panic anywhere")]

use std::collections::HashMap;

use shrike_rules::{Argument, Event, FieldId, Kind, Loaded, Ruleset, Source, Value};

/// An event with the given values and no others.
#[derive(Debug)]
pub struct Given {
    pub kind: Kind,
    values: HashMap<(FieldId, Option<u32>), Value<'static>>,
}

impl Given {
    pub fn new(kind: Kind) -> Self {
        Self { kind, values: HashMap::new() }
    }

    /// An opened file.
    pub fn open(path: &'static str) -> Self {
        Self::new(Kind::FileOpen).with("evt.type", "openat").with("fd.name", path)
    }

    /// A value, under the field's name with its index if it has one.
    pub fn with(mut self, field: &str, value: impl Into<Value<'static>>) -> Self {
        let (name, index) = match field.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse().ok()),
            None => (field, None),
        };
        let id = FieldId::by_name(name).unwrap_or_else(|| panic!("{name} is in the table"));
        self.values.insert((id, index), value.into());
        self
    }
}

impl Event for Given {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let index = match argument {
            Some(Argument::Index(index)) => Some(index),
            Some(Argument::Name(_)) => return None,
            None => None,
        };
        self.values.get(&(field, index)).cloned()
    }
}

/// The YAML of a rule with this condition.
pub fn rule(name: &str, condition: &str) -> String {
    let condition = condition.replace('\'', "''");
    format!("- {{rule: {name}, desc: d, priority: info, output: o, condition: '{condition}'}}\n")
}

pub fn load(yaml: &str) -> Loaded {
    Ruleset::load(&[Source::new("rules.yaml", yaml)])
}

/// Whether `event` satisfies the condition.
pub fn matches(condition: &str, event: &Given) -> bool {
    let loaded = load(&rule("r", condition));
    assert!(!loaded.has_errors(), "{condition}: {:?}", loaded.diagnostics);
    loaded.ruleset.matches(event).next().is_some()
}

/// The first diagnostic of a rule with this condition, rendered.
pub fn complaint(condition: &str) -> String {
    let loaded = load(&rule("r", condition));
    loaded.diagnostics.first().map(ToString::to_string).unwrap_or_default()
}

/// The diagnostics of a text, rendered, one after the other.
pub fn rendered(yaml: &str) -> String {
    let loaded = load(yaml);
    loaded.diagnostics.iter().map(|one| shrike_rules::diagnose::render(one, false)).collect()
}
