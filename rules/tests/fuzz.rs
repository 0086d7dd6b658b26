//! Whatever a file holds, it is read to its end without a panic, and what is said of it has a place in it. And the
//! fast way of judging an event, by an index and kept results, finds what the plain way finds.
#![allow(clippy::expect_used, reason = "a test may panic anywhere")]

mod support;

use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use shrike_rules::diagnose::render;
use shrike_rules::test::Suite;
use shrike_rules::{
    Argument, Diagnostic, Event, FieldId, Kind, KindSet, Matching, Options, Rule, Ruleset, Source,
    Value, event_type, format,
};
use support::{Given, rule};

/// As many cases as take a second or two, or `SHRIKE_FUZZ` times as many.
fn cases(cases: u32) -> ProptestConfig {
    let times = std::env::var("SHRIKE_FUZZ").ok().and_then(|times| times.parse().ok());
    ProptestConfig {
        cases: cases.saturating_mul(times.unwrap_or(1)),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

/// The project's own rule files: the default rules, and those of the cases of the language.
fn files() -> Vec<String> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/default");
    let entries =
        std::fs::read_dir(own).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        entries.map(|path| std::fs::read_to_string(path).expect("a file")).collect();
    files.sort();
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../cases/rule_files.json")).expect("cases");
    files.extend(cases.iter().map(|case| case["yaml"].as_str().expect("a file").to_owned()));
    files
}

/// The conditions of the cases of the language.
fn conditions() -> Vec<String> {
    let cases =
        [include_str!("../cases/conditions.json"), include_str!("../cases/evaluation.json")]
            .map(|text| serde_json::from_str::<Vec<serde_json::Value>>(text).expect("cases"));
    cases
        .iter()
        .flatten()
        .map(|case| case["expr"].as_str().expect("a condition").to_owned())
        .collect()
}

/// A change of a text, at places that are given as shares of its length.
#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: u16, bits: u8 },
    Insert { at: u16, bytes: &'static str },
    Delete { at: u16, length: u8 },
    Double { at: u16, length: u8 },
    MoveLine { from: u16, to: u16 },
    CopyLine { from: u16, to: u16 },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<u16>;
    prop_oneof![
        (at(), 1_u8..).prop_map(|(at, bits)| Mutation::Flip { at, bits }),
        (at(), select(PIECES)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        (at(), 1_u8..40).prop_map(|(at, length)| Mutation::Delete { at, length }),
        (at(), 1_u8..).prop_map(|(at, length)| Mutation::Double { at, length }),
        (at(), at()).prop_map(|(from, to)| Mutation::MoveLine { from, to }),
        (at(), at()).prop_map(|(from, to)| Mutation::CopyLine { from, to }),
    ]
}

/// The place that a share of a length stands for.
fn place(share: u16, length: usize) -> usize {
    usize::from(share) * length / usize::from(u16::MAX)
}

impl Mutation {
    fn apply(&self, text: &mut Vec<u8>) {
        match *self {
            Self::Flip { at, bits } => {
                let at = place(at, text.len().saturating_sub(1));
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Insert { at, bytes } => {
                let at = place(at, text.len());
                text.splice(at..at, bytes.bytes());
            }
            Self::Delete { at, length } => {
                let at = place(at, text.len());
                text.drain(at..text.len().min(at + usize::from(length)));
            }
            Self::Double { at, length } => {
                let at = place(at, text.len());
                let part = text[at..text.len().min(at + usize::from(length))].to_vec();
                text.splice(at..at, part);
            }
            Self::MoveLine { from, to } | Self::CopyLine { from, to } => {
                let mut lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
                if lines.is_empty() {
                    return;
                }
                let from = place(from, lines.len() - 1);
                let line = lines[from];
                if matches!(self, Self::MoveLine { .. }) {
                    lines.remove(from);
                }
                lines.insert(place(to, lines.len()), line);
                *text = lines.concat();
            }
        }
    }
}

/// A text that some changes were made to.
fn mutated(texts: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    (select(texts), vec(mutation(), 1..8)).prop_map(|(text, mutations)| {
        let mut text = text.into_bytes();
        for mutation in &mutations {
            mutation.apply(&mut text);
        }
        text
    })
}

/// Says of which diagnostic the place is none of the file's.
fn misplaced<'d>(text: &[u8], diagnostics: &'d [Diagnostic]) -> Option<&'d Diagnostic> {
    // What is behind a byte that is not UTF-8 is not read.
    let text = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let lines: Vec<_> = text.split('\n').map(|line| line.chars().count()).collect();
    // The place after the last character is one, too: something may be missing there.
    let is_there = |line: usize, column: usize| {
        column > 0 && line > 0 && lines.get(line - 1).is_some_and(|length| column <= length + 1)
    };
    diagnostics.iter().find(|one| {
        let is_whole = is_there(one.line, one.column)
            && is_there(one.end_line, one.end_column)
            && (one.line, one.column) <= (one.end_line, one.end_column);
        let is_related_there = one.related.iter().all(|other| {
            is_there(other.line, other.column) && is_there(other.end_line, other.end_column)
        });
        !(is_whole && is_related_there)
    })
}

/// Reads a file in every way that there is.
fn read(text: &[u8]) -> Result<(), TestCaseError> {
    let sources = [Source::new("f", text)];
    let loaded = Ruleset::load(&sources);
    for diagnostic in &loaded.diagnostics {
        prop_assert!(!render(diagnostic, true).is_empty());
    }
    prop_assert_eq!(misplaced(text, &loaded.diagnostics), None);
    prop_assert_eq!(&Ruleset::load(&sources).diagnostics, &loaded.diagnostics);

    let suite = Suite::load(&sources);
    prop_assert_eq!(misplaced(text, suite.diagnostics()), None);
    let mut run = suite.run();
    for test in suite.tests() {
        let _ = run.judge(test).to_string();
    }
    let _ = run.coverage(None);

    match format(Source::new("f", text)) {
        Ok(formatted) => {
            let again = format(Source::new("f", &formatted));
            prop_assert_eq!(again.as_ref(), Ok(&formatted));
        }
        Err(diagnostics) => prop_assert_eq!(misplaced(text, &diagnostics), None),
    }
    Ok(())
}

/// An event that has for each field what a hash of it says, of the field's type or not.
#[derive(Debug)]
struct Hashed {
    seed: u64,
    kind: Kind,
}

impl Event for Hashed {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        if field == FieldId::EvtType {
            return Some(event_type(self.kind, None).into());
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, field).hash(&mut hasher);
        match argument {
            // No process has ancestors without end.
            Some(Argument::Index(5..)) => return None,
            Some(Argument::Index(index)) => index.hash(&mut hasher),
            Some(Argument::Name(name)) => name.hash(&mut hasher),
            None => {}
        }
        let hash = hasher.finish();
        let bytes = hash.to_le_bytes();
        let texts = ["", "a", "/srv/a", "-vf x", "\u{e9}", "proc.pname", "host"];
        match hash % 8 {
            0 => None,
            1 => Some(Value::Bool(hash & 64 > 0)),
            2 => Some(Value::Number(i128::from(hash >> 56))),
            3 => Some(Value::Address(IpAddr::from([192, 0, 2, bytes[1]]))),
            4 => Some(Value::from(bytes.to_vec())),
            _ => Some(Value::from(texts[usize::from(bytes[2]) % texts.len()])),
        }
    }
}

