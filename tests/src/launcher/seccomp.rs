//! Which system calls containers may make.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{leaves_nothing, status};
use crate::agent::scratch;
use crate::container::{Ended, Rootfs, UNCONFINED};
use crate::deed::call::compat;
use crate::escape::ORDINARY;
use crate::exploit::SELF_MOUNTED;

/// Makes a system call, and says what it returns as the kernel does.
pub fn main(is_compat: bool, number: u32, arguments: &[u64]) -> Result<()> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
    let result = if is_compat {
        let small = |index| u32::try_from(argument(index));
        compat(number, [small(0)?, small(1)?, small(2)?])
    } else {
        let [a, b, c] = [0, 1, 2].map(argument);
        // SAFETY: the arguments are numbers, or null where the kernel takes an address.
        match unsafe { libc::syscall(number.into(), a, b, c, 0, 0, 0) } {
            -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or_default()),
            result => result,
        }
    };
    println!("{result}");
    Ok(())
}

/// Runs a script in a container that has our own program.
fn with_calls(rootfs: &Rootfs, options: &[&str], script: &str) -> Result<Ended> {
    let ended = rootfs.script(&[options, &[SELF_MOUNTED]].concat(), script)?;
    fs::remove_file(rootfs.path().join("usr/bin/shrike-tests"))?;
    Ok(ended)
}

/// What system calls return in a container with these options. Each is what [`main`] is told.
fn results(rootfs: &Rootfs, options: &[&str], calls: &[&str]) -> Result<Vec<i64>> {
    let script: Vec<String> =
        calls.iter().map(|call| format!("shrike-tests call {call}")).collect();
    let ended = with_calls(rootfs, options, &script.join(";"))?;
    ended.text()?.lines().map(|line| line.parse().context("no number")).collect()
}

/// A profile in a file.
struct Profile(PathBuf);

impl Profile {
    fn new(text: &str) -> Result<Self> {
        let path = scratch()?.join("profile.json");
        fs::write(&path, text)?;
        Ok(Self(path))
    }

