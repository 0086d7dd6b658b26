//! `cargo xtask fuzz`: damaged records against the decoder and all that is behind it, for long.

use std::io;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::cache::Cache;
use crate::compile::Profile;
use crate::console::{Step, note};
use crate::setup::kernel::Series;
use crate::setup::{self, Part};
use crate::vm::Configuration;
use crate::vm::job::Outcome;
use crate::vm::launch::Launch;
use crate::vm::machine::{Channels, Lines};
use crate::workspace;

/// Where the records come from that are damaged.
const CORPUS: &str = "tests/data/every-kind.rec";

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many damaged records are read
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    runs: u64,
    /// Where the random numbers begin; the same seed damages the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// First record the real events anew that are damaged, in a guest
    #[arg(long)]
    record: bool,
}

/// Runs the target. The result says whether it held.
pub fn run(cache: &Cache, options: &Options, offline: bool) -> Result<bool> {
    setup::ensure(cache, &[Part::Toolchain], offline)?;
    if options.record {
        record(cache, offline)?;
    }
    let status = Command::new("cargo")
        .args(["test", "--package", "shrike", "--", "fuzz::", "--nocapture"])
        .env("SHRIKE_FUZZ_RUNS", options.runs.to_string())
        .env("SHRIKE_FUZZ_SEED", options.seed.to_string())
        .current_dir(workspace::root())
        .status()?;
    Ok(status.success())
}

/// Has a guest do something of each kind and record it.
fn record(cache: &Cache, offline: bool) -> Result<()> {
    let folder = workspace::root().join("tests/data");
    let configuration = Configuration { series: Series::V6_12, ..Configuration::default() };
    let launch = Launch {
        configuration: &configuration,
        programs: &["shrike-tests", "shrike"],
        profile: Profile::Dev,
        command: &["shrike-tests", "corpus", "every-kind.rec"].map(str::to_owned),
        share: Some(&folder),
        limit: Duration::from_mins(3),
    };
    let ended = {
        let _step = Step::start("Recording", "something of each kind in a guest");
        launch.run(
            cache,
            offline,
            Channels {
                stdout: &mut io::stdout(),
                stderr: &mut io::stderr(),
                results: &mut Lines::new(|_: &str| {}),
            },
        )?
    };
    match ended.outcome {
        Outcome::Exited(0) => note("Written", CORPUS),
        outcome => bail!("the guest recorded nothing: {outcome:?}\n{}", ended.console),
    }
    ensure!(workspace::root().join(CORPUS).exists(), "there is no {CORPUS}");
    Ok(())
}
