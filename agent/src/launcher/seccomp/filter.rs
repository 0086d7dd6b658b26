//! The program that the kernel runs for each system call: classic BPF of our own making.
//!
//! It is written from its end: every jump goes forward, so where it goes is known by then, and one
//! that is too far for its 8 bits gets an unconditional jump, which has 32, next to it.

use std::collections::HashMap;
use std::io;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

use super::abi::{Abi, X32_BIT};
use super::policy::{Action, Calls, Condition, Policy, Test, Verdict};

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub(super) const LONGEST: usize = 4096;

/// `AUDIT_ARCH_X86_64`, also that of x32.
const ARCH_X86_64: u32 = 0xC000_003E;
/// `AUDIT_ARCH_I386`.
const ARCH_I386: u32 = 0x4000_0003;

/// Where `struct seccomp_data` has the number, the architecture and the first argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A program that is ready for the kernel.
#[derive(Clone, Debug)]
pub(in crate::launcher) struct Filter {
    program: Vec<sock_filter>,
    flags: libc::c_ulong,
}

/// The program of a policy is too long.
#[derive(Debug, thiserror::Error)]
#[error("it takes {0} instructions, and the kernel allows {LONGEST}: use fewer conditions")]
pub(crate) struct TooLong(usize);

impl Filter {
    /// Translates a policy. `flags` are those of seccomp(2).
    pub(super) fn compile(policy: &Policy, flags: libc::c_ulong) -> Result<Self, TooLong> {
        let mut writer = Writer::default();
        writer.policy(policy);
        let mut program = writer.reversed;
        if program.len() > LONGEST {
            return Err(TooLong(program.len()));
        }
        program.reverse();
        Ok(Self { program, flags })
    }

    /// How many instructions it has.
    pub(super) fn length(&self) -> usize {
        self.program.len()
    }

    /// Has the kernel run it for this task from now on. Takes `no_new_privs` or `CAP_SYS_ADMIN`.
    pub(in crate::launcher) fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).map_err(io::Error::other)?,
            // The kernel only reads it.
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: the program outlives the call, and has as many instructions as it says.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                &raw const program,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// A program that is being written from its end.
#[derive(Default)]
struct Writer {
    reversed: Vec<sock_filter>,
    returns: HashMap<u32, Place>,
    /// For places that are far away, the last jump to each.
    bridges: HashMap<Place, Place>,
}

/// An instruction that is written, counted from the end.
type Place = usize;

impl Writer {
    fn policy(&mut self, policy: &Policy) {
        let foreign = self.answer(Action::KillProcess);
        let block = |writer: &mut Self, abi: Abi| {
            if policy.abis.contains(&abi) { writer.calls(policy, abi) } else { foreign }
        };
        let i386 = block(self, Abi::I386);
        let x32 = block(self, Abi::X32);
        // No ABI has the number -1: a debugger sets it to have a call skipped.
        let skipped = self.answer(policy.unnamed(Abi::X86_64, u32::MAX));
        let native = block(self, Abi::X86_64);
        let x32 = self.branch(BPF_JEQ, u32::MAX, skipped, x32);
        let native = self.branch(BPF_JGE, X32_BIT, x32, native);
        let native = self.load(NUMBER, native);
        let other = self.branch(BPF_JEQ, ARCH_I386, i386, foreign);
        let start = self.branch(BPF_JEQ, ARCH_X86_64, native, other);
        self.load(ARCH, start);
    }

    /// Finds what is said of the number.
    fn calls(&mut self, policy: &Policy, abi: Abi) -> Place {
        let calls = policy.calls(abi);
        let ranges = self.ranges(policy, abi, &calls);
        let found = self.search(&ranges);
        // The native ABI has it loaded already, to tell itself from x32.
        if abi == Abi::I386 { self.load(NUMBER, found) } else { found }
    }

