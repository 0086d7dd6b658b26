//! What runtimes say only when asked to be verbose: JSON of no specified form, of which that is read
//! which containerd (`ContainerInfo`, `SandboxInfo`) and CRI-O (`containerInfo`) have had for years. All
//! of it may be absent.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

/// The key of the map, with both runtimes.
const KEY: &str = "info";

/// The image that a container was asked to have, by containerd and CRI-O.
const IMAGE_NAMES: [&str; 2] = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.Image"];

/// How CRI-O marks the sandbox of a privileged pod.
const PRIVILEGED_SANDBOX: &str = "io.kubernetes.cri-o.PrivilegedRuntime";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    #[serde(rename = "sandboxID")]
    pub(super) sandbox: String,
    /// CRI-O's.
    privileged: Option<bool>,
    /// What containerd was asked for.
    config: Option<Config>,
    #[serde(rename = "runtimeSpec")]
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    image: Option<Image>,
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Image {
    user_specified_image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    security_context: Option<SecurityContext>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityContext {
    /// Left out if it is false.
    privileged: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    annotations: Option<BTreeMap<String, String>>,
}

impl Info {
    /// Reads what is there. What is of another form says nothing, and is no reason to go without the
    /// rest of an answer.
    pub(super) fn read(info: &HashMap<String, String>) -> Self {
        info.get(KEY).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(super) fn privileged(&self) -> Option<bool> {
        let asked = || {
            let linux = self.config.as_ref()?.linux.as_ref()?;
            Some(linux.security_context.as_ref().is_some_and(|context| context.privileged))
        };
        let marked = || Some(self.annotation(PRIVILEGED_SANDBOX)? == "true");
        self.privileged.or_else(asked).or_else(marked)
    }

    /// The image as it was asked for.
    pub(super) fn image(&self) -> Option<&str> {
        let asked = || Some(self.config.as_ref()?.image.as_ref()?.user_specified_image.as_str());
        let noted = || IMAGE_NAMES.iter().find_map(|name| self.annotation(name));
        asked().filter(|name| !name.is_empty()).or_else(noted)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.spec.as_ref()?.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Info {
        Info::read(&HashMap::from([(KEY.to_owned(), value.to_string())]))
    }

    #[test]
    fn containerds() {
        let config = |context: Value| {
            read(&json!({
                "sandboxID": "5a", "pid": 42, "removing": false, "snapshotKey": "x",
                "config": {
                    "metadata": { "name": "c" },
                    "image": { "image": "sha256:1", "user_specified_image": "nginx:1" },
                    "linux": { "resources": {}, "security_context": context },
                },
                "runtimeSpec": { "process": {}, "annotations": {
                    "io.kubernetes.cri.image-name": "docker.io/library/nginx:1" } },
            }))
        };
        let info = config(json!({ "privileged": true }));
        assert_eq!(info.sandbox, "5a");
        assert_eq!((info.privileged(), info.image()), (Some(true), Some("nginx:1")));
        assert_eq!(config(json!({ "namespace_options": {} })).privileged(), Some(false));
        assert_eq!(config(Value::Null).privileged(), Some(false));
    }

    #[test]
    fn crios() {
        let info = read(&json!({
            "sandboxID": "5a", "pid": 0, "privileged": false,
            "runtimeSpec": { "annotations": { "io.kubernetes.cri-o.Image": "quay.io/a/b:1" } },
        }));
        assert_eq!(info.privileged(), Some(false));
        assert_eq!(info.image(), Some("quay.io/a/b:1"));
        let mark = json!({ "io.kubernetes.cri-o.PrivilegedRuntime": "true" });
        let sandbox = read(&json!({ "pid": 7, "runtimeSpec": { "annotations": mark } }));
        assert_eq!(sandbox.privileged(), Some(true));
    }

    #[test]
    fn another_form_says_nothing() {
        for value in [json!([]), json!({ "sandboxID": 1 }), json!({ "config": 1 }), json!(null)] {
            let info = read(&value);
            assert_eq!((info.privileged(), info.image()), (None, None));
        }
        assert_eq!(Info::read(&HashMap::new()).privileged(), None);
    }
}
