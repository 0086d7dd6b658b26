//! Why a condition does not hold of an event: the parts that decide, with the values that they met.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::eval::{Check, Index, Left, Subject, Test};
use crate::event::{Argument, Event, Value};
use crate::source::SourceFile;
use crate::text::Escaped;
use crate::trace::{Shape, Tree};

/// How many bytes of a value are shown.
const MAX_SHOWN: usize = 80;

/// How many ancestors are shown.
const MAX_ANCESTORS: u32 = 8;

/// A part of a condition that is not as it would have to be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// The part: a check as it is written, the name of a macro, or how many parts are meant.
    pub condition: String,
    /// What it is.
    pub part: ReasonPart,
    /// Whether it would have to hold; if not, it is negated and holds.
    pub wanted: bool,
    /// The file that it stands in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What a check met, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The parts of it that are not as they would have to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Reason>,
}

/// What a [`Reason`] is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonPart {
    /// Parts that must hold together.
    All,
    /// Parts of which one has to be as it is wanted, and none is.
    Alternatives,
    /// A comparison.
    Check,
    /// The use of a macro.
    Macro,
}

/// Explains conditions.
pub(super) struct Explainer<'a, E> {
    pub(super) files: &'a [SourceFile<'a>],
    pub(super) event: &'a E,
}

impl<E: Event> Explainer<'_, E> {
    /// Why `tree`, which is not, is not as it is `wanted`.
    pub(super) fn why(&self, tree: &Tree, wanted: bool) -> Vec<Reason> {
        match &tree.shape {
            // One of these has to change.
            Shape::Or(operands) if wanted => {
                let because = operands.iter().flat_map(|operand| self.alternative(operand));
                self.group(tree, ReasonPart::Alternatives, true, because.collect())
            }
            Shape::And(operands) if !wanted => {
                let because = operands.iter().flat_map(|operand| self.why(operand, false));
                self.group(tree, ReasonPart::Alternatives, false, because.collect())
            }
            // Each that differs has to change.
            Shape::And(operands) | Shape::Or(operands) => {
                let others = operands.iter().filter(|operand| self.holds(operand) != wanted);
                others.flat_map(|operand| self.why(operand, wanted)).collect()
            }
            Shape::Check(check, written) => {
                let found = Some(self.found(check));
                let written = written.clone();
                vec![Reason { found, ..self.reason(tree, written, ReasonPart::Check, wanted) }]
            }
            Shape::Macro(name, body) => {
                let because = self.why(body, wanted);
                let name = name.clone();
                vec![Reason { because, ..self.reason(tree, name, ReasonPart::Macro, wanted) }]
            }
            Shape::Not(operand) => self.why(operand, !wanted),
        }
    }

    /// Why an alternative does not hold: what must hold together is told together.
    fn alternative(&self, operand: &Tree) -> Vec<Reason> {
        let because = self.why(operand, true);
        let is_group = matches!(operand.shape, Shape::And(_)) && because.len() > 1;
        if is_group { self.group(operand, ReasonPart::All, true, because) } else { because }
    }

    fn group(
        &self,
        tree: &Tree,
        part: ReasonPart,
        wanted: bool,
        because: Vec<Reason>,
    ) -> Vec<Reason> {
        let (Shape::And(operands) | Shape::Or(operands)) = &tree.shape else { return because };
        let number = operands.len();
        let condition = match part {
            ReasonPart::All => format!("all of {number}"),
            _ => format!("one of {number}"),
        };
        vec![Reason { because, ..self.reason(tree, condition, part, wanted) }]
    }

    fn holds(&self, tree: &Tree) -> bool {
        tree.holds(self.event, &mut |_, _| ())
    }

    fn reason(&self, tree: &Tree, condition: String, part: ReasonPart, wanted: bool) -> Reason {
        let (file, line, column) = super::position(self.files, &tree.place);
        let (found, because) = (None, Vec::new());
        Reason { condition, part, wanted, file, line, column, found, because }
    }

    /// What a check looks at.
    fn found(&self, check: &Check) -> String {
        let left = match &check.left {
            Left::List(list) => {
                let words = list.words(self.event).unwrap_or_default();
                let words: Vec<_> = words.into_iter().map(Value::from).collect();
                format!("the options {}", shown(&words))
            }
            Left::Term(term) => match check.subject() {
                Some(subject) => self.subject(subject),
                None => match term.value(self.event) {
                    Some(value) => format!("it makes {}", shown(&[value])),
                    None => "it makes nothing: a value is missing".to_owned(),
                },
            },
        };
        match &check.test {
            Test::Against(_, term) => match term.value(self.event) {
                Some(value) => format!("{left}, compared with {}", shown(&[value])),
                None => format!("{left}, compared with a value that is missing"),
            },
            _ => left,
        }
    }

    fn subject(&self, subject: &Subject) -> String {
        let Subject { field, index } = subject;
        let name = field.name();
        let sources = field.sources();
        let values: Vec<Value<'_>> = if !sources.is_empty() {
            sources.iter().filter_map(|source| self.event.field(*source, None)).collect()
        } else if *index == Index::Ancestors {
            let level = |level| self.event.field(*field, Some(Argument::Index(level)));
            (1..=MAX_ANCESTORS).map_while(level).collect()
        } else {
            subject.value(self.event).into_iter().collect()
        };
        let argument = match index {
            Index::At(index) => format!("[{index}]"),
            Index::Named(name) => format!("[{name}]"),
            Index::Ancestors | Index::None => String::new(),
        };
        if values.is_empty() {
            return format!("the event has no {name}{argument}");
        }
        format!("{name}{argument} is {}", shown(&values))
    }
}

fn shown(values: &[Value<'_>]) -> String {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        let separator = if index > 0 { ", " } else { "" };
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Text(bytes) if bytes.len() > MAX_SHOWN => {
                write!(text, "{separator}\"{}…\"", Escaped(&bytes[..MAX_SHOWN]))
            }
            Value::Text(bytes) => write!(text, "{separator}\"{}\"", Escaped(bytes)),
            Value::Bool(value) => write!(text, "{separator}{value}"),
            Value::Number(value) => write!(text, "{separator}{value}"),
            Value::Address(value) => write!(text, "{separator}{value}"),
        };
    }
    text
}

impl Reason {
    /// How many checks are not as they would have to be.
    pub(super) fn checks(&self) -> usize {
        let inner: usize = self.because.iter().map(Self::checks).sum();
        usize::from(self.part == ReasonPart::Check) + inner
    }

    /// Writes it and what it is made of, each on a line of its own.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        let Self { condition, part, wanted, file, line, column, found, because } = self;
        let condition = Escaped(condition.as_bytes());
        write!(f, "\n{:indent$}", "")?;
        match (part, wanted) {
            (ReasonPart::All, _) => write!(f, "{condition} must hold")?,
            (ReasonPart::Alternatives, true) => write!(f, "{condition} must hold, and none does")?,
            (ReasonPart::Alternatives, false) => {
                write!(f, "{condition} must not hold, and all do")?;
            }
            (ReasonPart::Macro, true) => write!(f, "{condition} does not hold")?,
            (ReasonPart::Macro, false) => write!(f, "{condition} holds, and must not")?,
            (ReasonPart::Check, true) => write!(f, "{condition}")?,
            (ReasonPart::Check, false) => write!(f, "not {condition}")?,
        }
        if let Some(found) = found {
            write!(f, ": {found}")?;
        }
        write!(f, "  ({}:{line}:{column})", Escaped(file.as_bytes()))?;
        because.iter().try_for_each(|reason| reason.write(f, indent + 2))
    }
}
