//! Images in archives: an OCI image layout (`oci-layout`, `index.json`) or what `docker save` writes
//! (`manifest.json`), in one tar file. Unpacked below a folder and nowhere else, whatever the
//! layers say.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use base16ct::lower::encode_string;
use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::User;
use super::spec::SpecError;

/// The longest JSON document of an image that is read, in bytes.
const DOCUMENT: u64 = 4 << 20;

/// How a gzip file starts.
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The name of a file that says: what lower layers have here under the rest of the name is gone.
const WHITEOUT: &[u8] = b".wh.";
/// And one that says: nothing of lower layers is left in this folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an image says about running it.
#[derive(Debug, Default)]
pub(super) struct ImageConfig {
    pub(super) command: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) user: Option<User>,
    pub(super) workdir: Option<PathBuf>,
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("cannot read the image {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} is no image: it has neither an index.json nor a manifest.json")]
    NoImage(PathBuf),
    #[error("the image {path} has no {name}")]
    NoFile { path: PathBuf, name: String },
    #[error("cannot understand {name} of the image")]
    Document { name: String, source: serde_json::Error },
    #[error("{name} of the image is not what its digest says")]
    Digest { name: String },
    #[error("the image is for several platforms, none of them linux/{0}")]
    Platform(&'static str),
    #[error("cannot unpack {name} of the image")]
    Unpack { name: String, source: io::Error },
    #[error("a layer of the image names {0:?}, which is outside of the image")]
    Outside(PathBuf),
    #[error("the image runs as {user:?}; give a number with --user")]
    User { user: String, source: SpecError },
}

/// Unpacks the image in `archive` into the folder `root`.
pub(super) fn unpack(archive: &Path, root: &Path) -> Result<ImageConfig, ImageError> {
    let mut files = Files::open(archive)?;
    let Image { config, layers } = files.image()?;
    for layer in &layers {
        files.unpack_layer(layer, root)?;
    }
    let config: ConfigFile = files.document(&config)?;
    let Settings { entrypoint, cmd, env, user, working_dir } = config.config.unwrap_or_default();
    let command = entrypoint.unwrap_or_default().into_iter().chain(cmd.unwrap_or_default());
    let user = match user.filter(|user| !user.is_empty()) {
        Some(user) => Some(user.parse().map_err(|source| ImageError::User { user, source })?),
        None => None,
    };
    Ok(ImageConfig {
        command: command.collect(),
        env: env.unwrap_or_default(),
        user,
        workdir: working_dir.filter(|dir| !dir.is_empty()).map(PathBuf::from),
    })
}

/// The files of the archive that an image is made of.
struct Image {
    config: String,
    layers: Vec<String>,
}

/// The files of an archive: where each stands.
struct Files {
    path: PathBuf,
    file: File,
    places: HashMap<String, (u64, u64)>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
    #[serde(rename = "mediaType", default)]
    media_type: String,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An image in the `manifest.json` of Docker.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct ConfigFile {
    config: Option<Settings>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
}

impl Files {
    fn open(path: &Path) -> Result<Self, ImageError> {
        let error = |source| ImageError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(error)?;
        let mut places = HashMap::new();
        let mut archive = Archive::new(BufReader::new(&mut file));
        for entry in archive.entries_with_seek().map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.path().map_err(error)?;
            let name = name.strip_prefix(".").unwrap_or(&name).to_string_lossy().into_owned();
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Self { path: path.to_owned(), file, places })
    }

    /// The image of the archive; of several, the first.
    fn image(&mut self) -> Result<Image, ImageError> {
        if self.places.contains_key("index.json") {
            let index: Index = self.document("index.json")?;
            let manifest: Manifest = self.manifest(&index)?;
            return Ok(Image {
                config: blob(&manifest.config),
                layers: manifest.layers.iter().map(blob).collect(),
            });
        }
        if self.places.contains_key("manifest.json") {
            let images: Vec<DockerImage> = self.document("manifest.json")?;
            if let Some(DockerImage { config, layers }) = images.into_iter().next() {
                return Ok(Image { config, layers });
            }
        }
        Err(ImageError::NoImage(self.path.clone()))
    }

    /// The manifest that an index leads to, perhaps through another index.
    fn manifest(&mut self, index: &Index) -> Result<Manifest, ImageError> {
        let chosen = choose(&index.manifests)?;
        let name = blob(chosen);
        if chosen.media_type.contains("index") || chosen.media_type.contains("manifest.list") {
            let inner: Index = self.document(&name)?;
            return self.document(&blob(choose(&inner.manifests)?));
        }
        self.document(&name)
    }

