//! Breaches of a container's boundary: each is told when it happens, from a container of our launcher and
//! from one of runc's; and none by what containers may do, which runs between two of them.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::configuration::Configuration;
use crate::container::{Ended, Rootfs};
use crate::escape::ORDINARY;
use crate::runc;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "boundary",
    tier: Tier::Quick,
    budget: Duration::from_mins(2),
    wants: Configuration::is_plain,
    tests: tests![every_crossing_is_told, running_containers_are_found],
};

pub const RULES: &str = concat!(
    include_str!("../../rules/default/boundary.yaml"),
    "
- rule: Boundary recorded
  desc: A container has come to be known.
  condition: evt.type = boundary
  output: >
    %proc.pid %container.boundary.origin %container.number %container.boundary.no_new_privs
    %container.boundary.seccomp %ns.mnt
  priority: NOTICE
"
);

/// A way across the boundary that needs no exploit.
struct Crossing {
    kind: &'static str,
    property: &'static str,
    options: &'static [&'static str],
    script: &'static str,
}

const CROSSINGS: [Crossing; 3] = [
    Crossing {
        kind: "namespace",
        property: "ns.uts",
        options: &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"],
        script: "exec nsenter --uts=/proc/1/ns/uts true",
    },
    Crossing {
        kind: "namespace",
        property: "ns.net",
        options: &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"],
        script: "exec nsenter --net=/proc/1/ns/net true",
    },
    Crossing {
        kind: "namespace",
        property: "ns.mnt",
        options: &[
            "--pid=host",
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--cap-add=SYS_CHROOT",
        ],
        script: "exec nsenter --mount=/proc/1/ns/mnt true",
    },
];

/// Everything that changes what is compared, and is permitted.
pub const PERMITTED: &str = "
    busybox unshare -m true; busybox unshare -u true; busybox unshare -n true; busybox unshare -i true
    busybox unshare -U true; busybox unshare -Urm sh -c 'mount -t tmpfs none /mnt; chroot / true'
    busybox unshare -pf true; busybox unshare -Urpmf sh -c 'busybox unshare -u true'
    chroot / true; busybox setpriv --nnp true; busybox setpriv --inh-caps -all true
    mkdir -p /tmp/root/bin; cp /bin/busybox /tmp/root/bin/; chroot /tmp/root /bin/busybox true
    busybox su -s /bin/sh root -c true; busybox setuidgid 1000:1000 true";

impl Crossing {
    fn told(&self, pid: u32, alert: &Value) -> bool {
        let fields = &alert["output_fields"];
        fields["breach.property"] == self.property && fields["proc.pid"] == pid
    }
}

fn every_crossing_is_told() -> Result<()> {
    let rootfs = Rootfs::new()?;
    let agent = Agent::start(RULES, &[])?;
    let mut acts = Vec::new();
    let mut cross = |run: &dyn Fn(&[&str], &str) -> Result<Ended>| -> Result<()> {
        for crossing in &CROSSINGS {
            let ended = run(crossing.options, crossing.script)?;
            let pid = ended.pid.with_context(|| format!("no container: {ended:?}"))?;
            let what = format!("{} {} by {pid}", crossing.kind, crossing.property);
            agent.alert(&what, |alert| crossing.told(pid, alert))?;
            acts.push((crossing, pid));
        }
        Ok(())
    };
    let ours = |options: &[&str], script: &str| rootfs.script(options, script);
    let theirs =
        |options: &[&str], script: &str| runc::script(&rootfs, "crossing", options, script);
    cross(&ours)?;
    let permitted = format!("{PERMITTED}\n{ORDINARY}");
    let powerful = ["--privileged"];
    for ended in [
        rootfs.script(&[], &permitted)?,
        rootfs.script(&powerful, &permitted)?,
        runc::script(&rootfs, "permitted", &[], &permitted)?,
        runc::script(&rootfs, "powerful", &powerful, &permitted)?,
    ] {
        ensure!(ended.text()?.ends_with("done"), "{ended:?}");
    }
    cross(&theirs)?;
    for alert in agent.alerts().iter().filter(|alert| alert["priority"] == "Critical") {
        let is_crossing = acts.iter().any(|(crossing, pid)| crossing.told(*pid, alert));
        // Who has left the mount namespace has its root directory elsewhere, too.
        let is_root = alert["output_fields"]["breach.property"].is_null()
            && acts.iter().any(|(_, pid)| alert["output_fields"]["proc.pid"] == *pid);
        ensure!(is_crossing || is_root, "nobody did this: {alert}");
    }
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// A container that is older than the agent has its boundary, too.
fn running_containers_are_found() -> Result<()> {
    let rootfs = Rootfs::new()?;
    let crossing = &CROSSINGS[0];
    // It waits for the agent.
    let script = format!(
        "i=0; while [ ! -e /tmp/go ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done; {}",
        crossing.script
    );
    let (ended, agent) = thread::scope(|scope| -> Result<_> {
        let container = scope.spawn(|| rootfs.script(crossing.options, &script));
        thread::sleep(Duration::from_secs(2));
        let agent = Agent::start(RULES, &[])?;
        agent.alert("the container that was found", |alert| {
            alert["output"].as_str().is_some_and(|output| output.contains(" found "))
        })?;
        fs::write(rootfs.path().join("tmp/go"), "")?;
        let ended = container.join().map_err(|_| anyhow!("the container's thread panicked"))??;
        Ok((ended, agent))
    })?;
    let pid = ended.pid.with_context(|| format!("no container: {ended:?}"))?;
    agent.alert("the crossing", |alert| crossing.told(pid, alert))?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}
