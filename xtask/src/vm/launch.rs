//! One command in a guest of its own, from what is built to how it ended.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::accelerator::Accelerator;
use super::initramfs::{self, Content};
use super::job::{Job, Outcome};
use super::machine::{Channels, Machine};
use super::{BOOT_LIMIT, Configuration, Host, kernel};
use crate::cache::Cache;
use crate::compile::{self, Profile};
use crate::interrupt;
use crate::setup::{self, Part};

/// A command for a guest.
#[derive(Debug)]
pub struct Launch<'a> {
    /// What kind of guest.
    pub configuration: &'a Configuration,
    /// The workspace's programs that it needs in its `PATH`.
    pub programs: &'a [&'a str],
    /// How they are built.
    pub profile: Profile,
    /// The command and its arguments.
    pub command: &'a [String],
    /// A folder of this machine that the guest shares.
    pub share: Option<&'a Path>,
    /// How long the command may take.
    pub limit: Duration,
}

/// A guest that has powered off.
#[derive(Debug)]
pub struct Ended {
    /// How the command ended.
    pub outcome: Outcome,
    /// The end of the guest's console.
    pub console: String,
}

impl Launch<'_> {
    /// Obtains what is missing, builds, boots, and waits for the end.
    pub fn run(&self, cache: &Cache, offline: bool, channels: Channels<'_>) -> Result<Ended> {
        let mut parts = setup::guest_parts([self.configuration.series]);
        parts.push(Part::Toolchain);
        if self.configuration.debian {
            parts.push(Part::Debian);
        }
        setup::ensure(cache, &parts, offline)?;
        let programs = compile::guest_programs(self.programs, self.profile)?;
        let host = Host::find(cache)?;
        let kernel = kernel(cache, self.configuration.series)?;
        let content = Content {
            programs: &programs.others,
            ..Content::minimal(&programs.init, &host.busybox)
        };
        let accelerator = if self.configuration.counted {
            Accelerator::Tcg
        } else {
            Accelerator::choose(cache, &host, &kernel, &content)?
        };

        let _careful = interrupt::Careful::start();
        let folder = tempfile::Builder::new().prefix("shrike-guest-").tempdir()?;
        let (initramfs, console) = (folder.path().join("initramfs"), folder.path().join("console"));
        let job = Job {
            modules: Vec::new(),
            command: self.command.to_vec(),
            share: self.share.is_some(),
            disk: self.configuration.debian,
            seconds: self.limit.as_secs(),
        };
        initramfs::write(&initramfs, &kernel, &content, job)?;
        let disk = self.configuration.disk(cache)?;
        let machine = Machine {
            host: &host,
            accelerator,
            kernel: &kernel,
            configuration: self.configuration,
            initramfs: &initramfs,
            share: self.share,
            disk: disk.as_deref(),
            console: &console,
            limit: self.limit + BOOT_LIMIT,
        };
        let outcome = machine.run(channels)?;
        Ok(Ended { outcome, console: machine.console_tail() })
    }
}
