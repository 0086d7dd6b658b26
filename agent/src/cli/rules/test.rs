//! `shrike rules test`: the tests that stand in rule files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use shrike_rules::test::{ConditionCoverage, Coverage, Outcome, Run, Suite, Test};
use shrike_rules::{Diagnostic, diagnose};

use crate::cli::{colourful, end_with_reader};
use crate::detect::files::{self, RuleFile};
use crate::replay;

const EXAMPLES: &str = "\
Examples:
  shrike rules test /etc/shrike/rules.d
  shrike rules test rules.yaml my-tests.yaml --coverage
  shrike rules test rules.yaml --rule '*shell*'
  shrike rules test rules.yaml --json | jq '.outcomes[].failures[]'

How tests are written is told in docs/rule-tests.md.

Exit codes:
  0  every test passed
  1  a test failed, the files have errors, or there is no test
  2  the command line is wrong";

/// Run the tests that rule files have
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TestArgs {
    /// Rule files, or folders of them, in the order of `shrike run --rules`
    #[arg(value_name = "PATH", default_value = "/etc/shrike/rules.d")]
    paths: Vec<PathBuf>,

    /// Write one JSON document
    #[arg(long)]
    json: bool,

    /// List the rules and the parts of conditions that no test tries both ways
    #[arg(long)]
    coverage: bool,

    /// Only tests that name a rule like this, with `*` and `?`, in any case
    #[arg(long, value_name = "GLOB")]
    rule: Option<String>,
}

/// Everything that there is to tell, for programs.
#[derive(Serialize)]
struct Report<'a> {
    passed: usize,
    failed: usize,
    diagnostics: &'a [Diagnostic],
    outcomes: &'a [Outcome],
    coverage: &'a Coverage,
}

/// Runs the tests of the files.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    end_with_reader();
    let files = files::read(&args.paths)?;
    let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
    let suite = Suite::load(&sources);
    let colour = colourful(&io::stderr());
    for diagnostic in suite.diagnostics() {
        eprint!("{}", diagnose::render(diagnostic, colour));
    }
    let pattern = args.rule.as_deref();
    let is_wanted = |test: &&Test| pattern.is_none_or(|pattern| suite.is_about(test, pattern));
    let mut run = suite.run();
    let outcomes: Vec<Outcome> = suite
        .tests()
        .iter()
        .filter(is_wanted)
        .map(|test| judge(test, &mut run))
        .collect::<anyhow::Result<_>>()?;
    let coverage = run.coverage(pattern);
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let report = Report {
        passed: outcomes.len() - failed,
        failed,
        diagnostics: suite.diagnostics(),
        outcomes: &outcomes,
        coverage: &coverage,
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report).context("cannot write the report")?;
        writeln!(out)?;
    } else {
        report.write(&mut out, args.coverage)?;
    }
    if suite.has_errors() {
        eprintln!("shrike: error: there are errors in the rules or their tests");
    } else if outcomes.is_empty() {
        eprintln!("shrike: error: {}", nothing(pattern));
    }
    let is_well = failed == 0 && !outcomes.is_empty() && !suite.has_errors();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge<'s>(test: &'s Test, run: &mut Run<'s>) -> anyhow::Result<Outcome> {
    let Some(recording) = test.recording() else { return Ok(run.judge(test)) };
    let folder = Path::new(test.file()).parent().unwrap_or(Path::new(""));
    let mut trial = run.trial(test);
    replay::look(&folder.join(recording), |sight| trial.see(sight))
        .with_context(|| format!("cannot run the test {:?} of {}", test.name(), test.file()))?;
    Ok(trial.end())
}

/// Why there is nothing to tell.
fn nothing(pattern: Option<&str>) -> String {
    pattern.map_or_else(
        || "the rule files have no test; write some under the key 'tests'".to_owned(),
        |pattern| format!("no test names a rule like {pattern:?}"),
    )
}

impl Report<'_> {
    fn write(&self, out: &mut impl Write, lists_gaps: bool) -> io::Result<()> {
        let Self { passed, failed, diagnostics: _, outcomes, coverage } = self;
        for outcome in outcomes.iter().filter(|outcome| !outcome.passed()) {
            writeln!(out, "{outcome}\n")?;
        }
        writeln!(out, "{passed} passed, {failed} failed")?;
        let Coverage { rules, conditions } = coverage;
        let (matched, covered) = (coverage.rules_matched(), coverage.conditions_covered());
        writeln!(
            out,
            "rules {matched} of {} matched, conditions {covered} of {} seen true and false ({} %)",
            rules.len(),
            conditions.len(),
            coverage.percent()
        )?;
        if !lists_gaps {
            return Ok(());
        }
        for rule in rules.iter().filter(|rule| rule.matched == 0) {
            let (file, line, column) = (&rule.file, rule.line, rule.column);
            writeln!(out, "{file}:{line}:{column}: no test has \"{}\" match", rule.rule)?;
        }
        for condition in conditions.iter().filter(|condition| !condition.is_covered()) {
            writeln!(out, "{}", gap(condition))?;
        }
        Ok(())
    }
}

