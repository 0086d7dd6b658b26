//! End-to-end tests that run in a guest, against a real kernel.
//!
//! A suite is a module with a `SUITE` and plain functions as tests; it takes part by its line in
//! [`SUITES`].

pub mod configuration;
pub mod guest;
pub mod record;
pub mod runner;
pub mod suite;

use crate::suite::Suite;

/// All suites, in the order of running.
pub const SUITES: &[Suite] = &[guest::SUITE];
