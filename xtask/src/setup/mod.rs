//! `cargo xtask setup`: obtains what building and testing need and this machine lacks, without
//! root, into the cache. Every command calls it; it does nothing when all is there.

pub mod apt;
pub mod command;
pub mod compiler;
pub mod debian;
pub mod environment;
pub mod headers;
pub mod kernel;
pub mod linker;
pub mod sources;
pub mod tool;

use std::ffi::OsString;
use std::path::Path;
use std::thread;

use anyhow::{Context, Error, Result, anyhow, bail};

use self::apt::Apt;
use self::compiler::{Compiler, Rung};
use self::environment::Environment;
use self::headers::Headers;
use self::kernel::Series;
use self::tool::Tool;
use crate::cache::{Cache, CacheLock};
use crate::console;

/// Something that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The compiler and the linker of the probes.
    Toolchain,
    /// A program from the distribution.
    Tool(Tool),
    /// A guest kernel with its modules.
    Kernel(Series),
    /// What modules for a guest kernel are built against. The kernel must be asked for before it.
    Headers(Series),
    /// A disk with a host of the distribution and its container runtimes.
    Debian,
}

/// The parts that a guest of each of `series` needs.
pub fn guest_parts(series: impl IntoIterator<Item = Series>) -> Vec<Part> {
    let mut parts = vec![Part::Tool(Tool::Qemu), Part::Tool(Tool::Busybox)];
    parts.extend(series.into_iter().map(Part::Kernel));
    parts
}

/// Sees to it that all `parts` are there. With `offline` it never downloads.
pub fn ensure(cache: &Cache, parts: &[Part], offline: bool) -> Result<()> {
    let rungs = Rung::from_environment()?;
    if missing(cache, parts, &rungs)?.is_empty() {
        return Ok(());
    }
    let lock = cache.lock()?;
    // Another xtask may have done it while this one waited.
    let missing = missing(cache, parts, &rungs)?;
    let work = Work { cache, lock: &lock, rungs: &rungs, offline };
    // The linker is compiled while the rest is downloaded.
    thread::scope(|scope| {
        let toolchain =
            missing.contains(&Part::Toolchain).then(|| scope.spawn(|| work.obtain_toolchain()));
        let rest = work.obtain_packages(&missing);
        let toolchain = toolchain.map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|_| bail!("the thread that builds the toolchain failed"))
        });
        toolchain.and(rest)
    })
}

/// The folders of shared libraries below `root`, as `LD_LIBRARY_PATH` takes them.
fn library_path(root: &Path) -> OsString {
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| root.join(path));
    let mut path = OsString::new();
    for folder in folders.iter().filter(|folder| folder.exists()) {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(folder);
    }
    path
}

/// The one shape of the message that something cannot be had.
fn unavailable(what: &str, why: &Error, instead: &str) -> Error {
    anyhow!("cannot get {what}: {why:#}\nrun instead: {instead}")
}

fn missing(cache: &Cache, parts: &[Part], rungs: &[Rung]) -> Result<Vec<Part>> {
    let mut missing = Vec::new();
    for &part in parts {
        let held = match part {
            Part::Toolchain => toolchain_held(cache, rungs)?,
            Part::Tool(tool) => tool.held(cache).is_some(),
            Part::Kernel(series) => series.held(cache).is_some(),
            Part::Headers(series) => Headers::held(cache, series).is_some(),
            Part::Debian => debian::held(cache).is_some(),
        };
        if !held {
            missing.push(part);
        }
    }
    Ok(missing)
}

fn toolchain_held(cache: &Cache, rungs: &[Rung]) -> Result<bool> {
    let Some(compiler) = compiler::held(cache, rungs)? else { return Ok(false) };
    let Some(linker) = linker::held(cache, &compiler) else { return Ok(false) };
    Ok(Environment::read(cache)? == Some(Environment::of(&compiler, linker)))
}

/// Obtaining what is missing, with the right to change the cache.
#[derive(Debug)]
struct Work<'a> {
    cache: &'a Cache,
    lock: &'a CacheLock,
    rungs: &'a [Rung],
    offline: bool,
}

impl Work<'_> {
    fn obtain_toolchain(&self) -> Result<()> {
        let compiler = self.obtain_compiler()?;
        console::note("Using", format_args!("{compiler} for the probes"));
        let linker = match linker::held(self.cache, &compiler) {
            Some(linker) => linker,
            None => linker::obtain(self.cache, self.lock, &compiler, self.offline)?,
        };
        Environment::of(&compiler, linker).write(self.cache)
    }

    fn obtain_compiler(&self) -> Result<Compiler> {
        if let Some(compiler) = compiler::held(self.cache, self.rungs)? {
            return Ok(compiler);
        }
        if self.offline {
            bail!(
                "no compiler with its library source on this machine, and --offline forbids a \
                 download\nrun instead: cargo xtask setup"
            );
        }
        compiler::obtain(self.cache, self.lock, self.rungs)
    }

    fn obtain_packages(&self, missing: &[Part]) -> Result<()> {
        let missing: Vec<Part> =
            missing.iter().copied().filter(|part| *part != Part::Toolchain).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.offline {
            bail!(
                "missing: {}, and --offline forbids a download\nrun instead: cargo xtask setup",
                missing.iter().copied().map(Part::name).collect::<Vec<_>>().join(", ")
            );
        }
        let apt = Apt::open(self.cache, self.lock)?;
        for part in missing {
            match part {
                Part::Toolchain => {}
                Part::Tool(tool) => drop(tool.obtain(self.cache, self.lock, &apt)?),
                Part::Kernel(series) => self.obtain_kernel(series, &apt)?,
                Part::Headers(series) => Headers::obtain(self.cache, self.lock, &apt, series)?,
                Part::Debian => debian::obtain(self.cache, self.lock, &apt)?,
            }
        }
        Ok(())
    }

    fn obtain_kernel(&self, series: Series, apt: &Apt<'_>) -> Result<()> {
        let depmod = match Tool::Depmod.held(self.cache) {
            Some(depmod) => depmod,
            None => Tool::Depmod.obtain(self.cache, self.lock, apt)?,
        };
        series.obtain(self.cache, self.lock, apt, &depmod)?;
        series.held(self.cache).map(drop).context("the kernel is absent after it was obtained")
    }
}

impl Part {
    fn name(self) -> String {
        match self {
            Self::Toolchain => "the toolchain of the probes".to_owned(),
            Self::Tool(tool) => tool.name().to_owned(),
            Self::Kernel(series) => format!("the guest kernel {series}"),
            Self::Headers(series) => format!("the headers of the guest kernel {series}"),
            Self::Debian => "the disk with container runtimes".to_owned(),
        }
    }
}
