//! From what was found to warnings with their words.

use std::collections::{BTreeSet, HashMap, HashSet};

use shrike_common::Kind;

use super::overlap;
use super::reach::{Death, Reached, Walk};
use super::trace::{self, Shape, SpotId, Trace};
use crate::diagnose::Code;
use crate::eval::{Check, Node, Program, Test, TextTest};
use crate::event::{KindSet, event_type};
use crate::field::FieldId;
use crate::names::NameSet;
use crate::ruleset::Matching;

/// A rule that takes part in matching.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) name: &'a str,
    pub(crate) condition: SpotId,
    /// Whether it waits for results of system calls: it is judged at other times than those which
    /// do not.
    pub(crate) asks_for_result: bool,
    /// The names of the events that can satisfy it.
    pub(crate) holds: NameSet,
}

/// Something about a rule, or about a check.
#[derive(Debug)]
pub(crate) struct Warning {
    pub(crate) code: Code,
    /// The rule, by its position among the judged ones.
    pub(crate) rule: usize,
    /// The part of a condition that is meant; none for the rule's name.
    pub(crate) at: Option<SpotId>,
    pub(crate) message: String,
    /// Another part, and what it is.
    pub(crate) part: Option<(SpotId, String)>,
    /// Another rule, and what it is.
    pub(crate) other: Option<(usize, String)>,
    pub(crate) note: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Warning {
    fn new(code: Code, rule: usize, message: String) -> Self {
        Self { code, rule, at: None, message, part: None, other: None, note: None, hint: None }
    }
}

/// Judges the enabled rules, in load order.
pub(crate) fn judge(
    trace: &Trace<'_>,
    program: &Program,
    rules: &[Judged<'_>],
    matching: Matching,
) -> Vec<Warning> {
    let mut judge = Judge { trace, program, rules, warnings: Vec::new() };
    let alive = judge.deaths();
    match matching {
        Matching::First => {
            for asks in [false, true] {
                judge.shadows(&alive, asks);
            }
        }
        Matching::All => judge.duplicates(),
    }
    judge.warnings
}

struct Judge<'j> {
    trace: &'j Trace<'j>,
    program: &'j Program,
    rules: &'j [Judged<'j>],
    warnings: Vec<Warning>,
}

