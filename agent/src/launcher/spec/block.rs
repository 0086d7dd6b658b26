//! How much a container may use block devices.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Size, SpecError};

/// Its part of block devices, and its limits.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct BlockIo {
    /// Its part beside others who want them, from 10 to 1000.
    pub(crate) weight: Option<u16>,
    /// Limits of single devices.
    pub(crate) throttles: Vec<Throttle>,
}

/// A limit of a device.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Throttle {
    /// What is limited.
    pub(crate) way: Way,
    /// Where, and to what.
    pub(crate) rate: Rate,
}

/// How a device is used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
}

/// How often something may be done with a device.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Rate {
    /// The device on the host.
    pub(crate) device: PathBuf,
    /// How many bytes or operations in a second.
    pub(crate) most: u64,
}

/// Reads `DEVICE:SIZE`.
pub(crate) fn bytes_per_second(text: &str) -> Result<Rate, SpecError> {
    rate(text, |number| number.parse().ok().map(|Size(bytes)| bytes)).ok_or(SpecError::Bandwidth)
}

/// Reads `DEVICE:NUMBER`.
pub(crate) fn operations_per_second(text: &str) -> Result<Rate, SpecError> {
    // The highest number stands for no limit.
    let operations =
        |number: &str| number.parse().ok().filter(|&most: &u32| most < u32::MAX).map(u64::from);
    rate(text, operations).ok_or(SpecError::Operations)
}

fn rate(text: &str, number: impl FnOnce(&str) -> Option<u64>) -> Option<Rate> {
    let (device, most) = text.rsplit_once(':')?;
    let device = PathBuf::from(device);
    let is_number = most.starts_with(|first: char| first.is_ascii_digit());
    let most = number(most).filter(|&most| most > 0 && is_number)?;
    device.is_absolute().then_some(Rate { device, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rates_as_docker_does() {
        let rate = |most| Ok(Rate { device: "/dev/sda".into(), most });
        assert_eq!(bytes_per_second("/dev/sda:1mb"), rate(1 << 20));
        assert_eq!(bytes_per_second("/dev/sda:4096"), rate(4096));
        assert_eq!(operations_per_second("/dev/sda:100"), rate(100));
        for bad in ["", "/dev/sda", "/dev/sda:", "/dev/sda:0", "/dev/sda:-1", "sda:1m", ":1m"] {
            assert_eq!(bytes_per_second(bad), Err(SpecError::Bandwidth), "{bad:?}");
            assert_eq!(operations_per_second(bad), Err(SpecError::Operations), "{bad:?}");
        }
        for bad in ["/dev/sda:1k", "/dev/sda:+1", "/dev/sda:4294967295"] {
            assert_eq!(operations_per_second(bad), Err(SpecError::Operations), "{bad:?}");
        }
    }
}
