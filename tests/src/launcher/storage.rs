//! Images: their layers are shared, what a container writes is its own, and nothing of it is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::wait;
use crate::agent::scratch;
use crate::container::{Ended, Rootfs, Traces};

/// An image in a file, as `docker save` writes one.
pub(super) struct Image {
    dir: PathBuf,
}

impl Image {
    /// An image of three layers: the one below has the commands.
    pub(super) fn new() -> Result<Self> {
        let dir = scratch()?;
        let rootfs = Rootfs::new()?;
        // What each is made by, and what of that is in its archive.
        let below = format!(
            "cp -a {}/. .; mkdir etc/kept etc/new opt; echo 1 > etc/one; echo 1 > etc/two
            echo 1 > etc/new/old; ln -s etc way; ln -s etc link; chmod 700 opt",
            rootfs.path().display()
        );
        let middle = "mkdir -p etc/new link; echo 2 > etc/two; echo 2 > etc/three; : > etc/.wh.one
            : > etc/new/.wh..wh..opq; echo 2 > etc/new/fresh";
        let above = "mkdir -p opt/deep etc way; echo 3 > opt/deep/file; : > etc/.wh.three
            echo 3 > way/through";
        let layers = [
            (&*below, "."),
            (middle, "."),
            // Nothing is said of the folders.
            (above, "opt/deep/file etc/.wh.three way/through"),
        ];
        let mut names = Vec::new();
        for (index, (script, parts)) in layers.into_iter().enumerate() {
            let name = format!("{index}.tar");
            let all = format!(
                "mkdir work && cd work && {{ {script}; }} && tar -cf ../{name} {parts} && cd .. &&
                rm -r work"
            );
            sh(&dir, &all)?;
            names.push(name);
        }
        let config = json!({ "config": { "Cmd": ["cat", "/etc/two"], "Env": ["A=image"] } });
        fs::write(dir.join("config.json"), config.to_string())?;
        let manifest = json!([{ "Config": "config.json", "Layers": names }]);
        fs::write(dir.join("manifest.json"), manifest.to_string())?;
        sh(&dir, "tar -cf image.tar manifest.json config.json *.tar")?;
        Ok(Self { dir })
    }

    fn file(&self) -> PathBuf {
        self.dir.join("image.tar")
    }

    pub(super) fn launcher(&self, options: &[&str], command: &[&str]) -> Command {
        let mut launcher = Command::new("shrike");
        launcher.args(["--log", "warn", "container", "run", "--image"]).arg(self.file());
        launcher.args(options).arg("--").args(command).stdin(Stdio::null());
        launcher
    }

    fn run(&self, command: &[&str]) -> Result<Ended> {
        Ended::new(&self.launcher(&[], command).output()?, None)
    }

