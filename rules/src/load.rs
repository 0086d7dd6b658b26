//! The way from files to a ruleset: read, merge, compile, and collect what was found.

use crate::ast::Span;
use crate::check::Problem;
use crate::compile::{self, Compiler};
use crate::diagnose::{Code, Diagnostic, Item, ItemKind};
use crate::eval::NodeId;
use crate::exception::Exception;
use crate::file::{self, RuleBody};
use crate::merge::{self, DEFAULT_SOURCE, Definition, Definitions};
use crate::output::{Output, REMOVED};
use crate::rule::Rule;
use crate::ruleset::{Loaded, Options, Ruleset, Source};
use crate::source::{self, SourceFile, Text};

/// A rule about more types of events than this is probably missing `evt.type`.
const MANY_EVENT_TYPES: usize = 100;

/// Loads rule files in order.
pub(crate) fn load(sources: &[Source<'_>], options: &Options) -> Loaded {
    let texts: Vec<_> = sources.iter().map(|source| source::decode(source.text)).collect();
    let files: Vec<_> = std::iter::zip(sources, &texts)
        .map(|(source, (text, _))| SourceFile::new(source.name, text))
        .collect();
    let mut diagnostics = Vec::new();
    let mut definitions = Definitions::default();
    for (index, (file, (_, is_whole))) in std::iter::zip(&files, &texts).enumerate() {
        if !is_whole {
            diagnostics.push(file.not_utf8());
            continue;
        }
        let items = file::read(index, file, &mut diagnostics);
        definitions.add(items, &files, &mut diagnostics);
    }
    let conditions: Vec<_> = definitions.rules.entries.iter().map(conditions).collect();
    let mut loader = Loader { files: &files, definitions: &definitions, diagnostics };
    let ruleset = loader.compile(&conditions, options);
    let mut diagnostics = loader.diagnostics;
    let order = |diagnostic: &Diagnostic| {
        (sources.iter().position(|source| source.name == diagnostic.file), diagnostic.line)
    };
    diagnostics.sort_by_key(|diagnostic| (order(diagnostic), diagnostic.column));
    Loaded { ruleset, diagnostics }
}

/// What must hold for a rule to match: its condition, and none of its exceptions.
fn conditions(definition: &Definition<RuleBody>) -> Vec<Text> {
    let RuleBody { condition, exceptions, .. } = &definition.value;
    let exceptions = exceptions.iter().flatten().filter_map(Exception::condition);
    condition.iter().cloned().chain(exceptions).collect()
}

/// The same as one text, as Falco joins them.
fn joined(conditions: &[Text]) -> String {
    match conditions {
        [only] => only.as_str().to_owned(),
        [condition, exceptions @ ..] => {
            let exceptions = exceptions.iter().map(|text| format!(" and {}", text.as_str()));
            format!("({}){}", condition.as_str().trim(), exceptions.collect::<String>())
        }
        [] => String::new(),
    }
}

struct Loader<'a> {
    files: &'a [SourceFile<'a>],
    definitions: &'a Definitions,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Loader<'a> {
    fn compile(&mut self, conditions: &'a [Vec<Text>], options: &Options) -> Ruleset {
        let mut compiler = Compiler::new(self.definitions, self.files);
        let mut rules = Vec::new();
        for (definition, conditions) in self.definitions.rules.entries.iter().zip(conditions) {
            rules.extend(self.rule(definition, conditions, &mut compiler, options));
        }
        let (program, found, unused) = compiler.finish();
        self.diagnostics.extend(found);
        for (kind, name) in unused {
            self.report_unused(kind, &name);
        }
        Ruleset::new(rules, program, options.matching)
    }

    fn rule(
        &mut self,
        definition: &'a Definition<RuleBody>,
        conditions: &'a [Text],
        compiler: &mut Compiler<'a>,
        options: &Options,
    ) -> Option<(Rule, NodeId)> {
        let Definition { name, value: body, .. } = definition;
        let source = merge::source_of(body);
        if source != DEFAULT_SOURCE {
            let message = format!("unknown source '{source}': the rule is skipped");
            self.report(Code::UnknownSource, definition, message);
            return None;
        }
        let priority = body.priority?;
        if priority > options.minimum_priority {
            return None;
        }
        let skips = body.skip_if_unknown == Some(true);
        let condition = compiler.rule(name, conditions, skips);
        let output = self.output(definition, body.output.as_ref()?, skips);
        if let (true, Err(faulty)) = (skips, &condition)
            && faulty.only_unknown_names
        {
            let message = "a field or event type is not known: the rule is skipped";
            self.report(Code::UnknownFilter, definition, message.to_owned());
        }
        let (condition, output) = (condition.ok()?, output?);
        if condition.holds.len() > MANY_EVENT_TYPES && body.warn_event_types != Some(false) {
            let message = format!(
                "Rule matches too many evt.type values ({}). This has a significant performance \
                 penalty",
                condition.holds.len()
            );
            self.report(Code::NoEventType, definition, message);
        }
        let rule = Rule {
            name: name.clone(),
            description: body.description.clone().unwrap_or_default(),
            priority,
            source: source.to_owned(),
            tags: body.tags.clone().unwrap_or_default(),
            condition: joined(conditions),
            output,
            enabled: body.enabled.unwrap_or(true),
            asks_for_result: false,
            asks_for_given: false,
            kinds: condition.holds.kinds(),
            events: condition.holds,
        };
        Some((rule, condition.node))
    }

    fn output(
        &mut self,
        definition: &Definition<RuleBody>,
        text: &Text,
        skip_if_unknown: bool,
    ) -> Option<Output> {
        if let Some(at) = text.as_str().find(REMOVED) {
            let span = Span::new(at..at + REMOVED.len());
            let message = format!("{REMOVED} is left out");
            let hint = "the fields of the container are in every alert; name those that the text shall have";
            let problem = Problem::new(Code::DeprecatedItem, span, message);
            self.report_in(definition, text, problem.with_hint(Some(hint.to_owned())));
        }
        let problems = match Output::parse(text.as_str()) {
            Ok(output) => return Some(output),
            Err(problems) => problems,
        };
        if skip_if_unknown && problems.iter().all(|problem| problem.is_unknown_name) {
            let message = "a field of the output is not known: the rule is skipped";
            self.report(Code::UnknownFilter, definition, message.to_owned());
            return None;
        }
        for problem in problems {
            self.report_in(definition, text, problem);
        }
        None
    }

    /// Reports what is wrong with a text of a rule.
    fn report_in(&mut self, definition: &Definition<RuleBody>, text: &Text, problem: Problem) {
        let mut diagnostic = compile::diagnostic(self.files, text, problem);
        diagnostic.item = Some(Item { kind: ItemKind::Rule, name: definition.name.clone() });
        self.diagnostics.push(diagnostic);
    }

    fn report_unused(&mut self, kind: ItemKind, name: &str) {
        let Definitions { lists, macros, .. } = self.definitions;
        let place = match kind {
            ItemKind::List => lists.position(name).map(|index| &lists.entries[index].place),
            _ => macros.position(name).map(|index| &macros.entries[index].place),
        };
        let Some(place) = place else { return };
        let code = if kind == ItemKind::List { Code::UnusedList } else { Code::UnusedMacro };
        let message = format!("{kind} '{name}' is not referred to by any other rule");
        let mut diagnostic = self.files[place.file].diagnostic(code, &place.span, message);
        diagnostic.item = Some(Item { kind, name: name.to_owned() });
        self.diagnostics.push(diagnostic);
    }

    fn report(&mut self, code: Code, definition: &Definition<RuleBody>, message: String) {
        let Definition { name, place, .. } = definition;
        let mut diagnostic = self.files[place.file].diagnostic(code, &place.span, message);
        diagnostic.item = Some(Item { kind: ItemKind::Rule, name: name.clone() });
        self.diagnostics.push(diagnostic);
    }
}
