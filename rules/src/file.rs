//! Rule files: from YAML to items, each key checked for its shape.
//!
//! An item with a mistake is left out and reported; reading goes on, so that one run shows every
//! mistake. Messages use Falco's words where Falco has some.

mod exception;
mod reader;
mod requirement;
pub(crate) mod test;

use crate::advice;
use crate::diagnose::{Code, Item as ItemName, ItemKind};
use crate::exception::Exception;
use crate::findings::Findings;
use crate::rule::{Priority, UnknownPriority};
use crate::source::{Place, SourceFile, Text};
use crate::suggest;
use crate::yaml::{Content, Node};
use reader::{Entries, Reader, Result, find, missing};

/// An item of a rule file.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) place: Place,
    pub(crate) merge: Merge,
    pub(crate) body: Body,
}

/// The keys that an item brings.
#[derive(Debug)]
pub(crate) enum Body {
    List { items: Option<Vec<String>> },
    Macro { condition: Option<Text> },
    Rule(Box<RuleBody>),
}

/// The keys that a rule brings.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleBody {
    pub(crate) condition: Option<Text>,
    pub(crate) output: Option<Text>,
    pub(crate) description: Option<String>,
    pub(crate) priority: Option<Priority>,
    pub(crate) source: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) enabled: Option<bool>,
    pub(crate) warn_event_types: Option<bool>,
    pub(crate) skip_if_unknown: Option<bool>,
    pub(crate) exceptions: Option<Vec<Exception>>,
}

/// How an item relates to an earlier one of its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Merge {
    /// `append: true`
    Append,
    /// It takes the place of any earlier one.
    Define,
    /// `override`: what to do with each key.
    Override(Vec<(String, Operation)>),
    /// A rule with nothing but `enabled`.
    Toggle,
}

/// What `override` does with a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Append,
    Replace,
}

/// Reads the items of one file, in order.
pub(crate) fn read(index: usize, file: &SourceFile<'_>, diagnostics: &mut Findings) -> Vec<Item> {
    Reader::new(index, file, diagnostics).documents()
}

impl Reader<'_, '_> {
    fn documents(&mut self) -> Vec<Item> {
        let documents = match self.file.documents() {
            Ok(documents) => documents,
            Err(error) => {
                self.diagnostics.push(*error);
                return Vec::new();
            }
        };
        let mut items = Vec::new();
        for document in documents {
            match &document.content {
                Content::Null => {}
                Content::Sequence(nodes) => {
                    for node in nodes {
                        self.item = None;
                        items.extend(self.item(node).ok().flatten());
                    }
                }
                Content::Mapping(_) => {
                    self.report(
                        Code::YamlValidate,
                        &(document.span.start..document.span.start),
                        "Rules content is not yaml array of objects",
                    );
                    self.hint(Some("each item begins with '- ', as in `- rule: …`".to_owned()));
                }
                Content::Scalar(_) => {
                    self.report(Code::YamlValidate, &document.span, "Rules content is not yaml");
                }
            }
        }
        items
    }

    fn item(&mut self, node: &Node) -> Result<Option<Item>> {
        let entries = match &node.content {
            Content::Null => return Ok(None),
            Content::Mapping(entries) => entries,
            _ => {
                let message =
                    "Unexpected element type. Each element should be a yaml associative array.";
                return Err(self.error(Code::YamlValidate, node, message));
            }
        };
        self.report_repeated(entries);
        if let Some(version) = find(entries, "required_engine_version") {
            return self.engine_version(version).map(|()| None);
        }
        if let Some(versions) = find(entries, "required_plugin_versions") {
            return self.plugin_versions(versions).map(|()| None);
        }
        for kind in [ItemKind::List, ItemKind::Macro, ItemKind::Rule] {
            if let Some(name_node) = find(entries, kind.name()) {
                let name = self.filled(entries, node, kind.name())?.text.clone();
                self.item = Some(ItemName { kind, name: name.clone() });
                let place = Place { file: self.index, span: name_node.span.clone() };
                let (merge, body) = match kind {
                    ItemKind::List => self.list(entries, node)?,
                    ItemKind::Macro => self.macro_(entries, node)?,
                    ItemKind::Rule => self.rule(entries, node)?,
                };
                self.report_bad_name(kind, name_node, &name);
                return Ok(Some(Item { name, place, merge, body }));
            }
        }
        if find(entries, test::KEY).is_some() {
            // They are read by whoever runs them, and keep no rule from being loaded.
            return Ok(None);
        }
        let place = entries.first().map_or(node.span.clone(), |(key, _)| key.span.clone());
        let kinds = [ItemKind::List, ItemKind::Macro, ItemKind::Rule].map(ItemKind::name);
        let hint = match entries.first().map(|(key, _)| &key.content) {
            Some(Content::Scalar(key)) => suggest::hint(&key.text, kinds),
            _ => None,
        };
        self.report(Code::UnknownItem, &place, "Unknown top level item");
        self.hint(hint.or_else(|| Some("an item has a key `list`, `macro` or `rule`".to_owned())));
        Ok(None)
    }

