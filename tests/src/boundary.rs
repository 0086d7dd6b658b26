//! Breaches of a container's boundary: each is told when it happens, from a container of our launcher and
//! from one of runc's; and none by what containers may do, which runs between two of them.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::configuration::Configuration;
use crate::container::{Background, Ended, Rootfs, UNCONFINED};
use crate::crossing::{self, CROSSINGS, Crossed, Props};
use crate::escape::ORDINARY;
use crate::exploit::SELF_MOUNTED;
use crate::profile;
use crate::runc;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "boundary",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(10),
    wants: Configuration::is_single,
    tests: tests![every_crossing_is_told, running_containers_are_found, what_joins_is_a_member],
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

/// Everything that changes what is compared, and is permitted.
pub const PERMITTED: &str = "
    busybox unshare -m true; busybox unshare -u true; busybox unshare -n true; busybox unshare -i true
    busybox unshare -U true; busybox unshare -Urm sh -c 'mount -t tmpfs none /mnt; chroot / true'
    busybox unshare -pf true; busybox unshare -Urpmf sh -c 'busybox unshare -u true'
    chroot / true; busybox setpriv --nnp true; busybox setpriv --inh-caps -all true
    mkdir -p /tmp/root/bin; cp /bin/busybox /tmp/root/bin/; chroot /tmp/root /bin/busybox true
    busybox su -s /bin/sh root -c true
    cp /bin/busybox /tmp/set-id; chmod 6755 /tmp/set-id; chmod 1777 /tmp; cd /tmp
    other='shrike-tests permitted --'
    $other /tmp/set-id id; $other /tmp/set-id su -c id
    (ulimit -c unlimited; sh -c 'kill -6 $$'; $other sh -c 'kill -6 $$')
    shrike-tests permitted || exit 1; $other shrike-tests permitted
    busybox unshare -Urm shrike-tests permitted; cd /";

/// The same of what only a privileged container can change.
const POWERFUL: &str = "
    cd /proc/sys/kernel; read -r old < core_pattern; echo \"$old\" > core_pattern || exit 1
    echo '|/other' > core_pattern; echo core.%p > core_pattern; echo \"$old\" > core_pattern
    (ulimit -c unlimited; sh -c 'kill -6 $$'); cd /
    shrike-tests cross own-handle || exit 1";

