//! The filter plan: what the probes need not send, because no rule could match it.
//!
//! Of each kind the rules want a set of *alternatives*; an event is sent if one of them may hold. A
//! plan has a bit for each alternative, and a table for each property that a probe can decide
//! cheaply: indexed by the property's value, it says which alternatives accept that value. A probe
//! ands what it looks up, the cheapest first, and is done when no bit is left. Every table may accept
//! too much, never too little: the rules have the last word.

#![expect(
    clippy::cast_possible_truncation,
    reason = "indices are within tables, and the targets have 64-bit words"
)]

use crate::{Kind, Membership, Pid, StartTime};

/// One bit for each alternative of a kind.
pub type Alternatives = u64;

/// What is wanted of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Plan {
    /// By the [`Membership`] of the task.
    pub scope: [Alternatives; Membership::ALL.len()],
    /// By the access mode of an open (`O_ACCMODE`).
    pub access: [Alternatives; 4],
    /// By what a kind is first told apart by: the type of a file (`mode >> 12`), the address family,
    /// the command; see [`Plan::class_index`].
    pub class: [Alternatives; Self::CLASSES],
    /// By whether a file's mount belongs to another mount namespace than the task's.
    pub foreign: [Alternatives; 2],
    /// By the file system's magic number; see [`Plan::magic_index`].
    pub magic: [Alternatives; Self::MAGICS],
    /// By the last name of the path; see [`Plan::name_index`].
    pub name: [Alternatives; Self::NAMES],
    /// Those that the path decides, as the table of path prefixes tells; see [`PathKey`].
    pub path: Alternatives,
    /// Those that also ask what became of it.
    pub outcome: Alternatives,
    /// Those that also ask for the path as the program gave it.
    pub given: Alternatives,
    /// Those of them that what failed before a hook was reached may satisfy.
    pub attempt: Alternatives,
    /// By the [`Abi`](crate::Abi), a set of the system calls that will tell how they end; see
    /// [`Plan::exit`].
    pub exits: [[u64; Self::EXITS]; 2],
}

impl Plan {
    /// The plan for a kind that nobody wants.
    pub const NONE: Self = Self::of(0);
    /// The plan for a kind of which everything is wanted.
    pub const ALL: Self = Self::of(Alternatives::MAX);

    /// How many alternatives a plan can tell apart.
    pub const ALTERNATIVES: usize = Alternatives::BITS as usize;

    /// How many classes a plan tells apart.
    pub const CLASSES: usize = 64;
    /// How many words a set of system calls has.
    pub const EXITS: usize = 8;
    const MAGICS: usize = 32;
    const NAMES: usize = 256;

    /// Longer names are told apart by their length only: the kernel keeps them elsewhere.
    const SHORT_NAME: u32 = 31;

    const fn of(bits: Alternatives) -> Self {
        Self {
            scope: [bits; Membership::ALL.len()],
            access: [bits; 4],
            class: [bits; Self::CLASSES],
            foreign: [bits; 2],
            magic: [bits; Self::MAGICS],
            name: [bits; Self::NAMES],
            path: 0,
            outcome: 0,
            given: bits,
            attempt: 0,
            exits: [[0; Self::EXITS]; 2],
        }
    }

    /// Where a system call is in [`Plan::exits`]: the table, the word and the bit. Tables of system
    /// calls are shorter; what is behind their end shares its place with others.
    pub const fn exit(is_compat: bool, syscall: i32) -> (usize, usize, u64) {
        let syscall = syscall.cast_unsigned();
        let word = (syscall / u64::BITS) as usize % Self::EXITS;
        (is_compat as usize, word, 1 << (syscall % u64::BITS))
    }

    /// The index of a class; all that are too high share the last one.
    pub const fn class_index(class: u32) -> usize {
        if class < Self::CLASSES as u32 { class as usize } else { Self::CLASSES - 1 }
    }

    /// The index of a magic number; others may share it.
    #[inline]
    pub const fn magic_index(magic: u64) -> usize {
        (hash(magic) >> (u64::BITS - Self::MAGICS.trailing_zeros())) as usize
    }

