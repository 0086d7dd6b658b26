//! Containers for tests: started by our launcher, with a busybox in them; and what a host must look
//! like again when they are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::agent::scratch;

/// Applets of busybox that scripts in containers use by name.
const APPLETS: [&str; 35] = [
    "cat", "chmod", "cp", "cut", "dd", "echo", "env", "grep", "head", "hostname", "id", "insmod",
    "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nsenter", "ps", "pwd", "readlink", "rm",
    "sed", "seq", "sh", "sleep", "stat", "tar", "touch", "true", "umount", "wc", "yes",
];

/// Where containers find the binary under test.
pub const SHRIKE: &str = "/usr/bin/shrike";

/// Has our launcher let a container make every system call.
pub const UNCONFINED: &str = "--security-opt=seccomp=unconfined";

/// Waits until there is a file `/tmp/end`.
pub const UNTIL_END: &str = "while [ ! -e /tmp/end ]; do sleep 0.05; done";

/// Prints the id of the container's cgroup, whatever cgroup namespace it is in.
pub const PRINT_CGROUP: &str = "stat -c %i /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)";

/// A root file system for containers; removed at the end.
pub struct Rootfs {
    dir: PathBuf,
}

/// A container that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The launcher's exit code.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The host's pid of the first process, if it came to be.
    pub pid: Option<u32>,
}

impl Rootfs {
    pub fn new() -> Result<Self> {
        Self::at(scratch()?)
    }

