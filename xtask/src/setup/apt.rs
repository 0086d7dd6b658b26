//! Packages of the distribution without root and without touching the machine's own apt: a private
//! apt state in the cache reads suites from the machine's mirrors, and apt itself checks every
//! signature. Packages are unpacked, never installed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::sources::Mirrors;
use crate::cache::{Cache, CacheLock};
use crate::console::Step;
use crate::process::{capture, find_program};

/// The file beside a view's configuration that lists no installed package.
const NOTHING_INSTALLED: &str = "nothing-installed";

/// The private apt.
#[derive(Debug)]
pub struct Apt<'cache> {
    cache: &'cache Cache,
    lock: &'cache CacheLock,
    mirrors: Mirrors,
    /// Views whose indexes are fresh, by their suites.
    fresh: Mutex<HashMap<String, View>>,
}

/// Some suites, with indexes as new as this run.
#[derive(Clone, Debug)]
pub struct View {
    config: PathBuf,
    name: String,
}

/// A package in one version, as apt takes it on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl<'cache> Apt<'cache> {
    /// Opens the private apt below `cache`.
    pub fn open(cache: &'cache Cache, lock: &'cache CacheLock) -> Result<Self> {
        for tool in ["apt-get", "apt-cache", "apt-config", "dpkg-deb"] {
            if find_program(tool).is_none() {
                bail!("this machine has no `{tool}`: only Debian's packages are known here");
            }
        }
        let mirrors = Mirrors::read(Path::new("/etc/apt"))?;
        Ok(Self { cache, lock, mirrors, fresh: Mutex::default() })
    }

    /// The suites that the machine itself uses.
    pub fn machine(&self) -> Result<View> {
        let suites = self.mirrors.suites();
        self.open_view(&suites)
    }

    /// `suites`, from the machine's mirrors.
    pub fn view(&self, suites: &[&str]) -> Result<View> {
        let own = self.mirrors.suites();
        // The machine's view is a superset that is needed anyway: one index less to fetch.
        if suites.iter().all(|suite| own.contains(suite)) {
            self.machine()
        } else {
            self.open_view(suites)
        }
    }

    /// Downloads `packages` and unpacks them below `folder`.
    pub fn unpack(&self, view: &View, packages: &[Package], folder: &Path) -> Result<()> {
        let downloads = self.cache.scratch(self.lock)?;
        let names: Vec<String> = packages
            .iter()
            .map(|package| format!("{}={}", package.name, package.version))
            .collect();
        capture(view.apt("apt-get").arg("download").args(&names).current_dir(downloads.path()))
            .context("cannot download packages")?;
        for entry in fs::read_dir(downloads.path())? {
            let archive = entry?.path();
            capture(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
        }
        Ok(())
    }

    fn open_view(&self, suites: &[&str]) -> Result<View> {
        let name = suites.join("+");
        // Held throughout: two updates of one state would disturb each other.
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = fresh.get(&name) {
            return Ok(view.clone());
        }
        let folder = self.cache.path("apt").join(&name);
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        let sources = folder.join("mirrors.sources");
        fs::write(&sources, self.mirrors.offering(suites))?;
        let config = folder.join("apt.conf");
        fs::write(&config, configuration(&folder, &transport_settings()?))?;
        fs::write(folder.join(NOTHING_INSTALLED), "")?;

        let view = View { config, name: name.clone() };
        let _step = Step::start("Updating", format_args!("package index of {name}"));
        capture(view.apt("apt-get").args(["update", "-o", "APT::Update::Error-Mode=any"]))
            .with_context(|| format!("cannot read the package index of {name}"))?;
        fresh.insert(name, view.clone());
        Ok(view)
    }
}

