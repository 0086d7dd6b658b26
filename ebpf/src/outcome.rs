//! What became of an action: told at the end of the system call, to whoever asked when it began.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::btf_map;
use shrike_common::{Lane, Pid, wire};

use crate::emit::{Address, emit_to};
use crate::kernel::Task;
use crate::syscall;

/// How many threads may be in such a system call at a time; beyond that the outcome of the one that
/// has been there longest is not told.
const THREADS: usize = 8192;

#[btf_map]
static EXPECTED: LruHashMap<Pid, Expected, THREADS> = LruHashMap::new();

/// That a thread is in a system call of which the outcome is asked for.
#[derive(Clone, Copy)]
#[repr(C)]
struct Expected {
    since: u64,
    syscall: u64,
}

/// The time that records carry.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// From now on, the outcome of the current system call is expected.
#[inline(never)]
pub(crate) fn expect() {
    let task = Task::current();
    let tid = task.tid();
    let syscall = number(task);
    // SAFETY: only this thread changes its entry.
    if unsafe { EXPECTED.get(tid) }.is_some_and(|expected| expected.syscall == syscall) {
        return;
    }
    // If there is no room, the agent waits in vain for a second.
    let _ = EXPECTED.insert(tid, Expected { since: now(), syscall }, 0);
}

/// The end of a system call: tells the outcome if it is expected. If not, `attempt` is called where
/// the system call failed.
#[inline(always)]
pub(crate) fn ended(lane: Lane, result: i64, attempt: impl FnOnce()) {
    let since = taken();
    if since != 0 {
        report(lane, result, since);
    } else if result < 0 {
        attempt();
    }
}

/// Since when the outcome is expected; 0 if it is not. From then on it is not.
#[inline(never)]
fn taken() -> u64 {
    let task = Task::current();
    let tid = task.tid();
    // SAFETY: only this thread changes its entry.
    let Some(&Expected { since, syscall }) = (unsafe { EXPECTED.get(tid) }) else { return 0 };
    let _ = EXPECTED.remove(tid);
    // Another one, whose end was not seen, may have left it.
    if syscall == number(task) { since } else { 0 }
}

#[inline(never)]
pub(crate) fn report(lane: Lane, result: i64, since: u64) {
    emit_to(Address::now(lane), |_| wire::Outcome { result, since });
}

/// Tells the system calls of all tables apart.
#[inline(always)]
fn number(task: Task) -> u64 {
    let (abi, number) = syscall::of(task);
    u64::from(abi as u32) << 32 | u64::from(number.cast_unsigned())
}
