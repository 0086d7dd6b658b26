//! Profiles as they are written: Docker's format, and `linux.seccomp` of the OCI runtime
//! specification, which is nearly a part of it.
//!
//! What is not understood is an error: a profile that is followed in part protects less than it
//! says.

use serde::Deserialize;

use super::abi::Abi;
use super::policy::{Action, Condition, Policy, Rule, Test, Verdict};
use crate::capability::{self, Capabilities};
use crate::node::{KernelRelease, KernelVersion};

/// A profile.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Profile {
    default_action: ActionName,
    default_errno_ret: Option<u16>,
    /// As OCI has it.
    #[serde(default)]
    architectures: Vec<Architecture>,
    /// As Docker has it.
    #[serde(default)]
    arch_map: Vec<ArchitectureMap>,
    #[serde(default)]
    flags: Vec<Flag>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Group>,
}

/// What happens to some system calls, in some containers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: ActionName,
    errno_ret: Option<u16>,
    #[serde(default, deserialize_with = "or_null")]
    args: Vec<Argument>,
    #[serde(default)]
    #[expect(dead_code, reason = "for readers")]
    comment: String,
    #[serde(default, deserialize_with = "or_null")]
    includes: Selection,
    #[serde(default, deserialize_with = "or_null")]
    excludes: Selection,
}

/// Containers and hosts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selection {
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    caps: Vec<CapabilityName>,
    min_kernel: Option<KernelName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Argument {
    index: Index,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: Operator,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: Architecture,
    #[serde(default, deserialize_with = "or_null")]
    sub_architectures: Vec<Architecture>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Flag {
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
enum ActionName {
    Allow,
    Errno,
    KillProcess,
    KillThread,
    Log,
    Trace,
    Trap,
}

/// An architecture that this program can be on, or another one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Architecture(Option<Abi>);

/// Which argument: 0 to 5.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
struct Index(u8);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct CapabilityName(Capabilities);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct KernelName(KernelVersion);

/// Why a profile cannot be followed.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error(
        "the action {0:?} is none of SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, \
         SCMP_ACT_KILL_THREAD, SCMP_ACT_KILL_PROCESS, SCMP_ACT_TRAP, SCMP_ACT_TRACE, SCMP_ACT_LOG"
    )]
    Action(String),
    #[error(
        "SCMP_ACT_NOTIFY hands system calls to a program that decides, and this launcher has none"
    )]
    Notify,
    #[error("{0:?} is not an architecture: its name starts with SCMP_ARCH_")]
    Architecture(String),
    #[error("a system call has no argument {0}: they are 0 to 5")]
    Index(u64),
    #[error("there is no capability {0:?}")]
    Capability(String),
    #[error("{0:?} is not the version of a kernel, as 4.8 is")]
    Kernel(String),
    #[error("architectures and archMap cannot both be given")]
    TwoArchitectures,
    #[error("name and names cannot both be given, as for {0:?}")]
    TwoNames(String),
    #[error("the rule {0} of syscalls names no system call")]
    NoName(usize),
    #[error("the error number {0} is too high: the highest is 4095")]
    Errno(u16),
}

impl Profile {
    /// What it means for a container with these capabilities on this kernel.
    pub(super) fn policy(
        &self,
        capabilities: Capabilities,
        kernel: KernelVersion,
    ) -> Result<Policy, ProfileError> {
        if self.listener_path.is_some() || self.listener_metadata.is_some() {
            return Err(ProfileError::Notify);
        }
        let default_errno = self.default_errno_ret.unwrap_or(EPERM);
        let mut rules = Vec::new();
        for (group, number) in self.syscalls.iter().zip(1..) {
            let names = group.names(number)?;
            let action = group.action.with(group.errno_ret.unwrap_or(EPERM))?;
            if group.is_for(capabilities, kernel) {
                let verdicts = group.alternatives().into_iter();
                rules.extend(verdicts.map(|conditions| Rule {
                    names: names.clone(),
                    verdict: Verdict { conditions, action },
                }));
            }
        }
        Ok(Policy { default: self.default_action.with(default_errno)?, abis: self.abis()?, rules })
    }

    /// The flags of seccomp(2). By default there are none. `LOG` would have the kernel write down
    /// whatever a container is refused, so that a container fills the host's log; a profile asks
    /// for it by the action. `SPEC_ALLOW` would take the container out of the mitigation of
    /// speculative stores where a kernel has it for tasks with a filter: what runs here is exactly
    /// what that is for.
    pub(super) fn flags(&self) -> libc::c_ulong {
        let bits = self.flags.iter().map(|flag| match flag {
            // Of no effect: the container has one thread by then.
            Flag::Tsync => 0,
            Flag::Log => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        });
        bits.fold(0, |all, bit| all | bit)
    }

