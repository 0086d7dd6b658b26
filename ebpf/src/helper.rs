//! Programs that the kernel executes by itself, as the host's root (`call_usermodehelper`, or an
//! interpreter by `binfmt_misc`): core dumps, modules, empty cgroups. If a container has set which one that
//! is, or if it comes from a container's files, the container has left its boundary.

use aya_ebpf::bindings::bpf_sysctl;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel_str, bpf_sysctl_get_name, bpf_sysctl_get_new_value,
};
use aya_ebpf::macros::btf_map;
use shrike_common::{BreachKind, ContainerId, Counter, Kind, Noticed, Property, Way, wire};

use crate::books::count;
use crate::emit::emit;
use crate::kernel::{Binprm, Dentry, Pointer, Task};
use crate::member::{self, now};
use crate::slot::Claim;
use crate::tree;

/// The settings that name a program, as parameters below `/proc/sys`.
const PARAMETERS: [&str; 4] =
    ["kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/poweroff_cmd"];

/// The setting of the first version of cgroups has its place behind those.
const RELEASE_AGENT: u32 = PARAMETERS.len() as u32;

const SETTINGS: usize = PARAMETERS.len() + 1;

#[btf_map]
static HELPERS: Array<Helper, SETTINGS> = Array::new();

/// What a setting was set to last.
#[derive(Clone, Copy)]
#[repr(C)]
struct Helper {
    /// The container that did it; 0 if it was the host.
    container: u64,
    since: u64,
    /// Of the path of the program.
    hash: u64,
}

/// Of a longer path, the start is compared. The kernel itself keeps no longer core pattern
/// (`CORENAME_MAX_SIZE`).
const PATH: usize = 128;

/// A parameter is about to be written.
#[inline(never)]
pub(crate) fn set_parameter(ctx: *mut bpf_sysctl) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the slot is ours, and has room for both texts.
    unsafe {
        let text = (&raw mut (*claim.slot).record).cast::<u8>();
        if bpf_sysctl_get_name(ctx, text.cast(), PATH as u64, 0) > 0
            && let Some(setting) = PARAMETERS.iter().position(|name| is(text, name))
            && bpf_sysctl_get_new_value(ctx, text.cast(), PATH as u64) > 0
        {
            set(setting as u32, text);
        }
    }
    claim.release();
}

/// `cgroup_release_agent_write`: the program that is executed when a cgroup becomes empty.
#[inline(always)]
pub(crate) fn set_release_agent(path: Pointer) {
    let Some(claim) = Claim::new() else { return count(Counter::NoSlot, Kind::Breach) };
    // SAFETY: the slot is ours, and has room for the path.
    unsafe {
        let text = (&raw mut (*claim.slot).record).cast::<u8>();
        if bpf_probe_read_kernel_str(text.cast(), PATH as u32, path) > 0 {
            set(RELEASE_AGENT, text);
        }
    }
    claim.release();
}

/// # Safety
///
/// `text` must have room for a path.
#[inline(always)]
unsafe fn set(setting: u32, text: *const u8) {
    let Some(helper) = HELPERS.get_ptr_mut(setting) else { return };
    // SAFETY: the look-up gave a valid entry, whose container is 0 while it is changed.
    unsafe {
        (&raw mut (*helper).container).write_volatile(0);
        (&raw mut (*helper).hash).write_volatile(hash(text));
        (&raw mut (*helper).since).write_volatile(now());
        let container = member::of(Task::current()).1.0;
        (&raw mut (*helper).container).write_volatile(container);
    }
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
        hash(text)
    };
    claim.release();
    for setting in 0..SETTINGS as u32 {
        let Some(helper) = HELPERS.get_ptr(setting) else { continue };
        // SAFETY: the look-up gave a valid entry.
        let (container, since, set) =
            unsafe { ((*helper).container, (*helper).since, (*helper).hash) };
        if container != 0 && set == hash {
            return (container, since);
        }
    }
    (0, 0)
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

/// Of the first word of a setting, or of a path: FNV-1a.
///
/// # Safety
///
/// `text` must have room for a path.
#[inline(never)]
unsafe fn hash(text: *const u8) -> u64 {
    const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x100_0000_01B3;
    let mut hash = BASIS;
    for index in 0..PATH {
        // SAFETY: the caller's promise.
        let byte = unsafe { text.add(index).read_volatile() };
        // A core pattern that names a program starts so.
        if index == 0 && byte == b'|' {
            continue;
        }
        if matches!(byte, 0 | b' ' | b'\n' | b'\t') {
            break;
        }
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    hash
}
