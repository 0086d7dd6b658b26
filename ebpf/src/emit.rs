//! From an action to a record in its lane: number it, build it in a slot, send it, or count it as
//! lost.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::btf_maps::{Array, RingBuf};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::btf_map;
use shrike_common::wire::{Payload, Span, Text};
use shrike_common::{ABI_VERSION, Counter, Header, Kind, Lane};

use crate::books::{count, next_sequence};
use crate::kernel::{Path, Pointer, Task, fetch_add, read_kernel, read_user};
use crate::plan::UNATTENDED;
use crate::share::Level;
use crate::slot::{BEGINNINGS, Claim, Slot, TEXT};
use crate::wake::wake;
use crate::{environment, member, plan, syscall, walk};

/// The sizes are set by the agent before the maps are made.
#[btf_map]
static LANE_CRITICAL: RingBuf<u8, 0x10_0000> = RingBuf::new();
#[btf_map]
static LANE_PROCESS: RingBuf<u8, 0x10_0000> = RingBuf::new();
#[btf_map]
static LANE_BULK: RingBuf<u8, 0x20_0000> = RingBuf::new();

/// The record of one event while its handler fills it.
pub(crate) struct Record {
    slot: *mut Slot,
    fixed: usize,
    len: usize,
}

/// What the header of a record says beside who acted.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    pub(crate) lane: Lane,
    pub(crate) generation: u32,
    pub(crate) flags: u32,
}

/// How many breaches found no room while no agent ran.
#[btf_map]
static LEFT_BREACHES: Array<u64, 1> = Array::new();

/// Sends an event of a kind that is always sent. `build` returns the fixed part and appends the
/// texts.
#[inline(always)]
pub(crate) fn emit<P: Payload>(build: impl FnOnce(&mut Record) -> P) {
    emit_to(Address::now(P::KIND.lane()), build);
}

/// Sends an event of the current task.
#[inline(always)]
pub(crate) fn emit_to<P: Payload>(address: Address, build: impl FnOnce(&mut Record) -> P) {
    emit_of(Task::current(), address, build);
}

/// Sends an event of a task.
#[inline(always)]
pub(crate) fn emit_of<P: Payload>(
    task: Task,
    address: Address,
    build: impl FnOnce(&mut Record) -> P,
) {
    send(|header| fill(header, task), address, build);
}

/// Sends an event of whom a header tells that was filled in before; if none is given, of the current task.
/// Returns whether it was sent.
#[inline(always)]
pub(crate) fn emit_by<P: Payload>(
    who: Option<*const Header>,
    address: Address,
    build: impl FnOnce(&mut Record) -> P,
) -> bool {
    let head = |header: *mut Header| match who {
        Some(who) => copy(header, who),
        None => fill(header, Task::current()),
    };
    send(head, address, build)
}

/// Sends an event, unless no agent runs: then only breaches are, which the next one will read.
#[inline(always)]
fn send<P: Payload>(
    head: impl FnOnce(*mut Header),
    address: Address,
    build: impl FnOnce(&mut Record) -> P,
) -> bool {
    let (kind, is_unattended) = (P::KIND, address.generation == UNATTENDED);
    if is_unattended && !matches!(kind, Kind::Breach) {
        return false;
    }
    let outcome = attempt(head, address, build);
    if let Err(reason) = outcome {
        count(reason, kind);
        if is_unattended && let Some(left) = LEFT_BREACHES.get_ptr_mut(0) {
            // SAFETY: the look-up gave a valid entry.
            unsafe { fetch_add(left, 1) };
        }
    }
    outcome.is_ok()
}

