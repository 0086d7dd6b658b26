//! Which rules, and which parts of their conditions, tests have tried.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::source::Place;
use crate::trace::{Shape, Tree};

/// What tests have tried.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// The rules, in load order.
    pub rules: Vec<RuleCoverage>,
    /// The checks and uses of macros of their conditions, in the order of files and lines. A macro's
    /// own checks are there once, whoever uses it.
    pub conditions: Vec<ConditionCoverage>,
}

/// How often a rule has matched.
#[derive(Clone, Debug, Serialize)]
pub struct RuleCoverage {
    /// The name.
    pub rule: String,
    /// The file that defines it.
    pub file: String,
    /// The line of the name, from 1.
    pub line: usize,
    /// The column of the name in characters, from 1.
    pub column: usize,
    /// How many events of tests matched.
    pub matched: usize,
    /// How many events of tests that name it did not match.
    pub unmatched: usize,
}

/// What a check, or the use of a macro, has been.
#[derive(Clone, Debug, Serialize)]
pub struct ConditionCoverage {
    /// The check as it is written, or the name of the macro.
    pub condition: String,
    /// The file that it stands in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Whether an event got as far as it and satisfied it.
    pub was_true: bool,
    /// Whether an event got as far as it and did not satisfy it.
    pub was_false: bool,
}

impl Coverage {
    /// How many rules some event matched.
    pub fn rules_matched(&self) -> usize {
        self.rules.iter().filter(|rule| rule.matched > 0).count()
    }

    /// How many conditions have been both true and false.
    pub fn conditions_covered(&self) -> usize {
        self.conditions.iter().filter(|condition| condition.is_covered()).count()
    }

    /// The share of conditions that have been both true and false, in whole percent.
    pub fn percent(&self) -> usize {
        let all = self.conditions.len();
        (self.conditions_covered() * 100).checked_div(all).unwrap_or(100)
    }
}

impl ConditionCoverage {
    /// Whether it has been both true and false.
    pub fn is_covered(&self) -> bool {
        self.was_true && self.was_false
    }
}

/// What is counted while tests run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many events matched each rule, and how many did not.
    rules: HashMap<usize, (usize, usize)>,
    /// Whether each part has been false, and true.
    parts: HashMap<Place, [bool; 2]>,
}

impl Tally {
    pub(super) fn rule(&mut self, rule: usize, matched: bool) {
        let (hits, others) = self.rules.entry(rule).or_default();
        *if matched { hits } else { others } += 1;
    }

    pub(super) fn part(&mut self, part: &Tree, holds: bool) {
        if !is_counted(part) {
            return;
        }
        // Most parts are known already: their place is not to be copied each time.
        if let Some(seen) = self.parts.get_mut(&part.place) {
            seen[usize::from(holds)] = true;
        } else {
            self.parts.insert(part.place.clone(), [!holds, holds]);
        }
    }

    /// How many events matched a rule, and how many did not.
    pub(super) fn of_rule(&self, rule: usize) -> (usize, usize) {
        self.rules.get(&rule).copied().unwrap_or_default()
    }

    /// The parts of these conditions with what they have been.
    pub(super) fn of_parts<'t>(
        &self,
        trees: impl Iterator<Item = &'t Tree>,
        position: impl Fn(&Place) -> (String, usize, usize),
    ) -> Vec<ConditionCoverage> {
        let mut parts = BTreeMap::new();
        for tree in trees {
            tree.walk(&mut |part| {
                let condition = match &part.shape {
                    Shape::Check(_, written) => written,
                    Shape::Macro(name, _) => name,
                    _ => return,
                };
                let Place { file, span } = &part.place;
                parts.entry((*file, span.start, span.end)).or_insert_with(|| {
                    let [was_false, was_true] =
                        self.parts.get(&part.place).copied().unwrap_or_default();
                    let condition = condition.clone();
                    let (file, line, column) = position(&part.place);
                    ConditionCoverage { condition, file, line, column, was_true, was_false }
                });
            });
        }
        parts.into_values().collect()
    }
}

fn is_counted(part: &Tree) -> bool {
    matches!(part.shape, Shape::Check(..) | Shape::Macro(..))
}
