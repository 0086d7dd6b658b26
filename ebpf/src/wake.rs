//! Waking the agent. A ring buffer would do it for each event that the agent has caught up with, by
//! an interrupt of the task that acts; here the agent says when it sleeps, and the first event wakes
//! it, once.

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::btf_maps::{Array, RingBuf};
use aya_ebpf::macros::btf_map;
use shrike_common::{Lane, Wake};

use crate::kernel::fetch_and;

/// `BPF_F_MMAPABLE`: the agent writes to it directly.
const SHARED: usize = 1 << 10;

/// The [`Wake`] that the agent wants.
#[btf_map]
static WAKE: Array<u64, 1, SHARED> = Array::new();

/// Wakes the agent if it wants that. The event is in its ring already, and the agent looks at the
/// rings after it has said what it wants: so none waits unseen.
#[inline(always)]
pub(crate) fn wake<const SIZE: usize>(lane: Lane, ring: &RingBuf<u8, SIZE>) {
    let Some(word) = WAKE.get_ptr_mut(0) else { return };
    // SAFETY: the map look-up gave a valid entry.
    let wanted = unsafe { word.read_volatile() };
    if wanted < Wake::of(lane) as u64 {
        return;
    }
    // SAFETY: as above. Of several probes, one finds what the agent wrote.
    if unsafe { fetch_and(word, Wake::Never as u64) } == Wake::Never as u64 {
        return;
    }
    // Only what is put into a ring can wake its reader: something that it will not see.
    if let Some(nothing) = ring.reserve_untyped::<u64>(0) {
        nothing.discard(BPF_RB_FORCE_WAKEUP.into());
    }
}
