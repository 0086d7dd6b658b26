//! Rules that say what another one says, or less.

use std::collections::HashMap;

use super::form::{FormId, Forms};
use super::trace::{SpotId, Trace};
use crate::names::NameSet;

/// A rule that has more alternatives counts as one condition.
const MAX_ALTERNATIVES: usize = 16;

/// How many alternatives of earlier rules are compared with one of a later rule.
const MAX_COMPARED: usize = 256;

/// One way to satisfy a rule.
#[derive(Debug)]
struct Alternative {
    rule: usize,
    /// The event names that it is about, as far as `evt.type` tells.
    names: NameSet,
    /// What else must hold, sorted.
    forms: Vec<FormId>,
}

impl Alternative {
    /// Whether whatever satisfies `other` satisfies this.
    fn covers(&self, other: &Self) -> bool {
        self.names.intersection(other.names) == other.names
            && self.forms.iter().all(|form| other.forms.binary_search(form).is_ok())
    }
}

/// For each condition, which earlier one is the same.
pub(super) fn duplicates(trace: &Trace<'_>, conditions: &[SpotId]) -> Vec<Option<usize>> {
    let mut first = HashMap::new();
    let earlier = conditions.iter().enumerate().map(|(index, condition)| {
        let earlier = *first.entry(trace.spot(*condition).form).or_insert(index);
        (earlier != index).then_some(earlier)
    });
    earlier.collect()
}

/// For each condition, an earlier one that holds wherever it does.
pub(super) fn shadows(trace: &Trace<'_>, conditions: &[SpotId]) -> Vec<Option<usize>> {
    let forms = &trace.forms;
    let all: Vec<Vec<Alternative>> = conditions
        .iter()
        .enumerate()
        .map(|(rule, condition)| alternatives(forms, trace.spot(*condition).form, rule))
        .collect();
    let mut counts: HashMap<FormId, usize> = HashMap::new();
    for form in all.iter().flatten().flat_map(|alternative| &alternative.forms) {
        *counts.entry(*form).or_default() += 1;
    }
    // By their rarest form, which a condition that they cover must have too.
    let mut earlier: HashMap<Option<FormId>, Vec<&Alternative>> = HashMap::new();
    let mut found = Vec::with_capacity(all.len());
    for (rule, own) in all.iter().enumerate() {
        found.push(shadow(own, &earlier, &all));
        debug_assert!(own.iter().all(|alternative| alternative.rule == rule), "in order");
        for alternative in own {
            let rarest = alternative.forms.iter().min_by_key(|form| (counts[*form], **form));
            earlier.entry(rarest.copied()).or_default().push(alternative);
        }
    }
    found
}

fn shadow(
    own: &[Alternative],
    earlier: &HashMap<Option<FormId>, Vec<&Alternative>>,
    all: &[Vec<Alternative>],
) -> Option<usize> {
    let (first, others) = own.split_first()?;
    let keys = first.forms.iter().map(|form| Some(*form)).chain([None]);
    keys.filter_map(|key| earlier.get(&key))
        .flatten()
        .take(MAX_COMPARED)
        .filter(|alternative| alternative.covers(first))
        .map(|alternative| alternative.rule)
        .find(|rule| others.iter().all(|other| all[*rule].iter().any(|one| one.covers(other))))
}

fn alternatives(forms: &Forms, condition: FormId, rule: usize) -> Vec<Alternative> {
    let mut alternatives = forms.alternatives(&condition);
    if alternatives.len() > MAX_ALTERNATIVES {
        alternatives = std::slice::from_ref(&condition);
    }
    alternatives
        .iter()
        .map(|alternative| {
            let (mut names, mut others) = (NameSet::all(), Vec::new());
            for form in forms.conjuncts(alternative) {
                match forms.names(*form) {
                    Some(own) => names = names.intersection(own),
                    None => others.push(*form),
                }
            }
            Alternative { rule, names, forms: others }
        })
        .collect()
}
