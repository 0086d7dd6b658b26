//! The first task of a container: makes the system that the command finds, becomes whom it runs as,
//! and executes it. Runs in the child of `clone3`, with the namespaces made; every error goes back
//! to the launcher.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::device::Devices;
use super::execution::{Entrance, Execution};
use super::label::Label;
use super::namespace::Namespaces;
use super::network::Membership;
use super::rootfs::{self, Sources};
use super::{LauncherError, Sharing, Spec, Sysctl, Tried, UserMode, keyring, reaper, userns};

/// Everything that the task is to do.
pub(super) struct Init<'a> {
    pub(super) spec: &'a Spec,
    /// What of the host the container sees.
    pub(super) sources: &'a Sources,
    pub(super) devices: &'a Devices,
    /// Those that it joins.
    pub(super) namespaces: &'a Namespaces,
    /// Its place in networks, if it is joined to any.
    pub(super) membership: Option<&'a Membership>,
    /// What it ends with.
    pub(super) execution: Execution<'a>,
}

impl Init<'_> {
    /// Makes the system that the command finds, and executes it. It has the namespaces that were made with it.
    pub(super) fn perform(&self, launcher: &UnixStream) -> Result<Infallible, LauncherError> {
        // While it is known to be that.
        let reaper = self.spec.init.then(reaper::Program::open).transpose()?;
        let sysctls = self.enter_users(launcher)?;
        let contexts = self.execution.contexts;
        keyring::join_new(contexts)?;
        if self.spec.cgroupns() == &Sharing::Private {
            unshare(CloneFlags::CLONE_NEWCGROUP).tried(|| "leave the host's cgroups".to_owned())?;
        }
        self.namespaces.enter_cgroup()?;
        if self.spec.uts == Sharing::Private {
            let hostname = self.spec.hostname();
            sethostname(hostname).tried(|| format!("set the host name to {hostname}"))?;
            if let Some(domain) = &self.spec.domainname {
                set_domain_name(domain).tried(|| format!("set the domain name to {domain}"))?;
            }
        }
        if self.spec.network.is_own() {
            loopback_up().tried(|| "bring the loopback device up".to_owned())?;
        }
        self.membership.map_or(Ok(()), Membership::configure)?;
        sysctls.into_iter().try_for_each(set_sysctl)?;
        let labels = Label::prepare(self.spec.security.apparmor(), contexts)?;
        let terminal = rootfs::enter(self.spec, self.devices, self.sources)?;
        self.execution.perform(launcher, Entrance { labels, terminal, reaper })
    }

    /// Becomes root of the user namespace if that is the container's own. Which parameters of the kernel only
    /// the host's root may set depends on the kernel: those are set before, and the others returned.
    fn enter_users(&self, launcher: &UnixStream) -> Result<Vec<&Sysctl>, LauncherError> {
        let sysctls = self.spec.sysctls.iter();
        if self.spec.users == UserMode::Host {
            return Ok(sysctls.collect());
        }
        let refused = sysctls.filter(|sysctl| set_sysctl(sysctl).is_err()).collect();
        userns::become_root(launcher)?;
        Ok(refused)
    }
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

fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

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