    /// The first number of each range of numbers that go to the same place.
    fn ranges(&mut self, policy: &Policy, abi: Abi, calls: &Calls<'_>) -> Vec<(u32, Place)> {
        let unnamed = self.answer(policy.unnamed(abi, abi.newest()));
        let newer = self.answer(policy.unnamed(abi, u32::MAX));
        let mut known: Vec<(&[&Verdict], Place)> = Vec::new();
        let mut ranges = vec![(0, unnamed)];
        for (&number, verdicts) in calls {
            let found = known.iter().find(|(other, _)| *other == verdicts.as_slice());
            let found = found.map(|(_, place)| *place);
            let place = found.unwrap_or_else(|| self.verdicts(verdicts, unnamed));
            if found.is_none() {
                known.push((verdicts, place));
            }
            // What was to go on here ends here.
            ranges.pop_if(|(first, _)| *first == number);
            ranges.extend([(number, place), (number + 1, unnamed)]);
        }
        ranges.pop_if(|(first, _)| *first == abi.newest() + 1);
        ranges.push((abi.newest() + 1, newer));
        ranges.dedup_by_key(|(_, place)| *place);
        ranges
    }

    fn search(&mut self, ranges: &[(u32, Place)]) -> Place {
        match ranges {
            // There is one at least.
            [] => 0,
            [(_, place)] => *place,
            _ => {
                let (lower, higher) = ranges.split_at(ranges.len() / 2);
                let first = higher.first().map_or(0, |(first, _)| *first);
                let higher = self.search(higher);
                let lower = self.search(lower);
                self.branch(BPF_JGE, first, higher, lower)
            }
        }
    }

    /// Asks one after the other, and ends with the default.
    fn verdicts(&mut self, verdicts: &[&Verdict], default: Place) -> Place {
        let settled = verdicts.iter().position(|verdict| verdict.conditions.is_empty());
        let asked = settled.map_or(verdicts.len(), |last| last + 1);
        verdicts.iter().take(asked).rev().fold(default, |otherwise, verdict| {
            let action = self.answer(verdict.action);
            verdict
                .conditions
                .iter()
                .rev()
                .fold(action, |then, condition| self.condition(*condition, then, otherwise))
        })
    }

    /// An argument is loaded in two halves.
    fn condition(&mut self, condition: Condition, yes: Place, no: Place) -> Place {
        let argument = ARGUMENTS + 8 * u32::from(condition.index);
        match condition.test {
            Test::Equal(value) => self.equal(argument, u64::MAX, value, yes, no),
            Test::NotEqual(value) => self.equal(argument, u64::MAX, value, no, yes),
            Test::Masked { mask, value } => self.equal(argument, mask, value & mask, yes, no),
            Test::Greater(value) => self.greater(argument, BPF_JGT, value, yes, no),
            Test::GreaterOrEqual(value) => self.greater(argument, BPF_JGE, value, yes, no),
            Test::Less(value) => self.greater(argument, BPF_JGE, value, no, yes),
            Test::LessOrEqual(value) => self.greater(argument, BPF_JGT, value, no, yes),
        }
    }

    fn equal(&mut self, argument: u32, mask: u64, value: u64, yes: Place, no: Place) -> Place {
        let mut then = yes;
        for (at, shift) in [(argument, 0), (argument + 4, 32)] {
            let mask = half(mask, shift);
            then = self.branch(BPF_JEQ, half(value, shift), then, no);
            if mask != u32::MAX {
                then = self.step(BPF_ALU | BPF_AND | BPF_K, mask, then);
            }
            then = self.load(at, then);
        }
        then
    }

    /// `comparison` is that of the lower halves, which counts if the upper ones are equal.
    fn greater(&mut self, at: u32, comparison: u32, value: u64, yes: Place, no: Place) -> Place {
        let lower = self.branch(comparison, half(value, 0), yes, no);
        let lower = self.load(at, lower);
        let upper = self.branch(BPF_JEQ, half(value, 32), lower, no);
        let upper = self.branch(BPF_JGT, half(value, 32), yes, upper);
        self.load(at + 4, upper)
    }

    fn load(&mut self, offset: u32, then: Place) -> Place {
        self.step(BPF_LD | BPF_W | BPF_ABS, offset, then)
    }

    /// An instruction after which it goes on at `then`.
    fn step(&mut self, code: u32, k: u32, then: Place) -> Place {
        if then + 1 != self.reversed.len() {
            self.jump(then);
        }
        self.push(code, k, 0, 0)
    }