    /// One that is made in this place.
    pub fn at(dir: PathBuf) -> Result<Self> {
        for folder in ["bin", "etc", "mnt", "props", "tmp", "usr/bin"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        fs::copy("/usr/bin/busybox", dir.join("bin/busybox")).context("copy busybox")?;
        for applet in APPLETS {
            symlink("busybox", dir.join("bin").join(applet))?;
        }
        fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        // Where containers that are joined to networks have their own.
        for file in ["hosts", "hostname", "resolv.conf"] {
            fs::write(dir.join("etc").join(file), "")?;
        }
        Ok(Self { dir })
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A command that runs `command` in a container with these options. The binary under test is
    /// in it.
    pub fn launcher(&self, options: &[&str], command: &[&str]) -> Command {
        let mut launcher = Command::new("shrike");
        launcher
            .args(["--log", "warn", "container", "run", "--rootfs"])
            .arg(&self.dir)
            .args(["--volume", &format!("{SHRIKE}:{SHRIKE}:ro")])
            .args(options)
            .arg("--")
            .args(command)
            .stdin(Stdio::null());
        launcher
    }

    /// Runs `command` in a container to its end.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Result<Ended> {
        let pid_file = scratch()?.join("pid");
        let mut all = vec!["--pid-file", pid_file.to_str().context("a strange folder")?];
        all.extend(options);
        let output = self.launcher(&all, command).output().context("start the launcher")?;
        let pid = fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(dir) = pid_file.parent() {
            fs::remove_dir_all(dir)?;
        }
        Ended::new(&output, pid)
    }

    /// Runs a script in a container to its end.
    pub fn script(&self, options: &[&str], script: &str) -> Result<Ended> {
        self.run(options, &["sh", "-c", script])
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `shrike container` with these arguments.
pub fn container(arguments: &[&str]) -> Result<Ended> {
    let mut command = Command::new("shrike");
    command.args(["--log", "warn", "container"]).args(arguments).stdin(Stdio::null());
    Ended::new(&command.output()?, None)
}

/// A container in the background; removed at the end.
pub struct Background(pub &'static str);

impl Background {
    pub fn run(
        rootfs: &Rootfs,
        name: &'static str,
        options: &[&str],
        command: &[&str],
    ) -> Result<Self> {
        let options = [&["--detach", "--name", name], options].concat();
        let said = Ended::new(&rootfs.launcher(&options, command).output()?, None)?;
        ensure!(said.text()? == name, "{said:?}");
        Ok(Self(name))
    }

    /// What `inspect` tells.
    pub fn details(&self) -> Result<Value> {
        let said = container(&["inspect", self.0])?;
        let all: Value = serde_json::from_str(said.text()?)?;
        Ok(all[0].clone())
    }

    pub fn state(&self) -> Result<String> {
        Ok(self.details()?["status"]["state"].as_str().context("no state")?.to_owned())
    }

    pub fn pid(&self) -> Result<u64> {
        self.details()?["status"]["pid"].as_u64().context("no pid")
    }

    /// Runs a script in it to its end.
    pub fn script(&self, options: &[&str], script: &str) -> Result<Ended> {
        container(&[&["exec"], options, &[self.0, "sh", "-c", script]].concat())
    }

    /// The launcher's pid.
    pub fn launcher(&self) -> Result<i32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        Ok(parent.context("no parent")?.trim().parse()?)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = container(&["rm", "--force", self.0]);
    }
}

impl Ended {
    /// The code of one that was killed, as shells have it.
    pub const KILLED: i32 = 128 + Signal::SIGKILL as i32;

    /// What became of a launcher that may have been killed.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let signal = output.status.signal().map(|signal| 128 + signal);
        Self {
            code: output.status.code().or(signal).unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            pid: None,
        }
    }

    pub fn new(output: &Output, pid: Option<u32>) -> Result<Self> {
        output.status.code().context("the launcher was killed")?;
        Ok(Self { pid, ..Self::of(output) })
    }

    /// What it wrote to standard output, if it went well.
    pub fn text(&self) -> Result<&str> {
        ensure!(self.code == 0, "{self:?}");
        Ok(&self.stdout)
    }
}

/// What containers leave traces in.
#[derive(Debug, Eq, PartialEq)]
pub struct Traces {
    mounts: String,
    cgroups: BTreeSet<PathBuf>,
    /// Every namespace that a process is in.
    namespaces: BTreeSet<PathBuf>,
    processes: BTreeMap<u32, PathBuf>,
    files: BTreeSet<PathBuf>,
    /// The network interfaces.
    interfaces: BTreeSet<PathBuf>,
    /// Sets of keys, by number and name.
    keyrings: BTreeSet<String>,
}

impl Traces {
    pub fn of_host() -> Result<Self> {
        // Every host has it, but for the smallest of guests.
        fs::create_dir_all("/var/lib")?;
        let mut traces = Self {
            mounts: fs::read_to_string("/proc/1/mountinfo")?,
            cgroups: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            processes: BTreeMap::new(),
            files: BTreeSet::new(),
            interfaces: BTreeSet::new(),
            keyrings: keyrings()?,
        };
        collect(Path::new("/sys/class/net"), &mut |path| {
            traces.interfaces.insert(path.to_owned());
        });
        collect(Path::new("/sys/fs/cgroup"), &mut |path| {
            if path.is_dir() {
                traces.cgroups.insert(path.to_owned());
            }
        });
        for folder in ["/run", "/var", "/tmp", "/sys/fs/bpf"] {
            collect(Path::new(folder), &mut |path| {
                traces.files.insert(path.to_owned());
            });
        }
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Kernel threads have no program, and come and go.
            let Ok(program) = fs::read_link(entry.path().join("exe")) else { continue };
            traces.processes.insert(pid, program);
            for link in fs::read_dir(entry.path().join("ns")).into_iter().flatten().flatten() {
                traces.namespaces.extend(fs::read_link(link.path()));
            }
        }
        Ok(traces)
    }

    /// Asserts that the host is as it was.
    pub fn are_gone(&self) -> Result<()> {
        let now = Self::of_host()?;
        ensure!(self.mounts == now.mounts, "mounts are left:\n{}\n{}", self.mounts, now.mounts);
        left("cgroups", &self.cgroups, &now.cgroups)?;
        left("namespaces", &self.namespaces, &now.namespaces)?;
        left("files", &self.files, &now.files)?;
        left("interfaces", &self.interfaces, &now.interfaces)?;
        let processes = |traces: &Self| traces.processes.clone().into_iter().collect();
        left::<(u32, PathBuf)>("processes", &processes(self), &processes(&now))?;
        // The kernel removes them by and by.
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut keyrings = now.keyrings;
        while !keyrings.is_subset(&self.keyrings) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            keyrings = self::keyrings()?;
        }
        left("keyrings", &self.keyrings, &keyrings)
    }

    /// Waits until the host is as it was: what was killed takes a moment to be gone.
    pub fn are_gone_soon(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.are_gone() {
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                gone => return gone,
            }
        }
    }
}

/// The sets of keys that there are: `keyrings(7)`.
fn keyrings() -> Result<BTreeSet<String>> {
    // It is not in every kernel.
    let keys = match fs::read_to_string("/proc/keys") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        keys => keys?,
    };
    let keyrings = keys.lines().filter(|line| line.contains(" keyring "));
    // Columns between them tell who uses it how much.
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.nth(7)?))
    };
    Ok(keyrings.filter_map(name).collect())
}

fn left<T: Ord + std::fmt::Debug>(
    what: &str,
    before: &BTreeSet<T>,
    now: &BTreeSet<T>,
) -> Result<()> {
    let left: Vec<&T> = now.difference(before).collect();
    ensure!(left.is_empty(), "{what} are left: {left:?}");
    Ok(())
}

/// Calls `each` with everything below a folder.
fn collect(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        each(&path);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, each);
        }
    }
}

/// The inode of a namespace of this process.
pub fn own_namespace(name: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/self/ns/{name}"))?.ino())
}
