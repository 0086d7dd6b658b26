//! No event that a rule would match is held back by the plan: random rules against random events, through a model of
//! what the probes do with the tables (`ebpf/src/plan.rs`), step by step.

use std::cell::OnceCell;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use shrike_common::wire::Text;
use shrike_common::{
    Alternatives, ContainerId, Event, FileOpen, Header, Kind, Membership, Namespaces, NsId, Plan,
};
use shrike_rules::{Ruleset, Source, Stage};

use super::{KindPlan, Plans};
use crate::context::clock::Clock;
use crate::context::container::Containers;
use crate::context::names::Names;
use crate::context::process::Processes;
use crate::detect::{Kin, Sight, property};

/// How many sets of rules are tried, and how many events with each.
const SETS: usize = 300;
const EVENTS: usize = 60;

const PATHS: &[&str] =
    &["/etc/shadow", "/etc/passwd", "/proc/1/mem", "/dev/sda", "/", "/tmp/x/shadow"];
const NAMES: &[&str] = &["shadow", "passwd", "mem", "sda", "x"];
const FOLDERS: &[&str] = &["/etc", "/", "/proc/1", "/dev", "/tmp/x"];

/// An open of a file.
#[derive(Clone, Debug)]
struct Opened {
    membership: Membership,
    comm: &'static str,
    path: &'static str,
    flags: u32,
    mode: u32,
    magic: u64,
    foreign: bool,
}

fn opened() -> impl Strategy<Value = Opened> {
    let magics = property::FILE_SYSTEMS.iter().map(|(magic, _)| *magic).take(4);
    let magics: Vec<u64> = magics.chain([0xEF53]).collect();
    let modes = [0o100_644, 0o040_755, 0o060_600, 0o020_600, 0o010_600];
    (
        select(&Membership::ALL[..]),
        select(&["sh", "cat"][..]),
        select(PATHS),
        0_u32..4,
        select(modes.to_vec()),
        select(magics),
        any::<bool>(),
    )
        .prop_map(|(membership, comm, path, flags, mode, magic, foreign)| Opened {
            membership,
            comm,
            path,
            flags,
            mode,
            magic,
            foreign,
        })
}

/// A condition about such opens.
fn condition() -> impl Strategy<Value = String> {
    let compared = |field: &'static str, values: &'static [&'static str]| {
        let operators = &["=", "!=", "startswith", "endswith", "contains", "glob"][..];
        let one = (select(operators), select(values))
            .prop_map(move |(operator, value)| format!("{field} {operator} {value}"));
        let some = (
            select(&["in", "pmatch", "startswith anyof", "startswith oneof", "= allof"][..]),
            proptest::sample::subsequence(values, 0..=values.len()),
        )
            .prop_map(move |(operator, values)| {
                format!("{field} {operator} ({})", values.join(", "))
            });
        prop_oneof![one, some]
    };
    let flag =
        |field: &'static str| any::<bool>().prop_map(move |value| format!("{field} = {value}"));
    let file_systems: Vec<_> =
        property::FILE_SYSTEMS.iter().map(|(_, name)| *name).take(4).collect();
    let leaf = prop_oneof![
        4 => compared("fd.name", PATHS),
        2 => compared("fd.filename", NAMES),
        2 => compared("fd.directory", FOLDERS),
        2 => compared("fd.filetype", &["regular", "directory", "block", "char", "fifo"]),
        1 => compared("proc.name", &["sh", "cat"]),
        1 => compared("container.membership", &["none", "member", "entering"]),
        1 => select(&["container.id != host", "container.id = host"][..]).prop_map(str::to_owned),
        1 => select(file_systems).prop_map(|name| format!("fd.fstype = {name}")),
        1 => flag("fd.mount.foreign"),
        1 => flag("evt.is_open_read"),
        1 => flag("evt.is_open_write"),
        1 => select(&[
            "toupper(fd.filename) = SHADOW",
            "fd.name = val(fd.directory)",
            "basename(fd.name) = val(fd.filename)",
            "len(fd.name) > 9",
            "fd.fstype exists",
            "evt.type in (open, openat)",
            "fd.rdev exists",
        ][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|all| all.join(" or ")),
            proptest::collection::vec(inner.clone(), 2..3).prop_map(|all| all.join(" and ")),
            inner.prop_map(|one| format!("not ({one})")),
        ]
        .prop_map(|text| format!("({text})"))
    })
}

