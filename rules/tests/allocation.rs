//! Judging an event that no rule matches takes no memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use shrike_rules::{Argument, Event, FieldId, Kind, Matching, Options, Ruleset, Source, Value};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
struct Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no count any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An open by a process, with all values at hand.
struct Opened {
    path: &'static str,
}

impl Event for Opened {
    fn kind(&self) -> Kind {
        Kind::FileOpen
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        Some(match (field, argument) {
            (FieldId::EvtType, None) => "openat".into(),
            (FieldId::FdName, None) => self.path.into(),
            (FieldId::FdFilename, None) => self.path.rsplit('/').next()?.into(),
            (FieldId::FdDirectory, None) => "/srv".into(),
            (FieldId::ProcName | FieldId::ProcPname, None)
            | (FieldId::ProcAname, Some(Argument::Index(0..4))) => "cat".into(),
            (FieldId::ContainerId, None) => "0123456789ab".into(),
            (FieldId::ProcPid, None) => 42_u32.into(),
            (FieldId::EvtIsOpenRead, None) => true.into(),
            _ => return None,
        })
    }
}

const RULES: &str = r"
- list: tools
  items: [nc, ncat, socat, tcpdump]
- macro: odd_tool
  condition: (proc.name in (tools) or proc.pname in (tools) or proc.aname in (tools))
- macro: hidden
  condition: (fd.filename startswith . or fd.name glob /*/.*/x or fd.name regex '/[a-f]+/.*')
";

/// So many rules of several shapes, none of which such an event satisfies.
fn rules(count: usize) -> String {
    let condition = |number| match number % 6 {
        0 => format!("fd.name = /etc/secret{number}"),
        1 => format!("fd.name startswith /etc/{number}/ and odd_tool"),
        2 => format!("hidden and proc.pid = {number} and odd_tool"),
        3 => format!("proc.name = tool{number} and fd.name pmatch (/a{number}, /b/*/c)"),
        4 => format!("not evt.is_open_read = true and fd.name contains x{number}"),
        _ => format!("odd_tool and fd.name icontains Y{number} and container.id != host"),
    };
    let rule = |number| {
        format!(
            "- rule: R{number}\n  desc: d\n  output: o %fd.name\n  priority: INFO\n  condition: >-\n    evt.type in (open, \
             openat) and {}\n",
            condition(number)
        )
    };
    RULES.to_owned() + &(0..count).map(rule).collect::<String>()
}

#[test]
fn an_event_that_nothing_matches_takes_no_memory() {
    let text = rules(300);
    let options = Options { matching: Matching::All, ..Options::default() };
    let loaded = Ruleset::load_with(&[Source::new("r", &text)], &options);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    let allocations = |path| {
        let event = Opened { path };
        let matches = || loaded.ruleset.matches(&event).count();
        // A regular expression makes room for its states the first time.
        let first = matches();
        let before = ALLOCATIONS.get();
        assert_eq!(matches(), first);
        (first, ALLOCATIONS.get() - before)
    };
    assert_eq!(allocations("/srv/data"), (0, 0));
    assert_eq!(allocations("/etc/1/x"), (0, 0));
    assert_eq!(
        allocations("/etc/secret6"),
        (1, 0),
        "nor does one that matches, before it is rendered"
    );
    // What takes memory is counted.
    let before = ALLOCATIONS.get();
    assert_eq!(rules(1).capacity() > 0, ALLOCATIONS.get() > before);
}
