//! What a profile means for one container: what happens to which system call.

use std::collections::BTreeMap;

use super::abi::Abi;

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    /// What happens where no rule holds.
    pub(super) default: Action,
    /// The ABIs that may be used; a call of another one ends the process.
    pub(super) abis: Vec<Abi>,
    /// In the order of the profile. The first one that holds decides.
    pub(super) rules: Vec<Rule>,
}

/// What happens to some system calls.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) verdict: Verdict,
}

/// What happens if conditions hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// All of them must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// What can happen to a system call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Allow,
    Errno(u16),
    KillProcess,
    KillThread,
    Log,
    Trace(u16),
    Trap,
}

/// What is asked of an argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    /// Which argument: 0 to 5.
    pub(super) index: u8,
    pub(super) test: Test,
}

/// A comparison of all 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// Those bits of it that are in `mask` are those of `value`.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// The verdicts on each system call that is named, by its number, in their order.
pub(super) type Calls<'a> = BTreeMap<u32, Vec<&'a Verdict>>;

impl Policy {
    /// What is said of an ABI's system calls. Names that the ABI does not have are passed over: a
    /// profile names the calls of many machines and kernels.
    pub(super) fn calls(&self, abi: Abi) -> Calls<'_> {
        let mut calls = Calls::new();
        for Rule { names, verdict } in &self.rules {
            for name in names {
                let Some(number) = abi.number(name) else {
                    tracing::debug!("the seccomp profile's {name} is not in {abi:?}");
                    continue;
                };
                calls.entry(number).or_default().push(verdict);
            }
        }
        calls
    }

    /// What happens to a system call that the policy says nothing of. Programs probe for what new
    /// kernels have, and know only this answer of those that do not have it.
    pub(super) fn unnamed(&self, abi: Abi, number: u32) -> Action {
        match self.default {
            Action::Errno(_) if number > abi.newest() => {
                Action::Errno(libc::ENOSYS.unsigned_abs().try_into().unwrap_or_default())
            }
            default => default,
        }
    }

    /// Whether a native system call may be carried out, with some arguments at least.
    pub(super) fn can_pass(&self, name: &str) -> bool {
        let named = |rule: &&Rule| rule.names.iter().any(|other| other == name);
        for Rule { verdict, .. } in self.rules.iter().filter(named) {
            if verdict.action.passes() {
                return true;
            }
            if verdict.conditions.is_empty() {
                return false;
            }
        }
        self.default.passes()
    }
}

impl Action {
    /// Whether the system call is carried out. Whoever traces is not there when a command starts.
    fn passes(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }
}

#[cfg(test)]
impl Policy {
    /// What happens to a system call.
    pub(super) fn decide(&self, abi: Abi, number: u32, arguments: &[u64; 6]) -> Action {
        self.decide_by(&self.calls(abi), abi, number, arguments)
    }

    /// The same, with what is said of the ABI at hand: what the program is held against.
    pub(super) fn decide_by(
        &self,
        calls: &Calls<'_>,
        abi: Abi,
        number: u32,
        arguments: &[u64; 6],
    ) -> Action {
        let holds = |verdict: &&&Verdict| {
            verdict.conditions.iter().all(|condition| condition.holds(arguments))
        };
        let verdict = calls.get(&number).and_then(|verdicts| verdicts.iter().find(holds));
        verdict.map_or_else(|| self.unnamed(abi, number), |verdict| verdict.action)
    }
}

#[cfg(test)]
impl Condition {
    fn holds(self, arguments: &[u64; 6]) -> bool {
        let argument = arguments[usize::from(self.index)];
        match self.test {
            Test::Equal(value) => argument == value,
            Test::NotEqual(value) => argument != value,
            Test::Less(value) => argument < value,
            Test::LessOrEqual(value) => argument <= value,
            Test::Greater(value) => argument > value,
            Test::GreaterOrEqual(value) => argument >= value,
            Test::Masked { mask, value } => argument & mask == value & mask,
        }
    }
}