/// Sends an event, or says why it is lost.
#[inline(always)]
fn attempt<P: Payload>(
    head: impl FnOnce(*mut Header),
    address: Address,
    build: impl FnOnce(&mut Record) -> P,
) -> Result<(), Counter> {
    let Address { lane, generation, flags } = address;
    let kind = P::KIND;
    let sequence = next_sequence(lane);
    count(Counter::Attempted, kind);
    let level = match lane {
        Lane::Critical => Level::of(&LANE_CRITICAL),
        Lane::Process => Level::of(&LANE_PROCESS),
        Lane::Bulk => Level::of(&LANE_BULK),
    };
    // How long the texts will be is not known yet.
    let bytes = (size_of::<Header>() + 2 * size_of::<P>()) as u64;
    let has_room = match kind {
        // What no flood can be allowed to hide, also none of its like.
        Kind::Breach | Kind::Boundary => level.has_last_room(),
        kind => kind.is_internal() || level.has_room(lane, bytes),
    };
    if !has_room {
        return Err(Counter::OverShare);
    }
    let Some(claim) = Claim::new() else {
        return Err(Counter::NoSlot);
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
        head(start.cast());
        let header = start.cast::<Header>();
        (*header).version = ABI_VERSION;
        (*header).kind = kind as u16;
        (*header).size = size as u32;
        (*header).lane = lane as u32;
        (*header).flags = flags;
        (*header).reserved = 0;
        (*header).generation = generation;
        (*header).sequence = sequence;
        let bytes = core::slice::from_raw_parts(start, size);
        match lane {
            Lane::Critical => put(lane, &LANE_CRITICAL, bytes),
            Lane::Process => put(lane, &LANE_PROCESS, bytes),
            Lane::Bulk => put(lane, &LANE_BULK, bytes),
        }
    };
    claim.release();
    if sent { Ok(()) } else { Err(Counter::RingFull) }
}

/// Puts a record into the ring of its lane. Returns whether there was room.
#[inline(always)]
fn put<const SIZE: usize>(lane: Lane, ring: &RingBuf<u8, SIZE>, record: &[u8]) -> bool {
    let sent = ring.output_untyped::<[u8]>(record, BPF_RB_NO_WAKEUP.into()).is_ok();
    if sent {
        wake(lane, ring);
    }
    sent
}

impl Address {
    /// For an event of the present plan.
    #[inline(always)]
    pub(crate) fn now(lane: Lane) -> Self {
        Self { lane, generation: plan::generation().unwrap_or(UNATTENDED), flags: 0 }
    }
}

impl Record {
    /// Appends the path of a file. A record has room for three texts, if the first two leave it.
    #[inline(always)]
    pub(crate) fn path(&mut self, path: Path) -> Span {
        if self.len >= BEGINNINGS {
            return self.append(0, Text::TRUNCATED);
        }
        // SAFETY: the slot is ours, and the mask shows to the verifier what holds anyway.
        let (len, flags) = unsafe { walk::path(self.slot, self.beginning(), path) };
        self.append(len, flags)
    }

    /// Appends the path of a file of which only the addresses of dentry and mount are known.
    #[inline(always)]
    pub(crate) fn path_at(&mut self, dentry: u64, mnt: u64) -> Span {
        // SAFETY: as above.
        let (len, flags) = unsafe { walk::path_at(self.slot, self.beginning(), dentry, mnt) };
        self.append(len, flags)
    }

    /// Appends what is told of the environment of the current process.
    #[inline(always)]
    pub(crate) fn environment(&mut self, start: u64, end: u64) -> Span {
        // SAFETY: the slot is ours.
        let (len, flags) =
            unsafe { environment::read(self.slot, self.fixed + self.len, start, end) };
        self.append(len, flags)
    }

    /// Appends memory of the current process, from `start` up to `end`.
    #[inline(always)]
    pub(crate) fn user(&mut self, start: u64, end: u64) -> Span {
        let wanted = end.saturating_sub(start);
        let (len, flags) =
            if wanted < TEXT as u64 { (wanted, 0) } else { (TEXT as u64 - 1, Text::TRUNCATED) };
        // SAFETY: there is room for `TEXT` bytes at the end.
        let read = unsafe { read_user(self.end(), len as u32 & (TEXT as u32 - 1), start) };
        self.append_if(read, len, flags)
    }

    /// Appends `len` bytes of kernel memory, at most 255.
    #[inline(always)]
    pub(crate) fn kernel(&mut self, at: u64, len: u32) -> Span {
        let len = len & 0xFF;
        // SAFETY: there is room for `TEXT` bytes at the end.
        let read = unsafe { read_kernel(self.end(), len, at) };
        self.append_if(read, u64::from(len), 0)
    }

