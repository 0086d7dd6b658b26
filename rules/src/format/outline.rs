//! Where a file's items and comments are.
//!
//! The tree of `yaml` has no comments and no trace of anchors and tags: this reads the events of the
//! parser for them. A comment is what starts with `#` after a blank, outside of all scalars.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use crate::yaml::{self, Content, Node};

/// A file, cut into its items.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    pub(super) text: &'a str,
    pub(super) items: Vec<Item<'a>>,
    /// What follows the last item.
    pub(super) rest: Gap<'a>,
    /// Every comment, in order.
    comments: Vec<Range<usize>>,
}

/// An item of a file.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// What stands between the item before and this one.
    pub(super) gap: Gap<'a>,
    /// Its lines, from the one with its dash to its last.
    pub(super) lines: Range<usize>,
    pub(super) node: Rc<Node>,
    /// The column of its dash.
    pub(super) column: usize,
    /// Whether it has no anchors, aliases or tags.
    pub(super) is_simple: bool,
    /// Whether the blank lines after it may belong to its last scalar.
    pub(super) is_open: bool,
}

/// Whole lines of comments, borders of documents and nothing else.
#[derive(Debug)]
pub(super) struct Gap<'a> {
    pub(super) source: &'a str,
}

impl Gap<'_> {
    /// Whether what follows stands right below a comment.
    pub(super) fn ends_in_comment(&self) -> bool {
        self.source.lines().next_back().is_some_and(|line| !line.trim().is_empty())
    }
}

impl<'a> Outline<'a> {
    /// The outline of a text, if it is of the common kind: documents that are block sequences.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        // The one line break of YAML that `lines` does not know.
        if text.contains('\r') {
            return None;
        }
        let marks = Marks::of(text)?;
        let nodes =
            yaml::parse(text).ok()?.into_iter().flat_map(|document| match &document.content {
                Content::Sequence(nodes) => nodes.clone(),
                _ => Vec::new(),
            });
        let nodes: Vec<_> = nodes.collect();
        if nodes.len() != marks.items.len() {
            return None;
        }
        let comments = comments(text, &marks.opaque);
        let mut outline = Self { text, items: Vec::new(), rest: Gap { source: text }, comments };
        let mut position = 0;
        for (mark, node) in std::iter::zip(marks.items, nodes) {
            let item = outline.item(position, &mark, node)?;
            position = item.lines.end;
            outline.items.push(item);
        }
        outline.rest = Gap { source: text.get(position..)? };
        Some(outline)
    }

    /// The comments within a range of bytes.
    pub(super) fn comments_in(&self, range: &Range<usize>) -> &[Range<usize>] {
        let before = |end: usize| self.comments.partition_point(|comment| comment.start < end);
        self.comments.get(before(range.start)..before(range.end)).unwrap_or_default()
    }

    /// How often each comment is there.
    pub(super) fn comment_texts(&self) -> BTreeMap<&'a str, usize> {
        let mut texts = BTreeMap::new();
        for comment in &self.comments {
            *texts.entry(self.text[comment.clone()].trim_end()).or_default() += 1;
        }
        texts
    }

    /// Where the line of a byte starts.
    pub(super) fn line_start(&self, position: usize) -> usize {
        line_start(self.text, position)
    }

    /// Where the line of a byte ends, its line break included.
    pub(super) fn line_end(&self, position: usize) -> usize {
        // In bytes: the position may be within a character.
        let rest = self.text.as_bytes().get(position..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.text.len(), |newline| position + newline + 1)
    }

    /// The column of a byte.
    pub(super) fn column(&self, position: usize) -> usize {
        position - self.line_start(position)
    }

    /// The item that is the next after `position`.
    fn item(&self, position: usize, mark: &Mark, node: Rc<Node>) -> Option<Item<'a>> {
        let column = mark.column;
        let start = self.dash_line(position, mark)?;
        let mut end = self.line_end(mark.end.max(start + column + 1) - 1);
        // What stands deeper than the dash is the item's: comments, or a dash without a value.
        let mut next = end;
        while let Some(line) = self.text[next..].split_inclusive('\n').next() {
            let content = line.trim_start_matches(' ');
            if line.len() - content.len() > column && !content.trim().is_empty() {
                end = next + line.len();
            } else if !content.trim().is_empty() {
                break;
            }
            next += line.len();
        }
        Some(Item {
            gap: Gap { source: self.text.get(position..start)? },
            lines: start..end,
            node,
            column,
            is_simple: mark.is_simple,
            is_open: mark.is_open,
        })
    }

    /// Where the line with the dash of an item starts, which is at or above the item's content.
    fn dash_line(&self, position: usize, mark: &Mark) -> Option<usize> {
        let mut start = position;
        for line in self.text.get(position..)?.split_inclusive('\n') {
            let trimmed = line.trim_start_matches(' ');
            let is_dash = line.len() - trimmed.len() == mark.column
                && trimmed
                    .strip_prefix('-')
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n']));
            if is_dash {
                return Some(start);
            }
            let is_between = trimmed.trim().is_empty()
                || trimmed.starts_with(['#', '%'])
                || ["---", "..."].iter().any(|border| line.starts_with(border));
            start += line.len();
            if !is_between || start > mark.start {
                return None;
            }
        }
        None
    }
}

