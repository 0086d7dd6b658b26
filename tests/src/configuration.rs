//! What kind of guest the host asked for, as its name tells: `6.1-bpf`, `6.12-nobpf`,
//! `newest-bpf-preempt`, `6.12-bpf-smp`, `6.12-bpf-debian`, `6.12-bpf-selinux`.

use std::env;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// How the runner tells it to the processes of the tests.
pub const VARIABLE: &str = "SHRIKE_GUEST";

/// The kind of guest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub struct Configuration {
    /// The line of kernels: `6.1`, `6.12` or `newest`.
    pub series: String,
    /// Whether `bpf` is among the active security modules.
    pub lsm_bpf: bool,
    /// Whether the kernel is fully preemptible.
    pub preempt_full: bool,
    /// Whether it has two processors.
    pub smp: bool,
    /// Whether it is a host of the distribution with its container runtimes.
    pub debian: bool,
    /// Whether it has `SELinux` in the place of `AppArmor`.
    pub selinux: bool,
}

impl Configuration {
    /// The guest that this test runs in.
    pub fn current() -> Result<Self> {
        let name = env::var(VARIABLE)
            .with_context(|| format!("{VARIABLE} is not set: run tests with `shrike-tests run`"))?;
        name.parse()
    }
}

impl Configuration {
    /// Whether it is a guest of the kind that most suites run in: with one processor, preempted as distributions
    /// boot their kernels.
    pub fn is_plain(&self) -> bool {
        self.is_single() && !self.preempt_full
    }

    /// Whether it is one for suites whose results full preemption may change, too: with one processor.
    pub fn is_single(&self) -> bool {
        !self.smp && !self.debian && !self.selinux
    }

    /// Whether each run has the suites of [`Tier::QuickAcross`](crate::suite::Tier::QuickAcross) there.
    pub fn is_across(&self) -> bool {
        self.lsm_bpf == (self.series == "6.1")
    }

    /// Whether a policy of `SELinux` can be loaded.
    pub fn is_selinux(&self) -> bool {
        self.selinux
    }

    /// Whether it has the distribution's container runtimes.
    pub fn is_debian(&self) -> bool {
        self.debian
    }
}

impl FromStr for Configuration {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let mut words = name.split('-');
        let series = words.next().unwrap_or_default().to_owned();
        let lsm_bpf = match words.next() {
            Some("bpf") => true,
            Some("nobpf") => false,
            _ => bail!("`{name}` names no guest: it must be like 6.1-bpf or newest-nobpf-preempt"),
        };
        let mut guest = Self {
            series,
            lsm_bpf,
            preempt_full: false,
            smp: false,
            debian: false,
            selinux: false,
        };
        for word in words {
            match word {
                "preempt" => guest.preempt_full = true,
                "smp" => guest.smp = true,
                "debian" => guest.debian = true,
                "selinux" => guest.selinux = true,
                _ => bail!(
                    "`{name}` names no guest: {word} is none of preempt, smp, debian and selinux"
                ),
            }
        }
        Ok(guest)
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lsm = if self.lsm_bpf { "bpf" } else { "nobpf" };
        let preempt = if self.preempt_full { "-preempt" } else { "" };
        let smp = if self.smp { "-smp" } else { "" };
        let debian = if self.debian { "-debian" } else { "" };
        let selinux = if self.selinux { "-selinux" } else { "" };
        write!(f, "{}-{lsm}{preempt}{smp}{debian}{selinux}", self.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "6.1-bpf",
            "6.12-nobpf",
            "newest-bpf-preempt",
            "6.1-nobpf-preempt",
            "6.12-bpf-smp",
            "6.1-bpf-debian",
            "6.1-bpf-selinux",
        ] {
            assert_eq!(name.parse::<Configuration>().unwrap().to_string(), name);
        }
        let read: Configuration = "6.12-nobpf-preempt".parse().unwrap();
        assert_eq!((read.series.as_str(), read.lsm_bpf, read.preempt_full), ("6.12", false, true));
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "6.1", "6.1-btf", "6.1-bpf-preempt-x"] {
            assert!(name.parse::<Configuration>().is_err(), "{name}");
        }
    }
}
