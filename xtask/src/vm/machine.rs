//! One guest under QEMU: its command line, its channels, its time limit.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::accelerator::Accelerator;
use super::job::{Outcome, Port};
use super::share::Share;
use super::{Configuration, Host};
use crate::interrupt;
use crate::process::{shown, tail};
use crate::setup::kernel::Kernel;

/// How often the state of a running guest is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Where the streams of a guest go.
pub struct Channels<'a> {
    /// The command's standard output.
    pub stdout: &'a mut (dyn Write + Send),
    /// The command's standard error.
    pub stderr: &'a mut (dyn Write + Send),
    /// Test records.
    pub results: &'a mut (dyn Write + Send),
}

/// A guest that is ready to boot.
#[derive(Debug)]
pub struct Machine<'a> {
    /// QEMU and what it runs with.
    pub host: &'a Host,
    /// How instructions are executed.
    pub accelerator: Accelerator,
    /// The guest's kernel.
    pub kernel: &'a Kernel,
    /// The kernel's options and the machine's size.
    pub configuration: &'a Configuration,
    /// The first file system.
    pub initramfs: &'a Path,
    /// A folder of the host.
    pub share: Option<&'a Path>,
    /// The image of the disk with the root file system. What the guest writes to it is gone with it.
    pub disk: Option<&'a Path>,
    /// Where the console is written to.
    pub console: &'a Path,
    /// How long everything may take, from power on to power off.
    pub limit: Duration,
}

impl Machine<'_> {
    /// Boots the guest and waits for its end.
    pub fn run(&self, channels: Channels<'_>) -> Result<Outcome> {
        let _careful = interrupt::Careful::start();
        let folder = tempfile::Builder::new().prefix("shrike-vm-").tempdir()?;
        let share =
            self.share.map(|share| Share::serve(self.host, share, folder.path())).transpose()?;
        let sockets = Sockets::create(folder.path())?;
        let messages = folder.path().join("qemu.log");
        let mut qemu = self.start(&sockets, share.as_ref(), &messages)?;

        let ended = AtomicBool::new(false);
        let mut outcome = Vec::new();
        let finished = thread::scope(|scope| {
            let Channels { stdout, stderr, results } = channels;
            let sinks: [&mut (dyn Write + Send); 4] = [stdout, stderr, results, &mut outcome];
            for (listener, sink) in sockets.listeners.iter().zip(sinks) {
                scope.spawn(|| forward(listener, sink, &ended));
            }
            let finished = self.wait(&mut qemu);
            ended.store(true, Ordering::SeqCst);
            finished
        });
        finished?;
        match serde_json::from_slice(&outcome) {
            Ok(outcome) => Ok(outcome),
            Err(_) => bail!(
                "the guest ended without telling the outcome\n{}{}",
                tail(&fs::read_to_string(&messages).unwrap_or_default()),
                self.console_tail()
            ),
        }
    }

    /// The end of what the guest's kernel said, for the report of a failure.
    pub fn console_tail(&self) -> String {
        let console = fs::read(self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        format!("the end of its console:\n{}", tail(&console))
    }

    fn start(&self, sockets: &Sockets, share: Option<&Share>, messages: &Path) -> Result<Child> {
        let mut command = self.host.qemu.command();
        command
            .args(self.arguments(sockets, share))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(messages)?);
        command.spawn().with_context(|| format!("cannot start `{}`", shown(&command)))
    }

    fn arguments(&self, sockets: &Sockets, share: Option<&Share>) -> Vec<OsString> {
        let Configuration { memory, cpus, .. } = self.configuration;
        let mut list = ArgumentList::default();
        for firmware in self.host.firmware() {
            list.add("-L", firmware);
        }
        if self.configuration.counted {
            list.add("-icount", "shift=0,sleep=off");
            list.add("-machine", "q35");
            list.add("-accel", "tcg,thread=single");
        } else {
            list.add("-machine", format!("q35,accel={}", self.accelerator.name()));
        }
        list.add("-cpu", self.accelerator.cpu());
        list.add("-smp", cpus.to_string());
        list.add("-m", format!("{memory}M"));
        list.add("-display", "none");
        list.0.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
        list.add("-kernel", &self.kernel.image);
        list.add("-initrd", self.initramfs);
        list.add("-append", self.configuration.command_line());
        list.add("-chardev", with_path("file,id=console,path=", self.console));
        list.add("-serial", "chardev:console");
        list.add("-device", "virtio-serial-pci");
        for (port, path) in Port::ALL.into_iter().zip(&sockets.paths) {
            let name = port.name();
            list.add("-chardev", with_path(&format!("socket,id={name},path="), path));
            list.add("-device", format!("virtserialport,chardev={name},name={name}"));
        }
        if let Some(disk) = self.disk {
            let options = "format=raw,if=virtio,snapshot=on,cache=unsafe,file=";
            list.add("-drive", with_path(options, disk));
        }
        if let Some(share) = share {
            // The file server works in the guest's memory.
            list.add("-object", format!("memory-backend-memfd,id=memory,size={memory}M,share=on"));
            list.add("-numa", "node,memdev=memory");
            list.add("-chardev", with_path("socket,id=share,path=", share.socket()));
            list.add(
                "-device",
                format!("vhost-user-fs-pci,chardev=share,tag={}", super::job::SHARE_TAG),
            );
        }
        list.0
    }

    /// Waits for QEMU's end, and brings it about when time is up or a person wants it.
    fn wait(&self, qemu: &mut Child) -> Result<()> {
        let deadline = Instant::now() + self.limit;
        loop {
            if qemu.try_wait()?.is_some() {
                return Ok(());
            }
            let problem = if interrupt::requested() {
                "interrupted".to_owned()
            } else if Instant::now() > deadline {
                format!("the guest hung and was ended\n{}", self.console_tail())
            } else {
                thread::sleep(TICK);
                continue;
            };
            qemu.kill()?;
            qemu.wait()?;
            bail!(problem);
        }
    }
}

