//! Keys of items and their values: what is not there or of the wrong shape is reported once.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use crate::diagnose::{Code, Item as ItemName};
use crate::findings::Findings;
use crate::source::{SourceFile, Text};
use crate::suggest;
use crate::yaml::{Content, Node, Scalar};

/// Reads one file.
pub(super) struct Reader<'a, 'd> {
    pub(super) index: usize,
    pub(super) file: &'a SourceFile<'a>,
    pub(super) diagnostics: &'d mut Findings,
    /// The item being read, for diagnostics.
    pub(super) item: Option<ItemName>,
}

/// The problem was reported.
pub(super) struct Reported;

pub(super) type Result<T> = std::result::Result<T, Reported>;

/// The entries of a mapping.
pub(super) type Entries = [(Rc<Node>, Rc<Node>)];

impl<'a, 'd> Reader<'a, 'd> {
    pub(super) fn new(
        index: usize,
        file: &'a SourceFile<'a>,
        diagnostics: &'d mut Findings,
    ) -> Self {
        Self { index, file, diagnostics, item: None }
    }

    pub(super) fn text(&mut self, entries: &Entries, node: &Node, key: &str) -> Result<Text> {
        let scalar = self.filled(entries, node, key)?;
        let place = find(entries, key).unwrap_or(node);
        Ok(Text::new(self.index, place, scalar))
    }

    /// The scalar at `key`, which must be there and not be empty.
    pub(super) fn filled<'n>(
        &mut self,
        entries: &'n Entries,
        node: &Node,
        key: &str,
    ) -> Result<&'n Scalar> {
        let value = self.required(entries, node, key)?;
        let scalar = self.scalar(value)?;
        if scalar.text.is_empty() {
            return Err(self.error(Code::YamlValidate, value, "Value must be non-empty"));
        }
        Ok(scalar)
    }

    pub(super) fn required<'n>(
        &mut self,
        entries: &'n Entries,
        node: &Node,
        key: &str,
    ) -> Result<&'n Node> {
        match find(entries, key) {
            None => Err(self.error(Code::YamlValidate, node, missing(key))),
            Some(Node { content: Content::Null, span }) => {
                let message = format!("Mapping for key '{key}' is empty");
                self.report(Code::YamlValidate, span, message);
                Err(Reported)
            }
            Some(value) => Ok(value),
        }
    }

    pub(super) fn strings(
        &mut self,
        entries: &Entries,
        node: &Node,
        key: &str,
    ) -> Result<Vec<String>> {
        let value = self.required(entries, node, key)?;
        let Content::Sequence(nodes) = &value.content else {
            let reported = self.error(Code::YamlValidate, value, "Value is not a sequence");
            self.hint(Some("write a list, as in [a, b]".to_owned()));
            return Err(reported);
        };
        nodes
            .iter()
            .map(|node| match &node.content {
                Content::Scalar(scalar) => Ok(scalar.text.clone()),
                _ => Err(self.error(Code::YamlValidate, node, "sequence value is not scalar")),
            })
            .collect()
    }

    /// A truth value in any spelling of YAML 1.1.
    pub(super) fn flag(&mut self, entries: &Entries, key: &str) -> Result<Option<bool>> {
        let Some(node) = find(entries, key) else { return Ok(None) };
        match self.scalar(node)?.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(Some(true)),
            "false" | "no" | "off" | "n" => Ok(Some(false)),
            _ => {
                let reported =
                    self.error(Code::YamlValidate, node, "Can't decode YAML scalar value");
                self.hint(Some("expected true or false".to_owned()));
                Err(reported)
            }
        }
    }

    pub(super) fn scalar<'n>(&mut self, node: &'n Node) -> Result<&'n Scalar> {
        match &node.content {
            Content::Scalar(scalar) => Ok(scalar),
            _ => Err(self.error(Code::YamlValidate, node, "Value is not a scalar value")),
        }
    }

    pub(super) fn deprecated(&mut self, node: &Node, message: &str, hint: &str) {
        self.report(Code::DeprecatedItem, &(node.span.start..node.span.start), message);
        self.hint(Some(hint.to_owned()));
    }

    /// Reports an error at the start of a node.
    pub(super) fn error(
        &mut self,
        code: Code,
        node: &Node,
        message: impl Into<String>,
    ) -> Reported {
        let is_scalar = matches!(node.content, Content::Scalar(_));
        let end = if is_scalar { node.span.end } else { node.span.start };
        self.report(code, &(node.span.start..end), message);
        Reported
    }

    pub(super) fn report(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>) {
        if self.diagnostics.drops(self.file, code) {
            return;
        }
        let mut diagnostic = self.file.diagnostic(code, span, message);
        diagnostic.item.clone_from(&self.item);
        self.diagnostics.push(diagnostic);
    }

    /// Adds a hint to what was just reported.
    pub(super) fn hint(&mut self, hint: Option<String>) {
        if let Some(last) = self.diagnostics.last_mut() {
            last.hint = hint;
        }
    }

    pub(super) fn report_unknown_keys(&mut self, entries: &Entries, known: &[&'static str]) {
        for (key, _) in entries {
            let name = if let Content::Scalar(scalar) = &key.content { &*scalar.text } else { "" };
            if !known.contains(&name) {
                let hint = suggest::hint(name, known.iter().copied());
                self.report(Code::UnknownKey, &key.span, format!("Unknown key '{name}'"));
                self.hint(hint);
            }
        }
    }

    pub(super) fn report_repeated(&mut self, entries: &Entries) {
        let mut seen = HashSet::new();
        for (key, _) in entries {
            if let Content::Scalar(scalar) = &key.content
                && !seen.insert(scalar.text.as_str())
            {
                let message = format!("Key '{}' is repeated; the first one counts", scalar.text);
                self.report(Code::UnknownKey, &key.span, message);
            }
        }
    }
}

/// The value of a key; of a repeated one the first, as Falco takes it.
pub(super) fn find<'n>(entries: &'n Entries, key: &str) -> Option<&'n Node> {
    let is_key = |node: &Node| matches!(&node.content, Content::Scalar(name) if name.text == key);
    entries.iter().find(|(name, _)| is_key(name)).map(|(_, value)| &**value)
}

pub(super) fn missing(key: &str) -> String {
    format!("Item has no mapping for key '{key}'")
}
