//! The default escape rules: each fires on its action in a container, twice and by different means,
//! and none on the ordinary work of a container that runs in between.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::configuration::Configuration;
use crate::container::{Ended, PRINT_CGROUP, Rootfs};
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "escape",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(6),
    wants: Configuration::is_plain,
    tests: tests![every_rule_fires_and_stays_silent, the_host_does_not_escape],
};

const RULES: &str = include_str!("../../rules/default/escape.yaml");

/// A way out of a container, in two forms. The first process of the container acts itself.
pub struct Escape {
    pub rule: &'static str,
    options: &'static [&'static str],
    forms: [&'static str; 2],
}

pub const ESCAPES: [Escape; 10] = [
    Escape {
        rule: "Usermode helper set from container",
        options: &["--privileged"],
        forms: [
            "read -r v < /proc/sys/kernel/core_pattern; echo \"$v\" > /proc/sys/kernel/core_pattern",
            "read -r v < /proc/sys/kernel/modprobe; echo \"$v\" > /proc/sys/kernel/modprobe",
        ],
    },
    Escape {
        rule: "Release agent opened for writing in container",
        options: &["--privileged"],
        forms: [
            "mount -t cgroup -o none,name=a none /mnt; : > /mnt/release_agent; umount /mnt",
            "mount -t cgroup -o none,name=b none /mnt; echo /x > /mnt/release_agent; umount /mnt",
        ],
    },
    Escape {
        rule: "Binary format registered from container",
        options: &["--privileged"],
        forms: [
            "mount -t binfmt_misc none /mnt; : > /mnt/register; umount /mnt",
            "mount -t binfmt_misc none /mnt; echo ':t:M::xxxx::/bin/sh:' > /mnt/register; \
             echo -1 > /mnt/t; umount /mnt",
        ],
    },
    Escape {
        rule: "Host block device used in container",
        options: &["--cap-add=SYS_ADMIN", "--device-cgroup-rule=b 7:0 rw"],
        forms: [
            "mknod /tmp/d b 7 0; : < /tmp/d; rm /tmp/d",
            "mknod /dev/d b 7 0; exec mount -t ext4 /dev/d /mnt",
        ],
    },
    Escape {
        rule: "Host namespace joined from container",
        options: &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"],
        forms: [
            "exec nsenter --uts=/proc/1/ns/uts true",
            "exec nsenter --mount=/proc/1/ns/mnt true",
        ],
    },
    Escape {
        rule: "Process outside of container attached to",
        options: &["--pid=host", "--cap-add=SYS_PTRACE"],
        forms: ["exec shrike technique ptrace", ": < /proc/$PPID/mem"],
    },
    Escape {
        rule: "Container runtime socket connected to from container",
        options: &["--volume=/tmp/shrike-props:/props"],
        forms: [
            "exec shrike technique runtime-socket",
            // A new name does not hide the socket. Once only: the other form finds it no more.
            "mv /props/docker.sock /props/x; mv /props/podman.sock /props/renamed; \
             ln -s renamed /props/docker.sock; exec shrike technique runtime-socket",
        ],
    },
    Escape {
        rule: "File of another mount namespace opened in container",
        options: &["--pid=host", "--cap-add=SYS_PTRACE"],
        forms: [": < /proc/1/root/etc/hostname", "exec ls /proc/1/root/"],
    },
    Escape {
        rule: "Kernel module loaded from container",
        options: &["--cap-add=SYS_MODULE"],
        forms: [
            "exec shrike technique kernel-module",
            "head -c 200 /dev/zero > /dev/shm/m.ko; exec insmod /dev/shm/m.ko",
        ],
    },
    Escape {
        rule: "BPF program loaded from container",
        options: &["--cap-add=BPF"],
        forms: ["exec shrike technique bpf-program", "exec shrike technique bpf-program"],
    },
];

/// What an ordinary container does: a shell, files that come and go as a package manager's, and
/// many short processes.
pub const ORDINARY: &str = "
    id; ps; mount; hostname; env > /dev/null; cat /etc/passwd /proc/self/status > /dev/null
    for i in $(seq 40); do
        mkdir -p /tmp/pkg/$i; echo $i > /tmp/pkg/$i/file.new
        mv /tmp/pkg/$i/file.new /tmp/pkg/$i/file; chmod 755 /tmp/pkg/$i/file
    done
    tar cf /tmp/a.tar -C /tmp pkg; rm -r /tmp/pkg; tar xf /tmp/a.tar -C /tmp; rm -r /tmp/pkg /tmp/a.tar
    for i in $(seq 200); do (:) & done; wait
    echo done > /dev/stderr; echo done";

