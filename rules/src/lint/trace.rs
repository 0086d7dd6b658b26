//! Where each part of a compiled condition was written, and what it needs of an event.

use super::form::{FormId, Forms};
use crate::ast::Span;
use crate::eval::{Check, Node, NodeId, Program};
use crate::event::KindSet;
use crate::field::FieldId;
use crate::names::NameSet;
use crate::source::Text;

/// Every part of every condition; a macro that several rules use is there once.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    spots: Vec<Spot<'a>>,
    pub(super) forms: Forms,
}

/// A part of a condition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SpotId(usize);

/// What is known of a part.
#[derive(Debug)]
pub(super) struct Spot<'a> {
    pub(super) shape: Shape,
    /// The condition that it was written in, that of a macro or a rule.
    pub(super) text: &'a Text,
    pub(super) span: Span,
    pub(super) form: FormId,
    /// The names of the events that fail it, and of those that satisfy it.
    pub(super) names: [NameSet; 2],
    /// The kinds of events that can fail it, and of those that can satisfy it, by its fields.
    pub(super) kinds: [KindSet; 2],
}

#[derive(Debug)]
pub(super) enum Shape {
    And(Box<[SpotId]>),
    Check(NodeId),
    Not(SpotId),
    Or(Box<[SpotId]>),
}

impl<'a> Trace<'a> {
    /// Notes a node that was added to the program, with the spots of its operands.
    pub(crate) fn add(
        &mut self,
        program: &Program,
        node: NodeId,
        operands: Box<[SpotId]>,
        (text, span): (&'a Text, Span),
        [fails, holds]: [NameSet; 2],
    ) -> SpotId {
        let forms = operands.iter().map(|operand| self.spots[operand.0].form);
        let kinds = |wanted: bool, all: bool| {
            let kinds =
                operands.iter().map(|operand| self.spots[operand.0].kinds[usize::from(wanted)]);
            if all {
                kinds.fold(KindSet::ALL, KindSet::intersection)
            } else {
                kinds.fold(KindSet::NONE, KindSet::union)
            }
        };
        let (shape, form, kinds) = match program.node(node) {
            Node::And(_) => {
                let kinds = [kinds(false, false), kinds(true, true)];
                let form = self.forms.and(forms);
                (Shape::And(operands), form, kinds)
            }
            Node::Or(_) => {
                let kinds = [kinds(false, true), kinds(true, false)];
                let form = self.forms.or(forms);
                (Shape::Or(operands), form, kinds)
            }
            Node::Not(_) => {
                let kinds = [kinds(true, false), kinds(false, false)];
                let operand = operands[0];
                (Shape::Not(operand), self.forms.not(self.spots[operand.0].form), kinds)
            }
            Node::Check(check) => {
                let is_type = field(check) == Some(FieldId::EvtType);
                let form = self.forms.check(check, is_type.then_some(holds));
                let has = field(check).map_or(KindSet::ALL, |field| field.info().kinds);
                (Shape::Check(node), form, [KindSet::ALL, has])
            }
        };
        self.spots.push(Spot { shape, text, span, form, names: [fails, holds], kinds });
        SpotId(self.spots.len() - 1)
    }

    pub(super) fn spot(&self, id: SpotId) -> &Spot<'a> {
        &self.spots[id.0]
    }

    /// The condition that a part was written in, and where.
    pub(crate) fn place(&self, id: SpotId) -> (&'a Text, Span) {
        let Spot { text, span, .. } = self.spot(id);
        (text, *span)
    }

    /// The part of a conjunction that only some kinds of events can satisfy, by its fields, and those
    /// kinds.
    pub(crate) fn narrowest(&self, condition: SpotId) -> Option<(String, KindSet)> {
        let parts = match &self.spot(condition).shape {
            Shape::And(operands) => operands,
            _ => std::slice::from_ref(&condition),
        };
        let kinds = |part: &SpotId| self.spot(*part).kinds[1];
        let count = |part: &&SpotId| kinds(part).iter().count();
        let part = parts.iter().filter(|part| kinds(part) != KindSet::ALL).min_by_key(count)?;
        Some((self.quoted(*part), kinds(part)))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SpotId> + use<> {
        (0..self.spots.len()).map(SpotId)
    }

    /// As it was written.
    pub(super) fn quoted(&self, id: SpotId) -> String {
        const LONGEST: usize = 60;
        let Spot { text, span, .. } = self.spot(id);
        let text = text.as_str().get(span.start..span.end).unwrap_or_default();
        let words: Vec<_> = text.split_whitespace().take(LONGEST).collect();
        let text = words.join(" ");
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

impl SpotId {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// The field that a check is about, if it is about one only.
pub(super) fn field(check: &Check) -> Option<FieldId> {
    check.subject().map(|subject| subject.field)
}
