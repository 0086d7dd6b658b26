//! `ebpf.env` in the cache: how setup tells build scripts what to build the probes with.
//!
//! Lines of `KEY=VALUE`; `agent/build.rs` reads `RUSTC`, `LINKER` and `LD_LIBRARY_PATH`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::compiler::Compiler;
use crate::cache::Cache;

const FILE: &str = "ebpf.env";

/// The content of `ebpf.env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The compiler.
    pub rustc: PathBuf,
    /// bpf-linker.
    pub linker: PathBuf,
    /// What the compiler needs to find its libraries.
    pub library_path: Option<OsString>,
    /// `cargo-clippy` of the compiler's version.
    pub clippy: PathBuf,
    /// The sysroot that clippy must be told.
    pub sysroot: PathBuf,
}

impl Environment {
    /// What `compiler` and `linker` need.
    pub fn of(compiler: &Compiler, linker: PathBuf) -> Self {
        Self {
            rustc: compiler.rustc.clone(),
            linker,
            library_path: compiler.library_path.clone(),
            clippy: compiler.clippy.clone(),
            sysroot: compiler.sysroot.clone(),
        }
    }

    /// Reads the file, if there is one.
    pub fn read(cache: &Cache) -> Result<Option<Self>> {
        let path = cache.path(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(&text))
    }

    /// Writes the file. One that says the same stays untouched: build scripts watch its time.
    pub fn write(&self, cache: &Cache) -> Result<()> {
        if Self::read(cache)?.as_ref() == Some(self) {
            return Ok(());
        }
        let path = cache.path(FILE);
        let unfinished = path.with_extension("env.new");
        fs::write(&unfinished, self.render())
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(OsString::from)
        };
        Some(Self {
            rustc: value("RUSTC")?.into(),
            linker: value("LINKER")?.into(),
            library_path: value("LD_LIBRARY_PATH"),
            clippy: value("CLIPPY")?.into(),
            sysroot: value("SYSROOT")?.into(),
        })
    }

    fn render(&self) -> String {
        let Self { rustc, linker, library_path, clippy, sysroot } = self;
        let mut text = String::from("# Written by `cargo xtask setup`.\n");
        let mut put = |key: &str, value: &OsStr| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key}={}", Path::new(value).display());
        };
        put("RUSTC", rustc.as_os_str());
        put("LINKER", linker.as_os_str());
        if let Some(path) = library_path {
            put("LD_LIBRARY_PATH", path);
        }
        put("CLIPPY", clippy.as_os_str());
        put("SYSROOT", sysroot.as_os_str());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(library_path: Option<&str>) -> Environment {
        Environment {
            rustc: "/cache/rust/rustc".into(),
            linker: "/cache/bpf-linker".into(),
            library_path: library_path.map(OsString::from),
            clippy: "/toolchain/cargo-clippy".into(),
            sysroot: "/cache/rust/sysroot".into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        assert_eq!(Environment::read(&cache).unwrap(), None);
        for environment in [environment(None), environment(Some("/a:/b"))] {
            environment.write(&cache).unwrap();
            assert_eq!(Environment::read(&cache).unwrap(), Some(environment));
        }
    }

    #[test]
    fn file_that_says_the_same_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        fs::write(cache.path(FILE), format!("{}# kept\n", environment(None).render())).unwrap();
        environment(None).write(&cache).unwrap();
        assert!(fs::read_to_string(cache.path(FILE)).unwrap().ends_with("# kept\n"));
    }

    #[test]
    fn incomplete_file_counts_as_absent() {
        assert_eq!(Environment::parse("RUSTC=/rustc\n"), None);
    }
}
