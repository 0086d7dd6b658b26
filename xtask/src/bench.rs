//! `cargo xtask bench`: what the agent costs. Instructions are counted by the guest's own clock,
//! which QEMU drives by them; they do not depend on the machine that this runs on. What the launcher costs
//! does, and so it is measured beside others.

mod launcher;
mod rules;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::compile::Profile;
use crate::console::{Step, alarming, muted};
use crate::setup::kernel::Series;
use crate::vm::Configuration;
use crate::vm::job::Outcome;
use crate::vm::launch::{Ended, Launch};
use crate::vm::machine::{Channels, Lines};

/// What a guest may take to count instructions.
const LIMIT: Duration = Duration::from_mins(20);

/// What it may take to start, and for each container: those of an emulated machine take seconds.
const STARTED: (Duration, Duration) = (Duration::from_mins(10), Duration::from_secs(20));

/// How often each launcher runs a container.
const ROUNDS: usize = 50;

/// How many containers are started with each runtime, to see what is told of them.
const STARTS: usize = 1000;

const CONTEXT: &str = "emulated guest: what the agent tells of the first program of each container, started \
                       one after the other";

const SCALE: &str =
    "emulated guest: resident memory of the agent beside idle containers of its own launcher";

/// The memory of a guest that starts many containers, in megabytes.
const STARTS_MEMORY: u32 = 6144;

const METHOD: &str = "QEMU -icount shift=0,sleep=off, one processor: guest nanoseconds are \
                      instructions; least of 5 rounds in one boot, the bare kernel first";

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to measure
    part: Part,
    /// Where to write the figures, as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The kernels to measure on; all by default
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<Series>,
    /// By fentry, as where bpf is not among the active security modules
    #[arg(long)]
    fentry: bool,
    /// How often each launcher runs a container: 50 times by default, and 1000 times to measure the context or
    /// the scale
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Instead of that: so many containers while all processors are busy, and 200 at once
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10000")]
    stress: Option<usize>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// What the probes add to operations of tasks, in instructions, and what memory they take
    Kernel,
    /// Whether each container is told as the one that it is, over many starts with each runtime, in a guest
    Context,
    /// What memory the agent takes beside many containers of twenty processes each, in a guest
    Scale,
    /// What the launcher takes to run a container on this machine, beside crun, runc and bubblewrap; takes root
    Launcher,
    /// What rules cost, ours and Falco's and generated ones: to load, and for each event of a recording, on this machine
    Rules,
}

/// A figure as the guest tells it.
#[derive(Debug, Deserialize)]
struct Told {
    name: String,
    value: f64,
}

/// A figure as it is kept.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    kernel: String,
    goal: Option<f64>,
    method: &'static str,
}

