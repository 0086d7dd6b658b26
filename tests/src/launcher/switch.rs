//! Every switch of `shrike container run`, seen from inside of a container that has it and from outside. What was
//! seen goes into the report: `cargo xtask test --full launcher` shows it as a table, and a switch that no test
//! has seen from both sides is an error there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::device::{Disk, LOOP};
use super::storage::Image;
use super::terminal::User;
use super::{leaves_nothing, wait};
use crate::agent::{Agent, scratch};
use crate::alert::is_posture;
use crate::bench::DEFAULT_RULES;
use crate::container::{Background, Rootfs, UNCONFINED, UNTIL_END, container};
use crate::profile;

/// All switches. Whoever adds one adds it here, and says by [`seen`] what it does.
const SWITCHES: &[&str] = &[
    "--add-host",
    "--blkio-weight",
    "--cap-add",
    "--cap-drop",
    "--cgroupns",
    "--cpu-shares",
    "--cpus",
    "--cpuset-cpus",
    "--detach",
    "--device",
    "--device-cgroup-rule",
    "--device-read-bps",
    "--device-read-iops",
    "--device-write-bps",
    "--device-write-iops",
    "--dns",
    "--domainname",
    "--egress-bandwidth",
    "--entrypoint",
    "--env",
    "--env-file",
    "--group-add",
    "--hostname",
    "--image",
    "--ingress-bandwidth",
    "--init",
    "--interactive",
    "--ip",
    "--ipc",
    "--label",
    "--memory",
    "--memory-reservation",
    "--memory-swap",
    "--mount",
    "--name",
    "--network",
    "--oom-score-adj",
    "--pid",
    "--pid-file",
    "--pids-limit",
    "--privileged",
    "--read-only",
    "--rm",
    "--rootfs",
    "--security-opt",
    "--shm-size",
    "--stop-signal",
    "--sysctl",
    "--time-offset",
    "--timens",
    "--tmpfs",
    "--tty",
    "--ulimit",
    "--user",
    "--userns",
    "--uts",
    "--volume",
    "--workdir",
];

/// What the container itself says.
pub(super) struct Inside<'a>(pub(super) &'a str);

/// What the host says of it.
pub(super) struct Outside<'a>(pub(super) &'a str);

/// Records what was seen of a switch, which may have its value with it: `--pid host`. Both have been compared with
/// what was expected.
pub(super) fn seen(switch: &str, Inside(inside): Inside<'_>, Outside(outside): Outside<'_>) {
    let cell = |text: &str| text.trim().replace('\n', "; ").replace('|', "/").replace('\t', " ");
    println!("cell {switch} | {} | {}", cell(inside), cell(outside));
}

/// A switch, and what is to be seen of it.
struct Row {
    /// As the table has it.
    switch: &'static str,
    options: &'static [&'static str],
    /// What the container says it by.
    script: &'static str,
    inside: &'static str,
    /// Looks from outside.
    look: fn(&Life) -> Result<String>,
    outside: &'static str,
}

const fn row(
    [switch, script, inside, outside]: [&'static str; 4],
    options: &'static [&'static str],
    look: fn(&Life) -> Result<String>,
) -> Row {
    Row { switch, options, script, inside, look, outside }
}

const OWN: &str = "another than the host's";
const HOSTS: &str = "the host's";

