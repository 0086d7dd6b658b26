//! The project's own chores: setup, building, guests and tests. The program is `cargo xtask`.

pub mod agent;
pub mod bench;
pub mod cache;
pub mod compile;
pub mod conformance;
pub mod console;
pub mod demo;
pub mod fuzz;
pub mod image;
pub mod interrupt;
pub mod process;
pub mod setup;
pub mod test;
pub mod vm;
pub mod workspace;
