//! From an action to a record in its lane: number it, build it in a slot, send it, or count it as
//! lost.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
};
use aya_ebpf::macros::btf_map;
use shrike_common::wire::{Payload, Span, Text};
use shrike_common::{ABI_VERSION, Abi, CgroupId, Counter, Header, Lane, Namespaces};

use crate::books::{count, next_sequence};
use crate::kernel::{Path, Task, read_user};
use crate::slot::{Claim, Slot, TEXT};
use crate::walk;

/// The sizes are set by the agent before the maps are made.
#[btf_map]
static LANE_PROCESS: RingBuf<u8, 0x10_0000> = RingBuf::new();
#[btf_map]
static LANE_BULK: RingBuf<u8, 0x40_0000> = RingBuf::new();

/// The generation of the plan that the agent loaded.
#[unsafe(no_mangle)]
static GENERATION: Global<u32> = Global::new(0);

/// The record of one event while its handler fills it.
pub(crate) struct Record {
    slot: *mut Slot,
    fixed: usize,
    len: usize,
}

/// Sends an event of the kind that `P` belongs to. `build` returns the fixed part and appends the
/// texts.
#[inline(always)]
pub(crate) fn emit<P: Payload>(build: impl FnOnce(&mut Record) -> P) {
    let kind = P::KIND;
    let lane = kind.lane();
    let sequence = next_sequence(lane);
    count(Counter::Attempted, kind);
    let Some(claim) = Claim::new() else {
        return count(Counter::NoSlot, kind);
    };
    let fixed = size_of::<Header>() + size_of::<P>();
    let mut record = Record { slot: claim.slot, fixed, len: 0 };
    let payload = build(&mut record);
    let size = record.fixed + record.len;
    // SAFETY: the slot is ours, `record` has room for the header and every kind's fixed part
    // (asserted in `slot`), and it is aligned to 8 bytes.
    let sent = unsafe {
        let start = (&raw mut (*claim.slot).record).cast::<u8>();
        start.add(size_of::<Header>()).cast::<P>().write(payload);
        fill(start.cast(), Task::current());
        let header = start.cast::<Header>();
        (*header).version = ABI_VERSION;
        (*header).kind = kind as u16;
        (*header).size = size as u32;
        (*header).lane = lane as u32;
        (*header).sequence = sequence;
        let bytes = core::slice::from_raw_parts(start, size);
        match lane {
            Lane::Process => LANE_PROCESS.output_untyped::<[u8]>(bytes, 0),
            Lane::Bulk => LANE_BULK.output_untyped::<[u8]>(bytes, 0),
        }
    };
    if sent.is_err() {
        count(Counter::RingFull, kind);
    }
    claim.release();
}

impl Record {
    /// Appends the path of a file, at most once and before any other text.
    #[inline(always)]
    pub(crate) fn path(&mut self, path: Path) -> Span {
        // SAFETY: the slot is ours; the first text has `TEXT` bytes behind the fixed part.
        let (len, flags) = unsafe {
            let start = (&raw mut (*self.slot).record).cast::<u8>().add(self.fixed);
            walk::path(&raw mut (*self.slot).components, start, path)
        };
        self.append(len, flags)
    }

    /// Appends memory of the current process, from `start` up to `end`.
    #[inline(always)]
    pub(crate) fn user(&mut self, start: u64, end: u64) -> Span {
        let wanted = end.saturating_sub(start);
        let (len, mut flags) =
            if wanted < TEXT as u64 { (wanted, 0) } else { (TEXT as u64 - 1, Text::TRUNCATED) };
        // SAFETY: the slot is ours; what was appended before is shorter than `TEXT`, which the
        // mask shows to the verifier, and so is this.
        let read = unsafe {
            let to = (&raw mut (*self.slot).record).cast::<u8>().add(self.fixed);
            read_user(to.add(self.len & (TEXT - 1)), len as u32 & (TEXT as u32 - 1), start)
        };
        let len = if read { len as usize & (TEXT - 1) } else { 0 };
        if !read {
            flags |= Text::UNREADABLE;
        }
        self.append(len, flags)
    }

    #[inline(always)]
    fn append(&mut self, len: usize, flags: u16) -> Span {
        let offset = (self.fixed + self.len) as u32;
        self.len += len;
        Span { offset, len: len as u16, flags }
    }
}

/// Fills in who acts, and when. One subprogram for every probe: it is long.
#[inline(never)]
fn fill(header: *mut Header, task: Task) {
    let cred = task.real_cred();
    let (abi, syscall) = syscall(task);
    // SAFETY: `header` points to the start of a claimed slot. Fields are written one by one: a
    // whole struct would be built on the stack first.
    unsafe {
        (*header).flags = 0;
        (*header).time = bpf_ktime_get_boot_ns();
        (*header).cpu = bpf_get_smp_processor_id();
        (*header).generation = GENERATION.load();
        (*header).syscall = syscall;
        (*header).abi = abi as u32;
        (*header).tgid = task.tgid();
        (*header).tid = task.tid();
        (*header).ppid = task.parent().tgid();
        (*header).uid = cred.uid();
        (*header).gid = cred.gid();
        (*header).euid = cred.euid();
        (*header).start = task.start();
        (*header).caps = cred.effective();
        (*header).cgroup = CgroupId(bpf_get_current_cgroup_id());
        (*header).container = 0;
        (*header).comm = task.comm();
        let ns = &raw mut (*header).ns;
        (*ns).user = cred.user_ns();
        (*ns).pid = task.pid_in_namespace().0;
        let Some(proxy) = task.nsproxy() else {
            // The task is past `exit_task_namespaces`.
            let Namespaces { mnt, pid: _, net, user: _, uts, ipc, cgroup, time } = &mut *ns;
            for id in [mnt, net, uts, ipc, cgroup, time] {
                id.0 = 0;
            }
            return;
        };
        (*ns).mnt = proxy.mnt();
        (*ns).net = proxy.net();
        (*ns).uts = proxy.uts();
        (*ns).ipc = proxy.ipc();
        (*ns).cgroup = proxy.cgroup();
        (*ns).time = proxy.time();
    }
}

/// The system call that `task` is in, and its table.
#[inline(always)]
fn syscall(task: Task) -> (Abi, i32) {
    /// Set in `orig_ax` for the x32 table (`__X32_SYSCALL_BIT`).
    const X32_BIT: u64 = 1 << 30;
    if task.is_kernel_thread() {
        return (Abi::X86_64, -1);
    }
    let number = task.syscall();
    if number as i64 == -1 {
        (Abi::X86_64, -1)
    } else if task.is_compat() {
        (Abi::I386, number as i32)
    } else if number & X32_BIT != 0 {
        (Abi::X32, (number & !X32_BIT) as i32)
    } else {
        (Abi::X86_64, number as i32)
    }
}
