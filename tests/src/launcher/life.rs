//! Containers in the background: their life, what joins them, and what they leave.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::userns::on_disk;
use super::{leaves_nothing, wait};
use crate::container::{Background, Ended, Rootfs, UNTIL_END, container};

pub(super) fn containers_live_in_the_background() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "trap 'echo bye; exit 3' TERM; echo $A >> /tmp/runs; echo up
            while :; do sleep 0.1; done";
        let web = Background::run(rootfs, "web", &["-e", "A=b"], &["sh", "-c", script])?;
        wait("up", || container(&["logs", "web"]).is_ok_and(|said| said.stdout == "up"))?;
        let pid = web.pid()?;
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        ensure!(cgroup.lines().any(|line| line == "0::/shrike/web"), "{cgroup}");
        let listed: Value = serde_json::from_str(container(&["ps", "--json"])?.text()?)?;
        ensure!(listed[0]["name"] == "web" && listed[0]["status"]["pid"] == pid, "{listed}");
        let said = rootfs.script(&["--name", "web"], "true")?;
        ensure!(said.code == 125 && said.stderr.contains("in use"), "{said:?}");
        let said = container(&["rm", "web"])?;
        ensure!(said.code == 125 && said.stderr.contains("--force"), "{said:?}");

        ensure!(container(&["stop", "web"])?.text()? == "web");
        ensure!(!Path::new("/sys/fs/cgroup/shrike").exists(), "its cgroup is left");
        ensure!(web.state()? == "exited");
        ensure!(container(&["wait", "web"])?.text()? == "3");
        ensure!(container(&["logs", "web"])?.text()? == "up\nbye");
        ensure!(container(&["ps", "-q"])?.text()?.is_empty());
        ensure!(container(&["ps", "-aq"])?.text()? == "web");
        let said = container(&["exec", "web", "true"])?;
        ensure!(said.code == 125 && said.stderr.contains("does not run"), "{said:?}");
        let said = rootfs.script(&["--name", "web"], "true")?;
        ensure!(said.code == 125 && said.stderr.contains("container rm"), "{said:?}");
        ensure!(container(&["gc"])?.text()? == "0 leftovers");

        // What it was to be is still known.
        container(&["start", "web"])?.text()?;
        wait("up", || {
            container(&["logs", "web"]).is_ok_and(|said| said.stdout.ends_with("bye\nup"))
        })?;
        ensure!(web.script(&[], "cat /tmp/runs")?.text()? == "b\nb");
        ensure!(web.pid()? != pid);
        container(&["rm", "--force", "web"])?.text()?;
        fs::remove_file(rootfs.path().join("tmp/runs"))?;
        ensure!(container(&["ps", "-aq"])?.text()?.is_empty());
        let said = container(&["inspect", "web"])?;
        ensure!(said.stderr.contains("there is no container web"), "{said:?}");
        Ok(())
    })
}

pub(super) fn what_cannot_be_started_is_not_there() -> Result<()> {
    leaves_nothing(|rootfs| {
        for (command, code) in [("nothing", 127), ("/etc/passwd", 126)] {
            let launcher = rootfs.launcher(&["--detach"], &[command]).output()?;
            let said = Ended::new(&launcher, None)?;
            ensure!(said.code == code && said.stdout.is_empty(), "{said:?}");
        }
        let said = Ended::new(&rootfs.launcher(&["--detach", "--rm"], &["true"]).output()?, None)?;
        ensure!(said.text()?.len() == 12, "{said:?}");
        wait("gone", || container(&["ps", "-aq"]).is_ok_and(|said| said.stdout.is_empty()))
    })
}

