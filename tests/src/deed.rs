//! Deeds: for each kind of event, a process that does such a thing once, as root or as somebody who
//! may not, and says what it knows of it.

#![allow(
    clippy::cast_ptr_alignment,
    clippy::unnecessary_wraps,
    reason = "rings are aligned to pages, and all deeds have one signature"
)]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::statfs;
use nix::unistd::{Uid, setresuid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actor::{self, Facts};

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
    /// The system call, and its table.
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
    ($($kind:literal $outcome:literal $actor:ident $run:ident;)*) => {
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
    "exec" "denied" Root exec_attempt;
    "exec" "failed" Root exec_attempt;
    "fork" "allowed" Root fork;
    "file_open" "allowed" Root open;
    "file_open" "allowed, 32-bit caller" Root open_compat;
    "file_open" "allowed, io_uring" Root open_by_ring;
    "file_open" "denied" User open_attempt;
    "file_open" "failed" Root open_attempt;
    "file_open" "failed, 32-bit caller" Root open_compat_attempt;
    "mount" "allowed" Root mount;
    "mount" "allowed, fsconfig" Root fsconfig;
    "mount" "denied" User mount;
    "mount" "failed" Root mount_unknown;
    "move_mount" "allowed" Apart move_mount;
    "move_mount" "denied" User move_attempt;
    "move_mount" "failed" Root move_attempt;
    "setns" "allowed" Root setns;
    "setns" "denied" User setns_attempt;
    "setns" "failed" Root setns_bad;
    "unshare" "allowed" Root unshare;
    "unshare" "denied" User unshare_attempt;
    "unshare" "failed" Root unshare_attempt;
    "ptrace" "allowed" Root ptrace;
    "ptrace" "denied" User ptrace_init;
    "ptrace" "failed" Root ptrace_nobody;
    "connect" "allowed" Root connect_tcp;
    "connect" "allowed, Unix path" Root connect_path;
    "connect" "allowed, abstract" Root connect_abstract;
    "connect" "allowed, IPv6" Root connect_v6;
    "connect" "denied" User connect_denied;
    "connect" "failed" Root connect_refused;
    "connect" "failed, 32-bit caller" Root connect_compat;
    "sysctl" "allowed" Root sysctl;
    "sysctl" "failed" Root sysctl_bad;
    "module_load" "denied" User module;
    "module_load" "failed" Root module;
    "mknod" "allowed" Root mknod_disk;
    "mknod" "denied" User mknod_disk;
    "mknod" "failed" Root mknod_there;
    "bpf" "allowed" Root bpf_map;
    "bpf" "denied" User bpf_map;
    "bpf" "failed" Root bpf_unknown;
    "socket" "allowed" Root socket;
    "socket" "denied" User socket_raw;
    "socket" "failed" Root socket_unknown;
    "mmap_exec" "allowed" Root mmap;
    "mmap_exec" "allowed, mprotect" Root mprotect;
    "mmap_exec" "denied" Root mmap_denied;
    "mmap_exec" "failed" Root mmap_bad;
    "cgroup_attach" "allowed" Root cgroup_attach;
    "file_create" "allowed" Root create;
    "file_create" "denied" User create_attempt;
    "file_create" "failed" Root create_there;
    "exec" "allowed" Root exec;
    "exit" "allowed" Root exit;
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
            Actor::Apart => own_mounts()?,
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
        let expected = json!({
            "kind": self.kind,
            "pid": facts.pid,
            "tid": facts.tid,
            "ppid": facts.ppid,
            "name": facts.comm,
            "uid": facts.uid,
            "gid": facts.gid,
            "euid": facts.euid,
            "capabilities": format!("{:016x}", facts.cap_effective),
            "membership": "none",
            "cgroup": facts.cgroup,
            "namespaces": facts.ns,
            "cpu": facts.cpu,
            "syscall": done.syscall,
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

/// A system call, with what it returns as the kernel does.
macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {{
        // SAFETY: what is passed outlives the call, and the kernel checks it.
        let result = unsafe { libc::syscall(libc::$number $(, $argument)*) };
        if result == -1 {
            -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0))
        } else {
            result
        }
    }};
}

/// A system call of the 32-bit table, from 64-bit code. The arguments are below 4 GiB.
fn compat(number: u32, [first, second, third]: [u32; 3]) -> i64 {
    let result: u64;
    // SAFETY: what is passed outlives the call. The call keeps all registers but the result, and LLVM
    // reserves rbx, so that it is exchanged.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("rax") u64::from(number) => result,
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let [.., a, b, c, d] = result.to_be_bytes();
    i64::from(i32::from_be_bytes([a, b, c, d]))
}

/// Bytes that can be reached by an address of 32 bits.
fn low(bytes: &[u8]) -> Result<u32> {
    // SAFETY: a new mapping, as large as what is copied into it.
    let at = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let at =
            libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        ensure!(at != libc::MAP_FAILED, "no memory below 4 GiB");
        ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len().min(4096));
        at
    };
    Ok(u32::try_from(at.expose_provenance())?)
}

