//! The user's cache folder: what setup obtained once and every later command reuses.
//!
//! An entry appears by one rename of a finished folder, so an interrupted setup leaves nothing
//! half done behind; what it was working on is removed by the next one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::console;

/// How folders begin that are still being filled.
const UNFINISHED: &str = "unfinished-";

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// The right to change the cache; given back when dropped.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

impl Cache {
    /// Finds the folder: `$SHRIKE_CACHE`, else `$XDG_CACHE_HOME/shrike`, else `$HOME/.cache/shrike`.
    ///
    /// The agent's build script follows the same order.
    pub fn open() -> Result<Self> {
        let root = cache_root(|name| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        })
        .context("cannot tell where the cache folder is: set SHRIKE_CACHE or HOME")?;
        Self::at(&root)
    }

    /// Uses `root`, and creates it where it does not exist.
    pub fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        let root = fs::canonicalize(root)
            .with_context(|| format!("cannot open the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// The path of `entry`, whether it exists or not.
    pub fn path(&self, entry: impl AsRef<Path>) -> PathBuf {
        self.root.join(entry)
    }

    /// Takes the right to change the cache, and waits while another xtask has it.
    pub fn lock(&self) -> Result<CacheLock> {
        let path = self.path("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                console::note("Waiting", "for another xtask that is changing the cache");
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        self.remove_unfinished()?;
        Ok(CacheLock { _file: file })
    }

    /// An empty folder to work in. It is removed when dropped.
    pub fn scratch(&self, _lock: &CacheLock) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.root)
            .with_context(|| format!("cannot create a folder in {}", self.root.display()))
    }

    /// Makes `entry` by filling an empty folder and renaming it, replacing an older one.
    pub fn publish(
        &self,
        lock: &CacheLock,
        entry: impl AsRef<Path>,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let scratch = self.scratch(lock)?;
        fill(scratch.path())?;
        let target = self.path(entry);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        if target.exists() {
            fs::remove_dir_all(&target)
                .with_context(|| format!("cannot replace {}", target.display()))?;
        }
        fs::rename(scratch.keep(), &target)
            .with_context(|| format!("cannot create {}", target.display()))?;
        Ok(target)
    }

    fn remove_unfinished(&self) -> Result<()> {
        let listing = fs::read_dir(&self.root)
            .with_context(|| format!("cannot list {}", self.root.display()))?;
        for entry in listing {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path())
                    .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

fn cache_root(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("SHRIKE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("shrike")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/shrike")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("shrike")).unwrap();
        (folder, cache)
    }

    #[test]
    fn folder_is_chosen_in_the_documented_order() {
        let with = |set: &[(&str, &str)]| {
            let set: Vec<(String, PathBuf)> =
                set.iter().map(|(name, value)| ((*name).into(), value.into())).collect();
            cache_root(move |name| set.iter().find(|(key, _)| key == name).map(|(_, v)| v.clone()))
        };
        let all = [("SHRIKE_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(with(&all), Some("/a".into()));
        assert_eq!(with(&all[1..]), Some("/b/shrike".into()));
        assert_eq!(with(&all[2..]), Some("/c/.cache/shrike".into()));
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn entry_appears_whole_or_not_at_all() {
        let (_folder, cache) = cache();
        let lock = cache.lock().unwrap();
        let failed = cache.publish(&lock, "kernels/6.1", |folder| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert_eq!(failed.unwrap_err().to_string(), "interrupted");
        assert!(!cache.path("kernels/6.1").exists());

        cache.publish(&lock, "kernels/6.1", |to| Ok(fs::write(to.join("old"), "")?)).unwrap();
        cache.publish(&lock, "kernels/6.1", |to| Ok(fs::write(to.join("new"), "")?)).unwrap();
        assert!(cache.path("kernels/6.1/new").exists());
        assert!(!cache.path("kernels/6.1/old").exists());
    }

    #[test]
    fn lock_removes_what_an_interrupted_setup_left() {
        let (_folder, cache) = cache();
        let left = cache.scratch(&cache.lock().unwrap()).unwrap().keep();
        assert!(left.exists());
        drop(cache.lock().unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn lock_is_exclusive() {
        let (_folder, cache) = cache();
        let lock = cache.lock().unwrap();
        let second = File::open(cache.path("lock")).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        drop(lock);
        second.try_lock().unwrap();
    }
}
