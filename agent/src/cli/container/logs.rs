//! `shrike container logs`.

use std::io::{self, Write};

use clap::Args;

use crate::launcher::{Container, ContainerId, LauncherError, LogQuery, Stream};

/// Print what a container in the background has written, to standard output and error as it did
#[derive(Args, Debug)]
pub(super) struct LogsArgs {
    /// Go on with what it writes, until it has ended
    #[arg(short, long)]
    follow: bool,

    /// The last N lines only
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,

    /// Begin each line with the time when it was written
    #[arg(short, long)]
    timestamps: bool,

    /// The container
    #[arg(value_name = "NAME")]
    name: ContainerId,
}

impl LogsArgs {
    pub(super) fn run(&self) -> Result<(), LauncherError> {
        let container = Container::find(&self.name)?;
        let query = LogQuery { tail: self.tail, follow: self.follow };
        container.log(query, |line| {
            let time = if self.timestamps { format!("{} ", line.time) } else { String::new() };
            let end: &[u8] = if line.is_whole { b"\n" } else { b"" };
            let text = [time.as_bytes(), line.text, end].concat();
            match line.stream {
                Stream::Stdout => io::stdout().write_all(&text).and_then(|()| io::stdout().flush()),
                Stream::Stderr => io::stderr().write_all(&text),
            }
        })
    }
}
