//! The kernel's side of the books: how many events each probe had to send, how many were dropped
//! and why, and how many runs of a program the kernel itself skipped.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use shrike_common::{Counter, Kind};

use super::attach::ProbeState;
use crate::bpf::bpf;

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
/// Asked by system call: the text in `/proc/self/fdinfo` would cost an open, and thus an event.
pub(crate) fn missed(ebpf: &Ebpf, state: &ProbeState) -> Option<io::Result<u64>> {
    let program = ebpf.program(state.attached?.program())?;
    let fd = program.fd().ok()?.as_fd();
    Some(info(fd).map(|info| info.recursion_misses))
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
fn info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: both consist of integers, for which zero is a value.
    let (mut info, mut attr): (bpf_prog_info, bpf_attr) = unsafe { mem::zeroed() };
    attr.info.bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of_val(&info).try_into().map_err(io::Error::other)?;
    attr.info.info = (&raw mut info).expose_provenance() as u64;
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which lives until the call returns.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}
