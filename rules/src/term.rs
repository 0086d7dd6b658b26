//! What is compared: a field, or what transformers make of fields and constants.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::eval::{Index, Subject};
use crate::event::{Argument, Event, Value};
use crate::field::FieldId;
use crate::getopt;

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Something that has one value.
#[derive(Clone, Debug)]
pub(crate) enum Term {
    Field(Subject),
    Constant(Box<[u8]>),
    Base64(Box<Term>),
    Basename(Box<Term>),
    /// The texts, with another one between them.
    Join {
        between: Box<[u8]>,
        terms: Box<[Term]>,
    },
    Length(Box<Term>),
    LengthOfList(Box<List>),
    Lower(Box<Term>),
    /// The argument of an option.
    Option {
        options: Box<Options>,
        name: u8,
    },
    Upper(Box<Term>),
}

/// Something that has several.
#[derive(Clone, Debug)]
pub(crate) enum List {
    Field(Subject),
    Options(Options),
}

/// The options among arguments.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) arguments: Arguments,
    pub(crate) accepted: Box<[u8]>,
}

/// Where arguments come from.
#[derive(Clone, Debug)]
pub(crate) enum Arguments {
    /// A field that has them by index.
    Field(FieldId),
    Terms(Box<[Term]>),
}

impl Term {
    /// The value, if every field that it is made of has one.
    pub(crate) fn value<'a>(&'a self, event: &'a impl Event) -> Option<Value<'a>> {
        Some(match self {
            Self::Field(subject) => subject.value(event)?,
            Self::Constant(text) => Value::from(&**text),
            Self::Base64(term) => BASE64.decode(term.text(event)?).ok()?.into(),
            Self::Basename(term) => {
                let mut text = term.text(event)?.into_owned();
                let start = text.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
                text.drain(..start);
                text.into()
            }
            Self::Join { between, terms } => join(between, terms, event)?.into(),
            Self::Length(term) => Value::Number(term.text(event)?.len().try_into().ok()?),
            Self::LengthOfList(list) => Value::Number(list.words(event)?.len().try_into().ok()?),
            Self::Lower(term) => term.text(event)?.to_ascii_lowercase().into(),
            Self::Option { options, name } => Value::Text(options.found(event)?.of(*name)?),
            Self::Upper(term) => term.text(event)?.to_ascii_uppercase().into(),
        })
    }

    /// The value as text.
    fn text<'a>(&'a self, event: &'a impl Event) -> Option<Cow<'a, [u8]>> {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = match self.value(event)? {
            Value::Text(text) => return Some(text),
            Value::Address(value) => write!(text, "{value}"),
            Value::Bool(value) => write!(text, "{value}"),
            Value::Number(value) => write!(text, "{value}"),
        };
        Some(Cow::Owned(text.into_bytes()))
    }

    /// The same with what this event has in it, but for fields of such a kind: they are asked for later. `None` if
    /// it will have no value then either.
    pub(crate) fn settled(
        &self,
        event: &impl Event,
        is_later: fn(FieldId) -> bool,
    ) -> Option<Self> {
        let boxed = |term: &Self| Some(Box::new(term.settled(event, is_later)?));
        Some(match self {
            Self::Field(subject) if is_later(subject.field) => self.clone(),
            Self::Field(_) => Self::Constant(self.text(event)?.into()),
            Self::Constant(_) => self.clone(),
            Self::Base64(term) => Self::Base64(boxed(term)?),
            Self::Basename(term) => Self::Basename(boxed(term)?),
            Self::Join { between, terms } => {
                let terms = terms.iter().map(|term| term.settled(event, is_later));
                Self::Join { between: between.clone(), terms: terms.collect::<Option<_>>()? }
            }
            Self::Length(term) => Self::Length(boxed(term)?),
            Self::LengthOfList(list) => {
                Self::LengthOfList(Box::new(list.settled(event, is_later)?))
            }
            Self::Lower(term) => Self::Lower(boxed(term)?),
            Self::Option { options, name } => {
                let options = Box::new(options.settled(event, is_later)?);
                Self::Option { options, name: *name }
            }
            Self::Upper(term) => Self::Upper(boxed(term)?),
        })
    }

