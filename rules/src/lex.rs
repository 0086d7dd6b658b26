//! The tokens of a condition.
//!
//! Falco's grammar has no context-free tokens: `<` is an operator after a field and an ordinary
//! character in a value. The parser therefore asks a [`Cursor`] for the token that it expects, and
//! the cursor either moves past it or stays.

use crate::ast::{Span, Word};

/// A mistake in the text of a condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SyntaxError {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The parenthesis that is not closed.
    pub(crate) opened: Option<Span>,
}

/// A position in a condition.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    position: usize,
    last_token: Span,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, position: 0, last_token: Span::new(0..0) }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Moves back to an earlier position.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.position = position;
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position == self.text.len()
    }

    pub(crate) fn span_from(&self, start: usize) -> Span {
        Span::new(start..self.position)
    }

    /// The token read last.
    pub(crate) fn last_token(&self) -> &'a str {
        &self.text[self.last_token.start..self.last_token.end]
    }

    /// The span of what stands at the position: up to the next blank, or empty at the end.
    pub(crate) fn span_ahead(&self) -> Span {
        let rest = self.rest();
        let length = rest.find(is_blank_char).unwrap_or(rest.len());
        let length =
            if length == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { length };
        Span::new(self.position..self.position + length)
    }

    /// Skips blanks and says whether there were any.
    pub(crate) fn skip_blanks(&mut self) -> bool {
        let start = self.position;
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches(is_blank_char).len();
        self.position > start
    }

    /// Reads exactly `token`.
    pub(crate) fn symbol(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.advance(token.len());
        }
        found
    }

    /// Reads `word` and the blanks that must follow it.
    pub(crate) fn word(&mut self, word: &str) -> bool {
        let start = self.clone();
        if self.symbol(word) && self.skip_blanks() {
            return true;
        }
        *self = start;
        false
    }

    /// Reads a name without dots.
    pub(crate) fn identifier(&mut self) -> Option<&'a str> {
        let length = identifier_length(self.rest())?;
        Some(self.advance(length))
    }

    /// Reads a name with at least one dot.
    pub(crate) fn field_name(&mut self) -> Option<&'a str> {
        let length = field_name_length(self.rest())?;
        Some(self.advance(length))
    }

    /// Reads a number as the parser of the language takes it; whether it is an integer is for
    /// the type check.
    pub(crate) fn number(&mut self) -> Option<Word> {
        let rest = self.rest();
        let length = hexadecimal_length(rest).or_else(|| decimal_length(rest))?;
        Some(self.bare_word(length))
    }

    /// Reads the argument of a field, between the brackets.
    pub(crate) fn field_argument(&mut self) -> Result<Option<Word>, SyntaxError> {
        if let Some(word) = self.quoted()? {
            return Ok(Some(word));
        }
        let stop = |c: char| matches!(c, '[' | ']' | '"' | '\'') || is_space(c);
        Ok(self.bare(stop))
    }

    /// Reads a value, quoted or bare.
    pub(crate) fn value(&mut self) -> Result<Option<Word>, SyntaxError> {
        if let Some(word) = self.quoted()? {
            return Ok(Some(word));
        }
        Ok(self.bare(ends_value))
    }

    /// Reads a quoted string.
    pub(crate) fn quoted(&mut self) -> Result<Option<Word>, SyntaxError> {
        let start = self.position;
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            if character == quote {
                self.advance(offset + 1);
                return Ok(Some(Word { span: self.span_from(start), bytes, quoted: true }));
            }
            if character == '\\' {
                let escape = &self.rest()[offset + 1..];
                let (byte, consumed) = unescape(escape, quote).ok_or_else(|| {
                    let length = escape.chars().next().map_or(0, char::len_utf8);
                    self.bad_escape(start + offset, length)
                })?;
                bytes.push(byte);
                // An escape is ASCII: one character a byte.
                characters.nth(consumed - 1);
            } else {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Err(SyntaxError {
            span: Span::new(start..start + 1),
            message: format!("expected a closing {quote}"),
            hint: None,
            opened: None,
        })
    }

    fn bad_escape(&self, backslash: usize, length: usize) -> SyntaxError {
        let span = Span::new(backslash..backslash + 1 + length);
        SyntaxError {
            span,
            message: format!("unknown escape sequence {}", &self.text[span.start..span.end]),
            hint: Some(
                "known are \\b \\f \\n \\r \\t \\\\ \\/ \\xHH and the string's own quote"
                    .to_owned(),
            ),
            opened: None,
        }
    }

    fn bare(&mut self, stop: impl Fn(char) -> bool) -> Option<Word> {
        let rest = self.rest();
        let length = rest.find(stop).unwrap_or(rest.len());
        (length > 0).then(|| self.bare_word(length))
    }

    fn bare_word(&mut self, length: usize) -> Word {
        let start = self.position;
        let bytes = self.advance(length).as_bytes().to_vec();
        Word { span: self.span_from(start), bytes, quoted: false }
    }

    fn advance(&mut self, length: usize) -> &'a str {
        self.last_token = Span::new(self.position..self.position + length);
        self.position += length;
        self.last_token()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }
}

