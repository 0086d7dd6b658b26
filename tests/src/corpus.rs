//! Real records of every kind, in a file: what fuzzing begins with.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::scratch;
use crate::deed::{self, DEEDS};

/// Does all deeds while `shrike record` writes to the file.
pub fn record(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file)?;
    }
    let dir = scratch()?;
    deed::set_the_scene(&dir)?;
    let mut recorder = Command::new("shrike")
        .args(["record", "--results"])
        .arg(file)
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = recorder.stderr.take().context("no standard error")?;
    let mut log = BufReader::new(stderr).lines().map_while(std::result::Result::ok);
    ensure!(log.any(|line| line.contains("recording to")), "it does not record");
    for deed in DEEDS {
        deed.order(&dir)?;
    }
    break_out()?;
    kill(Pid::from_raw(i32::try_from(recorder.id())?), Signal::SIGINT)?;
    log.for_each(|line| eprintln!("{line}"));
    ensure!(recorder.wait()?.success(), "it did not end well");
    Ok(())
}

/// A container is made, and left by a descriptor that leaked into it.
fn break_out() -> Result<()> {
    let status = Command::new("sh")
        .args([
            "-c",
            "exec 9</proc/1/ns/uts; unshare -mpuf sh -c 'nsenter --uts=/proc/self/fd/9 true'",
        ])
        .status()?;
    ensure!(status.success(), "the break-out ended with {status}");
    Ok(())
}