/// Whoever waits for it, or stops it, while the launcher is cleaning up, is told what all others are.
pub(super) fn ends_are_told_whenever_they_come() -> Result<()> {
    leaves_nothing(|rootfs| {
        for round in 0..15 {
            let ended = Background::run(rootfs, "ended", &[], &["sh", "-c", "exit 5"])?;
            let said = if round % 2 == 0 {
                container(&["wait", "ended"])?
            } else {
                container(&["stop", "ended"])?.text()?;
                container(&["wait", "ended"])?
            };
            ensure!(said.text()? == "5", "round {round}: {said:?}");
            container(&["rm", "--force", "ended"])?.text()?;
            drop(ended);
        }
        let _gone = Background::run(rootfs, "gone", &["--rm"], &["sh", "-c", UNTIL_END])?;
        let mut waiting = Command::new("shrike");
        waiting.args(["container", "wait", "gone"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let waiting = waiting.spawn()?;
        wait("waiting", || {
            let fds = fs::read_dir(format!("/proc/{}/fd", waiting.id())).into_iter().flatten();
            let mut links = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
            links.any(|link| link.to_string_lossy().contains("pidfd"))
        })?;
        let end = rootfs.path().join("tmp/end");
        fs::write(&end, "")?;
        let said = Ended::new(&waiting.wait_with_output()?, None)?;
        fs::remove_file(end)?;
        ensure!(said.code == 125 && said.stderr.contains("was removed with that"), "{said:?}");
        Ok(())
    })
}

pub(super) fn created_containers_are_started_later() -> Result<()> {
    leaves_nothing(|rootfs| {
        let path = rootfs.path().to_str().context("a strange folder")?;
        let script = "echo ran; exit 7";
        let create = ["create", "--name", "later", "--rootfs", path, "--", "sh", "-c", script];
        ensure!(container(&create)?.text()? == "later");
        let later = Background("later");
        ensure!(later.state()? == "created");
        ensure!(container(&["gc"])?.text()? == "0 leftovers");
        for _ in 0..2 {
            let said = container(&["start", "--attach", "later"])?;
            ensure!(said.code == 7 && said.stdout == "ran", "{said:?}");
            ensure!(later.state()? == "exited");
        }
        container(&["rm", "later"])?.text()?;
        Ok(())
    })
}

pub(super) fn commands_join_a_container() -> Result<()> {
    leaves_nothing(|rootfs| {
        for options in [
            &[][..],
            &["--pid=host", "--network=host", "--cap-add=SYS_ADMIN"],
            &["--privileged"],
            &["--user=1000:1001", "--group-add=7", "--workdir=/tmp", "--read-only"],
            &["--security-opt=seccomp=unconfined", "--security-opt=no-new-privileges=false"],
        ] {
            commands_are_as_the_containers_own(rootfs, options)?;
        }
        Ok(())
    })
}

pub(super) fn commands_join_a_container_with_users_of_its_own() -> Result<()> {
    on_disk(|rootfs, _| {
        for options in [
            &["--userns=remap"][..],
            &["--userns=remap", "--cap-drop=ALL", "--cap-add=CHOWN", "--user=5"],
        ] {
            commands_are_as_the_containers_own(rootfs, options)?;
        }
        Ok(())
    })
}

/// Compares what a command that joins a container is with what the container's own is, and looks at it from
/// outside: it is in the container's cgroup, and so kept to its limits.
fn commands_are_as_the_containers_own(rootfs: &Rootfs, options: &[&str]) -> Result<()> {
    const LOOK: &str = "for kind in cgroup ipc mnt net pid time user uts; do
            readlink /proc/self/ns/$kind
        done
        grep -E '^(Uid|Gid|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
        cat /proc/self/cgroup; pwd; hostname; id -G; echo done";
    let script = format!("({LOOK}) > /dev/shm/own; sleep 1000");
    let joined = Background::run(rootfs, "joined", options, &["sh", "-c", &script])?;
    let written = || joined.script(&[], "cat /dev/shm/own");
    wait("there", || written().is_ok_and(|said| said.stdout.ends_with("done")))?;
    let (own, other) = (written()?, joined.script(&[], LOOK)?);
    ensure!(own.text()? == other.text()?, "{options:?}: {own:?} {other:?}");
    let mut sleep = Command::new("shrike")
        .args(["--log=warn", "container", "exec", "joined", "sleep", "999"])
        .stdin(Stdio::null())
        .spawn()?;
    let procs = || fs::read_to_string("/sys/fs/cgroup/shrike/joined/cgroup.procs");
    let is_there = || {
        let line = |pid: &str| fs::read(format!("/proc/{pid}/cmdline"));
        let is_it = |pid: &str| line(pid).is_ok_and(|line| line == *b"sleep\x00999\x00");
        procs().is_ok_and(|pids| pids.lines().any(is_it))
    };
    wait("in the cgroup", is_there)?;
    // The launcher takes it along.
    sleep.kill()?;
    sleep.wait()?;
    wait("gone", || !is_there())
}

pub(super) fn commands_are_joined_as_it_is_asked_for() -> Result<()> {
    leaves_nothing(|rootfs| {
        let joined =
            Background::run(rootfs, "joined", &["-e", "A=1", "-e", "B=1"], &["sleep", "1000"])?;
        let said = joined.script(&["-e", "A=2", "-w", "/tmp"], "echo $A $B; pwd")?;
        ensure!(said.text()? == "2 1\n/tmp", "{said:?}");
        let said =
            joined.script(&["--user", "5:6"], "id -u; id -g; grep CapEff /proc/self/status")?;
        ensure!(said.text()? == "5\n6\nCapEff:\t0000000000000000", "{said:?}");
        let own = fs::read_to_string("/proc/self/status")?;
        let own = own.lines().find(|line| line.starts_with("CapEff:")).context("no CapEff")?;
        let said = joined.script(&["--privileged"], "grep CapEff /proc/self/status")?;
        ensure!(said.text()? == own, "{said:?}");
        ensure!(joined.script(&[], "exit 9")?.code == 9);
        ensure!(container(&["exec", "joined", "nothing"])?.code == 127);
        ensure!(container(&["exec", "joined", "/etc/passwd"])?.code == 126);
        let said = container(&["exec", "-w", "/nowhere", "joined", "true"])?;
        ensure!(said.code == 125 && said.stderr.contains("/nowhere"), "{said:?}");
        // A folder of the host's, by a descriptor that the launcher has (CVE-2024-21626).
        for fd in 3..20 {
            let said =
                joined.script(&["-w", &format!("/proc/self/fd/{fd}")], "cat /proc/1/comm")?;
            ensure!(said.code == 125, "{fd}: {said:?}");
        }
        Ok(())
    })
}

pub(super) fn containers_are_paused() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "while :; do echo >> /tmp/beats; sleep 0.02; done";
        let paused = Background::run(rootfs, "paused", &[], &["sh", "-c", script])?;
        let file = rootfs.path().join("tmp/beats");
        let beats = || fs::metadata(&file).map_or(0, |data| data.size());
        let goes_on = || {
            let before = beats();
            wait("going on", || beats() > before + 3)
        };
        goes_on()?;
        container(&["pause", "paused"])?.text()?;
        let before = beats();
        std::thread::sleep(std::time::Duration::from_millis(500));
        ensure!(beats() == before, "it goes on");
        ensure!(paused.state()? == "paused");
        for arguments in [&["pause", "paused"][..], &["exec", "paused", "true"]] {
            let said = container(arguments)?;
            ensure!(said.code == 125 && said.stderr.contains("paused is paused"), "{said:?}");
        }
        container(&["unpause", "paused"])?.text()?;
        goes_on()?;
        ensure!(container(&["unpause", "paused"])?.code == 125);
        // One that is stopped while it is paused gets the signal, too.
        container(&["pause", "paused"])?.text()?;
        container(&["kill", "paused"])?.text()?;
        ensure!(container(&["wait", "paused"])?.text()? == "137");
        fs::remove_file(file)?;
        Ok(())
    })
}

