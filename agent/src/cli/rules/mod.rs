//! `shrike rules`.

mod bench;
mod check;
mod except;
mod explain;
mod fields;
mod files;
mod format;
mod list;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use files::SelectionArgs;

/// Work on rule files
#[derive(Args, Debug)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(check::CheckArgs),
    List(list::ListArgs),
    Explain(explain::ExplainArgs),
    Fields(fields::FieldsArgs),
    Format(format::FormatArgs),
    Test(test::TestArgs),
    Except(except::ExceptArgs),
    #[command(hide = true)]
    Bench(bench::BenchArgs),
}

/// Does what was typed. The exit code tells whether all is well with the files.
pub(super) fn run(args: &RulesArgs) -> anyhow::Result<ExitCode> {
    super::end_with_reader();
    match &args.action {
        Action::Check(args) => check::run(args),
        Action::List(args) => list::run(args),
        Action::Explain(args) => explain::run(args),
        Action::Fields(args) => fields::run(args),
        Action::Format(args) => format::run(args),
        Action::Test(args) => test::run(args),
        Action::Except(args) => except::run(args),
        Action::Bench(args) => bench::run(args),
    }
}
