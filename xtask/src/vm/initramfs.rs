//! The first file system of a guest: our init, busybox, the modules, and the programs that the
//! caller wants in it.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::job::{JOB_FILE, Job};
use super::modules::Modules;
use super::newc::Archive;
use crate::process::capture;
use crate::setup::kernel::Kernel;

/// Modules that every guest loads: the channels to the host, what containers are made of, and what
/// is done from within them.
const MODULES: [&str; 18] = [
    "virtio_pci",
    "virtio_console",
    "virtiofs",
    "overlay",
    "veth",
    "bridge",
    // Networks of containers: what keeps them apart, and holds them to their rates.
    "nf_tables",
    "nft_ct",
    "nft_chain_nat",
    "nft_masq",
    "nft_meta_bridge",
    "sch_tbf",
    "sch_ingress",
    "cls_u32",
    "act_mirred",
    "ifb",
    "binfmt_misc",
    "loop",
];

/// Modules of a guest whose root file system is on a disk, and that runs the distribution's container
/// runtimes with the networks that they make.
const HOST_MODULES: [&str; 30] = [
    "virtio_blk",
    "ext4",
    "fuse",
    "tun",
    "br_netfilter",
    "nft_compat",
    "nft_nat",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_limit",
    "nf_conntrack_netlink",
    "ip_tables",
    "iptable_nat",
    "iptable_filter",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_MASQUERADE",
    "xt_multiport",
    "xt_nat",
    "xt_tcpudp",
    "dummy",
    // CRIU asks these about sockets.
    "af_packet_diag",
    "inet_diag",
    "netlink_diag",
    "raw_diag",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      user:x:1000:1000:user:/tmp:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost guest\n";

/// What goes into a guest besides its job.
#[derive(Clone, Debug)]
pub struct Content<'a> {
    /// The guest's init.
    pub init: &'a Path,
    /// Statically linked busybox.
    pub busybox: &'a Path,
    /// Programs for the guest's `PATH`.
    pub programs: &'a [PathBuf],
    /// Other files.
    pub files: &'a [GuestFile],
}

/// A file of this machine that a guest has as well.
#[derive(Clone, Debug)]
pub struct GuestFile {
    /// Where it is here.
    pub source: PathBuf,
    /// Where the guest has it, without the slash in front.
    pub target: String,
    /// Its permissions there.
    pub mode: u32,
}

impl<'a> Content<'a> {
    /// What every guest needs.
    pub fn minimal(init: &'a Path, busybox: &'a Path) -> Self {
        Self { init, busybox, programs: &[], files: &[] }
    }
}

/// Writes the archive for `kernel` to `path`. The job's list of modules is filled in.
pub fn write(path: &Path, kernel: &Kernel, content: &Content<'_>, job: Job) -> Result<()> {
    let out =
        fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    add_base(&mut archive)?;
    add_program(&mut archive, "init", content.init)?;
    add_busybox(&mut archive, content.busybox)?;
    for program in content.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        add_program(&mut archive, &format!("usr/bin/{name}"), program)?;
    }
    for GuestFile { source, target, mode } in content.files {
        let bytes =
            fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        archive.file(target, *mode, &bytes)?;
    }
    let mut modules = MODULES.to_vec();
    if job.disk {
        modules.extend(HOST_MODULES);
    }
    let job = Job { modules: add_modules(&mut archive, kernel, &modules)?, ..job };
    archive.file(JOB_FILE, 0o600, &serde_json::to_vec(&job)?)?;
    archive.finish().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The layout of a host with a merged `/usr`.
fn add_base(archive: &mut Archive<impl Write>) -> Result<()> {
    for folder in [
        "dev",
        "etc",
        "proc",
        "root",
        "run",
        "sys",
        "usr/bin",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib64",
        "usr/share/shrike",
        "var",
    ] {
        archive.folder(folder, 0o755)?;
    }
    archive.folder("tmp", 0o1777)?;
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("usr/sbin", "bin"),
    ] {
        archive.symlink(link, target)?;
    }
    for (file, text) in
        [("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS), ("hostname", "guest\n")]
    {
        archive.file(&format!("etc/{file}"), 0o644, text.as_bytes())?;
    }
    // The kernel opens it for init before anything is mounted.
    archive.device("dev/console", 0o600, (5, 1))?;
    Ok(())
}

fn add_busybox(archive: &mut Archive<impl Write>, busybox: &Path) -> Result<()> {
    add_program(archive, "usr/bin/busybox", busybox)?;
    let applets = capture(Command::new(busybox).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        archive.symlink(&format!("usr/bin/{applet}"), "busybox")?;
    }
    Ok(())
}

fn add_program(archive: &mut Archive<impl Write>, path: &str, program: &Path) -> Result<()> {
    let content =
        fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    archive.file(path, 0o755, &content)?;
    Ok(())
}

/// Adds the modules and returns their paths in the guest, in the order of loading.
fn add_modules(
    archive: &mut Archive<impl Write>,
    kernel: &Kernel,
    names: &[&str],
) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for file in Modules::read(&kernel.modules)?.closure(names)? {
        let source = kernel.modules.join(&file);
        let content =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let path = format!("usr/lib/modules/{}/{file}", kernel.release);
        archive.file(&path, 0o644, &content)?;
        paths.push(format!("/{path}"));
    }
    Ok(paths)
}