fn every_crossing_is_told() -> Result<()> {
    let rootfs = Rootfs::new()?;
    let _props = Props::set()?;
    let agent = Agent::start(RULES, &[])?;
    let mut acts: Vec<Crossed> = Vec::new();
    let mut cross = |run: &dyn Fn(&[&str], &str) -> Result<Ended>| -> Result<()> {
        let before = acts.len();
        for crossing in CROSSINGS.iter().filter(|crossing| crossing.is_possible()) {
            acts.push(crossing.cross(&rootfs, run).with_context(|| crossing.name.to_owned())?);
        }
        let round = &acts[before..];
        let untold = |agent: &Agent| -> Vec<&str> {
            let alerts = agent.alerts();
            let is_told = |act: &&Crossed| alerts.iter().any(|alert| act.is_told_by(alert));
            round.iter().filter(|act| !is_told(act)).map(|act| act.crossing.name).collect()
        };
        agent.wait("told of every crossing", |agent| untold(agent).is_empty()).with_context(|| {
            let outputs = agent.alerts().into_iter().map(|alert| alert["output"].to_string());
            let outputs = outputs.filter(|output| output.contains("Critical"));
            let pids = round.iter().map(|act| format!("{} by {}", act.crossing.name, act.pid));
            let (told, pids) = (outputs.collect::<Vec<_>>(), pids.collect::<Vec<_>>());
            format!("told:\n{}\nof {pids:?} not told: {:?}", told.join("\n"), untold(&agent))
        })
    };
    let ours = |options: &[&str], script: &str| rootfs.script(options, script);
    let theirs =
        |options: &[&str], script: &str| runc::script(&rootfs, "crossing", options, script);
    cross(&ours)?;
    let permitted = format!("{PERMITTED}\n{ORDINARY}");
    let powerful_permitted = format!("{POWERFUL}\n{permitted}");
    // Its policy lets it go.
    let relabelled = "
        echo changeprofile unconfined > /proc/self/attr/current
        grep -q unconfined /proc/self/attr/current && cat /proc/self/attr/current && echo done";
    profile::load()?;
    let pattern = crossing::take_core_dumps()?;
    let (plain, powerful) = ([SELF_MOUNTED], ["--privileged", SELF_MOUNTED]);
    // Much of it is what our launcher's profile refuses.
    let unconfined = [SELF_MOUNTED, UNCONFINED];
    let confined = [profile::OPTION, "--security-opt=no-new-privileges=false"];
    for (ended, seccomp) in [
        (rootfs.script(&plain, &permitted)?, "filter"),
        (rootfs.script(&unconfined, &permitted)?, "none"),
        (rootfs.script(&powerful, &powerful_permitted)?, "none"),
        (rootfs.script(&confined, relabelled)?, "filter"),
        (runc::script(&rootfs, "permitted", &plain, &permitted)?, "none"),
        (runc::script(&rootfs, "powerful", &powerful, &powerful_permitted)?, "none"),
    ] {
        ensure!(ended.text()?.ends_with("done"), "{ended:?}");
        agent.alert("the record of a boundary", |alert| {
            let fields = &alert["output_fields"];
            alert["rule"] == "Boundary recorded"
                && ended.pid.is_some_and(|pid| fields["proc.pid"] == pid)
                && fields["container.boundary.seccomp"] == seccomp
        })?;
    }
    crossing::leave_core_dumps(&pattern)?;
    cross(&theirs)?;
    for alert in agent.alerts().iter().filter(|alert| alert["priority"] == "Critical") {
        ensure!(acts.iter().any(|act| act.is_of(alert)), "nobody did this: {alert}");
    }
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// What joins a container is a member of it from its first program on, and that is no breach; what it does then,
/// may be one.
fn what_joins_is_a_member() -> Result<()> {
    /// In the arguments of what joins.
    const MARK: &str = "joined-by-exec";
    let rules = format!(
        "{RULES}
- rule: Joined
  desc: A command has been executed that carries the mark.
  condition: evt.type = execve and proc.args contains {MARK}
  output: \"%proc.pid %container.membership %container.number\"
  priority: NOTICE
"
    );
    let rootfs = Rootfs::new()?;
    let _props = Props::set()?;
    let agent = Agent::start(&rules, &[])?;
    let crossing = CROSSINGS.iter().find(|crossing| crossing.name == "setns-uts");
    let crossing = crossing.context("no such crossing")?;
    let mut acts = Vec::new();
    for options in [crossing.options, &[crossing.options, &["--privileged"]].concat()] {
        let joined = Background::run(&rootfs, "joined", options, &["sleep", "1000"])?;
        let pid = joined.pid()?;
        let record = agent.alert("the record of the boundary", |alert| {
            alert["rule"] == "Boundary recorded" && alert["output_fields"]["proc.pid"] == pid
        })?;
        let number = &record["output_fields"]["container.number"];
        for exec in [&[][..], &["--user=1000"], &["--privileged"]] {
            let said = joined.script(exec, &format!("cat /proc/self/cgroup; : {MARK}"))?;
            // Behind those of v1, which other tests have left.
            let own = said.text()?.lines().last();
            ensure!([Some("0::/shrike/joined"), Some("0::/")].contains(&own), "{said:?}");
        }
        let is_joined = |alert: &&Value| {
            let fields = &alert["output_fields"];
            alert["rule"] == "Joined"
                && fields["container.membership"] == "member"
                && fields["container.number"] == *number
        };
        agent.wait("told of three commands", |agent| {
            agent.alerts().iter().filter(is_joined).count() == 3
        })?;
        // With the host's pids it knows its own there.
        let run = |_: &[&str], script: &str| {
            let said = joined.script(&[], &format!("echo $$; {script}"))?;
            Ok(Ended { pid: Some(said.stdout.trim().parse()?), ..said })
        };
        let act = crossing.cross(&rootfs, &run)?;
        agent.alert("the breach of one", |alert| {
            act.is_told_by(alert) && alert["output_fields"]["container.number"] == *number
        })?;
        acts.push(act);
    }
    for alert in agent.alerts().iter().filter(|alert| alert["priority"] == "Critical") {
        ensure!(acts.iter().any(|act| act.is_of(alert)), "nobody did this: {alert}");
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
    let act = Crossed { crossing, pid };
    agent.alert("the crossing", |alert| act.is_told_by(alert))?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}
