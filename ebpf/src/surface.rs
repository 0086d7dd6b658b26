//! The kernel itself: its parameters, its modules, its BPF programs.

use aya_ebpf::bindings::bpf_sysctl;
use aya_ebpf::helpers::generated::{bpf_sysctl_get_name, bpf_sysctl_get_new_value};
use shrike_common::{Backend, Kind, Noticed, wire};

use crate::breach;
use crate::heartbeat;
use crate::helper;
use crate::kernel::{File, Pointer, read_at};
use crate::plan::Wanted;
use crate::syscall::{FINIT_MODULE, INIT_MODULE};

/// `cgroup/sysctl`: a parameter was read, or is about to be written.
#[inline(always)]
pub(crate) fn sysctl(ctx: *mut bpf_sysctl) {
    const NAME: u32 = 256;
    /// Longer values are cut.
    const VALUE: u32 = 1024;
    // SAFETY: the kernel passes a valid context.
    if unsafe { (*ctx).write } == 0 {
        return heartbeat::beat(Backend::CgroupSysctl);
    }
    breach::check(Noticed::Sysctl);
    helper::set_parameter(ctx);
    let Some(wanted) = Wanted::of(Kind::Sysctl) else { return };
    wanted.emit(|record| wire::Sysctl {
        name: record.written(NAME, |to| {
            // SAFETY: there is room for a whole text.
            unsafe { bpf_sysctl_get_name(ctx, to.cast(), NAME.into(), 0) }
        }),
        value: record.written(VALUE, |to| {
            // SAFETY: as above.
            unsafe { bpf_sysctl_get_new_value(ctx, to.cast(), VALUE.into()) }
        }),
    });
}

/// `security_kernel_read_file`: a file is about to be read into the kernel.
#[inline(always)]
pub(crate) fn module_from_file(file: File) {
    if FINIT_MODULE.is_current() {
        let Some(wanted) = Wanted::of(Kind::ModuleLoad) else { return };
        wanted.emit(|record| wire::ModuleLoad { path: record.path(file.path()) });
    }
}

/// `security_kernel_load_data`: memory of a process was copied into the kernel.
#[inline(always)]
pub(crate) fn module_from_memory() {
    if INIT_MODULE.is_current() {
        let Some(wanted) = Wanted::of(Kind::ModuleLoad) else { return };
        wanted.emit(|_| wire::ModuleLoad { path: wire::Span::default() });
    }
}

/// `security_bpf`: `attr` is the kernel's copy.
#[inline(always)]
pub(crate) fn bpf(cmd: u32, attr: Pointer) {
    const BPF_PROG_LOAD: u32 = 5;
    /// Where `union bpf_attr` has these for that command (`include/uapi/linux/bpf.h`).
    const PROG_TYPE: u64 = 0;
    const PROG_NAME: u64 = 48;
    if !is_told(cmd) {
        return;
    }
    let attr = attr as u64;
    let is_load = cmd == BPF_PROG_LOAD;
    let Some(wanted) = Wanted::of(Kind::Bpf).and_then(|wanted| wanted.class(cmd)) else { return };
    wanted.emit(|_| wire::Bpf {
        cmd,
        prog_type: if is_load { read_at(attr + PROG_TYPE) } else { 0 },
        prog_name: if is_load { read_at(attr + PROG_NAME) } else { Default::default() },
    });
}

/// Whether a command of `bpf(2)` is told. Those that work with the elements of maps, run a program for
/// a test, or ask about objects are not: they change nothing but data, and come by the thousand.
#[inline(always)]
pub(crate) fn is_told(cmd: u32) -> bool {
    /// They, by their number (`enum bpf_cmd`).
    const PLAIN: u64 = 0b1_1110 | 0b111 << 10 | 0b11 << 15 | 0b11 << 20 | 0x1F << 23 | 1 << 31;
    cmd >= u64::BITS || PLAIN >> cmd & 1 == 0
}
