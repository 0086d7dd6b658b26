//! A look at `/proc`: what every process runs at the time at which it is read. It may be taken on any
//! thread; the table learns of it when it is merged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use shrike_common::{Namespaces, NsId, NsType, Pid, Uid};

use super::folder::Folder;
use super::stat::Stat;
use super::text::{LONGEST, Texts};
use super::{CAPACITY, Cgroup, Place, Standing, environment};
use crate::context::cgroup;
use crate::context::cgroup_path::CgroupPath;

/// The most bytes that are read of an environment.
const ENVIRONMENT: usize = 64 << 10;

/// How often a process is read again that changes while it is read.
const ATTEMPTS: usize = 3;

/// What a walk through `/proc` has found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Before any process was listed, in nanoseconds of boot time.
    pub(super) start: u64,
    /// When all were read.
    pub(super) end: u64,
    pub(super) found: BTreeMap<Pid, Found>,
    /// Processes of which nothing is known but that they were there.
    pub(super) unread: BTreeSet<Pid>,
    /// Whether the agent itself was short of something, so that another scan may read more.
    pub(super) is_short: bool,
    /// For as long as they are not in the table, they have a bound of their own.
    texts: Texts,
    /// Most are where another one is.
    places: HashSet<Arc<Place>>,
}

/// A process as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Before it was read.
    pub(super) time: u64,
    pub(super) stat: Stat,
    pub(super) vpid: Pid,
    pub(super) place: Arc<Place>,
    pub(super) loginuid: Uid,
    /// `None` if the agent may not see it.
    pub(super) exe: Option<Arc<[u8]>>,
    pub(super) args: Arc<[u8]>,
    pub(super) is_args_cut: bool,
    pub(super) env: Arc<[u8]>,
    pub(super) is_env_cut: bool,
    pub(super) cwd: Arc<[u8]>,
}

/// A scan that several threads take together.
struct Taking<'a, Clock> {
    proc: &'a Path,
    clock: Clock,
    /// Those that nobody has begun to read.
    waiting: Mutex<Vec<Pid>>,
    scan: Mutex<Scan>,
}

impl Scan {
    /// Reads every process under `proc`, by so many threads. `clock` tells the boot time in nanoseconds, as in the
    /// headers of events.
    pub(crate) fn take(
        proc: &Path,
        clock: impl Fn() -> u64 + Sync,
        threads: usize,
    ) -> io::Result<Self> {
        let mut scan = Self { start: clock(), ..Self::default() };
        // All at once, so that the list is of the time at which the scan started: what is not in it
        // had ended by then, or came later.
        let mut pids = list(proc)?;
        scan.unread.extend(pids.drain(CAPACITY.min(pids.len())..));
        let taking = Taking { proc, clock, waiting: Mutex::new(pids), scan: Mutex::new(scan) };
        thread::scope(|scope| {
            for _ in 1..threads {
                let thread = thread::Builder::new().name("scan".to_owned());
                if let Err(error) = thread.spawn_scoped(scope, || taking.read()) {
                    tracing::warn!("{} is read by fewer threads: {error}", proc.display());
                    break;
                }
            }
            taking.read();
        });
        let mut scan = taking.scan.into_inner().unwrap_or_else(PoisonError::into_inner);
        if scan.is_short {
            let (proc, unread) = (proc.display(), scan.unread.len());
            tracing::warn!("{unread} processes of {proc} are not read: no descriptors or memory");
        }
        scan.end = (taking.clock)();
        Ok(scan)
    }

    /// When the scan ended. It is best merged when all events up to then are in the table.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The one handle on this place.
    fn place(&mut self, place: Place) -> Arc<Place> {
        if let Some(known) = self.places.get(&place) {
            return known.clone();
        }
        let place = Arc::new(place);
        self.places.insert(place.clone());
        place
    }
}