    fn list(&mut self, entries: &Entries, node: &Node) -> Result<(Merge, Body)> {
        self.report_unknown_keys(entries, &["list", "items", "append", "override"]);
        let merge = self.merge(entries, &["items"], &["items"]);
        let items = self.strings(entries, node, "items");
        Ok((merge?, Body::List { items: Some(items?) }))
    }

    fn macro_(&mut self, entries: &Entries, node: &Node) -> Result<(Merge, Body)> {
        self.report_unknown_keys(entries, &["macro", "condition", "append", "override"]);
        let merge = self.merge(entries, &["condition"], &["condition"]);
        let condition = self.text(entries, node, "condition");
        Ok((merge?, Body::Macro { condition: Some(condition?) }))
    }

    fn rule(&mut self, entries: &Entries, node: &Node) -> Result<(Merge, Body)> {
        self.report_unknown_keys(entries, RULE_KEYS);
        let mut merge = self.merge(entries, APPENDABLE, REPLACEABLE)?;
        let has = |key| find(entries, key).is_some();
        if merge == Merge::Define
            && !["condition", "output", "desc", "priority"].map(has).contains(&true)
        {
            self.flag(entries, "enabled")?.map_or_else(
                || Err(self.error(Code::YamlValidate, node, missing("enabled"))),
                |_| Ok(()),
            )?;
            let message = "The standalone 'enabled' key usage is deprecated";
            self.deprecated(node, message, "use override: {enabled: replace}");
            merge = Merge::Toggle;
        }
        // Read every key before giving up on the first mistake.
        let is_whole = merge == Merge::Define;
        let wanted = |key| is_whole || has(key);
        let condition =
            wanted("condition").then(|| self.text(entries, node, "condition")).transpose();
        let output = wanted("output").then(|| self.text(entries, node, "output")).transpose();
        let description = wanted("desc").then(|| self.filled(entries, node, "desc")).transpose();
        let priority = wanted("priority").then(|| self.priority(entries, node)).transpose();
        let source = has("source").then(|| self.filled(entries, node, "source")).transpose();
        let tags = has("tags").then(|| self.strings(entries, node, "tags")).transpose();
        let enabled = self.flag(entries, "enabled");
        let warn_event_types = self.flag(entries, "warn_evttypes");
        let skip_if_unknown = self.flag(entries, "skip-if-unknown-filter");
        // An exception that extends one of an earlier item has no fields of its own.
        let exceptions = self.exceptions(entries, merge == Merge::Define);
        let capture = self.capture(entries);
        let body = RuleBody {
            condition: condition?,
            output: output?,
            description: description?.map(|scalar| scalar.text.clone()),
            priority: priority?,
            source: source?.map(|scalar| scalar.text.clone()),
            tags: tags?,
            enabled: enabled?,
            warn_event_types: warn_event_types?,
            skip_if_unknown: skip_if_unknown?,
            exceptions: exceptions?,
        };
        capture?;
        Ok((merge, Body::Rule(Box::new(body))))
    }

