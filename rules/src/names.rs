//! The names that `evt.type` knows, and the kind of event that carries each.
//!
//! A name of this list is valid in a condition whether or not a sensor emits such events: rules
//! written for Falco must load, and a misspelt name must not. The list holds the system calls of
//! x86-64 Linux, the events that Falco adds to them, and some of our own, for what no one
//! system call does: `boundary`, `breach`, `cgroup_attach`, `file_create`, `file_open` (of files that the kernel opens on no
//! open call's behalf), `mmap_exec` and `sysctl`.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::event::KindSet;
use shrike_common::Kind;

/// A set of event names, one bit for each entry of [`NAMES`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NameSet([u64; WORDS]);

const WORDS: usize = NAMES.len().div_ceil(64);

impl NameSet {
    pub(crate) const NONE: Self = Self([0; WORDS]);

    /// Every known name.
    pub(crate) fn all() -> Self {
        Self::matching(|_| true)
    }

    /// The names that satisfy `predicate`.
    pub(crate) fn matching(predicate: impl Fn(&'static str) -> bool) -> Self {
        let mut set = Self::NONE;
        for (index, name) in NAMES.iter().enumerate() {
            if predicate(name) {
                set.0[index / 64] |= 1 << (index % 64);
            }
        }
        set
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    pub(crate) fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(index, _)| self.0[index / 64] & (1 << (index % 64)) != 0)
            .map(|(_, name)| *name)
    }

    /// Whether the name at this place of [`NAMES`] is one of these.
    pub(crate) fn has(&self, place: usize) -> bool {
        self.0[place / 64] & 1 << (place % 64) != 0
    }

    /// The kinds whose events carry one of these names.
    pub(crate) fn kinds(self) -> KindSet {
        self.names().filter_map(kind_of).collect()
    }
}

/// The place of a name in [`NAMES`].
pub(crate) fn place(name: &[u8]) -> Option<usize> {
    static PLACES: LazyLock<FxHashMap<&[u8], usize>> =
        LazyLock::new(|| NAMES.iter().map(|name| name.as_bytes()).zip(0..).collect());
    PLACES.get(name).copied()
}

/// Whether `name` is an event name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// The kind of event whose `evt.type` can be `name`, if a sensor emits one.
pub(crate) fn kind_of(name: &str) -> Option<Kind> {
    match name {
        "execve" | "execveat" => Some(Kind::Exec),
        "clone" | "clone3" | "fork" | "vfork" => Some(Kind::Fork),
        "procexit" => Some(Kind::Exit),
        "creat" | "file_open" | "open" | "open_by_handle_at" | "openat" | "openat2" => {
            Some(Kind::FileOpen)
        }
        "boundary" => Some(Kind::Boundary),
        "bpf" => Some(Kind::Bpf),
        "breach" => Some(Kind::Breach),
        "cgroup_attach" => Some(Kind::CgroupAttach),
        "cgroup_mkdir" => Some(Kind::CgroupMkdir),
        "cgroup_rmdir" => Some(Kind::CgroupRmdir),
        "connect" => Some(Kind::Connect),
        "file_create" => Some(Kind::FileCreate),
        "mknod" | "mknodat" => Some(Kind::Mknod),
        "finit_module" | "init_module" => Some(Kind::ModuleLoad),
        "fsconfig" | "mount" => Some(Kind::Mount),
        "mmap_exec" => Some(Kind::MmapExec),
        "move_mount" => Some(Kind::MoveMount),
        "process_vm_readv" | "process_vm_writev" | "ptrace" => Some(Kind::Ptrace),
        "setns" => Some(Kind::Setns),
        "socket" => Some(Kind::Socket),
        "sysctl" => Some(Kind::Sysctl),
        "unshare" => Some(Kind::Unshare),
        _ => None,
    }
}