    /// Reads a file of the archive, and checks it against the digest that it is named after.
    fn document<T: for<'a> Deserialize<'a>>(&mut self, name: &str) -> Result<T, ImageError> {
        let mut bytes = Vec::new();
        let read = self.content(name)?.take(DOCUMENT).read_to_end(&mut bytes);
        read.map_err(|source| ImageError::Read { path: self.path.clone(), source })?;
        if let Some(digest) = digest_of(name)
            && encode_string(&Sha256::digest(&bytes)) != digest
        {
            return Err(ImageError::Digest { name: name.to_owned() });
        }
        serde_json::from_slice(&bytes)
            .map_err(|source| ImageError::Document { name: name.to_owned(), source })
    }

    fn unpack_layer(&mut self, name: &str, root: &Path) -> Result<(), ImageError> {
        let error = |source| ImageError::Unpack { name: name.to_owned(), source };
        if let Some(digest) = digest_of(name)
            && sha256(self.content(name)?).map_err(error)? != digest
        {
            return Err(ImageError::Digest { name: name.to_owned() });
        }
        let mut start = Vec::new();
        self.content(name)?.take(2).read_to_end(&mut start).map_err(error)?;
        let content = BufReader::new(self.content(name)?);
        if start == GZIP {
            unpack_tar(name, GzDecoder::new(content), root)
        } else {
            unpack_tar(name, content, root)
        }
    }

    fn content(&mut self, name: &str) -> Result<io::Take<&File>, ImageError> {
        let missing = || ImageError::NoFile { path: self.path.clone(), name: name.to_owned() };
        let &(at, len) = self.places.get(name).ok_or_else(missing)?;
        self.file
            .seek(SeekFrom::Start(at))
            .map_err(|source| ImageError::Read { path: self.path.clone(), source })?;
        Ok((&self.file).take(len))
    }
}

/// The descriptor for this machine, or the only one.
fn choose(descriptors: &[Descriptor]) -> Result<&Descriptor, ImageError> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_none_or(|platform| platform.os == "linux" && platform.architecture == architecture)
    };
    descriptors.iter().find(fits).ok_or(ImageError::Platform(architecture))
}

fn blob(descriptor: &Descriptor) -> String {
    format!("blobs/{}", descriptor.digest.replacen(':', "/", 1))
}

/// The SHA-256 digest that a file of the archive is named after.
fn digest_of(name: &str) -> Option<&str> {
    name.strip_prefix("blobs/sha256/")
}

/// The SHA-256 digest of all that can be read.
fn sha256(mut content: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(encode_string(&hash.finalize())),
            len => hash.update(piece.get(..len).unwrap_or_default()),
        }
    }
}

/// Unpacks one layer over what is there.
fn unpack_tar(name: &str, content: impl Read, root: &Path) -> Result<(), ImageError> {
    let error = |source| ImageError::Unpack { name: name.to_owned(), source };
    let mut archive = Archive::new(content);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    for entry in archive.entries().map_err(error)? {
        let mut entry = entry.map_err(error)?;
        let path = entry.path().map_err(error)?.into_owned();
        let inside = inside(&path)?;
        let file = inside.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let folder = root.join(inside.parent().unwrap_or(Path::new("")));
        if file == OPAQUE {
            remove_content(root, &folder).map_err(error)?;
        } else if let Some(hidden) = file.strip_prefix(WHITEOUT) {
            remove(root, &folder.join(OsStr::from_bytes(hidden))).map_err(error)?;
        } else if !inside.as_os_str().is_empty() {
            unpack_entry(&mut entry, root, &inside).map_err(error)?;
        }
    }
    Ok(())
}

/// `unpack_in` refuses what would be written through a link that leads out of the root.
fn unpack_entry(entry: &mut Entry<'_, impl Read>, root: &Path, inside: &Path) -> io::Result<()> {
    let target = root.join(inside);
    // A layer may put a file where a lower one has a folder, or the other way round.
    let is_folder = entry.header().entry_type() == EntryType::Directory;
    if let Ok(there) = fs::symlink_metadata(&target)
        && !(is_folder && there.is_dir())
    {
        remove(root, &target)?;
    }
    if !entry.unpack_in(root)? {
        return Err(io::Error::other(format!("{} is outside of the image", inside.display())));
    }
    Ok(())
}

/// A path of a layer, relative to the root.
fn inside(path: &Path) -> Result<PathBuf, ImageError> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ImageError::Outside(path.to_owned()));
            }
        }
    }
    Ok(inside)
}

/// Removes a file or folder of a lower layer, unless a link leads out of the root on the way.
fn remove(root: &Path, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| is_within(root, parent)) else {
        return Ok(());
    };
    let Some(name) = path.file_name() else { return Ok(()) };
    let path = parent.join(name);
    match fs::symlink_metadata(&path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(&path),
        Ok(_) => fs::remove_file(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_content(root: &Path, folder: &Path) -> io::Result<()> {
    if !is_within(root, folder) {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        remove(root, &entry?.path())?;
    }
    Ok(())
}

/// Whether a folder exists and is, links followed, within the root.
fn is_within(root: &Path, folder: &Path) -> bool {
    match (fs::canonicalize(root), fs::canonicalize(folder)) {
        (Ok(root), Ok(folder)) => folder.starts_with(root),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
