//! A host of the distribution as the image of a disk: its own container runtimes with all that they
//! need, and their configuration for a guest without a network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Uid;

use super::apt::{Apt, Package, View};
use super::tool::{Program, Tool};
use super::unavailable;
use crate::cache::{Cache, CacheLock};
use crate::console::Step;
use crate::process::capture;

/// What there is of it in the cache. The number changes with what belongs onto the disk.
const ENTRY: &str = "debian-4";

/// The release that the host is of.
const SUITES: [&str; 2] = ["trixie", "trixie-security"];

/// What is installed on it.
const PACKAGES: [&str; 37] = [
    "apache2-utils",
    "base-files",
    "bash",
    "bubblewrap",
    "ca-certificates",
    "chromium-headless-shell",
    "conmon",
    "containerd",
    "containernetworking-plugins",
    "coreutils",
    "criu",
    "crun",
    "curl",
    "docker-cli",
    "docker.io",
    "findutils",
    "fuse-overlayfs",
    "grep",
    "iproute2",
    "iptables",
    "kmod",
    "libcriu2",
    "mount",
    "netavark",
    "nftables",
    "nginx",
    "podman",
    "procps",
    "protobuf-compiler",
    "redis-server",
    "redis-tools",
    "runc",
    "sed",
    "slirp4netns",
    "tar",
    "uidmap",
    "util-linux",
];

/// Files of other releases: the suite, the package, the file, and where the host has it.
const STRANGERS: [(&str, &str, &str, &str); 3] = [
    ("bookworm", "runc", "usr/sbin/runc", "usr/sbin/runc-oldest"),
    ("sid", "runc", "usr/sbin/runc", "usr/sbin/runc-newest"),
    // The language that kubelet speaks with runtimes.
    (
        "sid",
        "golang-k8s-cri-api-dev",
        "usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto",
        "usr/share/cri/api.proto",
    ),
];

/// What nobody reads in a guest.
const DROPPED: [&str; 8] = [
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base",
];

/// What installing the packages would have written, or the administrator.
const FILES: [(&str, &str); 10] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000:user:/home/user:/bin/bash\n\
         nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\ndocker:x:999:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("etc/subuid", "user:100000:65536\n"),
    ("etc/subgid", "user:100000:65536\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n"),
    ("etc/resolv.conf", ""),
    // Nothing is pulled, and there is no systemd to ask for cgroups or to write to its journal.
    (
        "etc/containers/containers.conf",
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
         [engine.runtimes]\nrunc = [\"/usr/sbin/runc-newest\"]\n",
    ),
    ("etc/containers/policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}\n"),
    (
        "etc/containerd/config.toml",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"localhost/base:1\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\n",
    ),
    (
        "etc/cni/net.d/10-bridge.conflist",
        "{\"cniVersion\": \"0.4.0\", \"name\": \"bridge\", \"plugins\": [{\"type\": \"bridge\", \
         \"bridge\": \"cni0\", \"isGateway\": true, \"ipMasq\": true, \"ipam\": {\"type\": \
         \"host-local\", \"ranges\": [[{\"subnet\": \"10.88.7.0/24\"}]], \"routes\": [{\"dst\": \
         \"0.0.0.0/0\"}]}}, {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}]}\n",
    ),
];

/// The names that one program of iptables has.
const XTABLES: [&str; 6] = [
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
];

/// The image, if the cache has it.
pub fn held(cache: &Cache) -> Option<PathBuf> {
    Some(cache.path(ENTRY).join("disk")).filter(|path| path.exists())
}

/// Fetches the packages and writes the image.
pub fn obtain(cache: &Cache, lock: &CacheLock, apt: &Apt<'_>) -> Result<()> {
    build(cache, lock, apt).map_err(|error| {
        let instead = "apt-get update, to see whether this machine reaches a Debian mirror";
        unavailable("a disk with container runtimes", &error, instead)
    })
}

fn build(cache: &Cache, lock: &CacheLock, apt: &Apt<'_>) -> Result<()> {
    let mke2fs = match Tool::Mke2fs.held(cache) {
        Some(mke2fs) => mke2fs,
        None => Tool::Mke2fs.obtain(cache, lock, apt)?,
    };
    let view = apt.view(&SUITES)?;
    let packages = view.with_all_dependencies(&PACKAGES)?;
    let _step = Step::start("Fetching", format_args!("container runtimes ({})", view.name()));
    let root = cache.scratch(lock)?;
    apt.unpack(&view, &packages, root.path())?;
    for (suite, package, file, target) in STRANGERS {
        let unpacked = cache.scratch(lock)?;
        let view = apt.view(&[suite])?;
        apt.unpack(&view, &[newest(&view, package)?], unpacked.path())?;
        let target = root.path().join(target);
        create_folder_of(&target)?;
        fs::copy(unpacked.path().join(file), &target)
            .with_context(|| format!("{package} in {suite} has no {file}"))?;
    }
    configure(root.path())?;
    cache.publish(lock, ENTRY, |folder| write(&mke2fs, root.path(), &folder.join("disk")))?;
    Ok(())
}

fn newest(view: &View, package: &str) -> Result<Package> {
    let versions = view.versions(package)?;
    versions.into_iter().next().with_context(|| format!("{} has no {package}", view.name()))
}

/// Does what the packages' own scripts would have done.
fn configure(root: &Path) -> Result<()> {
    for folder in DROPPED {
        let folder = root.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
    }
    for (file, text) in FILES {
        let path = root.join(file);
        create_folder_of(&path)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for name in XTABLES {
        let link = root.join("usr/sbin").join(name);
        if !link.exists() {
            symlink("xtables-nft-multi", &link)?;
        }
    }
    fs::create_dir_all(root.join("home/user"))?;
    Ok(())
}

fn create_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes everything below `root` into a file system that belongs to root.
fn write(mke2fs: &Program, root: &Path, image: &Path) -> Result<()> {
    // Sparse: only what is used of it takes room.
    const SIZE: &str = "6G";
    let mut command = if Uid::effective().is_root() {
        mke2fs.command()
    } else {
        // Who is not root unpacks files that are his own: here they are root's.
        let mut command = mke2fs.sibling(Path::new("unshare"));
        command.args(["--user", "--map-root-user", "--"]).arg(&mke2fs.path);
        command
    };
    command.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"]);
    capture(command.arg(root).arg(image).arg(SIZE)).map(drop)
}