    fn script(&self, script: &str) -> Result<Ended> {
        self.run(&["sh", "-c", script])
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn sh(dir: &Path, script: &str) -> Result<()> {
    let done = Command::new("sh").args(["-c", script]).current_dir(dir).output()?;
    ensure!(done.status.success(), "{script}: {done:?}");
    Ok(())
}

/// What a command of ours prints as JSON.
pub(super) fn json_of(arguments: &[&str]) -> Result<Value> {
    let output = Command::new("shrike").args(arguments).arg("--json").output()?;
    ensure!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

/// Nothing but the layers is left after the test, and they are gone after `gc`.
fn leaves_layers_only(test: impl FnOnce(&Image) -> Result<()>) -> Result<()> {
    let image = Image::new()?;
    // Every host has it.
    fs::create_dir_all("/var/lib")?;
    let before = Traces::of_host()?;
    test(&image)?;
    let left = json_of(&["container", "gc", "--dry-run"])?;
    let left: Vec<&str> = left.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let are_layers = left.iter().all(|path| path.starts_with("/var/lib/shrike/layers/"));
    ensure!(left.len() == 3 && are_layers, "{left:?}");
    let removed = json_of(&["container", "gc"])?;
    ensure!(removed.as_array().is_some_and(|removed| removed.len() == 3), "{removed}");
    ensure!(json_of(&["container", "gc"])? == json!([]), "something is left");
    before.are_gone()
}

pub(super) fn layers_are_put_together() -> Result<()> {
    leaves_layers_only(|image| {
        ensure!(image.run(&[])?.text()? == "2", "the image's own command");
        let seen = image.script(
            "echo $A; cat etc/two opt/deep/file etc/through; ls etc etc/new; stat -c %a / opt
            [ -h way ] && [ ! -h link ] && echo links",
        )?;
        let lines: Vec<&str> = seen.text()?.lines().collect();
        ensure!(lines.starts_with(&["image", "2", "3", "3"]), "{seen:?}");
        for (name, is_there) in
            [("one", false), ("two", true), ("three", false), ("kept", true), ("old", false)]
        {
            ensure!(lines.contains(&name) == is_there, "{name}: {seen:?}");
        }
        // The topmost layer says nothing of `opt` but that something is in it.
        ensure!(lines.contains(&"fresh") && lines.contains(&"700"), "{seen:?}");
        ensure!(lines.contains(&"links"), "{seen:?}");
        ensure!(lines.contains(&"755"), "the root is not open to all: {seen:?}");
        Ok(())
    })
}

pub(super) fn what_is_written_is_a_containers_own() -> Result<()> {
    leaves_layers_only(|image| {
        let script = "echo mine > etc/two; rm etc/new/fresh; mkdir -p srv/a; echo x > srv/a/b
            touch etc/tmp; rm etc/tmp; touch ready; sleep 1000";
        let mut first = image.launcher(&["--name", "writes"], &["sh", "-c", script]).spawn()?;
        wait("the container writes", || {
            fs::exists("/var/lib/shrike/containers/writes/upper/ready").unwrap_or(false)
        })?;
        let other = image.script("cat etc/two; ls etc/new; ls srv 2> /dev/null; true")?;
        ensure!(other.text()? == "2\nfresh", "{other:?}");
        let changes = json_of(&["container", "diff", "writes"])?;
        let changes: Vec<(&str, &str)> = changes
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|change| Some((change["kind"].as_str()?, change["path"].as_str()?)))
            .collect();
        for change in [
            ("A", "/ready"),
            ("A", "/srv"),
            ("A", "/srv/a"),
            ("A", "/srv/a/b"),
            ("C", "/etc"),
            ("C", "/etc/two"),
            ("C", "/etc/new"),
            ("D", "/etc/new/fresh"),
        ] {
            ensure!(changes.contains(&change), "{change:?} is not in {changes:?}");
        }
        ensure!(!changes.iter().any(|(_, path)| path.ends_with("tmp")), "{changes:?}");
        // It has the layers.
        let left = json_of(&["container", "gc"])?;
        ensure!(left == json!([]), "{left}");
        first.kill()?;
        first.wait()?;
        // Its launcher was killed: this is what is left.
        let left = json_of(&["container", "gc", "--dry-run"])?;
        let left = left.to_string();
        ensure!(left.contains("/containers/writes"), "{left}");
        let next = image.launcher(&["--name", "writes"], &["cat", "etc/two"]).output()?;
        ensure!(next.stdout == b"2\n", "{next:?}");
        Ok(())
    })
}

pub(super) fn many_containers_share_layers() -> Result<()> {
    leaves_layers_only(|image| {
        let all: Vec<_> = (0..20)
            .map(|_| image.launcher(&[], &["cat", "etc/two"]).stdout(Stdio::piped()).spawn())
            .collect::<Result<_, _>>()?;
        for one in all {
            let output = one.wait_with_output()?;
            ensure!(output.status.success() && output.stdout == b"2\n", "{output:?}");
        }
        Ok(())
    })
}

/// What runs is not known to everybody: an agent in a container has a `/run` of its own.
pub(super) fn what_runs_is_left_alone() -> Result<()> {
    leaves_layers_only(|image| {
        let script = "touch ready; sleep 1000";
        let mut runs = image.launcher(&["--name", "runs"], &["sh", "-c", script]).spawn()?;
        wait("the container runs", || {
            fs::exists("/var/lib/shrike/containers/runs/upper/ready").unwrap_or(false)
        })?;
        for elsewhere in ["", "mount -t tmpfs none /run;"] {
            for command in ["gc --dry-run --json", "gc --json"] {
                let script = format!("{elsewhere} exec shrike container {command}");
                let output = Command::new("busybox")
                    .args(["unshare", "-m", "sh", "-c", &script])
                    .output()?;
                ensure!(output.status.success() && output.stdout == b"[]\n", "{output:?}");
            }
            ensure!(runs.try_wait()?.is_none(), "the container was killed: {elsewhere}");
        }
        // Nor can its name be taken there.
        let script = format!(
            "mount -t tmpfs none /run; exec shrike container run --name runs --image {} -- true",
            image.file().display()
        );
        let output =
            Command::new("busybox").args(["unshare", "-m", "sh", "-c", &script]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(125) && stderr.contains("is in use"), "{output:?}");
        ensure!(runs.try_wait()?.is_none(), "the container was killed");
        runs.kill()?;
        runs.wait()?;
        json_of(&["container", "gc"])?;
        // What was removed with it is there again.
        image.run(&[])?.text()?;
        Ok(())
    })
}

/// A launcher that waits for layers ends when it is asked to.
pub(super) fn waiting_for_layers_can_be_interrupted() -> Result<()> {
    leaves_layers_only(|image| {
        image.run(&[])?.text()?;
        let layers = fs::File::open("/var/lib/shrike/layers")?;
        let lock = Flock::lock(layers, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let mut waits = image.launcher(&["--name", "waits"], &["true"]);
        let waits = waits.stderr(Stdio::piped()).spawn()?;
        wait("the launcher waits", || {
            fs::exists("/var/lib/shrike/containers/waits/upper").unwrap_or(false)
        })?;
        kill(Pid::from_raw(i32::try_from(waits.id())?), Signal::SIGINT)?;
        let ended = waits.wait_with_output()?;
        drop(lock);
        ensure!(ended.status.code() == Some(130), "{ended:?}");
        let stderr = String::from_utf8_lossy(&ended.stderr);
        ensure!(stderr.contains("SIGINT came before there was a container"), "{stderr}");
        Ok(())
    })
}
