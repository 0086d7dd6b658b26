use super::super::table::ENDED;
use super::*;

const INIT: u64 = 0;
const SHELL: u64 = SECOND + 3;
const CHILD: u64 = 2 * SECOND + 5;

/// Init, and a shell that has not executed anything else at 10 s.
fn host(time: u64) -> [(u32, Found); 2] {
    [
        (1, found(time, 0, INIT, b"/init", b"init\0")),
        (100, found(time, 1, SHELL, b"/bin/sh", b"sh\0")),
    ]
}

fn seeded() -> Processes {
    let mut processes = Processes::default();
    processes.merge(&scan(10 * SECOND, 11 * SECOND, host(10 * SECOND)));
    processes
}

#[test]
fn is_seeded_by_a_scan() {
    let processes = seeded();
    assert_eq!(parent(&processes, 100, SHELL).as_deref(), Some("/init"));
    let leader = processes.session_leader(Pid(100), StartTime(SHELL)).unwrap();
    assert_eq!(leader.exe(), b"/init");
    assert!(!processes.is_stale());
    check_books(&processes);
}

#[test]
fn a_fork_older_than_the_scanned_exec_tells_only_the_parent() {
    let child = found(10 * SECOND, 1, CHILD, b"/bin/cat", b"cat\0");
    let mut processes = Processes::default();
    processes.merge(&scan(
        10 * SECOND,
        11 * SECOND,
        host(10 * SECOND).into_iter().chain([(101, child)]),
    ));
    assert_eq!(parent(&processes, 101, CHILD).as_deref(), Some("/init"), "it was left behind");
    fork(&mut processes, &header(100, SHELL, b"sh"), 101, CHILD);
    assert_eq!(exe(&processes, 101, CHILD).as_deref(), Some("/bin/cat"));
    assert_eq!(parent(&processes, 101, CHILD).as_deref(), Some("/bin/sh"));
    assert_eq!(
        processes.get(Pid(101), StartTime(CHILD)).unwrap().start.0,
        CHILD,
        "to the nanosecond"
    );
    assert!(!processes.is_stale());
    check_books(&processes);
}

#[test]
fn execs_older_than_the_scan_are_followed_as_rules_see_them() {
    let mut processes = seeded();
    let shell = header(100, SHELL, b"sh");
    exec(&mut processes, &at(8 * SECOND, &shell), b"/bin/a", b"a\0");
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/bin/a"));
    assert!(processes.is_stale(), "if the next exec is lost, this must not stay");
    exec(&mut processes, &at(9 * SECOND, &shell), b"/bin/sh", b"sh\0");
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/bin/sh"));
    // The exec that the scan has seen is no surprise.
    let mut processes = seeded();
    exec(&mut processes, &at(9 * SECOND, &shell), b"/bin/sh", b"sh\0");
    assert!(!processes.is_stale());
}

#[test]
fn what_was_told_after_the_scan_stays() {
    let mut processes = seeded();
    let shell = header(100, SHELL, b"sh");
    processes.lost(12 * SECOND);
    exec(&mut processes, &at(16 * SECOND, &shell), b"/bin/new", b"new\0");
    fork(&mut processes, &at(17 * SECOND, &shell), 101, 17 * SECOND);
    exit(&mut processes, &at(18 * SECOND, &header(1, INIT, b"init")));
    processes.merge(&scan(13 * SECOND, 15 * SECOND, host(14 * SECOND)));
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/bin/new"));
    assert_eq!(exe(&processes, 101, 17 * SECOND).as_deref(), Some("/bin/new"));
    assert!(!processes.get(Pid(101), StartTime(17 * SECOND)).unwrap().has_ended());
    assert!(processes.get(Pid(1), StartTime(INIT)).unwrap().has_ended());
    assert!(!processes.is_stale());
    check_books(&processes);
}

