//! Programs that the kernel executes by itself, as the host's root (`call_usermodehelper`, or an
//! interpreter by `binfmt_misc`): core dumps, modules, empty cgroups. If a container has set which one that
//! is, or if it comes from a container's files, the container has left its boundary.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, bpf_sysctl};
use aya_ebpf::btf_maps::{Array, LruHashMap};
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel_str, bpf_sysctl_get_current_value, bpf_sysctl_get_name,
    bpf_sysctl_get_new_value,
};
use aya_ebpf::macros::btf_map;
use shrike_common::{BreachKind, ContainerId, Counter, Kind, Noticed, Offset, Property, Way, wire};

use crate::books::count;
use crate::emit::emit;
use crate::kernel::{Binprm, Dentry, Pointer, Task, opaque, read, read_at};
use crate::member::{self, now};
use crate::slot::{Claim, Slot};
use crate::tree;

/// The settings that name a program, as parameters below `/proc/sys`.
const PARAMETERS: [&str; 4] =
    ["kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/poweroff_cmd"];

const CORE_PATTERN: u32 = 0;

/// The setting of the first version of cgroups has its place behind those.
const RELEASE_AGENT: u32 = PARAMETERS.len() as u32;

const SETTINGS: usize = PARAMETERS.len() + 1;

/// How many programs are kept that containers have set.
const HELPERS_KEPT: usize = 1024;

/// The programs that containers have set, by the [`key`] of the path. None is forgotten when its container
/// sets another one: the kernel executes some of them later.
#[btf_map]
static HELPERS: LruHashMap<u64, Helper, HELPERS_KEPT> = LruHashMap::new();

/// The [hash](helper_hash) of what the host has each setting set to; 0 if that is not known.
#[btf_map]
static HELPERS_OF_HOST: Array<u64, SETTINGS> = Array::new();

/// Who has set a program last.
#[derive(Clone, Copy)]
#[repr(C)]
struct Helper {
    container: u64,
    since: u64,
}

/// Of a longer path, the start is compared. The kernel itself keeps no longer core pattern
/// (`CORENAME_MAX_SIZE`).
const PATH: usize = 128;

/// A parameter is about to be written.
#[inline(never)]
pub(crate) fn set_parameter(ctx: *mut bpf_sysctl) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the slot is ours, and has room for three texts.
    unsafe {
        let text = (&raw mut (*claim.slot).record).cast::<u8>();
        if bpf_sysctl_get_name(ctx, text.cast(), PATH as u64, 0) > 0
            && let Some(setting) = PARAMETERS.iter().position(|name| is(text, name))
        {
            set_to(ctx, setting as u32, text, claim.index);
        }
    }
    claim.release();
}

/// # Safety
///
/// `text` must be the record of that slot, which is claimed.
#[inline(always)]
unsafe fn set_to(ctx: *mut bpf_sysctl, setting: u32, text: *mut u8, slot: u32) {
    // SAFETY: the caller's promise; the kernel passes a valid context.
    unsafe {
        let size = PATH as u64;
        let is_known = is_written(bpf_sysctl_get_current_value(ctx, text.cast(), size));
        let before = if is_known { helper_hash(slot) } else { 0 };
        let at = (*ctx).file_pos as usize;
        // What stands before that place stays.
        if at < PATH
            && is_written(bpf_sysctl_get_new_value(ctx, text.add(at & (PATH - 1)).cast(), size))
        {
            set(setting, before, helper_hash(slot));
        }
        // Or it does not (`kernel.sysctl_writes_strict`).
        if at != 0 && is_written(bpf_sysctl_get_new_value(ctx, text.cast(), size)) {
            set(setting, before, helper_hash(slot));
        }
    }
}

/// Whether a helper has written a value, or as much of it as there is room for.
#[inline(always)]
fn is_written(result: i64) -> bool {
    const E2BIG: i64 = 7;
    result > 0 || result == -E2BIG
}

/// `cgroup_release_agent_write`: the program that is executed when a cgroup becomes empty.
#[inline(always)]
pub(crate) fn set_release_agent(path: Pointer) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the slot is ours, and has room for the path.
    unsafe {
        let text = (&raw mut (*claim.slot).record).cast::<u8>();
        if bpf_probe_read_kernel_str(text.cast(), PATH as u32, path) > 0 {
            set(RELEASE_AGENT, 0, helper_hash(claim.index));
        }
    }
    claim.release();
}

