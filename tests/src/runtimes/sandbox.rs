//! What has namespaces of its own and is no container, since it sees all of the host: services with
//! private mounts, sandboxes around a command.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::output;
use super::watch::{HOST, Watch};

pub(super) fn run() -> Result<()> {
    let watch = Watch::start()?;
    let shell = |script: &str| {
        let script = script.replace("HOST", HOST);
        output(Command::new("bash").args(["-c", &script]))
    };
    shell(
        "unshare --fork --pid --mount --mount-proc bash -c '
           true HOST within; unshare --mount true HOST deeper
           nsenter --mount=/proc/1/ns/mnt true HOST back'",
    )?;
    shell("unshare --fork --pid --mount --net --uts --ipc --cgroup true HOST all")?;
    // As systemd does: the manager puts the process into its cgroup, which then sets itself apart.
    for service in ["by-itself", "by-manager"] {
        let cgroup = format!("/sys/fs/cgroup/services.slice/{service}");
        fs::create_dir_all(&cgroup).with_context(|| format!("create {cgroup}"))?;
    }
    shell(
        "echo $$ > /sys/fs/cgroup/services.slice/by-itself/cgroup.procs
         exec unshare --mount --cgroup bash -c '
           mount -t tmpfs HOST /tmp && exec true HOST by-itself'",
    )?;
    shell(
        "bash -c 'until [[ $(</proc/self/cgroup) = *by-manager ]]; do :; done
           exec unshare --mount --cgroup --pid --fork bash -c \"
             mount -t tmpfs HOST /tmp; true HOST by-manager\"' &
         echo $! > /sys/fs/cgroup/services.slice/by-manager/cgroup.procs; wait $!",
    )?;
    shell("bwrap --bind / / --unshare-pid --dev /dev --proc /proc true HOST bubblewrap")?;
    watch.finish()
}
