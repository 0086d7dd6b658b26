//! The devices that a container gets.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SpecError;
use super::mount::is_below_root;

/// A device of the host that the container has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Device {
    /// Where it is on the host: the device, or a folder with some.
    pub(crate) source: PathBuf,
    /// Where the container has it.
    pub(crate) target: PathBuf,
    /// What the container may do with it.
    pub(crate) access: Access,
}

/// Devices by their numbers, and what may be done with them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct DeviceRule {
    /// The kind; both if not given.
    pub(crate) kind: Option<DeviceKind>,
    /// The driver's number; any if not given.
    pub(crate) major: Option<u32>,
    /// Which one of the driver's; any if not given.
    pub(crate) minor: Option<u32>,
    /// What may be done.
    pub(crate) access: Access,
}

/// The two kinds of devices.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeviceKind {
    Block,
    Char,
}

/// A set of what can be done with a device.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Access(u32);

impl Access {
    /// None of it.
    pub(crate) const NONE: Self = Self(0);
    /// Making its file (`BPF_DEVCG_ACC_MKNOD`).
    pub(crate) const MAKE: Self = Self(1);
    /// Reading (`BPF_DEVCG_ACC_READ`).
    pub(crate) const READ: Self = Self(2);
    /// Writing (`BPF_DEVCG_ACC_WRITE`).
    pub(crate) const WRITE: Self = Self(4);
    /// All of it.
    pub(crate) const ALL: Self = Self(7);

    const LETTERS: [(char, Self); 3] = [('r', Self::READ), ('w', Self::WRITE), ('m', Self::MAKE)];

    /// As bits of the kernel's.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in it.
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in either.
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in it and not in `other`.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl FromStr for Access {
    type Err = SpecError;

    /// Each letter once, in any order, as Docker has it.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut access = Self::NONE;
        for letter in text.chars() {
            let known = Self::LETTERS.iter().find(|(known, _)| *known == letter);
            match known {
                Some(&(_, one)) if !access.has(one) => access = access.union(one),
                _ => return Err(SpecError::Access),
            }
        }
        if access == Self::NONE { Err(SpecError::Access) } else { Ok(access) }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = Self::LETTERS.iter().filter(|(_, one)| self.has(*one));
        letters.try_for_each(|&(letter, _)| f.write_char(letter))
    }
}

impl FromStr for Device {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, access) = match *parts.as_slice() {
            [source] => (source, source, Access::ALL),
            [source, second] => match second.parse() {
                Ok(access) => (source, source, access),
                Err(_) => (source, second, Access::ALL),
            },
            [source, target, access] => (source, target, access.parse()?),
            _ => return Err(SpecError::Device),
        };
        let (source, target) = (PathBuf::from(source), PathBuf::from(target));
        if !source.is_absolute() || !target.is_absolute() {
            return Err(SpecError::Device);
        }
        // All of a folder may go to /dev itself.
        if !target.starts_with(Path::new("/dev")) || !is_below_root(&target) {
            return Err(SpecError::DeviceTarget(target));
        }
        Ok(Self { source, target, access })
    }
}

impl DeviceRule {
    /// Whether it is of the same devices as `other`.
    pub(crate) fn is_of_same(self, other: Self) -> bool {
        Self { access: other.access, ..self } == other
    }
}

impl FromStr for DeviceRule {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [kind, numbers, access] = *parts.as_slice() else { return Err(SpecError::DeviceRule) };
        let kind = match kind {
            // The kernel takes it for all devices, whatever numbers are given.
            "a" if (numbers, access) == ("*:*", "rwm") => None,
            "b" => Some(DeviceKind::Block),
            "c" => Some(DeviceKind::Char),
            _ => return Err(SpecError::DeviceRule),
        };
        let (major, minor) = numbers.split_once(':').ok_or(SpecError::DeviceRule)?;
        Ok(Self {
            kind,
            major: number(major, MAJOR_BITS)?,
            minor: number(minor, MINOR_BITS)?,
            access: access.parse().map_err(|_| SpecError::DeviceRule)?,
        })
    }
}

/// How many bits the kernel has for the numbers of a device (`include/linux/kdev_t.h`).
const MAJOR_BITS: u32 = 12;
const MINOR_BITS: u32 = 20;

/// A number, or none for any.
fn number(text: &str, bits: u32) -> Result<Option<u32>, SpecError> {
    if text == "*" {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number >> bits == 0 && !text.starts_with('+') => Ok(Some(number)),
        _ => Err(SpecError::DeviceRule),
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, major, minor, access } = self;
        let kind = match kind {
            None => 'a',
            Some(DeviceKind::Block) => 'b',
            Some(DeviceKind::Char) => 'c',
        };
        let number = |number: &Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} {access}", number(major), number(minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_devices_as_docker_does() {
        let device = |text: &str| {
            text.parse::<Device>().map(|device| {
                let Device { source, target, access } = device;
                format!("{} {} {access}", source.display(), target.display())
            })
        };
        for (text, expected) in [
            ("/dev/sda", "/dev/sda /dev/sda rwm"),
            ("/dev/sda:r", "/dev/sda /dev/sda r"),
            ("/dev/sda:/dev/disk", "/dev/sda /dev/disk rwm"),
            ("/srv/disk:/dev/disks/a:mw", "/srv/disk /dev/disks/a wm"),
            ("/srv/disks:/dev", "/srv/disks /dev rwm"),
        ] {
            assert_eq!(device(text), Ok(expected.to_owned()));
        }
        for bad in ["", "sda", "/dev/sda:disk", "/dev/a:/dev/b:r:w"] {
            assert_eq!(device(bad), Err(SpecError::Device), "{bad:?}");
        }
        for bad in ["/dev/a:/dev/b:x", "/dev/a:/dev/b:rr", "/dev/a:/dev/b:"] {
            assert_eq!(device(bad), Err(SpecError::Access), "{bad:?}");
        }
        for bad in ["/srv/disk", "/dev/a:/mnt/a", "/dev/a:/dev/../etc", "/dev/a:/devices"] {
            assert!(matches!(device(bad), Err(SpecError::DeviceTarget(_))), "{bad:?}");
        }
    }

    #[test]
    fn reads_rules_as_docker_does() {
        for text in ["c 1:3 rwm", "b 7:* r", "c *:* m", "b 4095:1048575 w", "a *:* rwm"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "c 1:3",
            "c 1:3 ",
            "c 1 rwm",
            "c 1:3 rx",
            "c 1:3 rwmr",
            "d 1:3 r",
            "c -1:3 r",
            "c +1:3 r",
            "c 4096:3 r",
            "b 7:1048576 r",
            "c  1:3 r",
            "a 1:3 rwm",
            "a *:* r",
        ] {
            assert_eq!(bad.parse::<DeviceRule>(), Err(SpecError::DeviceRule), "{bad:?}");
        }
    }
}
