//! The compiled form of conditions, and its evaluation.
//!
//! A check on a field without a value is false, whatever the operator; `not` of it is true.
//! Evaluation allocates nothing of its own, but for a regular expression on text that is not UTF-8, and for what
//! transformers make.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use memchr::memmem::{self, Finder};
use regex::Regex;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ast::{Operator, Quantifier};
use crate::event::{Argument, Event, Value};
use crate::field::{Cost, FieldId, Type};
use crate::glob::Glob;
use crate::names::{self, NameSet};
use crate::network::Network;
use crate::parameter;
use crate::path::PathSet;
use crate::term::{List, Term};

/// How many ancestors a check without an index looks at: more than any real lineage has.
const MAX_ANCESTORS: u32 = 1_024;

/// How many results of shared conditions are kept while an event is judged.
const MAX_KEPT: usize = u128::BITS as usize;

/// The conditions of a ruleset; a macro that several of them use is there once.
#[derive(Debug, Default)]
pub(crate) struct Program {
    nodes: Vec<Node>,
    /// For each node, where its result is kept, if several conditions need it.
    places: Vec<Option<u8>>,
}

/// A condition of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NodeId(usize);

#[derive(Debug)]
pub(crate) enum Node {
    And(Box<[NodeId]>),
    Check(Check),
    Not(NodeId),
    Or(Box<[NodeId]>),
}

/// How many values of fields are kept while an event is judged.
const MAX_VALUES: usize = 10;

/// An event that is being judged, with what was found out about it.
pub(crate) struct Look<'e, E> {
    event: &'e E,
    /// Which results of shared conditions are known, one bit for each, and which of them hold.
    kept: Cell<[u128; 2]>,
    /// Values of fields that several checks look at.
    values: [OnceCell<Option<Value<'e>>>; MAX_VALUES],
    /// The place of the event's name in the table of all names.
    name: OnceCell<Option<usize>>,
}

impl<'e, E: Event> Look<'e, E> {
    pub(crate) fn new(event: &'e E) -> Self {
        Self {
            event,
            kept: Cell::new([0; 2]),
            values: [const { OnceCell::new() }; MAX_VALUES],
            name: OnceCell::new(),
        }
    }

    fn value(&self, place: u8, subject: &Subject) -> Option<&Value<'e>> {
        self.values[usize::from(place)].get_or_init(|| subject.value(self.event)).as_ref()
    }

    fn is_named(&self, names: &NameSet) -> bool {
        let name = self.name.get_or_init(|| match self.event.field(FieldId::EvtType, None)? {
            Value::Text(name) => names::place(&name),
            _ => None,
        });
        name.is_some_and(|place| names.has(place))
    }
}

