//! Lineage: which process came from which, what it runs, how it ended.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use shrike_common::{Exec, StartTime, wire};

use crate::emit::emit;
use crate::kernel::{Binprm, Inode, Path, Signal, Task};
use crate::{birth, breach, member, plan};

/// Processes of several threads that have ended: each of those that end at once finds that none is left.
#[btf_map]
static ENDED: LruHashMap<Ended, u8, 4096> = LruHashMap::new();

/// A process that has ended.
#[derive(Clone, Copy)]
#[repr(C)]
struct Ended {
    tgid: u64,
    start: StartTime,
}

/// `sched_process_exec`: the new image is in place.
#[inline(always)]
pub(crate) fn exec(binprm: Binprm) {
    member::starts();
    executed(binprm);
}

/// On its own, so that what it has on the stack does not count beside what [`member::starts`] has there.
#[inline(never)]
fn executed(binprm: Binprm) {
    emit(|record| {
        let task = Task::current();
        let file = binprm.file();
        let (inode, mm, signal, fs) = (file.inode(), task.mm(), task.signal(), task.fs());
        wire::Exec {
            inode: inode.ino(),
            dev: inode.sb().dev(),
            vpid: task.group_leader().pid_in_namespace().1,
            group: signal.process_group(),
            session: signal.session(),
            tty: signal.terminal(),
            loginuid: task.loginuid(),
            file: origin(inode),
            reserved: 0,
            path: record.path(file.path()),
            args: record.user(mm.arg_start(), mm.arg_end()),
            cwd: record.path(Path { dentry: fs.pwd_dentry(), mnt: fs.pwd_mnt() }),
            // Last: it may begin anywhere.
            env: record.environment(mm.env_start(), mm.env_end()),
        }
    });
}

/// Where the program comes from.
#[inline(always)]
fn origin(inode: Inode) -> u32 {
    let upper = if inode.is_upper() { Exec::UPPER } else { 0 };
    let unlinked = if inode.links() == 0 { Exec::UNLINKED } else { 0 };
    upper | unlinked
}

/// `task_newtask`: the child has its ids and credentials and has not run yet.
#[inline(always)]
pub(crate) fn fork(child: Task, clone_flags: u64) {
    const CLONE_THREAD: u64 = 0x1_0000;
    birth::born(child, clone_flags);
    if clone_flags & CLONE_THREAD != 0 {
        return;
    }
    emit(|_| wire::Fork {
        clone_flags,
        child_start: child.start_boottime(),
        child: child.tgid(),
        child_vpid: child.pid_in_namespace().1,
    });
}

/// `sched_process_exit`: the thread still has its namespaces and credentials.
#[inline(always)]
pub(crate) fn exit(task: Task) {
    const SIGNAL_GROUP_EXIT: u32 = 4;
    breach::check_exit(task);
    let signal = task.signal();
    if signal.live() != 0 || was_told(task, signal) {
        return;
    }
    plan::ended(task);
    let (group, own) = (signal.group_exit_code(), task.exit_code());
    let status = if signal.flags() & SIGNAL_GROUP_EXIT != 0 { group } else { own };
    emit(|_| wire::Exit { status, reserved: 0 });
}

/// Whether another thread has told of the end already. If there is no other any more, none will ask.
#[inline(always)]
fn was_told(task: Task, signal: Signal) -> bool {
    const BPF_NOEXIST: u64 = 1;
    const EEXIST: i32 = -17;
    let ended = Ended { tgid: task.tgid().0.into(), start: task.start() };
    if signal.nr_threads() == 1 {
        // SAFETY: the entry is only tested for.
        return unsafe { ENDED.get(ended) }.is_some();
    }
    ENDED.insert(ended, 0, BPF_NOEXIST) == Err(EEXIST)
}
