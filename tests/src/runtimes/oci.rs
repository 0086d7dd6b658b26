//! Runtimes that take a bundle: runc and crun.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::image::PROGRAMS;
use super::watch::{HOST, Watch, file, says};
use super::{cgroup_of, output};
use crate::agent::scratch;

/// What made a container, if its cgroup has but an id: nothing says whose that is.
pub(super) const UNKNOWN: &str = "unknown";

/// The life of containers of one runtime, and many short ones.
pub(super) fn run(runtime: &str, short: u32) -> Result<()> {
    let mut watch = Watch::start()?;
    let bundle = Bundle::new(watch.rootfs.path())?;

    let first = format!("{}; exec sleep 1000", says("first", "start"));
    bundle.write(&first, |_| Ok(()))?;
    let (log, stdout) = file("first.log")?;
    let pid_file = bundle.dir.join("pid");
    // A pipe would be held open by the container.
    let status = Command::new(runtime)
        .args(["run", "--detach", "--pid-file"])
        .arg(&pid_file)
        .args(["--bundle"])
        .arg(&bundle.dir)
        .arg("first")
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stdout)
        .status()?;
    ensure!(status.success(), "{runtime}: {status}: {}", fs::read_to_string(&log)?);
    let pid = fs::read_to_string(&pid_file)?;
    watch.hear(&until(&log, "SAYS ")?, 1)?;
    watch.named("first", cgroup_of(&pid)?)?;
    watch.identified("first", UNKNOWN, "first");

    let exec = |options: &[&str], script: &str| {
        output(Command::new(runtime).arg("exec").args(options).args(["first", "sh", "-c", script]))
    };
    watch.hear(&exec(&[], &says("first", "exec"))?, 1)?;
    let privileged = format!(
        "{}; mount -t tmpfs none /mnt && umount /mnt && busybox unshare -m true",
        says("first", "privileged-exec")
    );
    let powerful = ["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_SYS_PTRACE"];
    watch.hear(&exec(&powerful, &privileged)?, 1)?;
    // What health checks are: an exec every now and then.
    for _ in 0..3 {
        watch.hear(&exec(&[], &says("first", "health"))?, 1)?;
    }
    // A person who looks inside from the host.
    let script = says("first", "nsenter");
    let entered = output(Command::new("nsenter").args([
        "--target",
        pid.trim(),
        "--all",
        "--",
        "/bin/sh",
        "-c",
        &script,
    ]))?;
    ensure!(entered.contains("SAYS first/nsenter"), "{entered}");
    output(Command::new(runtime).args(["kill", "first", "KILL"]))?;
    output(Command::new(runtime).args(["delete", "--force", "first"]))?;

    // Hooks of the host run before, during and after the set-up.
    bundle.write(&says("hooked", "start"), |config| {
        let hook = |name: &str| json!([{ "path": "/usr/bin/true", "args": ["true", HOST, name] }]);
        config["hooks"] = json!({
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"), "poststart": hook("poststart"),
            "poststop": hook("poststop"),
        });
        Ok(())
    })?;
    watch.hear(&bundle.run(runtime, "hooked")?, 1)?;
    watch.identified("hooked", UNKNOWN, "hooked");
    bundle.write(&format!("{}; {PRIVILEGED}", says("privileged", "start")), |config| {
        allow_all(config);
        Ok(())
    })?;
    watch.hear(&bundle.run(runtime, "privileged")?, 1)?;
    for number in 0..short {
        let name = format!("short-{number}");
        bundle.write(&says(&name, "start"), |_| Ok(()))?;
        watch.hear(&bundle.run(runtime, &name)?, 1)?;
        watch.identified(&name, UNKNOWN, &name);
    }
    watch.finish()
}

/// Containers of these runtimes, and sandboxes, that a privileged container starts itself. All of it is
/// within the outer one.
pub(super) fn nest(runtimes: &[&str]) -> Result<()> {
    let mut watch = Watch::start()?;
    let bundle = Bundle::new(watch.rootfs.path())?;
    for runtime in runtimes {
        let name = format!("around-{runtime}");
        let inner = INNER.replace("RUNTIME", runtime);
        bundle.write(&format!("{}; set -e; {inner}", says(&name, "start")), |config| {
            allow_all(config);
            let mounts = config["mounts"].as_array_mut().context("no mounts")?;
            mounts.extend(PROGRAMS.map(|(source, target)| {
                json!({
                    "destination": target, "source": source, "type": "bind",
                    "options": ["rbind", "ro"],
                })
            }));
            Ok(())
        })?;
        let said = bundle.run(runtime, &name)?;
        watch.hear(&said, 1)?;
        ensure!(said.contains("innermost"), "{said}");
    }
    watch.finish()
}