/// All but what is run from an image, or takes a disk.
const ROWS: &[Row] = &[
    row(["--rootfs DIR", "cat /etc/marker", "marked", "marked"], &[], |life| {
        life.read("root/etc/marker")
    }),
    row(
        ["--privileged", STATUS, "Seccomp: 0; NoNewPrivs: 0", "Seccomp: 0; NoNewPrivs: 0"],
        &["--privileged"],
        |life| life.status(&["Seccomp", "NoNewPrivs"]),
    ),
    row(
        ["--userns host", "id -u; readlink /proc/self/ns/user", "0; the host's", HOSTS],
        &["--userns=host"],
        |life| life.namespace("user"),
    ),
    row(
        ["--pid private", "echo $$; readlink /proc/self/ns/pid", "1; another than the host's", OWN],
        &["--pid=private"],
        |life| life.namespace("pid"),
    ),
    row(
        [
            "--pid host",
            "[ $$ != 1 ] && [ -d /proc/1 ] && echo others; readlink /proc/self/ns/pid",
            "others; the host's",
            HOSTS,
        ],
        &["--pid=host"],
        |life| life.namespace("pid"),
    ),
    row(
        [
            "--network none",
            "ls /sys/class/net; readlink /proc/self/ns/net",
            "lo; another than the host's",
            OWN,
        ],
        &["--network=none"],
        |life| life.namespace("net"),
    ),
    row(
        ["--network host", "readlink /proc/self/ns/net", HOSTS, HOSTS],
        &["--network=host"],
        |life| life.namespace("net"),
    ),
    row(["--uts host", "readlink /proc/self/ns/uts", HOSTS, HOSTS], &["--uts=host"], |life| {
        life.namespace("uts")
    }),
    row(["--ipc host", "readlink /proc/self/ns/ipc", HOSTS, HOSTS], &["--ipc=host"], |life| {
        life.namespace("ipc")
    }),
    row(
        [
            "--cgroupns host",
            "readlink /proc/self/ns/cgroup; sed s/^0::// /proc/self/cgroup",
            "the host's; /shrike/switch",
            HOSTS,
        ],
        &["--cgroupns=host"],
        |life| life.namespace("cgroup"),
    ),
    row(
        [
            "--volume SRC:DST:ro",
            "cat /mnt/file; touch /mnt/new 2>&1 | grep -o 'Read-only'",
            "data; Read-only",
            "ro /mnt",
        ],
        &["--volume=/tmp/shrike-switch:/mnt:ro"],
        |life| life.mount("/mnt"),
    ),
    row(
        [
            "--tmpfs DST:OPTIONS",
            "stat -f -c %T /mnt; dd if=/dev/zero of=/mnt/x bs=64k count=2 2>&1 | grep -o 'No space'",
            "tmpfs; No space",
            "rw,nosuid,nodev,noexec /mnt size=64k",
        ],
        &["--tmpfs=/mnt:size=64k"],
        |life| life.mount("/mnt"),
    ),
    row(
        [
            "--device HOST:CONTAINER:r",
            "head -c 3 /dev/mine | wc -c; (: > /dev/other) 2>&1 | grep -o 'not permitted'",
            "3; not permitted",
            "c 1:5; b 7:0",
        ],
        &["--device=/dev/zero:/dev/mine", "--device=/dev/loop0:/dev/other:r"],
        |life| Ok(format!("{}; {}", life.device("dev/mine")?, life.device("dev/other")?)),
    ),
    row(
        [
            "--device-cgroup-rule RULE",
            "mknod /tmp/d b 7 0; (: < /tmp/d) && echo opened; mknod /tmp/e b 7 1; (: < /tmp/e) 2>&1 | grep -o 'not permitted'",
            "opened; not permitted",
            "b 7:0; b 7:1",
        ],
        &["--device-cgroup-rule=b 7:0 r"],
        |life| Ok(format!("{}; {}", life.device("tmp/d")?, life.device("tmp/e")?)),
    ),
    row(
        [
            "--shm-size SIZE",
            "dd if=/dev/zero of=/dev/shm/x bs=64k count=2 2>&1 | grep -o 'No space'",
            "No space",
            "rw,nosuid,nodev,noexec /dev/shm size=64k",
        ],
        &["--shm-size=64k"],
        |life| life.mount("/dev/shm"),
    ),
    row(
        ["--ulimit nofile=16:32", "ulimit -Sn; ulimit -Hn", "16; 32", "16 32"],
        &["--ulimit=nofile=16:32"],
        |life| life.limit("Max open files"),
    ),
    row(
        ["--sysctl NAME=VALUE", "cat /proc/sys/net/ipv4/ip_forward", "1", "0 on the host"],
        &["--sysctl=net.ipv4.ip_forward=1"],
        |_| Ok(format!("{} on the host", text("/proc/sys/net/ipv4/ip_forward")?)),
    ),
    row(
        ["--oom-score-adj N", "cat /proc/self/oom_score_adj", "500", "500"],
        &["--oom-score-adj=500"],
        |life| life.read("oom_score_adj"),
    ),
    row(
        ["--group-add GID", "id -G", "0 9 10", "Groups: 9 10"],
        &["--group-add=9", "--group-add=10"],
        |life| life.status(&["Groups"]),
    ),
    row(
        [
            "--cap-add CAP",
            CAPABILITIES,
            "CapEff: 00000000a82425fb",
            "CapEff: 00000000a82425fb; CapBnd: 00000000a82425fb",
        ],
        &["--cap-add=SYS_ADMIN"],
        |life| life.status(&["CapEff", "CapBnd"]),
    ),
    row(
        [
            "--cap-drop CAP",
            CAPABILITIES,
            "CapEff: 0000000000000000",
            "CapEff: 0000000000000000; CapBnd: 0000000000000000",
        ],
        &["--cap-drop=ALL"],
        |life| life.status(&["CapEff", "CapBnd"]),
    ),
    row(
        ["--security-opt seccomp=unconfined", STATUS, "Seccomp: 0; NoNewPrivs: 1", "Seccomp: 0"],
        &[UNCONFINED],
        |life| life.status(&["Seccomp"]),
    ),
    row(
        ["--security-opt seccomp=default", STATUS, "Seccomp: 2; NoNewPrivs: 1", "Seccomp: 2"],
        &["--security-opt=seccomp=default"],
        |life| life.status(&["Seccomp"]),
    ),
    row(
        [
            "--security-opt no-new-privileges=false",
            STATUS,
            "Seccomp: 2; NoNewPrivs: 0",
            "NoNewPrivs: 0",
        ],
        &["--security-opt=no-new-privileges=false"],
        |life| life.status(&["NoNewPrivs"]),
    ),
    row(
        [
            "--security-opt apparmor=PROFILE",
            "cat /proc/self/attr/current",
            profile::ENFORCED,
            profile::ENFORCED,
        ],
        &[profile::OPTION],
        |life| life.read("attr/current"),
    ),
    row(
        ["--memory SIZE", "cat /sys/fs/cgroup/memory.max", "16777216", "16777216"],
        &["--memory=16m"],
        |life| life.cgroup("memory.max"),
    ),
    row(
        ["--memory-reservation SIZE", "cat /sys/fs/cgroup/memory.low", "8388608", "8388608"],
        &["--memory-reservation=8m"],
        |life| life.cgroup("memory.low"),
    ),
    row(
        ["--memory-swap SIZE", "cat /sys/fs/cgroup/memory.swap.max", "8388608", "8388608"],
        &["--memory=16m", "--memory-swap=24m"],
        |life| life.cgroup("memory.swap.max"),
    ),
    row(
        ["--cpus N", "cat /sys/fs/cgroup/cpu.max", "50000 100000", "50000 100000"],
        &["--cpus=0.5"],
        |life| life.cgroup("cpu.max"),
    ),
    row(
        ["--cpu-shares N", "cat /sys/fs/cgroup/cpu.weight", "20", "20"],
        &["--cpu-shares=512"],
        |life| life.cgroup("cpu.weight"),
    ),
    row(
        [
            "--cpuset-cpus LIST",
            "grep Cpus_allowed_list /proc/self/status",
            "Cpus_allowed_list: 0",
            "Cpus_allowed_list: 0",
        ],
        &["--cpuset-cpus=0"],
        |life| life.status(&["Cpus_allowed_list"]),
    ),
    row(["--pids-limit N", "cat /sys/fs/cgroup/pids.max", "7", "7"], &["--pids-limit=7"], |life| {
        life.cgroup("pids.max")
    }),
    row(
        ["--read-only", "touch /x 2>&1 | grep -o 'Read-only'", "Read-only", "ro /"],
        &["--read-only"],
        |life| life.mount("/"),
    ),
    row(
        [
            "--user UID:GID",
            "id -u; id -g",
            "1000; 100",
            "Uid: 1000 1000 1000 1000; Gid: 100 100 100 100",
        ],
        &["--user=1000:100"],
        |life| life.status(&["Uid", "Gid"]),
    ),
    row(["--env NAME=VALUE", "echo $SEEN", "yes", "SEEN=yes"], &["--env=SEEN=yes"], |life| {
        let all = life.read("environ")?;
        Ok(all.split('\0').find(|one| one.starts_with("SEEN")).unwrap_or_default().to_owned())
    }),
    row(["--workdir DIR", "pwd", "/mnt", "the root's mnt"], &["--workdir=/mnt"], |life| {
        let is_it = life.same("cwd", "root/mnt")?;
        Ok(if is_it { "the root's mnt" } else { "elsewhere" }.to_owned())
    }),
    row(["--name NAME", "hostname", "switch", "the cgroup shrike/switch"], &[], |life| {
        let pids = life.cgroup("cgroup.procs")?;
        ensure!(pids.lines().any(|pid| pid == life.pid), "{pids}");
        Ok("the cgroup shrike/switch".to_owned())
    }),
    row(["--hostname NAME", "hostname", "mine", "mine"], &["--hostname=mine"], |life| {
        let output = Command::new("nsenter").args(["-t", &life.pid, "-u", "hostname"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }),
    row(
        ["--domainname NAME", "cat /proc/sys/kernel/domainname", "mine", "mine"],
        &["--domainname=mine"],
        |life| {
            let show = ["-t", &life.pid, "-u", "cat", "/proc/sys/kernel/domainname"];
            let output = Command::new("nsenter").args(show).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        },
    ),
    row(
        [
            "--entrypoint CMD",
            "busybox tr '\\0' '\\n' < /proc/$$/cmdline | head -n 1",
            "busybox",
            "busybox",
        ],
        &["--entrypoint=busybox"],
        |life| Ok(life.read("cmdline")?.split('\0').next().unwrap_or_default().to_owned()),
    ),
    row(
        ["--env-file FILE", "echo $FROM_FILE", "yes", "FROM_FILE=yes"],
        &["--env-file=/tmp/shrike-switch/env"],
        |life| {
            let all = life.read("environ")?;
            let one = all.split('\0').find(|one| one.starts_with("FROM_FILE"));
            Ok(one.unwrap_or_default().to_owned())
        },
    ),
    row(["--init", "echo $$", "2", "shrike container reap"], &["--init"], |life| {
        let line = life.read("cmdline")?;
        Ok(line.split('\0').take(3).collect::<Vec<_>>().join(" "))
    }),
    row(
        ["--label KEY=VALUE", "env | grep -c colour=", "0", "red"],
        &["--label=colour=red"],
        |_| {
            let all: Value = serde_json::from_str(container(&["inspect", "switch"])?.text()?)?;
            Ok(all[0]["spec"]["labels"]["colour"].as_str().unwrap_or_default().to_owned())
        },
    ),
    row(
        [
            "--mount type=tmpfs,...",
            "stat -f -c %T /mnt",
            "tmpfs",
            "rw,nosuid,nodev,noexec /mnt size=64k",
        ],
        &["--mount=type=tmpfs,target=/mnt,tmpfs-size=64k"],
        |life| life.mount("/mnt"),
    ),
    row(
        ["--timens host", "readlink /proc/self/ns/time", HOSTS, HOSTS],
        &["--timens=host"],
        |life| life.namespace("time"),
    ),
    row(
        ["--timens private", "readlink /proc/self/ns/time", OWN, OWN],
        &["--timens=private"],
        |life| life.namespace("time"),
    ),
    row(
        [
            "--time-offset CLOCK=SECONDS",
            "[ $(cut -d. -f1 /proc/uptime) -gt 1000000 ] && echo later",
            "later",
            "monotonic 0 0; boottime 1000000 0",
        ],
        &["--timens=private", "--time-offset=boottime=1000000"],
        |life| Ok(words(&life.read("timens_offsets")?)),
    ),
    row(["--pid-file FILE", "echo $$", "1", "1 in its namespace"], &[], |life| {
        let ids = life.status(&["NSpid"])?;
        let own = ids.rsplit(' ').next().unwrap_or_default();
        Ok(format!("{own} in its namespace"))
    }),
];

const STATUS: &str =
    "grep -E '^Seccomp:' /proc/self/status; grep -E '^NoNewPrivs:' /proc/self/status";
const CAPABILITIES: &str = "grep CapEff /proc/self/status";

/// A running container.
struct Life {
    launcher: Child,
    pid: String,
    /// What it has said.
    said: String,
}

impl Life {
    /// Starts one, and waits until it has said what it sees.
    fn begin(command: &mut Command, pid_file: &Path) -> Result<Self> {
        let mut launcher = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = launcher.stdout.take().context("no standard output")?;
        let mut said = Vec::new();
        for line in BufReader::new(stdout).lines() {
            match line? {
                line if line == END => break,
                line => said.push(line),
            }
        }
        let pid = text(pid_file)?;
        Ok(Self { launcher, pid, said: words(&said.join("\n")) })
    }

    /// Lets its command go on to its end.
    fn end(mut self) -> Result<()> {
        drop(self.launcher.stdin.take());
        let status = self.launcher.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(&self.pid)
    }

    /// A file of its first process.
    fn read(&self, file: &str) -> Result<String> {
        text(self.process().join(file))
    }

    fn status(&self, fields: &[&str]) -> Result<String> {
        let status = self.read("status")?;
        let of = |field: &&str| status.lines().find(|line| line.starts_with(&format!("{field}:")));
        let lines: Vec<&str> = fields.iter().filter_map(of).collect();
        Ok(words(&lines.join("\n")))
    }

    fn limit(&self, name: &str) -> Result<String> {
        let limits = self.read("limits")?;
        let limit = limits.lines().find_map(|line| line.strip_prefix(name)).context("no limit")?;
        Ok(limit.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    fn cgroup(&self, file: &str) -> Result<String> {
        let own = self.read("cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup")?;
        ensure!(own == "shrike/switch", "its cgroup is {own}");
        text(Path::new("/sys/fs/cgroup").join(own).join(file))
    }

    fn namespace(&self, name: &str) -> Result<String> {
        let link = fs::read_link(self.process().join("ns").join(name))?;
        Ok(named(&link.to_string_lossy()))
    }

    /// The attributes of a mount but for those of time, its place, and its size if it has one.
    fn mount(&self, target: &str) -> Result<String> {
        let mounts = self.read("mountinfo")?;
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(target));
        let line = line.with_context(|| format!("nothing is mounted on {target}"))?;
        let attributes = line.split(' ').nth(5).unwrap_or_default();
        let attributes = attributes.split(',').filter(|attribute| !attribute.ends_with("atime"));
        let size = line.rsplit(' ').next().unwrap_or_default();
        let size = size.split(',').find(|option| option.starts_with("size=")).unwrap_or_default();
        let all = attributes.collect::<Vec<_>>().join(",");
        Ok(format!("{all} {target} {size}").trim().to_owned())
    }

    fn device(&self, path: &str) -> Result<String> {
        let path = self.process().join("root").join(path);
        let output = Command::new("stat").args(["-c", "%F %t:%T"]).arg(path).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(said.trim().replace("block special file", "b").replace("character special file", "c"))
    }

    fn same(&self, one: &str, other: &str) -> Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let id =
            |path: &str| fs::metadata(self.process().join(path)).map(|of| (of.dev(), of.ino()));
        Ok(id(one)? == id(other)?)
    }
}

/// The last line that a container says before it waits.
const END: &str = "---";

fn text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim_end_matches(['\n', '\0']).to_owned())
}

