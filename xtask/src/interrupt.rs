//! Ctrl-C and termination: guests are ended and temporary files removed before xtask goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// The exit code of a program that a person interrupted.
pub const EXIT_CODE: u8 = 130;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static CAREFUL: AtomicUsize = AtomicUsize::new(0);

/// While one exists, a signal only asks for an end instead of bringing it about.
#[derive(Debug)]
pub struct Careful(());

/// Takes over the signals that ask for an end. Must come before the first thread is started,
/// because threads inherit the mask.
pub fn watch() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot take over signals")?;
    thread::spawn(move || {
        // A second signal is meant: whoever sends it does not want to wait any longer.
        while signals.wait().is_ok() {
            let again = INTERRUPTED.swap(true, Ordering::SeqCst);
            if again || CAREFUL.load(Ordering::SeqCst) == 0 {
                std::process::exit(EXIT_CODE.into());
            }
        }
    });
    Ok(())
}

/// Whether an end was asked for.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

impl Careful {
    /// From now on, the caller looks at [`requested`] and ends its work itself.
    pub fn start() -> Self {
        CAREFUL.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Careful {
    fn drop(&mut self) {
        CAREFUL.fetch_sub(1, Ordering::SeqCst);
    }
}