    /// How the item relates to earlier ones: `append`, `override` or neither.
    fn merge(
        &mut self,
        entries: &Entries,
        appendable: &[&str],
        replaceable: &[&str],
    ) -> Result<Merge> {
        let append = self.flag(entries, "append")? == Some(true);
        let Some(overrides) = find(entries, "override") else {
            if !append {
                return Ok(Merge::Define);
            }
            if let Some(node) = find(entries, "append") {
                self.deprecated(node, "'append' key is deprecated", "use override: {…: append}");
            }
            return Ok(Merge::Append);
        };
        let Content::Mapping(operations) = &overrides.content else {
            return Err(self.error(Code::YamlValidate, overrides, "Value is not a mapping"));
        };
        if operations.is_empty() && !append {
            return Ok(Merge::Define);
        }
        if append {
            let message = "Keys 'override' and 'append: true' cannot be used together";
            return Err(self.error(Code::YamlValidate, overrides, message));
        }
        let mut merged = Vec::new();
        for (key, operation) in operations {
            merged.push(self.operation(entries, key, operation, appendable, replaceable)?);
        }
        let is_listed = |key: &str| merged.iter().any(|(listed, _)| listed == key);
        let stray = replaceable.iter().find(|key| find(entries, key).is_some() && !is_listed(key));
        if let Some((key, node)) = stray.and_then(|key| Some((key, find(entries, key)?))) {
            let message = format!("Key '{key}' needs an operation in 'override'");
            return Err(self.error(Code::YamlValidate, node, message));
        }
        Ok(Merge::Override(merged))
    }

    fn operation(
        &mut self,
        entries: &Entries,
        key: &Node,
        operation: &Node,
        appendable: &[&str],
        replaceable: &[&str],
    ) -> Result<(String, Operation)> {
        let name = self.scalar(key)?.text.clone();
        let word = self.scalar(operation)?.text.clone();
        let (operation, allowed) = match word.as_str() {
            "append" => (Operation::Append, appendable),
            "replace" => (Operation::Replace, replaceable),
            _ => {
                let message = format!("Invalid override operation for key '{name}': '{word}'");
                let reported = self.error(Code::YamlValidate, operation, message);
                self.hint(Some("it is `append` or `replace`".to_owned()));
                return Err(reported);
            }
        };
        if !allowed.contains(&name.as_str()) {
            let message = match operation {
                Operation::Append if replaceable.contains(&name.as_str()) => {
                    format!("Key '{name}' cannot be appended to, use 'replace' instead")
                }
                Operation::Append => format!("Key '{name}' cannot be appended to"),
                Operation::Replace => format!("Key '{name}' cannot be replaced"),
            };
            return Err(self.error(Code::YamlValidate, key, message));
        }
        if find(entries, &name).is_none() {
            let message = format!(
                "An {word} override for '{name}' was specified but '{name}' is not defined"
            );
            return Err(self.error(Code::YamlValidate, key, message));
        }
        Ok((name, operation))
    }

    /// The keys that have Falco record what comes after a match. They are accepted and do nothing: `shrike record`
    /// records, whatever the rules.
    fn capture(&mut self, entries: &Entries) -> Result<()> {
        self.flag(entries, "capture")?;
        match find(entries, "capture_duration") {
            Some(node) if self.scalar(node)?.text.parse::<u32>().is_err() => {
                Err(self.error(Code::YamlValidate, node, "Can't decode YAML scalar value"))
            }
            _ => Ok(()),
        }
    }

    fn report_bad_name(&mut self, kind: ItemKind, node: &Node, name: &str) {
        let (code, is_valid) = match kind {
            ItemKind::Rule => return,
            ItemKind::List => (
                Code::InvalidListName,
                !name.contains(|c: char| c.is_whitespace() || "()\"'=,".contains(c)),
            ),
            ItemKind::Macro => (
                Code::InvalidMacroName,
                name.starts_with(|c: char| c.is_ascii_alphabetic())
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            ),
        };
        if !is_valid {
            self.report(code, &node.span, format!("{kind} name '{name}' cannot be used"));
        }
    }

    fn priority(&mut self, entries: &Entries, node: &Node) -> Result<Priority> {
        let name = &self.filled(entries, node, "priority")?.text;
        name.parse().map_err(|error: UnknownPriority| {
            let place = find(entries, "priority").unwrap_or(node);
            let reported =
                self.error(Code::YamlValidate, place, format!("Invalid priority '{name}'"));
            self.hint(Some(advice::priority(name).unwrap_or_else(|| error.to_string())));
            reported
        })
    }
}

const RULE_KEYS: &[&str] = &[
    "rule",
    "desc",
    "condition",
    "output",
    "priority",
    "tags",
    "source",
    "enabled",
    "append",
    "override",
    "exceptions",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
];

/// The keys of a rule that `override` can append to.
const APPENDABLE: &[&str] = &["condition", "output", "desc", "tags", "exceptions"];

/// The keys of a rule that `override` can replace.
const REPLACEABLE: &[&str] = &[
    "condition",
    "output",
    "desc",
    "tags",
    "exceptions",
    "priority",
    "capture",
    "capture_duration",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
];
