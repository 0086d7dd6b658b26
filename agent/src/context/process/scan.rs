//! A look at `/proc`: what every process runs at the time at which it is read. It may be taken on any
//! thread; the table learns of it when it is merged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::mem;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shrike_common::{Namespaces, NsId, NsType, Pid, StartTime, Uid};

use super::text::{LONGEST, Texts};
use super::{CAPACITY, Cgroup, Name, Place, Standing, TICK};
use crate::context::cgroup;
use crate::context::cgroup_path::CgroupPath;

/// The most bytes that are read of `/proc/PID/stat` and `/proc/PID/status`.
const STATUS: usize = 16 << 10;

/// Set in the flags of a task that ends: an exit may have been told already.
const PF_EXITING: u32 = 0x4;

/// What nearly every file has room in.
const ROOM: usize = 4096;

/// The most bytes that are read of an environment.
const ENVIRONMENT: usize = 64 << 10;

/// How often a process is read again that changes while it is read.
const ATTEMPTS: usize = 3;

/// What `/proc` shows behind the path of a file that has no name any more.
const DELETED: &[u8] = b" (deleted)";

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
    /// For as long as they are not in the table, they have a bound of their own.
    texts: Texts,
}

/// A process as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Before it was read.
    pub(super) time: u64,
    pub(super) stat: Stat,
    pub(super) vpid: Pid,
    pub(super) place: Arc<Place>,
    pub(super) name: Name,
    pub(super) loginuid: Uid,
    /// `None` if the agent may not see it.
    pub(super) exe: Option<Arc<[u8]>>,
    pub(super) args: Arc<[u8]>,
    pub(super) env: Arc<[u8]>,
    pub(super) cwd: Arc<[u8]>,
}

/// What is of interest in `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stat {
    pub(super) start: StartTime,
    pub(super) ppid: Pid,
    group: Pid,
    session: Pid,
    /// As `new_encode_dev` has it.
    tty: u32,
    /// Whether the main thread has ended, or is about to and has let go of its program.
    is_exiting: bool,
}

impl Scan {
    /// Reads every process under `proc`. `clock` tells the boot time in nanoseconds, as in the
    /// headers of events.
    pub(crate) fn take(proc: &Path, clock: impl Fn() -> u64) -> io::Result<Self> {
        let mut scan = Self { start: clock(), ..Self::default() };
        // All at once, so that the list is of the time at which the scan started: what is not in it
        // had ended by then, or came later.
        let mut places = HashSet::new();
        for pid in list(proc)? {
            if scan.found.len() >= CAPACITY {
                scan.unread.insert(pid);
                continue;
            }
            let time = clock();
            match Found::read(&proc.join(pid.to_string()), time, &mut scan.texts) {
                Ok(Some(mut found)) => {
                    // Most are where another one is.
                    match places.get(&found.place) {
                        Some(place) => found.place = Arc::clone(place),
                        None => _ = places.insert(found.place.clone()),
                    }
                    scan.found.insert(pid, found);
                }
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(_) => {
                    scan.unread.insert(pid);
                }
            }
        }
        scan.end = clock();
        Ok(scan)
    }

    /// When the scan ended. It is best merged when all events up to then are in the table.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }
}

impl Found {
    /// Reads a process from its directory; `None` if it has ended.
    fn read(dir: &Path, time: u64, texts: &mut Texts) -> io::Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            let stat = Stat::read(dir)?;
            let Some(thread) = living(dir, stat)? else { return Ok(None) };
            let (exe, cwd) = (target(&thread.join("exe"))?, target(&thread.join("cwd"))?);
            let args = content(&thread.join("cmdline"), LONGEST)?;
            let env = environment(&thread);
            let name = content(&dir.join("comm"), Name::LEN)?;
            let (vpid, uid) = status(dir)?;
            let place =
                Place { uid, ns: namespaces(&thread), cgroup: cgroup(dir)?, ..Place::default() };
            // The directory is found by pid each time: it may be another process's by now, or that
            // of one which has let go of its program meanwhile.
            if Stat::read(dir)? == stat {
                return Ok(Some(Self {
                    time,
                    stat,
                    vpid,
                    place: Arc::new(place),
                    name: Name::new(name.strip_suffix(b"\n").unwrap_or(&name)),
                    loginuid: loginuid(dir)?,
                    exe: exe.map(|exe| texts.intern(&exe)),
                    args: texts.intern(&args),
                    env: texts.intern(&env),
                    // That of now, which mostly is that of the exec.
                    cwd: texts.intern(&cwd.unwrap_or_default()),
                }));
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    /// What it belongs to.
    pub(super) fn standing(&self) -> Standing {
        let Stat { group, session, tty, .. } = self.stat;
        // `new_decode_dev`.
        let (major, minor) = ((tty & 0xF_FF00) >> 8, (tty & 0xFF) | ((tty >> 12) & 0xF_FF00));
        Standing { group, session, tty: major << 20 | minor, loginuid: self.loginuid }
    }
}

impl Stat {
    #[cfg(test)]
    pub(super) fn new(start: StartTime, ppid: Pid, session: Pid) -> Self {
        Self { start, ppid, session, group: session, tty: 0, is_exiting: false }
    }