/// A device number as the kernel has it within (`MKDEV`).
fn dev(number: u64) -> u64 {
    major(number) << 20 | minor(number)
}

fn magic(path: &Path) -> Result<i64> {
    Ok(statfs(path)?.filesystem_type().0)
}

// Processes.

/// Has this program executed anew, which then reports.
fn exec(scene: &Scene<'_>) -> Result<Done> {
    let before = scene.facts.before.to_string();
    let program = fs::read_link("/proc/self/exe")?;
    let error = std::os::unix::process::CommandExt::exec(
        Command::new(&program).args(["deed", "exec", "executed"]).arg(&before),
    );
    bail!("cannot execute {}: {error}", program.display())
}

/// What the program that was executed says.
pub fn executed(before: &str) -> Result<()> {
    let mut facts = Facts::read()?;
    facts.before = before.parse()?;
    facts.after = actor::now();
    let program = fs::read_link("/proc/self/exe")?;
    let file = fs::metadata(&program)?;
    let args: Vec<String> = std::env::args().collect();
    let fields = json!({
        "inode": file.ino(),
        "dev": dev(file.dev()),
        "vpid": facts.vpid,
        "path": program,
        "args": args,
    });
    let deed = Deed::find("exec", "allowed").context("no such deed")?;
    deed.report(facts, &done("execve", 0, false, fields))
}

fn exec_attempt(scene: &Scene<'_>) -> Result<Done> {
    let name = if scene.outcome == "denied" { "plain" } else { "missing" };
    let path = scene.path(name)?;
    let argv = [path.as_ptr(), ptr::null()];
    let result = call!(SYS_execve, path.as_ptr(), argv.as_ptr(), ptr::null::<*const u8>());
    let fields = json!({ "inode": 0, "dev": 0, "vpid": 0, "path": scene.text(name), "args": "" });
    Ok(done("execve", result, true, fields))
}

fn fork(_: &Scene<'_>) -> Result<Done> {
    let child = call!(SYS_fork);
    if child == 0 {
        thread::sleep(Duration::from_millis(200));
        // SAFETY: the child ends at once, with nothing undone that matters.
        unsafe { libc::_exit(0) }
    }
    let start = actor::start_ticks(u32::try_from(child)?)?;
    let fields =
        json!({ "clone_flags": 0, "child_start": start, "child": child, "child_vpid": child });
    Ok(done("fork", child, false, fields))
}

/// Says beforehand what it is about to do.
fn exit(scene: &Scene<'_>) -> Result<Done> {
    let deed = Deed::find("exit", "allowed").context("no such deed")?;
    let facts = Facts { before: scene.facts.before, ..Facts::read()? };
    let mut done = done("exit_group", 0, false, json!({ "status": 3 << 8 }));
    done.result = None;
    // A second more than enough.
    deed.report(Facts { after: facts.before + 10_000_000_000, ..facts }, &done)?;
    // SAFETY: nothing is left to be done.
    unsafe { libc::_exit(3) }
}

