//! Namespaces, joined and left.

#![allow(clippy::unnecessary_wraps, reason = "all deeds have one signature")]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::call::call;
use super::process::end;
use super::{Done, Scene, done};

fn uts() -> Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/uts")?.ino())
}

pub(super) fn setns(scene: &Scene<'_>) -> Result<Done> {
    let other = other_uts()?;
    let file = File::open(format!("/proc/{}/ns/uts", other.id()))?;
    let result = call!(SYS_setns, file.as_raw_fd(), 0);
    ensure!(uts()? != scene.ns("uts"), "the namespace is the same");
    let done = done("setns", result, false, json!({ "joined": { "uts": uts()? } }));
    end(other)?;
    Ok(done)
}

/// A process with another UTS namespace.
fn other_uts() -> Result<std::process::Child> {
    let mut child = Command::new("unshare")
        .args(["-u", "sh", "-c", "echo; exec sleep 100"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = [0];
    io::Read::read_exact(&mut child.stdout.take().context("no pipe")?, &mut line)?;
    Ok(child)
}

/// The own one, which takes a privilege all the same.
pub(super) fn setns_attempt(_: &Scene<'_>) -> Result<Done> {
    let file = File::open("/proc/self/ns/uts")?;
    let result = call!(SYS_setns, file.as_raw_fd(), 0);
    Ok(done("setns", result, true, json!({ "joined": {} })))
}

pub(super) fn setns_bad(_: &Scene<'_>) -> Result<Done> {
    let result = call!(SYS_setns, -1, 0);
    Ok(done("setns", result, true, json!({ "joined": {} })))
}

pub(super) fn unshare(_: &Scene<'_>) -> Result<Done> {
    let result = call!(SYS_unshare, libc::CLONE_NEWUTS);
    Ok(done("unshare", result, false, json!({ "joined": { "uts": uts()? } })))
}

/// By somebody who may not, or of what there is not.
pub(super) fn unshare_attempt(scene: &Scene<'_>) -> Result<Done> {
    let flags = if scene.outcome == "denied" { libc::CLONE_NEWUTS } else { libc::CLONE_PIDFD };
    let result = call!(SYS_unshare, flags);
    Ok(done("unshare", result, true, json!({ "joined": {} })))
}
