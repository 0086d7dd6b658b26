//! `shrike rules`.

mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Work on rule files, without an agent
#[derive(Args, Debug)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(test::TestArgs),
}

/// Runs the command that was typed.
pub(super) fn run(args: &RulesArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Test(args) => test::run(args),
    }
}