impl Program {
    /// Adds a node; its operands must have been added before.
    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// A node that was added.
    pub(crate) fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0]
    }

    /// Puts what costs little first, and finds what is worth keeping: once every condition is there.
    pub(crate) fn finish(&mut self, conditions: &[NodeId]) {
        let mut costs: Vec<u32> = Vec::with_capacity(self.nodes.len());
        let mut users = vec![0_u32; self.nodes.len()];
        for node in &mut self.nodes {
            let cost = match node {
                Node::And(operands) | Node::Or(operands) => {
                    // `and` and `or` have no order: nothing happens when they are evaluated.
                    operands.sort_by_key(|operand| costs[operand.0]);
                    for operand in &**operands {
                        users[operand.0] += 1;
                    }
                    operands
                        .iter()
                        .fold(1, |sum: u32, operand| sum.saturating_add(costs[operand.0]))
                }
                Node::Not(operand) => {
                    users[operand.0] += 1;
                    costs[operand.0]
                }
                Node::Check(check) => check.cost(),
            };
            costs.push(cost);
        }
        for condition in conditions {
            users[condition.0] += 1;
        }
        let is_shared = |node: &usize| users[*node] > 1 && costs[*node] > Self::WORTH_KEEPING;
        let mut shared: Vec<_> = (0..self.nodes.len()).filter(is_shared).collect();
        shared.sort_by_key(|node| {
            std::cmp::Reverse(u64::from(users[*node]) * u64::from(costs[*node]))
        });
        self.places = vec![None; self.nodes.len()];
        for (place, node) in (0..).zip(shared.into_iter().take(MAX_KEPT)) {
            self.places[node] = Some(place);
        }
        self.keep_values();
    }

    /// Gives the fields that most checks look at a place to keep their values.
    fn keep_values(&mut self) {
        let checks = self.nodes.iter_mut().filter_map(|node| match node {
            Node::Check(check) => Some(check),
            _ => None,
        });
        let mut by_subject: FxHashMap<Subject, Vec<&mut Check>> = FxHashMap::default();
        for check in checks {
            match check.subject() {
                Some(subject) if subject.field == FieldId::EvtType => check.compile_names(),
                Some(subject) if subject.has_one_value() => {
                    by_subject.entry(subject.clone()).or_default().push(check);
                }
                _ => {}
            }
        }
        let mut shared: Vec<_> = by_subject.into_values().filter(|users| users.len() > 1).collect();
        // By what looking again would cost.
        shared.sort_by_key(|users| {
            let cost: u64 = users.iter().map(|check| u64::from(check.source_cost())).sum();
            std::cmp::Reverse(cost)
        });
        for (place, users) in (0..).zip(shared.into_iter().take(MAX_VALUES)) {
            for check in users {
                check.place = Some(place);
            }
        }
    }

    /// What it costs to evaluate a condition to its end.
    pub(crate) fn cost(&self, condition: NodeId) -> u32 {
        match self.node(condition) {
            Node::And(operands) | Node::Or(operands) => {
                operands.iter().fold(1, |sum: u32, operand| sum.saturating_add(self.cost(*operand)))
            }
            Node::Check(check) => check.cost(),
            Node::Not(operand) => self.cost(*operand),
        }
    }

    /// What costs no more than this is as well evaluated again.
    const WORTH_KEEPING: u32 = 3;

    /// Whether a condition tests a field of such a kind.
    pub(crate) fn mentions(&self, condition: NodeId, field: fn(FieldId) -> bool) -> bool {
        match self.node(condition) {
            Node::And(operands) | Node::Or(operands) => {
                operands.iter().any(|operand| self.mentions(*operand, field))
            }
            Node::Check(check) => check.mentions(field),
            Node::Not(operand) => self.mentions(*operand, field),
        }
    }

    /// Whether `event` satisfies the condition.
    pub(crate) fn holds(&self, condition: NodeId, event: &impl Event) -> bool {
        self.holds_in(condition, &Look::new(event))
    }

    /// Whether the event of a look satisfies the condition.
    pub(crate) fn holds_in(&self, condition: NodeId, look: &Look<'_, impl Event>) -> bool {
        let Some(Some(place)) = self.places.get(condition.0) else {
            return self.evaluate(condition, look);
        };
        let bit = 1_u128 << place;
        let [known, holding] = look.kept.get();
        if known & bit != 0 {
            return holding & bit != 0;
        }
        let holds = self.evaluate(condition, look);
        // Others may have become known meanwhile.
        let [known, holding] = look.kept.get();
        look.kept.set([known | bit, if holds { holding | bit } else { holding }]);
        holds
    }

    fn evaluate(&self, condition: NodeId, look: &Look<'_, impl Event>) -> bool {
        match &self.nodes[condition.0] {
            Node::And(operands) => operands.iter().all(|operand| self.holds_in(*operand, look)),
            Node::Check(check) => check.holds_in(look),
            Node::Not(operand) => !self.holds_in(*operand, look),
            Node::Or(operands) => operands.iter().any(|operand| self.holds_in(*operand, look)),
        }
    }
}

/// A test of a field, or of what is made of fields.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) left: Left,
    pub(crate) test: Test,
    /// Of a test of the event's name: the names that pass.
    names: Option<Box<NameSet>>,
    /// Where the value is kept, if other checks look at it too.
    place: Option<u8>,
}

/// What is tested.
#[derive(Debug)]
pub(crate) enum Left {
    List(List),
    Term(Term),
}

/// A field with its argument.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Subject {
    pub(crate) field: FieldId,
    pub(crate) index: Index,
}

/// Which of the values of a field is meant.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Index {
    /// That of each ancestor, the process itself excluded.
    Ancestors,
    /// The one with this number.
    At(u32),
    /// The one with this name.
    Named(Box<str>),
    /// The only one.
    None,
}

impl Subject {
    /// The type of the value.
    pub(crate) fn ty(&self) -> Type {
        match (self.field, &self.index) {
            (FieldId::EvtRawarg, Index::Named(name)) => parameter::raw_type(name),
            _ => self.field.info().ty,
        }
    }

    /// Whether there is never more than one value.
    fn has_one_value(&self) -> bool {
        self.index != Index::Ancestors && self.field.sources().len() < 2
    }

