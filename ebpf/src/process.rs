//! Lineage: which process came from which, what it runs, how it ended.

use shrike_common::wire;

use crate::emit::emit;
use crate::kernel::{Binprm, Task};
use crate::{birth, breach, member, plan};

/// `sched_process_exec`: the new image is in place.
#[inline(always)]
pub(crate) fn exec(binprm: Binprm) {
    member::starts();
    emit(|record| {
        let task = Task::current();
        let file = binprm.file();
        let (inode, mm) = (file.inode(), task.mm());
        wire::Exec {
            inode: inode.ino(),
            dev: inode.sb().dev(),
            vpid: task.group_leader().pid_in_namespace().1,
            path: record.path(file.path()),
            args: record.user(mm.arg_start(), mm.arg_end()),
        }
    });
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
    if signal.live() != 0 {
        return;
    }
    plan::ended(task);
    let (group, own) = (signal.group_exit_code(), task.exit_code());
    let status = if signal.flags() & SIGNAL_GROUP_EXIT != 0 { group } else { own };
    emit(|_| wire::Exit { status, reserved: 0 });
}
