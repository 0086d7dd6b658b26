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

const CLOCK: &str = "cannot read the clock";

/// What looks around, again and again.
pub(crate) struct Proc<'a> {
    path: &'a Path,
    host: Namespaces,
    names: Names,
    clock: Clock,
}

impl<'a> Proc<'a> {
    /// Of a folder like `/proc`.
    pub(crate) fn open(path: &'a Path) -> anyhow::Result<Self> {
        let host = node::host_namespaces(path).context("cannot tell containers apart")?;
        let names = Names::of_roots(&path.join("1/root"), &[]);
        let clock = Clock::now().context(CLOCK)?;
        Ok(Self { path, host, names, clock })
    }

    /// Looks around.
    pub(crate) fn read(&mut self) -> anyhow::Result<Snapshot> {
        self.names.refresh();
        self.clock.refresh().context(CLOCK)?;
        let processes =
            Processes::scan(self.path, boot_time).context("cannot read the processes")?;
        let look = Look::take(
            &Tables {
                processes: &processes,
                containers: &Containers::default(),
                runtimes: None,
                names: &self.names,
                host: self.host,
                clock: self.clock,
            },
            Source::Proc,
        );
        Ok(Snapshot::of(&look, Timestamp::now()))
    }
}
