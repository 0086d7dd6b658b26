//! The operations that are measured.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// Does an operation once.
pub(super) type Run = Box<dyn FnMut() -> Result<()>>;

/// Something that programs do all the time.
pub(super) struct Operation {
    /// Its name in the results.
    pub(super) name: &'static str,
    /// How often it is done in a round.
    pub(super) count: u32,
    /// What is needed for it, and the operation itself.
    pub(super) prepare: fn() -> Result<Run>,
}

/// The one that comes by the hook that is compared with an empty program.
pub(super) const OPEN: &str = "open+read+close";

/// Every operation.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation { name: "getpid", count: 20_000, prepare: getpid },
    Operation { name: OPEN, count: 4_000, prepare: open },
    Operation { name: "open+read+close of a marked file", count: 1_000, prepare: open_marked },
    Operation { name: "create+write+unlink", count: 1_000, prepare: create },
    Operation { name: "connect+accept", count: 300, prepare: connect },
    Operation { name: "fork+exec+wait", count: 100, prepare: exec },
];

/// 60 bytes.
const MARKED: &str = "/tmp/marked-by-the-benchmark/and-of-a-length-of-sixty-bytes-";

#[expect(clippy::unnecessary_wraps, reason = "the others can fail")]
fn getpid() -> Result<Run> {
    Ok(Box::new(|| {
        // SAFETY: the call has no precondition.
        unsafe { libc::syscall(libc::SYS_getpid) };
        Ok(())
    }))
}

fn open() -> Result<Run> {
    fs::write("/tmp/hot", "hot")?;
    Ok(Box::new(|| read("/tmp/hot")))
}

fn open_marked() -> Result<Run> {
    ensure!(MARKED.len() == 60, "the path has {} bytes", MARKED.len());
    fs::create_dir_all("/tmp/marked-by-the-benchmark")?;
    fs::write(MARKED, "hot")?;
    Ok(Box::new(|| read(MARKED)))
}

fn read(path: &str) -> Result<()> {
    let mut buffer = [0; 16];
    ensure!(File::open(path)?.read(&mut buffer)? == 3, "{path} has changed");
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the others can fail")]
fn create() -> Result<Run> {
    Ok(Box::new(|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open("/tmp/created")?;
        file.write_all(b"new")?;
        fs::remove_file("/tmp/created")?;
        Ok(())
    }))
}

fn connect() -> Result<Run> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok(Box::new(move || {
        let client = TcpStream::connect(address)?;
        drop((listener.accept()?, client));
        Ok(())
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "the others can fail")]
fn exec() -> Result<Run> {
    let argument = "x".repeat(246);
    Ok(Box::new(move || {
        let status = Command::new("/bin/true").arg(&argument).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "true is false");
        Ok(())
    }))
}
