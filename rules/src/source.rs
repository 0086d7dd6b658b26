//! Rule files as the diagnostics see them: lines, columns and excerpts.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use crate::advice;
use crate::diagnose::{Code, Diagnostic, Excerpt, Item, Related};
use crate::yaml::{self, Node, Scalar, YamlError};

/// The most characters of a line that a diagnostic shows.
const EXCERPT_WIDTH: usize = 120;

/// A larger file is not read: no rules are that long, and the tree of its YAML can take fifty times as much.
const MAX_BYTES: usize = 16 << 20;

/// The text up to the first byte that is not UTF-8, and whether that is all of it.
pub(crate) fn decode(bytes: &[u8]) -> (&str, bool) {
    match bytes.utf8_chunks().next() {
        None => ("", true),
        Some(chunk) => (chunk.valid(), chunk.invalid().is_empty()),
    }
}

/// A rule file.
#[derive(Debug)]
pub(crate) struct SourceFile<'a> {
    name: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    /// The last place whose column was counted, so that the next one on its line is not counted from
    /// the start: a line can be as long as the file.
    counted: Cell<Position>,
}

/// A place, in every way that it is told.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    offset: usize,
    /// From 1; 0 for no place.
    line: usize,
    /// From 0.
    column: usize,
}

/// Bytes of one of the files.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
}

impl<'a> SourceFile<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        let line_starts = memchr::memchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1);
        let line_starts = std::iter::once(0).chain(line_starts).collect();
        Self { name, text, line_starts, counted: Cell::default() }
    }

    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The file's documents.
    pub(crate) fn documents(&self) -> Result<Vec<Rc<Node>>, Box<Diagnostic>> {
        let error = |offset, message: String| {
            Box::new(self.diagnostic(Code::YamlParse, &(offset..offset), message))
        };
        if self.text.len() > MAX_BYTES {
            return Err(error(0, format!("the file is larger than {} MiB", MAX_BYTES >> 20)));
        }
        yaml::parse(self.text).map_err(|YamlError { offset, message }| {
            let hint = advice::yaml(&message);
            let mut diagnostic = error(offset, message);
            diagnostic.hint = hint;
            diagnostic
        })
    }

    /// Says that the file goes on with bytes that are not text.
    pub(crate) fn not_utf8(&self) -> Diagnostic {
        let end = self.text.len()..self.text.len();
        self.diagnostic(Code::YamlParse, &end, "the file is not UTF-8 from here on")
    }

    /// A diagnostic about a span of the file; its excerpt shows the first line of it.
    pub(crate) fn diagnostic(
        &self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        let start = self.position(span.start);
        let end = self.position(span.end.max(span.start));
        let line = self.line(start.line);
        let (excerpt, shown) = excerpt(line, start.offset - self.line_start(start.line));
        let in_line = if end.line == start.line {
            end.column.saturating_sub(start.column)
        } else {
            line[start.offset - self.line_start(start.line)..].chars().take(EXCERPT_WIDTH).count()
        };
        Diagnostic {
            severity: code.severity(),
            code,
            message: message.into(),
            file: self.name.to_owned(),
            line: start.line,
            column: start.column + 1,
            end_line: end.line,
            end_column: end.column + 1,
            length: in_line.clamp(1, shown.max(1)),
            excerpt,
            item: None::<Item>,
            note: None,
            hint: None,
            related: Vec::new(),
        }
    }

    /// What a diagnostic about another place says of this one.
    pub(crate) fn related(&self, span: &Range<usize>, message: impl Into<String>) -> Related {
        let (start, end) = (self.position(span.start), self.position(span.end.max(span.start)));
        Related {
            message: message.into(),
            file: self.name.to_owned(),
            line: start.line,
            column: start.column + 1,
            end_line: end.line,
            end_column: end.column + 1,
        }
    }

    fn line_start(&self, line: usize) -> usize {
        self.line_starts[line - 1]
    }

    /// A line without its end.
    fn line(&self, line: usize) -> &'a str {
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        self.text[self.line_start(line)..end].trim_end_matches(['\n', '\r'])
    }

    fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|line_start| *line_start <= offset);
        // The end of a line is a place of it, its newline is none.
        let offset = offset.min(self.line_start(line) + self.line(line).len());
        let counted = self.counted.get();
        let (from, column) = if counted.line == line && counted.offset <= offset {
            (counted.offset, counted.column)
        } else {
            (self.line_start(line), 0)
        };
        let column = column + self.text[from..offset].chars().count();
        let position = Position { offset, line, column };
        self.counted.set(position);
        position
    }
}

