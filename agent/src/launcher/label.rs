//! The label that a security module knows the command by: an `AppArmor` profile.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use super::security::Security;
use super::{LauncherError, Tried};

/// A label that the task gets when it executes the command.
pub(super) struct Label<'a> {
    /// Where the kernel is told.
    attribute: File,
    profile: &'a str,
}

impl<'a> Label<'a> {
    /// Opens where the kernel is told, by the host's own `/proc`: what a container has in that place may be
    /// anything (CVE-2019-16884).
    pub(super) fn prepare(security: &'a Security) -> Result<Option<Self>, LauncherError> {
        const ATTRIBUTE: &str = "/proc/thread-self/attr/apparmor/exec";
        let Some(profile) = security.apparmor() else { return Ok(None) };
        let attribute = OpenOptions::new().write(true).open(ATTRIBUTE);
        let attribute = attribute.tried(|| format!("open {ATTRIBUTE}: is AppArmor active?"))?;
        Ok(Some(Self { attribute, profile }))
    }

    /// Has the next execution change to it (`aa_change_onexec(2)`).
    pub(super) fn apply(mut self) -> Result<(), LauncherError> {
        let profile = self.profile;
        let Err(error) = self.attribute.write_all(format!("exec {profile}").as_bytes()) else {
            return Ok(());
        };
        let why = match error.raw_os_error() {
            Some(libc::ENOENT) => "there is none of that name: load it with apparmor_parser -r",
            Some(libc::EINVAL) => "AppArmor is not active on this host",
            _ => return Err(error).tried(|| format!("set the AppArmor profile {profile}")),
        };
        Err(io::Error::other(why)).tried(|| format!("set the AppArmor profile {profile}"))
    }
}
