//! The compiler of the probes: it needs its own library source, which a plain toolchain lacks.
//!
//! It is found by a ladder, the first rung that holds:
//!
//! 1. [`Rung::Present`]: the user's toolchain has the source.
//! 2. [`Rung::DistributionSource`]: the distribution packages the source of the very same version.
//!    It is laid beside the user's toolchain in a sysroot of links; nothing is written into it.
//! 3. [`Rung::RustupComponent`]: `rustup component add rust-src`.
//! 4. [`Rung::DistributionCompiler`]: the distribution's own compiler with its source, for the
//!    probes alone, driven by the user's cargo.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::apt::{Apt, Package};
use super::{library_path, unavailable};
use crate::cache::{Cache, CacheLock};
use crate::console::Step;
use crate::process::{capture, find_program};

/// Where the library source lies below a sysroot.
const LIBRARY: &str = "lib/rustlib/src/rust/library";

/// One way to come to a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The user's toolchain has its source.
    Present,
    /// The user's toolchain with the distribution's package of its source.
    DistributionSource,
    /// The user's toolchain after `rustup component add rust-src`.
    RustupComponent,
    /// The distribution's compiler and source.
    DistributionCompiler,
}

/// A compiler that can build the probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// How it was come by.
    pub rung: Rung,
    /// What `RUSTC` is set to.
    pub rustc: PathBuf,
    /// `cargo-clippy` of the same version.
    pub clippy: PathBuf,
    /// The sysroot with the source, for programs that do not go through `rustc`.
    pub sysroot: PathBuf,
    /// What `LD_LIBRARY_PATH` must hold for it to run.
    pub library_path: Option<OsString>,
    /// Its version.
    pub version: Version,
    /// The shared library of its LLVM.
    pub llvm: PathBuf,
}

/// A version as `rustc -vV` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// For example `1.95.0`.
    pub release: String,
    /// The first digits of the commit, or `unknown`.
    pub commit: String,
    /// For example 22.
    pub llvm_major: u32,
}

impl Rung {
    /// The rungs that `SHRIKE_TOOLCHAIN` allows, in their order.
    pub fn from_environment() -> Result<Vec<Self>> {
        Self::allowed(std::env::var("SHRIKE_TOOLCHAIN").ok().as_deref())
    }

    fn allowed(toolchain: Option<&str>) -> Result<Vec<Self>> {
        use Rung::{DistributionCompiler, DistributionSource, Present, RustupComponent};
        Ok(match toolchain {
            None | Some("") => {
                vec![Present, DistributionSource, RustupComponent, DistributionCompiler]
            }
            Some("distribution") => vec![Present, DistributionSource, DistributionCompiler],
            Some("distribution-source") => vec![DistributionSource],
            Some("distribution-compiler") => vec![DistributionCompiler],
            Some("rustup") => vec![Present, RustupComponent],
            Some(other) => bail!(
                "SHRIKE_TOOLCHAIN is `{other}`: it may be distribution, distribution-source, \
                 distribution-compiler or rustup"
            ),
        })
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "the toolchain's own library source",
            Self::DistributionSource => "the distribution's library source",
            Self::RustupComponent => "rustup's library source",
            Self::DistributionCompiler => "the distribution's compiler",
        })
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { release, llvm_major, .. } = &self.version;
        write!(f, "rustc {release} (LLVM {llvm_major}) with {}", self.rung)
    }
}

/// The first of `rungs` that holds as things are, without any download.
pub fn held(cache: &Cache, rungs: &[Rung]) -> Result<Option<Compiler>> {
    for rung in rungs {
        let compiler = match rung {
            Rung::Present => Host::find()?.with_own_source(),
            Rung::DistributionSource => Host::find()?.with_distribution_source(cache),
            // After it was added once, it is `Present`.
            Rung::RustupComponent => None,
            Rung::DistributionCompiler => distribution_compiler(cache)?,
        };
        if compiler.is_some() {
            return Ok(compiler);
        }
    }
    Ok(None)
}

/// Climbs `rungs` and obtains what the first possible one needs.
pub fn obtain(cache: &Cache, lock: &CacheLock, rungs: &[Rung]) -> Result<Compiler> {
    let mut reasons = Vec::new();
    for &rung in rungs {
        let attempt = match rung {
            Rung::Present => Err(anyhow!("the toolchain has no rust-src component")),
            Rung::DistributionSource => obtain_distribution_source(cache, lock),
            Rung::RustupComponent => add_rustup_component(),
            Rung::DistributionCompiler => obtain_distribution_compiler(cache, lock),
        };
        match attempt.and_then(|()| held(cache, &[rung, Rung::Present])) {
            Ok(Some(compiler)) => return Ok(compiler),
            Ok(None) => reasons.push(format!("{rung}: still absent after it was obtained")),
            Err(error) => reasons.push(format!("{rung}: {error:#}")),
        }
    }
    let why = anyhow!("{}", reasons.join("\n  "));
    Err(unavailable("a compiler with its library source", &why, "rustup component add rust-src"))
}