/// Lines as one, with single blanks, and namespaces by whose they are.
fn words(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().map(named).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("; ")
}

/// The name of a namespace instead of its number.
fn named(word: &str) -> String {
    let Some((name, _)) = word.split_once(":[") else { return word.to_owned() };
    let hosts = fs::read_link(Path::new("/proc/self/ns").join(name));
    let is_hosts = hosts.is_ok_and(|hosts| hosts.to_string_lossy() == word);
    if is_hosts { HOSTS } else { OWN }.to_owned()
}

/// The options that every container of this module has.
fn options(pid_file: &Path) -> [String; 2] {
    ["--name=switch".to_owned(), format!("--pid-file={}", pid_file.display())]
}

fn script(script: &str) -> String {
    format!("{script}; echo {END}; read -r x; true")
}

/// Looks at a container from both sides.
fn look(row: &Row, command: &mut Command, pid_file: &Path) -> Result<()> {
    let life = Life::begin(command, pid_file)?;
    let (inside, outside) = (life.said.clone(), (row.look)(&life)?);
    life.end()?;
    ensure!(inside == row.inside, "{}: inside is {inside:?}", row.switch);
    ensure!(outside == row.outside, "{}: outside is {outside:?}", row.switch);
    seen(row.switch, Inside(&inside), Outside(&outside));
    Ok(())
}

