//! What runs, as `shrike ps` and `shrike tree` show it: with an agent and without one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::{Agent, scratch};
use crate::configuration::Configuration;
use crate::container::{Background, Rootfs};
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "view",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(4),
    wants: Configuration::is_plain,
    tests: tests![what_runs_is_shown_with_an_agent_and_without, only_a_good_answer_is_shown],
};

const RULES: &str = "- {rule: Never, desc: d, condition: evt.type = execve and proc.name = never, \
                     output: never, priority: NOTICE}";

fn what_runs_is_shown_with_an_agent_and_without() -> Result<()> {
    let rootfs = Rootfs::new()?;
    let before = Background::run(&rootfs, "before", &[], &["sh", "-c", "sleep 1000 & wait"])?;
    let agent = Agent::start(RULES, &[])?;
    let options = ["--network", "host", "--user", "1000:1000"];
    let web = Background::run(&rootfs, "web", &options, &["sh", "-c", "sleep 1001 & wait"])?;
    let unnamed = Apart::start()?;
    for (container, boundary) in [(&before, "watched"), (&web, "watched")] {
        shows(container, Some(boundary))?;
    }
    // Whoever has executed what led to it, and is still there.
    let all = json(&["ps", "--json"])?;
    let lineage = lineage(&all, web.pid()?);
    ensure!(lineage.contains(&u64::from(process::id())), "not by this process: {lineage:?}");
    unnamed.is_shown(&"none".into())?;
    let text = text(&["ps"])?;
    let row = text.lines().find(|line| line.starts_with("web ")).context("no row")?;
    for cell in ["shrike", "host: net", "watched", " 2 ", "sh -c sleep 1001 & wait"] {
        ensure!(row.contains(cell), "no {cell:?} in {row:?}");
    }
    ensure!(self::text(&["tree"])?.contains("[shrike web] sh -c"));
    watches()?;
    let begin = Instant::now();
    json(&["ps", "--json"])?;
    println!("asking a quiet agent took {:?}", begin.elapsed());
    ensure!(agent.stop()?.success(), "the agent did not end well");

    for container in [&before, &web] {
        shows(container, None)?;
    }
    unnamed.is_shown(&Value::Null)?;
    let told = shrike(&["tree", "web"])?;
    let said = String::from_utf8(told.stderr)?;
    ensure!(said.lines().count() == 1 && said.contains("no agent listens at"), "{said:?}");
    ensure!(told.stdout.starts_with(b"PID "), "{:?}", String::from_utf8_lossy(&told.stdout));
    watches()
}

/// A container of two processes is shown as the kernel has it.
fn shows(container: &Background, boundary: Option<&str>) -> Result<()> {
    let (id, pid) = (container.0, container.pid()?);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child: u64 = children.trim().parse().context("it has no child, or several")?;
    let (expected, hosts) = namespaces(pid)?;

    let all = json(&["ps", "--json"])?;
    let source = if boundary.is_some() { "agent" } else { "proc" };
    ensure!(all["source"] == source, "from {}", all["source"]);
    let containers = all["containers"].as_array().context("no containers")?;
    let found = containers.iter().find(|one| one["id"] == id).context("it is not shown")?;
    ensure!(found["runtime"] == "shrike" && found["parent"].is_null(), "{found}");
    ensure!(found["first"] == pid && found["processes"] == 2, "{pid} and {child}: {found}");
    ensure!(found["boundary"].as_str() == boundary, "{found}");
    ensure!(found["namespaces"] == serde_json::to_value(&expected)?, "{expected:?}: {found}");
    ensure!(found["host_namespaces"] == serde_json::to_value(&hosts)?, "{hosts:?}: {found}");
    let first = process(&all, pid)?;
    let uid = fs::metadata(format!("/proc/{pid}"))?.uid();
    ensure!(first["uid"] == uid && first["vpid"] == 1, "{first}");
    ensure!(process(&all, child)?["parent"] == pid, "{}", process(&all, child)?);
    if boundary.is_none() {
        let status = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let parent = status.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        let parent: u64 = parent.context("no parent")?.parse()?;
        ensure!(first["parent"] == parent, "the child of {parent}: {first}");
    }

    let tree = json(&["tree", "--json", id])?;
    let branches = tree["processes"].as_array().context("no processes")?;
    let shape: Vec<_> =
        branches.iter().map(|one| (one["pid"].as_u64(), one["depth"].as_u64())).collect();
    ensure!(shape == [(Some(pid), Some(0)), (Some(child), Some(1))], "{shape:?}");
    ensure!(branches.iter().all(|one| one["container"] == id), "{branches:?}");
    let whole = json(&["tree", "--json"])?;
    let count = |document: &Value| document["processes"].as_array().map(Vec::len);
    ensure!(process(&whole, child)?["depth"].as_u64() > Some(1), "it is below somebody");
    ensure!(count(&whole) > count(&tree), "the host has no processes");
    Ok(())
}