// Files.

const FILE: &str = "file";

fn opened(scene: &Scene<'_>, flags: u32) -> Result<Value> {
    let path = scene.dir.join(FILE);
    let file = fs::metadata(&path)?;
    Ok(json!({
        "inode": file.ino(),
        "fs_magic": magic(&path)?,
        "dev": dev(file.dev()),
        "flags": flags,
        "mode": file.mode(),
        "rdev": 0,
        "mnt_ns": scene.ns("mnt"),
        "path": path,
    }))
}

const O_LARGEFILE: u32 = 0o100_000;
const O_NONBLOCK: u32 = libc::O_NONBLOCK.cast_unsigned();
const O_NOFOLLOW: u32 = libc::O_NOFOLLOW.cast_unsigned();

fn open(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path(FILE)?;
    let fd = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), O_NOFOLLOW);
    Ok(done("openat", fd, false, opened(scene, O_NOFOLLOW | O_LARGEFILE)?))
}

const I386_OPEN: u32 = 5;

fn open_compat(scene: &Scene<'_>) -> Result<Done> {
    let path = low(scene.path(FILE)?.as_bytes_with_nul())?;
    let fd = compat(I386_OPEN, [path, O_NOFOLLOW, 0]);
    let done = done("open", fd, false, opened(scene, O_NOFOLLOW)?);
    Ok(Done { abi: "i386", ..done })
}

fn open_compat_attempt(scene: &Scene<'_>) -> Result<Done> {
    let path = low(scene.path("missing")?.as_bytes_with_nul())?;
    let result = compat(I386_OPEN, [path, O_NOFOLLOW, 0]);
    let done = done("open", result, true, not_opened(&scene.text("missing")));
    Ok(Done { abi: "i386", ..done })
}

fn not_opened(path: &str) -> Value {
    json!({
        "inode": 0,
        "fs_magic": 0,
        "dev": 0,
        "flags": O_NOFOLLOW,
        "mode": 0,
        "rdev": 0,
        "mnt_ns": 0,
        "path": path,
    })
}

fn open_attempt(scene: &Scene<'_>) -> Result<Done> {
    let name = if scene.outcome == "denied" { "secret" } else { "missing" };
    let path = scene.path(name)?;
    let result = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), O_NOFOLLOW);
    Ok(done("openat", result, true, not_opened(&scene.text(name))))
}

/// By `io_uring`: the ring is used as its first submission makes it, without a library.
fn open_by_ring(scene: &Scene<'_>) -> Result<Done> {
    const IORING_OP_OPENAT: u8 = 18;
    const IORING_ENTER_GETEVENTS: u32 = 1;
    const IORING_OFF_SQES: i64 = 0x1000_0000;
    /// Offsets within `struct io_uring_params`: of those of the submission ring.
    const SQ_OFF: usize = 40;
    let mut params = [0_u8; 120];
    let ring = call!(SYS_io_uring_setup, 4, params.as_mut_ptr());
    ensure!(ring >= 0, "io_uring_setup: {ring}");
    let number = |at: usize| -> usize {
        u32::from_ne_bytes(params[at..at + 4].try_into().expect("four bytes")) as usize
    };
    let (tail, array) = (number(SQ_OFF + 4), number(SQ_OFF + 24));
    let map = |offset: i64| {
        // SAFETY: a new mapping of the ring, larger than what is used of it.
        unsafe {
            libc::mmap(
                ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                i32::try_from(ring).unwrap_or(-1),
                offset,
            )
        }
    };
    let (submission, entries) = (map(0).cast::<u8>(), map(IORING_OFF_SQES).cast::<u8>());
    let path = scene.path(FILE)?;
    // SAFETY: the fields of the first entry (`struct io_uring_sqe`) and of the ring lie within the
    // mappings; nobody else uses them.
    unsafe {
        entries.write(IORING_OP_OPENAT);
        entries.add(4).cast::<i32>().write(libc::AT_FDCWD);
        entries.add(16).cast::<u64>().write(path.as_ptr().expose_provenance() as u64);
        entries.add(28).cast::<u32>().write(O_NOFOLLOW);
        submission.add(array).cast::<u32>().write(0);
        submission.add(tail).cast::<u32>().write_volatile(1);
    }
    let submitted =
        call!(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, ptr::null::<u8>(), 0);
    ensure!(submitted == 1, "io_uring_enter: {submitted}");
    // The kernel tries first whether it can be had at once.
    let flags = O_NOFOLLOW | O_LARGEFILE | O_NONBLOCK;
    let done = done("io_uring_enter", 0, false, opened(scene, flags)?);
    // What an entry of the ring came to, no system call returns.
    Ok(Done { result: None, ..done })
}