pub(super) fn every_switch_is_seen_from_both_sides() -> Result<()> {
    profile::load()?;
    let data = PathBuf::from("/tmp/shrike-switch");
    fs::create_dir_all(&data)?;
    fs::write(data.join("file"), "data\n")?;
    fs::write(data.join("env"), "FROM_FILE=yes\n")?;
    let _disk = Disk::new()?;
    leaves_nothing(|_| {
        let rootfs = Rootfs::new()?;
        fs::write(rootfs.path().join("etc/marker"), "marked\n")?;
        let pid_file = scratch()?.join("pid");
        let general = options(&pid_file);
        for row in ROWS {
            let options: Vec<&str> =
                general.iter().map(String::as_str).chain(row.options.iter().copied()).collect();
            let mut command = rootfs.launcher(&options, &["sh", "-c", &script(row.script)]);
            look(row, &mut command, &pid_file).with_context(|| row.switch)?;
            for made in ["d", "e"] {
                let _ = fs::remove_file(rootfs.path().join("tmp").join(made));
            }
        }
        for (switch, file, expected) in [
            ("--device-read-bps", "io.max", "7:3 rbps=1048576 wbps=max riops=max wiops=max"),
            ("--device-write-bps", "io.max", "7:3 rbps=max wbps=1048576 riops=max wiops=max"),
            ("--device-read-iops", "io.max", "7:3 rbps=max wbps=max riops=1048576 wiops=max"),
            ("--device-write-iops", "io.max", "7:3 rbps=max wbps=max riops=max wiops=1048576"),
        ] {
            let limit = format!("{switch}={LOOP}:1048576");
            let options: Vec<&str> = general.iter().map(String::as_str).chain([&*limit]).collect();
            let said = script(&format!("cat /sys/fs/cgroup/{file}"));
            let life =
                Life::begin(&mut rootfs.launcher(&options, &["sh", "-c", &said]), &pid_file)?;
            let (inside, outside) = (life.said.clone(), life.cgroup(file)?);
            life.end()?;
            ensure!(inside == expected && outside == expected, "{switch}: {inside}, {outside}");
            seen(&format!("{switch} DEVICE:N"), Inside(&inside), Outside(&outside));
        }
        let weight = rootfs.script(&["--blkio-weight=500"], "cat /sys/fs/cgroup/io.weight")?;
        let has_weight = fs::exists("/sys/fs/cgroup/io.cost.qos")?;
        let (inside, outside) = if has_weight {
            ensure!(weight.text()? == "default 4950", "{weight:?}");
            (weight.text()?, "io.weight is there")
        } else {
            ensure!(weight.code == 125, "{weight:?}");
            ensure!(weight.stderr.contains("--blkio-weight cannot be kept"), "{weight:?}");
            ("there is none", "refused: the kernel has no weights")
        };
        seen("--blkio-weight N", Inside(inside), Outside(outside));
        stop_signal_is_seen(&rootfs, &pid_file)?;
        fs::remove_dir_all(pid_file.parent().context("a strange folder")?)?;
        background_is_seen(&rootfs)?;
        terminal_is_seen(&rootfs)
    })?;
    fs::remove_dir_all(data)?;
    image_is_seen()
}

