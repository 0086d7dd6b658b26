//! Values of keys: short lists in one line, longer ones filled, the rest one entry a line.

use std::rc::Rc;

use super::WIDTH;
use super::fill::{fill, start_line, width};
use super::scalar::{self, Context};
use super::{condition, scalar::inline};
use crate::yaml::{Content, Node};

/// The text between a key's colon and the end of its value; none if it has to stay as it is
/// written. `column` is where the key ends, `indent` where it starts.
pub(super) fn lay(
    key: &str,
    node: &Node,
    source: &str,
    indent: usize,
    column: usize,
) -> Option<String> {
    match &node.content {
        Content::Scalar(scalar) => {
            let written = source.get(node.span.clone())?;
            match key {
                "condition" => condition::lay(&scalar.text, column),
                "desc" | "output" => scalar::prose(scalar, written, column),
                _ => Some(format!(" {}", inline(scalar, written, Context::Block)?)),
            }
        }
        _ => Value { source }.lay(node, indent, column),
    }
}

struct Value<'a> {
    source: &'a str,
}

impl Value<'_> {
    fn lay(&self, node: &Node, indent: usize, column: usize) -> Option<String> {
        match &node.content {
            Content::Null => None,
            Content::Scalar(_) => Some(format!(" {}", self.inline(node, Context::Block)?)),
            Content::Mapping(entries) if entries.is_empty() => Some(" {}".to_owned()),
            Content::Mapping(entries) => {
                let mut text = String::new();
                for (key, value) in entries {
                    start_line(&mut text, indent + 2);
                    text.push_str(&self.entry(key, value, indent + 2)?);
                }
                Some(text)
            }
            Content::Sequence(nodes) => {
                let is_flat = nodes.iter().all(|node| matches!(node.content, Content::Scalar(_)));
                if is_flat { self.list(nodes, indent, column) } else { self.block(nodes, indent) }
            }
        }
    }

    fn entry(&self, key: &Node, value: &Node, indent: usize) -> Option<String> {
        let key = self.inline(key, Context::Block)?;
        let value = self.lay(value, indent, indent + width(&key) + 1)?;
        Some(format!("{key}:{value}"))
    }

    /// A list of scalars.
    fn list(&self, nodes: &[Rc<Node>], indent: usize, column: usize) -> Option<String> {
        let mut words = self.words(nodes)?;
        let flat = format!(" [{}]", words.join(", "));
        if column + width(&flat) <= WIDTH {
            return Some(flat);
        }
        let last = words.len() - 1;
        for word in &mut words[..last] {
            word.push(',');
        }
        let mut text = " [".to_owned();
        fill(&mut text, words.iter().map(String::as_str), indent + 2);
        // YAML wants the bracket deeper than the key.
        start_line(&mut text, indent + 2);
        text.push(']');
        Some(text)
    }

    /// A list of something else than scalars, one element a line or more.
    fn block(&self, nodes: &[Rc<Node>], indent: usize) -> Option<String> {
        let mut text = String::new();
        for node in nodes {
            start_line(&mut text, indent + 2);
            text.push('-');
            match &node.content {
                Content::Mapping(entries) if !entries.is_empty() => {
                    for (number, (key, value)) in entries.iter().enumerate() {
                        if number == 0 {
                            text.push(' ');
                        } else {
                            start_line(&mut text, indent + 4);
                        }
                        text.push_str(&self.entry(key, value, indent + 4)?);
                    }
                }
                Content::Sequence(_) => {
                    let line = self.inline(node, Context::Block)?;
                    if indent + 4 + width(&line) > WIDTH {
                        return None;
                    }
                    text.push(' ');
                    text.push_str(&line);
                }
                _ => text.push_str(&self.lay(node, indent + 2, indent + 3)?),
            }
        }
        Some(text)
    }

    /// A scalar, or lists of scalars and lists.
    fn inline(&self, node: &Node, context: Context) -> Option<String> {
        match &node.content {
            Content::Scalar(scalar) => inline(scalar, self.source.get(node.span.clone())?, context),
            Content::Sequence(nodes) => Some(format!("[{}]", self.words(nodes)?.join(", "))),
            _ => None,
        }
    }

    fn words(&self, nodes: &[Rc<Node>]) -> Option<Vec<String>> {
        nodes.iter().map(|node| self.inline(node, Context::Flow)).collect()
    }
}
