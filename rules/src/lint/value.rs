//! Whether a single value can satisfy several tests at once.

use crate::ast::Quantifier;
use crate::eval::{Relation, Test, TextTest};
use crate::event::Value;
use crate::names;

/// A range of numbers that is no wider is tried number by number.
const TRIED: i128 = 64;

/// A test, and whether the value must satisfy it or must not.
pub(super) type Literal<'t> = (&'t Test, bool);

/// Whether no value satisfies every test that it must, and none of the others.
///
/// Having no value satisfies no test. So without a test that must be satisfied there is no
/// contradiction.
pub(super) fn contradict(literals: &[Literal<'_>], is_event_name: bool) -> bool {
    let mut wanted =
        literals.iter().filter(|(_, wanted)| *wanted).map(|(test, _)| *test).peekable();
    if wanted.peek().is_none() {
        return false;
    }
    let names = is_event_name.then(|| names::NAMES.iter().map(|name| Value::from(*name)).collect());
    let candidates = wanted.filter_map(candidates).chain(names).min_by_key(Vec::len);
    if let Some(candidates) = candidates {
        return !candidates.iter().any(|value| passes(literals, value));
    }
    numbers_contradict(literals) || texts_contradict(literals)
}

/// How much work it is to find out.
pub(super) fn cost(literals: &[Literal<'_>]) -> usize {
    let fewest = literals.iter().filter_map(|(test, wanted)| wanted.then(|| size(test))?).min();
    fewest.unwrap_or(1).saturating_add(1).saturating_mul(literals.len())
}

fn passes(literals: &[Literal<'_>], value: &Value<'_>) -> bool {
    literals.iter().all(|(test, wanted)| !is_decided(test) || test.holds(value) == *wanted)
}

/// Whether the value alone decides.
fn is_decided(test: &Test) -> bool {
    !matches!(test, Test::Against(..) | Test::Members { .. })
}

/// How many values satisfy a test, if they can be counted.
fn size(test: &Test) -> Option<usize> {
    match test {
        Test::Address { is_equal: true, .. }
        | Test::Number(Relation::Equal, _)
        | Test::Text(TextTest::Relation(Relation::Equal, _)) => Some(1),
        Test::AddressIn(set) => Some(set.len()),
        Test::Bool { .. } => Some(2),
        Test::NumberIn(numbers) => Some(numbers.len()),
        Test::Text(TextTest::In(set)) => Some(set.len()),
        Test::Quantified(Quantifier::All | Quantifier::Any, tests) => {
            tests.iter().map(size).sum::<Option<usize>>()
        }
        _ => None,
    }
}

/// The only values that can satisfy a test.
fn candidates(test: &Test) -> Option<Vec<Value<'_>>> {
    Some(match test {
        Test::Address { address, is_equal: true } => vec![Value::Address(*address)],
        Test::AddressIn(set) => set.iter().map(|address| Value::Address(*address)).collect(),
        Test::Bool { .. } => vec![Value::Bool(false), Value::Bool(true)],
        Test::Number(Relation::Equal, number) => vec![Value::Number(*number)],
        Test::NumberIn(numbers) => numbers.iter().map(|number| Value::Number(*number)).collect(),
        Test::Text(TextTest::In(set)) => set.iter().map(|text| Value::from(&**text)).collect(),
        Test::Text(TextTest::Relation(Relation::Equal, one)) => vec![Value::from(&**one)],
        Test::Quantified(Quantifier::All | Quantifier::Any, tests) => {
            let each: Option<Vec<_>> = tests.iter().map(candidates).collect();
            each?.into_iter().flatten().collect()
        }
        _ => return None,
    })
}

fn numbers_contradict(literals: &[Literal<'_>]) -> bool {
    let (mut low, mut high) = (i128::MIN, i128::MAX);
    for (test, wanted) in literals {
        let Test::Number(relation, constant) = test else { continue };
        let at_least = |low: &mut i128, bound: i128| *low = bound.max(*low);
        let at_most = |high: &mut i128, bound: i128| *high = bound.min(*high);
        match (relation, wanted) {
            (Relation::Greater, true) | (Relation::LessOrEqual, false) => {
                at_least(&mut low, constant.saturating_add(1));
            }
            (Relation::GreaterOrEqual, true) | (Relation::Less, false) => {
                at_least(&mut low, *constant);
            }
            (Relation::Less, true) | (Relation::GreaterOrEqual, false) => {
                at_most(&mut high, constant.saturating_sub(1));
            }
            (Relation::LessOrEqual, true) | (Relation::Greater, false) => {
                at_most(&mut high, *constant);
            }
            (Relation::NotEqual, false) => {
                at_least(&mut low, *constant);
                at_most(&mut high, *constant);
            }
            (Relation::Equal, _) | (Relation::NotEqual, true) => {}
        }
    }
    low > high
        || high.checked_sub(low).is_some_and(|width| width < TRIED)
            && !(low..=high).any(|number| passes(literals, &Value::Number(number)))
}

/// Beginnings, ends and parts that exclude each other.
fn texts_contradict(literals: &[Literal<'_>]) -> bool {
    let of = |wanted: bool| {
        literals.iter().filter(move |(_, is)| *is == wanted).filter_map(|(test, _)| match test {
            Test::Text(test) => Some(test),
            _ => None,
        })
    };
    let (mut prefix, mut suffix): (&[u8], &[u8]) = (b"", b"");
    let mut parts: Vec<&[u8]> = Vec::new();
    for test in of(true) {
        match test {
            // The longest one, which every shorter one must be the beginning of.
            TextTest::StartsWith(other) => {
                let (long, short) = if other.len() > prefix.len() {
                    (&**other, prefix)
                } else {
                    (prefix, &**other)
                };
                if !long.starts_with(short) {
                    return true;
                }
                prefix = long;
            }
            TextTest::EndsWith(other) => {
                let (long, short) = if other.len() > suffix.len() {
                    (&**other, suffix)
                } else {
                    (suffix, &**other)
                };
                if !long.ends_with(short) {
                    return true;
                }
                suffix = long;
            }
            TextTest::Contains(finder) => parts.push(finder.needle()),
            _ => {}
        }
    }
    parts.extend([prefix, suffix]);
    of(false).any(|test| match test {
        TextTest::StartsWith(other) => prefix.starts_with(other),
        TextTest::EndsWith(other) => suffix.ends_with(other),
        TextTest::Contains(finder) => parts.iter().any(|part| finder.find(part).is_some()),
        _ => false,
    })
}
