//! A terminal of the container's own: made in its own devpts, and relayed to the one that the launcher was started
//! from. Everything of it is found by descriptors, and looked at before it is used: what has the name of a device
//! may be anything (CVE-2025-52565).

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown, read, setsid, write};

use super::detached::Detached;
use super::mount::{Kind, Tree};
use super::{LauncherError, Spec, Tried, User, handover};

/// What goes with the terminal when it is handed over.
const HANDED_OVER: u8 = b't';

/// Where the container has its terminal beside `/dev/pts`.
const CONSOLE: &str = "/dev/console";

/// An error if a terminal is asked for, and there is none to relay it to.
pub(super) fn check(spec: &Spec) -> Result<(), LauncherError> {
    if spec.tty && !io::stdin().is_terminal() {
        return Err(LauncherError::NoTerminal);
    }
    Ok(())
}

/// Both ends of a terminal, in the container.
pub(super) struct Terminal {
    /// What programs do not see: the launcher gets it.
    master: OwnedFd,
    /// What they take for the terminal.
    slave: OwnedFd,
}

impl Terminal {
    /// Makes one in the devpts of the container, and shows it as its console.
    pub(super) fn make(spec: &Spec, tree: &Tree) -> Result<Self, LauncherError> {
        let what = || "make a terminal in the container (--tty)".to_owned();
        let folder = tree.find(Path::new("/dev/pts"))?.ok_or(Errno::ENOENT).tried(what)?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let master = openat2(&folder, "ptmx", how).tried(what)?;
        if !is_terminal(&master, |major, minor| (major, minor) == (5, 2)).tried(what)? {
            return Err(io::Error::other("there is something else in its place")).tried(what);
        }
        let slave = peer(&master).tried(what)?;
        if !is_terminal(&slave, |major, _| (136..144).contains(&major)).tried(what)? {
            return Err(io::Error::other("its other end is something else")).tried(what);
        }
        let terminal = Self { master, slave };
        terminal.show(spec, tree)?;
        Ok(terminal)
    }

    /// Makes it the console of the container. The host's, which privileged containers see, is not made for that.
    fn show(&self, spec: &Spec, tree: &Tree) -> Result<(), LauncherError> {
        let console = Path::new(CONSOLE);
        let at = if spec.privileged {
            tree.find(console)?
        } else {
            Some(tree.find_or_make(console, Kind::File)?)
        };
        let Some(at) = at else { return Ok(()) };
        let what = || format!("show the terminal as {CONSOLE}");
        let shown = Detached::of(self.slave.as_fd()).tried(what)?;
        Detached::new(console, shown).attach(&at).tried(what)
    }

    /// Hands its one end to the launcher, and takes the other one for what standard input, output and error are.
    pub(super) fn take(self, launcher: &UnixStream, user: User) -> Result<(), LauncherError> {
        let what = || "take the terminal over (--tty)".to_owned();
        let Self { master, slave } = self;
        // Its group stays that of devpts.
        fchown(&slave, Some(Uid::from_raw(user.uid)), None).tried(what)?;
        copy_size(io::stdin().as_fd(), master.as_fd()).tried(what)?;
        handover::send(launcher, &[HANDED_OVER], &[master]).tried(what)?;
        setsid().tried(what)?;
        // SAFETY: the operation takes a number.
        Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) }).tried(what)?;
        dup2_stdin(&slave).tried(what)?;
        dup2_stdout(&slave).tried(what)?;
        dup2_stderr(&slave).tried(what)
    }
}

/// The launcher's side: what the container writes is shown, and what is typed is passed on, if it is to be.
pub(super) struct Console {
    master: OwnedFd,
    /// Whether somebody in the container may still write.
    is_open: bool,
    /// How the user's terminal was before.
    before: Option<Termios>,
    /// Whether something may still be typed.
    is_typed: bool,
    /// What was typed, and the container has no room for yet.
    typed: Vec<u8>,
}

/// How much is relayed at once.
const CHUNK: usize = 4096;

