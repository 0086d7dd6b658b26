//! Rules that are ready to be matched against events.

use std::fmt;

use crate::diagnose::{Diagnostic, Severity};
use crate::eval::{Look, NodeId, Program};
use crate::event::{Event, KindSet, Stage};
use crate::field::FieldId;
use crate::index::{self, Candidates, Index};
use crate::load;
use crate::need::{self, Alternative};
use crate::rule::{Priority, Rule};
use crate::selection::Selection;
use crate::support::Support;
use crate::witness::{self, Witness};
use shrike_common::Kind;

/// A rule file, read by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The name that diagnostics show.
    pub name: &'a str,
    /// The contents.
    pub text: &'a [u8],
}

impl<'a> Source<'a> {
    /// A source with this name and contents.
    pub fn new(name: &'a str, text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { name, text: text.as_ref() }
    }
}

/// How rules are loaded and matched.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many of the matching rules count.
    pub matching: Matching,
    /// Less urgent rules are not loaded.
    pub minimum_priority: Priority,
    /// Which rules are in force.
    pub selection: Selection,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            matching: Matching::default(),
            minimum_priority: Priority::Debug,
            selection: Selection::default(),
        }
    }
}

/// How many of the rules that match an event count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Matching {
    /// Every one.
    All,
    /// The first in load order, which is Falco's default: a rule can shadow later ones.
    #[default]
    First,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The rules that are free of errors.
    pub ruleset: Ruleset,
    /// What was found, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether something could not be loaded.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Rules, ready to be matched.
#[derive(Debug)]
pub struct Ruleset {
    rules: Vec<Rule>,
    /// The condition of each.
    conditions: Vec<NodeId>,
    program: Program,
    /// For each kind the enabled rules that it can satisfy.
    buckets: Vec<Bucket>,
    matching: Matching,
}

/// How many checks are looked at for the index, over all rules and kinds; rules that come later are always evaluated.
const MAX_INDEXED: usize = 2_000_000;

/// The rules about one kind, in load order.
#[derive(Debug, Default)]
struct Bucket {
    entries: Vec<Entry>,
    index: Index,
}

/// A rule of a bucket.
#[derive(Clone, Copy, Debug)]
struct Entry {
    rule: usize,
    condition: NodeId,
}

impl Ruleset {
    /// Loads rule files in order; later ones redefine and extend earlier ones.
    pub fn load(sources: &[Source<'_>]) -> Loaded {
        Self::load_with(sources, &Options::default())
    }

    /// Loads rule files with options other than the default.
    pub fn load_with(sources: &[Source<'_>], options: &Options) -> Loaded {
        load::load(sources, options)
    }

    /// A ruleset of compiled rules.
    pub(crate) fn new(
        compiled: Vec<(Rule, NodeId)>,
        mut program: Program,
        matching: Matching,
    ) -> Self {
        program.finish(&compiled.iter().map(|(_, condition)| *condition).collect::<Vec<_>>());
        let mut buckets: Vec<Bucket> = (0..Kind::LIMIT).map(|_| Bucket::default()).collect();
        let mut rules = Vec::with_capacity(compiled.len());
        let mut conditions = Vec::with_capacity(compiled.len());
        for (mut rule, condition) in compiled {
            let mentions =
                |field| program.mentions(condition, field) || rule.output.mentions(field);
            (rule.asks_for_result, rule.asks_for_given) =
                (mentions(FieldId::is_result), mentions(FieldId::is_given));
            if rule.enabled {
                for kind in rule.kinds.iter() {
                    buckets[kind as usize].entries.push(Entry { rule: rules.len(), condition });
                }
            }
            rules.push(rule);
            conditions.push(condition);
        }
        let mut budget = MAX_INDEXED;
        for &kind in Kind::ALL {
            let Bucket { entries, index } = &mut buckets[kind as usize];
            let alternatives = |entry: &Entry| {
                let checks = rules[entry.rule].checks;
                if checks > budget {
                    return vec![Alternative::default()];
                }
                budget -= checks;
                need::alternatives(&program, entry.condition, kind, &index::is_indexed)
            };
            *index = Index::new(entries.iter().map(alternatives));
        }
        Self { rules, conditions, program, buckets, matching }
    }

    /// The conditions of the rules.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Every rule, disabled ones included, in load order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The kinds of events that some enabled rule can match.
    pub fn kinds(&self) -> KindSet {
        Kind::ALL
            .iter()
            .copied()
            .filter(|&kind| !self.buckets[kind as usize].entries.is_empty())
            .collect()
    }

    /// What an event of `kind` must at least be for some enabled rule to match it, as far as the
    /// fields that are `known` tell: one of these.
    pub fn alternatives(
        &self,
        kind: Kind,
        known: &dyn Fn(FieldId) -> bool,
    ) -> Vec<Alternative<'_>> {
        let of_rule = |entry: &Entry| {
            let Rule { asks_for_result, asks_for_given, .. } = self.rules[entry.rule];
            let mut all = need::alternatives(&self.program, entry.condition, kind, known);
            for alternative in &mut all {
                alternative.asks_for_result = asks_for_result;
                alternative.asks_for_given = asks_for_given;
            }
            all
        };
        self.buckets[kind as usize].entries.iter().flat_map(of_rule).collect()
    }

    /// How far the sensor can tell what the rule at this place of [`Ruleset::rules`] asks for.
    pub fn support(&self, rule: usize) -> Option<Support> {
        let (rule, condition) = (self.rules.get(rule)?, self.conditions.get(rule)?);
        Some(Support::of(&self.program, *condition, &rule.output, rule.events))
    }

    /// An event that satisfies the condition of the rule at this place, if one is found; no search finds all.
    pub fn witness(&self, rule: usize) -> Option<Witness> {
        let (rule, condition) = (self.rules.get(rule)?, self.conditions.get(rule)?);
        witness::find(&self.program, *condition, rule.events.names())
    }

    /// The same event but for one value, so that it does not satisfy the rule; if that is found.
    pub fn near_miss(&self, rule: usize, event: &Witness) -> Option<Witness> {
        witness::near_miss(&self.program, *self.conditions.get(rule)?, event)
    }

    /// Whether `event` satisfies the condition of the rule at this place of [`Ruleset::rules`], whatever its kind and
    /// whether or not the rule is enabled.
    pub fn holds(&self, rule: usize, event: &impl Event) -> bool {
        self.conditions.get(rule).is_some_and(|condition| self.program.holds(*condition, event))
    }

    /// What an event of `kind` must at least be for the rule at this place to match it, likewise.
    pub fn alternatives_of(
        &self,
        rule: usize,
        kind: Kind,
        known: &dyn Fn(FieldId) -> bool,
    ) -> Vec<Alternative<'_>> {
        let condition = self.conditions.get(rule);
        condition.map_or_else(Vec::new, |condition| {
            need::alternatives(&self.program, *condition, kind, known)
        })
    }

