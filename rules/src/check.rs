//! The type check: names become fields, constants become typed values.

use std::net::IpAddr;

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};

use crate::ast::{self, FieldRef, Operand, Operator, Quantifier, Right, Span, Word};
use crate::diagnose::Code;
use crate::eval::{Check, Index, Left, Subject, Test, TextTest};
use crate::field::{self, ArgumentRule, Field, FieldId, Type};
use crate::glob::Glob;
use crate::lex::SyntaxError;
use crate::lists::Lists;
use crate::names;
use crate::network::{Network, port_of};
use crate::operand::{self, Typed};
use crate::parameter;
use crate::path::PathSet;
use crate::suggest;
use crate::text::Escaped;

/// Something wrong at a place of a condition or template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The parenthesis that is not closed.
    pub(crate) opened: Option<Span>,
    /// A name that another engine may know: `skip-if-unknown-filter` forgives it.
    pub(crate) is_unknown_name: bool,
}

impl Problem {
    pub(crate) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            hint: None,
            opened: None,
            is_unknown_name: false,
        }
    }

    pub(crate) fn condition(span: Span, message: impl Into<String>) -> Self {
        Self::new(Code::CompileCondition, span, message)
    }

    pub(crate) fn unknown_name(span: Span, message: impl Into<String>) -> Self {
        Self { is_unknown_name: true, ..Self::condition(span, message) }
    }

    pub(crate) fn with_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

impl From<SyntaxError> for Problem {
    fn from(error: SyntaxError) -> Self {
        let SyntaxError { span, message, hint, opened } = error;
        Self { hint, opened, ..Self::condition(span, message) }
    }
}

type Result<T> = std::result::Result<T, Problem>;

/// Resolves and types one check; `warnings` takes what is allowed and probably meant otherwise.
pub(crate) fn check(
    check: &ast::Check,
    lists: &Lists<'_>,
    warnings: &mut Vec<Problem>,
) -> Result<Check> {
    let (left, ty) = match operand::typed(&check.left)? {
        Typed::List(list) => (Left::List(list), None),
        Typed::Term(term, ty) => (Left::Term(term), Some(ty)),
    };
    let name = match &left {
        Left::Term(term) => operand::name(term),
        Left::List(_) => "the transformer",
    };
    let has_ends = matches!(&left, Left::Term(term)
        if operand::field(term).is_some_and(|field| field.sources().len() > 1));
    let mut typer = Typer { check, name, ty, has_ends, lists, warnings };
    let test = typer.test(&check.right)?;
    Ok(Check::new(left, test))
}

/// Resolves a field and its argument.
pub(crate) fn subject(reference: &FieldRef) -> Result<Subject> {
    let FieldRef { span, name, argument } = reference;
    let name_span = Span::new(span.start..span.start + name.len());
    if let Some(field) = FieldId::by_name(name) {
        let index = bracketed(field.info(), *span, argument.as_ref())?;
        return Ok(Subject { field, index });
    }
    match FieldId::prefix_of(name) {
        Some((field, Some(dotted), length)) if length == name.len() => match argument {
            None => Ok(Subject { field, index: Index::Named(dotted.into()) }),
            Some(word) => {
                Err(Problem::condition(word.span, format!("field {name} takes no argument")))
            }
        },
        _ => {
            let hint = suggest::hint(name, field::all().iter().map(|field| field.name))
                .or_else(|| parameter_hint(name));
            let message = format!("nonexistent field {name}");
            Err(Problem::unknown_name(name_span, message).with_hint(hint))
        }
    }
}

/// The nearest name of what may follow a field after a dot.
fn parameter_hint(name: &str) -> Option<String> {
    let (own, dotted) = name.rsplit_once('.')?;
    let nearest = match FieldId::by_name(own)?.info().argument {
        ArgumentRule::Parameter => suggest::nearest(dotted, parameter::all()),
        ArgumentRule::EventName => suggest::nearest(dotted, names::NAMES.iter().copied()),
        _ => None,
    };
    Some(format!("did you mean {own}.{}?", nearest?))
}

