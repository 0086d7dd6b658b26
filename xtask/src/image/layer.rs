//! The one layer of the image: the agent, its rules, licences, and the roots of trust for webhooks.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base16ct::lower::encode_string;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Folders of the image, each with its mode.
const FOLDERS: [(&str, u32); 16] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/shrike", 0o755),
    ("etc/shrike/rules", 0o755),
    ("etc/shrike/rules.d", 0o755),
    ("etc/ssl", 0o755),
    ("etc/ssl/certs", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/share/doc/shrike", 0o755),
    ("var/lib", 0o755),
    ("var/lib/shrike", 0o755),
];

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

pub(super) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer as it stands in the image.
#[derive(Debug)]
pub(super) struct Layer {
    /// The tar file, compressed or not.
    pub(super) bytes: Vec<u8>,
    /// Which of the two: a media type of the OCI image specification.
    pub(super) media_type: &'static str,
    /// The SHA-256 digest of the tar file before compression.
    pub(super) diff_id: String,
}

/// Makes the layer with what `root`, the repository, has for it.
pub(super) fn build(binary: &Path, root: &Path) -> Result<Layer> {
    let mut tar = Builder::new(Vec::new());
    for (folder, mode) in FOLDERS {
        add(&mut tar, folder, EntryType::Directory, mode, b"")?;
    }
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut file =
        |path: &str, mode, content: &[u8]| add(&mut tar, path, EntryType::Regular, mode, content);
    file("etc/group", 0o644, GROUP.as_bytes())?;
    file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    file("etc/ssl/certs/ca-certificates.crt", 0o644, roots().as_bytes())?;
    for rules in rule_files(&root.join("rules/default"))? {
        let content = read(&root.join("rules/default").join(&rules))?;
        file(&format!("etc/shrike/rules/{rules}"), 0o644, &content)?;
    }
    file("usr/bin/shrike", 0o755, &read(binary)?)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let content = read(&root.join(licence))?;
        file(&format!("usr/share/doc/shrike/{licence}"), 0o644, &content)?;
    }
    let tar = tar.into_inner().context("cannot end the layer")?;
    let diff_id = digest(&tar);
    // Without a name or a time in its header.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&tar).context("cannot compress the layer")?;
    let bytes = gzip.finish().context("cannot compress the layer")?;
    Ok(Layer { bytes, diff_id, media_type: GZIP })
}

/// Makes a layer of nothing but a program, which is not compressed.
pub(super) fn of_one_program(path: &str, program: &[u8]) -> Result<Layer> {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, path, EntryType::Regular, 0o755, program)?;
    let bytes = tar.into_inner().context("cannot end the layer")?;
    Ok(Layer { diff_id: digest(&bytes), bytes, media_type: PLAIN })
}

/// The SHA-256 digest as images name it.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", encode_string(&Sha256::digest(bytes)))
}

/// Adds a file or folder of root's, of no particular time.
pub(super) fn add(
    tar: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).with_context(|| format!("cannot add {path}"))
}

fn rule_files(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Mozilla's root certificates, as PEM.
fn roots() -> String {
    const LINE: usize = 64;
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(LINE) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;
    use crate::workspace;

    fn layer() -> Layer {
        build(Path::new("/proc/self/exe"), &workspace::root()).unwrap()
    }

    #[test]
    fn has_what_the_agent_needs_and_nothing_to_write_to() {
        let layer = layer();
        let mut tar = Vec::new();
        GzDecoder::new(layer.bytes.as_slice()).read_to_end(&mut tar).unwrap();
        assert_eq!(digest(&tar), layer.diff_id);
        let mut names = Vec::new();
        for entry in Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            assert_eq!(entry.header().uid().unwrap(), 0);
            names.push(entry.path().unwrap().to_string_lossy().into_owned());
        }
        for name in [
            "usr/bin/shrike",
            "etc/shrike/rules/boundary.yaml",
            "etc/shrike/rules/escape.yaml",
            "etc/shrike/rules/credentials.yaml",
            "etc/ssl/certs/ca-certificates.crt",
            "usr/share/doc/shrike/LICENSE-MIT",
            "tmp",
        ] {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(layer().bytes, layer().bytes);
    }

    #[test]
    fn roots_are_pem() {
        let roots = roots();
        let begins = roots.matches("-----BEGIN CERTIFICATE-----").count();
        assert!(begins > 100 && begins == roots.matches("-----END CERTIFICATE-----").count());
        assert!(roots.lines().all(|line| line.len() <= 64));
    }
}
