//! How much memory the table takes, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

/// Counts what each thread has allocated: tests run side by side.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on as it is; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        PEAK.set(PEAK.get().max(LIVE.get()));
        // SAFETY: the caller answers for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: the caller answers for the pointer, which came from `System`.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The bytes that are live after `work`, and that were live at most during it.
fn measure<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, LIVE.get() - before, PEAK.get() - before)
}

const MIB: usize = 1 << 20;

/// As many as the goal is about, with 120 bytes of arguments each, none like another's.
const COUNT: u32 = 100_000;

fn args(pid: u32) -> Vec<u8> {
    let mut args = format!("program\0--number={pid}\0").into_bytes();
    args.resize(119, b'x');
    args.push(0);
    args
}

fn fill(pids: impl Iterator<Item = u32>) -> Processes {
    let mut processes = Processes::default();
    let init = header(1, 0, b"init");
    exec(&mut processes, &init, b"/init", b"");
    for pid in pids {
        let start = SECOND + u64::from(pid) * TICK;
        fork(&mut processes, &init, pid, start);
        exec(&mut processes, &header(pid, start, b"program"), b"/bin/program", &args(pid));
    }
    processes
}

#[test]
fn a_hundred_thousand_processes_take_less_than_40_mib() {
    let (processes, live, peak) = measure(|| fill(2..COUNT + 2));
    println!("pids in order: {live} bytes live, {peak} at most");
    assert_eq!(processes.len(), COUNT as usize + 1);
    assert!(peak < 40 * MIB, "{peak}");
    drop(processes);
    // Pids in no order, as after they have wrapped: 48271 generates 1..2^31 - 1.
    let mut pid = 1_u64;
    let pids = (0..COUNT).map(move |_| {
        pid = pid * 48_271 % 0x7FFF_FFFF;
        u32::try_from(pid).unwrap()
    });
    let (processes, live, peak) = measure(|| fill(pids));
    println!("pids in no order: {live} bytes live, {peak} at most");
    assert_eq!(processes.len(), COUNT as usize + 1);
    assert!(peak < 40 * MIB, "{peak}");
}

#[test]
fn children_share_what_their_parent_runs() {
    let mut processes = fill(2..3);
    let parent = header(2, SECOND + 2 * TICK, b"program");
    let ((), live, _) = measure(|| {
        for pid in 3..10_003 {
            fork(&mut processes, &parent, pid, 2 * SECOND + u64::from(pid) * TICK);
        }
    });
    println!("a child: {} bytes", live / 10_000);
    assert!(live / 10_000 < 256);
}

#[test]
fn a_merge_takes_as_much_again_for_a_while() {
    let place = Arc::default();
    let seen = (2..COUNT + 2).map(|pid| {
        let start = SECOND + u64::from(pid) * TICK;
        let found = found(10_000 * SECOND, 1, start, b"/bin/program", &args(pid));
        (pid, Found { place: Arc::clone(&place), ..found })
    });
    let (scan, scanned, _) = measure(|| scan(10_000 * SECOND, 10_001 * SECOND, seen));
    let (mut processes, seeded, peak) = measure(|| {
        let mut processes = Processes::default();
        processes.merge(&scan);
        processes
    });
    println!("a scan: {scanned} bytes; the table: {seeded} live, {peak} at most");
    let ((), live, peak) = measure(|| processes.merge(&scan));
    println!("merged again: {live} more live, {peak} at most");
    assert!(scanned < 40 * MIB && seeded < 40 * MIB && peak < 8 * MIB);
}

#[test]
fn a_full_table_with_the_longest_texts_has_a_bound() {
    let (processes, live, peak) = measure(|| {
        let mut processes = Processes::default();
        for pid in 1..=u32::try_from(CAPACITY).unwrap() + 1000 {
            let mut long = vec![b'x'; 5000];
            long[..4].copy_from_slice(&pid.to_le_bytes());
            let header = header(pid, u64::from(pid) * TICK, b"x");
            let variable = [b"LD_", &long[..4000], b"\0"].concat();
            let event = Event::Exec(Exec {
                path: Text::new(&long, 0),
                args: Text::new(&long[..4500], 0),
                env: Text::new(&variable, 0),
                cwd: Text::new(&long[..4400], 0),
                ..Exec::default()
            });
            processes.apply(&header, &event);
        }
        processes
    });
    println!("full: {live} bytes live, {peak} at most, {} of texts", processes.text_bytes());
    assert_eq!((processes.len(), processes.refused()), (CAPACITY, 1000));
    assert!(processes.text_bytes() <= 96 * MIB);
    assert!(peak < 160 * MIB, "{peak}");
}

#[test]
fn who_shares_a_place_still_does_after_a_merge() {
    let mut processes = fill(2..3);
    let parent = header(2, SECOND + 2 * TICK, b"program");
    let shared = Arc::new(Place { uid: Uid(7), ..Place::default() });
    let seen = (3..10_003).map(|pid| {
        let start = 2 * SECOND + u64::from(pid) * TICK;
        fork(&mut processes, &parent, pid, start);
        let found = found(10_000 * SECOND, 2, start, b"/bin/program", b"");
        (pid, Found { place: shared.clone(), ..found })
    });
    let scan = scan(10_000 * SECOND, 10_001 * SECOND, seen.collect::<Vec<_>>());
    processes.merge(&scan);
    let places = |processes: &Processes| {
        let places = processes.alive().map(|(_, process)| Arc::as_ptr(&process.place));
        places.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(places(&processes), 1);
    let child = processes.get(Pid(3), StartTime(2 * SECOND + 3 * TICK)).unwrap();
    assert_eq!(child.place.uid, Uid(7));
}
