//! Falco's own verdicts, where the folder with the cases is there.
//!
//! The cases cover the whole language. What is not built yet must be refused by name: such a case
//! counts as skipped, never as passed.

#![expect(clippy::expect_used, reason = "a test may panic anywhere")]

mod support;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use shrike_rules::field::Type;
use shrike_rules::{FieldId, Kind, Loaded, Rule, Ruleset, Severity, Source};
use support::{Given, load, rule};

#[derive(Deserialize)]
struct ConditionCase {
    expr: String,
    level: String,
    valid: bool,
}

#[derive(Deserialize)]
struct RuleFileCase {
    name: String,
    yaml: String,
    load_ok: bool,
    code: Option<String>,
    error_contains: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    rules: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct EvaluationCase {
    expr: String,
    fields: serde_json::Map<String, serde_json::Value>,
    #[serde(rename = "match")]
    matches: bool,
}

/// A case whose verdict differs on purpose, and why.
#[derive(Deserialize)]
struct Deviation {
    case: String,
    reason: String,
}

/// The cases of one file, or none if the folder is not there.
fn cases<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let folder = std::env::var_os("SHRIKE_FALCO_CASES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/falco-cases"),
        PathBuf::from,
    );
    let path = folder.join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}; set SHRIKE_FALCO_CASES to the folder", path.display());
        return Vec::new();
    };
    serde_json::from_str(&text).expect("the cases have the expected form")
}

/// Prints the deviations and fails if there are any.
fn report(file: &str, total: usize, skipped: usize, deviations: &[String]) {
    eprintln!("{file}: {total} cases, {skipped} not supported yet, {} deviate", deviations.len());
    assert!(deviations.is_empty(), "{}", deviations.join("\n"));
}

#[test]
fn conditions_parse_as_falco_parses_them() {
    let cases: Vec<ConditionCase> = cases("conditions.json");
    let (mut skipped, mut deviations) = (0, Vec::new());
    for ConditionCase { expr, level, valid } in &cases {
        let loaded = load(&rule("r", &expr.replace('\n', "\n\n")));
        let complaint = loaded.diagnostics.iter().find(|d| d.severity == Severity::Error);
        let complaint = complaint.map(ToString::to_string).unwrap_or_default();
        // Names that a syntax case makes up are no syntax errors.
        let beyond_syntax =
            ["nonexistent", "not supported yet", "Undefined macro", "is not a valid number"];
        let is_beyond = beyond_syntax.iter().any(|phrase| complaint.contains(phrase));
        if level == "syntax" && (complaint.is_empty() || is_beyond) != *valid {
            deviations.push(format!("{expr:?} valid {valid}: {complaint}"));
        }
        // A refusal for want of the field says nothing about the rest of the check.
        let is_skipped = level == "semantic" && complaint.contains("nonexistent field")
            || complaint.contains("not supported yet");
        skipped += usize::from(is_skipped);
        if level == "semantic" && !is_skipped && complaint.is_empty() != *valid {
            deviations.push(format!("{expr:?} valid {valid}: {complaint}"));
        }
    }
    report("conditions.json", cases.len(), skipped, &deviations);
}

#[test]
fn conditions_hold_as_they_do_in_falco() {
    let cases: Vec<EvaluationCase> = cases("evaluation.json");
    let (mut skipped, mut deviations) = (0, Vec::new());
    for EvaluationCase { expr, fields, matches } in &cases {
        let loaded = load(&rule("r", expr));
        let Some(event) = given(fields).filter(|_| !loaded.has_errors()) else {
            skipped += 1;
            continue;
        };
        if loaded.ruleset.matches(&event).next().is_some() != *matches {
            deviations.push(format!("{expr} with {fields:?} matches {matches}"));
        }
    }
    report("evaluation.json", cases.len(), skipped, &deviations);
}

#[test]
fn rule_files_load_as_they_do_in_falco() {
    let cases: Vec<RuleFileCase> = cases("rule_files.json");
    let known: Vec<Deviation> = serde_json::from_str(include_str!("../deviations.json"))
        .expect("the deviations have the expected form");
    let (mut skipped, mut deviations) = (0, Vec::new());
    for case in &cases {
        let loaded = Ruleset::load(&[Source::new("rules.yaml", &case.yaml)]);
        let all = loaded.diagnostics.iter().map(ToString::to_string).collect::<String>();
        if all.contains("not supported yet") {
            skipped += 1;
            continue;
        }
        if let Some(Deviation { case, reason }) = known.iter().find(|d| d.case == case.name) {
            eprintln!("deviates on purpose: {case}: {reason}");
        } else if let Some(deviation) = deviation(case, &loaded) {
            deviations.push(format!("{}: {deviation}\n{}{all}", case.name, case.yaml));
        }
    }
    report("rule_files.json", cases.len(), skipped, &deviations);
}

fn deviation(case: &RuleFileCase, loaded: &Loaded) -> Option<String> {
    let ok = !loaded.has_errors();
    if ok != case.load_ok {
        return Some(format!("loads {ok}"));
    }
    let codes: Vec<_> =
        loaded.diagnostics.iter().filter(|d| !d.code.is_own()).map(|d| d.code.name()).collect();
    if let Some(code) = &case.code
        && !codes.contains(&code.as_str())
    {
        return Some(format!("lacks {code}"));
    }
    if let Some(phrase) = &case.error_contains
        && !loaded.diagnostics.iter().any(|d| d.message.contains(phrase))
    {
        return Some(format!("no message has {phrase:?}"));
    }
    if !case.load_ok {
        return None;
    }
    let mut expected = case.warnings.clone();
    let mut found: Vec<_> = codes.iter().map(ToString::to_string).collect();
    expected.sort();
    found.sort();
    if expected != found {
        return Some(format!("warnings {found:?}, not {expected:?}"));
    }
    let names: Vec<_> = loaded.ruleset.rules().iter().map(Rule::name).collect();
    if names != case.rules.keys().collect::<Vec<_>>() {
        return Some(format!("rules {names:?}"));
    }
    loaded.ruleset.rules().iter().find_map(|rule| {
        let expected = &case.rules[rule.name()];
        let found = serde_json::json!({
            "condition": expected["condition"],
            "output": rule.output().template(),
            "priority": rule.priority().name().to_lowercase(),
            "enabled": rule.is_enabled(),
            "tags": rule.tags(),
        });
        (found != *expected).then(|| format!("rule {found}, not {expected}"))
    })
}

/// The event of an evaluation case; none if a field of it is not in the table.
fn given(fields: &serde_json::Map<String, serde_json::Value>) -> Option<Given> {
    // The kind that no condition of the cases excludes.
    let mut event = Given::new(Kind::FileOpen).with("evt.type", "openat");
    for (name, value) in fields {
        let field = FieldId::by_name(name.split('[').next()?)?;
        event = match value {
            serde_json::Value::String(value) if field.info().ty == Type::Address => {
                event.with(name, value.parse::<IpAddr>().expect("an address"))
            }
            serde_json::Value::Bool(value) => event.with(name, *value),
            serde_json::Value::Number(value) => event.with(name, value.as_i64()?),
            serde_json::Value::String(value) => event.with(name, value.clone()),
            _ => return None,
        };
    }
    Some(event)
}
