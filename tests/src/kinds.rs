//! Each kind of event, caused once by this very process, and told with its own fields.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::ptrace;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::configuration::Configuration;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "kinds",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(3),
    wants: Configuration::is_single,
    tests: tests![each_kind_tells_what_was_done, the_stream_can_be_watched],
};

const RULES: &str = "
- rule: Seen
  desc: Every event of these kinds, with all that is told of it.
  condition: >
    evt.type in (unshare, setns, mount, move_mount, mknod, mknodat, ptrace, connect, sysctl,
    init_module, finit_module, bpf)
  output: >
    %evt.type (pid=%proc.pid member=%container.membership file=%fd.name filetype=%fd.filetype
    type=%fd.type rdev=%fd.rdev bound=%fd.bound.filename joined=%ns.joined host=%ns.joined_host
    fs=%mount.fstype device=%mount.device target=%mount.target mode=%ptrace.mode
    tracee=%ptrace.target.pid traced=%ptrace.target.name crosses=%ptrace.crosses
    sysctl=%sysctl.name value=%sysctl.value cmd=%bpf.cmd prog=%bpf.prog.type)
  priority: NOTICE
";

fn each_kind_tells_what_was_done() -> Result<()> {
    let agent = Agent::start(RULES, &[])?;
    let pid = std::process::id();
    let tell = |event: &str, what: &str, pid: u32, expected: Value| -> Result<()> {
        agent.alert(&format!("{event}: {what}: {expected}"), |alert| {
            let fields = &alert["output_fields"];
            fields["evt.type"] == event
                && fields["proc.pid"] == pid
                && expected.as_object().is_some_and(|all| {
                    all.iter().all(|(name, value)| fields[name.as_str()] == *value)
                })
        })?;
        Ok(())
    };

    let host = File::open("/proc/self/ns/uts")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
    tell("unshare", "two", pid, json!({ "ns.joined": "mnt|uts", "ns.joined_host": null }))?;
    fs::write("/proc/sys/kernel/hostname", "marked\n")?;
    tell("sysctl", "", pid, json!({ "sysctl.name": "kernel/hostname", "sysctl.value": "marked" }))?;
    setns(&host, CloneFlags::CLONE_NEWUTS)?;
    tell("setns", "back", pid, json!({ "ns.joined": "uts", "ns.joined_host": "uts" }))?;

    private_tmpfs("/mnt")?;
    tell("mount", "", pid, json!({ "mount.fstype": "tmpfs", "mount.device": null }))?;
    fs::create_dir_all("/mnt/a")?;
    fs::create_dir_all("/mnt/b")?;
    move_clone(c"/mnt/a", c"/mnt/b").context("move a mount")?;
    tell("move_mount", "", pid, json!({ "mount.fstype": "tmpfs", "mount.target": "/mnt/b" }))?;

    mknod("/mnt/disk", SFlag::S_IFBLK, Mode::from_bits_truncate(0o600), makedev(259, 300))?;
    let made = json!({ "fd.name": "/mnt/disk", "fd.filetype": "block", "fd.rdev": "259:300" });
    // What the C library makes of it.
    tell("mknodat", "", pid, made)?;

    let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?;
    // Until it runs the program it may share this process's memory, which nobody asks to see.
    while fs::read_to_string(format!("/proc/{}/comm", child.id()))? != "sleep\n" {
        thread::sleep(Duration::from_millis(10));
    }
    fs::read(format!("/proc/{}/environ", child.id()))?;
    let target = json!({ "ptrace.target.pid": child.id(), "ptrace.crosses": false });
    tell("ptrace", "read", pid, with(&target, "ptrace.mode", "read"))?;
    ptrace::seize(Pid::from_raw(i32::try_from(child.id())?), ptrace::Options::empty())?;
    tell("ptrace", "attach", pid, with(&target, "ptrace.mode", "attach"))?;
    child.kill()?;
    child.wait()?;

    let listener = UnixListener::bind("/mnt/socket")?;
    fs::rename("/mnt/socket", "/mnt/renamed")?;
    UnixStream::connect("/mnt/renamed")?;
    let socket = json!({ "fd.name": "/mnt/renamed", "fd.bound.filename": "socket" });
    tell("connect", "by path", pid, with(&socket, "fd.type", "unix"))?;
    drop(listener);
    let hidden = SocketAddr::from_abstract_name("marked")?;
    let listener = UnixListener::bind_addr(&hidden)?;
    UnixStream::connect_addr(&hidden)?;
    tell("connect", "abstract", pid, json!({ "fd.name": "@marked" }))?;
    drop(listener);

    fs::write("/mnt/marked.ko", [0; 200])?;
    load_module("/mnt/marked.ko")?;
    tell("finit_module", "", pid, json!({ "fd.name": "/mnt/marked.ko" }))?;
    let technique = |name: &str| -> Result<u32> {
        let mut child = Command::new("shrike").args(["technique", name]).spawn()?;
        ensure!(child.wait()?.success());
        Ok(child.id())
    };
    tell("init_module", "", technique("kernel-module")?, json!({ "fd.name": null }))?;
    let program = json!({ "bpf.cmd": "BPF_PROG_LOAD", "bpf.prog.type": "socket_filter" });
    tell("bpf", "", technique("bpf-program")?, program)?;

    let is_host = |alert: &Value| alert["output_fields"]["container.membership"] == "none";
    ensure!(agent.alerts().iter().all(is_host), "this process is no container's");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// `shrike events`, read by somebody who has seen enough after a while.
fn the_stream_can_be_watched() -> Result<()> {
    let mut events = Command::new("shrike")
        .args(["--log", "warn", "events", "--json", "--kind", "exec"])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = events.stdout.take().context("no standard output")?;
    let (sender, seen) = mpsc::channel();
    thread::spawn(move || {
        let is_marked = |line: &String| line.contains("marked");
        // Then the pipe is closed.
        let line =
            BufReader::new(stdout).lines().map_while(std::result::Result::ok).find(is_marked);
        let _ = sender.send(line);
    });
    // Until the probes are attached, nothing is seen.
    let line = loop {
        ensure!(Command::new("true").arg("marked").status()?.success());
        if let Ok(line) = seen.recv_timeout(Duration::from_millis(300)) {
            break line.context("the stream has ended")?;
        }
    };
    let seen: Value = serde_json::from_str(&line).context("read an event")?;
    ensure!(seen["fields"]["args"] == json!(["true", "marked"]), "{seen}");
    ensure!(seen["kind"] == "exec" && seen["membership"] == "none", "{seen}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while events.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "it goes on though nobody reads");
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(events.wait()?.success());
    Ok(())
}

fn with(fields: &Value, name: &str, value: &str) -> Value {
    let mut fields = fields.clone();
    fields[name] = json!(value);
    fields
}

/// A tmpfs that nobody else sees.
fn private_tmpfs(target: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    mount(Some("tmpfs"), Path::new(target), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

/// Shows a folder at another place by `open_tree(2)` and `move_mount(2)`.
fn move_clone(from: &std::ffi::CStr, to: &std::ffi::CStr) -> io::Result<()> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    // SAFETY: both paths are strings that outlive the calls.
    let result = unsafe {
        let tree =
            libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), OPEN_TREE_CLONE);
        if tree < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Hands the kernel a file that is no module.
fn load_module(path: &str) -> Result<()> {
    let file = File::open(path)?;
    let parameters = CString::default();
    // SAFETY: the descriptor is open, the parameters are a string that outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
    ensure!(result != 0, "the kernel has taken it");
    Ok(())
}
