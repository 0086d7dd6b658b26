//! Programs from the distribution's packages that run out of the cache, where the machine does not
//! have them installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::apt::Apt;
use super::{library_path, unavailable};
use crate::cache::{Cache, CacheLock};
use crate::console::Step;
use crate::process::{capture, find_program, is_executable};

/// A program that a guest or the work around it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The machine emulator, and the file server of its shared folders.
    Qemu,
    /// The guest's commands. Always from the package: the machine's own may be linked dynamically.
    Busybox,
    /// Works out which kernel module needs which.
    Depmod,
    /// Builds kernel modules.
    Make,
    /// The container runtime that is not ours. Always from the package: it goes into guests, with
    /// the libraries that it needs.
    Runc,
    /// Writes a folder into the image of a disk.
    Mke2fs,
    /// Loads `AppArmor` profiles. Always from the package: it goes into guests.
    ApparmorParser,
    /// Compiles policies of `SELinux`.
    Secilc,
    /// A sandbox to compare our launcher with.
    Bubblewrap,
    /// A container runtime to compare our launcher with.
    Crun,
}

/// A tool that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its executable.
    pub path: PathBuf,
    /// The folder that its package was unpacked to, unless it is installed.
    pub root: Option<PathBuf>,
}

impl Tool {
    /// The tool as it is there already.
    pub fn held(self, cache: &Cache) -> Option<Program> {
        let installed = match self {
            Self::Qemu => find_program("qemu-system-x86_64").filter(|path| runs(path)),
            Self::Depmod => find_program("depmod"),
            Self::Make => find_program("make"),
            Self::Mke2fs => find_program("mke2fs"),
            Self::Secilc => find_program("secilc"),
            Self::Bubblewrap => find_program("bwrap"),
            Self::Crun => find_program("crun"),
            Self::Busybox | Self::Runc | Self::ApparmorParser => None,
        };
        if let Some(path) = installed {
            return Some(Program { path, root: None });
        }
        let root = cache.path(self.entry());
        let path = self
            .executables()
            .iter()
            .map(|path| root.join(path))
            .find(|path| is_executable(path))?;
        Some(Program { path, root: Some(root) })
    }

    /// Fetches the package, and what it needs that the machine lacks.
    pub fn obtain(self, cache: &Cache, lock: &CacheLock, apt: &Apt<'_>) -> Result<Program> {
        let package = self.name();
        let fetch = || {
            let view = apt.machine()?;
            let mut wanted = vec![package];
            // Newer releases have the file server in a package of its own.
            if self == Self::Qemu && !view.versions("virtiofsd")?.is_empty() {
                wanted.push("virtiofsd");
            }
            if self == Self::Runc {
                wanted.extend(["libc6", "libseccomp2"]);
            }
            let packages = view.with_missing_dependencies(&wanted)?;
            let _step = Step::start("Fetching", format_args!("{package} ({})", view.name()));
            cache.publish(lock, self.entry(), |folder| apt.unpack(&view, &packages, folder))?;
            match self.held(cache) {
                Some(program) => Ok(program),
                None => bail!("the package {package} holds no program of that name"),
            }
        };
        fetch().map_err(|error| unavailable(package, &error, &format!("apt-get install {package}")))
    }

    /// The package that holds it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86",
            Self::Busybox => "busybox-static",
            Self::Depmod => "kmod",
            Self::Make => "make",
            Self::Runc => "runc",
            Self::Mke2fs => "e2fsprogs",
            Self::ApparmorParser => "apparmor",
            Self::Secilc => "secilc",
            Self::Bubblewrap => "bubblewrap",
            Self::Crun => "crun",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Busybox => "busybox",
            Self::Depmod => "kmod",
            Self::Make => "make",
            Self::Runc => "runc",
            Self::Mke2fs => "e2fsprogs",
            Self::ApparmorParser => "apparmor",
            Self::Secilc => "secilc",
            Self::Bubblewrap => "bubblewrap",
            Self::Crun => "crun",
        }
    }

    /// Where the package may have its executable: releases differ in whether `/usr` is merged.
    fn executables(self) -> &'static [&'static str] {
        match self {
            Self::Qemu => &["usr/bin/qemu-system-x86_64"],
            Self::Busybox => &["usr/bin/busybox", "bin/busybox"],
            // `depmod` itself is an absolute link to it.
            Self::Depmod => &["usr/bin/kmod", "bin/kmod"],
            Self::Make => &["usr/bin/make"],
            Self::Runc => &["usr/sbin/runc", "usr/bin/runc"],
            Self::Mke2fs => &["usr/sbin/mke2fs", "sbin/mke2fs"],
            Self::ApparmorParser => &["usr/sbin/apparmor_parser", "sbin/apparmor_parser"],
            Self::Secilc => &["usr/bin/secilc"],
            Self::Bubblewrap => &["usr/bin/bwrap"],
            Self::Crun => &["usr/bin/crun"],
        }
    }
}

impl Program {
    /// A command that runs the program, with the libraries that came with it.
    pub fn command(&self) -> Command {
        self.sibling(&self.path)
    }

    /// A command for another executable of the same packages.
    pub fn sibling(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        if let Some(libraries) = self.library_path() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Where `path`, which its package has below the root folder, lies on this machine.
    pub fn locate(&self, path: &str) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("/")).join(path)
    }

    fn library_path(&self) -> Option<OsString> {
        self.root.as_deref().map(library_path)
    }
}

fn runs(path: &Path) -> bool {
    capture(Command::new(path).arg("--version")).is_ok()
}