/// Who escaped, as the container itself and its launcher tell it.
#[derive(Debug)]
pub struct Act {
    pub rule: &'static str,
    pid: u32,
    cgroup: u64,
}

impl Escape {
    /// Escapes from a container of our launcher.
    pub fn act(&self, rootfs: &Rootfs, form: usize) -> Result<Act> {
        self.act_by(form, |options, script| rootfs.script(options, script))
    }

    /// Escapes from a container that is run with these options and this script.
    pub fn act_by(
        &self,
        form: usize,
        run: impl FnOnce(&[&str], &str) -> Result<Ended>,
    ) -> Result<Act> {
        let ended = run(self.options, &format!("{PRINT_CGROUP}; {}", self.forms[form]))?;
        let cgroup = ended.stdout.lines().next().and_then(|line| line.parse().ok());
        Ok(Act {
            rule: self.rule,
            pid: ended.pid.with_context(|| format!("no container: {ended:?}"))?,
            cgroup: cgroup.with_context(|| format!("no cgroup: {ended:?}"))?,
        })
    }
}

impl Act {
    /// Whether the alert is about the very process: several rules tell of what crosses a boundary.
    pub fn is_of(&self, alert: &Value) -> bool {
        alert["output_fields"]["proc.pid"] == self.pid
    }

    /// Whether the alert names the very process, in its cgroup.
    pub fn raised(&self, alert: &Value) -> bool {
        let fields = &alert["output_fields"];
        alert["rule"] == self.rule
            && fields["proc.pid"] == self.pid
            && fields["cgroup.id"] == self.cgroup
    }
}

fn every_rule_fires_and_stays_silent() -> Result<()> {
    let rootfs = Rootfs::new()?;
    let props = Props::set()?;
    let agent = Agent::start(RULES, &[])?;

    let round = |form| -> Result<Vec<Act>> {
        let acts: Vec<Act> =
            ESCAPES.iter().map(|escape| escape.act(&rootfs, form)).collect::<Result<_>>()?;
        for act in &acts {
            agent.alert(&format!("{act:?}"), |alert| act.raised(alert))?;
        }
        Ok(acts)
    };
    let mut acts = round(0)?;
    let ordinary = rootfs.script(&[], ORDINARY)?;
    ensure!(ordinary.text()?.ends_with("done"), "{ordinary:?}");
    acts.extend(round(1)?);

    // Everything that happened in between has been read by now. No alert is anybody else's.
    for alert in agent.alerts() {
        ensure!(acts.iter().any(|act| act.raised(&alert)), "nobody did this: {alert}");
    }
    ensure!(agent.stop()?.success(), "the agent did not end well");
    drop(props);
    Ok(())
}

/// What the escapes need of the host: sockets that stand for a runtime's, and a disk.
pub struct Props {
    _sockets: Vec<UnixListener>,
}

impl Props {
    /// Where the escapes find the sockets.
    const FOLDER: &str = "/tmp/shrike-props";

    pub fn set() -> Result<Self> {
        fs::create_dir(Self::FOLDER)?;
        let sockets = ["docker.sock", "podman.sock"]
            .map(|name| UnixListener::bind(Path::new(Self::FOLDER).join(name)));
        let script = "dd if=/dev/zero of=/tmp/disk bs=1M count=2 && mke2fs -F /tmp/disk && \
            losetup /dev/loop0 /tmp/disk";
        let disk = Command::new("sh").args(["-c", script]).output()?;
        ensure!(disk.status.success(), "{disk:?}");
        Ok(Self { _sockets: sockets.into_iter().collect::<std::result::Result<_, _>>()? })
    }
}

impl Drop for Props {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", "/dev/loop0"]).output();
        let _ = fs::remove_file("/tmp/disk");
        let _ = fs::remove_dir_all(Self::FOLDER);
    }
}

/// The same actions by processes of the host, which is no escape.
fn the_host_does_not_escape() -> Result<()> {
    let agent = Agent::start(RULES, &[])?;
    let script =
        "read -r v < /proc/sys/kernel/core_pattern; echo \"$v\" > /proc/sys/kernel/core_pattern
        mknod /tmp/d b 7 0; : < /tmp/d; rm /tmp/d
        nsenter --uts=/proc/1/ns/uts true; unshare -m nsenter --mount=/proc/1/ns/mnt true
        : < /proc/$PPID/mem; : < /proc/1/root/etc/hostname
        shrike technique kernel-module; shrike technique bpf-program";
    Command::new("sh").args(["-c", script]).output()?;
    let rootfs = Rootfs::new()?;
    let shout = ESCAPES[0].act(&rootfs, 0)?;
    agent.alert("the escape that comes last", |alert| shout.raised(alert))?;
    let alerts = agent.alerts();
    ensure!(alerts.len() == 1, "{alerts:?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}
