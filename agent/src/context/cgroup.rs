//! The paths of cgroups, by the ids that events name them by. Those that there are when the agent starts are read
//! from the file system of the unified hierarchy; from then on events tell which are made and removed, so that the
//! path of one is known before it has its first task, and still when its last one is told of.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shrike_common::{CgroupId, Event};

/// How many that are gone are remembered.
const REMOVED: usize = 4096;

/// The most that are known; beyond, new ones are counted only.
const CAPACITY: usize = 65_536;

/// The number of a hierarchy (`/proc/cgroups`).
pub(crate) type Hierarchy = u32;

/// That of the unified one.
pub(crate) const UNIFIED: Hierarchy = 0;

/// A cgroup of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) hierarchy: Hierarchy,
    /// The controllers of the hierarchy, by commas.
    pub(crate) controllers: &'a [u8],
    /// Its path. In a cgroup namespace of its own, the agent does not learn what is above both itself and that.
    pub(crate) path: &'a [u8],
}

/// What a process's file `cgroup` in `/proc` tells (`cgroups(7)`).
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let hierarchy = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (controllers, mut path) = (fields.next()?, fields.next()?);
        // What is above the root of the agent's own namespace.
        while let Some(rest) = path.strip_prefix(b"/..") {
            path = rest;
        }
        Some(Line { hierarchy, controllers, path })
    })
}

/// The cgroups of the unified hierarchy.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    paths: HashMap<CgroupId, Known>,
    /// How often it was looked again.
    looks: u32,
    /// Those that are gone, the first one first.
    removed: VecDeque<CgroupId>,
    refused: u64,
}

/// A cgroup.
#[derive(Debug)]
struct Known {
    path: Box<[u8]>,
    /// How often it had been looked again when it came to be known.
    looks: u32,
}

impl Cgroups {
    /// Reads the cgroups below `root`, where the unified hierarchy is mounted. The events of those that come and
    /// go meanwhile must follow.
    pub(crate) fn scan(root: &Path) -> io::Result<Self> {
        let mut cgroups = Self::default();
        let mut waiting: Vec<PathBuf> = vec![root.to_owned()];
        while let Some(folder) = waiting.pop() {
            let entries = match fs::read_dir(&folder) {
                // It has been removed meanwhile, which an event tells.
                Err(error) if folder != root && error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            let metadata = match fs::metadata(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let below = folder.strip_prefix(root).map_err(io::Error::other)?;
            let path = Path::new("/").join(below);
            cgroups.insert(CgroupId(metadata.ino()), path.as_os_str().as_bytes());
            let folders = entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|file_type| file_type.is_dir()));
            waiting.extend(folders.map(|entry| entry.path()));
        }
        Ok(cgroups)
    }

    /// Follows an event.
    pub(crate) fn apply(&mut self, event: &Event<'_>) {
        match event {
            Event::CgroupMkdir(made) if made.hierarchy == UNIFIED => {
                self.insert(made.made, made.path.bytes);
            }
            // It may be one whose own event was lost.
            Event::CgroupAttach(attach) if attach.hierarchy == UNIFIED => {
                self.insert(attach.to, attach.path.bytes);
            }
            Event::CgroupRmdir(removed) if removed.hierarchy == UNIFIED => {
                self.remove(removed.removed);
            }
            _ => {}
        }
    }

    /// Another look begins: what is told of from now on may be missing in it.
    pub(crate) fn begin(&mut self) {
        self.looks = self.looks.wrapping_add(1);
    }