impl View {
    /// The suites, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All versions on offer of `package`, the newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<Package>> {
        let listing = capture(self.apt("apt-cache").args(["madison", package]))?;
        Ok(parse_madison(&listing))
    }

    /// The names of the packages that `package` depends on directly.
    pub fn dependencies(&self, package: &Package) -> Result<Vec<String>> {
        let wanted = format!("{}={}", package.name, package.version);
        let listing = capture(self.apt("apt-cache").args(["depends", "--important", &wanted]))?;
        Ok(parse_depends(&listing))
    }

    /// `packages` and everything they need that this machine does not have.
    pub fn with_missing_dependencies(&self, packages: &[&str]) -> Result<Vec<Package>> {
        let plan = capture(
            self.apt("apt-get")
                .args(["install", "--simulate", "--reinstall", "--no-install-recommends"])
                .args(packages),
        )
        .with_context(|| format!("cannot resolve {} in {}", packages.join(", "), self.name))?;
        Ok(parse_simulation(&plan))
    }

    /// `packages` and everything they need on a machine that has nothing yet.
    pub fn with_all_dependencies(&self, packages: &[&str]) -> Result<Vec<Package>> {
        let nothing = self.config.with_file_name(NOTHING_INSTALLED);
        let plan = capture(
            self.apt("apt-get")
                .arg("-o")
                .arg(format!("Dir::State::status={}", nothing.display()))
                .args(["install", "--simulate", "--no-install-recommends"])
                .args(packages),
        )
        .with_context(|| format!("cannot resolve {} in {}", packages.join(", "), self.name))?;
        Ok(parse_simulation(&plan))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// How the machine reaches its mirrors: proxies, certificates, retries.
fn transport_settings() -> Result<String> {
    let dump = capture(Command::new("apt-config").arg("dump"))?;
    let wanted = |line: &&str| {
        line.starts_with("Acquire::")
            && !line.starts_with("Acquire::IndexTargets")
            && !line.starts_with("Acquire::Languages")
    };
    Ok(dump.split_inclusive('\n').filter(wanted).collect())
}

/// The configuration that replaces the machine's: no hooks, no pins, no other sources.
fn configuration(folder: &Path, transport: &str) -> String {
    let folder = folder.display();
    format!(
        "{transport}\
         Acquire::Languages \"none\";\n\
         APT::Sandbox::User \"root\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::Etc::sourcelist \"{folder}/mirrors.sources\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::status \"/var/lib/dpkg/status\";\n"
    )
}

/// Reads lines like `  rust-src | 1.95.0+dfsg1-2 | http://mirror suite/main amd64 Packages`.
fn parse_madison(listing: &str) -> Vec<Package> {
    let package = |line: &str| {
        let mut columns = line.split('|').map(str::trim);
        Some(Package { name: columns.next()?.to_owned(), version: columns.next()?.to_owned() })
    };
    listing.lines().filter(|line| line.ends_with("Packages")).filter_map(package).collect()
}

/// Reads lines like `  Depends: linux-modules-6.1` and ` |Depends: <virtual>`.
fn parse_depends(listing: &str) -> Vec<String> {
    let name = |line: &str| {
        let (relation, name) = line.trim_start_matches([' ', '|']).split_once(": ")?;
        (relation.ends_with("Depends") && !name.starts_with('<')).then(|| name.to_owned())
    };
    listing.lines().filter_map(name).collect()
}

/// Reads lines like `Inst libfdt1 [1.6.0] (1.6.1-4 Debian:12.15/oldstable [amd64])`.
fn parse_simulation(plan: &str) -> Vec<Package> {
    let package = |line: &str| {
        let rest = line.strip_prefix("Inst ")?;
        let name = rest.split_whitespace().next()?;
        let version = rest.split_once('(')?.1.split_whitespace().next()?;
        Some(Package { name: name.to_owned(), version: version.to_owned() })
    };
    plan.lines().filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.into(), version: version.into() }
    }

    #[test]
    fn versions_are_read_from_madison() {
        let listing = "\
  rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages
  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages
  rust-src | 1.95.0+dfsg1-2 | http://mirror.example/debian trixie-backports/main Sources
";
        assert_eq!(
            parse_madison(listing),
            [
                package("rust-src", "1.96.1+dfsg1-2~bpo13+1"),
                package("rust-src", "1.95.0+dfsg1-2~bpo13+1")
            ]
        );
    }

    #[test]
    fn direct_dependencies_are_read_without_virtual_ones() {
        let listing = "linux-image\n  PreDepends: linux-base\n |Depends: dracut\n  \
                       Depends: <linux-initramfs-tool>\n    dracut\n  Breaks: <fwupdate>\n  \
                       Depends: linux-modules-7\n  Recommends: apparmor\n";
        assert_eq!(parse_depends(listing), ["linux-base", "dracut", "linux-modules-7"]);
    }

    #[test]
    fn simulated_installation_names_packages_and_versions() {
        let plan = "NOTE: only a simulation\nInst seabios (1.16.2-1 Debian:12/oldstable [all])\n\
                    Inst libc6 [2.36-1] (2.36-2 Debian:12/oldstable [amd64]) []\nConf seabios (1)\n";
        assert_eq!(
            parse_simulation(plan),
            [package("seabios", "1.16.2-1"), package("libc6", "2.36-2")]
        );
    }

    #[test]
    fn configuration_leaves_the_machine_alone() {
        let text = configuration(Path::new("/cache/apt/sid"), "Acquire::http::Proxy \"p\";\n");
        for expected in [
            "Acquire::http::Proxy \"p\";",
            "Dir::State \"/cache/apt/sid/state\";",
            "Dir::Cache \"/cache/apt/sid/cache\";",
            "Dir::Etc::parts \"/dev/null\";",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }
}
