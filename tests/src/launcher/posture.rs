//! What can be misconfigured, each on its own: the agent tells of exactly that.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, scratch};
use crate::alert::is_posture;
use crate::bench::DEFAULT_RULES;
use crate::container::{Ended, Rootfs, UNCONFINED};
use crate::profile;

/// What a container needs to have nothing told of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    User,
    Limits,
    Label,
}

impl Guard {
    const ALL: [Self; 3] = [Self::User, Self::Limits, Self::Label];

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::User => &["--user=1000:1000"],
            Self::Limits => &["--memory=64m", "--pids-limit=64"],
            Self::Label => &[profile::OPTION],
        }
    }
}

/// A misconfiguration: the rule that tells of it, what is left out, and what is added.
type Misconfiguration = (&'static str, Option<Guard>, &'static [&'static str]);

const PRIVILEGED: &str = "Privileged container started";
const NAMESPACE: &str = "Container started in a namespace of the host";
const PATH: &str = "Container started with a path of the host";
const SOCKET: &str = "Container started with a runtime's socket";
const CAPABILITY: &str = "Container started with a capability over the host";
const LIMITS: &str = "Container started without limits";

const MISCONFIGURATIONS: &[Misconfiguration] = &[
    // Its filter is another switch.
    (PRIVILEGED, None, &["--privileged", "--security-opt=seccomp=default"]),
    (NAMESPACE, None, &["--pid=host"]),
    (NAMESPACE, None, &["--network=host"]),
    (NAMESPACE, None, &["--ipc=host"]),
    (NAMESPACE, None, &["--uts=host"]),
    (PATH, None, &["--volume=/:/host"]),
    (PATH, None, &["--volume=/etc:/host:ro"]),
    (SOCKET, None, &["--volume=/run/docker.sock:/run/docker.sock"]),
    (CAPABILITY, None, &["--cap-add=SYS_ADMIN"]),
    (CAPABILITY, None, &["--cap-add=SYS_PTRACE"]),
    (CAPABILITY, None, &["--cap-add=SYS_MODULE"]),
    (CAPABILITY, None, &["--cap-add=SYS_RAWIO"]),
    (CAPABILITY, None, &["--cap-add=DAC_READ_SEARCH"]),
    (CAPABILITY, None, &["--cap-add=BPF"]),
    ("Container started without seccomp", None, &[UNCONFINED]),
    ("Container started unconfined", Some(Guard::Label), &[]),
    (LIMITS, Some(Guard::Limits), &[]),
    (LIMITS, Some(Guard::Limits), &["--memory=64m"]),
    (LIMITS, Some(Guard::Limits), &["--pids-limit=64"]),
    ("Container started as root of the host", Some(Guard::User), &[]),
];

/// Runs a container that has nothing but what it is given here, for long enough to be looked at.
pub(super) fn run(rootfs: &Rootfs, options: &[&str]) -> Result<Ended> {
    let folder = scratch()?;
    let pid_file = folder.join("pid");
    let mut command = Command::new("shrike");
    command.args(["--log", "warn", "container", "run", "--rootfs"]).arg(rootfs.path());
    command.arg("--pid-file").arg(&pid_file).args(options).args(["--", "sleep", "1"]);
    let output = command.stdin(Stdio::null()).output()?;
    let pid = fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse().ok());
    fs::remove_dir_all(folder)?;
    Ended::new(&output, pid)
}

/// Every start rule, and no other, is told of whoever has what it is about, and of nobody else.
pub(super) fn each_misconfiguration_is_told_alone() -> Result<()> {
    profile::load()?;
    let agent = Agent::start(DEFAULT_RULES, &[])?;
    let rootfs = Rootfs::new()?;
    let mut started: Vec<(u32, BTreeSet<&str>, String)> = Vec::new();
    let none: Misconfiguration = ("", None, &[]);
    // The last one is there to be told of after all others.
    for &(rule, missing, more) in [none].iter().chain(MISCONFIGURATIONS) {
        let guards = Guard::ALL.into_iter().filter(|guard| Some(*guard) != missing);
        let options: Vec<&str> =
            guards.flat_map(Guard::options).copied().chain(more.iter().copied()).collect();
        // Only then: a path of the host may lead to it as well.
        let socket =
            (rule == SOCKET).then(|| UnixListener::bind("/run/docker.sock")).transpose()?;
        let ended = run(&rootfs, &options)?;
        if socket.is_some() {
            fs::remove_file("/run/docker.sock")?;
        }
        ensure!(ended.code == 0, "{options:?}: {ended:?}");
        let pid = ended.pid.with_context(|| format!("no container: {ended:?}"))?;
        let rules = Some(rule).filter(|rule| !rule.is_empty()).into_iter().collect();
        started.push((pid, rules, options.join(" ")));
    }
    let is_of = |pid: u32, alert: &Value| alert["output_fields"]["proc.pid"] == pid;
    for (pid, rules, options) in &started {
        for rule in rules {
            agent.alert(&format!("{rule} of {options}"), |alert| {
                alert["rule"] == *rule && is_of(*pid, alert)
            })?;
        }
    }
    let alerts = agent.alerts();
    let mut wrong = Vec::new();
    for (pid, rules, options) in &started {
        let of: Vec<&Value> = alerts.iter().filter(|alert| is_of(*pid, alert)).collect();
        let told: BTreeSet<&str> = of.iter().filter_map(|alert| alert["rule"].as_str()).collect();
        if told != *rules || of.len() != rules.len() {
            wrong.push(format!("{options}: {of:?}"));
        }
    }
    ensure!(wrong.is_empty(), "not exactly that was told:\n{}", wrong.join("\n"));
    for alert in &alerts {
        ensure!(is_posture(alert) && alert["priority"] == "Notice", "{alert}");
    }
    // All rules about how a container starts have been told of by one.
    let known: BTreeSet<&str> = MISCONFIGURATIONS.iter().map(|&(rule, ..)| rule).collect();
    let rules = include_str!("../../../rules/default/container.yaml");
    let rules: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.strip_prefix("- rule: ")).collect();
    ensure!(known == rules, "there are {rules:?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}
