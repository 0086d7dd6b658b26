//! Ways across the boundary of a container that need no exploit: what the container must be allowed for
//! each, what it does, and which breach that is.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::container::{Ended, Rootfs};

/// A way across the boundary.
#[derive(Debug)]
pub struct Crossing {
    pub name: &'static str,
    /// The breach that it is.
    pub kind: &'static str,
    pub property: &'static str,
    /// How the file came to the task that is outside.
    way: Option<&'static str>,
    /// What the container must be allowed.
    pub options: &'static [&'static str],
    /// What its first process does.
    pub script: &'static str,
    who: Who,
}

/// The process that is across.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    /// The first of the container.
    First,
    /// The one that the kernel starts for the container.
    Helper,
    /// The one of the host that executes what the container has registered itself for.
    Host,
}

/// With the host's processes before its eyes.
const DEBUGGER: &[&str] = &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"];
const READER: &[&str] = &["--pid=host", "--cap-add=SYS_PTRACE"];
const PRIVILEGED: &[&str] = &["--privileged"];

const fn first(
    name: &'static str,
    [kind, property]: [&'static str; 2],
    way: Option<&'static str>,
    options: &'static [&'static str],
    script: &'static str,
) -> Crossing {
    Crossing { name, kind, property, way, options, script, who: Who::First }
}

/// Something of the host's is changed by its path, which opens nothing.
const fn change(name: &'static str, script: &'static str) -> Crossing {
    first(name, ["filesystem", "mount"], Some("changed"), READER, script)
}

const fn helper(name: &'static str, property: &'static str, script: &'static str) -> Crossing {
    let (kind, options) = ("usermode_helper", PRIVILEGED);
    Crossing { name, kind, property, way: None, options, script, who: Who::Helper }
}

