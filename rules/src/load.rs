//! The way from files to a ruleset: read, merge, compile, and collect what was found.

use crate::ast::Span;
use crate::check::Problem;
use crate::compile::{self, Compiled, Compiler, Condition};
use crate::diagnose::{Code, Item, ItemKind};
use crate::event::KindSet;
use crate::exception::Exception;
use crate::file::{self, RuleBody};
use crate::findings::Findings;
use crate::lint::{self, Judged, Trace, Warning};
use crate::merge::{self, DEFAULT_SOURCE, Definition, Definitions};
use crate::names::{self, NameSet};
use crate::output::{Output, REMOVED};
use crate::rule::Rule;
use crate::ruleset::{Loaded, Options, Ruleset, Source};
use crate::source::{self, SourceFile, Text};

/// A rule about more types of events than this is probably missing `evt.type`.
const MANY_EVENT_TYPES: usize = 100;

/// Loads rule files in order.
pub(crate) fn load(sources: &[Source<'_>], options: &Options) -> Loaded {
    let files = files(sources);
    let mut diagnostics = Findings::default();
    let definitions = definitions(sources, &files, &mut diagnostics);
    let ruleset = compile(&files, &definitions, options, &mut diagnostics);
    Loaded { ruleset, diagnostics: diagnostics.finish(&files) }
}

/// The files, each up to the first byte that is not UTF-8.
pub(crate) fn files<'a>(sources: &[Source<'a>]) -> Vec<SourceFile<'a>> {
    let file = |source: &Source<'a>| SourceFile::new(source.name, source::decode(source.text).0);
    sources.iter().map(file).collect()
}