    /// The native ABI is always among them, as libseccomp has it.
    fn abis(&self) -> Result<Vec<Abi>, ProfileError> {
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return Err(ProfileError::TwoArchitectures);
        }
        let native = self.arch_map.iter().filter(|map| map.architecture.0 == Some(Abi::X86_64));
        let mapped = native.flat_map(|map| &map.sub_architectures);
        let mut abis = vec![Abi::X86_64];
        for Architecture(abi) in self.architectures.iter().chain(mapped) {
            abis.extend(abi.filter(|abi| !abis.contains(abi)));
        }
        Ok(abis)
    }
}

impl Group {
    fn names(&self, number: usize) -> Result<Vec<String>, ProfileError> {
        match (self.name.as_str(), self.names.as_slice()) {
            ("", []) => Err(ProfileError::NoName(number)),
            ("", names) => Ok(names.to_vec()),
            (name, []) => Ok(vec![name.to_owned()]),
            (name, _) => Err(ProfileError::TwoNames(name.to_owned())),
        }
    }

    fn is_for(&self, capabilities: Capabilities, kernel: KernelVersion) -> bool {
        let has = |name: &CapabilityName| name.0.without(capabilities) == Capabilities::NONE;
        let is_native = |arch: &String| arch == "amd64";
        let is_reached = |minimum: KernelName| kernel >= minimum.0;
        let Selection { arches, caps, min_kernel } = &self.includes;
        let is_included = (arches.is_empty() || arches.iter().any(is_native))
            && caps.iter().all(has)
            && min_kernel.is_none_or(is_reached);
        let Selection { arches, caps, min_kernel } = &self.excludes;
        let is_excluded = arches.iter().any(is_native)
            || caps.iter().any(has)
            || min_kernel.is_some_and(is_reached);
        is_included && !is_excluded
    }

    /// Conditions of which all must hold; those of one argument are alternatives to each other, as
    /// runc has it.
    fn alternatives(&self) -> Vec<Vec<Condition>> {
        let conditions: Vec<Condition> = self.args.iter().map(Argument::condition).collect();
        let is_repeated = |condition: &Condition| {
            conditions.iter().filter(|other| other.index == condition.index).count() > 1
        };
        if conditions.iter().any(is_repeated) {
            conditions.into_iter().map(|condition| vec![condition]).collect()
        } else {
            vec![conditions]
        }
    }
}

impl Argument {
    fn condition(&self) -> Condition {
        let value = self.value;
        let test = match self.op {
            Operator::NotEqual => Test::NotEqual(value),
            Operator::Less => Test::Less(value),
            Operator::LessOrEqual => Test::LessOrEqual(value),
            Operator::Equal => Test::Equal(value),
            Operator::GreaterOrEqual => Test::GreaterOrEqual(value),
            Operator::Greater => Test::Greater(value),
            Operator::MaskedEqual => Test::Masked { mask: value, value: self.value_two },
        };
        Condition { index: self.index.0, test }
    }
}

impl ActionName {
    fn with(self, errno: u16) -> Result<Action, ProfileError> {
        /// `MAX_ERRNO`: the kernel would return this one instead of a higher one.
        const HIGHEST: u16 = 4095;
        Ok(match self {
            Self::Allow => Action::Allow,
            Self::Errno if errno > HIGHEST => return Err(ProfileError::Errno(errno)),
            Self::Errno => Action::Errno(errno),
            Self::KillProcess => Action::KillProcess,
            Self::KillThread => Action::KillThread,
            Self::Log => Action::Log,
            Self::Trace => Action::Trace(errno),
            Self::Trap => Action::Trap,
        })
    }
}

impl TryFrom<String> for ActionName {
    type Error = ProfileError;

    fn try_from(name: String) -> Result<Self, ProfileError> {
        Ok(match name.as_str() {
            "SCMP_ACT_ALLOW" => Self::Allow,
            "SCMP_ACT_ERRNO" => Self::Errno,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_TRACE" => Self::Trace,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_NOTIFY" => return Err(ProfileError::Notify),
            _ => return Err(ProfileError::Action(name)),
        })
    }
}

impl TryFrom<String> for Architecture {
    type Error = ProfileError;

