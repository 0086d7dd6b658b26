//! What is written down of a container, in its folder: it outlives the launcher, and the host's next boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::selinux::Contexts;
use super::spec::{Spec, StopSignal, User};
use super::{LauncherError, Tried};

/// The file, in a container's folder.
const FILE: &str = "container.json";

/// Changes with the shape of the file.
const VERSION: u32 = 1;

/// A container, as it was asked for and what has become of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    version: u32,
    /// What it was to be.
    pub(crate) spec: Spec,
    /// Whether it stays when its command has ended.
    pub(crate) is_kept: bool,
    /// When it was asked for.
    pub(crate) created: Timestamp,
    /// When its command was last started.
    pub(crate) started: Option<Timestamp>,
    /// What that is.
    pub(crate) process: Option<Process>,
    /// What `SELinux` knows it by.
    pub(crate) selinux: Option<Contexts>,
    /// How that has ended.
    pub(crate) ended: Option<End>,
}

/// What is executed, and how: OCI's `process`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Process {
    /// The command and its arguments.
    pub(crate) args: Vec<String>,
    /// Its environment beyond the default, as `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Where it starts.
    pub(crate) cwd: PathBuf,
    /// Whom it runs as.
    pub(crate) user: User,
    /// How it is asked to end, if not by `SIGTERM`.
    pub(crate) stop_signal: Option<StopSignal>,
}

/// How a container's command has ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct End {
    /// When.
    pub(crate) at: Timestamp,
    /// Its exit code: 128 and the signal's number if a signal ended it.
    pub(crate) code: u8,
    /// Whether the kernel has killed one of its processes for lack of memory.
    pub(crate) oom_killed: bool,
    /// How many bytes of what it wrote are not in its log.
    pub(crate) log_lost: u64,
}

impl Record {
    pub(super) fn new(spec: &Spec, is_kept: bool) -> Self {
        Self {
            version: VERSION,
            spec: spec.clone(),
            is_kept,
            created: Timestamp::now(),
            started: None,
            process: None,
            selinux: None,
            ended: None,
        }
    }

    /// Reads it, if there is one in this folder.
    pub(super) fn read(files: &Path) -> Result<Option<Self>, LauncherError> {
        let path = files.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.tried(|| format!("read {}", path.display()))?,
        };
        let read = serde_json::from_str(&text).map_err(io::Error::from);
        let what = || format!("understand {}: was it written by another release?", path.display());
        let record: Self = read.tried(what)?;
        if record.version == VERSION {
            return Ok(Some(record));
        }
        Err(io::Error::other(format!("it has version {}", record.version))).tried(what)
    }

    /// Writes it, in place of an earlier one: whoever reads sees one of the two.
    pub(super) fn write(&self, files: &Path) -> Result<(), LauncherError> {
        let (path, new) = (files.join(FILE), files.join(FILE).with_extension("new"));
        let text = serde_json::to_vec(self).map_err(io::Error::from);
        text.and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path))
            .tried(|| format!("write {}", path.display()))
    }
}
