//! What the agent says while a runtime is at work, held against what the processes in the containers say
//! of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cgroup_of;
use crate::agent::Agent;
use crate::container::{PRINT_CGROUP, Rootfs, own_namespace};
use crate::runc;

const RULES: &str = concat!(
    include_str!("../../../rules/default/boundary.yaml"),
    "
- rule: Program executed
  desc: Any program, on the host or in a container.
  condition: evt.type in (execve, execveat)
  output: >
    %container.membership %container.number %container.full_id %container.type %k8s.pod.uid
    %container.name %container.image.repository %k8s.pod.name %k8s.ns.name
    %container.label[team] %container.mounts %container.privileged %cgroup.id %ns.mnt %ns.pid %ns.cgroup %proc.exepath %proc.cmdline
  priority: NOTICE
- rule: Boundary recorded
  desc: A container has come to be known.
  condition: evt.type = boundary
  output: >
    %container.boundary.origin %container.membership %container.number %cgroup.id %ns.mnt %ns.pid
    %ns.cgroup %proc.cmdline
  priority: NOTICE
"
);

/// What a process in a container begins its line with.
const SAYS: &str = "SAYS";

/// What is among the arguments of a process that is the host's, whatever namespaces it is in.
pub(super) const HOST: &str = "HOST";

/// An agent that watches, and what the containers have said.
pub(super) struct Watch {
    agent: Agent,
    pub(super) rootfs: Rootfs,
    said: Vec<Said>,
    identities: Vec<Identity>,
    breaches: Vec<u32>,
    /// The namespaces of the host: pid and cgroup.
    host: (u64, u64),
    /// A folder of which no container has anything: a program there is the host's, whatever namespaces it is
    /// executed in.
    pub(super) host_only: Option<&'static str>,
}

/// What a process in a container said of itself.
#[derive(Clone, Debug)]
struct Said {
    container: String,
    deed: String,
    /// The id of its container's cgroup.
    cgroup: u64,
    /// Its mount namespace.
    mnt: u64,
}

/// Who a container is, to the runtime that made it.
#[derive(Clone, Debug)]
struct Identity {
    container: String,
    runtime: &'static str,
    id: String,
    /// The uid of its pod; empty if it has none.
    pod: String,
    /// What else the runtime tells of it, if the agent can ask it.
    told: Option<Told>,
}

/// What a runtime tells of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) name: String,
    /// The repository of its image.
    pub(super) image: String,
    /// The name and the namespace of its pod, if it has one.
    pub(super) pod: String,
    pub(super) namespace: String,
    /// Its label `team`, and what is mounted where, as `SOURCE:DESTINATION`, if it has any.
    pub(super) label: String,
    pub(super) mount: String,
}

/// An execution as the agent saw it.
#[derive(Clone, Debug)]
struct Seen {
    membership: String,
    container: Option<u64>,
    /// The container's id, and what made it.
    id: String,
    runtime: String,
    pod: String,
    told: Told,
    cgroup: u64,
    mnt: u64,
    pid: u64,
    /// Whether it was in a container, as the namespaces tell: no process of a runtime executes a program
    /// in a pid or cgroup namespace of its own.
    inside: bool,
    command: String,
    alert: String,
}

/// The script by which a process in `container` says who it is while it does `deed`.
pub(super) fn says(container: &str, deed: &str) -> String {
    format!("echo {SAYS} {container}/{deed} $({PRINT_CGROUP}) $(stat -Lc %i /proc/self/ns/mnt)")
}

impl Watch {
    /// Starts the agent, and sees it tell a real breach.
    pub(super) fn start() -> Result<Self> {
        let agent = Agent::spawn(RULES, &[])?;
        patiently(|| {
            agent.wait("ready", |agent| agent.get("/readyz").is_ok_and(|(status, _)| status == 200))
        })?;
        let mut watch = Self {
            rootfs: Rootfs::new()?,
            agent,
            said: Vec::new(),
            identities: Vec::new(),
            breaches: Vec::new(),
            host: (own_namespace("pid")?, own_namespace("cgroup")?),
            host_only: None,
        };
        watch.breach("before")?;
        Ok(watch)
    }

