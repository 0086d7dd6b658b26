//! The same without an agent, from `/proc`: what runs now, and where. Which boundaries were recorded, and what
//! started what that has ended since, only an agent knows.

use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use shrike_common::Namespaces;

use super::look::{Look, Tables};
use super::snapshot::{Snapshot, Source};
use crate::context::clock::Clock;
use crate::context::container::Containers;
use crate::context::names::Names;
use crate::context::process::Processes;
use crate::node;
use crate::sensor::boot_time;

/// Looks around.
pub(crate) fn read(proc: &Path) -> anyhow::Result<Snapshot> {
    let host = node::host_namespaces(proc).context("cannot tell containers apart")?;
    read_with(proc, host)
}

fn read_with(proc: &Path, host: Namespaces) -> anyhow::Result<Snapshot> {
    let processes = Processes::scan(proc, boot_time).context("cannot read the processes")?;
    let look = Look::take(
        &Tables {
            processes: &processes,
            containers: &Containers::default(),
            runtimes: None,
            names: &Names::of_roots(&proc.join("1/root"), &[]),
            host,
            clock: Clock::now().context("cannot read the clock")?,
        },
        Source::Proc,
    );
    Ok(Snapshot::of(&look, Timestamp::now()))
}
