//! The ABI between shrike's probes and its agent: every byte that crosses from the kernel to user
//! space, and what the agent writes back.
//!
//! Both sides of the boundary compile this crate, so a layout is written down once: the probes
//! fill the structs of [`wire`], the agent reads them back with [`decode`], which trusts no byte.

#![no_std]

mod books;
mod breach;
mod decode;
mod environment;
mod exit;
mod field;
mod header;
mod ids;
mod kinds;
mod lane;
mod membership;
mod offset;
mod plan;
mod probe;
mod survival;
pub mod wire;

pub use books::{COUNTERS, Counter};
pub use breach::{BreachKind, Noticed, Origin, Property, Way};
pub use decode::{Malformed, decode};
pub use environment::{ENVIRONMENT, ENVIRONMENT_BYTES, VARIABLE_BYTES, is_told, may_tell};
pub use exit::{SYSCALL_EXITS, SyscallExit};
pub use field::Value;
pub use header::{ABI_VERSION, Abi, Header, Namespaces, NsType};
pub use ids::{Address, CgroupId, ContainerId, Gid, NsId, Pid, StartTime, Uid};
pub use kinds::*;
pub use lane::{Lane, Wake};
pub use membership::{Filler, Membership, Root};
pub use offset::{OFFSETS, Offset};
pub use plan::{Alternatives, Control, PATH_KEYS, PathKey, Plan};
pub use probe::{Attach, Backend, PROBES, Probe};
pub use survival::{FRESH_MAPS, KEPT_MAPS, LEFT_BREACHES, MEMBERSHIP_VERSION};
