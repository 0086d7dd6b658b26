//! The definitions that remain when items of several files redefine and extend each other.

use std::collections::HashMap;

use crate::diagnose::{Code, Item as ItemName, ItemKind};
use crate::exception::Exception;
use crate::file::{Body, Item, Merge, Operation, RuleBody};
use crate::findings::Findings;
use crate::source::{Place, SourceFile, Text};
use crate::suggest;

/// Every list, macro and rule, each in the place of its first definition.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    pub(crate) lists: Table<Vec<String>>,
    pub(crate) macros: Table<Text>,
    pub(crate) rules: Table<RuleBody>,
    /// Rules that took the place of one of their own file, and where that stood.
    pub(crate) redefined: Vec<(String, Place, Place)>,
    /// Exceptions, each of a rule, that extend the one of their name by nothing, and where they stand.
    pub(crate) idle: Vec<(String, String, Place)>,
    items_seen: usize,
}

/// Definitions of one kind, in order and by name.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pub(crate) entries: Vec<Definition<T>>,
    by_name: HashMap<String, usize>,
}

/// A named thing.
#[derive(Debug)]
pub(crate) struct Definition<T> {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// The item that defined it first.
    pub(crate) position: usize,
    /// The item that touched it last: a macro sees those defined before that.
    pub(crate) visibility: usize,
    pub(crate) value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), by_name: HashMap::new() }
    }
}

impl<T> Table<T> {
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Definition<T>> {
        let index = self.position(name)?;
        self.entries.get_mut(index)
    }

    /// Defines a name, in the place of an earlier definition if there is one.
    fn define(&mut self, name: String, place: Place, item: usize, value: T) {
        if let Some(earlier) = self.get_mut(&name) {
            *earlier = Definition { name, place, visibility: item, value, ..*earlier };
            return;
        }
        self.by_name.insert(name.clone(), self.entries.len());
        self.entries.push(Definition { name, place, position: item, visibility: item, value });
    }
}

impl Definitions {
    /// Adds the items of one file.
    pub(crate) fn add(
        &mut self,
        items: Vec<Item>,
        files: &[SourceFile<'_>],
        diagnostics: &mut Findings,
    ) {
        for item in items {
            self.items_seen += 1;
            let (name, place) = (item.name.clone(), item.place.clone());
            let kind = match &item.body {
                Body::List { .. } => ItemKind::List,
                Body::Macro { .. } => ItemKind::Macro,
                Body::Rule(_) => ItemKind::Rule,
            };
            if let Err(refusal) = self.add_item(item) {
                let Place { file, span } = refusal.place.unwrap_or(place);
                if diagnostics.drops(&files[file], Code::Validate) {
                    continue;
                }
                let mut diagnostic = files[file].diagnostic(Code::Validate, &span, refusal.message);
                diagnostic.item = Some(ItemName { kind, name });
                diagnostic.hint = refusal.hint;
                diagnostics.push(diagnostic);
            }
        }
    }

    fn add_item(&mut self, item: Item) -> Result<(), Refusal> {
        let Item { name, place, merge, body } = item;
        let sequence = self.items_seen;
        match body {
            Body::List { items } => {
                let items = items.unwrap_or_default();
                if !appends(&merge) {
                    self.lists.define(name, place, sequence, items);
                    return Ok(());
                }
                let list = target(&mut self.lists, ItemKind::List, &name, sequence)?;
                list.value.extend(items);
            }
            Body::Macro { condition } => {
                let Some(condition) = condition else { return Ok(()) };
                if !appends(&merge) {
                    self.macros.define(name, place, sequence, condition);
                    return Ok(());
                }
                let macro_ = target(&mut self.macros, ItemKind::Macro, &name, sequence)?;
                macro_.value.append(condition);
            }
            Body::Rule(body) => return self.add_rule(name, place, &merge, *body),
        }
        Ok(())
    }

    fn add_rule(
        &mut self,
        name: String,
        place: Place,
        merge: &Merge,
        body: RuleBody,
    ) -> Result<(), Refusal> {
        let sequence = self.items_seen;
        if let (Some(index), Some(source)) = (self.rules.position(&name), &body.source)
            && *source != source_of(&self.rules.entries[index].value)
        {
            return Err(Refusal::new("Rule has been re-defined with a different source"));
        }
        if *merge == Merge::Define {
            body.exceptions.iter().flatten().try_for_each(Exception::check)?;
            let earlier = self.rules.position(&name).map(|index| &self.rules.entries[index].place);
            if let Some(earlier) = earlier.filter(|earlier| earlier.file == place.file) {
                self.redefined.push((name.clone(), place.clone(), earlier.clone()));
            }
            self.rules.define(name, place, sequence, body);
            return Ok(());
        }
        let target = target(&mut self.rules, ItemKind::Rule, &name, sequence)?;
        // An item with a mistake changes nothing.
        let mut changed = target.value.clone();
        let rule = &mut changed;
        let extends = |(key, operation): &(String, Operation)| {
            key == "exceptions" && *operation == Operation::Append
        };
        if matches!(merge, Merge::Append)
            || matches!(merge, Merge::Override(all) if all.iter().any(extends))
        {
            let more = body.exceptions.iter().flatten().filter(|more| more.values.is_empty());
            let is_there = |more: &&Exception| {
                rule.exceptions.iter().flatten().any(|earlier| earlier.name == more.name)
            };
            let idle = more.filter(is_there);
            self.idle
                .extend(idle.map(|more| (name.clone(), more.name.clone(), more.place.clone())));
        }
        match merge {
            Merge::Define => {}
            Merge::Toggle => rule.enabled = body.enabled,
            // The old form knows no other keys.
            Merge::Append => {
                extend_text(&mut rule.condition, body.condition);
                extend_exceptions(rule, body.exceptions)?;
            }
            Merge::Override(operations) => {
                let mut body = body;
                for (key, operation) in operations {
                    apply(rule, key, *operation, &mut body)?;
                }
            }
        }
        target.value = changed;
        Ok(())
    }
}

/// Why an item cannot be merged.
pub(crate) struct Refusal {
    message: String,
    hint: Option<String>,
    /// Where; at the item's name if it is not known better.
    place: Option<Place>,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, place: None }
    }

    pub(crate) fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), ..Self::new(message) }
    }

    pub(crate) fn with_hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// The source of a rule that names none.
