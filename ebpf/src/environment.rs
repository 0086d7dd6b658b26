//! The variables of a process's environment that are told: see [`shrike_common::ENVIRONMENT`]. The rest is where
//! secrets are; it does not leave the process.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use shrike_common::wire::Text;
use shrike_common::{ENVIRONMENT_BYTES, VARIABLE_BYTES, may_tell};

use crate::kernel::Pointer;
use crate::slot::{RECORD, Slot};
use crate::steps::{self, NEXT, STOP, word};

/// The most variables that are looked at; a long one counts for several. A pod may have hundreds, one for each
/// service.
const STEPS: u32 = 2048;

/// Where a search is: see [`steps`].
#[repr(C)]
pub(crate) struct Search {
    /// What is looked at next, in the memory of the process, and where that ends.
    at: u64,
    end: u64,
    /// Whether that is the middle of a variable.
    is_inside: u64,
    /// Whether one that is told was cut.
    is_cut: u64,
    /// Where in the record the next one goes, and how much has gone there.
    to: u64,
    kept: u64,
    flags: u64,
}

const TRUNCATED: u64 = Text::TRUNCATED as u64;
const UNREADABLE: u64 = Text::UNREADABLE as u64;

/// Writes what is told of the environment from `start` up to `end` to the offset `to` of the record. Returns the
/// length of that, at most [`ENVIRONMENT_BYTES`], and its flags.
///
/// # Safety
///
/// `slot` must be claimed.
#[inline(always)]
pub(crate) unsafe fn read(slot: *mut Slot, to: usize, start: u64, end: u64) -> (usize, u16) {
    // SAFETY: the caller's promise.
    unsafe {
        word!(slot.search.at = start);
        word!(slot.search.end = end);
        word!(slot.search.is_inside = 0);
        word!(slot.search.is_cut = 0);
        word!(slot.search.to = to as u64);
        word!(slot.search.kept = 0);
        // Until its end is seen.
        word!(slot.search.flags = TRUNCATED);
        steps::take(slot, STEPS, step);
        let cut = if word!(slot.search.is_cut) != 0 { TRUNCATED } else { 0 };
        (
            word!(slot.search.kept) as usize & (ENVIRONMENT_BYTES - 1),
            (word!(slot.search.flags) | cut) as u16,
        )
    }
}

/// Looks at a variable, or at more of one.
#[inline(never)]
extern "C" fn step(_: u64, shared: *const *mut Slot) -> i64 {
    // SAFETY: the loop hands on the slot; the offset is bounded.
    unsafe {
        let slot = *shared;
        let (at, to, kept) =
            (word!(slot.search.at), word!(slot.search.to), word!(slot.search.kept));
        if at >= word!(slot.search.end) {
            word!(slot.search.flags = word!(slot.search.flags) & !TRUNCATED);
            return STOP;
        }
        // One more might not fit.
        if kept >= (ENVIRONMENT_BYTES - VARIABLE_BYTES) as u64
            || to >= (RECORD - VARIABLE_BYTES) as u64
        {
            return STOP;
        }
        let place = (&raw mut (*slot).record).cast::<u8>().add(to as usize);
        // Shorter ones leave behind what was there before.
        place.cast::<[u64; 2]>().write_unaligned([0; 2]);
        // The result counts the NUL.
        let len = bpf_probe_read_user_str(place.cast(), VARIABLE_BYTES as u32, at as Pointer);
        if len <= 0 {
            word!(slot.search.flags = word!(slot.search.flags) | UNREADABLE);
            return STOP;
        }
        let len = len.cast_unsigned();
        let is_long = len >= VARIABLE_BYTES as u64;
        // What is behind such a piece comes next.
        word!(slot.search.at = at + if is_long { len - 1 } else { len });
        let was_inside = word!(slot.search.is_inside);
        word!(slot.search.is_inside = u64::from(is_long));
        if was_inside == 0 && may_tell(place.cast::<[u64; 2]>().read_unaligned()) {
            word!(slot.search.to = to + len);
            word!(slot.search.kept = kept + len);
            word!(slot.search.is_cut = word!(slot.search.is_cut) | u64::from(is_long));
        }
        NEXT
    }
}
