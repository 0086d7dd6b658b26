//! An event that satisfies a condition, found by search.
//!
//! It shows a person what a rule waits for, and tests that a rule can fire at all. The search walks the ways in which a
//! condition holds and gives a value to each field that is asked for; what it proposes is evaluated, so that nothing is
//! told that is not so. It is not complete: a regular expression, or fields that must be equal, it may not satisfy.

use std::collections::BTreeMap;

use shrike_common::Kind;

use crate::ast::Quantifier;
use crate::eval::{Check, Index, Left, Node, NodeId, Program, Relation, Subject, Test, TextTest};
use crate::event::{Argument, Event, Value};
use crate::field::{FieldId, Type};
use crate::names;
use crate::term::Term;

/// How many values are tried in all before the search gives up.
const MAX_STEPS: usize = 200_000;

/// The most members of a list that are tried.
const MAX_MEMBERS: usize = 8;

/// A made-up event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Witness {
    kind: Kind,
    values: BTreeMap<(FieldId, Key), Value<'static>>,
}

/// The argument that a value is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Key {
    None,
    At(u32),
    Named(String),
}

impl Witness {
    /// The values that it has, by field and argument as conditions write them.
    pub fn values(&self) -> impl Iterator<Item = (String, &Value<'static>)> {
        self.values.iter().map(|((field, key), value)| {
            let name = field.name();
            let name = match key {
                Key::None => name.to_owned(),
                Key::At(index) => format!("{name}[{index}]"),
                Key::Named(argument) if field.info().argument.is_dotted() => {
                    format!("{name}.{argument}")
                }
                Key::Named(argument) => format!("{name}[{argument}]"),
            };
            (name, value)
        })
    }
}

impl Event for Witness {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let key = match argument {
            None => Key::None,
            Some(Argument::Index(index)) => Key::At(index),
            Some(Argument::Name(name)) => Key::Named(name.to_owned()),
        };
        self.values.get(&(field, key)).cloned()
    }
}

/// An event of one of these names that satisfies a condition.
pub(crate) fn find(
    program: &Program,
    condition: NodeId,
    events: impl Iterator<Item = &'static str>,
) -> Option<Witness> {
    let mut steps = MAX_STEPS;
    events.filter_map(|name| Some((name, names::kind_of(name)?))).find_map(|(name, kind)| {
        let event_type = ((FieldId::EvtType, Key::None), Value::from(name));
        let start = Witness { kind, values: BTreeMap::from([event_type]) };
        let mut search = Search { program, condition, steps: &mut steps };
        search.satisfy(&[(condition, true)], start)
    })
}

/// The same event but for one value, so that the condition fails.
pub(crate) fn near_miss(program: &Program, condition: NodeId, event: &Witness) -> Option<Witness> {
    let fails = |event: &Witness| !program.holds(condition, event);
    let values = event.values.keys().filter(|(field, _)| *field != FieldId::EvtType);
    let mut lesser = values.map(|key| {
        let mut lesser = event.clone();
        lesser.values.remove(key);
        lesser
    });
    lesser.find(fails).or_else(|| {
        let mut checks = Vec::new();
        collect(program, condition, &mut checks);
        let mut altered = checks.into_iter().flat_map(|check| altered(check, event));
        altered.find(fails)
    })
}

/// The event with other values for what a check looks at.
fn altered(check: &Check, event: &Witness) -> Vec<Witness> {
    let Left::Term(Term::Field(subject)) = &check.left else { return Vec::new() };
    let Some(key) = key(subject) else { return Vec::new() };
    let all = [true, false].map(|wanted| candidates(&check.test, subject.ty(), wanted));
    let other = |value| {
        let mut event = event.clone();
        event.values.insert(key.clone(), value);
        event
    };
    all.concat().into_iter().map(other).collect()
}

