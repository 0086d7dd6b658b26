//! Running tests: each event of a test is judged by the rules, and by their trace.

use std::collections::BTreeMap;

use super::coverage::{Coverage, RuleCoverage, Tally};
use super::explain::{Explainer, Reason};
use super::outcome::{Failure, Outcome};
use super::{Events, Suite, Test, position};
use crate::event::{Event, Stage};
use crate::glob::Glob;

/// A run of tests.
#[derive(Debug)]
pub struct Run<'s> {
    suite: &'s Suite<'s>,
    tally: Tally,
}

/// A test that is being run.
#[derive(Debug)]
pub struct Trial<'r, 's> {
    suite: &'s Suite<'s>,
    test: &'s Test,
    tally: &'r mut Tally,
    events: usize,
    raised: BTreeMap<usize, Raised>,
    /// Of each rule that has not matched, the event that came nearest and what was in the way.
    nearest: BTreeMap<usize, Nearest>,
    /// The rules that are judged in two ways, with an event.
    disputed: BTreeMap<usize, usize>,
}

/// A rule that has matched.
#[derive(Debug)]
struct Raised {
    event: usize,
    output: String,
    /// Whether one of its messages is as it should be.
    fits: bool,
}

#[derive(Debug)]
struct Nearest {
    event: usize,
    because: Vec<Reason>,
}

impl<'s> Run<'s> {
    pub(super) fn new(suite: &'s Suite<'s>) -> Self {
        Self { suite, tally: Tally::default() }
    }

    /// Begins a test.
    pub fn trial(&mut self, test: &'s Test) -> Trial<'_, 's> {
        Trial {
            suite: self.suite,
            test,
            tally: &mut self.tally,
            events: 0,
            raised: BTreeMap::new(),
            nearest: BTreeMap::new(),
            disputed: BTreeMap::new(),
        }
    }

    /// Runs a test on the events that are written in it; one with a recording has none.
    pub fn judge(&mut self, test: &'s Test) -> Outcome {
        let mut trial = self.trial(test);
        if let Events::Given(events) = &test.events {
            for event in events {
                trial.see(event);
            }
        }
        trial.end()
    }

    /// What was tried so far; with a pattern, of the rules whose name fits it, in any case.
    pub fn coverage(&self, pattern: Option<&str>) -> Coverage {
        let suite = self.suite;
        let glob = pattern.map(|pattern| Glob::new(pattern.as_bytes(), true));
        let rules: Vec<usize> = (0..suite.traits.len())
            .filter(|&rule| {
                glob.as_ref().is_none_or(|glob| glob.matches(suite.rule(rule).name().as_bytes()))
            })
            .collect();
        let of_rule = |&rule: &usize| {
            let (file, line, column) = position(&suite.files, &suite.traits[rule].place);
            let (matched, unmatched) = self.tally.of_rule(rule);
            let rule = suite.rule(rule).name().to_owned();
            RuleCoverage { rule, file, line, column, matched, unmatched }
        };
        let trees = rules.iter().filter_map(|&rule| suite.traits[rule].condition.as_ref());
        let conditions = self.tally.of_parts(trees, |place| position(&suite.files, place));
        Coverage { rules: rules.iter().map(of_rule).collect(), conditions }
    }
}

impl Trial<'_, '_> {
    /// Judges an event.
    pub fn see<E: Event>(&mut self, event: &E) {
        self.events += 1;
        let suite = self.suite;
        let alerts: Vec<usize> = suite
            .ruleset
            .matches(event)
            .filter_map(|rule| suite.by_name.get(rule.name()).copied())
            .collect();
        for &rule in &self.test.judged {
            let matches = alerts.contains(&rule);
            self.trace(rule, event, matches);
            if matches {
                self.raise(rule, event);
            } else if self.test.expected.contains(&rule) && !self.raised.contains_key(&rule) {
                self.explain(rule, event);
            }
            if matches || self.test.named.contains(&rule) {
                self.tally.rule(rule, matches);
            }
        }
    }

    fn trace<E: Event>(&mut self, rule: usize, event: &E, matches: bool) {
        let Some(condition) = &self.suite.traits[rule].condition else { return };
        let tally = &mut *self.tally;
        let holds = condition.holds(event, &mut |part, holds| tally.part(part, holds));
        // Of an event that comes in parts, each rule judges its own.
        if holds != matches && event.stage() == Stage::Whole {
            self.disputed.entry(rule).or_insert(self.events);
        }
    }

    fn raise<E: Event>(&mut self, rule: usize, event: &E) {
        let output = self.suite.rule(rule).output().render(event);
        let fits = self.test.outputs.get(&rule).is_none_or(|message| message.fits(&output));
        let raised = Raised { event: self.events, output, fits };
        match self.raised.get_mut(&rule) {
            Some(earlier) if !earlier.fits => *earlier = raised,
            Some(_) => {}
            None => {
                self.raised.insert(rule, raised);
            }
        }
    }

    fn explain<E: Event>(&mut self, rule: usize, event: &E) {
        // Events of other kinds are far away; one of them is enough.
        let is_near = self.suite.rule(rule).kinds().contains(event.kind());
        if !is_near && self.nearest.contains_key(&rule) {
            return;
        }
        let Some(condition) = &self.suite.traits[rule].condition else { return };
        let explainer = Explainer { files: &self.suite.files, event };
        let because = explainer.why(condition, true);
        let count = |because: &[Reason]| because.iter().map(Reason::checks).sum::<usize>();
        if self.nearest.get(&rule).is_none_or(|nearest| count(&because) < count(&nearest.because)) {
            self.nearest.insert(rule, Nearest { event: self.events, because });
        }
    }

    /// Ends the test.
    pub fn end(mut self) -> Outcome {
        let name = |rule: usize| self.suite.rule(rule).name().to_owned();
        let mut failures = Vec::new();
        if self.events == 0 {
            failures.push(Failure::NoEvent);
        }
        for &rule in &self.test.expected {
            if self.raised.contains_key(&rule) || self.events == 0 {
                continue;
            }
            let (event, because) = match self.nearest.remove(&rule) {
                Some(Nearest { event, because }) => (event, because),
                None => (self.events, Vec::new()),
            };
            failures.push(Failure::Missing { rule: name(rule), event, because });
        }
        for (&rule, Raised { event, output, fits }) in &self.raised {
            let (event, output) = (*event, output.clone());
            if self.test.unwanted.contains(&rule) {
                failures.push(Failure::Unexpected { rule: name(rule), event, output });
            } else if let (false, Some(expected)) = (fits, self.test.outputs.get(&rule)) {
                failures.push(Failure::output(&name(rule), event, expected, output));
            }
        }
        for (&rule, &event) in &self.disputed {
            failures.push(Failure::Disagreement { rule: name(rule), event });
        }
        let (file, line, column) = self.test.position.clone();
        Outcome { test: self.test.name.clone(), file, line, column, events: self.events, failures }
    }
}