fn stop_signal_is_seen(rootfs: &Rootfs, pid_file: &Path) -> Result<()> {
    let option = format!("--pid-file={}", pid_file.display());
    let script = "trap 'echo USR1; exit 0' USR1; echo ---; while :; do sleep 0.05; done";
    let options = [option.as_str(), "--stop-signal=USR1"];
    let mut launcher =
        rootfs.launcher(&options, &["sh", "-c", script]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(launcher.stdout.take().context("no output")?).lines();
    ensure!(lines.next().context("it has ended")?? == END, "it said something else");
    kill(Pid::from_raw(i32::try_from(launcher.id())?), Signal::SIGTERM)?;
    let said = lines.next().context("it said nothing")??;
    let status = launcher.wait()?;
    ensure!(said == "USR1" && status.success(), "{said}, {status}");
    seen("--stop-signal SIGNAL", Inside(&said), Outside("the launcher was sent SIGTERM"));
    Ok(())
}

fn background_is_seen(rootfs: &Rootfs) -> Result<()> {
    let background = Background::run(rootfs, "switch", &[], &["sleep", "1000"])?;
    let said = background.script(&[], "hostname")?;
    let state = background.state()?;
    ensure!(said.text()? == "switch" && state == "running", "{said:?} {state}");
    seen("--detach", Inside(said.text()?), Outside(&state));
    drop(background);
    let options = ["--detach", "--rm", "--name=switch"];
    let started = rootfs.launcher(&options, &["sh", "-c", UNTIL_END]).output()?;
    ensure!(started.status.success(), "{started:?}");
    let all = || container(&["ps", "--all", "--quiet"]);
    ensure!(all()?.text()? == "switch", "it is not there");
    let end = rootfs.path().join("tmp/end");
    fs::write(&end, "")?;
    wait("removed", || all().is_ok_and(|all| all.stdout.is_empty()))?;
    fs::remove_file(end)?;
    seen("--rm", Inside("ended"), Outside("there is no container switch"));
    Ok(())
}

fn terminal_is_seen(rootfs: &Rootfs) -> Result<()> {
    let script = "readlink /proc/self/fd/0; read -r x; echo got $x";
    let user = User::start(rootfs, &["--tty", "--interactive"], &["sh", "-c", script])?;
    user.expect("/dev/pts/0")?;
    let is_raw = user.is_raw()?;
    ensure!(is_raw, "what is typed is not passed on as it is");
    seen("--tty", Inside("/dev/pts/0"), Outside("the user's terminal is raw"));
    user.type_in("typed\n")?;
    user.expect("got typed")?;
    ensure!(user.end()? == 0, "the command failed");
    seen("--interactive", Inside("got typed"), Outside("typed"));
    Ok(())
}

fn image_is_seen() -> Result<()> {
    let image = Image::new()?;
    let pid_file = scratch()?.join("pid");
    let options = options(&pid_file);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut command = image.launcher(&options, &["sh", "-c", &script("cat /etc/two")]);
    let row = row(["--image ARCHIVE", "", "2", "2 of an overlay"], &[], |life| {
        let mounts = life.read("mountinfo")?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
        let is_overlay = root.is_some_and(|root| root.contains(" - overlay "));
        let of = if is_overlay { "an overlay" } else { "a folder" };
        Ok(format!("{} of {of}", life.read("root/etc/two")?))
    });
    look(&row, &mut command, &pid_file)?;
    // A folder cannot be shown to other users by every file system.
    let remapped = self::row(
        ["--userns remap", "", "0; 0 100000 65536", "Uid: 100000 100000 100000 100000"],
        &[],
        |life| life.status(&["Uid"]),
    );
    let options = [&options[..], &["--userns=remap"]].concat();
    let said = script("id -u; cat /proc/self/uid_map");
    let mut command = image.launcher(&options, &["sh", "-c", &said]);
    look(&remapped, &mut command, &pid_file)?;
    fs::remove_dir_all(pid_file.parent().context("a strange folder")?)?;
    let output = Command::new("shrike").args(["container", "gc"]).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// The table has a place for every switch that there is.
pub(super) fn every_switch_is_declared() -> Result<()> {
    let output = Command::new("shrike").args(["container", "run", "--help"]).output()?;
    let help = String::from_utf8(output.stdout)?;
    let options = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line
            .strip_prefix('-')
            .filter(|line| !line.starts_with('-'))
            .map_or(line, |line| line.split_once(", ").map_or("", |(_, long)| long));
        let name = line.split([' ', '=', '[']).next()?;
        name.starts_with("--").then_some(name)
    });
    // Those of every command.
    let mut options: Vec<&str> =
        options.filter(|option| !["--help", "--log"].contains(option)).collect();
    options.sort_unstable();
    options.dedup();
    ensure!(options == SWITCHES, "there are {options:?}");
    println!("cell switches: {}", SWITCHES.join(" "));
    Ok(())
}

