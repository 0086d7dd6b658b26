//! Attacks on the launcher by what it is handed: root file systems, volumes, names, descriptors. Each is tried,
//! as it was published against other runtimes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{RenameFlags, renameat2};

use super::{leaves_nothing, wait};
use crate::agent::scratch;
use crate::container::{Ended, Rootfs};
use crate::profile;

/// The numbers that a descriptor of the launcher may have.
const DESCRIPTORS: std::ops::Range<u32> = 3..16;

/// A folder of the host that no container sees; removed at the end.
struct Secret {
    dir: PathBuf,
}

impl Secret {
    fn new(dir: &str) -> Result<Self> {
        let secret = Self { dir: dir.into() };
        fs::create_dir_all(&secret.dir)?;
        let program = secret.dir.join("echo");
        fs::copy("/usr/bin/busybox", &program)?;
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        Ok(secret)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The launcher, started by a script that ends with `exec "$@"`.
fn started_by(script: &str, launcher: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(launcher.get_program()).args(launcher.get_args());
    command.stdin(Stdio::null());
    command
}

fn refused(ended: &Ended, why: &str) -> Result<()> {
    ensure!(ended.code == 125 && ended.stderr.contains(why), "expected {why:?}: {ended:?}");
    Ok(())
}

/// CVE-2016-9962, CVE-2024-21626: descriptors of the launcher, or of who started it, are a way to the host, also
/// as the path of the command and of its folder.
pub(super) fn descriptors_do_not_reach_it() -> Result<()> {
    leaves_nothing(|rootfs| {
        let _secret = Secret::new("/run/shrike-attack")?;
        let leaked = "exec 7< /run 8< /run/shrike-attack/echo 9< /; exec \"$@\"";
        let run = |options: &[&str], command: &[&str]| -> Result<Ended> {
            let launcher = rootfs.launcher(options, command);
            Ended::new(&started_by(leaked, &launcher).output()?, None)
        };
        let said = run(&[], &["ls", "/proc/self/fd"])?;
        // The last one is that of the folder itself.
        ensure!(said.text()? == "0\n1\n2\n3", "{said:?}");
        let mut folders = Vec::new();
        for number in DESCRIPTORS {
            for way in ["", "/..", "/../..", "/../../.."] {
                let folder = format!("/proc/self/fd/{number}{way}");
                folders.push(format!("{folder}/shrike-attack"));
                folders.push(format!("{folder}/run/shrike-attack"));
            }
        }
        // The first one that there is would be executed.
        let path = format!("PATH={}", folders.join(":"));
        let said = run(&["-e", &path], &["echo", "reached"])?;
        ensure!(said.code == 127 && said.stdout.is_empty(), "{said:?}");
        let said = run(&[], &["/proc/self/fd/8", "reached"])?;
        ensure!(said.code == 127 && said.stdout.is_empty(), "{said:?}");
        let shown = ["-v", "/run/shrike-attack:/mnt", "-e", "PATH=/mnt"];
        ensure!(run(&shown, &["echo", "reached"])?.text()? == "reached", "nothing would be seen");
        for number in DESCRIPTORS {
            for way in ["", "/..", "/../../.."] {
                let folder = format!("/proc/self/fd/{number}{way}");
                let script = "/bin/ls -d shrike-attack run/shrike-attack 2> /dev/null; /bin/pwd";
                let said = run(&["--workdir", &folder], &["/bin/sh", "-c", script])?;
                let is_inside = said.code == 0 && !said.stdout.contains("shrike-attack");
                ensure!(said.code == 125 || is_inside, "{folder}: {said:?}");
            }
        }
        Ok(())
    })
}

/// CVE-2019-5736: the command is the launcher's own program.
pub(super) fn its_program_as_the_command_is_of_no_use() -> Result<()> {
    leaves_nothing(|rootfs| {
        let before = fs::read("/usr/bin/shrike")?;
        let said = rootfs.run(&[], &["/proc/self/exe", "container", "diff", "nobody"])?;
        ensure!(said.code == 125 && said.stderr.contains("no container nobody"), "{said:?}");
        // A container has it run, for as long as it waits for its input. Nobody has more power than the host's root.
        let pid_file = scratch()?.join("pid");
        let option = format!("--pid-file={}", pid_file.display());
        let command = ["/proc/self/exe", "replay", "/dev/stdin"];
        let mut launcher = rootfs.launcher(&[&option], &command);
        let mut launcher = launcher.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        wait("a first task", || fs::read(&pid_file).is_ok_and(|pid| pid.ends_with(b"\n")))?;
        let process = Path::new("/proc").join(fs::read_to_string(&pid_file)?.trim());
        let name = || fs::read_to_string(process.join("comm"));
        wait("the launcher's program", || name().is_ok_and(|name| name == "exe\n"))?;
        let held =
            File::options().read(true).custom_flags(libc::O_PATH).open(process.join("exe"))?;
        drop(launcher.stdin.take());
        launcher.wait()?;
        // Now it is not being executed any more.
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        let written = File::options().write(true).open(path);
        let errno = written.err().and_then(|error| error.raw_os_error());
        ensure!(errno == Some(libc::EROFS), "{errno:?}");
        fs::remove_dir_all(pid_file.parent().context("a strange folder")?)?;
        ensure!(fs::read("/usr/bin/shrike")? == before, "the program is another");
        Ok(())
    })
}

/// CVE-2016-9962: whoever sees the first task before it executes the command may not look into it. From where
/// it has given up its capabilities, others have as many.
pub(super) fn its_first_task_cannot_be_looked_into() -> Result<()> {
    leaves_nothing(|rootfs| {
        let folder = scratch()?;
        let pid_file = folder.join("pid");
        let option = format!("--pid-file={}", pid_file.display());
        let start = |step: u32| -> Result<(Child, bool)> {
            let mut command = rootfs.launcher(&[&option], &["sleep", "1000"]);
            command.env("SHRIKE_FAULT", format!("init-pause:{step}"));
            let mut launcher = command.stderr(Stdio::piped()).spawn()?;
            wait("the first task", || fs::read(&pid_file).is_ok_and(|pid| pid.ends_with(b"\n")))?;
            let process = fs::read_to_string(&pid_file)?.trim().to_owned();
            let is_executed = || {
                let name = fs::read_to_string(format!("/proc/{process}/comm"));
                name.is_ok_and(|name| name.trim() == "sleep")
            };
            let stderr = launcher.stderr.take().context("no standard error")?;
            nix::fcntl::fcntl(&stderr, nix::fcntl::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
            let mut stderr = BufReader::new(stderr);
            let mut said = String::new();
            loop {
                match stderr.read_line(&mut said) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(5));
                    }
                    read => drop(read?),
                }
                if said.contains("injected") {
                    return Ok((launcher, true));
                }
                if is_executed() {
                    return Ok((launcher, false));
                }
            }
        };
        let end = |mut launcher: Child| -> Result<()> {
            launcher.kill()?;
            launcher.wait()?;
            fs::remove_file(&pid_file)?;
            Ok(())
        };
        // How many steps there are.
        let (mut some, mut too_many) = (1, 1024);
        while too_many - some > 1 {
            let step = u32::midpoint(some, too_many);
            let (launcher, is_paused) = start(step)?;
            end(launcher)?;
            if is_paused { some = step } else { too_many = step }
        }
        ensure!(some > 20, "only {some} steps");
        for step in [some, some - 1, some - 3, some / 2] {
            let (launcher, is_paused) = start(step)?;
            ensure!(is_paused, "there is no step {step} any more");
            let seen = look_into(fs::read_to_string(&pid_file)?.trim())?;
            ensure!(seen.is_empty(), "step {step}: {seen:?}");
            end(launcher)?;
        }
        let (launcher, _) = start(too_many)?;
        let seen = look_into(fs::read_to_string(&pid_file)?.trim())?;
        ensure!(seen.iter().any(|seen| seen == "root"), "nothing would be seen: {seen:?}");
        end(launcher)?;
        // Its launchers were killed.
        Command::new("shrike").args(["container", "gc"]).output()?;
        fs::remove_dir_all(folder)?;
        Ok(())
    })
}

