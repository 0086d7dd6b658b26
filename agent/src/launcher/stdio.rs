//! What a container's command has as standard input, output and error.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::log::{Ends, Log};
use super::{LauncherError, Tried};

/// The three of a command that is going to be started.
pub(super) struct Stdio {
    logged: Option<Logged>,
}

struct Logged {
    log: Log,
    /// There is nothing to read.
    stdin: OwnedFd,
    ends: Ends,
}

impl Stdio {
    /// Those of the launcher.
    pub(super) fn inherited() -> Self {
        Self { logged: None }
    }

    /// Nothing to read, and a log in this folder.
    pub(super) fn logged(files: &Path) -> Result<Self, LauncherError> {
        const NOTHING: &str = "/dev/null";
        let (log, ends) = Log::open(files)?;
        let stdin = File::open(NOTHING).tried(|| format!("open {NOTHING}"))?.into();
        Ok(Self { logged: Some(Logged { log, stdin, ends }) })
    }

    /// Makes them those of this task.
    pub(super) fn take(&self) -> Result<(), LauncherError> {
        let Some(Logged { stdin, ends, .. }) = &self.logged else { return Ok(()) };
        dup2_stdin(stdin.as_fd())
            .and_then(|()| dup2_stdout(ends.stdout.as_fd()))
            .and_then(|()| dup2_stderr(ends.stderr.as_fd()))
            .tried(|| "hand over standard input and output".to_owned())
    }

    /// The log, for whoever writes it. The task has its ends of it by now.
    pub(super) fn log(self) -> Option<Log> {
        self.logged.map(|logged| logged.log)
    }
}