/// The part of a line around a byte of it, and how many of its characters stand there and after it.
fn excerpt(line: &str, at: usize) -> (Excerpt, usize) {
    let (before, after) = line.split_at(at);
    // The window around the column that is shown of a long line.
    let mut start = at;
    let indent = before
        .char_indices()
        .rev()
        .take(EXCERPT_WIDTH / 2)
        .map(|(offset, _)| start = offset)
        .count();
    let text: String = line[start..].chars().take(EXCERPT_WIDTH).map(printable).collect();
    (Excerpt { text, indent }, after.chars().take(EXCERPT_WIDTH - indent).count())
}

/// One character for one, so that the caret stays below its place.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// Text from scalars of rule files, which knows where each of its bytes came from.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    text: String,
    fragments: Vec<Fragment>,
}

/// A scalar's share of a text.
#[derive(Clone, Debug)]
struct Fragment {
    /// Where it starts in the text.
    start: usize,
    place: Place,
    scalar: Scalar,
}

impl Text {
    pub(crate) fn new(file: usize, node: &Node, scalar: &Scalar) -> Self {
        let place = Place { file, span: node.span.clone() };
        let fragment = Fragment { start: 0, place, scalar: scalar.clone() };
        Self { text: scalar.text.clone(), fragments: vec![fragment] }
    }

    /// An empty text that is made at a place; what is pushed as a string stands there.
    pub(crate) fn made_at(place: Place) -> Self {
        let fragment = Fragment { start: 0, place, scalar: Scalar::default() };
        Self { text: String::new(), fragments: vec![fragment] }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the text begins.
    pub(crate) fn origin(&self) -> Place {
        // There is always a first fragment.
        self.fragments[0].place.clone()
    }

    /// The file that its beginning came from.
    pub(crate) fn file(&self) -> usize {
        self.fragments.first().map_or(0, |fragment| fragment.place.file)
    }

    /// Joins another text with one blank, as Falco does.
    pub(crate) fn append(&mut self, other: Self) {
        self.text.push(' ');
        self.push(other);
    }

    /// Adds another text.
    pub(crate) fn push(&mut self, other: Self) {
        let start = self.text.len();
        self.text.push_str(&other.text);
        let moved = |fragment: Fragment| Fragment { start: start + fragment.start, ..fragment };
        self.fragments.extend(other.fragments.into_iter().map(moved));
    }

    /// Adds what is in no file: for diagnostics it stands at the end of what is before it.
    pub(crate) fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The same with a text in the place of its own that says the same in another way.
    pub(crate) fn respelt(self, text: String) -> Self {
        Self { text, ..self }
    }

    /// Where a span of the text stands in its file.
    pub(crate) fn place(&self, files: &[SourceFile<'_>], span: Range<usize>) -> Place {
        let index = self.fragments.partition_point(|fragment| fragment.start <= span.start);
        let Fragment { start, place: Place { file, span: outer }, scalar } =
            &self.fragments[index.saturating_sub(1)];
        let source = files[*file].text().get(outer.clone()).unwrap_or_default();
        let at = |offset| outer.start + yaml::source_offset(scalar, source, offset);
        let first = at(span.start - start);
        // From the last byte, not the one after it: a blank may be a line away.
        let last = if span.end > span.start { at(span.end - 1 - start) } else { first };
        Place { file: *file, span: first..last.max(first) + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        let file = SourceFile::new("f", "a\n\té = x\nlast");
        let diagnostic = file.diagnostic(Code::Validate, &(8..9), "m");
        assert_eq!((diagnostic.line, diagnostic.column, diagnostic.length), (2, 6, 1));
        assert_eq!(diagnostic.excerpt, Excerpt { text: " é = x".to_owned(), indent: 5 });
        let diagnostic = file.diagnostic(Code::Validate, &(99..99), "m");
        assert_eq!((diagnostic.line, diagnostic.column), (3, 5));
    }

    #[test]
    fn a_long_line_is_shown_around_the_column() {
        let text = "x".repeat(1_000_000) + "HERE" + &"y".repeat(1_000);
        let file = SourceFile::new("f", &text);
        let diagnostic = file.diagnostic(Code::Validate, &(1_000_000..1_000_004), "m");
        assert_eq!((diagnostic.excerpt.indent, diagnostic.length), (60, 4));
        assert_eq!(diagnostic.excerpt.text.chars().nth(60), Some('H'));
        assert_eq!(diagnostic.excerpt.text.len(), EXCERPT_WIDTH);
    }
}
