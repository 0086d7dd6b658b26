//! What the command may do: user, capabilities, `no_new_privs`.

use std::io;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{LauncherError, Tried, User};
use crate::capability::Capabilities;

/// How many capabilities there are room for in a set.
const ROOM: u32 = 64;

/// Those of the capabilities in `asked` that this task has.
pub(super) fn available(asked: Capabilities) -> Result<Capabilities, LauncherError> {
    let own = permitted().tried(|| "read the own capabilities".to_owned())?;
    Ok(asked.intersection(own))
}

/// Gives up all capabilities but `keep`, and becomes `user`. With another user than root nothing is
/// left of them (`capabilities(7)`, "Effect of user ID changes on capabilities").
pub(super) fn drop_to(user: User, groups: &[u32], keep: Capabilities) -> Result<(), LauncherError> {
    for number in (0..ROOM).filter(|&number| !keep.has(number)) {
        match drop_from_bounding(number) {
            // Numbers that this kernel does not know.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            dropped => dropped.tried(|| format!("drop capability {number}"))?,
        }
    }
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).tried(|| "set the supplementary groups".to_owned())?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setresgid(gid, gid, gid).tried(|| format!("become group {gid}"))?;
    setresuid(uid, uid, uid).tried(|| format!("become user {uid}"))?;
    // Also of another user: the launcher may have been handed inheritable ones (CVE-2022-29162), or secure bits
    // by which a change of the user takes none.
    let keep = if uid.is_root() { keep } else { Capabilities::from_bits(0) };
    set(keep).tried(|| "set the capabilities".to_owned())
}

/// Sets `no_new_privs`: no program gives the command more than it has.
pub(super) fn forbid_new() -> Result<(), LauncherError> {
    nix::sys::prctl::set_no_new_privs().tried(|| "set no_new_privs".to_owned())
}

fn drop_from_bounding(number: u32) -> io::Result<()> {
    // SAFETY: this operation takes a number and no pointer.
    let result =
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How `capget(2)` and `capset(2)` have the sets of a task.
#[repr(C)]
struct Head {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`, of this task: two words for each set.
const OWN: Head = Head { version: 0x2008_0522, pid: 0 };

/// The capabilities that this task may use. Asked by a call: a container's `/proc` may say anything.
fn permitted() -> io::Result<Capabilities> {
    let mut head = OWN;
    let mut data = [Data::default(); 2];
    // SAFETY: both are laid out as the kernel has them for this version, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut head, data.as_mut_ptr()) };
    let [low, high] = data.map(|half| u64::from(half.permitted));
    if result == 0 {
        Ok(Capabilities::from_bits(low | high << 32))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the set permitted and effective, and nothing inheritable.
fn set(set: Capabilities) -> io::Result<()> {
    let head = OWN;
    let half = |bits: u64| {
        let word = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Data { effective: word, permitted: word, inheritable: 0 }
    };
    let data = [half(set.bits()), half(set.bits() >> 32)];
    // SAFETY: both are laid out as the kernel has them for this version, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const head, data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
