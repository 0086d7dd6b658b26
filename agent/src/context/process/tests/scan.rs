use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A line of `/proc/PID/stat`.
fn stat(name: &str, flags: u32, ticks: u64) -> String {
    format!("1 ({name}) S 40 1 39 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0 0")
}

/// A process's directory. What is not given is not there.
fn process(dir: &Path, stat: &str, exe: Option<&str>, cmdline: &[u8]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("stat"), stat).unwrap();
    fs::write(dir.join("status"), "Name:\tx\nNSpid:\t101\t7\n").unwrap();
    fs::write(dir.join("cmdline"), cmdline).unwrap();
    if let Some(exe) = exe {
        symlink(exe, dir.join("exe")).unwrap();
    }
}

fn take(proc: &Path) -> Scan {
    let clock = AtomicU64::new(1);
    Scan::take(proc, || clock.fetch_add(1, Ordering::Relaxed), 2).unwrap()
}

#[test]
fn reads_itself_from_proc() {
    let processes = Processes::scan(Path::new("/proc"), || 1).unwrap();
    let (pid, start) = own().unwrap();
    let process = processes.get(pid, start).unwrap();
    assert_eq!(process.parent.0, Pid(std::os::unix::process::parent_id()));
    assert_eq!(process.exe(), std::env::current_exe().unwrap().into_os_string().into_vec());
    let first = std::env::args_os().next().unwrap();
    assert_eq!(process.arguments().next().unwrap(), first.as_bytes());
    let status = fs::read_to_string("/proc/self/stat").unwrap();
    let session: u32 =
        status.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().parse().unwrap();
    assert_eq!(process.standing.session, Pid(session));
    assert!(start.0 > 0 && start.0.is_multiple_of(TICK));
    let cwd = std::env::current_dir().unwrap();
    assert_eq!(process.cwd(), cwd.as_os_str().as_bytes());
}

/// Also the kernel's own, which have neither programs nor environments.
#[test]
fn misses_nobody() {
    let listed = || -> BTreeSet<Pid> {
        let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| Some(Pid(name.to_str()?.parse().ok()?))).collect()
    };
    let (before, scan, after) =
        (listed(), Scan::take(Path::new("/proc"), || 1, 2).unwrap(), listed());
    let has_ended = |pid: &Pid| {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.0)).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    };
    let missed: Vec<_> = before
        .intersection(&after)
        .filter(|pid| !scan.found.contains_key(pid) && !scan.unread.contains(pid))
        .filter(|pid| !has_ended(pid))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
    let kernels = scan.found.values().filter(|found| found.exe.as_deref() == Some(b""));
    assert!(kernels.count() > 0 || !Path::new("/proc/2").exists());
}

#[test]
fn reads_a_hostile_name() {
    let proc = tempfile::tempdir().unwrap();
    process(&proc.path().join("101"), &stat("a) S (b) Z", 0, 300), Some("/bin/x"), b"x\0");
    process(&proc.path().join("102"), &stat("kthread", 0x0020_0000, 300), None, b"");
    let scan = take(proc.path());
    let found = &scan.found[&Pid(101)];
    assert_eq!((found.stat.ppid, found.standing().session), (Pid(40), Pid(39)));
    assert_eq!((found.stat.start, found.vpid), (StartTime(300 * TICK), Pid(7)));
    assert_eq!(
        (found.exe.as_deref().unwrap(), &*found.args, found.stat.name.bytes()),
        (&b"/bin/x"[..], &b"x\0"[..], &b"a) S (b) Z"[..])
    );
    assert_eq!((scan.start, scan.end()), (1, 4));
    assert!([2, 3].contains(&found.time), "before it was read");
    assert_eq!(scan.found[&Pid(102)].exe.as_deref(), Some(&b""[..]), "a kernel thread");
}

