//! What `shrike ps` and `shrike tree` share: whom they ask, and how often they show it.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::table::{cut, terminal_size};
use crate::view::{self, AskError, Proc, Snapshot, Source};

/// Options of both.
#[derive(Args, Debug)]
pub(super) struct ViewArgs {
    /// Print it as JSON, with more of each process; with --watch, a document a line
    #[arg(long)]
    json: bool,

    /// Show it again every so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = seconds
    )]
    watch: Option<Duration>,

    /// The agent's --agent-socket
    #[arg(long, value_name = "PATH", default_value = super::AGENT_SOCKET)]
    agent_socket: PathBuf,
}

/// What is drawn on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// How many characters a line may have, if that matters.
    pub(super) width: Option<usize>,
    /// Whether it takes colours.
    pub(super) colour: bool,
}

/// What a command shows.
pub(super) trait View {
    /// For people.
    fn draw(&self, snapshot: &Snapshot, canvas: Canvas) -> anyhow::Result<String>;

    /// For programs.
    fn json(&self, snapshot: &Snapshot) -> anyhow::Result<serde_json::Value>;
}

impl ViewArgs {
    /// Shows it, once or until SIGINT or SIGTERM.
    pub(super) fn show(&self, view: &impl View) -> anyhow::Result<ExitCode> {
        super::end_with_reader();
        let Some(period) = self.watch else {
            let snapshot = self.look(&mut None, true)?;
            self.print(view, &snapshot)?;
            return Ok(ExitCode::SUCCESS);
        };
        let stop = signals()?;
        let is_drawn = !self.json && io::stdout().is_terminal();
        let (mut proc, mut is_first) = (None, true);
        loop {
            let snapshot = self.look(&mut proc, is_first && !is_drawn)?;
            if is_drawn {
                self.frame(view, &snapshot)?;
            } else {
                self.print(view, &snapshot)?;
            }
            is_first = false;
            if has_come(&stop, period)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Asks the agent, or looks around without one.
    fn look(&self, proc: &mut Option<Proc<'_>>, says_so: bool) -> anyhow::Result<Snapshot> {
        match view::ask(&self.agent_socket) {
            Err(AskError::NoAgent(path)) => {
                let proc = match proc {
                    Some(proc) => proc,
                    None => proc.insert(Proc::open(Path::new("/proc"))?),
                };
                let snapshot = proc.read()?;
                // JSON has its source in it.
                if says_so && !self.json {
                    eprintln!("shrike: {}", notice(&path));
                }
                Ok(snapshot)
            }
            asked => Ok(asked?),
        }
    }

    /// Draws over what was drawn before, as far as there is room.
    fn frame(&self, view: &impl View, snapshot: &Snapshot) -> anyhow::Result<()> {
        let canvas = Canvas::of_stdout();
        let mut text = String::new();
        if snapshot.source == Source::Proc {
            text += &cut(&notice(&self.agent_socket), canvas.width.unwrap_or(usize::MAX));
            text.push('\n');
        }
        text += &view.draw(snapshot, canvas)?;
        // To the upper left corner, and nothing below it.
        let (_, height) = terminal_size().unwrap_or((0, usize::MAX));
        write(&format!("\x1b[H\x1b[J{}", page(&text, height)))
    }

    fn print(&self, view: &impl View, snapshot: &Snapshot) -> anyhow::Result<()> {
        let text = match (self.json, self.watch) {
            (true, None) => format!("{:#}\n", view.json(snapshot)?),
            (true, Some(_)) => format!("{}\n", view.json(snapshot)?),
            (false, _) => view.draw(snapshot, Canvas::of_stdout())?,
        };
        write(&text)
    }
}

impl Canvas {
    fn of_stdout() -> Self {
        let width = terminal_size().map(|(width, _)| width);
        Self { width, colour: super::colourful(&io::stdout()) }
    }
}

/// What fits onto a terminal, whose last line is the cursor's.
fn page(text: &str, height: usize) -> String {
    let count = text.lines().count();
    if count < height {
        return text.to_owned();
    }
    let shown = height.saturating_sub(2);
    let lines = text.lines().take(shown).map(|line| format!("{line}\n"));
    lines.collect::<String>() + &format!("… {} more lines\n", count - shown)
}

/// What is missing without an agent.
fn notice(path: &Path) -> String {
    format!(
        "no agent listens at {}: this is from /proc, without boundaries and what has ended",
        path.display()
    )
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// What ends a watch.
fn signals() -> anyhow::Result<SignalFd> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).context("cannot receive signals")
}

/// Waits for a signal, so long.
fn has_come(stop: &SignalFd, period: Duration) -> anyhow::Result<bool> {
    let timeout = PollTimeout::try_from(period).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(stop.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno).context("cannot wait"),
    }
}

/// From a tenth of a second to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number of seconds, from 0.1 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_number_of_seconds() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "web", "0", "-1", "nan", "inf", "86401"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_leaves_the_cursor_a_line() {
        let text = "a\nb\nc\n";
        assert_eq!(page(text, 4), text);
        assert_eq!(page(text, 3), "a\n… 2 more lines\n");
        assert_eq!(page(text, 1), "… 3 more lines\n");
    }
}