/// Each of them.
pub const CROSSINGS: &[Crossing] = &[
    first(
        "setns-uts",
        ["namespace", "ns.uts"],
        None,
        DEBUGGER,
        "exec nsenter --uts=/proc/1/ns/uts true",
    ),
    first(
        "setns-net",
        ["namespace", "ns.net"],
        None,
        DEBUGGER,
        "exec nsenter --net=/proc/1/ns/net true",
    ),
    first(
        "setns-mnt",
        ["namespace", "ns.mnt"],
        None,
        &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--cap-add=SYS_CHROOT"],
        "exec nsenter --mount=/proc/1/ns/mnt true",
    ),
    first("setns-pidfd", ["namespace", "ns.ipc"], None, DEBUGGER, "exec shrike-tests cross pidfd"),
    first(
        "proc-root",
        ["filesystem", "mount"],
        Some("opened"),
        READER,
        ": < /proc/1/root/tmp/shrike-host/secret",
    ),
    first(
        "proc-cwd",
        ["filesystem", "mount"],
        Some("inherited"),
        READER,
        "cd /proc/1/root/tmp/shrike-host; : < secret",
    ),
    first(
        "proc-exec",
        ["filesystem", "mount"],
        Some("executed"),
        READER,
        "exec /proc/1/root/usr/bin/busybox true",
    ),
    change("change-mkdir", "exec mkdir /proc/1/root/tmp/shrike-host/changed/new"),
    change("change-rmdir", "exec rmdir /proc/1/root/tmp/shrike-host/changed/folder"),
    change("change-unlink", "exec rm /proc/1/root/tmp/shrike-host/changed/file"),
    change("change-symlink", "exec ln -s target /proc/1/root/tmp/shrike-host/changed/new"),
    change("change-link", "exec shrike-tests cross change-link"),
    change("change-rename", "exec shrike-tests cross change-rename"),
    change("change-chmod", "exec chmod 600 /proc/1/root/tmp/shrike-host/changed/file"),
    change("change-chown", "exec busybox chown 7 /proc/1/root/tmp/shrike-host/changed/file"),
    change("change-truncate", "exec shrike-tests cross change-truncate"),
    first(
        "pidfd-getfd",
        ["filesystem", "mount"],
        Some("received"),
        &["--pid=host", "--cap-add=SYS_PTRACE", "--volume=/tmp/shrike-volume/given:/props"],
        "exec shrike-tests cross getfd",
    ),
    first(
        "file-handle",
        ["filesystem", "mount.root"],
        // By the descriptor that the call asks for.
        Some("inherited"),
        &["--cap-add=DAC_READ_SEARCH", "--volume=/tmp/shrike-volume/given:/props"],
        "exec shrike-tests cross handle",
    ),
    first(
        "mount",
        ["filesystem", "superblock"],
        Some("mounted"),
        PRIVILEGED,
        "mknod /tmp/d b 7 7; exec mount -t ext2 /tmp/d /mnt",
    ),
    first(
        "fsopen",
        ["filesystem", "superblock"],
        Some("mounted"),
        PRIVILEGED,
        "mknod /tmp/e b 7 7; exec shrike-tests cross fsopen",
    ),
    first(
        "mount-attached",
        ["filesystem", "superblock"],
        Some("mounted"),
        PRIVILEGED,
        "mknod /tmp/f b 7 6; exec mount -t ext2 /tmp/f /mnt",
    ),
    first(
        "handle-mount",
        ["filesystem", "mount.root"],
        Some("inherited"),
        &["--privileged", "--volume=/tmp/shrike-volume/given:/props"],
        "exec shrike-tests cross handle-mount",
    ),
    first(
        "cgroup-procs",
        ["cgroup", "cgroup"],
        None,
        PRIVILEGED,
        "mount -t cgroup2 none /mnt; echo $$ > /mnt/cgroup.procs; umount /mnt",
    ),
    first(
        "clone-into-cgroup",
        ["cgroup", "cgroup"],
        None,
        PRIVILEGED,
        "mount -t cgroup2 none /mnt; exec shrike-tests cross cgroup",
    ),
    helper(
        "core-pattern",
        "helper.set",
        "read -r old < /proc/sys/kernel/core_pattern; ulimit -c unlimited
        echo '|/tmp/shrike-host/helper %P' > /proc/sys/kernel/core_pattern
        sh -c 'kill -SEGV $$'; echo \"$old\" > /proc/sys/kernel/core_pattern",
    ),
    helper(
        "core-pattern-long",
        "helper.set",
        "ulimit -c unlimited
        printf '|/tmp/shrike-host/helper %%P %130s' '' > /proc/sys/kernel/core_pattern
        sh -c 'kill -SEGV $$'; true",
    ),
    helper(
        "core-pattern-parts",
        "helper.set",
        "ulimit -c unlimited; exec 3> /proc/sys/kernel/core_pattern
        printf '|/tmp/shrike-host' >&3; printf /helper >&3; exec 3>&-
        sh -c 'kill -SEGV $$'; true",
    ),
    helper(
        "core-pattern-filled",
        "helper.set",
        "ulimit -c unlimited; echo '|/tmp/shrike-host/%%h%%' > /proc/sys/kernel/core_pattern
        sh -c 'kill -SEGV $$'; true",
    ),
    helper("core-program", "helper.supplied", "ulimit -c unlimited; sh -c 'kill -SEGV $$'; true"),
    helper(
        "release-agent",
        "helper.set",
        "mount -t cgroup -o rdma none /mnt; mkdir /mnt/x; echo 1 > /mnt/x/notify_on_release
        echo /tmp/shrike-host/helper > /mnt/release_agent
        sh -c 'echo $$ > /mnt/x/cgroup.procs'; sleep 0.3; rmdir /mnt/x; umount /mnt",
    ),
    helper(
        "release-agent-option",
        "helper.set",
        "mount -t cgroup -o none,name=option,release_agent=/tmp/shrike-host/helper none /mnt
        mkdir /mnt/x; echo 1 > /mnt/x/notify_on_release
        sh -c 'echo $$ > /mnt/x/cgroup.procs'; sleep 0.3; rmdir /mnt/x; umount /mnt",
    ),
    helper(
        "release-agents",
        "helper.set",
        "mount -t cgroup -o none,name=one none /mnt; mkdir /mnt/x /tmp/two
        mount -t cgroup -o none,name=two none /tmp/two; echo 1 > /mnt/x/notify_on_release
        echo ' /tmp/shrike-host/helper' > /mnt/release_agent; echo /another > /tmp/two/release_agent
        sh -c 'echo $$ > /mnt/x/cgroup.procs'; sleep 0.3; rmdir /mnt/x; umount /mnt /tmp/two",
    ),
    Crossing {
        who: Who::Host,
        ..helper(
            "binfmt",
            "helper.supplied",
            "mount -t binfmt_misc none /mnt; cat /props/format > /mnt/register",
        )
    },
];

/// A crossing that was done, by whom.
#[derive(Debug)]
pub struct Crossed {
    pub crossing: &'static Crossing,
    pub pid: u32,
}

