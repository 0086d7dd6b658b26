//! The probes: one line each, naming the hook and the handler. Every way to attach a probe shares
//! its handler. None of them ever changes what the kernel does.

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

mod attempt;
mod birth;
mod books;
mod boundary;
mod breach;
mod cgroup;
mod containment;
mod credential;
mod emit;
mod environment;
mod file;
mod heartbeat;
mod helper;
mod kernel;
mod label;
mod member;
mod mount;
mod namespace;
mod network;
mod outcome;
mod owned;
mod plan;
mod privilege;
mod process;
mod share;
mod slot;
mod steps;
mod superblock;
mod surface;
mod syscall;
mod tree;
mod verdict;
mod wake;
mod walk;

use attempt::End;
use aya_ebpf::macros::{btf_tracepoint, cgroup_sysctl, fentry, fexit, lsm};
use aya_ebpf::programs::{
    BtfTracePointContext, FEntryContext, FExitContext, LsmContext, SysctlContext,
};
use kernel::{
    Binprm, Cgroup, Cred, Dentry, File, Nsproxy, PathRef, Sock, Socket, Superblock, Task, Vma,
};
use shrike_common::{Backend, Noticed};

/// Declares programs that the agent can attach. Each answers 0: that is "go on" to an LSM hook.
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

/// Declares two programs for each LSM hook: one for the hook, one for the entry of `security_*`,
/// which has the same arguments. Where a hook is named as one, members are compared with their boundary
/// there.
macro_rules! hooks {
    ($($lsm:ident $fentry:ident($ctx:ident) $(notices $noticed:ident)? => $handler:expr;)*) => {
        probes! {
            $(
                #[lsm] $lsm($ctx: LsmContext) => {
                    $(breach::check(Noticed::$noticed);)?
                    $handler
                };
                #[fentry] $fentry($ctx: FEntryContext) => {
                    $(breach::check(Noticed::$noticed);)?
                    $handler
                };
            )*
        }
    };
}

