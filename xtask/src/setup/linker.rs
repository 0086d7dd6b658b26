//! bpf-linker, built against the very LLVM of the compiler whose bitcode it links: with another
//! one it fails, or worse, silently breaks the type information.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::compiler::Compiler;
use super::unavailable;
use crate::cache::{Cache, CacheLock};
use crate::console::Step;
use crate::process::{capture, shown, tail};

const VERSION: &str = "0.13.0";

/// The linker for `compiler`, if it was built already.
pub fn held(cache: &Cache, compiler: &Compiler) -> Option<PathBuf> {
    let linker = entry(cache, compiler).join("bin/bpf-linker");
    linker.exists().then_some(linker)
}

/// Builds the linker for `compiler`. With `offline`, only from sources that cargo has already.
pub fn obtain(
    cache: &Cache,
    lock: &CacheLock,
    compiler: &Compiler,
    offline: bool,
) -> Result<PathBuf> {
    let entry = entry(cache, compiler);
    cache.publish(lock, &entry, |folder| install(cache, lock, compiler, folder, offline))?;
    let linker = entry.join("bin/bpf-linker");
    let mut trial = Command::new(&linker);
    trial.arg("--version");
    if let Some(path) = &compiler.library_path {
        trial.env("LD_LIBRARY_PATH", path);
    }
    capture(&mut trial).context("bpf-linker was built but does not run")?;
    Ok(linker)
}

fn entry(cache: &Cache, compiler: &Compiler) -> PathBuf {
    let version = &compiler.version;
    cache.path(format!("bpf-linker/{VERSION}-rustc-{}-{}", version.release, version.commit))
}

fn install(
    cache: &Cache,
    lock: &CacheLock,
    compiler: &Compiler,
    folder: &Path,
    offline: bool,
) -> Result<()> {
    let major = compiler.version.llvm_major;
    let step = Step::start(
        "Building",
        format_args!("bpf-linker {VERSION} for LLVM {major} (a minute or two)"),
    );
    let scratch = cache.scratch(lock)?;
    let prefix = scratch.path().join("llvm");
    fs::create_dir_all(prefix.join("lib"))?;
    symlink(&compiler.llvm, prefix.join("lib/libLLVM.so"))?;

    let mut command = Command::new("cargo");
    command
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--no-default-features"])
        .arg(format!("--features=llvm-{major}"))
        .arg("--root")
        .arg(folder)
        .arg("--target-dir")
        .arg(scratch.path().join("target"))
        // Outside the workspace: its configuration would link the linker statically.
        .current_dir(scratch.path())
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", rpath(compiler))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    if offline {
        command.arg("--offline");
    }
    follow(&mut command, &step).map_err(|error| {
        let instead = format!(
            "LLVM_PREFIX=FOLDER_WITH_lib/libLLVM.so cargo install bpf-linker --version {VERSION} \
             --no-default-features --features llvm-{major} --root {}",
            entry(cache, compiler).display()
        );
        unavailable(&format!("bpf-linker {VERSION}"), &error, &instead)
    })
}

fn rpath(compiler: &Compiler) -> OsString {
    let mut flags = OsString::from("-Clink-arg=-Wl,-rpath,");
    flags.push(compiler.llvm.parent().unwrap_or(Path::new("/")));
    flags
}

/// Runs cargo and shows what it works on.
fn follow(command: &mut Command, step: &Step) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let mut log = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
                step.detail(package);
            }
            log += &line;
            log.push('\n');
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})\n{}", shown(command), tail(&log));
    }
    Ok(())
}