impl Crossed {
    /// Whether the alert tells of it.
    pub fn is_told_by(&self, alert: &Value) -> bool {
        let fields = &alert["output_fields"];
        fields["proc.pid"] == self.pid
            && fields["breach.property"] == self.crossing.property
            && self.crossing.way.is_none_or(|way| fields["breach.evidence.way"] == way)
    }

    /// Whether the alert is about the same process.
    pub fn is_of(&self, alert: &Value) -> bool {
        alert["output_fields"]["proc.pid"] == self.pid
    }
}

impl Crossing {
    /// Whether this kernel lets it be done.
    pub fn is_possible(&self) -> bool {
        let has = |file: &str, word: &str| {
            fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|w| w == word))
        };
        match self.name {
            "release-agent" => has("/proc/filesystems", "cgroup") && has("/proc/cgroups", "rdma"),
            "release-agent-option" | "release-agents" => has("/proc/filesystems", "cgroup"),
            _ => true,
        }
    }

    /// Crosses from a container that is run with these options and this script.
    pub fn cross(
        &'static self,
        rootfs: &Rootfs,
        run: &dyn Fn(&[&str], &str) -> Result<Ended>,
    ) -> Result<Crossed> {
        let program = "--volume=/usr/bin/shrike-tests:/usr/bin/shrike-tests";
        let options: Vec<&str> = self.options.iter().copied().chain([program]).collect();
        let pid_file = Path::new(HOST).join("pid");
        let _ = fs::remove_file(&pid_file);
        let program = rootfs.path().join("tmp/helper");
        let pattern = fs::read_to_string(CORE_PATTERN)?;
        match self.name {
            "core-program" => {
                fs::copy(Path::new(HOST).join("helper"), &program)?;
                fs::write(CORE_PATTERN, format!("|{}", program.display()))?;
            }
            "binfmt" => {
                // What the container cannot know, it would guess.
                let format = format!(":shrike:M::EVIL::{}/bin/busybox:", rootfs.path().display());
                fs::write(rootfs.path().join("props/format"), format)?;
            }
            name if name.starts_with("change-") => {
                let _ = fs::remove_dir_all(CHANGED);
                fs::create_dir_all(format!("{CHANGED}/folder"))?;
                fs::write(format!("{CHANGED}/file"), "text")?;
            }
            _ => {}
        }
        let ended = run(&options, self.script)?;
        fs::write(CORE_PATTERN, pattern)?;
        let pid = match self.who {
            Who::First => ended.pid.with_context(|| format!("no container: {ended:?}"))?,
            Who::Helper => read_pid(&pid_file)
                .with_context(|| format!("{}: the helper did not run: {ended:?}", self.name))?,
            Who::Host => {
                let mut evil = Command::new(Path::new(HOST).join("evil")).spawn()?;
                evil.wait()?;
                fs::write("/proc/sys/fs/binfmt_misc/shrike", "-1")?;
                evil.id()
            }
        };
        Ok(Crossed { crossing: self, pid })
    }
}

/// What the helper wrote, at the latest after a moment.
fn read_pid(file: &Path) -> Result<u32> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return Ok(text.trim().parse()?),
            _ if Instant::now() > end => bail!("no {}", file.display()),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Has the host take core dumps with a program, and says what it did before.
pub fn take_core_dumps() -> Result<String> {
    let before = fs::read_to_string(CORE_PATTERN)?;
    fs::write(CORE_PATTERN, format!("|{HOST}/helper %P"))?;
    Ok(before)
}

/// The host goes back to what it did.
pub fn leave_core_dumps(pattern: &str) -> Result<()> {
    Ok(fs::write(CORE_PATTERN, pattern)?)
}

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// A folder that no container is given.
const HOST: &str = "/tmp/shrike-host";

/// What is changed there.
const CHANGED: &str = "/tmp/shrike-host/changed";

/// A folder of which one below it is given to containers.
const VOLUME: &str = "/tmp/shrike-volume";

/// What the crossings need of the host: files, a mounted disk, a process with an open file.
pub struct Props {
    _open: File,
}

