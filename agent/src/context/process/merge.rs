//! Bringing the table and a scan together. Both know something that the other does not: what the
//! table was told after a process was read, and what it was not told because events were lost.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use shrike_common::{ContainerId, Membership, Pid, StartTime};

use super::scan::{Found, Scan};
use super::{Image, Key, Place, Process, Processes, same};

/// Places that a scan has found, with what events had told of those who are there: processes that share the one
/// and agree in the other go on to share.
type Places = HashMap<(*const Place, Option<Membership>, ContainerId), Arc<Place>>;

impl Processes {
    /// Reads the processes that run already. What changes meanwhile is in the events that follow, if
    /// the probes are attached before.
    pub(crate) fn scan(proc: &Path, clock: impl Fn() -> u64 + Sync) -> io::Result<Self> {
        /// The most that read at once: nearly all the time is the kernel's, where more would be in each other's way.
        const THREADS: usize = 4;
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
        let mut processes = Self::default();
        processes.merge(&Scan::take(proc, clock, threads)?);
        Ok(processes)
    }

    /// Takes over what a scan has found, as far as nothing newer is known.
    ///
    /// Afterwards the table is true, or it [is stale](Self::is_stale) and wants another scan, which
    /// must start after this. It may become stale again by events that are older than the end of the
    /// scan: if there are some, the scan should wait for them.
    pub(crate) fn merge(&mut self, scan: &Scan) {
        if scan.start > self.lost {
            self.is_stale = false;
        }
        self.is_stale |= scan.is_short;
        self.listed = self.listed.max(scan.start);
        self.end_absent(scan);
        let mut places = Places::new();
        for (&pid, found) in &scan.found {
            self.take_over(pid, found, scan, &mut places);
        }
        self.pass_on(scan);
        let unlinked = self.table.iter().filter(|(_, process)| !process.is_linked);
        for key in unlinked.map(|(&key, _)| key).collect::<Vec<_>>() {
            self.link(key);
        }
        self.forget(scan.end);
    }

    /// What was there before the scan and is not in it has ended.
    fn end_absent(&mut self, scan: &Scan) {
        let alive = self.table.iter().filter(|(_, process)| process.ended.is_none());
        let absent = alive.filter(|(key, process)| {
            process.heard < scan.start
                && scan.of(key.pid, process.start).is_none()
                && !scan.unread.contains(&key.pid)
        });
        for key in absent.map(|(&key, _)| key).collect::<Vec<_>>() {
            self.end(key, scan.start);
        }
    }

    fn take_over(&mut self, pid: Pid, found: &Found, scan: &Scan, places: &mut Places) {
        let key = Key::new(pid, found.stat.start);
        let image = self.image_of(key, found);
        let has_parent = if let Some(process) = self.known(pid, found.stat.start) {
            if process.heard <= found.time {
                let (membership, container) = (process.place.membership, process.place.container);
                let place = places.entry((Arc::as_ptr(&found.place), membership, container));
                process.place =
                    place.or_insert_with(|| Arc::new(found.place.found(&process.place))).clone();
            }
            process.heard = process.heard.max(found.time);
            process.vpid = found.vpid;
            if process.image.since <= found.time {
                process.standing = found.standing();
            }
            let has_parent = process.parent.1 != StartTime::default();
            // A process can choose what `/proc` calls it: that counts only if the exec was not seen.
            if self.correct(key, image)
                && let Some(process) = self.known(pid, found.stat.start)
            {
                process.name = found.stat.name;
            }
            has_parent
        } else {
            let process = Process {
                start: found.stat.start,
                standing: found.standing(),
                vpid: found.vpid,
                place: found.place.clone(),
                name: found.stat.name,
                image,
                ..Process::heard(found.time)
            };
            self.insert(key, process);
            if found.time < self.forgotten {
                // It may be the one that has ended, and whose end was told already.
                self.is_stale = true;
            }
            false
        };
        if !has_parent {
            let parent = found.stat.ppid;
            let start = self.parent_start(found, scan);
            self.set_parent(key, (parent, start.unwrap_or_default()));
            if start.is_none() && parent != Pid::default() && !scan.unread.contains(&parent) {
                // The next scan will find this parent, or another one.
                self.is_stale = true;
            }
        }
    }

