//! A process that does one thing and then says what it knows of itself: the expected values of a
//! test come from here, never from the agent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use nix::sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, unshare};
use nix::unistd::{Gid, Pid, Uid, setresgid, setresuid};
use serde::{Deserialize, Serialize};

/// Tells the isolated actor the directory of its cgroup.
const CGROUP: &str = "SHRIKE_ACTOR_CGROUP";

/// What the acting thread read of itself around its action.
#[derive(Debug, Deserialize, Serialize)]
pub struct Facts {
    /// Process id, thread id and parent, in the initial pid namespace.
    pub pid: u32,
    pub tid: u32,
    pub ppid: u32,
    /// The pid in its own pid namespace.
    pub vpid: u32,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub comm: String,
    /// `CapEff`, `CapPrm` and `CapInh` of `/proc/thread-self/status`.
    pub cap_effective: u64,
    pub cap_permitted: u64,
    pub cap_inheritable: u64,
    /// Clock ticks since boot, field 22 of `/proc/self/stat`.
    pub start_ticks: u64,
    pub cpu: usize,
    /// The inode of its cgroup's directory.
    pub cgroup: u64,
    /// The inodes of `/proc/thread-self/ns/*`, by name.
    pub ns: BTreeMap<String, u64>,
    /// Nanoseconds since 1970 right before and right after the action.
    pub before: i128,
    pub after: i128,
}

/// How the actor is set apart from other processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Guise {
    /// A process of the host with ids of its own.
    Host,
    /// In a cgroup of its own and a new namespace of every type.
    Isolated,
    /// The process that an isolated one starts within.
    Inner,
}

/// Starts an actor that opens `path` for reading in a second thread, and returns what it says.
pub fn open(path: &Path, guise: Guise) -> Result<Facts> {
    let output = command(guise, path).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the actor failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("read what the actor said")
}

fn command(guise: Guise, path: &Path) -> Command {
    let guise = guise.to_possible_value().expect("no guise is skipped");
    let mut command = Command::new("/proc/self/exe");
    command.args(["actor", guise.get_name()]).arg(path);
    command
}

/// The actor's own main function.
pub fn main(guise: Guise, path: &Path) -> Result<()> {
    match guise {
        Guise::Host => disguise()?,
        Guise::Inner => {}
        Guise::Isolated => {
            let cgroup = isolate()?;
            // The new pid and time namespaces hold the children of the process that asked for them.
            // With a group id to set, the library forks; its vfork cannot enter a time namespace.
            let mut inner = command(Guise::Inner, path);
            let status = inner.env(CGROUP, &cgroup).gid(0).status()?;
            ensure!(status.success(), "the isolated actor failed: {status}");
            return Ok(());
        }
    }
    let path = path.to_owned();
    let facts = thread::spawn(move || act(&path)).join().expect("the acting thread panicked")?;
    serde_json::to_writer(std::io::stdout(), &facts)?;
    Ok(())
}

/// Ids that differ from each other and from everyone else's. The saved ids stay root's.
fn disguise() -> Result<()> {
    setresgid(Gid::from_raw(4321), Gid::from_raw(4322), Gid::from_raw(0))?;
    setresuid(Uid::from_raw(1234), Uid::from_raw(1235), Uid::from_raw(0))?;
    Ok(())
}

/// Returns the directory of the new cgroup.
fn isolate() -> Result<PathBuf> {
    let cgroup = PathBuf::from(format!("/sys/fs/cgroup/shrike-actor-{}", std::process::id()));
    fs::create_dir(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
    fs::write(cgroup.join("cgroup.procs"), "0").context("join the cgroup")?;
    // `nix` does not know CLONE_NEWTIME.
    let time = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP
            | time,
    )
    .context("enter new namespaces")?;
    // Root stays root, so that the ids are the same on both sides.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", "0 0 1")?;
    fs::write("/proc/self/gid_map", "0 0 1")?;
    Ok(cgroup)
}

/// Opens the file once, between two looks at the clock.
fn act(path: &Path) -> Result<Facts> {
    let facts = Facts::read()?;
    let before = now();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let after = now();
    drop(file);
    Ok(Facts { before, after, ..facts })
}

impl Facts {
    /// What this thread knows of itself, bound to the CPU that it is on.
    pub fn read() -> Result<Self> {
        let cpu = sched_getcpu()?;
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &only)?;
        // What `/proc` calls `self` is the pid in the namespace that it was mounted in: the host's.
        let process = fs::read_link("/proc/self")?;
        let thread = fs::read_link("/proc/thread-self")?;
        let status = fs::read_to_string("/proc/thread-self/status")?;
        let (uids, gids) = (numbers(&status, "Uid")?, numbers(&status, "Gid")?);
        let process_status = fs::read_to_string("/proc/self/status")?;
        let stat = stat("self")?;
        Ok(Self {
            pid: process.to_string_lossy().parse()?,
            tid: thread.file_name().context("no thread directory")?.to_string_lossy().parse()?,
            ppid: stat[1].parse()?,
            vpid: *numbers(&process_status, "NSpid")?.last().context("NSpid is empty")?,
            uid: uids[0],
            euid: uids[1],
            gid: gids[0],
            comm: fs::read_to_string("/proc/self/comm")?.trim_end().to_owned(),
            cap_effective: u64::from_str_radix(field(&status, "CapEff")?, 16)?,
            cap_permitted: u64::from_str_radix(field(&status, "CapPrm")?, 16)?,
            cap_inheritable: u64::from_str_radix(field(&status, "CapInh")?, 16)?,
            start_ticks: stat[19].parse()?,
            cpu,
            cgroup: cgroup()?,
            ns: namespaces()?,
            before: 0,
            after: 0,
        })
    }
}

/// The fields of a process's `stat` file, from the third (the state) on.
fn stat(process: &str) -> Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, stat) = stat.rsplit_once(") ").context("split stat")?;
    Ok(stat.split(' ').map(str::to_owned).collect())
}

/// When a process started, in clock ticks since boot.
pub fn start_ticks(pid: u32) -> Result<u64> {
    Ok(stat(&pid.to_string())?[19].parse()?)
}

/// A field of a `status` file.
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .with_context(|| format!("no {name} in status"))
}

fn numbers(status: &str, name: &str) -> Result<Vec<u32>> {
    field(status, name)?.split_whitespace().map(|number| Ok(number.parse()?)).collect()
}

/// The inode of the directory of this process's cgroup in the unified hierarchy.
fn cgroup() -> Result<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).context("no cgroup v2")?;
    // In a cgroup namespace the path is relative to its root, but the mount was made outside.
    let dir = std::env::var_os(CGROUP).map_or_else(
        || PathBuf::from("/sys/fs/cgroup").join(path.trim_start_matches('/')),
        PathBuf::from,
    );
    Ok(fs::metadata(&dir).with_context(|| format!("stat {}", dir.display()))?.ino())
}

fn namespaces() -> Result<BTreeMap<String, u64>> {
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .into_iter()
        .map(|name| {
            let inode = fs::metadata(format!("/proc/thread-self/ns/{name}"))?.ino();
            Ok((name.to_owned(), inode))
        })
        .collect()
}

/// Nanoseconds since 1970.
pub fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos().cast_signed())
}