/// Every known event name, sorted.
#[rustfmt::skip]
pub(crate) const NAMES: &[&str] = &[
    "_sysctl", "accept", "accept4", "access", "acct", "add_key", "adjtimex", "afs_syscall", "alarm",
    "arch_prctl", "asyncevent", "bind", "boundary", "bpf", "breach", "brk", "cachestat", "capget", "capset", "cgroup_attach", "cgroup_mkdir", "cgroup_rmdir", "chdir",
    "chmod", "chown", "chroot", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep",
    "clock_settime", "clone", "clone3", "close", "close_range", "connect", "container",
    "copy_file_range", "cpu_hotplug", "creat", "create_module", "delete_module", "drop", "dup",
    "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat",
    "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fanotify_init",
    "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl",
    "fdatasync", "fgetxattr", "file_create", "file_open", "finit_module", "flistxattr", "flock", "fork",
    "fremovexattr", "fsconfig", "fsetxattr", "fsmount", "fsopen", "fspick", "fstat", "fstatfs",
    "fsync", "ftruncate", "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake",
    "futimesat", "get_kernel_syms", "get_mempolicy", "get_robust_list", "get_thread_area", "getcpu",
    "getcwd", "getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer",
    "getpeername", "getpgid", "getpgrp", "getpid", "getpmsg", "getppid", "getpriority", "getrandom",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt",
    "gettid", "gettimeofday", "getuid", "getxattr", "getxattrat", "infra", "init_module",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
    "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioctl", "ioperm", "iopl", "ioprio_get", "ioprio_set",
    "kcmp", "kexec_file_load", "kexec_load", "keyctl", "kill", "landlock_add_rule",
    "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr", "link", "linkat",
    "listen", "listmount", "listxattr", "listxattrat", "llistxattr", "lookup_dcookie",
    "lremovexattr", "lseek", "lsetxattr", "lsm_get_self_attr", "lsm_list_modules",
    "lsm_set_self_attr", "lstat", "madvise", "map_shadow_stack", "mbind", "membarrier",
    "memfd_create", "memfd_secret", "migrate_pages", "mincore", "mkdir", "mkdirat", "mknod",
    "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mmap_exec", "modify_ldt", "mount", "mount_setattr",
    "move_mount", "move_pages", "mprotect", "mq_getsetattr", "mq_notify", "mq_open",
    "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv",
    "msgsnd", "msync", "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep",
    "newfstatat", "nfsservctl", "notification", "open", "open_by_handle_at", "open_tree",
    "open_tree_attr", "openat", "openat2", "page_fault", "pause", "perf_event_open", "personality",
    "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pivot_root", "pkey_alloc",
    "pkey_free", "pkey_mprotect", "pluginevent", "poll", "ppoll", "prctl", "pread64", "preadv",
    "preadv2", "prlimit64", "process_madvise", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "procexit", "procinfo", "pselect6", "ptrace", "putpmsg", "pwrite64",
    "pwritev", "pwritev2", "query_module", "quotactl", "quotactl_fd", "read", "readahead",
    "readlink", "readlinkat", "readv", "reboot", "recv", "recvfrom", "recvmmsg", "recvmsg",
    "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
    "request_key", "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "seccomp", "security", "select", "semctl", "semget", "semop", "semtimedop", "send", "sendfile",
    "sendmmsg", "sendmsg", "sendto", "set_mempolicy", "set_mempolicy_home_node", "set_robust_list",
    "set_thread_area", "set_tid_address", "setdomainname", "setfsgid", "setfsuid", "setgid",
    "setgroups", "sethostname", "setitimer", "setns", "setpgid", "setpriority", "setregid",
    "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setsockopt", "settimeofday",
    "setuid", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget", "shutdown",
    "sigaltstack", "signaldeliver", "signalfd", "signalfd4", "socket", "socketpair", "splice",
    "stat", "statfs", "statmount", "statx", "swapoff", "swapon", "switch", "symlink", "symlinkat",
    "sync", "sync_file_range", "syncfs", "sysctl", "sysfs", "sysinfo", "syslog", "tee", "tgkill",
    "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
    "timerfd_create", "timerfd_gettime", "timerfd_settime", "times", "tkill", "truncate", "tuxcall",
    "umask", "umount", "umount2", "uname", "unlink", "unlinkat", "unshare", "uselib", "userfaultfd",
    "ustat", "utime", "utimensat", "utimes", "vfork", "vhangup", "vmsplice", "vserver", "wait4",
    "waitid", "write", "writev",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_and_unique() {
        assert!(NAMES.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn every_event_type_of_the_published_rules_is_known() {
        let published = "execve execveat open openat openat2 connect accept accept4 listen sendto \
            sendmsg rename renameat renameat2 rmdir unlink unlinkat recvfrom recvmsg chmod fchmod \
            fchmodat creat mkdir mkdirat ptrace dup dup2 dup3 init_module finit_module link linkat \
            symlink symlinkat socket bpf setns setuid unshare userfaultfd";
        let unknown: Vec<_> = published.split_whitespace().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_set_yields_the_kinds_of_its_names() {
        let set = NameSet::matching(|name| name.starts_with("open") || name == "accept");
        assert_eq!(set.kinds(), KindSet::from(Kind::FileOpen));
        assert_eq!(NameSet::all().kinds(), KindSet::ALL);
    }
}