#[test]
fn a_loss_is_made_good() {
    let mut processes = seeded();
    fork(&mut processes, &at(11 * SECOND, &header(100, SHELL, b"sh")), 101, 11 * SECOND);
    processes.lost(12 * SECOND);
    assert!(processes.is_stale());
    // 100 has executed another program, 101 has ended, its pid is used again.
    let after = [
        (1, found(14 * SECOND, 0, INIT, b"/init", b"init\0")),
        (100, found(14 * SECOND, 1, SHELL, b"/bin/other", b"other\0")),
        (101, found(14 * SECOND, 100, 12 * SECOND, b"/bin/x", b"x\0")),
    ];
    processes.merge(&scan(13 * SECOND, 15 * SECOND, after));
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/bin/other"));
    assert!(processes.get(Pid(101), StartTime(11 * SECOND)).unwrap().has_ended());
    assert_eq!(parent(&processes, 101, 12 * SECOND).as_deref(), Some("/bin/other"));
    assert!(!processes.is_stale());
    check_books(&processes);
}

#[test]
fn a_scan_that_began_before_the_loss_does_not_make_it_good() {
    let mut processes = seeded();
    processes.lost(12 * SECOND);
    processes.merge(&scan(11 * SECOND, 13 * SECOND, host(11 * SECOND)));
    assert!(processes.is_stale());
}

#[test]
fn children_that_no_scan_has_seen_have_what_their_parents_were_found_to_run() {
    let mut processes = seeded();
    let shell = header(100, SHELL, b"sh");
    // The shell's exec of another program is lost.
    processes.lost(12 * SECOND);
    fork(&mut processes, &shell, 101, 15 * SECOND);
    fork(&mut processes, &header(101, 15 * SECOND, b"x"), 102, 16 * SECOND);
    exec(&mut processes, &at(17 * SECOND, &shell), b"/third", b"");
    let mut other = host(14 * SECOND);
    other[1].1 = found(14 * SECOND, 1, SHELL, b"/other", b"");
    processes.merge(&scan(13 * SECOND, 18 * SECOND, other));
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/third"));
    assert_eq!(exe(&processes, 101, 15 * SECOND).as_deref(), Some("/other"));
    assert_eq!(exe(&processes, 102, 16 * SECOND).as_deref(), Some("/other"));
    assert!(!processes.is_stale());
    // Read too late, the parent does not tell what the child has.
    let mut processes = seeded();
    processes.lost(12 * SECOND);
    fork(&mut processes, &shell, 101, 15 * SECOND);
    processes.merge(&scan(13 * SECOND, 18 * SECOND, host(16 * SECOND)));
    assert!(processes.is_stale());
    check_books(&processes);
}

#[test]
fn what_cannot_be_read_has_not_ended() {
    let mut processes = seeded();
    let mut partly = scan(13 * SECOND, 14 * SECOND, host(13 * SECOND).into_iter().take(1));
    partly.unread.insert(Pid(100));
    processes.merge(&partly);
    assert!(!processes.get(Pid(100), StartTime(SHELL)).unwrap().has_ended());
    processes.merge(&scan(15 * SECOND, 16 * SECOND, host(15 * SECOND).into_iter().take(1)));
    assert!(processes.get(Pid(100), StartTime(SHELL)).unwrap().has_ended());
}

#[test]
fn one_that_ended_before_the_scan_came_to_the_table_is_looked_for_again() {
    let mut processes = Processes::default();
    exit(&mut processes, &at(12 * SECOND, &header(100, SHELL, b"sh")));
    processes.merge(&scan(10 * SECOND, 13 * SECOND, host(11 * SECOND)));
    assert!(processes.is_stale());
    processes.merge(&scan(14 * SECOND, 15 * SECOND, host(14 * SECOND).into_iter().take(1)));
    assert!(processes.get(Pid(100), StartTime(SHELL)).unwrap().has_ended());
    assert!(!processes.is_stale());
}

