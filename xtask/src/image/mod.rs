//! `cargo xtask image`: the agent's container image, made of nothing but what the agent needs.
//!
//! One tar file is both an OCI image layout and what `docker save` writes, so that docker, podman,
//! containerd and skopeo take it alike. The same input gives the same bytes.

mod archive;
mod layer;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::compile::{self, Profile};
use crate::console::{Step, note};
use crate::setup::{self, Part};
use crate::workspace;

/// The version of the image, which is the agent's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Options of `cargo xtask image`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Load it with one of:
  docker load --input FILE
  podman load --input FILE
  ctr --namespace k8s.io images import FILE
  skopeo copy oci-archive:FILE docker://registry.example.org/shrike:TAG")]
pub struct Options {
    /// Where the archive goes
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the image is called
    #[arg(long, value_name = "NAME:TAG", default_value_t = format!("shrike:{VERSION}"))]
    tag: String,
}

/// An image that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest: what it is known by in registries.
    pub digest: String,
    /// The size of the archive in bytes.
    pub size: u64,
}

/// Builds the release binary and puts it into an image.
pub fn run(cache: &Cache, options: &Options, offline: bool) -> Result<()> {
    setup::ensure(cache, &[Part::Toolchain], offline)?;
    let binary = {
        let _step = Step::start("Building", "the agent");
        compile::programs(&["shrike"], Profile::Release)?
    };
    let binary = binary.first().context("cargo built no agent")?;
    let output = match &options.output {
        Some(output) => output.clone(),
        None => workspace::target().join("image/shrike.tar"),
    };
    let Image { digest, size } = write(binary, &output, &options.tag)?;
    let megabytes = size.div_ceil(100_000);
    note("Written", output.display());
    note(
        "Image",
        format_args!("{} {digest} ({}.{} MB)", options.tag, megabytes / 10, megabytes % 10),
    );
    Ok(())
}

/// An image of nothing but a program, in an archive.
pub fn of_one_program(path: &str, program: &[u8]) -> Result<Vec<u8>> {
    let layer = layer::of_one_program(path, program)?;
    let settings = serde_json::json!({ "Cmd": [format!("/{path}")] });
    Ok(archive::build(&layer, "program:latest", &settings)?.1)
}

/// Writes an image with this agent to `output`.
pub fn write(binary: &Path, output: &Path, tag: &str) -> Result<Image> {
    let cannot = || format!("cannot write {}", output.display());
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    let layer = layer::build(binary, &workspace::root())?;
    let (digest, bytes) = archive::build(&layer, tag, &archive::agent())?;
    fs::write(output, &bytes).with_context(cannot)?;
    Ok(Image { digest, size: bytes.len() as u64 })
}
