//! The first task of a container: makes the system that the command finds, becomes whom it runs as,
//! and executes it. Runs in the child of `clone3`, with the namespaces made; every error goes back
//! to the launcher.

use std::error::Error;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::iter::successors;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{chdir, execve, execveat, getcwd, sethostname, write};

use super::device::Devices;
use super::label::Label;
use super::mount::c_string;
use super::namespace::Namespaces;
use super::reaper::Program;
use super::rootfs::{self, Sources};
use super::seccomp::Filter;
use super::signal::set_default;
use super::{
    LauncherError, Network, Sharing, Spec, StopSignal, Sysctl, Tried, User, UserMode, keyring,
    privilege, ulimit, userns,
};

/// Where programs are looked for, and the container's own `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the launcher sends when the task may go on.
pub(super) const GO: u8 = b'g';

/// Everything that the task is to do.
pub(super) struct Init<'a> {
    pub(super) spec: &'a Spec,
    /// The command with its arguments; not empty.
    pub(super) command: &'a [String],
    /// What of the host the container sees.
    pub(super) sources: &'a Sources,
    pub(super) devices: &'a Devices,
    /// Those that it joins.
    pub(super) namespaces: &'a Namespaces,
    pub(super) user: User,
    pub(super) env: &'a [String],
    pub(super) workdir: &'a Path,
    /// What decides which system calls the command may make.
    pub(super) filter: Option<&'a Filter>,
    /// The signals that the command should find unblocked.
    pub(super) signals: SigSet,
    /// What the image says about asking the command to end.
    pub(super) stop_signal: Option<StopSignal>,
}