/// The length of the longest field name at the start of `text`.
pub(crate) fn field_name_length(text: &str) -> Option<usize> {
    let mut length = identifier_length(text)?;
    let mut dots = 0;
    while let Some(next) = text[length..].strip_prefix('.').and_then(identifier_length) {
        length += 1 + next;
        dots += 1;
    }
    (dots > 0).then_some(length)
}

fn identifier_length(text: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        .then(|| text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

fn hexadecimal_length(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let length = run(digits, |c| c.is_ascii_alphanumeric());
    (length > 0).then_some(length + 2)
}

fn decimal_length(text: &str) -> Option<usize> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut length = usize::from(text.starts_with(['+', '-']));
    let digits = run(&text[length..], is_digit);
    if digits == 0 {
        return None;
    }
    length += digits;
    if text[length..].starts_with('.') {
        length += 1;
        length += run(&text[length..], is_digit);
    }
    // An exponent needs its sign; without one, `e3` is left for the parser to reject.
    if text[length..].starts_with(['e', 'E']) && text[length + 1..].starts_with(['+', '-']) {
        let exponent = run(&text[length + 2..], is_digit);
        if exponent > 0 {
            length += 2 + exponent;
        }
    }
    Some(length)
}

/// The length of the run of ASCII characters that satisfy `predicate`.
fn run(text: &str, predicate: impl Fn(char) -> bool) -> usize {
    text.find(|c| !predicate(c)).unwrap_or(text.len())
}

/// The byte that an escape sequence stands for, and how many bytes it takes after the backslash.
fn unescape(escape: &str, quote: char) -> Option<(u8, usize)> {
    let byte = match escape.chars().next()? {
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '/' => b'/',
        '\\' | ' ' => b'\\',
        'x' => {
            let digits = escape.get(1..3).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            return Some((u8::from_str_radix(digits, 16).ok()?, 3));
        }
        '"' if quote == '"' => b'"',
        '\'' if quote == '\'' => b'\'',
        _ => return None,
    };
    Some((byte, 1))
}

/// What separates tokens.
fn is_blank_char(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\u{8}')
}

/// What ends a value without quotes.
fn ends_value(character: char) -> bool {
    matches!(character, '(' | ')' | '"' | '\'' | '=' | ',') || is_space(character)
}

/// Whether a value needs no quotes.
pub(crate) fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.contains(ends_value)
}

/// What ends a bare string: POSIX `[:space:]`, wider than what separates tokens.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> Result<Vec<u8>, String> {
        match Cursor::new(text).quoted() {
            Ok(word) => Ok(word.expect("a quoted string").bytes),
            Err(error) => Err(error.message),
        }
    }

    #[test]
    fn quoted_strings_resolve_escapes() {
        assert_eq!(quoted(r#""a\tb\\c\"d\x41""#).unwrap(), b"a\tb\\c\"dA");
        assert_eq!(quoted(r"'it\'s \xff'").unwrap(), b"it's \xff");
        assert_eq!(quoted(r#""ends in a backslash\\""#).unwrap(), b"ends in a backslash\\");
        assert_eq!(quoted(r#""a\qb""#).unwrap_err(), r"unknown escape sequence \q");
        assert_eq!(quoted(r#""\xé""#).unwrap_err(), r"unknown escape sequence \x");
        assert_eq!(quoted("\"open").unwrap_err(), "expected a closing \"");
    }

    #[test]
    fn numbers_end_where_falco_ends_them() {
        let number = |text| Cursor::new(text).number().map(|word| word.span.end);
        assert_eq!(number("0x1F "), Some(4));
        assert_eq!(number("0x"), Some(1));
        assert_eq!(number("1e3"), Some(1));
        assert_eq!(number("-0.1222e+10)"), Some(11));
        assert_eq!(number("1."), Some(2));
        assert_eq!(number(".5"), None);
    }

    #[test]
    fn field_names_have_dots_and_bare_values_nearly_anything() {
        assert_eq!(Cursor::new("proc.aname[2]").field_name(), Some("proc.aname"));
        assert_eq!(Cursor::new("proc..name").field_name(), None);
        assert_eq!(Cursor::new("proc.name. ").field_name(), Some("proc.name"));
        let word = Cursor::new("/a<b>[c];*é)").value().unwrap().unwrap();
        assert_eq!(word.bytes, "/a<b>[c];*é".as_bytes());
    }
}
