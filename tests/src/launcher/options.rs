//! Options of the launcher: what a container is started with, what it shares with others, and what it sees.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::join::{
    clocks_are_the_containers_own, joined_containers_end_with_the_first_of_their_pids,
    joined_namespaces_are_those_of_the_other_container, joined_namespaces_show_what_is_in_them,
    joined_users_are_those_of_the_other_container, joining_is_hidden_from_those_who_are_joined,
    many_join_one, namespaces_are_joined_by_file, what_cannot_be_joined_is_named,
};
use super::terminal::{
    terminals_are_left_as_they_were, terminals_are_the_containers_own,
    terminals_belong_to_the_user, terminals_interrupt_the_command_alone,
};
use super::{leaves_nothing, wait};
use crate::agent::scratch;
use crate::container::{Background, Ended, UNCONFINED};
use crate::profile;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "options",
    tier: Tier::Quick,
    budget: Duration::from_mins(8),
    // It does not depend on the probes: it has the guests that those suites leave.
    wants: |guest| guest.is_plain() && !guest.is_across(),
    tests: tests![
        joined_namespaces_are_those_of_the_other_container,
        joined_namespaces_show_what_is_in_them,
        joined_containers_end_with_the_first_of_their_pids,
        namespaces_are_joined_by_file,
        what_cannot_be_joined_is_named,
        joining_is_hidden_from_those_who_are_joined,
        joined_users_are_those_of_the_other_container,
        many_join_one,
        clocks_are_the_containers_own,
        init_waits_for_orphans,
        init_hands_on_what_it_is_told,
        init_is_confined_by_apparmor,
        terminals_are_the_containers_own,
        terminals_are_left_as_they_were,
        terminals_belong_to_the_user,
        terminals_interrupt_the_command_alone,
        images_are_asked_for_their_program,
        commands_are_stopped_by_their_own_signal,
        the_environment_is_put_together,
        system_paths_can_be_shown,
        names_and_pipes_are_as_programs_expect,
        keys_of_the_launcher_are_not_handed_on,
        mounts_show_where_they_are_to,
        mounts_are_read_in_dockers_format,
    ],
};

/// The states of the children of a process, by the kernel's letters.
fn children(pid: u32) -> Result<Vec<String>> {
    let pids = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let state = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.rsplit(") ").next().unwrap_or_default().chars().take(1).collect())
    };
    pids.split_whitespace().map(state).collect()
}