    /// Whether the field is of such a kind, or another that it may have its value from.
    pub(crate) fn mentions(&self, field: fn(FieldId) -> bool) -> bool {
        field(self.field)
            || match (self.field, &self.index) {
                (FieldId::EvtArg | FieldId::EvtRawarg, Index::Named(name)) => {
                    parameter::sources(Some(name)).any(field)
                }
                (FieldId::EvtArg | FieldId::EvtRawarg, _) => parameter::sources(None).any(field),
                _ => false,
            }
    }

    /// The value; the first one where there are several: that of the parent, or of the other end.
    pub(crate) fn value<'a>(&self, event: &'a impl Event) -> Option<Value<'a>> {
        let sources = self.field.sources();
        if !sources.is_empty() {
            return sources.iter().find_map(|source| event.field(*source, None));
        }
        match (self.field, &self.index) {
            (FieldId::EvtArgs | FieldId::EvtInfo, _) => {
                return parameter::joined(event).map(Value::from);
            }
            (FieldId::EvtTypeIs, Index::Named(name)) => {
                let Value::Text(own) = event.field(FieldId::EvtType, None)? else { return None };
                return Some(Value::Number((*own == *name.as_bytes()).into()));
            }
            (FieldId::EvtArg | FieldId::EvtRawarg, Index::Named(name)) => {
                return parameter::value(event, self.field, name);
            }
            (FieldId::EvtArg, Index::At(place)) => {
                return parameter::value(event, self.field, parameter::name_at(event, *place)?);
            }
            _ => {}
        }
        match &self.index {
            Index::Ancestors => event.field(self.field, Some(Argument::Index(1))),
            Index::At(index) => event.field(self.field, Some(Argument::Index(*index))),
            Index::Named(name) => event.field(self.field, Some(Argument::Name(name))),
            Index::None => event.field(self.field, None),
        }
    }
}

impl Check {
    pub(crate) fn new(left: Left, test: Test) -> Self {
        Self { left, test, names: None, place: None }
    }

    fn compile_names(&mut self) {
        if !matches!(self.test, Test::Against(..)) {
            let names = NameSet::matching(|name| self.test.holds(&Value::from(name)));
            self.names = Some(Box::new(names));
        }
    }

    /// The same as [`Check::holds`], with what is known of the event already.
    fn holds_in(&self, look: &Look<'_, impl Event>) -> bool {
        match (&self.names, self.place, &self.left) {
            (Some(names), ..) => look.is_named(names),
            (None, Some(place), Left::Term(Term::Field(subject))) => {
                let value = look.value(place, subject);
                value.is_some_and(|value| self.test.holds_in(value, look.event))
            }
            _ => self.holds(look.event),
        }
    }

    /// The field that is tested, if nothing is made of it.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        match &self.left {
            Left::Term(Term::Field(subject)) => Some(subject),
            _ => None,
        }
    }

    /// What it costs to evaluate, in no unit: a number of the event costs 1.
    fn cost(&self) -> u32 {
        self.test.cost().saturating_add(self.source_cost())
    }

    /// What it costs to have what is tested.
    fn source_cost(&self) -> u32 {
        let mut cost = 0;
        let mut add = |subject: &Subject| {
            cost += match subject.field.info().cost {
                Cost::Record => 1,
                Cost::Lookup => 4,
                Cost::Made => 16,
                Cost::Walk => 24,
                Cost::Runtime => 48,
            };
        };
        match &self.left {
            Left::List(list) => list.subjects(&mut add),
            Left::Term(term) => term.subjects(&mut add),
        }
        if !matches!(&self.left, Left::Term(Term::Field(_))) {
            // A transformer makes a text of its own.
            cost += 16;
        }
        cost
    }

    fn mentions(&self, field: fn(FieldId) -> bool) -> bool {
        let is_left = match &self.left {
            Left::List(list) => list.mentions(field),
            Left::Term(term) => term.mentions(field),
        };
        is_left || matches!(&self.test, Test::Against(_, term) if term.mentions(field))
    }

    /// Whether `event` satisfies it.
    pub(crate) fn holds(&self, event: &impl Event) -> bool {
        let test = &self.test;
        let subject = match &self.left {
            Left::List(list) => {
                return list.words(event).is_some_and(|words| test.holds_for_list(&words));
            }
            Left::Term(Term::Field(subject)) => subject,
            Left::Term(term) => {
                return term.value(event).is_some_and(|value| test.holds_in(&value, event));
            }
        };
        if let [_, _, ..] = subject.field.sources() {
            return test.holds_at(&|| {
                subject.field.sources().iter().filter_map(|source| event.field(*source, None))
            });
        }
        if subject.index != Index::Ancestors {
            return subject.value(event).is_some_and(|value| test.holds_in(&value, event));
        }
        (1..=MAX_ANCESTORS)
            .map_while(|level| event.field(subject.field, Some(Argument::Index(level))))
            .any(|value| test.holds_in(&value, event))
    }
}