/// The toolchain that the user builds everything else with.
#[derive(Debug)]
struct Host {
    sysroot: PathBuf,
    version: Version,
}

impl Host {
    fn find() -> Result<Self> {
        let sysroot = capture(Command::new("rustc").args(["--print", "sysroot"]))
            .context("no usable rustc: install Rust 1.95 or newer")?;
        let sysroot = PathBuf::from(sysroot.trim_end());
        let version = version_of(&sysroot.join("bin/rustc"), None)?;
        Ok(Self { sysroot, version })
    }

    fn with_own_source(self) -> Option<Compiler> {
        let sysroot = self.sysroot.clone();
        let rustc = sysroot.join("bin/rustc");
        sysroot.join(LIBRARY).join("core").exists().then_some(())?;
        self.compiler(Rung::Present, rustc, sysroot)
    }

    fn with_distribution_source(self, cache: &Cache) -> Option<Compiler> {
        let entry = self.source_entry(cache);
        // The links lead into the toolchain: they are worth nothing when that has moved.
        let current = fs::read_link(entry.join("toolchain")).is_ok_and(|to| to == self.sysroot);
        current.then_some(())?;
        self.compiler(Rung::DistributionSource, entry.join("rustc"), entry.join("sysroot"))
    }

    fn source_entry(&self, cache: &Cache) -> PathBuf {
        cache.path(format!("rust/source-{}", self.version.release))
    }

    fn compiler(self, rung: Rung, rustc: PathBuf, sysroot: PathBuf) -> Option<Compiler> {
        let llvm = find_llvm(&self.sysroot.join("lib"), self.version.llvm_major)?;
        let clippy = self.sysroot.join("bin/cargo-clippy");
        let version = self.version;
        Some(Compiler { rung, rustc, clippy, sysroot, library_path: None, version, llvm })
    }
}

/// The shared LLVM library of one major version in `folder`.
fn find_llvm(folder: &Path, major: u32) -> Option<PathBuf> {
    let wanted = format!("libLLVM.so.{major}");
    let found = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> = found
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&wanted))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

fn version_of(rustc: &Path, library_path: Option<&OsString>) -> Result<Version> {
    let mut command = Command::new(rustc);
    command.arg("-vV");
    if let Some(path) = library_path {
        command.env("LD_LIBRARY_PATH", path);
    }
    let text = capture(&mut command)?;
    parse_version(&text).with_context(|| format!("cannot read the version of {}", rustc.display()))
}

fn parse_version(text: &str) -> Option<Version> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    };
    Some(Version {
        release: field("release")?.to_owned(),
        commit: field("commit-hash")?.chars().take(9).collect(),
        llvm_major: field("LLVM version")?.split('.').next()?.parse().ok()?,
    })
}

fn obtain_distribution_source(cache: &Cache, lock: &CacheLock) -> Result<()> {
    let host = Host::find()?;
    let release = host.version.release.clone();
    let apt = Apt::open(cache, lock)?;
    // Backports keep older compilers beside the newest for a while.
    let views: [&dyn Fn() -> Result<_>; 3] =
        [&|| apt.view(&["trixie-backports"]), &|| apt.machine(), &|| apt.view(&["sid"])];
    for view in views {
        let view = view()?;
        let versions = view.versions("rust-src")?;
        let Some(package) = versions.into_iter().find(|package| is_of_release(package, &release))
        else {
            continue;
        };
        let _step = Step::start(
            "Fetching",
            format_args!(
                "library source of rustc {release} ({}, {})",
                package.version,
                view.name()
            ),
        );
        let entry = host.source_entry(cache);
        cache.publish(lock, &entry, |folder| {
            let unpacked = cache.scratch(lock)?;
            apt.unpack(&view, &[package], unpacked.path())?;
            let library = unpacked.path().join(format!("usr/src/rustc-{release}/library"));
            fs::rename(&library, folder.join("library"))
                .with_context(|| format!("rust-src holds no {}", library.display()))?;
            write_sysroot(&host.sysroot, folder, &entry)
        })?;
        return Ok(());
    }
    bail!("no package rust-src of version {release} on this machine's mirrors")
}

fn is_of_release(package: &Package, release: &str) -> bool {
    package.version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

/// Fills `folder`, which will be `entry`, with links to `toolchain` and a `rustc` that uses them.
fn write_sysroot(toolchain: &Path, folder: &Path, entry: &Path) -> Result<()> {
    let rustlib = folder.join("sysroot/lib/rustlib");
    fs::create_dir_all(rustlib.join("src/rust"))?;
    link_all(&toolchain.join("lib"), &folder.join("sysroot/lib"))?;
    link_all(&toolchain.join("lib/rustlib"), &rustlib)?;
    symlink(toolchain.join("bin"), folder.join("sysroot/bin"))?;
    symlink(entry.join("library"), folder.join("sysroot").join(LIBRARY))?;
    symlink(toolchain, folder.join("toolchain"))?;

    let script = format!(
        "#!/bin/sh\nexec '{}/bin/rustc' --sysroot '{}/sysroot' \"$@\"\n",
        toolchain.display(),
        entry.display()
    );
    let rustc = folder.join("rustc");
    fs::write(&rustc, script)?;
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Links every entry of `from` into `to`, except those that `to` already has.
fn link_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let link = to.join(entry.file_name());
        if !link.exists() {
            symlink(entry.path(), link)?;
        }
    }
    Ok(())
}

