//! `shrike rules explain`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use shrike_rules::{Escaped, Kind, Rule, Ruleset};

use super::files::FilesArgs;
use super::list::kinds;
use crate::cli::table;
use crate::plan;

const EXAMPLES: &str = "\
Examples:
  shrike rules explain 'Container escape' /etc/shrike/rules.d";

/// Explain a rule: on which events it is evaluated, what the kernel decides of it, and what it costs
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// The name of the rule
    #[arg(value_name = "RULE")]
    rule: String,

    #[command(flatten)]
    files: FilesArgs,
}

/// Explains a rule.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let Some(ruleset) = args.files.ruleset()? else { return Ok(ExitCode::FAILURE) };
    let named = |rule: &Rule| rule.name() == args.rule;
    let Some(place) = ruleset.rules().iter().position(named) else {
        let known = ruleset.rules().iter().map(Rule::name);
        let like = |name: &&str| name.to_lowercase().contains(&args.rule.to_lowercase());
        let nearest: Vec<_> = known.filter(like).take(3).map(table::escaped).collect();
        let hint = if nearest.is_empty() {
            "`shrike rules list` shows them".to_owned()
        } else {
            format!("did you mean {}?", nearest.join(" or "))
        };
        anyhow::bail!("no rule has the name {:?}: {hint}", args.rule);
    };
    let mut out = io::stdout().lock();
    explain(&ruleset, place, &mut out)?;
    Ok(ExitCode::SUCCESS)
}

fn explain(ruleset: &Ruleset, place: usize, out: &mut impl Write) -> io::Result<()> {
    let Some((rule, support)) = ruleset.rules().get(place).zip(ruleset.support(place)) else {
        return Ok(());
    };
    let state = if rule.is_enabled() { "" } else { ", disabled" };
    writeln!(out, "{} ({}{state})", table::escaped(rule.name()), rule.priority())?;
    writeln!(out, "  {}", Escaped(rule.description().trim().as_bytes()))?;
    writeln!(out, "\nCondition")?;
    for line in rule.condition().trim().lines() {
        writeln!(out, "  {}", Escaped(line.as_bytes()))?;
    }

    writeln!(out, "\nEvents: evaluated {}", support.extent().name())?;
    writeln!(out, "  on: {}", kinds(rule).join(", "))?;
    for (missing, what) in [
        (support.missing_events.join(", "), "no sensor of shrike emits"),
        (support.missing_fields.join(", "), "no event of these has"),
        (support.absent_in_output.join(", "), "in the output always <NA>:"),
    ] {
        if !missing.is_empty() {
            writeln!(out, "  {what} {missing}")?;
        }
    }

    writeln!(out, "\nDecided in the kernel")?;
    for kind in rule.kinds().iter() {
        in_kernel(ruleset, place, kind, out)?;
    }
    writeln!(out, "\nDecided by the agent\n  the whole condition, on what the kernel sends")?;
    if let Some(cost) = ruleset.cost(place) {
        writeln!(out, "  estimated cost: {cost}, where comparing a number of the event is 1")?;
    }
    if rule.asks_for_result() {
        writeln!(out, "  it asks for the result of the system call: it is judged when that ends")?;
    }

    match ruleset.witness(place) {
        Some(event) => {
            writeln!(out, "\nAn event that it matches")?;
            for (field, value) in event.values() {
                writeln!(out, "  {field}: {value}")?;
            }
        }
        None => writeln!(out, "\nNo event that it matches was found")?,
    }
    Ok(())
}

/// What the kernel looks at before it sends events of a kind for a rule.
fn in_kernel(ruleset: &Ruleset, place: usize, kind: Kind, out: &mut impl Write) -> io::Result<()> {
    let alternatives = ruleset.alternatives_of(place, kind, &plan::is_known);
    if alternatives.is_empty() {
        return writeln!(out, "  {}: nothing is sent, as nothing can match", kind.name());
    }
    for (number, alternative) in alternatives.iter().enumerate() {
        let checks: Vec<_> = alternative.checks().collect();
        let lead = if number == 0 { format!("{}:", kind.name()) } else { "or".to_owned() };
        if checks.is_empty() {
            writeln!(out, "  {lead} nothing: every such event is sent")?;
        } else {
            writeln!(out, "  {lead} {}", checks.join(" and "))?;
        }
    }
    Ok(())
}