impl<'j> Judge<'j> {
    /// Warns of rules that never match or always do, and of checks that nothing reaches; yields which
    /// rules may match.
    fn deaths(&mut self) -> Vec<bool> {
        let mut walk = Walk::new(self.trace, self.program);
        // The first rule that each check was reached from.
        let mut alive = Vec::with_capacity(self.rules.len());
        let mut unset = HashMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.holds != NameSet::NONE && rule.holds.kinds().is_empty() {
                self.unsensed(index, rule);
                alive.push(false);
                continue;
            }
            let death = walk.condition(rule.condition, true);
            alive.push(death.is_none());
            match death {
                None => {
                    if walk.condition(rule.condition, false).is_some_and(|d| d != Death::Deliberate)
                    {
                        self.always(index, rule);
                    }
                }
                Some(Death::Deliberate) => {}
                Some(Death::Contradiction(at, other)) => self.contradiction(index, at, other),
                Some(Death::Unset(at)) => {
                    unset.entry(at).or_insert_with(Vec::new).push(index);
                }
                Some(Death::Unsensed(_)) => self.unsensed(index, rule),
            }
        }
        self.unset(walk.reached(), unset);
        alive
    }

    fn unsensed(&mut self, index: usize, rule: &Judged<'_>) {
        const SHOWN: usize = 5;
        let names: Vec<_> =
            rule.holds.names().filter(|name| crate::names::kind_of(name).is_none()).collect();
        let mut shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        if names.len() > SHOWN {
            shown = format!("{shown} and {} more", names.len() - SHOWN);
        }
        let message =
            format!("no sensor of shrike emits {shown}: the rule is loaded and never matches");
        self.warnings.push(Warning::new(Code::NoSensor, index, message));
    }

    fn always(&mut self, index: usize, rule: &Judged<'_>) {
        let message = format!("rule '{}' matches every event", rule.name);
        let mut warning = Warning::new(Code::EveryEvent, index, message);
        warning.hint =
            Some("test what sets the event apart; `evt.num >= 0` says always".to_owned());
        self.warnings.push(warning);
    }

    fn contradiction(&mut self, index: usize, at: SpotId, other: Option<SpotId>) {
        let name = self.rules[index].name;
        let check = self.trace.quoted(at);
        let message = match other {
            Some(other) if other != at => {
                let other = self.trace.quoted(other);
                format!("rule '{name}' never matches: `{check}` contradicts `{other}`")
            }
            _ if self.is_of_empty_list(at) => {
                format!("rule '{name}' never matches: the list of `{check}` is empty")
            }
            _ => format!("rule '{name}' never matches: nothing satisfies `{check}`"),
        };
        let mut warning = Warning::new(Code::NeverMatches, index, message);
        warning.at = Some(at);
        warning.part = other
            .filter(|other| *other != at)
            .map(|other| (other, "the other check is here".to_owned()));
        warning.hint = Some(if self.is_of_empty_list(at) {
            "give the list items, or disable the rule until it has some: `enabled: false`"
                .to_owned()
        } else {
            "join alternatives by `or`; a rule that is not to match says `enabled: false`, or \
             `evt.num = 0`"
                .to_owned()
        });
        self.warnings.push(warning);
    }

    /// Warns of checks whose field no event has that reaches them, and of the rules that never match
    /// for it.
    fn unset(&mut self, reached: Option<Vec<Reached>>, mut dead: HashMap<SpotId, Vec<usize>>) {
        let reached = reached.unwrap_or_default();
        for (at, Reached { kinds: [failing, holding] }) in self.trace.ids().zip(&reached) {
            let Some(field) = self.check(at).and_then(trace::field) else { continue };
            let has = field.info().kinds;
            let all = failing.union(*holding);
            if all.is_empty() || !all.intersection(has).is_empty() {
                continue;
            }
            let rules = dead.remove(&at).unwrap_or_default();
            let effect = match (failing.is_empty(), holding.is_empty()) {
                (true, _) => "the check never holds",
                (_, true) => "the check never holds, and its negation always does",
                _ => "the check never holds, its negation always",
            };
            let message = if has.is_empty() {
                format!("no event has {}: {effect}", field.name())
            } else {
                format!("no {} event has {}: {effect}", list(all), field.name())
            };
            let mut warning =
                Warning::new(Code::FieldNeverSet, rules.first().copied().unwrap_or(0), message);
            warning.at = Some(at);
            let has =
                (!has.is_empty()).then(|| format!("{} is known of {}", field.name(), list(has)));
            let never = rules
                .first()
                .map(|rule| format!("rule '{}' never matches", self.rules[*rule].name));
            let notes: Vec<_> = never.into_iter().chain(has).collect();
            warning.note = (!notes.is_empty()).then(|| notes.join("; "));
            self.warnings.push(warning);
        }
        let mut dead: Vec<_> = dead
            .into_iter()
            .flat_map(|(at, rules)| rules.into_iter().map(move |rule| (rule, at)))
            .collect();
        dead.sort_unstable_by_key(|(rule, _)| *rule);
        let mut told = HashSet::new();
        for (rule, at) in dead.into_iter().filter(|(rule, _)| told.insert(*rule)) {
            let check = self.trace.quoted(at);
            let name = self.rules[rule].name;
            let message = format!(
                "rule '{name}' never matches: no event that passes its other checks can satisfy \
                 `{check}`"
            );
            let mut warning = Warning::new(Code::NeverMatches, rule, message);
            warning.part = Some((at, "the check is here".to_owned()));
            warning.note = self.known(at);
            self.warnings.push(warning);
        }
    }

    /// What is known of the fields of a part that not every event has.
    fn known(&self, part: SpotId) -> Option<String> {
        const SHOWN: usize = 3;
        let (mut parts, mut fields) = (vec![part], BTreeSet::new());
        while let Some(part) = parts.pop().filter(|_| fields.len() < SHOWN) {
            match &self.trace.spot(part).shape {
                Shape::And(operands) | Shape::Or(operands) => parts.extend(operands),
                Shape::Not(operand) => parts.push(*operand),
                Shape::Check(_) => fields.extend(self.check(part).and_then(trace::field)),
            }
        }
        let known = |field: FieldId| match field.info().kinds {
            KindSet::ALL => None,
            kinds if kinds.is_empty() => Some(format!("no event has {}", field.name())),
            kinds => Some(format!("{} is known of {}", field.name(), list(kinds))),
        };
        let known: Vec<_> = fields.into_iter().filter_map(known).collect();
        (!known.is_empty()).then(|| known.join("; "))
    }

    fn is_of_empty_list(&self, at: SpotId) -> bool {
        match self.check(at).map(|check| &check.test) {
            Some(Test::Text(TextTest::In(set))) => set.is_empty(),
            Some(Test::NumberIn(set)) => set.is_empty(),
            Some(Test::AddressIn(set)) => set.is_empty(),
            Some(Test::Quantified(_, tests)) => tests.is_empty(),
            _ => false,
        }
    }

    fn check(&self, at: SpotId) -> Option<&'j Check> {
        let Shape::Check(node) = self.trace.spot(at).shape else { return None };
        match self.program.node(node) {
            Node::Check(check) => Some(check),
            _ => None,
        }
    }

    /// Warns of rules that never are the first to match. Those that wait for results are judged at
    /// times at which the others are not.
    fn shadows(&mut self, alive: &[bool], asks_for_result: bool) {
        let rules = self.rules.iter().zip(alive).enumerate();
        let judged: Vec<_> = rules
            .filter(|(_, (rule, alive))| **alive && rule.asks_for_result == asks_for_result)
            .map(|(index, (rule, _))| (index, rule.condition))
            .collect();
        let conditions: Vec<_> = judged.iter().map(|(_, condition)| *condition).collect();
        for (index, earlier) in overlap::shadows(self.trace, &conditions).into_iter().enumerate() {
            let Some(earlier) = earlier else { continue };
            let (index, earlier) = (judged[index].0, judged[earlier].0);
            let (name, other) = (self.rules[index].name, self.rules[earlier].name);
            let message = format!(
                "rule '{name}' is never the first to match: whatever matches it matches '{other}', \
                 which comes first"
            );
            let mut warning = Warning::new(Code::ShadowedRule, index, message);
            warning.other = Some((earlier, format!("rule '{other}' is here")));
            warning.hint = Some(format!("move it above '{other}', or have that one match less"));
            self.warnings.push(warning);
        }
    }

    fn duplicates(&mut self) {
        let conditions: Vec<_> = self.rules.iter().map(|rule| rule.condition).collect();
        for (index, earlier) in overlap::duplicates(self.trace, &conditions).into_iter().enumerate()
        {
            let Some(earlier) = earlier else { continue };
            let (name, other) = (self.rules[index].name, self.rules[earlier].name);
            let message = format!("rule '{name}' has the same condition as '{other}'");
            let mut warning = Warning::new(Code::DuplicateRule, index, message);
            warning.other = Some((earlier, format!("rule '{other}' is here")));
            self.warnings.push(warning);
        }
    }
}

/// Kinds as `evt.type` names them.
fn list(kinds: KindSet) -> String {
    let name = |kind| if kind == Kind::FileOpen { "open" } else { event_type(kind, None) };
    let names: Vec<_> = kinds.iter().map(name).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "known".to_owned(),
    }
}
