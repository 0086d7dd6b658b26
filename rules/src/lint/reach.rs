//! Which events reach each check of a condition, and whether any satisfies the whole of it.
//!
//! A condition is walked from the outside: what stands beside a part in a conjunction holds where
//! the part is looked at. So each part is judged in the light of the names that `evt.type` can have
//! there, of the kinds that have the fields, and of the other tests of the same values.

use std::collections::HashMap;

use shrike_common::Kind;

use super::form::FormId;
use super::trace::{Shape, SpotId, Trace};
use super::value::{self, Literal};
use crate::eval::{Check, Index, Node, Program, Relation, Test};
use crate::event::KindSet;
use crate::field::FieldId;
use crate::names::{self, NameSet};

/// How much is looked at in all rules together. Ten thousand ordinary rules take a tenth of it.
const BUDGET: usize = 8_000_000;

/// How many tests of a value are compared with each other, to name two that contradict.
const COMPARED: usize = 32;

/// How much is looked at in one rule.
const BUDGET_OF_RULE: usize = 400_000;

/// Why a condition never holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Death {
    /// It says so: `evt.num = 0`.
    Deliberate,
    /// No value satisfies the check and others around it, one of which is known.
    Contradiction(SpotId, Option<SpotId>),
    /// No event that satisfies the others has the check's field.
    Unset(SpotId),
    /// No sensor emits the events that the check asks for.
    Unsensed(SpotId),
}

/// The events that reach a check which must fail, and one that must hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    pub(super) kinds: [KindSet; 2],
}

/// A walk over conditions.
#[derive(Debug)]
pub(super) struct Walk<'w> {
    trace: &'w Trace<'w>,
    program: &'w Program,
    by_kind: Vec<(Kind, NameSet)>,
    reached: Vec<Reached>,
    budget: usize,
    left: usize,
    gave_up: bool,
    facts: Facts<'w>,
}

/// What must hold where the walk is.
#[derive(Debug, Default)]
struct Facts<'w> {
    /// Forms, with whether they must hold, and where that is said.
    forms: HashMap<(FormId, bool), SpotId>,
    /// The tests of each single value, the latest last.
    values: HashMap<Key<'w>, Vec<(SpotId, bool)>>,
}

/// A value that an event has once.
type Key<'w> = (FieldId, Option<u32>, Option<&'w str>);

/// A part of a conjunction, and whether it must hold.
type Leaf = (SpotId, bool);

/// The events that a walk is about.
#[derive(Clone, Copy)]
struct Scope {
    names: NameSet,
    /// Those of them that have what is asked for.
    kinds: KindSet,
}

impl<'w> Walk<'w> {
    pub(super) fn new(trace: &'w Trace<'w>, program: &'w Program) -> Self {
        let names = |kind| NameSet::matching(|name| names::kind_of(name) == Some(kind));
        let by_kind = KindSet::ALL.iter().map(|kind| (kind, names(kind))).collect();
        let reached = vec![Reached::default(); trace.ids().count()];
        Self {
            trace,
            program,
            by_kind,
            reached,
            budget: BUDGET,
            left: 0,
            gave_up: false,
            facts: Facts::default(),
        }
    }

    /// Why a condition never holds, or with `wanted` unset, why it never fails; none if it may.
    pub(super) fn condition(&mut self, condition: SpotId, wanted: bool) -> Option<Death> {
        self.left = self.budget.min(BUDGET_OF_RULE);
        let before = self.left;
        let scope = Scope { names: NameSet::all(), kinds: KindSet::ALL };
        let death = self.part(condition, wanted, scope, wanted);
        self.budget -= before - self.left;
        death
    }

    /// What reaches each check, if the walk was able to look at everything.
    pub(super) fn reached(self) -> Option<Vec<Reached>> {
        (!self.gave_up).then_some(self.reached)
    }

    fn spend(&mut self, cost: usize) -> bool {
        let has_left = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        self.gave_up |= !has_left;
        has_left
    }

    fn kinds_of(&self, names: NameSet) -> KindSet {
        let has = |of_kind: NameSet| names.intersection(of_kind) != NameSet::NONE;
        self.by_kind.iter().filter(|(_, of_kind)| has(*of_kind)).map(|(kind, _)| *kind).collect()
    }

