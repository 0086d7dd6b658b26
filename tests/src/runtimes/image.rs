//! Images for runtimes that know no folder, without a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::json;

use super::output;
use crate::agent::scratch;

/// The name under which each runtime has the image.
pub(super) const NAME: &str = "localhost/base:1";
pub(super) const REPOSITORY: &str = "localhost/base";

/// The folders of the host, each with where a container sees it, that give it the host's programs.
pub(super) const PROGRAMS: [(&str, &str); 3] =
    [("/usr", "/usr"), ("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")];

/// A file to build an image from, whose steps run programs.
pub(super) fn recipe(steps: &[String]) -> Result<PathBuf> {
    let dir = scratch()?;
    let steps = steps.join("\nRUN ");
    fs::write(dir.join("Dockerfile"), format!("FROM {NAME}\nRUN {steps}\n"))?;
    Ok(dir)
}

/// The files of a root file system as one archive.
pub(super) fn layer(rootfs: &Path) -> Result<PathBuf> {
    let path = scratch()?.join("base.tar");
    output(Command::new("tar").arg("-C").arg(rootfs).arg("-cf").arg(&path).arg("."))?;
    Ok(path)
}

/// An archive in the layout of OCI, with one layer.
pub(super) fn archive(layer: &Path) -> Result<PathBuf> {
    let dir = scratch()?;
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let (layer_digest, layer_size) = blob(&blobs, &fs::read(layer)?)?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000"] },
        "rootfs": { "type": "layers", "diff_ids": [&layer_digest] },
    });
    let (config_digest, config_size) = blob(&blobs, config.to_string().as_bytes())?;
    let kind = |what: &str| format!("application/vnd.oci.image.{what}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
        "config":
            { "mediaType": kind("config.v1+json"), "digest": config_digest, "size": config_size },
        "layers":
            [{ "mediaType": kind("layer.v1.tar"), "digest": layer_digest, "size": layer_size }],
    });
    let (digest, size) = blob(&blobs, manifest.to_string().as_bytes())?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": kind("manifest.v1+json"), "digest": digest, "size": size,
            "annotations": { "io.containerd.image.name": NAME },
        }],
    });
    fs::write(dir.join("index.json"), index.to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let path = scratch()?.join("image.tar");
    output(Command::new("tar").arg("-C").arg(&dir).arg("-cf").arg(&path).arg("."))?;
    Ok(path)
}

/// Adds a blob and returns its digest and size.
fn blob(blobs: &Path, content: &[u8]) -> Result<(String, usize)> {
    let file = blobs.join("new");
    fs::write(&file, content)?;
    let listing = output(Command::new("sha256sum").arg(&file))?;
    let digest = listing.split(' ').next().unwrap_or_default();
    fs::rename(&file, blobs.join(digest))?;
    Ok((format!("sha256:{digest}"), content.len()))
}
