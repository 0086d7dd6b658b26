//! containerd as Kubernetes uses it: over the Container Runtime Interface, in its own words. The
//! messages are written and read by protoc with Kubernetes' own definition, and carried by curl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::image::{self, NAME, REPOSITORY};
use super::oci::{UNKNOWN, until};
use super::watch::{Told, Watch, file, later, says};
use super::{Daemon, cgroup_of, output};
use crate::agent::scratch;

/// How many pods are started and end one after the other.
const SHORT: u32 = 10;

const SOCKET: &str = "/run/containerd/containerd.sock";
const DEFINITION: &str = "/usr/share/cri/api.proto";

pub(super) fn run() -> Result<()> {
    let mut watch = Watch::start()?;
    let archive = image::archive(&image::layer(watch.rootfs.path())?)?;
    let (log, _) = file("containerd.log")?;
    let answers = || output(Command::new("ctr").arg("version")).is_ok();
    let daemon = Daemon::start(&mut Command::new("containerd"), &log, answers)?;
    output(Command::new("ctr").args(["-n=k8s.io", "images", "import"]).arg(&archive))?;

    watch.connected("containerd")?;
    let client = Client::new()?;
    let told = |name: &str, pod: &str| Told {
        name: name.into(),
        image: REPOSITORY.into(),
        pod: pod.into(),
        namespace: "tests".into(),
        label: "web".into(),
        ..Told::default()
    };
    let pod = Pod::start(&client, "first", SHORT, true)?;
    let mut containers = Vec::new();
    for (name, privileged) in [("left", false), ("right", true)] {
        let container = pod.container(&client, name, privileged, "exec sleep 1000")?;
        watch.hear(&until(&pod.log(name), "SAYS ")?, 1)?;
        watch.named(name, cgroup_of(&client.pid(&container)?)?)?;
        watch.identified_in_pod(name, UNKNOWN, &container, &pod.uid);
        watch.told(told(name, "first"))?;
        containers.push((name, container));
    }
    for (name, container) in &containers {
        // The probes of Kubernetes, which check health, are this.
        for deed in ["exec", "probe"] {
            watch.hear(&client.exec(container, &says(name, deed))?, 1)?;
        }
    }
    pod.stop(&client)?;
    for number in 0..SHORT {
        let name = format!("short-{number}");
        let pod = Pod::start(&client, &name, number, false)?;
        let container = pod.container(&client, &name, false, "true")?;
        watch.hear(&until(&pod.log(&name), "SAYS ")?, 1)?;
        watch.identified_in_pod(&name, UNKNOWN, &container, &pod.uid);
        watch.told(told(&name, &name))?;
        pod.stop(&client)?;
    }

    // One goes on while containerd is gone, and one comes when it is there again.
    let pod = Pod::start(&client, "second", SHORT + 1, false)?;
    let more = format!("{}; exec sleep 1000", later("orphan"));
    let container = pod.container(&client, "orphan", false, &more)?;
    watch.hear(&until(&pod.log("orphan"), "SAYS ")?, 1)?;
    watch.identified_in_pod("orphan", UNKNOWN, &container, &pod.uid);
    watch.told(told("orphan", "second"))?;
    let root = format!("/proc/{}/root/go", client.pid(&container)?);
    drop(daemon);
    watch.disconnected("containerd")?;
    fs::write(root, "")?;
    watch.acted("orphan", "later")?;
    let _daemon = Daemon::start(&mut Command::new("containerd"), &log, answers)?;
    watch.connected("containerd")?;
    watch.connections("containerd", 2)?;
    let container = pod.container(&client, "next", false, "true")?;
    watch.hear(&until(&pod.log("next"), "SAYS ")?, 1)?;
    watch.identified_in_pod("next", UNKNOWN, &container, &pod.uid);
    watch.told(told("next", "second"))?;
    pod.stop(&client)?;
    watch.finish()
}

/// A pod that runs.
struct Pod {
    id: String,
    uid: String,
    config: String,
    logs: PathBuf,
}

impl Pod {
    fn start(client: &Client, name: &str, number: u32, privileged: bool) -> Result<Self> {
        let logs = scratch()?;
        let uid = format!("0f6e6cb5-6c15-4c5a-8d7e-{number:012}");
        let config = format!(
            "metadata {{ name: {name:?} uid: {uid:?} namespace: \"tests\" attempt: 1 }}
             hostname: {name:?} log_directory: \"{}\"
             linux {{ cgroup_parent: \"/kubepods/burstable/pod{uid}\"
               security_context {{ privileged: {privileged} }} }}",
            logs.display()
        );
        let answer = client.call("RunPodSandbox", &format!("config {{ {config} }}"))?;
        Ok(Self { id: value(&answer, "pod_sandbox_id")?, uid, config, logs })
    }

