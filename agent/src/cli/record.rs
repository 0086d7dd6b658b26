//! `shrike record` and `shrike replay`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::events::ScopeArgs;
use crate::events::Form;
use crate::record;
use crate::replay::{self, Purpose};

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

    #[command(flatten)]
    scope: ScopeArgs,

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
    record::record(&args.file, args.scope.scope(args.seconds.map(Duration::from_secs)))?;
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
