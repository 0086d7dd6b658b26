//! `shrike container exec`.

use std::path::PathBuf;

use clap::Args;

use super::environment::{self, variable};
use crate::launcher::{self, ContainerId, LauncherError, User};

const EXAMPLES: &str = "\
Examples:
  shrike container exec web -- ls -l /srv
  shrike container exec --user 1000 --env LANG=C web -- id

Exit codes: as those of `shrike container run`";

/// Run another command in a container that runs, and wait for it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExecArgs {
    /// Run the command as this user, by number; by default, as the container's own command
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<User>,

    /// An environment variable beyond those of the container's own command, NAME alone for the value that it
    /// has here; may be given several times
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable)]
    env: Vec<String>,

    /// Where the command starts; by default, where the container's own command did
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// All capabilities, and no profile of AppArmor
    #[arg(long)]
    privileged: bool,

    /// The container
    #[arg(value_name = "NAME")]
    name: ContainerId,

    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

impl ExecArgs {
    pub(super) fn run(self) -> Result<u8, LauncherError> {
        // What is read here is read once.
        launcher::seal()?;
        launcher::exec(&launcher::Command {
            id: self.name,
            args: self.command,
            user: self.user,
            env: environment::collect(&[], self.env)?,
            cwd: self.workdir,
            privileged: self.privileged,
        })
    }
}
