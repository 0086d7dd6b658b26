//! Containers by the distribution's runc, which knows nothing of us.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::agent::scratch;
use crate::container::{Ended, Rootfs, SHRIKE};

/// Runs a script in a container with the meaning that these options have for our launcher.
pub fn script(rootfs: &Rootfs, id: &str, options: &[&str], script: &str) -> Result<Ended> {
    let bundle = scratch()?;
    let spec = Command::new("runc").arg("spec").current_dir(&bundle).output()?;
    ensure!(spec.status.success(), "runc spec: {spec:?}");
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    configure(&mut config, rootfs.path(), options, script)?;
    fs::write(&file, config.to_string())?;
    let pid_file = bundle.join("pid");
    let output = Command::new("runc")
        .args(["run", "--pid-file"])
        .arg(&pid_file)
        .arg("--bundle")
        .arg(&bundle)
        .arg(id)
        .output()
        .context("start runc")?;
    let pid = fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse().ok());
    fs::remove_dir_all(bundle)?;
    Ended::new(&output, pid)
}

/// Changes what `runc spec` gives.
fn configure(config: &mut Value, rootfs: &Path, options: &[&str], script: &str) -> Result<()> {
    config["root"] = json!({ "path": rootfs, "readonly": false });
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", script]);
    mount(config, SHRIKE, SHRIKE)?;
    let mut capabilities: Vec<String> =
        ["CHOWN", "DAC_OVERRIDE", "KILL", "MKNOD", "SYS_CHROOT"].map(capability).into();
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("--cap-add", name) => capabilities.push(capability(name)),
            // All of them may be used, see below.
            ("--device-cgroup-rule", _) => {}
            ("--pid", "host") => {
                let namespaces = config["linux"]["namespaces"].as_array_mut();
                namespaces.context("no namespaces")?.retain(|ns| ns["type"] != "pid");
            }
            ("--volume", volume) => {
                let (source, target) = volume.split_once(':').context("a strange volume")?;
                mount(config, source, target)?;
            }
            ("--privileged", _) => {
                let more =
                    ["DAC_READ_SEARCH", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_PTRACE"];
                capabilities.extend(more.map(capability));
                config["process"]["noNewPrivileges"] = json!(false);
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
                let namespaces = config["linux"]["namespaces"].as_array_mut();
                namespaces.context("no namespaces")?.retain(|ns| ns["type"] != "cgroup");
            }
            ("--user", user) => {
                let (uid, gid) = user.split_once(':').context("a strange user")?;
                config["process"]["user"]["uid"] = json!(uid.parse::<u32>()?);
                config["process"]["user"]["gid"] = json!(gid.parse::<u32>()?);
                // As our launcher has it for any user but root.
                capabilities.clear();
            }
            ("--group-add", group) => {
                config["process"]["user"]["additionalGids"] = json!([group.parse::<u32>()?]);
            }
            ("--userns", first) => {
                let map = json!([{
                    "containerID": 0, "hostID": first.parse::<u32>()?, "size": 65536,
                }]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
                let namespaces = config["linux"]["namespaces"].as_array_mut();
                namespaces.context("no namespaces")?.push(json!({ "type": "user" }));
            }
            (other, _) => anyhow::bail!("runc is not told {other} yet"),
        }
    }
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(capabilities);
    }
    // Block devices, too.
    config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    Ok(())
}

fn capability(name: &str) -> String {
    format!("CAP_{name}")
}

/// Has the container see `source`.
pub fn mount(config: &mut Value, source: &str, target: &str) -> Result<()> {
    let mount = json!({
        "destination": target, "source": source, "type": "bind", "options": ["rbind", "rw"],
    });
    config["mounts"].as_array_mut().context("no mounts")?.push(mount);
    Ok(())
}