/// `cgroup1_parse_param`: an option of a hierarchy that is mounted, which may be that program.
#[inline(always)]
pub(crate) fn set_option(parameter: Pointer) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    let key: u64 = read(parameter as u64, Offset::FsParameterKey);
    let value: u64 = read(parameter as u64, Offset::FsParameterString);
    // SAFETY: the slot is ours, and has room for both texts.
    unsafe {
        let text = (&raw mut (*claim.slot).record).cast::<u8>();
        if bpf_probe_read_kernel_str(text.cast(), PATH as u32, key as Pointer) > 0
            && is(text, "release_agent")
            && bpf_probe_read_kernel_str(text.cast(), PATH as u32, value as Pointer) > 0
        {
            set(RELEASE_AGENT, 0, helper_hash(claim.index));
        }
    }
    claim.release();
}

/// The current task changes a setting. What it was is 0 if that is not known.
#[inline(always)]
fn set(setting: u32, before: u64, after: u64) {
    let Some(host) = HELPERS_OF_HOST.get_ptr_mut(setting) else { return };
    let container = member::of(Task::current()).1.0;
    // SAFETY: the look-up gave a valid entry.
    unsafe {
        if container == 0 {
            host.write_volatile(after);
            let _ = HELPERS.remove(key(after));
            if setting == CORE_PATTERN {
                let _ = HELPERS.remove(FILLED_IN);
            }
            return;
        }
        if host.read_volatile() == 0 {
            // No container has changed it yet.
            host.write_volatile(before);
        }
        let is_hosts = after == host.read_volatile();
        if is_hosts || setting == CORE_PATTERN && after & PIPED == 0 {
            return;
        }
    }
    // Who sets it to what it is does not take it over.
    let flags = if after == before { BPF_NOEXIST } else { BPF_ANY };
    let _ = HELPERS.insert(key(after), Helper { container, since: now() }, flags.into());
}

/// `security_bprm_check`: a program is to be executed, or the interpreter of one, which comes here after it.
#[inline(always)]
pub(crate) fn checked(binprm: Binprm) {
    const PF_KTHREAD: u32 = 0x20_0000;
    let task = Task::current();
    let is_kernels = task.parent().flags() & PF_KTHREAD != 0;
    let is_interpreter = binprm.interp() != binprm.filename();
    if (is_kernels || is_interpreter) && member::get(task).is_none() {
        judge(binprm, is_kernels, is_interpreter);
    }
}

#[inline(never)]
fn judge(binprm: Binprm, is_kernels: bool, is_interpreter: bool) {
    if is_kernels && !is_interpreter {
        let (owner, since) = setter(binprm.filename() as Pointer);
        if owner != 0 {
            return tell(binprm, owner, since, Property::HelperSet);
        }
    }
    let file = binprm.file();
    let dentry = file.dentry();
    let owner = tree::owner(dentry);
    // Who has its root directory there, like a runtime, is not the host any more.
    let is_at_home = !is_kernels && tree::owner(Task::current().fs().root_dentry()) == owner;
    let is_supplied = owner != 0 && !is_at_home;
    if is_supplied || is_kernels && file.mnt().is_internal() && is_memory(dentry) {
        tell(binprm, owner, now(), Property::HelperSupplied);
    }
}

/// A file that never had a name, as of `memfd_create(2)`.
#[inline(always)]
fn is_memory(dentry: Dentry) -> bool {
    dentry.hash_pprev() == 0
}