fn init_waits_for_orphans() -> Result<()> {
    leaves_nothing(|rootfs| {
        let dir = scratch()?;
        let pid_file = dir.join("pid");
        let pid_option = format!("--pid-file={}", pid_file.display());
        // An orphan that ends, and a command that waits for nobody.
        let command = ["sh", "-c", "(sleep 0.1 &); exec sleep 3"];
        for (options, expected) in
            [(&[][..], &["Z"][..]), (&["--init"], &["S"]), (&["--init", "--pid=host"], &["S"])]
        {
            let options = [&[pid_option.as_str()], options].concat();
            let mut launcher = rootfs.launcher(&options, &command).spawn()?;
            wait("started", || fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')))?;
            let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
            thread::sleep(Duration::from_secs(1));
            let found = children(pid)?;
            ensure!(found == expected, "{options:?}: {found:?}");
            ensure!(launcher.wait()?.success());
            fs::remove_file(&pid_file)?;
        }
        Ok(fs::remove_dir_all(dir)?)
    })
}

fn init_is_confined_by_apparmor() -> Result<()> {
    profile::load()?;
    leaves_nothing(|rootfs| {
        let confined = [profile::OPTION, "--init"];
        let said = rootfs.script(&confined, "cat /proc/1/attr/current /proc/self/attr/current")?;
        ensure!(said.text()? == format!("{0}\n{0}", profile::ENFORCED), "{said:?}");
        Ok(())
    })
}

fn init_hands_on_what_it_is_told() -> Result<()> {
    leaves_nothing(|rootfs| {
        let init = ["--init"];
        ensure!(rootfs.script(&init, "exit 42")?.code == 42);
        // It is not the first process, which does not mind its own signals.
        ensure!(rootfs.script(&init, "kill -KILL $$")?.code == 137);
        let said = rootfs.script(
            &init,
            "test $$ != 1 && busybox tr '\\0' ' ' < /proc/1/cmdline; ls /proc/1/fd | wc -l",
        )?;
        let text = said.text()?;
        ensure!(text.starts_with("shrike container reap ") && text.ends_with(" 3"), "{said:?}");
        let missing = rootfs.run(&init, &["no-such-command"])?;
        ensure!(missing.code == 127 && missing.stderr.contains("no-such-command"), "{missing:?}");
        ensure!(missing.stderr.matches("error").count() == 1, "{missing:?}");
        let denied = rootfs.run(&init, &["/etc"])?;
        ensure!(denied.code == 126, "{denied:?}");
        let none = rootfs.run(&["--init", "--pids-limit=1"], &["true"])?;
        ensure!(none.code == 125 && none.stderr.contains("--init"), "{none:?}");

        // Neither has more than the other.
        let fields = "^(Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|Uid|Groups)";
        let grep = ["busybox", "grep", "-E", fields, "/proc/self/status"];
        let plain = rootfs.run(&["--user=7:8"], &grep)?;
        let started = rootfs.run(&["--init", "--user=7:8"], &grep)?;
        ensure!(plain.text()? == started.text()?, "{plain:?}, {started:?}");
        let script =
            "for p in 1 $$; do grep -E '^(Cap|NoNewPrivs|Seccomp|Uid)' /proc/$p/status; done";
        let both = rootfs.script(&init, script)?;
        let lines: Vec<&str> = both.text()?.lines().collect();
        ensure!(
            lines[..lines.len() / 2] == lines[lines.len() / 2..] && lines.len() >= 16,
            "{both:?}"
        );

        // Signals, at once and after a while.
        let script = "trap 'exit 5' USR1; touch /tmp/ready; while true; do sleep 0.1; done";
        let ready = rootfs.path().join("tmp/ready");
        let mut launcher = rootfs.launcher(&init, &["sh", "-c", script]).spawn()?;
        wait("ready", || ready.exists())?;
        kill(Pid::from_raw(i32::try_from(launcher.id())?), Signal::SIGUSR1)?;
        ensure!(launcher.wait()?.code() == Some(5));
        fs::remove_file(&ready)?;
        let mut launcher = rootfs.launcher(&init, &["sleep", "1000"]).spawn()?;
        wait("a container", || {
            fs::read_dir("/sys/fs/cgroup/shrike").is_ok_and(|mut all| {
                all.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir()))
            })
        })?;
        thread::sleep(Duration::from_millis(500));
        kill(Pid::from_raw(i32::try_from(launcher.id())?), Signal::SIGTERM)?;
        ensure!(launcher.wait()?.code() == Some(143));
        Ok(())
    })
}

/// An image with a program, arguments, an environment and a signal of its own.
struct Image {
    dir: PathBuf,
}

impl Image {
    fn new() -> Result<Self> {
        let dir = scratch()?;
        // Every host has it.
        fs::create_dir_all("/var/lib")?;
        let script = r#"mkdir -p layer/bin layer/tmp && cp /usr/bin/busybox layer/bin/ &&
            for name in sh echo sleep; do ln -s busybox layer/bin/$name; done &&
            tar -cf layer.tar -C layer . &&
            echo '{"config": {"Entrypoint": ["echo", "own"], "Cmd": ["a", "b"],
                "Env": ["A=image", "B=image", "C=image"], "StopSignal": "SIGUSR2"}}' > config.json &&
            echo '[{"Config": "config.json", "Layers": ["layer.tar"]}]' > manifest.json &&
            tar -cf image.tar layer.tar config.json manifest.json && rm -r layer"#;
        let done = Command::new("sh").args(["-ec", script]).current_dir(&dir).output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(Self { dir })
    }

    fn launcher(&self, options: &[&str], command: &[&str]) -> Command {
        let mut launcher = Command::new("shrike");
        launcher
            .args(["--log=warn", "container", "run", "--image"])
            .arg(self.dir.join("image.tar"));
        launcher.args(options).arg("--").args(command).stdin(Stdio::null());
        launcher
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Result<Ended> {
        Ended::new(&self.launcher(options, command).output()?, None)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
        // The layers are kept for the next container.
        let _ = Command::new("shrike").args(["container", "gc"]).output();
    }
}