    fn branch(&mut self, comparison: u32, k: u32, then: Place, otherwise: Place) -> Place {
        let (then, otherwise) = (self.near(then), self.near(otherwise));
        let distance = |place| u8::try_from(self.reversed.len() - place - 1).unwrap_or(u8::MAX);
        let (then, otherwise) = (distance(then), distance(otherwise));
        self.push(BPF_JMP | comparison | BPF_K, k, then, otherwise)
    }

    /// A place from which it goes on at `place`, near enough for a branch that comes next, or after
    /// one more jump.
    fn near(&mut self, place: Place) -> Place {
        let reach = self.reversed.len().saturating_sub(usize::from(u8::MAX));
        if place >= reach {
            return place;
        }
        match self.bridges.get(&place) {
            Some(&bridge) if bridge >= reach => bridge,
            _ => {
                let bridge = self.jump(place);
                self.bridges.insert(place, bridge);
                bridge
            }
        }
    }

    fn jump(&mut self, to: Place) -> Place {
        let distance = u32::try_from(self.reversed.len() - to - 1).unwrap_or(u32::MAX);
        self.push(BPF_JMP | BPF_JA, distance, 0, 0)
    }

    fn answer(&mut self, action: Action) -> Place {
        let value = value(action);
        if let Some(&place) = self.returns.get(&value) {
            return place;
        }
        let place = self.push(BPF_RET | BPF_K, value, 0, 0);
        self.returns.insert(value, place);
        place
    }

    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) -> Place {
        let code = u16::try_from(code).unwrap_or_default();
        self.reversed.push(sock_filter { code, jt, jf, k });
        self.reversed.len() - 1
    }
}

/// What the program returns.
fn value(action: Action) -> u32 {
    match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Trace(message) => libc::SECCOMP_RET_TRACE | u32::from(message),
        Action::Trap => libc::SECCOMP_RET_TRAP,
    }
}

