//! Examines a node: what shrike needs there, what of it is met, and how to get the rest.

mod kernel;
mod privilege;
mod probes;
mod report;
mod security;

use std::fs;
use std::io;
use std::path::PathBuf;

use report::Check;
pub(crate) use report::Report;

/// What the doctor looks at. Tests hand it folders of their own.
pub(crate) struct Roots {
    /// The `/proc` of the node.
    pub(crate) proc: PathBuf,
    /// The `/sys` of the node.
    pub(crate) sys: PathBuf,
    /// The running kernel's release.
    pub(crate) release: String,
    /// The processor's architecture.
    pub(crate) machine: String,
    /// Tries a harmless bpf(2) call.
    pub(crate) try_bpf: fn() -> io::Result<()>,
}

impl Default for Roots {
    fn default() -> Self {
        let (release, machine) = nix::sys::utsname::uname().map_or_else(
            |_| Default::default(),
            |name| {
                let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
                (text(name.release()), text(name.machine()))
            },
        );
        let (proc, sys) = (PathBuf::from("/proc"), PathBuf::from("/sys"));
        Self { proc, sys, release, machine, try_bpf: privilege::try_bpf }
    }
}

impl Roots {
    fn read_proc(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.proc.join(path))
    }

    fn read_sys(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.sys.join(path))
    }
}

/// Examines the node.
pub(crate) fn examine(roots: &Roots) -> Report {
    let groups = [kernel::examine, privilege::examine, security::examine, probes::examine];
    Report::new(groups.iter().flat_map(|examine| examine(roots)).collect())
}

/// A requirement that could not be examined.
fn unknown(name: &'static str, path: &str, error: &io::Error, cure: &str) -> Check {
    let found = format!("unknown: cannot read {path}: {error}");
    Check::warning(name, found, "it cannot be said whether this requirement is met", cure)
}

#[cfg(test)]
mod tests;
