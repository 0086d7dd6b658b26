//! What has namespaces of its own and is no container: on the host, since it sees all of it, services with
//! private mounts and sandboxes around a command; in a container, since it is within, sandboxes again.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::docker::{Engine, docker, program_volumes};
use super::image::NAME;
use super::output;
use super::watch::{HOST, Watch, says};

/// Sandboxes of the host.
pub(super) fn on_host() -> Result<()> {
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

/// Sandboxes with a root directory of their own in containers, of root and of an ordinary user.
pub(super) fn in_container() -> Result<()> {
    let mut watch = Watch::start()?;
    let _engine = Engine::start(watch.rootfs.path())?;
    let privileged: &[&str] = &["--privileged", "--user=0:0"];
    // The engine's own profiles permit neither user namespaces nor mounts.
    let ordinary = &[
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--user=1000:1000",
    ];
    for (name, options) in [("privileged", privileged), ("ordinary", ordinary)] {
        let [start, within, deeper] = ["start", "bubblewrap", "twice"].map(|deed| says(name, deed));
        // Who is not privileged may not mount what shows more of the host than its container does.
        let script = if name == "privileged" {
            let (outer, inner) = (bubblewrap("--proc"), bubblewrap("--ro-bind /proc"));
            format!("{outer} sh -c '{within}'; {outer} {inner} sh -c '{deeper}'")
        } else {
            format!("{} sh -c '{within}'", bubblewrap("--ro-bind /proc"))
        };
        let script = format!("{start}; set -e; {script}");
        let mut words = vec!["run", "--rm", "--network=none"];
        words.extend(options);
        let volumes = program_volumes();
        words.extend(volumes.iter().map(String::as_str));
        words.extend([NAME, "sh", "-c", &script]);
        watch.hear(&docker(&words)?, 2)?;
        watch.sandboxed(name, |command| command.contains(&within))?;
    }
    watch.finish()
}

/// The start of a command that runs in a sandbox that comes to `/proc` in that way.
fn bubblewrap(proc: &str) -> String {
    format!(
        "bwrap --unshare-all --die-with-parent --ro-bind /bin /bin --ro-bind /usr /usr --ro-bind /lib /lib \
           --ro-bind /lib64 /lib64 --ro-bind /sys /sys {proc} /proc --dev /dev --tmpfs /tmp"
    )
}
