//! The types of what is compared: fields and transformers become [`Term`]s, or lists.

use crate::ast::{Call, CallArgument, FieldRef, Operand, Span, Transformer, Word};
use crate::check::{Problem, subject};
use crate::eval::Index;
use crate::field::{ArgumentRule, FieldId, Type};
use crate::term::{Arguments, List, Options, Term};

type Result<T> = std::result::Result<T, Problem>;

/// An operand with its type.
pub(crate) enum Typed {
    List(List),
    Term(Term, Type),
}

/// Types an operand.
pub(crate) fn typed(operand: &Operand) -> Result<Typed> {
    match operand {
        Operand::Field(field) => {
            let subject = subject(field)?;
            if subject.field.info().argument == ArgumentRule::List {
                return Ok(Typed::List(List::Field(subject)));
            }
            let ty = subject.ty();
            Ok(Typed::Term(Term::Field(subject), ty))
        }
        Operand::Call(call) => self::call(call),
    }
}

/// Types an operand on the right-hand side: some fields have several values, and cannot be there.
pub(crate) fn right(operand: &Operand) -> Result<Typed> {
    let typed = match operand {
        // The field itself.
        Operand::Call(Call { transformer: Transformer::Value, arguments, .. }) => {
            match &arguments[..] {
                [CallArgument::Operand(field)] => typed(field)?,
                _ => typed(operand)?,
            }
        }
        _ => typed(operand)?,
    };
    if let Typed::Term(Term::Field(subject), _) = &typed
        && (subject.index == Index::Ancestors
            || subject.field.info().argument == ArgumentRule::Ancestor
            || subject.field.sources().len() > 1
            || is_left_only(subject.field))
    {
        let message = format!("{} cannot be on the right-hand side", subject.field.name());
        return Err(Problem::condition(span(operand), message));
    }
    Ok(typed)
}

/// Whether a field is for comparing with constants of its own: networks, services and names of hosts.
fn is_left_only(field: FieldId) -> bool {
    use FieldId::{FdCipName, FdLipName, FdProto, FdRipName, FdSipName};
    field.info().ty == Type::Network
        || matches!(field, FdCipName | FdLipName | FdProto | FdRipName | FdSipName)
}

pub(crate) fn span(operand: &Operand) -> Span {
    match operand {
        Operand::Call(Call { span, .. }) | Operand::Field(FieldRef { span, .. }) => *span,
    }
}

fn call(call: &Call) -> Result<Typed> {
    let Call { span, transformer, arguments, option } = call;
    let refused = |what: &str| {
        Err(Problem::condition(*span, format!("{}() takes {what}", transformer.name())))
    };
    let text = |make: fn(Box<Term>) -> Term| match &arguments[..] {
        [CallArgument::Operand(operand)] => {
            Ok(Typed::Term(make(Box::new(text_of(operand)?)), Type::Text))
        }
        _ => refused("one field or transformer"),
    };
    match transformer {
        Transformer::Base64 => text(Term::Base64),
        Transformer::Basename => text(Term::Basename),
        Transformer::Lower => text(Term::Lower),
        Transformer::Upper => text(Term::Upper),
        Transformer::Length => match &arguments[..] {
            [CallArgument::Operand(operand)] => {
                let term = match typed(operand)? {
                    Typed::List(list) => Term::LengthOfList(Box::new(list)),
                    Typed::Term(term, Type::Bytes) => Term::Length(Box::new(term)),
                    Typed::Term(..) => Term::Length(Box::new(text_of(operand)?)),
                };
                Ok(Typed::Term(term, Type::Number))
            }
            _ => refused("one field or transformer"),
        },
        Transformer::Concat if arguments.len() < 2 => refused("two texts or more"),
        Transformer::Concat => {
            let terms = arguments.iter().map(part_of_text).collect::<Result<_>>()?;
            Ok(Typed::Term(Term::Join { between: Box::default(), terms }, Type::Text))
        }
        Transformer::Join => match &arguments[..] {
            [CallArgument::Constant(between), CallArgument::List(parts)] => {
                let terms = parts.iter().map(part).collect::<Result<_>>()?;
                let between = between.bytes.clone().into();
                Ok(Typed::Term(Term::Join { between, terms }, Type::Text))
            }
            _ => refused("a text and a list"),
        },
        Transformer::Getopt => match &arguments[..] {
            [words, CallArgument::Constant(accepted)] => {
                let accepted = accepted.bytes.clone().into();
                let options = Options { arguments: self::arguments(words, *span)?, accepted };
                match option {
                    None => Ok(Typed::List(List::Options(options))),
                    Some(name) => {
                        let (options, name) = (Box::new(options), self::option(name)?);
                        Ok(Typed::Term(Term::Option { options, name }, Type::Text))
                    }
                }
            }
            _ => refused("a list and the options that there may be"),
        },
        Transformer::Value => refused("a field, on the right-hand side only"),
    }
}

