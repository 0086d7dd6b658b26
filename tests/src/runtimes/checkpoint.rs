//! Containers that CRIU writes down and brings back: to the kernel the restored one is new, with its own
//! cgroup and namespaces, and so it is to the agent. What a restored process executes is looked at here; it
//! has executed nothing itself yet.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::image::{self, NAME};
use super::oci::{Bundle, until};
use super::watch::{Watch, says};
use super::{cgroup_of, output};
use crate::agent::scratch;
use crate::runc;

/// Again and again, has a process of its own execute what it finds in a file.
const LOOP: &str = "while :; do /bin/sh -c \"$(cat /props/say)\" >> /props/said; sleep 0.2; done";

/// The commands by which a container comes and goes.
struct Commands {
    run: String,
    checkpoint: String,
    restore: String,
    /// Prints JSON in which the first process is named.
    state: String,
    exec: String,
    remove: String,
}

pub(super) fn run() -> Result<()> {
    let mut watch = Watch::start()?;
    // In the namespaces of a container that it makes, CRIU executes tar, ip and more of the host's.
    watch.host_only = Some("/usr/");
    let props = scratch()?;
    fs::write(props.join("loop"), LOOP)?;
    let bundle = Bundle::new(watch.rootfs.path())?;
    bundle.write("", |config| {
        config["process"]["args"] = json!(["sh", "/props/loop"]);
        runc::mount(config, &props.display().to_string(), "/props")
    })?;
    move_it(&mut watch, "runc", &props, &of_runc(&bundle.dir, &scratch()?))?;

    let layer = image::layer(watch.rootfs.path())?;
    output(Command::new("podman").arg("import").arg(layer).arg(NAME))?;
    for runtime in ["crun", "runc"] {
        let name = format!("podman-{runtime}");
        move_it(&mut watch, &name, &props, &of_podman(runtime, &props))?;
    }
    watch.finish()
}

fn of_runc(bundle: &Path, work: &Path) -> Commands {
    let bundle = format!("--bundle {}", bundle.display());
    let images = format!("--image-path {0}/images --work-path {0}", work.display());
    Commands {
        run: format!("runc run --detach {bundle} moved"),
        checkpoint: format!("runc checkpoint {images} moved"),
        restore: format!("runc restore --detach {bundle} {images} moved"),
        state: "runc state moved".into(),
        exec: "runc exec moved".into(),
        remove: "runc delete --force moved".into(),
    }
}

fn of_podman(runtime: &str, props: &Path) -> Commands {
    let podman = format!("podman --runtime={runtime} --log-level=error");
    let volume = format!("--volume={}:/props", props.display());
    Commands {
        run: format!(
            "{podman} run --detach --network=none --name=moved {volume} {NAME} sh /props/loop"
        ),
        checkpoint: format!("{podman} container checkpoint moved"),
        restore: format!("{podman} container restore moved"),
        state: format!("{podman} inspect --format={{\"pid\":{{{{.State.Pid}}}}}} moved"),
        exec: format!("{podman} exec moved"),
        remove: format!("{podman} rm --force --time=0 moved"),
    }
}

/// Starts a container, writes it down while it goes on, writes it down for good, and restores it.
fn move_it(watch: &mut Watch, name: &str, props: &Path, commands: &Commands) -> Result<()> {
    let Commands { run, checkpoint, restore, state, exec, remove } = commands;
    let (first, second) = (format!("first-{name}"), format!("restored-{name}"));
    let mut hear = |container: &str, deed: &str| -> Result<()> {
        let said = until(&props.join("said"), &format!("SAYS {container}/{deed} "))?;
        watch.hear(&said, 1)?;
        let state: Value = serde_json::from_str(&output(&mut command(state))?)?;
        watch.named(container, cgroup_of(&state["pid"].to_string())?)?;
        Ok(fs::write(props.join("said"), "")?)
    };
    say(props, &says(&first, "start"))?;
    detached(command(run))?;
    hear(&first, "start")?;
    output(&mut command(&checkpoint.replace("checkpoint ", "checkpoint --leave-running ")))?;
    say(props, &says(&first, "left"))?;
    hear(&first, "left")?;

    // What is written down in the middle of something goes on with that elsewhere: it is to say nothing then.
    say(props, "echo nothing")?;
    until(&props.join("said"), "nothing")?;
    output(&mut command(checkpoint))?;
    say(props, &says(&second, "loop"))?;
    detached(command(restore))?;
    hear(&second, "loop")?;
    let said = output(command(exec).args(["sh", "-c", &says(&second, "exec")]))?;
    watch.hear(&said, 1)?;
    output(&mut command(remove)).map(drop)
}

fn command(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a command without a pipe of ours, which could not be written down.
fn detached(mut command: Command) -> Result<()> {
    let null = Stdio::null;
    let status = command.stdin(null()).stdout(null()).stderr(null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Has the container execute that from now on.
fn say(props: &Path, script: &str) -> Result<()> {
    let next = props.join("next");
    fs::write(&next, script)?;
    // It never finds half of it.
    Ok(fs::rename(&next, props.join("say"))?)
}
