//! `shrike cleanup`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cleanup::{self, Places};

const EXAMPLES: &str = "\
Examples:
  systemctl stop shrike && shrike cleanup
  shrike cleanup --json";

/// Remove everything that an agent leaves on this host: what is pinned in the kernel for the next
/// one, its files, and what is left of the launcher's containers that are gone
///
/// It refuses while an agent is running. Containers that run are left alone.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CleanupArgs {
    /// Print what was removed as JSON
    #[arg(long)]
    json: bool,

    /// The agent's --pins
    #[arg(long, value_name = "DIR", default_value = super::PINS)]
    pins: PathBuf,

    /// The agent's --state
    #[arg(long, value_name = "DIR", default_value = super::STATE)]
    state: PathBuf,

    /// The agent's --socket
    #[arg(long, value_name = "PATH", default_value = super::SOCKET)]
    socket: PathBuf,

    /// The agent's --agent-socket
    #[arg(long, value_name = "PATH", default_value = super::AGENT_SOCKET)]
    agent_socket: PathBuf,
}

/// Removes it, and says what that was.
pub(super) fn run(args: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let CleanupArgs { json, pins, state, socket, agent_socket } = args;
    let removed = cleanup::run(&Places { pins, state, sockets: [socket, agent_socket] })?;
    if *json {
        let removed: Vec<_> = removed.iter().map(|path| path.to_string_lossy()).collect();
        let json = serde_json::to_string_pretty(&removed).context("cannot print the list")?;
        println!("{json}");
    } else if removed.is_empty() {
        println!("nothing was left");
    } else {
        for path in removed {
            println!("removed {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
