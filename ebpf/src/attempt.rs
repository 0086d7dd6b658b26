//! The ends of system calls. What failed before a hook was reached is told as the caller put it: its
//! arguments may have changed since, and nobody has looked at what they stand for.

use aya_ebpf::helpers::bpf_probe_read_user;
use shrike_common::{Address, ContainerId, Kind, Lane, Namespaces, NsId, Pid, StartTime, wire};

use crate::file;
use crate::kernel::Task;
use crate::network::{AF_INET, AF_INET6, AF_UNIX, FAMILY};
use crate::outcome::ended;
use crate::plan::Wanted;
use crate::surface;
use crate::syscall::Args;

/// The end of a system call.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) args: Args,
    pub(crate) result: i64,
}

impl End {
    /// Of a system call of the 64-bit table.
    #[inline(always)]
    pub(crate) fn native(result: i64) -> Self {
        Self { args: Args::of(Task::current(), false), result }
    }

    /// Of a system call of the 32-bit table.
    #[inline(always)]
    pub(crate) fn compat(result: i64) -> Self {
        Self { args: Args::of(Task::current(), true), result }
    }
}

const NONE: Namespaces = Namespaces {
    mnt: NsId(0),
    pid: NsId(0),
    net: NsId(0),
    user: NsId(0),
    uts: NsId(0),
    ipc: NsId(0),
    cgroup: NsId(0),
    time: NsId(0),
};

/// A number in the current process's memory; 0 if it cannot be read.
#[inline(always)]
fn user<T: Copy + Default>(at: u64) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(at as *const T) }.unwrap_or_default()
}

#[inline(always)]
pub(crate) fn open(end: End) {
    opened(end, end.args.first(), end.args.second() as u32);
}

#[inline(always)]
pub(crate) fn openat(end: End) {
    opened(end, end.args.second(), end.args.third() as u32);
}

#[inline(always)]
pub(crate) fn openat2(end: End) {
    // `struct open_how` begins with the flags.
    opened(end, end.args.second(), user::<u64>(end.args.third()) as u32);
}

#[inline(always)]
pub(crate) fn creat(end: End) {
    /// `O_CREAT | O_WRONLY | O_TRUNC`.
    const FLAGS: u32 = 0o1101;
    opened(end, end.args.first(), FLAGS);
}

#[inline(always)]
pub(crate) fn open_by_handle_at(end: End) {
    opened(end, 0, end.args.third() as u32);
}

#[inline(always)]
fn opened(end: End, path: u64, flags: u32) {
    ended(Lane::Bulk, end.result, || {
        let wanted = Wanted::of_attempt(Kind::FileOpen).and_then(|wanted| wanted.access(flags));
        let Some(wanted) = wanted else { return };
        wanted.emit_attempt(end.result, |record| {
            let path = record.user_string(path);
            wire::FileOpen {
                inode: 0,
                fs_magic: 0,
                dev: 0,
                flags,
                mode: 0,
                rdev: 0,
                mnt_ns: NsId(0),
                reserved: 0,
                path,
                given: path,
            }
        });
    });
}

#[inline(always)]
pub(crate) fn mknod(end: End) {
    made(end, end.args.first(), end.args.second() as u32, end.args.third() as u32);
}

#[inline(always)]
pub(crate) fn mknodat(end: End) {
    made(end, end.args.second(), end.args.third() as u32, end.args.fourth() as u32);
}

#[inline(always)]
fn made(end: End, path: u64, mode: u32, device: u32) {
    const S_IFMT: u32 = 0o170_000;
    const S_IFREG: u32 = 0o100_000;
    ended(Lane::Bulk, end.result, || match mode & S_IFMT {
        0 | S_IFREG => {
            let Some(wanted) = Wanted::of_attempt(Kind::FileCreate) else { return };
            wanted.emit_attempt(end.result, |record| wire::FileCreate {
                fs_magic: 0,
                dev: 0,
                mode: mode | S_IFREG,
                path: record.user_string(path),
            });
        }
        _ => {
            let Some(wanted) = Wanted::of_attempt(Kind::Mknod) else { return };
            wanted.emit_attempt(end.result, |record| wire::Mknod {
                mode,
                rdev: file::decode(device),
                path: record.user_string(path),
            });
        }
    });
}

