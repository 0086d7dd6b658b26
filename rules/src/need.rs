//! What an event must at least be for some rule to match it: a condition as alternatives, each of
//! them a set of checks that must all hold. Whoever has events to send can leave out those that
//! satisfy no alternative.

use shrike_common::Kind;

use crate::eval::{Check, Index, Node, NodeId, Program, Relation, Subject, Test, TextTest};
use crate::event::Value;
use crate::field::FieldId;
use crate::names;

/// The most alternatives of one rule; a condition that needs more is simplified, so that it accepts
/// more than it must.
const LIMIT: usize = 32;

/// The most checks of one alternative; the others are left to the evaluator.
const MAX_CHECKS: usize = 64;

/// One way to satisfy a rule.
#[derive(Clone, Debug, Default)]
pub struct Alternative<'a> {
    /// Checks, and whether each must hold or must not.
    checks: Vec<(&'a Check, bool)>,
    /// Whether the rule asks for the result of the system call.
    pub(crate) asks_for_result: bool,
    /// Whether it asks for the path as the program gave it.
    pub(crate) asks_for_given: bool,
}

impl Alternative<'_> {
    /// Whether the rule asks for the result of the system call.
    pub fn asks_for_result(&self) -> bool {
        self.asks_for_result
    }

    /// Whether the rule asks for the path as the program gave it (`fd.nameraw`).
    pub fn asks_for_given(&self) -> bool {
        self.asks_for_given
    }

    /// The checks, as a person reads them.
    pub fn checks(&self) -> impl Iterator<Item = String> {
        self.checks
            .iter()
            .map(|(check, wanted)| format!("{}{check}", if *wanted { "" } else { "not " }))
    }

    /// Whether an event can satisfy this if its `field` has this value, or none.
    pub fn allows(&self, field: FieldId, value: Option<&Value<'_>>) -> bool {
        self.of(field)
            .all(|(check, wanted)| value.is_some_and(|value| check.test.holds(value)) == wanted)
    }

    /// The texts of which `field` must have one; `None` if it may have others.
    pub fn texts(&self, field: FieldId) -> Option<Vec<Vec<u8>>> {
        self.wanted(field).find_map(texts)
    }

    /// The texts with one of which `field` must begin; `None` if it may begin otherwise.
    pub fn prefixes(&self, field: FieldId) -> Option<Vec<Vec<u8>>> {
        let prefixes = self.wanted(field).find_map(prefixes)?;
        prefixes.iter().all(|prefix| !prefix.is_empty()).then_some(prefixes)
    }

    fn wanted(&self, field: FieldId) -> impl Iterator<Item = &Test> {
        self.of(field).filter(|(_, wanted)| *wanted).map(|(check, _)| &check.test)
    }

    fn of(&self, field: FieldId) -> impl Iterator<Item = (&Check, bool)> {
        self.checks
            .iter()
            .copied()
            .filter(move |(check, _)| check.subject().is_some_and(|subject| subject.field == field))
    }
}

/// The alternatives of a condition for events of `kind`, as far as the fields that are `known` tell.
pub(crate) fn alternatives<'a>(
    program: &'a Program,
    condition: NodeId,
    kind: Kind,
    known: &dyn Fn(FieldId) -> bool,
) -> Vec<Alternative<'a>> {
    Search { program, kind, known }.alternatives(condition, true)
}

struct Search<'a, 'k> {
    program: &'a Program,
    kind: Kind,
    known: &'k dyn Fn(FieldId) -> bool,
}

impl<'a> Search<'a, '_> {
    /// The ways in which a condition holds, or in which it does not.
    fn alternatives(&self, condition: NodeId, wanted: bool) -> Vec<Alternative<'a>> {
        match (self.program.node(condition), wanted) {
            (Node::Check(check), _) => self.check(check, wanted),
            (Node::Not(operand), _) => self.alternatives(*operand, !wanted),
            (Node::And(operands), true) | (Node::Or(operands), false) => operands
                .iter()
                .map(|operand| self.alternatives(*operand, wanted))
                .fold(vec![Alternative::default()], both),
            (Node::Or(operands), true) | (Node::And(operands), false) => operands
                .iter()
                .map(|operand| self.alternatives(*operand, wanted))
                .fold(Vec::new(), either),
        }
    }

    fn check(&self, check: &'a Check, wanted: bool) -> Vec<Alternative<'a>> {
        // What is made of fields, nobody knows beforehand.
        let Some(Subject { field, index }) = check.subject() else {
            return vec![Alternative::default()];
        };
        let field = *field;
        if field == FieldId::EvtType {
            let mut names =
                names::NAMES.iter().filter(|name| names::kind_of(name) == Some(self.kind));
            if matches!(check.test, Test::Against(..)) {
                return vec![Alternative::default()];
            }
            let is_possible = names.any(|name| check.test.holds(&Value::from(*name)) == wanted);
            return if is_possible { vec![Alternative::default()] } else { Vec::new() };
        }
        // A field that the kind does not have is never of any value.
        if !field.info().kinds.contains(self.kind) {
            return if wanted { Vec::new() } else { vec![Alternative::default()] };
        }
        let is_decided = !matches!(check.test, Test::Against(..));
        let checks = if is_decided && (self.known)(field) && *index == Index::None {
            vec![(check, wanted)]
        } else {
            Vec::new()
        };
        vec![Alternative { checks, ..Alternative::default() }]
    }
}

