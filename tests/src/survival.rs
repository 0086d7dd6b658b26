//! What outlives the agent: containers are watched while none runs, the next one tells what crossed its
//! boundary meanwhile, and nothing is left when somebody cleans up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::agent::{Agent, scratch};
use crate::boundary::{PERMITTED, RULES};
use crate::container::Rootfs;
use crate::exploit::SELF_MOUNTED;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "survival",
    tier: Tier::QuickWithBpf,
    budget: Duration::from_mins(10),
    wants: |guest| guest.is_plain(),
    tests: tests![
        a_breach_while_no_agent_runs_is_told_once,
        tables_that_do_not_fit_are_dropped,
        cleanup_leaves_nothing,
    ],
};

/// Waits for a file in its `/tmp`, then comes into the host's namespace of host names and stays.
const CROSSING: &str = "while [ ! -e /tmp/$0 ]; do sleep 0.1; done
    exec nsenter --uts=/proc/1/ns/uts sleep 1000";

const CROSSING_OPTIONS: [&str; 3] = ["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"];

fn a_breach_while_no_agent_runs_is_told_once() -> Result<()> {
    let place = Place::new()?;
    let rootfs = Rootfs::new()?;
    let go = |name: &str| fs::write(rootfs.path().join("tmp").join(name), "");

    let agent = place.agent()?;
    let crossing = Running::start(&rootfs, &CROSSING_OPTIONS, CROSSING, "cross")?;
    let benign = format!(
        "while [ ! -e /tmp/change ]; do sleep 0.1; done; {PERMITTED}
        touch /tmp/changed; exec sleep 1000"
    );
    let benign = Running::start(&rootfs, &["--privileged", SELF_MOUNTED], &benign, "change")?;
    let number = number(&agent.alert("the first container", |alert| crossing.is_recorded(alert))?);
    agent.alert("the second container", |alert| benign.is_recorded(alert))?;
    agent.kill()?;

    go("change")?;
    let late = Running::start(&rootfs, &CROSSING_OPTIONS, CROSSING, "late")?;
    go("cross")?;
    crossing.wait_until_crossed()?;
    wait("changed", || rootfs.path().join("tmp/changed").exists())?;

    let agent = place.agent()?;
    let breach = agent.alert("the breach", |alert| crossing.is_breach(alert, true))?;
    ensure!(
        breach["output"].as_str().is_some_and(|text| text.contains("unattended=true")),
        "{breach}"
    );
    ensure!(self::number(&breach) == number, "it was container {number}: {breach}");
    ensure!(agent.log().contains("taken over"), "{}", agent.log());
    let late_number = self::number(&agent.alert("the late one", |alert| late.is_recorded(alert))?);
    go("late")?;
    agent.alert("the breach that was watched", |alert| late.is_breach(alert, false))?;
    ensure!(agent.gaps().iter().any(|gap| gap["output_fields"]["gap.reason"] == "restart"));
    let critical = critical(&agent);
    ensure!(critical.len() == 2, "one each of two tasks: {critical:#?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");

    // As `systemctl restart` does it: what was told is not told again.
    let agent = place.agent()?;
    let kept = agent.alert("the container that is kept", |alert| late.is_recorded(alert))?;
    ensure!(self::number(&kept) == late_number, "it was container {late_number}: {kept}");
    let fresh = Running::start(&rootfs, &CROSSING_OPTIONS, CROSSING, "fresh")?;
    go("fresh")?;
    agent.alert("the last breach", |alert| fresh.is_breach(alert, false))?;
    let critical = self::critical(&agent);
    ensure!(critical.len() == 1, "one of one task: {critical:#?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    place.clean_up()?;
    Ok(())
}

fn tables_that_do_not_fit_are_dropped() -> Result<()> {
    let place = Place::new()?;
    let rootfs = Rootfs::new()?;
    let agent = place.agent()?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    let entries = fs::read_dir(&place.pins)?.collect::<Result<Vec<_>, _>>()?;
    let tables = entries
        .into_iter()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("membership-"))
        .context("no tables are pinned")?;
    let table = |name: &str| tables.path().join(name);
    fs::remove_file(table("LAST"))?;
    fs::hard_link(table("CLASSES"), table("LAST")).context("pin another map in its place")?;

    let agent = place.agent()?;
    let log = agent.log();
    ensure!(log.contains("dropped: the number of entries of") && log.contains("/LAST"), "{log}");
    ensure!(!log.contains("taken over"), "{log}");
    let container = Running::start(&rootfs, &CROSSING_OPTIONS, CROSSING, "cross")?;
    agent.alert("the container", |alert| container.is_recorded(alert))?;
    fs::write(rootfs.path().join("tmp/cross"), "")?;
    agent.alert("the breach", |alert| container.is_breach(alert, false))?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    place.clean_up()?;

    // Where nothing can be pinned, the agent says so once and goes on.
    let elsewhere = place.dir.join("pins");
    let agent = Agent::start(RULES, &["--pins", elsewhere.to_str().context("a strange folder")?])?;
    let log = agent.log();
    ensure!(log.matches("not in a BPF file system").count() == 1, "{log}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

fn cleanup_leaves_nothing() -> Result<()> {
    let place = Place::new()?;
    let before = Objects::loaded()?;
    let agent = place.agent()?;
    let refused = place.cleanup()?;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && error.contains("stop it first"), "{refused:?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    let left = Objects::loaded()?;
    ensure!(left.links.difference(&before.links).count() > 10, "its links are gone: {left:?}");

    let removed = place.clean_up()?;
    ensure!(removed.contains("/MEMBERS\n") && removed.contains("/alive\n"), "{removed}");
    wait("all of it gone", || Objects::loaded().is_ok_and(|now| now.is_within(&before)))
        .with_context(|| format!("{before:?} {:?}", Objects::loaded()))?;
    ensure!(!place.pins.exists(), "the folder is left");
    ensure!(place.clean_up()? == "nothing was left\n");
    Ok(())
}

/// The folders that agents use one after the other.
struct Place {
    dir: PathBuf,
    pins: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let dir = scratch()?;
        let name = dir.file_name().context("a strange folder")?;
        let pins = Path::new("/sys/fs/bpf").join(name);
        Ok(Self { dir, pins })
    }

    fn options(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("--pins", self.pins.clone()),
            ("--state", self.dir.join("state")),
            ("--socket", self.dir.join("socket")),
            ("--agent-socket", self.dir.join("agent-socket")),
        ]
    }

    fn agent(&self) -> Result<Agent> {
        let options = self.options();
        let mut all = Vec::new();
        for (name, path) in &options {
            all.extend([*name, path.to_str().context("a strange folder")?]);
        }
        Agent::start(RULES, &all)
    }

    fn cleanup(&self) -> Result<Output> {
        let mut command = Command::new("shrike");
        command.arg("cleanup");
        for (name, path) in self.options() {
            command.arg(name).arg(path);
        }
        command.output().context("start shrike cleanup")
    }

    /// Removes everything; what the command says that it removed.
    fn clean_up(&self) -> Result<String> {
        let output = self.cleanup()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.cleanup();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A container that runs a script.
struct Running {
    launcher: Child,
    pid: u32,
}

impl Running {
    /// Starts it; the script knows `name` as `$0`.
    fn start(rootfs: &Rootfs, options: &[&str], script: &str, name: &str) -> Result<Self> {
        let dir = scratch()?;
        let file = dir.join("pid");
        let mut all = vec!["--pid-file", file.to_str().context("a strange folder")?];
        all.extend(options);
        let launcher = rootfs
            .launcher(&all, &["sh", "-c", script, name])
            .stdout(Stdio::null())
            .spawn()
            .context("start the launcher")?;
        let mut running = Self { launcher, pid: 0 };
        let read = || fs::read_to_string(&file).ok()?.trim().parse().ok();
        let is_script = |pid: u32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.windows(name.len() + 1).any(|part| part == [name.as_bytes(), b"\0"].concat())
        };
        wait("started", || {
            running.pid = read().unwrap_or(0);
            is_script(running.pid)
        })?;
        fs::remove_dir_all(dir)?;
        Ok(running)
    }

    /// The process's own namespace is the host's.
    fn wait_until_crossed(&self) -> Result<()> {
        let own = fs::read_link("/proc/self/ns/uts")?;
        wait("crossed", || {
            let path = Path::new("/proc").join(self.pid.to_string());
            fs::read_link(path.join("ns/uts")).is_ok_and(|found| found == own)
                && fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "sleep\n")
        })
    }

    fn is_recorded(&self, alert: &Value) -> bool {
        alert["rule"] == "Boundary recorded" && alert["output_fields"]["proc.pid"] == self.pid
    }

    fn is_breach(&self, alert: &Value, unattended: bool) -> bool {
        let fields = &alert["output_fields"];
        fields["breach.property"] == "ns.uts"
            && fields["proc.pid"] == self.pid
            && fields["breach.unattended"] == unattended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// The ids of what is loaded into the kernel.
#[derive(Debug)]
struct Objects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Objects {
    fn loaded() -> Result<Self> {
        /// `BPF_PROG_GET_NEXT_ID` and its like.
        const PROGRAMS: u32 = 11;
        const MAPS: u32 = 12;
        const LINKS: u32 = 31;
        Ok(Self { programs: ids(PROGRAMS)?, maps: ids(MAPS)?, links: ids(LINKS)? })
    }

    fn is_within(&self, other: &Self) -> bool {
        self.programs.is_subset(&other.programs)
            && self.maps.is_subset(&other.maps)
            && self.links.is_subset(&other.links)
    }
}

fn ids(command: u32) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    // The start, the next one, and flags.
    let mut attr = [0_u32; 3];
    loop {
        // SAFETY: the kernel reads and writes `size` bytes of `attr`, which lives until the call returns.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of_val(&attr)) };
        if result < 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::ENOENT) {
                return Ok(ids);
            }
            return Err(error).context("cannot ask for ids");
        }
        ids.insert(attr[1]);
        attr[0] = attr[1];
    }
}

fn critical(agent: &Agent) -> Vec<Value> {
    agent.alerts().into_iter().filter(|alert| alert["priority"] == "Critical").collect()
}

/// The number of an alert's container.
fn number(alert: &Value) -> u64 {
    alert["output_fields"]["container.number"].as_u64().unwrap_or(0)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        if Instant::now() > deadline {
            bail!("not {what}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