/// What a value must satisfy. A value of another type than the field's own satisfies nothing.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// It stands in this relation to another value of the event.
    Against(Operator, Box<Term>),
    /// Whether an address is this one, or is not.
    Address { address: IpAddr, is_equal: bool },
    /// An address is one of these.
    AddressIn(FxHashSet<IpAddr>),
    /// Whether `false` and `true` are accepted.
    Bool { accepts: [bool; 2] },
    /// There is a value.
    Exists,
    /// Of a list, all members are among these, or one is.
    Members { all: bool, words: FxHashSet<Box<[u8]>> },
    /// Whether an address is in this network, or is not.
    Network { network: Network, is_in: bool },
    /// An address is in one of these.
    NetworkIn(Box<[Network]>),
    /// A number stands in this relation to the constant.
    Number(Relation, i128),
    /// A number is one of these, which are sorted.
    NumberIn(Box<[i128]>),
    /// Some, all or one of the tests hold.
    Quantified(Quantifier, Box<[Test]>),
    /// A text satisfies this.
    Text(TextTest),
}

impl Operator {
    /// The order that it asks for; of one that asks for none, equality.
    pub(crate) fn relation(self) -> Relation {
        match self {
            Self::Less => Relation::Less,
            Self::LessOrEqual => Relation::LessOrEqual,
            Self::Greater => Relation::Greater,
            Self::GreaterOrEqual => Relation::GreaterOrEqual,
            Self::NotEqual => Relation::NotEqual,
            _ => Relation::Equal,
        }
    }
}

/// An order between two values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relation {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    NotEqual,
}

impl Relation {
    pub(crate) fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::NotEqual => left != right,
        }
    }
}

/// What a text must satisfy.
#[derive(Clone, Debug)]
pub(crate) enum TextTest {
    Contains(Box<Finder<'static>>),
    /// The constant is in lower case.
    ContainsFolded(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Glob(Glob),
    In(FxHashSet<Box<[u8]>>),
    Path(PathSet),
    /// Anchored at both ends.
    Regex(Regex),
    Relation(Relation, Box<[u8]>),
    StartsWith(Box<[u8]>),
}

impl Test {
    fn cost(&self) -> u32 {
        match self {
            Self::Exists | Self::Bool { .. } | Self::Number(..) | Self::Address { .. } => 1,
            Self::Network { .. } | Self::NumberIn(_) | Self::AddressIn(_) => 2,
            Self::NetworkIn(_) => 4,
            Self::Members { .. } | Self::Against(..) => 16,
            Self::Quantified(_, tests) => {
                tests.iter().fold(1, |sum: u32, test| sum.saturating_add(test.cost()))
            }
            Self::Text(test) => match test {
                TextTest::Relation(..) | TextTest::StartsWith(_) | TextTest::EndsWith(_) => 2,
                TextTest::In(_) => 3,
                TextTest::Contains(_) | TextTest::ContainsFolded(_) => 6,
                TextTest::Path(_) => 12,
                TextTest::Glob(_) => 16,
                TextTest::Regex(_) => 40,
            },
        }
    }

    /// Whether a value of an event satisfies it.
    fn holds_in(&self, value: &Value<'_>, event: &impl Event) -> bool {
        match self {
            Self::Against(operator, term) => {
                term.value(event).is_some_and(|right| compare(*operator, value, &right))
            }
            _ => self.holds(value),
        }
    }

    fn holds_for_list(&self, list: &[Vec<u8>]) -> bool {
        match self {
            Self::Exists => true,
            Self::Members { all: true, words } => {
                !list.is_empty() && list.iter().all(|word| words.contains(&**word))
            }
            Self::Members { all: false, words } => list.iter().any(|word| words.contains(&**word)),
            _ => false,
        }
    }

    /// Whether a value satisfies it, as far as no other one has a say.
    pub(crate) fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Exists, _) => true,
            (Self::Quantified(quantifier, tests), _) => {
                holds_for(*quantifier, tests, |test| test.holds(value))
            }
            (Self::Address { address, is_equal }, Value::Address(value)) => {
                (address == value) == *is_equal
            }
            (Self::AddressIn(addresses), Value::Address(value)) => addresses.contains(value),
            (Self::Bool { accepts }, Value::Bool(value)) => accepts[usize::from(*value)],
            (Self::Network { network, is_in }, Value::Address(value)) => {
                network.contains(*value) == *is_in
            }
            (Self::NetworkIn(networks), Value::Address(value)) => {
                networks.iter().any(|network| network.contains(*value))
            }
            (Self::Number(relation, constant), Value::Number(value)) => {
                relation.holds(value, constant)
            }
            (Self::NumberIn(constants), Value::Number(value)) => {
                constants.binary_search(value).is_ok()
            }
            (Self::Text(test), Value::Text(bytes)) => test.holds(bytes),
            _ => false,
        }
    }

    /// Whether a field satisfies it that has several values: one of them does, or where they must differ, all do.
    fn holds_at<'a, V: Iterator<Item = Value<'a>>>(&self, values: &dyn Fn() -> V) -> bool {
        match self {
            Self::Quantified(quantifier, tests) => {
                holds_for(*quantifier, tests, |test| test.holds_at(values))
            }
            Self::Address { is_equal: false, .. }
            | Self::Network { is_in: false, .. }
            | Self::Number(Relation::NotEqual, _) => {
                values().next().is_some() && values().all(|value| self.holds(&value))
            }
            _ => values().any(|value| self.holds(&value)),
        }
    }
}