    /// Remembers what processes in containers said in `output`, and that it was at least `count` lines.
    pub(super) fn hear(&mut self, output: &str, count: usize) -> Result<()> {
        let before = self.said.len();
        for line in output.lines() {
            // Runtimes put things in front.
            let Some((_, words)) = line.split_once(&format!("{SAYS} ")) else { continue };
            let words: Vec<&str> = words.split_whitespace().collect();
            let [who, cgroup, mnt] = words[..] else { continue };
            let (Ok(cgroup), Ok(mnt)) = (cgroup.parse(), mnt.parse()) else { continue };
            let (container, deed) = who.split_once('/').context("a strange name")?;
            self.said.push(Said { container: container.into(), deed: deed.into(), cgroup, mnt });
        }
        ensure!(self.said.len() >= before + count, "nobody says who it is:\n{output}");
        Ok(())
    }

    /// Notes which cgroup the runtime itself names for a container that has said who it is.
    pub(super) fn named(&self, container: &str, cgroup: u64) -> Result<()> {
        let said = self.said.iter().find(|said| said.container == container);
        let said = said.with_context(|| format!("{container} has not said who it is"))?;
        ensure!(said.cgroup == cgroup, "the runtime names cgroup {cgroup}: {said:?}");
        Ok(())
    }

    /// Notes by which id the runtime itself knows a container.
    pub(super) fn identified(&mut self, container: &str, runtime: &'static str, id: &str) {
        self.identified_in_pod(container, runtime, id, "");
    }

    /// The same of one that is in a pod with this uid.
    pub(super) fn identified_in_pod(
        &mut self,
        container: &str,
        runtime: &'static str,
        id: &str,
        pod: &str,
    ) {
        let [container, id, pod] = [container, id.trim(), pod].map(str::to_owned);
        self.identities.push(Identity { container, runtime, id, pod, told: None });
    }

    /// Notes what else the runtime tells of the container that was identified last.
    pub(super) fn told(&mut self, told: Told) -> Result<()> {
        let last = self.identities.last_mut().context("there is none")?;
        last.told = Some(told);
        Ok(())
    }

    /// Waits until the agent can ask a runtime.
    pub(super) fn connected(&self, runtime: &str) -> Result<()> {
        let labels = [("runtime", runtime)];
        let is_connected =
            |agent: &Agent| agent.metric("shrike_runtimes_connected", &labels).is_ok_and(|n| n > 0);
        patiently(|| self.agent.wait("connected with the runtime", is_connected))
    }

    /// Waits until the agent has noticed that a runtime has ended.
    pub(super) fn disconnected(&self, runtime: &str) -> Result<()> {
        let labels = [("runtime", runtime)];
        let is_gone = |agent: &Agent| {
            agent.metric("shrike_runtimes_connected", &labels).is_ok_and(|n| n == 0)
        };
        patiently(|| self.agent.wait("aware that the runtime is gone", is_gone))
    }

    /// Waits until the agent has seen a deed of a container.
    pub(super) fn acted(&self, container: &str, deed: &str) -> Result<()> {
        let is_it = |seen: &Seen| seen.inside && seen.says(container, &format!("{deed} "));
        patiently(|| {
            self.agent.wait("told of the deed", |agent| {
                self.seen(&agent.alerts()).is_ok_and(|seen| seen.iter().any(is_it))
            })
        })
    }

    /// Sees that the agent was connected with a runtime so often.
    pub(super) fn connections(&self, runtime: &str, count: u64) -> Result<()> {
        let found =
            self.agent.metric("shrike_runtime_connections_total", &[("runtime", runtime)])?;
        ensure!(found == count, "{found} connections with {runtime}, not {count}");
        Ok(())
    }

    /// Waits until a program is seen whose command fits, which its container executes in a pid namespace of
    /// its own within that of the container's first.
    pub(super) fn sandboxed(&self, container: &str, fits: impl Fn(&str) -> bool) -> Result<()> {
        let is_sandboxed = |seen: &[Seen]| {
            let first = seen.iter().find(|seen| seen.inside && seen.says(container, ""));
            first.is_some_and(|first| {
                seen.iter().any(|seen| {
                    fits(&seen.command)
                        && seen.container.is_some()
                        && seen.container == first.container
                        && seen.pid != first.pid
                })
            })
        };
        patiently(|| {
            self.agent.wait("told of a sandbox", |agent| {
                self.seen(&agent.alerts()).is_ok_and(|seen| is_sandboxed(&seen))
            })
        })
    }