const REGULAR: u32 = libc::S_IFREG | 0o640;

fn create(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path("new")?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let fd = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o640);
    Ok(done("openat", fd, false, created(scene, "new")?))
}

fn created(scene: &Scene<'_>, name: &str) -> Result<Value> {
    Ok(json!({
        "fs_magic": magic(scene.dir)?,
        "dev": dev(fs::metadata(scene.dir)?.dev()),
        "mode": REGULAR,
        "path": scene.text(name),
    }))
}

fn create_attempt(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path("not")?;
    let result = call!(SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), REGULAR, 0);
    // The hook comes before the check of the folder's permissions.
    Ok(done("mknodat", result, false, created(scene, "not")?))
}

fn create_there(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path(FILE)?;
    let result = call!(SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), REGULAR, 0);
    let fields = json!({ "fs_magic": 0, "dev": 0, "mode": REGULAR, "path": scene.text(FILE) });
    Ok(done("mknodat", result, true, fields))
}

const DISK: u32 = libc::S_IFBLK | 0o600;

fn mknod_disk(scene: &Scene<'_>) -> Result<Done> {
    mknod(scene, &format!("disk-{}", scene.outcome), false)
}

fn mknod_there(scene: &Scene<'_>) -> Result<Done> {
    mknod(scene, FILE, true)
}

fn mknod(scene: &Scene<'_>, name: &str, raw: bool) -> Result<Done> {
    let path = scene.path(name)?;
    let disk = libc::makedev(259, 300);
    let result = call!(SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), DISK, disk);
    let fields = json!({ "mode": DISK, "rdev": (259 << 20) + 300, "path": scene.text(name) });
    Ok(done("mknodat", result, raw, fields))
}

fn mapped(scene: &Scene<'_>, prot: i32) -> Result<Value> {
    let path = scene.dir.join(FILE);
    let file = fs::metadata(&path)?;
    Ok(json!({
        "inode": file.ino(),
        "fs_magic": magic(&path)?,
        "dev": dev(file.dev()),
        "prot": prot,
        "mode": file.mode(),
        "mnt_ns": scene.ns("mnt"),
        "path": path,
    }))
}

const READ_EXEC: i32 = libc::PROT_READ | libc::PROT_EXEC;

