//! A process of a container to which the host hands descriptors over, and which uses them as what they
//! are: a file, or a socket that somebody listens at.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Where a process finds what it was started with, as systemd has it.
const INHERITED: RawFd = 3;

/// Where this program is, in the guest and in containers.
pub const PROGRAM: &str = "/usr/bin/shrike-tests";

/// What a file holds that is handed over.
pub const GIVEN: &str = "given\n";

/// What a process writes into it.
pub const ADDED: &str = "added\n";

/// How a process comes to a descriptor.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Handed {
    /// It takes a file from whoever serves at this socket
    Received { socket: PathBuf },
    /// It was started with a file
    Inherited,
    /// It was started with a listening socket, and answers one who calls
    Listening,
}

/// Uses what is handed over, and says so.
pub fn main(handed: &Handed) -> Result<()> {
    match handed {
        Handed::Received { socket } => use_file(receive(socket)?.into()),
        Handed::Inherited => use_file(inherited().into()),
        Handed::Listening => {
            let (mut caller, _) = TcpListener::from(inherited()).accept()?;
            Ok(caller.write_all(GIVEN.as_bytes())?)
        }
    }
}

fn inherited() -> OwnedFd {
    // SAFETY: whoever says that there is one has started this process with it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(INHERITED) }
}

fn receive(socket: &PathBuf) -> Result<OwnedFd> {
    let stream = UnixStream::connect(socket).context("connect to the host")?;
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let Some(descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just made it for this process.
            return Ok(unsafe { OwnedFd::from_raw_fd(*descriptor) });
        }
    }
    bail!("nothing was handed over")
}

/// Reads and writes, opens the file anew and passes it on, as services do with what they are given.
fn use_file(mut file: File) -> Result<()> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == GIVEN, "handed over: {text}");
    file.write_all(ADDED.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    let again = fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let passed = Command::new("cat").stdin(file).output()?;
    ensure!(again == format!("{GIVEN}{ADDED}"), "opened anew: {again}");
    ensure!(passed.stdout == again.as_bytes(), "passed on: {passed:?}");
    println!("{again}");
    Ok(())
}
