//! What a person sees of xtask while it works: one line for each step, and on a terminal a live
//! line below them that tells what is under way and for how long.
//!
//! Everything here goes to standard error, so that the output of a guest's command stays clean.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the live line is drawn anew.
const TICK: Duration = Duration::from_millis(500);

static BOARD: LazyLock<Mutex<Board>> = LazyLock::new(|| {
    let live = std::io::stderr().is_terminal();
    if live {
        thread::spawn(|| {
            loop {
                thread::sleep(TICK);
                board().draw();
            }
        });
    }
    Mutex::new(Board { live, drawn: false, next: 0, steps: Vec::new() })
});

/// A step under way; it leaves the live line when dropped.
#[derive(Debug)]
pub struct Step {
    id: u64,
}

impl Step {
    /// Announces a step: `verb` is the first word of its line, `what` the rest.
    pub fn start(verb: &str, what: impl Display) -> Self {
        let what = what.to_string();
        let mut board = board();
        board.print(&format!("{} {what}", strong(&format!("{verb:>12}"))));
        let id = board.next;
        board.next += 1;
        board.steps.push(Entry { id, what, detail: String::new(), since: Instant::now() });
        board.draw();
        Self { id }
    }

    /// Says on the live line how far the step has come.
    pub fn detail(&self, detail: impl Display) {
        if let Some(entry) = board().steps.iter_mut().find(|entry| entry.id == self.id) {
            entry.detail = detail.to_string();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut board = board();
        board.steps.retain(|entry| entry.id != self.id);
        board.draw();
    }
}

/// Prints one line about something that is done or noteworthy.
pub fn note(verb: &str, what: impl Display) {
    board().print(&format!("{} {what}", strong(&format!("{verb:>12}"))));
}

/// Prints lines as they are, above the live line.
pub fn line(text: impl Display) {
    board().print(&text.to_string());
}

/// Paints `text` bold green where colour is wanted.
pub fn strong(text: &str) -> String {
    paint(text, "1;32")
}

/// Paints `text` bold red where colour is wanted.
pub fn alarming(text: &str) -> String {
    paint(text, "1;31")
}

/// Paints `text` yellow where colour is wanted.
pub fn muted(text: &str) -> String {
    paint(text, "33")
}

fn paint(text: &str, code: &str) -> String {
    let wanted = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Board {
    live: bool,
    drawn: bool,
    next: u64,
    steps: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    what: String,
    detail: String,
    since: Instant,
}

impl Board {
    fn print(&mut self, text: &str) {
        self.erase();
        // A closed standard error must not end the work itself.
        let _ = writeln!(std::io::stderr(), "{text}");
        self.draw();
    }

    fn erase(&mut self) {
        if self.drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
            self.drawn = false;
        }
    }

    fn draw(&mut self) {
        self.erase();
        if self.live && !self.steps.is_empty() {
            let _ = write!(std::io::stderr(), "{}", self.live_line(100));
            let _ = std::io::stderr().flush();
            self.drawn = true;
        }
    }

    /// All steps on one line of at most `width` characters: a longer one would wrap and could not
    /// be erased.
    fn live_line(&self, width: usize) -> String {
        let steps: Vec<String> = self.steps.iter().map(Entry::summary).collect();
        format!("{:>12} {}", "...", steps.join(" | ")).chars().take(width).collect()
    }
}

impl Entry {
    fn summary(&self) -> String {
        let seconds = self.since.elapsed().as_secs();
        let what = self.what.split(" (").next().unwrap_or_default();
        match self.detail.as_str() {
            "" => format!("{what} {seconds} s"),
            detail => format!("{what}: {detail}, {seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_line_names_each_step_and_never_wraps() {
        let entry = |what: &str, detail: &str| Entry {
            id: 0,
            what: what.into(),
            detail: detail.into(),
            since: Instant::now(),
        };
        let steps = vec![entry("bpf-linker (a minute)", "llvm-sys"), entry("QEMU", "")];
        let board = Board { live: true, drawn: false, next: 0, steps };

        assert_eq!(board.live_line(100), "         ... bpf-linker: llvm-sys, 0 s | QEMU 0 s");
        assert_eq!(board.live_line(20).len(), 20);
    }
}
