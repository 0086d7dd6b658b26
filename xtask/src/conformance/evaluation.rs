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
        let matches = loaded.ruleset.holds(0, &event);
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
            let (field, argument) = field(name)?;
            if let Json::Array(members) = value {
                for (index, member) in members.iter().enumerate() {
                    let member = member.as_str().unwrap_or_default().to_owned();
                    values.insert((field, Some(index.to_string())), Value::from(member));
                }
                continue;
            }
            let unusual = || format!("{name} cannot be {value}");
            let value = match value {
                Json::Object(data) => {
                    let digits = data.get("hex").and_then(Json::as_str).ok_or_else(unusual)?;
                    Value::from(bytes(digits).ok_or_else(unusual)?)
                }
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

/// The field of a name, with its argument.
fn field(name: &str) -> Result<(FieldId, Option<String>), String> {
    let (own, argument) = match name.split_once('[') {
        Some((own, argument)) => (own, Some(argument.trim_end_matches(']').to_owned())),
        None => (name, None),
    };
    if let Some(field) = FieldId::by_name(own) {
        return Ok((field, argument));
    }
    let dotted = own
        .rsplit_once('.')
        .and_then(|(own, argument)| Some((FieldId::by_name(own)?, Some(argument.to_owned()))));
    dotted.ok_or_else(|| format!("nonexistent field {own}"))
}

/// Bytes, each as two digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect()
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
