//! What a process of a container may change of itself by the kernel's own rules, beyond what a shell
//! can ask for. It opens a file after each change, so that it is looked at.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::thread;

use anyhow::{Result, ensure};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// A system call of which it does not matter whether it succeeds: the kernel may refuse it here.
macro_rules! try_call {
    ($number:ident $(, $argument:expr)*) => {{
        // SAFETY: what is passed outlives the call, and the kernel checks it.
        unsafe { libc::syscall(libc::$number $(, $argument)*) };
        open();
    }};
}

/// Changes everything that can be changed, or becomes another user and executes a command.
pub fn main(command: &[String]) -> Result<()> {
    const OTHER: u32 = 1000;
    if let Some((program, arguments)) = command.split_first() {
        let (uid, gid) = (Uid::from_raw(OTHER), Gid::from_raw(OTHER));
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        return Err(Command::new(program).args(arguments).exec().into());
    }
    change_groups();
    change_capabilities();
    change_users();
    change_keyring();
    confine_threads()?;
    restrict_files();
    die_together()?;
    println!("permitted");
    Ok(())
}

/// A process ends whose child has asked for a signal then: it sends that on its way out.
fn die_together() -> Result<()> {
    // SAFETY: the children call nothing that could be locked by another thread, and end.
    unsafe {
        let parent = libc::fork();
        if parent == 0 {
            if libc::fork() == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::pause();
            }
            // The child asks first.
            libc::usleep(100_000);
            libc::_exit(0);
        }
        anyhow::ensure!(parent > 0, "fork: {}", std::io::Error::last_os_error());
        libc::waitpid(parent, ptr::null_mut(), 0);
    }
    Ok(())
}

/// That there is no such file is as good.
fn open() {
    drop(File::open("/etc/passwd"));
}

fn change_groups() {
    let groups = [1, 2, 3].map(Gid::from_raw);
    let _ = setgroups(&groups);
    open();
    let _ = setgroups(&groups[..1]);
    open();
    let _ = setgroups(&[]);
    open();
    let [root, other] = [0, 1000].map(Gid::from_raw);
    let _ = setresgid(other, other, root);
    open();
    let _ = setresgid(root, root, root);
    open();
    try_call!(SYS_setfsgid, 1000);
    try_call!(SYS_setfsgid, 0);
}

fn change_capabilities() {
    const KEEP_CAPS: libc::c_ulong = 1 << 4;
    const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    const AMBIENT_RAISE: libc::c_ulong = 2;
    const AMBIENT_CLEAR: libc::c_ulong = 4;
    /// `CAP_CHOWN`, `CAP_KILL`.
    const SOME: [libc::c_ulong; 2] = [0, 5];
    try_call!(SYS_prctl, libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
    try_call!(SYS_prctl, libc::PR_SET_KEEPCAPS, 0, 0, 0, 0);
    for bits in [NO_SETUID_FIXUP, KEEP_CAPS | NO_SETUID_FIXUP, 0] {
        try_call!(SYS_prctl, libc::PR_SET_SECUREBITS, bits, 0, 0, 0);
    }
    let [effective, permitted, _] = capabilities();
    // Inheritable, then ambient, then neither.
    set_capabilities([effective, permitted, permitted]);
    for capability in SOME {
        try_call!(SYS_prctl, libc::PR_CAP_AMBIENT, AMBIENT_RAISE, capability, 0, 0);
    }
    try_call!(SYS_prctl, libc::PR_CAP_AMBIENT, AMBIENT_CLEAR, 0, 0, 0);
    set_capabilities([0, permitted, 0]);
    set_capabilities([effective, permitted, 0]);
    try_call!(SYS_prctl, libc::PR_CAPBSET_DROP, SOME[1], 0, 0, 0);
}

#[repr(C)]
struct CapabilityHead {
    version: u32,
    pid: i32,
}

/// The effective, permitted and inheritable ones below the 32nd, and those above, which stay away.
type CapabilitySets = [u32; 3];

/// `_LINUX_CAPABILITY_VERSION_3`, of the caller.
static OWN: CapabilityHead = CapabilityHead { version: 0x2008_0522, pid: 0 };

fn capabilities() -> CapabilitySets {
    let mut sets = [[0; 3]; 2];
    try_call!(SYS_capget, &raw const OWN, sets.as_mut_ptr());
    sets[0]
}

fn set_capabilities(sets: CapabilitySets) {
    let sets = [sets, [0; 3]];
    try_call!(SYS_capset, &raw const OWN, sets.as_ptr());
}

fn change_users() {
    let [root, other] = [0, 1000].map(Uid::from_raw);
    try_call!(SYS_setfsuid, 1000);
    try_call!(SYS_setfsuid, 0);
    for (real, effective) in [(root, other), (other, root), (other, other), (root, root)] {
        let _ = setresuid(real, effective, root);
        open();
    }
    try_call!(SYS_faccessat, libc::AT_FDCWD, c"/etc/passwd".as_ptr(), libc::R_OK);
}

fn change_keyring() {
    const JOIN_SESSION: libc::c_int = 1;
    try_call!(SYS_keyctl, JOIN_SESSION, ptr::null::<u8>());
    try_call!(
        SYS_add_key,
        c"user".as_ptr(),
        c"shrike".as_ptr(),
        c"key".as_ptr(),
        3,
        libc::KEY_SPEC_PROCESS_KEYRING
    );
}

/// Filters by both calls, for all threads at once, while another thread opens files.
fn confine_threads() -> Result<()> {
    forbid_new_privileges()?;
    thread::scope(|scope| -> Result<()> {
        let other = scope.spawn(|| (0..20).for_each(|_| open()));
        filter(false)?;
        open();
        filter(true)?;
        open();
        ensure!(other.join().is_ok(), "the thread panicked");
        Ok(())
    })?;
    // A thread made with them, and one more filter in it alone.
    let inner = thread::spawn(|| -> Result<()> {
        open();
        filter(false)?;
        open();
        Ok(())
    });
    ensure!(inner.join().is_ok_and(|inner| inner.is_ok()), "the inner thread failed");
    open();
    Ok(())
}

/// Landlock's rules come with new credentials.
fn restrict_files() {
    const FILE_SYSTEM_EXECUTE: u64 = 1;
    let handled = FILE_SYSTEM_EXECUTE;
    // SAFETY: the attributes outlive the call, and are as large as it is told.
    let rules =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, 8, 0) };
    try_call!(SYS_landlock_restrict_self, rules, 0);
}

/// Sets `no_new_privs`.
pub fn forbid_new_privileges() -> Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Adds a filter that allows everything: by `prctl` for this thread, or by `seccomp` for all of them.
pub fn filter(every_thread: bool) -> Result<()> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const TSYNC: libc::c_ulong = 1;
    // `BPF_RET | BPF_K` of `SECCOMP_RET_ALLOW`.
    let mut allow = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7FFF_0000 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // SAFETY: the program outlives the call, and has as many instructions as it says.
    let result = unsafe {
        if every_thread {
            libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, TSYNC, &raw const program)
        } else {
            libc::syscall(
                libc::SYS_prctl,
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
                0,
                0,
            )
        }
    };
    ensure!(result == 0, "install a filter: {}", std::io::Error::last_os_error());
    Ok(())
}
