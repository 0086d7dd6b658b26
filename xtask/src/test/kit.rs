//! What the suites find in a guest beside the programs: the agent's image, the manifest that says how
//! it is to be run, the distribution's container runtime and loader of `AppArmor` profiles, the policy
//! of `SELinux`, and the kernel module that exploits.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Selection, module, policy};
use crate::cache::Cache;
use crate::console::Step;
use crate::image;
use crate::setup::kernel::Series;
use crate::setup::tool::{Program, Tool};
use crate::vm::initramfs::GuestFile;
use crate::workspace;

/// Where the guest has what belongs to the project.
const FOLDER: &str = "usr/share/shrike";

/// The libraries of `runc`, each with the folder where its loader looks for it. The first two are all
/// that `apparmor_parser` needs.
const LIBRARIES: [(&str, &str); 3] = [
    ("ld-linux-x86-64.so.2", "usr/lib64"),
    ("libc.so.6", "usr/lib/x86_64-linux-gnu"),
    ("libseccomp.so.2", "usr/lib/x86_64-linux-gnu"),
];

/// Files for guests.
#[derive(Debug)]
pub struct Kit {
    files: Vec<GuestFile>,
    /// Those that only guests of a series have.
    of_series: Vec<(Series, GuestFile)>,
}

impl Kit {
    /// Packs the kit, with `agent` in the image, and with what the selected suites need.
    pub fn pack(cache: &Cache, agent: &Path, selection: &Selection) -> Result<Self> {
        let image = workspace::target().join("image/shrike-dev.tar");
        {
            let _step = Step::start("Packing", "the image for the guests");
            image::write(agent, &image, "shrike:dev")?;
        }
        let daemonset = workspace::root().join("deploy/kubernetes/daemonset.yaml");
        let mut files = vec![
            GuestFile { source: image, target: format!("{FOLDER}/shrike.tar"), mode: 0o644 },
            GuestFile {
                source: daemonset,
                target: format!("{FOLDER}/daemonset.yaml"),
                mode: 0o644,
            },
        ];
        let runc = Tool::Runc.held(cache).context("runc is gone: run cargo xtask setup")?;
        for (library, folder) in LIBRARIES {
            let source = find(&runc, library)?;
            files.push(GuestFile { source, target: format!("{folder}/{library}"), mode: 0o755 });
        }
        files.push(GuestFile { source: runc.path, target: "usr/bin/runc".into(), mode: 0o755 });
        let parser = Tool::ApparmorParser.held(cache);
        files.push(GuestFile {
            source: parser.context("apparmor_parser is gone: run cargo xtask setup")?.path,
            target: "usr/sbin/apparmor_parser".into(),
            mode: 0o755,
        });
        if selection.has(policy::SUITE) {
            let source = policy::build(cache)?;
            let target = format!("{FOLDER}/{}", policy::FILE);
            files.push(GuestFile { source, target, mode: 0o644 });
        }
        let exploits = selection.has(module::SUITE);
        let mut of_series = Vec::new();
        for series in module::SERIES.into_iter().filter(|_| exploits) {
            let source = module::build(cache, series)?;
            let target = format!("{FOLDER}/{}", module::FILE);
            of_series.push((series, GuestFile { source, target, mode: 0o644 }));
        }
        Ok(Self { files, of_series })
    }

    /// The files for guests of a series.
    pub fn files(&self, series: Series) -> Vec<GuestFile> {
        let of_series = self.of_series.iter().filter(|(other, _)| *other == series);
        self.files.iter().chain(of_series.map(|(_, file)| file)).cloned().collect()
    }
}

/// Where a package has its libraries depends on the release: `/usr` is merged, or not.
fn find(runc: &Program, library: &str) -> Result<PathBuf> {
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib64", "lib64"]
        .iter()
        .map(|folder| runc.locate(folder).join(library))
        .find(|path| path.exists())
        .with_context(|| format!("the packages of runc have no {library}"))
}