/// What the host's root sees of a process without the capability to trace all: more than root of a container.
fn look_into(process: &str) -> Result<Vec<String>> {
    const CAP_SYS_PTRACE: libc::c_ulong = 19;
    let script = format!(
        "readlink /proc/{process}/root > /dev/null && echo root
        (: < /proc/{process}/mem) 2> /dev/null && echo memory; true"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    // SAFETY: prctl(2) takes numbers only, and may be called between fork(2) and execve(2).
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// CVE-2026-41579, CVE-2026-47766: links where the kernel's file systems are to be mounted.
pub(super) fn links_in_the_kernels_places_are_refused() -> Result<()> {
    leaves_nothing(|_| {
        let secret = Secret::new("/tmp/shrike-attack")?;
        for place in ["proc", "sys", "dev"] {
            for (target, options) in [
                ("tmp", &[][..]),
                ("/", &[]),
                ("/proc", &[]),
                ("/sys", &["--read-only"]),
                ("/../../../../tmp/shrike-attack", &[]),
                ("/../../../../tmp/shrike-attack", &["--privileged"]),
            ] {
                let rootfs = Rootfs::new()?;
                symlink(target, rootfs.path().join(place))?;
                let ended = rootfs.run(options, &["true"])?;
                refused(&ended, &format!("/{place} of the root file system is a symbolic"))?;
            }
            let rootfs = Rootfs::new()?;
            fs::write(rootfs.path().join(place), "a file")?;
            refused(&rootfs.run(&[], &["true"])?, "Not a directory")?;
        }
        ensure!(fs::read_dir(&secret.dir)?.count() == 1, "something was made outside");
        Ok(())
    })
}

/// CVE-2019-16884, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: what the image has where the kernel speaks is
/// neither believed nor written.
pub(super) fn what_an_image_has_in_them_is_not_believed() -> Result<()> {
    profile::load()?;
    leaves_nothing(|_| {
        let rootfs = Rootfs::new()?;
        let fakes = [
            "proc/thread-self/attr/apparmor/exec",
            "proc/self/attr/apparmor/exec",
            "proc/self/attr/exec",
            "proc/self/status",
            "proc/self/setgroups",
            "proc/sys/net/ipv4/ip_forward",
            "proc/sysrq-trigger",
            "proc/kcore",
            "dev/console",
            "dev/ptmx",
            "dev/pts/0",
            "sys/fs/cgroup/cgroup.procs",
        ];
        for fake in fakes {
            let fake = rootfs.path().join(fake);
            fs::create_dir_all(fake.parent().context("a strange file")?)?;
            fs::write(&fake, "fake")?;
        }
        symlink("/proc/sysrq-trigger", rootfs.path().join("dev/null"))?;
        symlink("/tmp", rootfs.path().join("dev/shm"))?;
        symlink("/tmp", rootfs.path().join("dev/mqueue"))?;
        symlink("/tmp", rootfs.path().join("sys/firmware"))?;
        let script = "stat -c '%F %t:%T' /dev/null; cat /proc/self/attr/current
            cat /proc/sys/net/ipv4/ip_forward; stat -f -c %T /dev/shm /proc /sys /dev
            test -s /proc/kcore && test -n \"$(head -c 1 /proc/kcore)\" && echo kcore
            ls /sys/firmware; grep CapEff /proc/self/status";
        let options = [profile::OPTION, "--sysctl=net.ipv4.ip_forward=1"];
        let said = rootfs.script(&options, script)?;
        let lines: Vec<&str> = said.stdout.lines().collect();
        let expected = [
            "character special file 1:3",
            profile::ENFORCED,
            "1",
            "tmpfs",
            "proc",
            "sysfs",
            "tmpfs",
            "CapEff:\t00000000a80425fb",
        ];
        ensure!(lines == expected, "{said:?}");
        for fake in fakes {
            ensure!(fs::read_to_string(rootfs.path().join(fake))? == "fake", "{fake} was written");
        }
        // What masks must be what it is called.
        let file = rootfs.path().join("etc/passwd");
        let volume = format!("{}:/dev/null", file.display());
        refused(&rootfs.run(&["-v", &volume], &["true"])?, "/dev/null is not the device")?;
        refused(&rootfs.run(&["-v", "/dev/zero:/dev/null"], &["true"])?, "/dev/null is not the")?;
        Ok(())
    })
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561: nothing is shown over what the kernel says of processes.
pub(super) fn nothing_is_shown_in_proc() -> Result<()> {
    leaves_nothing(|_| {
        let rootfs = Rootfs::new()?;
        symlink("/proc", rootfs.path().join("way"))?;
        symlink("proc/self", rootfs.path().join("other"))?;
        let source = scratch()?;
        for target in
            ["/proc", "/proc/self/attr", "/proc/1", "/proc/sys", "/way", "/way/sys", "/other/attr"]
        {
            let volume = format!("{}:{target}", source.display());
            for options in [&["-v", &*volume][..], &["--tmpfs", target]] {
                for more in [&[][..], &["--privileged"], &["--userns=remap"]] {
                    if more == ["--userns=remap"] && target != "/proc/sys" {
                        continue;
                    }
                    let ended = rootfs.run(&[options, more].concat(), &["true"])?;
                    // A folder as such cannot always be shown to other users.
                    let cannot = ended.stderr.contains("cannot show its files");
                    ensure!(ended.code == 125, "{options:?}: {ended:?}");
                    ensure!(cannot || ended.stderr.contains("is in proc"), "{ended:?}");
                }
            }
        }
        fs::remove_dir(source)?;
        Ok(())
    })
}

/// CVE-2021-30465, CVE-2024-45310: another container exchanges folders for links while this one is made.
pub(super) fn targets_cannot_be_exchanged() -> Result<()> {
    /// How many containers are started meanwhile.
    const STARTS: u32 = 60;
    leaves_nothing(|_| {
        let secret = Secret::new("/tmp/shrike-attack")?;
        let rootfs = Rootfs::new()?;
        let shared = scratch()?;
        let data = scratch()?;
        fs::write(data.join("file"), "data")?;
        fs::create_dir(shared.join("target"))?;
        symlink("/../../../../tmp/shrike-attack", shared.join("link"))?;
        fs::create_dir(rootfs.path().join("proc"))?;
        fs::create_dir(rootfs.path().join("other"))?;
        // The link leads somewhere, in the container.
        fs::create_dir(rootfs.path().join("tmp/shrike-attack"))?;
        let (is_over, exchanged) = (AtomicBool::new(false), AtomicU64::new(0));
        let exchange = |dir: &Path, one: &str, other: &str| -> Result<()> {
            let dir = File::open(dir)?;
            while !is_over.load(Ordering::Relaxed) {
                renameat2(&dir, one, &dir, other, RenameFlags::RENAME_EXCHANGE)?;
                exchanged.fetch_add(1, Ordering::Relaxed);
                // The guest has one processor.
                thread::sleep(Duration::from_micros(20));
            }
            Ok(())
        };
        let run = || -> Result<u32> {
            let volumes = [
                format!("{}:/shared", shared.display()),
                format!("{}:/shared/target/made", data.display()),
                format!("{}:/shared/target/file", data.join("file").display()),
            ];
            let options: Vec<&str> = volumes.iter().flat_map(|volume| ["-v", volume]).collect();
            let script = "for p in /proc /other; do
                test -n \"$(head -c 1 $p/kcore 2> /dev/null)\" && echo kcore can be read
                (echo 0 > $p/sys/kernel/panic) 2> /dev/null && echo sysctls can be written
                done; true";
            let mut went_well = 0;
            for _ in 0..STARTS {
                let ended = rootfs.run(&options, &["/bin/sh", "-c", script])?;
                ensure!([0, 125].contains(&ended.code) && ended.stdout.is_empty(), "{ended:?}");
                went_well += u32::from(ended.code == 0);
                ensure!(fs::read_dir(&secret.dir)?.count() == 1, "something was made outside");
            }
            Ok(went_well)
        };
        let went_well = thread::scope(|scope| {
            let swap = |dir, one, other| scope.spawn(move || exchange(dir, one, other));
            let swaps = [swap(&*shared, "target", "link"), swap(rootfs.path(), "proc", "other")];
            let went_well = run();
            is_over.store(true, Ordering::Relaxed);
            for swap in swaps {
                swap.join().expect("a thread panicked")?;
            }
            went_well
        })?;
        let exchanged = exchanged.load(Ordering::Relaxed);
        println!("{exchanged} exchanges, {went_well} of {STARTS} containers started");
        ensure!(exchanged > 10_000 && went_well > 0, "{exchanged} and {went_well}");
        fs::remove_dir_all(shared)?;
        fs::remove_dir_all(data)?;
        Ok(())
    })
}

/// CVE-2022-29162: what the launcher was handed by who started it is not the container's.
pub(super) fn what_the_caller_has_is_not_inherited() -> Result<()> {
    leaves_nothing(|rootfs| {
        let fields = "grep -E '^(CapInh|CapAmb|SigBlk|SigIgn|Groups):' /proc/self/status; umask";
        let script = "umask 0; trap '' HUP USR1 PIPE
            exec busybox setpriv --inh-caps +chown,+net_raw --ambient-caps +chown,+net_raw \"$@\"";
        let mut own = Command::new("sh");
        own.args(["-c", script, "sh", "sh", "-c", fields]);
        let own = Ended::new(&own.output()?, None)?;
        ensure!(!own.text()?.contains("CapInh:\t0000000000000000"), "{own:?}");
        for user in [&[][..], &["--user=1000"], &["--privileged"]] {
            let launcher = rootfs.launcher(user, &["sh", "-c", fields]);
            let said = Ended::new(&started_by(script, &launcher).output()?, None)?;
            let expected = "Groups:\t \nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n\
                CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n0022";
            ensure!(said.text()? == expected, "{user:?}: {said:?}");
        }
        Ok(())
    })
}

/// CVE-2023-25809: limits are nothing that a container changes.
pub(super) fn cgroups_cannot_be_written() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "cd /sys/fs/cgroup; mkdir own && echo made; cat pids.max
            for file in pids.max cgroup.procs cgroup.subtree_control; do
                (echo 1 > $file) && echo $file was written
            done 2> /dev/null; cat pids.max";
        for options in [&[][..], &["--cgroupns=host"], &["--user=0", "--cap-add=ALL"]] {
            let all = [&["--pids-limit=32"], options].concat();
            // In the host's namespace they are all there, and the container's is somewhere below.
            let script = match options {
                ["--cgroupns=host"] => &script.replace("pids.max", "shrike/*/pids.max"),
                _ => script,
            };
            let said = rootfs.script(&all, script)?;
            ensure!(said.text()? == "32\n32", "{options:?}: {said:?}");
            ensure!(said.stderr.contains("Read-only file system"), "{said:?}");
        }
        Ok(())
    })
}

