//! Loops whose body the verifier follows only once (`bpf_loop`): unrolled, one path would cost it a hundred times
//! as much. Their steps share nothing but a slot: where a loop is and what it has found is in there.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

use crate::slot::Slot;

/// What a step returns: whether the loop goes on.
pub(crate) const NEXT: i64 = 0;
pub(crate) const STOP: i64 = 1;

/// One step of a loop.
pub(crate) type Step = extern "C" fn(u64, *const *mut Slot) -> i64;

/// Takes a step until one says stop, but no more than `most`.
///
/// # Safety
///
/// `slot` must be claimed.
#[inline(always)]
pub(crate) unsafe fn take(mut slot: *mut Slot, most: u32, step: Step) {
    // The steps are handed a pointer to the stack only: there they find the slot.
    // SAFETY: the caller's promise; the slot outlives the loop.
    unsafe { bpf_loop(most, step as *mut c_void, (&raw mut slot).cast(), 0) };
}

/// Reads or writes a word of what a loop has in its slot. Volatile, or the compiler would keep it in a register
/// whose values the verifier follows one by one.
macro_rules! word {
    ($slot:ident.$part:ident.$field:ident) => {
        (&raw const (*$slot).$part.$field).read_volatile()
    };
    ($slot:ident.$part:ident.$field:ident = $value:expr) => {
        (&raw mut (*$slot).$part.$field).write_volatile($value)
    };
}

pub(crate) use word;