/// The container that has set a setting to that program, and since when.
#[inline(always)]
fn setter(path: Pointer) -> (u64, u64) {
    let Some(claim) = Claim::new() else {
        count(Counter::NoSlot, Kind::Breach);
        return (0, 0);
    };
    // SAFETY: the slot is ours, and has room for the path.
    let hash = unsafe {
        let text = (&raw mut (*claim.slot).record).cast::<u8>();
        bpf_probe_read_kernel_str(text.cast(), PATH as u32, path);
        helper_hash(claim.index)
    };
    claim.release();
    let key = if reads_core() && !is_hosts_pattern(hash) {
        // SAFETY: the entry is only tested for.
        let is_set = unsafe { HELPERS.get(key(hash)) }.is_some();
        if is_set { key(hash) } else { FILLED_IN }
    } else {
        key(hash)
    };
    // SAFETY: an entry is copied, of a container that has set the program some time.
    unsafe { HELPERS.get(key) }.map_or((0, 0), |helper| (helper.container, helper.since))
}

/// Whether the current task, which the kernel has made for a program, is handed a core dump: there is no
/// other reason to have a standard input.
#[inline(always)]
fn reads_core() -> bool {
    let descriptors: u64 = read(Task::current().files().table(), Offset::FdtableFd);
    read_at::<u64>(descriptors) != 0
}

#[inline(always)]
fn is_hosts_pattern(hash: u64) -> bool {
    // SAFETY: the look-up gave a valid entry. Volatile: others change it.
    let host =
        HELPERS_OF_HOST.get_ptr(CORE_PATTERN).map_or(0, |host| unsafe { host.read_volatile() });
    host & !PIPED == hash
}

#[inline(never)]
fn tell(binprm: Binprm, container: u64, since: u64, property: Property) {
    emit(|record| wire::Breach {
        container: ContainerId(container),
        expected: 0,
        found: container,
        since,
        breach: BreachKind::UsermodeHelper as u32,
        property: property as u32,
        noticed: Noticed::Exec as u32,
        task: Task::current().tid(),
        way: Way::Executed as u32,
        reserved: 0,
        path: record.path(binprm.file().path()),
    });
}

/// Whether a text that ends with NUL is this one.
///
/// # Safety
///
/// `text` must have room for a path.
#[inline(always)]
unsafe fn is(text: *const u8, name: &str) -> bool {
    let mut differs = 0;
    for (index, &byte) in name.as_bytes().iter().enumerate() {
        // SAFETY: the caller's promise; names are shorter.
        differs |= unsafe { text.add(index).read_volatile() } ^ byte;
    }
    // SAFETY: as above.
    (differs | unsafe { text.add(name.len()).read_volatile() }) == 0
}

/// The first word has a `%`, for which the kernel fills something in that is a core pattern's.
const FILLED: u64 = 1;

/// The word stands behind a `|`, as that of a core pattern that names a program.
const PIPED: u64 = 2;

/// The key of all programs whose path is not known before it is filled in.
const FILLED_IN: u64 = 0;

/// What a program is kept by of which this is the [hash](helper_hash).
#[inline(always)]
fn key(hash: u64) -> u64 {
    if hash & FILLED == 0 { hash & !PIPED } else { FILLED_IN }
}

/// Of the first word of a setting, or of a path, at the start of a slot's record: FNV-1a, but for the two
/// lowest bits, [`FILLED`] and [`PIPED`].
///
/// Global: the verifier looks at it once and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn helper_hash(index: u32) -> u64 {
    const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x100_0000_01B3;
    let Some(slot) = Slot::by_index(index) else { return 0 };
    let (mut hash, mut filled) = (BASIS, 0);
    let mut is_in_word = false;
    // SAFETY: the caller has claimed the slot.
    let byte_at = |index: usize| unsafe {
        (&raw const (*slot).record).cast::<u8>().add(index).read_volatile()
    };
    let piped = equals(byte_at(0), b'|');
    for index in 0..PATH {
        let byte = byte_at(index);
        if byte == 0 {
            break;
        }
        if index == 0 && byte == b'|' {
            continue;
        }
        // As the kernel's `isspace`.
        if matches!(byte, b'\t'..=b'\r' | b' ') {
            if is_in_word {
                break;
            }
            continue;
        }
        is_in_word = true;
        filled |= equals(byte, b'%');
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    hash & !(FILLED | PIPED) | (filled * FILLED) | (piped * PIPED)
}

/// 1 if they are the same, or 0: without a branch, of which the verifier would follow both ways.
#[inline(always)]
fn equals(byte: u8, other: u8) -> u64 {
    opaque(u64::from(byte ^ other)).wrapping_sub(1) >> 63
}
