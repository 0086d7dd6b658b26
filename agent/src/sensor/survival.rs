//! What outlives the agent, pinned in a folder of a BPF file system: the tables of membership, and the
//! links of the probes that keep them right. While no agent runs, these go on comparing members with
//! what is expected of them; the next agent takes the tables over, attaches its own probes, and only
//! then removes the former ones.
//!
//! ```text
//! /sys/fs/bpf/shrike/membership-1/MEMBERS …   the tables, by the version of what they mean
//! /sys/fs/bpf/shrike/watch-1/                 the links of one agent's programs, its critical lane, and
//!                                             the count of breaches that had no room in it
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, MapInfo, RingBuf};
use aya::pin::PinError;
use aya::programs::links::PinnedLink;
use aya::programs::loaded_programs;
use aya_obj::Object;
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use shrike_common::wire::Wire;
use shrike_common::{
    ABI_VERSION, Header, KEPT_MAPS, Kind, LEFT_BREACHES, Lane, MEMBERSHIP_VERSION, PROBES,
};

use super::order::Order;
use crate::bpf::bpf;

/// For how long an agent that has just ended may still hold the folder.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long the kernel may take to detach the former agent's probes.
const DETACHED: Duration = Duration::from_secs(10);

/// Where an agent pins what is its own, before a number that the former one did not have.
const WATCH: &str = "watch-";

/// Where the tables of membership are, before their version.
const MEMBERSHIP: &str = "membership-";

/// The folder of the pins, which is the agent's as long as this lives.
#[derive(Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
    /// The agent's own folder in it.
    watch: PathBuf,
    _lock: Flock<File>,
}

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinsError {
    #[error(
        "{0} is not in a BPF file system (mount -t bpf bpf /sys/fs/bpf; in a container, mount the host's)"
    )]
    NoBpfFs(PathBuf),
    #[error("cannot use {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("another agent uses {0}")]
    InUse(PathBuf),
    #[error("the eBPF object has no map {0}")]
    NoMap(&'static str),
    #[error("cannot pin {path}")]
    Pin { path: PathBuf, source: PinError },
}

impl Pins {
    /// Takes the folder, and makes it if need be.
    pub(crate) fn open(dir: &Path) -> Result<Self, PinsError> {
        let failed = |source| PinsError::Folder { path: dir.to_owned(), source };
        if !is_bpf_fs(dir) {
            return Err(PinsError::NoBpfFs(dir.to_owned()));
        }
        make(dir).map_err(failed)?;
        let pins = Self::lock(dir, FAREWELL)?;
        Ok(pins)
    }

