//! Exceptions of rules: what they need, and the condition that they stand for.
//!
//! An exception has fields, an operator for each, and values. With a list of fields each entry of
//! the values is a tuple, one value for each field, and the rule does not match where all of a tuple
//! hold. With a single field the values are one list.

use std::fmt::Write as _;

use crate::ast::{Operator, OperatorClass, Quantifier};
use crate::field::FieldId;
use crate::lex;
use crate::merge::Refusal;
use crate::parse;
use crate::source::{Place, Text};
use crate::suggest;

/// An exception as it is written; one that extends an earlier one has values only.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) place: Place,
    pub(crate) fields: Option<Entry>,
    pub(crate) operators: Option<Entry>,
    pub(crate) values: Vec<Entry>,
}

/// A scalar, or a list of entries.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    One(Text),
    Many { place: Place, entries: Vec<Entry> },
}

impl Entry {
    fn place(&self) -> Place {
        match self {
            Self::One(text) => text.origin(),
            Self::Many { place, .. } => place.clone(),
        }
    }
}

/// The operator of a single field that has none.
const LIST_OPERATOR: &str = "in";

/// The operator of each of several fields that have none.
const OPERATOR: &str = "=";

impl Exception {
    /// Checks what can be without the values' meaning.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match &self.fields {
            Some(Entry::One(field)) if !field.as_str().is_empty() => self.check_one(field),
            Some(Entry::Many { entries, .. }) if !entries.is_empty() => self.check_many(entries),
            _ => {
                let message = "Rule exception item must have fields property with a list of fields";
                Err(Refusal::at(self.place.clone(), message))
            }
        }
    }

    fn check_one(&self, field: &Text) -> Result<(), Refusal> {
        check_field(field)?;
        match &self.operators {
            None => {}
            Some(Entry::Many { place, .. }) => {
                return Err(Refusal::at(place.clone(), "Fields and comps must both be strings"));
            }
            Some(Entry::One(operator))
                if Comparison::of(operator.as_str()).is_some_and(Comparison::takes_list) => {}
            Some(Entry::One(operator)) => {
                let message = "When fields is a single value, comps must be one of (in, pmatch, intersects), \
                               or an operator with oneof, anyof or allof";
                return Err(Refusal::at(operator.origin(), message));
            }
        }
        match self.values.iter().find(|value| matches!(value, Entry::Many { .. })) {
            None => Ok(()),
            Some(value) => {
                let message = "Expected values array to contain a list of strings";
                Err(Refusal::at(value.place(), message)
                    .with_hint("with a single field the values are one list".to_owned()))
            }
        }
    }

    fn check_many(&self, fields: &[Entry]) -> Result<(), Refusal> {
        let operators = match &self.operators {
            None => None,
            Some(Entry::Many { entries, .. }) if entries.len() == fields.len() => Some(entries),
            Some(other) => {
                let message = "Fields and comps lists must have equal length";
                return Err(Refusal::at(other.place(), message));
            }
        };
        for operator in operators.into_iter().flatten() {
            check_operator(scalar(operator)?)?;
        }
        for field in fields {
            check_field(scalar(field)?)?;
        }
        self.values.iter().try_for_each(|tuple| match tuple {
            Entry::Many { entries, .. } if entries.len() == fields.len() => Ok(()),
            other => {
                let message = "Fields and values lists must have equal length";
                let hint = format!("write one value for each of the {} fields", fields.len());
                Err(Refusal::at(other.place(), message).with_hint(hint))
            }
        })
    }

    /// Takes the values of one of the same name.
    pub(crate) fn extend(&mut self, other: Self) -> Result<(), Refusal> {
        for (part, what) in [(&other.fields, "fields"), (&other.operators, "comps")] {
            if let Some(part) = part {
                let message =
                    format!("Can not append exception {what} to existing exception, only values");
                return Err(Refusal::at(part.place(), message));
            }
        }
        self.values.extend(other.values);
        self.check()
    }

    /// The condition that keeps a rule from matching, negated: the rule's own and this must hold. `None` without any
    /// value. It takes an exception that was checked.
    pub(crate) fn condition(&self) -> Option<Text> {
        if self.values.is_empty() {
            return None;
        }
        let mut text = Text::made_at(self.place.clone());
        text.push_str("not ");
        match self.fields.as_ref()? {
            Entry::One(field) => {
                text.push_str("(");
                let operator = self.operators.as_ref();
                push_comparison(
                    &mut text,
                    field,
                    operator,
                    LIST_OPERATOR,
                    Cell::List(&self.values),
                );
                text.push_str(")");
            }
            Entry::Many { entries: fields, .. } => {
                text.push_str("(");
                for (index, tuple) in self.values.iter().enumerate() {
                    text.push_str(if index > 0 { " or " } else { "" });
                    self.push_tuple(&mut text, fields, tuple);
                }
                text.push_str(")");
            }
        }
        Some(text)
    }

    fn push_tuple(&self, text: &mut Text, fields: &[Entry], tuple: &Entry) {
        let operators = match &self.operators {
            Some(Entry::Many { entries, .. }) => entries.as_slice(),
            _ => &[],
        };
        let Entry::Many { entries: cells, .. } = tuple else { return };
        text.push_str("(");
        for (index, (field, cell)) in fields.iter().zip(cells).enumerate() {
            let Entry::One(field) = field else { continue };
            text.push_str(if index > 0 { " and " } else { "" });
            let cell = match cell {
                Entry::One(value) => Cell::One(value),
                Entry::Many { entries, .. } => Cell::List(entries),
            };
            push_comparison(text, field, operators.get(index), OPERATOR, cell);
        }
        text.push_str(")");
    }
}