/// What the items of the files define together.
pub(crate) fn definitions(
    sources: &[Source<'_>],
    files: &[SourceFile<'_>],
    diagnostics: &mut Findings,
) -> Definitions {
    let mut definitions = Definitions::default();
    for (index, (file, source)) in std::iter::zip(files, sources).enumerate() {
        let (_, is_whole) = source::decode(source.text);
        if !is_whole {
            diagnostics.push(file.not_utf8());
            continue;
        }
        let items = file::read(index, file, diagnostics);
        definitions.add(items, files, diagnostics);
    }
    definitions
}

/// The rules that are free of errors.
pub(crate) fn compile(
    files: &[SourceFile<'_>],
    definitions: &Definitions,
    options: &Options,
    diagnostics: &mut Findings,
) -> Ruleset {
    let conditions: Vec<_> = definitions.rules.entries.iter().map(conditions).collect();
    let mut loader = Loader { files, definitions, diagnostics };
    loader.compile(&conditions, options)
}

/// What must hold for a rule to match: its condition, and none of its exceptions.
pub(crate) fn conditions(definition: &Definition<RuleBody>) -> Vec<Text> {
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

struct Loader<'a, 'd> {
    files: &'a [SourceFile<'a>],
    definitions: &'a Definitions,
    diagnostics: &'d mut Findings,
}

impl<'a> Loader<'a, '_> {
    fn compile(&mut self, conditions: &'a [Vec<Text>], options: &Options) -> Ruleset {
        let mut compiler = Compiler::new(self.definitions, self.files);
        let mut rules = Vec::new();
        for (definition, conditions) in self.definitions.rules.entries.iter().zip(conditions) {
            rules.extend(self.rule(definition, conditions, &mut compiler, options));
        }
        let Compiled { program, trace, diagnostics, unused } = compiler.finish();
        self.diagnostics.extend(diagnostics);
        for (kind, name) in unused {
            self.report_unused(kind, &name);
        }
        self.report_redefined();
        self.report_idle();
        let (rules, conditions): (Vec<_>, Vec<_>) = rules
            .into_iter()
            .map(|(rule, definition, condition)| ((rule, condition.node), (definition, condition)))
            .unzip();
        let ruleset = Ruleset::new(rules, program, options.matching);
        self.lint(&ruleset, &trace, &conditions, options);
        ruleset
    }

    /// Warns of rules that are well-formed and cannot be meant so.
    fn lint(
        &mut self,
        ruleset: &Ruleset,
        trace: &Trace<'a>,
        conditions: &[(&'a Definition<RuleBody>, Condition)],
        options: &Options,
    ) {
        let rules = std::iter::zip(ruleset.rules(), conditions).filter(|(rule, _)| rule.enabled);
        let (rules, definitions): (Vec<_>, Vec<_>) = rules
            .map(|(rule, (definition, Condition { spot, holds, .. }))| {
                let Rule { name, asks_for_result, .. } = rule;
                let asks_for_result = *asks_for_result;
                (Judged { name, condition: *spot, asks_for_result, holds: *holds }, *definition)
            })
            .unzip();
        for warning in lint::judge(trace, ruleset.program(), &rules, options.matching) {
            self.report_warning(warning, trace, &definitions);
        }
    }

    fn report_warning(
        &mut self,
        warning: Warning,
        trace: &Trace<'a>,
        definitions: &[&Definition<RuleBody>],
    ) {
        let files = self.files;
        let place = |at| {
            let (text, Span { start, end }) = trace.place(at);
            text.place(files, start..end)
        };
        let Definition { name, place: name_place, .. } = definitions[warning.rule];
        let at = warning.at.map_or_else(|| name_place.clone(), place);
        if self.diagnostics.drops(&files[at.file], warning.code) {
            return;
        }
        let mut diagnostic = files[at.file].diagnostic(warning.code, &at.span, warning.message);
        diagnostic.item = Some(Item { kind: ItemKind::Rule, name: name.clone() });
        let part = warning.part.map(|(part, message)| (place(part), message));
        let other = warning.other.map(|(other, text)| (definitions[other].place.clone(), text));
        diagnostic.related = part
            .into_iter()
            .chain(other)
            .map(|(place, message)| files[place.file].related(&place.span, message))
            .collect();
        diagnostic.note = warning.note;
        diagnostic.hint = warning.hint;
        self.diagnostics.push(diagnostic);
    }

    fn report_redefined(&mut self) {
        for (name, place, earlier) in &self.definitions.redefined {
            let file = &self.files[place.file];
            if self.diagnostics.drops(file, Code::RedefinedRule) {
                continue;
            }
            let message = format!("rule '{name}' takes the place of the one above of this name");
            let mut diagnostic = file.diagnostic(Code::RedefinedRule, &place.span, message);
            diagnostic.item = Some(Item { kind: ItemKind::Rule, name: name.clone() });
            diagnostic.related = vec![file.related(&earlier.span, "that one is here")];
            diagnostic.hint = Some(
                "give one of them another name, or say what changes with `override`".to_owned(),
            );
            self.diagnostics.push(diagnostic);
        }
    }

    fn report_idle(&mut self) {
        for (rule, exception, place) in &self.definitions.idle {
            let file = &self.files[place.file];
            if self.diagnostics.drops(file, Code::AppendNoValues) {
                continue;
            }
            let message = format!("exception '{exception}' is extended by no values");
            let mut diagnostic = file.diagnostic(Code::AppendNoValues, &place.span, message);
            diagnostic.item = Some(Item { kind: ItemKind::Rule, name: rule.clone() });
            self.diagnostics.push(diagnostic);
        }
    }

    fn rule(
        &mut self,
        definition: &'a Definition<RuleBody>,
        conditions: &'a [Text],
        compiler: &mut Compiler<'a>,
        options: &Options,
    ) -> Option<(Rule, &'a Definition<RuleBody>, Condition)> {
        let Definition { name, value: body, .. } = definition;
        let source = merge::source_of(body);
        if source != DEFAULT_SOURCE {
            let message = format!("unknown source '{source}': the rule is skipped");
            self.report(Code::UnknownSource, definition, message);
            return None;
        }
        let text = body.condition.as_ref()?;
        let priority = body.priority?;
        if priority > options.minimum_priority {
            compiler.mention(text);
            return None;
        }
        let skips = body.skip_if_unknown == Some(true);
        let condition = compiler.rule(name, conditions, skips);
        if condition.is_err() {
            for text in conditions {
                compiler.mention(text);
            }
        }
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
            if let Some(diagnostic) = self.diagnostics.last_mut() {
                diagnostic.hint = Some(event_type_hint(compiler.trace().narrowest(condition.spot)));
            }
        }
        let rule = Rule {
            name: name.clone(),
            description: body.description.clone().unwrap_or_default(),
            priority,
            source: source.to_owned(),
            tags: body.tags.clone().unwrap_or_default(),
            condition: joined(conditions),
            output,
            enabled: options.selection.enables(
                name,
                body.tags.as_deref().unwrap_or_default(),
                body.enabled.unwrap_or(true),
            ),
            asks_for_result: false,
            asks_for_given: false,
            kinds: condition.holds.kinds(),
            events: condition.holds,
            checks: condition.checks,
        };
        Some((rule, definition, condition))
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

/// Which test of the event's type a rule should have that has a check only some kinds can satisfy.
fn event_type_hint(narrowest: Option<(String, KindSet)>) -> String {
    let Some((check, kinds)) = narrowest else {
        return "say which events are meant, as in `evt.type in (execve, execveat)`".to_owned();
    };
    let names =
        NameSet::matching(|name| names::kind_of(name).is_some_and(|kind| kinds.contains(kind)));
    let names: Vec<_> = names.names().collect();
    if names.is_empty() {
        return format!("no event satisfies `{check}`");
    }
    format!("only these events can satisfy `{check}`: add `evt.type in ({})`", names.join(", "))
}
