//! The whole mission: the agent from its own image, run as the `DaemonSet` says, detects escapes
//! from our containers and from runc's, and tells of them at every door.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::utsname::uname;
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::{Agent, Doors, scratch};
use crate::alert::is_posture;
use crate::container::{Rootfs, Traces};
use crate::escape::{Act, ESCAPES, ORDINARY, Props};
use crate::listener::{Identity, Listener};
use crate::suite::{Suite, Tier};
use crate::{nameserver, runc, tests};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "mission",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(8),
    wants: |guest| guest.is_plain(),
    tests: tests![the_agent_from_its_image_sees_every_escape, a_webhook_is_found_by_name_anywhere],
};

/// What the host has packed for this suite.
const IMAGE: &str = "/usr/share/shrike/shrike.tar";
const DAEMONSET: &str = "/usr/share/shrike/daemonset.yaml";

/// The name of the webhook's host.
const HOST: &str = "alerts.test";

/// A rule that a cluster adds to the default ones.
const OWN_RULES: &str = "
- rule: Marked command executed
  desc: A test executes a command of its own.
  condition: evt.type = execve and proc.args contains marked-by-cluster
  output: executed %proc.cmdline (pid=%proc.pid)
  priority: NOTICE
";

fn the_agent_from_its_image_sees_every_escape() -> Result<()> {
    nameserver::start(HOST)?;
    let identity = Identity::of(HOST)?;
    let listener = Listener::start_tls(&identity)?;
    let rootfs = Rootfs::new()?;
    rootfs.run(&[], &["true"])?.text()?;
    runc::script(&rootfs, "first", &[], "true")?.text()?;
    let props = Props::set()?;
    let folder = Folder::new(&identity)?;
    let traces = Traces::of_host()?;

    let agent = Pod::start(&folder, &listener.https_url(HOST))?;
    let mut acts = Vec::new();
    for (number, escape) in ESCAPES.iter().enumerate() {
        let act = escape.act(&rootfs, number % 2)?;
        detected(&agent, &listener, &act)?;
        acts.push(act);
    }
    for container in ["ours", "runc"] {
        let ordinary = if container == "ours" {
            rootfs.script(&[], ORDINARY)?
        } else {
            runc::script(&rootfs, "ordinary", &[], ORDINARY)?
        };
        ensure!(ordinary.text()?.ends_with("done"), "{container}: {ordinary:?}");
    }
    for (number, escape) in ESCAPES.iter().enumerate() {
        let act = escape.act_by((number + 1) % 2, |options, script| {
            runc::script(&rootfs, &format!("mission-{number}"), options, script)
        })?;
        detected(&agent, &listener, &act)?;
        acts.push(act);
    }
    // No alert is anybody else's, and none was left out. That nobody watched before is told once.
    let seen = agent.seen.take();
    let is_start = |alert: &Value| alert["output_fields"]["gap.reason"] == "start";
    ensure!(seen.iter().filter(|alert| is_start(alert)).count() == 1, "{seen:?}");
    let is_known = |alert: &&Value| is_start(alert) || is_posture(alert) || is_skipped(alert);
    for alert in seen.iter().filter(|alert| !is_known(alert)) {
        ensure!(acts.iter().any(|act| act.is_of(alert)), "nobody did this: {alert}");
    }
    let counted = agent.doors.metric("shrike_alerts_total", &[])?;
    ensure!(counted == seen.len() as u64, "{counted} alerts were counted, {} seen", seen.len());

    rootfs.run(&[], &["true", "marked-by-cluster"])?;
    agent.alert("the cluster's own rule", |alert| alert["rule"] == "Marked command executed")?;
    selftest(&mut Command::new("shrike"))?;
    // As `kubectl exec` does it.
    let own_mounts = format!("--mount=/proc/{}/ns/mnt", agent.pid()?);
    selftest(Command::new("nsenter").args([&own_mounts, "/usr/bin/shrike"]))?;
    let (ready, reasons) = agent.doors.get("/readyz")?;
    ensure!(ready == 200, "/readyz answers {ready}: {reasons}");
    agent.stop()?;
    drop(props);
    // What it leaves on purpose: until when it has watched, and what goes on watching.
    for left in ["/run/shrike/alive", "/sys/fs/bpf/shrike"] {
        ensure!(Path::new(left).exists(), "the next agent would not find {left}");
    }
    let output = Command::new("shrike").arg("cleanup").output()?;
    ensure!(output.status.success(), "{output:?}");
    traces.are_gone()
}