#[test]
fn one_that_waits_to_be_reaped_has_ended_unless_a_thread_goes_on() {
    let proc = tempfile::tempdir().unwrap();
    let (zombie, half) = (proc.path().join("101"), proc.path().join("102"));
    process(&zombie, &stat("x", 0x4, 300), None, b"");
    process(&zombie.join("task/101"), &stat("x", 0x4, 300), None, b"");
    process(&half, &stat("x", 0x4, 300), None, b"");
    process(&half.join("task/102"), &stat("x", 0x4, 300), None, b"");
    process(&half.join("task/103"), &stat("x", 0, 301), Some("/bin/x"), b"x\0");
    let scan = take(proc.path());
    assert_eq!(scan.found.keys().collect::<Vec<_>>(), [&Pid(102)]);
    assert_eq!(scan.found[&Pid(102)].exe.as_deref().unwrap(), b"/bin/x");
    assert_eq!(scan.found[&Pid(102)].stat.start, StartTime(300 * TICK));
    assert!(scan.unread.is_empty());
}

#[test]
fn what_makes_no_sense_is_not_read() {
    let proc = tempfile::tempdir().unwrap();
    fs::write(proc.path().join("99999999999"), "").unwrap();
    fs::create_dir(proc.path().join("self")).unwrap();
    fs::create_dir(proc.path().join("100")).unwrap();
    for (pid, stat) in
        [(101, ""), (102, "102 (x) "), (103, "103 (x) S 1 1 1 0 -1 0"), (104, "\u{0}")]
    {
        process(&proc.path().join(pid.to_string()), stat, None, b"");
    }
    let huge = "1 ".repeat(100_000);
    process(&proc.path().join("105"), &huge, None, b"");
    let scan = take(proc.path());
    assert!(scan.found.is_empty());
    assert_eq!(scan.unread.iter().map(|pid| pid.0).collect::<Vec<_>>(), [101, 102, 103, 104, 105]);
}

#[test]
fn arguments_have_a_bound() {
    let proc = tempfile::tempdir().unwrap();
    process(&proc.path().join("101"), &stat("x", 0, 300), None, &vec![b'a'; 3 << 20]);
    let scan = take(proc.path());
    assert_eq!((scan.found[&Pid(101)].args.len(), scan.found[&Pid(101)].is_args_cut), (4096, true));
}

#[test]
fn of_the_environment_that_is_kept_which_is_told() {
    let proc = tempfile::tempdir().unwrap();
    let long = [&b"LD_PRELOAD=x\0"[..], &vec![b'a'; 1 << 17]].concat();
    for (pid, environ) in
        [(101, &b"SECRET=1\0LD_PRELOAD=x\0HOME=/\0SUDO_USER=y\0"[..]), (102, &long)]
    {
        let folder = proc.path().join(pid.to_string());
        process(&folder, &stat("x", 0, 300), None, b"");
        fs::write(folder.join("environ"), environ).unwrap();
    }
    process(&proc.path().join("103"), &stat("x", 0, 300), None, b"");
    let scan = take(proc.path());
    let kept = |pid| {
        let found = &scan.found[&Pid(pid)];
        (&*found.env, found.is_env_cut)
    };
    assert_eq!(kept(101), (&b"LD_PRELOAD=x\0SUDO_USER=y\0"[..], false));
    assert_eq!(kept(102), (&b"LD_PRELOAD=x\0"[..], true));
    assert_eq!(kept(103), (&b""[..], false), "it has none");
}

#[test]
fn a_file_without_a_name_has_the_path_that_it_had() {
    let proc = tempfile::tempdir().unwrap();
    let (kept, gone) = (proc.path().join("kept (deleted)"), "/memfd:x (deleted)");
    fs::write(&kept, "").unwrap();
    process(&proc.path().join("101"), &stat("x", 0, 300), kept.to_str(), b"");
    // A link that leads nowhere does not say how many names its file has.
    process(&proc.path().join("102"), &stat("x", 0, 300), Some(gone), b"");
    let scan = take(proc.path());
    assert_eq!(scan.found[&Pid(101)].exe.as_deref().unwrap(), kept.as_os_str().as_bytes());
    assert_eq!(scan.found[&Pid(102)].exe.as_deref().unwrap(), gone.as_bytes());
}

#[test]
fn may_be_taken_by_another_thread() {
    let mut processes = Processes::scan(Path::new("/proc"), || 1).unwrap();
    processes.lost(2);
    let scan =
        std::thread::spawn(|| Scan::take(Path::new("/proc"), || 3, 1).unwrap()).join().unwrap();
    processes.merge(&scan);
    let (pid, start) = own().unwrap();
    assert!(!processes.get(pid, start).unwrap().has_ended());
    check_books(&processes);
}