pub(super) fn what_containers_write_is_logged() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "seq 1 20000; echo wrong >&2; head -c 40000 /dev/zero | busybox tr '\\0' x; echo; \
            printf end; sleep 0.5";
        let _logged = Background::run(rootfs, "logged", &[], &["sh", "-c", script])?;
        // Until its end.
        let said = container(&["logs", "--follow", "logged"])?;
        let numbers: Vec<String> = (1..=20_000).map(|number: u32| number.to_string()).collect();
        let expected = format!("{}\n{}\nend", numbers.join("\n"), "x".repeat(40_000));
        ensure!(said.text()? == expected, "{} bytes", said.stdout.len());
        ensure!(said.stderr == "wrong", "{said:?}");
        // Whoever reads may have had enough.
        let some = "shrike container logs logged 2> /tmp/errors | head -n 1; cat /tmp/errors";
        let said = Ended::new(&Command::new("sh").args(["-c", some]).output()?, None)?;
        fs::remove_file("/tmp/errors")?;
        ensure!(said.text()? == "1" || said.stdout == "1\nwrong", "{said:?}");
        let said = container(&["logs", "--timestamps", "--tail", "1", "logged"])?;
        let (time, text) = said.text()?.split_once(' ').context("no time")?;
        ensure!(time.ends_with('Z') && text == "end", "{said:?}");
        Ok(())
    })
}

