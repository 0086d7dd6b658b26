//! YAML as a tree that knows where each scalar stands and how it is written.
//!
//! This sits on the parser beneath serde-saphyr, because positions inside folded and quoted
//! scalars need their style and span, which serde does not carry. An alias shares the tree of its
//! anchor, so that no file expands to more than its own size.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle};

/// A node of a document.
#[derive(Debug)]
pub(crate) struct Node {
    /// The bytes of the file that it was read from.
    pub(crate) span: Range<usize>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
    Null,
    Scalar(Scalar),
    Sequence(Vec<Rc<Node>>),
}

/// A scalar as it reads after YAML's own escapes and folding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    style: ScalarStyle,
}

impl Default for Scalar {
    fn default() -> Self {
        Self { text: String::new(), style: ScalarStyle::Plain }
    }
}

impl Scalar {
    pub(crate) fn style(&self) -> ScalarStyle {
        self.style
    }
}

/// The text is not YAML.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct YamlError {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// Parses every document of `text`.
pub(crate) fn parse(text: &str) -> Result<Vec<Rc<Node>>, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            offset: error.marker().byte_offset().unwrap_or(text.len()).min(text.len()),
            message: error.info(),
        })?;
        let span = span.byte_range().unwrap_or(text.len()..text.len());
        builder.event(event, span);
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Rc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
}

/// A collection whose end has not been seen.
struct Open {
    start: usize,
    anchor: usize,
    is_mapping: bool,
    children: Vec<Rc<Node>>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let content = if is_null {
                    Content::Null
                } else {
                    Content::Scalar(Scalar { text: text.into_owned(), style })
                };
                self.finish(Node { span, content }, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.open(span.start, anchor, false),
            Event::MappingStart(_, anchor, _) => self.open(span.start, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            Event::Alias(anchor) => {
                // An alias within its own anchor has no end: it counts as no value.
                let node = self.anchors.get(&anchor).cloned();
                self.attach(node.unwrap_or_else(|| Node { span, content: Content::Null }.into()));
            }
            // Borders of documents and metadata carry no values.
            _ => {}
        }
    }

    fn open(&mut self, start: usize, anchor: usize, is_mapping: bool) {
        self.open.push(Open { start, anchor, is_mapping, children: Vec::new() });
    }

    fn close(&mut self, end: usize) {
        let Some(Open { start, anchor, is_mapping, children }) = self.open.pop() else { return };
        let content = if is_mapping {
            let mut children = children.into_iter();
            let pair = || children.next().zip(children.next());
            Content::Mapping(std::iter::from_fn(pair).collect())
        } else {
            Content::Sequence(children)
        };
        self.finish(Node { span: start..end.max(start), content }, anchor);
    }

    fn finish(&mut self, node: Node, anchor: usize) {
        let node = Rc::new(node);
        // Anchors count from 1.
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node);
    }

    fn attach(&mut self, node: Rc<Node>) {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => self.documents.push(node),
        }
    }
}

/// Where byte `offset` of the text of a scalar stands in the file.
///
/// `source` is the file's text from the scalar's first byte to its last. Blanks move when lines
/// are folded and escapes are longer than what they mean; all other characters keep their order.
/// So the two texts are walked side by side, blanks skipped in both.
pub(crate) fn source_offset(scalar: &Scalar, source: &str, offset: usize) -> usize {
    let quoted = matches!(scalar.style, ScalarStyle::DoubleQuoted | ScalarStyle::SingleQuoted);
    let mut position = usize::from(quoted);
    let mut characters = scalar.text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if is_blank(character) {
            // A blank stands right after what it follows.
            if at >= offset {
                return position.min(source.len());
            }
            continue;
        }
        position = skip_blanks(source, position, scalar.style);
        if at >= offset {
            break;
        }
        position += character_length(source.get(position..).unwrap_or_default(), scalar.style);
        let is_inside = characters.peek().is_some_and(|(next, _)| *next > offset);
        if is_inside {
            break;
        }
    }
    position.min(source.len())
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// The position of the next character that is no blank, nor an escape that stands for one.
fn skip_blanks(source: &str, mut position: usize, style: ScalarStyle) -> usize {
    loop {
        let rest = source.get(position..).unwrap_or_default();
        let escaped_blank = style == ScalarStyle::DoubleQuoted
            && rest.starts_with('\\')
            && rest[1..].starts_with(['n', 'r', 't', ' ', '\t', '\n', '\r']);
        position += match rest.chars().next() {
            Some(character) if is_blank(character) => 1,
            Some(_) if escaped_blank => 2,
            _ => return position.min(source.len()),
        };
    }
}

/// How many bytes of the source one character of the text takes.
fn character_length(source: &str, style: ScalarStyle) -> usize {
    let mut characters = source.chars();
    let first = characters.next().map_or(0, char::len_utf8);
    match (style, source.as_bytes()) {
        (ScalarStyle::SingleQuoted, [b'\'', b'\'', ..]) => 2,
        (ScalarStyle::DoubleQuoted, [b'\\', kind, ..]) => match kind {
            b'x' => 4,
            b'u' => 6,
            b'U' => 10,
            _ => 1 + characters.next().map_or(0, char::len_utf8),
        },
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the file from where `needle` of the first scalar stands.
    fn located<'a>(yaml: &'a str, needle: &str) -> &'a str {
        let documents = parse(yaml).expect("YAML");
        let Content::Sequence(items) = &documents[0].content else { panic!("a sequence") };
        let Content::Scalar(scalar) = &items[0].content else { panic!("a scalar") };
        let offset = scalar.text.find(needle).expect("the needle");
        let source = &yaml[items[0].span.clone()];
        &yaml[items[0].span.start + source_offset(scalar, source, offset)..]
    }

    #[test]
    fn positions_survive_every_style() {
        assert!(located("- > # why\n  a b\n  c  d\n\n  e\n", "e").starts_with("e\n"));
        assert!(located("- >-\n   é b\n   c d", "d").starts_with('d'));
        assert!(located("- |\n  a\n    b c\n", "c").starts_with("c\n"));
        assert!(located("- a\n   b\n   c # no\n", "c").starts_with("c #"));
        assert!(located("- 'it''s x''y z'", "y").starts_with("y z'"));
        assert!(located("- \"a\\n \\x41 \\\"b\\\" \\\n   c\"", "c").starts_with("c\""));
        assert!(located("- \"a\\n \\x41 \\\"b\\\" \\\n   c\"", "A").starts_with("\\x41"));
    }

    #[test]
    fn aliases_share_and_nothing_recurses() {
        let levels = (1..60).map(|level| format!("- &a{level} [*a{0}, *a{0}]\n", level - 1));
        let bomb = String::from("- &a0 [x]\n") + &levels.collect::<String>();
        assert_eq!(parse(&bomb).expect("YAML").len(), 1);
        assert!(parse("- &a [*a]").is_ok());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn errors_have_a_place() {
        let error = parse("- a: [b\n").expect_err("not YAML");
        assert_eq!((error.offset, error.message.contains('[')), (5, true));
    }
}
