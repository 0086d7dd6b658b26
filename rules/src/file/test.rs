//! The tests of a rule file: from YAML to events and what is expected of them.

mod event;

use super::reader::{Entries, Reader, Result, find};
use crate::diagnose::Code;
use crate::findings::Findings;
use crate::source::{Place, SourceFile};
use crate::test::{Given, Message};
use crate::yaml::{Content, Node};

/// The key that makes an item a list of tests.
pub(super) const KEY: &str = "tests";

/// The keys of a test.
const KEYS: &[&str] =
    &["name", "rule", "rules", "event", "events", "recording", "alerts", "not", "output"];

/// A test as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) place: Place,
    /// The rules that it is about; every one if it does not say.
    pub(crate) rules: Option<Vec<Name>>,
    pub(crate) events: Events,
    /// The rules that must match, and no others.
    pub(crate) alerts: Option<Vec<Name>>,
    /// The rules that must not match.
    pub(crate) not: Vec<Name>,
    /// What rules that must match have to say.
    pub(crate) outputs: Vec<(Name, Message)>,
}

/// Where the events of a test come from.
#[derive(Debug)]
pub(crate) enum Events {
    Given(Vec<Given>),
    Recording(String),
}

/// The name of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// Reads the tests of one file. That a file is no YAML is told by whoever reads its rules.
pub(crate) fn read(
    index: usize,
    file: &SourceFile<'_>,
    diagnostics: &mut Findings,
) -> Vec<Written> {
    let mut reader = Reader::new(index, file, diagnostics);
    // What is wrong with the file was told when its rules were read.
    let Ok(documents) = file.documents() else { return Vec::new() };
    let mut tests = Vec::new();
    for document in &documents {
        let Content::Sequence(items) = &document.content else { continue };
        for item in items {
            let Content::Mapping(entries) = &item.content else { continue };
            let is_other = ["list", "macro", "rule"].iter().any(|key| find(entries, key).is_some());
            if let (false, Some(node)) = (is_other, find(entries, KEY)) {
                reader.report_unknown_keys(entries, &[KEY]);
                tests.extend(reader.tests(node).unwrap_or_default());
            }
        }
    }
    tests
}

impl Reader<'_, '_> {
    fn tests(&mut self, node: &Node) -> Result<Vec<Written>> {
        match &node.content {
            Content::Null => Ok(Vec::new()),
            Content::Sequence(nodes) => {
                Ok(nodes.iter().filter_map(|node| self.test(node).ok()).collect())
            }
            _ => Err(self.error(Code::YamlValidate, node, "Value is not a sequence")),
        }
    }

    fn test(&mut self, node: &Node) -> Result<Written> {
        let entries = self.mapping(node)?;
        self.report_repeated(entries);
        self.report_unknown_keys(entries, KEYS);
        let name = self.filled(entries, node, "name")?.text.clone();
        let place = self.place(find(entries, "name").unwrap_or(node));
        // Read every key before giving up on the first mistake.
        let rules = self.about(entries);
        let alerts = self.optional_names(entries, "alerts");
        let not = self.optional_names(entries, "not");
        let outputs = self.outputs(entries);
        let events = self.events(entries, node);
        let (rules, alerts, not, outputs) = (rules?, alerts?, not?, outputs?);
        if alerts.is_none() && not.is_none() && outputs.is_empty() {
            let reported = self.error(Code::YamlValidate, node, "the test expects nothing");
            let hint = "say which alerts it raises: 'alerts: [RULE, …]', 'alerts: []' for none, \
                        or 'not: [RULE, …]' for those that it must not raise";
            self.hint(Some(hint.to_owned()));
            return Err(reported);
        }
        let not = not.unwrap_or_default();
        Ok(Written { name, place, rules, events: events?, alerts, not, outputs })
    }

