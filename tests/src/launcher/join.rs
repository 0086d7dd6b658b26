//! Namespaces that containers share with each other, or are given by file, seen from both sides.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::userns::{REMAP, on_disk};
use super::{leaves_nothing, wait};
use crate::agent::scratch;
use crate::container::{Ended, Rootfs, own_namespace};

/// What containers can share with each other, by option and by the kernel's name.
const SHARED: [(&str, &str); 6] = [
    ("--pid", "pid"),
    ("--network", "net"),
    ("--ipc", "ipc"),
    ("--uts", "uts"),
    ("--cgroupns", "cgroup"),
    ("--timens", "time"),
];

/// Ends by itself when it is asked to.
const STAY: &str = "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done";

/// A container that runs while others join it.
struct Running {
    launcher: Child,
    name: &'static str,
}

impl Running {
    /// Starts it; the script comes before it stays.
    fn start(rootfs: &Rootfs, name: &'static str, options: &[&str], script: &str) -> Result<Self> {
        let options = [&["--name", name], options].concat();
        let script = format!("{script}\n{STAY}");
        let mut command = rootfs.launcher(&options, &["sh", "-c", &script]);
        let mut launcher = command.stdout(Stdio::piped()).spawn()?;
        let stdout = launcher.stdout.take().context("no standard output")?;
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        ensure!(said == "ready\n", "{name} said {said:?}");
        let running = Self { launcher, name };
        wait("written down", || running.first_task().exists())?;
        Ok(running)
    }

    fn first_task(&self) -> PathBuf {
        Path::new("/run/shrike/containers").join(self.name).join("first-task")
    }

    /// The host's pid of its first process.
    fn pid(&self) -> Result<u32> {
        let procs = format!("/sys/fs/cgroup/shrike/{}/cgroup.procs", self.name);
        let procs = fs::read_to_string(procs)?;
        let pids = procs.lines().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        // It was there before its children.
        pids.into_iter().min().context("it has no process")
    }

    /// The link of its namespace.
    fn namespace(&self, kind: &str) -> Result<PathBuf> {
        Ok(fs::read_link(format!("/proc/{}/ns/{kind}", self.pid()?))?)
    }

    fn joined(&self, option: &str) -> String {
        format!("{option}=container:{}", self.name)
    }

    fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.launcher.id())?), Signal::SIGTERM)?;
        let status = self.launcher.wait()?;
        ensure!(status.code() == Some(0), "{}: {status}", self.name);
        Ok(())
    }
}

/// Asserts that a container was refused, and why.
fn refused(ended: &Ended, why: &str) -> Result<()> {
    ensure!(ended.code == 125 && ended.stderr.contains(why), "not {why:?}: {ended:?}");
    Ok(())
}

pub(super) fn joined_namespaces_are_those_of_the_other_container() -> Result<()> {
    leaves_nothing(|rootfs| {
        let all_own = ["--timens=private"];
        let theirs = Running::start(rootfs, "theirs", &all_own, "")?;
        for (option, kind) in SHARED {
            // From inside, all of them; its own ones are none of theirs.
            let joined = theirs.joined(option);
            let mut options = vec!["--timens=private", joined.as_str()];
            options.retain(|own| option != "--timens" || *own != "--timens=private");
            let said = rootfs.script(&options, "for n in /proc/self/ns/*; do readlink $n; done")?;
            for (_, other) in SHARED {
                let link = theirs.namespace(other)?;
                let is_there = said.text()?.lines().any(|line| Path::new(line) == link);
                ensure!(
                    is_there == (other == kind),
                    "{option}: {other} is {}, {said:?}",
                    link.display()
                );
            }
            let mnt = theirs.namespace("mnt")?;
            ensure!(
                !said.stdout.lines().any(|line| Path::new(line) == mnt),
                "its mounts: {said:?}"
            );
        }
        // All at once, and from outside.
        let options: Vec<String> = SHARED.iter().map(|(option, _)| theirs.joined(option)).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let ours = Running::start(rootfs, "ours", &options, "")?;
        for (_, kind) in SHARED {
            ensure!(ours.namespace(kind)? == theirs.namespace(kind)?, "{kind}");
        }
        for kind in ["mnt", "user"] {
            let is_hosts = kind == "user";
            ensure!((ours.namespace(kind)? == theirs.namespace(kind)?) == is_hosts, "{kind}");
        }
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", ours.pid()?))?;
        ensure!(cgroup.lines().any(|line| line == "0::/shrike/ours"), "{cgroup}");
        let status = fs::read_to_string(format!("/proc/{}/status", ours.pid()?))?;
        ensure!(status.contains("\nSeccomp:\t2\n"), "it is not confined: {status}");
        ours.end()?;
        theirs.end()
    })
}

