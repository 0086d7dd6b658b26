//! `shrike doctor`.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::doctor::{self, Roots};

/// Tell what this node lacks for shrike to work, why it matters, and how to get it
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Examines the node. The exit code tells whether every requirement is met.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = doctor::examine(&Roots::default());
    if args.json {
        let json = serde_json::to_string_pretty(&report).context("cannot print the report")?;
        println!("{json}");
    } else {
        print!("{}", report.render(super::colourful(&io::stdout())));
    }
    Ok(if report.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