/// What a field is compared with.
#[derive(Clone, Copy)]
enum Cell<'a> {
    List(&'a [Entry]),
    One(&'a Text),
}

fn push_comparison(
    text: &mut Text,
    field: &Text,
    operator: Option<&Entry>,
    default: &str,
    cell: Cell<'_>,
) {
    text.push(field.clone());
    text.push_str(" ");
    let operator = if let Some(Entry::One(operator)) = operator {
        text.push(operator.clone());
        operator.as_str()
    } else {
        text.push_str(default);
        default
    };
    let takes_list = Comparison::of(operator).is_some_and(Comparison::takes_list);
    text.push_str(" ");
    match cell {
        Cell::One(value)
            if !takes_list
                || parse::is_value(value.as_str(), true) && value.as_str().starts_with('(') =>
        {
            text.push(spelt(value, takes_list));
        }
        Cell::One(value) => {
            text.push_str("(");
            text.push(spelt(value, false));
            text.push_str(")");
        }
        Cell::List(values) => {
            text.push_str("(");
            let values = values.iter().filter_map(|value| match value {
                Entry::One(value) => Some(value),
                Entry::Many { .. } => None,
            });
            for (index, value) in values.enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                text.push(spelt(value, false));
            }
            text.push_str(")");
        }
    }
}

/// A value as a condition spells it: with quotes, unless it has some, is a bare word, or is meant as a list or a
/// transformer. Whatever it has in it, it stays one value.
fn spelt(value: &Text, may_be_list: bool) -> Text {
    let text = value.as_str();
    if lex::is_bare(text) || parse::is_value(text, may_be_list) {
        return value.clone();
    }
    value.clone().respelt(quoted(text))
}

/// A text in quotes, as a constant of a condition: what it has in it has no meaning there.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            // Writing to a string cannot fail.
            control if control.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// An operator with the quantifier that may follow it.
#[derive(Clone, Copy)]
struct Comparison {
    operator: Operator,
    quantifier: Option<Quantifier>,
}

impl Comparison {
    fn of(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let named =
            |word: &str| Operator::ALL.iter().copied().find(|operator| operator.name() == word);
        let operator = named(words.next()?)?;
        let quantifier = match words.next() {
            None => None,
            Some(word) => {
                let named =
                    Quantifier::ALL.iter().copied().find(|quantifier| quantifier.name() == word);
                Some(named.filter(|_| operator.class() == OperatorClass::Text)?)
            }
        };
        words.next().is_none().then_some(Self { operator, quantifier })
    }

    fn takes_list(self) -> bool {
        self.quantifier.is_some() || self.operator.class() == OperatorClass::List
    }
}

fn check_operator(operator: &Text) -> Result<(), Refusal> {
    if Comparison::of(operator.as_str()).is_some() {
        return Ok(());
    }
    let text = operator.as_str();
    let message = format!("'{text}' is not a supported comparison operator");
    let refusal = Refusal::at(operator.origin(), message);
    let names = Operator::ALL.iter().map(|operator| operator.name());
    Err(suggest::hint(text, names).into_iter().fold(refusal, Refusal::with_hint))
}

/// A field by its name alone: its argument is checked where the condition is compiled.
fn check_field(field: &Text) -> Result<(), Refusal> {
    let text = field.as_str();
    let name = text.split('[').next().unwrap_or_default();
    let is_known = FieldId::by_name(name).is_some()
        || matches!(FieldId::prefix_of(name), Some((_, Some(_), length)) if length == name.len());
    if is_known && parse::is_field(text) {
        return Ok(());
    }
    let refusal = Refusal::at(field.origin(), format!("'{text}' is not a supported filter field"));
    let names = crate::field::all().iter().map(|field| field.name);
    Err(suggest::hint(name, names).into_iter().fold(refusal, Refusal::with_hint))
}

fn scalar(entry: &Entry) -> Result<&Text, Refusal> {
    match entry {
        Entry::One(text) => Ok(text),
        Entry::Many { place, .. } => Err(Refusal::at(place.clone(), "Value is not a scalar value")),
    }
}
