//! Kernel modules: which files a guest needs for the modules it asks for, and their order.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A kernel's modules, as depmod described them.
#[derive(Debug)]
pub struct Modules {
    /// The file of each module and those that it needs, by module name.
    loadable: HashMap<String, (String, Vec<String>)>,
    builtin: HashSet<String>,
}

impl Modules {
    /// Reads the descriptions in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self::parse(&text("modules.dep")?, &text("modules.builtin")?))
    }

    fn parse(dependencies: &str, builtin: &str) -> Self {
        let entry = |line: &str| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(module_name).collect();
            Some((module_name(file), (file.to_owned(), needs)))
        };
        Self {
            loadable: dependencies.lines().filter_map(entry).collect(),
            builtin: builtin.lines().map(module_name).collect(),
        }
    }

    /// The files of the modules `names` and of all that they need, each after what it needs.
    ///
    /// A module that is built into the kernel needs no file.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            self.add(&module_name(name), &mut seen, &mut files)?;
        }
        Ok(files)
    }

    fn add(&self, name: &str, seen: &mut HashSet<String>, files: &mut Vec<String>) -> Result<()> {
        if self.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some((file, needs)) = self.loadable.get(name) else {
            bail!("the kernel has no module {name}");
        };
        for needed in needs {
            self.add(needed, seen, files)?;
        }
        files.push(file.clone());
        Ok(())
    }
}

/// The name of a module in one spelling: file names use `-` and `_` for the same module.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        Modules::parse(
            "kernel/drivers/virtio/virtio_ring.ko:\n\
             kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko\n\
             kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko \
             kernel/drivers/virtio/virtio_ring.ko\n\
             kernel/net/br-netfilter.ko: kernel/net/bridge.ko\n\
             kernel/net/bridge.ko: kernel/net/br-netfilter.ko\n",
            "kernel/fs/fuse/fuse.ko\n",
        )
    }

    #[test]
    fn each_module_follows_what_it_needs() {
        assert_eq!(
            modules().closure(&["virtio_pci", "virtio"]).unwrap(),
            [
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_pci.ko.xz",
            ]
        );
    }

    #[test]
    fn built_in_module_needs_no_file() {
        assert!(modules().closure(&["fuse"]).unwrap().is_empty());
    }

    #[test]
    fn spelling_and_cycles_do_not_matter() {
        let files = modules().closure(&["br_netfilter"]).unwrap();
        assert_eq!(files, ["kernel/net/bridge.ko", "kernel/net/br-netfilter.ko"]);
    }

    #[test]
    fn unknown_module_is_named() {
        let error = modules().closure(&["zfs"]).unwrap_err().to_string();
        assert_eq!(error, "the kernel has no module zfs");
    }
}
