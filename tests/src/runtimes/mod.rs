//! The distribution's container runtimes at work, as people use them: none of it is a breach, every
//! process of a container is a member of that container and of no other, and no process of a runtime is
//! one. All of it stands between two real breaches.

pub mod attribution;
mod browser;
mod checkpoint;
mod cri;
mod docker;
mod handover;
mod hung;
mod image;
mod nested;
mod oci;
mod podman;
mod sandbox;
mod tiers;
mod watch;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::configuration::Configuration;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "runtimes",
    tier: Tier::Full,
    budget: Duration::from_mins(38),
    wants: Configuration::is_debian,
    tests: tests![
        oldest_runc,
        stable_runc,
        newest_runc,
        crun,
        containers_in_a_container,
        sandboxes_of_the_host,
        sandboxes_of_a_container,
        podman_as_root,
        rootless_podman,
        docker_engine,
        docker_in_docker,
        browser_in_a_container,
        containerd_over_cri,
        one_that_never_answers,
        one_that_is_slow,
        descriptors_of_the_host,
        restored_by_criu,
        tiers_of_an_application,
    ],
};

fn oldest_runc() -> Result<()> {
    oci::run("runc-oldest", 50)
}

fn stable_runc() -> Result<()> {
    oci::run("runc", 10)
}

fn newest_runc() -> Result<()> {
    oci::run("runc-newest", 50)
}

fn crun() -> Result<()> {
    oci::run("crun", 50)
}

fn containers_in_a_container() -> Result<()> {
    oci::nest(&["runc-newest", "crun"])
}

fn sandboxes_of_the_host() -> Result<()> {
    sandbox::on_host()
}

fn sandboxes_of_a_container() -> Result<()> {
    sandbox::in_container()
}

fn podman_as_root() -> Result<()> {
    podman::run(podman::User::Root)
}

fn rootless_podman() -> Result<()> {
    podman::run(podman::User::Ordinary)
}

fn docker_engine() -> Result<()> {
    docker::run()
}

fn docker_in_docker() -> Result<()> {
    nested::run()
}

fn browser_in_a_container() -> Result<()> {
    browser::run()
}

fn containerd_over_cri() -> Result<()> {
    cri::run()
}

fn one_that_never_answers() -> Result<()> {
    hung::silent()
}

fn one_that_is_slow() -> Result<()> {
    hung::slow()
}

fn descriptors_of_the_host() -> Result<()> {
    handover::run()
}

fn restored_by_criu() -> Result<()> {
    checkpoint::run()
}

fn tiers_of_an_application() -> Result<()> {
    tiers::run()
}

/// Runs a command without input to its end and returns what it wrote to its standard output.
fn output(command: &mut Command) -> Result<String> {
    finish(command.stdin(Stdio::null()))
}

/// Runs a command to its end and returns what it wrote to its standard output.
fn finish(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    Ok(stdout)
}

/// The id of the cgroup of a process that the runtime names.
fn cgroup_of(pid: &str) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let pid = pid.trim();
    let file = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let path = text.trim().strip_prefix("0::").with_context(|| format!("a strange {file}"))?;
    Ok(fs::metadata(format!("/sys/fs/cgroup{path}"))?.ino())
}

/// A service of the host; ended when dropped.
struct Daemon(Child);

impl Daemon {
    /// Starts a service and waits until it answers.
    fn start(command: &mut Command, log: &Path, answers: impl Fn() -> bool) -> Result<Self> {
        const PATIENCE: Duration = Duration::from_mins(2);
        let file = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let daemon = Self(child);
        let deadline = Instant::now() + PATIENCE;
        while !answers() {
            let log = || fs::read_to_string(log).unwrap_or_default();
            ensure!(Instant::now() < deadline, "{command:?} does not answer:\n{}", log());
            thread::sleep(Duration::from_millis(200));
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail if it has ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
