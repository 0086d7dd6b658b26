//! Containers whose users are not the host's, seen from inside and from outside.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{leaves_nothing, leaves_nothing_in, shared, status};
use crate::agent::scratch;
use crate::container::{Ended, Rootfs, UNCONFINED, own_namespace};
use crate::profile::{self, FORBIDDEN};

pub(super) const REMAP: &str = "--userns=remap";

/// What the kernel shows of the container's ids, inside and outside.
const MAP: &str = "0 100000 65536";

/// A file system that can show its files as those of other users, on every kernel.
struct Disk {
    dir: PathBuf,
}

impl Disk {
    fn new() -> Result<Self> {
        let dir = scratch()?;
        let disk = Self { dir };
        File::create(disk.dir.join("disk"))?.set_len(16 << 20)?;
        fs::create_dir(disk.path())?;
        shell(&disk.dir, "mke2fs -F disk && mount -t ext4 -o loop disk mounted")?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("mounted")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = shell(&self.dir, "umount mounted");
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Runs a script of the host in this folder.
fn shell(dir: &Path, script: &str) -> Result<()> {
    let done = Command::new("sh").args(["-ec", script]).current_dir(dir).output()?;
    ensure!(done.status.success(), "{script}: {done:?}");
    Ok(())
}

/// Runs a test with a root file system on a disk, and asserts that nothing is left.
pub(super) fn on_disk(test: impl FnOnce(&Rootfs, &Path) -> Result<()>) -> Result<()> {
    let disk = Disk::new()?;
    let rootfs = Rootfs::at(disk.path().join("root"))?;
    leaves_nothing_in(&rootfs, || test(&rootfs, &disk.path()))
}

/// Makes a file with this owner, for nobody else.
fn private(path: &Path, owner: u32) -> Result<()> {
    fs::write(path, "private")?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(chown(path, Some(owner), Some(owner))?)
}

pub(super) fn userns_has_ids_that_the_host_does_not_know() -> Result<()> {
    on_disk(|rootfs, disk| {
        let shared = shared(rootfs, &[REMAP])?;
        ensure!(shared == ["time"], "{shared:?}");
        let said = rootfs.script(&[REMAP], "id; cat /proc/self/uid_map /proc/self/gid_map")?;
        let lines: Vec<String> = said.text()?.lines().map(words).collect();
        ensure!(lines == ["uid=0(root) gid=0", MAP, MAP], "{said:?}");

        let pid_file = disk.join("pid");
        let pid_option = format!("--pid-file={}", pid_file.display());
        for (options, id, uid, gid) in [
            (&[][..], "uid=0(root) gid=0", "100000", "100000"),
            (
                &["--user=1000:100", "--group-add=7"],
                "uid=1000 gid=100 groups=7",
                "101000",
                "100100",
            ),
        ] {
            let options = [&[REMAP, &pid_option], options].concat();
            let mut command = rootfs.launcher(&options, &["sh", "-c", "id; cat"]);
            let mut launcher = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut said = String::new();
            let stdout = launcher.stdout.take().context("no standard output")?;
            BufReader::new(stdout).read_line(&mut said)?;
            ensure!(said.trim() == id, "{said:?}");
            let process = PathBuf::from("/proc").join(fs::read_to_string(&pid_file)?.trim());
            for (field, expected) in [("Uid", [uid; 4].join(" ")), ("Gid", [gid; 4].join(" "))] {
                let status = fs::read_to_string(process.join("status"))?;
                let found = status.lines().map(words).find(|line| line.starts_with(field));
                ensure!(found == Some(format!("{field}: {expected}")), "{status}");
            }
            for map in ["uid_map", "gid_map"] {
                let found = fs::read_to_string(process.join(map))?;
                ensure!(words(&found) == MAP, "{found:?}");
            }
            let namespace = fs::metadata(process.join("ns/user"))?.ino();
            ensure!(namespace != own_namespace("user")?, "it is the host's");
            // The end of what it reads.
            drop(launcher.stdin.take());
            ensure!(launcher.wait()?.success(), "it did not end well");
            fs::remove_file(&pid_file)?;
        }
        Ok(())
    })
}

/// A line with single blanks.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn userns_owns_its_root_file_system() -> Result<()> {
    on_disk(|rootfs, _| {
        private(&rootfs.path().join("roots"), 0)?;
        private(&rootfs.path().join("users"), 1000)?;
        let script = "stat -c %u:%g /roots /users /bin; cat /roots; touch /made; stat -c %u /made
            chown 5:6 /made";
        let said = rootfs.script(&[REMAP], script)?;
        ensure!(said.text()? == "0:0\n1000:1000\n0:0\nprivate0", "{said:?}");
        let made = fs::metadata(rootfs.path().join("made"))?;
        ensure!((made.uid(), made.gid()) == (5, 6), "{made:?}");
        let user = [REMAP, "--user=1000:1000"];
        let said = rootfs.script(&user, "cat /users; echo > /tmp/made; cat /roots")?;
        ensure!(said.code == 1 && said.stdout == "private", "{said:?}");
        ensure!(said.stderr.contains("/roots': Permission denied"), "{said:?}");
        // Its folder is the root's.
        ensure!(said.stderr.contains("/tmp/made: Permission denied"), "{said:?}");
        let said = rootfs.script(&[REMAP, "--read-only"], "touch /made")?;
        ensure!(said.code == 1 && said.stderr.contains("Read-only"), "{said:?}");
        for file in ["roots", "users", "made"] {
            fs::remove_file(rootfs.path().join(file))?;
        }
        Ok(())
    })
}

pub(super) fn userns_sees_volumes_as_they_are_or_as_its_own() -> Result<()> {
    on_disk(|rootfs, disk| {
        let data = disk.join("data");
        fs::create_dir(&data)?;
        private(&data.join("file"), 0)?;
        let volume = |options: &str| format!("--volume={}:/data{options}", data.display());
        let script = "stat -c %u:%g /data /data/file; cat /data/file; touch /data/new";
        let plain = rootfs.script(&[REMAP, &volume("")], script)?;
        ensure!(plain.code == 1 && plain.stdout == "65534:65534\n65534:65534", "{plain:?}");
        for denied in ["/data/file': Permission denied", "/data/new: Permission denied"] {
            ensure!(plain.stderr.contains(denied), "{plain:?}");
        }
        let mapped = rootfs.script(&[REMAP, &volume(":idmap")], script)?;
        ensure!(mapped.text()? == "0:0\n0:0\nprivate", "{mapped:?}");
        let new = data.join("new");
        ensure!(fs::metadata(&new)?.uid() == 0, "not the host root's");
        fs::remove_file(new)?;
        let protected = rootfs.script(&[REMAP, &volume(":ro,idmap")], script)?;
        ensure!(protected.code == 1 && protected.stdout == "0:0\n0:0\nprivate", "{protected:?}");
        ensure!(protected.stderr.contains("Read-only"), "{protected:?}");
        let file = format!("--volume={}:/data/x:idmap", data.join("file").display());
        let said = rootfs.script(&[REMAP, &file], "stat -c %u /data/x; cat /data/x")?;
        ensure!(said.text()? == "0\nprivate", "{said:?}");
        // Where nobody but the host's root may look.
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        let said = rootfs.script(&[REMAP, &file], "cat /data/x")?;
        ensure!(said.text()? == "private", "{said:?}");
        fs::remove_dir_all(rootfs.path().join("data"))?;
        Ok(fs::remove_dir_all(data)?)
    })
}

pub(super) fn userns_has_devices_and_cannot_make_any() -> Result<()> {
    on_disk(|rootfs, _| {
        let script = "cd /dev; echo x > null; head -c 3 zero | wc -c; head -c 3 urandom | wc -c
            head -c 3 random | wc -c; stat -c %t:%T full null random tty urandom zero; ls | wc -l
            echo x > full; mknod /tmp/null c 1 3; mknod /tmp/disk b 7 0";
        let all = [REMAP, UNCONFINED, "--cap-add=ALL"];
        for options in [&[REMAP][..], &all] {
            let said = rootfs.script(options, script)?;
            let expected = "3\n3\n3\n1:7\n1:3\n1:8\n5:0\n1:9\n1:5\n14";
            ensure!(said.code == 1 && said.stdout == expected, "{said:?}");
            for refused in ["No space left", "/tmp/null: Operation", "/tmp/disk: Operation"] {
                ensure!(said.stderr.contains(refused), "{said:?}");
            }
        }
        Ok(())
    })
}

pub(super) fn userns_root_has_no_power_outside() -> Result<()> {
    on_disk(|rootfs, disk| {
        let data = disk.join("data");
        fs::create_dir(&data)?;
        private(&data.join("file"), 0)?;
        let volume = format!("--volume={}:/mnt", data.display());
        let script = "
            may() { \"$@\" 2>/dev/null && echo \"$@\"; }
            may cat /mnt/file
            may rm /mnt/file
            may mount -t debugfs none /props
            may mount -t cgroup2 none /props
            may mount -t tmpfs none /props
            may umount /props
            may mount -t proc none /props
            may head -c 1 /props/kcore
            (echo 1 > /props/sys/kernel/panic) 2>/dev/null && echo panic
            may umount /proc/sys
            (echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo panic
            (echo 1 > /proc/sysrq-trigger) 2>/dev/null && echo sysrq
            (echo x > /sys/kernel/mm/ksm/run) 2>/dev/null && echo ksm
            may hostname mine
            true";
        let all = [REMAP, UNCONFINED, "--cap-add=ALL", &volume];
        let said = rootfs.script(&all, script)?;
        // What is the namespace's own. What is masked elsewhere belongs to the host's root anyway.
        let expected = "mount -t cgroup2 none /props\nmount -t tmpfs none /props\numount /props\n\
            mount -t proc none /props\numount /proc/sys\nhostname mine";
        ensure!(said.text()? == expected, "{said:?}");
        ensure!(fs::read_to_string(data.join("file"))? == "private");
        Ok(fs::remove_dir_all(data)?)
    })
}

pub(super) fn userns_is_confined_by_apparmor() -> Result<()> {
    profile::load()?;
    on_disk(|rootfs, _| {
        let script = format!("cat /proc/self/attr/current; echo > {FORBIDDEN}");
        for options in [&[][..], &["--user=1000"], &["--security-opt=no-new-privileges=false"]] {
            let confined =
                rootfs.script(&[&[REMAP, profile::OPTION], options].concat(), &script)?;
            ensure!(confined.stdout == profile::ENFORCED, "{confined:?}");
            ensure!(confined.stderr.contains(FORBIDDEN), "{confined:?}");
        }
        Ok(())
    })
}

pub(super) fn userns_keeps_what_is_asked_for() -> Result<()> {
    on_disk(|rootfs, _| {
        for (field, expected) in [
            ("CapEff", "00000000a80425fb"),
            ("CapBnd", "00000000a80425fb"),
            ("CapInh", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("Groups", ""),
        ] {
            let found = status(rootfs, &[REMAP], field)?;
            ensure!(found == expected, "{field} is {found}");
        }
        let options = [REMAP, "--security-opt=no-new-privileges=false", "--user=7"];
        let found = (status(rootfs, &options, "Seccomp")?, status(rootfs, &options, "CapPrm")?);
        ensure!(found == ("2".into(), "0000000000000000".into()), "{found:?}");

        // A kernel lets one root or the other set each of these.
        let options = [
            "--sysctl=net.ipv4.ip_forward=1",
            "--sysctl=kernel.msgmax=4242",
            "--sysctl=fs.mqueue.msg_max=11",
            "--sysctl=kernel.domainname=mine",
        ];
        let script = "cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax fs/mqueue/msg_max \
            kernel/domainname";
        let said = rootfs.script(&[&[REMAP], &options[..]].concat(), script)?;
        ensure!(said.text()? == "1\n4242\n11\nmine", "{said:?}");

        // More than the launcher has itself, and less of what only the host's root may lower.
        let options = [REMAP, "--ulimit=nofile=64:256", "--oom-score-adj=-500"];
        let script = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj";
        let launcher = rootfs.launcher(&options, &["sh", "-c", script]);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 128; exec \"$@\"", "sh"]);
        command.arg(launcher.get_program()).args(launcher.get_args()).stdin(Stdio::null());
        let said = Ended::new(&command.output()?, None)?;
        ensure!(said.text()? == "64\n256\n-500", "{said:?}");

        let options = [REMAP, "--tmpfs=/tmp:uid=5,gid=6,mode=700", "--memory=16m"];
        let script = "stat -c %u:%g /tmp; cat /sys/fs/cgroup/memory.max; cat /proc/self/cgroup";
        let said = rootfs.script(&options, script)?;
        ensure!(said.text()? == "5:6\n16777216\n0::/", "{said:?}");

        fs::write("/dev/shm/hosts", "shared")?;
        let said = rootfs.script(
            &[REMAP, "--ipc=host", "--uts=host"],
            "cat /dev/shm/hosts; rm /dev/shm/hosts 2>/dev/null || hostname",
        )?;
        fs::remove_file("/dev/shm/hosts")?;
        let expected = format!("shared{}", fs::read_to_string("/proc/sys/kernel/hostname")?.trim());
        ensure!(said.text()? == expected, "{said:?}");
        Ok(())
    })
}

pub(super) fn userns_owns_an_image() -> Result<()> {
    let dir = scratch()?;
    // Every host has it.
    fs::create_dir_all("/var/lib")?;
    shell(
        &dir,
        "mkdir -p layer/bin layer/home && cp /usr/bin/busybox layer/bin/ &&
        ln -s busybox layer/bin/sh && ln -s busybox layer/bin/stat && ln -s busybox layer/bin/touch &&
        touch layer/home/user layer/home/set && ln layer/home/user layer/home/second &&
        chown 1000:100 layer/home/user && chmod 4755 layer/home/set && chown -h 70000 layer/bin/touch &&
        tar -cf layer.tar -C layer . && echo '{\"config\": {\"User\": \"5:5\"}}' > config.json &&
        echo '[{\"Config\": \"config.json\", \"Layers\": [\"layer.tar\"]}]' > manifest.json &&
        tar -cf image.tar layer.tar config.json manifest.json",
    )?;
    leaves_nothing(|_| {
        let run = |options: &[&str], script: &str| {
            let mut command = Command::new("shrike");
            command.args(["container", "run", "--image"]).arg(dir.join("image.tar")).args(options);
            Ended::new(&command.args(["--", "sh", "-c", script]).output()?, None)
        };
        let said = run(&[REMAP], "stat -c %u:%g:%a / /home/* /bin/touch; stat -c %u /proc/$$")?;
        let expected = "0:0:755\n1000:100:644\n0:0:4755\n1000:100:644\n65534:0:777\n5";
        ensure!(said.text()? == expected, "{said:?}");
        let said = run(&[REMAP, "--user=0"], "touch /home/new && stat -c %u /home/new")?;
        ensure!(said.text()? == "0", "{said:?}");
        Ok(())
    })?;
    Ok(fs::remove_dir_all(dir)?)
}

pub(super) fn userns_says_what_it_cannot_have() -> Result<()> {
    on_disk(|rootfs, _| {
        for (option, why) in [
            ("--privileged", "--privileged needs --userns=host"),
            ("--pid=host", "--pid=host needs --userns=host"),
            ("--network=host", "--network=host needs --userns=host"),
            ("--cgroupns=host", "--cgroupns=host needs --userns=host"),
            ("--user=65536", "65536 is none of the container's"),
            ("--volume=/proc/sys:/mnt:idmap", "/proc/sys, or something below it, is on"),
        ] {
            let refused = rootfs.run(&[REMAP, option], &["true"])?;
            ensure!(refused.code == 125 && refused.stderr.contains(why), "{refused:?}");
        }
        let refused = rootfs.run(&["--volume=/tmp:/mnt:idmap"], &["true"])?;
        ensure!(refused.code == 125 && refused.stderr.contains("needs --userns"), "{refused:?}");
        // A folder that its file system cannot show as that of other users.
        let mut command = Command::new("shrike");
        command.args(["container", "run", REMAP, "--rootfs", "/proc/sys", "--", "sh"]);
        let refused = Ended::new(&command.output()?, None)?;
        ensure!(refused.code == 125 && refused.stderr.contains("--image"), "{refused:?}");
        Ok(())
    })
}
