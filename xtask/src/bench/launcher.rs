//! What our launcher costs, beside those of others, on this machine: one container that does nothing, from the
//! beginning to the end. And whether it stands ten thousand of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::utsname::uname;
use nix::unistd::Uid;
use serde_json::{Value, json};

use super::{Figure, to_f64};
use crate::cache::Cache;
use crate::compile::{self, Profile};
use crate::console::{Step, note};
use crate::image;
use crate::interrupt;
use crate::process::{capture, shown};
use crate::setup::tool::{Program, Tool};
use crate::setup::{self, Part};
use crate::workspace;

const METHOD: &str = "this machine, medians of interleaved runs: from the start of the command until it has \
                      ended; processor time and peak memory are those of its processes";

/// Runs before those that count.
const WARM_UP: usize = 3;

/// How often the peak of memory is taken.
const PEAKS: usize = 5;

/// What our launcher may take of memory at most, in KiB.
const MEMORY: f64 = 6.0 * 1024.0;

/// How long a container that does nothing may take under load.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many containers are started at once.
const AT_ONCE: usize = 200;

/// Who runs a container, and how.
struct Contestant {
    name: &'static str,
    /// One after the other.
    commands: Vec<Command>,
    /// Whether somebody else mounts the overlay, as for runtimes that are handed a bundle.
    takes_overlay: bool,
    /// In which mounts it runs.
    view: View,
    walls: Vec<f64>,
    times: Vec<f64>,
}

/// What of cgroups can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// As this machine has it.
    Host,
    /// Version 2 and nothing else.
    Unified,
}

/// Measures all of them.
pub(super) fn compare(cache: &Cache, rounds: usize, offline: bool) -> Result<Vec<Figure>> {
    let tools = [Tool::Busybox, Tool::Bubblewrap, Tool::Crun, Tool::Runc];
    let bench = Bench::prepare(cache, &tools, offline)?;
    let mut contestants = bench.contestants(cache)?;
    let _step = Step::start("Measuring", format_args!("{} launchers", contestants.len()));
    for round in 0..WARM_UP + rounds {
        for number in 0..contestants.len() {
            ensure!(!interrupt::requested(), "interrupted");
            // Nobody always comes after the same one.
            let at = (number + round) % contestants.len();
            if let Some(contestant) = contestants.get_mut(at) {
                let (wall, time) = bench.measure(contestant)?;
                if round >= WARM_UP {
                    contestant.walls.push(wall);
                    contestant.times.push(time);
                }
            }
        }
    }
    let mut figures = Vec::new();
    let kernel = uname()?.release().to_string_lossy().into_owned();
    let mut figure = |name: String, value: f64, unit: &'static str, goal: Option<f64>| {
        figures.push(Figure { name, value, unit, kernel: kernel.clone(), goal, method: METHOD });
    };
    // What is asked of ours is to be no slower than the fastest of those that do as much.
    let crun = |name: &str| {
        let crun = contestants.iter().find(|contestant| contestant.name == name)?;
        Some(median(&crun.walls))
    };
    let (crun_run, crun_life) = (crun(CRUN), crun(CRUN_LIFE));
    for contestant in &contestants {
        let name = contestant.name;
        let is_ours = [OURS, OUR_LIFE].contains(&name);
        let goal = if name == OURS { crun_run } else { crun_life };
        let peaks = (0..PEAKS).map(|_| bench.peak(contestant)).collect::<Result<Vec<_>>>()?;
        figure(format!("{name}: wall"), median(&contestant.walls), "ms", goal.filter(|_| is_ours));
        figure(format!("{name}: processor time"), median(&contestant.times), "ms", None);
        let most = is_ours.then_some(MEMORY);
        figure(format!("{name}: peak memory"), median(&peaks), "KiB", most);
    }
    bench.clean_up()?;
    Ok(figures)
}

const OURS: &str = "run: shrike";
const CRUN: &str = "run: crun";
const OUR_LIFE: &str = "create+start+rm: shrike";
const CRUN_LIFE: &str = "create+start+rm: crun";

