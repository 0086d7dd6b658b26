//! `cargo xtask vm`: runs any command in a guest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::Configuration;
use super::job::{Outcome, SHARE_FOLDER};
use super::launch::{Ended, Launch};
use super::machine::Channels;
use crate::cache::Cache;
use crate::compile::Profile;
use crate::setup::kernel::Series;

/// Options of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command finds shrike and busybox's programs in PATH. It runs as root with /proc, /sys,
/sys/fs/cgroup (version 2), /sys/kernel/security, /sys/fs/bpf, tracefs and debugfs mounted, on a
writable root in memory. The exit code, the standard output and the standard error are the
command's own; a command that a signal ended gives 128 and the signal's number. Its standard input
is empty.

With --debian the root is a disk with a Debian host: its runc (also as runc-oldest and runc-newest),
crun, podman, docker, containerd and what they need, bubblewrap, criu and a headless chromium. Give
it 3072 megabytes of memory.

A shared folder is read and written in place, through virtiofs: what the guest writes is on the
host at once. The command then starts in it. Only statically linked programs run, or those that
bring their libraries.")]
pub struct Options {
    /// The guest's kernel
    #[arg(long, value_name = "SERIES", default_value = "6.1")]
    kernel: Series,
    /// A folder of this machine to have at /share, to read and to write
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// Megabytes of memory
    #[arg(long, value_name = "M", default_value_t = 1024)]
    memory: u32,
    /// Virtual processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,
    /// More options for the kernel's command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Whether bpf is among the active security modules
    #[arg(long, value_name = "yes|no", default_value = "yes")]
    lsm_bpf: YesNo,
    /// How preemptible the kernel is
    #[arg(long, value_name = "full|default", default_value = "default")]
    preempt: Preemption,
    /// Make it a host of the distribution with its container runtimes, on a disk that forgets
    #[arg(long)]
    debian: bool,
    /// Have SELinux in the place of AppArmor, without a policy
    #[arg(long)]
    selinux: bool,
    /// Seconds that the command may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum YesNo {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Preemption {
    Full,
    Default,
}

/// Runs the command and returns its exit code.
pub fn run(cache: &Cache, options: &Options, offline: bool) -> Result<i32> {
    let share = options.share.as_deref().map(shared_folder).transpose()?;
    let launch = Launch {
        configuration: &options.configuration(),
        programs: &["shrike"],
        profile: Profile::Dev,
        command: &options.command,
        share: share.as_deref(),
        limit: Duration::from_secs(options.timeout),
    };
    let channels =
        Channels { stdout: &mut io::stdout(), stderr: &mut io::stderr(), results: &mut io::sink() };
    let Ended { outcome, console } = launch.run(cache, offline, channels)?;
    exit_code(&outcome, options.timeout).map_err(|error| anyhow!("{error}\n{console}"))
}

impl Options {
    fn configuration(&self) -> Configuration {
        Configuration {
            series: self.kernel,
            lsm_bpf: self.lsm_bpf == YesNo::Yes,
            preempt_full: self.preempt == Preemption::Full,
            memory: self.memory,
            cpus: self.cpus,
            append: self.append.clone(),
            counted: false,
            debian: self.debian,
            selinux: self.selinux,
        }
    }
}

fn shared_folder(folder: &Path) -> Result<PathBuf> {
    let real = fs::canonicalize(folder)
        .with_context(|| format!("cannot share {} as {SHARE_FOLDER}", folder.display()))?;
    if !real.is_dir() {
        bail!("cannot share {} as {SHARE_FOLDER}: it is no folder", folder.display());
    }
    Ok(real)
}

fn exit_code(outcome: &Outcome, seconds: u64) -> Result<i32> {
    match outcome {
        Outcome::Exited(code) => Ok(*code),
        Outcome::Killed(signal) => Ok(128 + signal),
        Outcome::TimedOut => bail!("the command was still running after {seconds} s (--timeout)"),
        Outcome::Failed(reason) => bail!("the guest could not run the command: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, String> {
        let words = std::iter::once("vm").chain(words.iter().copied());
        Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_a_small_guest_with_bpf() {
        let options = parse(&["--", "uname", "-a"]).unwrap();
        assert_eq!(options.command, ["uname", "-a"]);
        assert_eq!(options.configuration(), Configuration::default());
    }

    #[test]
    fn every_option_reaches_the_configuration() {
        let words = "--kernel newest --memory 512 --cpus 2 --lsm-bpf no --preempt full --append -x --debian --selinux --";
        let words: Vec<&str> = words.split(' ').chain(["true"]).collect();
        let expected = Configuration {
            series: Series::Newest,
            lsm_bpf: false,
            preempt_full: true,
            memory: 512,
            cpus: 2,
            append: "-x".into(),
            counted: false,
            debian: true,
            selinux: true,
        };
        assert_eq!(parse(&words).unwrap().configuration(), expected);
    }

    #[test]
    fn bad_arguments_are_refused() {
        assert!(parse(&[]).unwrap_err().contains("CMD"));
        assert!(parse(&["--kernel", "5.10", "--", "true"]).unwrap_err().contains("6.12"));
    }

    #[test]
    fn outcome_becomes_an_exit_code() {
        assert_eq!(exit_code(&Outcome::Exited(7), 1).unwrap(), 7);
        assert_eq!(exit_code(&Outcome::Killed(9), 1).unwrap(), 137);
        assert!(exit_code(&Outcome::TimedOut, 5).unwrap_err().to_string().contains("after 5 s"));
        assert!(exit_code(&Outcome::Failed("no port".into()), 5).is_err());
    }

    #[test]
    fn shared_folder_must_be_one() {
        assert!(shared_folder(Path::new("/no/such/folder")).is_err());
        assert!(shared_folder(Path::new("/proc/self/exe")).is_err());
        assert_eq!(shared_folder(Path::new("/proc/..")).unwrap(), Path::new("/"));
    }
}
