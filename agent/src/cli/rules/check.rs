//! `shrike rules check`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shrike_rules::diagnose::{self, Severity};

use super::files::FilesArgs;

const EXAMPLES: &str = "\
Examples:
  shrike rules check /etc/shrike/rules.d
  shrike rules check --deny-warnings rules.yaml
  shrike rules check --json rules.yaml | jq '.diagnostics[]'";

/// Tell what is wrong with rule files, and what in them probably is not meant so
///
/// Everything in all files is told in one run. The files are loaded in order, as the agent does it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    files: FilesArgs,

    /// Fail for warnings too
    #[arg(long)]
    deny_warnings: bool,

    /// Write one JSON object: `rules`, how many were loaded, and `diagnostics`
    #[arg(long)]
    json: bool,
}

/// Checks the files. It fails if something in them cannot be loaded.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let loaded = args.files.load()?;
    let count = |severity| loaded.diagnostics.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let rules = loaded.ruleset.rules().len();
    let mut out = io::stdout().lock();
    if args.json {
        let document = json!({ "rules": rules, "diagnostics": loaded.diagnostics });
        writeln!(out, "{document}")?;
    } else {
        let colour = crate::cli::colourful(&out);
        for diagnostic in &loaded.diagnostics {
            writeln!(out, "{}", diagnose::render(diagnostic, colour))?;
        }
        let plural = |count: usize, word: &str| {
            format!("{count} {word}{}", if count == 1 { "" } else { "s" })
        };
        let (rules, errors) = (plural(rules, "rule"), plural(errors, "error"));
        writeln!(out, "{rules} loaded: {errors}, {}", plural(warnings, "warning"))?;
    }
    let fails = errors > 0 || args.deny_warnings && warnings > 0;
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
