//! Images in archives: an OCI image layout (`oci-layout`, `index.json`) or what `docker save` writes
//! (`manifest.json`), in one tar file. Layers are unpacked below a folder and nowhere else, whatever they
//! say.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::lchown;
use std::path::{Component, Path, PathBuf};

use base16ct::lower::encode_string;
use flate2::read::GzDecoder;
use nix::sys::stat::Mode;
use nix::sys::statvfs::statvfs;
use nix::unistd::mkfifo;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::spec::{SpecError, StopSignal};
use super::{User, fault};

/// The longest JSON document of an image that is read, in bytes.
const DOCUMENT: u64 = 4 << 20;

/// How a gzip file starts.
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// How a zstd file starts.
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The name of a file that says: what lower layers have here under the rest of the name is gone.
const WHITEOUT: &[u8] = b".wh.";
/// And one that says: nothing of lower layers is left in this folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an image says about running it.
#[derive(Debug, Default)]
pub(super) struct ImageConfig {
    /// The program that is started.
    pub(super) entrypoint: Vec<String>,
    /// What it is started with, or the whole command.
    pub(super) arguments: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) user: Option<User>,
    pub(super) workdir: Option<PathBuf>,
    pub(super) stop_signal: Option<StopSignal>,
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
    #[error("{0} of the image is compressed by zstd, which is not supported: save it by gzip")]
    Compression(String),
    #[error("{0} of the image is no SHA-256 digest")]
    Name(String),
    #[error("the whiteout {0} in a layer of the image names no file")]
    Whiteout(PathBuf),
    #[error("a layer of the image would make {path} {what}")]
    Hostile { path: PathBuf, what: &'static str },
    #[error("the image unpacks to more than {0} MiB, which is what the disk has room for")]
    TooLarge(u64),
    #[error("a layer of the image takes more than {0} MiB of memory to unpack")]
    Memory(u64),
    #[error("cannot unpack the image: {0}")]
    Unpacker(String),
    #[error("the image runs as {user:?}; give a number with --user")]
    User { user: String, source: SpecError },
    #[error("the image wants its command to be stopped by a signal that there is not")]
    StopSignal(#[source] SpecError),
}

/// An image, and the archive that it is in.
pub(super) struct Image {
    files: Files,
    /// The file that says how to run it.
    config: String,
    /// From the lowest one on.
    layers: Vec<Layer>,
}

/// The files of an archive that an image is made of.
struct Parts {
    config: String,
    layers: Vec<String>,
}

/// A layer, and what its file must be.
struct Layer {
    name: String,
    digest: String,
    id: LayerId,
}

/// What tells a layer, as it is above those below it, from all others.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct LayerId(String);

impl Image {
    /// Opens the image in an archive.
    pub(super) fn open(archive: &Path) -> Result<Self, ImageError> {
        let mut files = Files::open(archive)?;
        let Parts { config, layers: names } = files.parts()?;
        let mut layers: Vec<Layer> = Vec::new();
        for name in names {
            let digest = match digest_of(&name) {
                Some(digest) => digest.to_owned(),
                None => sha256(files.content(&name)?)
                    .map_err(|source| ImageError::Unpack { name: name.clone(), source })?,
            };
            let id = match layers.last() {
                Some(below) => encode_string(&Sha256::digest(format!("{} {digest}", below.id.0))),
                None => digest.clone(),
            };
            let id = LayerId::parse(&id).ok_or_else(|| ImageError::Name(name.clone()))?;
            layers.push(Layer { name, digest, id });
        }
        Ok(Self { files, config, layers })
    }

    /// What it says about running it.
    pub(super) fn config(&mut self) -> Result<ImageConfig, ImageError> {
        let config: ConfigFile = self.files.document(&self.config)?;
        let Settings { entrypoint, cmd, env, user, working_dir, stop_signal } =
            config.config.unwrap_or_default();
        let user = match user.filter(|user| !user.is_empty()) {
            Some(user) => Some(user.parse().map_err(|source| ImageError::User { user, source })?),
            None => None,
        };
        let stop_signal = stop_signal.filter(|name| !name.is_empty()).map(|name| name.parse());
        Ok(ImageConfig {
            entrypoint: entrypoint.unwrap_or_default(),
            arguments: cmd.unwrap_or_default(),
            env: env.unwrap_or_default(),
            user,
            workdir: working_dir.filter(|dir| !dir.is_empty()).map(PathBuf::from),
            stop_signal: stop_signal.transpose().map_err(ImageError::StopSignal)?,
        })
    }

    /// Its layers, from the lowest one on. What a layer means depends on those below it, so each is told by
    /// all of them, as by the `ChainID` of the OCI image specification.
    pub(super) fn layers(&self) -> Vec<LayerId> {
        self.layers.iter().map(|layer| layer.id.clone()).collect()
    }

    /// Unpacks a layer, by its place among them, over what is in the folder `root`.
    pub(super) fn unpack(&mut self, layer: usize, root: &Path) -> Result<(), ImageError> {
        match self.layers.get(layer) {
            Some(layer) => self.files.unpack_layer(layer, root),
            None => Ok(()),
        }
    }
}

impl LayerId {
    /// Reads an id: it names a folder.
    pub(super) fn parse(text: &str) -> Option<Self> {
        is_digest(text).then(|| Self(text.to_owned()))
    }

    /// The id.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
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
    stop_signal: Option<String>,
}

impl Files {
    fn open(path: &Path) -> Result<Self, ImageError> {
        let error = |source| ImageError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(error)?;
        fault::step().map_err(error)?;
        let mut places = HashMap::new();
        let mut archive = Archive::new(BufReader::new(&mut file));
        // What names of more than 100 bytes take is read into memory otherwise, however much that is.
        for entry in archive.entries_with_seek().map_err(error)?.raw(true) {
            let entry = entry.map_err(error)?;
            let name = entry.path().map_err(error)?;
            let name = name.strip_prefix(".").unwrap_or(&name).to_string_lossy().into_owned();
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Self { path: path.to_owned(), file, places })
    }

    /// What the image of the archive is made of; of several, the first.
    fn parts(&mut self) -> Result<Parts, ImageError> {
        if self.places.contains_key("index.json") {
            let index: Index = self.document("index.json")?;
            let manifest: Manifest = self.manifest(&index)?;
            return Ok(Parts {
                config: blob(&manifest.config)?,
                layers: manifest.layers.iter().map(blob).collect::<Result<_, _>>()?,
            });
        }
        if self.places.contains_key("manifest.json") {
            let images: Vec<DockerImage> = self.document("manifest.json")?;
            if let Some(DockerImage { config, layers }) = images.into_iter().next() {
                return Ok(Parts { config, layers });
            }
        }
        Err(ImageError::NoImage(self.path.clone()))
    }

    /// The manifest that an index leads to, perhaps through another index.
    fn manifest(&mut self, index: &Index) -> Result<Manifest, ImageError> {
        let chosen = choose(&index.manifests)?;
        let name = blob(chosen)?;
        if chosen.media_type.contains("index") || chosen.media_type.contains("manifest.list") {
            let inner: Index = self.document(&name)?;
            return self.document(&blob(choose(&inner.manifests)?)?);
        }
        self.document(&name)
    }

    /// Reads a file of the archive, and checks it against the digest that it is named after.
    fn document<T: for<'a> Deserialize<'a>>(&mut self, name: &str) -> Result<T, ImageError> {
        let mut bytes = Vec::new();
        let read = self.content(name)?.take(DOCUMENT).read_to_end(&mut bytes);
        read.and_then(|_| fault::step())
            .map_err(|source| ImageError::Read { path: self.path.clone(), source })?;
        if let Some(digest) = digest_of(name)
            && encode_string(&Sha256::digest(&bytes)) != digest
        {
            return Err(ImageError::Digest { name: name.to_owned() });
        }
        serde_json::from_slice(&bytes)
            .map_err(|source| ImageError::Document { name: name.to_owned(), source })
    }

    /// What is unpacked is what was looked at: the file may be another one by the second time.
    fn unpack_layer(&mut self, layer: &Layer, root: &Path) -> Result<(), ImageError> {
        let Layer { name, digest, id: _ } = layer;
        let error = |source| ImageError::Unpack { name: name.clone(), source };
        let mut start = Vec::new();
        self.content(name)?.take(4).read_to_end(&mut start).map_err(error)?;
        let mut content = Hashed { content: self.content(name)?, hash: Sha256::new() };
        let reader = BufReader::new(&mut content);
        if start.starts_with(&GZIP) {
            unpack_tar(name, GzDecoder::new(reader), root)?;
        } else if start.starts_with(&ZSTD) {
            return Err(ImageError::Compression(name.clone()));
        } else {
            unpack_tar(name, reader, root)?;
        }
        io::copy(&mut content, &mut io::sink()).and_then(|_| fault::step()).map_err(error)?;
        if encode_string(&content.hash.finalize()) != *digest {
            return Err(ImageError::Digest { name: name.clone() });
        }
        Ok(())
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

/// The file that a descriptor is of. Other algorithms are registered, but nobody uses them, and what cannot be
/// checked is not taken.
fn blob(descriptor: &Descriptor) -> Result<String, ImageError> {
    let digest = descriptor.digest.strip_prefix("sha256:").filter(|digest| is_digest(digest));
    match digest {
        Some(digest) => Ok(format!("blobs/sha256/{digest}")),
        None => Err(ImageError::Name(descriptor.digest.clone())),
    }
}

/// Whether it is a SHA-256 digest, in hexadecimal digits.
fn is_digest(text: &str) -> bool {
    const DIGITS: usize = 64;
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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

/// What is read, and the digest of what has been read of it.
struct Hashed<R> {
    content: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.content.read(buffer)?;
        self.hash.update(buffer.get(..len).unwrap_or_default());
        Ok(len)
    }
}

/// Unpacks one layer over what is there.
fn unpack_tar(name: &str, content: impl Read, root: &Path) -> Result<(), ImageError> {
    /// What any entry takes of the disk.
    const LEAST: u64 = 4096;
    let error = |source| ImageError::Unpack { name: name.to_owned(), source };
    let mut archive = Archive::new(content);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    let free = room(root).map_err(error)?;
    let mut taken = 0_u64;
    // What is hidden is only what lower layers have, wherever in the layer that is said.
    let mut own = BTreeSet::new();
    for entry in archive.entries().map_err(error)? {
        let mut entry = entry.map_err(error)?;
        if entry.header().entry_type().is_pax_global_extensions() {
            // It says something of the archive, and has no place in it.
            continue;
        }
        let path = entry.path().map_err(error)?.into_owned();
        let inside = inside(&path)?;
        refuse_hostile(&mut entry, &inside)?;
        // A folder, or an empty file, takes room as well.
        taken = taken.saturating_add(entry.size().max(LEAST));
        if taken > free {
            return Err(ImageError::TooLarge(free >> 20));
        }
        let file = inside.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let folder = root.join(inside.parent().unwrap_or(Path::new("")));
        if file == OPAQUE {
            remove_content(root, &folder, &own).map_err(error)?;
        } else if let Some(hidden) = file.strip_prefix(WHITEOUT) {
            match hidden {
                b"" | b"." | b".." => {
                    return Err(ImageError::Whiteout(inside));
                }
                // What aufs noted for itself (`.wh..wh.aufs`, `.wh..wh.plnk`).
                _ if hidden.starts_with(WHITEOUT) => continue,
                _ => {}
            }
            let hidden = folder.join(OsStr::from_bytes(hidden));
            if !own.contains(&hidden) {
                remove(root, &hidden).map_err(error)?;
            }
        } else if !inside.as_os_str().is_empty() {
            unpack_entry(&mut entry, root, &inside).map_err(error)?;
            own.extend(inside.ancestors().map(|path| root.join(path)));
        }
    }
    Ok(())
}

/// How many bytes may be written to the file system of a folder: it is not filled up.
fn room(root: &Path) -> io::Result<u64> {
    const LEFT: u64 = 20;
    let free = statvfs(root)?;
    let free = free.blocks_available().saturating_mul(free.fragment_size());
    Ok(free - free / LEFT)
}

/// Refuses what no image needs: devices, and what the overlay file system would take for its own marks.
fn refuse_hostile(entry: &mut Entry<'_, impl Read>, inside: &Path) -> Result<(), ImageError> {
    const MARKS: [&[u8]; 2] = [b"SCHILY.xattr.trusted.overlay.", b"SCHILY.xattr.user.overlay."];
    let hostile = |what| Err(ImageError::Hostile { path: inside.to_owned(), what });
    if matches!(entry.header().entry_type(), EntryType::Block | EntryType::Char) {
        return hostile("a device");
    }
    // What cannot be read is refused when the entry is unpacked.
    let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(()) };
    let is_mark = |key: &[u8]| MARKS.iter().any(|mark| key.starts_with(mark));
    if extensions.flatten().any(|extension| is_mark(extension.key_bytes())) {
        return hostile("a part of an overlay");
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
    if entry.header().entry_type() == EntryType::Fifo {
        return make_fifo(entry, root, &target);
    }
    let attributes = attributes(entry)?;
    if !entry.unpack_in(root)? {
        return Err(io::Error::other(format!("{} is outside of the image", inside.display())));
    }
    // What was unpacked is no link to elsewhere: this follows none.
    attributes.iter().try_for_each(|(name, value)| xattr::set(&target, name, value))
}

/// The extended attributes of a file, but for its context of `SELinux`: what the host's policy knows it by is
/// not for an image to say.
fn attributes(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    const PREFIX: &[u8] = b"SCHILY.xattr.";
    const CONTEXT: &[u8] = b"security.selinux";
    let mut attributes = Vec::new();
    // Links of both kinds have none of their own.
    let kind = entry.header().entry_type();
    if kind.is_hard_link() || kind.is_symlink() {
        return Ok(attributes);
    }
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        match extension.key_bytes().strip_prefix(PREFIX) {
            Some(name) if name != CONTEXT => {
                let name = OsStr::from_bytes(name).to_owned();
                attributes.push((name, extension.value_bytes().to_vec()));
            }
            _ => {}
        }
    }
    Ok(attributes)
}

/// Of which the library would make an empty file.
fn make_fifo(entry: &Entry<'_, impl Read>, root: &Path, target: &Path) -> io::Result<()> {
    let parent = target.parent().filter(|parent| is_within(root, parent));
    if parent.is_none() {
        return Err(io::Error::other(format!("{} has no folder in the image", target.display())));
    }
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
    let (uid, gid) = (id(header.uid()?)?, id(header.gid()?)?);
    mkfifo(target, Mode::from_bits_truncate(header.mode()?))?;
    lchown(target, Some(uid), Some(gid))
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

/// Removes what is in a folder, but for these.
fn remove_content(root: &Path, folder: &Path, own: &BTreeSet<PathBuf>) -> io::Result<()> {
    if !is_within(root, folder) {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !own.contains(&entry.path()) {
            remove(root, &entry.path())?;
        } else if entry.file_type()?.is_dir() {
            remove_content(root, &entry.path(), own)?;
        }
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