    /// Whether it is made of a field of such a kind.
    pub(crate) fn mentions(&self, field: fn(FieldId) -> bool) -> bool {
        let mut found = false;
        self.subjects(&mut |subject| found |= subject.mentions(field));
        found
    }

    /// Calls `see` with every field that it is made of.
    pub(crate) fn subjects(&self, see: &mut dyn FnMut(&Subject)) {
        match self {
            Self::Field(subject) => see(subject),
            Self::Constant(_) => {}
            Self::Base64(term)
            | Self::Basename(term)
            | Self::Length(term)
            | Self::Lower(term)
            | Self::Upper(term) => term.subjects(see),
            Self::Join { terms, .. } => terms.iter().for_each(|term| term.subjects(see)),
            Self::LengthOfList(list) => list.subjects(see),
            Self::Option { options, .. } => options.subjects(see),
        }
    }
}

impl List {
    /// The members: of options, they and their arguments.
    pub(crate) fn words(&self, event: &impl Event) -> Option<Vec<Vec<u8>>> {
        match self {
            Self::Field(subject) => {
                let words: Vec<_> = indexed(subject.field, event).map(Cow::into_owned).collect();
                // A list without members is none that an event has.
                (!words.is_empty() && subject.index == Index::None).then_some(words)
            }
            Self::Options(options) => {
                Some(options.found(event)?.words().map(Cow::into_owned).collect())
            }
        }
    }

    /// As a term is.
    fn settled(&self, event: &impl Event, is_later: fn(FieldId) -> bool) -> Option<Self> {
        match self {
            Self::Field(_) => Some(self.clone()),
            Self::Options(options) => Some(Self::Options(options.settled(event, is_later)?)),
        }
    }

    pub(crate) fn mentions(&self, field: fn(FieldId) -> bool) -> bool {
        let mut found = false;
        self.subjects(&mut |subject| found |= subject.mentions(field));
        found
    }

    /// Calls `see` with every field that it is made of.
    pub(crate) fn subjects(&self, see: &mut dyn FnMut(&Subject)) {
        match self {
            Self::Field(subject) => see(subject),
            Self::Options(options) => options.subjects(see),
        }
    }
}

impl Options {
    fn found<'a>(&'a self, event: &'a impl Event) -> Option<getopt::Found<'a>> {
        let arguments = match &self.arguments {
            Arguments::Terms(terms) => {
                terms.iter().map(|term| term.text(event)).collect::<Option<Vec<_>>>()?
            }
            Arguments::Field(field) => indexed(*field, event).collect(),
        };
        Some(getopt::parse(&arguments, &self.accepted))
    }

    /// As a term is.
    fn settled(&self, event: &impl Event, is_later: fn(FieldId) -> bool) -> Option<Self> {
        let terms: Option<Box<[Term]>> = match &self.arguments {
            Arguments::Field(field) if is_later(*field) => return Some(self.clone()),
            Arguments::Field(field) => Some(
                indexed(*field, event)
                    .map(|text| Term::Constant(text.into_owned().into()))
                    .collect(),
            ),
            Arguments::Terms(terms) => {
                terms.iter().map(|term| term.settled(event, is_later)).collect()
            }
        };
        Some(Self { arguments: Arguments::Terms(terms?), accepted: self.accepted.clone() })
    }

    fn subjects(&self, see: &mut dyn FnMut(&Subject)) {
        match &self.arguments {
            Arguments::Field(field) => see(&Subject { field: *field, index: Index::None }),
            Arguments::Terms(terms) => terms.iter().for_each(|term| term.subjects(see)),
        }
    }
}

/// The texts of a field that has them by index.
fn indexed(field: FieldId, event: &impl Event) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let text = move |index| match event.field(field, Some(Argument::Index(index)))? {
        Value::Text(text) => Some(text),
        _ => None,
    };
    (0..).map_while(text)
}

fn join(between: &[u8], terms: &[Term], event: &impl Event) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            joined.extend_from_slice(between);
        }
        joined.extend_from_slice(&term.text(event)?);
    }
    Some(joined)
}