    /// One part with all that must hold within it.
    fn part(&mut self, part: SpotId, wanted: bool, scope: Scope, notes: bool) -> Option<Death> {
        let mut leaves = Vec::new();
        if !self.leaves(part, wanted, &mut leaves) {
            return None;
        }
        if leaves.iter().any(|leaf| self.is_deliberate(*leaf)) {
            return Some(Death::Deliberate);
        }
        let around = self.around(&leaves, scope.names);
        if notes {
            for ((leaf, wanted), names) in leaves.iter().zip(&around) {
                let kinds = self.kinds_of(*names);
                let reached = &mut self.reached[leaf.index()].kinds[usize::from(*wanted)];
                *reached = reached.union(kinds);
            }
        }
        let kinds = match self.kinds(&leaves, scope) {
            Ok(kinds) => kinds,
            Err(death) => return Some(death),
        };
        let mut added = Vec::with_capacity(leaves.len());
        let mut death = leaves.iter().find_map(|leaf| self.add(*leaf, &mut added));
        let has_values = death.is_none();
        death = death.or_else(|| self.values(&leaves));
        if death.is_none() {
            let open = leaves.iter().zip(around).filter_map(|((leaf, wanted), names)| {
                Some((self.branches(*leaf, *wanted)?, *wanted, Scope { names, kinds }))
            });
            let open: Vec<_> = open.collect();
            for (branches, wanted, scope) in open {
                let found = self.disjunction(branches, wanted, scope, notes);
                death = death.or(found);
            }
        }
        self.forget(if has_values { &leaves } else { &[] }, &added);
        death
    }

    /// Why none of the branches can hold; every one is looked at, for the sake of what reaches it.
    fn disjunction(
        &mut self,
        branches: &[SpotId],
        wanted: bool,
        scope: Scope,
        notes: bool,
    ) -> Option<Death> {
        let deaths: Vec<_> =
            branches.iter().map(|branch| self.part(*branch, wanted, scope, notes)).collect();
        // What is said to be never meant to hold needs no word about the others.
        if deaths.contains(&Some(Death::Deliberate)) && deaths.iter().all(Option::is_some) {
            return Some(Death::Deliberate);
        }
        deaths.into_iter().collect::<Option<Vec<_>>>()?.first().copied()
    }

    /// The parts of a conjunction, nested ones included: checks and disjunctions.
    fn leaves(&mut self, part: SpotId, wanted: bool, leaves: &mut Vec<Leaf>) -> bool {
        if !self.spend(1) {
            return false;
        }
        let trace = self.trace;
        match (&trace.spot(part).shape, wanted) {
            (Shape::And(operands), true) | (Shape::Or(operands), false) => {
                operands.iter().all(|operand| self.leaves(*operand, wanted, leaves))
            }
            (Shape::Not(operand), _) => self.leaves(*operand, !wanted, leaves),
            _ => {
                leaves.push((part, wanted));
                true
            }
        }
    }