pub(super) fn what_containers_use_is_told() -> Result<()> {
    leaves_nothing(|rootfs| {
        let limits = ["--memory=64m", "--pids-limit=20", "--cpus=0.5"];
        let _busy = Background::run(rootfs, "busy", &limits, &["sh", "-c", "while :; do :; done"])?;
        let said = container(&["stats", "--no-stream", "--json", "busy"])?;
        let told: Value = serde_json::from_str(said.text()?)?;
        let usage = &told[0]["usage"];
        let file = |name: &str| -> Result<u64> {
            let text = fs::read_to_string(format!("/sys/fs/cgroup/shrike/busy/{name}"))?;
            Ok(text.trim().parse()?)
        };
        ensure!(usage["memory_limit_bytes"] == file("memory.max")?, "{told}");
        ensure!(usage["pids_limit"] == file("pids.max")?, "{told}");
        ensure!(usage["pids"] == file("pids.current")?, "{told}");
        let memory = usage["memory_bytes"].as_u64().context("no memory")?;
        ensure!(memory.abs_diff(file("memory.current")?) < 1 << 20, "{told}");
        // It would use all of a processor, and may use half of one.
        let cpu = told[0]["cpu_percent"].as_f64().context("no share")?;
        ensure!((1.0..=75.0).contains(&cpu), "{told}");
        Ok(())
    })
}

pub(super) fn a_killed_monitor_takes_its_container_along() -> Result<()> {
    leaves_nothing(|rootfs| {
        let lost = Background::run(rootfs, "lost", &[], &["sleep", "1000"])?;
        let (pid, launcher) = (lost.pid()?, lost.launcher()?);
        kill(Pid::from_raw(launcher), Signal::SIGKILL)?;
        wait("gone", || !PathBuf::from(format!("/proc/{pid}")).exists())?;
        ensure!(lost.state()? == "lost");
        let said = container(&["wait", "lost"])?;
        ensure!(said.code == 125 && said.stderr.contains("nobody was there"), "{said:?}");
        let said = container(&["gc"])?;
        let expected = "removed /sys/fs/cgroup/shrike/lost\nremoved /run/shrike/containers/lost";
        ensure!(said.text()?.starts_with(expected), "{said:?}");
        ensure!(said.stdout.ends_with("\n2 leftovers"), "{said:?}");
        container(&["start", "lost"])?.text()?;
        ensure!(lost.state()? == "running");
        Ok(())
    })
}