fn mmap(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let result = call!(SYS_mmap, 0, 4096, READ_EXEC, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
    Ok(done("mmap", result, false, mapped(scene, READ_EXEC)?))
}

fn mprotect(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let fd = file.as_raw_fd();
    let at = call!(SYS_mmap, 0, 4096, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
    let result = call!(SYS_mprotect, at, 4096, READ_EXEC);
    Ok(done("mprotect", result, false, mapped(scene, READ_EXEC)?))
}

/// Of a file that was not opened for reading.
fn mmap_denied(scene: &Scene<'_>) -> Result<Done> {
    let file = OpenOptions::new().write(true).open(scene.dir.join(FILE))?;
    let result = call!(SYS_mmap, 0, 4096, READ_EXEC, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
    Ok(done("mmap", result, false, mapped(scene, READ_EXEC)?))
}

/// At an address that is no page's.
fn mmap_bad(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let result = call!(SYS_mmap, 0x1001, 4096, READ_EXEC, flags, file.as_raw_fd(), 0);
    Ok(done("mmap", result, false, mapped(scene, READ_EXEC)?))
}

// Mounts.

fn own_mounts() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    let none = ptr::null::<u8>();
    let result = call!(SYS_mount, none, c"/".as_ptr(), none, flags, none);
    ensure!(result == 0, "cannot make mounts private: {result}");
    Ok(())
}

fn mount(scene: &Scene<'_>) -> Result<Done> {
    let target = scene.path("dir")?;
    let none = ptr::null::<u8>();
    let (tmpfs, raw) = (c"tmpfs".as_ptr(), scene.outcome == "denied");
    let result = call!(SYS_mount, tmpfs, target.as_ptr(), tmpfs, 0, none);
    let fields = if raw {
        json!({ "fs_magic": 0, "dev": 0, "bdev": 0, "fs_type": "tmpfs" })
    } else {
        let dev = dev(fs::metadata(scene.dir.join("dir"))?.dev());
        let magic = magic(&scene.dir.join("dir"))?;
        let _ = nix::mount::umount(&scene.dir.join("dir"));
        json!({ "fs_magic": magic, "dev": dev, "bdev": 0, "fs_type": "tmpfs" })
    };
    Ok(done("mount", result, raw, fields))
}

fn mount_unknown(scene: &Scene<'_>) -> Result<Done> {
    let target = scene.path("dir")?;
    let none = ptr::null::<u8>();
    let result = call!(SYS_mount, none, target.as_ptr(), c"nofs".as_ptr(), 0, none);
    let fields = json!({ "fs_magic": 0, "dev": 0, "bdev": 0, "fs_type": "nofs" });
    Ok(done("mount", result, true, fields))
}

fn fsconfig(_: &Scene<'_>) -> Result<Done> {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let context = call!(SYS_fsopen, c"tmpfs".as_ptr(), 0);
    let none = ptr::null::<u8>();
    let result = call!(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, none, none, 0);
    let tree = call!(SYS_fsmount, context, 0, 0);
    ensure!(tree >= 0, "fsmount: {tree}");
    let folder = format!("/proc/self/fd/{tree}");
    let dev = dev(fs::metadata(&folder)?.dev());
    let fields = json!({
        "fs_magic": magic(Path::new(&folder))?, "dev": dev, "bdev": 0, "fs_type": "tmpfs",
    });
    Ok(done("fsconfig", result, false, fields))
}

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;

fn move_mount(scene: &Scene<'_>) -> Result<Done> {
    let (from, to) = (scene.path("dir")?, scene.path("to")?);
    let tree = call!(SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), OPEN_TREE_CLONE);
    ensure!(tree >= 0, "open_tree: {tree}");
    let result = call!(
        SYS_move_mount,
        tree,
        c"".as_ptr(),
        libc::AT_FDCWD,
        to.as_ptr(),
        MOVE_MOUNT_F_EMPTY_PATH
    );
    let fields = json!({
        "fs_magic": magic(scene.dir)?,
        "dev": dev(fs::metadata(scene.dir)?.dev()),
        "from_mnt_ns": 0,
        "fs_type": type_name(scene.dir)?,
        "to": scene.text("to"),
    });
    Ok(done("move_mount", result, false, fields))
}

/// By somebody who may not, or of what is not there.
fn move_attempt(scene: &Scene<'_>) -> Result<Done> {
    let (from, to) = (scene.path("missing")?, scene.path("to")?);
    let result =
        call!(SYS_move_mount, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), 0);
    let fields = json!({
        "fs_magic": 0, "dev": 0, "from_mnt_ns": 0, "fs_type": "", "to": scene.text("to"),
    });
    Ok(done("move_mount", result, true, fields))
}

