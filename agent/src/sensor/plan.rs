//! Hands plans to the probes. A plan is written where no probe looks, then its generation is told; a
//! probe reads the generation once and keeps to it.

use std::io;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use aya::{Ebpf, Pod};
use shrike_common::{
    Alternatives, Control, Kind, PATH_KEYS, PathKey, Pid, Plan, StartTime, SyscallExit,
};
use syscalls::{x86, x86_64};

use super::attach::ProbeState;
use crate::plan::{KindPlan, Plans};

/// The maps that the probes read.
pub(crate) struct PlanWriter {
    plans: Array<MapData, Table>,
    paths: LpmTrie<MapData, [u8; PathKey::LEN], Alternatives>,
    control: Array<MapData, Told>,
    generation: u32,
    own: (Pid, StartTime),
    roll_called: bool,
    /// The keys of the paths of each table, to be removed before the table is written anew.
    keys: [Vec<Key<[u8; PathKey::LEN]>>; Control::TABLES as usize],
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Table(Plan);

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Told(Control);

// SAFETY: both consist of integers, without padding.
unsafe impl Pod for Table {}
// SAFETY: as above.
unsafe impl Pod for Told {}

/// Why a plan could not be handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("the eBPF object has no map {0}")]
    NoMap(&'static str),
    #[error("cannot write the plan into map {map}")]
    Write { map: &'static str, source: MapError },
    #[error("cannot wait for the probes that follow the former plan")]
    Wait(#[source] io::Error),
}

impl PlanWriter {
    /// Takes the maps out of the loaded object. `own` is the agent's process.
    pub(crate) fn open(ebpf: &mut Ebpf, own: (Pid, StartTime)) -> Result<Self, PlanError> {
        let mut map = |name| ebpf.take_map(name).ok_or(PlanError::NoMap(name));
        let (plans, paths, control) = (map("PLANS")?, map("PATHS")?, map("CONTROL")?);
        let wrong = |map| move |source| PlanError::Write { map, source };
        Ok(Self {
            plans: Array::try_from(plans).map_err(wrong("PLANS"))?,
            paths: LpmTrie::try_from(paths).map_err(wrong("PATHS"))?,
            control: Array::try_from(control).map_err(wrong("CONTROL"))?,
            generation: 0,
            own,
            roll_called: false,
            keys: Default::default(),
        })
    }

    /// The generation of the present plan.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Makes this the plan of all events from now on, and returns its generation. When it returns, no
    /// probe follows the former one any more.
    pub(crate) fn follow(&mut self, plans: &Plans, exits: &Exits) -> Result<u32, PlanError> {
        let generation = next(self.generation);
        let table = Control::table(generation);
        let keys = self.keys.get_mut(table as usize).map(std::mem::take).unwrap_or_default();
        for key in keys {
            self.paths.remove(&key).map_err(|source| PlanError::Write { map: "PATHS", source })?;
        }
        // Half of the room is the other plan's.
        let mut room = PATH_KEYS as usize / Control::TABLES as usize;
        for &kind in Kind::ALL {
            let KindPlan { mut tables, ref prefixes } = *plans.of(kind);
            tables.exits = exits.of_kind(kind);
            if prefixes.len() > room {
                tracing::warn!(
                    "the rules ask for too many paths of {}: {} more than the probes can tell \
                     apart; all of them are sent",
                    kind.name(),
                    prefixes.len() - room
                );
                tables.path = 0;
            } else {
                room -= prefixes.len();
                for (prefix, &bits) in prefixes {
                    let key = key(generation, kind, prefix);
                    // A longer one may be cut to the same key as another.
                    let bits = bits | self.paths.get(&key, 0).unwrap_or(0);
                    self.paths
                        .insert(&key, bits, 0)
                        .map_err(|source| PlanError::Write { map: "PATHS", source })?;
                    if let Some(keys) = self.keys.get_mut(table as usize) {
                        keys.push(key);
                    }
                }
            }
            self.plans
                .set(Control::plan_index(generation, kind), Table(tables), 0)
                .map_err(|source| PlanError::Write { map: "PLANS", source })?;
        }
        self.generation = generation;
        self.tell()?;
        wait_for_probes().map_err(PlanError::Wait)?;
        Ok(generation)
    }
}

impl PlanWriter {
    /// Tells the probes that every task which was there before them has been shown.
    pub(crate) fn roll_called(&mut self) -> Result<(), PlanError> {
        self.roll_called = true;
        self.tell()
    }

    fn tell(&mut self) -> Result<(), PlanError> {
        let (own, own_start) = self.own;
        let (generation, roll_called) = (self.generation, self.roll_called.into());
        let control = Control { own_start, own, generation, roll_called, reserved: 0 };
        self.control
            .set(0, Told(control), 0)
            .map_err(|source| PlanError::Write { map: "CONTROL", source })
    }
}

/// The generation behind another one. 0 stands for no agent; the table is the other one each time.
fn next(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(Control::TABLES)
}

/// The system calls at whose ends probes are attached.
#[derive(Debug, Default)]
pub(crate) struct Exits(Vec<&'static SyscallExit>);

impl Exits {
    /// Those that these probes are at.
    pub(crate) fn of(probes: &[ProbeState]) -> Self {
        let attached = probes.iter().filter(|state| state.attached.is_some());
        Self(attached.filter_map(|state| state.exit).collect())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that cause events of a kind, as [`Plan::exits`].
    fn of_kind(&self, kind: Kind) -> [[u64; Plan::EXITS]; 2] {
        let mut sets = [[0; Plan::EXITS]; 2];
        for exit in self.0.iter().filter(|exit| exit.probe.kinds.contains(&kind)) {
            let Some(number) = number(exit) else { continue };
            let (table, word, bit) = Plan::exit(exit.is_compat, number);
            if let Some(word) = sets.get_mut(table).and_then(|set| set.get_mut(word)) {
                *word |= bit;
            }
        }
        sets
    }
}

/// The number of a system call.
fn number(exit: &SyscallExit) -> Option<i32> {
    if exit.is_compat {
        Some(exit.syscall.parse::<x86::Sysno>().ok()?.id())
    } else {
        Some(exit.syscall.parse::<x86_64::Sysno>().ok()?.id())
    }
}

fn key(generation: u32, kind: Kind, prefix: &[u8]) -> Key<[u8; PathKey::LEN]> {
    let mut data = [0; PathKey::LEN];
    let (head, path) = data.split_at_mut(PathKey::PATH);
    head.copy_from_slice(&PathKey::head(generation, kind));
    let len = prefix.len().min(path.len());
    path[..len].copy_from_slice(&prefix[..len]);
    Key::new(PathKey::bits(len), data)
}

/// Returns when every probe that runs now has ended: `membarrier(2)` with this command is the kernel's
/// `synchronize_rcu`, and a probe runs within one read-side critical section.
fn wait_for_probes() -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use shrike_common::SYSCALL_EXITS;

    use super::*;

    #[test]
    fn generations_alternate_between_the_tables_and_are_never_0() {
        for generation in [0, 1, 2, u32::MAX - 1, u32::MAX] {
            assert_ne!(next(generation), 0);
            assert_ne!(Control::table(next(generation)), Control::table(generation));
        }
    }

    #[test]
    fn every_system_call_has_a_number_in_its_table() {
        for exit in SYSCALL_EXITS {
            let (_, word, bit) = Plan::exit(exit.is_compat, number(exit).expect(exit.probe.name));
            let sets = Exits(vec![exit]).of_kind(exit.probe.kinds[0]);
            assert_eq!(sets[usize::from(exit.is_compat)][word], bit);
            assert_eq!(sets[usize::from(!exit.is_compat)], [0; Plan::EXITS]);
        }
    }
}
