//! How far a sensor can tell what a rule asks for.

use std::collections::BTreeSet;

use crate::eval::{Check, Index, Left, Node, NodeId, Program, Subject, Test};
use crate::field::FieldId;
use crate::names::{self, NameSet};
use crate::output::Output;
use crate::parameter;

/// What of a rule no event of the sensor has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Support {
    /// Events that the rule names and the sensor does not emit.
    pub missing_events: Vec<&'static str>,
    /// Fields of the condition that no event which the rule can match has.
    pub missing_fields: Vec<String>,
    /// Likewise fields of the output alone: they are shown as `<NA>`.
    pub absent_in_output: Vec<String>,
    /// Whether the sensor emits any of the events.
    has_events: bool,
}

/// How much of a rule is evaluated.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Extent {
    /// On every event that it names, with every field.
    Full,
    /// On some of the events, or without some fields.
    Partial,
    /// Never: the sensor emits none of the events.
    Never,
}

impl Extent {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "fully",
            Self::Partial => "partly",
            Self::Never => "never",
        }
    }
}

impl Support {
    pub(crate) fn of(
        program: &Program,
        condition: NodeId,
        output: &Output,
        events: NameSet,
    ) -> Self {
        let kinds = events.kinds();
        // Of a condition that names no events, nobody can say what is missing.
        let is_any = events == NameSet::all();
        let missing = |name: &&'static str| !is_any && names::kind_of(name).is_none();
        let mut fields = BTreeSet::new();
        let mut shown = BTreeSet::new();
        if !kinds.is_empty() {
            collect(program, condition, &mut |subject| fields.extend(missing_in(subject, events)));
            output.subjects(&mut |subject| shown.extend(missing_in(subject, events)));
        }
        let absent_in_output = shown.difference(&fields).cloned().collect();
        Self {
            missing_events: events.names().filter(missing).collect(),
            missing_fields: fields.into_iter().collect(),
            absent_in_output,
            has_events: !kinds.is_empty(),
        }
    }

    /// How much of the condition is evaluated.
    pub fn extent(&self) -> Extent {
        match self {
            Self { has_events: false, .. } => Extent::Never,
            Self { missing_events, missing_fields, .. }
                if missing_events.is_empty() && missing_fields.is_empty() =>
            {
                Extent::Full
            }
            _ => Extent::Partial,
        }
    }
}

/// The name of a field that no event of these names has, of those that the sensor emits.
fn missing_in(subject: &Subject, events: NameSet) -> Option<String> {
    let Subject { field, index } = subject;
    if let (FieldId::EvtArg | FieldId::EvtRawarg, Index::Named(name)) = (field, index) {
        let mut told = events.names().filter(|event| names::kind_of(event).is_some());
        let is_known = told.any(|event| {
            parameter::source(event, name).is_some_and(|source| {
                *field == FieldId::EvtArg || parameter::is_raw_source(source, name)
            })
        });
        return (!is_known).then(|| format!("{}.{name}", field.name()));
    }
    let kinds = events.kinds();
    let is_there = |field: FieldId| field.info().kinds.intersects(kinds);
    let is_known = match field.sources() {
        [] => is_there(*field),
        sources => sources.iter().any(|source| is_there(*source)),
    };
    (!is_known).then(|| field.name().to_owned())
}

/// Calls `see` with every field of a condition.
fn collect(program: &Program, condition: NodeId, see: &mut dyn FnMut(&Subject)) {
    match program.node(condition) {
        Node::And(operands) | Node::Or(operands) => {
            operands.iter().for_each(|operand| collect(program, *operand, see));
        }
        Node::Not(operand) => collect(program, *operand, see),
        Node::Check(Check { left, test, .. }) => {
            match left {
                Left::List(list) => list.subjects(see),
                Left::Term(term) => term.subjects(see),
            }
            if let Test::Against(_, term) = test {
                term.subjects(see);
            }
        }
    }
}