pub(crate) const DEFAULT_SOURCE: &str = "syscall";

/// The source of a rule.
pub(crate) fn source_of(rule: &RuleBody) -> &str {
    rule.source.as_deref().unwrap_or(DEFAULT_SOURCE)
}

/// The definition that an item extends.
fn target<'t, T>(
    table: &'t mut Table<T>,
    kind: ItemKind,
    name: &str,
    sequence: usize,
) -> Result<&'t mut Definition<T>, Refusal> {
    let Some(index) = table.position(name) else {
        let names = table.entries.iter().map(|definition| definition.name.as_str());
        let hint = suggest::hint(name, names)
            .unwrap_or_else(|| format!("define the {kind} before the items that extend it"));
        let message = format!(
            "{kind} '{name}' has 'append' or 'override' key but no {kind} by that name already exists"
        );
        return Err(Refusal::new(message).with_hint(hint));
    };
    let definition = &mut table.entries[index];
    definition.visibility = sequence;
    Ok(definition)
}

/// Whether a list or macro adds to an earlier one.
fn appends(merge: &Merge) -> bool {
    match merge {
        Merge::Append => true,
        Merge::Override(operations) => {
            operations.iter().any(|(_, operation)| *operation == Operation::Append)
        }
        Merge::Define | Merge::Toggle => false,
    }
}

/// Applies one key of an `override`.
fn apply(
    rule: &mut RuleBody,
    key: &str,
    operation: Operation,
    body: &mut RuleBody,
) -> Result<(), Refusal> {
    let append = operation == Operation::Append;
    match key {
        "condition" if append => extend_text(&mut rule.condition, body.condition.take()),
        "output" if append => extend_text(&mut rule.output, body.output.take()),
        "desc" if append => {
            // In place: a chain of these may be as long as the file.
            let description = rule.description.get_or_insert_default();
            if let Some(more) = body.description.take() {
                if !description.is_empty() {
                    description.push(' ');
                }
                description.push_str(&more);
            }
        }
        "tags" if append => {
            let tags = rule.tags.get_or_insert_default();
            let new = body.tags.take().unwrap_or_default();
            let missing: Vec<_> = new.into_iter().filter(|tag| !tags.contains(tag)).collect();
            tags.extend(missing);
        }
        "exceptions" if append => extend_exceptions(rule, body.exceptions.take())?,
        "exceptions" => {
            body.exceptions.iter().flatten().try_for_each(Exception::check)?;
            rule.exceptions = body.exceptions.take();
        }
        "condition" => rule.condition = body.condition.take(),
        "output" => rule.output = body.output.take(),
        "desc" => rule.description = body.description.take(),
        "tags" => rule.tags = body.tags.take(),
        "priority" => rule.priority = body.priority,
        "enabled" => rule.enabled = body.enabled,
        "warn_evttypes" => rule.warn_event_types = body.warn_event_types,
        "skip-if-unknown-filter" => rule.skip_if_unknown = body.skip_if_unknown,
        // `capture` and `capture_duration` have no effect.
        _ => {}
    }
    Ok(())
}

/// Adds exceptions, and values to those that are there.
fn extend_exceptions(rule: &mut RuleBody, more: Option<Vec<Exception>>) -> Result<(), Refusal> {
    let exceptions = rule.exceptions.get_or_insert_default();
    for exception in more.unwrap_or_default() {
        match exceptions.iter_mut().find(|earlier| earlier.name == exception.name) {
            Some(earlier) => earlier.extend(exception)?,
            None if exception.values.is_empty() && exception.fields.is_some() => {
                let message = "Rule exception must have values property with a list of values";
                return Err(Refusal::at(exception.place, message));
            }
            None => {
                exception.check()?;
                exceptions.push(exception);
            }
        }
    }
    Ok(())
}

fn extend_text(text: &mut Option<Text>, more: Option<Text>) {
    match (text.as_mut(), more) {
        (Some(text), Some(more)) => text.append(more),
        (None, more) => *text = more,
        (Some(_), None) => {}
    }
}