pub(super) fn joined_namespaces_show_what_is_in_them() -> Result<()> {
    leaves_nothing(|rootfs| {
        let options = [
            "--hostname=theirs",
            "--sysctl=net.ipv4.ip_forward=1",
            "--sysctl=kernel.msgmax=4242",
            "--tmpfs=/tmp",
        ];
        let script = "echo shared > /dev/shm/file; echo private > /tmp/file";
        let theirs = Running::start(rootfs, "theirs", &options, script)?;
        let run = |option: &str, script: &str| rootfs.script(&[&theirs.joined(option)], script);

        let said = run("--pid", "test $$ != 1 && cat /proc/1/comm")?;
        ensure!(said.text()? == "sh", "{said:?}");
        let said = run(
            "--pid",
            "kill -0 1 && echo reached; readlink /proc/1/root >/dev/null && echo seen",
        )?;
        ensure!(said.text()? == "reached\nseen", "{said:?}");
        let said = run("--network", "cat /proc/sys/net/ipv4/ip_forward; ls /sys/class/net")?;
        ensure!(said.text()? == "1\nlo", "{said:?}");
        let said = run(
            "--ipc",
            "cat /proc/sys/kernel/msgmax /dev/shm/file; ls /dev/mqueue; echo ours > /dev/shm/new",
        )?;
        ensure!(said.text()? == "4242\nshared", "{said:?}");
        let said =
            run("--ipc", "cat /dev/shm/new; stat -f -c %T /dev/shm /dev/mqueue; cat /tmp/file")?;
        ensure!(said.stdout.starts_with("ours\ntmpfs\n") && said.code == 1, "{said:?}");
        ensure!(run("--uts", "hostname")?.text()? == "theirs");
        let said = rootfs
            .script(&[&theirs.joined("--cgroupns"), "--name=b"], "grep ^0: /proc/self/cgroup")?;
        ensure!(said.text()? == "0::/../b", "{said:?}");

        // What belongs to others is not changed.
        for option in ["--hostname=x", "--domainname=x", "--sysctl=kernel.domainname=x"] {
            refused(
                &rootfs.run(&[&theirs.joined("--uts"), option], &["true"])?,
                "what others have",
            )?;
        }
        let sysctl = "--sysctl=net.ipv4.ip_forward=0";
        refused(
            &rootfs.run(&[&theirs.joined("--network"), sysctl], &["true"])?,
            "what others have",
        )?;
        theirs.end()
    })
}

pub(super) fn joined_containers_end_with_the_first_of_their_pids() -> Result<()> {
    leaves_nothing(|rootfs| {
        let theirs = Running::start(rootfs, "theirs", &[], "")?;
        let joined = theirs.joined("--pid");
        let ours = Running::start(rootfs, "ours", &[&joined], "")?;
        theirs.end()?;
        let mut launcher = ours.launcher;
        let status = launcher.wait()?;
        ensure!(status.code() == Some(137), "{status}");
        Ok(())
    })
}

