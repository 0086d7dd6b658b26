//! The probes by themselves: checked, and built by each of the distribution's ways to come to a
//! compiler.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::report::Report;
use crate::cache::Cache;
use crate::console::Step;
use crate::process::capture;
use crate::setup::environment::Environment;
use crate::workspace;

/// The values of `SHRIKE_TOOLCHAIN` that force one of the distribution's ways.
const RUNGS: [&str; 2] = ["distribution-source", "distribution-compiler"];

/// Builds the probes by each way, and adds the results.
pub fn build_by_every_rung(cache: &Cache, report: &mut Report) {
    for rung in RUNGS {
        report.check("toolchain", rung, || build_by(cache, rung));
    }
}

/// A cargo command for the probes, on their target, as the agent's build script builds them.
pub fn command(program: &Path, command: &str, environment: &Environment, target: &Path) -> Command {
    let mut cargo = Command::new(program);
    cargo
        .current_dir(workspace::root())
        .args([command, "--quiet", "--package", "shrike-ebpf", "--release"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(target)
        .env("RUSTC", &environment.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("SYSROOT", &environment.sysroot)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(environment));
    if let Some(path) = &environment.library_path {
        cargo.env("LD_LIBRARY_PATH", path);
    }
    cargo
}

fn flags(environment: &Environment) -> String {
    let linker = environment.linker.display();
    [
        "-Ctarget-cpu=v3",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        &format!("-Clinker={linker}"),
        "--cfg=bpf_target_arch=\"x86_64\"",
    ]
    .join("\x1f")
}

/// Sets the toolchain up in a cache of its own, so that nothing that is there already helps.
fn build_by(cache: &Cache, rung: &str) -> Result<()> {
    let _step = Step::start("Building", format_args!("the probes with SHRIKE_TOOLCHAIN={rung}"));
    let own = cache.path("rungs").join(rung);
    let mut setup = Command::new(env::current_exe()?);
    setup.args(["setup", "--toolchain"]).env("SHRIKE_CACHE", &own).env("SHRIKE_TOOLCHAIN", rung);
    capture(&mut setup)?;
    let environment = Environment::read(&Cache::at(&own)?)?.context("setup wrote no ebpf.env")?;
    let target = workspace::target().join("rungs").join(rung);
    let object = target.join("bpfel-unknown-none/release/shrike-ebpf");
    if object.exists() {
        fs::remove_file(&object)?;
    }
    capture(&mut command(Path::new("cargo"), "build", &environment, &target))?;
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    // Without a NUL in front: a name may stand at the end of another, like `.rel.BTF`.
    let has = |section: &[u8]| bytes.windows(section.len()).any(|window| window == section);
    ensure!(has(b".BTF\0") && has(b".BTF.ext\0"), "the object has no BTF");
    Ok(())
}
