//! The probes: one line each, naming the hook and the handler. Every way to attach a probe shares
//! its handler. None of them ever changes what the kernel does: LSM programs return 0.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_ptr_alignment,
    reason = "lengths are bounded for the verifier, and records are aligned to 8 bytes"
)]
#![allow(
    clippy::inline_always,
    reason = "a function that is not inlined is a subprogram, to which the verifier's knowledge of \
              types and bounds does not always reach"
)]

mod books;
mod emit;
mod file;
mod kernel;
mod process;
mod slot;
mod walk;

use aya_ebpf::macros::{btf_tracepoint, fentry, lsm};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, LsmContext};
use kernel::{Binprm, File, Task};

macro_rules! probes {
    ($(#[$attach:meta] $program:ident($ctx:ident: $context:ty) => $handler:expr;)*) => {
        $(#[$attach] fn $program($ctx: $context) -> i32 {
            #[cfg(feature = "log")]
            aya_log_ebpf::trace!(&$ctx, "{} runs", stringify!($program));
            $handler;
            0
        })*
    };
}

probes! {
    #[btf_tracepoint] exec_tp(ctx: BtfTracePointContext) => process::exec(Binprm(ctx.arg(2)));
    #[btf_tracepoint] fork_tp(ctx: BtfTracePointContext) => process::fork(Task(ctx.arg(0)), ctx.arg(1));
    #[btf_tracepoint] exit_tp(ctx: BtfTracePointContext) => process::exit(Task(ctx.arg(0)));
    #[lsm] file_open_lsm(ctx: LsmContext) => file::open(File(ctx.arg(0)));
    #[fentry] file_open_fentry(ctx: FEntryContext) => file::open(File(ctx.arg(0)));
}

/// What the object tells the kernel: helpers for tracing ask for a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an object in which this can be reached.
    loop {}
}
