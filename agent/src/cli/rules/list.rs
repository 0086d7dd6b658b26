//! `shrike rules list`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shrike_rules::{Extent, Kind, Rule, Ruleset, Support};

use super::files::FilesArgs;
use crate::cli::table;

const EXAMPLES: &str = "\
Examples:
  shrike rules list /etc/shrike/rules.d
  shrike rules list --disable 'rule=*' --enable tag=network rules.yaml
  shrike rules list --json rules.yaml | jq -r 'select(.evaluated != \"fully\").rule'";

/// List rules: how urgent each is, on what it is evaluated, and how much of it the sensor can tell
///
/// A rule is evaluated fully, partly (the sensor does not emit some of the events that it names, or has
/// no value for a field), or never.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListArgs {
    #[command(flatten)]
    files: FilesArgs,

    /// Write one JSON object a line, with what is missing
    #[arg(long)]
    json: bool,
}

/// Lists the rules of files.
pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let Some(ruleset) = args.files.ruleset()? else { return Ok(ExitCode::FAILURE) };
    let listed = ruleset.rules().iter().enumerate();
    let listed = listed.filter_map(|(place, rule)| Some((rule, ruleset.support(place)?)));
    let mut out = io::stdout().lock();
    if args.json {
        for (rule, support) in listed {
            writeln!(out, "{}", document(rule, &support))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["PRIORITY", "ENABLED", "EVALUATED", "EVENTS", "RULE", "MISSING"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(listed.map(|(rule, support)| row(rule, &support)));
    write!(out, "{}", table::table(&rows))?;
    writeln!(out, "{}", summary(&ruleset))?;
    Ok(ExitCode::SUCCESS)
}

fn row(rule: &Rule, support: &Support) -> Vec<String> {
    let enabled = if rule.is_enabled() { "yes" } else { "no" };
    let missing = [support.missing_events.join(" "), support.missing_fields.join(" ")];
    let missing: Vec<_> = missing.into_iter().filter(|names| !names.is_empty()).collect();
    vec![
        rule.priority().name().to_owned(),
        enabled.to_owned(),
        support.extent().name().to_owned(),
        kinds(rule).join(" "),
        table::escaped(rule.name()),
        missing.join("; "),
    ]
}

/// The names of the kinds that a rule is evaluated on.
pub(super) fn kinds(rule: &Rule) -> Vec<&'static str> {
    if rule.kinds() == shrike_rules::KindSet::ALL {
        return vec!["all"];
    }
    rule.kinds().iter().map(Kind::name).collect()
}

fn document(rule: &Rule, support: &Support) -> serde_json::Value {
    json!({
        "rule": rule.name(),
        "priority": rule.priority().name(),
        "enabled": rule.is_enabled(),
        "tags": rule.tags(),
        "events": rule.event_types().collect::<Vec<_>>(),
        "kinds": rule.kinds().iter().map(Kind::name).collect::<Vec<_>>(),
        "evaluated": support.extent().name(),
        "missing_events": support.missing_events,
        "missing_fields": support.missing_fields,
        "absent_in_output": support.absent_in_output,
    })
}

fn summary(ruleset: &Ruleset) -> String {
    let extents: Vec<_> = (0..ruleset.rules().len())
        .filter_map(|place| Some(ruleset.support(place)?.extent()))
        .collect();
    let count = |extent: Extent| extents.iter().filter(|other| **other == extent).count();
    format!(
        "{} rules: {} evaluated fully, {} partly, {} never",
        extents.len(),
        count(Extent::Full),
        count(Extent::Partial),
        count(Extent::Never),
    )
}