fn images_are_asked_for_their_program() -> Result<()> {
    let image = Image::new()?;
    ensure!(image.run(&[], &[])?.text()? == "own a b");
    ensure!(image.run(&[], &["c"])?.text()? == "own c");
    let sh = ["--entrypoint=sh"];
    ensure!(image.run(&sh, &["-c", "echo $0 $A"])?.text()? == "sh image");
    ensure!(image.run(&sh, &[])?.text()?.is_empty(), "its arguments are none of another program's");
    ensure!(image.run(&["--entrypoint="], &["echo", "c"])?.text()? == "c");
    let none = image.run(&["--entrypoint="], &[])?;
    ensure!(none.code == 125 && none.stderr.contains("no command"), "{none:?}");
    // A folder has none.
    leaves_nothing(|rootfs| {
        ensure!(rootfs.run(&["--entrypoint=echo"], &["c"])?.text()? == "c");
        Ok(())
    })
}

fn commands_are_stopped_by_their_own_signal() -> Result<()> {
    let image = Image::new()?;
    let script = "trap 'exit 3' TERM; trap 'exit 4' USR2; trap 'exit 5' HUP; echo > /tmp/ready
        while true; do sleep 0.1; done";
    for (options, signal, code) in [
        (&[][..], Signal::SIGTERM, 4),
        (&["--stop-signal=HUP"], Signal::SIGTERM, 5),
        (&["--stop-signal=15"], Signal::SIGTERM, 3),
        (&["--stop-signal=HUP"], Signal::SIGUSR2, 4),
    ] {
        let tmp = scratch()?;
        let volume = format!("--volume={}:/tmp", tmp.display());
        let options = [&["--entrypoint=sh", volume.as_str()], options].concat();
        let mut launcher = image.launcher(&options, &["-c", script]).spawn()?;
        wait("ready", || tmp.join("ready").exists())?;
        kill(Pid::from_raw(i32::try_from(launcher.id())?), signal)?;
        let status = launcher.wait()?;
        ensure!(status.code() == Some(code), "{options:?} {signal}: {status}");
        fs::remove_dir_all(tmp)?;
    }
    Ok(())
}

fn the_environment_is_put_together() -> Result<()> {
    let image = Image::new()?;
    let file = image.dir.join("env");
    fs::write(&file, "# of the file\n\nB=file\nD=file with blanks\nE\nNOT_THERE\n")?;
    let files = format!("--env-file={}", file.display());
    let options = [files.as_str(), "--entrypoint=sh", "--env=A=given", "--env=F", "--env=C"];
    let script = "echo \"$A,$B,${C-none},$D,$E,$F,${NOT_THERE-none}\"";
    let output = image
        .launcher(&options, &["-c", script])
        .env("E", "launcher's")
        .env("F", "also")
        .env_remove("C")
        .output()?;
    let said = Ended::new(&output, None)?;
    ensure!(said.text()? == "given,file,none,file with blanks,launcher's,also,none", "{said:?}");
    // A file that can be read once.
    let mut command = Command::new("sh");
    let launcher =
        image.launcher(&["--env-file=/proc/self/fd/0", "--entrypoint=sh"], &["-c", "echo $G"]);
    command.args(["-c", "echo G=once | \"$@\"", "sh"]).arg(launcher.get_program());
    let said = Ended::new(&command.args(launcher.get_args()).output()?, None)?;
    ensure!(said.text()? == "once", "{said:?}");
    fs::write(&file, "A=1\nB C=2\n")?;
    let wrong = image.run(&[&files], &[])?;
    ensure!(wrong.code == 125 && wrong.stderr.contains("line 2"), "{wrong:?}");
    let missing = image.run(&["--env-file=/nowhere"], &[])?;
    ensure!(missing.code == 125 && missing.stderr.contains("/nowhere"), "{missing:?}");
    Ok(())
}

fn system_paths_can_be_shown() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "head -c 1 /proc/timer_list | wc -c; echo 4 > /proc/sys/net/ipv4/ip_default_ttl && echo written
            grep -c ' /proc/' /proc/self/mountinfo; touch /sys/x 2>&1 | grep -o 'Read-only'";
        let hidden = rootfs.script(&[], script)?;
        ensure!(
            hidden.stdout.starts_with("0\n") && hidden.stderr.contains("ip_default_ttl"),
            "{hidden:?}"
        );
        let shown = rootfs.script(&["--security-opt=systempaths=unconfined"], script)?;
        ensure!(shown.stdout == "1\nwritten\n0\nRead-only", "{shown:?}");
        Ok(())
    })
}