/// CVE-2026-30892: names and numbers are what they look like.
pub(super) fn names_and_users_are_taken_strictly() -> Result<()> {
    leaves_nothing(|_| {
        let rootfs = Rootfs::new()?;
        for name in ["..", ".", "a/../b", "../../tmp/x", "/", "a/b", "", ".x", "-x", "a b", "a\nb"]
        {
            let ended = rootfs.run(&[&format!("--name={name}")], &["true"])?;
            ensure!(ended.code == 2 && ended.stderr.contains("a name starts"), "{name}: {ended:?}");
        }
        for user in
            ["-1", "+1", "4294967295", "4294967296", "1:", ":1", "1:2:3", "0x0", "1 ", "1:-1"]
        {
            let ended = rootfs.run(&[&format!("--user={user}")], &["true"])?;
            ensure!(ended.code == 2, "{user}: {ended:?}");
        }
        // A user whose name is another's number.
        fs::write(rootfs.path().join("etc/passwd"), "1000:x:0:0::/:/bin/sh\n7:x:0:0::/:/bin/sh\n")?;
        fs::write(rootfs.path().join("etc/group"), "1000:x:0:1000\nroot:x:0:1000,7\n")?;
        let said = rootfs.run(&["--user=1000"], &["grep", "-E", "^[UG]id", "/proc/self/status"])?;
        let ids = "Uid:\t1000\t1000\t1000\t1000\nGid:\t0\t0\t0\t0";
        ensure!(said.text()? == ids, "{said:?}");
        Ok(())
    })
}

/// The host's root is no container's, whatever it is called.
pub(super) fn the_hosts_root_is_refused() -> Result<()> {
    leaves_nothing(|rootfs| {
        let folder = scratch()?;
        let (root, link) = (folder.join("root"), folder.join("link"));
        symlink("/", &root)?;
        symlink(rootfs.path(), &link)?;
        let run = |folder: &Path| {
            let mut command = Command::new("shrike");
            command.args(["container", "run", "--rootfs"]).arg(folder).args(["--", "true"]);
            Ended::new(&command.output()?, None)
        };
        for path in [Path::new("/"), &root, Path::new("/proc/1/root"), Path::new("/tmp/..")] {
            refused(&run(path)?, "is the host's own root")?;
        }
        run(&link)?.text()?;
        // By a descriptor, as the caller may name it.
        let opened = File::open(rootfs.path())?;
        run(Path::new(&format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd())))?
            .text()?;
        fs::remove_dir_all(folder)?;
        Ok(())
    })
}
