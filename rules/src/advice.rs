//! What to do about a mistake: the habits of other languages, and words that were left out.

use crate::ast::{Operator, Span, Transformer};
use crate::field;
use crate::lex::{self, SyntaxError};
use crate::rule::Priority;
use crate::suggest;

/// A better hint for a mistake of a condition, if what stands there tells what was meant.
pub(crate) fn advise(text: &str, mut error: SyntaxError) -> SyntaxError {
    let before = text.get(..error.span.start).unwrap_or_default();
    let rest = text.get(error.span.start..).unwrap_or_default();
    let message = error.message.as_str();
    let hint = if message.starts_with("unexpected token after") {
        after_check(before, rest)
    } else if message == "expected a valid check operator" {
        operator(before, rest)
    } else if message.starts_with("expected a '(' token") {
        start_of_check(before, rest)
    } else if message.starts_with("expected a string value") {
        value(rest)
    } else if message.starts_with("expected a number") {
        Some(
            if rest.starts_with('>') { "not equal is `!=`" } else { "expected a decimal integer" }
                .into(),
        )
    } else if message.starts_with("expected a list") {
        Some(list(rest))
    } else if message.starts_with("expected a ')' token") {
        closing(before, rest)
    } else if message.starts_with("expected a closing") {
        Some("the text begins here and has no end".into())
    } else {
        None
    };
    error.hint = hint.or(error.hint);
    if message.starts_with("expected a ')' token") {
        error.opened = last_open(before).map(|at| Span::new(at..at + 1));
    }
    error
}

/// What was probably meant by a YAML error.
pub(crate) fn yaml(message: &str) -> Option<String> {
    let hints = [
        (
            "mapping values",
            "a value with ': ' needs quotes, or stands below `>-`; else check the indentation",
        ),
        ("tab", "YAML is indented with blanks, not with tabs"),
        ("unexpected character", "a value that begins with this character needs quotes"),
        ("unclosed quote", "the quoted text begins here and has no end"),
        (
            "did not find expected",
            "check the indentation: the keys of an item stand below its first one",
        ),
    ];
    hints.iter().find(|(part, _)| message.contains(part)).map(|(_, hint)| (*hint).to_owned())
}

/// The priority that was probably meant.
pub(crate) fn priority(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let names: Vec<_> = Priority::ALL.iter().map(|one| one.name().to_ascii_lowercase()).collect();
    let begun = names.iter().find(|one| name.len() >= 3 && one.starts_with(&name));
    let found = begun.map(String::as_str);
    found.or_else(|| suggest::nearest(&name, names.iter().map(String::as_str))).map(did_you_mean)
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean {word}?")
}

/// After a whole check.
fn after_check(before: &str, rest: &str) -> Option<String> {
    let last = before.split_whitespace().last().unwrap_or_default();
    let word = rest.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    if let Some(joined) = conjunction(rest, word) {
        return Some(joined);
    }
    if rest.starts_with(')') {
        return Some("there is no '(' for it".into());
    }
    if matches!(last, "and" | "or") {
        return Some(format!("there is nothing before `{last}`"));
    }
    if matches!(last, "AND" | "OR" | "NOT" | "And" | "Or" | "Not") {
        return Some(format!("write `{}`", last.to_ascii_lowercase()));
    }
    if let Some(kind) = last.strip_suffix(['=', '!', '<', '>']).filter(|_| last == "=!") {
        return Some(format!("not equal is `!{kind}`"));
    }
    let is_alone = last.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let stands_first = before.trim_end().len() == last.len()
        || before[..before.trim_end().len() - last.len()].trim_end().ends_with(['(', ')'])
        || ["and", "or", "not"]
            .contains(&before.split_whitespace().rev().nth(1).unwrap_or_default());
    if is_alone && stands_first {
        if rest.starts_with('(') {
            let names = Transformer::ALL.iter().map(|transformer| transformer.name());
            let meant = names.clone().find(|name| name.ends_with(&last.to_ascii_lowercase()));
            let meant = meant.or_else(|| suggest::nearest(last, names.clone()));
            return Some(meant.map_or_else(
                || {
                    format!(
                        "`{last}` is no transformer; there are {}",
                        names.collect::<Vec<_>>().join(" ")
                    )
                },
                |meant| did_you_mean(&format!("{meant}(…)")),
            ));
        }
        if Operator::ALL.iter().any(|operator| rest.starts_with(operator.name())) {
            let end = format!(".{last}");
            let meant: Vec<_> = field::all()
                .iter()
                .map(|field| field.name)
                .filter(|name| name.ends_with(&end) && name.matches('.').count() == 1)
                .take(3)
                .collect();
            return Some(if meant.is_empty() {
                "a field has a dot in its name, as proc.name has".into()
            } else {
                did_you_mean(&meant.join(" or "))
            });
        }
    }
    let starts_check = lex::field_name_length(rest).is_some_and(|length| {
        rest[length..]
            .trim_start()
            .starts_with(|c: char| "=!<>[".contains(c) || c.is_ascii_alphabetic())
    });
    if starts_check || rest.starts_with('(') || matches!(word, "not" | "exists") {
        return Some("join checks by `and` or `or`".into());
    }
    if rest.starts_with(',') {
        let hint = "join checks by `and` or `or`; values of a list stand in parentheses: in (a, b)";
        return Some(hint.into());
    }
    None
}

