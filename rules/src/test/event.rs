//! An event that is written down.

use std::collections::BTreeMap;

use shrike_common::Kind;

use super::derive;
use crate::event::{Argument, Event, Value};
use crate::field::FieldId;

/// An event with the values that a test gives it, and those that follow from them.
#[derive(Debug)]
pub struct Given {
    kind: Kind,
    /// `None` where it is written that there is no value.
    values: BTreeMap<(FieldId, Part), Option<Value<'static>>>,
}

/// Which of the values of a field.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    Index(u32),
    Name(String),
    Whole,
}

impl Given {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, values: BTreeMap::new() }
    }

    /// Gives it a value; `None` keeps any from being derived.
    pub(crate) fn set(&mut self, field: FieldId, part: Part, value: Option<Value<'static>>) {
        self.values.insert((field, part), value);
    }

    /// Gives it a value of a field as a whole, unless one is written down.
    pub(crate) fn fill(&mut self, field: FieldId, value: Value<'static>) {
        self.values.entry((field, Part::Whole)).or_insert(Some(value));
    }

    /// Gives it a value that follows from others, unless one is written down. Of an event of a kind that cannot have the field,
    /// nothing is derived.
    pub(super) fn derive(&mut self, field: FieldId, part: Part, value: Value<'static>) {
        if field.info().kinds.contains(self.kind) {
            self.values.entry((field, part)).or_insert(Some(value));
        }
    }

    /// Adds what follows from its values.
    pub(crate) fn complete(mut self) -> Self {
        derive::complete(&mut self);
        self
    }

    pub(super) fn value(&self, field: FieldId, part: &Part) -> Option<&Value<'static>> {
        self.values.get(&(field, part.clone()))?.as_ref()
    }

    /// The text of a field that takes no argument.
    pub(super) fn text(&self, field: FieldId) -> Option<&[u8]> {
        match self.value(field, &Part::Whole)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values of a field that has them by name.
    pub(super) fn named(&self, field: FieldId) -> impl Iterator<Item = (&str, &Value<'static>)> {
        let all = self.values.range((field, Part::Index(0))..=(field, Part::Whole));
        all.filter_map(|((_, part), value)| match part {
            Part::Name(name) => Some((name.as_str(), value.as_ref()?)),
            _ => None,
        })
    }
}

impl Event for Given {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let part = match argument {
            None => Part::Whole,
            Some(Argument::Index(index)) => Part::Index(index),
            Some(Argument::Name(name)) => Part::Name(name.to_owned()),
        };
        self.value(field, &part).cloned()
    }
}
