//! A task of a container becomes whom its command runs as, and executes it: the last part of what the first
//! task does, and all that one does which joins the container later.

use std::convert::Infallible;
use std::error::Error;
use std::ffi::CString;
use std::io::{self, Read};
use std::iter::successors;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{chdir, execve, execveat, getcwd, write};

use super::fault::{self, Role};
use super::label::Label;
use super::mount::c_string;
use super::record::Process;
use super::seccomp::Filter;
use super::selinux::Contexts;
use super::terminal::Terminal;
use super::{LauncherError, Spec, Tried, privilege, reaper, signal, ulimit};
use crate::capability::Capabilities;

/// Where programs are looked for, and the container's own `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the launcher sends when the task may go on.
pub(super) const GO: u8 = b'g';

/// What a task is to become.
pub(super) struct Execution<'a> {
    /// The container.
    pub(super) spec: &'a Spec,
    /// The command.
    pub(super) process: &'a Process,
    /// What `SELinux` knows it by.
    pub(super) contexts: Option<&'a Contexts>,
    /// What it may do.
    pub(super) capabilities: Capabilities,
    /// What decides which system calls it may make.
    pub(super) filter: Option<&'a Filter>,
    /// The signals that it should find unblocked.
    pub(super) signals: SigSet,
}

/// What a task brings along to become it.
#[derive(Default)]
pub(super) struct Entrance<'a> {
    /// The labels that it gets.
    pub(super) labels: Vec<Label<'a>>,
    /// The terminal that it takes.
    pub(super) terminal: Option<Terminal>,
    /// The program that starts the command, and is there beside it.
    pub(super) reaper: Option<reaper::Program>,
}

/// What a new task does: what it is told, as soon as the launcher lets it. Never comes back: a command takes
/// over, or the task ends.
pub(super) fn run(
    mut launcher: UnixStream,
    work: impl FnOnce(&UnixStream) -> Result<Infallible, LauncherError>,
) -> ! {
    fault::enter(Role::Init);
    let Err(error) = wait_for(&mut launcher).and_then(|()| work(&launcher));
    // Nobody is there to read it if the launcher was killed. By write(2), which the filter allows.
    let _ = write(&launcher, &report(&error));
    // Without the launcher's own clean-up, which this is a copy of.
    // SAFETY: ends the task and does nothing else.
    unsafe { libc::_exit(125) }
}

fn wait_for(launcher: &mut UnixStream) -> Result<(), LauncherError> {
    die_with(launcher)?;
    let mut go = [0];
    launcher.read_exact(&mut go).tried(|| "hear from the launcher".to_owned())
}