/// Judges an event in every way that there is.
fn judge(ruleset: &Ruleset, event: &Hashed) {
    for (index, rule) in ruleset.rules().iter().enumerate() {
        let _ = (ruleset.holds(index, event), rule.output().render(event));
    }
    let _ = ruleset.matches(event).count();
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_bytes_are_read(bytes in vec(any::<u8>(), 0..200)) {
        read(&bytes)?;
    }

    #[test]
    fn what_looks_like_yaml_is_read(
        lines in vec((0_usize..5, select(LINES)), 0..24),
        end in "[ -~\n]{0,8}",
    ) {
        let lines = lines.iter().map(|(depth, line)| "  ".repeat(*depth) + line + "\n");
        read((lines.collect::<String>() + &end).as_bytes())?;
    }

    #[test]
    fn mutated_conditions_are_judged(
        condition in mutated(conditions()),
        other in select(conditions()),
        seeds in vec((any::<u64>(), select(Kind::ALL)), 4),
    ) {
        let condition = String::from_utf8_lossy(&condition);
        let conditions = [condition.to_string(), format!("{condition} or not ({other})")];
        for condition in conditions {
            let yaml = serde_json::json!([{
                "rule": "r", "desc": "d", "priority": "info", "condition": condition,
                "output": "%proc.name %evt.args %fd.ip",
            }]);
            let loaded = Ruleset::load(&[Source::new("f", &yaml.to_string())]);
            for &(seed, kind) in &seeds {
                if KindSet::ALL.contains(kind) {
                    judge(&loaded.ruleset, &Hashed { seed, kind });
                }
            }
            if let Some(event) = loaded.ruleset.witness(0) {
                prop_assert!(loaded.ruleset.holds(0, &event), "{condition}: {event:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn mutated_files_are_read(text in mutated(files())) {
        read(&text)?;
    }
}

/// What changes the meaning of YAML, or of a condition.
const PIECES: &[&str] = &[
    "'", "\"", ":", "- ", "{", "}", "[", "]", "&a ", "*a", "|\n", ">", "#", "\t", "\n", "%", "(",
    ")", ",", " and ", " or ", "not ", "override", "append", "é", "\u{feff}", "\\x00", "---\n",
    "<<: ", "!!str ", "\r", "?",
];

/// Lines that rule files have.
const LINES: &[&str] = &[
    "- rule: r",
    "- rule: &n r",
    "- macro: m",
    "- list: l",
    "- tests:",
    "- required_engine_version: 0.63.0",
    "condition: evt.type = openat and m and proc.name in (l)",
    "condition: >-",
    "condition: |",
    "output: %fd.name",
    "output: 'o %proc.aname[2]'",
    "desc: d",
    "priority: INFO",
    "items: [a, 'b c', *n]",
    "items:",
    "- a",
    "- [a, b]",
    "tags: [t]",
    "append: true",
    "override: {condition: append, exceptions: replace}",
    "exceptions:",
    "- name: e",
    "fields: [proc.name, proc.pid]",
    "comps: [startswith, in]",
    "values: [[a, [1, 2]], [b, 3]]",
    "event: {evt.type: openat, fd.name: /etc/shadow, proc.aname: [a, b]}",
    "events: [{evt.type: execve}, {<<: *n}]",
    "alerts: [r]",
    "not: r",
    "output: {r: [a, b]}",
    "proc.name = a",
    "and (proc.name = b",
    "or proc.pid > 1)",
    "# a comment",
    "---",
    "...",
    "? x",
    "<<: *n",
    "\t",
    "",
];

const NAMES: &[&str] = &["sh", "bash", "sshd", "nginx"];
const PATHS: &[&str] = &["/etc/shadow", "/etc/ssh/key", "/srv/www/key", "/srv/a", "/var/log/sh"];
const FOLDERS: &[&str] = &["/etc", "/etc/ssh", "/srv/www", "/srv", "/var/log"];
const ENDS: &[&str] = &["shadow", "key", "a", "sh"];

/// A check of a field by what it can be, its beginnings and patterns of it.
fn check(field: &'static str, texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let text = || select(texts);
    let prefix = || (text(), 1_usize..8).prop_map(|(text, end)| &text[..end.min(text.len())]);
    let pattern = prop_oneof![
        prefix().prop_map(|prefix| format!("{prefix}*")),
        text().prop_map(|text| format!("?{}", &text[1..])),
        text().prop_map(|text| format!("*{}", &text[text.len() - 1..])),
    ];
    let folder = || prop_oneof![select(FOLDERS), Just("/srv/*"), Just("/*/ssh"), Just("/")];
    let operator = || select(&["=", "startswith", "endswith", "contains", "glob"][..]);
    let quantifier = || select(&["anyof", "oneof", "allof"][..]);
    prop_oneof![
        text().prop_map(move |one| format!("{field} = {one}")),
        (text(), text()).prop_map(move |(one, two)| format!("{field} in ({one}, {two})")),
        text().prop_map(move |one| format!("{field} != {one}")),
        prefix().prop_map(move |prefix| format!("{field} startswith {prefix}")),
        pattern.prop_map(move |pattern| format!("{field} glob {pattern}")),
        (folder(), folder()).prop_map(move |(one, two)| format!("{field} pmatch ({one}, {two})")),
        (operator(), quantifier(), prefix(), text()).prop_map(
            move |(operator, quantifier, one, two)| {
                format!("{field} {operator} {quantifier} ({one}, {two})")
            }
        ),
    ]
}

/// Checks of the fields that rules are found by, some of them in macros, and what is made of them.
fn by_index() -> impl Strategy<Value = String> {
    let check = prop_oneof![
        3 => check("proc.name", NAMES),
        3 => check("fd.name", PATHS),
        1 => check("proc.pname", NAMES),
        1 => check("proc.exepath", PATHS),
        1 => check("fd.directory", FOLDERS),
        1 => check("fd.filename", ENDS),
        2 => (0..MACROS).prop_map(|number| format!("m{number}")),
    ];
    check.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" and "))),
            2 => vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
            1 => inner.prop_map(|one| format!("not ({one})")),
        ]
    })
}