/// The type of the file system that a folder is on.
fn type_name(dir: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let of = |line: &str| {
        let mut words = line.split(' ');
        let (target, name) = (words.nth(1)?.to_owned(), words.next()?.to_owned());
        dir.starts_with(&target).then_some((target.len(), name))
    };
    // The longest, and of those the last, which covers the others.
    let found = mounts.lines().filter_map(of).max_by_key(|(len, _)| *len);
    Ok(found.context("no mount")?.1)
}

// Namespaces.

fn uts() -> Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/uts")?.ino())
}

fn setns(scene: &Scene<'_>) -> Result<Done> {
    let other = other_uts()?;
    let file = File::open(format!("/proc/{}/ns/uts", other.id()))?;
    let result = call!(SYS_setns, file.as_raw_fd(), 0);
    ensure!(uts()? != scene.ns("uts"), "the namespace is the same");
    let done = done("setns", result, false, json!({ "joined": { "uts": uts()? } }));
    end(other)?;
    Ok(done)
}

/// A process with another UTS namespace.
fn other_uts() -> Result<std::process::Child> {
    let mut child = Command::new("unshare")
        .args(["-u", "sh", "-c", "echo; exec sleep 100"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = [0];
    io::Read::read_exact(&mut child.stdout.take().context("no pipe")?, &mut line)?;
    Ok(child)
}

fn end(mut child: std::process::Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// The own one, which takes a privilege all the same.
fn setns_attempt(_: &Scene<'_>) -> Result<Done> {
    let file = File::open("/proc/self/ns/uts")?;
    let result = call!(SYS_setns, file.as_raw_fd(), 0);
    Ok(done("setns", result, true, json!({ "joined": {} })))
}

fn setns_bad(_: &Scene<'_>) -> Result<Done> {
    let result = call!(SYS_setns, -1, 0);
    Ok(done("setns", result, true, json!({ "joined": {} })))
}

fn unshare(_: &Scene<'_>) -> Result<Done> {
    let result = call!(SYS_unshare, libc::CLONE_NEWUTS);
    Ok(done("unshare", result, false, json!({ "joined": { "uts": uts()? } })))
}

/// By somebody who may not, or of what there is not.
fn unshare_attempt(scene: &Scene<'_>) -> Result<Done> {
    let flags = if scene.outcome == "denied" { libc::CLONE_NEWUTS } else { libc::CLONE_PIDFD };
    let result = call!(SYS_unshare, flags);
    Ok(done("unshare", result, true, json!({ "joined": {} })))
}

// Other processes.

const PTRACE_MODE_ATTACH: u32 = 2;
const PTRACE_MODE_REALCREDS: u32 = 0x10;

fn ptrace(scene: &Scene<'_>) -> Result<Done> {
    let child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let pid = child.id();
    while fs::read_to_string(format!("/proc/{pid}/comm"))? != "sleep\n" {
        thread::sleep(Duration::from_millis(10));
    }
    let result = call!(SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0);
    let fields = json!({
        "mode": PTRACE_MODE_ATTACH | PTRACE_MODE_REALCREDS,
        "target_membership": 0,
        "target_start": actor::start_ticks(pid)?,
        "target": pid,
        "target_ns": scene.facts.ns,
        "target_comm": "sleep",
    });
    end(child)?;
    Ok(done("ptrace", result, false, fields))
}

fn ptrace_init(_: &Scene<'_>) -> Result<Done> {
    seize(1)
}

fn ptrace_nobody(_: &Scene<'_>) -> Result<Done> {
    // More than there can be.
    seize(0x7FFF_FFFF)
}

fn seize(pid: u32) -> Result<Done> {
    let result = call!(SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0);
    let fields = json!({
        "mode": PTRACE_MODE_ATTACH,
        "target_membership": 0,
        "target_start": 0,
        "target": pid,
        "target_ns": {},
        "target_comm": "",
    });
    Ok(done("ptrace", result, true, fields))
}

// Sockets.

fn stream(family: i32) -> i64 {
    call!(SYS_socket, family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)
}

/// `struct sockaddr_in`.
fn v4(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let family = u16::try_from(libc::AF_INET).expect("a small number");
    [&family.to_ne_bytes()[..], &port.to_be_bytes(), &address.octets(), &[0; 8]].concat()
}

/// `struct sockaddr_un`.
fn unix(name: &[u8]) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).expect("a small number");
    [&family.to_ne_bytes()[..], name].concat()
}

fn ip(family: i32, socket_type: i32, address: &str, port: u16) -> Value {
    json!({
        "family": family,
        "socket_type": socket_type,
        "port": port,
        "address": address,
        "path": "",
        "bound": "",
    })
}

fn connect(socket: i64, address: &[u8]) -> i64 {
    call!(SYS_connect, socket, address.as_ptr(), address.len())
}

fn connect_tcp(_: &Scene<'_>) -> Result<Done> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let result = connect(stream(libc::AF_INET), &v4(Ipv4Addr::LOCALHOST, port));
    Ok(done("connect", result, false, ip(libc::AF_INET, libc::SOCK_STREAM, "127.0.0.1", port)))
}

fn connect_v6(_: &Scene<'_>) -> Result<Done> {
    let listener = TcpListener::bind("[::1]:0")?;
    let port = listener.local_addr()?.port();
    let family = u16::try_from(libc::AF_INET6)?;
    let mut one = [0; 16];
    one[15] = 1;
    let address = [&family.to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &one, &[0; 4]].concat();
    let result = connect(stream(libc::AF_INET6), &address);
    Ok(done("connect", result, false, ip(libc::AF_INET6, libc::SOCK_STREAM, "::1", port)))
}

fn connect_refused(_: &Scene<'_>) -> Result<Done> {
    let result = connect(stream(libc::AF_INET), &v4(Ipv4Addr::LOCALHOST, 9));
    Ok(done("connect", result, false, ip(libc::AF_INET, libc::SOCK_STREAM, "127.0.0.1", 9)))
}

/// By the one call for sockets of the 32-bit table.
fn connect_compat(_: &Scene<'_>) -> Result<Done> {
    const I386_SOCKETCALL: u32 = 102;
    const SYS_CONNECT: u32 = 3;
    let address = low(&v4(Ipv4Addr::LOCALHOST, 9))?;
    let socket = u32::try_from(stream(libc::AF_INET))?;
    let arguments = [socket, address, 16].map(u32::to_ne_bytes).concat();
    let result = compat(I386_SOCKETCALL, [SYS_CONNECT, low(&arguments)?, 0]);
    let fields = ip(libc::AF_INET, libc::SOCK_STREAM, "127.0.0.1", 9);
    Ok(Done { abi: "i386", ..done("socketcall", result, false, fields) })
}

fn unix_fields(socket_type: i32, path: &str, bound: &str) -> Value {
    json!({
        "family": libc::AF_UNIX,
        "socket_type": socket_type,
        "port": 0,
        "address": "::",
        "path": path,
        "bound": bound,
    })
}

fn connect_path(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.dir.join("socket");
    let listener = UnixListener::bind(&path)?;
    let result = connect(stream(libc::AF_UNIX), &unix(scene.path("socket")?.as_bytes_with_nul()));
    drop(listener);
    fs::remove_file(&path)?;
    // The kernel keeps the name with its end.
    let bound = json!([scene.text("socket")]);
    let mut fields = unix_fields(libc::SOCK_STREAM, &scene.text("socket"), "");
    fields["bound"] = bound;
    Ok(done("connect", result, false, fields))
}

fn connect_abstract(_: &Scene<'_>) -> Result<Done> {
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name("marked")?)?;
    let result = connect(stream(libc::AF_UNIX), &unix(b"\0marked"));
    drop(listener);
    Ok(done("connect", result, false, unix_fields(libc::SOCK_STREAM, "", "\0marked")))
}

