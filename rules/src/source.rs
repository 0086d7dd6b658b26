//! Rule files as the diagnostics see them: lines, columns and excerpts.

use std::ops::Range;

use crate::diagnose::{Code, Diagnostic, Excerpt, Item};
use crate::yaml::{self, Node, Scalar};

/// The most characters of a line that a diagnostic shows.
const EXCERPT_WIDTH: usize = 120;

/// A rule file.
#[derive(Debug)]
pub(crate) struct SourceFile<'a> {
    name: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
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
        Self { name, text, line_starts: std::iter::once(0).chain(line_starts).collect() }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// A diagnostic about a span of the file; what goes on after the line is left out.
    pub(crate) fn diagnostic(
        &self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        let start = self.text.floor_char_boundary(span.start);
        let line = self.line_starts.partition_point(|line_start| *line_start <= start);
        let line_start = self.line_starts[line - 1];
        let source = self.text[line_start..].lines().next().unwrap_or_default();
        let in_line = |offset: usize| {
            let offset = self.text.floor_char_boundary(offset).saturating_sub(line_start);
            source[..offset.min(source.len())].chars().count()
        };
        let (column, end) = (in_line(start), in_line(span.end.max(start)));
        // The window around the column that is shown of a long line.
        let skipped = column.saturating_sub(EXCERPT_WIDTH / 2);
        let excerpt = source.chars().skip(skipped).take(EXCERPT_WIDTH).map(printable).collect();
        let indent = column - skipped;
        Diagnostic {
            severity: code.severity(),
            code,
            message: message.into(),
            file: self.name.to_owned(),
            line,
            column: column + 1,
            length: end
                .saturating_sub(column)
                .clamp(1, EXCERPT_WIDTH - indent.min(EXCERPT_WIDTH - 1)),
            excerpt: Excerpt { text: excerpt, indent },
            item: None::<Item>,
            note: None,
            hint: None,
        }
    }
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

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Joins another text with one blank, as Falco does.
    pub(crate) fn append(&mut self, other: Self) {
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.fragments.extend(
            other
                .fragments
                .into_iter()
                .map(|fragment| Fragment { start: start + fragment.start, ..fragment }),
        );
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
