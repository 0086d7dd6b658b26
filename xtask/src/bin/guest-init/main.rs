//! The first process of a guest: makes the system that the job expects, runs the job's command,
//! tells the host how it ended, and powers off.

mod output;
mod system;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, waitpid};
use xtask::vm::job::{JOB_FILE, Job, Outcome, Port, SHARE_FOLDER};

use crate::output::Output;

fn main() {
    let outcome = run().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    end(&outcome);
}

fn run() -> Result<Outcome> {
    let job = fs::read(format!("/{JOB_FILE}")).context("cannot read the job")?;
    let job: Job = serde_json::from_slice(&job).context("cannot read the job")?;
    system::start(&job)?;

    let limit = Duration::from_secs(job.seconds);
    thread::spawn(move || {
        thread::sleep(limit);
        end(&Outcome::TimedOut);
    });
    run_command(&job)
}

/// Runs the command with pipes as its output: a port can be opened only once, but programs open
/// `/dev/stdout` again.
fn run_command(job: &Job) -> Result<Outcome> {
    let (program, arguments) = job.command.split_first().context("the job has no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(if job.share { SHARE_FOLDER } else { "/root" })
        .env_clear()
        .envs([
            ("HOME", "/root"),
            ("PATH", "/usr/sbin:/usr/bin"),
            ("RUST_BACKTRACE", "1"),
            ("TERM", "dumb"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let stdout = Output::forward(child.stdout.take(), Port::Stdout)?;
    let stderr = Output::forward(child.stderr.take(), Port::Stderr)?;
    let status = reap_until(child.id())?;
    // What the command left running may hold its output open for good.
    for output in [stdout, stderr] {
        output.finish();
    }
    Ok(match status.code() {
        Some(code) => Outcome::Exited(code),
        None => Outcome::Killed(status.signal().unwrap_or_default()),
    })
}

/// Waits for the process `id`, and for every orphan that ends before it.
fn reap_until(id: u32) -> Result<ExitStatus> {
    loop {
        match waitpid(None, None).context("cannot wait for the command")? {
            WaitStatus::Exited(pid, code) if pid.as_raw().unsigned_abs() == id => {
                return Ok(ExitStatus::from_raw(code << 8));
            }
            WaitStatus::Signaled(pid, signal, _) if pid.as_raw().unsigned_abs() == id => {
                return Ok(ExitStatus::from_raw(signal as i32));
            }
            _ => {}
        }
    }
}

/// Tells the host the outcome and powers off.
fn end(outcome: &Outcome) -> ! {
    if let Err(error) = output::send(outcome) {
        eprintln!("guest-init: cannot tell the host {outcome:?}: {error:#}");
    }
    // A process 1 that returns makes the kernel panic, which ends the guest as well.
    let _ = reboot(RebootMode::RB_POWER_OFF);
    std::process::exit(1)
}