#[inline(always)]
pub(crate) fn execve(end: End) {
    executed(end, end.args.first());
}

#[inline(always)]
pub(crate) fn execveat(end: End) {
    executed(end, end.args.second());
}

/// Of one that succeeded, the event is its own outcome.
#[inline(always)]
fn executed(end: End, path: u64) {
    ended(Lane::Process, end.result, || {
        let Some(wanted) = Wanted::of_attempt(Kind::Exec) else { return };
        wanted.emit_attempt(end.result, |record| wire::Exec {
            path: record.user_string(path),
            ..wire::Exec::default()
        });
    });
}

#[inline(always)]
pub(crate) fn mount(end: End) {
    /// `MS_REMOUNT | MS_BIND | MS_MOVE | MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED`: no file
    /// system is given to be mounted.
    const OTHER: u64 = 1 << 5 | 1 << 12 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
    let is_other = end.args.fourth() & OTHER != 0;
    mounted(end, !is_other, end.args.third());
}

#[inline(always)]
pub(crate) fn fsconfig(end: End) {
    const FSCONFIG_CMD_CREATE: u64 = 6;
    mounted(end, end.args.second() == FSCONFIG_CMD_CREATE, 0);
}

#[inline(always)]
fn mounted(end: End, is_new: bool, fs_type: u64) {
    ended(Lane::Critical, end.result, || {
        if !is_new {
            return;
        }
        let Some(wanted) = Wanted::of_attempt(Kind::Mount) else { return };
        wanted.emit_attempt(end.result, |record| wire::Mount {
            fs_magic: 0,
            dev: 0,
            bdev: 0,
            fs_type: record.user_string(fs_type),
        });
    });
}

#[inline(always)]
pub(crate) fn move_mount(end: End) {
    ended(Lane::Critical, end.result, || {
        let Some(wanted) = Wanted::of_attempt(Kind::MoveMount) else { return };
        wanted.emit_attempt(end.result, |record| wire::MoveMount {
            fs_magic: 0,
            dev: 0,
            from_mnt_ns: NsId(0),
            fs_type: wire::Span::default(),
            to: record.user_string(end.args.fourth()),
        });
    });
}

#[inline(always)]
pub(crate) fn setns(end: End) {
    ended(Lane::Critical, end.result, || {
        let Some(wanted) = Wanted::of_attempt(Kind::Setns) else { return };
        wanted.emit_attempt(end.result, |_| wire::Setns { joined: NONE });
    });
}

#[inline(always)]
pub(crate) fn unshare(end: End) {
    ended(Lane::Critical, end.result, || {
        let Some(wanted) = Wanted::of_attempt(Kind::Unshare) else { return };
        wanted.emit_attempt(end.result, |_| wire::Unshare { joined: NONE });
    });
}

#[inline(always)]
pub(crate) fn ptrace(end: End) {
    const PTRACE_ATTACH: u64 = 16;
    const PTRACE_SEIZE: u64 = 0x4206;
    let attaches = matches!(end.args.first(), PTRACE_ATTACH | PTRACE_SEIZE);
    accessed(end, attaches, end.args.second());
}

#[inline(always)]
pub(crate) fn process_vm(end: End) {
    accessed(end, true, end.args.first());
}

/// The process is known by a descriptor only.
#[inline(always)]
pub(crate) fn pidfd_getfd(end: End) {
    accessed(end, true, 0);
}

/// The number of the other task is as the caller knows it, in its own pid namespace.
#[inline(always)]
fn accessed(end: End, is_access: bool, target: u64) {
    const PTRACE_MODE_ATTACH: u32 = 2;
    ended(Lane::Critical, end.result, || {
        if !is_access {
            return;
        }
        let Some(wanted) = Wanted::of_attempt(Kind::Ptrace) else { return };
        wanted.emit_attempt(end.result, |_| wire::Ptrace {
            mode: PTRACE_MODE_ATTACH,
            target_membership: 0,
            target_container: ContainerId(0),
            target_start: StartTime(0),
            target: Pid(target as u32),
            reserved: 0,
            target_ns: NONE,
            target_comm: [0; 16],
        });
    });
}

