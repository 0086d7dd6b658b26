//! What begins and ends the life of containers that are there: `start`, `stop`, `kill`, `rm` and others.

use std::time::Duration;

use clap::Args;
use nix::sys::signal::Signal;

use crate::launcher::{self, ContainerId, LauncherError};

/// Containers, by name.
#[derive(Args, Debug)]
pub(super) struct Names {
    /// The containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ContainerId>,
}

impl Names {
    /// Does something with each container, and says which it was done with. One that fails does not keep the others
    /// from it; the last error is what is returned.
    pub(super) fn each(
        &self,
        act: impl Fn(&ContainerId) -> Result<(), LauncherError>,
    ) -> Result<(), LauncherError> {
        let mut failed = None;
        for name in &self.names {
            match act(name) {
                Ok(()) => println!("{name}"),
                Err(error) => {
                    if let Some(error) = failed.replace(error) {
                        crate::cli::report(&error.into());
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Waits for the end of each, and prints the exit codes.
    pub(super) fn wait(&self) -> Result<(), LauncherError> {
        self.names.iter().try_for_each(|name| {
            println!("{}", launcher::wait(name)?);
            Ok(())
        })
    }
}

/// Start containers that do not run, in the background
#[derive(Args, Debug)]
pub(super) struct StartArgs {
    /// Stay until the command has ended, and hand on its output and its exit code: for one container
    #[arg(short, long)]
    attach: bool,

    #[command(flatten)]
    names: Names,
}

impl StartArgs {
    pub(super) fn run(&self) -> Result<u8, LauncherError> {
        if !self.attach {
            return self.names.each(launcher::start).map(|()| 0);
        }
        match &*self.names.names {
            [name] => launcher::start_attached(name),
            _ => Err(LauncherError::OneOnly),
        }
    }
}

/// Send a signal to the first process of containers
#[derive(Args, Debug)]
pub(super) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal)]
    signal: Signal,

    #[command(flatten)]
    names: Names,
}

impl KillArgs {
    pub(super) fn run(&self) -> Result<(), LauncherError> {
        self.names.each(|name| launcher::kill(name, self.signal))
    }
}

/// Ask containers to end, and kill those that do not in time
#[derive(Args, Debug)]
pub(super) struct StopArgs {
    /// How they are asked: the signal, by name or number; by default, what --stop-signal or the image says,
    /// or TERM
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<Signal>,

    /// How long they may take, in seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    time: u32,

    #[command(flatten)]
    names: Names,
}

impl StopArgs {
    pub(super) fn run(&self) -> Result<(), LauncherError> {
        let time = Duration::from_secs(self.time.into());
        self.names.each(|name| launcher::stop(name, self.signal, time))
    }
}

/// Remove containers with all that they have written
#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    names: Names,
}

impl RemoveArgs {
    pub(super) fn run(&self) -> Result<(), LauncherError> {
        self.names.each(|name| launcher::remove(name, self.force))
    }
}

/// Reads a signal: `TERM`, `SIGTERM` or `15`.
fn signal(text: &str) -> Result<Signal, String> {
    let number = text.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok());
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = || format!("SIG{name}").parse().ok();
    number.or_else(named).ok_or_else(|| "expected a signal like TERM, SIGTERM or 15".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "term", "SIGTERM", "15"] {
            assert_eq!(signal(text), Ok(Signal::SIGTERM), "{text}");
        }
        for text in ["", "SIG", "0", "99", "-9", "SIGSIGTERM"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
