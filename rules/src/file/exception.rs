//! Exceptions as they stand in a file.

use super::reader::{Entries, Reader, Result, find};
use crate::diagnose::Code;
use crate::exception::{Entry, Exception};
use crate::source::{Place, Text};
use crate::yaml::{Content, Node};

impl Reader<'_, '_> {
    /// The exceptions of a rule; those of a whole rule need fields.
    pub(super) fn exceptions(
        &mut self,
        entries: &Entries,
        is_whole: bool,
    ) -> Result<Option<Vec<Exception>>> {
        let node = match find(entries, "exceptions") {
            None | Some(Node { content: Content::Null, .. }) => return Ok(None),
            Some(node) => node,
        };
        let Content::Sequence(nodes) = &node.content else {
            let message = "Rule exceptions must be a sequence";
            return Err(self.error(Code::YamlValidate, node, message));
        };
        let mut exceptions: Vec<Exception> = Vec::new();
        for node in nodes {
            let exception = self.exception(node, is_whole)?;
            if exceptions.iter().any(|earlier| earlier.name == exception.name) {
                let message = format!(
                    "Multiple definitions of exception '{}' in the same rule",
                    exception.name
                );
                self.report(Code::ExceptionNameNotUnique, &exception.place.span, message);
            }
            exceptions.push(exception);
        }
        Ok(Some(exceptions))
    }

    fn exception(&mut self, node: &Node, is_whole: bool) -> Result<Exception> {
        let Content::Mapping(entries) = &node.content else {
            let message = "Rule exception must be a mapping";
            return Err(self.error(Code::YamlValidate, node, message));
        };
        self.report_unknown_keys(entries, &["name", "fields", "comps", "values"]);
        self.report_repeated(entries);
        let name = self.filled(entries, node, "name")?.text.clone();
        let place = find(entries, "name").map_or(node.span.clone(), |name| name.span.clone());
        if is_whole {
            self.required(entries, node, "fields")?;
        }
        let values = match find(entries, "values") {
            None | Some(Node { content: Content::Null, .. }) => Vec::new(),
            Some(Node { content: Content::Sequence(nodes), .. }) => self.entries(nodes)?,
            Some(node) => {
                let message = "Rule exception values must be a sequence";
                return Err(self.error(Code::YamlValidate, node, message));
            }
        };
        let mut optional = |key| {
            let node = find(entries, key).filter(|node| !matches!(node.content, Content::Null));
            node.map(|node| self.entry(node)).transpose()
        };
        Ok(Exception {
            name,
            fields: optional("fields")?,
            operators: optional("comps")?,
            values,
            place: Place { file: self.index, span: place },
        })
    }

    fn entries(&mut self, nodes: &[std::rc::Rc<Node>]) -> Result<Vec<Entry>> {
        nodes.iter().map(|node| self.entry(node)).collect()
    }

    /// A scalar, or a list of entries: YAML bounds how deep.
    fn entry(&mut self, node: &Node) -> Result<Entry> {
        match &node.content {
            Content::Sequence(nodes) => {
                let place = Place { file: self.index, span: node.span.start..node.span.start };
                Ok(Entry::Many { place, entries: self.entries(nodes)? })
            }
            _ => Ok(Entry::One(Text::new(self.index, node, self.scalar(node)?))),
        }
    }
}
