//! Whether an event satisfies a condition.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use shrike_rules::field::Type;
use shrike_rules::{Argument, Event, FieldId, Kind, Ruleset, Severity, Source, Value};

use super::rule;

/// The values of an event, and a condition.
#[derive(Debug, Deserialize)]
pub(super) struct Evaluation {
    fields: Map<String, Json>,
    pub(super) expr: String,
    #[serde(rename = "match")]
    matches: bool,
}

/// An event that has these values.
struct Given(HashMap<(FieldId, Option<String>), Value<'static>>);

impl Evaluation {
    pub(super) fn judge(&self) -> Result<(), String> {
        let text = rule(&self.expr);
        let loaded = Ruleset::load(&[Source::new("rules.yaml", &text)]);
        if let Some(found) =
            loaded.diagnostics.iter().find(|found| found.severity == Severity::Error)
        {
            return Err(found.message.clone());
        }
        let event = Given::new(&self.fields)?;
        let matches = loaded.ruleset.matches(&event).next().is_some();
        let told = if matches { "it matches" } else { "it does not match" };
        let fields = || Json::from(self.fields.clone());
        (matches == self.matches).then_some(()).ok_or_else(|| format!("{told} {}", fields()))
    }
}

impl Given {
    fn new(fields: &Map<String, Json>) -> Result<Self, String> {
        let mut values = HashMap::new();
        // What no condition of the cases leaves out.
        values.insert((FieldId::EvtType, None), Value::from("openat"));
        for (name, value) in fields {
            let (own, argument) = match name.split_once('[') {
                Some((own, argument)) => (own, Some(argument.trim_end_matches(']').to_owned())),
                None => (name.as_str(), None),
            };
            let field = FieldId::by_name(own).ok_or_else(|| format!("nonexistent field {own}"))?;
            let unusual = || format!("{name} cannot be {value}");
            let value = match value {
                Json::Bool(value) => Value::from(*value),
                Json::Number(value) => Value::from(value.as_i64().ok_or_else(unusual)?),
                Json::String(text) if field.info().ty == Type::Address => {
                    Value::Address(text.parse().map_err(|_| unusual())?)
                }
                Json::String(text) => Value::from(text.clone()),
                _ => return Err(unusual()),
            };
            values.insert((field, argument), value);
        }
        Ok(Self(values))
    }
}

impl Event for Given {
    fn kind(&self) -> Kind {
        Kind::FileOpen
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let argument = argument.map(|argument| match argument {
            Argument::Index(index) => index.to_string(),
            Argument::Name(name) => name.to_owned(),
        });
        self.0.get(&(field, argument)).cloned()
    }
}
