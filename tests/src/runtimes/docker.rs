//! Docker.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::image::{self, NAME, PROGRAMS, REPOSITORY};
use super::watch::{Told, Watch, file, later, says};
use super::{Daemon, cgroup_of, output};

/// How many containers are started and end one after the other.
const SHORT: u32 = 10;

pub(super) fn run() -> Result<()> {
    let mut watch = Watch::start()?;
    let engine = Engine::start(watch.rootfs.path())?;
    watch.connected("docker")?;
    let told = |name: &str| Told { name: name.into(), image: REPOSITORY.into(), ..Told::default() };

    let start = |name: &str, options: &[&str], more: &str| {
        let script = format!("{}; {more}", says(name, "start"));
        let mut words = vec!["run"];
        words.extend(options);
        words.extend([NAME, "sh", "-c", &script]);
        docker(&words)
    };
    let wait = "exec sleep 1000";
    let more = ["--label=team=web", "--volume=/srv:/data:ro"];
    start("first", &[&["--detach", "--name", "first"], &more[..]].concat(), wait)?;
    watch.hear(&logs("first")?, 1)?;
    watch.named(
        "first",
        cgroup_of(&docker(&["inspect", "--format", "{{.State.Pid}}", "first"])?)?,
    )?;
    watch.identified("first", "docker", &id("first")?);
    let (label, mount) = ("web".to_owned(), "/srv:/data".to_owned());
    watch.told(Told { label, mount, ..told("first") })?;
    watch.hear(&docker(&["exec", "first", "sh", "-c", &says("first", "exec")])?, 1)?;
    // Seccomp stays as it is.
    let privileged = says("first", "privileged-exec");
    watch.hear(&docker(&["exec", "--privileged", "first", "sh", "-c", &privileged])?, 1)?;
    docker(&["cp", "first:/bin/busybox", "/tmp/copied"])?;

    let check = format!("--health-cmd={}", says("checked", "health"));
    let often = ["--detach", "--name", "checked", &check, "--health-interval=1s", "--network=none"];
    start("checked", &often, wait)?;
    watch.hear(&logs("checked")?, 1)?;
    watch.hear(&health("checked")?, 1)?;
    watch.identified("checked", "docker", &id("checked")?);
    watch.told(told("checked"))?;
    docker(&["kill", "checked"])?;

    watch.hear(
        &start("powerful", &["--rm", "--privileged"], "mount -t tmpfs none /mnt; true")?,
        1,
    )?;
    watch.hear(&start("init", &["--rm", "--init"], "true")?, 1)?;
    let shared = ["--rm", "--pid=host", "--network=host", "--ipc=host", "--uts=host"];
    watch.hear(&start("shared", &shared, "true")?, 1)?;
    for number in 0..SHORT {
        let name = format!("short-{number}");
        let file = format!("/tmp/{name}.id");
        let options = ["--rm", "--network=none", "--name", &name, "--cidfile", &file];
        watch.hear(&start(&name, &options, "true")?, 1)?;
        watch.identified(&name, "docker", &fs::read_to_string(&file)?);
        watch.told(told(&name))?;
    }
    let steps = [says("step-1", "build"), format!("{} && rm -rf /mnt", says("step-2", "build"))];
    let recipe = image::recipe(&steps)?;
    let built = output(
        Command::new("docker")
            .args(["build", "--network=none", "--tag=built"])
            .arg(&recipe)
            .env("DOCKER_BUILDKIT", "0"),
    )?;
    watch.hear(&built, 2)?;
    docker(&["stop", "--time=1", "first"])?;
    docker(&["rm", "first", "checked"])?;

    // One acts while its engine is gone, and one is started by the next engine.
    let more = format!("{}; {wait}", later("orphan"));
    start("orphan", &["--detach", "--name", "orphan"], &more)?;
    watch.hear(&logs("orphan")?, 1)?;
    watch.identified("orphan", "docker", &id("orphan")?);
    watch.told(told("orphan"))?;
    let root = docker(&["inspect", "--format", "/proc/{{.State.Pid}}/root/go", "orphan"])?;
    engine.kill();
    watch.disconnected("docker")?;
    fs::write(root.trim(), "")?;
    watch.acted("orphan", "later")?;
    let _engine = Engine::again()?;
    watch.connected("docker")?;
    watch.connections("docker", 2)?;
    watch.hear(&start("second", &["--name", "second"], "true")?, 1)?;
    watch.identified("second", "docker", &id("second")?);
    watch.told(told("second"))?;
    docker(&["rm", "--force", "orphan", "second"])?;
    watch.finish()
}

/// The engine with our image; ended when dropped.
pub(super) struct Engine {
    daemon: Daemon,
}

impl Engine {
    pub(super) fn start(rootfs: &Path) -> Result<Self> {
        let layer = image::layer(rootfs)?;
        let engine = Self::again()?;
        docker(&["import", &layer.display().to_string(), NAME])?;
        Ok(engine)
    }

    /// One that goes on where another one has ended.
    fn again() -> Result<Self> {
        let (log, _) = file("dockerd.log")?;
        // Of a containerd that was killed: the engine would wait for that instead of starting its own.
        let _ = fs::remove_file("/run/containerd/containerd.sock");
        let answers = || docker(&["version"]).is_ok();
        // That its containers go on without it, whoever wants an engine that can be updated asks for.
        let mut command = Command::new("dockerd");
        command.args(["--log-level", "warn", "--live-restore"]);
        Ok(Self { daemon: Daemon::start(&mut command, &log, answers)? })
    }

    /// Ends it without a warning, and its containerd too.
    fn kill(self) {
        drop(self.daemon);
        // Fails if that has ended with it.
        let _ = output(Command::new("pkill").args(["-KILL", "-x", "containerd"]));
    }
}

/// The options by which a container has the host's programs.
pub(super) fn program_volumes() -> [String; 3] {
    PROGRAMS.map(|(source, target)| format!("--volume={source}:{target}:ro"))
}

pub(super) fn docker(words: &[&str]) -> Result<String> {
    output(Command::new("docker").args(words))
}

/// By which id the engine knows a container.
fn id(name: &str) -> Result<String> {
    docker(&["inspect", "--format", "{{.Id}}", name])
}

/// What a container has written, once it has.
fn logs(name: &str) -> Result<String> {
    let mut text = String::new();
    for _ in 0..100 {
        text = docker(&["logs", name])?;
        if text.contains("SAYS ") {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(text)
}

/// What the last health check has written, once there was one.
fn health(name: &str) -> Result<String> {
    let format = "{{range .State.Health.Log}}{{println .Output}}{{end}}";
    let mut text = String::new();
    for _ in 0..100 {
        text = docker(&["inspect", "--format", format, name])?;
        if text.contains("SAYS ") {
            break;
        }
        thread::sleep(Duration::from_millis(300));
    }
    ensure!(text.contains("SAYS "), "no health check: {text}");
    Ok(text)
}
