//! The label that a security module knows the command by: an `AppArmor` profile, or a context of `SELinux`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use super::selinux::Contexts;
use super::{LauncherError, Tried};

/// A label that the task gets when it executes the command.
pub(super) struct Label<'a> {
    /// Where the kernel is told.
    attribute: File,
    module: Module,
    name: &'a str,
}

#[derive(Clone, Copy)]
enum Module {
    AppArmor,
    SeLinux,
}

impl<'a> Label<'a> {
    /// Opens where the kernel is told, by the host's own `/proc`: what a container has in that place may be
    /// anything (CVE-2019-16884).
    pub(super) fn prepare(
        profile: Option<&'a str>,
        contexts: Option<&'a Contexts>,
    ) -> Result<Vec<Self>, LauncherError> {
        let profile = profile.map(|profile| (Module::AppArmor, profile));
        let context = contexts.map(|contexts| (Module::SeLinux, &*contexts.process));
        profile.into_iter().chain(context).map(|(module, name)| Self::open(module, name)).collect()
    }

    fn open(module: Module, name: &'a str) -> Result<Self, LauncherError> {
        let path = module.attribute();
        let attribute = OpenOptions::new().write(true).open(path);
        let attribute =
            attribute.tried(|| format!("open {path}: is {} active?", module.title()))?;
        Ok(Self { attribute, module, name })
    }

    /// Has the next execution change to it (`aa_change_onexec(2)`, `setexeccon(3)`).
    pub(super) fn apply(self) -> Result<(), LauncherError> {
        let Self { mut attribute, module, name } = self;
        let Err(error) = attribute.write_all(module.words(name).as_bytes()) else {
            return Ok(());
        };
        let error = match module.reason(&error) {
            Some(reason) => io::Error::other(reason),
            None => error,
        };
        Err(error).tried(|| format!("set the {} {name}", module.name()))
    }
}

impl Module {
    fn name(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor profile",
            Self::SeLinux => "SELinux context",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor",
            Self::SeLinux => "SELinux",
        }
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::AppArmor => "/proc/thread-self/attr/apparmor/exec",
            Self::SeLinux => "/proc/thread-self/attr/exec",
        }
    }

    fn words(self, name: &str) -> String {
        match self {
            Self::AppArmor => format!("exec {name}"),
            Self::SeLinux => name.to_owned(),
        }
    }

    fn reason(self, error: &io::Error) -> Option<&'static str> {
        match (self, error.raw_os_error()?) {
            (Self::AppArmor, libc::ENOENT) => {
                Some("there is none of that name: load it with apparmor_parser -r")
            }
            (Self::AppArmor, libc::EINVAL) => Some("AppArmor is not active on this host"),
            (Self::SeLinux, libc::EINVAL) => Some("the policy knows no such context"),
            _ => None,
        }
    }
}
