//! Every step of the launcher fails once, is the last one of its process, and is interrupted by the launcher's
//! end. An error leaves nothing; what a process that was killed leaves, `gc` finds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use super::attack::targets_cannot_be_exchanged;
use super::storage::{Image, json_of};
use super::wait;
use crate::container::{Ended, Traces};
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite: some thousand containers.
pub const SUITE: Suite = Suite {
    name: "faults",
    tier: Tier::Full,
    budget: Duration::from_mins(40),
    wants: |guest| guest.is_plain() && guest.lsm_bpf && guest.series != "newest",
    tests: tests![
        a_step_of_the_launcher_fails,
        the_launcher_is_killed_at_a_step,
        a_step_of_the_first_task_fails,
        the_first_task_is_killed_at_a_step,
        the_launcher_is_killed_while_the_first_task_is_at_a_step,
        a_step_of_unpacking_fails,
        what_unpacks_is_killed_at_a_step,
        the_launcher_is_killed_while_unpacking_is_at_a_step,
        the_clean_up_is_killed_at_a_step,
        targets_cannot_be_exchanged,
    ],
};

/// What says which step it is, in the environment of the launcher.
const VARIABLE: &str = "SHRIKE_FAULT";

/// What the launcher writes when it has come there.
const INJECTED: &str = "injected at step";

const NAME: &str = "faulty";

/// How many seconds the command would run that nobody ends, and within which time it must be over.
const LONG: &str = "8";
const SOON: Duration = Duration::from_secs(4);

/// Containers that take every way through the launcher between them.
const CASES: [(&str, &[&str]); 3] = [
    (
        "strict",
        &[
            "--memory=64m",
            "--memory-reservation=32m",
            "--memory-swap=128m",
            "--pids-limit=32",
            "--cpus=0.5",
            "--cpu-shares=512",
            "--cpuset-cpus=0",
            "--volume=/tmp/shrike-fault/data:/data:ro",
            "--volume=/tmp/shrike-fault/data/file:/file",
            "--tmpfs=/mnt:size=64k,ro",
            "--device=/dev/zero:/dev/mine:r",
            "--ulimit=nofile=64:256",
            "--ulimit=core=0",
            "--sysctl=net.ipv4.ip_forward=1",
            "--sysctl=kernel.msgmax=4242",
            "--oom-score-adj=100",
            "--group-add=9",
            "--user=7:8",
            "--workdir=/tmp",
            "--read-only",
        ],
    ),
    (
        "mapped",
        &[
            "--userns=remap",
            "--volume=/tmp/shrike-fault/data:/data",
            "--security-opt=no-new-privileges=false",
            "--cap-add=SYS_ADMIN",
            "--ipc=host",
            "--uts=host",
            "--sysctl=net.ipv4.ip_forward=1",
            "--pids-limit=32",
        ],
    ),
    ("open", &["--privileged", "--pid=host", "--network=host", "--pid-file=/tmp/shrike-fault/pid"]),
];

/// What the containers are run from.
struct Scene {
    image: Image,
    dir: PathBuf,
    before: Traces,
}

impl Scene {
    fn set() -> Result<Self> {
        let image = Image::new()?;
        let dir = PathBuf::from("/tmp/shrike-fault");
        fs::create_dir_all(dir.join("data"))?;
        fs::write(dir.join("data/file"), "content")?;
        fs::write(dir.join("pid"), "")?;
        fs::create_dir_all("/var/lib")?;
        // What no container takes along: the folders of every agent, and controllers that are on.
        fs::create_dir_all("/run/shrike")?;
        image.launcher(&["--memory=64m", "--pids-limit=9"], &["true"]).output()?;
        json_of(&["container", "gc"])?;
        let before = Traces::of_host()?;
        Ok(Self { image, dir, before })
    }

    fn launcher(&self, options: &[&str], fault: &str, command: &[&str]) -> Command {
        let options = [&["--name", NAME], options].concat();
        let mut launcher = self.image.launcher(&options, command);
        launcher.env(VARIABLE, fault);
        launcher
    }

    /// Runs a container in which one step after the other is the faulty one, until there is none left, and has
    /// what became of each looked at.
    fn every_step(
        &self,
        kind: &str,
        least: u32,
        look: impl Fn(&Ended) -> Result<()>,
    ) -> Result<()> {
        for (case, options) in CASES {
            for step in 1.. {
                let fault = format!("{kind}:{step}");
                let what = || format!("{case}, {fault}");
                let output = self.launcher(options, &fault, &["echo", "done"]).output()?;
                let ended = Ended::of(&output);
                if !ended.stderr.contains(INJECTED) {
                    ensure!(ended.text()? == "done", "{ended:?}");
                    ensure!(step > least, "{}: only {step} steps", what());
                    println!("{case}: {} steps", step - 1);
                    break;
                }
                look(&ended).with_context(|| format!("{}: {ended:?}", what()))?;
                self.is_clean().with_context(|| format!("{}: {ended:?}", what()))?;
            }
        }
        Ok(())
    }