/// To a socket in a folder that is closed to this user.
fn connect_denied(scene: &Scene<'_>) -> Result<Done> {
    let name = scene.path("closed/socket")?;
    let result = connect(stream(libc::AF_UNIX), &unix(name.as_bytes_with_nul()));
    let mut fields = unix_fields(0, "", "");
    fields["bound"] = json!([scene.text("closed/socket")]);
    Ok(done("connect", result, true, fields))
}

fn new_socket(family: i32, ty: i32, protocol: i32, raw: bool) -> Result<Done> {
    let result = call!(SYS_socket, family, ty | libc::SOCK_CLOEXEC, protocol);
    let fields = json!({ "family": family, "socket_type": ty, "protocol": protocol });
    Ok(done("socket", result, raw, fields))
}

fn socket(_: &Scene<'_>) -> Result<Done> {
    new_socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP, false)
}

fn socket_raw(_: &Scene<'_>) -> Result<Done> {
    new_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, false)
}

fn socket_unknown(_: &Scene<'_>) -> Result<Done> {
    new_socket(1000, libc::SOCK_STREAM, 0, true)
}

// The kernel.

fn sysctl(_: &Scene<'_>) -> Result<Done> {
    set("kernel/hostname", "guest\n")
}

fn sysctl_bad(_: &Scene<'_>) -> Result<Done> {
    set("kernel/pid_max", "marked")
}