fn load(conditions: &[String]) -> Ruleset {
    let rule = |(number, condition): (usize, &String)| {
        format!(
            "- rule: R{number}\n  desc: d\n  output: o\n  priority: INFO\n  condition: >-\n    evt.type = openat and \
             ({condition})\n"
        )
    };
    let rules: Vec<String> = conditions.iter().enumerate().map(rule).collect();
    let rules = rules.concat();
    let loaded = Ruleset::load(&[Source::new("r", &rules)]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    loaded.ruleset
}

/// What the probe of opens makes of one, in the order of its steps.
fn is_sent(plan: &KindPlan, opened: &Opened) -> bool {
    let Opened { membership, path, flags, mode, magic, foreign, .. } = opened;
    let KindPlan { tables, prefixes } = plan;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").as_bytes();
    let mut start = [0; 8];
    let shown = name.len().min(8);
    start[..shown].copy_from_slice(&name[..shown]);
    let name = Plan::name_index(u32::try_from(name.len()).unwrap(), u64::from_le_bytes(start));
    let [own, other] = tables.foreign;
    let mut bits = tables.scope[*membership as usize]
        & tables.name[name]
        & tables.class[Plan::class_index(mode >> 12)]
        & tables.access[*flags as usize & 3]
        & tables.magic[Plan::magic_index(*magic)]
        & if *foreign { own | other } else { own };
    if bits & !tables.path == 0 {
        let whole = [path.as_bytes(), b"\0"].concat();
        let longest = prefixes.iter().filter(|(prefix, _)| whole.starts_with(prefix));
        bits &= longest.max_by_key(|(prefix, _)| prefix.len()).map_or(0, |(_, bits)| *bits);
    }
    bits != 0
}

fn matches(ruleset: &Ruleset, opened: &Opened) -> usize {
    let Opened { membership, comm, path, flags, mode, magic, foreign } = opened;
    let event = Event::FileOpen(FileOpen {
        inode: 1,
        fs_magic: *magic,
        dev: 1,
        flags: *flags,
        mode: *mode,
        rdev: 7,
        mnt_ns: NsId(if *foreign { 2 } else { 1 }),
        reserved: 0,
        path: Text::new(path.as_bytes(), 0),
        given: Text::new(b"", 0),
    });
    let mut header = Header {
        membership: *membership as u32,
        container: ContainerId(u64::from(*membership == Membership::Member)),
        syscall: 257,
        ns: Namespaces { mnt: NsId(1), ..Namespaces::default() },
        ..Header::default()
    };
    header.comm[..comm.len()].copy_from_slice(comm.as_bytes());
    let sight = Sight {
        number: 1,
        header: &header,
        event: &event,
        result: None,
        stage: Stage::Whole,
        processes: &Processes::default(),
        containers: &Containers::default(),
        runtimes: None,
        details: OnceCell::new(),
        kin: Kin::default(),
        names: &Names::default(),
        host: &Namespaces::default(),
        inspection: None,
        clock: Clock::now().unwrap(),
    };
    (0..ruleset.rules().len()).filter(|rule| ruleset.holds(*rule, &sight)).count()
}

/// How many pairs of a rule and an event there were, how many of them matched, and how many matching events a plan held
/// back.
#[derive(Debug, Default)]
struct Tally {
    pairs: usize,
    matching: usize,
    lost: usize,
}

/// Tries random rules with their plans, after `spoil` was at them.
fn tally(spoil: impl Fn(&mut KindPlan)) -> Tally {
    let mut runner = TestRunner::deterministic();
    let mut tally = Tally::default();
    let rules = proptest::collection::vec(condition(), 1..4);
    for _ in 0..SETS {
        let conditions = rules.new_tree(&mut runner).unwrap().current();
        let ruleset = load(&conditions);
        let mut plan = Plans::of_rules(&ruleset).of(Kind::FileOpen).clone();
        spoil(&mut plan);
        for _ in 0..EVENTS {
            let opened = opened().new_tree(&mut runner).unwrap().current();
            let matching = matches(&ruleset, &opened);
            tally.pairs += conditions.len();
            tally.matching += matching;
            if matching > 0 && !is_sent(&plan, &opened) {
                tally.lost += 1;
            }
        }
    }
    tally
}

#[test]
fn no_event_that_matches_is_held_back() {
    let Tally { pairs, matching, lost } = tally(|_| {});
    assert_eq!(lost, 0, "of {matching} in {pairs}");
    assert!(matching * 100 >= pairs * 30, "only {matching} of {pairs} match: this proves little");
}

/// Each table has a say: a plan that lacks something of it loses events, and that is seen.
#[test]
fn a_plan_that_holds_back_too_much_is_caught() {
    type Spoil = fn(&mut KindPlan);
    let spoils: [(&str, Spoil); 7] = [
        ("scope", |plan| plan.tables.scope[Membership::Member as usize] &= !1),
        ("access", |plan| plan.tables.access[1] &= !1),
        ("class", |plan| plan.tables.class[Plan::class_index(0o10)] &= !1),
        ("foreign", |plan| plan.tables.foreign = [0; 2]),
        ("magic", |plan| plan.tables.magic[Plan::magic_index(0xEF53)] = 0),
        ("name", |plan| plan.tables.name.fill(0)),
        ("path", |plan| {
            plan.tables.path = Alternatives::MAX;
            plan.prefixes.retain(|prefix, _| !prefix.starts_with(b"/etc"));
        }),
    ];
    for (table, spoil) in spoils {
        assert!(tally(spoil).lost > 0, "{table}");
    }
}