pub(super) fn namespaces_are_joined_by_file() -> Result<()> {
    leaves_nothing(|rootfs| {
        let dir = scratch()?;
        let theirs = Running::start(rootfs, "theirs", &["--timens=private"], "")?;
        for (option, kind) in SHARED {
            let file = dir.join(kind);
            fs::write(&file, "")?;
            let namespace = format!("/proc/{}/ns/{kind}", theirs.pid()?);
            let bound = Command::new("mount").args(["--bind", &namespace]).arg(&file).status()?;
            ensure!(bound.success(), "mount of {kind}");
            for path in [file.display().to_string(), namespace.clone()] {
                let joined = format!("{option}=ns:{path}");
                let said = rootfs.script(&[&joined], &format!("readlink /proc/self/ns/{kind}"))?;
                let expected = theirs.namespace(kind)?;
                ensure!(
                    Path::new(said.text()?) == expected,
                    "{option}: {}, {said:?}",
                    expected.display()
                );
            }
            let unmounted = Command::new("umount").arg(&file).status()?;
            ensure!(unmounted.success(), "umount of {kind}");
        }
        // Memory is not in the namespace: that is a file system of the container's own.
        let ipc = format!("--ipc=ns:/proc/{}/ns/ipc", theirs.pid()?);
        let said = rootfs.script(&[&ipc], "ls -A /dev/shm; stat -f -c %T /dev/shm")?;
        ensure!(said.text()? == "tmpfs", "{said:?}");
        // The host's own is as good as any.
        let said =
            rootfs.script(&["--uts=ns:/proc/1/ns/uts"], "stat -L -c %i /proc/self/ns/uts")?;
        ensure!(said.text()? == own_namespace("uts")?.to_string(), "{said:?}");
        theirs.end()?;
        Ok(fs::remove_dir_all(dir)?)
    })
}

pub(super) fn what_cannot_be_joined_is_named() -> Result<()> {
    leaves_nothing(|rootfs| {
        let run = |option: &str| rootfs.run(&[option], &["true"]);
        refused(&run("--pid=container:nobody")?, "there is no container nobody")?;
        refused(&run("--network=ns:/nowhere")?, "cannot open the network namespace /nowhere")?;
        refused(&run("--pid=ns:/proc/self/ns/net")?, "expected a pid namespace")?;
        refused(&run("--network=ns:/proc/self/ns/pid")?, "expected a network namespace")?;
        for file in ["/usr/bin/shrike", "/proc/self/status", "/dev/null", "/proc", "/dev/loop0"] {
            refused(&run(&format!("--ipc=ns:{file}"))?, "is no namespace")?;
        }
        for bad in ["--pid=ns:x", "--uts=container:", "--network=container:a/b", "--ipc=x"] {
            let ended = run(bad)?;
            ensure!(ended.code == 2 && ended.stderr.contains("container:NAME"), "{ended:?}");
        }
        let theirs = Running::start(rootfs, "theirs", &[], "")?;
        refused(&run(&theirs.joined("--userns"))?, "has the users of the host")?;
        let users = "need";
        for (option, _) in SHARED
            .into_iter()
            .filter(|(option, _)| ["--pid", "--network", "--cgroupns"].contains(option))
        {
            let ended = rootfs.run(&[REMAP, &theirs.joined(option)], &["true"])?;
            refused(&ended, &format!("{option} {users}s their user namespace"))?;
        }

        // Neither a pid that another one has by now, nor a task that is not the container's.
        let written = fs::read_to_string(theirs.first_task())?;
        let (pid, start) = written.split_once(' ').context("no start")?;
        ensure!(pid == theirs.pid()?.to_string(), "{written}");
        let own = fs::read_to_string("/proc/self/stat")?;
        let own =
            own.rsplit(')').next().and_then(|rest| rest.split(' ').nth(20)).context("no start")?;
        let forged = [
            format!("{pid} {}", start.parse::<u64>()? - 1),
            format!("{} {own}", std::process::id()),
            format!("1 {start}"),
            "0 0".to_owned(),
            String::new(),
        ];
        for text in forged {
            fs::write(theirs.first_task(), &text)?;
            let ended = run(&theirs.joined("--uts"))?;
            refused(&ended, "theirs does not run").context(text)?;
        }
        fs::remove_file(theirs.first_task())?;
        refused(&run(&theirs.joined("--uts"))?, "theirs is not running yet")?;
        fs::write(theirs.first_task(), &written)?;
        run(&theirs.joined("--uts"))?.text()?;
        theirs.end()
    })
}

