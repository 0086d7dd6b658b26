//! Items: their entries in one order, each with the comments above and beside it.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use super::fill::width;
use super::outline::{Item, Outline};
use super::scalar::{self, Context};
use super::{meaning, value};
use crate::yaml::{Content, Node};

/// The order of an item's keys; others follow as they are written.
const KEYS: &[&str] = &[
    "required_engine_version",
    "required_plugin_versions",
    "list",
    "macro",
    "rule",
    "desc",
    "condition",
    "items",
    "output",
    "priority",
    "tags",
    "source",
    "enabled",
    "exceptions",
    "override",
    "append",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
];

/// The column of an item's keys.
const INDENT: usize = 2;

/// An item in its canonical form, or as it is written if it has none.
pub(super) fn lay(outline: &Outline<'_>, item: &Item<'_>) -> String {
    if !item.is_simple || item.is_open {
        return as_written(outline, item);
    }
    let laid = Layout { outline, item }.lay();
    laid.unwrap_or_else(|| as_written(outline, item))
}

fn as_written(outline: &Outline<'_>, item: &Item<'_>) -> String {
    let mut text = shifted(&outline.text[item.lines.clone()], item.column, 0);
    text.push('\n');
    text
}

struct Layout<'a> {
    outline: &'a Outline<'a>,
    item: &'a Item<'a>,
}

/// A key and its value, laid out.
struct Entry {
    key: String,
    /// The lines above it.
    comments: String,
    text: String,
}

impl Layout<'_> {
    fn lay(&self) -> Option<String> {
        let Content::Mapping(pairs) = &self.item.node.content else { return None };
        let mut entries = Vec::new();
        let mut position = self.item.lines.start + self.item.column + 1;
        for (number, (key, value)) in pairs.iter().enumerate() {
            let next = pairs.get(number + 1).map(|(key, _)| key.span.start);
            let (entry, end) = self.entry(position, key, value, next)?;
            entries.push(entry);
            position = end;
        }
        let keys: HashSet<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
        if keys.len() < entries.len() {
            // Which of two counts depends on their order.
            return None;
        }
        let rank = |key: &str| KEYS.iter().position(|known| *known == key).unwrap_or(KEYS.len());
        entries.sort_by_key(|entry| rank(&entry.key));
        let (first, others) = entries.split_first()?;
        // What stands above the first key stands above the item.
        let mut text: String =
            first.comments.split_inclusive('\n').map(|line| &line[INDENT..]).collect();
        text.push('-');
        text.push_str(&first.text[1..]);
        for entry in others {
            text.push_str(&entry.comments);
            text.push_str(&entry.text);
        }
        text.push_str(&self.comments(&(position..self.item.lines.end)));
        Some(text)
    }

    /// The entry that follows `position`, and where its last line ends.
    fn entry(
        &self,
        position: usize,
        key: &Node,
        value: &Rc<Node>,
        next: Option<usize>,
    ) -> Option<(Entry, usize)> {
        let outline = self.outline;
        let Content::Scalar(name) = &key.content else { return None };
        let written = outline.text.get(key.span.clone())?;
        let is_common = !written.contains('\n')
            && outline.text[key.span.end..].trim_start_matches(' ').starts_with(':');
        let above = position..outline.line_start(key.span.start).max(position);
        let before = outline.text.get(above.end..key.span.start)?;
        let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
        let are_comments = outline.text[above.clone()].lines().map(str::trim).all(is_comment);
        if !is_common || !before.trim().is_empty() || !are_comments {
            return None;
        }
        let limit = next.map_or(self.item.lines.end, |next| outline.line_start(next));
        let Extent { content, end } = self.extent(key, value, limit);
        let inside = outline.comments_in(&(key.span.start..content));
        let beside = outline.comments_in(&(content..end)).first();
        let label = format!("{}:", scalar::inline(name, written, Context::Block)?);
        let column = INDENT + width(&label);
        let laid = inside
            .is_empty()
            .then(|| value::lay(&name.text, value, outline.text, INDENT, column))
            .flatten();
        let laid = laid.and_then(|laid| {
            let mut text = format!("  {label}{laid}");
            if let Some(comment) = beside {
                if text.contains('\n') {
                    return None;
                }
                text.push(' ');
                text.push_str(outline.text[comment.clone()].trim_end());
            }
            meaning::reads_as(&text, &name.text, value).then_some(text)
        });
        let text = laid.or_else(|| self.kept(key.span.start..end, &name.text, value))?;
        let comments = self.comments(&above);
        Some((Entry { key: name.text.clone(), comments, text: text + "\n" }, end))
    }

    /// How far an entry goes.
    fn extent(&self, key: &Node, value: &Node, limit: usize) -> Extent {
        let outline = self.outline;
        let content = content_end(value, outline.text).unwrap_or(0).max(key.span.end);
        let end = outline.line_end(content - 1).min(limit);
        let is_block = matches!(value.content, Content::Mapping(_) | Content::Sequence(_))
            && !is_flow(value, outline.text);
        if !is_block {
            return Extent { content, end };
        }
        // A comment at the last element is not beside the key, and one below may be an element.
        let column = outline.column(key.span.start);
        let is_deeper = |comment: &Range<usize>| outline.column(comment.start) > column;
        let deeper = outline.comments_in(&(end..limit)).iter().take_while(|c| is_deeper(c)).last();
        let end = deeper.map_or(end, |comment| outline.line_end(comment.start).min(limit));
        Extent { content: end, end }
    }

    /// An entry as it is written, moved to the column of keys.
    fn kept(&self, lines: Range<usize>, name: &str, value: &Rc<Node>) -> Option<String> {
        let column = self.outline.column(lines.start);
        let source = format!("{}{}", " ".repeat(column), &self.outline.text[lines]);
        let text = shifted(&source, column, INDENT);
        let trimmed: Vec<_> = text.lines().map(str::trim_end).collect();
        [trimmed.join("\n"), text].into_iter().find(|text| meaning::reads_as(text, name, value))
    }

    /// The comments of some lines, at the column of keys.
    fn comments(&self, lines: &Range<usize>) -> String {
        let mut text = String::new();
        for comment in self.outline.comments_in(lines) {
            text.extend(["  ", self.outline.text[comment.clone()].trim_end(), "\n"]);
        }
        text
    }
}