impl<Clock: Fn() -> u64> Taking<'_, Clock> {
    /// Reads processes until none is left.
    fn read(&self) {
        while let Some(pid) = self.next() {
            let time = (self.clock)();
            let found = Folder::open(self.proc, pid).and_then(|folder| self.found(&folder, time));
            match found {
                Ok(Some(found)) => _ = self.scan().found.insert(pid, found),
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    let mut scan = self.scan();
                    scan.is_short |= is_shortage(&error);
                    scan.unread.insert(pid);
                }
            }
        }
    }

    /// A process, given its folder; `None` if it has ended.
    fn found(&self, folder: &Folder, time: u64) -> io::Result<Option<Found>> {
        for _ in 0..ATTEMPTS {
            let stat = folder.stat()?;
            if !stat.is_exiting {
                if let Some(found) = self.run_by(folder, folder, stat, time)? {
                    return Ok(Some(found));
                }
                continue;
            }
            // The main thread may have ended before others.
            let Some(thread) = living(folder)? else { return Ok(None) };
            match self.run_by(folder, &thread, stat, time) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    /// What a process runs, as one of its threads shows; `None` if that has let go of its program meanwhile.
    fn run_by(
        &self,
        folder: &Folder,
        thread: &Folder,
        stat: Stat,
        time: u64,
    ) -> io::Result<Option<Found>> {
        let (vpid, uid) = status(folder)?;
        let place =
            Place { uid, ns: namespaces(thread), cgroup: cgroup(folder)?, ..Place::default() };
        let loginuid = loginuid(folder)?;
        let args = thread.content("cmdline", LONGEST)?;
        let (env, is_env_cut) = match thread.content("environ", ENVIRONMENT) {
            // Of one that is cut, it is not known what it would say.
            Ok(all) if all.len() == ENVIRONMENT => {
                let end = all.iter().rposition(|&byte| byte == 0).unwrap_or(0);
                (environment::told(&all[..end]), true)
            }
            Ok(all) => (environment::told(&all), false),
            // It has none, as a kernel thread, or the agent may not see it. Whether it has ended, others tell.
            Err(error) => (Vec::new(), !is_gone(&error)),
        };
        let (cwd, exe) = (thread.target("cwd")?, thread.target("exe")?);
        // Last: as long as it has that, it has the others.
        if exe.as_ref().is_none_or(Vec::is_empty) && thread.stat()?.is_exiting {
            return Ok(None);
        }
        let mut scan = self.scan();
        let place = scan.place(place);
        let texts = &mut scan.texts;
        let (args, is_args_cut) = texts.intern_cut(&args, args.len() == LONGEST);
        let (env, is_env_cut) = texts.intern_cut(&env, is_env_cut);
        Ok(Some(Found {
            time,
            stat,
            vpid,
            place,
            loginuid,
            exe: exe.map(|exe| texts.intern(&exe)),
            args,
            is_args_cut,
            env,
            is_env_cut,
            // That of now, which mostly is that of the exec.
            cwd: texts.intern(&cwd.unwrap_or_default()),
        }))
    }

    fn next(&self) -> Option<Pid> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn scan(&self) -> MutexGuard<'_, Scan> {
        self.scan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// What it belongs to.
    pub(super) fn standing(&self) -> Standing {
        Standing { loginuid: self.loginuid, ..self.stat.standing() }
    }
}

/// The processes that there are.
fn list(proc: &Path) -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir(proc)? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(Pid(pid));
        }
    }
    Ok(pids)
}

/// Whether the process has ended that was to be read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

/// Whether the agent was short of descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// A thread that has not ended; `None` if all have.
fn living(folder: &Folder) -> io::Result<Option<Folder>> {
    // One after the other: there may be more than the agent may have open.
    for name in folder.threads()? {
        let thread = folder.thread(&name).and_then(|thread| Ok((thread.stat()?, thread)));
        match thread {
            Ok((stat, thread)) if !stat.is_exiting => return Ok(Some(thread)),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The pid in the process's own pid namespace, and the effective user; 0 if that is not told.
fn status(folder: &Folder) -> io::Result<(Pid, Uid)> {
    let status = folder.short("status")?;
    let status = String::from_utf8_lossy(&status);
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let own = line("NSpid:").and_then(|pids| pids.split_whitespace().next_back()?.parse().ok());
    // Real, effective, saved, of the file system.
    let uid = line("Uid:").and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok());
    Ok((Pid(own.unwrap_or_default()), Uid(uid.unwrap_or_default())))
}

/// The namespaces of a thread; 0 for each that the agent may not see.
fn namespaces(thread: &Folder) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for ty in NsType::ALL {
        let link = thread.link(&format!("ns/{}", ty.name()));
        let id = link.ok().and_then(|link| {
            let id = str::from_utf8(&link).ok()?.strip_suffix(']')?.rsplit_once('[')?.1;
            id.parse().ok()
        });
        *namespaces.get_mut(ty) = NsId(id.unwrap_or_default());
    }
    namespaces
}

/// The cgroup; none if the kernel has none.
fn cgroup(folder: &Folder) -> io::Result<Cgroup> {
    let text = match folder.short("cgroup") {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Cgroup::default()),
        text => text?,
    };
    let mut unified = None;
    for line in cgroup::lines(&text) {
        if CgroupPath::new(line.path).containers().next().is_some() {
            return Ok(Cgroup::Path(line.path.into()));
        }
        if line.hierarchy == cgroup::UNIFIED {
            unified = Some(line.path);
        }
    }
    Ok(unified.map_or_else(Cgroup::default, |path| Cgroup::Path(path.into())))
}

/// Who has logged in; nobody, in a kernel that does not know.
fn loginuid(folder: &Folder) -> io::Result<Uid> {
    match folder.short("loginuid") {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Standing::NOBODY),
        text => Ok(str::from_utf8(&text?)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map_or(Standing::NOBODY, Uid)),
    }
}