/// The checks of a condition.
fn collect<'a>(program: &'a Program, condition: NodeId, checks: &mut Vec<&'a Check>) {
    match program.node(condition) {
        Node::And(operands) | Node::Or(operands) => {
            operands.iter().for_each(|operand| collect(program, *operand, checks));
        }
        Node::Not(operand) => collect(program, *operand, checks),
        Node::Check(check) => checks.push(check),
    }
}

struct Search<'a, 's> {
    program: &'a Program,
    /// What is to be satisfied in the end.
    condition: NodeId,
    steps: &'s mut usize,
}

impl Search<'_, '_> {
    /// Extends an event so that each of the goals holds, or does not.
    fn satisfy(&mut self, goals: &[(NodeId, bool)], event: Witness) -> Option<Witness> {
        let Some((&(node, wanted), rest)) = goals.split_last() else {
            return self.program.holds(self.condition, &event).then_some(event);
        };
        *self.steps = self.steps.checked_sub(1)?;
        match (self.program.node(node), wanted) {
            (Node::Not(operand), _) => {
                let goals: Vec<_> = rest.iter().copied().chain([(*operand, !wanted)]).collect();
                self.satisfy(&goals, event)
            }
            (Node::And(operands), true) | (Node::Or(operands), false) => {
                // The goals are taken from the end: what leaves the least choice first.
                let mut operands: Vec<_> =
                    operands.iter().map(|operand| (*operand, wanted)).collect();
                operands.sort_by_key(|(operand, wanted)| self.is_open(*operand, *wanted));
                let goals: Vec<_> =
                    rest.iter().copied().chain(operands.into_iter().rev()).collect();
                self.satisfy(&goals, event)
            }
            (Node::And(operands), false) | (Node::Or(operands), true) => {
                operands.iter().find_map(|operand| {
                    let goals: Vec<_> = rest.iter().copied().chain([(*operand, wanted)]).collect();
                    self.satisfy(&goals, event.clone())
                })
            }
            (Node::Check(check), _) => {
                if self.program.holds(node, &event) == wanted {
                    return self.satisfy(rest, event);
                }
                self.decide(check, wanted, &event, rest)
            }
        }
    }

    /// Whether almost any value would do.
    fn is_open(&self, node: NodeId, wanted: bool) -> bool {
        match self.program.node(node) {
            Node::Not(operand) => self.is_open(*operand, !wanted),
            Node::Check(check) => {
                let is_unequal = matches!(
                    check.test,
                    Test::Text(TextTest::Relation(Relation::NotEqual, _))
                        | Test::Number(Relation::NotEqual, _)
                        | Test::Address { is_equal: false, .. }
                        | Test::Network { is_in: false, .. }
                        | Test::Exists
                );
                is_unequal == wanted
            }
            Node::And(_) | Node::Or(_) => !wanted,
        }
    }

    /// Tries values for the field of a check.
    fn decide(
        &mut self,
        check: &Check,
        wanted: bool,
        event: &Witness,
        rest: &[(NodeId, bool)],
    ) -> Option<Witness> {
        let Left::Term(Term::Field(subject)) = &check.left else { return None };
        let key = key(subject)?;
        if !key.0.info().kinds.contains(event.kind) {
            return None;
        }
        let mut candidates = candidates(&check.test, subject.ty(), wanted);
        if let Some(present) = event.values.get(&key) {
            // It has that for a reason: what is there must stay.
            candidates = candidates.iter().flat_map(|value| joined(present, value)).collect();
        }
        candidates.into_iter().find_map(|value| {
            let mut event = event.clone();
            event.values.insert(key.clone(), value);
            self.satisfy(rest, event)
        })
    }
}

/// Texts that have two others in them; an end that both have once.
fn joined(present: &Value<'_>, other: &Value<'_>) -> Vec<Value<'static>> {
    let (Value::Text(present), Value::Text(other)) = (present, other) else { return Vec::new() };
    let overlapping = |left: &[u8], right: &[u8]| {
        let shared = (0..=left.len().min(right.len()))
            .rev()
            .find(|length| left.ends_with(&right[..*length]))
            .unwrap_or(0);
        Value::from([left, &right[shared..]].concat())
    };
    vec![overlapping(present, other), overlapping(other, present)]
}