const MACROS: usize = 6;

/// A file with macros, which have no others in them, and many rules for one kind of event.
fn many_rules() -> impl Strategy<Value = String> {
    let of_macro = prop_oneof![
        (check("proc.name", NAMES), check("fd.name", PATHS))
            .prop_map(|(one, two)| format!("{one} or {two}")),
        (check("proc.exepath", PATHS), check("proc.pname", NAMES))
            .prop_map(|(one, two)| format!("({one} and not {two})")),
        check("proc.name", NAMES),
    ];
    let macros = vec(of_macro, MACROS);
    let rules = vec((by_index(), any::<bool>()), 50..70);
    (macros, rules).prop_map(|(macros, rules)| {
        let macros = macros.iter().enumerate();
        let macros = macros.map(|(n, one)| format!("- {{macro: m{n}, condition: '({one})'}}\n"));
        let rules = rules.iter().enumerate().map(|(number, (condition, is_open))| {
            let lead = if *is_open { "evt.type = openat and " } else { "" };
            rule(&format!("r{number}"), &format!("{lead}{condition}"))
        });
        macros.chain(rules).collect()
    })
}

/// An opened file, mostly with every value.
fn opened() -> impl Strategy<Value = Given> {
    let name = || proptest::option::weighted(0.9, select(NAMES));
    let path = || proptest::option::weighted(0.9, select(PATHS));
    (name(), name(), path(), path()).prop_map(|(name, parent, executable, path)| {
        let split = path.and_then(|path| path.rsplit_once('/'));
        let values = [
            ("proc.name", name),
            ("proc.pname", parent),
            ("proc.exepath", executable),
            ("fd.name", path),
            ("fd.directory", split.map(|(folder, _)| folder)),
            ("fd.filename", split.map(|(_, end)| end)),
        ];
        let event = Given::new(Kind::FileOpen).with("evt.type", "openat");
        let values = values.into_iter().filter_map(|(field, value)| Some((field, value?)));
        values.fold(event, |event, (field, value)| event.with(field, value))
    })
}

