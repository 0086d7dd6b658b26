//! A fuzz target: real records, damaged at random, go all the way that records go. Whatever comes out,
//! nothing may panic. `cargo xtask fuzz` runs it for long.

use std::collections::BTreeMap;
use std::io;

use shrike_common::wire::Wire;
use shrike_common::{Header, Kind, decode};
use shrike_rules::{Ruleset, Source};

use crate::context::clock::Clock;
use crate::detect::Sight;
use crate::events::{Form, Printer};
use crate::pipeline::Context;
use crate::recording::Recording;

/// A recording in which every kind occurs, as a guest made it: `cargo xtask fuzz --record` writes it anew.
static CORPUS: &[u8] = include_bytes!("../../tests/data/every-kind.rec");

/// How many records are damaged and read in an ordinary run of the tests.
const RUNS: u64 = 100_000;

/// Of every so many records that decode, one is also shown and judged, which takes much longer.
const SHOWN: u64 = 4;

/// Fields of all sorts, so that every one is asked for.
const RULE: &str = "
- rule: All
  desc: d
  condition: evt.num >= 0 and fd.name != /x and not proc.aname contains x and evt.res != SUCCESS
  output: >
    %evt.type %evt.time %evt.syscall %evt.abi %evt.arg.flags %evt.res %fd.name %fd.directory %fd.filename
    %fd.filetype %fd.fstype %fd.type %fd.rdev %fd.bound.filename %proc.name %proc.cmdline %proc.pcmdline
    %proc.aname[2] %thread.cap_effective %container.membership %cgroup.target %mmap.prot %ns.joined
    %ns.joined_host %mount.fstype %mount.device %mount.target %ptrace.mode %ptrace.target.name
    %socket.family %fd.rip %fd.rport %fd.lip %fd.lport %fd.l4proto %fd.nameraw %socket.type %sysctl.name %sysctl.value %bpf.cmd
    %bpf.prog.type %bpf.prog.name
  priority: DEBUG
";

/// A generator of numbers that are random enough (xorshift64*), the same in every run of a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

#[test]
fn damaged_records_are_refused_or_read() {
    let variable = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let runs = variable("SHRIKE_FUZZ_RUNS").unwrap_or(RUNS);
    let seed = variable("SHRIKE_FUZZ_SEED").unwrap_or(0x5eed);
    let records = corpus();
    let loaded = Ruleset::load(&[Source::new("all", RULE)]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    let mut random = Random(seed | 1);
    let clock = Clock::now().unwrap();
    let mut printer = Printer::new(io::sink(), Form::Json);
    let mut context = Context::of_recording(Recording::open(CORPUS).unwrap().origin());
    let mut judge = |sight: &Sight<'_, '_>| {
        for rule in loaded.ruleset.matches(sight) {
            rule.output().render(sight);
        }
    };
    let mut decoded: BTreeMap<Kind, u64> = BTreeMap::new();
    for run in 0..runs {
        let mut record = records[random.below(records.len())].clone();
        damage(&mut record, &records, &mut random);
        let Ok((header, event)) = decode(&record) else { continue };
        *decoded.entry(event.kind()).or_default() += 1;
        event.fields(&mut |_, _| {});
        if run % SHOWN == 0 {
            printer.event(&header, &event, &record, clock).unwrap();
            printer.give_up(header.time, clock).unwrap();
            context.see(&header, &event, &record, &mut judge);
            context.give_up(header.time, &mut judge);
        }
    }
    let total: u64 = decoded.values().sum();
    println!("{total} of {runs} damaged records were read; seed {seed}");
    assert!(total * 10 >= runs * 3, "only {total} of {runs} could be read");
    for kind in Kind::ALL {
        assert!(decoded.contains_key(kind), "no {} among them", kind.name());
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let mut recording = Recording::open(CORPUS).unwrap();
    let (mut block, mut records) = (Vec::new(), Vec::new());
    while recording.next(&mut block, |record| records.push(record.to_vec())).unwrap() {}
    // Of some kinds there are many more than of others.
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    records.retain(|record| {
        let count = counts.entry(Header::view(record, 0).unwrap().kind).or_default();
        *count += 1;
        *count <= 20
    });
    // The agent's own heartbeat is in no recording.
    let mut heartbeat = records[0].clone();
    heartbeat[2..4].copy_from_slice(&(Kind::Heartbeat as u16).to_le_bytes());
    records.push(heartbeat);
    records
}

/// Changes a record in one to four places.
fn damage(record: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(record.len());
        match random.below(12) {
            0..4 => {
                if let Some(byte) = record.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            4..8 => {
                // The fields of the kind, and its texts.
                let behind = size_of::<Header>();
                let at = behind + random.below(record.len().saturating_sub(behind));
                if let Some(byte) = record.get_mut(at) {
                    *byte = random.next().to_le_bytes()[0];
                }
            }
            8 => {
                let number = match random.below(4) {
                    0 => 0,
                    1 => u64::MAX,
                    2 => record.len() as u64,
                    _ => random.next(),
                };
                let bytes = number.to_le_bytes();
                let width = [2, 4, 8][random.below(3)];
                let at = at / width * width;
                if let Some(place) = record.get_mut(at..at + width) {
                    place.copy_from_slice(&bytes[..width]);
                }
            }
            9 => {
                // Another kind with the same bytes.
                let kind = Kind::ALL[random.below(Kind::ALL.len())] as u16;
                if let Some(place) = record.get_mut(2..4) {
                    place.copy_from_slice(&kind.to_le_bytes());
                }
            }
            10 => {
                let other = &others[random.below(others.len())];
                let at = at.min(other.len());
                record.truncate(at);
                record.extend_from_slice(&other[at..]);
            }
            _ => record.truncate(at),
        }
    }
}