/// Both of two conditions; only one of them, if there would be too many alternatives.
fn both<'a>(left: Vec<Alternative<'a>>, right: Vec<Alternative<'a>>) -> Vec<Alternative<'a>> {
    if left.len() * right.len() > LIMIT {
        return if left.len() < right.len() { left } else { right };
    }
    let pair = |left: &Alternative<'a>, right: &Alternative<'a>| Alternative {
        // Without some of them, more passes.
        checks: left.checks.iter().chain(&right.checks).copied().take(MAX_CHECKS).collect(),
        ..Alternative::default()
    };
    left.iter().flat_map(|left| right.iter().map(move |right| pair(left, right))).collect()
}

/// One of two conditions; anything, if there would be too many alternatives.
fn either<'a>(mut left: Vec<Alternative<'a>>, right: Vec<Alternative<'a>>) -> Vec<Alternative<'a>> {
    left.extend(right);
    if left.len() > LIMIT || left.iter().any(|alternative| alternative.checks.is_empty()) {
        return vec![Alternative::default()];
    }
    left
}

fn texts(test: &Test) -> Option<Vec<Vec<u8>>> {
    match test {
        Test::Text(TextTest::In(set)) => Some(set.iter().map(|text| text.to_vec()).collect()),
        Test::Text(TextTest::Relation(Relation::Equal, constant)) => Some(vec![constant.to_vec()]),
        _ => None,
    }
}

fn prefixes(test: &Test) -> Option<Vec<Vec<u8>>> {
    match test {
        Test::Text(TextTest::StartsWith(prefix)) => Some(vec![prefix.to_vec()]),
        Test::Text(TextTest::Path(paths)) => Some(paths.prefixes()),
        // Whichever of them holds, its own prefixes do; that all or one must does not help.
        Test::Quantified(_, tests) => {
            let prefixes: Option<Vec<_>> = tests.iter().map(prefixes).collect();
            prefixes.map(|prefixes| prefixes.concat())
        }
        _ => texts(test),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Ruleset, Source};

    const KNOWN: [FieldId; 3] =
        [FieldId::ContainerMembership, FieldId::FdName, FieldId::FdFiletype];

    fn ruleset(condition: &str) -> Ruleset {
        let rule = format!(
            "- rule: R\n  desc: d\n  output: o\n  priority: NOTICE\n  condition: >-\n    {condition}\n"
        );
        let loaded = Ruleset::load(&[Source::new("r", &rule)]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        loaded.ruleset
    }

    /// For each alternative: its scopes, and the prefixes of its path.
    fn found(condition: &str, kind: Kind) -> Vec<(&'static str, Option<Vec<String>>)> {
        let ruleset = ruleset(condition);
        let scope = |alternative: &Alternative<'_>| {
            let allows = |name: &str| {
                alternative.allows(FieldId::ContainerMembership, Some(&Value::from(name)))
            };
            match (allows("none"), allows("member")) {
                (true, true) => "any",
                (true, false) => "host",
                (false, true) => "container",
                (false, false) => "never",
            }
        };
        let shown = |alternative: &Alternative<'_>| {
            let prefixes = alternative.prefixes(FieldId::FdName)?;
            Some(prefixes.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
        };
        let alternatives = ruleset.alternatives(kind, &|field| KNOWN.contains(&field));
        alternatives.iter().map(|alternative| (scope(alternative), shown(alternative))).collect()
    }

    fn paths(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|&path| path.to_owned()).collect()
    }

    #[test]
    fn conditions_become_alternatives() {
        let condition = "evt.type = openat and container.membership = member \
                         and (fd.name startswith /etc or fd.name = /x) and proc.name = sh";
        assert_eq!(
            found(condition, Kind::FileOpen),
            [("container", Some(paths(&["/etc"]))), ("container", Some(paths(&["/x"])))]
        );
    }

    #[test]
    fn what_another_kind_is_asked_for_does_not_count() {
        let condition = "(evt.type = openat and fd.filetype = block) \
                         or (evt.type = mount and mount.device exists)";
        assert_eq!(found(condition, Kind::FileOpen), [("any", None)]);
        assert_eq!(found(condition, Kind::Mount), [("any", None)]);
        let condition = "evt.type in (openat, mount) and not fd.name startswith /etc \
                         and not container.membership = member";
        assert_eq!(found(condition, Kind::Mount), [("host", None)]);
        assert_eq!(found(condition, Kind::FileOpen), [("host", None)]);
    }

    #[test]
    fn negations_go_inwards() {
        let condition =
            "evt.type = openat and not (container.membership = member or fd.filetype = block)";
        let ruleset = ruleset(condition);
        let all = ruleset.alternatives(Kind::FileOpen, &|field| KNOWN.contains(&field));
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert!(!one.allows(FieldId::FdFiletype, Some(&Value::from("block"))));
        assert!(one.allows(FieldId::FdFiletype, Some(&Value::from("regular"))));
        assert!(one.allows(FieldId::FdFiletype, None));
        assert!(!one.allows(FieldId::ContainerMembership, Some(&Value::from("member"))));
    }

    #[test]
    fn too_many_alternatives_accept_more() {
        let either = |field: &str| {
            let tests: Vec<String> = (0..9).map(|number| format!("{field} = /{number}")).collect();
            format!("({})", tests.join(" or "))
        };
        let condition = format!(
            "evt.type = openat and {} and {} and {}",
            either("fd.name"),
            either("fd.filetype"),
            either("fd.name")
        );
        let found = found(&condition, Kind::FileOpen);
        assert!(found.len() <= LIMIT && !found.is_empty(), "{}", found.len());
    }
}
