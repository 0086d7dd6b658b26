//! `shrike rules bench`, for `cargo xtask bench rules`: what it takes to judge the events of a recording.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::json;
use shrike_rules::{Options, Ruleset};

use crate::detect::Sight;
use crate::detect::files::{self, RuleFile};
use crate::replay;

/// Measure what it takes to judge the events of a recording by rules
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// The recording
    #[arg(long, value_name = "FILE")]
    recording: PathBuf,

    /// How often each event is judged
    #[arg(long, value_name = "N", default_value_t = 100)]
    rounds: u32,

    /// Rule files or folders of them
    #[arg(required = true, value_name = "PATH")]
    rules: Vec<PathBuf>,
}

/// What it takes to judge events of which some rule matches each, or none.
#[derive(Debug, Default)]
struct Costs {
    /// Of each event, the mean over all rounds.
    nanoseconds: Vec<u64>,
}

impl Costs {
    fn add(&mut self, time: Duration, rounds: u32) {
        let mean = time.as_nanos() / u128::from(rounds.max(1));
        self.nanoseconds.push(u64::try_from(mean).unwrap_or(u64::MAX));
    }

    fn report(&mut self) -> serde_json::Value {
        self.nanoseconds.sort_unstable();
        let at = |share: usize| {
            let place = self.nanoseconds.len().saturating_sub(1) * share / 100;
            self.nanoseconds.get(place).copied().unwrap_or_default()
        };
        let total: u64 = self.nanoseconds.iter().sum();
        let count = self.nanoseconds.len() as u64;
        json!({
            "events": count,
            "mean_ns": total.checked_div(count),
            "p50_ns": at(50),
            "p99_ns": at(99),
            "events_per_second": (count * 1_000_000_000).checked_div(total),
        })
    }
}

/// Measures, and writes what came of it as JSON.
pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let files = files::read(&args.rules)?;
    let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
    let before = resident();
    let start = Instant::now();
    let loaded = Ruleset::load_with(&sources, &Options::default());
    let elapsed = start.elapsed();
    let ruleset = loaded.ruleset;
    let memory = resident().saturating_sub(before);
    let (mut silent, mut loud, mut rendered) = (Costs::default(), Costs::default(), 0_usize);
    replay::look(&args.recording, |sight| {
        let start = Instant::now();
        let mut matched = 0;
        for _ in 0..args.rounds {
            matched += judge(&ruleset, &sight.anew(), &mut rendered);
        }
        let costs = if matched > 0 { &mut loud } else { &mut silent };
        costs.add(start.elapsed(), args.rounds);
    })?;
    let report = json!({
        "rules": ruleset.rules().len(),
        "load_ms": elapsed.as_secs_f64() * 1_000.0,
        "resident_bytes": memory,
        "without_match": silent.report(),
        "with_match": loud.report(),
        "rendered_bytes": rendered,
    });
    println!("{report}");
    Ok(ExitCode::SUCCESS)
}

/// Judges an event and renders the messages, as the agent does.
fn judge(ruleset: &Ruleset, sight: &Sight<'_, '_>, rendered: &mut usize) -> usize {
    let mut matched = 0;
    for rule in ruleset.matches(sight) {
        *rendered += rule.output().render(sight).len();
        matched += 1;
    }
    matched
}

/// The memory of this process that is resident, in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or_default();
    pages.unwrap_or_default() * u64::try_from(size).unwrap_or_default()
}