    /// Takes over those of that look that were not told of; others that it has not found are gone. Returns the
    /// paths of which there is none any more.
    pub(crate) fn merge(&mut self, found: Self) -> HashSet<Box<[u8]>> {
        // What there was no room for may be there all the same.
        let is_whole = found.refused == 0;
        let is_gone = |(id, known): &(&CgroupId, &Known)| {
            is_whole && known.looks != self.looks && !found.paths.contains_key(id)
        };
        let gone: Vec<_> = self.paths.iter().filter(is_gone).map(|(&id, _)| id).collect();
        let told: HashSet<_> = self.removed.iter().copied().collect();
        let mut left = HashSet::new();
        for id in gone {
            if !told.contains(&id) {
                left.extend(self.path(id).map(Box::from));
                self.remove(id);
            }
        }
        for (id, known) in found.paths {
            if !self.paths.contains_key(&id) {
                self.insert(id, &known.path);
            }
        }
        // Another one may have been made there since.
        let removed: HashSet<_> = self.removed.iter().collect();
        for (id, known) in &self.paths {
            if !removed.contains(id) {
                left.remove(&known.path);
            }
        }
        left
    }

    /// The path of a cgroup below the root of the hierarchy.
    pub(crate) fn path(&self, id: CgroupId) -> Option<&[u8]> {
        self.paths.get(&id).map(|known| &*known.path)
    }

    /// How many found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    fn insert(&mut self, id: CgroupId, path: &[u8]) {
        if self.paths.len() >= CAPACITY && !self.paths.contains_key(&id) {
            self.refused += 1;
            return;
        }
        self.paths.insert(id, Known { path: path.into(), looks: self.looks });
    }

    fn remove(&mut self, id: CgroupId) {
        // Its id is no other's later: it has a generation.
        self.removed.push_back(id);
        if self.removed.len() > REMOVED
            && let Some(oldest) = self.removed.pop_front()
        {
            self.paths.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn another_look_puts_right_what_events_did_not_tell() {
        let cgroups = |ids: &[(u64, &str)]| {
            let mut cgroups = Cgroups::default();
            for (id, path) in ids {
                cgroups.insert(CgroupId(*id), path.as_bytes());
            }
            cgroups
        };
        let mut known = cgroups(&[(1, "/"), (2, "/gone"), (5, "/later")]);
        known.begin();
        known.apply(&sample::mkdir(4, "/later"));
        let left = known.merge(cgroups(&[(1, "/"), (3, "/missed")]));
        assert_eq!(left, HashSet::from([Box::from(&b"/gone"[..])]), "one is there later");
        assert_eq!(known.path(CgroupId(3)), Some(&b"/missed"[..]));
        assert_eq!(known.path(CgroupId(4)), Some(&b"/later"[..]));
        known.removed.make_contiguous().sort_unstable();
        assert_eq!(known.removed, [CgroupId(2), CgroupId(5)]);
        assert!(known.path(CgroupId(2)).is_some(), "its last events may come later");
    }

    #[test]
    fn a_look_without_room_for_all_does_not_say_who_is_gone() {
        let mut cgroups = Cgroups::default();
        cgroups.insert(CgroupId(1), b"/kept");
        cgroups.begin();
        let found = Cgroups { refused: 1, ..Cgroups::default() };
        assert!(cgroups.merge(found).is_empty());
        assert_eq!(cgroups.path(CgroupId(1)), Some(&b"/kept"[..]));
        assert_eq!(cgroups.merge(Cgroups::default()).len(), 1);
    }

    #[test]
    fn a_process_has_a_cgroup_in_each_hierarchy() {
        let text =
            b"12:cpu,cpuacct:/docker/x\n1:name=systemd:/a:b\nx:y:/z\n3:cpu\n0::/../../s.scope\n";
        let found: Vec<_> = lines(text).collect();
        let line = |hierarchy, controllers: &'static str, path: &'static str| Line {
            hierarchy,
            controllers: controllers.as_bytes(),
            path: path.as_bytes(),
        };
        let expected = [
            line(12, "cpu,cpuacct", "/docker/x"),
            line(1, "name=systemd", "/a:b"),
            line(UNIFIED, "", "/s.scope"),
        ];
        assert_eq!(found, expected);
    }
}
