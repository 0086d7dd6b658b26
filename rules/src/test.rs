//! Tests of rules: what a rule file says that its rules make of events.
//!
//! A rule file may have items with the key `tests`, which [`Ruleset::load`] passes over:
//!
//! ```
//! use shrike_rules::{Source, test::Suite};
//!
//! let rules = "
//! - rule: Shell in container
//!   desc: A shell runs in a container.
//!   condition: evt.type = execve and container.id != host and proc.name in (sh, bash)
//!   output: a shell (command=%proc.cmdline)
//!   priority: NOTICE
//!
//! - tests:
//!     - name: a shell in a container raises the alert
//!       event: &shell {evt.type: execve, proc.name: sh, proc.args: [-c, id], container.id: 0123456789ab}
//!       output:
//!         Shell in container: a shell (command=sh -c id)
//!     - name: one of the host does not
//!       rule: Shell in container
//!       event: {<<: *shell, container.id: host}
//!       alerts: []
//! ";
//! let sources = [Source::new("rules.yaml", rules)];
//! let suite = Suite::load(&sources);
//! assert_eq!(suite.diagnostics(), []);
//! let mut run = suite.run();
//! let outcomes: Vec<_> = suite.tests().iter().map(|test| run.judge(test)).collect();
//! assert!(outcomes.iter().all(|outcome| outcome.passed()));
//! assert_eq!(run.coverage(None).rules_matched(), 1);
//! ```
//!
//! Every rule is judged, whatever comes before it; a disabled one if a test names it.

mod coverage;
mod derive;
mod event;
mod explain;
mod outcome;
mod run;

use std::collections::{BTreeMap, HashMap};

pub use coverage::{ConditionCoverage, Coverage, RuleCoverage};
pub use event::Given;
pub(crate) use event::Part;
pub use explain::{Reason, ReasonPart};
pub use outcome::{Failure, Outcome};
pub use run::{Run, Trial};

use crate::diagnose::{Code, Diagnostic, Severity};
use crate::file::test::{self as file, Events, Name, Written};
use crate::findings::Findings;
use crate::glob::Glob;
use crate::load;
use crate::merge::Definitions;
use crate::rule::Rule;
use crate::ruleset::{Matching, Options, Ruleset, Source};
use crate::source::{Place, SourceFile};
use crate::suggest;
use crate::trace::{Planter, Tree};

/// The rules of some files, and their tests.
#[derive(Debug)]
pub struct Suite<'a> {
    files: Vec<SourceFile<'a>>,
    /// With every rule enabled.
    ruleset: Ruleset,
    /// What is known of each rule beyond that.
    traits: Vec<Traits>,
    by_name: HashMap<String, usize>,
    tests: Vec<Test>,
    findings: Findings,
    diagnostics: Vec<Diagnostic>,
}

/// What tests need to know of a rule.
#[derive(Debug)]
struct Traits {
    /// Where its name stands.
    place: Place,
    /// Whether its file enables it.
    is_enabled: bool,
    condition: Option<Tree>,
}

/// A test of rules. Rules are known by their position in the ruleset.
#[derive(Debug)]
pub struct Test {
    name: String,
    position: (String, usize, usize),
    /// The rules that it names.
    named: Vec<usize>,
    /// The rules that are judged.
    judged: Vec<usize>,
    events: Events,
    /// The rules that must match.
    expected: Vec<usize>,
    /// The rules that must not.
    unwanted: Vec<usize>,
    outputs: BTreeMap<usize, Message>,
}

/// What a message must be.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// It has all of these in it.
    Parts(Vec<String>),
    Whole(String),
}

impl Message {
    fn fits(&self, output: &str) -> bool {
        match self {
            Self::Parts(parts) => parts.iter().all(|part| output.contains(part.as_str())),
            Self::Whole(whole) => whole == output,
        }
    }
}

impl Test {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that it stands in, as the source was named.
    pub fn file(&self) -> &str {
        &self.position.0
    }

    /// The recording that has its events. Whoever can read it hands them to a [`Trial`].
    pub fn recording(&self) -> Option<&str> {
        match &self.events {
            Events::Given(_) => None,
            Events::Recording(path) => Some(path),
        }
    }
}

impl<'a> Suite<'a> {
    /// Loads rule files in order, with their tests.
    pub fn load(sources: &[Source<'a>]) -> Self {
        let files = load::files(sources);
        let mut findings = Findings::default();
        let mut definitions = load::definitions(sources, &files, &mut findings);
        let disabled = enable_all(&mut definitions);
        let options = Options { matching: Matching::All, ..Options::default() };
        let ruleset = load::compile(&files, &definitions, &options, &mut findings);
        let traits = traits(&ruleset, &definitions, &files, &disabled);
        let by_name = ruleset.rules().iter().enumerate();
        let by_name = by_name.map(|(index, rule)| (rule.name().to_owned(), index)).collect();
        let (tests, diagnostics) = (Vec::new(), Vec::new());
        let mut suite = Self { files, ruleset, traits, by_name, tests, findings, diagnostics };
        suite.read_tests(&definitions);
        suite.diagnostics = std::mem::take(&mut suite.findings).finish(&suite.files);
        suite
    }

    /// What was found in the files, in the order of files and lines.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether a rule or a test could not be loaded.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The tests that are free of errors, in the order of the files.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Whether a test names a rule that fits a pattern with wildcards, in any case.
    pub fn is_about(&self, test: &Test, pattern: &str) -> bool {
        let glob = Glob::new(pattern.as_bytes(), true);
        test.named.iter().any(|&rule| glob.matches(self.rule(rule).name().as_bytes()))
    }

    /// Begins to run tests.
    pub fn run(&self) -> Run<'_> {
        Run::new(self)
    }

