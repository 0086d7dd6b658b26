//! Which devices containers may use, and how much of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::{leaves_nothing, wait};
use crate::agent::scratch;
use crate::container::{Ended, Rootfs};

/// A loop device that no other test uses, and the one beside it, which is used by none.
pub(super) const LOOP: &str = "/dev/loop3";
const MINOR: u64 = 3;
const OTHER: &str = "/dev/loop4";

/// What is on the disk.
const CONTENT: &str = "content";
const SIZE: usize = 4 << 20;

/// A disk: a file behind [`LOOP`].
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn new() -> Result<Self> {
        let file = scratch()?.join("disk");
        let mut bytes = vec![0; SIZE];
        bytes[..CONTENT.len()].copy_from_slice(CONTENT.as_bytes());
        fs::write(&file, bytes)?;
        let output = Command::new("losetup").arg(LOOP).arg(&file).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(Self(file))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", LOOP]).output();
        if let Some(folder) = self.0.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A script that tells which files can be read and which ones written, as in `r/dev/x w/dev/x`, and removes
/// those of its own.
fn uses(paths: &[&str]) -> String {
    let uses = |path: &&str| {
        format!(
            "(: < {path}) 2> /tmp/why && echo r{path} || grep -q 'not permitted' /tmp/why || cat /tmp/why
            (: >> {path}) 2> /tmp/why && echo w{path} || grep -q 'not permitted' /tmp/why || cat /tmp/why"
        )
    };
    let uses: Vec<String> = paths.iter().map(uses).collect();
    format!("{}\nrm -f /tmp/why /tmp/node", uses.join("\n"))
}

/// What [`uses`] tells in a container with these options.
fn used(rootfs: &Rootfs, options: &[&str], before: &str, paths: &[&str]) -> Result<String> {
    let ended = rootfs.script(options, &format!("{before}\n{}", uses(paths)))?;
    Ok(ended.text()?.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn devices_are_those_that_are_allowed() -> Result<()> {
    let _disk = Disk::new()?;
    let node = format!("mknod /tmp/node b 7 {MINOR} && test -b /tmp/node && echo made;");
    leaves_nothing(|rootfs| {
        let standard = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
        let found =
            used(rootfs, &[], "echo x > /dev/null; head -c 3 /dev/zero | wc -c", &standard)?;
        let each: Vec<String> = standard.iter().map(|path| format!("r{path} w{path}")).collect();
        ensure!(found == format!("3 {}", each.join(" ")), "{found}");
        for (options, expected) in [
            (&[][..], "made"),
            (&["--cap-add=ALL"], "made"),
            (&["--device-cgroup-rule=b 7:3 r"], "made r/tmp/node"),
            (&["--device-cgroup-rule=b 7:* w"], "made w/tmp/node"),
            (&["--device-cgroup-rule=b *:3 rw"], "made r/tmp/node w/tmp/node"),
            (
                &["--device-cgroup-rule=b 7:3 r", "--device-cgroup-rule=b 7:3 w"],
                "made r/tmp/node w/tmp/node",
            ),
            (&["--device-cgroup-rule=a *:* rwm"], "made r/tmp/node w/tmp/node"),
            (&["--device-cgroup-rule=c 7:3 rwm", "--device-cgroup-rule=b 7:4 rwm"], "made"),
            (&["--privileged"], "made r/tmp/node w/tmp/node"),
        ] {
            let found = used(rootfs, options, &node, &["/tmp/node"])?;
            ensure!(found == expected, "{options:?}: {found}");
        }
        let found = used(rootfs, &["--privileged"], "", &[LOOP])?;
        ensure!(found == format!("r{LOOP} w{LOOP}"), "{found}");
        // Without the capability there is no file at all.
        let said = rootfs.script(&["--cap-drop=MKNOD"], "mknod /tmp/node b 7 3")?;
        ensure!(said.code == 1 && said.stderr.contains("not permitted"), "{said:?}");
        // A disk that is shown is not one that may be used.
        let volume = format!("--volume={LOOP}:/mnt/disk");
        let found = used(rootfs, &[&volume], "", &["/mnt/disk"])?;
        fs::remove_file(rootfs.path().join("mnt/disk"))?;
        ensure!(found.is_empty(), "{found}");
        // Nor in a cgroup that the container makes.
        let mount = "mount -t cgroup2 none /mnt && mkdir /mnt/x && echo $$ > /mnt/x/cgroup.procs";
        let leave = format!("{node} {mount}");
        let found = used(rootfs, &["--cap-add=SYS_ADMIN"], &leave, &["/tmp/node"])?;
        ensure!(found == "made", "{found}");
        Ok(())
    })
}

pub(super) fn devices_are_handed_over() -> Result<()> {
    let _disk = Disk::new()?;
    let folder = scratch()?;
    fs::write(folder.join("file"), "no device")?;
    fs::create_dir(folder.join("sub"))?;
    for (name, minor) in [("a", MINOR), ("sub/b", MINOR + 1)] {
        let mode = Mode::from_bits_truncate(0o640);
        mknod(&folder.join(name), SFlag::S_IFBLK, mode, makedev(7, minor))?;
    }
    std::os::unix::fs::chown(folder.join("a"), Some(7), Some(8))?;
    leaves_nothing(|rootfs| {
        let device = |text: &str| format!("--device={text}");
        let host = fs::metadata(LOOP)?;
        let host = format!("{:o} {} {} 7 3", host.mode() & 0o7777, host.uid(), host.gid());
        let script = format!(
            "stat -c '%a %u %g %t %T' {LOOP}; head -c 7 {LOOP}; echo; echo changed > {LOOP}; head -c 7 {LOOP}"
        );
        let said = rootfs.script(&[&device(LOOP)], &script)?;
        ensure!(said.text()? == format!("{host}\n{CONTENT}\nchanged"), "{said:?}");
        for (text, paths, expected) in [
            (format!("{LOOP}:r"), &[LOOP][..], format!("r{LOOP}")),
            (format!("{LOOP}:w"), &[LOOP], format!("w{LOOP}")),
            (format!("{LOOP}:/dev/disks/a:r"), &["/dev/disks/a"], "r/dev/disks/a".into()),
            ("/dev/zero".into(), &["/dev/zero"], "r/dev/zero w/dev/zero".into()),
        ] {
            let found = used(rootfs, &[&device(&text)], "", paths)?;
            ensure!(found == expected, "{text}: {found}");
        }
        // All that are in a folder, and nothing else of it.
        let all = device(&format!("{}:/dev/given:r", folder.display()));
        let script = "cd /dev/given; stat -c '%n %a %u %g %t %T' $(ls -d * */*)";
        let said = rootfs.script(&[&all], script)?;
        let expected = "a 640 7 8 7 3\nsub 755 0 0 0 0\nsub/b 640 0 0 7 4";
        ensure!(said.text()? == expected, "{said:?}");
        let found = used(rootfs, &[&all], "", &["/dev/given/a"])?;
        ensure!(found == "r/dev/given/a", "{found}");
        // Several at once, also for another user if the file lets him.
        let two = [&device(LOOP), &device(&format!("{OTHER}:r"))];
        let said = rootfs.script(&two.map(String::as_str), "ls /dev/loop*")?;
        ensure!(said.text()? == format!("{LOOP}\n{OTHER}"), "{said:?}");
        let said = rootfs.script(&[&device(LOOP), "--user=1000"], &format!(": < {LOOP}"))?;
        ensure!(said.stderr.contains("Permission denied"), "{said:?}");
        // A whole /dev, but for the terminals.
        let whole = "test -b /dev/loop0 && test -c /dev/full && test -L /dev/ptmx && echo whole";
        ensure!(rootfs.script(&["--device=/dev:/dev"], whole)?.text()? == "whole");
        Ok(())
    })?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

pub(super) fn devices_that_cannot_be_had_are_named() -> Result<()> {
    let refused = |ended: &Ended, code: i32, parts: &[&str]| {
        let is_told = parts.iter().all(|part| ended.stderr.contains(part));
        ensure!(ended.code == code && ended.pid.is_none() && is_told, "{parts:?}: {ended:?}");
        Ok(())
    };
    leaves_nothing(|rootfs| {
        let folder = format!("--device={}/etc:/dev/etc", rootfs.path().display());
        for (option, code, parts) in [
            ("--device=/usr/bin/shrike:/dev/x", 125, &["shrike is no device", "--volume"][..]),
            ("--device=/dev/none", 125, &["the device /dev/none", "No such file"]),
            (&folder, 125, &["no device in the folder", "/etc"]),
            ("--device=/dev/loop0:/mnt/x", 2, &["--device", "/mnt/x", "below /dev"]),
            ("--device=/dev/loop0:/dev/x:x", 2, &["--device", "r, w and m"]),
            ("--device-cgroup-rule=x 1:3 r", 2, &["--device-cgroup-rule", "c 1:3 rwm"]),
            ("--device-write-bps=/dev/null:1m", 125, &["/dev/null is no block device"]),
            ("--device-read-bps=/dev/none:1m", 125, &["--device-read-bps", "/dev/none"]),
            ("--device-read-bps=/dev/loop0:1x", 2, &["--device-read-bps", "DEVICE:SIZE"]),
            ("--device-read-iops=/dev/loop0:1m", 2, &["--device-read-iops", "DEVICE:NUMBER"]),
            ("--blkio-weight=9", 2, &["--blkio-weight", "10..=1000"]),
        ] {
            refused(&rootfs.run(&[option], &["true"])?, code, parts)?;
        }
        let both = rootfs.run(&["--privileged", "--device=/dev/loop0"], &["true"])?;
        refused(&both, 125, &["all devices of the host", "--privileged"])?;
        let taken = rootfs.run(&["--device=/dev/loop0:/dev/null"], &["true"])?;
        let why = "make /dev/null in the container: choose another place";
        ensure!(taken.code == 125 && taken.stderr.contains(why), "{taken:?}");
        Ok(())
    })
}

/// Writes 3 MiB, no faster than 1 MiB in a second.
fn slowly(write: impl FnOnce() -> Result<Ended>) -> Result<()> {
    const BYTES: f64 = 3.0 * 1_048_576.0;
    /// A slice of the kernel's time is given in advance.
    const MOST: f64 = 1.2 * 1_048_576.0;
    let started = Instant::now();
    write()?.text()?;
    let rate = BYTES / started.elapsed().as_secs_f64();
    ensure!(rate <= MOST, "{rate} bytes in a second");
    Ok(())
}

pub(super) fn block_devices_are_shared_out() -> Result<()> {
    const FOLDER: &str = "/sys/fs/cgroup/shrike/throttled";
    let _disk = Disk::new()?;
    let limits = [
        format!("--device={LOOP}"),
        format!("--device-write-bps={LOOP}:1m"),
        format!("--device-read-bps={LOOP}:2097152"),
        format!("--device-write-iops={LOOP}:100"),
        format!("--device-write-iops={OTHER}:7"),
    ];
    let limits: Vec<&str> = limits.iter().map(String::as_str).collect();
    leaves_nothing(|rootfs| {
        let named = [&limits[..], &["--name=throttled"]].concat();
        let mut launcher = rootfs.launcher(&named, &["sleep", "1000"]).spawn()?;
        let procs = Path::new(FOLDER).join("cgroup.procs");
        wait("running", || fs::read_to_string(&procs).is_ok_and(|pids| !pids.is_empty()))?;
        let max = fs::read_to_string(Path::new(FOLDER).join("io.max"))?;
        let has_weight = Path::new(FOLDER).join("io.weight").exists();
        launcher.kill()?;
        launcher.wait()?;
        let expected = [
            "7:3 rbps=2097152 wbps=1048576 riops=max wiops=100",
            "7:4 rbps=max wbps=max riops=max wiops=7",
        ];
        let mut lines: Vec<&str> = max.lines().collect();
        lines.sort_unstable();
        ensure!(lines == expected, "{max}");
        // Its cgroup is left: the launcher was killed. The next one of the name removes it.
        let write = "dd if=/dev/zero bs=64k count=48";
        slowly(|| rootfs.script(&named, &format!("{write} of={LOOP} oflag=direct")))?;
        // By way of a file system, and of the page cache.
        let folder = scratch()?;
        let mounted = format!("mke2fs -F {LOOP} && mount -t ext2 {LOOP} {}", folder.display());
        let output = Command::new("sh").args(["-c", &mounted]).output()?;
        ensure!(output.status.success(), "{output:?}");
        let volume = format!("--volume={}:/mnt", folder.display());
        let options = [&limits[..], &[&volume]].concat();
        let done = slowly(|| rootfs.script(&options, &format!("{write} of=/mnt/file conv=fsync")));
        nix::mount::umount(&folder)?;
        fs::remove_dir(&folder)?;
        done?;
        let weight = rootfs.script(&["--blkio-weight=500"], "cat /sys/fs/cgroup/io.weight")?;
        if has_weight {
            ensure!(weight.text()? == "default 4950", "{weight:?}");
        } else {
            let why = "no io.weight for containers, so --blkio-weight cannot be kept";
            ensure!(weight.code == 125 && weight.stderr.contains(why), "{weight:?}");
        }
        Ok(())
    })
}
