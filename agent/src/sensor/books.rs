//! The kernel's side of the books: how many events each probe had to send, how many were dropped
//! and why, and how many runs of a program the kernel itself skipped.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use shrike_common::{Counter, Kind};

use super::attach::ProbeState;

/// Reads the probes' counters.
pub(crate) struct Books {
    counters: PerCpuArray<MapData, u64>,
}

/// Why the books cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BooksError {
    #[error("the eBPF object has no map BOOKS")]
    NoMap,
    #[error("cannot read the probes' counters")]
    Read(#[from] MapError),
}

impl Books {
    /// Takes the counters out of the loaded object.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Result<Self, BooksError> {
        let map: Map = ebpf.take_map("BOOKS").ok_or(BooksError::NoMap)?;
        Ok(Self { counters: PerCpuArray::try_from(map)? })
    }

    /// The total of a counter over all CPUs, since the probes were loaded.
    pub(crate) fn total(&self, counter: Counter, kind: Kind) -> Result<u64, BooksError> {
        Ok(self.counters.get(&counter.index(kind), 0)?.iter().sum())
    }
}

/// How many runs of an attached program the kernel skipped (`bpf_prog_info.recursion_misses`).
/// `None` if the kernel does not say.
pub(crate) fn missed(ebpf: &Ebpf, state: &ProbeState) -> Option<u64> {
    let program = ebpf.program(state.attached?.program())?;
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    field(&info, "recursion_misses")
}

fn field(fdinfo: &str, name: &str) -> Option<u64> {
    let value = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_field_of_fdinfo() {
        let info = "pos:\t0\nprog_type:\t26\nrun_cnt:\t12\nrecursion_misses:\t34\n";
        assert_eq!(field(info, "recursion_misses"), Some(34));
        assert_eq!(field(info, "recursion"), None);
        assert_eq!(field(info, "verified_insns"), None);
    }
}
