//! Guests: a distribution kernel under QEMU with a first file system of our own.
//!
//! The host's side is here, the guest's is the program `guest-init`; [`job`] is what they share.

pub mod accelerator;
pub mod command;
pub mod initramfs;
pub mod job;
pub mod launch;
pub mod machine;
pub mod modules;
pub mod newc;
pub mod share;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::setup::debian;
use crate::setup::kernel::{Kernel, Series};
use crate::setup::tool::{Program, Tool};

/// What a guest may take to boot and to power off, besides the time of its job.
pub const BOOT_LIMIT: Duration = Duration::from_mins(1);

/// The order of security modules; BPF may be added at its end.
const SECURITY_MODULES: &str = "lockdown,capability,landlock,yama";

/// What kind of guest is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub struct Configuration {
    /// The line of kernels.
    pub series: Series,
    /// Whether `bpf` is among the active security modules.
    pub lsm_bpf: bool,
    /// Whether the kernel is fully preemptible.
    pub preempt_full: bool,
    /// Megabytes of memory.
    pub memory: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// More options for the kernel.
    pub append: String,
    /// Whether its clock counts instructions: one nanosecond each, as far as it is emulated, and
    /// none while it is idle.
    pub counted: bool,
    /// Whether it is a host of the distribution with its container runtimes, on a disk.
    pub debian: bool,
    /// Whether it has `SELinux` in the place of `AppArmor`, without a policy.
    pub selinux: bool,
}

/// The programs on this machine that guests are run with.
#[derive(Clone, Debug)]
pub struct Host {
    /// QEMU.
    pub qemu: Program,
    /// Statically linked busybox.
    pub busybox: PathBuf,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            series: Series::V6_1,
            lsm_bpf: true,
            preempt_full: false,
            memory: 1024,
            cpus: 1,
            append: String::new(),
            counted: false,
            debian: false,
            selinux: false,
        }
    }
}

impl Configuration {
    /// The name in reports, which tells the tests in the guest what was asked for: `6.1-bpf`,
    /// `6.12-nobpf`, `newest-bpf-preempt`, `6.12-bpf-smp`, `6.12-bpf-debian`, `6.12-bpf-selinux`.
    pub fn name(&self) -> String {
        let lsm = if self.lsm_bpf { "bpf" } else { "nobpf" };
        let preempt = if self.preempt_full { "-preempt" } else { "" };
        let smp = if self.cpus > 1 { "-smp" } else { "" };
        let debian = if self.debian { "-debian" } else { "" };
        let selinux = if self.selinux { "-selinux" } else { "" };
        format!("{}-{lsm}{preempt}{smp}{debian}{selinux}", self.series)
    }

    /// The image of its disk, which setup has seen to; `None` if it has no disk.
    pub fn disk(&self, cache: &Cache) -> Result<Option<PathBuf>> {
        let held = || debian::held(cache).context("the disk is gone: run cargo xtask setup");
        self.debian.then(held).transpose()
    }

    fn command_line(&self) -> String {
        let bpf = if self.lsm_bpf { ",bpf" } else { "" };
        // They cannot both be active on the older kernels.
        let labels = if self.selinux { "selinux" } else { "apparmor" };
        // The check counts the timer's interrupts for a time that is too short on a busy machine.
        let fixed = "console=ttyS0 quiet panic=-1 no_timer_check";
        let mut line = format!("{fixed} lsm={SECURITY_MODULES},{labels}{bpf}");
        if self.selinux {
            line += " selinux=1 enforcing=0";
        }
        if self.preempt_full {
            line += " preempt=full";
        }
        if !self.append.is_empty() {
            line.push(' ');
            line += &self.append;
        }
        line
    }
}

impl Host {
    /// Finds the programs, which setup has seen to.
    pub fn find(cache: &Cache) -> Result<Self> {
        let qemu = Tool::Qemu.held(cache).context("QEMU is gone: run cargo xtask setup")?;
        let busybox =
            Tool::Busybox.held(cache).context("busybox is gone: run cargo xtask setup")?;
        Ok(Self { qemu, busybox: busybox.path })
    }

    /// Where QEMU finds firmware, if it is not installed.
    fn firmware(&self) -> Vec<PathBuf> {
        let root = self.qemu.root.iter();
        root.flat_map(|root| ["usr/share/qemu", "usr/share/seabios"].map(|path| root.join(path)))
            .collect()
    }
}

/// The kernel of a series, which setup has seen to.
pub fn kernel(cache: &Cache, series: Series) -> Result<Kernel> {
    series
        .held(cache)
        .with_context(|| format!("the kernel {series} is gone: run cargo xtask setup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_told_what_was_asked_for() {
        let plain = Configuration::default();
        assert_eq!(
            plain.command_line(),
            "console=ttyS0 quiet panic=-1 no_timer_check lsm=lockdown,capability,landlock,yama,apparmor,bpf"
        );
        let selinux = Configuration { selinux: true, ..Configuration::default() };
        assert_eq!(
            selinux.command_line(),
            "console=ttyS0 quiet panic=-1 no_timer_check lsm=lockdown,capability,landlock,yama,selinux,bpf \
             selinux=1 enforcing=0"
        );
        let other = Configuration {
            lsm_bpf: false,
            preempt_full: true,
            append: "nosmt debug".into(),
            ..Configuration::default()
        };
        assert_eq!(
            other.command_line(),
            "console=ttyS0 quiet panic=-1 no_timer_check lsm=lockdown,capability,landlock,yama,apparmor \
             preempt=full nosmt debug"
        );
    }

    #[test]
    fn name_tells_configurations_apart() {
        let name = |series, lsm_bpf, preempt_full| {
            Configuration { series, lsm_bpf, preempt_full, ..Configuration::default() }.name()
        };
        assert_eq!(name(Series::V6_1, true, false), "6.1-bpf");
        assert_eq!(name(Series::V6_12, false, false), "6.12-nobpf");
        assert_eq!(name(Series::Newest, true, true), "newest-bpf-preempt");
    }
}