fn names_and_pipes_are_as_programs_expect() -> Result<()> {
    leaves_nothing(|rootfs| {
        let domain = "cat /proc/sys/kernel/domainname";
        ensure!(rootfs.script(&["--domainname=example.org"], domain)?.text()? == "example.org");
        ensure!(fs::read_to_string("/proc/sys/kernel/domainname")?.trim() != "example.org");
        let refused = rootfs.run(&["--domainname=x", "--uts=host"], &["true"])?;
        ensure!(refused.code == 125 && refused.stderr.contains("--domainname"), "{refused:?}");
        // Who writes to a pipe that nobody reads is ended by a signal, and does not complain.
        let said =
            rootfs.script(&[], "yes | head -n 1; sed -n 's/^SigIgn:.//p' /proc/self/status")?;
        let ignored = said.text()?.strip_prefix("y\n").context("no line of its own")?;
        let pipe = 1 << (Signal::SIGPIPE as i32 - 1);
        ensure!(u64::from_str_radix(ignored, 16)? & pipe == 0, "{said:?}");
        ensure!(said.stderr.is_empty(), "{said:?}");
        Ok(())
    })
}

fn keys_of_the_launcher_are_not_handed_on() -> Result<()> {
    /// Who has the keyring has all of the key, and others have nothing.
    const POSSESSOR: libc::c_ulong = 0x3f00_0000;
    const SESSION: libc::c_long = -3;
    fn with_key(command: &mut Command) -> &mut Command {
        let add = || {
            // SAFETY: the texts outlive the calls, and are as long as is said.
            unsafe {
                libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>());
                let (kind, name) = (c"user".as_ptr(), c"shrike-secret".as_ptr());
                let key = libc::syscall(libc::SYS_add_key, kind, name, c"x".as_ptr(), 1, SESSION);
                if key < 0 || libc::syscall(libc::SYS_keyctl, 5, key, POSSESSOR) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the new process only makes system calls.
        unsafe { command.pre_exec(add) }
    }
    leaves_nothing(|rootfs| {
        let shown = with_key(Command::new("cat").arg("/proc/keys")).output()?;
        let shown = String::from_utf8(shown.stdout)?;
        ensure!(shown.contains("shrike-secret"), "the host does not show it: {shown}");
        for options in [&[][..], &["--privileged"], &["--init"]] {
            let options =
                [&[UNCONFINED, "--security-opt=systempaths=unconfined"], options].concat();
            let mut launcher = rootfs.launcher(&options, &["cat", "/proc/keys"]);
            let said = Ended::new(&with_key(&mut launcher).output()?, None)?;
            ensure!(said.text()?.contains("_ses"), "it has no keyring: {said:?}");
            ensure!(!said.stdout.contains("shrike-secret"), "{options:?}: {said:?}");
        }
        let options = [UNCONFINED, "--security-opt=systempaths=unconfined"];
        let _joined = Background::run(rootfs, "joined", &options, &["sleep", "1000"])?;
        let mut exec = Command::new("shrike");
        exec.args(["container", "exec", "joined", "cat", "/proc/keys"]);
        let said = Ended::new(&with_key(&mut exec).output()?, None)?;
        ensure!(said.text()?.contains("_ses"), "it has no keyring: {said:?}");
        ensure!(!said.stdout.contains("shrike-secret"), "by exec: {said:?}");
        Ok(())
    })
}

/// A folder of the host that shares what is mounted in it.
struct Shared {
    dir: PathBuf,
}

impl Shared {
    fn new() -> Result<Self> {
        let shared = Self { dir: scratch()? };
        for arguments in [&["-t", "tmpfs", "none"][..], &["--make-shared"]] {
            mount(arguments, &shared.dir)?;
        }
        fs::create_dir(shared.dir.join("sub"))?;
        Ok(shared)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for dir in [self.dir.join("sub"), self.dir.clone()] {
            let _ = Command::new("umount").arg(&dir).stderr(Stdio::null()).status();
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

fn mount(arguments: &[&str], dir: &Path) -> Result<()> {
    let mounted = Command::new("mount").args(arguments).arg(dir).output()?;
    ensure!(mounted.status.success(), "{arguments:?} at {}: {mounted:?}", dir.display());
    Ok(())
}

fn mounts_show_where_they_are_to() -> Result<()> {
    leaves_nothing(|rootfs| {
        let shared = Shared::new()?;
        let is_mounted = |dir: &Path| -> Result<bool> {
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            let dir = dir.to_str().context("a strange folder")?;
            Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(dir)))
        };
        let sub = shared.dir.join("sub");
        for (option, is_seen, is_told) in
            [("private", false, false), ("rslave", true, false), ("shared", true, true)]
        {
            let tmp = scratch()?;
            let volume = format!("--volume={}:/mnt:{option}", shared.dir.display());
            let signals = format!("--volume={}:/tmp", tmp.display());
            let options = [volume.as_str(), &signals, UNCONFINED, "--cap-add=SYS_ADMIN"];
            // What the host mounts, and then what the container mounts.
            let script = "touch /tmp/ready; until test -e /tmp/go; do sleep 0.05; done
                grep -q ' /mnt/sub ' /proc/self/mountinfo && echo seen
                mkdir -p /mnt/own && mount -t tmpfs none /mnt/own; touch /tmp/done
                until test -e /tmp/end; do sleep 0.05; done";
            let mut command = rootfs.launcher(&options, &["sh", "-c", script]);
            let launcher = command.stdout(Stdio::piped()).spawn()?;
            wait("ready", || tmp.join("ready").exists())?;
            mount(&["-t", "tmpfs", "none"], &sub)?;
            File::create(tmp.join("go"))?;
            wait("mounted", || tmp.join("done").exists())?;
            let told = is_mounted(&shared.dir.join("own"))?;
            File::create(tmp.join("end"))?;
            let said = Ended::new(&launcher.wait_with_output()?, None)?;
            ensure!((said.text()? == "seen") == is_seen, "{option}: {said:?}");
            ensure!(told == is_told, "{option}: the host has the container's mount: {told}");
            for dir in [&sub, &shared.dir.join("own")] {
                if is_mounted(dir)? {
                    let unmounted = Command::new("umount").arg(dir).status()?;
                    ensure!(unmounted.success(), "umount {}", dir.display());
                }
            }
            fs::remove_dir_all(tmp)?;
        }
        let data = scratch()?;
        mount(&["-t", "tmpfs", "none"], &data)?;
        mount(&["--make-private"], &data)?;
        for option in ["rslave", "rshared"] {
            let volume = format!("--volume={}:/mnt:{option}", data.display());
            let refused = rootfs.run(&[&volume], &["true"])?;
            ensure!(refused.code == 125 && refused.stderr.contains("is not shared"), "{refused:?}");
        }
        ensure!(Command::new("umount").arg(&data).status()?.success());
        fs::remove_dir(&data)?;
        let volume = format!("--volume={}:/mnt:rshared", shared.dir.display());
        let refused = rootfs.run(&[&volume, "--userns=remap"], &["true"])?;
        ensure!(refused.code == 125 && refused.stderr.contains("--userns=remap"), "{refused:?}");
        Ok(())
    })
}

fn mounts_are_read_in_dockers_format() -> Result<()> {
    leaves_nothing(|rootfs| {
        let data = scratch()?;
        fs::write(data.join("file"), "content")?;
        let bind = format!("--mount=type=bind,source={},target=/mnt,readonly", data.display());
        let tmpfs = "--mount=type=tmpfs,destination=/props,tmpfs-size=64k,tmpfs-mode=0700";
        let script = "cat /mnt/file; touch /mnt/x; stat -c %a /props; dd if=/dev/zero of=/props/f bs=64k count=2";
        let said = rootfs.script(&[&bind, tmpfs], script)?;
        ensure!(said.stdout == "content700", "{said:?}");
        for part in ["/mnt/x: Read-only", "No space left"] {
            ensure!(said.stderr.contains(part), "{said:?}");
        }
        let refused = rootfs.run(&["--mount=type=volume,source=a,target=/mnt"], &["true"])?;
        ensure!(refused.code == 2 && refused.stderr.contains("type=bind"), "{refused:?}");
        Ok(fs::remove_dir_all(data)?)
    })
}
