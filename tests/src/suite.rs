//! What a suite of tests is and what it says about itself.

use std::process;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::configuration::Configuration;

/// The exit code by which the process of a test says that it was skipped.
pub const SKIPPED: i32 = 77;

/// Tests that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name, as it is asked for.
    pub name: &'static str,
    /// Whether every run has it.
    pub tier: Tier,
    /// How long all its tests together may take in a guest under software emulation.
    pub budget: Duration,
    /// Which guests it wants to run in.
    pub wants: fn(&Configuration) -> bool,
    /// Its tests, in the order of running.
    pub tests: &'static [Test],
}

/// One test.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// The name of its function.
    pub name: &'static str,
    /// What it does, in a process of its own. It fails by an error or by a panic.
    pub run: fn() -> Result<()>,
}

/// How often a suite is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Each time.
    Quick,
    /// Each time on the oldest kernel with `bpf` among the active security modules and on newer ones without
    /// it: together these have each kernel and each backend. In the others before work is called done.
    QuickAcross,
    /// Each time where `bpf` is among the active security modules; elsewhere before work is called done.
    QuickWithBpf,
    /// Before work is called done.
    Full,
}

/// Names functions as the tests of a suite.
#[macro_export]
macro_rules! tests {
    ($($function:ident),* $(,)?) => {
        &[$($crate::suite::Test { name: stringify!($function), run: $function }),*]
    };
}

/// Ends a test that has nothing to test in this guest.
pub fn skip(reason: &str) -> ! {
    eprintln!("{reason}");
    process::exit(SKIPPED)
}

impl Suite {
    /// How often it is run in that guest; if none is given, where it is run most often.
    pub fn tier(&self, guest: Option<&Configuration>) -> Tier {
        match (self.tier, guest) {
            (Tier::QuickWithBpf, Some(guest)) if !guest.lsm_bpf => Tier::Full,
            (Tier::QuickAcross, Some(guest)) if !guest.is_across() => Tier::Full,
            (Tier::QuickAcross | Tier::QuickWithBpf, _) => Tier::Quick,
            (tier, _) => tier,
        }
    }

    /// The test called `name`.
    pub fn test(&self, name: &str) -> Option<&Test> {
        self.tests.iter().find(|test| test.name == name)
    }
}
