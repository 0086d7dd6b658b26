//! `shrike record` and `shrike replay`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use shrike_common::Kind;

use crate::events::Form;
use crate::record;
use crate::replay::{self, Purpose};
use crate::watch::Scope;

const RECORD_EXAMPLES: &str = "\
Examples:
  shrike record node.rec
  shrike record node.rec --containers --seconds 60
  shrike record connections.rec --kind connect --kind socket";

const REPLAY_EXAMPLES: &str = "\
Examples:
  shrike replay node.rec
  shrike replay node.rec --json | jq .fields.path
  shrike replay node.rec --rules rules.yaml
  shrike replay node.rec --count";

/// Store what happens on this host in a file, event by event
#[derive(Args, Debug)]
#[command(after_help = RECORD_EXAMPLES)]
pub(super) struct RecordArgs {
    /// The file to write; it must not exist
    file: PathBuf,

    /// Only events of this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = super::events::kind)]
    kinds: Vec<Kind>,

    /// Only what containers' tasks do
    #[arg(long)]
    containers: bool,

    /// Stop after so many seconds; by default on SIGINT or SIGTERM
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// Show what a recording holds, or what rules make of it
#[derive(Args, Debug)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(super) struct ReplayArgs {
    /// The recording
    file: PathBuf,

    /// Judge the events by these rules, and show alerts instead; may be given several times.
    /// Processes that were there before the recording are known by what they did in it
    #[arg(long, value_name = "PATH", conflicts_with = "count")]
    rules: Vec<PathBuf>,

    /// Only decode the events and count them
    #[arg(long, conflicts_with = "json")]
    count: bool,

    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Records until SIGINT, SIGTERM or the time is over.
pub(super) fn record(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let RecordArgs { file, kinds, containers, seconds } = args;
    let limit = seconds.map(Duration::from_secs);
    let scope = Scope { kinds: super::events::kinds(kinds), containers: *containers, limit };
    record::record(file, scope)?;
    Ok(ExitCode::SUCCESS)
}

/// Replays a recording.
pub(super) fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let ReplayArgs { file, rules, count, json } = args;
    let form =
        if json { Form::Json } else { Form::Text { colour: super::colourful(&io::stdout()) } };
    let purpose = match (count, rules.is_empty()) {
        (true, _) => Purpose::Count,
        (false, true) => Purpose::Show(form),
        (false, false) => Purpose::Judge(rules, form),
    };
    replay::replay(&file, &purpose)?;
    Ok(ExitCode::SUCCESS)
}
