//! `cargo xtask conformance`: the rule language against cases with Falco's own verdicts. A case is told by its form,
//! whatever its file is called.

mod condition;
mod evaluation;
mod rule_file;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;
use condition::Condition;
use evaluation::Evaluation;
use rule_file::RuleFile;

/// Where our verdicts differ on purpose, and why.
const DEVIATIONS: &str = include_str!("../../rules/deviations.json");

/// The folder with the cases, beside the checkout.
const FOLDER: &str = "../shared/falco-cases";

/// Options of `cargo xtask conformance`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder with the cases, as JSON files
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A case with Falco's verdict.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Case {
    RuleFile(RuleFile),
    Evaluation(Evaluation),
    Condition(Condition),
}

/// A case of which our verdict is another one on purpose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    /// The name of the case, or its expression.
    case: String,
    reason: String,
}

/// What became of the cases of a file.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    on_purpose: Vec<String>,
    failed: Vec<String>,
}

/// Runs every case and prints those that fail. The result says whether none did.
pub fn run(options: &Options) -> Result<bool> {
    let folder = options.folder.clone().unwrap_or_else(|| workspace::root().join(FOLDER));
    let files = files(&folder)?;
    let deviations: Vec<Deviation> =
        serde_json::from_str(DEVIATIONS).context("read rules/deviations.json")?;
    let (mut cases, mut failed) = (0, 0);
    for path in files {
        let tally = Tally::of(&path, &deviations)?;
        println!("{}: {tally}", path.file_name().unwrap_or_default().display());
        for line in &tally.on_purpose {
            println!("  on purpose: {line}");
        }
        for line in &tally.failed {
            println!("  failed: {line}");
        }
        cases += tally.cases();
        failed += tally.failed.len();
    }
    ensure!(
        cases > 0,
        "no case is in {}; it takes JSON files with lists of cases",
        folder.display()
    );
    println!("{} passed, {failed} failed", cases - failed);
    Ok(failed == 0)
}

/// The JSON files of a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| {
        format!("cannot read {}; name the folder with the cases", folder.display())
    })?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let mut paths: Vec<_> = paths?.into_iter().filter(is_json).collect();
    paths.sort();
    Ok(paths)
}

impl Tally {
    fn of(path: &Path, deviations: &[Deviation]) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let cases: Vec<Case> = serde_json::from_str(&text)
            .with_context(|| format!("{} is no list of cases", path.display()))?;
        let mut tally = Self::default();
        for case in &cases {
            let name = case.name();
            let known = deviations.iter().find(|deviation| deviation.case == name);
            match (case.judge(), known) {
                (Ok(()), None) => tally.passed += 1,
                (Ok(()), Some(_)) => {
                    tally.failed.push(format!("{name}: it is listed as a deviation, and is none"));
                }
                (Err(_), Some(known)) => tally.on_purpose.push(format!("{name}: {}", known.reason)),
                (Err(found), None) => tally.failed.push(format!("{name}: {found}")),
            }
        }
        Ok(tally)
    }

    fn cases(&self) -> usize {
        self.passed + self.on_purpose.len() + self.failed.len()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, on_purpose, failed } = self;
        write!(f, "{passed} passed, {} failed", failed.len())?;
        if on_purpose.is_empty() {
            Ok(())
        } else {
            write!(f, ", {} deviate on purpose", on_purpose.len())
        }
    }
}

impl Case {
    fn name(&self) -> &str {
        match self {
            Self::Condition(case) => &case.expr,
            Self::Evaluation(case) => &case.expr,
            Self::RuleFile(case) => &case.name,
        }
    }

    /// Says in what our verdict differs.
    fn judge(&self) -> Result<(), String> {
        match self {
            Self::Condition(case) => case.judge(),
            Self::Evaluation(case) => case.judge(),
            Self::RuleFile(case) => case.judge(),
        }
    }
}

/// A file of one rule with this condition.
fn rule(condition: &str) -> String {
    let condition = condition.replace('\'', "''").replace('\n', "\n\n");
    format!("- {{rule: r, desc: d, priority: info, output: o, condition: '{condition}'}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(cases: &str, deviations: &[Deviation]) -> Tally {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cases.json"), cases).unwrap();
        Tally::of(&folder.path().join("cases.json"), deviations).unwrap()
    }

    const CASES: &str = r##"[
        {"expr": "proc.name = x", "valid": true, "level": "semantic"},
        {"expr": "proc.name =", "valid": true, "level": "syntax"},
        {"expr": "proc.pid > 1", "fields": {"proc.pid": 2}, "match": true},
        {"expr": "proc.pid > 1", "fields": {"proc.pid": 1}, "match": true},
        {"name": "nothing", "yaml": "# nothing\n", "load_ok": true, "rules": {}},
        {"name": "bad", "yaml": "- x\n", "load_ok": true}
    ]"##;

    #[test]
    fn each_form_of_case_can_pass_and_fail() {
        let found = tally(CASES, &[]);
        assert_eq!((found.passed, found.failed.len()), (3, 3), "{found:?}");
        let known = Deviation { case: "bad".to_owned(), reason: "for a test".to_owned() };
        let found = tally(CASES, &[known]);
        assert_eq!(found.to_string(), "3 passed, 2 failed, 1 deviate on purpose");
        assert_eq!(found.on_purpose, ["bad: for a test"]);
    }

    #[test]
    fn a_folder_without_cases_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let run = |folder: PathBuf| run(&Options { folder: Some(folder) });
        assert!(run(folder.path().to_owned()).is_err());
        assert!(run(folder.path().join("missing")).is_err());
        fs::write(folder.path().join("none.json"), "[]").unwrap();
        assert!(run(folder.path().to_owned()).is_err());
        fs::write(folder.path().join("other.json"), "[{}]").unwrap();
        assert!(run(folder.path().to_owned()).is_err());
    }

    /// The project's own cases, and those with Falco's verdicts if they are at hand.
    #[test]
    fn the_language_is_as_the_cases_say() {
        for folder in ["rules/cases", FOLDER].map(|folder| workspace::root().join(folder)) {
            if folder == workspace::root().join(FOLDER) && !folder.is_dir() {
                println!("skipped: there is no folder {}", folder.display());
                continue;
            }
            assert!(run(&Options { folder: Some(folder) }).unwrap());
        }
    }

    #[test]
    fn every_deviation_is_of_a_case_of_our_own() {
        let files = files(&workspace::root().join("rules/cases")).unwrap();
        let cases = files.iter().map(|path| fs::read_to_string(path).unwrap());
        let cases: Vec<Vec<Case>> =
            cases.map(|text| serde_json::from_str(&text).unwrap()).collect();
        let deviations: Vec<Deviation> = serde_json::from_str(DEVIATIONS).unwrap();
        for deviation in deviations {
            let is_it = |case: &Case| case.name() == deviation.case;
            assert!(cases.iter().flatten().any(is_it), "{}", deviation.case);
        }
    }

    #[test]
    fn every_deviation_has_a_reason() {
        let deviations: Vec<Deviation> = serde_json::from_str(DEVIATIONS).unwrap();
        assert!(deviations.iter().all(|deviation| !deviation.reason.is_empty()));
    }
}
