//! What Podman writes down of a container when it makes it (`containers.json` and, of one that is removed when it
//! ends, `volatile-containers.json` of containers/storage). It is there before the container's first process,
//! while the runtime itself says nothing as long as it starts the container, and a user's mostly has no socket.
//! Where one can be asked, what it says counts: that is more.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use shrike_common::{Pid, StartTime};

use super::counters::{Counter, Counters};
use super::details::{Details, Room};
use super::failure::excerpt;
use super::family::Family;
use super::image::Image;
use super::key::{Key, Scope};
use super::limits::Limits;
use crate::context::errand::{Errand, Errands};
use crate::context::file::{Found, Refusal};
use crate::context::process::Folder;

/// How many may wait to be read. More come only while one keeps the thread waiting.
const QUEUE: usize = 256;

/// The files, beside the containers' folders.
const FILES: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// What is written down of a container, and where.
#[derive(Debug)]
pub(crate) struct Record {
    key: Key,
    /// The process in whose root it is.
    reader: (Pid, StartTime),
    /// The folder with the files.
    folder: PathBuf,
    details: OnceLock<Option<Arc<Details>>>,
}

/// The threads that read: what users have made may keep theirs waiting.
#[derive(Debug)]
pub(super) struct Records {
    of_host: Errands<Reading>,
    of_users: Errands<Reading>,
    counters: Arc<Counters>,
}

/// A record that is to be read.
#[derive(Debug)]
struct Reading {
    record: Arc<Record>,
    counters: Arc<Counters>,
}

/// An entry of the files.
#[derive(Deserialize)]
struct Entry {
    id: String,
    /// More JSON.
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    name: String,
    #[serde(default)]
    image_name: String,
    #[serde(default)]
    image_id: String,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its conmon has ended")]
    Ended,
    #[error("{0}: {1}")]
    File(&'static str, Refusal),
    #[error("{0} is of user {1}")]
    Owner(&'static str, u32),
    #[error("{0}: {1}")]
    Json(&'static str, serde_json::Error),
    #[error("it is not in {}", FILES.join(" or "))]
    Absent,
}

impl Record {
    /// That of a container whose bundle is there, in the root of a process of its user's.
    pub(crate) fn new(key: Key, reader: (Pid, StartTime), bundle: &Path) -> Self {
        // An exec has a folder of its own further in.
        let id = key.id.to_string();
        let mut above = bundle.ancestors();
        above.find(|path| path.ends_with(&id));
        let folder = above.next().unwrap_or(bundle).to_owned();
        Self { key, reader, folder, details: OnceLock::new() }
    }

    /// What is written down, once that is read.
    pub(crate) fn details(&self) -> Option<&Arc<Details>> {
        self.details.get()?.as_ref()
    }

    /// Whether it is still to be read.
    pub(crate) fn is_open(&self) -> bool {
        self.details.get().is_none()
    }

    /// It is known what there is to know.
    fn close(&self, details: Option<Details>) {
        // Whoever was first has told the same.
        let _ = self.details.set(details.map(Arc::new));
    }

    fn read(&self) -> Result<Details, Failure> {
        let root = self.root().ok_or(Failure::Ended)?;
        for name in FILES {
            let path = self.folder.join(name);
            let path = path.strip_prefix("/").unwrap_or(&path);
            let found =
                Found::below(&root, path).map_err(|refusal| Failure::File(name, refusal))?;
            let Some(found) = found else { continue };
            let owner = found.stat().st_uid;
            if owner != self.key.scope.uid() {
                return Err(Failure::Owner(name, owner));
            }
            let most = Limits::of(self.key.scope).records;
            let text = found.read(most).map_err(|refusal| Failure::File(name, refusal))?;
            if let Some(details) = self.find(&text).map_err(|error| Failure::Json(name, error))? {
                return Ok(details);
            }
        }
        Err(Failure::Absent)
    }

    /// The root of its process, if that is still there.
    fn root(&self) -> Option<OwnedFd> {
        let (pid, start) = self.reader;
        Folder::of(Path::new("/proc"), pid, start)?.root().ok()
    }

    fn find(&self, text: &[u8]) -> serde_json::Result<Option<Details>> {
        let mut texts = serde_json::Deserializer::from_slice(text);
        let found = texts.deserialize_seq(Search(&self.key.id.to_string()))?;
        texts.end()?;
        let Some(entry) = found else { return Ok(None) };
        let Metadata { name, image_name, image_id } = serde_json::from_str(&entry.metadata)?;
        let mut room = Room::new();
        Ok(Some(Details {
            name: room.text(&name),
            image: Image::new(&mut room, &image_name, &[], &image_id),
            is_cut: room.is_cut(),
            ..Details::of(Family::Podman)
        }))
    }
}

/// Looks for the entry with an id, and keeps no other meanwhile: there is no telling how many there are.
struct Search<'a>(&'a str);

impl<'de> Visitor<'de> for Search<'_> {
    type Value = Option<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of containers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Option<Entry>, A::Error> {
        let mut found = None;
        while let Some(entry) = entries.next_element::<Entry>()? {
            if found.is_none() && entry.id == self.0 {
                found = Some(entry);
            }
        }
        Ok(found)
    }
}

impl Records {
    pub(super) fn start(counters: &Arc<Counters>) -> io::Result<Self> {
        let errands = |name| Errands::start(name, QUEUE);
        Ok(Self {
            of_host: errands("records")?,
            of_users: errands("users-records")?,
            counters: counters.clone(),
        })
    }

