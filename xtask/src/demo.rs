//! `cargo xtask demo`: the agent at work, in a guest. What the guest says is shown as it comes; what
//! it proves is judged here: each attempt carries a token that this side has chosen.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::cache::Cache;
use crate::compile::Profile;
use crate::console::{Step, alarming, strong};
use crate::setup::kernel::Series;
use crate::vm::Configuration;
use crate::vm::job::Outcome;
use crate::vm::launch::{Ended, Launch};
use crate::vm::machine::{Channels, Lines};

/// How many escapes are attempted.
const ATTEMPTS: usize = 3;

/// What the guest may take.
const LIMIT: Duration = Duration::from_mins(2);

/// What the guest reports, one line each.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The alerts that the ordinary container raised.
    Ordinary { alerts: Vec<Value> },
    /// What became of an attempt.
    Attempt(Box<Attempt>),
}

#[derive(Debug, Deserialize)]
struct Attempt {
    token: String,
    /// The alert on the console, and as the webhook got it.
    console: Value,
    webhook: Value,
    /// By how much the rule's counter has grown.
    counted: u64,
}

/// Shows the agent at work, and returns whether it did all of it.
pub fn run(cache: &Cache, offline: bool) -> Result<bool> {
    let start = Instant::now();
    let tokens = (0..ATTEMPTS).map(|_| token()).collect::<Result<Vec<_>>>()?;
    let mut command = vec!["shrike-tests".to_owned(), "demo".to_owned()];
    command.extend(tokens.iter().cloned());
    let configuration = Configuration { series: Series::V6_12, ..Configuration::default() };
    let launch = Launch {
        configuration: &configuration,
        programs: &["shrike-tests", "shrike"],
        profile: Profile::Dev,
        command: &command,
        share: None,
        limit: LIMIT,
    };
    let mut reports = Vec::new();
    let ended = {
        let _step = Step::start("Running", "the agent in a virtual machine with Linux 6.12");
        launch.run(
            cache,
            offline,
            Channels {
                stdout: &mut io::stdout(),
                stderr: &mut io::stderr(),
                results: &mut Lines::new(|line: &str| reports.push(serde_json::from_str(line))),
            },
        )?
    };
    check_end(ended)?;
    let reports: Vec<Report> =
        reports.into_iter().collect::<Result<_, _>>().context("cannot understand the guest")?;
    let problems = judge(&tokens, &reports);
    println!();
    for problem in &problems {
        println!("{} {problem}", alarming("Problem:"));
    }
    if problems.is_empty() {
        println!(
            "{} {ATTEMPTS} of {ATTEMPTS} escapes were detected, each on the console and at the \
             webhook, by its own random mark;\nthe ordinary container raised none by what it did. All in \
             {:.0} s.",
            strong("It works:"),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(problems.is_empty())
}

fn check_end(ended: Ended) -> Result<()> {
    let Ended { outcome, console } = ended;
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(_) => bail!("the demonstration failed; its last words are above"),
        other => Err(anyhow!("the guest ended early: {other:?}\n{console}")),
    }
}

/// What is missing from the proof.
fn judge(tokens: &[String], reports: &[Report]) -> Vec<String> {
    let mut problems = Vec::new();
    let attempts = || {
        reports.iter().filter_map(|report| match report {
            Report::Attempt(attempt) => Some(attempt),
            Report::Ordinary { .. } => None,
        })
    };
    for token in tokens {
        let Some(attempt) = attempts().find(|attempt| attempt.token == *token) else {
            problems.push(format!("attempt {token} was not made"));
            continue;
        };
        for (place, alert) in [("console", &attempt.console), ("webhook", &attempt.webhook)] {
            let shown = alert["output_fields"]["proc.cmdline"].as_str().unwrap_or_default();
            if !shown.contains(token.as_str()) {
                problems.push(format!("the {place} does not show attempt {token}: {alert}"));
            }
        }
        if attempt.console["uuid"] != attempt.webhook["uuid"] {
            problems.push(format!("console and webhook show different alerts of {token}"));
        }
        if attempt.counted != 1 {
            let (rule, counted) = (&attempt.console["rule"], attempt.counted);
            problems.push(format!("rule {rule} counted {counted} alerts of attempt {token}"));
        }
    }
    let ordinary = reports.iter().find_map(|report| match report {
        Report::Ordinary { alerts } => Some(alerts),
        Report::Attempt(_) => None,
    });
    match ordinary {
        None => problems.push("the ordinary container did not run".to_owned()),
        Some(alerts) => problems.extend(
            alerts
                .iter()
                .filter(|alert| is_urgent(&alert["priority"]))
                .map(|alert| format!("the ordinary container raised an alert: {alert}")),
        ),
    }
    problems
}

/// Whether a priority is warning or above; one that is not known is.
fn is_urgent(priority: &Value) -> bool {
    !["Notice", "Informational", "Debug"].iter().any(|harmless| priority == harmless)
}

/// Sixteen hexadecimal digits that nobody can guess.
fn token() -> Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(base16ct::lower::encode_string(&bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attempt(token: &str, shown: &str, counted: u64) -> Report {
        let alert = json!({
            "uuid": "1", "rule": "R", "output_fields": { "proc.cmdline": format!("x {shown}") },
        });
        Report::Attempt(Box::new(Attempt {
            token: token.into(),
            console: alert.clone(),
            webhook: alert,
            counted,
        }))
    }

    fn problems(reports: &[Report]) -> usize {
        judge(&["a1".into(), "b2".into()], reports).len()
    }

    fn ordinary(priorities: &[&str]) -> Report {
        let alerts = priorities.iter().map(|priority| json!({ "priority": priority })).collect();
        Report::Ordinary { alerts }
    }

    #[test]
    fn all_is_well_only_if_everything_was_seen() {
        let good = || attempt("a1", "a1", 1);
        assert_eq!(problems(&[ordinary(&["Notice"]), good(), attempt("b2", "b2", 1)]), 0);
        assert_eq!(problems(&[ordinary(&[]), good()]), 1, "an attempt is missing");
        assert_eq!(problems(&[ordinary(&[]), good(), attempt("b2", "b2", 2)]), 1, "counted twice");
        assert_eq!(problems(&[ordinary(&[]), good(), attempt("b2", "c3", 1)]), 2, "not its alert");
        assert_eq!(problems(&[good(), attempt("b2", "b2", 1)]), 1, "nothing ordinary");
        let noisy = ordinary(&["Warning", "Critical", "Debug"]);
        assert_eq!(problems(&[noisy, good(), attempt("b2", "b2", 1)]), 2);
    }

    #[test]
    fn tokens_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 16 && one != other);
    }

    #[test]
    fn reports_are_read_as_the_guest_writes_them() {
        let line = r#"{"attempt":{"token":"a","console":{},"webhook":{},"counted":1}}"#;
        assert!(matches!(serde_json::from_str(line).unwrap(), Report::Attempt(_)));
        let line = r#"{"ordinary":{"alerts":[]}}"#;
        assert!(matches!(serde_json::from_str(line).unwrap(), Report::Ordinary { .. }));
    }
}