/// The field that is to be given a value: of one that has several sources, the first.
fn key(subject: &Subject) -> Option<(FieldId, Key)> {
    let field = subject.field.sources().first().copied().unwrap_or(subject.field);
    let key = match &subject.index {
        Index::None => Key::None,
        Index::Ancestors => Key::At(1),
        Index::At(index) => Key::At(*index),
        Index::Named(name) => Key::Named(name.to_string()),
    };
    (field != FieldId::EvtType).then_some((field, key))
}

/// Values that may satisfy a test, or fail it.
fn candidates(test: &Test, ty: Type, wanted: bool) -> Vec<Value<'static>> {
    let mut found = Vec::new();
    propose(test, ty, &mut found);
    found.extend(match ty {
        Type::Bool => vec![Value::from(true), Value::from(false)],
        Type::Number | Type::Port => vec![Value::Number(0), Value::Number(1_000_003)],
        Type::Address | Type::Network => ["192.0.2.1", "2001:db8::1"]
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(Value::Address)
            .collect(),
        Type::Text | Type::EventName | Type::Bytes => {
            vec![Value::from("other"), Value::from("/other/file")]
        }
    });
    found.retain(|value| test.holds(value) == wanted);
    found
}

/// Values that a test is likely to hold for.
fn propose(test: &Test, ty: Type, found: &mut Vec<Value<'static>>) {
    let owned = |bytes: &[u8]| Value::from(bytes.to_vec());
    match test {
        Test::Address { address, .. } => found.push(Value::Address(*address)),
        Test::AddressIn(addresses) => {
            found.extend(addresses.iter().min().map(|a| Value::Address(*a)));
        }
        Test::Network { network, .. } => found.push(Value::Address(network.first())),
        Test::NetworkIn(networks) => {
            found.extend(networks.first().map(|network| Value::Address(network.first())));
        }
        Test::Number(relation, constant) => found.push(Value::Number(match relation {
            Relation::Greater => constant.saturating_add(1),
            Relation::Less => constant.saturating_sub(1),
            _ => *constant,
        })),
        Test::NumberIn(constants) => found.extend(constants.first().map(|n| Value::Number(*n))),
        Test::Quantified(Quantifier::All, tests) if ty == Type::Text => {
            // What has all of them in it.
            let mut parts = Vec::new();
            tests.iter().for_each(|test| propose(test, ty, &mut parts));
            let parts = parts.into_iter().filter_map(|value| match value {
                Value::Text(part) => Some(part.into_owned()),
                _ => None,
            });
            found.push(Value::from(parts.collect::<Vec<_>>().concat()));
        }
        Test::Quantified(_, tests) => tests.iter().for_each(|test| propose(test, ty, found)),
        Test::Text(test) => match test {
            TextTest::Contains(finder) => found.push(owned(finder.needle())),
            TextTest::ContainsFolded(needle) => found.push(owned(needle)),
            TextTest::EndsWith(suffix) => found.push(owned(suffix)),
            TextTest::StartsWith(prefix) => found.push(owned(prefix)),
            TextTest::Relation(_, constant) => found.push(owned(constant)),
            TextTest::In(set) => {
                // Another check may rule some of them out.
                let mut members: Vec<_> = set.iter().collect();
                members.sort_unstable();
                found.extend(members.into_iter().take(MAX_MEMBERS).map(|member| owned(member)));
            }
            TextTest::Path(paths) => found.extend(paths.examples().map(Value::from)),
            TextTest::Glob(glob) => found.push(owned(&glob.example())),
            TextTest::Regex(_) => {}
        },
        Test::Against(..) | Test::Bool { .. } | Test::Exists | Test::Members { .. } => {}
    }
}