fn set(name: &str, value: &str) -> Result<Done> {
    let file = OpenOptions::new().write(true).open(Path::new("/proc/sys").join(name))?;
    call!(SYS_write, file.as_raw_fd(), value.as_ptr(), value.len());
    let fields = json!({ "name": name, "value": value });
    // No probe waits for the end of every write.
    Ok(Done { result: None, ..done("write", 0, false, fields) })
}

fn module(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let result = call!(SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0);
    let raw = scene.outcome == "denied";
    let path = if raw { String::new() } else { scene.text(FILE) };
    Ok(done("finit_module", result, raw, json!({ "path": path })))
}

fn bpf_map(_: &Scene<'_>) -> Result<Done> {
    const BPF_MAP_CREATE: u32 = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let mut attr = [0_u32; 32];
    attr[..4].copy_from_slice(&[BPF_MAP_TYPE_ARRAY, 4, 4, 1]);
    bpf(BPF_MAP_CREATE, &attr)
}

fn bpf_unknown(_: &Scene<'_>) -> Result<Done> {
    bpf(9999, &[0; 32])
}

fn bpf(command: u32, attr: &[u32; 32]) -> Result<Done> {
    let result = call!(SYS_bpf, command, attr.as_ptr(), size_of_val(attr));
    let fields = json!({ "cmd": command, "prog_type": 0, "prog_name": "" });
    // Whether the privilege is asked for in front of the hook differs between kernels.
    Ok(Done { raw: (result >= 0).then_some(false), ..done("bpf", result, false, fields) })
}

fn cgroup_attach(_: &Scene<'_>) -> Result<Done> {
    let name = format!("shrike-deed-{}", std::process::id());
    let cgroup = Path::new("/sys/fs/cgroup").join(&name);
    fs::create_dir(&cgroup)?;
    let child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let pid = child.id();
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())?;
    let fields = json!({
        "to": fs::metadata(&cgroup)?.ino(),
        "target_start": actor::start_ticks(pid)?,
        "target": pid,
        "hierarchy": 0,
        "path": format!("/{name}"),
    });
    end(child)?;
    Ok(done("write", 0, false, fields))
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
