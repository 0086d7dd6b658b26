//! Processes: they begin, end, and look at one another.

#![allow(clippy::unnecessary_wraps, reason = "all deeds have one signature")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use serde_json::json;

use super::call::{call, dev};
use super::{Deed, Done, Scene, done};
use crate::actor::{self, Facts};

/// Has this program executed anew, which then reports.
pub(super) fn exec(scene: &Scene<'_>) -> Result<Done> {
    let before = scene.facts.before.to_string();
    let program = fs::read_link("/proc/self/exe")?;
    // Some of these are to be told, between others that are not, of which one is very long.
    let error = std::os::unix::process::CommandExt::exec(
        Command::new(&program)
            .args(["deed", "exec", "executed"])
            .arg(&before)
            .current_dir(scene.dir)
            .env("A_LONG_ONE", "x".repeat(5000) + "LD_PRELOAD=none")
            .env("LD_SHRIKE", "1")
            .env("SECRET", "nobody must see this")
            .env("SUDO_USER", "somebody"),
    );
    bail!("cannot execute {}: {error}", program.display())
}

/// Of its environment, in order, what may be told of anybody's.
fn told_variables() -> Result<Vec<String>> {
    let all = fs::read_to_string("/proc/self/environ")?;
    let told = all.split('\0').filter(|variable| {
        ["LD_SHRIKE=", "SUDO_USER="].iter().any(|name| variable.starts_with(name))
    });
    Ok(told.map(str::to_owned).collect())
}

/// What the program that was executed says.
pub fn executed(before: &str) -> Result<()> {
    let mut facts = Facts::read()?;
    facts.before = before.parse()?;
    facts.after = actor::now();
    let program = fs::read_link("/proc/self/exe")?;
    let file = fs::metadata(&program)?;
    let args: Vec<String> = std::env::args().collect();
    let fields = json!({
        "inode": file.ino(),
        "dev": dev(file.dev()),
        "vpid": facts.vpid,
        "group": nix::unistd::getpgrp().as_raw(),
        "session": nix::unistd::getsid(None)?.as_raw(),
        "tty": 0,
        "loginuid": fs::read_to_string("/proc/self/loginuid")?.trim().parse::<u32>()?,
        "file": 0,
        "path": program,
        "args": args,
        "env": told_variables()?,
        "cwd": std::env::current_dir()?,
    });
    let deed = Deed::find("exec", "allowed").context("no such deed")?;
    deed.report(facts, &done("execve", 0, false, fields))
}

pub(super) fn exec_attempt(scene: &Scene<'_>) -> Result<Done> {
    let name = if scene.outcome == "denied" { "plain" } else { "missing" };
    let path = scene.path(name)?;
    let argv = [path.as_ptr(), ptr::null()];
    let result = call!(SYS_execve, path.as_ptr(), argv.as_ptr(), ptr::null::<*const u8>());
    let fields = json!({ "inode": 0, "dev": 0, "vpid": 0, "group": 0, "session": 0, "tty": 0, "loginuid": 0, "file": 0, "path": scene.text(name), "args": "", "env": "", "cwd": "" });
    Ok(done("execve", result, true, fields))
}

pub(super) fn fork(_: &Scene<'_>) -> Result<Done> {
    let child = call!(SYS_fork);
    if child == 0 {
        thread::sleep(Duration::from_millis(200));
        // SAFETY: the child ends at once, with nothing undone that matters.
        unsafe { libc::_exit(0) }
    }
    let start = actor::start_ticks(u32::try_from(child)?)?;
    let fields =
        json!({ "clone_flags": 0, "child_start": start, "child": child, "child_vpid": child });
    Ok(done("fork", child, false, fields))
}

pub(super) fn exit(scene: &Scene<'_>) -> Result<Done> {
    exit_by(scene, "exit_group")
}

/// All of them end at once, wherever they run, of which there is one event, by any of them.
pub(super) fn exit_with_threads(scene: &Scene<'_>) -> Result<Done> {
    let mut all = CpuSet::new();
    // Those that there are not are left out.
    for cpu in 0..64 {
        all.set(cpu)?;
    }
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &all)?;
    for _ in 0..32 {
        thread::spawn(|| thread::sleep(Duration::from_mins(1)));
    }
    exit_by(scene, "")
}

/// Says beforehand what it is about to do.
fn exit_by(scene: &Scene<'_>, syscall: &'static str) -> Result<Done> {
    let deed = Deed::find("exit", scene.outcome).context("no such deed")?;
    let facts = Facts { before: scene.facts.before, ..Facts::read()? };
    let mut done = done(syscall, 0, false, json!({ "status": 3 << 8 }));
    done.result = None;
    // A second more than enough.
    deed.report(Facts { after: facts.before + 10_000_000_000, ..facts }, &done)?;
    // SAFETY: nothing is left to be done.
    unsafe { libc::_exit(3) }
}

pub(super) fn end(mut child: std::process::Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

const PTRACE_MODE_ATTACH: u32 = 2;
const PTRACE_MODE_REALCREDS: u32 = 0x10;

pub(super) fn ptrace(scene: &Scene<'_>) -> Result<Done> {
    let child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let pid = child.id();
    while fs::read_to_string(format!("/proc/{pid}/comm"))? != "sleep\n" {
        thread::sleep(Duration::from_millis(10));
    }
    let result = call!(SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0);
    let fields = json!({
        "mode": PTRACE_MODE_ATTACH | PTRACE_MODE_REALCREDS,
        "target_membership": 0,
        "target_container": 0,
        "target_start": actor::start_ticks(pid)?,
        "target": pid,
        "target_ns": scene.facts.ns,
        "target_comm": "sleep",
    });
    end(child)?;
    Ok(done("ptrace", result, false, fields))
}

pub(super) fn ptrace_init(_: &Scene<'_>) -> Result<Done> {
    seize(1)
}

pub(super) fn ptrace_nobody(_: &Scene<'_>) -> Result<Done> {
    // More than there can be.
    seize(0x7FFF_FFFF)
}

fn seize(pid: u32) -> Result<Done> {
    let result = call!(SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0);
    let fields = json!({
        "mode": PTRACE_MODE_ATTACH,
        "target_membership": 0,
        "target_container": 0,
        "target_start": 0,
        "target": pid,
        "target_ns": {},
        "target_comm": "",
    });
    Ok(done("ptrace", result, true, fields))
}
