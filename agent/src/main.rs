//! Shrike: a runtime security agent for container hosts.

mod alert;
mod alive;
mod bpf;
mod capability;
mod cleanup;
mod cli;
mod config;
mod context;
mod detect;
mod dispatch;
mod doctor;
mod engine;
mod entrance;
mod events;
#[cfg(test)]
mod fuzz;
mod gap;
mod health;
mod http;
mod launcher;
mod metrics;
mod node;
mod outcome;
mod pipeline;
mod plan;
mod pulse;
mod record;
mod recording;
mod replay;
mod run;
mod selftest;
mod sensor;
mod sink;
mod socket;
mod view;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(code) => code,
        Err(error) => {
            cli::report(&error);
            ExitCode::FAILURE
        }
    }
}