#[test]
fn what_was_over_before_the_scan_is_not_taken_for_alive() {
    let mut processes = seeded();
    fork(&mut processes, &header(100, SHELL, b"sh"), 101, CHILD);
    assert!(processes.get(Pid(101), StartTime(CHILD)).unwrap().has_ended());
    assert_eq!(
        exe(&processes, 101, CHILD).as_deref(),
        Some("/bin/sh"),
        "its own events may follow"
    );
}

#[test]
fn a_parent_is_older_than_its_child() {
    // The pid of the parent has been used again before it was read.
    let reused = [
        (100, found(13 * SECOND, 50, SHELL, b"/bin/sh", b"")),
        (50, found(14 * SECOND, 1, 13 * SECOND, b"/later", b"")),
    ];
    let mut processes = Processes::default();
    processes.merge(&scan(12 * SECOND, 15 * SECOND, reused));
    assert_eq!(parent(&processes, 100, SHELL), None);
}

#[test]
fn a_child_that_came_after_its_parent_was_read_may_be_of_a_successor() {
    let found_later = [
        (50, found(13 * SECOND, 1, SECOND, b"/bin/sh", b"")),
        (100, found(15 * SECOND, 50, 14 * SECOND, b"/bin/x", b"")),
    ];
    let mut processes = Processes::default();
    processes.merge(&scan(12 * SECOND, 15 * SECOND, found_later));
    let parent =
        |processes: &Processes| processes.get(Pid(100), StartTime(14 * SECOND)).unwrap().parent;
    assert_eq!(parent(&processes), (Pid(50), StartTime(0)));
    assert!(processes.is_stale());
    let found_again = [
        (50, found(17 * SECOND, 1, SECOND, b"/bin/sh", b"")),
        (100, found(17 * SECOND, 50, 14 * SECOND, b"/bin/x", b"")),
    ];
    processes.merge(&scan(16 * SECOND, 17 * SECOND, found_again));
    assert_eq!(parent(&processes), (Pid(50), StartTime(SECOND)));
    // That of 50 is still not in any scan.
    assert!(processes.is_stale());
}

#[test]
fn a_parent_with_a_higher_pid_stays_for_its_child_too() {
    let both = [
        (50, found(13 * SECOND, 60, CHILD, b"/child", b"")),
        (60, found(13 * SECOND, 0, SHELL, b"/parent", b"")),
    ];
    let mut processes = Processes::default();
    processes.merge(&scan(12 * SECOND, 14 * SECOND, both));
    exit(&mut processes, &at(15 * SECOND, &header(60, SHELL, b"parent")));
    exit(&mut processes, &at(1000 * SECOND, &header(7, SHELL, b"somebody")));
    assert_eq!(parent(&processes, 50, CHILD).as_deref(), Some("/parent"));
    check_books(&processes);
}

#[test]
fn many_that_ended_at_once_are_not_too_many() {
    let mut processes = Processes::default();
    let count = 2 * u32::try_from(ENDED).unwrap();
    let all = (2..count).map(|pid| (pid, found(10 * SECOND, 1, SHELL, b"/x", b"")));
    processes.merge(&scan(10 * SECOND, 11 * SECOND, all));
    processes.merge(&scan(12 * SECOND, 13 * SECOND, []));
    assert_eq!(processes.len(), ENDED);
}

#[test]
fn an_executable_that_may_not_be_seen_is_taken_to_be_the_same() {
    let hidden = |time| host(time).map(|(pid, found)| (pid, Found { exe: None, ..found }));
    let mut processes = seeded();
    processes.lost(12 * SECOND);
    fork(&mut processes, &at(15 * SECOND, &header(100, SHELL, b"sh")), 101, 15 * SECOND);
    processes.merge(&scan(13 * SECOND, 16 * SECOND, hidden(14 * SECOND)));
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/bin/sh"));
    assert_eq!(exe(&processes, 101, 15 * SECOND).as_deref(), Some("/bin/sh"));
    assert!(!processes.is_stale());
    let mut processes = Processes::default();
    processes.merge(&scan(13 * SECOND, 16 * SECOND, hidden(14 * SECOND)));
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some(""));
    check_books(&processes);
}