/// Which value of a field is meant by what stands in brackets after it.
fn bracketed(field: &Field, span: Span, argument: Option<&Word>) -> Result<Index> {
    use ArgumentRule::{
        Ancestor, Dotted, EventName, List, Name, OptionalIndex, OptionalName, Parameter,
    };
    let name = field.name;
    let refused = |span, what: &str| {
        let message = format!("field {name} {what}");
        Err(Problem::condition(span, message))
    };
    match (field.argument, argument) {
        (Ancestor, None) => Ok(Index::Ancestors),
        (ArgumentRule::None | OptionalIndex | OptionalName | List, None) => Ok(Index::None),
        (ArgumentRule::None, Some(word)) => refused(word.span, "takes no argument"),
        (Ancestor | OptionalIndex | List, Some(word)) => Ok(Index::At(index(name, word)?)),
        // A number itself is known by its name only.
        (Parameter, Some(word)) if field.id != FieldId::EvtRawarg => {
            Ok(Index::At(index(name, word)?))
        }
        (Name, None) => refused(span, &format!("needs a name in brackets, as in {name}[NAME]")),
        (Dotted | EventName | Parameter, _) => {
            refused(span, &format!("needs a name after a dot, as in {name}.NAME"))
        }
        // A name that is not UTF-8 is none that anything has.
        (Name | OptionalName, Some(word)) => {
            Ok(Index::Named(String::from_utf8_lossy(&word.bytes).into()))
        }
    }
}

fn index(name: &str, word: &Word) -> Result<u32> {
    let number = str::from_utf8(&word.bytes).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let message = format!("the argument of {name} must be a number from 0");
        Problem::condition(word.span, message)
    })
}

/// Types the right-hand side of one check.
struct Typer<'a> {
    check: &'a ast::Check,
    /// What is on the left, in messages.
    name: &'static str,
    /// Its type; none if it is a list.
    ty: Option<Type>,
    /// Whether it has a value for each end of a connection.
    has_ends: bool,
    lists: &'a Lists<'a>,
    warnings: &'a mut Vec<Problem>,
}