/// Every technique is detected.
fn selftest(shrike: &mut Command) -> Result<()> {
    let output = shrike.args(["selftest", "--json"]).output()?;
    let results: Vec<Value> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("no results: {output:?}"))?;
    ensure!(output.status.success() && results.len() > ESCAPES.len(), "{results:#?}");
    ensure!(results.iter().all(|result| result["outcome"] == "detected"), "{results:#?}");
    Ok(())
}

/// Whether it tells of runs of a probe that the kernel has skipped. From Linux 7 on, a program of a tracepoint
/// or a function is preempted as well, and not run for who comes there meanwhile: that is told, and cannot be
/// helped. Programs of LSM hooks are always run.
fn is_skipped(alert: &Value) -> bool {
    let fields = &alert["output_fields"];
    let is_preemptible =
        uname().is_ok_and(|host| host.release().to_string_lossy().starts_with("7."));
    let is_missed =
        |subject: &str| subject.ends_with(", missed") && !subject.ends_with("_lsm, missed");
    is_preemptible
        && fields["gap.reason"] == "loss"
        && fields["gap.subject"].as_str().is_some_and(is_missed)
}

/// The console, the webhook and the metrics show the alert that the act must raise.
fn detected(agent: &Pod, listener: &Listener, act: &Act) -> Result<()> {
    let what = format!("{act:?}");
    let console = agent.alert(&what, |alert| act.raised(alert))?;
    let posted = listener.expect(&what, |alert| act.raised(alert))?;
    ensure!(posted == console, "the webhook got {posted}\nthe console shows {console}");
    for key in ["uuid", "hostname", "time", "priority", "rule", "source", "tags", "output"] {
        ensure!(!posted[key].is_null(), "no {key} in {posted}");
    }
    ensure!(posted["hostname"] == "node-1", "{posted}");
    let counted = agent.doors.metric("shrike_alerts_total", &[("rule", act.rule)])?;
    ensure!(counted > 0, "no alert of {:?} is counted", act.rule);
    Ok(())
}

/// On a host whose C library would ask `systemd` for names, and which trusts the webhook's own
/// certificate.
fn a_webhook_is_found_by_name_anywhere() -> Result<()> {
    nameserver::start(HOST)?;
    fs::write("/etc/nsswitch.conf", "hosts: mymachines resolve dns\n")?;
    let identity = Identity::of(HOST)?;
    let listener = Listener::start_tls(&identity)?;
    let folder = Folder::new(&identity)?;
    let roots = folder.path("roots.pem");
    // SAFETY: this test's process has not started a thread that reads the environment.
    unsafe { std::env::set_var("SSL_CERT_FILE", &roots) };
    let rules = "- {rule: Opened, desc: d, condition: evt.type = openat and fd.name = /tmp/marked, \
                 output: opened %fd.name, priority: NOTICE}";
    let agent = Agent::start(rules, &["--webhook", &listener.https_url(HOST)])?;
    fs::write("/tmp/marked", "")?;
    File::open("/tmp/marked")?;
    listener.expect("the marked file", |alert| alert["rule"] == "Opened")?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    fs::remove_file("/tmp/marked")?;
    fs::remove_file("/etc/nsswitch.conf")?;
    Ok(())
}

/// What a node has for the pod.
struct Folder {
    dir: PathBuf,
}