impl TextTest {
    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::ContainsFolded(needle) => contains_folded(text, needle),
            Self::EndsWith(suffix) => text.ends_with(suffix),
            Self::Glob(glob) => glob.matches(text),
            Self::In(set) => set.contains(text),
            Self::Path(paths) => paths.covers(text),
            // Copies only what is not UTF-8.
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(text)),
            Self::Relation(relation, constant) => relation.holds(text, constant),
            Self::StartsWith(prefix) => text.starts_with(prefix),
        }
    }
}

/// Whether two values of an event stand in a relation.
fn compare(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> bool {
    let relation = operator.relation();
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => relation.holds(left, right),
        (Value::Bool(left), Value::Bool(right)) => relation.holds(left, right),
        (Value::Address(left), Value::Address(right)) => relation.holds(left, right),
        (Value::Text(left), Value::Text(right)) => match operator {
            Operator::Contains => memmem::find(left, right).is_some(),
            Operator::ContainsFolded => contains_folded(left, &right.to_ascii_lowercase()),
            Operator::EndsWith => left.ends_with(right),
            Operator::Glob => Glob::new(right, false).matches(left),
            Operator::GlobFolded => Glob::new(right, true).matches(left),
            Operator::StartsWith => left.starts_with(right),
            _ => relation.holds(left, right),
        },
        _ => false,
    }
}

/// Whether so many of the tests hold; no list at all satisfies no quantifier.
fn holds_for(quantifier: Quantifier, tests: &[Test], holds: impl Fn(&Test) -> bool) -> bool {
    let mut outcomes = tests.iter().map(holds);
    match quantifier {
        Quantifier::All => !tests.is_empty() && outcomes.all(|holds| holds),
        Quantifier::Any => outcomes.any(|holds| holds),
        Quantifier::One => outcomes.filter(|holds| *holds).take(2).count() == 1,
    }
}

fn contains_folded(text: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let Some(last_start) = text.len().checked_sub(needle.len()) else { return false };
    let starts = memchr::memchr2_iter(*first, first.to_ascii_uppercase(), &text[..=last_start]);
    starts.into_iter().any(|start| text[start..start + needle.len()].eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_are_found_in_any_case() {
        assert!(contains_folded(b"/opt/SubDir/x", b"subdir"));
        assert!(contains_folded(b"abc", b""));
        assert!(!contains_folded(b"sub", b"subdir"));
        assert!(contains_folded(b"xsub", b"sub"));
    }

    #[test]
    fn one_of_counts_every_element() {
        let test =
            |text: &str| Test::Text(TextTest::Relation(Relation::NotEqual, text.as_bytes().into()));
        let value = Value::from("myexe");
        let holds = |quantifier, tests: &[Test]| {
            holds_for(quantifier, tests, |test: &Test| test.holds(&value))
        };
        let one_of = |tests: &[Test]| holds(Quantifier::One, tests);
        assert!(one_of(&[test("myexe"), test("bash")]));
        assert!(!one_of(&[test("a"), test("b")]));
        assert!(!holds(Quantifier::All, &[]));
    }
}