    /// A task of a container joins a namespace of the host, which must be told.
    fn breach(&mut self, id: &str) -> Result<()> {
        let options = ["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"];
        let script = "exec nsenter --uts=/proc/1/ns/uts true";
        let ended = runc::script(&self.rootfs, id, &options, script)?;
        let pid = ended.pid.with_context(|| format!("no container: {ended:?}"))?;
        patiently(|| {
            self.agent.alert(&format!("the breach by {pid}"), |alert| {
                let fields = &alert["output_fields"];
                fields["breach.property"] == "ns.uts" && fields["proc.pid"] == pid
            })
        })?;
        self.breaches.push(pid);
        Ok(())
    }

    /// Sees the agent tell another breach, and nothing wrong in between.
    pub(super) fn finish(mut self) -> Result<()> {
        self.breach("after")?;
        let alerts = self.agent.alerts();
        let lost = self.agent.metric("shrike_events_lost_total", &[])?
            + self.agent.metric("shrike_members_lost_total", &[])?;
        let is_real = |alert: &Value| {
            self.breaches.iter().any(|pid| alert["output_fields"]["proc.pid"] == *pid)
        };
        let false_breaches: Vec<String> = alerts
            .iter()
            .filter(|alert| alert["priority"] == "Critical" && !is_real(alert))
            .map(|alert| alert["output"].to_string())
            .collect();
        ensure!(false_breaches.is_empty(), "nobody did this:\n{}", false_breaches.join("\n"));
        let seen = self.seen(&alerts)?;
        let wrong = self.wrong(&seen, cgroup_of("self")?);
        if !wrong.is_empty() {
            let lines: Vec<String> =
                alerts.iter().map(|alert| alert["output"].to_string()).collect();
            // For whoever looks for the reason; the guest is gone afterwards.
            eprintln!("{}", lines.join("\n"));
        }
        ensure!(wrong.is_empty(), "wrong memberships:\n{}", wrong.join("\n"));
        ensure!(lost == 0, "{lost} events or members were lost");
        ensure!(self.agent.stop()?.success(), "the agent did not end well");
        Ok(())
    }

    /// The executions among the alerts.
    fn seen(&self, alerts: &[Value]) -> Result<Vec<Seen>> {
        alerts
            .iter()
            .filter(|alert| alert["rule"] == "Program executed")
            .map(|alert| Seen::read(alert, self))
            .collect()
    }