/// What tests leave open of a part of a condition.
fn gap(condition: &ConditionCoverage) -> String {
    let ConditionCoverage { condition, file, line, column, was_true, was_false } = condition;
    let gap = match (was_true, was_false) {
        (false, false) => "never judged",
        (false, true) => "never true",
        _ => "never false",
    };
    format!("{file}:{line}:{column}: {gap}: {condition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "
- {rule: r, desc: d, condition: evt.type = execve and proc.name = sh, output: o, priority: info}
- tests:
    - {name: a, event: {evt.type: execve, proc.name: sh}, alerts: [r]}
    - {name: b, event: {evt.type: execve, proc.name: sh}, rule: r, alerts: []}
    - {name: c, event: {evt.type: execve}, alerts: []}
";

    /// Whether the tests of these rules pass.
    fn passes(rules: &str, rule: Option<&str>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.yaml");
        std::fs::write(&path, rules).unwrap();
        let args =
            TestArgs { paths: vec![path], json: false, coverage: true, rule: rule.map(Into::into) };
        run(&args).unwrap() == ExitCode::SUCCESS
    }

    #[test]
    fn the_exit_code_tells_whether_all_is_well() {
        let good = RULES.replace("rule: r, alerts: []", "rule: r, alerts: [r]");
        assert!(passes(&good, None) && passes(&good, Some("R*")));
        assert!(!passes(RULES, None), "a test fails");
        assert!(!passes(&good, Some("x*")), "there is no such test");
        assert!(!passes(RULES.split("- tests").next().unwrap(), None), "there is no test");
        assert!(!passes(&good.replace("evt.type: execve}", "evt.tpye: execve}"), None), "an error");
        assert!(!passes(&good.replace("proc.name = sh", "proc.nmae = sh"), None), "a rule's error");
    }

    #[test]
    fn what_failed_is_told_with_its_place_and_what_is_open() {
        let sources = [shrike_rules::Source::new("r.yaml", RULES)];
        let suite = Suite::load(&sources);
        let mut run = suite.run();
        let outcomes: Vec<_> = suite.tests().iter().map(|test| run.judge(test)).collect();
        let report = Report {
            passed: 2,
            failed: 1,
            diagnostics: &[],
            outcomes: &outcomes,
            coverage: &run.coverage(None),
        };
        let mut text = Vec::new();
        report.write(&mut text, true).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "failed: b  (r.yaml:5:14)\n  \"r\" was raised: o\n\n2 passed, 1 failed\n\
             rules 1 of 1 matched, conditions 1 of 2 seen true and false (50 %)\n\
             r.yaml:2:33: never false: evt.type = execve\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["outcomes"][1]["failures"][0]["failure"], "unexpected");
        assert_eq!(json["coverage"]["conditions"][0]["was_false"], false);
    }

    #[test]
    fn a_recording_is_judged_event_by_event() {
        let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/every-kind.rec");
        let rules = |alerts: &str| {
            let rule = |name, condition| {
                let keys = "desc: d, output: o, priority: info, warn_evttypes: false";
                format!("- {{rule: {name}, condition: {condition}, {keys}}}\n")
            };
            [
                rule("executed", "evt.type = execve and proc.name exists"),
                rule("bound", "evt.type = mount or evt.type = breach"),
                rule("never", "evt.num >= 0 and proc.name = no-such-program"),
                format!("- tests: [{{name: t, recording: {recording:?}, alerts: {alerts}}}]\n"),
            ]
            .concat()
        };
        assert!(passes(&rules("[executed, bound]"), None));
        assert!(!passes(&rules("[executed]"), None));
        assert!(!passes(&rules("[executed, bound, never]"), None));
    }

    #[test]
    fn a_recording_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.yaml");
        let test = "    - {name: d, recording: none.rec, alerts: []}\n";
        std::fs::write(&path, format!("{RULES}{test}")).unwrap();
        let args = TestArgs { paths: vec![path], json: false, coverage: false, rule: None };
        let error = format!("{:#}", run(&args).unwrap_err());
        assert!(error.contains("\"d\"") && error.contains("none.rec"), "{error}");
    }
}