/// An operand that must be a text.
fn text_of(operand: &Operand) -> Result<Term> {
    match typed(operand)? {
        Typed::Term(Term::Field(subject), _) if subject.index == Index::Ancestors => {
            let message = format!("{0} needs an index here, as in {0}[2]", subject.field.name());
            Err(Problem::condition(span(operand), message))
        }
        Typed::Term(term, Type::Text | Type::EventName) => Ok(term),
        Typed::Term(_, ty) => {
            let message = format!("a text is expected, and this is a {}", ty.name());
            Err(Problem::condition(span(operand), message))
        }
        Typed::List(_) => {
            Err(Problem::condition(span(operand), "a text is expected, and this is a list"))
        }
    }
}

/// Something of a text: a constant, or a text.
fn part_of_text(argument: &CallArgument) -> Result<Term> {
    match argument {
        CallArgument::Operand(operand) => text_of(operand),
        _ => part(argument),
    }
}

/// Something that can be shown as text.
fn part(argument: &CallArgument) -> Result<Term> {
    match argument {
        CallArgument::Constant(word) => Ok(Term::Constant(word.bytes.clone().into())),
        CallArgument::Operand(operand) => match typed(operand)? {
            Typed::Term(Term::Field(subject), _) if subject.index == Index::Ancestors => {
                text_of(operand)
            }
            Typed::Term(term, _) => Ok(term),
            Typed::List(_) => Err(Problem::condition(
                span(operand),
                "a single value is expected, and this is a list",
            )),
        },
        CallArgument::List(parts) => {
            let span = parts.first().map_or(Span::new(0..0), span_of);
            Err(Problem::condition(span, "a single value is expected, and this is a list"))
        }
    }
}

fn arguments(words: &CallArgument, span: Span) -> Result<Arguments> {
    match words {
        CallArgument::List(parts) => {
            Ok(Arguments::Terms(parts.iter().map(part_of_text).collect::<Result<_>>()?))
        }
        CallArgument::Operand(Operand::Field(field)) => {
            let subject = subject(field)?;
            let rule = subject.field.info().argument;
            let is_list = matches!(rule, ArgumentRule::OptionalIndex | ArgumentRule::List);
            if is_list && subject.index == Index::None {
                return Ok(Arguments::Field(subject.field));
            }
            let message = format!("{} is no list; proc.args is one", subject.field.name());
            Err(Problem::condition(field.span, message))
        }
        _ => {
            Err(Problem::condition(span, "getopt() takes a list and the options that there may be"))
        }
    }
}

fn option(name: &Word) -> Result<u8> {
    match name.bytes[..] {
        [name] => Ok(name),
        _ => Err(Problem::condition(name.span, "an option is one character")),
    }
}

fn span_of(argument: &CallArgument) -> Span {
    match argument {
        CallArgument::Constant(word) => word.span,
        CallArgument::Operand(operand) => span(operand),
        CallArgument::List(parts) => parts.first().map_or(Span::new(0..0), span_of),
    }
}

/// Whether a field may be compared with another value of a type: event names are texts.
pub(crate) fn is_comparable(left: Type, right: Type) -> bool {
    let plain = |ty| match ty {
        Type::EventName => Type::Text,
        Type::Port => Type::Number,
        Type::Network => Type::Address,
        ty => ty,
    };
    plain(left) == plain(right)
}

/// What a field is called in messages.
pub(crate) fn name(left: &Term) -> &'static str {
    match left {
        Term::Field(subject) => subject.field.name(),
        _ => "the transformer",
    }
}

/// The field that is looked at, if nothing is made of it.
pub(crate) fn field(term: &Term) -> Option<FieldId> {
    match term {
        Term::Field(subject) => Some(subject.field),
        _ => None,
    }
}