    fn log(&self, container: &str) -> PathBuf {
        self.logs.join(container)
    }

    /// Starts a container that says who it is and then does `more`.
    fn container(
        &self,
        client: &Client,
        name: &str,
        privileged: bool,
        more: &str,
    ) -> Result<String> {
        let script = format!("{}; {more}", says(name, "start"));
        fs::write(self.log(name), "")?;
        let Self { id, config, .. } = self;
        let answer = client.call(
            "CreateContainer",
            &format!(
                "pod_sandbox_id: {id:?} sandbox_config {{ {config} }}
                 config {{ metadata {{ name: {name:?} }} image {{ image: {NAME:?} }}
                   command: [\"/bin/sh\", \"-c\", {script:?}] log_path: {name:?}
                   labels {{ key: \"team\" value: \"web\" }}
                   linux {{ security_context {{ privileged: {privileged} }} }} }}"
            ),
        )?;
        let container = value(&answer, "container_id")?;
        client.call("StartContainer", &format!("container_id: {container:?}"))?;
        Ok(container)
    }

    fn stop(&self, client: &Client) -> Result<()> {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            client.call(method, &format!("pod_sandbox_id: {:?}", self.id))?;
        }
        Ok(())
    }
}

/// Speaks to the runtime.
struct Client {
    dir: PathBuf,
}

impl Client {
    fn new() -> Result<Self> {
        let dir = scratch()?;
        // An option of newer definitions that this release's protoc does not know.
        let definition = fs::read_to_string(DEFINITION).context("read the definition of CRI")?;
        fs::write(dir.join("api.proto"), definition.replace(" [debug_redact = true]", ""))?;
        Ok(Self { dir })
    }

    /// Calls a method with a message in protobuf's text format, and returns the answer in it.
    fn call(&self, method: &str, request: &str) -> Result<String> {
        let path = |name: &str| self.dir.join(name);
        fs::write(path("request.txt"), request)?;
        self.protoc("--encode", &format!("{method}Request"), "request.txt", "request.bin")?;
        let message = fs::read(path("request.bin"))?;
        // A message of gRPC: not compressed, its length, itself.
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len())?.to_be_bytes());
        frame.extend(message);
        fs::write(path("request"), frame)?;
        output(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--http2-prior-knowledge",
                    "--unix-socket",
                    SOCKET,
                ])
                .args(["--header", "content-type: application/grpc", "--header", "te: trailers"])
                .arg("--dump-header")
                .arg(path("head"))
                .arg("--data-binary")
                .arg(format!("@{}", path("request").display()))
                .arg("--output")
                .arg(path("response"))
                .arg(format!("http://localhost/runtime.v1.RuntimeService/{method}")),
        )?;
        let head = fs::read_to_string(path("head"))?;
        ensure!(head.contains("grpc-status: 0"), "{method} {request}:\n{head}");
        let response = fs::read(path("response"))?;
        fs::write(path("response.bin"), response.get(5..).context("no message")?)?;
        self.protoc("--decode", &format!("{method}Response"), "response.bin", "response.txt")?;
        Ok(fs::read_to_string(path("response.txt"))?)
    }

    fn protoc(&self, way: &str, message: &str, from: &str, to: &str) -> Result<()> {
        let file = |name: &str| self.dir.join(name);
        let status = Command::new("protoc")
            .arg(format!("--proto_path={}", self.dir.display()))
            .arg(format!("{way}=runtime.v1.{message}"))
            .arg("api.proto")
            .stdin(fs::File::open(file(from))?)
            .stdout(fs::File::create(file(to))?)
            .status()?;
        ensure!(status.success(), "protoc cannot read {}", shown(&file(from)));
        Ok(())
    }

    /// Runs a script in a container and returns what it wrote.
    fn exec(&self, container: &str, script: &str) -> Result<String> {
        let request = format!(
            "container_id: {container:?} cmd: [\"/bin/sh\", \"-c\", {script:?}] timeout: 60"
        );
        let answer = self.call("ExecSync", &request)?;
        Ok(value(&answer, "stdout")?.replace("\\n", "\n"))
    }

    /// The process of a container, as the runtime names it.
    fn pid(&self, container: &str) -> Result<String> {
        let request = format!("container_id: {container:?} verbose: true");
        let answer = self.call("ContainerStatus", &request)?;
        let (_, rest) = answer.split_once("\\\"pid\\\":").context("no pid")?;
        Ok(rest.chars().take_while(char::is_ascii_digit).collect())
    }
}

fn shown(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of a field in protobuf's text format.
fn value(text: &str, field: &str) -> Result<String> {
    let start = format!("{field}: \"");
    let (_, rest) = text.split_once(&start).with_context(|| format!("no {field} in {text}"))?;
    let (value, _) = rest.split_once("\"\n").with_context(|| format!("a strange {field}"))?;
    Ok(value.to_owned())
}