    /// The rules that a test is about.
    fn about(&mut self, entries: &Entries) -> Result<Option<Vec<Name>>> {
        if let (Some(_), Some(node)) = (find(entries, "rule"), find(entries, "rules")) {
            let message = "Keys 'rule' and 'rules' cannot be used together";
            return Err(self.error(Code::YamlValidate, node, message));
        }
        let key = if find(entries, "rule").is_some() { "rule" } else { "rules" };
        let Some(names) = self.optional_names(entries, key)? else { return Ok(None) };
        match find(entries, key) {
            Some(node) if names.is_empty() => {
                let reported =
                    self.error(Code::YamlValidate, node, "the test is about no rule at all");
                self.hint(Some(format!("leave '{key}' out for a test about every rule")));
                Err(reported)
            }
            _ => Ok(Some(names)),
        }
    }

    /// The names at a key: one, or a list of them.
    fn optional_names(&mut self, entries: &Entries, key: &str) -> Result<Option<Vec<Name>>> {
        let Some(node) = find(entries, key) else { return Ok(None) };
        if let Content::Sequence(nodes) = &node.content {
            return nodes.iter().map(|node| self.name(node)).collect::<Result<_>>().map(Some);
        }
        if matches!(node.content, Content::Null) {
            let reported = self.error(Code::YamlValidate, node, format!("'{key}' has no value"));
            self.hint(Some(format!("write '{key}: []' for no rule")));
            return Err(reported);
        }
        Ok(Some(vec![self.name(node)?]))
    }

    fn name(&mut self, node: &Node) -> Result<Name> {
        let text = self.scalar(node)?.text.clone();
        Ok(Name { text, place: self.place(node) })
    }

    fn outputs(&mut self, entries: &Entries) -> Result<Vec<(Name, Message)>> {
        let Some(node) = find(entries, "output") else { return Ok(Vec::new()) };
        let rules = self.mapping(node)?;
        self.report_repeated(rules);
        let mut outputs = Vec::new();
        for (rule, message) in rules {
            let message = match &message.content {
                Content::Sequence(parts) => {
                    let parts = parts.iter().map(|part| Ok(self.scalar(part)?.text.clone()));
                    Message::Parts(parts.collect::<Result<_>>()?)
                }
                // What is folded ends in a newline, which no message does.
                _ => Message::Whole(self.scalar(message)?.text.trim().to_owned()),
            };
            outputs.push((self.name(rule)?, message));
        }
        Ok(outputs)
    }

    fn events(&mut self, entries: &Entries, node: &Node) -> Result<Events> {
        let keys = ["event", "events", "recording"];
        let given: Vec<_> =
            keys.iter().filter_map(|key| Some((*key, find(entries, key)?))).collect();
        match given[..] {
            [("event", node)] => Ok(Events::Given(vec![self.event(node, 1)?])),
            [("recording", node)] => {
                let path = self.scalar(node)?.text.clone();
                if path.is_empty() {
                    return Err(self.error(Code::YamlValidate, node, "Value must be non-empty"));
                }
                Ok(Events::Recording(path))
            }
            [(_, node)] => self.sequence(node),
            [] => {
                let reported = self.error(Code::YamlValidate, node, "the test has no event");
                let hint = "give it one: 'event: {evt.type: execve, proc.name: sh}', \
                            or 'events: [{…}, {…}]', or 'recording: FILE'";
                self.hint(Some(hint.to_owned()));
                Err(reported)
            }
            [(first, _), (second, node), ..] => {
                let message = format!("Keys '{first}' and '{second}' cannot be used together");
                Err(self.error(Code::YamlValidate, node, message))
            }
        }
    }

    fn sequence(&mut self, node: &Node) -> Result<Events> {
        let Content::Sequence(nodes) = &node.content else {
            return Err(self.error(Code::YamlValidate, node, "Value is not a sequence"));
        };
        if nodes.is_empty() {
            return Err(self.error(Code::YamlValidate, node, "the test has no event"));
        }
        let events: Vec<_> =
            nodes.iter().zip(1..).map(|(node, number)| self.event(node, number)).collect();
        Ok(Events::Given(events.into_iter().collect::<Result<_>>()?))
    }

    fn mapping<'n>(&mut self, node: &'n Node) -> Result<&'n Entries> {
        match &node.content {
            Content::Mapping(entries) => Ok(entries),
            _ => Err(self.error(Code::YamlValidate, node, "Value is not a mapping")),
        }
    }

    fn place(&self, node: &Node) -> Place {
        Place { file: self.index, span: node.span.clone() }
    }
}
