//! A container's part of block devices, and its limits. Written here: `cgroups-rs` knows the controller
//! by its name in cgroup v1 only, and so cannot have v2 enable it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::spec::{BlockIo, Throttle, Way};

/// Why block devices are not shared out as they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("this host has no {file} for containers, so {option} cannot be kept")]
    NoFile { file: &'static str, option: &'static str },
    #[error("cannot find the device {} ({option})", device.display())]
    Missing { device: PathBuf, option: &'static str, source: io::Error },
    #[error("{} is no block device ({option})", device.display())]
    NoDevice { device: PathBuf, option: &'static str },
    #[error("{} has no limit of its own ({option}): name a whole disk, no partition", device.display())]
    NoDisk { device: PathBuf, option: &'static str },
    #[error("cannot write {text:?} to {} ({option})", path.display())]
    Write { text: String, path: PathBuf, option: &'static str, source: io::Error },
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{option} should have {wanted:?} in {}, which has {found:?}", path.display())]
    NotTaken { option: &'static str, wanted: String, path: PathBuf, found: String },
}

/// The files of the weight: that of BFQ is there while BFQ is loaded.
const WEIGHTS: [&str; 2] = ["io.bfq.weight", "io.weight"];
const LEGACY_WEIGHTS: [&str; 2] = ["blkio.bfq.weight", "blkio.weight"];

const WEIGHT: &str = "--blkio-weight";

/// The controllers that these need; the first one has the files. In v2, what is written by way of the page
/// cache counts for whom the memory counts.
pub(super) fn controllers(block: &BlockIo, is_v2: bool) -> &'static [&'static str] {
    let BlockIo { weight, throttles } = block;
    match (weight, throttles.as_slice()) {
        (None, []) => &[],
        _ if is_v2 => &["io", "memory"],
        _ => &["blkio"],
    }
}

/// Sets them in the cgroup at `dir`.
pub(super) fn set(dir: &Path, is_v2: bool, block: &BlockIo) -> Result<(), BlockError> {
    if let Some(weight) = block.weight {
        let names = if is_v2 { WEIGHTS } else { LEGACY_WEIGHTS };
        let there: Vec<_> = names.into_iter().filter(|name| dir.join(name).exists()).collect();
        if there.is_empty() {
            let [_, file] = names;
            return Err(BlockError::NoFile { file, option: WEIGHT });
        }
        // Which one counts is a matter of each disk.
        there.into_iter().try_for_each(|name| set_weight(dir.join(name), weight))?;
    }
    block.throttles.iter().try_for_each(|throttle| limit(dir, is_v2, throttle))
}

fn set_weight(path: PathBuf, weight: u16) -> Result<(), BlockError> {
    let weight = if path.ends_with("io.weight") { io_weight(weight) } else { weight.into() };
    let wanted = weight.to_string();
    write(&path, &wanted, WEIGHT)?;
    let found = read(&path)?;
    // That of all disks comes first, with its name or without.
    let first = found.lines().next().unwrap_or_default();
    if first.strip_prefix("default ").unwrap_or(first) == wanted {
        Ok(())
    } else {
        Err(BlockError::NotTaken { option: WEIGHT, wanted, path, found })
    }
}

/// The weight of `io.weight` (1 to 10,000) for Docker's (10 to 1000), as the OCI runtimes have it.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9_999 / 990
}

fn limit(dir: &Path, is_v2: bool, throttle: &Throttle) -> Result<(), BlockError> {
    let Throttle { way, rate } = throttle;
    let (option, key, legacy) = names(*way);
    let name = if is_v2 { "io.max" } else { legacy };
    let path = dir.join(name);
    if !path.exists() {
        return Err(BlockError::NoFile { file: name, option });
    }
    let device = || rate.device.clone();
    let missing = |source| BlockError::Missing { device: device(), option, source };
    let data = fs::metadata(&rate.device).map_err(missing)?;
    if !data.file_type().is_block_device() {
        return Err(BlockError::NoDevice { device: device(), option });
    }
    let number = format!("{}:{}", major(data.rdev()), minor(data.rdev()));
    let wanted = if is_v2 { format!("{key}={}", rate.most) } else { rate.most.to_string() };
    write(&path, &format!("{number} {wanted}"), option).map_err(|error| match error {
        BlockError::Write { source, .. } if source.raw_os_error() == Some(libc::ENODEV) => {
            BlockError::NoDisk { device: device(), option }
        }
        error => error,
    })?;
    let found = read(&path)?;
    if has(&found, &number, &wanted) {
        Ok(())
    } else {
        Err(BlockError::NotTaken { option, wanted: format!("{number} {wanted}"), path, found })
    }
}

/// The option of a limit, its key in `io.max`, and its file in cgroup v1.
fn names(way: Way) -> (&'static str, &'static str, &'static str) {
    match way {
        Way::ReadBytes => ("--device-read-bps", "rbps", "blkio.throttle.read_bps_device"),
        Way::WriteBytes => ("--device-write-bps", "wbps", "blkio.throttle.write_bps_device"),
        Way::ReadOperations => ("--device-read-iops", "riops", "blkio.throttle.read_iops_device"),
        Way::WriteOperations => {
            ("--device-write-iops", "wiops", "blkio.throttle.write_iops_device")
        }
    }
}

/// Whether the line of a device has a word.
fn has(text: &str, device: &str, wanted: &str) -> bool {
    let of_device = |line: &str| {
        let (of, words) = line.split_once(' ')?;
        (of == device).then(|| words.split(' ').any(|word| word == wanted))
    };
    text.lines().find_map(of_device).unwrap_or_default()
}

fn write(path: &Path, text: &str, option: &'static str) -> Result<(), BlockError> {
    fs::write(path, text).map_err(|source| BlockError::Write {
        text: text.to_owned(),
        path: path.to_owned(),
        option,
        source,
    })
}

fn read(path: &Path) -> Result<String, BlockError> {
    fs::read_to_string(path).map_err(|error| BlockError::Read(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_converted_as_by_runc() {
        assert_eq!([10, 100, 500, 1000].map(io_weight), [1, 910, 4950, 10_000]);
    }

    #[test]
    fn a_limit_is_found_again() {
        let text = "7:0 rbps=max wbps=1048576 riops=max wiops=max\n17:0 rbps=5 wbps=max\n";
        assert!(has(text, "7:0", "wbps=1048576"));
        assert!(!has(text, "7:0", "wbps=104857") && !has(text, "7:0", "rbps=5"));
        assert!(has(text, "17:0", "rbps=5") && !has(text, "8:0", "rbps=5"));
        assert!(has("7:0 100\n", "7:0", "100"));
    }
}
