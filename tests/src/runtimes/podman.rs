//! Podman, of root and of an ordinary user.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::image::{self, NAME, REPOSITORY};
use super::watch::{Told, Watch, file, says};
use super::{Daemon, cgroup_of, output};

/// How many containers are started and end one after the other.
const SHORT: u32 = 10;

/// The ids of the ordinary user.
const ID: u32 = 1000;

/// Where root's Podman listens.
const SOCKET: &str = "/run/podman/podman.sock";

/// Whose Podman it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    Root,
    Ordinary,
}

pub(super) fn run(user: User) -> Result<()> {
    let mut watch = Watch::start()?;
    if user == User::Ordinary {
        log_in()?;
    }
    let layer = image::layer(watch.rootfs.path())?;
    let podman = |words: &[&str]| output(user.command().arg("--log-level=error").args(words));
    podman(&["import", &layer.display().to_string(), NAME])?;

    let _service = match user {
        User::Root => {
            let (log, _) = file("podman.log")?;
            let mut service = Command::new("podman");
            service.args(["system", "service", "--time=0"]);
            let service = Daemon::start(&mut service, &log, || Path::new(SOCKET).exists())?;
            watch.connected("podman")?;
            Some(service)
        }
        // What it writes down must do, as on most hosts.
        User::Ordinary => None,
    };

    let start = |name: &str, options: &[&str], more: &str| {
        let script = format!("{}; {more}", says(name, "start"));
        let mut words = vec!["run"];
        if !options.iter().any(|option| option.starts_with("--network")) {
            words.push("--network=none");
        }
        words.extend(options);
        words.extend([NAME, "sh", "-c", &script]);
        podman(&words)
    };
    let wait = "exec sleep 1000";
    start("first", &["--detach", "--name=first"], wait)?;
    watch.hear(&podman(&["logs", "first"])?, 1)?;
    let pid = podman(&["inspect", "--format={{.State.Pid}}", "first"])?;
    watch.named("first", cgroup_of(&pid)?)?;
    let id = |name: &str| podman(&["inspect", "--format={{.Id}}", name]);
    let identified = |watch: &mut Watch, name: &str| {
        watch.identified(name, "podman", &id(name)?);
        let (name, image) = (name.to_owned(), REPOSITORY.to_owned());
        watch.told(Told { name, image, ..Told::default() })
    };
    identified(&mut watch, "first")?;
    watch.hear(&podman(&["exec", "first", "sh", "-c", &says("first", "exec")])?, 1)?;
    let privileged = says("first", "privileged-exec");
    watch.hear(&podman(&["exec", "--privileged", "first", "sh", "-c", &privileged])?, 1)?;

    let check = format!("--health-cmd={}", says("checked", "health"));
    let options = ["--detach", "--name=checked", "--health-interval=disable", &check];
    start("checked", &options, wait)?;
    watch.hear(&podman(&["logs", "checked"])?, 1)?;
    identified(&mut watch, "checked")?;
    podman(&["healthcheck", "run", "checked"])?;
    watch.hear(&podman(&["inspect", "--format={{.State.Health.Log}}", "checked"])?, 1)?;

    watch.hear(
        &start("powerful", &["--rm", "--privileged"], "mount -t tmpfs none /mnt; true")?,
        1,
    )?;
    watch.hear(&start("init", &["--rm", "--read-only"], "true")?, 1)?;
    if user == User::Root {
        // The other OCI runtime, and the network of Podman's own.
        let options = ["--rm", "--runtime=runc", "--network=podman"];
        watch.hear(&start("runc", &options, "true")?, 1)?;
        let options = ["--rm", "--uidmap=0:100000:65536", "--gidmap=0:100000:65536"];
        watch.hear(&start("mapped", &options, "true")?, 1)?;
    }
    for number in 0..SHORT {
        let name = format!("short-{number}");
        watch.hear(&start(&name, &["--name", &name], "true")?, 1)?;
        identified(&mut watch, &name)?;
        podman(&["rm", &name])?;
    }
    let steps = [says("step-1", "build"), says("step-2", "build")];
    let recipe = image::recipe(&steps)?;
    let built = podman(&["build", "--network=none", "--tag=built", &recipe.display().to_string()])?;
    watch.hear(&built, 2)?;
    podman(&["stop", "--time=1", "first", "checked"])?;
    podman(&["rm", "first", "checked"])?;
    watch.finish()
}

impl User {
    fn command(self) -> Command {
        match self {
            Self::Root => Command::new("podman"),
            Self::Ordinary => {
                let mut command = Command::new("setpriv");
                let id = ID.to_string();
                command
                    .args(["--reuid", &id, "--regid", &id, "--clear-groups", "podman"])
                    .envs([("HOME", "/home/user"), ("XDG_RUNTIME_DIR", "/run/user/1000")])
                    .env("USER", "user")
                    .current_dir("/home/user");
                command
            }
        }
    }
}

/// Does for the user what logging in does: folders, and a cgroup for the session that all of it is in.
fn log_in() -> Result<()> {
    let session = Path::new("/sys/fs/cgroup/user.slice/session.scope");
    fs::create_dir_all(session)?;
    fs::write(session.join("cgroup.procs"), std::process::id().to_string())?;
    fs::create_dir_all("/run/user/1000")?;
    for folder in ["/run/user/1000", "/home/user"] {
        chown(folder, Some(ID), Some(ID))?;
    }
    Ok(())
}
