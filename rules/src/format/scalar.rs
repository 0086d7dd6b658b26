//! Scalars: plain where YAML lets them be, quoted or folded where not.

use granit_parser::ScalarStyle;

use super::WIDTH;
use super::fill::{fill, start_line, width};
use crate::yaml::Scalar;

/// The column of the lines of a block beneath a key of an item.
pub(super) const BLOCK: usize = 4;

/// Where a scalar stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Context {
    /// After a key or a dash.
    Block,
    /// In brackets.
    Flow,
}

/// A scalar on one line, quoted only if it must be. `source` is how it is written.
pub(super) fn inline(scalar: &Scalar, source: &str, context: Context) -> Option<String> {
    let text = &scalar.text;
    match scalar.style() {
        ScalarStyle::Plain => is_plain(text, context).then(|| text.clone()),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
            if is_plain(text, context) && is_word(text) {
                return Some(text.clone());
            }
            if !source.contains('\n') {
                return Some(source.to_owned());
            }
            let is_printable = !text.contains(|c: char| is_special(c));
            is_printable.then(|| format!("'{}'", text.replace('\'', "''")))
        }
        _ => None,
    }
}

/// Prose after a key that ends in column `column`: on the key's line if it fits, folded if not.
pub(super) fn prose(scalar: &Scalar, source: &str, column: usize) -> Option<String> {
    let (body, chomping) = match scalar.text.strip_suffix('\n') {
        Some(body) => (body, ""),
        None => (scalar.text.as_str(), "-"),
    };
    if scalar.style() == ScalarStyle::Literal {
        return literal(body, chomping);
    }
    let line = match scalar.style() {
        ScalarStyle::Folded => is_plain(body, Context::Block).then(|| body.to_owned()),
        _ => inline(scalar, source, Context::Block),
    };
    if chomping == "-"
        && let Some(line) = line
        && column + 1 + width(&line) <= WIDTH
    {
        return Some(format!(" {line}"));
    }
    let is_prose = |line: &str| {
        !line.is_empty() && line.trim() == line && !line.contains(|c: char| is_special(c))
    };
    let is_written_in_lines = scalar.style() != ScalarStyle::Folded && body.contains('\n');
    if is_written_in_lines || !body.split('\n').all(is_prose) {
        return None;
    }
    let mut text = format!(" >{chomping}");
    for (number, paragraph) in body.split('\n').enumerate() {
        if number > 0 {
            text.push('\n');
        }
        fill(&mut text, words(paragraph), BLOCK);
    }
    Some(text)
}

/// Lines that are kept.
fn literal(body: &str, chomping: &str) -> Option<String> {
    if body.is_empty() || body.starts_with([' ', '\t', '\n']) {
        // Its indentation would have to be said.
        return None;
    }
    let mut text = format!(" |{chomping}");
    for line in body.split('\n') {
        if line.is_empty() {
            text.push('\n');
        } else {
            start_line(&mut text, BLOCK);
            text.push_str(line);
        }
    }
    Some(text)
}

/// Whether a text reads as itself when it is written plainly.
pub(super) fn is_plain(text: &str, context: Context) -> bool {
    let mut characters = text.chars();
    let (first, second) = (characters.next(), characters.next());
    let starts_well = match first {
        None => false,
        Some('-' | '?' | ':') => second.is_some_and(|c| !c.is_whitespace()),
        Some(first) => !first.is_whitespace() && !"#,[]{}&*!|>'\"%@`".contains(first),
    };
    starts_well
        && !text.ends_with(|c: char| c.is_whitespace() || c == ':')
        && ![": ", " #"].iter().any(|mark| text.contains(mark))
        && !["---", "..."].iter().any(|border| text.starts_with(border))
        && !text.contains(|c: char| is_special(c))
        && !is_null(text)
        && (context == Context::Block || !text.contains(|c: char| ",[]{}".contains(c)))
}

fn is_null(text: &str) -> bool {
    matches!(text, "~" | "null" | "Null" | "NULL")
}

/// Whether no reader of YAML takes a plain text for a number, a truth value or the like.
fn is_word(text: &str) -> bool {
    let is_wordy = text.starts_with(|c: char| c.is_alphabetic() || "/_(".contains(c));
    let values = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    is_wordy && !values.iter().any(|value| text.eq_ignore_ascii_case(value))
}

/// Whether a character has no place in a text that is laid out.
fn is_special(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The words of a paragraph; longer runs of blanks stay within a word, where no line breaks.
fn words(paragraph: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(paragraph);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let bytes = text.as_bytes();
        let end = memchr::memchr_iter(b' ', bytes).find(|&blank| {
            bytes.get(blank.wrapping_sub(1)) != Some(&b' ') && bytes.get(blank + 1) != Some(&b' ')
        });
        let Some(end) = end else { return Some(text) };
        rest = Some(&text[end + 1..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_runs_of_blanks() {
        assert_eq!(words("a b  c d").collect::<Vec<_>>(), ["a", "b  c", "d"]);
    }

    #[test]
    fn what_yaml_would_take_for_something_else_is_not_plain() {
        for text in [
            "", "- a", "-", "#a", "a #b", "a: b", "a:", " a", "a ", "[a", "~", "null", "--- a",
            "a\tb",
        ] {
            assert!(!is_plain(text, Context::Block), "{text:?}");
        }
        for text in ["-a", "a#b", "a:b", "a, b", "(a)", "a [b]", "it's", "/etc/*"] {
            assert!(is_plain(text, Context::Block), "{text:?}");
        }
        assert!(!is_plain("a, b", Context::Flow) && !is_plain("a[0]", Context::Flow));
        assert!(!is_word("1.0") && !is_word("Yes") && is_word("yes please"));
    }
}
