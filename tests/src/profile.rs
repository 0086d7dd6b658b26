//! An `AppArmor` profile for containers.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::agent::scratch;

/// Has our launcher confine a container by the profile.
pub const OPTION: &str = "--security-opt=apparmor=shrike-tests";

/// What the kernel calls those that it confines.
pub const ENFORCED: &str = "shrike-tests (enforce)";

/// The only thing that it forbids is to write this file.
pub const FORBIDDEN: &str = "/tmp/forbidden";

/// Loads the profile into the kernel.
pub fn load() -> Result<()> {
    let text = format!(
        "profile shrike-tests flags=(attach_disconnected, mediate_deleted) {{
            file, capability, network, mount, umount, pivot_root, ptrace, signal, unix, change_profile,
            deny {FORBIDDEN} w,
        }}"
    );
    let file = scratch()?.join("profile");
    fs::write(&file, text)?;
    let parser = ["--replace", "--skip-cache"];
    let loaded = Command::new("apparmor_parser").args(parser).arg(&file).output()?;
    ensure!(loaded.status.success(), "the profile cannot be loaded: {loaded:?}");
    Ok(())
}