impl Typer<'_> {
    fn test(&mut self, right: &Right) -> Result<Test> {
        self.require_operator()?;
        match right {
            Right::Nothing => Ok(Test::Exists),
            Right::Operand(operand) => self.against(operand),
            Right::Quantified { quantifier, elements } => self.quantified(*quantifier, elements),
            Right::Word(word) if is_list(self.check.operator) => {
                let words = self.named_list(word)?;
                self.member(&words)
            }
            Right::Word(word) => {
                let word = self.scalar(word)?;
                self.comparison(&word)
            }
            Right::List { words, .. } => {
                let words = self.expanded(words);
                self.member(&words)
            }
        }
    }

    fn require_operator(&self) -> Result<()> {
        let operator = self.check.operator;
        if is_allowed(operator, self.ty) {
            return Ok(());
        }
        let ty = self.ty.map_or("list", Type::name);
        let (operator, name) = (operator.name(), self.name);
        let message = format!("operator {operator} is not allowed for {name}, a {ty}");
        let allowed: Vec<_> = Operator::ALL
            .iter()
            .filter(|operator| is_allowed(**operator, self.ty))
            .map(|operator| operator.name())
            .collect();
        Err(Problem::condition(self.check.operator_span, message)
            .with_hint(Some(format!("allowed are {}", allowed.join(" ")))))
    }

    /// A test against another value of the event.
    fn against(&self, operand: &Operand) -> Result<Test> {
        let (operator, span) = (self.check.operator, operand::span(operand));
        let refused = |message: String| Err(Problem::condition(span, message));
        let (Some(left), false) = (self.ty, self.has_ends) else {
            return refused(format!("{} can be compared with constants only", self.name));
        };
        if matches!(operator, Operator::Regex | Operator::PathMatch) {
            return refused(format!("operator {} takes constants only", operator.name()));
        }
        match operand::right(operand)? {
            Typed::Term(term, right) if operand::is_comparable(left, right) => {
                Ok(Test::Against(operator, Box::new(term)))
            }
            Typed::Term(_, right) => {
                let (left, right) = (left.name(), right.name());
                refused(format!("{}, a {left}, is compared with a {right}", self.name))
            }
            Typed::List(_) => refused("a list cannot be on the right-hand side".to_owned()),
        }
    }

    /// The word itself or, if it names a list, the list's only item.
    fn scalar(&mut self, word: &Word) -> Result<Word> {
        let Some(items) = self.lists.expand(word) else {
            self.warn_of_names(word);
            return Ok(word.clone());
        };
        if let [item] = items.as_slice() {
            return Ok(item.clone());
        }
        let (name, count) = (Escaped(&word.bytes), items.len());
        let message = format!("list {name} has {count} items where one value is expected");
        Err(Problem::condition(word.span, message)
            .with_hint(Some(format!("use in ({name}), or quote the value"))))
    }

    fn named_list(&self, word: &Word) -> Result<Vec<Word>> {
        self.lists.expand(word).ok_or_else(|| {
            let name = Escaped(&word.bytes).to_string();
            let hint = suggest::hint(&name, self.lists.names())
                .or_else(|| Some(format!("write ({name}) for a list of that one value")));
            Problem::condition(word.span, format!("nonexistent list {name}")).with_hint(hint)
        })
    }

    /// The words with the names of lists replaced by their items.
    fn expanded(&self, words: &[Word]) -> Vec<Word> {
        words
            .iter()
            .flat_map(|word| self.lists.expand(word).unwrap_or_else(|| vec![word.clone()]))
            .collect()
    }

    fn quantified(&mut self, quantifier: Quantifier, elements: &Right) -> Result<Test> {
        let words = match elements {
            Right::List { words, .. } => self.expanded(words),
            Right::Word(word) => self.named_list(word)?,
            _ => Vec::new(),
        };
        let tests: Result<Box<[Test]>> = words.iter().map(|word| self.comparison(word)).collect();
        Ok(Test::Quantified(quantifier, tests?))
    }

    /// A test against one constant.
    fn comparison(&self, word: &Word) -> Result<Test> {
        let operator = self.check.operator;
        let Some(ty) = self.ty else { return self.member(std::slice::from_ref(word)) };
        match ty {
            Type::Bool => {
                let expected = boolean(word)? == (operator != Operator::NotEqual);
                Ok(Test::Bool { accepts: [!expected, expected] })
            }
            Type::Address => {
                let is_equal = operator != Operator::NotEqual;
                Ok(Test::Address { address: address(word)?, is_equal })
            }
            Type::Network => {
                let is_in = operator != Operator::NotEqual;
                Ok(Test::Network { network: network(word)?, is_in })
            }
            Type::Number => Ok(Test::Number(operator.relation(), number(word)?)),
            Type::Port => Ok(Test::Number(operator.relation(), port(word)?)),
            ty @ (Type::EventName | Type::Text | Type::Bytes) => {
                let text = text(word, ty)?;
                Ok(Test::Text(match operator {
                    Operator::ContainsBytes => {
                        TextTest::Contains(Box::new(Finder::new(&hexadecimal(word)?).into_owned()))
                    }
                    Operator::StartsWithBytes => TextTest::StartsWith(hexadecimal(word)?.into()),
                    Operator::Contains => {
                        TextTest::Contains(Box::new(Finder::new(text).into_owned()))
                    }
                    Operator::ContainsFolded => {
                        TextTest::ContainsFolded(text.to_ascii_lowercase().into())
                    }
                    Operator::Regex => TextTest::Regex(regex(word)?),
                    Operator::StartsWith => TextTest::StartsWith(text.into()),
                    Operator::EndsWith => TextTest::EndsWith(text.into()),
                    Operator::Glob => TextTest::Glob(Glob::new(text, false)),
                    Operator::GlobFolded => TextTest::Glob(Glob::new(text, true)),
                    _ => TextTest::Relation(operator.relation(), text.into()),
                }))
            }
        }
    }

    /// A test against the members of a list.
    fn member(&self, words: &[Word]) -> Result<Test> {
        let Some(ty) = self.ty else {
            let words = words.iter().map(|word| word.bytes.clone().into()).collect();
            return Ok(Test::Members { all: self.check.operator == Operator::In, words });
        };
        match ty {
            Type::Bool => {
                let mut accepts = [false; 2];
                for word in words {
                    accepts[usize::from(boolean(word)?)] = true;
                }
                Ok(Test::Bool { accepts })
            }
            Type::Address => Ok(Test::AddressIn(words.iter().map(address).collect::<Result<_>>()?)),
            Type::Network => Ok(Test::NetworkIn(words.iter().map(network).collect::<Result<_>>()?)),
            ty @ (Type::Number | Type::Port) => {
                let value = if ty == Type::Port { port } else { number };
                let mut numbers: Vec<_> = words.iter().map(value).collect::<Result<_>>()?;
                numbers.sort_unstable();
                Ok(Test::NumberIn(numbers.into()))
            }
            ty @ (Type::EventName | Type::Text | Type::Bytes) => {
                let texts: Vec<_> =
                    words.iter().map(|word| text(word, ty)).collect::<Result<_>>()?;
                Ok(Test::Text(if self.check.operator == Operator::PathMatch {
                    TextTest::Path(PathSet::new(texts))
                } else {
                    TextTest::In(texts.into_iter().map(Into::into).collect())
                }))
            }
        }
    }

    /// A field's name on the right is a constant, which is rarely what its author meant.
    fn warn_of_names(&mut self, word: &Word) {
        let is_field = str::from_utf8(&word.bytes).is_ok_and(|t| FieldId::by_name(t).is_some());
        if word.quoted || !is_field {
            return;
        }
        let name = Escaped(&word.bytes);
        let message = format!("{name} is compared with as text, not as a field");
        let hint = format!("quote it if the text is meant; val({name}) is the field");
        self.warnings.push(
            Problem::new(Code::CompileConditionWarning, word.span, message).with_hint(Some(hint)),
        );
    }
}

fn is_list(operator: Operator) -> bool {
    matches!(operator, Operator::In | Operator::Intersects | Operator::PathMatch)
}

