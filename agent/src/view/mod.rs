//! What runs on this host: its containers and their processes, for `shrike ps` and `shrike tree`. The agent that
//! runs is asked at its socket; without one, `/proc` tells what it can.

mod client;
mod look;
mod namespaces;
mod proc;
mod protocol;
mod question;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use client::{AskError, ask};
pub(crate) use look::{Look, Tables};
pub(crate) use proc::Proc;
pub(crate) use question::{Questions, channel};
pub(crate) use server::Server;
pub(crate) use snapshot::{Boundary, Container, Fit, Process, Snapshot, Source};
pub(crate) use tree::{Branch, tree};