    /// Reads it from the directory of a process or a thread.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        Self::parse(&content(&dir.join("stat"), STATUS)?).ok_or(ErrorKind::InvalidData.into())
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        // The name may contain anything, also blanks and parentheses: what follows it is found from
        // the end.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split_ascii_whitespace();
        let ppid = Pid(fields.nth(1)?.parse().ok()?);
        let group = Pid(fields.next()?.parse().ok()?);
        let session = Pid(fields.next()?.parse().ok()?);
        let tty = fields.next()?.parse::<i32>().ok()?.cast_unsigned();
        let flags = fields.nth(1)?.parse::<u32>().ok()?;
        let ticks = fields.nth(12)?.parse::<u64>().ok()?;
        Some(Self {
            start: StartTime(ticks.saturating_mul(TICK)),
            ppid,
            group,
            session,
            tty,
            is_exiting: flags & PF_EXITING != 0,
        })
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
    /// No such process.
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// The directory of a thread that shows what the process runs: the main thread may have ended before
/// others. `None` if all have.
fn living(dir: &Path, stat: Stat) -> io::Result<Option<PathBuf>> {
    if !stat.is_exiting {
        return Ok(Some(dir.to_owned()));
    }
    for entry in fs::read_dir(dir.join("task"))? {
        let thread = entry?.path();
        match Stat::read(&thread) {
            Ok(stat) if !stat.is_exiting => return Ok(Some(thread)),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Where a link of a process leads (`exe`, `cwd`), as the probes tell it: without a remark that the file has no
/// name any more. Kernel threads have no executable. `None` if that takes a right that the agent does not have.
fn target(link: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut path = match fs::read_link(link) {
        Ok(path) => path.into_os_string().into_vec(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Vec::new())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    // A file may be called like that.
    if path.ends_with(DELETED) && is_unlinked(link) {
        path.truncate(path.len() - DELETED.len());
    }
    Ok(Some(path))
}

/// The variables of its environment that are told; none if it has none, as a kernel thread, or the agent may not
/// see them. Whether the process has ended, others tell.
fn environment(dir: &Path) -> Vec<u8> {
    let all = content(&dir.join("environ"), ENVIRONMENT).unwrap_or_default();
    super::environment(&all)
}

/// Whether a file has no name any more, as far as is known without asking who serves its file system: that may be
/// the process, and never answer.
fn is_unlinked(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: it consists of integers, for which zero is a value.
    let mut stat: libc::statx = unsafe { mem::zeroed() };
    // SAFETY: the path ends with NUL, and there is room for the answer.
    let failed = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_NLINK,
            &raw mut stat,
        )
    };
    failed == 0 && stat.stx_nlink == 0
}

/// The pid in the process's own pid namespace, and the effective user; 0 if that is not told.
fn status(dir: &Path) -> io::Result<(Pid, Uid)> {
    let status = content(&dir.join("status"), STATUS)?;
    let status = String::from_utf8_lossy(&status);
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let own = line("NSpid:").and_then(|pids| pids.split_whitespace().next_back()?.parse().ok());
    // Real, effective, saved, of the file system.
    let uid = line("Uid:").and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok());
    Ok((Pid(own.unwrap_or_default()), Uid(uid.unwrap_or_default())))
}

/// The namespaces of a thread; 0 for each that the agent may not see.
fn namespaces(thread: &Path) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for ty in NsType::ALL {
        let link = fs::read_link(thread.join("ns").join(ty.name()));
        let id = link.ok().and_then(|link| {
            let id = link.to_str()?.strip_suffix(']')?.rsplit_once('[')?.1;
            id.parse().ok()
        });
        *namespaces.get_mut(ty) = NsId(id.unwrap_or_default());
    }
    namespaces
}

/// The cgroup; none if the kernel has none.
fn cgroup(dir: &Path) -> io::Result<Cgroup> {
    let text = match content(&dir.join("cgroup"), STATUS) {
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
fn loginuid(dir: &Path) -> io::Result<Uid> {
    match content(&dir.join("loginuid"), STATUS) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Standing::NOBODY),
        text => Ok(str::from_utf8(&text?)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map_or(Standing::NOBODY, Uid)),
    }
}

/// The beginning of a file: what a process writes over its own arguments may have any length.
fn content(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Files of `/proc` tell no size: without room, they would be read by 32 bytes first.
    let mut content = Vec::with_capacity(most.min(ROOM));
    File::open(path)?.take(most as u64).read_to_end(&mut content)?;
    Ok(content)
}
