//! Shrike.
fn main() {}