    /// Has one read. Never waits.
    pub(super) fn read(&self, record: &Arc<Record>) {
        let errands = match record.key.scope {
            Scope::Host => &self.of_host,
            Scope::User(_) => &self.of_users,
        };
        errands.send(Reading { record: record.clone(), counters: self.counters.clone() });
    }
}

impl Reading {
    /// Tells once what is wrong; those that go on are counted, since a user could have each be a line.
    fn complain(&self, count: &Counter, what: &dyn fmt::Display) {
        let Record { key, folder, .. } = &*self.record;
        let folder = excerpt(&folder.display().to_string());
        let told = format!("nothing is known of container {} from {folder}: {what}", key.id);
        if count.add() == 0 {
            tracing::warn!("{told}");
        } else {
            tracing::debug!("{told}");
        }
    }
}

impl Errand for Reading {
    /// What a user has made keeps no other user's waiting.
    type Party = Scope;

    fn party(&self) -> Scope {
        self.record.key.scope
    }

    fn run(&self) {
        let read = self.record.read();
        match &read {
            Ok(details) if details.is_cut => {
                self.counters.cut.add();
            }
            Ok(_) => {}
            Err(failure) => self.complain(&self.counters.records_failed, failure),
        }
        self.record.close(read.ok());
    }

    fn late(&self) {
        self.complain(
            &self.counters.records_late,
            &"it takes long to read; others go on without it",
        );
    }

    fn turn_down(&self) {
        self.record.close(None);
        self.counters.refused.add();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;
    use crate::context::process::own;
    use crate::context::runtime::Id;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn key() -> Key {
        let uid = nix::unistd::getuid().as_raw();
        let scope = if uid == 0 { Scope::Host } else { Scope::User(uid) };
        Key { scope, id: Id::parse(ID.as_bytes()).unwrap() }
    }

    fn record(folder: &Path, key: Key) -> Record {
        Record::new(key, own().unwrap(), &folder.join(ID).join("userdata"))
    }

    fn entry(id: &str, metadata: &str) -> String {
        serde_json::json!([{ "id": id, "names": ["n"], "metadata": metadata }]).to_string()
    }

    #[test]
    fn tells_the_name_and_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = r#"{"image-name":"quay.io/a/b:1","image-id":"9f","name":"web"}"#;
        let [stable, volatile] = FILES.map(|name| folder.path().join(name));
        fs::write(stable, entry(&ID.replace('0', "1"), metadata)).unwrap();
        let record = record(folder.path(), key());
        assert!(matches!(record.read(), Err(Failure::Absent)));
        fs::write(volatile, entry(ID, metadata)).unwrap();
        let details = record.read().unwrap();
        assert_eq!((&*details.name, &*details.image.repository), ("web", "quay.io/a/b"));
        assert_eq!((&*details.image.tag, &*details.image.id), ("1", "9f"));
    }

    #[test]
    fn one_of_many_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let entries: Vec<_> = (0..1000)
            .map(|number| {
                let id = if number == 500 { ID.to_owned() } else { format!("{number:064x}") };
                serde_json::json!({ "id": id, "metadata": format!(r#"{{"name":"c{number}"}}"#) })
            })
            .collect();
        let text = serde_json::json!(entries).to_string();
        fs::write(folder.path().join(FILES[0]), &text).unwrap();
        let record = record(folder.path(), key());
        assert_eq!(record.read().unwrap().name, "c500");
        // What comes after the list is none of it.
        fs::write(folder.path().join(FILES[0]), text + "]").unwrap();
        assert!(matches!(record.read(), Err(Failure::Json(..))));
    }

    #[test]
    fn users_have_less_room_than_root() {
        let folder = tempfile::tempdir().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let most = Limits::of(key().scope).records;
        fs::write(folder.path().join(FILES[0]), vec![b' '; most + 1]).unwrap();
        let failure = record(folder.path(), key()).read().unwrap_err();
        assert!(matches!(failure, Failure::File(_, Refusal::TooLarge(found)) if found == most));
        assert!(uid == 0 || most == 1 << 20);
    }

    #[test]
    fn an_execs_bundle_is_in_the_containers() {
        let exec = Path::new("/c/overlay-containers").join(ID).join("userdata").join("5");
        let record = Record::new(key(), own().unwrap(), &exec);
        assert_eq!(record.folder, Path::new("/c/overlay-containers"));
    }

    #[test]
    fn what_is_of_somebody_else_or_no_record_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILES[0]);
        let failure = |key| record(folder.path(), key).read().unwrap_err();
        for text in ["", "{}", "[", &entry(ID, "garbage"), &entry(ID, "")] {
            fs::write(&file, text).unwrap();
            assert!(matches!(failure(key()), Failure::Json(..)), "{text}");
        }
        let other = Key { scope: Scope::User(4711), ..key() };
        assert!(matches!(failure(other), Failure::Owner(..)));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", &file).unwrap();
        assert!(matches!(failure(key()), Failure::File(..)));
    }

    #[test]
    fn each_that_is_asked_for_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let counters = Arc::default();
        let records = Records::start(&counters).unwrap();
        let record = Arc::new(record(folder.path(), key()));
        assert!(record.is_open());
        records.read(&record);
        while record.is_open() {
            thread::yield_now();
        }
        assert!(record.details().is_none());
        assert_eq!(counters.records_failed.value(), 1);
    }
}