/// Measures, shows and keeps the figures. Returns whether every goal is met.
pub fn run(cache: &Cache, options: &Options, offline: bool) -> Result<bool> {
    let figures = match (options.part, options.stress) {
        (Part::Kernel, _) => kernel(cache, options, offline)?,
        (Part::Context, _) => starts(cache, options, offline, "context", context)?,
        (Part::Scale, _) => starts(cache, options, offline, "scale", scale)?,
        (Part::Launcher, None) => {
            launcher::compare(cache, options.rounds.unwrap_or(ROUNDS), offline)?
        }
        (Part::Rules, _) => rules::measure()?,
        (Part::Launcher, Some(count)) => launcher::stress(cache, count, offline)?,
    };
    let mut met = true;
    for figure in &figures {
        let Figure { name, value, unit, kernel, goal, method: _ } = figure;
        let verdict = match goal {
            Some(goal) if value > goal => {
                met = false;
                alarming(&format!("more than {goal}"))
            }
            Some(goal) => muted(&format!("at most {goal}")),
            None => String::new(),
        };
        let digits = usize::from(matches!(*unit, "ms" | "times"));
        println!("{value:10.digits$} {unit:12} {kernel:10} {name}  {verdict}");
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(met)
}

fn kernel(cache: &Cache, options: &Options, offline: bool) -> Result<Vec<Figure>> {
    let kernels = if options.kernels.is_empty() { &Series::ALL[..] } else { &options.kernels };
    let mut figures = Vec::new();
    for &series in kernels {
        figures.extend(measure(cache, series, !options.fentry, offline)?);
    }
    Ok(figures)
}

/// Starts so many containers in a guest and makes figures of what it tells then.
fn starts(
    cache: &Cache,
    options: &Options,
    offline: bool,
    part: &str,
    figure: impl Fn(Told, usize) -> Figure,
) -> Result<Vec<Figure>> {
    let kernels = if options.kernels.is_empty() { &[Series::V6_12][..] } else { &options.kernels };
    let count = options.rounds.unwrap_or(STARTS);
    let mut figures = Vec::new();
    for &series in kernels {
        let configuration = Configuration {
            series,
            lsm_bpf: !options.fentry,
            debian: true,
            memory: STARTS_MEMORY,
            ..Configuration::default()
        };
        let command = ["shrike-tests", "bench", part, &count.to_string()].map(str::to_owned);
        let limit = STARTED.0 + STARTED.1 * u32::try_from(count).unwrap_or(u32::MAX);
        let told = tell(cache, &configuration, &command, offline, limit)?;
        let kernel = configuration.name();
        let figure = |told| Figure { kernel: kernel.clone(), ..figure(told, count) };
        figures.extend(told.into_iter().map(figure));
    }
    Ok(figures)
}

/// In how many of so many starts a runtime's containers are told as what they are.
fn context(Told { name, value }: Told, count: usize) -> Figure {
    // One in a thousand may be told too early; none may be taken for the host.
    let goal = match name.rsplit_once(": ") {
        Some((_, "started")) => None,
        Some((_, "told as the host")) => Some(0.0),
        _ => Some(to_f64(count / 1000)),
    };
    Figure { name, value, unit: "containers", kernel: String::new(), goal, method: CONTEXT }
}

/// What the agent takes.
fn scale(Told { name, value }: Told, _: usize) -> Figure {
    const GOAL: f64 = 80.0 * 1024.0;
    let (unit, goal) = if name.starts_with("resident") { ("KiB", Some(GOAL)) } else { ("", None) };
    Figure { name, value, unit, kernel: String::new(), goal, method: SCALE }
}

fn measure(cache: &Cache, series: Series, lsm_bpf: bool, offline: bool) -> Result<Vec<Figure>> {
    let configuration =
        Configuration { series, lsm_bpf, counted: true, ..Configuration::default() };
    let command = ["shrike-tests", "bench", "kernel"].map(str::to_owned);
    let told = tell(cache, &configuration, &command, offline, LIMIT)?;
    let kernel = configuration.name();
    Ok(told.into_iter().map(|told| Figure::new(told, &kernel)).collect())
}

/// What a command tells in a guest.
fn tell(
    cache: &Cache,
    configuration: &Configuration,
    command: &[String],
    offline: bool,
    limit: Duration,
) -> Result<Vec<Told>> {
    let launch = Launch {
        configuration,
        programs: &["shrike-tests", "shrike"],
        // What is distributed, and not what is tested.
        profile: Profile::Release,
        command,
        share: None,
        limit,
    };
    let (mut told, mut log) = (Vec::new(), Vec::new());
    let Ended { outcome, console } = {
        let _step = Step::start("Measuring", format_args!("Linux {}", configuration.series));
        launch.run(
            cache,
            offline,
            Channels {
                stdout: &mut io::sink(),
                stderr: &mut log,
                results: &mut Lines::new(|line: &str| told.push(serde_json::from_str(line))),
            },
        )?
    };
    match outcome {
        Outcome::Exited(0) => io::stderr().write_all(&log)?,
        Outcome::Exited(_) => bail!("it failed:\n{}", String::from_utf8_lossy(&log)),
        other => return Err(anyhow!("the guest ended early: {other:?}\n{console}")),
    }
    told.into_iter().collect::<Result<_, _>>().context("cannot understand the guest")
}

impl Figure {
    fn new(told: Told, kernel: &str) -> Self {
        let Told { name, value } = told;
        let unit = if name.contains("memory") { "KiB" } else { "instructions" };
        let goal = goal(&name);
        Self { name, value, unit, kernel: kernel.to_owned(), goal, method: METHOD }
    }
}

/// What a figure may be at most.
fn goal(name: &str) -> Option<f64> {
    const IN_TASK: &str = "with default rules: added in the task";
    let goals = [
        ("getpid (host) ", IN_TASK, 20.0),
        ("getpid (container) ", IN_TASK, 20.0),
        ("open+read+close (host) ", IN_TASK, 600.0),
        ("open+read+close (container) ", IN_TASK, 1000.0),
        ("create+write+unlink (host) ", IN_TASK, 1500.0),
        ("create+write+unlink (container) ", IN_TASK, 1500.0),
        ("connect+accept (host) ", IN_TASK, 1500.0),
        ("connect+accept (container) ", IN_TASK, 1500.0),
        ("open+read+close of a marked file (host) ", "its file: added in the task", 3000.0),
        ("open+read+close (host) ", "above an empty program", 90.0),
        ("open+read+close (container) ", "above an empty program", 400.0),
        ("resident memory ", "with default rules", 24.0 * 1024.0),
        ("memory of the maps ", "with default rules", 32.0 * 1024.0),
    ];
    let fits = |(start, end): (&str, &str)| name.starts_with(start) && name.ends_with(end);
    goals.into_iter().find(|&(start, end, _)| fits((start, end))).map(|(_, _, goal)| goal)
}

#[expect(clippy::cast_precision_loss, reason = "none of them is near 2^52")]
fn to_f64(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_know_their_goals() {
        let name = "open+read+close (host) with default rules: added in the task";
        assert_eq!(goal(name), Some(600.0));
        assert_eq!(goal("open+read+close (host) on the bare kernel"), None);
        let told = Told { name: "resident memory of the agent with no rule".into(), value: 1.0 };
        assert_eq!(Figure::new(told, "6.1-bpf").unit, "KiB");
    }
}