hooks! {
    bpf_lsm bpf_fentry(ctx) notices Bpf => surface::bpf(ctx.arg(0), ctx.arg(1));
    capset_lsm capset_fentry(ctx) => credential::capset(Cred(ctx.arg(0)), ctx.arg(3));
    chmod_lsm chmod_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
    chown_lsm chown_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
    committed_creds_lsm committed_creds_fentry(_ctx) => member::executed();
    committing_creds_lsm committing_creds_fentry(ctx) =>
        credential::announce(Binprm(ctx.arg(0)).cred());
    connect_lsm connect_fentry(ctx) notices Connect =>
        network::connect(Socket(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
    create_lsm create_fentry(ctx) =>
        file::create(PathRef(ctx.arg(0)), Dentry(ctx.arg(1)), ctx.arg(2));
    exec_check_lsm exec_check_fentry(ctx) => helper::checked(Binprm(ctx.arg(0)));
    file_open_lsm file_open_fentry(ctx) => file::open(File(ctx.arg(0)));
    fix_setgroups_lsm fix_setgroups_fentry(ctx) => credential::announce(Cred(ctx.arg(0)));
    fix_setgid_lsm fix_setgid_fentry(ctx) => credential::announce(Cred(ctx.arg(0)));
    fix_setuid_lsm fix_setuid_fentry(ctx) => credential::announce(Cred(ctx.arg(0)));
    mknod_lsm mknod_fentry(ctx) =>
        file::mknod(PathRef(ctx.arg(0)), Dentry(ctx.arg(1)), ctx.arg(2), ctx.arg(3));
    inherit_lsm inherit_fentry(ctx) => birth::conceived(Task(ctx.arg(0)), ctx.arg(1));
    kill_lsm kill_fentry(_ctx) notices Kill => ();
    link_lsm link_fentry(ctx) => tree::changed(PathRef(ctx.arg(1)));
    mkdir_lsm mkdir_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
    module_file_lsm module_file_fentry(ctx) notices ModuleLoad =>
        surface::module_from_file(File(ctx.arg(0)));
    module_memory_lsm module_memory_fentry(_ctx) notices ModuleLoad =>
        surface::module_from_memory();
    mount_lsm mount_fentry(ctx) notices Mount => mount::mount(Superblock(ctx.arg(0)));
    move_mount_lsm move_mount_fentry(ctx) notices MoveMount =>
        mount::move_mount(PathRef(ctx.arg(0)), PathRef(ctx.arg(1)));
    mprotect_lsm mprotect_fentry(ctx) => file::mprotect(Vma(ctx.arg(0)), ctx.arg(2));
    ptrace_lsm ptrace_fentry(ctx) notices Ptrace =>
        privilege::ptrace(Task(ctx.arg(0)), ctx.arg(1));
    receive_lsm receive_fentry(ctx) => tree::received(File(ctx.arg(0)));
    rename_lsm rename_fentry(ctx) =>
        tree::renamed(PathRef(ctx.arg(0)), PathRef(ctx.arg(2)));
    rmdir_lsm rmdir_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
    socket_lsm socket_fentry(ctx) notices Socket =>
        network::socket(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    symlink_lsm symlink_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
    task_free_lsm task_free_fentry(ctx) => member::freed(Task(ctx.arg(0)));
    truncate_lsm truncate_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
    // Whoever comes here has been at the connect hook just now.
    unix_connect_lsm unix_connect_fentry(ctx) =>
        network::unix_connect(Sock(ctx.arg(1)));
    unlink_lsm unlink_fentry(ctx) => tree::changed(PathRef(ctx.arg(0)));
}

probes! {
    #[fentry] cgroup_move_fentry(ctx: FEntryContext) =>
        member::moving(Task(ctx.arg(1)), Cgroup(ctx.arg(0)));
    #[fentry] commit_creds_fentry(ctx: FEntryContext) => credential::commit(Cred(ctx.arg(0)));
    #[fentry] release_agent_fentry(ctx: FEntryContext) => helper::set_release_agent(ctx.arg(1));
    #[fentry] cgroup_option_fentry(ctx: FEntryContext) => helper::set_option(ctx.arg(1));
    #[fentry] handle_fentry(ctx: FEntryContext) =>
        tree::opened_by_handle(PathRef(ctx.arg(0)), ctx.arg(2));
    #[fentry] prctl_fentry(ctx: FEntryContext) =>
        credential::prctl(
            ctx.arg(0),
            ctx.arg(1),
            ctx.arg::<u64>(2) | ctx.arg::<u64>(3) | ctx.arg::<u64>(4),
        );
    #[fexit] unshare_fexit(ctx: FExitContext) =>
        namespace::unshared(ctx.arg(0), ctx.arg::<i32>(1));
    #[fexit] relabel_fexit(ctx: FExitContext) => credential::relabelled(ctx.arg(4));
    #[fexit] seccomp_fexit(_ctx: FExitContext) => breach::check(Noticed::Seccomp);
    #[btf_tracepoint] cgroup_attach_tp(ctx: BtfTracePointContext) =>
        cgroup::attach(Cgroup(ctx.arg(0)), ctx.arg(1), Task(ctx.arg(2)));
    #[btf_tracepoint] cgroup_mkdir_tp(ctx: BtfTracePointContext) =>
        cgroup::made(Cgroup(ctx.arg(0)), ctx.arg(1));
    #[btf_tracepoint] cgroup_rmdir_tp(ctx: BtfTracePointContext) =>
        cgroup::removed(Cgroup(ctx.arg(0)), ctx.arg(1));
    #[btf_tracepoint] exec_tp(ctx: BtfTracePointContext) => process::exec(Binprm(ctx.arg(2)));
    #[btf_tracepoint] exit_tp(ctx: BtfTracePointContext) => process::exit(Task(ctx.arg(0)));
    #[btf_tracepoint] fork_tp(ctx: BtfTracePointContext) => process::fork(Task(ctx.arg(0)), ctx.arg(1));
    // The hook has the protection that was asked for in front of the one that is given.
    #[lsm] mmap_lsm(ctx: LsmContext) => file::mmap(File(ctx.arg(0)), ctx.arg(2));
    #[fentry] mmap_fentry(ctx: FEntryContext) => file::mmap(File(ctx.arg(0)), ctx.arg(1));
    #[lsm] heartbeat_lsm(ctx: LsmContext) =>
        heartbeat::asked_about(Task(ctx.arg(0)), Backend::Lsm);
    #[fentry] heartbeat_fentry(ctx: FEntryContext) =>
        heartbeat::asked_about(Task(ctx.arg(0)), Backend::Fentry);
    #[btf_tracepoint] heartbeat_tp(_ctx: BtfTracePointContext) =>
        heartbeat::beat(Backend::Tracepoint);
    #[fentry] namespaces_fentry(ctx: FEntryContext) =>
        namespace::switch(Task(ctx.arg(0)), Nsproxy(ctx.arg(1)));
}

/// Declares programs for the ends of system calls. Behind the one argument (`struct pt_regs`) the
/// context has the result.
macro_rules! exits {
    (both { $($both:ident $both_compat:ident => $both_end:ident;)* }
     native { $($native:ident => $native_end:ident;)* }
     compat { $($compat:ident => $compat_end:ident;)* }) => {
        probes! {
            $(
                #[fexit] $both(ctx: FExitContext) => attempt::$both_end(End::native(ctx.arg(1)));
                #[fexit] $both_compat(ctx: FExitContext) =>
                    attempt::$both_end(End::compat(ctx.arg(1)));
            )*
            $(#[fexit] $native(ctx: FExitContext) =>
                attempt::$native_end(End::native(ctx.arg(1)));)*
            $(#[fexit] $compat(ctx: FExitContext) =>
                attempt::$compat_end(End::compat(ctx.arg(1)));)*
        }
    };
}

exits! {
    both {
        exit_bpf exit_compat_bpf => bpf;
        exit_connect exit_compat_connect => connect;
        exit_creat exit_compat_creat => creat;
        exit_execve exit_compat_execve => execve;
        exit_execveat exit_compat_execveat => execveat;
        exit_finit_module exit_compat_finit_module => module;
        exit_fsconfig exit_compat_fsconfig => fsconfig;
        exit_init_module exit_compat_init_module => module;
        exit_mknod exit_compat_mknod => mknod;
        exit_mknodat exit_compat_mknodat => mknodat;
        exit_mount exit_compat_mount => mount;
        exit_move_mount exit_compat_move_mount => move_mount;
        exit_mprotect exit_compat_mprotect => mapping;
        exit_open exit_compat_open => open;
        exit_open_by_handle_at exit_compat_open_by_handle_at => open_by_handle_at;
        exit_openat exit_compat_openat => openat;
        exit_openat2 exit_compat_openat2 => openat2;
        exit_pidfd_getfd exit_compat_pidfd_getfd => pidfd_getfd;
        exit_pkey_mprotect exit_compat_pkey_mprotect => mapping;
        exit_process_vm_readv exit_compat_process_vm_readv => process_vm;
        exit_process_vm_writev exit_compat_process_vm_writev => process_vm;
        exit_ptrace exit_compat_ptrace => ptrace;
        exit_setns exit_compat_setns => setns;
        exit_socket exit_compat_socket => socket;
        exit_socketpair exit_compat_socketpair => socket;
        exit_unshare exit_compat_unshare => unshare;
    }
    native {
        exit_mmap => mapping;
    }
    compat {
        exit_compat_socketcall => socketcall;
    }
}

/// Answers 1: that is "go on" to a `cgroup/sysctl` program.
#[cgroup_sysctl]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn sysctl_cgroup(ctx: SysctlContext) -> i32 {
    surface::sysctl(ctx.sysctl);
    1
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
