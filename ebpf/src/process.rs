//! Lineage: which process came from which, what it runs, how it ended.

use shrike_common::{Exec, wire};

use crate::emit::emit;
use crate::kernel::{Binprm, Inode, Path, Task};
use crate::{birth, breach, member, plan};

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
            permitted: task.real_cred().permitted(),
            group: signal.process_group(),
            session: signal.session(),
            tty: signal.terminal(),
            loginuid: task.loginuid(),
            file: origin(inode),
            reserved: 0,
            path: record.path(file.path()),
            args: record.user(mm.arg_start(), mm.arg_end()),
            env: record.environment(mm.env_start(), mm.env_end()),
            cwd: record.path(Path { dentry: fs.pwd_dentry(), mnt: fs.pwd_mnt() }),
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
    if signal.live() != 0 {
        return;
    }
    plan::ended(task);
    let (group, own) = (signal.group_exit_code(), task.exit_code());
    let status = if signal.flags() & SIGNAL_GROUP_EXIT != 0 { group } else { own };
    emit(|_| wire::Exit { status, reserved: 0 });
}