/// Whether an operator is for a type; for a list if that is none.
fn is_allowed(operator: Operator, ty: Option<Type>) -> bool {
    use Operator::{
        Contains, ContainsBytes, EndsWith, Equal, EqualTwice, Exists, Greater, GreaterOrEqual, In,
        Intersects, Less, LessOrEqual, NotEqual, StartsWith, StartsWithBytes,
    };
    let Some(ty) = ty else { return matches!(operator, In | Intersects | Exists) };
    match operator {
        Equal | EqualTwice | NotEqual | In | Intersects | Exists => true,
        Less | LessOrEqual | Greater | GreaterOrEqual => {
            !matches!(ty, Type::Bool | Type::Address | Type::Network | Type::Bytes)
        }
        ContainsBytes | StartsWithBytes => ty == Type::Bytes,
        Contains | StartsWith | EndsWith => {
            matches!(ty, Type::Text | Type::EventName | Type::Bytes)
        }
        _ => matches!(ty, Type::Text | Type::EventName),
    }
}

fn boolean(word: &Word) -> Result<bool> {
    match word.bytes.as_slice() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(bad_constant(word, "boolean", "true or false")),
    }
}

/// Numbers are decimal integers; Falco's grammar takes more, its conversion does not.
fn number(word: &Word) -> Result<i128> {
    let text = str::from_utf8(&word.bytes).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| bad_constant(word, "number", "a decimal integer"))
}

/// A port, by number or by the name of its service.
fn port(word: &Word) -> Result<i128> {
    let named = str::from_utf8(&word.bytes).ok().and_then(port_of);
    named.map_or_else(|| number(word), |port| Ok(port.into())).map_err(|problem| {
        problem.with_hint(Some("expected a decimal integer, or the name of a service".to_owned()))
    })
}

fn address(word: &Word) -> Result<IpAddr> {
    let text = str::from_utf8(&word.bytes).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        bad_constant(
            word,
            "IP address",
            "one like 10.0.0.1 or 2001:db8::1; fd.net and its like are for networks",
        )
    })
}

fn network(word: &Word) -> Result<Network> {
    const EXPECTED: &str = "one like 10.0.0.0/8 or 2001:db8::/32";
    let text = String::from_utf8_lossy(&word.bytes);
    Network::parse(&text).map_err(|cause| {
        let mut problem = bad_constant(word, "IP network", EXPECTED);
        problem.message = format!("{}: {}", problem.message, Escaped(cause.as_bytes()));
        problem
    })
}

/// How large a regular expression may be once it is compiled, as in Falco.
const REGEX_BYTES: usize = 8 << 20;

/// How deep its groups and repetitions may nest.
const REGEX_DEPTH: u32 = 100;

/// A regular expression that has to match the whole of a text.
fn regex(word: &Word) -> Result<Regex> {
    let invalid = |cause: &str| {
        Problem::condition(word.span, "invalid regex pattern").with_hint(Some(cause.to_owned()))
    };
    let pattern =
        str::from_utf8(&word.bytes).map_err(|_| invalid("the pattern is not valid UTF-8"))?;
    // On its own first: a stray parenthesis must not pair with those around it.
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(REGEX_BYTES).nest_limit(REGEX_DEPTH).build()
    };
    compile(pattern).and_then(|_| compile(&format!(r"\A(?:{pattern})\z"))).map_err(|error| {
        let text = error.to_string();
        let cause = text.lines().last().unwrap_or_default();
        invalid(cause.trim_start_matches("error: "))
    })
}

/// Bytes, each as two hexadecimal digits.
fn hexadecimal(word: &Word) -> Result<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = word.bytes.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| bad_constant(word, "byte string", "two hexadecimal digits for each byte"))
}

fn text(word: &Word, ty: Type) -> Result<&[u8]> {
    if ty != Type::Bytes
        && let Some(nul) = word.bytes.iter().position(|byte| *byte == 0)
    {
        let message = format!("the text has a NUL byte at {nul}, which no text field can contain");
        return Err(Problem::condition(word.span, message));
    }
    if ty == Type::EventName {
        let name = str::from_utf8(&word.bytes).unwrap_or_default();
        if !names::is_known(name) {
            let shown = Escaped(&word.bytes);
            return Err(Problem::unknown_name(word.span, format!("unknown event type {shown}"))
                .with_hint(suggest::hint(name, names::NAMES.iter().copied())));
        }
    }
    Ok(&word.bytes)
}

fn bad_constant(word: &Word, ty: &str, expected: &str) -> Problem {
    let message = format!("{} is not a valid {ty}", Escaped(&word.bytes));
    Problem::condition(word.span, message).with_hint(Some(format!("expected {expected}")))
}