    /// One that allows everything, but has these rules.
    fn with(rules: &str) -> Result<Self> {
        Self::new(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rules}]}}"#))
    }

    fn option(&self) -> String {
        format!("--security-opt=seccomp={}", self.0.display())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Some(folder) = self.0.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

const MAY_GAIN: &str = "--security-opt=no-new-privileges=false";

const EPERM: i64 = -libc::EPERM as i64;
const ENOSYS: i64 = -libc::ENOSYS as i64;
const EAFNOSUPPORT: i64 = -libc::EAFNOSUPPORT as i64;

pub(super) fn seccomp_is_there_unless_it_is_not_wanted() -> Result<()> {
    leaves_nothing(|rootfs| {
        let default = "--security-opt=seccomp=default";
        for (options, mode, filters) in [
            (&[][..], "2", "1"),
            (&["--user=1000:1000"], "2", "1"),
            (&["--cap-drop=ALL"], "2", "1"),
            (&[MAY_GAIN], "2", "1"),
            (&[MAY_GAIN, "--user=1000:1000"], "2", "1"),
            (&["--privileged", default], "2", "1"),
            (&["--privileged"], "0", "0"),
            (&[UNCONFINED], "0", "0"),
        ] {
            let found =
                (status(rootfs, options, "Seccomp")?, status(rootfs, options, "Seccomp_filters")?);
            ensure!(found == (mode.into(), filters.into()), "{options:?}: {found:?}");
        }
        ensure!(status(rootfs, &[MAY_GAIN], "NoNewPrivs")? == "0");
        let sworn = ["--privileged", "--security-opt=no-new-privileges"];
        ensure!(status(rootfs, &sworn, "NoNewPrivs")? == "1");
        Ok(())
    })
}

pub(super) fn seccomp_lets_ordinary_programs_work() -> Result<()> {
    leaves_nothing(|rootfs| {
        for options in [&[][..], &["--user=1000:1000", "--volume=/tmp:/tmp"], &[MAY_GAIN]] {
            let ordinary = rootfs.script(options, ORDINARY)?;
            ensure!(ordinary.text()?.ends_with("done"), "{ordinary:?}");
        }
        // A program with threads, which glibc makes by clone3 unless it cannot.
        rootfs.run(&[], &["shrike", "rules", "fields"])?;
        rootfs.run(&[], &["shrike", "--version"])?.text()?;
        Ok(())
    })
}

pub(super) fn seccomp_refuses_what_containers_do_not_need() -> Result<()> {
    leaves_nothing(|rootfs| {
        let denied = |ended: Ended| {
            // In the words of busybox.
            let words = ["not permitted", "permission denied"];
            let is_told = words.iter().any(|words| ended.stderr.contains(words));
            ensure!(ended.code != 0 && is_told, "{ended:?}");
            Ok(())
        };
        denied(rootfs.script(&[], "busybox unshare -U true")?)?;
        denied(rootfs.script(&[], "mount -t tmpfs none /mnt")?)?;
        // Where the capability allows it, the profile does as well.
        let admin = "--cap-add=SYS_ADMIN";
        rootfs.script(&[admin], "mount -t tmpfs none /mnt && busybox unshare -U true")?.text()?;
        // keyctl, add_key, io_uring_setup, bpf, userfaultfd, perf_event_open, clone3, one that is
        // not there yet; sockets of AF_ALG and AF_VSOCK; TIOCSTI, also with more bits than it has.
        let calls = [
            "250 0",
            "248",
            "425 1",
            "321",
            "323",
            "298",
            "435",
            "9999",
            "41 38 5",
            "41 40 1",
            "16 0 21522",
            "16 0 4294988818",
            // A mount, keyctl and socketcall by the other table.
            "--compat 21",
            "--compat 288",
            "--compat 102 1",
        ];
        let expected = [
            EPERM,
            EPERM,
            EPERM,
            EPERM,
            EPERM,
            EPERM,
            ENOSYS,
            ENOSYS,
            EAFNOSUPPORT,
            EAFNOSUPPORT,
            EPERM,
            EPERM,
            EPERM,
            EPERM,
            EPERM,
        ];
        let found = results(rootfs, &[], &calls)?;
        ensure!(found == expected, "{found:?}");
        let free = results(rootfs, &[UNCONFINED], &calls)?;
        // Refused anyway: bpf and userfaultfd for lack of a capability, a call that is not there yet, and
        // sockets of families whose module is not loaded.
        let anyway = ["321", "323", "9999", "41 38 5", "41 40 1"];
        for (call, (free, found)) in calls.iter().zip(free.iter().zip(&found)) {
            ensure!(
                anyway.contains(call) || free != found,
                "{call} is refused without a filter too"
            );
        }
        // It works at all, by the other table: getpid.
        ensure!(results(rootfs, &[], &["--compat 20"])?.iter().all(|&pid| pid > 0));
        // Keys and rings are not a matter of a capability.
        let found = results(rootfs, &[admin], &["250 0", "425 1"])?;
        ensure!(found == [EPERM, EPERM], "{found:?}");
        // x32 is none of the profile's architectures.
        let foreign = with_calls(rootfs, &[], "exec shrike-tests call 1073741863")?;
        ensure!(foreign.code == 128 + libc::SIGSYS, "{foreign:?}");
        Ok(())
    })
}

pub(super) fn seccomp_follows_a_profile_of_ones_own() -> Result<()> {
    leaves_nothing(|rootfs| {
        let mkdir = |action: &str, more: &str| {
            Profile::with(&format!(
                r#"{{"names": ["mkdir", "mkdirat"], "action": "{action}"{more}}}"#
            ))
        };
        let busy = mkdir("SCMP_ACT_ERRNO", r#", "errnoRet": 16"#)?;
        let said = rootfs.run(&[&busy.option()], &["mkdir", "/tmp/x"])?;
        ensure!(said.code == 1 && said.stderr.contains("busy"), "{said:?}");
        for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"] {
            let fatal = mkdir(action, "")?;
            let said = rootfs.run(&[&fatal.option()], &["mkdir", "/tmp/x"])?;
            ensure!(said.code == 128 + libc::SIGSYS, "{action}: {said:?}");
        }
        let logged = mkdir("SCMP_ACT_LOG", "")?;
        rootfs.run(&[&logged.option()], &["mkdir", "/tmp/x"])?.text()?;
        fs::remove_dir(rootfs.path().join("tmp/x"))?;
        // dup(2) of the descriptor 2 only, of its 64 bits.
        let second = Profile::with(
            r#"{"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
                "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}"#,
        )?;
        let found = results(rootfs, &[&second.option()], &["32 1", "32 2", "32 4294967298"])?;
        ensure!(found == [3, -77, 3], "{found:?}");
        // A privileged container may be given one, too, before it gives up its privileges.
        let said = rootfs.run(&["--privileged", &busy.option()], &["mkdir", "/tmp/x"])?;
        ensure!(said.code == 1 && said.stderr.contains("busy"), "{said:?}");
        Ok(())
    })
}

pub(super) fn seccomp_says_what_is_wrong_with_a_profile() -> Result<()> {
    leaves_nothing(|rootfs| {
        for (text, reasons) in [
            ("{\n\"defaultAction\": 5}", ["profile.json", "line 2 column 18"]),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "x": 1}"#,
                ["profile.json", "unknown field `x`"],
            ),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, ["profile.json", "SCMP_ACT_NOTIFY"]),
            (r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#, ["profile.json", "execve(2)"]),
        ] {
            let profile = Profile::new(text)?;
            let ended = rootfs.run(&[&profile.option()], &["true"])?;
            ensure!(ended.code == 125 && ended.pid.is_none(), "{text}: {ended:?}");
            for reason in reasons {
                ensure!(ended.stderr.contains(reason), "{reason}: {ended:?}");
            }
        }
        let missing = rootfs.run(&["--security-opt=seccomp=/nowhere.json"], &["true"])?;
        ensure!(missing.code == 125 && missing.stderr.contains("/nowhere.json"), "{missing:?}");
        // What the filter makes of the command itself, the launcher still tells.
        let denied = Profile::with(
            r#"{"names": ["execve"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                "args": [{"index": 3, "value": 1, "op": "SCMP_CMP_NE"}]},
               {"names": ["execve"], "action": "SCMP_ACT_ALLOW"}"#,
        )?;
        let ended = rootfs.run(&[&denied.option()], &["true"])?;
        ensure!(ended.code == 126 && ended.stderr.contains("Permission denied"), "{ended:?}");
        Ok(())
    })
}
