//! What the host and the guest's init tell each other: the job in the initramfs, and the ports on
//! which output, results and the outcome come back.

use serde::{Deserialize, Serialize};

/// Where the job lies in the initramfs.
pub const JOB_FILE: &str = "job.json";

/// The tag of the shared folder's file system.
pub const SHARE_TAG: &str = "share";

/// Where the guest has the folder that the host shares.
pub const SHARE_FOLDER: &str = "/share";

/// A virtio-serial port. The guest finds it as `/dev/virtio-ports/NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
    /// One record per test.
    Results,
    /// The [`Outcome`], last of all.
    Outcome,
}

/// What a guest is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Kernel modules to load, in this order.
    pub modules: Vec<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether the host shares a folder.
    pub share: bool,
    /// Whether the root file system is on a disk, instead of in memory.
    pub disk: bool,
    /// How long the command may take.
    pub seconds: u64,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The command ended with this exit code.
    Exited(i32),
    /// The command was ended by this signal.
    Killed(i32),
    /// The command took too long.
    TimedOut,
    /// The guest could not run the command.
    Failed(String),
}

impl Port {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stdout, Self::Stderr, Self::Results, Self::Outcome];

    /// Its name in the guest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "shrike.stdout",
            Self::Stderr => "shrike.stderr",
            Self::Results => "shrike.results",
            Self::Outcome => "shrike.outcome",
        }
    }
}
