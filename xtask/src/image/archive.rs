//! The archive around the layer: configuration, manifest and index, by the OCI image specification
//! 1.1, and the `manifest.json` that `docker load` reads, over the same blobs.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::VERSION;
use super::layer::{Layer, add, digest};

/// Returns the digest of the manifest, and the archive. `settings` is what containers are started with.
pub(super) fn build(layer: &Layer, tag: &str, settings: &Value) -> Result<(String, Vec<u8>)> {
    let config = config(layer, settings).to_string().into_bytes();
    let manifest = manifest(&config, layer).to_string().into_bytes();
    let index = index(&manifest, tag).to_string();
    let docker = json!([{
        "Config": blob(&digest(&config)),
        "RepoTags": [tag],
        "Layers": [blob(&digest(&layer.bytes))],
    }]);
    let mut tar = Builder::new(Vec::new());
    let mut file =
        |path: &str, content: &[u8]| add(&mut tar, path, EntryType::Regular, 0o644, content);
    for content in [&config, &manifest, &layer.bytes] {
        file(&blob(&digest(content)), content)?;
    }
    file("index.json", index.as_bytes())?;
    file("manifest.json", docker.to_string().as_bytes())?;
    file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok((digest(&manifest), tar.into_inner().context("cannot end the archive")?))
}

/// How the agent is started.
pub(super) fn agent() -> Value {
    json!({
        "Entrypoint": ["/usr/bin/shrike"],
        "Cmd": ["run", "--rules", "/etc/shrike/rules"],
        "Env": [
            "PATH=/usr/bin",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        ],
        "ExposedPorts": { "9750/tcp": {} },
        "Labels": {
            "org.opencontainers.image.title": "shrike",
            "org.opencontainers.image.description":
                "A runtime security agent for container hosts",
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        },
    })
}

fn config(layer: &Layer, settings: &Value) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": settings,
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
        "history": [{ "created_by": "cargo xtask image" }],
    })
}

fn manifest(config: &[u8], layer: &Layer) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor(layer.media_type, &layer.bytes)],
    })
}

fn index(manifest: &[u8], tag: &str) -> Value {
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
    // Tools that take OCI archives want the tag alone, containerd the whole name.
    let short = tag.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] = json!({
        "io.containerd.image.name": full_name(tag),
        "org.opencontainers.image.ref.name": short,
    });
    entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// The name as Docker completes it: of a short one, the registry and the folder are implied.
fn full_name(tag: &str) -> String {
    match tag.split_once('/') {
        None => format!("docker.io/library/{tag}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => tag.to_owned(),
        Some(_) => format!("docker.io/{tag}"),
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read;

    use tar::Archive;

    use super::super::layer::GZIP;
    use super::*;

    fn files() -> (String, HashMap<String, Vec<u8>>) {
        let layer = Layer { bytes: b"layer".to_vec(), diff_id: digest(b"tar"), media_type: GZIP };
        let (digest, archive) = build(&layer, "shrike:1", &agent()).unwrap();
        let mut files = HashMap::new();
        for entry in Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        (digest, files)
    }

    #[test]
    fn every_digest_is_that_of_its_blob() {
        let (_, files) = files();
        let blobs: Vec<_> = files.iter().filter(|(name, _)| name.starts_with("blobs/")).collect();
        assert_eq!(blobs.len(), 3);
        for (name, content) in blobs {
            assert_eq!(*name, blob(&digest(content)));
        }
    }

    #[test]
    fn both_ways_lead_to_the_same_blobs() {
        let (digest, files) = files();
        let json = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
        let index = json("index.json");
        assert_eq!(index["manifests"][0]["digest"], digest);
        let manifest = json(&blob(&digest));
        let docker = json("manifest.json");
        let same = |oci: &Value, docker: &Value| {
            assert_eq!(blob(oci["digest"].as_str().unwrap()), docker.as_str().unwrap());
        };
        same(&manifest["config"], &docker[0]["Config"]);
        same(&manifest["layers"][0], &docker[0]["Layers"][0]);
        let config = json(docker[0]["Config"].as_str().unwrap());
        assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/shrike");
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        assert_eq!(full_name("shrike:1"), "docker.io/library/shrike:1");
        assert_eq!(full_name("me/shrike:1"), "docker.io/me/shrike:1");
        assert_eq!(full_name("registry.example.org/shrike:1"), "registry.example.org/shrike:1");
        assert_eq!(full_name("localhost/shrike:1"), "localhost/shrike:1");
    }
}