/// The last one: what all others have left.
pub(super) fn nothing_is_left_at_the_end() -> Result<()> {
    let output = Command::new("shrike").args(["container", "gc", "--dry-run"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.trim() == "0 leftovers", "{said}");
    println!("cell left: {}", said.trim());
    Ok(())
}

/// A container that does nothing wrong is told of at most for what it was given.
pub(super) fn no_switch_is_an_alarm_by_itself() -> Result<()> {
    profile::load()?;
    let data = PathBuf::from("/tmp/shrike-switch");
    fs::create_dir_all(&data)?;
    fs::write(data.join("file"), "data\n")?;
    fs::write(data.join("env"), "FROM_FILE=yes\n")?;
    let agent = Agent::start(DEFAULT_RULES, &[])?;
    let rootfs = Rootfs::new()?;
    for row in ROWS {
        let ended =
            rootfs.script(row.options, "id; ls / > /dev/null; echo x > /dev/null; sleep 0.1")?;
        ensure!(ended.code == 0, "{}: {ended:?}", row.switch);
    }
    let image = Image::new()?;
    image.launcher(&[], &["cat", "/etc/two"]).output()?;
    // Everything before has been read when this has been.
    let last = rootfs.script(&["--privileged"], "sleep 1")?;
    agent.alert("the last container", |alert| {
        last.pid.is_some_and(|pid| alert["output_fields"]["proc.pid"] == pid)
    })?;
    for alert in agent.alerts() {
        ensure!(is_posture(&alert) && alert["priority"] == "Notice", "{alert}");
    }
    ensure!(agent.stop()?.success(), "the agent did not end well");
    drop(image);
    fs::remove_dir_all(data)?;
    Command::new("shrike").args(["container", "gc"]).output()?;
    wait("no layer is left", || !fs::exists("/var/lib/shrike/layers").unwrap_or(true))
}
