//! `cargo xtask build` and `cargo xtask run`: the agent for this machine.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::cache::Cache;
use crate::compile::{self, Profile};
use crate::console::note;
use crate::interrupt::{self, Careful};
use crate::setup::{self, Part};
use crate::workspace;

/// Options of `cargo xtask build`.
#[derive(Debug, clap::Args)]
pub struct BuildOptions {
    /// Build the small, fast binary for distribution
    #[arg(long)]
    release: bool,
}

/// Options of `cargo xtask run`.
#[derive(Debug, clap::Args)]
pub struct RunOptions {
    /// The agent's arguments; by default it runs with the rules of this repository
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Builds the agent.
pub fn build(cache: &Cache, options: &BuildOptions, offline: bool) -> Result<()> {
    setup::ensure(cache, &[Part::Toolchain], offline)?;
    let profile = if options.release { Profile::Release } else { Profile::Dev };
    let agent = build_agent(profile)?;
    note("Built", agent.display());
    Ok(())
}

/// Runs the agent on this machine and returns its exit code.
pub fn run(cache: &Cache, options: &RunOptions, offline: bool) -> Result<i32> {
    if !Uid::effective().is_root() {
        bail!(
            "the agent watches the whole machine, which only root may\nrun instead: sudo -E cargo \
             xtask run, or try it in a guest: cargo xtask vm -- shrike doctor"
        );
    }
    setup::ensure(cache, &[Part::Toolchain], offline)?;
    let agent = build_agent(Profile::Dev)?;
    let _careful = Careful::start();
    let mut child = Command::new(&agent)
        .args(options.arguments())
        .spawn()
        .with_context(|| format!("cannot start {}", agent.display()))?;
    let status = wait(&mut child)?;
    if !status.success() {
        note("Hint", "`cargo xtask run -- doctor` tells what the kernel refuses, and the cure");
    }
    Ok(status.code().unwrap_or(1))
}

/// Waits for the agent's end, and hands on the wish for it: Ctrl-C reaches the agent by itself, a
/// signal to this process alone does not.
fn wait(agent: &mut Child) -> Result<ExitStatus> {
    const TICK: Duration = Duration::from_millis(50);
    let mut told = false;
    loop {
        if let Some(status) = agent.try_wait()? {
            return Ok(status);
        }
        if interrupt::requested() && !told {
            kill(Pid::from_raw(agent.id().try_into()?), Signal::SIGTERM)?;
            told = true;
        }
        thread::sleep(TICK);
    }
}

impl RunOptions {
    fn arguments(&self) -> Vec<String> {
        if self.arguments.is_empty() {
            let rules = workspace::root().join("rules/default");
            return vec!["run".into(), "--rules".into(), rules.display().to_string()];
        }
        self.arguments.clone()
    }
}

fn build_agent(profile: Profile) -> Result<PathBuf> {
    compile::programs(&["shrike"], profile)?.into_iter().next().context("cargo built no agent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_runs_with_the_rules_of_the_repository_by_default() {
        let arguments = RunOptions { arguments: Vec::new() }.arguments();
        assert_eq!(arguments[..2], ["run", "--rules"]);
        assert!(arguments[2].ends_with("rules/default"));
        let doctor = RunOptions { arguments: vec!["doctor".into()] };
        assert_eq!(doctor.arguments(), ["doctor"]);
    }
}