/// How far an entry goes.
struct Extent {
    /// Where its value ends; a comment behind it stands beside the value.
    content: usize,
    /// Where its last line ends.
    end: usize,
}

/// Whether a collection is written in brackets. The span of any other may start with the bracket of
/// its first element, but goes on to the next token, a line or more further.
fn is_flow(node: &Node, text: &str) -> bool {
    let own = text.get(node.span.clone()).unwrap_or_default();
    own.starts_with(['[', '{']) && own.ends_with([']', '}'])
}

/// Where a value's last character is, if it has any.
fn content_end(node: &Node, text: &str) -> Option<usize> {
    let own = text.get(node.span.clone()).map(str::trim_end).filter(|own| !own.is_empty());
    let own = own.map(|own| node.span.start + own.len());
    match &node.content {
        Content::Null | Content::Scalar(_) => own,
        _ if is_flow(node, text) => own,
        Content::Mapping(entries) => entries
            .iter()
            .flat_map(|(key, value)| [Some(key.span.end + 1), content_end(value, text)])
            .flatten()
            .max(),
        Content::Sequence(nodes) => nodes.iter().filter_map(|node| content_end(node, text)).max(),
    }
}

/// Lines moved from one column to another, without the last line break.
fn shifted(lines: &str, from: usize, to: usize) -> String {
    let shifted = lines.lines().map(|line| {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        if line.is_empty() {
            return String::new();
        }
        " ".repeat((blanks + to).saturating_sub(from)) + &line[blanks..]
    });
    shifted.collect::<Vec<_>>().join("\n")
}
