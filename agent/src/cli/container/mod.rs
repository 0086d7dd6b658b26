//! `shrike container`.

mod environment;
mod exec;
mod life;
mod list;
mod logs;
mod network;
mod reap;
mod run;
mod stats;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::exec::ExecArgs;
use self::life::{KillArgs, Names, RemoveArgs, StartArgs, StopArgs};
use self::list::{InspectArgs, ListArgs};
use self::logs::LogsArgs;
pub(super) use self::network::NetworkArgs;
use self::reap::ReapArgs;
use self::run::{CreateArgs, RunArgs};
use self::stats::StatsArgs;
use crate::launcher::{self, ContainerId, LauncherError};

/// Run containers, isolated as Docker's are by default
#[derive(Args, Debug)]
pub(super) struct ContainerArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Run(Box<RunArgs>),
    /// The same as `shrike network`
    #[command(hide = true)]
    Network(NetworkArgs),
    Create(Box<CreateArgs>),
    Start(StartArgs),
    Exec(ExecArgs),
    #[command(visible_alias = "ls")]
    Ps(ListArgs),
    Inspect(InspectArgs),
    Logs(LogsArgs),
    Stats(StatsArgs),
    Kill(KillArgs),
    Stop(StopArgs),
    /// Stop all processes of containers where they are, until they are unpaused
    Pause(Names),
    /// Let the processes of paused containers go on
    Unpause(Names),
    /// Wait until containers have ended, and print their exit codes
    Wait(Names),
    Rm(RemoveArgs),
    Diff(DiffArgs),
    Gc(GcArgs),
    #[command(hide = true)]
    Reap(ReapArgs),
}

impl Action {
    /// Whether it changes nothing, so that it may end anywhere.
    fn only_shows(&self) -> bool {
        matches!(
            self,
            Self::Ps(_) | Self::Inspect(_) | Self::Logs(_) | Self::Stats(_) | Self::Diff(_)
        )
    }
}

/// Show what a container has changed of its image: A for added, C for changed, D for deleted
#[derive(Args, Debug)]
struct DiffArgs {
    /// The container
    #[arg(value_name = "NAME")]
    name: ContainerId,

    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

/// Remove what is left of containers whose launcher was killed, layers that no container has, and
/// what is left of networks
#[derive(Args, Debug)]
struct GcArgs {
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,

    /// Print what it was as JSON
    #[arg(long)]
    json: bool,
}

/// Does what is asked for, and hands the exit code of a container on. No thread may have been started yet.
pub(super) fn run(args: ContainerArgs) -> ExitCode {
    if args.action.only_shows() {
        super::end_with_reader();
    }
    let outcome = match args.action {
        Action::Run(args) => args.run(),
        Action::Network(args) => network::run(args).map(|()| 0),
        Action::Create(args) => args.run(),
        Action::Start(args) => args.run(),
        Action::Exec(args) => args.run(),
        Action::Ps(args) => {
            args.run();
            Ok(0)
        }
        Action::Inspect(args) => args.run().map(|()| 0),
        Action::Logs(args) => args.run().map(|()| 0),
        Action::Stats(args) => args.run().map(|()| 0),
        Action::Kill(args) => args.run().map(|()| 0),
        Action::Stop(args) => args.run().map(|()| 0),
        Action::Pause(names) => names.each(|id| launcher::freeze(id, true)).map(|()| 0),
        Action::Unpause(names) => names.each(|id| launcher::freeze(id, false)).map(|()| 0),
        Action::Wait(names) => names.wait().map(|()| 0),
        Action::Rm(args) => args.run().map(|()| 0),
        Action::Reap(args) => Ok(args.reaper().run()),
        Action::Diff(args) => diff(&args).map(|()| 0),
        Action::Gc(args) => gc(&args).map(|()| 0),
    };
    finish(outcome)
}

/// Does what is asked for with networks.
pub(super) fn run_network(args: NetworkArgs) -> ExitCode {
    finish(network::run(args).map(|()| 0))
}

fn finish(outcome: Result<u8, LauncherError>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = ExitCode::from(error.exit_code());
            super::report(&error.into());
            code
        }
    }
}

fn diff(args: &DiffArgs) -> Result<(), LauncherError> {
    let changes = launcher::diff(&args.name)?;
    if args.json {
        let change = |change: &launcher::Change| json!({ "kind": change.kind.letter().to_string(), "path": change.path.to_string_lossy() });
        println!("{:#}", changes.iter().map(change).collect::<Value>());
    } else {
        for change in changes {
            println!("{change}");
        }
    }
    Ok(())
}

fn gc(args: &GcArgs) -> Result<(), LauncherError> {
    let left = launcher::clean_up(args.dry_run)?;
    if args.json {
        println!("{:#}", left.iter().map(|path| path.to_string_lossy()).collect::<Value>());
        return Ok(());
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for path in &left {
        println!("{verb} {}", path.display());
    }
    println!("{} {}", left.len(), if left.len() == 1 { "leftover" } else { "leftovers" });
    Ok(())
}