/// What `/proc` says of namespaces: their numbers, and which are the host's.
fn namespaces(pid: u64) -> Result<(BTreeMap<&'static str, u64>, Vec<&'static str>)> {
    let (mut all, mut hosts) = (BTreeMap::new(), Vec::new());
    for name in ["mnt", "pid", "net", "user", "uts", "ipc", "cgroup", "time"] {
        let inode = |pid: u64| fs::metadata(format!("/proc/{pid}/ns/{name}")).map(|ns| ns.ino());
        all.insert(name, inode(pid)?);
        if inode(pid)? == inode(1)? {
            hosts.push(name);
        }
    }
    Ok((all, hosts))
}

fn process(document: &Value, pid: u64) -> Result<&Value> {
    let mut all = document["processes"].as_array().context("no processes")?.iter();
    all.find(|one| one["pid"] == pid).with_context(|| format!("{pid} is not shown"))
}

/// A process and its parents.
fn lineage(document: &Value, pid: u64) -> Vec<u64> {
    let mut lineage = vec![pid];
    while let Some(last) = lineage.last()
        && let Ok(process) = process(document, *last)
        && let Some(parent) = process["parent"].as_u64()
    {
        lineage.push(parent);
    }
    lineage
}

/// A process with mounts and processes of its own, that no runtime has made.
struct Apart {
    unshare: Child,
}

impl Apart {
    fn start() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["-m", "-p", "-f", "sh", "-c", "echo; sleep 1002; true"]);
        let mut unshare = command.stdout(Stdio::piped()).spawn().context("start unshare")?;
        let mut byte = [0];
        unshare.stdout.as_mut().context("no output")?.read_exact(&mut byte)?;
        Ok(Self { unshare })
    }

    fn is_shown(&self, boundary: &Value) -> Result<()> {
        let pid = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let child: u64 = children.trim().parse().context("it has no child, or several")?;
        let ns = fs::metadata(format!("/proc/{child}/ns/pid"))?.ino();
        let all = json(&["ps", "--json"])?;
        let id = format!("pid-{ns}");
        let mut containers = all["containers"].as_array().context("no containers")?.iter();
        let found = containers.find(|one| one["id"] == id.as_str()).context("it is not shown")?;
        ensure!(found["boundary"] == *boundary && found["first"] == child, "{child}: {found}");
        let outside = process(&all, pid.into())?;
        ensure!(outside["container"].is_null(), "{outside}");
        Ok(())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let pid = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        if let Some(child) = children.ok().and_then(|text| text.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// It is shown again and again, until it is told to end.
fn watches() -> Result<()> {
    let mut command = Command::new("shrike");
    command.args(["ps", "--json", "--watch", "0.2"]).stdout(Stdio::piped());
    let mut child = command.spawn().context("start shrike")?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    for line in lines.take(2) {
        let document: Value = serde_json::from_str(&line?)?;
        ensure!(document["containers"].is_array(), "{document}");
    }
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    let status = child.wait()?;
    ensure!(status.success(), "it did not end well: {status}");
    Ok(())
}

fn only_a_good_answer_is_shown() -> Result<()> {
    let dir = scratch()?;
    let path = dir.join("agent.sock");
    let option = path.to_str().context("a strange folder")?;
    let listener = UnixListener::bind(&path)?;
    let agent = thread::spawn(move || -> Result<()> {
        for answer in [&b"{\"version\":1,\"snapshot\":{}}\n"[..], b"{\"version\":9}\n", b"{"] {
            let (mut client, _) = listener.accept()?;
            let mut line = String::new();
            BufReader::new(client.try_clone()?).read_line(&mut line)?;
            ensure!(line == "{\"version\":1,\"ask\":\"snapshot\"}\n", "{line}");
            client.write_all(answer)?;
        }
        Ok(())
    });
    for reason in ["makes no sense", "version 9", "before its answer did"] {
        fails(&shrike(&["ps", "--agent-socket", option])?, reason)?;
    }
    agent.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    fs::remove_dir_all(dir)?;

    fails(&shrike(&["tree", "nothing"])?, "there is no container \"nothing\"")?;
    let agent = Agent::start(RULES, &[])?;
    let mut command = Command::new("shrike");
    fails(&command.arg("ps").uid(65_534).gid(65_534).output()?, "only root may ask the agent")?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    ensure!(!std::path::Path::new("/run/shrike/agent.sock").exists(), "the socket is left");
    // Where everybody can see that no agent listens.
    fails(&command.arg("--agent-socket=/tmp/nowhere.sock").output()?, "it needs root")
}

fn fails(output: &Output, reason: &str) -> Result<()> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    ensure!(error.contains("shrike: error: ") && error.contains(reason), "{error}");
    Ok(())
}

fn shrike(arguments: &[&str]) -> Result<Output> {
    Command::new("shrike").args(arguments).output().context("start shrike")
}

fn text(arguments: &[&str]) -> Result<String> {
    let output = shrike(arguments)?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn json(arguments: &[&str]) -> Result<Value> {
    serde_json::from_str(&text(arguments)?).context("that is no JSON")
}