impl Init<'_> {
    /// Never comes back: the command takes over, or the task ends.
    pub(super) fn run(&self, mut launcher: UnixStream) -> ! {
        let Err(error) = self.start(&mut launcher);
        // Nobody is there to read it if the launcher was killed. By write(2), which the filter allows.
        let _ = write(&launcher, &report(&error));
        // Without the launcher's own clean-up, which this is a copy of.
        // SAFETY: ends the task and does nothing else.
        unsafe { libc::_exit(125) }
    }

    fn start(&self, launcher: &mut UnixStream) -> Result<std::convert::Infallible, LauncherError> {
        die_with_launcher()?;
        hide_from_tracers()?;
        let reaper = self.spec.init.then(Program::open).transpose()?;
        let mut go = [0];
        launcher.read_exact(&mut go).tried(|| "hear from the launcher".to_owned())?;
        let sysctls = self.enter_users()?;
        keyring::join_new()?;
        if self.spec.cgroupns() == &Sharing::Private {
            unshare(CloneFlags::CLONE_NEWCGROUP).tried(|| "leave the host's cgroups".to_owned())?;
        }
        self.namespaces.enter_cgroup()?;
        if self.spec.uts == Sharing::Private {
            let hostname = self.spec.hostname.as_deref().unwrap_or(self.spec.id.as_str());
            sethostname(hostname).tried(|| format!("set the host name to {hostname}"))?;
            if let Some(domain) = &self.spec.domainname {
                set_domain_name(domain).tried(|| format!("set the domain name to {domain}"))?;
            }
        }
        if self.spec.network == Network::None {
            loopback_up().tried(|| "bring the loopback device up".to_owned())?;
        }
        sysctls.into_iter().try_for_each(set_sysctl)?;
        let label = Label::prepare(&self.spec.security)?;
        let terminal = rootfs::enter(self.spec, self.devices, self.sources)?;
        self.enter_workdir()?;
        if let Some(terminal) = terminal {
            terminal.take(launcher, self.user)?;
        }
        label.map_or(Ok(()), Label::apply)?;
        let keep = privilege::available(self.spec.capability_set())?;
        let no_new_privs = self.spec.security.no_new_privs(self.spec.privileged);
        if !no_new_privs {
            // It takes a privilege that may be gone afterwards.
            self.filter()?;
        }
        // Not earlier: what is done above may take more.
        ulimit::set(&self.spec.ulimits)?;
        privilege::drop_to(self.user, &self.spec.groups, keep)?;
        // Changing the user has undone both.
        die_with_launcher()?;
        hide_from_tracers()?;
        if no_new_privs {
            privilege::forbid_new()?;
        }
        close_on_exec().tried(|| "mark descriptors to be closed".to_owned())?;
        // The launcher ignores it, as every program of its language.
        set_default(Signal::SIGPIPE).tried(|| "set signals to their defaults".to_owned())?;
        let execution = if let Some(program) = reaper {
            program.prepare(launcher, &self.signals, self.command, &self.environment())?
        } else {
            self.signals.thread_set_mask().tried(|| "unblock signals".to_owned())?;
            Execution::of(self.command, &self.environment())?
        };
        if no_new_privs {
            self.filter()?;
        }
        execution.perform()
    }

    fn filter(&self) -> Result<(), LauncherError> {
        match self.filter {
            Some(filter) => filter.install().tried(|| "install the seccomp filter".to_owned()),
            None => Ok(()),
        }
    }

    /// Becomes root of the user namespace if that is the container's own. Which parameters of the kernel only
    /// the host's root may set depends on the kernel: those are set before, and the others returned.
    fn enter_users(&self) -> Result<Vec<&Sysctl>, LauncherError> {
        let sysctls = self.spec.sysctls.iter();
        if self.spec.users == UserMode::Host {
            return Ok(sysctls.collect());
        }
        let refused = sysctls.filter(|sysctl| set_sysctl(sysctl).is_err()).collect();
        userns::become_root()?;
        // Changing the user has undone both.
        die_with_launcher()?;
        hide_from_tracers()?;
        Ok(refused)
    }

    fn enter_workdir(&self) -> Result<(), LauncherError> {
        let dir = self.workdir;
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
        let home = if self.user.uid == 0 { "/root" } else { "/" };
        let hostname = self.spec.hostname.as_deref().unwrap_or(self.spec.id.as_str());
        let mut all =
            vec![format!("PATH={PATH}"), format!("HOME={home}"), format!("HOSTNAME={hostname}")];
        match std::env::var("TERM") {
            Ok(term) => all.push(format!("TERM={term}")),
            Err(_) if self.spec.tty => all.push("TERM=xterm".to_owned()),
            Err(_) => {}
        }
        for variable in self.env {
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
pub(super) struct Execution {
    /// The program by its descriptor, if that is known.
    program: Option<OwnedFd>,
    /// As it was asked for.
    name: String,
    /// Where the program may be, in order.
    programs: Vec<(PathBuf, CString)>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Execution {
    /// That of a command, which is looked for in its own `PATH`.
    pub(super) fn of(command: &[String], env: &[String]) -> Result<Self, LauncherError> {
        let invalid = |error: io::Error| LauncherError::NotExecutable(error.to_string());
        let strings = |texts: &[String]| -> Result<Vec<CString>, LauncherError> {
            texts.iter().map(|text| c_string(text.as_str()).map_err(invalid)).collect()
        };
        let name = command.first().cloned().unwrap_or_default();
        let programs = candidates(&name, env).into_iter().map(|program| {
            let path = c_string(&program).map_err(invalid)?;
            Ok((program, path))
        });
        Ok(Self {
            program: None,
            programs: programs.collect::<Result<_, LauncherError>>()?,
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

    pub(super) fn perform(self) -> Result<std::convert::Infallible, LauncherError> {
        let Self { program, name, programs, arguments, environment } = self;
        if let Some(program) = program {
            let path = AtFlags::AT_EMPTY_PATH;
            return execveat(&program, c"", &arguments, &environment, path)
                .map_err(|errno| LauncherError::NotExecutable(errno.desc().to_owned()));
        }
        let mut denied = None;
        for (program, path) in programs {
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

/// Sets a parameter of the kernel, by the host's own `/proc`: that of the container is what is in its root
/// file system.
fn set_sysctl(sysctl: &Sysctl) -> Result<(), LauncherError> {
    let path = Path::new("/proc/sys").join(&sysctl.path);
    fs::write(&path, &sysctl.value).tried(|| format!("set {} to {}", path.display(), sysctl.value))
}

/// Sets what `domainname(1)` shows.
fn set_domain_name(domain: &str) -> io::Result<()> {
    // SAFETY: the text is as long as is said, and outlives the call.
    let result = unsafe { libc::setdomainname(domain.as_ptr().cast(), domain.len()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A launcher that is killed takes the container with it.
pub(super) fn die_with_launcher() -> Result<(), LauncherError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).tried(|| "follow the launcher's end".to_owned())
}

/// Until the command takes over, nobody in the container or in the namespaces that it joins may look into this
/// task: it has descriptors of the host's (CVE-2016-9962).
pub(super) fn hide_from_tracers() -> Result<(), LauncherError> {
    nix::sys::prctl::set_dumpable(false).tried(|| "hide from tracers".to_owned())
}

/// Descriptors that the launcher was handed must not reach the container.
fn close_on_exec() -> io::Result<()> {
    /// Behind standard input, output and error.
    const FIRST: libc::c_uint = 3;
    // SAFETY: marks descriptors and touches no memory.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn loopback_up() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;

    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all bytes zero are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    // `IFF_UP` is the first bit.
    request.ifr_ifru.ifru_flags = 1;
    // SAFETY: the request is what this operation reads.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
