//! What is asked of the source itself: its format, and clippy without a warning.

use anyhow::{Context, Result};

use super::probes;
use super::report::Report;
use crate::cache::Cache;
use crate::console::Step;
use crate::process::capture;
use crate::setup::environment::Environment;
use crate::workspace;

/// Checks everything, and adds the results.
pub fn check(cache: &Cache, report: &mut Report) {
    report.check("source", "format", check_format);
    report.check("source", "clippy_host_crates", check_host_crates);
    report.check("source", "clippy_probes", || check_probes(cache));
}

fn check_format() -> Result<()> {
    let _step = Step::start("Checking", "the format");
    capture(workspace::cargo().args(["fmt", "--all", "--check"]))
        .map(drop)
        .context("the source is not formatted: run cargo fmt")
}

fn check_host_crates() -> Result<()> {
    let _step = Step::start("Checking", "the host crates with clippy");
    let mut cargo = workspace::cargo();
    cargo.args(["clippy", "--workspace", "--exclude", "shrike-ebpf", "--all-targets"]);
    capture(cargo.args(["--quiet", "--", "-D", "warnings"])).map(drop)
}

/// Runs the clippy that belongs to the compiler of the probes.
fn check_probes(cache: &Cache) -> Result<()> {
    let _step = Step::start("Checking", "the probes with clippy");
    let environment =
        Environment::read(cache)?.context("ebpf.env is gone: run cargo xtask setup")?;
    let target = workspace::target().join("ebpf");
    let mut clippy = probes::command(&environment.clippy, "clippy", &environment, &target);
    capture(clippy.args(["--", "-D", "warnings"])).map(drop)
}
