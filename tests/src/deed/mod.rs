//! Deeds: for each kind of event, a process that does such a thing once, as root or as somebody who
//! may not, and says what it knows of it.

pub(crate) mod call;
mod file;
mod mount;
mod namespace;
mod process;
mod socket;
mod surface;

pub use process::executed;

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::unistd::{Uid, setresuid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actor::{self, Facts};
use file::FILE;

/// Something that can be done, tried, or be refused.
#[derive(Debug)]
pub struct Deed {
    /// The kind of event that it causes.
    pub kind: &'static str,
    /// `allowed`, `denied` or `failed`, and in which way if there are several.
    pub outcome: &'static str,
    actor: Actor,
    run: fn(&Scene<'_>) -> Result<Done>,
}

/// Who does a deed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Actor {
    Root,
    /// Root in a mount namespace of its own.
    Apart,
    /// A user who may do little.
    User,
}

/// Where a deed is done.
struct Scene<'a> {
    dir: &'a Path,
    facts: &'a Facts,
    outcome: &'static str,
}

/// What was done.
struct Done {
    /// The system call, and its table; empty if the event is of any of several threads, which are in others.
    syscall: &'static str,
    abi: &'static str,
    /// What it returned, if the event tells.
    result: Option<i64>,
    /// Whether the event was not caused by a hook, if that is the same in every kernel.
    raw: Option<bool>,
    fields: Value,
}

/// What the process of a deed says.
#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    /// What it read of itself before.
    pub facts: Facts,
    /// The event as it must be told, but for what only the kernel knows.
    pub expected: Value,
}

macro_rules! deeds {
    ($($kind:literal $outcome:literal $actor:ident $run:path;)*) => {
        /// All of them.
        pub const DEEDS: &[Deed] = &[$(Deed {
            kind: $kind,
            outcome: $outcome,
            actor: Actor::$actor,
            run: $run,
        }),*];
    };
}

deeds! {
    "exec" "denied" Root process::exec_attempt;
    "exec" "failed" Root process::exec_attempt;
    "fork" "allowed" Root process::fork;
    "file_open" "allowed" Root file::open;
    "file_open" "allowed, 32-bit caller" Root file::open_compat;
    "file_open" "allowed, by another path" Root file::open_around;
    "file_open" "allowed, io_uring" Root file::open_by_ring;
    "file_open" "denied" User file::open_attempt;
    "file_open" "failed" Root file::open_attempt;
    "file_open" "failed, 32-bit caller" Root file::open_compat_attempt;
    "mount" "allowed" Root mount::mount;
    "mount" "allowed, fsconfig" Root mount::fsconfig;
    "mount" "denied" User mount::mount;
    "mount" "failed" Root mount::mount_unknown;
    "move_mount" "allowed" Apart mount::move_mount;
    "move_mount" "denied" User mount::move_attempt;
    "move_mount" "failed" Root mount::move_attempt;
    "setns" "allowed" Root namespace::setns;
    "setns" "denied" User namespace::setns_attempt;
    "setns" "failed" Root namespace::setns_bad;
    "unshare" "allowed" Root namespace::unshare;
    "unshare" "denied" User namespace::unshare_attempt;
    "unshare" "failed" Root namespace::unshare_attempt;
    "ptrace" "allowed" Root process::ptrace;
    "ptrace" "denied" User process::ptrace_init;
    "ptrace" "failed" Root process::ptrace_nobody;
    "connect" "allowed" Root socket::connect_tcp;
    "connect" "allowed, Unix path" Root socket::connect_path;
    "connect" "allowed, abstract" Root socket::connect_abstract;
    "connect" "allowed, IPv6" Root socket::connect_v6;
    "connect" "allowed, from a port of its own" Root socket::connect_bound;
    "connect" "denied" User socket::connect_denied;
    "connect" "failed" Root socket::connect_refused;
    "connect" "failed, 32-bit caller" Root socket::connect_compat;
    "sysctl" "allowed" Root surface::sysctl;
    "sysctl" "failed" Root surface::sysctl_bad;
    "module_load" "denied" User surface::module;
    "module_load" "failed" Root surface::module;
    "mknod" "allowed" Root file::mknod_disk;
    "mknod" "denied" User file::mknod_disk;
    "mknod" "failed" Root file::mknod_there;
    "bpf" "allowed" Root surface::bpf_map;
    "bpf" "denied" User surface::bpf_map;
    "bpf" "failed" Root surface::bpf_unknown;
    "socket" "allowed" Root socket::socket;
    "socket" "denied" User socket::socket_raw;
    "socket" "failed" Root socket::socket_unknown;
    "mmap_exec" "allowed" Root file::mmap;
    "mmap_exec" "allowed, mprotect" Root file::mprotect;
    "mmap_exec" "denied" Root file::mmap_denied;
    "mmap_exec" "failed" Root file::mmap_bad;
    "cgroup_attach" "allowed" Root surface::cgroup_attach;
    "cgroup_mkdir" "allowed" Root surface::cgroup_mkdir;
    "cgroup_rmdir" "allowed" Root surface::cgroup_rmdir;
    "file_create" "allowed" Root file::create;
    "file_create" "denied" User file::create_attempt;
    "file_create" "failed" Root file::create_there;
    "exec" "allowed" Root process::exec;
    "exit" "allowed" Root process::exit;
    "exit" "allowed, several threads" Root process::exit_with_threads;
}