#[inline(always)]
pub(crate) fn connect(end: End) {
    let (address, len) = (end.args.second(), end.args.third() as u32);
    ended(Lane::Bulk, end.result, || connected(end.result, address, len));
}

/// `at` is where the address is. Called, not inlined, as [`network::connect`](crate::network::connect) is.
#[inline(never)]
fn connected(result: i64, at: u64, len: u32) {
    /// The longest name of a Unix socket.
    const NAME: u32 = 108;
    let start: u64 = user(at);
    let family = u32::from(start as u16);
    let wanted = Wanted::of_attempt(Kind::Connect).and_then(|wanted| wanted.class(family));
    let Some(wanted) = wanted else { return };
    let is_unix = family == u32::from(AF_UNIX);
    wanted.emit_attempt(result, |record| {
        let name = if is_unix { len.saturating_sub(FAMILY).min(NAME) } else { 0 };
        let name_at = at + u64::from(FAMILY);
        wire::Connect {
            family,
            socket_type: 0,
            port: match family as u16 {
                AF_INET | AF_INET6 => u16::from_be((start >> 16) as u16).into(),
                _ => 0,
            },
            protocol: 0,
            address: match family as u16 {
                AF_INET => Address::v4(((start >> 32) as u32).to_ne_bytes()),
                AF_INET6 => Address(user(at + 8)),
                _ => Address::default(),
            },
            own_address: Address::default(),
            own_port: 0,
            reserved: 0,
            path: wire::Span::default(),
            bound: record.user(name_at, name_at + u64::from(name)),
        }
    });
}

#[inline(always)]
pub(crate) fn socket(end: End) {
    let (family, ty, protocol) = (end.args.first(), end.args.second(), end.args.third());
    ended(Lane::Bulk, end.result, || {
        created(end.result, family as u32, ty as u32, protocol as u32);
    });
}

#[inline(always)]
fn created(result: i64, family: u32, ty: u32, protocol: u32) {
    /// `SOCK_TYPE_MASK`.
    const TYPE: u32 = 0xF;
    let wanted = Wanted::of_attempt(Kind::Socket).and_then(|wanted| wanted.class(family));
    let Some(wanted) = wanted else { return };
    wanted.emit_attempt(result, |_| wire::Socket {
        family,
        socket_type: ty & TYPE,
        protocol,
        reserved: 0,
    });
}

/// The calls for sockets of the 32-bit table in one, with the arguments in memory.
#[inline(always)]
pub(crate) fn socketcall(end: End) {
    const SYS_SOCKET: u64 = 1;
    const SYS_CONNECT: u64 = 3;
    const SYS_SOCKETPAIR: u64 = 8;
    let at = end.args.second();
    ended(Lane::Bulk, end.result, || {
        let [first, second, third] = [user::<u32>(at), user(at + 4), user(at + 8)];
        match end.args.first() {
            SYS_SOCKET | SYS_SOCKETPAIR => created(end.result, first, second, third),
            SYS_CONNECT => connected(end.result, second.into(), third),
            _ => {}
        }
    });
}

#[inline(always)]
pub(crate) fn module(end: End) {
    ended(Lane::Critical, end.result, || {
        let Some(wanted) = Wanted::of_attempt(Kind::ModuleLoad) else { return };
        wanted.emit_attempt(end.result, |_| wire::ModuleLoad { path: wire::Span::default() });
    });
}

#[inline(always)]
pub(crate) fn bpf(end: End) {
    let cmd = end.args.first() as u32;
    ended(Lane::Critical, end.result, || {
        if !surface::is_told(cmd) {
            return;
        }
        let wanted = Wanted::of_attempt(Kind::Bpf).and_then(|wanted| wanted.class(cmd));
        let Some(wanted) = wanted else { return };
        wanted.emit_attempt(end.result, |_| wire::Bpf { cmd, prog_type: 0, prog_name: [0; 16] });
    });
}

/// What could not be mapped is not told: without the file, nobody could tell what it was.
#[inline(always)]
pub(crate) fn mapping(end: End) {
    ended(Lane::Bulk, end.result, || {});
}
