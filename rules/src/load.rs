//! The way from files to a ruleset: read, merge, compile, and collect what was found.

use crate::compile::{self, Compiler};
use crate::diagnose::{Code, Diagnostic, Item, ItemKind};
use crate::eval::NodeId;
use crate::file::{self, RuleBody};
use crate::merge::{self, DEFAULT_SOURCE, Definition, Definitions};
use crate::output::Output;
use crate::rule::Rule;
use crate::ruleset::{Loaded, Options, Ruleset, Source};
use crate::source::{SourceFile, Text};

/// A rule about more types of events than this is probably missing `evt.type`.
const MANY_EVENT_TYPES: usize = 100;

/// Loads rule files in order.
pub(crate) fn load(sources: &[Source<'_>], options: &Options) -> Loaded {
    let files = files(sources);
    let mut diagnostics = Vec::new();
    let definitions = definitions(sources, &files, &mut diagnostics);
    let ruleset = compile(&files, &definitions, options, &mut diagnostics);
    sort(&mut diagnostics, sources);
    Loaded { ruleset, diagnostics }
}

/// The files, each up to the first byte that is not UTF-8.
pub(crate) fn files<'a>(sources: &[Source<'a>]) -> Vec<SourceFile<'a>> {
    let file = |source: &Source<'a>| SourceFile::new(source.name, decode(source.text).0);
    sources.iter().map(file).collect()
}

/// What the items of the files define together.
pub(crate) fn definitions(
    sources: &[Source<'_>],
    files: &[SourceFile<'_>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Definitions {
    let mut definitions = Definitions::default();
    for (index, (file, source)) in std::iter::zip(files, sources).enumerate() {
        let (text, is_whole) = decode(source.text);
        if !is_whole {
            let end = text.len()..text.len();
            let message = "the file is not UTF-8 from here on";
            diagnostics.push(file.diagnostic(Code::YamlParse, &end, message));
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
    diagnostics: &mut Vec<Diagnostic>,
) -> Ruleset {
    let mut loader = Loader { files, definitions, diagnostics };
    loader.compile(options)
}

/// Brings diagnostics into the order of files and lines.
pub(crate) fn sort(diagnostics: &mut [Diagnostic], sources: &[Source<'_>]) {
    let order = |diagnostic: &Diagnostic| {
        (sources.iter().position(|source| source.name == diagnostic.file), diagnostic.line)
    };
    diagnostics.sort_by_key(|diagnostic| (order(diagnostic), diagnostic.column));
}

/// The text up to the first byte that is not UTF-8, and whether that is all of it.
fn decode(bytes: &[u8]) -> (&str, bool) {
    match bytes.utf8_chunks().next() {
        None => ("", true),
        Some(chunk) => (chunk.valid(), chunk.invalid().is_empty()),
    }
}

struct Loader<'a, 'd> {
    files: &'a [SourceFile<'a>],
    definitions: &'a Definitions,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'a> Loader<'a, '_> {
    fn compile(&mut self, options: &Options) -> Ruleset {
        let mut compiler = Compiler::new(self.definitions, self.files);
        let mut rules = Vec::new();
        for definition in &self.definitions.rules.entries {
            rules.extend(self.rule(definition, &mut compiler, options));
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
        let text = body.condition.as_ref()?;
        let skips = body.skip_if_unknown == Some(true);
        let condition = compiler.rule(name, text, skips);
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
            condition: text.as_str().to_owned(),
            output,
            enabled: body.enabled.unwrap_or(true),
            asks_for_result: false,
            asks_for_given: false,
            kinds: condition.holds.kinds(),
        };
        Some((rule, condition.node))
    }

    fn output(
        &mut self,
        definition: &Definition<RuleBody>,
        text: &Text,
        skip_if_unknown: bool,
    ) -> Option<Output> {
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
            let mut diagnostic = compile::diagnostic(self.files, text, problem);
            diagnostic.item = Some(Item { kind: ItemKind::Rule, name: definition.name.clone() });
            self.diagnostics.push(diagnostic);
        }
        None
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