fn half(value: u64, shift: u32) -> u32 {
    u32::try_from(value >> shift & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::policy::Rule;
    use super::*;

    /// What the kernel's interpreter does with a program.
    fn run(program: &[sock_filter], arch: u32, number: u32, arguments: &[u64; 6]) -> u32 {
        let mut data = [0; 64];
        data[..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (to, argument) in data[16..].chunks_exact_mut(8).zip(arguments) {
            to.copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |is_so| usize::from(if is_so { jt } else { jf });
            match u32::from(code) {
                // BPF_LD | BPF_W | BPF_ABS
                0x20 => {
                    let offset = k as usize;
                    a = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                }
                // BPF_ALU | BPF_AND | BPF_K
                0x54 => a &= k,
                // BPF_JMP | BPF_JA
                0x05 => at += k as usize,
                // BPF_JMP | BPF_K, with BPF_JEQ, BPF_JGT, BPF_JGE
                0x15 => at += branch(a == k),
                0x25 => at += branch(a > k),
                0x35 => at += branch(a >= k),
                // BPF_RET | BPF_K
                0x06 => return k,
                code => panic!("instruction {code:#x} at {}", at - 1),
            }
        }
    }

    /// Values at the edges of a condition's, and others.
    fn argument(random: &mut fastrand::Rng, policy: &Policy) -> u64 {
        let conditions: Vec<&Condition> =
            policy.rules.iter().flat_map(|rule| &rule.verdict.conditions).collect();
        let near = match random.choice(&conditions).map(|condition| condition.test) {
            Some(
                Test::Equal(value)
                | Test::NotEqual(value)
                | Test::Less(value)
                | Test::LessOrEqual(value)
                | Test::Greater(value)
                | Test::GreaterOrEqual(value),
            ) => value,
            Some(Test::Masked { mask, value }) => value & mask | random.u64(..) & !mask,
            None => 0,
        };
        match random.u8(0..8) {
            0 => near.wrapping_add(1),
            1 => near.wrapping_sub(1),
            2 => near ^ 1 << random.u32(0..64),
            3 => near ^ 1 << 32,
            4 => random.u64(..),
            5 => 0,
            _ => near,
        }
    }

    /// Holds the program of a policy against its meaning.
    pub(in super::super) fn compare(policy: &Policy, seed: u64) -> usize {
        let mut random = fastrand::Rng::with_seed(seed);
        let filter = Filter::compile(policy, 0).unwrap();
        let [x86_64, i386, x32] = [Abi::X86_64, Abi::I386, Abi::X32].map(|abi| policy.calls(abi));
        for _ in 0..8 {
            for number in (0..600).chain([u32::MAX - 1, u32::MAX]) {
                let arguments = [(); 6].map(|()| argument(&mut random, policy));
                for (arch, number) in
                    [(ARCH_X86_64, number), (ARCH_I386, number), (ARCH_X86_64, number | X32_BIT)]
                {
                    let (abi, calls) = match (arch, number) {
                        (ARCH_I386, _) => (Abi::I386, &i386),
                        (_, 0..X32_BIT | u32::MAX) => (Abi::X86_64, &x86_64),
                        _ => (Abi::X32, &x32),
                    };
                    let expected = if policy.abis.contains(&abi) {
                        policy.decide_by(calls, abi, number, &arguments)
                    } else {
                        Action::KillProcess
                    };
                    let found = run(&filter.program, arch, number, &arguments);
                    assert_eq!(
                        found,
                        value(expected),
                        "{number} of {abi:?} with {arguments:x?} is to be {expected:?}"
                    );
                }
            }
        }
        filter.length()
    }

    fn verdict(random: &mut fastrand::Rng) -> Verdict {
        let value = |random: &mut fastrand::Rng| match random.u8(0..3) {
            0 => random.u64(0..4),
            1 => random.u64(..) << 32,
            _ => random.u64(..),
        };
        let conditions = (0..random.usize(0..4)).map(|_| {
            let value = value(random);
            let test = match random.u8(0..7) {
                0 => Test::Equal(value),
                1 => Test::NotEqual(value),
                2 => Test::Less(value),
                3 => Test::LessOrEqual(value),
                4 => Test::Greater(value),
                5 => Test::GreaterOrEqual(value),
                _ => Test::Masked { mask: random.u64(..), value },
            };
            Condition { index: random.u8(0..6), test }
        });
        let conditions = conditions.collect();
        Verdict { conditions, action: any_action(random) }
    }

    fn any_action(random: &mut fastrand::Rng) -> Action {
        match random.u8(0..7) {
            0 => Action::Allow,
            1 => Action::Errno(random.u16(0..4096)),
            2 => Action::KillProcess,
            3 => Action::KillThread,
            4 => Action::Log,
            5 => Action::Trace(random.u16(..)),
            _ => Action::Trap,
        }
    }

    #[test]
    fn does_what_any_policy_says() {
        let names: Vec<&str> = syscalls::x86_64::Sysno::iter()
            .map(|call| call.name())
            .chain(syscalls::x86::Sysno::iter().map(|call| call.name()))
            .collect();
        let mut longest = 0;
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut abis = vec![Abi::X86_64];
            abis.extend([Abi::I386, Abi::X32].into_iter().filter(|_| random.bool()));
            let rules = (0..random.usize(0..60)).map(|_| Rule {
                names: (0..random.usize(1..6))
                    .filter_map(|_| random.choice(&names).map(|name| (*name).to_owned()))
                    .collect(),
                verdict: verdict(&mut random),
            });
            let rules = rules.collect();
            let policy = Policy { default: any_action(&mut random), abis, rules };
            longest = longest.max(compare(&policy, seed));
        }
        assert!(longest > 1000, "jumps must get too long for 8 bits: {longest}");
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let rule = |value| Rule {
            names: vec!["read".into()],
            verdict: Verdict {
                conditions: vec![Condition { index: 0, test: Test::Equal(value) }],
                action: Action::Allow,
            },
        };
        let policy = |rules| Policy {
            default: Action::Errno(1),
            abis: vec![Abi::X86_64],
            rules: (0..rules).map(rule).collect(),
        };
        assert!(compare(&policy(900), 0) > 3600);
        let error = Filter::compile(&policy(2000), 0).unwrap_err().to_string();
        assert!(error.contains("instructions") && error.contains("4096"), "{error}");
    }
}
