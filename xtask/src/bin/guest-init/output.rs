//! The way of a command's output, and of the outcome, to the host.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::vm::job::{Outcome, Port};

/// How long output is still forwarded after the command has ended.
const GRACE: Duration = Duration::from_secs(2);

/// A stream that is being forwarded.
#[derive(Debug)]
pub(crate) struct Output {
    ended: Receiver<()>,
}

impl Output {
    /// Forwards everything that `source` says to `port`.
    pub(crate) fn forward(source: Option<impl Read + Send + 'static>, port: Port) -> Result<Self> {
        let mut source = source.context("the command has no output")?;
        let mut port = open(port)?;
        let (sender, ended) = channel();
        thread::spawn(move || {
            if let Err(error) = copy(&mut source, &mut port) {
                eprintln!("guest-init: cannot forward output: {error}");
            }
            // Nobody may be waiting any more.
            let _ = sender.send(());
        });
        Ok(Self { ended })
    }

    /// Waits until everything is forwarded, for a short while at most.
    pub(crate) fn finish(self) {
        let _ = self.ended.recv_timeout(GRACE);
    }
}

/// Sends the outcome.
pub(crate) fn send(outcome: &Outcome) -> Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    open(Port::Outcome)?.write_all(&line).context("cannot write to the port")
}

/// The device file of a port.
pub(crate) fn path(port: Port) -> PathBuf {
    PathBuf::from("/dev/virtio-ports").join(port.name())
}

/// Copies by reading and writing. `std::io::copy` would splice, which the driver of the ports does
/// not do reliably.
fn copy(source: &mut impl Read, port: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            read => port.write_all(&buffer[..read])?,
        }
    }
}

fn open(port: Port) -> Result<File> {
    let path = path(port);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}