/// Runs so many containers one after the other while all processors are busy, and many at once. Nothing may
/// hang, and nothing be left.
pub(super) fn stress(cache: &Cache, count: usize, offline: bool) -> Result<Vec<Figure>> {
    let bench = Bench::prepare(cache, &[Tool::Busybox], offline)?;
    let before = bench.traces()?;
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    under_load(|| {
        let _step = Step::start("Running", format_args!("{count} containers"));
        for number in 0..count {
            ensure!(!interrupt::requested(), "interrupted");
            let begin = Instant::now();
            let mut child = quiet(bench.shrike_run(&["true"])).stderr(Stdio::piped()).spawn()?;
            end_of(&mut child).with_context(|| format!("container {number}"))?;
            longest = longest.max(begin.elapsed());
        }
        Ok(())
    })?;
    let took = start.elapsed();
    let at_once = Instant::now();
    {
        let _step = Step::start("Running", format_args!("{AT_ONCE} containers at once"));
        let children: Vec<Child> = (0..AT_ONCE)
            .map(|_| quiet(bench.shrike_run(&["true"])).stderr(Stdio::piped()).spawn())
            .collect::<io::Result<_>>()?;
        for (number, mut child) in children.into_iter().enumerate() {
            end_of(&mut child).with_context(|| format!("container {number} of many"))?;
        }
    }
    let at_once = at_once.elapsed();
    bench.clean_up()?;
    let after = bench.traces()?;
    ensure!(before == after, "something is left:\n{before:#?}\n{after:#?}");
    let kernel = uname()?.release().to_string_lossy().into_owned();
    let figure = |name: String, value: f64, unit| {
        let (kernel, goal) = (kernel.clone(), None);
        Figure { name, value, unit, kernel, goal, method: "this machine, all processors busy" }
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(vec![
        figure(format!("{count} containers: each"), milliseconds(took) / to_f64(count), "ms"),
        figure(format!("{count} containers: the longest"), milliseconds(longest), "ms"),
        figure(format!("{AT_ONCE} containers at once: all"), milliseconds(at_once), "ms"),
    ])
}

/// Does something while other threads keep every processor busy.
fn under_load<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// Waits for a launcher, which must end well and in time.
fn end_of(child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let mut said = String::new();
                if let Some(stderr) = &mut child.stderr {
                    stderr.read_to_string(&mut said)?;
                }
                bail!("it ended with {status}: {said}");
            }
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                bail!("it still ran after {PATIENCE:?}");
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Where everything is.
struct Bench {
    folder: tempfile::TempDir,
    shrike: PathBuf,
    busybox: Program,
    views: Views,
}

impl Bench {
    fn prepare(cache: &Cache, tools: &[Tool], offline: bool) -> Result<Self> {
        if !Uid::effective().is_root() {
            bail!(
                "only root may make containers here\nrun instead: sudo -E cargo xtask bench launcher"
            );
        }
        let parts = tools.iter().copied().map(Part::Tool);
        setup::ensure(cache, &parts.chain([Part::Toolchain]).collect::<Vec<_>>(), offline)?;
        let shrike = {
            let _step = Step::start("Building", "the agent");
            // What is distributed, and not what is tested.
            compile::programs(&["shrike"], Profile::Release)?
        };
        let shrike = shrike.into_iter().next().context("cargo built no agent")?;
        let busybox = Tool::Busybox.held(cache).context("there is no busybox")?;
        let folder = tempfile::Builder::new().prefix("shrike-bench-").tempdir()?;
        let root = folder.path().join("root");
        for name in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(name))?;
        }
        fs::copy(&busybox.path, root.join("bin/busybox"))?;
        fs::set_permissions(root.join("bin/busybox"), PermissionsExt::from_mode(0o755))?;
        symlink("busybox", root.join("bin/true"))?;
        let program = fs::read(&busybox.path)?;
        fs::write(
            folder.path().join("image.tar"),
            image::of_one_program("usr/bin/true", &program)?,
        )?;
        for name in ["upper", "work", "merged", "crun", "runc", "bundle"] {
            fs::create_dir_all(folder.path().join(name))?;
        }
        let views = Views::make()?;
        Ok(Self { folder, shrike, busybox, views })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shrike_run(&self, command: &[&str]) -> Command {
        let mut run = Command::new(&self.shrike);
        run.args(["--log", "error", "container", "run", "--image"]).arg(self.path("image.tar"));
        run.arg("--").args(command);
        run
    }

    fn contestants(&self, cache: &Cache) -> Result<Vec<Contestant>> {
        let tool = |tool: Tool| tool.held(cache).with_context(|| format!("no {}", tool.name()));
        let (crun, runc, bwrap) = (tool(Tool::Crun)?, tool(Tool::Runc)?, tool(Tool::Bubblewrap)?);
        fs::write(self.path("bundle/config.json"), self.bundle()?.to_string())?;
        let mut from_folder = Command::new(&self.shrike);
        from_folder
            .args(["--log", "error", "container", "run", "--rootfs"])
            .arg(self.path("root"))
            .args(["--", "true"]);
        let mut bubblewrap = bwrap.command();
        bubblewrap.args(["--unshare-all", "--die-with-parent", "--ro-bind"]);
        bubblewrap.arg(self.path("root")).args(["/", "--proc", "/proc", "--dev", "/dev", "true"]);
        let one = |name, command, takes_overlay, view| Contestant {
            name,
            commands: vec![command],
            takes_overlay,
            view,
            walls: Vec::new(),
            times: Vec::new(),
        };
        let unified = View::Unified;
        let mut all = vec![
            one(OURS, self.shrike_run(&["true"]), false, unified),
            one("run: shrike, from a folder", from_folder, false, unified),
            one("run: shrike, as this machine is", self.shrike_run(&["true"]), false, View::Host),
            one(CRUN, self.oci(&crun, "crun", &["run"]), true, unified),
            one("run: runc", self.oci(&runc, "runc", &["run"]), true, unified),
            one("run: bubblewrap, without cgroup and filter", bubblewrap, false, unified),
        ];
        if self.has_life() {
            let ours = |words: &[&str]| {
                let mut command = Command::new(&self.shrike);
                command.args(["--log", "error", "container"]).args(words);
                command
            };
            let mut create = ours(&["create", "--name=bench", "--image"]);
            create.arg(self.path("image.tar")).args(["--", "true"]);
            let commands = vec![create, ours(&["start", "bench"]), ours(&["rm", "-f", "bench"])];
            all.push(Contestant { commands, ..one(OUR_LIFE, ours(&[]), false, unified) });
            for (name, program, root) in
                [(CRUN_LIFE, &crun, "crun"), ("create+start+rm: runc", &runc, "runc")]
            {
                let start = self.plain(program, root, &["start", "bench"]);
                let delete = self.plain(program, root, &["delete", "--force", "bench"]);
                let commands = vec![self.oci(program, root, &["create"]), start, delete];
                all.push(Contestant { commands, ..one(name, ours(&[]), true, unified) });
            }
        } else {
            note("Left out", "create+start+rm: this shrike has no such commands");
        }
        Ok(all)
    }

    /// Whether containers can be made, started and removed by commands of their own.
    fn has_life(&self) -> bool {
        let help = ["container", "create", "--help"];
        Command::new(&self.shrike).args(help).output().is_ok_and(|output| output.status.success())
    }

    /// A command of a runtime that keeps what it knows below `root`.
    fn plain(&self, program: &Program, root: &str, words: &[&str]) -> Command {
        let mut command = program.command();
        command.arg("--root").arg(self.path(root)).args(words);
        command
    }

    fn oci(&self, program: &Program, root: &str, words: &[&str]) -> Command {
        let mut command = self.plain(program, root, words);
        command.arg("--bundle").arg(self.path("bundle")).arg("bench");
        command
    }

    /// The same as ours has by default, as the OCI runtime specification has it.
    fn bundle(&self) -> Result<Value> {
        let profile = workspace::root().join("agent/src/launcher/seccomp/default.json");
        let profile: Value = serde_json::from_str(&fs::read_to_string(profile)?)?;
        let rules = profile["syscalls"].as_array().into_iter().flatten();
        // For a container without capabilities beyond the default ones. libseccomp takes no second rule without
        // conditions, and what is refused in another way than the rest, is refused like it.
        let is_general = |rule: &&Value| {
            rule["includes"]["caps"].is_null() && rule["action"] == "SCMP_ACT_ALLOW"
        };
        let rule = |rule: &Value| {
            let mut rule = rule.clone();
            for other in ["comment", "excludes", "includes"] {
                rule.as_object_mut().map(|rule| rule.remove(other));
            }
            rule
        };
        let rules: Vec<Value> = rules.filter(is_general).map(rule).collect();
        let mount = |target: &str, fs_type: &str, options: &[&str]| json!({ "destination": target, "type": fs_type, "source": fs_type, "options": options });
        let safe = ["nosuid", "noexec", "nodev"];
        let names = [
            "CHOWN",
            "DAC_OVERRIDE",
            "FSETID",
            "FOWNER",
            "MKNOD",
            "NET_RAW",
            "SETGID",
            "SETUID",
            "SETFCAP",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "SYS_CHROOT",
            "KILL",
            "AUDIT_WRITE",
        ];
        let capabilities: Vec<String> = names.map(|name| format!("CAP_{name}")).into();
        let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
        let namespaces = namespaces.map(|name| json!({ "type": name }));
        Ok(json!({
            "ociVersion": "1.0.2",
            "hostname": "bench",
            "root": { "path": self.path("merged") },
            "process": {
                "args": ["/bin/true"],
                "cwd": "/",
                "env": ["PATH=/bin"],
                "user": { "uid": 0, "gid": 0 },
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                },
            },
            "mounts": [
                mount("/proc", "proc", &safe),
                mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
                mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
                mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
                mount("/dev/mqueue", "mqueue", &safe),
                mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
                mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            ],
            "linux": {
                "cgroupsPath": "/bench",
                "namespaces": namespaces,
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
                    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
                ],
                "readonlyPaths": [
                    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
                ],
                "seccomp": {
                    "defaultAction": profile["defaultAction"],
                    "defaultErrnoRet": profile["defaultErrnoRet"],
                    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                    "syscalls": rules,
                },
            },
        }))
    }

    /// Runs it once, and returns how long that took and what time of processors, in milliseconds.
    fn measure(&self, contestant: &mut Contestant) -> Result<(f64, f64)> {
        self.views.enter(contestant.view)?;
        let (before, start) = (used()?, Instant::now());
        let overlay = contestant.takes_overlay.then(|| Overlay::mount(self)).transpose()?;
        for command in &mut contestant.commands {
            let status = quiet_mut(command).status();
            let status = status.with_context(|| format!("cannot start `{}`", shown(command)))?;
            if !status.success() {
                // Once more, to hear why.
                let said = command.stderr(Stdio::piped()).output()?;
                let said = String::from_utf8_lossy(&said.stderr);
                bail!("`{}` ended with {status}: {said}", shown(command));
            }
        }
        drop(overlay);
        let wall = start.elapsed().as_secs_f64() * 1000.0;
        Ok((wall, (used()? - before) * 1000.0))
    }

    /// The most memory that one of its processes had, in KiB, of all its commands.
    fn peak(&self, contestant: &Contestant) -> Result<f64> {
        self.views.enter(contestant.view)?;
        let _overlay = contestant.takes_overlay.then(|| Overlay::mount(self)).transpose()?;
        let mut most: f64 = 0.0;
        let file = self.path("peak");
        for command in &contestant.commands {
            // A small process in between: a child begins with the peak of whoever started it.
            let mut time = self.busybox.command();
            time.args(["time", "-f", "%M", "-o"]).arg(&file).arg(command.get_program());
            time.args(command.get_args());
            for (name, value) in command.get_envs() {
                if let Some(value) = value {
                    time.env(name, value);
                }
            }
            capture(quiet_mut(&mut time))?;
            let pages: f64 = fs::read_to_string(&file)?.trim().parse()?;
            // Busybox takes the kernel's KiB for pages.
            most = most.max(pages / 4.0);
        }
        Ok(most)
    }

    /// Nothing may be left of containers but their layers.
    fn clean_up(&self) -> Result<()> {
        for view in [View::Host, View::Unified] {
            self.views.enter(view)?;
            let gc = ["container", "gc", "--json"];
            let left: Vec<String> =
                serde_json::from_str(&capture(Command::new(&self.shrike).args(gc))?)?;
            let other = left.iter().find(|path| !path.starts_with("/var/lib/shrike/layers"));
            ensure!(other.is_none(), "something was left: {left:?}");
            let said = capture(Command::new(&self.shrike).args(["container", "gc", "--dry-run"]))?;
            ensure!(said.trim_end() == "0 leftovers", "{said}");
        }
        Ok(())
    }

    /// What could be left.
    fn traces(&self) -> Result<(String, Vec<PathBuf>, usize)> {
        self.views.enter(View::Host)?;
        let mut cgroups = Vec::new();
        for hierarchy in fs::read_dir("/sys/fs/cgroup")? {
            cgroups.extend(
                fs::read_dir(hierarchy?.path().join("shrike"))
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok((mounts, cgroups, fs::read_dir("/proc/self/fd")?.count()))
    }
}

/// An overlay as others mount it for a runtime.
struct Overlay(PathBuf);

impl Overlay {
    fn mount(bench: &Bench) -> Result<Self> {
        let at = bench.path("merged");
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            bench.path("root").display(),
            bench.path("upper").display(),
            bench.path("work").display()
        );
        let kind = Some("overlay");
        mount(kind, &at, kind, MsFlags::empty(), Some(options.as_str()))
            .context("cannot mount an overlay")?;
        Ok(Self(at))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// The mounts that containers are started in. This thread is in the one or the other.
struct Views {
    /// Those of this machine, and those in which only version 2 of cgroups is seen. In both the launcher has
    /// folders of its own.
    host: File,
    unified: File,
}

impl Views {
    /// Where the launcher has its folders. Those themselves could be removed by another launcher outside, and
    /// what is mounted on them with that.
    const OWN: [&str; 2] = ["/run", "/var/lib"];

    fn make() -> Result<Self> {
        let namespace = || File::open("/proc/thread-self/ns/mnt");
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).context("cannot leave the host's mounts")?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let cover =
            |folder: &str| mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none);
        for own in Self::OWN {
            cover(own)?;
        }
        let host = namespace()?;
        unshare(CloneFlags::CLONE_NEWNS).context("cannot leave the host's mounts")?;
        for own in Self::OWN {
            cover(own)?;
        }
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none)
            .context("cannot mount cgroup2")?;
        Ok(Self { host, unified: namespace()? })
    }

    fn enter(&self, view: View) -> Result<()> {
        let mounts = match view {
            View::Host => &self.host,
            View::Unified => &self.unified,
        };
        setns(mounts, CloneFlags::CLONE_NEWNS).context("cannot change the view of cgroups")
    }
}

fn quiet(mut command: Command) -> Command {
    quiet_mut(&mut command);
    command
}

fn quiet_mut(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// What children have used of processors by now, in seconds.
fn used() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        to_f64(usize::try_from(time.tv_sec()).unwrap_or_default())
            + to_f64(usize::try_from(time.tv_usec()).unwrap_or_default()) / 1_000_000.0
    };
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The middle one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.saturating_sub(1)), sorted.get(middle)) {
        (Some(below), Some(above)) if sorted.len().is_multiple_of(2) => {
            f64::midpoint(*below, *above)
        }
        (_, Some(above)) => *above,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "these have no error")]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn who_hangs_is_ended() {
        let mut child = Command::new("false").spawn().unwrap();
        assert!(end_of(&mut child).unwrap_err().to_string().contains("ended with"));
        assert!(end_of(&mut Command::new("true").spawn().unwrap()).is_ok());
    }
}
