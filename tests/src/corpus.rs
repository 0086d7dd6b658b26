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
    kill(Pid::from_raw(i32::try_from(recorder.id())?), Signal::SIGINT)?;
    log.for_each(|line| eprintln!("{line}"));
    ensure!(recorder.wait()?.success(), "it did not end well");
    Ok(())
}