impl Execution<'_> {
    /// Becomes it. The task is root in the container's namespaces and files.
    pub(super) fn perform(
        &self,
        launcher: &UnixStream,
        entrance: Entrance<'_>,
    ) -> Result<Infallible, LauncherError> {
        let Entrance { labels, terminal, reaper } = entrance;
        self.enter_workdir()?;
        if let Some(terminal) = terminal {
            terminal.take(launcher, self.process.user)?;
        }
        labels.into_iter().try_for_each(Label::apply)?;
        let keep = privilege::available(self.capabilities)?;
        let no_new_privs = self.spec.security.no_new_privs(self.spec.privileged);
        if !no_new_privs {
            // It takes a privilege that may be gone afterwards.
            self.confine()?;
        }
        // Not earlier: what is done above may take more.
        ulimit::set(&self.spec.ulimits)?;
        privilege::drop_to(self.process.user, &self.spec.groups, keep)?;
        // Changing the user has cleared it.
        die_with(launcher)?;
        if no_new_privs {
            privilege::forbid_new()?;
        }
        let kept = [Some(launcher.as_fd()), reaper.as_ref().map(AsFd::as_fd)];
        close_all_but(kept.into_iter().flatten()).tried(|| "close descriptors".to_owned())?;
        signal::reset();
        let program = if let Some(reaper) = reaper {
            reaper.prepare(launcher, &self.signals, &self.process.args, &self.environment())?
        } else {
            self.signals.thread_set_mask().tried(|| "unblock signals".to_owned())?;
            Executable::of(&self.process.args, &self.environment())?
        };
        if no_new_privs {
            self.confine()?;
        }
        program.execute()
    }

    fn confine(&self) -> Result<(), LauncherError> {
        match self.filter {
            Some(filter) => filter.install().tried(|| "install the seccomp filter".to_owned()),
            None => Ok(()),
        }
    }

    fn enter_workdir(&self) -> Result<(), LauncherError> {
        let dir = &self.process.cwd;
        chdir(dir).tried(|| format!("enter {}", dir.display()))?;
        // A folder that was reached through a descriptor of the host's has no path in here.
        let cwd = getcwd().tried(|| format!("tell where {} is", dir.display()))?;
        if cwd.starts_with("(unreachable)") {
            return Err(LauncherError::Setup(format!("{} is outside", dir.display())));
        }
        Ok(())
    }

    /// The default environment, what the image adds to it, and what was asked for; later ones win.
    fn environment(&self) -> Vec<String> {
        let home = if self.process.user.uid == 0 { "/root" } else { "/" };
        let hostname = self.spec.hostname();
        let mut all =
            vec![format!("PATH={PATH}"), format!("HOME={home}"), format!("HOSTNAME={hostname}")];
        match std::env::var("TERM") {
            Ok(term) => all.push(format!("TERM={term}")),
            Err(_) if self.spec.tty => all.push("TERM=xterm".to_owned()),
            Err(_) => {}
        }
        for variable in &self.process.env {
            let name = variable.split('=').next().unwrap_or_default();
            all.retain(|other| other.split('=').next() != Some(name));
            // The name alone takes it away.
            if variable.contains('=') {
                all.push(variable.clone());
            }
        }
        all
    }
}

/// What execve(2) is called with, made before a filter may forbid what making it takes.
pub(super) struct Executable {
    /// The program by its descriptor, if that is known.
    program: Option<OwnedFd>,
    /// As it was asked for.
    name: String,
    /// Where it may be, in order.
    paths: Vec<(PathBuf, CString)>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Executable {
    /// That of a command, which is looked for in its own `PATH`.
    pub(super) fn of(command: &[String], env: &[String]) -> Result<Self, LauncherError> {
        let invalid = |error: io::Error| LauncherError::NotExecutable(error.to_string());
        let strings = |texts: &[String]| -> Result<Vec<CString>, LauncherError> {
            texts.iter().map(|text| c_string(text.as_str()).map_err(invalid)).collect()
        };
        let name = command.first().cloned().unwrap_or_default();
        let paths = candidates(&name, env).into_iter().map(|program| {
            let path = c_string(&program).map_err(invalid)?;
            Ok((program, path))
        });
        Ok(Self {
            program: None,
            paths: paths.collect::<Result<_, LauncherError>>()?,
            arguments: strings(command)?,
            environment: strings(env)?,
            name,
        })
    }

    /// That of a program that is open.
    pub(super) fn by_descriptor(
        program: OwnedFd,
        arguments: &[String],
        env: &[String],
    ) -> Result<Self, LauncherError> {
        Ok(Self { program: Some(program), ..Self::of(arguments, env)? })
    }

    pub(super) fn execute(self) -> Result<Infallible, LauncherError> {
        let Self { program, name, paths, arguments, environment } = self;
        if let Some(program) = program {
            let flags = AtFlags::AT_EMPTY_PATH;
            return execveat(&program, c"", &arguments, &environment, flags)
                .map_err(|errno| LauncherError::NotExecutable(errno.desc().to_owned()));
        }
        let mut denied = None;
        for (program, path) in paths {
            match execve(&path, &arguments, &environment) {
                Ok(never) => return Ok(never),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => denied = denied.or(Some((program, errno))),
            }
        }
        Err(match denied {
            Some((program, errno)) => {
                LauncherError::NotExecutable(format!("{}: {}", program.display(), errno.desc()))
            }
            None => LauncherError::NotFound(format!("{name}: no such file in the container")),
        })
    }
}

/// Where the program `name` may be.
fn candidates(name: &str, env: &[String]) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
    path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(name)).collect()
}