    fn rule(&self, index: usize) -> &Rule {
        &self.ruleset.rules()[index]
    }

    fn read_tests(&mut self, definitions: &Definitions) {
        for index in 0..self.files.len() {
            let written = file::read(index, &self.files[index], &mut self.findings);
            for test in written {
                let test = self.resolve(test, definitions);
                self.tests.extend(test);
            }
        }
    }

    /// The test with its rules; `None` if it names one that is not there.
    fn resolve(&mut self, written: Written, definitions: &Definitions) -> Option<Test> {
        let Written { name, place, rules, events, alerts, not, outputs } = written;
        let is_exact = alerts.is_some() && not.is_empty();
        let (speakers, messages): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
        // All of them before the first mistake counts, so that each is told.
        let about = rules.map(|rules| self.find_all(&rules, definitions));
        let expected = self.find_all(&alerts.unwrap_or_default(), definitions);
        let unwanted = self.find_all(&not, definitions);
        let speakers = self.find_all(&speakers, definitions)?;
        let about = about.map_or(Some(None), |rules| rules.map(Some))?;
        let expected = unique(expected?.into_iter().chain(speakers.iter().copied()));
        let unwanted = unwanted?;
        let outputs = speakers.into_iter().zip(messages).collect();
        let all_named = about.iter().flatten().chain(&expected).chain(&unwanted);
        let named = unique(all_named.copied());
        let judged = if about.is_some() {
            named.clone()
        } else {
            let enabled = (0..self.traits.len()).filter(|&rule| self.traits[rule].is_enabled);
            unique(enabled.chain(named.iter().copied()))
        };
        let others = judged.iter().filter(|rule| is_exact && !expected.contains(rule));
        let unwanted = unique(others.copied().chain(unwanted));
        let position = position(&self.files, &place);
        Some(Test { name, position, named, judged, events, expected, unwanted, outputs })
    }

    /// The rules with these names, if all of them are there.
    fn find_all(&mut self, names: &[Name], definitions: &Definitions) -> Option<Vec<usize>> {
        let found: Vec<_> = names.iter().map(|name| self.find(name, definitions)).collect();
        found.into_iter().collect()
    }

    fn find(&mut self, name: &Name, definitions: &Definitions) -> Option<usize> {
        let Name { text, place } = name;
        if let Some(rule) = self.by_name.get(text) {
            return Some(*rule);
        }
        let (message, hint) = if definitions.rules.position(text).is_some() {
            let hint = "what is told of the rule itself says why".to_owned();
            (format!("rule '{text}' is not loaded"), Some(hint))
        } else {
            let names = self.ruleset.rules().iter().map(Rule::name);
            (format!("nonexistent rule '{text}'"), suggest::hint(text, names))
        };
        let mut diagnostic =
            self.files[place.file].diagnostic(Code::Validate, &place.span, message);
        diagnostic.hint = hint;
        self.findings.push(diagnostic);
        None
    }
}

/// Enables every rule, and returns the names of those that were not.
fn enable_all(definitions: &mut Definitions) -> Vec<String> {
    let mut disabled = Vec::new();
    for definition in &mut definitions.rules.entries {
        if definition.value.enabled.replace(true) == Some(false) {
            disabled.push(definition.name.clone());
        }
    }
    disabled
}

fn traits(
    ruleset: &Ruleset,
    definitions: &Definitions,
    files: &[SourceFile<'_>],
    disabled: &[String],
) -> Vec<Traits> {
    let mut planter = Planter::new(definitions, files);
    let definition = |rule: &Rule| {
        let index = definitions.rules.position(rule.name())?;
        definitions.rules.entries.get(index)
    };
    let traits = ruleset.rules().iter().filter_map(|rule| {
        let definition = definition(rule)?;
        Some(Traits {
            place: definition.place.clone(),
            is_enabled: !disabled.contains(&definition.name),
            condition: planter.rule(definition),
        })
    });
    traits.collect()
}

/// The same without what was there before, in the same order.
fn unique(rules: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut unique = Vec::new();
    for rule in rules {
        if !unique.contains(&rule) {
            unique.push(rule);
        }
    }
    unique
}

/// The file, line and column of a place.
fn position(files: &[SourceFile<'_>], place: &Place) -> (String, usize, usize) {
    let Diagnostic { file, line, column, .. } =
        files[place.file].diagnostic(Code::Validate, &place.span, "");
    (file, line, column)
}
