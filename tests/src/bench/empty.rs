//! A program that does nothing at a hook of the security modules: what it costs, no probe there can save.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};

/// The program while it is attached.
pub(super) struct Empty {
    _program: OwnedFd,
    _link: OwnedFd,
}

/// `r0 = 0; exit`.
const PROGRAM: [u64; 2] = [0xB7, 0x95];

const BPF_PROG_LOAD: i32 = 5;
const BPF_RAW_TRACEPOINT_OPEN: i32 = 17;
const BPF_PROG_TYPE_LSM: u32 = 29;
const BPF_LSM_MAC: u32 = 27;

/// What `BPF_PROG_LOAD` takes (`union bpf_attr` in `include/uapi/linux/bpf.h`), up to the last that is
/// needed.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// What `BPF_RAW_TRACEPOINT_OPEN` takes.
#[repr(C)]
#[derive(Default)]
struct Open {
    name: u64,
    prog_fd: u32,
    reserved: u32,
}

impl Empty {
    /// Attaches it to the hook.
    pub(super) fn attach(hook: &str) -> Result<Self> {
        let btf = fs::read("/sys/kernel/btf/vmlinux")?;
        let mut load = Load {
            prog_type: BPF_PROG_TYPE_LSM,
            insn_cnt: 2,
            insns: PROGRAM.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            expected_attach_type: BPF_LSM_MAC,
            attach_btf_id: function(&btf, &format!("bpf_lsm_{hook}"))?,
            ..Load::default()
        };
        let program = bpf(BPF_PROG_LOAD, &mut load).context("load the empty program")?;
        let number = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&program))?;
        let mut open = Open { prog_fd: number, ..Open::default() };
        let link = bpf(BPF_RAW_TRACEPOINT_OPEN, &mut open).context("attach the empty program")?;
        Ok(Self { _program: program, _link: link })
    }
}

/// Calls `bpf(2)`, which answers with a new descriptor.
fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<OwnedFd> {
    let attributes: *mut T = attributes;
    // SAFETY: the attributes are as long as is said, and what they point to outlives the call.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>());
        match RawFd::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The id of a function in the kernel's BTF (`Documentation/bpf/btf.rst`).
fn function(btf: &[u8], name: &str) -> Result<u32> {
    const KIND_FUNC: u32 = 12;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(btf.get(at..at + 4)?.try_into().ok()?))
    };
    let header = || Some([word(4)?, word(8)?, word(12)?, word(16)?].map(|value| value as usize));
    let [header, types, length, strings] = header().context("a short header")?;
    let is_name = |at: usize| {
        btf.get(header + strings + at..).is_some_and(|text| {
            text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })
    };
    let mut at = header + types;
    let end = at + length;
    for id in 1.. {
        if at >= end {
            break;
        }
        let (Some(text), Some(info)) = (word(at), word(at + 4)) else { break };
        let (kind, count) = (info >> 24 & 0x1F, (info & 0xFFFF) as usize);
        if kind == KIND_FUNC && is_name(text as usize) {
            return Ok(id);
        }
        at += 12
            + match kind {
                // Integers, variables, tags; arrays; structs, unions, sections, enums of 64 bits; enums,
                // prototypes.
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                _ => 0,
            };
    }
    bail!("the kernel has no {name}")
}
