//! `cargo xtask bench`: what the agent costs. Instructions are counted by the guest's own clock,
//! which QEMU drives by them; they do not depend on the machine that this runs on. What the launcher costs
//! does, and so it is measured beside others.

mod launcher;

use std::fs;
use std::io;
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

/// What a guest may take.
const LIMIT: Duration = Duration::from_mins(20);

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
    /// How often each launcher runs a container
    #[arg(long, value_name = "N", default_value_t = 50)]
    rounds: usize,
    /// Instead of that: so many containers while all processors are busy, and 200 at once
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10000")]
    stress: Option<usize>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// What the probes add to operations of tasks, in instructions, and what memory they take
    Kernel,
    /// What the launcher takes to run a container on this machine, beside crun, runc and bubblewrap; takes root
    Launcher,
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
        (Part::Launcher, None) => launcher::compare(cache, options.rounds, offline)?,
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
        let digits = usize::from(*unit == "ms");
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

fn measure(cache: &Cache, series: Series, lsm_bpf: bool, offline: bool) -> Result<Vec<Figure>> {
    let configuration =
        Configuration { series, lsm_bpf, counted: true, ..Configuration::default() };
    let launch = Launch {
        configuration: &configuration,
        programs: &["shrike-tests", "shrike"],
        // What is distributed, and not what is tested.
        profile: Profile::Release,
        command: &["shrike-tests", "bench", "kernel"].map(str::to_owned),
        share: None,
        limit: LIMIT,
    };
    let mut told = Vec::new();
    let mut log = Vec::new();
    let Ended { outcome, console } = {
        let _step = Step::start("Measuring", format_args!("Linux {series}"));
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
        Outcome::Exited(0) => {}
        Outcome::Exited(_) => bail!("it failed:\n{}", String::from_utf8_lossy(&log)),
        other => return Err(anyhow!("the guest ended early: {other:?}\n{console}")),
    }
    let told: Vec<Told> =
        told.into_iter().collect::<Result<_, _>>().context("cannot understand the guest")?;
    let kernel = configuration.name();
    Ok(told.into_iter().map(|told| Figure::new(told, &kernel)).collect())
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
