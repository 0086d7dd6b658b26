//! Terminals of containers, at the other end of which a user sits.

use std::cell::RefCell;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::{Pid, setsid, write};

use super::userns::{REMAP, on_disk};
use super::{leaves_nothing, wait};
use crate::agent::scratch;
use crate::container::Rootfs;

/// A user's terminal, with a launcher in it.
pub(super) struct User {
    master: OwnedFd,
    /// Kept, so that what is written is not lost with the launcher.
    slave: OwnedFd,
    before: Termios,
    launcher: Child,
    said: RefCell<String>,
}

impl User {
    /// Starts the launcher in a terminal of 33 lines with 77 letters.
    pub(super) fn start(rootfs: &Rootfs, options: &[&str], command: &[&str]) -> Result<Self> {
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None)?;
        let before = tcgetattr(&pty.slave)?;
        let mut launcher = rootfs.launcher(options, command);
        launcher.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?);
        launcher.stderr(pty.slave.try_clone()?);
        // SAFETY: both calls only change the new process.
        unsafe {
            launcher.pre_exec(|| {
                setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        let launcher = launcher.spawn()?;
        Ok(Self {
            master: pty.master,
            slave: pty.slave,
            before,
            launcher,
            said: RefCell::new(String::new()),
        })
    }

    pub(super) fn type_in(&self, text: &str) -> Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            rest = &rest[write(&self.master, rest)?..];
        }
        Ok(())
    }

    /// Waits until the terminal shows something, and returns all that it shows up to there from where the last
    /// search ended.
    pub(super) fn expect(&self, part: &str) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut said = self.said.borrow_mut();
            if let Some(at) = said.find(part) {
                let rest = said.split_off(at + part.len());
                return Ok(std::mem::replace(&mut *said, rest));
            }
            ensure!(Instant::now() < deadline, "not {part:?}: {said:?}");
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(100_u16))? == 1 {
                let mut chunk = [0; 4096];
                let length = nix::unistd::read(&self.master, &mut chunk)?;
                said.push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        }
    }

    fn resize(&self, ws_row: u16, ws_col: u16) -> Result<()> {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the operation reads the struct, which outlives the call.
        let result =
            unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        ensure!(result == 0, "the terminal keeps its size");
        Ok(())
    }

    /// Whether what is typed is passed on as it is.
    pub(super) fn is_raw(&self) -> Result<bool> {
        let flags = tcgetattr(&self.slave)?.local_flags;
        Ok(!flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.launcher.id())?), signal)?)
    }

    /// Waits for the launcher's exit code, with the terminal as it was.
    pub(super) fn end(mut self) -> Result<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            match self.launcher.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.launcher.kill()?;
                    bail!("the launcher does not end");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        ensure!(tcgetattr(&self.slave)? == self.before, "the terminal is not what it was");
        status.code().context("the launcher was killed")
    }
}

