//! Reads rule files, in the order that Falco reads them: paths as given, a folder's files by name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shrike_rules::Source;

/// A rule file.
#[derive(Debug)]
pub(crate) struct RuleFile {
    path: PathBuf,
    name: String,
    text: Vec<u8>,
}

/// Why rule files could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the folder {} has no rule file (*.yaml, *.yml)", .0.display())]
    Empty(PathBuf),
}

impl RuleFile {
    /// Where it was read from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the rule language is handed.
    pub(crate) fn source(&self) -> Source<'_> {
        Source::new(&self.name, &self.text)
    }
}

/// Reads the files at `paths`.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<RuleFile>, FilesError> {
    let mut read = Vec::new();
    for path in paths {
        for file in files(path)? {
            let text = fs::read(&file)
                .map_err(|source| FilesError::Read { path: file.clone(), source })?;
            read.push(RuleFile { name: file.display().to_string(), path: file, text });
        }
    }
    Ok(read)
}

/// The file itself, or a folder's rule files. Hidden ones are skipped: a mounted `ConfigMap` keeps
/// its older versions in them.
fn files(path: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let error = |source| FilesError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(error)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(error)? {
        let file = entry.map_err(error)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !hidden && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(FilesError::Empty(path.to_owned()));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_rule_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20-b.yaml", "10-a.yml", "notes.txt", ".hidden.yaml"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("sub.yaml")).unwrap();
        let found = files(dir.path()).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(names, ["10-a.yml", "20-b.yaml"]);
    }

    #[test]
    fn says_what_it_could_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("has no rule file"), "{error}");
        let error = read(&[dir.path().join("none.yaml")]).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("none.yaml"), "{error}");
    }
}