/// Deeds that there cannot be, and why.
pub const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    ("fork", "denied", "the tracepoint is reached by a child that exists"),
    ("fork", "failed", "the tracepoint is reached by a child that exists"),
    ("exit", "denied", "nobody can refuse it"),
    ("exit", "failed", "nobody can refuse it"),
    ("sysctl", "denied", "the file cannot be opened for writing, which file_open tells"),
    ("module_load", "allowed", "no module in the guest; the hook is reached when it is no module"),
    ("cgroup_attach", "denied", "the tracepoint is reached by a move that was made"),
    ("cgroup_attach", "failed", "the tracepoint is reached by a move that was made"),
    ("cgroup_mkdir", "denied", "the tracepoint is reached when there is a cgroup"),
    ("cgroup_mkdir", "failed", "the tracepoint is reached when there is a cgroup"),
    ("cgroup_rmdir", "denied", "the tracepoint is reached when it is gone"),
    ("cgroup_rmdir", "failed", "the tracepoint is reached when it is gone"),
];

impl Deed {
    /// The deed with these names.
    pub fn find(kind: &str, outcome: &str) -> Option<&'static Self> {
        DEEDS.iter().find(|deed| deed.kind == kind && deed.outcome == outcome)
    }

    /// Has a process do it in `dir`, and returns what that says.
    pub fn order(&self, dir: &Path) -> Result<Report> {
        let output = Command::new("/proc/self/exe")
            .args(["deed", self.kind, self.outcome])
            .arg(dir)
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .with_context(|| format!("{} {}: {}: {text}", self.kind, self.outcome, output.status))
    }

    /// Does it in this process, and says so.
    pub fn main(&'static self, dir: &Path) -> Result<()> {
        match self.actor {
            Actor::Root => {}
            Actor::Apart => mount::own_mounts()?,
            Actor::User => {
                setresuid(Uid::from_raw(1234), Uid::from_raw(1235), Uid::from_raw(1234))?;
            }
        }
        let mut facts = Facts::read()?;
        facts.before = actor::now();
        let scene = Scene { dir, facts: &facts, outcome: self.outcome };
        let done = (self.run)(&scene)?;
        facts.after = actor::now();
        self.report(facts, &done)
    }

    fn report(&self, facts: Facts, done: &Done) -> Result<()> {
        let is_known = !done.syscall.is_empty();
        let expected = json!({
            "kind": self.kind,
            "pid": facts.pid,
            "tid": is_known.then_some(facts.tid),
            "ppid": facts.ppid,
            "name": facts.comm,
            "uid": facts.uid,
            "gid": facts.gid,
            "euid": facts.euid,
            "capabilities": {
                "effective": format!("{:016x}", facts.cap_effective),
                "permitted": format!("{:016x}", facts.cap_permitted),
                "inheritable": format!("{:016x}", facts.cap_inheritable),
            },
            "membership": "none",
            "container": 0,
            "cgroup": facts.cgroup,
            "namespaces": facts.ns,
            "cpu": is_known.then_some(facts.cpu),
            "syscall": is_known.then_some(done.syscall),
            "abi": done.abi,
            "raw": done.raw,
            "result": done.result,
            "fields": done.fields,
        });
        serde_json::to_writer(io::stdout(), &Report { facts, expected })?;
        Ok(io::Write::flush(&mut io::stdout())?)
    }
}

impl Scene<'_> {
    fn path(&self, name: &str) -> Result<CString> {
        Ok(CString::new(self.dir.join(name).as_os_str().as_bytes())?)
    }

    /// A path in the directory as the event shows it.
    fn text(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// The number of a namespace of this process.
    fn ns(&self, name: &str) -> u64 {
        self.facts.ns.get(name).copied().unwrap_or(0)
    }
}

fn done(syscall: &'static str, result: i64, raw: bool, fields: Value) -> Done {
    Done { syscall, abi: "x86_64", result: Some(result), raw: Some(raw), fields }
}

/// Lays out what the deeds need.
pub fn set_the_scene(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    fs::write(dir.join(FILE), [0; 200])?;
    fs::write(dir.join("plain"), "no program")?;
    let secret =
        OpenOptions::new().create_new(true).write(true).mode(0o000).open(dir.join("secret"));
    secret.context("create a secret")?;
    for name in ["dir", "to", "closed"] {
        fs::create_dir(dir.join(name))?;
    }
    fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o700))?;
    Ok(())
}
