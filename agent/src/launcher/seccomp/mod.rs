//! Which system calls a container may make: a profile, read and translated before the container is
//! made, and installed by its first task.

mod abi;
mod filter;
mod policy;
mod profile;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(super) use filter::Filter;
use profile::{Profile, ProfileError};

use super::Spec;
use super::security::SeccompProfile;
use crate::capability::Capabilities;
use crate::node::{KernelRelease, KernelVersion, ReleaseError};

/// The profile of containers that ask for no other one.
const DEFAULT: &str = include_str!("default.json");

/// What the first task still does when the filter is there: it executes the command, or tells why
/// not.
const LAST_CALLS: &[&str] = &["execve", "write", "exit_group"];

/// What it does in addition if the filter must come before privileges are given up.
const EARLIER_CALLS: &[&str] =
    &["capset", "close_range", "prctl", "rt_sigprocmask", "setgroups", "setresgid", "setresuid"];

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    #[error("cannot read the seccomp profile {}", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("the seccomp profile {0} is invalid")]
    Syntax(String, #[source] serde_json::Error),
    #[error("the seccomp profile {0} is invalid")]
    Profile(String, #[source] ProfileError),
    #[error("the seccomp profile {0} is too large")]
    TooLong(String, #[source] filter::TooLong),
    #[error(
        "the seccomp profile {profile} never allows {call}(2), which the launcher needs to start \
         the command"
    )]
    Needed { profile: String, call: &'static str },
    #[error("cannot tell which kernel the seccomp profile is for")]
    Kernel(#[from] ReleaseError),
}

/// The filter that a container is to have.
pub(super) fn prepare(spec: &Spec) -> Result<Option<Filter>, SeccompError> {
    let (name, text) = match spec.security.seccomp(spec.privileged) {
        SeccompProfile::Unconfined => return Ok(None),
        SeccompProfile::Default => ("default".to_owned(), DEFAULT.to_owned()),
        SeccompProfile::File(path) => (path.display().to_string(), read(path)?),
    };
    let kernel = KernelRelease::running()?.version();
    let needed: Vec<&str> = if spec.security.no_new_privs(spec.privileged) {
        LAST_CALLS.to_vec()
    } else {
        [LAST_CALLS, EARLIER_CALLS].concat()
    };
    compile(name, &text, spec.capability_set(), kernel, &needed).map(Some)
}

fn read(path: &Path) -> Result<String, SeccompError> {
    fs::read_to_string(path).map_err(|error| SeccompError::Unreadable(path.to_owned(), error))
}

fn compile(
    name: String,
    text: &str,
    capabilities: Capabilities,
    kernel: KernelVersion,
    needed: &[&'static str],
) -> Result<Filter, SeccompError> {
    let profile: Profile = match serde_json::from_str(text) {
        Ok(profile) => profile,
        Err(error) => return Err(SeccompError::Syntax(name, error)),
    };
    let policy = match profile.policy(capabilities, kernel) {
        Ok(policy) => policy,
        Err(error) => return Err(SeccompError::Profile(name, error)),
    };
    if let Some(&call) = needed.iter().find(|call| !policy.can_pass(call)) {
        return Err(SeccompError::Needed { profile: name, call });
    }
    match Filter::compile(&policy, profile.flags()) {
        Ok(filter) => {
            tracing::debug!("the seccomp profile {name} takes {} instructions", filter.length());
            Ok(filter)
        }
        Err(error) => Err(SeccompError::TooLong(name, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::abi::Abi;
    use super::policy::{Action, Policy};
    use super::*;
    use crate::capability;

    fn kernel() -> KernelVersion {
        "6.1.0-53-cloud-amd64".parse::<KernelRelease>().unwrap().version()
    }

    /// The default policy of a container that has Docker's capabilities and these.
    fn default(more: &str) -> Policy {
        let capabilities =
            more.split_whitespace().fold(Capabilities::DOCKER_DEFAULT, |set, name| {
                set.union(capability::by_name(name).unwrap())
            });
        let profile: Profile = serde_json::from_str(DEFAULT).unwrap();
        profile.policy(capabilities, kernel()).unwrap()
    }

    fn decide(policy: &Policy, name: &str, arguments: &[u64]) -> Action {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        policy.decide(Abi::X86_64, Abi::X86_64.number(name).unwrap(), &all)
    }

    #[test]
    fn the_default_program_does_what_the_default_profile_says() {
        let lengths = ["", "SYS_ADMIN", "SYS_ADMIN NET_ADMIN SYS_PTRACE BPF SYS_MODULE"]
            .map(|more| filter::tests::compare(&default(more), 1));
        assert!(lengths.iter().all(|&length| length < 600), "{lengths:?}");
    }

    #[test]
    fn the_default_profile_names_calls_that_exist() {
        let policy = default("");
        for name in policy.rules.iter().flat_map(|rule| &rule.names) {
            let exists = [Abi::X86_64, Abi::I386].iter().any(|abi| abi.number(name).is_some());
            assert!(exists, "{name}");
        }
    }

    #[test]
    fn the_default_profile_refuses_what_containers_do_not_need() {
        let policy = default("");
        for name in [
            "mount",
            "umount2",
            "pivot_root",
            "move_mount",
            "open_tree",
            "fsopen",
            "setns",
            "bpf",
            "perf_event_open",
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "kexec_file_load",
            "reboot",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "open_by_handle_at",
            "swapon",
            "process_vm_writev",
            "pidfd_getfd",
            "iopl",
            "acct",
            "syslog",
            "settimeofday",
            "quotactl",
            "modify_ldt",
            "uselib",
            "sethostname",
        ] {
            assert_eq!(decide(&policy, name, &[]), Action::Errno(1), "{name}");
        }
        let admin = default("SYS_ADMIN");
        for name in ["keyctl", "io_uring_setup", "userfaultfd", "init_module", "reboot"] {
            assert_eq!(decide(&admin, name, &[]), Action::Errno(1), "{name}");
        }
        for (capability, name) in [
            ("SYS_ADMIN", "mount"),
            ("SYS_ADMIN", "setns"),
            ("SYS_ADMIN", "bpf"),
            ("BPF", "bpf"),
            ("PERFMON", "perf_event_open"),
            ("SYS_MODULE", "finit_module"),
            ("SYS_PTRACE", "process_vm_writev"),
            ("DAC_READ_SEARCH", "open_by_handle_at"),
            ("SYS_TIME", "clock_settime"),
        ] {
            assert_eq!(decide(&default(capability), name, &[]), Action::Allow, "{name}");
        }
        for name in ["ptrace", "seccomp", "landlock_restrict_self", "execve", "chroot", "openat2"] {
            assert_eq!(decide(&policy, name, &[]), Action::Allow, "{name}");
        }
    }

    #[test]
    fn the_default_profile_looks_at_arguments() {
        const NEW_USER: u64 = 0x1000_0000;
        const SIGCHLD: u64 = 17;
        const UPPER: u64 = 1 << 32;
        let policy = default("");
        let admin = default("SYS_ADMIN");
        for (name, arguments, action) in [
            ("clone", &[SIGCHLD][..], Action::Allow),
            ("clone", &[SIGCHLD | NEW_USER], Action::Errno(1)),
            ("unshare", &[0x400], Action::Allow),
            ("unshare", &[NEW_USER], Action::Errno(1)),
            ("unshare", &[0x80], Action::Errno(1)),
            ("clone3", &[], Action::Errno(38)),
            ("socket", &[2], Action::Allow),
            ("socket", &[38], Action::Errno(97)),
            ("socket", &[40], Action::Errno(97)),
            ("socket", &[UPPER + 38], Action::Errno(97)),
            ("personality", &[0xFFFF_FFFF], Action::Allow),
            ("personality", &[0x0004_0000], Action::Errno(1)),
            ("ioctl", &[0, 0x5401], Action::Allow),
            ("ioctl", &[0, 0x5412], Action::Errno(1)),
            ("ioctl", &[0, UPPER + 0x5412], Action::Errno(1)),
        ] {
            assert_eq!(decide(&policy, name, arguments), action, "{name} {arguments:?}");
        }
        for (name, arguments) in
            [("clone", [NEW_USER]), ("unshare", [NEW_USER]), ("clone3", [0]), ("clone", [SIGCHLD])]
        {
            assert_eq!(decide(&admin, name, &arguments), Action::Allow, "{name}");
        }
        let socketcall = |call| {
            policy.decide(
                Abi::I386,
                Abi::I386.number("socketcall").unwrap(),
                &[call, 0, 0, 0, 0, 0],
            )
        };
        assert_eq!((socketcall(1), socketcall(3)), (Action::Errno(1), Action::Allow));
        let later = Abi::X86_64.newest() + 1;
        assert_eq!(policy.decide(Abi::X86_64, later, &[0; 6]), Action::Errno(38));
    }

    #[test]
    fn says_which_profile_is_wrong_and_why() {
        let error = |text: &str| {
            let error = compile("p.json".into(), text, Capabilities::NONE, kernel(), LAST_CALLS);
            let error = error.unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        };
        let syntax = error("{\n  \"defaultAction\": 5\n}");
        assert!(syntax.contains("p.json") && syntax.contains("line 2 column"), "{syntax}");
        let empty = error(r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#);
        assert!(empty.contains("p.json never allows execve(2)"), "{empty}");
        let no_write = r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"name": "write", "action": "SCMP_ACT_KILL"}]}"#;
        assert!(error(no_write).contains("write(2)"), "{}", error(no_write));
        let argument = |value| format!(r#"{{"index": 1, "op": "SCMP_CMP_EQ", "value": {value}}}"#);
        let arguments: Vec<String> = (0..2000).map(argument).collect();
        let long = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {{"name": "mkdir", "action": "SCMP_ACT_TRAP", "args": [{}]}}]}}"#,
            arguments.join(",")
        );
        assert!(error(&long).contains("4096"), "{}", error(&long));
    }
}
