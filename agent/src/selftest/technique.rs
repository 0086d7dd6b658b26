//! The techniques: one for each default rule, with the container that it needs. Each is a real
//! attempt, as far as the kernel must let it go for the rule's sake, and changes nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, setns};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, getppid, pause};

/// Where the containers find what the self-test provides.
pub(super) const PROPS: &str = "/props";

/// One thing that an attacker does, and the rule that must tell.
#[derive(Debug)]
pub(crate) struct Technique {
    /// Its name.
    pub(crate) name: &'static str,
    /// The rule.
    pub(crate) rule: &'static str,
    /// What is done, in a phrase.
    pub(crate) summary: &'static str,
    /// The options of `shrike container run` without which it would be refused.
    pub(crate) container: &'static [&'static str],
    /// Does it. Runs as the container's command.
    pub(crate) act: fn() -> anyhow::Result<()>,
}

/// Every technique.
pub(crate) static TECHNIQUES: &[Technique] = &[
    Technique {
        name: "usermode-helper",
        rule: "Usermode helper set from container",
        summary: "write kernel.core_pattern, with the value that it has",
        container: &["--privileged"],
        act: usermode_helper,
    },
    Technique {
        name: "release-agent",
        rule: "Release agent opened for writing in container",
        summary: "mount a cgroup v1 hierarchy and open its release_agent for writing",
        container: &["--privileged"],
        act: release_agent,
    },
    Technique {
        name: "binfmt-misc",
        rule: "Binary format registered from container",
        summary: "mount binfmt_misc and open its register file for writing",
        container: &["--privileged"],
        act: binfmt_misc,
    },
    Technique {
        name: "block-device",
        rule: "Host block device used in container",
        summary: "make a block device file and open it",
        container: &["--device-cgroup-rule=b 7:0 r"],
        act: block_device,
    },
    Technique {
        name: "setns",
        rule: "Host namespace joined from container",
        summary: "join the UTS namespace of the host's first process",
        container: &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"],
        act: join_host,
    },
    Technique {
        name: "ptrace",
        rule: "Process outside of container attached to",
        summary: "attach to the process that started the container, without stopping it",
        container: &["--pid=host", "--cap-add=SYS_PTRACE"],
        act: attach,
    },
    Technique {
        name: "runtime-socket",
        rule: "Container runtime socket connected to from container",
        summary: "connect to a socket called docker.sock",
        container: &[],
        act: runtime_socket,
    },
    Technique {
        name: "proc-root",
        rule: "File of another mount namespace opened in container",
        summary: "open the root of the host's first process",
        container: &["--pid=host", "--cap-add=SYS_PTRACE"],
        act: proc_root,
    },
    Technique {
        name: "kernel-module",
        rule: "Kernel module loaded from container",
        summary: "hand the kernel a module that is none",
        container: &["--cap-add=SYS_MODULE"],
        act: kernel_module,
    },
    Technique {
        name: "bpf-program",
        rule: "BPF program loaded from container",
        summary: "load a socket filter of two instructions, and drop it",
        container: &["--cap-add=BPF"],
        act: bpf_program,
    },
    Technique {
        name: "breach-namespace",
        rule: "Container boundary crossed into a namespace",
        summary: "join the UTS namespace of the host's first process",
        container: &["--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"],
        act: join_host,
    },
    Technique {
        name: "breach-filesystem",
        rule: "Container file system left",
        summary: "open the root of the host's first process",
        container: &["--pid=host", "--cap-add=SYS_PTRACE"],
        act: proc_root,
    },
    Technique {
        name: "breach-cgroup",
        rule: "Container cgroup left",
        summary: "move a child into the cgroup at the root of the hierarchy, and end it",
        container: &["--privileged"],
        act: leave_cgroup,
    },
    Technique {
        name: "password-hashes",
        rule: "Password hashes opened",
        summary: "open /etc/shadow",
        container: &[],
        act: password_hashes,
    },
];

impl Technique {
    /// The technique of this name.
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        TECHNIQUES.iter().find(|technique| technique.name == name)
    }
}

fn usermode_helper() -> anyhow::Result<()> {
    const PARAMETER: &str = "/proc/sys/kernel/core_pattern";
    let value = fs::read(PARAMETER).with_context(|| format!("cannot read {PARAMETER}"))?;
    fs::write(PARAMETER, value).with_context(|| format!("cannot write {PARAMETER}"))
}

fn release_agent() -> anyhow::Result<()> {
    mounted("cgroup", "none,name=shrike-selftest", |dir| {
        open_for_writing(&dir.join("release_agent"))
    })
}

fn binfmt_misc() -> anyhow::Result<()> {
    mounted("binfmt_misc", "", |dir| open_for_writing(&dir.join("register")))
}

/// Acts on a file system that is mounted meanwhile.
fn mounted(
    fs_type: &str,
    options: &str,
    act: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let dir = Path::new("/tmp");
    mount(Some(fs_type), dir, Some(fs_type), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {fs_type}; this kernel may not have it"))?;
    let outcome = act(dir);
    umount(dir).with_context(|| format!("cannot unmount {fs_type}"))?;
    outcome
}

fn open_for_writing(path: &Path) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).open(path);
    opened.map(drop).with_context(|| format!("cannot open {}", path.display()))
}