    fn try_from(name: String) -> Result<Self, ProfileError> {
        match name.strip_prefix("SCMP_ARCH_") {
            Some("X86_64") => Ok(Self(Some(Abi::X86_64))),
            Some("X86") => Ok(Self(Some(Abi::I386))),
            Some("X32") => Ok(Self(Some(Abi::X32))),
            Some(_) => Ok(Self(None)),
            None => Err(ProfileError::Architecture(name)),
        }
    }
}

impl TryFrom<u64> for Index {
    type Error = ProfileError;

    fn try_from(index: u64) -> Result<Self, ProfileError> {
        const LAST: u8 = 5;
        let small = u8::try_from(index).ok().filter(|&index| index <= LAST);
        small.map(Self).ok_or(ProfileError::Index(index))
    }
}

impl TryFrom<String> for CapabilityName {
    type Error = ProfileError;

    fn try_from(name: String) -> Result<Self, ProfileError> {
        capability::by_name(&name).map(Self).ok_or(ProfileError::Capability(name))
    }
}

impl TryFrom<String> for KernelName {
    type Error = ProfileError;

    fn try_from(name: String) -> Result<Self, ProfileError> {
        match name.parse::<KernelRelease>() {
            Ok(release) => Ok(Self(release.version())),
            Err(_) => Err(ProfileError::Kernel(name)),
        }
    }
}