impl Folder {
    fn new(identity: &Identity) -> Result<Self> {
        let folder = Self { dir: scratch()? };
        fs::write(folder.path("roots.pem"), &identity.pem)?;
        fs::create_dir(folder.path("rules"))?;
        fs::write(folder.path("rules/cluster.yaml"), OWN_RULES)?;
        fs::create_dir(folder.path("tmp"))?;
        for file in ["log", "pid"] {
            fs::write(folder.path(file), "")?;
        }
        // Both outlive the containers, as the folders of any program do.
        for own in ["/run/shrike", "/var/lib/shrike"] {
            fs::create_dir_all(own)?;
        }
        Ok(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The agent in a container of our launcher, as the manifest describes its pod.
struct Pod {
    launcher: Child,
    doors: Doors,
    alerts: Receiver<Value>,
    /// What has been read of them.
    seen: RefCell<Vec<Value>>,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Pod {
    fn start(folder: &Folder, webhook: &str) -> Result<Self> {
        let manifest = fs::read_to_string(DAEMONSET).context("read the manifest")?;
        let manifest: Value = serde_saphyr::from_str(&manifest).context("read the manifest")?;
        let options = options(&manifest["spec"]["template"]["spec"], folder)?;
        let (log, pid_file) = (folder.path("log"), folder.path("pid"));
        let mut launcher = Command::new("shrike")
            .args(["container", "run", "--image", IMAGE])
            .args(options.launcher)
            .arg("--pid-file")
            .arg(&pid_file)
            // A pod's network is not the launcher's business; what kubelet mounts into it is ours.
            .args(["--network", "host"])
            .args(["--volume", "/etc/resolv.conf:/etc/resolv.conf:ro"])
            .arg("--volume")
            .arg(format!(
                "{}:/etc/ssl/certs/ca-certificates.crt:ro",
                folder.path("roots.pem").display()
            ))
            // Of the image's own program.
            .arg("--")
            .args(options.arguments)
            .args(["--webhook", webhook])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("start the launcher")?;
        let stdout = launcher.stdout.take().context("no standard output")?;
        let (sender, alerts) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                let alert = serde_json::from_str(&line).unwrap_or(Value::Null);
                if sender.send(alert).is_err() {
                    return;
                }
            }
        });
        let doors = Doors { metrics: ([127, 0, 0, 1], 9750).into() };
        let mut pod = Self { launcher, doors, alerts, seen: RefCell::default(), log, pid_file };
        pod.wait_until_ready()?;
        Ok(pod)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !self.doors.get("/readyz").is_ok_and(|(status, _)| status == 200) {
            if let Some(status) = self.launcher.try_wait()? {
                bail!("the agent ended ({status}): {}", self.log());
            }
            ensure!(Instant::now() < deadline, "not ready: {}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits for an alert on the console that fits; the others before it are passed over.
    fn alert(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let Ok(alert) = self.alerts.recv_timeout(left) else { break };
            self.seen.borrow_mut().push(alert.clone());
            if fits(&alert) {
                return Ok(alert);
            }
        }
        bail!("no alert of {what} within 10 s, but {:#?}\n{}", self.seen.borrow(), self.log())
    }

    /// The agent's process.
    fn pid(&self) -> Result<u32> {
        Ok(fs::read_to_string(&self.pid_file)?.trim().parse()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.launcher.id())?), Signal::SIGTERM)?;
        let status = self.launcher.wait()?;
        ensure!(status.success(), "the agent did not end well ({status}): {}", self.log());
        Ok(())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// How the launcher is told what a pod's specification says.
struct Options {
    launcher: Vec<String>,
    arguments: Vec<String>,
}

fn options(pod: &Value, folder: &Folder) -> Result<Options> {
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    let mut launcher = Vec::new();
    let mut switch = |is_on: &Value, option: &str| {
        if is_on == true {
            launcher.push(option.to_owned());
        }
    };
    switch(&security["privileged"], "--privileged");
    switch(&security["readOnlyRootFilesystem"], "--read-only");
    switch(&pod["hostPID"], "--pid=host");
    for mount in container["volumeMounts"].as_array().context("no volume mounts")? {
        let target = mount["mountPath"].as_str().context("a mount without a path")?;
        let source = source(pod, &mount["name"], folder)?;
        let mode = if mount["readOnly"] == true { ":ro" } else { "" };
        launcher.push(format!("--volume={}:{target}{mode}", source.display()));
    }
    let arguments = container["args"].as_array().context("no arguments")?;
    let arguments = arguments.iter().filter_map(Value::as_str);
    Ok(Options {
        launcher,
        arguments: arguments.map(|text| text.replace("$(NODE_NAME)", "node-1")).collect(),
    })
}

/// Where the node has a volume.
fn source(pod: &Value, name: &Value, folder: &Folder) -> Result<PathBuf> {
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    let volume = volumes.iter().find(|volume| volume["name"] == *name).context("no such volume")?;
    if let Some(path) = volume["hostPath"]["path"].as_str() {
        return Ok(Path::new(path).to_owned());
    }
    if volume["configMap"].is_object() {
        return Ok(folder.path("rules"));
    }
    ensure!(volume["emptyDir"].is_object(), "a volume of another kind: {volume}");
    Ok(folder.path("tmp"))
}
