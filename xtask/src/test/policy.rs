//! The policy of `SELinux` that tests load into the kernel of a guest.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::process::capture;
use crate::setup::tool::Tool;
use crate::workspace;

/// The suite that needs it.
pub const SUITE: &str = "selinux";

/// The name of the compiled policy's file.
pub const FILE: &str = "selinux.policy";

/// Its source, in the workspace.
const SOURCE: &str = "tests/selinux/policy.cil";

/// What a kernel of each series can read.
const VERSION: &str = "33";

/// Where the names of all categories belong in the source, and how many there are.
const PLACE: &str = "@categories@";
const CATEGORIES: u16 = 1024;

/// Compiles it.
pub fn build(cache: &Cache) -> Result<PathBuf> {
    let source = fs::read_to_string(workspace::root().join(SOURCE))
        .with_context(|| format!("cannot read {SOURCE}"))?;
    let folder = workspace::target().join("selinux");
    fs::create_dir_all(&folder)?;
    let (complete, policy) = (folder.join("policy.cil"), folder.join(FILE));
    fs::write(&complete, source.replace(PLACE, &categories()))?;
    let compiler = Tool::Secilc.held(cache).context("secilc is gone: run cargo xtask setup")?;
    let mut command = compiler.command();
    command.args(["--policyvers", VERSION, "--filecontext", "/dev/null", "--output"]);
    capture(command.arg(&policy).arg(&complete))
        .with_context(|| format!("cannot compile {SOURCE}"))?;
    Ok(policy)
}

fn categories() -> String {
    let names: Vec<String> = (0..CATEGORIES).map(|number| format!("c{number}")).collect();
    let declared = names.join(")\n(category ");
    format!("(category {declared})\n(categoryorder ({}))", names.join(" "))
}
