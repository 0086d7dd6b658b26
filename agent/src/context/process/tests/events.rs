use shrike_common::wire::Text;

use super::super::table::{ENDED, LINGER};
use super::*;

#[test]
fn follows_fork_and_exec() {
    let mut processes = Processes::default();
    let shell = header(100, SECOND, b"sh");
    exec(&mut processes, &shell, b"/bin/sh", b"sh\0-c\0x\0");
    fork(&mut processes, &shell, 101, 2 * SECOND);
    let (parent, child) = (
        processes.get(Pid(100), StartTime(SECOND)),
        processes.get(Pid(101), StartTime(2 * SECOND)),
    );
    let (parent, child) = (parent.unwrap(), child.unwrap());
    assert_eq!((child.name(), child.exe()), (&b"sh"[..], &b"/bin/sh"[..]));
    assert_eq!(child.exe_file(), Some((1, 2)));
    assert!(Arc::ptr_eq(&parent.image.args, &child.image.args), "shared, not copied");
    exec(&mut processes, &header(101, 2 * SECOND, b"cat"), b"/bin/cat", b"cat\0");
    let name = |generations| {
        let process = processes.ancestor(Pid(101), StartTime(2 * SECOND), generations)?;
        Some(process.name().to_vec())
    };
    assert_eq!(name(0), Some(b"cat".to_vec()));
    assert_eq!(name(1), Some(b"sh".to_vec()));
    assert_eq!(name(2), None);
    check_books(&processes);
}

