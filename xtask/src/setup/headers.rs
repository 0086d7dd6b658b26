//! What modules for the guest kernels are built against: the headers of the very kernel in the cache,
//! and the programs that its build needs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{Apt, Package, View};
use super::kernel::{Kernel, Series};
use super::{library_path, unavailable};
use crate::cache::{Cache, CacheLock};
use crate::console::Step;

/// The headers of a kernel in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The release of the kernel.
    pub release: String,
    /// The folder that the packages were unpacked to.
    root: PathBuf,
}

/// The package of a library that programs of the kernel's build are linked to, by the start of its name.
const LIBRARY: &str = "libelf1";

impl Headers {
    /// The headers of the kernel that the cache has of this series, if it has them.
    pub fn held(cache: &Cache, series: Series) -> Option<Self> {
        let Kernel { release, .. } = series.held(cache)?;
        let headers = Self { root: cache.path(entry(series)), release };
        headers.build().join("Makefile").exists().then_some(headers)
    }

    /// Fetches them.
    pub fn obtain(cache: &Cache, lock: &CacheLock, apt: &Apt<'_>, series: Series) -> Result<()> {
        fetch(cache, lock, apt, series).map_err(|error| {
            let instead = format!(
                "rm -r {}, and cargo xtask setup, to have the kernel that the mirror has headers of",
                cache.path(format!("kernels/{series}")).display()
            );
            unavailable(&format!("the headers of the kernel {series}"), &error, &instead)
        })
    }

    /// The folder that `make` is run in.
    pub fn build(&self) -> PathBuf {
        self.root.join("usr/src").join(format!("linux-headers-{}", self.release))
    }

    /// Where the programs of the build find libraries, as `LD_LIBRARY_PATH` takes it.
    pub fn libraries(&self) -> OsString {
        library_path(&self.root)
    }
}

fn entry(series: Series) -> String {
    format!("headers/{series}")
}

fn fetch(cache: &Cache, lock: &CacheLock, apt: &Apt<'_>, series: Series) -> Result<()> {
    let Kernel { release, .. } =
        series.held(cache).with_context(|| format!("there is no kernel {series}"))?;
    let name = format!("linux-headers-{release}");
    for suites in series.suites() {
        let view = apt.view(suites)?;
        let Some(headers) = view.versions(&name)?.into_iter().next() else { continue };
        let _step = Step::start("Fetching", format_args!("{name} ({})", view.name()));
        let packages = packages(&view, headers)?;
        let machine = apt.machine()?;
        let libraries = machine.with_missing_dependencies(&[LIBRARY])?;
        cache.publish(lock, entry(series), |folder| {
            apt.unpack(&view, &packages, folder)?;
            apt.unpack(&machine, &libraries, folder)?;
            arrange(folder, &release)
        })?;
        return Ok(());
    }
    bail!("no suite on this machine's mirrors has {name}")
}

/// The headers, with what they share with other flavours and the programs of the build.
fn packages(view: &View, headers: Package) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for name in view.dependencies(&headers)? {
        if is_needed(&name) {
            packages.extend(view.versions(&name)?.into_iter().next());
        }
    }
    packages.push(headers);
    Ok(packages)
}

fn is_needed(dependency: &str) -> bool {
    ["linux-headers-", "linux-kbuild-"].iter().any(|start| dependency.starts_with(start))
}

/// Has the headers find the rest beside them, wherever they are: they look for it in `/usr/src`.
fn arrange(folder: &Path, release: &str) -> Result<()> {
    let build = folder.join("usr/src").join(format!("linux-headers-{release}"));
    let makefile = build.join("Makefile");
    let text = fs::read_to_string(&makefile)
        .with_context(|| format!("the packages hold no headers of {release}"))?;
    fs::write(&makefile, beside(&text))?;
    // The type information of a module would be made from it, by a program that few machines have.
    let image = build.join("vmlinux");
    if image.exists() {
        fs::remove_file(image)?;
    }
    Ok(())
}

/// The text of a makefile that includes another from the folder beside its own.
fn beside(makefile: &str) -> String {
    makefile.replace("include /usr/src/", "include $(dir $(lastword $(MAKEFILE_LIST)))../")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_and_the_programs_of_the_build_are_needed() {
        assert!(is_needed("linux-headers-6.1.0-56-common") && is_needed("linux-kbuild-6.1"));
        assert!(!is_needed("gcc-12") && !is_needed("linux-image-6.12.95+deb12-cloud-amd64"));
    }

    #[test]
    fn makefile_looks_beside_itself() {
        assert_eq!(
            beside("include /usr/src/linux-headers-6.1.0-56-common/Makefile\n"),
            "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-6.1.0-56-common/Makefile\n"
        );
    }

    #[test]
    fn headers_of_another_release_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let write = |path: &str, text: &str| {
            let path = cache.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("kernels/6.1/release", "6.1.0-56");
        write("headers/6.1/usr/src/linux-headers-6.1.0-55/Makefile", "");
        assert_eq!(Headers::held(&cache, Series::V6_1), None);
        write("headers/6.1/usr/src/linux-headers-6.1.0-56/Makefile", "");
        let headers = Headers::held(&cache, Series::V6_1).unwrap();
        assert!(headers.build().ends_with("headers/6.1/usr/src/linux-headers-6.1.0-56"));
    }
}
