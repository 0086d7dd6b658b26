//! `shrike events`.

use std::io;
use std::process::ExitCode;

use clap::Args;
use shrike_common::Kind;
use shrike_rules::KindSet;

use crate::events::{self, Form};
use crate::watch::Scope;

const EXAMPLES: &str = "\
Examples:
  shrike events
  shrike events --kind exec --kind ptrace --containers
  shrike events --json | jq 'select(.kind == \"file_open\").fields.path'";

/// Show what happens on this host, event by event, without any rule
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct EventsArgs {
    /// Only events of this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<Kind>,

    /// Only what containers' tasks do
    #[arg(long)]
    containers: bool,

    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Shows events until SIGINT or SIGTERM.
pub(super) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let form =
        if args.json { Form::Json } else { Form::Text { colour: super::colourful(&io::stdout()) } };
    let scope = Scope { kinds: kinds(&args.kinds), containers: args.containers, limit: None };
    events::show(scope, form)?;
    Ok(ExitCode::SUCCESS)
}

/// The kinds that were given; all if none was.
pub(super) fn kinds(given: &[Kind]) -> KindSet {
    if given.is_empty() { KindSet::ALL } else { given.iter().copied().collect() }
}

/// The kind with this name.
pub(super) fn kind(name: &str) -> Result<Kind, String> {
    Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("the kinds are {}", names.join(", "))
    })
}