    /// When the parent started that a process had when it was found, if that can be told. `/proc`
    /// names it by pid only, and the pid may have been another process's before or after. But a parent
    /// is older than its child, also one that adopts it: it is the process that was there when the
    /// child started, if that one was still there when the child was found.
    fn parent_start(&self, found: &Found, scan: &Scan) -> Option<StartTime> {
        let (pid, start) = (found.stat.ppid, found.stat.start);
        let of_scan = scan.found.get(&pid).filter(|parent| parent.time >= start.0);
        let of_scan = of_scan.map(|parent| parent.stat.start).filter(|&parent| parent <= start);
        let of_table = || self.latest(pid, start).filter(|parent| parent.heard >= start.0);
        of_scan.or_else(|| of_table().map(|parent| parent.start))
    }

    /// What a process is to run that was found to run this, or to be like one that was. An executable
    /// that the agent may not see is taken to be the one that is known.
    fn image_of(&mut self, key: Key, found: &Found) -> Image {
        let exe = match &found.exe {
            Some(exe) => self.texts.intern(exe),
            None => {
                self.table.get(&key).map(|process| process.image.exe.clone()).unwrap_or_default()
            }
        };
        let (args, is_args_cut) = self.texts.intern_cut(&found.args, found.is_args_cut);
        let (env, is_env_cut) = self.texts.intern_cut(&found.env, found.is_env_cut);
        let cwd = self.texts.intern(&found.cwd);
        let since = found.time;
        Image { exe, args, env, cwd, is_args_cut, is_env_cut, since, ..Image::default() }
    }

    /// Has a process run another image, and says so, if what is known of its own is neither newer nor sure: processes write
    /// over their own arguments and variables, and go elsewhere, so what was told at the exec is better than what is
    /// found later.
    fn correct(&mut self, key: Key, mut image: Image) -> bool {
        let is_better = self.table.get(&key).is_none_or(|process| {
            process.image.since > image.since || self.is_sure(&process.image)
        });
        let Some(process) = self.table.get_mut(&key).filter(|_| !is_better) else {
            self.release(image);
            return false;
        };
        if process.image.since != 0
            && (&process.image.exe, &process.image.args) == (&image.exe, &image.args)
        {
            process.image.since = image.since;
            self.release(image);
            return false;
        }
        if process.image.exe == image.exe {
            // The scan does not know the file.
            (image.inode, image.dev) = (process.image.inode, process.image.dev);
            image.file = process.image.file;
        }
        let former = mem::replace(&mut process.image, image);
        self.release(former);
        true
    }

    /// Corrects the processes that were created during the scan and are not in it: their images are
    /// those that their parents were thought to have. The parents are known better by now.
    fn pass_on(&mut self, scan: &Scan) {
        let alive = self.table.iter().filter(|(_, process)| process.ended.is_none());
        let unsure = alive.filter(|(key, process)| {
            !self.is_sure(&process.image)
                && scan.of(key.pid, process.start).is_none()
                // What cannot be read will not be known by reading again.
                && !scan.unread.contains(&key.pid)
        });
        let mut unsure: Vec<_> = unsure.map(|(&key, process)| (process.start, key)).collect();
        // Parents first.
        unsure.sort_unstable();
        // Who runs what somebody else was found to run.
        let mut like = BTreeMap::new();
        for (start, key) in unsure {
            let Some(process) = self.table.get(&key) else { continue };
            let (pid, parent_start) = process.parent;
            let parent = like.get(&Key::new(pid, parent_start)).copied();
            match parent.or_else(|| scan.of(pid, parent_start)) {
                Some(found) if found.time <= start.0 && !process.is_sibling => {
                    let image = self.image_of(key, found);
                    self.correct(key, image);
                    like.insert(key, found);
                }
                // The parent may have executed something between.
                _ => self.is_stale = true,
            }
        }
    }
}

impl Scan {
    /// What was found of the process with this pid that started at that time.
    fn of(&self, pid: Pid, start: StartTime) -> Option<&Found> {
        self.found.get(&pid).filter(|found| same(found.stat.start, start))
    }
}
