//! Software emulation or KVM. KVM can be present and hang, so it is used only after a guest has
//! booted with it once, under a short limit; the answer is remembered until the host is rebooted.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::initramfs::{self, Content};
use super::job::{Job, Outcome};
use super::machine::{Channels, Machine};
use super::{Configuration, Host};
use crate::cache::Cache;
use crate::console::{Step, note};
use crate::interrupt;
use crate::setup::kernel::Kernel;

/// How long the trial may run: several times what a boot takes where KVM works.
const TRIAL: Duration = Duration::from_secs(10);

/// How a guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By QEMU: slow, and works everywhere.
    Tcg,
    /// By the processor.
    Kvm,
}

impl Accelerator {
    /// Finds out whether KVM works here, by a trial if nothing is known yet.
    pub fn choose(
        cache: &Cache,
        host: &Host,
        kernel: &Kernel,
        content: &Content<'_>,
    ) -> Result<Self> {
        if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Tcg);
        }
        let record = cache.path("kvm");
        let situation = situation(host)?;
        let known = fs::read_to_string(&record).unwrap_or_default();
        if let Some(answer) = known.strip_prefix(&situation) {
            return Ok(if answer == "works\n" { Self::Kvm } else { Self::Tcg });
        }
        let works = trial(host, kernel, content)?;
        let answer = if works { "works\n" } else { "fails\n" };
        note(
            "Using",
            if works { "KVM" } else { "software emulation: KVM is here but does not work" },
        );
        fs::write(&record, format!("{situation}{answer}"))
            .with_context(|| format!("cannot write {}", record.display()))?;
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }

    /// Its name for QEMU.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }

    /// The processor that goes with it.
    pub fn cpu(self) -> &'static str {
        match self {
            // QEMU 7.2 damages the flags register when it emulates `cmpxchg16b`: kernels that use
            // it for their allocators crash at random.
            Self::Tcg => "max,cx16=off",
            Self::Kvm => "host",
        }
    }
}

/// What an answer depends on.
fn situation(host: &Host) -> Result<String> {
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot id")?;
    Ok(format!("{} {}: ", boot.trim_end(), host.qemu.path.display()))
}

fn trial(host: &Host, kernel: &Kernel, content: &Content<'_>) -> Result<bool> {
    let _careful = interrupt::Careful::start();
    let _step = Step::start("Trying", "KVM");
    let folder = tempfile::Builder::new().prefix("shrike-kvm-").tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let job = Job {
        modules: Vec::new(),
        command: vec!["true".into()],
        share: false,
        disk: false,
        seconds: TRIAL.as_secs(),
    };
    let content = Content { programs: &[], ..content.clone() };
    initramfs::write(&path("initramfs"), kernel, &content, job)?;
    let outcome = boot(host, kernel, &path("initramfs"), &path("console"));
    if interrupt::requested() {
        outcome?;
        return Ok(false);
    }
    Ok(matches!(outcome, Ok(Outcome::Exited(0))))
}

fn boot(host: &Host, kernel: &Kernel, initramfs: &Path, console: &Path) -> Result<Outcome> {
    Machine {
        host,
        accelerator: Accelerator::Kvm,
        kernel,
        configuration: &Configuration::default(),
        initramfs,
        share: None,
        disk: None,
        console,
        limit: TRIAL,
    }
    .run(Channels {
        stdout: &mut io::sink(),
        stderr: &mut io::sink(),
        results: &mut io::sink(),
    })
}
