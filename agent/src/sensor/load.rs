//! Loads the eBPF object into the kernel, fitted to it: the offsets of the running kernel go into
//! the object's read-only data, the sizes of the lanes into its maps.

use std::path::Path;

use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::{Object, ParseError};
use shrike_common::{Backend, KEPT_MAPS, OFFSETS, Offset};

use super::SensorOptions;
use super::btf::{Btf, BtfError};
use super::label::Label;
use super::survival::Pins;
use super::symbol;

/// The object that the build script made from `ebpf/`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shrike-ebpf"));

/// Why the object could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot find what the probes read")]
    Offset(#[from] BtfError),
    #[error(
        "the kernel refused the probes' maps; they need root, or CAP_BPF and CAP_PERFMON \
         (`shrike doctor` tells more)"
    )]
    Object(#[from] EbpfError),
    #[error("cannot read the probes' object")]
    Parse(#[from] ParseError),
}

/// The object as it is before it is fitted to the kernel.
pub(super) fn object() -> Result<Object, LoadError> {
    Ok(Object::parse(OBJECT)?)
}

/// Creates the maps and prepares the programs; none is loaded or attached yet. The tables of membership
/// are those that are pinned; where they are not, they are from now on.
pub(super) fn load(
    btf: &Btf,
    options: &SensorOptions,
    pins: Option<&Pins>,
) -> Result<Ebpf, LoadError> {
    let mut offsets = [0; OFFSETS];
    for (value, &offset) in offsets.iter_mut().zip(Offset::ALL) {
        *value = btf.offset(offset)?;
        tracing::debug!("{}.{} is at {value}", offset.root(), offset.path());
    }
    let mut loader = EbpfLoader::new();
    loader.override_global("OFFSET", offsets.as_slice(), true);
    loader.override_global("INIT_MNT_NS", &options.init_mnt_ns.0, true);
    let shown_by = if options.lsms.has_bpf() { Backend::Lsm } else { Backend::Fentry };
    let shown_by = shown_by as u32;
    loader.override_global("SHOWN_BY", &shown_by, true);
    let [rename_lock, mount_lock, noop_bdi, apparmor, selinux] = symbol::addresses([
        "rename_lock",
        "mount_lock",
        "noop_backing_dev_info",
        "apparmor_blob_sizes",
        "selinux_blob_sizes",
    ])
    .inspect_err(|error| tracing::warn!("cannot read the kernel's symbols: {error}"))
    .unwrap_or_default();
    if rename_lock == 0 || mount_lock == 0 {
        tracing::warn!(
            "the kernel does not tell where rename_lock and mount_lock are: paths that rules ask for \
             are walked at every open"
        );
    }
    loader.override_global("RENAME_LOCK", &rename_lock, true);
    loader.override_global("MOUNT_LOCK", &mount_lock, true);
    loader.override_global("NOOP_BDI", &noop_bdi, true);
    let mount_next = u64::from(btf.field("mount", "mnt_next_for_sb").unwrap_or(0));
    loader.override_global("MOUNT_NEXT", &mount_next, true);
    let loop_file = u64::from(loop_file(btf));
    loader.override_global("LOOP_FILE", &loop_file, true);
    let inode_size = u64::from(btf.size("inode").unwrap_or(0));
    loader.override_global("INODE_SIZE", &inode_size, true);
    let loginuid = u64::from(btf.field("task_struct", "loginuid").unwrap_or(0));
    loader.override_global("LOGINUID", &loginuid, true);
    let label = |module, sizes, fields| Label::of(btf, &options.lsms, module, sizes, fields);
    let apparmor = label("apparmor", apparmor, &[("aa_label", "flags")]);
    loader.override_global("APPARMOR", &apparmor.sizes, true);
    loader.override_global("APPARMOR_FLAGS", &apparmor.field, true);
    // The first is its name on 7.3, the other one up to 6.12.
    let fields = &[("cred_security_struct", "sid"), ("task_security_struct", "sid")];
    let selinux = label("selinux", selinux, fields);
    loader.override_global("SELINUX", &selinux.sizes, true);
    loader.override_global("SELINUX_SID", &selinux.field, true);
    for (lane, &bytes) in &options.ring_bytes {
        loader.map_max_entries(lane.map_name(), bytes);
    }
    if let Some(pins) = pins {
        for &name in KEPT_MAPS {
            loader.map_pin_path(name, pins.table(name));
        }
    }
    Ok(loader.load(OBJECT)?)
}

/// Where a loop device has the file beneath it; 0 if the kernel does not tell.
fn loop_file(btf: &Btf) -> u32 {
    const MODULE: &str = "/sys/kernel/btf/loop";
    const FIELD: (&str, &str) = ("loop_device", "lo_backing_file");
    let (root, path) = FIELD;
    let of_module = || btf.read_module(Path::new(MODULE))?.field(root, path);
    btf.field(root, path).or_else(|_| of_module()).unwrap_or_else(|error| {
        tracing::warn!(
            "the kernel does not tell what loop devices show ({error}): containers that mount one of the \
             host's are not noticed"
        );
        0
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shrike_common::{FRESH_MAPS, Lane, PROBES, SYSCALL_EXITS};

    use super::*;

    /// The list of probes and the programs of the object are written in two places.
    #[test]
    fn the_object_has_exactly_the_programs_of_the_list() {
        let object = object().unwrap();
        let built: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
        let exits = SYSCALL_EXITS.iter().map(|exit| &exit.probe);
        let ways = PROBES.iter().chain(exits).flat_map(|probe| probe.ways);
        let listed = ways.map(|way| way.program()).collect();
        assert_eq!(built, listed);
    }

    /// Of each map it is said whether the next agent takes it over.
    #[test]
    fn the_object_has_exactly_the_maps_of_the_lists() {
        let object = object().unwrap();
        // What is constant has a section for a name.
        let built = object.maps.keys().map(String::as_str).filter(|name| !name.starts_with('.'));
        let built: BTreeSet<&str> = built.collect();
        let listed = KEPT_MAPS.iter().chain(FRESH_MAPS).copied().collect();
        assert_eq!(built, listed);
    }

    #[test]
    fn the_object_has_a_ring_for_every_lane() {
        let object = object().unwrap();
        for lane in Lane::ALL {
            assert!(object.maps.contains_key(lane.map_name()), "{}", lane.name());
        }
    }
}
