//! One attempt: a container of our own, in it a process that does one thing.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::technique::{PROPS, Technique};

/// Where the container finds this program.
const PROGRAM: &str = "/shrike";

/// What the attempts share.
pub(super) struct Stage {
    dir: TempDir,
    /// Stands for a container runtime's.
    _socket: UnixListener,
}

/// An attempt that was made.
#[derive(Debug)]
pub(super) struct Act {
    /// The acting process in the host's pid namespace.
    pub(super) pid: u32,
    /// Its cgroup.
    pub(super) cgroup: u64,
    /// Right before it acted.
    pub(super) time: Timestamp,
}

/// What the acting process says of itself, in one line on standard output.
#[derive(Debug, Deserialize, Serialize)]
struct Statement {
    /// Its cgroup: the inode number of the root of its cgroup namespace.
    cgroup: u64,
    /// The time right before it acted, in nanoseconds since 1970.
    time: i128,
    /// What went wrong, if it could not act.
    error: Option<String>,
}

impl Stage {
    /// Prepares a root file system that has nothing but mount points, and what techniques need.
    pub(super) fn set() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("shrike-selftest-")
            .tempdir()
            .context("cannot make a folder for the containers; is TMPDIR writable?")?;
        for folder in ["rootfs", "rootfs/etc", "rootfs/tmp", "props"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        fs::write(dir.path().join("rootfs/etc/shadow"), "root:*:::::::\n")?;
        let socket = UnixListener::bind(dir.path().join("props/docker.sock"))
            .context("cannot make a socket for the containers")?;
        Ok(Self { dir, _socket: socket })
    }

    /// Makes an attempt and returns who made it.
    pub(super) fn attempt(&self, technique: &Technique) -> anyhow::Result<Act> {
        let path = |name: &str| -> PathBuf { self.dir.path().join(name) };
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let pid_file = path("pid");
        let output = Command::new(&program)
            .args(["--log", "warn", "container", "run", "--rootfs"])
            .arg(path("rootfs"))
            .arg("--volume")
            .arg(format!("{}:{PROGRAM}:ro", program.display()))
            .arg("--volume")
            .arg(format!("{}:{PROPS}:ro", path("props").display()))
            .arg("--pid-file")
            .arg(&pid_file)
            .args(technique.container)
            .args(["--", PROGRAM, "technique", technique.name])
            .stdin(Stdio::null())
            .output()
            .context("cannot start the launcher")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let Some(line) = said.lines().next() else {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("the container said nothing: {}", errors.trim());
        };
        let statement: Statement = serde_json::from_str(line)
            .with_context(|| format!("cannot understand the container: {line}"))?;
        if let Some(error) = statement.error {
            bail!("{error}");
        }
        let pid = fs::read_to_string(&pid_file).context("cannot read the container's pid")?;
        Ok(Act {
            pid: pid.trim().parse().context("cannot read the container's pid")?,
            cgroup: statement.cgroup,
            time: Timestamp::from_nanosecond(statement.time).context("cannot read the time")?,
        })
    }
}

/// The other side: performs a technique in its container, and says so.
pub(crate) fn perform(technique: &Technique) -> anyhow::Result<()> {
    let cgroup = own_cgroup();
    let time = Timestamp::now().as_nanosecond();
    let outcome = (technique.act)();
    let error = outcome.err().map(|error| format!("{error:#}"));
    let statement = Statement { cgroup: cgroup?, time, error };
    println!("{}", serde_json::to_string(&statement)?);
    Ok(())
}

/// The id of this process's cgroup in the v2 hierarchy.
fn own_cgroup() -> anyhow::Result<u64> {
    let groups =
        fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.context("this process is in no cgroup v2")?;
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root = roots.into_iter().find(|root| File::open(format!("{root}/cgroup.procs")).is_ok());
    let root = root.context("cgroup v2 is not mounted")?;
    let data = fs::metadata(format!("{root}/{path}")).context("cannot find its cgroup")?;
    ensure!(data.is_dir(), "its cgroup is no folder");
    Ok(data.ino())
}