/// Until the command takes over, nobody in the joined pid namespace may look into the task that prepares it.
pub(super) fn joining_is_hidden_from_those_who_are_joined() -> Result<()> {
    leaves_nothing(|rootfs| {
        // For that link the kernel asks for the same as for a tracer; the command's own program is busybox.
        let script = "trap 'exit 0' TERM; echo ready
            while true; do
                for p in /proc/[0-9]*; do
                    read -r name < $p/comm && test \"$name\" = shrike || continue
                    echo met >> /tmp/met
                    readlink $p/exe >> /tmp/seen
                done 2> /dev/null
            done";
        let mut command = rootfs.launcher(&["--name=theirs"], &["sh", "-c", script]);
        let mut launcher = command.stdout(Stdio::piped()).spawn()?;
        let stdout = launcher.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut String::new())?;
        let theirs = Running { launcher, name: "theirs" };
        wait("written down", || theirs.first_task().exists())?;
        let (met, seen) = (rootfs.path().join("tmp/met"), rootfs.path().join("tmp/seen"));
        for _ in 0..60 {
            rootfs.run(&[&theirs.joined("--pid")], &["true"])?.text()?;
            if met.exists() {
                break;
            }
        }
        for _ in 0..8 {
            rootfs.run(&[&theirs.joined("--pid")], &["true"])?.text()?;
        }
        theirs.end()?;
        ensure!(met.exists(), "nobody met a task that was being prepared");
        let links = fs::read_to_string(&seen)?;
        ensure!(
            links.lines().all(|link| link == "/bin/busybox"),
            "it could be looked into: {links}"
        );
        fs::remove_file(met)?;
        Ok(fs::remove_file(seen)?)
    })
}

pub(super) fn joined_users_are_those_of_the_other_container() -> Result<()> {
    on_disk(|rootfs, _| {
        let theirs = Running::start(rootfs, "theirs", &[REMAP], "echo shared > /dev/shm/file")?;
        let kinds =
            [("--userns", "user"), ("--pid", "pid"), ("--network", "net"), ("--ipc", "ipc")];
        let options: Vec<String> = kinds.iter().map(|(option, _)| theirs.joined(option)).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let ours = Running::start(rootfs, "ours", &options, "")?;
        for (_, kind) in kinds {
            ensure!(ours.namespace(kind)? == theirs.namespace(kind)?, "{kind}");
        }
        let status = fs::read_to_string(format!("/proc/{}/status", ours.pid()?))?;
        ensure!(status.contains("\nUid:\t100000\t100000\t100000\t100000\n"), "{status}");
        ensure!(status.contains("\nCapBnd:\t00000000a80425fb\n"), "{status}");
        ours.end()?;
        let script =
            "cat /proc/self/uid_map; cat /dev/shm/file; stat -c %u /bin /proc/1; touch /made";
        let said = rootfs.script(&options, script)?;
        let words: Vec<&str> = said.text()?.split_whitespace().collect();
        ensure!(words == ["0", "100000", "65536", "shared", "0", "0"], "{said:?}");
        fs::remove_file(rootfs.path().join("made"))?;
        // Its own namespaces belong to them.
        let users = theirs.joined("--userns");
        let said =
            rootfs.script(&[&users], "hostname; echo $$; ls /sys/class/net; touch /dev/shm/x")?;
        ensure!(said.text()?.ends_with("\n1\nlo"), "{said:?}");

        let hosts = Running::start(rootfs, "hosts", &[], "")?;
        for option in ["--pid", "--network", "--cgroupns"] {
            let ended = rootfs.run(&[&users, &hosts.joined(option)], &["true"])?;
            refused(&ended, "belongs to other users than those that the container joins")?;
        }
        // What has no users of its own to mind, has theirs.
        let said = rootfs.script(&[&users, &hosts.joined("--uts")], "hostname")?;
        ensure!(said.text()? == "hosts", "{said:?}");
        for option in ["--privileged", "--pid=host", "--network=host", "--cgroupns=host"] {
            refused(&rootfs.run(&[&users, option], &["true"])?, "needs --userns=host")?;
        }
        // The host's root may join what belongs to others.
        let said = rootfs.script(
            &[&theirs.joined("--network"), &theirs.joined("--pid")],
            "ls /sys/class/net; stat -c %u /proc/1",
        )?;
        ensure!(said.text()? == "lo\n100000", "{said:?}");
        hosts.end()?;
        theirs.end()
    })
}

