//! `shrike container`.

mod environment;
mod reap;
mod run;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::reap::ReapArgs;
use self::run::RunArgs;
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
    Diff(DiffArgs),
    Gc(GcArgs),
    #[command(hide = true)]
    Reap(ReapArgs),
}

/// Show what a running container has changed of its image: A for added, C for changed, D for deleted
#[derive(Args, Debug)]
struct DiffArgs {
    /// The container
    #[arg(value_name = "NAME")]
    name: ContainerId,

    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

/// Remove what is left of containers whose launcher was killed, and layers that no container has
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
    let outcome = match args.action {
        // What is read for the specification is read once.
        Action::Run(args) => {
            launcher::seal().and_then(|()| args.spec()).and_then(|spec| launcher::run(&spec))
        }
        Action::Reap(args) => Ok(args.reaper().run()),
        Action::Diff(args) => diff(&args).map(|()| 0),
        Action::Gc(args) => gc(&args).map(|()| 0),
    };
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
