//! Where a record is built. Probes are preempted, also by other probes on the same CPU, so a record
//! never stands in a buffer that belongs to the CPU alone: each CPU has a few slots, and a probe
//! claims one by setting a bit atomically.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use shrike_common::{ENVIRONMENT_BYTES, Header};

use crate::boundary::Found;
use crate::environment::Search;
use crate::kernel::{fetch_and, fetch_or, unknown};
use crate::tree::Look;
use crate::walk::Walk;

/// How many probes may be building a record on one CPU at the same time.
const SLOTS: u32 = 8;

/// Room for the header and the fixed part of a record.
const FIXED: usize = 512;

/// The longest text; a power of two, so that a mask bounds every offset for the verifier.
pub(crate) const TEXT: usize = 4096;

/// The longest record: three texts and an environment behind the fixed part.
pub(crate) const RECORD: usize = FIXED + 3 * TEXT + ENVIRONMENT_BYTES;

/// Up to where a text may begin, behind the fixed part, so that there is room for all of it; one less is a mask.
pub(crate) const BEGINNINGS: usize = 2 * TEXT;

/// A record under construction. Texts are appended behind the fixed part: at most three of `TEXT`
/// bytes.
#[repr(C, align(8))]
pub(crate) struct Slot {
    pub(crate) record: [u8; RECORD],
    pub(crate) walk: Walk,
    pub(crate) search: Search,
    pub(crate) look: Look,
    pub(crate) found: Found,
}

/// A slot that this probe owns until it gives it back.
pub(crate) struct Claim {
    pub(crate) slot: *mut Slot,
    /// Which one of the CPU's it is.
    pub(crate) index: u32,
    taken: *mut u64,
}

#[btf_map]
static SLOT: PerCpuArray<Slot, { SLOTS as usize }> = PerCpuArray::new();

/// One bit for each slot of the CPU: set while it is claimed.
#[btf_map]
static TAKEN: PerCpuArray<u64, 1> = PerCpuArray::new();

impl Slot {
    /// A slot of this CPU, of which the caller knows that it is claimed.
    #[inline(always)]
    pub(crate) fn by_index(index: u32) -> Option<*mut Self> {
        SLOT.get_ptr_mut(index)
    }
}

impl Claim {
    /// Claims a free slot of this CPU.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        let taken = TAKEN.get_ptr_mut(0)?;
        // SAFETY: the map look-up gave a valid entry of this CPU.
        let is_free = |&index: &u32| unsafe { fetch_or(taken, 1 << index) } & 1 << index == 0;
        let index = (0..SLOTS).find(is_free)?;
        // The verifier would follow all that comes after this for each of them.
        let index = unknown(index.into()) as u32;
        Some(Self { slot: SLOT.get_ptr_mut(index)?, index, taken })
    }

    /// Gives the slot back.
    #[inline(always)]
    pub(crate) fn release(self) {
        // SAFETY: `taken` came from the map look-up in `new`.
        unsafe { fetch_and(self.taken, !(1 << self.index)) };
    }
}

const _: () = assert!(size_of::<Header>() + 128 <= FIXED);