    /// What it takes to judge an event by the rule at this place, in no unit: comparing a number of the event takes 1.
    pub fn cost(&self, rule: usize) -> Option<u32> {
        Some(self.program.cost(*self.conditions.get(rule)?))
    }

    /// The rules that match `event`, in load order; one at most with [`Matching::First`]. Of an event
    /// that ends, those that are not known from its beginning.
    pub fn matches<'a, E: Event>(&'a self, event: &'a E) -> Matches<'a, E> {
        let bucket = &self.buckets[event.kind() as usize];
        let candidates = bucket.index.candidates(event);
        let left = match self.matching {
            Matching::All => usize::MAX,
            Matching::First => 1,
        };
        Matches { ruleset: self, bucket, event, candidates, left, look: None }
    }
}

/// The rules that match an event.
pub struct Matches<'a, E> {
    ruleset: &'a Ruleset,
    bucket: &'a Bucket,
    event: &'a E,
    candidates: Candidates<'a>,
    /// How many more rules may match.
    left: usize,
    look: Option<Look<'a, E>>,
}

impl<'a, E: Event> Iterator for Matches<'a, E> {
    type Item = &'a Rule;

    fn next(&mut self) -> Option<&'a Rule> {
        while self.left > 0 {
            let Entry { rule, condition } = self.bucket.entries[self.candidates.next()? as usize];
            let rule = &self.ruleset.rules[rule];
            let stage = self.event.stage();
            let is_in_time = match stage {
                // Where the first rule counts, one that does not ask may come before one that does.
                Stage::Whole | Stage::Ended => true,
                Stage::Begun => !rule.asks_for_result,
                Stage::Attempt => rule.asks_for_result,
            };
            if !is_in_time {
                continue;
            }
            let look = self.look.get_or_insert_with(|| Look::new(self.event));
            if self.ruleset.program.holds_in(condition, look) {
                self.left -= 1;
                if stage != Stage::Ended || rule.asks_for_result {
                    return Some(rule);
                }
            }
        }
        None
    }
}

impl<E> fmt::Debug for Matches<'_, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Matches").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_shared_between_threads() {
        fn assert_shared<T: Send + Sync>() {}
        assert_shared::<Ruleset>();
    }

    #[test]
    fn files_without_rules_are_an_empty_ruleset() {
        let loaded = Ruleset::load(&[Source::new("empty", ""), Source::new("c", "# none\n---\n")]);
        assert!(loaded.diagnostics.is_empty() && loaded.ruleset.kinds().is_empty());
    }
}