#[test]
fn the_file_of_an_executable_stays_known_while_the_path_is_the_same() {
    let mut processes = seeded();
    let shell = at(12 * SECOND, &header(100, SHELL, b"sh"));
    exec(&mut processes, &shell, b"/bin/new", b"new\0");
    let file =
        |processes: &Processes| processes.get(Pid(100), StartTime(SHELL)).unwrap().exe_file();
    let with = |time, exe| [(100, found(time, 1, SHELL, exe, b"renamed\0"))];
    processes.lost(12 * SECOND);
    processes.merge(&scan(13 * SECOND, 14 * SECOND, with(13 * SECOND, b"/bin/new")));
    assert_eq!(file(&processes), Some((1, 2)));
    processes.lost(14 * SECOND);
    processes.merge(&scan(15 * SECOND, 16 * SECOND, with(15 * SECOND, b"/bin/other")));
    assert_eq!(file(&processes), None);
    assert_eq!(exe(&processes, 100, SHELL).as_deref(), Some("/bin/other"));
}

#[test]
fn what_was_told_at_the_exec_is_better_than_what_is_found_later() {
    let mut processes = seeded();
    let shell = at(12 * SECOND, &header(100, SHELL, b"sh"));
    exec(&mut processes, &shell, b"/bin/new", b"new\0");
    let shown = |processes: &Processes| {
        let process = processes.get(Pid(100), StartTime(SHELL)).unwrap();
        let variable = process.environment().next().unwrap();
        [process.raw_arguments(), process.cwd(), variable, process.name()].map(<[u8]>::to_vec)
    };
    let told = shown(&processes);
    let expected: [&[u8]; 4] = [b"new\0", b"/of/new", b"LD_PRELOAD=new", b"sh"];
    assert_eq!(told, expected);
    // It has written over its arguments since, gone elsewhere, and calls itself otherwise. Nothing was lost but what somebody else did.
    let later = |time, args| found(time, 1, SHELL, b"/bin/new", args);
    let only = |found| [(100, found)];
    processes.merge(&scan(13 * SECOND, 14 * SECOND, only(later(13 * SECOND, b"harmless\0"))));
    assert_eq!(shown(&processes), told);
    // An exec may have been lost, but it looks the same.
    processes.lost(15 * SECOND);
    let same = Found { cwd: Arc::from(*b"/else"), ..later(16 * SECOND, b"new\0") };
    processes.merge(&scan(16 * SECOND, 17 * SECOND, only(same)));
    assert_eq!(shown(&processes), told);
    assert!(!processes.is_stale());
    // Or it does not.
    processes.lost(18 * SECOND);
    processes.merge(&scan(19 * SECOND, 20 * SECOND, only(later(19 * SECOND, b"other\0"))));
    assert_eq!(shown(&processes)[1], b"/of/other");
    assert_ne!(shown(&processes)[3], b"sh");
    check_books(&processes);
}

#[test]
fn what_a_process_belongs_to_is_as_told_after_the_scan() {
    let mut processes = seeded();
    let shell = at(14 * SECOND, &header(100, SHELL, b"sh"));
    exec(&mut processes, &shell, b"/bin/new", b"new\0");
    let session =
        |processes: &Processes| processes.get(Pid(100), StartTime(SHELL)).unwrap().standing.session;
    assert_eq!(session(&processes), Pid(0), "as the event has it");
    processes.merge(&scan(12 * SECOND, 15 * SECOND, host(13 * SECOND)));
    assert_eq!(session(&processes), Pid(0));
    processes.merge(&scan(16 * SECOND, 17 * SECOND, host(16 * SECOND)));
    assert_eq!(session(&processes), Pid(1), "it has changed that since");
}