/// Docker's own profiles have `null` where there is nothing.
fn or_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Every profile's error number unless it says another one.
const EPERM: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Profile, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn policy(text: &str, capabilities: &str) -> Result<Policy, ProfileError> {
        let capabilities = capabilities
            .split_whitespace()
            .fold(Capabilities::NONE, |set, name| set.union(capability::by_name(name).unwrap()));
        let kernel = "6.1".parse::<KernelRelease>().unwrap().version();
        read(text).unwrap().policy(capabilities, kernel)
    }

    /// A profile that has one rule with these fields.
    fn rule(fields: &str) -> String {
        format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{{fields}}}]}}"#)
    }

    const MKDIR: u32 = 83;

    fn mkdir(policy: &Policy, argument: u64) -> Action {
        policy.decide(Abi::X86_64, MKDIR, &[0, argument, 0, 0, 0, 0])
    }

    #[test]
    fn reads_both_formats() {
        let oci = r#"{
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["mkdir", "unheard_of"], "action": "SCMP_ACT_LOG"}]}"#;
        let found = policy(oci, "").unwrap();
        assert_eq!((found.default, mkdir(&found, 0)), (Action::Errno(38), Action::Log));
        assert_eq!(found.abis, [Abi::X86_64, Abi::I386]);
        assert_eq!(read(oci).unwrap().flags(), libc::SECCOMP_FILTER_FLAG_LOG);
        let docker = r#"{
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]},
                {"architecture": "SCMP_ARCH_ARM", "subArchitectures": null}
            ],
            "syscalls": [{
                "name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": null, "comment": "none",
                "includes": {}, "excludes": null}]}"#;
        let found = policy(docker, "").unwrap();
        assert_eq!((found.default, mkdir(&found, 0)), (Action::Allow, Action::Errno(1)));
        assert_eq!(found.abis, [Abi::X86_64, Abi::X32]);
        assert_eq!(policy(r#"{"defaultAction": "SCMP_ACT_LOG"}"#, "").unwrap().abis.len(), 1);
    }

    #[test]
    fn every_action_has_its_meaning() {
        for (name, action) in [
            ("ALLOW", Action::Allow),
            ("ERRNO", Action::Errno(7)),
            ("KILL", Action::KillThread),
            ("KILL_THREAD", Action::KillThread),
            ("KILL_PROCESS", Action::KillProcess),
            ("TRAP", Action::Trap),
            ("TRACE", Action::Trace(7)),
            ("LOG", Action::Log),
        ] {
            let text =
                rule(&format!(r#""names": ["mkdir"], "action": "SCMP_ACT_{name}", "errnoRet": 7"#));
            assert_eq!(mkdir(&policy(&text, "").unwrap(), 0), action, "{name}");
        }
    }

    #[test]
    fn conditions_are_asked_and_repeated_ones_are_alternatives() {
        let args = |args: &str| {
            let text = rule(&format!(
                r#""names": ["mkdir"], "action": "SCMP_ACT_TRAP", "args": [{args}]"#
            ));
            let policy = policy(&text, "").unwrap();
            let hit = |argument| mkdir(&policy, argument) == Action::Trap;
            (0..=8).filter(|&argument| hit(argument)).collect::<Vec<u64>>()
        };
        let arg = |op: &str, value: u64, two: u64| {
            format!(r#"{{"index": 1, "op": "SCMP_CMP_{op}", "value": {value}, "valueTwo": {two}}}"#)
        };
        assert_eq!(args(&arg("EQ", 3, 0)), [3]);
        assert_eq!(args(&arg("NE", 3, 0)), [0, 1, 2, 4, 5, 6, 7, 8]);
        assert_eq!(args(&arg("LT", 2, 0)), [0, 1]);
        assert_eq!(args(&arg("LE", 2, 0)), [0, 1, 2]);
        assert_eq!(args(&arg("GT", 6, 0)), [7, 8]);
        assert_eq!(args(&arg("GE", 6, 0)), [6, 7, 8]);
        assert_eq!(args(&arg("MASKED_EQ", 6, 2)), [2, 3]);
        assert_eq!(args(&format!("{}, {}", arg("EQ", 1, 0), arg("EQ", 5, 0))), [1, 5]);
        let zero = r#"{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}"#;
        assert_eq!(args(&format!("{}, {zero}", arg("EQ", 1, 0))), [0_u64; 0]);
    }

    #[test]
    fn groups_are_for_some_containers() {
        let hit = |selection: &str, capabilities: &str| {
            let text =
                rule(&format!(r#""names": ["mkdir"], "action": "SCMP_ACT_TRAP", {selection}"#));
            mkdir(&policy(&text, capabilities).unwrap(), 0) == Action::Trap
        };
        let two = r#""includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#;
        assert!(hit(two, "SYS_ADMIN BPF") && !hit(two, "BPF") && !hit(two, ""));
        let without = r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#;
        assert!(hit(without, "KILL") && !hit(without, "BPF"));
        assert!(hit(r#""includes": {"minKernel": "4.8"}"#, ""));
        assert!(!hit(r#""includes": {"minKernel": "6.2"}"#, ""));
        assert!(!hit(r#""excludes": {"minKernel": "6.1"}"#, ""));
        assert!(hit(r#""includes": {"arches": ["arm64", "amd64"]}"#, ""));
        assert!(!hit(r#""includes": {"arches": ["arm64"]}"#, ""));
        assert!(!hit(r#""excludes": {"arches": ["amd64"]}"#, ""));
    }

    #[test]
    fn says_where_a_profile_is_wrong() {
        for (fields, reason) in [
            (r#""names": ["x"], "action": "SCMP_ACT_NOTIFY""#, "this launcher has none"),
            (r#""names": ["x"], "action": "ALLOW""#, r#"the action "ALLOW" is none of"#),
            (r#""names": ["x"], "acton": "x""#, "unknown field `acton`"),
            (r#""names": ["x"]"#, "missing field `action`"),
            (
                r#""names": ["x"], "action": "SCMP_ACT_LOG",
                   "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]"#,
                "no argument 6",
            ),
            (
                r#""names": ["x"], "action": "SCMP_ACT_LOG",
                   "args": [{"index": 0, "value": 0, "op": "EQ"}]"#,
                "`SCMP_CMP_EQ`",
            ),
            (
                r#""names": ["x"], "action": "SCMP_ACT_LOG", "includes": {"caps": ["CAP_FLY"]}"#,
                "\"CAP_FLY\"",
            ),
            (
                r#""names": ["x"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}"#,
                "\"new\"",
            ),
        ] {
            let error = read(&rule(fields)).unwrap_err();
            assert!(error.contains(reason) && error.contains("line "), "{fields}: {error}");
        }
        let error = |text: &str| policy(text, "").unwrap_err();
        assert_eq!(error(&rule(r#""action": "SCMP_ACT_LOG""#)), ProfileError::NoName(1));
        assert_eq!(
            error(&rule(r#""name": "x", "names": ["y"], "action": "SCMP_ACT_LOG""#)),
            ProfileError::TwoNames("x".into())
        );
        assert_eq!(
            error(&rule(r#""name": "x", "action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#)),
            ProfileError::Errno(4096)
        );
        let both = r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#;
        assert_eq!(error(both), ProfileError::TwoArchitectures);
        let listener = r#"{"defaultAction": "SCMP_ACT_LOG", "listenerPath": "/run/x"}"#;
        assert_eq!(error(listener), ProfileError::Notify);
        let flag = r#"{"defaultAction": "SCMP_ACT_LOG", "flags": ["SECCOMP_FILTER_FLAG_X"]}"#;
        assert!(read(flag).unwrap_err().contains("SECCOMP_FILTER_FLAG_TSYNC"));
    }
}
