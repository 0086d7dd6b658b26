//! `shrike rules`.

mod format;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Work on rule files
#[derive(Args, Debug)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Format(format::FormatArgs),
}

/// Does what was typed. The exit code tells whether all is well with the files.
pub(super) fn run(args: &RulesArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Format(args) => format::run(args),
    }
}
