//! End-to-end tests that run in a guest, against a real kernel.
//!
//! A suite is a module with a `SUITE` and plain functions as tests; it takes part by its line in
//! [`SUITES`].

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "all of this is test code: to panic is how it fails, and its names say what it does"
)]

pub mod actor;
pub mod agent;
pub mod alert;
pub mod bench;
pub mod books;
pub mod boundary;
pub mod configuration;
pub mod container;
pub mod corpus;
pub mod crossing;
pub mod deed;
pub mod demo;
pub mod errors;
pub mod escape;
pub mod exploit;
pub mod flood;
pub mod guest;
pub mod handed;
pub mod health;
pub mod kinds;
pub mod launcher;
pub mod listener;
pub mod matrix;
pub mod mission;
pub mod nameserver;
pub mod paths;
pub mod permitted;
pub mod profile;
pub mod record;
pub mod runc;
pub mod runner;
pub mod runtimes;
pub mod shell;
pub mod suite;
pub mod survival;
pub mod view;

use crate::suite::Suite;

/// All suites, in the order of running.
pub const SUITES: &[Suite] = &[
    guest::SUITE,
    alert::SUITE,
    books::SUITE,
    kinds::SUITE,
    matrix::SUITE,
    paths::SUITE,
    flood::SUITE,
    health::SUITE,
    errors::SUITE,
    launcher::SUITE,
    launcher::options::SUITE,
    launcher::fault::SUITE,
    launcher::selinux::SUITE,
    escape::SUITE,
    boundary::SUITE,
    exploit::SUITE,
    survival::SUITE,
    view::SUITE,
    mission::SUITE,
    runtimes::SUITE,
];
