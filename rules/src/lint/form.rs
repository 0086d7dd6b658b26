//! Conditions in normal form, each form once: two conditions that are written differently and mean
//! the same have the same number.
//!
//! Only what is certain is made the same: the order and repetition of operands, nested `and` and
//! `or`, double negation, the order of list items, and a list of one value with that value.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::eval::{Check, Left, Relation, Test, TextTest};
use crate::names::NameSet;

/// A longer conjunction or disjunction is not merged into the one around it.
const MAX_MERGED: usize = 1_000;

/// The number of a form.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct FormId(u32);

/// Every form that there is.
#[derive(Debug, Default)]
pub(super) struct Forms {
    ids: HashMap<Form, FormId>,
    forms: Vec<Known>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Form {
    And(Box<[FormId]>),
    Check(Box<[u8]>),
    Not(FormId),
    Or(Box<[FormId]>),
}

/// What is known of a form.
#[derive(Debug)]
struct Known {
    operands: Operands,
    /// Of a check of the event's type, the names that pass.
    names: Option<NameSet>,
}

#[derive(Debug)]
enum Operands {
    And(Box<[FormId]>),
    None,
    Not(FormId),
    Or(Box<[FormId]>),
}

impl Forms {
    pub(super) fn check(&mut self, check: &Check, names: Option<NameSet>) -> FormId {
        self.intern(Form::Check(key(check)), Operands::None, names)
    }

    pub(super) fn not(&mut self, operand: FormId) -> FormId {
        if let Operands::Not(inner) = self.forms[operand.0 as usize].operands {
            return inner;
        }
        self.intern(Form::Not(operand), Operands::Not(operand), None)
    }

    pub(super) fn and(&mut self, operands: impl IntoIterator<Item = FormId>) -> FormId {
        let operands = self.merged(operands, true);
        match operands[..] {
            [only] => only,
            _ => self.intern(Form::And(operands.clone()), Operands::And(operands), None),
        }
    }

    pub(super) fn or(&mut self, operands: impl IntoIterator<Item = FormId>) -> FormId {
        let operands = self.merged(operands, false);
        match operands[..] {
            [only] => only,
            _ => self.intern(Form::Or(operands.clone()), Operands::Or(operands), None),
        }
    }

    /// The forms that must all hold for this one to.
    pub(super) fn conjuncts<'f>(&'f self, form: &'f FormId) -> &'f [FormId] {
        match &self.forms[form.0 as usize].operands {
            Operands::And(operands) => operands,
            _ => std::slice::from_ref(form),
        }
    }

    /// The forms of which one must hold.
    pub(super) fn alternatives<'f>(&'f self, form: &'f FormId) -> &'f [FormId] {
        match &self.forms[form.0 as usize].operands {
            Operands::Or(operands) => operands,
            _ => std::slice::from_ref(form),
        }
    }

    /// Of a check of the event's type, the names that pass.
    pub(super) fn names(&self, form: FormId) -> Option<NameSet> {
        self.forms[form.0 as usize].names
    }

    fn merged(&self, operands: impl IntoIterator<Item = FormId>, all: bool) -> Box<[FormId]> {
        let mut merged = Vec::new();
        for operand in operands {
            match &self.forms[operand.0 as usize].operands {
                Operands::And(inner) if all && inner.len() <= MAX_MERGED => {
                    merged.extend_from_slice(inner);
                }
                Operands::Or(inner) if !all && inner.len() <= MAX_MERGED => {
                    merged.extend_from_slice(inner);
                }
                _ => merged.push(operand),
            }
        }
        merged.sort_unstable();
        merged.dedup();
        merged.into()
    }

    fn intern(&mut self, form: Form, operands: Operands, names: Option<NameSet>) -> FormId {
        let Self { ids, forms } = self;
        *ids.entry(form).or_insert_with(|| {
            forms.push(Known { operands, names });
            FormId(u32::try_from(forms.len() - 1).unwrap_or(u32::MAX))
        })
    }
}

/// Bytes that are equal for checks that mean the same.
fn key(check: &Check) -> Box<[u8]> {
    let mut key = Vec::new();
    let left = match &check.left {
        Left::List(list) => format!("{list:?} "),
        Left::Term(term) => format!("{term:?} "),
    };
    key.extend_from_slice(left.as_bytes());
    test_key(&check.test, &mut key);
    key.into()
}

fn test_key(test: &Test, key: &mut Vec<u8>) {
    match test {
        Test::AddressIn(set) => {
            let mut addresses: Vec<_> = set.iter().collect();
            addresses.sort_unstable();
            key.extend_from_slice(format!("AddressIn {addresses:?}").as_bytes());
        }
        Test::Address { address, is_equal: true } => {
            key.extend_from_slice(format!("AddressIn [{address:?}]").as_bytes());
        }
        Test::Members { all, words } => {
            key.extend_from_slice(if *all { b"All" } else { b"Any" });
            texts_key(words.iter().map(|word| &**word), key);
        }
        Test::Number(Relation::Equal, number) => {
            key.extend_from_slice(format!("NumberIn [{number}]").as_bytes());
        }
        Test::Quantified(quantifier, tests) => {
            key.extend_from_slice(format!("{quantifier:?} {}", tests.len()).as_bytes());
            tests.iter().for_each(|test| test_key(test, key));
        }
        Test::Text(TextTest::In(set)) => {
            key.extend_from_slice(b"In");
            texts_key(set.iter().map(|text| &**text), key);
        }
        Test::Text(TextTest::Relation(Relation::Equal, constant)) => {
            key.extend_from_slice(b"In");
            texts_key([&**constant], key);
        }
        Test::Text(TextTest::Contains(finder)) => {
            key.extend_from_slice(b"Contains");
            texts_key([finder.needle()], key);
        }
        // The others have nothing in an order of their own.
        other => {
            let mut shown = String::new();
            // Writing to a string cannot fail.
            let _ = write!(shown, "{other:?}");
            key.extend_from_slice(shown.as_bytes());
        }
    }
}

fn texts_key<'t>(texts: impl IntoIterator<Item = &'t [u8]>, key: &mut Vec<u8>) {
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_unstable();
    texts.dedup();
    for text in texts {
        key.extend_from_slice(&text.len().to_le_bytes());
        key.extend_from_slice(text);
    }
}
