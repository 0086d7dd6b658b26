//! Files: opened, made, mapped.

#![allow(
    clippy::cast_ptr_alignment,
    clippy::unnecessary_wraps,
    reason = "all deeds have one signature; rings are aligned to pages"
)]

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::ptr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::call::{call, compat, dev, low, magic};
use super::{Done, Scene, done};

pub(super) const FILE: &str = "file";

/// `given` is how its path is given.
fn opened(scene: &Scene<'_>, flags: u32, given: &str) -> Result<Value> {
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
        "given": given,
    }))
}

const O_LARGEFILE: u32 = 0o100_000;
const O_NONBLOCK: u32 = libc::O_NONBLOCK.cast_unsigned();
const O_NOFOLLOW: u32 = libc::O_NOFOLLOW.cast_unsigned();

pub(super) fn open(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path(FILE)?;
    let fd = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), O_NOFOLLOW);
    Ok(done("openat", fd, false, opened(scene, O_NOFOLLOW | O_LARGEFILE, &scene.text(FILE))?))
}

/// Its path leads there in a roundabout way.
pub(super) fn open_around(scene: &Scene<'_>) -> Result<Done> {
    let name = format!("dir/../{FILE}");
    let fd = call!(SYS_openat, libc::AT_FDCWD, scene.path(&name)?.as_ptr(), O_NOFOLLOW);
    Ok(done("openat", fd, false, opened(scene, O_NOFOLLOW | O_LARGEFILE, &scene.text(&name))?))
}

const I386_OPEN: u32 = 5;

pub(super) fn open_compat(scene: &Scene<'_>) -> Result<Done> {
    let path = low(scene.path(FILE)?.as_bytes_with_nul())?;
    let fd = compat(I386_OPEN, [path, O_NOFOLLOW, 0]);
    let done = done("open", fd, false, opened(scene, O_NOFOLLOW, &scene.text(FILE))?);
    Ok(Done { abi: "i386", ..done })
}

pub(super) fn open_compat_attempt(scene: &Scene<'_>) -> Result<Done> {
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
        "given": path,
    })
}

pub(super) fn open_attempt(scene: &Scene<'_>) -> Result<Done> {
    let name = if scene.outcome == "denied" { "secret" } else { "missing" };
    let path = scene.path(name)?;
    let result = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), O_NOFOLLOW);
    Ok(done("openat", result, true, not_opened(&scene.text(name))))
}

/// By `io_uring`: the ring is used as its first submission makes it, without a library.
pub(super) fn open_by_ring(scene: &Scene<'_>) -> Result<Done> {
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
    let done = done("io_uring_enter", 0, false, opened(scene, flags, "")?);
    // What an entry of the ring came to, no system call returns.
    Ok(Done { result: None, ..done })
}

const REGULAR: u32 = libc::S_IFREG | 0o640;

pub(super) fn create(scene: &Scene<'_>) -> Result<Done> {
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

pub(super) fn create_attempt(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path("not")?;
    let result = call!(SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), REGULAR, 0);
    // The hook comes before the check of the folder's permissions.
    Ok(done("mknodat", result, false, created(scene, "not")?))
}

pub(super) fn create_there(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.path(FILE)?;
    let result = call!(SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), REGULAR, 0);
    let fields = json!({ "fs_magic": 0, "dev": 0, "mode": REGULAR, "path": scene.text(FILE) });
    Ok(done("mknodat", result, true, fields))
}

const DISK: u32 = libc::S_IFBLK | 0o600;

pub(super) fn mknod_disk(scene: &Scene<'_>) -> Result<Done> {
    mknod(scene, &format!("disk-{}", scene.outcome), false)
}

pub(super) fn mknod_there(scene: &Scene<'_>) -> Result<Done> {
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

pub(super) fn mmap(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let result = call!(SYS_mmap, 0, 4096, READ_EXEC, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
    Ok(done("mmap", result, false, mapped(scene, READ_EXEC)?))
}

pub(super) fn mprotect(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let fd = file.as_raw_fd();
    let at = call!(SYS_mmap, 0, 4096, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
    let result = call!(SYS_mprotect, at, 4096, READ_EXEC);
    Ok(done("mprotect", result, false, mapped(scene, READ_EXEC)?))
}

/// Of a file that was not opened for reading.
pub(super) fn mmap_denied(scene: &Scene<'_>) -> Result<Done> {
    let file = OpenOptions::new().write(true).open(scene.dir.join(FILE))?;
    let result = call!(SYS_mmap, 0, 4096, READ_EXEC, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
    Ok(done("mmap", result, false, mapped(scene, READ_EXEC)?))
}

/// At an address that is no page's.
pub(super) fn mmap_bad(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let result = call!(SYS_mmap, 0x1001, 4096, READ_EXEC, flags, file.as_raw_fd(), 0);
    Ok(done("mmap", result, false, mapped(scene, READ_EXEC)?))
}
