//! Building the workspace's programs.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::shown;
use crate::workspace;

/// How programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For development, for guests and for tests.
    Dev,
    /// For distribution.
    Release,
}

/// Programs that go into a guest.
#[derive(Clone, Debug)]
pub struct GuestPrograms {
    /// The guest's init.
    pub init: PathBuf,
    /// The others, in the order asked for.
    pub others: Vec<PathBuf>,
}

/// Builds the guest's init and `names`.
pub fn guest_programs(names: &[&str], profile: Profile) -> Result<GuestPrograms> {
    let mut wanted = vec!["guest-init"];
    wanted.extend_from_slice(names);
    let mut built = programs(&wanted, profile)?.into_iter();
    let init = built.next().context("cargo built no guest-init")?;
    Ok(GuestPrograms { init, others: built.collect() })
}

/// Builds the programs `names` and returns where they are.
pub fn programs(names: &[&str], profile: Profile) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--workspace", "--exclude", "shrike-ebpf"]);
    cargo.arg("--message-format=json-render-diagnostics");
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    for name in names {
        cargo.args(["--bin", name]);
    }
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(&cargo)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shown(&cargo), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    names
        .iter()
        .map(|name| executable(&messages, name).with_context(|| format!("cargo built no {name}")))
        .collect()
}

/// The executable of the program `name` in cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(
        |message| {
            let of_program =
                message["target"]["name"] == name && message["target"]["kind"][0] == "bin";
            of_program.then(|| message["executable"].as_str().map(PathBuf::from))?
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"shrike","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"shrike","kind":["bin"]},"executable":"/target/debug/shrike"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "shrike"), Some("/target/debug/shrike".into()));
        assert_eq!(executable(messages, "guest-init"), None);
    }
}
