//! The labels that security modules give to tasks. They are in a blob behind the credentials, each at a
//! place that the kernel hands out when it starts.

use aya_ebpf::Global;
use shrike_common::Offset;

use crate::kernel::{Cred, read, read_at};

/// Where `AppArmor` and `SELinux` keep their places in blobs (`struct lsm_blob_sizes`); 0 for one that is
/// not active.
#[unsafe(no_mangle)]
static APPARMOR: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SELINUX: Global<u64> = Global::new(0);

/// The offsets of `aa_label.flags`, and of the security identifier in what `SELinux` keeps of a task.
#[unsafe(no_mangle)]
static APPARMOR_FLAGS: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SELINUX_SID: Global<u64> = Global::new(0);

/// 0 if `AppArmor` says that credentials are unconfined, 1 if not.
#[inline(always)]
pub(crate) fn apparmor(cred: Cred) -> u32 {
    /// `FLAG_UNCONFINED`.
    const UNCONFINED: u64 = 2;
    u32::from(apparmor_flags(cred) & UNCONFINED == 0)
}

/// Whether the policy that the label is from was replaced: the kernel puts the new label into the
/// credentials at the next occasion.
#[inline(always)]
pub(crate) fn is_stale(cred: Cred) -> bool {
    /// `FLAG_STALE`.
    const STALE: u64 = 0x800;
    apparmor_flags(cred) & STALE != 0
}

#[inline(always)]
fn apparmor_flags(cred: Cred) -> u64 {
    match APPARMOR.load() {
        0 => 0,
        sizes => {
            let label: u64 = read_at(blob(cred, sizes));
            read_at(label.wrapping_add(APPARMOR_FLAGS.load()))
        }
    }
}

/// The security identifier that `SELinux` knows credentials by.
#[inline(always)]
pub(crate) fn selinux(cred: Cred) -> u32 {
    match SELINUX.load() {
        0 => 0,
        sizes => read_at(blob(cred, sizes).wrapping_add(SELINUX_SID.load())),
    }
}

/// The address of a module's part of the blob.
#[inline(always)]
fn blob(cred: Cred, sizes: u64) -> u64 {
    cred.security().wrapping_add(u64::from(read::<u32>(sizes, Offset::LsmBlobCred)))
}