impl Console {
    /// Takes over what the container's first task hands over; what it says instead is its report of an error.
    pub(super) fn receive(
        launcher: &UnixStream,
        is_interactive: bool,
    ) -> Result<Result<Self, Vec<u8>>, LauncherError> {
        let what = || "take the container's terminal over".to_owned();
        let (message, fds) = handover::receive(launcher).tried(what)?;
        let (&[HANDED_OVER], Some(master)) = (message.as_slice(), fds.into_iter().next()) else {
            return Ok(Err(message));
        };
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).tried(what)?;
        let mut console = Self {
            master,
            is_open: true,
            before: None,
            is_typed: is_interactive,
            typed: Vec::new(),
        };
        console.resize();
        let what = || "set the terminal for that of the container".to_owned();
        let before = tcgetattr(io::stdin()).tried(what)?;
        let mut raw = before.clone();
        if is_interactive {
            cfmakeraw(&mut raw);
        } else {
            // The other one has made of lines what terminals want.
            raw.output_flags.remove(OutputFlags::OPOST);
        }
        console.before = Some(before);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).tried(what)?;
        Ok(Ok(console))
    }

    /// Gives it the size of the user's terminal.
    pub(super) fn resize(&self) {
        // One that has none any more.
        let _ = copy_size(io::stdin().as_fd(), self.master.as_fd());
    }

    /// What is to be waited for.
    pub(super) fn sides<'a>(&'a self, stdin: &'a io::Stdin) -> impl Iterator<Item = PollFd<'a>> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !self.typed.is_empty());
        let master = self.is_open.then(|| PollFd::new(self.master.as_fd(), flags));
        // What is typed has to wait for what was typed before.
        let is_read = self.is_typed && self.typed.is_empty();
        let typed = is_read.then(|| PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        master.into_iter().chain(typed)
    }

    /// Relays what there is, without waiting.
    pub(super) fn relay(&mut self) {
        self.show_chunk();
        if self.is_typed && self.typed.is_empty() && has_input() {
            let mut chunk = [0; CHUNK];
            match read(io::stdin(), &mut chunk) {
                Ok(length @ 1..) => self.typed.extend(chunk.iter().take(length)),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // The user's terminal is gone.
                Ok(0) | Err(_) => self.is_typed = false,
            }
        }
        if !self.typed.is_empty() {
            match write(&self.master, &self.typed) {
                Ok(length) => drop(self.typed.drain(..length)),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // Nobody in the container reads it.
                Err(_) => self.typed.clear(),
            }
        }
    }

    /// Shows what the container has written to its end.
    pub(super) fn finish(mut self) {
        // Others in it may go on for ever.
        const MOST: usize = 256;
        let _ = (0..MOST).try_for_each(|_| self.show_chunk().then_some(()));
    }

    /// Shows a part of what the container has written; false if there is none.
    fn show_chunk(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        match read(&self.master, &mut chunk) {
            Ok(length @ 1..) => {
                let mut stdout = io::stdout();
                // Nobody sees it any more.
                let _ = stdout.write_all(chunk.get(..length).unwrap_or_default());
                let _ = stdout.flush();
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            // Nobody in the container has it open any more.
            Ok(0) | Err(_) => {
                self.is_open = false;
                false
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(errno) = tcsetattr(io::stdin(), SetArg::TCSANOW, before)
        {
            tracing::warn!("cannot set the terminal to what it was (stty sane does): {errno}");
        }
    }
}

/// Whether something was typed.
fn has_input() -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether a descriptor is of a terminal with such a number.
fn is_terminal(fd: &OwnedFd, is_of: impl Fn(u64, u64) -> bool) -> nix::Result<bool> {
    let stat = fstat(fd)?;
    let is_device = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    let is_pts = fstatfs(fd)?.filesystem_type() == DEVPTS_SUPER_MAGIC;
    Ok(is_device && is_pts && is_of(major(stat.st_rdev), minor(stat.st_rdev)))
}

/// The other end, which no path leads to.
fn peer(master: &OwnedFd) -> io::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the operation reads a number that outlives the call.
    Errno::result(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked)
    })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the operation takes a number and makes a descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives a terminal the size of another one.
fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> nix::Result<()> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the operation writes the struct, which outlives the call.
    Errno::result(unsafe { libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    // SAFETY: the operation reads the struct, which outlives the call.
    Errno::result(unsafe { libc::ioctl(to.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}