pub(super) fn clocks_are_the_containers_own() -> Result<()> {
    const DAYS: u64 = 864_000;
    let uptime = |text: &str| -> Result<u64> {
        Ok(text.split(['.', ' ']).next().context("no time")?.parse()?)
    };
    leaves_nothing(|rootfs| {
        let options =
            ["--timens=private", "--time-offset=boottime=864000", "--time-offset=monotonic=-0.5"];
        let before = uptime(&fs::read_to_string("/proc/uptime")?)?;
        let theirs = Running::start(rootfs, "theirs", &options, "")?;
        let joined = theirs.joined("--timens");
        let script = "cat /proc/uptime /proc/self/timens_offsets";
        for options in [&options[..], &[&joined]] {
            let said = rootfs.script(options, script)?;
            let after = uptime(&fs::read_to_string("/proc/uptime")?)?;
            let inside = uptime(said.text()?)?;
            ensure!(
                (before + DAYS..=after + DAYS + 1).contains(&inside),
                "{before}, {said:?}, {after}"
            );
            let offsets: Vec<&str> = said.stdout.split_whitespace().skip(2).collect();
            ensure!(
                offsets == ["monotonic", "-1", "500000000", "boottime", "864000", "0"],
                "{said:?}"
            );
        }
        let outside = fs::read_to_string(format!("/proc/{}/timens_offsets", theirs.pid()?))?;
        ensure!(outside.split_whitespace().nth(4) == Some("864000"), "{outside}");
        let said = rootfs.script(&[], script)?;
        ensure!(uptime(said.text()?)? < DAYS, "{said:?}");
        theirs.end()?;

        let run = |options: &[&str]| rootfs.run(options, &["true"]);
        refused(&run(&["--time-offset=boottime=1"])?, "needs --timens=private")?;
        let early = ["--timens=private", "--time-offset=boottime=-9999999999"];
        refused(&run(&early)?, "cannot set the clock boottime")?;
        let ended = run(&["--timens=private", "--time-offset=realtime=1"])?;
        ensure!(ended.code == 2 && ended.stderr.contains("monotonic or boottime"), "{ended:?}");
        Ok(())
    })
}

/// A container can be joined again and again, whoever else ends.
pub(super) fn many_join_one() -> Result<()> {
    leaves_nothing(|rootfs| {
        let theirs = Running::start(rootfs, "theirs", &[], "")?;
        let options = ["--pid", "--network", "--ipc", "--uts"].map(|option| theirs.joined(option));
        let all = thread::scope(|scope| {
            let run = || {
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                (0..3).try_for_each(|_| rootfs.script(&options, "exit 0")?.text().map(drop))
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("panic")))
                .collect::<Result<Vec<()>>>()
        });
        all?;
        thread::sleep(Duration::from_millis(100));
        theirs.end()
    })
}
