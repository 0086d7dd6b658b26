//! `shrike events`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use shrike_common::Kind;
use shrike_rules::KindSet;

use crate::events::{self, Form};
use crate::watch::Scope;

const EXAMPLES: &str = "\
Examples:
  shrike events
  shrike events --kind exec --kind ptrace --containers
  shrike events --kind file_open --results
  shrike events --json | jq 'select(.kind == \"file_open\").fields.path'";

/// Show what happens on this host, event by event, without any rule
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    scope: ScopeArgs,

    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Which events are wanted.
#[derive(Args, Debug)]
pub(super) struct ScopeArgs {
    /// Only events of this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<Kind>,

    /// Only what containers' tasks do
    #[arg(long)]
    containers: bool,

    /// With the result of each system call, which comes when it ends; also those that fail early
    #[arg(long)]
    results: bool,
}

impl ScopeArgs {
    /// These events, for so long.
    pub(super) fn scope(&self, limit: Option<Duration>) -> Scope {
        let kinds =
            if self.kinds.is_empty() { KindSet::ALL } else { self.kinds.iter().copied().collect() };
        Scope { kinds, containers: self.containers, results: self.results, limit }
    }
}

/// Shows events until SIGINT or SIGTERM.
pub(super) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let form =
        if args.json { Form::Json } else { Form::Text { colour: super::colourful(&io::stdout()) } };
    events::show(args.scope.scope(None), form)?;
    Ok(ExitCode::SUCCESS)
}

/// The kind with this name, of those that are told.
fn kind(name: &str) -> Result<Kind, String> {
    KindSet::ALL.iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let names: Vec<&str> = KindSet::ALL.iter().map(Kind::name).collect();
        format!("the kinds are {}", names.join(", "))
    })
}
