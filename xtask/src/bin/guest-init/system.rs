//! The system that a job finds: a root that can be pivoted, the file systems of a host, modules,
//! the loopback device, and the ports by their names.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount, umount};
use nix::unistd::{chdir, chroot, sethostname};
use xtask::vm::job::{Job, Port, SHARE_FOLDER, SHARE_TAG};

use crate::output;

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel decompresses the module itself.
const COMPRESSED_FILE: u32 = 4;

/// How long devices may take to appear after their driver was loaded.
const DEVICES_LIMIT: Duration = Duration::from_secs(20);

/// File systems in the order of mounting: type, target, options.
const MOUNTS: [(&str, &str, &str); 12] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=755"),
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("securityfs", "/sys/kernel/security", ""),
    ("bpf", "/sys/fs/bpf", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Makes the system ready for `job`.
pub(crate) fn start(job: &Job) -> Result<()> {
    if job.disk {
        // The drivers of the disk are needed to come to it.
        load_all(job)?;
    }
    switch_root(job).context("cannot leave the initramfs")?;
    for (kind, target, options) in MOUNTS {
        fs::create_dir_all(target).with_context(|| format!("cannot create {target}"))?;
        mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    // As systemd leaves it on a host.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>)
        .context("cannot share the mounts")?;
    if !job.disk {
        load_all(job)?;
    }
    name_ports()?;
    sethostname("guest").context("cannot set the host name")?;
    let lo = Command::new("/usr/bin/ip").args(["link", "set", "lo", "up"]).status();
    if !lo.context("cannot start ip")?.success() {
        bail!("cannot bring the loopback device up");
    }
    if job.share {
        fs::create_dir_all(SHARE_FOLDER)?;
        mount(Some(SHARE_TAG), SHARE_FOLDER, Some("virtiofs"), MsFlags::empty(), None::<&str>)
            .context("cannot mount the shared folder")?;
    }
    Ok(())
}

/// Moves everything to a tmpfs, or to the disk, and makes that the root: container runtimes cannot
/// leave an initramfs by `pivot_root`.
fn switch_root(job: &Job) -> Result<()> {
    let root = Path::new("/root.new");
    fs::create_dir(root)?;
    if job.disk {
        mount_disk(root)?;
    } else {
        mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=90%"))?;
    }
    move_content(Path::new("/"), root)?;
    chdir(root)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn mount_disk(root: &Path) -> Result<()> {
    const DISK: &str = "/dev/vda";
    mount(Some("devtmpfs"), "/dev", Some("devtmpfs"), MsFlags::empty(), None::<&str>)?;
    let deadline = Instant::now() + DEVICES_LIMIT;
    while !Path::new(DISK).exists() {
        if Instant::now() > deadline {
            bail!("no disk");
        }
        thread::sleep(Duration::from_millis(20));
    }
    mount(Some(DISK), root, Some("ext4"), MsFlags::empty(), None::<&str>)
        .context("cannot mount the disk")?;
    umount("/dev")?;
    Ok(())
}

/// Moves what `from` holds on its own device to `to`, file by file, so that memory holds nearly
/// everything only once. What `to` has already stays as it is.
fn move_content(from: &Path, to: &Path) -> Result<()> {
    let device = fs::metadata(from)?.dev();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let data = entry.metadata()?;
        if data.is_symlink() {
            if target.symlink_metadata().is_ok() {
                continue;
            }
            symlink(fs::read_link(&source)?, &target)?;
        } else if data.is_dir() {
            if data.dev() == device {
                if !target.exists() {
                    fs::create_dir(&target)?;
                    fs::set_permissions(&target, Permissions::from_mode(data.mode()))?;
                }
                move_content(&source, &target)?;
            }
        } else if data.is_file() && !target.exists() {
            fs::copy(&source, &target)
                .with_context(|| format!("cannot copy {}", source.display()))?;
            fs::remove_file(&source)?;
        }
    }
    Ok(())
}

fn load_all(job: &Job) -> Result<()> {
    for module in &job.modules {
        load(module).with_context(|| format!("cannot load {module}"))?;
    }
    Ok(())
}

fn load(module: &str) -> Result<()> {
    let compressed = Path::new(module).extension().is_some_and(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED_FILE } else { 0 };
    let file = File::open(module)?;
    finit_module(file, c"", ModuleInitFlags::from_bits_retain(flags))?;
    Ok(())
}

/// Links the ports by name below `/dev/virtio-ports`, as udev does.
fn name_ports() -> Result<()> {
    fs::create_dir_all("/dev/virtio-ports")?;
    let deadline = Instant::now() + DEVICES_LIMIT;
    loop {
        for device in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = fs::read_to_string(device.path().join("name")).unwrap_or_default();
            let link = Path::new("/dev/virtio-ports").join(name.trim_end());
            if !name.trim().is_empty() && !link.exists() {
                symlink(Path::new("/dev").join(device.file_name()), link)?;
            }
        }
        let missing = Port::ALL.into_iter().find(|port| !output::path(*port).exists());
        match missing {
            None => return Ok(()),
            Some(port) if Instant::now() > deadline => bail!("no port {}", port.name()),
            Some(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
