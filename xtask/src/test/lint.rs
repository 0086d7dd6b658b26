//! What is asked of the source itself: its format, and clippy without a warning.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::console::Step;
use crate::process::capture;
use crate::setup::environment::Environment;
use crate::workspace;

/// Checks everything.
pub fn check(cache: &Cache) -> Result<()> {
    check_format()?;
    check_host_crates()?;
    check_probes(cache)
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

/// Runs the clippy that belongs to the compiler of the probes, on their target, as the agent's
/// build script builds them.
fn check_probes(cache: &Cache) -> Result<()> {
    let _step = Step::start("Checking", "the probes with clippy");
    let environment =
        Environment::read(cache)?.context("ebpf.env is gone: run cargo xtask setup")?;
    let mut clippy = Command::new(&environment.clippy);
    clippy
        .current_dir(workspace::root())
        .args(["clippy", "--quiet", "--package", "shrike-ebpf", "--release"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(workspace::target().join("ebpf"))
        .args(["--", "-D", "warnings"])
        .env("RUSTC", &environment.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("SYSROOT", &environment.sysroot)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-cpu=v3\x1f--cfg=bpf_target_arch=\"x86_64\"");
    if let Some(path) = &environment.library_path {
        clippy.env("LD_LIBRARY_PATH", path);
    }
    capture(&mut clippy).map(drop)
}