    /// Kills the launcher while another process of it, or the container's first task, is at one step after the
    /// other. Whatever runs then ends with it.
    fn every_pause(&self, kind: &str, least: u32) -> Result<()> {
        for (case, options) in CASES {
            for step in 1.. {
                let fault = format!("{kind}:{step}");
                let what = || format!("{case}, {fault}");
                let mut launcher = self
                    .launcher(options, &fault, &["sleep", LONG])
                    .stderr(Stdio::piped())
                    .spawn()?;
                let stderr = BufReader::new(launcher.stderr.take().context("no standard error")?);
                let is_there = stderr
                    .lines()
                    .map_while(std::result::Result::ok)
                    .any(|line| line.contains(INJECTED));
                if !is_there {
                    ensure!(launcher.wait()?.success(), "{}: it failed", what());
                    ensure!(step > least, "{}: only {step} steps", what());
                    println!("{case}: {} steps", step - 1);
                    break;
                }
                launcher.kill()?;
                launcher.wait()?;
                let killed = Instant::now();
                wait("all is over", || !is_running() && !is_held()).with_context(what)?;
                // Long before the command ends by itself.
                ensure!(killed.elapsed() < SOON, "{}: it lived on", what());
                self.is_clean().with_context(what)?;
            }
        }
        Ok(())
    }

    /// What is left is found and removed by `gc`, which says so, and the host is as before.
    fn is_clean(&self) -> Result<()> {
        let output = Command::new("shrike").args(["container", "gc"]).output()?;
        ensure!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        let removed = said.lines().filter(|line| line.starts_with("removed /")).count();
        let noun = if removed == 1 { "leftover" } else { "leftovers" };
        ensure!(said.ends_with(&format!("{removed} {noun}\n")), "{said}");
        let output = Command::new("shrike").args(["container", "gc", "--dry-run"]).output()?;
        ensure!(output.stdout == b"0 leftovers\n", "{output:?}");
        self.before.are_gone_soon()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether the container's command, or what was to become it, is there: all of them are in its cgroup.
fn is_running() -> bool {
    // A host with cgroup v1 has v2 in a folder beside.
    ["", "unified/"].iter().any(|at| {
        let path = format!("/sys/fs/cgroup/{at}shrike/{NAME}/cgroup.procs");
        fs::read_to_string(path).is_ok_and(|pids| !pids.is_empty())
    })
}

/// Whether somebody has the container's name: the launcher, or what unpacks for it.
fn is_held() -> bool {
    let Ok(folder) = fs::File::open(Path::new("/run/shrike/containers").join(NAME)) else {
        return false;
    };
    Flock::lock(folder, FlockArg::LockSharedNonblock).is_err()
}

/// Nothing of the container is left before anybody cleans up; layers are shared.
fn leaves_nothing(ended: &Ended) -> Result<()> {
    let left = json_of(&["container", "gc", "--dry-run"])?;
    let mut left = left.as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_layer = |path: &str| {
        path.strip_prefix("/var/lib/shrike/layers/").is_some_and(|layer| layer != "new")
    };
    let other = left.find(|path| !is_layer(path));
    ensure!(other.is_none(), "{other:?} is left");
    ensure!(!is_running(), "it still runs");
    // Steps of the end of a container come when its command has ended.
    let is_told = ended.code == 125 && ended.stderr.contains("injected");
    ensure!(is_told || ended.stdout == "done", "nothing is said of it");
    Ok(())
}

fn is_killed(ended: &Ended) -> Result<()> {
    ensure!(ended.code == Ended::KILLED, "it was not killed");
    Ok(())
}

fn a_step_of_the_launcher_fails() -> Result<()> {
    let scene = Scene::set()?;
    scene.every_step("seal-error", 1, leaves_nothing)?;
    scene.every_step("error", 10, leaves_nothing)
}

fn the_launcher_is_killed_at_a_step() -> Result<()> {
    let scene = Scene::set()?;
    scene.every_step("seal-kill", 1, is_killed)?;
    scene.every_step("kill", 10, is_killed)
}

fn a_step_of_the_first_task_fails() -> Result<()> {
    Scene::set()?.every_step("init-error", 20, leaves_nothing)
}

fn the_first_task_is_killed_at_a_step() -> Result<()> {
    Scene::set()?.every_step("init-kill", 20, |ended| {
        ensure!(ended.code != 0 && ended.stdout.is_empty(), "its command was run");
        let left = json_of(&["container", "gc", "--dry-run"])?.to_string();
        ensure!(!left.contains(NAME), "{left} is left");
        Ok(())
    })
}

fn the_launcher_is_killed_while_the_first_task_is_at_a_step() -> Result<()> {
    Scene::set()?.every_pause("init-pause", 20)
}

fn a_step_of_unpacking_fails() -> Result<()> {
    Scene::set()?.every_step("unpacker-error", 5, leaves_nothing)
}

fn what_unpacks_is_killed_at_a_step() -> Result<()> {
    Scene::set()?.every_step("unpacker-kill", 5, |ended| {
        ensure!(ended.code == 125 && ended.stderr.contains("cannot unpack the image"), "{ended:?}");
        Ok(())
    })
}

fn the_launcher_is_killed_while_unpacking_is_at_a_step() -> Result<()> {
    Scene::set()?.every_pause("unpacker-pause", 5)
}

/// Who cleans up may be killed as well: the next one goes on.
fn the_clean_up_is_killed_at_a_step() -> Result<()> {
    let scene = Scene::set()?;
    for step in 1.. {
        let mut launcher = scene.launcher(CASES[0].1, "", &["sleep", LONG]).spawn()?;
        wait("running", is_running)?;
        launcher.kill()?;
        launcher.wait()?;
        wait("over", || !is_running())?;
        let output = Command::new("shrike")
            .args(["container", "gc"])
            .env(VARIABLE, format!("kill:{step}"))
            .output()?;
        let ended = Ended::of(&output);
        scene.is_clean().with_context(|| format!("step {step}: {ended:?}"))?;
        if !ended.stderr.contains(INJECTED) {
            ensure!(ended.text()?.ends_with(" leftovers") && step > 5, "step {step}: {ended:?}");
            return Ok(());
        }
        is_killed(&ended)?;
    }
    bail!("there is no end to it")
}
