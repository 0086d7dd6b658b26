//! Guest kernels: the distribution's cloud flavour, in the series that shrike supports.

use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{Apt, Package, View};
use super::tool::Program;
use super::unavailable;
use crate::cache::{Cache, CacheLock};
use crate::console::Step;
use crate::process::capture;

/// The package whose dependency is the newest kernel of a suite.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A line of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Series {
    /// The oldest that shrike supports.
    #[value(name = "6.1")]
    V6_1,
    /// The long-term kernel of today's stable release.
    #[value(name = "6.12")]
    V6_12,
    /// The newest that the distribution has.
    #[value(name = "newest")]
    Newest,
}

/// A kernel in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// The folder with `modules.dep`.
    pub modules: PathBuf,
}

impl Series {
    /// All of them, from the oldest.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::Newest];

    /// The kernel of this series, if the cache has one.
    pub fn held(self, cache: &Cache) -> Option<Kernel> {
        let folder = cache.path(self.entry());
        let release = fs::read_to_string(folder.join("release")).ok()?.trim_end().to_owned();
        let (image, modules) = (folder.join("vmlinuz"), folder.join("modules"));
        Some(Kernel { release, image, modules })
    }

    /// Fetches the kernel with its modules.
    pub fn obtain(
        self,
        cache: &Cache,
        lock: &CacheLock,
        apt: &Apt<'_>,
        depmod: &Program,
    ) -> Result<()> {
        self.fetch(cache, lock, apt, depmod).map_err(|error| {
            let instead = "apt-get update, to see whether this machine reaches a Debian mirror";
            unavailable(&format!("a guest kernel of series {self}"), &error, instead)
        })
    }

    fn fetch(self, cache: &Cache, lock: &CacheLock, apt: &Apt<'_>, depmod: &Program) -> Result<()> {
        for suites in self.suites() {
            let view = apt.view(suites)?;
            let Some((release, packages)) = self.find(&view)? else { continue };
            let _step = Step::start("Fetching", format_args!("kernel {release} ({})", view.name()));
            cache.publish(lock, self.entry(), |folder| {
                let unpacked = cache.scratch(lock)?;
                apt.unpack(&view, &packages, unpacked.path())?;
                arrange(unpacked.path(), &release, folder, depmod)
            })?;
            return Ok(());
        }
        bail!("no suite on this machine's mirrors has one")
    }

    /// The release and the packages of this series in `view`.
    fn find(self, view: &View) -> Result<Option<(String, Vec<Package>)>> {
        for meta in view.versions(META_PACKAGE)? {
            let Some(image) = concrete_image(&view.dependencies(&meta)?) else { continue };
            let release = image.trim_start_matches("linux-image-").to_owned();
            let Some(image) = view.versions(&image)?.into_iter().next() else { continue };
            if self.contains(&release) {
                return Ok(Some((release.clone(), packages_of(view, &release, image)?)));
            }
        }
        Ok(None)
    }

    fn contains(self, release: &str) -> bool {
        match self {
            Self::V6_1 => release.starts_with("6.1."),
            Self::V6_12 => release.starts_with("6.12."),
            Self::Newest => true,
        }
    }

    /// Where to look, the likeliest first.
    pub(super) fn suites(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::V6_1 => &[&["bookworm", "bookworm-security"]],
            Self::V6_12 => &[&["bookworm-backports"], &["trixie", "trixie-security"]],
            Self::Newest => &[&["trixie-backports"], &["sid"]],
        }
    }

    fn entry(self) -> String {
        format!("kernels/{self}")
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        })
    }
}

/// The image that a meta package stands for.
fn concrete_image(dependencies: &[String]) -> Option<String> {
    let is_image = |name: &&String| {
        name.strip_prefix("linux-image-")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    dependencies.iter().find(is_image).cloned()
}

/// Up to 6.12 the image package holds everything; since 7.x it only names the packages of the
/// kernel and of its modules.
fn packages_of(view: &View, release: &str, image: Package) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for name in view.dependencies(&image)? {
        if name.ends_with(release) {
            packages.extend(view.versions(&name)?.into_iter().next());
        }
    }
    packages.push(image);
    Ok(packages)
}

/// Moves what a guest needs out of the unpacked packages, and works out the modules' dependencies.
fn arrange(unpacked: &Path, release: &str, folder: &Path, depmod: &Program) -> Result<()> {
    let modules = ["lib/modules", "usr/lib/modules"]
        .map(|place| unpacked.join(place).join(release))
        .into_iter()
        .find(|place| place.join("kernel").exists())
        .context("the packages hold no kernel modules")?;
    let image = [unpacked.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")]
        .into_iter()
        .find(|place| place.exists())
        .context("the packages hold no kernel image")?;

    // depmod insists on this layout; without the lists of built-in modules it only warns.
    let base = folder.join("lib/modules");
    fs::create_dir_all(&base)?;
    fs::rename(&image, folder.join("vmlinuz"))?;
    fs::rename(&modules, base.join(release))?;
    capture(depmod.command().arg0("depmod").arg("-b").arg(folder).arg(release))?;
    fs::rename(base.join(release), folder.join("modules"))?;
    fs::remove_dir_all(folder.join("lib"))?;
    fs::write(folder.join("release"), release)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_package_leads_to_an_image() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let dependencies = names(&[
            "linux-base-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-modules-cloud-amd64",
        ]);
        assert_eq!(concrete_image(&dependencies).unwrap(), "linux-image-7.3.4+deb13-cloud-amd64");
        assert_eq!(concrete_image(&names(&["linux-image-cloud-amd64"])), None);
    }

    #[test]
    fn series_tells_6_1_from_6_12() {
        assert!(Series::V6_1.contains("6.1.0-56-cloud-amd64"));
        assert!(!Series::V6_1.contains("6.12.95+deb12-cloud-amd64"));
        assert!(Series::V6_12.contains("6.12.95+deb12-cloud-amd64"));
        assert!(Series::Newest.contains("7.3.4+deb13-cloud-amd64"));
    }
}