/// What the events of the parser tell that its tree does not.
#[derive(Debug, Default)]
struct Marks {
    items: Vec<Mark>,
    /// Scalars and aliases: nothing within them is a comment.
    opaque: Vec<Range<usize>>,
    depth: usize,
    /// The column of the document's dashes.
    column: usize,
}

/// An item, as the events show it.
#[derive(Debug)]
struct Mark {
    column: usize,
    start: usize,
    end: usize,
    is_simple: bool,
    is_open: bool,
}

impl Marks {
    fn of(text: &str) -> Option<Self> {
        let mut marks = Self::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.ok()?;
            marks.event(text, &event, span.byte_range()?)?;
        }
        Some(marks)
    }

    fn event(&mut self, text: &str, event: &Event<'_>, span: Range<usize>) -> Option<()> {
        let source = text.get(span.clone())?;
        let is_root = self.depth == 0;
        let (is_simple, is_open) = match event {
            Event::Scalar(_, _, anchor, tag) if is_root => {
                // A document without content is one empty scalar.
                return (source.is_empty() && *anchor == 0 && tag.is_none()).then_some(());
            }
            Event::SequenceStart(style, anchor, tag) if is_root => {
                self.depth += 1;
                self.column = span.start - line_start(text, span.start);
                let is_common = *style == StructureStyle::Block && *anchor == 0 && tag.is_none();
                return is_common.then_some(());
            }
            Event::MappingStart(..) | Event::Alias(_) if is_root => return None,
            Event::Scalar(_, style, anchor, tag) => {
                let is_block = matches!(style, ScalarStyle::Folded | ScalarStyle::Literal);
                let header = self.opaque.last().map_or(0, |before| before.end)..span.start;
                let keeps_blanks = is_block && text.get(header)?.contains('+');
                (*anchor == 0 && tag.is_none(), keeps_blanks)
            }
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag) => {
                (*anchor == 0 && tag.is_none(), false)
            }
            Event::Alias(_) => (false, false),
            Event::SequenceEnd | Event::MappingEnd => {
                self.depth -= 1;
                (true, false)
            }
            _ => return Some(()),
        };
        if self.depth == 0 {
            return Some(());
        }
        let is_end = matches!(event, Event::SequenceEnd | Event::MappingEnd);
        if self.depth == 1 && !is_end {
            let Self { column, .. } = *self;
            let (start, end) = (span.start, 0);
            self.items.push(Mark { column, start, end, is_simple: true, is_open: false });
        }
        if matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            self.depth += 1;
        }
        if matches!(event, Event::Scalar(..) | Event::Alias(_)) {
            self.opaque.push(span.clone());
        }
        let item = self.items.last_mut()?;
        item.is_simple &= is_simple;
        item.is_open |= is_open;
        let content = source.trim_end();
        if !content.is_empty() {
            item.end = item.end.max(span.start + content.len());
        }
        Some(())
    }
}

fn line_start(text: &str, position: usize) -> usize {
    let before = text.as_bytes().get(..position).unwrap_or_default();
    memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1)
}

fn comments(text: &str, opaque: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut comments = Vec::new();
    let mut opaque = opaque.iter().peekable();
    let mut position = 0;
    while let Some(found) = text[position..].find('#') {
        let start = position + found;
        while opaque.next_if(|span| span.end <= start).is_some() {}
        if let Some(span) = opaque.peek()
            && span.start <= start
        {
            position = span.end;
            continue;
        }
        let is_comment = text[..start].chars().next_back().is_none_or(char::is_whitespace);
        position = start + 1;
        if is_comment {
            let end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
            comments.push(start..end);
            position = end;
        }
    }
    comments
}
