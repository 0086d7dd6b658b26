//! The probes' own bookkeeping: sequence numbers and counters, per CPU. A preempting probe runs on
//! the same CPU, so even per-CPU values are changed atomically.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use shrike_common::{COUNTERS, Counter, Kind, Lane};

use crate::kernel::fetch_add;

#[btf_map]
static BOOKS: PerCpuArray<u64, COUNTERS> = PerCpuArray::new();

#[btf_map]
static SEQUENCES: PerCpuArray<u64, { Lane::ALL.len() }> = PerCpuArray::new();

/// Counts one event of `kind`.
#[inline(always)]
pub(crate) fn count(counter: Counter, kind: Kind) {
    if let Some(value) = BOOKS.get_ptr_mut(counter.index(kind)) {
        // SAFETY: the map look-up gave a valid entry of this CPU.
        unsafe { fetch_add(value, 1) };
    }
}

/// Takes the next sequence number of this CPU in `lane`.
#[inline(always)]
pub(crate) fn next_sequence(lane: Lane) -> u64 {
    SEQUENCES.get_ptr_mut(lane as u32).map_or(0, |value| {
        // SAFETY: the map look-up gave a valid entry of this CPU.
        unsafe { fetch_add(value, 1) }
    })
}