    /// The index of a name of this length that starts with these 8 bytes (little-endian); what is
    /// behind the end of a shorter one does not matter. Other names may share it.
    #[inline]
    pub const fn name_index(len: u32, start: u64) -> usize {
        let start = match len {
            0..8 => start & ((1 << (len * 8)) - 1),
            8..=Self::SHORT_NAME => start,
            _ => 0,
        };
        (hash(start ^ (len as u64) << 56) >> (u64::BITS - Self::NAMES.trailing_zeros())) as usize
    }
}

/// Spreads a number over the high bits (Fibonacci hashing).
#[inline]
const fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The keys of the table of path prefixes, a longest-prefix-match trie: the plan's table, the kind,
/// and the path's first bytes with a NUL behind it. The value says which alternatives accept what
/// starts so.
#[derive(Clone, Copy, Debug)]
pub struct PathKey;

impl PathKey {
    /// How long a key is.
    pub const LEN: usize = 128;
    /// Where the path starts in it, behind what [`PathKey::head`] gives.
    pub const PATH: usize = 2;

    /// How a key of a kind in the plan of a generation begins.
    #[inline]
    pub const fn head(generation: u32, kind: Kind) -> [u8; Self::PATH] {
        const { assert!(Kind::LIMIT <= u8::MAX as u16) };
        [Control::table(generation) as u8, kind as u8]
    }

    /// How many bits count of a key with `len` bytes of path.
    #[inline]
    pub const fn bits(len: usize) -> u32 {
        let len = Self::PATH + len;
        (if len < Self::LEN { len } else { Self::LEN }) as u32 * 8
    }
}

/// How many prefixes all plans together can have.
pub const PATH_KEYS: u32 = 8192;

/// What the probes are told while they run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Control {
    /// When the agent's own process started, rounded down to [`Control::TICK`].
    pub own_start: StartTime,
    /// The agent's own process: what it does is not sent, unless it is always sent.
    pub own: Pid,
    /// The generation of the plan, from 1 on; 0 when the agent has ended, and nobody wants anything
    /// but breaches.
    pub generation: u32,
    /// Not 0 when the tasks that were there before the probes have been shown to them.
    pub roll_called: u32,
    /// Reserved; 0.
    pub reserved: u32,
}

impl Control {
    /// The nanoseconds of a clock tick, in which `/proc` tells when a process started (`USER_HZ`).
    pub const TICK: u64 = 10_000_000;

    /// How many plans of a kind there is room for: the present one, and the one before that a probe
    /// may still be following.
    pub const TABLES: u32 = 2;

    /// Which of the tables the plan of this generation is in.
    #[inline]
    pub const fn table(generation: u32) -> u32 {
        generation % Self::TABLES
    }

    /// The index of a kind's plan.
    #[inline]
    pub const fn plan_index(generation: u32, kind: Kind) -> u32 {
        Self::table(generation) * Kind::ALL.len() as u32 + kind as u32
    }

    /// How many plans there are.
    pub const PLANS: usize = Self::TABLES as usize * Kind::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_name_does_not_matter() {
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let shadow = Plan::name_index(6, word(b"shadow\0\0"));
        assert_eq!(Plan::name_index(6, word(b"shadow-x")), shadow);
        assert_ne!(Plan::name_index(7, word(b"shadow-x")), shadow);
        assert_eq!(Plan::name_index(40, 1), Plan::name_index(40, 2));
        assert_ne!(Plan::name_index(31, 1), Plan::name_index(31, 2));
    }

    #[test]
    fn indices_are_within_their_tables() {
        for number in (0..64).map(|bit| 1_u64 << bit).chain([0, u64::MAX]) {
            assert!(Plan::magic_index(number) < Plan::NONE.magic.len());
            assert!(Plan::name_index(number as u32, number) < Plan::NONE.name.len());
            assert!(Plan::class_index(number as u32) < Plan::CLASSES);
        }
    }

    #[test]
    fn plans_of_two_generations_stand_apart() {
        let last = *Kind::ALL.last().unwrap();
        assert_eq!(Control::plan_index(7, last) as usize, Control::PLANS - 1);
        assert_ne!(Control::plan_index(7, last), Control::plan_index(8, last));
    }
}