pub(super) fn terminals_are_the_containers_own() -> Result<()> {
    leaves_nothing(|rootfs| {
        let dir = scratch()?;
        let pid_file = dir.join("pid");
        let pid_option = format!("--pid-file={}", pid_file.display());
        let user = User::start(rootfs, &["-t", "-i", &pid_option], &["sh"])?;
        user.expect("# ")?;
        ensure!(user.is_raw()?, "what is typed is not passed on as it is");
        user.type_in(
            "busybox tty; busybox stty size; echo TERM=$TERM; ls -1 /dev/pts; echo en''d\r",
        )?;
        let said = user.expect("\nend\r\n")?;
        ensure!(said.contains("\n/dev/pts/0\r\n33 77\r\nTERM="), "{said:?}");
        let lines: Vec<&str> = said.lines().collect();
        ensure!(
            lines.contains(&"0") && lines.contains(&"ptmx") && !lines.contains(&"1"),
            "{said:?}"
        );
        ensure!(!said.contains("job control"), "{said:?}");
        // From outside: it is none of the host's.
        let task = Path::new("/proc").join(fs::read_to_string(&pid_file)?.trim());
        for fd in 0..3 {
            let file = task.join("fd").join(fd.to_string());
            ensure!(fs::read_link(&file)? == Path::new("/dev/pts/0"), "{fd} is another file");
            let (its, hosts) = (fs::metadata(&file)?.dev(), fs::metadata("/dev/pts")?.dev());
            ensure!(its != hosts, "{fd} is a terminal of the host's");
        }
        let stat = fs::read_to_string(task.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split(' ').collect();
        // Session and terminal: major 136, minor 0.
        let pid = task.file_name().and_then(|pid| pid.to_str()).context("no pid")?;
        ensure!(fields[4] == pid && fields[5] == (136 << 8).to_string(), "{stat}");

        user.type_in(
            "echo console > /dev/console; busybox stat -c %t:%T /dev/console; echo en''d\r",
        )?;
        let said = user.expect("\nend\r\n")?;
        ensure!(said.contains("\nconsole\r\n88:0\r\n"), "{said:?}");
        user.resize(44, 99)?;
        std::thread::sleep(Duration::from_millis(300));
        user.type_in("busybox stty size\r")?;
        user.expect("\n44 99\r\n")?;
        // What interrupts, interrupts what runs in the container, and nobody else.
        user.type_in("echo wa''it; sleep 1000; echo interrupted with $?\r")?;
        user.expect("\nwait\r\n")?;
        // Before, the shell itself is interrupted, which it does not mind.
        let children = task.join(format!("task/{pid}/children"));
        wait("asleep", || {
            let children = fs::read_to_string(&children).unwrap_or_default();
            let name = |child: &str| fs::read_to_string(format!("/proc/{child}/comm"));
            children.split_whitespace().any(|child| name(child).is_ok_and(|name| name == "sleep\n"))
        })?;
        user.type_in("\x03")?;
        user.type_in("echo still here\r")?;
        user.expect("\nstill here\r\n")?;
        user.type_in("exit 7\r")?;
        let code = user.end()?;
        ensure!(code == 7, "{code}");
        Ok(fs::remove_dir_all(dir)?)
    })
}

pub(super) fn terminals_are_left_as_they_were() -> Result<()> {
    leaves_nothing(|rootfs| {
        // By a signal that the command heeds, and by one that it does not.
        let script = "trap 'exit 5' TERM; echo rea''dy; while true; do sleep 0.1; done";
        let user = User::start(rootfs, &["-it"], &["sh", "-c", script])?;
        user.expect("ready")?;
        ensure!(user.is_raw()?, "what is typed is not passed on as it is");
        user.signal(Signal::SIGTERM)?;
        ensure!(user.end()? == 5);
        let user = User::start(
            rootfs,
            &["-it"],
            &["sh", "-c", "trap '' INT; echo rea''dy; exec sleep 1000"],
        )?;
        user.expect("ready")?;
        for _ in 0..3 {
            user.signal(Signal::SIGINT)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure!(user.end()? == 137);
        // By what cannot be set up, and what cannot be executed.
        let user = User::start(rootfs, &["-it", "-w", "/nowhere"], &["sh"])?;
        user.expect("cannot enter /nowhere")?;
        ensure!(user.end()? == 125);
        let user = User::start(rootfs, &["-it"], &["no-such-command"])?;
        user.expect("cannot find the command")?;
        ensure!(user.end()? == 127);
        // Without -i nothing is passed on, and the terminal stays as it is.
        let user = User::start(
            rootfs,
            &["-t"],
            &["sh", "-c", "trap '' INT; busybox tty; exec sleep 1000"],
        )?;
        user.expect("/dev/pts/0\r")?;
        ensure!(!user.is_raw()?, "the terminal is another");
        for _ in 0..3 {
            user.type_in("\x03")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure!(user.end()? == 137);
        // All of what is written is shown, whatever ends first.
        let user = User::start(rootfs, &["-t"], &["sh", "-c", "seq 1 5000; echo la''st"])?;
        let said = user.expect("\nlast\r\n")?;
        ensure!(said.lines().filter(|line| line.parse::<u32>().is_ok()).count() == 5000);
        ensure!(user.end()? == 0);
        let refused = rootfs.run(&["-t", "-i"], &["true"])?;
        ensure!(refused.code == 125 && refused.stderr.contains("is not a terminal"), "{refused:?}");
        Ok(())
    })
}

pub(super) fn terminals_belong_to_the_user() -> Result<()> {
    on_disk(|rootfs, _| {
        let script =
            "busybox stat -c '%u %a' $(busybox tty); echo > $(busybox tty) && echo ok; echo en''d";
        for (options, owner) in [
            (&["-t"][..], "0 620"),
            (&["-t", "--user=1000:100"], "1000 620"),
            (&["-t", REMAP, "--user=1000:100"], "1000 620"),
            (&["-t", "--privileged"], "0 620"),
            (&["-t", "--init"], "0 620"),
        ] {
            let user = User::start(rootfs, options, &["sh", "-c", script])?;
            let said = user.expect("end\r\n")?;
            ensure!(said.contains(owner) && said.contains("ok\r"), "{options:?}: {said:?}");
            ensure!(user.end()? == 0);
        }
        Ok(())
    })
}

/// With a first process of its own: what is typed to interrupt reaches the command once.
pub(super) fn terminals_interrupt_the_command_alone() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "trap 'echo int''errupted; n=$((n+1))' INT; n=0; echo rea''dy
            until test $n -gt 0; do sleep 0.1; done; sleep 0.5; echo times $n";
        let user = User::start(rootfs, &["-it", "--init"], &["sh", "-c", script])?;
        user.expect("ready")?;
        user.type_in("\x03")?;
        user.expect("times 1\r")?;
        ensure!(user.end()? == 0);
        Ok(())
    })
}