    /// Takes a folder that is there, to clean it up; `None` if there is none.
    pub(crate) fn find(dir: &Path) -> Result<Option<Self>, PinsError> {
        match Self::lock(dir, Duration::ZERO) {
            Err(PinsError::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    fn lock(dir: &Path, patience: Duration) -> Result<Self, PinsError> {
        let failed = |source| PinsError::Folder { path: dir.to_owned(), source };
        let deadline = Instant::now() + patience;
        let mut file = File::open(dir).map_err(failed)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    let numbers = entries(dir).into_iter().filter_map(|path| number(&path));
                    let number = numbers.max().unwrap_or(0) + 1;
                    let watch = dir.join(format!("{WATCH}{number}"));
                    return Ok(Self { dir: dir.to_owned(), watch, _lock: lock });
                }
                Err(_) if Instant::now() > deadline => {
                    return Err(PinsError::InUse(dir.to_owned()));
                }
                Err((held, _)) => file = held,
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether the tables can be taken over: they fit `object`, and the probes that keep them right were
    /// attached all the time. If not, nothing is left of them, and the reason is told.
    pub(super) fn take_over(&self, object: &Object) -> Result<bool, PinsError> {
        let tables = self.tables();
        let unfit = if tables.exists() {
            unfit_map(&tables, object).or_else(|| self.missing_keeper())
        } else {
            let other = entries(&self.dir).into_iter().find(|path| is_tables(path));
            other.map(|path| format!("{} is of another version", path.display()))
        };
        if let Some(reason) = &unfit {
            tracing::warn!(
                "containers are looked for anew, what was known of them is dropped: {reason}"
            );
        }
        let is_fit = unfit.is_none() && tables.exists();
        if !is_fit {
            for path in entries(&self.dir).into_iter().filter(|path| is_tables(path)) {
                remove(&path)?;
            }
        }
        for dir in [&tables, &self.watch] {
            make(dir).map_err(|source| PinsError::Folder { path: dir.clone(), source })?;
        }
        Ok(is_fit)
    }

    /// Where a table of membership is pinned.
    pub(super) fn table(&self, name: &str) -> PathBuf {
        self.tables().join(name)
    }

    /// Where the link of a program is pinned.
    pub(super) fn link(&self, program: &str) -> PathBuf {
        self.watch.join(program)
    }

    /// What former agents have left.
    pub(super) fn former(&self) -> Option<Former> {
        let mut former = Former::default();
        self.others().for_each(|dir| former.look(&dir));
        (!former.is_empty()).then_some(former)
    }

    /// Pins what the next agent must read.
    pub(super) fn leave(&self, ebpf: &Ebpf) -> Result<(), PinsError> {
        [Lane::Critical.map_name(), LEFT_BREACHES].into_iter().try_for_each(|name| {
            let path = self.watch.join(name);
            let map = ebpf.map(name).ok_or(PinsError::NoMap(name))?;
            map.pin(&path).map_err(|source| PinsError::Pin { path, source })
        })
    }

    /// Removes what former agents had attached: this one's probes are.
    pub(super) fn settle(&self) -> Result<(), PinsError> {
        self.others().try_for_each(|dir| remove(&dir))
    }

    /// Removes everything, links first, and returns what that was. When it returns, nothing of it runs
    /// any more, unless the kernel takes very long.
    pub(crate) fn clean_up(self) -> Result<Vec<PathBuf>, PinsError> {
        let former = self.former();
        let (tables, links): (Vec<_>, Vec<_>) =
            entries(&self.dir).into_iter().partition(|path| is_tables(path));
        let mut removed = Vec::new();
        for dir in links.iter().chain(&tables) {
            removed.extend(entries(dir));
            remove(dir)?;
        }
        remove(&self.dir)?;
        removed.push(self.dir.clone());
        if former.is_some_and(|former| !former.wait_until_gone()) {
            tracing::warn!("the kernel is still detaching the probes");
        }
        Ok(removed)
    }

    fn tables(&self) -> PathBuf {
        self.dir.join(format!("{MEMBERSHIP}{MEMBERSHIP_VERSION}"))
    }

    /// The folders of former agents: more than one if a start was cut short.
    fn others(&self) -> impl Iterator<Item = PathBuf> {
        entries(&self.dir).into_iter().filter(|path| number(path).is_some() && *path != self.watch)
    }

    /// A probe that was not attached while no agent ran, and without which the tables are not right.
    fn missing_keeper(&self) -> Option<String> {
        let is_pinned = |program: &str| self.others().any(|dir| dir.join(program).exists());
        PROBES
            .iter()
            .find(|probe| {
                probe.keeps_membership() && !probe.ways.iter().any(|way| is_pinned(way.program()))
            })
            .map(|probe| format!("probe {} was not attached", probe.name))
    }
}

/// What a former agent has left behind: its critical lane, and its programs, which run until they are
/// detached.
#[derive(Default)]
pub(super) struct Former {
    rings: Vec<RingBuf<MapData>>,
    counts: Vec<Array<MapData, u64>>,
    /// The ids of its programs.
    programs: BTreeSet<u32>,
}

impl Former {
    /// Opens what is pinned in a folder.
    fn look(&mut self, dir: &Path) {
        for path in entries(dir) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_ring = name == Lane::Critical.map_name();
            if is_ring || name == LEFT_BREACHES {
                let map = MapData::from_pin(&path).and_then(Map::from_map_data);
                let opened: Result<(), MapError> = map.and_then(|map| {
                    if is_ring {
                        self.rings.push(RingBuf::try_from(map)?);
                    } else {
                        self.counts.push(Array::try_from(map)?);
                    }
                    Ok(())
                });
                if let Err(error) = opened {
                    tracing::warn!("cannot read {}: {error}", path.display());
                }
            } else if let Ok(link) = PinnedLink::from_pin(&path)
                && let Ok(info) = aya::programs::links::FdLink::from(link).info()
            {
                self.programs.insert(info.program_id());
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.rings.is_empty() && self.counts.is_empty() && self.programs.is_empty()
    }

    /// Moves the breaches that nobody has read into `order`; those of before `start`, when this agent's
    /// probes were attached, as unattended ones.
    pub(super) fn drain(&mut self, order: &mut Order, start: u64) {
        for ring in &mut self.rings {
            while let Some(record) = ring.next() {
                if let Some(record) = left_behind(&record, start) {
                    order.push(&record);
                }
            }
        }
    }

    /// How many breaches had no room while no agent ran.
    pub(super) fn lost(&self) -> u64 {
        self.counts.iter().filter_map(|count| count.get(&0, 0).ok()).sum()
    }

    /// Waits until its programs are gone, but not for ever. Returns whether they are.
    pub(super) fn wait_until_gone(&self) -> bool {
        let start = Instant::now();
        while !self.is_gone() {
            if start.elapsed() > DETACHED {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        tracing::debug!("the former probes were detached after {:?}", start.elapsed());
        true
    }

    /// Whether its programs are gone.
    pub(super) fn is_gone(&self) -> bool {
        self.programs.is_empty()
            || !loaded_programs().flatten().any(|program| self.programs.contains(&program.id()))
    }
}

/// A record that a former agent has not read, if it tells a breach; marked as unattended if it is from
/// before `start`.
fn left_behind(record: &[u8], start: u64) -> Option<Vec<u8>> {
    let header = Header::view(record, 0)?;
    if header.version != ABI_VERSION || header.kind != Kind::Breach as u16 {
        return None;
    }
    let flags = if header.time < start { header.flags | Header::UNATTENDED } else { header.flags };
    let at = std::mem::offset_of!(Header, flags);
    let mut record = record.to_vec();
    record.get_mut(at..at + size_of_val(&flags))?.copy_from_slice(&flags.to_ne_bytes());
    Some(record)
}

/// Why a pinned table does not fit, if one does not.
fn unfit_map(tables: &Path, object: &Object) -> Option<String> {
    KEPT_MAPS.iter().find_map(|&name| {
        let path = tables.join(name);
        let wanted = object.maps.get(name)?;
        let found = match MapInfo::from_pin(&path) {
            Ok(found) => found,
            Err(error) => return Some(format!("cannot open {}: {error}", path.display())),
        };
        let kind = found.map_type().map_or(0, |kind| kind as u32);
        let properties = [
            ("type", kind, wanted.map_type()),
            ("key size", found.key_size(), wanted.key_size()),
            ("value size", found.value_size(), wanted.value_size()),
            ("number of entries", found.max_entries(), wanted.max_entries()),
        ];
        let (what, found, wanted) =
            properties.into_iter().find(|(_, found, wanted)| found != wanted)?;
        Some(format!("the {what} of {} is {found} and not {wanted}", path.display()))
    })
}

/// Attaches a `cgroup/sysctl` program and pins its link, which aya hands to nobody.
pub(super) fn attach_to_cgroup(
    program: impl AsFd,
    cgroup: impl AsFd,
    path: &Path,
) -> io::Result<OwnedFd> {
    // SAFETY: it consists of integers, for which zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_fd().as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_fd = cgroup.as_fd().as_raw_fd().cast_unsigned();
    attr.link_create.attach_type = bpf_attach_type::BPF_CGROUP_SYSCTL as u32;
    // SAFETY: the kernel reads `attr` only, and returns a new descriptor.
    let link = unsafe { OwnedFd::from_raw_fd(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?) };
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_4.bpf_fd = link.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_4.pathname = name.as_ptr().expose_provenance() as u64;
    // SAFETY: the kernel reads `attr` and `name` only.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr)? };
    Ok(link)
}

/// Whether a folder is, or would be, in a BPF file system.
fn is_bpf_fs(dir: &Path) -> bool {
    let Some(there) = dir.ancestors().find(|dir| dir.exists()) else { return false };
    statfs(there).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

fn is_tables(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MEMBERSHIP))
}

/// The number of an agent's own folder.
fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix(WATCH)?.parse().ok()
}

fn remove(path: &Path) -> Result<(), PinsError> {
    fs::remove_dir_all(path).map_err(|source| PinsError::Folder { path: path.to_owned(), source })
}

/// What is in a folder; nothing if it cannot be read.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Makes a folder that only root may look into.
fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_breaches_are_taken_from_a_former_lane() {
        let record = |kind: Kind, time: u64| {
            let mut record = vec![0; size_of::<Header>()];
            let mut put = |at: usize, bytes: &[u8]| {
                record[at..at + bytes.len()].copy_from_slice(bytes);
            };
            put(std::mem::offset_of!(Header, version), &ABI_VERSION.to_ne_bytes());
            put(std::mem::offset_of!(Header, kind), &(kind as u16).to_ne_bytes());
            put(std::mem::offset_of!(Header, time), &time.to_ne_bytes());
            record
        };
        let flags = |kind, time| {
            let record = left_behind(&record(kind, time), 100)?;
            Some(Header::view(&record, 0)?.flags)
        };
        assert_eq!(flags(Kind::Breach, 99), Some(Header::UNATTENDED));
        assert_eq!(flags(Kind::Breach, 100), Some(0));
        assert_eq!(flags(Kind::Mount, 99), None);
        assert!(left_behind(b"short", 100).is_none());
    }

    #[test]
    fn a_folder_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Pins::open(&dir.path().join("shrike")).unwrap_err();
        assert!(matches!(error, PinsError::NoBpfFs(_)), "{error}");
        assert!(Pins::find(&dir.path().join("shrike")).unwrap().is_none());
    }
}