    /// Everything that contradicts what the containers said.
    fn wrong(&self, seen: &[Seen], own_cgroup: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for seen in seen {
            // Only what is put into a container's own cgroup is entering it.
            let may_enter = seen.cgroup != own_cgroup
                && self.said.iter().any(|said| said.cgroup == seen.cgroup);
            let is_right = if seen.inside {
                seen.membership == "member"
                    && seen.container.is_some()
                    && !["", "host"].contains(&seen.id.as_str())
            } else if seen.membership == "none" {
                (seen.id.as_str(), seen.runtime.as_str()) == ("host", "host")
            } else {
                seen.membership == "entering" && seen.id != "host" && may_enter
            };
            if !is_right {
                wrong.push(format!("inside={}: {}", seen.inside, seen.alert));
            }
        }
        let mut numbers: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for said in &self.said {
            let acts: Vec<&Seen> = seen
                .iter()
                .filter(|seen| {
                    seen.inside && seen.says(&said.container, &format!("{} ", said.deed))
                })
                .collect();
            if acts.is_empty() {
                wrong.push(format!("not seen: {said:?}"));
            }
            for seen in acts {
                if (seen.cgroup, seen.mnt) != (said.cgroup, said.mnt) {
                    wrong.push(format!("{said:?} is seen as {}", seen.alert));
                }
                numbers.entry(&said.container).or_default().extend(seen.container);
            }
        }
        for identity in &self.identities {
            let Identity { container, runtime, id, pod, told } = identity;
            let is_other = |seen: &&Seen| {
                (&*seen.runtime, &seen.id, &seen.pod) != (*runtime, id, pod)
                    || told.as_ref().is_some_and(|told| seen.told != *told)
            };
            let acts = seen.iter().filter(|seen| seen.inside && seen.says(container, ""));
            let others = acts.filter(is_other);
            wrong.extend(others.map(|seen| format!("{identity:?} is seen as {}", seen.alert)));
        }
        let mut owners: BTreeMap<u64, &str> = BTreeMap::new();
        for (container, numbers) in &numbers {
            if numbers.len() != 1 {
                wrong.push(format!("{container} has the numbers {numbers:?}"));
            }
            for number in numbers {
                if let Some(other) = owners.insert(*number, container) {
                    wrong.push(format!("{container} and {other} are both number {number}"));
                }
            }
        }
        // What has no name of its own in a container is that container's, too.
        for seen in seen.iter().filter(|seen| seen.inside) {
            let said = self.said.iter().filter(|said| said.cgroup == seen.cgroup);
            let allowed: BTreeSet<u64> = said
                .filter_map(|said| numbers.get(said.container.as_str()))
                .flatten()
                .copied()
                .collect();
            if !allowed.is_empty()
                && seen.container.is_some_and(|number| !allowed.contains(&number))
            {
                wrong.push(format!("not of {allowed:?}: {}", seen.alert));
            }
        }
        wrong
    }
}

impl Seen {
    /// Whether it is a shell that does what [`says`] gives, with a deed that starts so. Others have that among
    /// their arguments, too, from who starts a container within another.
    fn says(&self, container: &str, deed: &str) -> bool {
        self.command.split_once(" -c ").is_some_and(|(shell, script)| {
            shell.ends_with("sh")
                && !shell.contains(' ')
                && script.starts_with(&format!("echo {SAYS} {container}/{deed}"))
        })
    }

    fn read(alert: &Value, watch: &Watch) -> Result<Self> {
        let fields = &alert["output_fields"];
        let number = |name: &str| {
            fields[name].as_u64().with_context(|| format!("{name} is no number in {alert}"))
        };
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let command = text("proc.cmdline");
        let is_host = command.contains(HOST)
            || watch.host_only.is_some_and(|folder| text("proc.exepath").starts_with(folder));
        Ok(Self {
            membership: text("container.membership"),
            container: fields["container.number"].as_u64(),
            id: text("container.full_id"),
            runtime: text("container.type"),
            pod: text("k8s.pod.uid"),
            told: Told {
                name: text("container.name"),
                image: text("container.image.repository"),
                pod: text("k8s.pod.name"),
                namespace: text("k8s.ns.name"),
                label: text("container.label[team]"),
                mount: text("container.mounts").split(':').take(2).collect::<Vec<_>>().join(":"),
            },
            cgroup: number("cgroup.id")?,
            mnt: number("ns.mnt")?,
            pid: number("ns.pid")?,
            inside: (number("ns.pid")?, number("ns.cgroup")?) != watch.host && !is_host,
            command,
            alert: alert["output"].to_string(),
        })
    }
}

/// Waits longer than usual: what runs beside the agent here is heavy.
fn patiently<T>(wait: impl Fn() -> Result<T>) -> Result<T> {
    const TIMES: u32 = 3;
    for _ in 1..TIMES {
        if let Ok(value) = wait() {
            return Ok(value);
        }
    }
    wait()
}

/// The script by which a process starts another one that says who it is, once somebody has made a file. By its path:
/// busybox would call its own applet `exe`.
pub(super) fn later(container: &str) -> String {
    format!("while [ ! -e /go ]; do sleep 0.1; done; /bin/sh -c '{}'", says(container, "later"))
}

/// A file for what a container writes.
pub(super) fn file(name: &str) -> Result<(std::path::PathBuf, fs::File)> {
    let path = std::path::PathBuf::from("/tmp").join(name);
    let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    Ok((path, file))
}