fn add_rustup_component() -> Result<()> {
    let rustup = find_program("rustup").context("this machine has no rustup")?;
    let _step = Step::start("Fetching", "rust-src (rustup component add rust-src)");
    capture(Command::new(rustup).args(["component", "add", "rust-src"])).map(drop)
}

/// The entry of the distribution's compiler in the cache.
const DISTRIBUTION_ENTRY: &str = "rust/distribution";

fn distribution_compiler(cache: &Cache) -> Result<Option<Compiler>> {
    let usr = cache.path(DISTRIBUTION_ENTRY).join("usr");
    let rustc = usr.join("bin/rustc");
    if !rustc.exists() {
        return Ok(None);
    }
    let libraries = library_path(&cache.path(DISTRIBUTION_ENTRY));
    let version = version_of(&rustc, Some(&libraries))?;
    let llvm = find_llvm(&usr.join("lib/x86_64-linux-gnu"), version.llvm_major);
    let clippy = usr.join("bin/cargo-clippy");
    Ok(llvm.map(|llvm| Compiler {
        rung: Rung::DistributionCompiler,
        rustc,
        clippy,
        sysroot: usr,
        library_path: Some(libraries),
        version,
        llvm,
    }))
}

fn obtain_distribution_compiler(cache: &Cache, lock: &CacheLock) -> Result<()> {
    let apt = Apt::open(cache, lock)?;
    let view = apt.view(&["bookworm", "bookworm-security"])?;
    let packages =
        view.with_missing_dependencies(&["rustc-web", "rust-web-src", "rust-web-clippy"])?;
    let _step = Step::start("Fetching", format_args!("the distribution's rustc ({})", view.name()));
    cache.publish(lock, DISTRIBUTION_ENTRY, |folder| apt.unpack(&view, &packages, folder))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
                    commit-hash: 59807616e1fa2540724b\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.95.0\nLLVM version: 22.1.2\n";
        let expected =
            Version { release: "1.95.0".into(), commit: "59807616e".into(), llvm_major: 22 };
        assert_eq!(parse_version(text), Some(expected));
        assert_eq!(parse_version("rustc 1.95.0"), None);
    }

    #[test]
    fn toolchain_variable_chooses_rungs() {
        use Rung::{DistributionCompiler, DistributionSource, Present, RustupComponent};
        assert_eq!(Rung::allowed(None).unwrap().len(), 4);
        let distribution = [Present, DistributionSource, DistributionCompiler];
        assert_eq!(Rung::allowed(Some("distribution")).unwrap(), distribution);
        assert_eq!(Rung::allowed(Some("rustup")).unwrap(), [Present, RustupComponent]);
        assert_eq!(Rung::allowed(Some("distribution-compiler")).unwrap(), [DistributionCompiler]);
        let error = Rung::allowed(Some("nightly")).unwrap_err().to_string();
        assert!(
            error.starts_with("SHRIKE_TOOLCHAIN is `nightly`: it may be distribution"),
            "{error}"
        );
    }

    #[test]
    fn only_the_very_same_release_fits() {
        let package = |version: &str| Package { name: "rust-src".into(), version: version.into() };
        assert!(is_of_release(&package("1.95.0+dfsg1-2~bpo13+1"), "1.95.0"));
        assert!(!is_of_release(&package("1.95.01-1"), "1.95.0"));
        assert!(!is_of_release(&package("1.96.0+dfsg1-1"), "1.95.0"));
    }

    #[test]
    fn sysroot_adds_the_source_and_leaves_the_toolchain_alone() {
        let folder = tempfile::tempdir().unwrap();
        let toolchain = folder.path().join("toolchain-1");
        fs::create_dir_all(toolchain.join("lib/rustlib/x86_64")).unwrap();
        fs::create_dir_all(toolchain.join("bin")).unwrap();
        fs::write(toolchain.join("lib/libstd.so"), "std").unwrap();
        let entry = folder.path().join("entry");
        fs::create_dir_all(entry.join("library/core")).unwrap();

        write_sysroot(&toolchain, &entry, &entry).unwrap();

        let sysroot = entry.join("sysroot");
        assert!(sysroot.join(LIBRARY).join("core").is_dir());
        assert!(sysroot.join("lib/rustlib/x86_64").is_dir());
        assert_eq!(fs::read_to_string(sysroot.join("lib/libstd.so")).unwrap(), "std");
        assert!(!toolchain.join(LIBRARY).exists());
        let script = fs::read_to_string(entry.join("rustc")).unwrap();
        assert!(script.contains(&format!("--sysroot '{}'", sysroot.display())), "{script}");
    }
}