/// `and` and `or` as other languages write them.
fn conjunction(rest: &str, word: &str) -> Option<String> {
    let meant = match word {
        _ if rest.starts_with('&') => "and",
        _ if rest.starts_with('|') => "or",
        _ if word.eq_ignore_ascii_case("and") && word != "and" => "and",
        _ if word.eq_ignore_ascii_case("or") && word != "or" => "or",
        _ => return None,
    };
    Some(format!("write `{meant}`"))
}

/// After a field.
fn operator(before: &str, rest: &str) -> Option<String> {
    let field = before.split_whitespace().last().unwrap_or_default();
    let field = field.trim_start_matches('(');
    let word = rest.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    if word.is_empty() || rest.starts_with(')') || matches!(word, "and" | "or") {
        return Some(format!("say what {field} is compared with, or write `{field} exists`"));
    }
    if word == "not" {
        return Some(format!("`not` stands before the field: not {field} …"));
    }
    let meant = match word.to_ascii_lowercase().as_str() {
        "is" | "equals" | "equal" | "eq" | ":" => "=",
        "isnot" | "ne" | "neq" | "~=" => "!=",
        "like" | "ilike" => "glob",
        "match" | "matches" | "~" | "=~" | "regexp" => "regex",
        "has" | "includes" => "contains",
        "gt" => ">",
        "lt" => "<",
        "starts_with" | "start_with" | "startwith" | "starts" | "begins" => "startswith",
        "ends_with" | "end_with" | "endwith" | "ends" => "endswith",
        other => {
            let names = Operator::ALL.iter().map(|operator| operator.name());
            return suggest::hint(other, names.filter(|name| name.len() > 1));
        }
    };
    Some(did_you_mean(meant))
}

/// Where a check should begin.
fn start_of_check(before: &str, rest: &str) -> Option<String> {
    let last = before.split_whitespace().last().unwrap_or_default();
    match rest.chars().next() {
        None if last.is_empty() => Some("the condition is empty".into()),
        None => Some(format!("there is nothing after `{last}`")),
        Some('!') => Some("write `not `".into()),
        Some(')') => Some("there is nothing before it".into()),
        Some('%' | '$') => Some("a field is named without this sign here, as in proc.name".into()),
        Some('"' | '\'' | '0'..='9') => {
            Some("a check begins with a field, as in proc.name = bash".into())
        }
        _ => None,
    }
}

fn value(rest: &str) -> Option<String> {
    match rest.chars().next() {
        None => Some("a value is missing; the empty text is \"\"".into()),
        Some('(') => Some("for a list of values write `in (…)`".into()),
        Some(')') => Some("a value is missing: a comma too many?".into()),
        Some('=') => Some("equal is `=` or `==`".into()),
        _ => None,
    }
}

fn list(rest: &str) -> String {
    let word = rest.split_whitespace().next().unwrap_or_default();
    match rest.chars().next() {
        None => "write a list in parentheses, or the name of one".into(),
        Some('[' | '{') => "a list stands in parentheses: (a, b)".into(),
        _ => format!("write ({word}) for a list of that one value"),
    }
}

/// Where a parenthesis should close.
fn closing(before: &str, rest: &str) -> Option<String> {
    let word = rest.split(char::is_whitespace).next().unwrap_or_default();
    if word.is_empty() {
        return Some("add a ')'".into());
    }
    let opened = before.get(..last_open(before)?)?.trim_end();
    let is_list = ["in", "intersects", "pmatch", "allof", "anyof", "oneof"]
        .iter()
        .any(|operator| opened.ends_with(operator));
    if is_list && rest.starts_with('(') {
        return Some("a list holds constants only".into());
    }
    if is_list {
        return Some(
            "values of a list are separated by commas; one with blanks needs quotes".into(),
        );
    }
    after_check(before, rest)
}

/// The last parenthesis that is open, quoted ones left out.
fn last_open(text: &str) -> Option<usize> {
    let (mut open, mut quote, mut is_escaped) = (Vec::new(), None, false);
    for (at, character) in text.char_indices() {
        match (character, quote) {
            _ if is_escaped => is_escaped = false,
            ('\\', Some(_)) => is_escaped = true,
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(mark)) if mark == character => quote = None,
            ('(', None) => open.push(at),
            (')', None) => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}