const INNER: &str = "
    mkdir /sys/fs/cgroup/self; echo $$ > /sys/fs/cgroup/self/cgroup.procs
    bwrap --ro-bind /usr /usr --ro-bind /lib /lib --ro-bind /lib64 /lib64 --unshare-all --proc /proc \
      --dev /dev /usr/bin/true
    mkdir -p /tmp/inner/rootfs/bin; cd /tmp/inner
    cp /usr/bin/busybox rootfs/bin; ln -sf busybox rootfs/bin/sh; ln -sf busybox rootfs/bin/echo
    rm -f config.json; runc spec; sed -i 's/\"terminal\": true/\"terminal\": false/' config.json
    sed -i 's/^\t*\"sh\"$/\"sh\",\"-c\",\"echo innermost; exit 0\"/' config.json
    RUNTIME --root /tmp/state run inner </dev/null; rm -rf /tmp/inner";

/// What a privileged container may do: mounts, namespaces, cgroups and containers of its own.
const PRIVILEGED: &str = "
    mount -t tmpfs none /mnt && umount /mnt
    busybox unshare -mpf sh -c 'mount -t proc none /proc; true'
    busybox unshare -Urmpf true
    mkdir /sys/fs/cgroup/inner && echo $$ > /sys/fs/cgroup/inner/cgroup.procs && true";

const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD SYS_CHROOT SYS_ADMIN SYS_PTRACE \
    SETUID SETGID SETPCAP SETFCAP NET_ADMIN NET_RAW SYS_RESOURCE AUDIT_WRITE NET_BIND_SERVICE";

/// Gives a container what privileged ones have.
fn allow_all(config: &mut Value) {
    let all: Vec<String> = CAPABILITIES.split(' ').map(|name| format!("CAP_{name}")).collect();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(all);
    }
    config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "ro");
        }
    }
}

/// A folder with a `config.json`.
pub(super) struct Bundle {
    pub(super) dir: PathBuf,
    rootfs: PathBuf,
}

impl Bundle {
    pub(super) fn new(rootfs: &Path) -> Result<Self> {
        let dir = scratch()?;
        output(Command::new("runc").arg("spec").current_dir(&dir))?;
        fs::rename(dir.join("config.json"), dir.join("spec.json"))?;
        Ok(Self { dir, rootfs: rootfs.to_owned() })
    }

    /// Makes it a bundle that runs `script`.
    pub(super) fn write(
        &self,
        script: &str,
        change: impl Fn(&mut Value) -> Result<()>,
    ) -> Result<()> {
        let mut config: Value = serde_json::from_slice(&fs::read(self.dir.join("spec.json"))?)?;
        config["root"] = json!({ "path": self.rootfs, "readonly": false });
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        change(&mut config)?;
        Ok(fs::write(self.dir.join("config.json"), config.to_string())?)
    }

    pub(super) fn run(&self, runtime: &str, id: &str) -> Result<String> {
        output(&mut self.command(runtime, id))
    }

    /// The command that starts it with the very descriptors that are given to the command.
    pub(super) fn detached(&self, runtime: &str, id: &str) -> Command {
        let mut command = Command::new(runtime);
        command.args(["run", "--detach", "--bundle"]).arg(&self.dir).arg(id);
        command
    }

    /// The command that runs it to its end.
    pub(super) fn command(&self, runtime: &str, id: &str) -> Command {
        let mut command = Command::new(runtime);
        command.args(["run", "--bundle"]).arg(&self.dir).arg(id);
        command
    }
}

/// What is in a file once these words are.
pub(super) fn until(path: &Path, words: &str) -> Result<String> {
    for _ in 0..200 {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.contains(words) && text.ends_with('\n') {
            return Ok(text);
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("no {words:?} in {}", path.display())
}
