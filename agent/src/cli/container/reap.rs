//! `shrike container reap`: what the launcher executes in containers that ask for `--init`.

use std::os::fd::RawFd;

use clap::Args;

use crate::launcher::Reaper;

/// Start a command, pass signals on to it, and wait for orphans
#[derive(Args, Debug)]
pub(super) struct ReapArgs {
    /// Where the launcher hears of errors
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
    report: RawFd,

    /// A signal that the command should find blocked; may be given several times
    #[arg(long, value_name = "N")]
    blocked: Vec<i32>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl ReapArgs {
    pub(super) fn reaper(self) -> Reaper {
        Reaper { report: self.report, blocked: self.blocked, command: self.command }
    }
}