/// What the launcher reads of an error: the exit code, and the text behind it.
pub(super) fn report(error: &LauncherError) -> Vec<u8> {
    let text = match error {
        LauncherError::Setup(text)
        | LauncherError::NotExecutable(text)
        | LauncherError::NotFound(text) => text.clone(),
        _ => with_causes(error),
    };
    [&[error.exit_code()], text.as_bytes()].concat()
}

fn with_causes(error: &LauncherError) -> String {
    let causes = successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The error that such a report was made of.
pub(super) fn read_report(report: &[u8]) -> Option<LauncherError> {
    let (code, text) = report.split_first()?;
    let text = String::from_utf8_lossy(text).into_owned();
    Some(match code {
        126 => LauncherError::NotExecutable(text),
        127 => LauncherError::NotFound(text),
        _ => LauncherError::Setup(text),
    })
}

/// A parent that is killed takes the task with it.
pub(super) fn die_with_parent() -> Result<(), LauncherError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).tried(|| "follow the launcher's end".to_owned())
}

/// The same, also if the launcher was killed before this.
pub(super) fn die_with(launcher: &UnixStream) -> Result<(), LauncherError> {
    let what = || "follow the launcher's end".to_owned();
    die_with_parent()?;
    let mut fds = [PollFd::new(launcher.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).tried(what)?;
    let [launcher] = fds;
    match launcher.revents() {
        Some(events) if events.contains(PollFlags::POLLHUP) => {
            Err(LauncherError::Setup("the launcher has ended".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Until the command takes over, nobody in the container or in the namespaces that it joins may look into this
/// task: it has descriptors of the host's (CVE-2016-9962).
pub(super) fn hide_from_tracers() -> Result<(), LauncherError> {
    nix::sys::prctl::set_dumpable(false).tried(|| "hide from tracers".to_owned())
}

/// Neither the launcher's descriptors nor those that it was handed may reach the container, not even as the
/// path of its command: `/proc/self/fd/7/../..` (CVE-2024-21626). Those that are kept are closed by execve(2).
fn close_all_but<'a>(kept: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    /// Behind standard input, output and error.
    const FIRST: libc::c_uint = 3;
    let mut kept: Vec<_> = kept.map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut first = FIRST;
    for last in kept.iter().map(|&fd| fd - 1).chain([libc::c_uint::MAX]) {
        // SAFETY: this task ends by execve(2) or _exit(2), and nothing that had them is used before.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        let arrived = |error: LauncherError| {
            let error = read_report(&report(&error)).unwrap();
            (error.exit_code(), error.to_string())
        };
        let source = io::Error::from_raw_os_error(libc::EPERM);
        let system = LauncherError::System { what: "mount proc at /proc".into(), source };
        let (code, text) = arrived(system);
        assert_eq!(code, 125);
        assert!(
            text.starts_with("cannot set up the container: cannot mount proc at /proc: "),
            "{text}"
        );
        assert!(text.contains("not permitted"), "{text}");
        let (code, text) = arrived(LauncherError::NotFound("x: no such file".into()));
        assert_eq!((code, text.as_str()), (127, "cannot find the command: x: no such file"));
        assert_eq!(arrived(LauncherError::NotExecutable("x".into())).0, 126);
        assert!(read_report(b"").is_none(), "nothing was sent: the command runs");
    }

    #[test]
    fn programs_are_looked_for_in_path() {
        let env = ["PATH=/a::/b".to_owned()];
        assert_eq!(candidates("sh", &env), [Path::new("/a/sh"), Path::new("/b/sh")]);
        assert_eq!(candidates("./sh", &env), [Path::new("./sh")]);
    }
}
