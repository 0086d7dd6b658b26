//! `cargo xtask`: the project's own chores.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::cache::Cache;
use xtask::{agent, bench, conformance, console, demo, fuzz, image, interrupt, setup, test, vm};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Line {
    /// Download nothing: use what is there, and say what is missing
    #[arg(long, global = true)]
    offline: bool,
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// See the agent at work: an ordinary container and three escapes, in a guest of its own
    Demo,
    /// Obtain what building and testing need and this machine lacks
    Setup(setup::command::Options),
    /// Measure what the agent costs
    Bench(bench::Options),
    /// Build the agent
    Build(agent::BuildOptions),
    /// Hold the rule language against cases with Falco's verdicts
    Conformance(conformance::Options),
    /// Damage records at random and read them, for long
    Fuzz(fuzz::Options),
    /// Build the agent's container image
    Image(image::Options),
    /// Run the agent on this machine, as root
    Run(agent::RunOptions),
    /// Check the source and run all tests
    Test(test::Options),
    /// Run a command in a guest with a real kernel
    Vm(vm::command::Options),
}

fn main() -> ExitCode {
    let line = Line::parse();
    match run(&line) {
        Ok(code) => code,
        Err(error) => {
            console::line(format_args!("{} {error:#}", console::alarming("error:")));
            if interrupt::requested() { interrupt::EXIT_CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

fn run(line: &Line) -> anyhow::Result<ExitCode> {
    interrupt::watch()?;
    let cache = Cache::open()?;
    let code = match &line.chore {
        Chore::Demo => i32::from(!demo::run(&cache, line.offline)?),
        Chore::Setup(options) => setup::command::run(&cache, options, line.offline).map(|()| 0)?,
        Chore::Bench(options) => i32::from(!bench::run(&cache, options, line.offline)?),
        Chore::Build(options) => agent::build(&cache, options, line.offline).map(|()| 0)?,
        Chore::Conformance(options) => i32::from(!conformance::run(options)?),
        Chore::Fuzz(options) => i32::from(!fuzz::run(&cache, options, line.offline)?),
        Chore::Image(options) => image::run(&cache, options, line.offline).map(|()| 0)?,
        Chore::Run(options) => agent::run(&cache, options, line.offline)?,
        Chore::Test(options) => i32::from(!test::run(&cache, options, line.offline)?),
        Chore::Vm(options) => vm::command::run(&cache, options, line.offline)?,
    };
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