#[test]
fn splits_arguments() {
    let split = |args: &[u8]| {
        let mut processes = Processes::default();
        exec(&mut processes, &header(1, 1, b"x"), b"/x", args);
        let process = processes.get(Pid(1), StartTime(1)).unwrap();
        process.arguments().map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    assert_eq!(split(b"a\0\0b\0"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
    assert_eq!(split(b"cut of"), [b"cut of".to_vec()]);
    assert_eq!(split(b""), Vec::<Vec<u8>>::new());
}

#[test]
fn remembers_an_ended_process_for_a_while() {
    let mut processes = Processes::default();
    let one = header(100, SECOND, b"one");
    exec(&mut processes, &one, b"/one", b"");
    exit(&mut processes, &one);
    assert!(processes.get(Pid(100), one.start).unwrap().has_ended());
    let other = header(101, 2 * SECOND, b"other");
    exec(&mut processes, &other, b"/other", b"");
    exit(&mut processes, &at(SECOND + LINGER, &other));
    assert!(processes.get(Pid(100), one.start).is_some());
    exit(&mut processes, &at(SECOND + LINGER + 1, &other));
    assert!(processes.get(Pid(100), one.start).is_none());
    check_books(&processes);
}

#[test]
fn remembers_an_ended_parent_before_those_without_children() {
    let mut processes = Processes::default();
    let parent = header(100, SECOND, b"parent");
    exec(&mut processes, &parent, b"/parent", b"");
    fork(&mut processes, &parent, 101, 2 * SECOND);
    exit(&mut processes, &parent);
    for pid in 0..2 * u32::try_from(ENDED).unwrap() {
        let other = header(1000 + pid, 3 * SECOND, b"x");
        exec(&mut processes, &other, b"/x", b"");
        exit(&mut processes, &other);
    }
    assert_eq!(processes.len(), ENDED + 1, "the ended ones and the child");
    let child = header(101, 2 * SECOND, b"parent");
    assert!(processes.ancestor(Pid(101), child.start, 1).is_some());
    // With its last child it has no reason to stay.
    exit(&mut processes, &at(4 * SECOND, &child));
    let last = header(102, 5 * SECOND, b"x");
    exec(&mut processes, &last, b"/x", b"");
    exit(&mut processes, &at(5 * SECOND + LINGER, &last));
    assert!(processes.get(Pid(100), parent.start).is_none());
    assert_eq!(processes.len(), 1);
    check_books(&processes);
}

#[test]
fn forgets_even_parents_in_the_end() {
    let mut processes = Processes::default();
    let count = u32::try_from(ENDED).unwrap() + 1;
    for pid in 0..count {
        let parent = header(2 * pid + 2, SECOND + u64::from(pid), b"parent");
        exec(&mut processes, &parent, b"/parent", b"");
        fork(&mut processes, &parent, 2 * pid + 3, 2 * SECOND);
        exit(&mut processes, &parent);
    }
    assert!(processes.ancestor(Pid(3), StartTime(2 * SECOND), 1).is_none(), "the first to end");
    assert!(processes.ancestor(Pid(5), StartTime(2 * SECOND), 1).is_some());
}

#[test]
fn tells_a_reused_pid_from_its_predecessor() {
    let mut processes = Processes::default();
    let old = header(100, SECOND, b"old");
    exec(&mut processes, &old, b"/old", b"");
    fork(&mut processes, &old, 101, 2 * SECOND);
    // Its exit was lost.
    exec(&mut processes, &header(100, 5 * SECOND, b"new"), b"/new", b"");
    fork(&mut processes, &header(100, 5 * SECOND, b"new"), 102, 6 * SECOND);
    assert!(processes.get(Pid(100), StartTime(SECOND)).unwrap().has_ended());
    assert_eq!(parent(&processes, 101, 2 * SECOND).as_deref(), Some("/old"));
    assert_eq!(parent(&processes, 102, 6 * SECOND).as_deref(), Some("/new"));
    assert!(processes.get(Pid(100), StartTime(4 * SECOND)).is_none());
    check_books(&processes);
}

#[test]
fn tells_two_processes_apart_that_had_a_pid_within_a_tick() {
    let mut processes = Processes::default();
    exec(&mut processes, &header(100, SECOND + 1, b"old"), b"/old", b"");
    exec(&mut processes, &header(100, SECOND + 2, b"new"), b"/new", b"");
    assert_eq!(exe(&processes, 100, SECOND + 1), None);
    assert_eq!(exe(&processes, 100, SECOND + 2).as_deref(), Some("/new"));
    assert_eq!(exe(&processes, 100, SECOND).as_deref(), Some("/new"), "as /proc names it");
    check_books(&processes);
}

#[test]
fn a_clone_may_have_the_parent_of_its_creator() {
    const CLONE_PARENT: u64 = 0x8000;
    let mut processes = Processes::default();
    let shell = header(100, SECOND, b"sh");
    exec(&mut processes, &shell, b"/bin/sh", b"");
    fork(&mut processes, &shell, 101, 2 * SECOND);
    let clone = Header { ppid: Pid(100), ..header(101, 2 * SECOND, b"runc") };
    exec(&mut processes, &clone, b"/bin/runc", b"");
    fork_with(&mut processes, &clone, 102, 3 * SECOND, CLONE_PARENT);
    assert_eq!(parent(&processes, 102, 3 * SECOND).as_deref(), Some("/bin/sh"));
    assert_eq!(exe(&processes, 102, 3 * SECOND).as_deref(), Some("/bin/runc"));
}

#[test]
fn a_lineage_that_runs_in_circles_ends() {
    let mut processes = Processes::default();
    let own = header(100, SECOND, b"loop");
    fork(&mut processes, &own, 100, SECOND);
    assert!(processes.ancestor(Pid(100), own.start, u32::MAX).is_none());
    fork(&mut processes, &own, 100, SECOND);
    assert!(processes.ancestor(Pid(100), own.start, 64).is_some());
    assert!(processes.ancestor(Pid(100), own.start, u32::MAX).is_none());
    exit(&mut processes, &own);
    exit(&mut processes, &at(u64::MAX, &own));
    check_books(&processes);
}

#[test]
fn a_process_whose_fork_was_lost_has_the_parent_of_its_exec() {
    let mut processes = Processes::default();
    exec(&mut processes, &header(1, SECOND, b"init"), b"/init", b"");
    exec(&mut processes, &header(100, 2 * SECOND, b"x"), b"/x", b"");
    assert_eq!(parent(&processes, 100, 2 * SECOND).as_deref(), Some("/init"));
    let child = Header { ppid: Pid(100), ..header(101, 3 * SECOND, b"y") };
    exec(&mut processes, &child, b"/y", b"");
    exit(&mut processes, &at(4 * SECOND, &header(100, 2 * SECOND, b"x")));
    assert_eq!(parent(&processes, 101, 3 * SECOND).as_deref(), Some("/x"), "it ended later");
    // Nobody is the child of one that came later, nor, for all one knows, of one that has ended.
    exec(&mut processes, &header(1, 3 * SECOND, b"other"), b"/other", b"");
    assert_eq!(parent(&processes, 100, 2 * SECOND), None);
}

#[test]
fn a_fork_bomb_finds_an_end() {
    let mut processes = Processes::default();
    let bomb = header(1, SECOND, b"bomb");
    exec(&mut processes, &bomb, b"/bomb", b"bomb\0");
    let count = u32::try_from(CAPACITY).unwrap() + 1000;
    for pid in 2..count {
        fork(&mut processes, &bomb, pid, 2 * SECOND + u64::from(pid));
    }
    assert_eq!(processes.len(), CAPACITY);
    assert_eq!(processes.refused(), 999);
    let own = [&b"/bomb"[..], b"bomb\0", &variables(b"bomb"), &directory(b"bomb")];
    assert_eq!(processes.text_bytes(), own.concat().len());
    // Who ends makes room, and is not refused.
    for pid in 2..12 {
        exit(&mut processes, &header(pid, 2 * SECOND + u64::from(pid), b"bomb"));
    }
    for pid in count..count + 11 {
        fork(&mut processes, &bomb, pid, 4 * SECOND + u64::from(pid));
    }
    assert_eq!((processes.len(), processes.refused()), (CAPACITY, 1000));
}

#[test]
fn takes_whatever_it_is_told() {
    let mut processes = Processes::default();
    for time in [0, 1, u64::MAX] {
        for pid in [0, 1, u32::MAX] {
            for start in [0, 1, TICK, u64::MAX] {
                let own = Header { time, comm: [b'x'; 16], ..header(pid, start, b"") };
                for child in [0, pid, u32::MAX] {
                    let event = Event::Fork(Fork {
                        clone_flags: u64::MAX,
                        child_start: StartTime(u64::MAX),
                        child: Pid(child),
                        child_vpid: Pid(0),
                    });
                    processes.apply(&own, &event);
                    fork(&mut processes, &own, child, start);
                }
                exec(&mut processes, &own, &vec![b'/'; 70_000], &vec![0; 70_000]);
                assert!(processes.get(Pid(pid), StartTime(start)).unwrap().exe().len() <= 4096);
                assert_eq!(processes.get(Pid(pid), StartTime(start)).unwrap().name().len(), 16);
                processes.ancestor(Pid(pid), StartTime(start), u32::MAX);
                processes.session_leader(Pid(pid), StartTime(start));
                exit(&mut processes, &own);
                processes.lost(time);
                check_books(&processes);
            }
        }
    }
    assert!(processes.texts_cut() > 0);
    let none = Text::new(b"", 0);
    let event = Event::Exec(Exec { path: none, args: none, ..Exec::default() });
    processes.apply(&Header::default(), &event);
    check_books(&processes);
}