    fn branches(&self, part: SpotId, wanted: bool) -> Option<&'w [SpotId]> {
        match (&self.trace.spot(part).shape, wanted) {
            (Shape::And(operands), false) | (Shape::Or(operands), true) => Some(operands),
            _ => None,
        }
    }

    fn check(&self, part: SpotId) -> Option<&'w Check> {
        let Shape::Check(node) = self.trace.spot(part).shape else { return None };
        match self.program.node(node) {
            Node::Check(check) => Some(check),
            _ => None,
        }
    }

    /// Whether a leaf is how rule files say never.
    fn is_deliberate(&self, (part, wanted): Leaf) -> bool {
        let names = self.trace.spot(part).names[usize::from(wanted)];
        names == NameSet::NONE
            && self.check(part).and_then(super::trace::field) == Some(FieldId::EvtNum)
    }

    /// For each leaf the names that the others leave.
    fn around(&self, leaves: &[Leaf], names: NameSet) -> Vec<NameSet> {
        let of = |(part, wanted): &Leaf| self.trace.spot(*part).names[usize::from(*wanted)];
        let mut around = Vec::with_capacity(leaves.len());
        let mut before = names;
        for leaf in leaves {
            around.push(before);
            before = before.intersection(of(leaf));
        }
        let mut after = NameSet::all();
        for (leaf, around) in leaves.iter().zip(&mut around).rev() {
            *around = around.intersection(after);
            after = after.intersection(of(leaf));
        }
        around
    }

    /// The kinds of events that can satisfy every leaf.
    fn kinds(&self, leaves: &[Leaf], scope: Scope) -> Result<KindSet, Death> {
        let (mut names, mut narrowing) = (scope.names, None);
        for (part, wanted) in leaves {
            let own = self.trace.spot(*part).names[usize::from(*wanted)];
            let rest = names.intersection(own);
            if rest == NameSet::NONE {
                return Err(Death::Contradiction(*part, narrowing));
            }
            if self.kinds_of(rest).is_empty() && !self.kinds_of(names).is_empty() {
                let is_unsensed = self.kinds_of(own).is_empty();
                return Err(match narrowing {
                    Some(_) if !is_unsensed => Death::Contradiction(*part, narrowing),
                    _ => Death::Unsensed(*part),
                });
            }
            if rest != names {
                narrowing = Some(*part);
            }
            names = rest;
        }
        let mut kinds = scope.kinds.intersection(self.kinds_of(names));
        for (part, wanted) in leaves {
            let rest = kinds.intersection(self.trace.spot(*part).kinds[usize::from(*wanted)]);
            if rest.is_empty() {
                return Err(Death::Unset(*part));
            }
            kinds = rest;
        }
        Ok(kinds)
    }

    /// Adds a leaf to the facts; contradicts one that says the opposite.
    fn add(&mut self, (part, wanted): Leaf, added: &mut Vec<(FormId, bool)>) -> Option<Death> {
        let form = self.trace.spot(part).form;
        if let Some(other) = self.facts.forms.get(&(form, !wanted)) {
            return Some(Death::Contradiction(part, Some(*other)));
        }
        if let std::collections::hash_map::Entry::Vacant(entry) =
            self.facts.forms.entry((form, wanted))
        {
            entry.insert(part);
            added.push((form, wanted));
        }
        None
    }

    /// Adds the tests of values to the facts; contradicts those that no value satisfies.
    fn values(&mut self, leaves: &[Leaf]) -> Option<Death> {
        let mut touched = Vec::new();
        for (part, wanted) in leaves {
            let Some(key) = self.check(*part).and_then(key) else { continue };
            let tests = self.facts.values.entry(key).or_default();
            tests.push((*part, *wanted));
            touched.push(key);
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().find_map(|key| self.contradiction(key))
    }

    fn contradiction(&mut self, key: Key<'w>) -> Option<Death> {
        let tests = self.facts.values.get(&key)?;
        let literals: Vec<(SpotId, Literal<'w>)> = tests
            .iter()
            .filter_map(|(part, wanted)| Some((*part, (&self.check(*part)?.test, *wanted))))
            .collect();
        let all: Vec<_> = literals.iter().map(|(_, literal)| *literal).collect();
        let is_event_name = key.0 == FieldId::EvtType;
        if !self.spend(value::cost(&all)) || !value::contradict(&all, is_event_name) {
            return None;
        }
        // Two that contradict each other tell more than the whole.
        let (last, latest) = *literals.last()?;
        if value::contradict(&[latest], is_event_name) {
            return Some(Death::Contradiction(last, None));
        }
        let single = literals.iter().find(|(_, one)| value::contradict(&[*one], is_event_name));
        if let Some((part, _)) = single {
            return Some(Death::Contradiction(*part, None));
        }
        let some = &literals[literals.len().saturating_sub(COMPARED)..];
        for (index, (part, one)) in some.iter().enumerate().rev() {
            let pair = some[..index].iter().find(|(_, other)| {
                self.left >= value::cost(&[*one, *other])
                    && value::contradict(&[*other, *one], is_event_name)
            });
            if let Some((other, _)) = pair {
                return Some(Death::Contradiction(*part, Some(*other)));
            }
        }
        Some(Death::Contradiction(last, literals.first().map(|(part, _)| *part)))
    }

    /// Takes back what a conjunction added to the facts.
    fn forget(&mut self, leaves: &[Leaf], added: &[(FormId, bool)]) {
        for entry in added {
            self.facts.forms.remove(entry);
        }
        for (part, wanted) in leaves {
            if let Some(key) = self.check(*part).and_then(key)
                && let Some(tests) = self.facts.values.get_mut(&key)
                && let Some(at) = tests.iter().rposition(|test| *test == (*part, *wanted))
            {
                tests.remove(at);
            }
        }
    }
}

/// The value that a check tests, if an event has it once and the check alone decides.
fn key(check: &Check) -> Option<Key<'_>> {
    let subject = check.subject()?;
    let is_never =
        matches!(check.test, Test::Number(Relation::Equal, 0)) && subject.field == FieldId::EvtNum;
    if subject.field.sources().len() > 1 || is_never {
        return None;
    }
    match &subject.index {
        Index::Ancestors => None,
        Index::At(index) => Some((subject.field, Some(*index), None)),
        Index::Named(name) => Some((subject.field, None, Some(name))),
        Index::None => Some((subject.field, None, None)),
    }
}
