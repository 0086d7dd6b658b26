//! The folder that the host shares with a guest: virtiofs, read and write. It is the only shared
//! file system that the distribution's cloud kernels have.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use super::Host;
use crate::process::tail;

/// Where packages have the file server, in the order of preference.
const SERVERS: [&str; 2] = ["usr/libexec/virtiofsd", "usr/lib/qemu/virtiofsd"];

/// How long the server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A file server; ended when dropped.
#[derive(Debug)]
pub struct Share {
    server: Child,
    socket: PathBuf,
}

impl Share {
    /// Serves `folder` on a socket in `work`.
    pub fn serve(host: &Host, folder: &Path, work: &Path) -> Result<Self> {
        if folder.to_string_lossy().contains(',') {
            bail!("cannot share {}: virtiofsd takes no comma in a path", folder.display());
        }
        let socket = work.join("share");
        let log = work.join("share.log");
        let mut server = command(host)?
            .arg(format!("--socket-path={}", socket.display()))
            .arg("-o")
            .arg(format!("source={},sandbox=chroot", folder.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start virtiofsd")?;
        let deadline = Instant::now() + START_LIMIT;
        while !socket.exists() {
            if server.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = server.kill();
                let words = std::fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "cannot share {}: virtiofsd does not start\n{}",
                    folder.display(),
                    tail(&words)
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { server, socket })
    }

    /// The socket that QEMU connects to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It ends by itself with the guest, unless that never connected.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The server, as root of a user namespace where the user is not root: it insists on being root.
fn command(host: &Host) -> Result<Command> {
    let server = SERVERS.iter().map(|path| host.qemu.locate(path)).find(|path| path.exists());
    let Some(server) = server else {
        bail!(
            "this machine has no virtiofsd, which shares folders\nrun: apt-get install virtiofsd"
        );
    };
    if Uid::effective().is_root() {
        return Ok(host.qemu.sibling(&server));
    }
    let mut command = host.qemu.sibling(Path::new("unshare"));
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        // Its process file goes to a folder that only root may write.
        .args(["mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"])
        .arg(server);
    Ok(command)
}