impl Props {
    pub fn set() -> Result<Self> {
        fs::create_dir_all(HOST)?;
        fs::create_dir_all(format!("{VOLUME}/given"))?;
        fs::write(format!("{HOST}/secret"), "secret")?;
        let helper = format!("#!/bin/sh\necho $$ > {HOST}/pid\n");
        for (name, text) in [("helper", &*helper), ("%h%", &helper), ("evil", "EVIL")] {
            let path = format!("{HOST}/{name}");
            fs::write(&path, text)?;
            fs::set_permissions(path, PermissionsExt::from_mode(0o755))?;
        }
        fs::write(format!("{VOLUME}/outside"), "outside")?;
        fs::write(format!("{VOLUME}/given/handle"), handle(&format!("{VOLUME}/outside"))?)?;
        fs::write(format!("{VOLUME}/given/folder"), handle(VOLUME)?)?;
        let open = File::open(format!("{HOST}/secret"))?;
        let number = format!("{} {}", process::id(), open.as_raw_fd());
        fs::write(format!("{VOLUME}/given/fd"), number)?;
        let script =
            "dd if=/dev/zero of=/tmp/shrike-disk bs=1M count=2 && mke2fs -F /tmp/shrike-disk &&
            losetup /dev/loop7 /tmp/shrike-disk && mkdir -p /tmp/shrike-host/disk &&
            mount -t ext2 /dev/loop7 /tmp/shrike-host/disk &&
            cp /tmp/shrike-disk /tmp/shrike-other-disk && losetup /dev/loop6 /tmp/shrike-other-disk &&
            { [ -e /proc/sys/fs/binfmt_misc/register ] ||
                mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; }";
        let done = Command::new("sh").args(["-c", script]).output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(Self { _open: open })
    }
}

impl Drop for Props {
    fn drop(&mut self) {
        let script = "umount /tmp/shrike-host/disk; losetup -d /dev/loop7; \
            losetup -d /dev/loop6; rm -f /tmp/shrike-other-disk; \
            umount /proc/sys/fs/binfmt_misc; \
            rm -rf /tmp/shrike-disk /tmp/shrike-host /tmp/shrike-volume";
        let _ = Command::new("sh").args(["-c", script]).output();
    }
}

/// Crosses in a way that no program in the container can.
pub fn main(way: &str) -> Result<()> {
    match way {
        "change-link" => Ok(fs::hard_link(hosts("file"), hosts("new"))?),
        "change-rename" => Ok(fs::rename(hosts("file"), hosts("new"))?),
        "change-truncate" => Ok(nix::unistd::truncate(hosts("file").as_str(), 1)?),
        "pidfd" => join_by_pidfd(),
        "getfd" => take_descriptor(),
        "handle" => open_by_handle(),
        "handle-mount" => mount_by_handle(),
        "own-handle" => open_own_by_handle(),
        "fsopen" => mount_by_fsopen(),
        "cgroup" => clone_into_root(),
        _ => bail!("no way is called {way}"),
    }
}

/// What the host has, as a container sees it that has its processes before its eyes.
fn hosts(name: &str) -> String {
    format!("/proc/1/root{CHANGED}/{name}")
}

fn join_by_pidfd() -> Result<()> {
    let pidfd = pidfd(1)?;
    // SAFETY: the call takes a descriptor and flags.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWIPC) }.into())?;
    // The next one is told as well.
    drop(File::open("/etc/passwd")?);
    Ok(())
}

fn take_descriptor() -> Result<()> {
    let text = fs::read_to_string("/props/fd")?;
    let (pid, fd) = text.split_once(' ').context("a strange file")?;
    let (pid, fd): (i32, i32) = (pid.parse()?, fd.parse()?);
    let pidfd = pidfd(pid)?;
    // SAFETY: the call takes descriptors and flags, and returns a new descriptor.
    let mut file = unsafe {
        let fd = check(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0))?;
        File::from_raw_fd(RawFd::try_from(fd)?)
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == "secret", "{text:?}");
    Ok(())
}

fn pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers, and returns a new descriptor.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(RawFd::try_from(fd)?))
    }
}

/// `struct file_handle` with room for any of them.
#[repr(C)]
struct Handle {
    bytes: u32,
    ty: i32,
    handle: [u8; 128],
}

/// The handle of a file, as a process on the host makes it.
fn handle(path: &str) -> Result<Vec<u8>> {
    let mut handle = Handle { bytes: 128, ty: 0, handle: [0; 128] };
    let mut mount = 0_i32;
    let path = CString::new(path)?;
    // SAFETY: all pointers are good for the call; the handle has the room that it tells.
    check(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    })?;
    let used = handle.handle[..handle.bytes as usize].to_vec();
    Ok([handle.bytes.to_ne_bytes().to_vec(), handle.ty.to_ne_bytes().to_vec(), used].concat())
}

