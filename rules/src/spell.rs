//! Compiled checks as text, for a person: long lists are shortened.

use std::fmt::{self, Display, Formatter};

use crate::eval::{Check, Index, Left, Relation, Subject, Test, TextTest};
use crate::event::Value;
use crate::term::Term;
use crate::text::Escaped;

/// The most members of a list that are shown.
const MAX_SHOWN: usize = 6;

impl Display for Check {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.left {
            Left::Term(Term::Field(subject)) => write!(formatter, "{subject} {}", self.test),
            Left::Term(_) | Left::List(_) => write!(formatter, "transformer(…) {}", self.test),
        }
    }
}

impl Display for Subject {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let name = self.field.name();
        match &self.index {
            Index::Ancestors | Index::None => formatter.write_str(name),
            Index::At(index) => write!(formatter, "{name}[{index}]"),
            Index::Named(argument) if self.field.info().argument.is_dotted() => {
                write!(formatter, "{name}.{argument}")
            }
            Index::Named(argument) => write!(formatter, "{name}[{argument}]"),
        }
    }
}

impl Display for Test {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let equality = |is_equal: bool| if is_equal { "=" } else { "!=" };
        match self {
            Self::Against(operator, _) => write!(formatter, "{} another value", operator.name()),
            Self::Address { address, is_equal } => {
                write!(formatter, "{} {address}", equality(*is_equal))
            }
            Self::AddressIn(addresses) => {
                list(formatter, "in", addresses.iter().map(ToString::to_string))
            }
            Self::Bool { accepts: [true, false] } => formatter.write_str("= false"),
            Self::Bool { accepts: [false, true] } => formatter.write_str("= true"),
            Self::Bool { .. } => formatter.write_str("in (…)"),
            Self::Exists => formatter.write_str("exists"),
            Self::Members { all, words } => {
                list(formatter, if *all { "in" } else { "intersects" }, texts(words.iter()))
            }
            Self::Network { network, is_in } => {
                write!(formatter, "{} {network}", equality(*is_in))
            }
            Self::NetworkIn(networks) => {
                list(formatter, "in", networks.iter().map(ToString::to_string))
            }
            Self::Number(relation, constant) => write!(formatter, "{} {constant}", relation.name()),
            Self::NumberIn(constants) => {
                list(formatter, "in", constants.iter().map(ToString::to_string))
            }
            Self::Quantified(quantifier, tests) => {
                let tests = tests.iter().map(ToString::to_string);
                list(formatter, quantifier.name(), tests)
            }
            Self::Text(test) => write!(formatter, "{test}"),
        }
    }
}

impl Display for TextTest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let plain = |formatter: &mut Formatter<'_>, operator: &str, text: &[u8]| {
            write!(formatter, "{operator} {}", Escaped(text))
        };
        match self {
            Self::Contains(finder) => plain(formatter, "contains", finder.needle()),
            Self::ContainsFolded(needle) => plain(formatter, "icontains", needle),
            Self::EndsWith(suffix) => plain(formatter, "endswith", suffix),
            Self::Glob(_) => formatter.write_str("glob …"),
            Self::In(set) => list(formatter, "in", texts(set.iter())),
            Self::Path(paths) => list(formatter, "pmatch", texts(paths.examples())),
            Self::Regex(regex) => write!(formatter, "regex {regex}"),
            Self::Relation(relation, constant) => plain(formatter, relation.name(), constant),
            Self::StartsWith(prefix) => plain(formatter, "startswith", prefix),
        }
    }
}

impl Relation {
    const fn name(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::NotEqual => "!=",
        }
    }
}

/// A value as a rule file would have it.
impl Display for Value<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(value) => write!(formatter, "{value}"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Number(value) => write!(formatter, "{value}"),
            Self::Text(value) => write!(formatter, "{}", Escaped(value)),
        }
    }
}

fn texts(set: impl Iterator<Item = impl AsRef<[u8]>>) -> impl Iterator<Item = String> {
    set.map(|text| Escaped(text.as_ref()).to_string())
}

/// An operator with a list behind it, sorted.
fn list(
    formatter: &mut Formatter<'_>,
    operator: &str,
    members: impl Iterator<Item = String>,
) -> fmt::Result {
    let mut members: Vec<_> = members.collect();
    members.sort();
    let more = members.len().saturating_sub(MAX_SHOWN);
    members.truncate(MAX_SHOWN);
    write!(formatter, "{operator} ({}", members.join(", "))?;
    if more > 0 {
        write!(formatter, " and {more} more")?;
    }
    formatter.write_str(")")
}
