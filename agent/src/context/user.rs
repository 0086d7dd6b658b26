//! The names of the host's users. Read from `/etc/passwd` itself: name services need the C
//! library's plug-ins, which a static binary does not have, and could block.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shrike_common::Uid;

/// The users of a passwd file.
#[derive(Debug, Default)]
pub(crate) struct Users {
    path: PathBuf,
    modified: Option<SystemTime>,
    names: HashMap<Uid, String>,
}

impl Users {
    /// Reads a file in the format of passwd(5); empty as long as there is none.
    pub(crate) fn read(path: &Path) -> Self {
        let mut users = Self { path: path.to_owned(), ..Self::default() };
        users.refresh();
        users
    }

    /// Reads the file again if it was changed.
    pub(crate) fn refresh(&mut self) {
        let modified = fs::metadata(&self.path).and_then(|meta| meta.modified()).ok();
        if modified == self.modified {
            return;
        }
        self.modified = modified;
        match fs::read(&self.path) {
            Ok(text) => self.names = parse(&String::from_utf8_lossy(&text)),
            Err(error) => tracing::warn!("cannot read {}: {error}", self.path.display()),
        }
    }

    /// The name of a user.
    pub(crate) fn name(&self, uid: Uid) -> Option<&str> {
        self.names.get(&uid).map(String::as_str)
    }
}

fn parse(text: &str) -> HashMap<Uid, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()));
        if let (Some(name), Some(uid)) = (name, uid) {
            // The first entry of an id is the one that getpwuid(3) gives.
            names.entry(Uid(uid)).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_skips_what_is_no_entry() {
        let text = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\n# no\nbad:x:uid:1\nbin:x:2:2:";
        let names = parse(text);
        assert_eq!(names.get(&Uid(0)).map(String::as_str), Some("root"));
        assert_eq!(names.get(&Uid(2)).map(String::as_str), Some("bin"));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn follows_changes_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        let mut users = Users::read(&path);
        assert_eq!(users.name(Uid(7)), None);
        fs::write(&path, "seven:x:7:7::/:\n").unwrap();
        users.refresh();
        assert_eq!(users.name(Uid(7)), Some("seven"));
    }
}