/// Opens a file on the mount of another one by what [`handle`] wrote.
fn by_handle(mount: &str, bytes: &[u8], flags: i32) -> Result<File> {
    let mut handle = Handle { bytes: 0, ty: 0, handle: [0; 128] };
    let (size, rest) = bytes.split_first_chunk().context("short")?;
    let (ty, rest) = rest.split_first_chunk().context("short")?;
    (handle.bytes, handle.ty) = (u32::from_ne_bytes(*size), i32::from_ne_bytes(*ty));
    handle.handle[..rest.len()].copy_from_slice(rest);
    let mount = File::open(mount)?;
    // SAFETY: the handle is good for the call, which returns a new descriptor.
    unsafe {
        let number = libc::SYS_open_by_handle_at;
        let fd = check(libc::syscall(number, mount.as_raw_fd(), &raw mut handle, flags))?;
        Ok(File::from_raw_fd(RawFd::try_from(fd)?))
    }
}

fn open_by_handle() -> Result<()> {
    let mut file = by_handle("/props", &fs::read("/props/handle")?, libc::O_RDONLY)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == "outside", "{text:?}");
    Ok(())
}

fn mount_by_handle() -> Result<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let folder = by_handle("/props", &fs::read("/props/folder")?, flags)?;
    let folder = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let done = Command::new("mount").args(["--bind", &folder, "/mnt"]).output()?;
    ensure!(done.status.success(), "{done:?}");
    let text = fs::read_to_string("/mnt/outside")?;
    ensure!(text == "outside", "{text:?}");
    Ok(())
}

/// Opens files of the container's own by their handles, also when nobody knows where they are.
fn open_own_by_handle() -> Result<()> {
    let run = |script: &str| -> Result<()> {
        let done = Command::new("sh").args(["-c", script]).output()?;
        ensure!(done.status.success(), "{script}: {done:?}");
        Ok(())
    };
    run("dd if=/dev/zero of=/tmp/disk bs=1M count=2 && mke2fs -F /tmp/disk
        mknod /tmp/loop b 7 5; losetup /tmp/loop /tmp/disk && mount -t ext2 /tmp/loop /mnt &&
        mkdir /mnt/folder && echo text > /mnt/folder/file")?;
    let (folder, file) = (handle("/mnt/folder")?, handle("/mnt/folder/file")?);
    run("umount /mnt && mount -t ext2 /tmp/loop /mnt")?;
    let file = by_handle("/mnt", &file, libc::O_RDONLY).context("the file")?;
    let text = io::read_to_string(file)?;
    ensure!(text == "text\n", "{text:?}");
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let folder = by_handle("/mnt", &folder, flags).context("the folder")?;
    fs::read_to_string(format!("/proc/self/fd/{}/file", folder.as_raw_fd()))?;
    run("umount /mnt; losetup -d /tmp/loop; rm /tmp/loop /tmp/disk")
}

fn mount_by_fsopen() -> Result<()> {
    const FSCONFIG_SET_STRING: i32 = 1;
    const FSCONFIG_CMD_CREATE: i32 = 6;
    // SAFETY: all texts end with NUL, and the calls that return descriptors return new ones.
    let root = unsafe {
        let fd = check(libc::syscall(libc::SYS_fsopen, c"ext2".as_ptr(), 0))?;
        let fs = OwnedFd::from_raw_fd(RawFd::try_from(fd)?);
        let (key, value) = (c"source".as_ptr(), c"/tmp/e".as_ptr());
        let none = std::ptr::null::<u8>();
        let fd = fs.as_raw_fd();
        check(libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_STRING, key, value, 0))?;
        check(libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, none, none, 0))?;
        let fd = check(libc::syscall(libc::SYS_fsmount, fd, 0, 0))?;
        OwnedFd::from_raw_fd(RawFd::try_from(fd)?)
    };
    // Read through the detached tree.
    let found = fs::read_dir(format!("/proc/self/fd/{}", root.as_raw_fd()))?.count();
    ensure!(found > 0, "nothing on the disk");
    Ok(())
}

/// Makes a child in the cgroup at the root of the hierarchy.
fn clone_into_root() -> Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let root = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open("/mnt")?;
    let mut args = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::try_from(libc::SIGCHLD)?,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: u64::try_from(root.as_raw_fd())?,
    };
    // SAFETY: without CLONE_VM it is as good as fork; the child ends at once.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>());
        if pid == 0 {
            libc::_exit(0);
        }
        i32::try_from(check(pid)?)?
    };
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)?;
    Ok(())
}

fn check(result: i64) -> Result<i64> {
    if result < 0 { Err(io::Error::last_os_error().into()) } else { Ok(result) }
}
