//! What each process of a container may use at most (`getrlimit(2)`).

use std::io;

use nix::sys::resource::setrlimit;

use super::spec::Ulimit;
use super::{LauncherError, Tried};

/// Lets another task have this limit. Only the host's root may raise one, and the task may be another's.
pub(super) fn allow(pid: libc::pid_t, limit: &Ulimit) -> Result<(), LauncherError> {
    let what = || format!("allow a limit of {} of {}", limit.name(), limit.hard);
    let has = exchange(pid, limit, None).tried(what)?;
    if limit.hard > has.rlim_max {
        let more = libc::rlimit { rlim_cur: has.rlim_cur, rlim_max: limit.hard };
        exchange(pid, limit, Some(&more)).tried(what)?;
    }
    Ok(())
}

/// Sets the limits of this task.
pub(super) fn set(limits: &[Ulimit]) -> Result<(), LauncherError> {
    for limit in limits {
        setrlimit(limit.resource, limit.soft, limit.hard).tried(|| {
            format!("set the limit of {} to {}:{}", limit.name(), limit.soft, limit.hard)
        })?;
    }
    Ok(())
}

/// Sets what is limited if there is something new, and returns what it was.
fn exchange(
    pid: libc::pid_t,
    limit: &Ulimit,
    new: Option<&libc::rlimit>,
) -> io::Result<libc::rlimit> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both structs outlive the call, and a null pointer stands for nothing new.
    let result = unsafe { libc::prlimit(pid, limit.resource as _, new, &raw mut old) };
    if result == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}