/// The host's ends of the ports.
#[derive(Debug)]
struct Sockets {
    paths: Vec<PathBuf>,
    listeners: Vec<UnixListener>,
}

impl Sockets {
    fn create(folder: &Path) -> Result<Self> {
        let mut sockets = Self { paths: Vec::new(), listeners: Vec::new() };
        for port in Port::ALL {
            let path = folder.join(port.name());
            let listener = UnixListener::bind(&path)
                .with_context(|| format!("cannot listen on {}", path.display()))?;
            // QEMU may end before it connects.
            listener.set_nonblocking(true)?;
            sockets.paths.push(path);
            sockets.listeners.push(listener);
        }
        Ok(sockets)
    }
}

/// Copies what the guest writes to a port, until QEMU is gone.
fn forward(listener: &UnixListener, sink: &mut (dyn Write + Send), ended: &AtomicBool) {
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if ended.load(Ordering::SeqCst) => return,
            Err(_) => thread::sleep(TICK),
        }
    };
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = stream.read(&mut buffer) {
        // A reader that went away must not stop the guest.
        if read == 0 {
            return;
        }
        let _ = sink.write_all(&buffer[..read]).and_then(|()| sink.flush());
    }
}

/// QEMU splits values at commas; a doubled one stands for itself.
fn with_path(prefix: &str, path: &Path) -> OsString {
    OsString::from(format!("{prefix}{}", path.display().to_string().replace(',', ",,")))
}

#[derive(Debug, Default)]
struct ArgumentList(Vec<OsString>);

impl ArgumentList {
    fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

/// A writer that hands over whole lines.
pub struct Lines<F> {
    partial: Vec<u8>,
    each: F,
}

impl<F: FnMut(&str)> Lines<F> {
    /// Calls `each` with every line, without its end.
    pub fn new(each: F) -> Self {
        Self { partial: Vec::new(), each }
    }
}

impl<F: FnMut(&str)> Write for Lines<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            (self.each)(String::from_utf8_lossy(&line[..end]).as_ref());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_over_whole() {
        let mut seen = Vec::new();
        let mut lines = Lines::new(|line: &str| seen.push(line.to_owned()));
        for part in ["on", "e\ntwo\nth", "ree\nrest"] {
            lines.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(with_path("file,path=", Path::new("/a,b")), "file,path=/a,,b");
    }
}