/// The kernel asks the probes before it looks for the device: it need not exist.
fn block_device() -> anyhow::Result<()> {
    /// The first loop device: never a disk of the host.
    const LOOP: (u64, u64) = (7, 0);
    let path = Path::new("/tmp/disk");
    let mode = Mode::from_bits_truncate(0o600);
    mknod(path, SFlag::S_IFBLK, mode, makedev(LOOP.0, LOOP.1)).context("cannot make the device")?;
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    fs::remove_file(path).context("cannot remove the device file")?;
    match opened {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) => {
            Err(error).context("cannot open the device")
        }
        _ => Ok(()),
    }
}

fn join_host() -> anyhow::Result<()> {
    let namespace = File::open("/proc/1/ns/uts").context("cannot open /proc/1/ns/uts")?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWUTS).context("cannot join the namespace")
}

fn attach() -> anyhow::Result<()> {
    let target = getppid();
    ptrace::seize(target, ptrace::Options::empty())
        .with_context(|| format!("cannot attach to process {target}"))
}

fn runtime_socket() -> anyhow::Result<()> {
    let path = Path::new(PROPS).join("docker.sock");
    UnixStream::connect(&path)
        .map(drop)
        .with_context(|| format!("cannot connect to {}", path.display()))
}

fn proc_root() -> anyhow::Result<()> {
    File::open("/proc/1/root/").map(drop).context("cannot open /proc/1/root")
}

/// A child is moved, and not this process: the alert names who moves, with the cgroup that it is in.
fn leave_cgroup() -> anyhow::Result<()> {
    // SAFETY: there is one thread, and the child does nothing but wait to be killed.
    let child = match unsafe { fork() }.context("cannot make a child")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => loop {
            pause();
        },
    };
    let outcome = mounted("cgroup2", "", |dir| {
        fs::write(dir.join("cgroup.procs"), child.to_string())
            .context("cannot move a child to the root cgroup")
    });
    kill(child, Signal::SIGKILL).context("cannot end the child")?;
    waitpid(child, None).context("cannot wait for the child")?;
    outcome
}

fn kernel_module() -> anyhow::Result<()> {
    // As long as the header of an ELF file, or the kernel refuses it before it asks anybody.
    let image = [0_u8; 128];
    // SAFETY: the image is as long as is said, the parameters are an empty string.
    let result =
        unsafe { libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), c"".as_ptr()) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if result == 0 => bail!("the kernel has taken it"),
        Some(libc::ENOEXEC) => Ok(()),
        _ => Err(error).context("the kernel did not look at the module"),
    }
}

fn bpf_program() -> anyhow::Result<()> {
    use crate::bpf::bpf;
    use aya_obj::generated::{bpf_attr, bpf_attr__bindgen_ty_4 as Load, bpf_cmd, bpf_prog_type};
    /// `r0 = 0; exit`.
    const PROGRAM: [u64; 2] = [0xB7, 0x95];
    // SAFETY: all bytes zero are a valid `bpf_attr`.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut load: Load = unsafe { std::mem::zeroed() };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER as u32;
    load.insn_cnt = 2;
    load.insns = PROGRAM.as_ptr() as u64;
    load.license = c"GPL".as_ptr() as u64;
    attributes.__bindgen_anon_3 = load;
    // SAFETY: what the attributes point to outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes) }
        .context("the kernel refused the program")?;
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn password_hashes() -> anyhow::Result<()> {
    File::open("/etc/shadow").map(drop).context("cannot open /etc/shadow")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shrike_rules::{Priority, Rule, Ruleset, Source};

    use super::*;

    /// Rules of which no harmless technique makes the kernel do what they tell of: it takes an exploit, or
    /// a program that the kernel executes on the host. Tests in virtual machines do both.
    const NOT_TRIED: [&str; 5] = [
        "Container boundary crossed by capabilities",
        "Container boundary crossed by credentials",
        "Container confinement loosened",
        "Container program executed by the kernel",
        "Container root directory left",
    ];

    /// The default rules that tell of what containers do, as the repository has them.
    fn rules() -> BTreeSet<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/default");
        let files = crate::detect::files::read(&[dir]).unwrap();
        let sources: Vec<Source<'_>> = files.iter().map(|file| file.source()).collect();
        let loaded = Ruleset::load(&sources);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        let tells = |rule: &&Rule| rule.priority() <= Priority::Warning;
        loaded.ruleset.rules().iter().filter(tells).map(|rule| rule.name().to_owned()).collect()
    }

    #[test]
    fn every_default_rule_has_its_technique() {
        let tried: Vec<&str> = TECHNIQUES.iter().map(|technique| technique.rule).collect();
        let set: BTreeSet<String> =
            tried.iter().chain(&NOT_TRIED).map(|rule| (*rule).to_owned()).collect();
        assert_eq!(set, rules());
        assert_eq!(set.len(), tried.len() + NOT_TRIED.len(), "no rule is tried twice");
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = TECHNIQUES.iter().map(|technique| technique.name).collect();
        assert_eq!(names.len(), TECHNIQUES.len());
    }
}
