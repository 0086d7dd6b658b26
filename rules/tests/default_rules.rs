//! The default rules pass their own tests, and each of them is tested both ways.

use std::path::Path;

use shrike_rules::Source;
use shrike_rules::test::Suite;

#[test]
fn every_default_rule_is_tested_both_ways() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("default");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
    let suite = Suite::load(&sources);
    let told: String = suite.diagnostics().iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{told}");
    let mut run = suite.run();
    let failed: Vec<_> = suite
        .tests()
        .iter()
        .map(|test| run.judge(test))
        .filter(|outcome| !outcome.passed())
        .map(|outcome| outcome.to_string())
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let coverage = run.coverage(None);
    assert!(coverage.rules.len() > 20);
    for rule in &coverage.rules {
        assert!(rule.matched > 0, "no test has {} match", rule.rule);
        assert!(rule.unmatched > 0, "no test that names {} has it not match", rule.rule);
    }
    // What has only ever been true, or false, could be left out without a test failing.
    let uncovered: Vec<_> =
        coverage.conditions.iter().filter(|condition| !condition.is_covered()).collect();
    assert!(uncovered.is_empty(), "{uncovered:#?}");
}