fn load(yaml: &str, matching: Matching) -> Ruleset {
    let options = Options { matching, ..Options::default() };
    let loaded = Ruleset::load_with(&[Source::new("f", yaml)], &options);
    assert!(!loaded.has_errors(), "{yaml}{:?}", loaded.diagnostics);
    loaded.ruleset
}

/// The rules that match an event, each judged by itself.
fn plainly<'r>(ruleset: &'r Ruleset, event: &Given) -> Vec<&'r str> {
    let rules = ruleset.rules().iter().enumerate();
    let matching = rules.filter(|(index, rule)| {
        rule.is_enabled() && rule.kinds().contains(event.kind) && ruleset.holds(*index, event)
    });
    matching.map(|(_, rule)| rule.name()).collect()
}

#[test]
fn rules_that_are_found_by_an_index_are_those_that_match() {
    let (pairs, matched) = (Cell::new(0), Cell::new(0));
    let strategy = (many_rules(), vec(opened(), 24));
    TestRunner::new(cases(32))
        .run(&strategy, |(yaml, events)| {
            let all = load(&yaml, Matching::All);
            let first = load(&yaml, Matching::First);
            for event in &events {
                let expected = plainly(&all, event);
                pairs.set(pairs.get() + all.rules().len());
                matched.set(matched.get() + expected.len());
                let found: Vec<_> = all.matches(event).map(Rule::name).collect();
                prop_assert_eq!(&found, &expected);
                let found: Vec<_> = first.matches(event).map(Rule::name).collect();
                prop_assert_eq!(found, expected.into_iter().take(1).collect::<Vec<_>>());
            }
            Ok(())
        })
        .unwrap();
    let (pairs, matched) = (pairs.get(), matched.get());
    assert!(matched * 10 > pairs * 3, "only {matched} of {pairs} match: that tests little");
    assert!(matched * 10 < pairs * 7, "{matched} of {pairs} match: that tests little");
}

/// One event may be in more lists of the index than are followed.
#[test]
fn rules_that_are_in_very_many_lists_are_found() {
    let path: &'static str = "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z";
    let rules = (1..path.len())
        .map(|end| rule(&format!("r{end}"), &format!("fd.name startswith {}", &path[..end])));
    let ruleset = load(&rules.collect::<String>(), Matching::All);
    for end in [1, 12, 23, 24, 25, 26, 40, path.len()] {
        let event = Given::open(&path[..end]);
        let found: Vec<_> = ruleset.matches(&event).map(Rule::name).collect();
        assert_eq!(found, plainly(&ruleset, &event), "{end}");
        assert_eq!(found.len(), end.min(path.len() - 1), "{end}");
    }
}