    /// Appends a string of the kernel, at most `room` bytes of it.
    #[inline(always)]
    pub(crate) fn string(&mut self, at: Pointer, room: u32) -> Span {
        self.written(room, |to| {
            // SAFETY: there is room for a whole text, and the helper checks the address. Its result
            // counts the NUL.
            let len = unsafe { bpf_probe_read_kernel_str(to.cast(), room, at) };
            if len > 0 { len - 1 } else { len }
        })
    }

    /// Appends a string of the current process.
    #[inline(always)]
    pub(crate) fn user_string(&mut self, at: u64) -> Span {
        const ROOM: u32 = TEXT as u32;
        self.written(ROOM, |to| {
            // SAFETY: there is room for a whole text, and the helper checks the address. Its result
            // counts the NUL.
            let len = unsafe { bpf_probe_read_user_str(to.cast(), ROOM, at as Pointer) };
            if len > 0 { len - 1 } else { len }
        })
    }

    /// Appends what a helper of the kernel writes to the place that it is given, and whose length
    /// it returns, or a negative error number. It must not write more than `room` bytes.
    #[inline(always)]
    pub(crate) fn written(&mut self, room: u32, helper: impl FnOnce(*mut u8) -> i64) -> Span {
        /// `-E2BIG`: the text was cut to fit, with a NUL at the end.
        const CUT: i64 = -7;
        let result = helper(self.end());
        match result {
            CUT => self.append(room as usize - 1, Text::TRUNCATED),
            _ => self.append_if(result >= 0, result.cast_unsigned(), 0),
        }
    }

    /// Where the next text goes: there is room for `TEXT` bytes and the slack of a path.
    #[inline(always)]
    fn end(&self) -> *mut u8 {
        // SAFETY: the slot is ours.
        unsafe { (&raw mut (*self.slot).record).cast::<u8>().add(self.beginning()) }
    }

    /// The offset of that; the mask shows to the verifier what holds anyway.
    #[inline(always)]
    fn beginning(&self) -> usize {
        self.fixed + (self.len & (BEGINNINGS - 1))
    }

    #[inline(always)]
    fn append_if(&mut self, read: bool, len: u64, flags: u16) -> Span {
        if read {
            self.append(len as usize & (TEXT - 1), flags)
        } else {
            self.append(0, flags | Text::UNREADABLE)
        }
    }

    #[inline(always)]
    fn append(&mut self, len: usize, flags: u16) -> Span {
        let offset = (self.fixed + self.len) as u32;
        self.len += len;
        Span { offset, len: len as u16, flags }
    }
}

/// Fills in who acts as another header tells it.
#[inline(always)]
fn copy(to: *mut Header, from: *const Header) {
    const WORDS: usize = size_of::<Header>() / size_of::<u64>();
    for word in 0..WORDS {
        // SAFETY: both point to a header. Word by word, or all of it would be on the stack first.
        unsafe {
            let value = from.cast::<u64>().add(word).read_volatile();
            to.cast::<u64>().add(word).write_volatile(value);
        }
    }
}

/// Fills in who acts, and when. One subprogram for every probe: it is long.
#[inline(never)]
pub(crate) fn fill(header: *mut Header, task: Task) {
    let cred = task.real_cred();
    let (abi, number) = syscall::of(task);
    // SAFETY: `header` points to the start of a claimed slot. Fields are written one by one: a
    // whole struct would be built on the stack first.
    unsafe {
        let (membership, container) = member::of(task);
        (*header).membership = membership as u32;
        (*header).container = container;
        (*header).time = bpf_ktime_get_boot_ns();
        (*header).cpu = bpf_get_smp_processor_id();
        (*header).syscall = number;
        (*header).abi = abi as u32;
        (*header).tgid = task.tgid();
        (*header).tid = task.tid();
        (*header).ppid = task.parent().tgid();
        (*header).uid = cred.uid();
        (*header).gid = cred.gid();
        (*header).euid = cred.euid();
        (*header).start = task.start();
        (*header).effective = cred.effective();
        (*header).permitted = cred.permitted();
        (*header).inheritable = cred.inheritable();
        (*header).cgroup = task.cgroup().node().id();
        (*header).ns = task.namespaces();
        (*header).comm = task.comm();
    }
}
