//! Which alternatives accept a path. Walking it costs more than anything else that a plan asks for, so
//! the answer is kept for each inode.
//!
//! An answer is good for one name only: an inode has several by hard links, and each mount shows it
//! elsewhere. It names its dentry, parent, hash of the name and mount; and since a rename or a mount
//! further up changes the path too, the kernel's own counters of both.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::btf_maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::macros::btf_map;
use shrike_common::{Alternatives, Kind, PATH_KEYS, PathKey};

use crate::kernel::{Path, read_at};
use crate::slot::Claim;
use crate::walk;

#[btf_map]
static PATHS: LpmTrie<[u8; PathKey::LEN], Alternatives, { PATH_KEYS as usize }> = LpmTrie::new();

/// How many answers are kept.
const VERDICTS_KEPT: usize = 16_384;

#[btf_map]
static VERDICTS: LruHashMap<Subject, Verdict, VERDICTS_KEPT> = LruHashMap::new();

/// The addresses of the kernel's `rename_lock` and `mount_lock`, each of which begins with a sequence
/// number that every rename, or every change to a tree of mounts, raises; 0 if they are not known.
#[unsafe(no_mangle)]
static RENAME_LOCK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static MOUNT_LOCK: Global<u64> = Global::new(0);

/// What a verdict is about.
#[repr(C)]
struct Subject {
    inode: u64,
    kind: u64,
}

/// A verdict and what it depends on. An entry may be given to another inode while it is read; the
/// kernel writes it from its first field to its last.
#[derive(Clone, Copy)]
#[repr(C)]
struct Verdict {
    bits: Alternatives,
    dentry: u64,
    parent: u64,
    name_hash: u32,
    name_len: u32,
    mnt: u64,
    renames: u32,
    mounts: u32,
    generation: u32,
    reserved: u32,
    /// The complement of `bits`.
    check: Alternatives,
}

/// The alternatives of `kind` that accept the path.
#[inline(never)]
pub(crate) fn of(kind: Kind, generation: u32, path: Path) -> Alternatives {
    let (renames, mounts) = (RENAME_LOCK.load(), MOUNT_LOCK.load());
    let subject = Subject { inode: path.dentry.inode().0 as u64, kind: kind as u64 };
    if renames == 0 || mounts == 0 || subject.inode == 0 {
        return decide(kind, generation, path);
    }
    let mut verdict = Verdict {
        dentry: path.dentry.0 as u64,
        parent: path.dentry.parent().0 as u64,
        name_hash: path.dentry.name_hash(),
        name_len: path.dentry.name_len(),
        mnt: path.mnt.0 as u64,
        renames: read_at(renames),
        mounts: read_at(mounts),
        generation,
        reserved: 0,
        bits: 0,
        check: 0,
    };
    if let Some(known) = VERDICTS.get_ptr(&subject) {
        // SAFETY: the map look-up gave a valid entry.
        if let Some(bits) = unsafe { verdict.answer(known) } {
            return bits;
        }
    }
    verdict.bits = decide(kind, generation, path);
    verdict.check = !verdict.bits;
    // An odd number: a change is under way.
    if (verdict.renames | verdict.mounts) & 1 == 0 {
        // If there is no room, the path is walked again next time.
        let _ = VERDICTS.insert(&subject, verdict, 0);
    }
    verdict.bits
}

impl Verdict {
    /// The answer of an entry, if it is about the same. Read from the last field to the first: if the
    /// entry changed meanwhile, either what it is about differs, or its two ends do not fit.
    ///
    /// # Safety
    ///
    /// `known` must point to an entry.
    #[inline(always)]
    unsafe fn answer(&self, known: *const Self) -> Option<Alternatives> {
        macro_rules! field {
            ($field:ident) => {
                // SAFETY: the caller's promise.
                unsafe { (&raw const (*known).$field).read_volatile() }
            };
        }
        let check = field!(check);
        let time = self.generation == field!(generation)
            && self.mounts == field!(mounts)
            && self.renames == field!(renames);
        let place = self.mnt == field!(mnt) && self.dentry == field!(dentry);
        let name = self.name_len == field!(name_len)
            && self.name_hash == field!(name_hash)
            && self.parent == field!(parent);
        (time && place && name).then(|| field!(bits)).filter(|bits| *bits == !check)
    }
}

/// Walks the path and looks it up.
#[inline(always)]
fn decide(kind: Kind, generation: u32, path: Path) -> Alternatives {
    /// Where the key stands in the record, and where its parts do.
    const KEY: usize = 4;
    const HEAD: usize = KEY + size_of::<u32>();
    const PATH: usize = HEAD + PathKey::PATH;
    let Some(claim) = Claim::new() else { return Alternatives::MAX };
    // SAFETY: the slot is ours, and its record has room for a text and a NUL behind the key.
    let bits = unsafe {
        let record = (&raw mut (*claim.slot).record).cast::<u8>();
        let (len, _) = walk::path(claim.slot, PATH, path);
        record.add(PATH + len).write(0);
        record.add(HEAD).cast::<[u8; PathKey::PATH]>().write(PathKey::head(generation, kind));
        record.add(KEY).cast::<u32>().write(PathKey::bits(len + 1));
        let key = &*record.add(KEY).cast::<Key<[u8; PathKey::LEN]>>();
        PATHS.get(key).copied().unwrap_or(0)
    };
    claim.release();
    bits
}
