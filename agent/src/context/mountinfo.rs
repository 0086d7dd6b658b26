//! The mounts of a process, as `/proc/PID/mountinfo` tells them (`Documentation/filesystems/proc.rst`, 3.5),
//! and which folder of the host a mount shows.

use std::fs;
use std::io;
use std::path::Path;

/// The mounts of one mount namespace.
#[derive(Debug, Default)]
pub(crate) struct MountInfo(Vec<Mount>);

/// One mount.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Mount {
    /// The device of the superblock, as major:minor.
    pub(crate) device: Vec<u8>,
    /// What of the file system it shows.
    pub(crate) root: Vec<u8>,
    /// Where.
    pub(crate) target: Vec<u8>,
    /// The type of the file system.
    pub(crate) fs_type: Vec<u8>,
}

impl MountInfo {
    /// Reads a file of that format.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        fs::read(path).map(|text| Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        Self(text.split(|&byte| byte == b'\n').filter_map(Mount::parse).collect())
    }

    /// Each mount, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// Where the same is that `mount` of another namespace shows; `None` if it is nowhere here.
    pub(crate) fn path_of(&self, mount: &Mount) -> Option<Vec<u8>> {
        let same = self.0.iter().filter(|own| own.device == mount.device);
        let within = same.filter_map(|own| Some((own, below(&mount.root, &own.root)?)));
        let (own, rest) = within.min_by_key(|(_, rest)| rest.len())?;
        let mut path = own.target.clone();
        if path.ends_with(b"/") {
            path.pop();
        }
        path.extend_from_slice(rest.strip_suffix(b"/").unwrap_or(rest));
        Some(if path.is_empty() { b"/".to_vec() } else { path })
    }
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let device = fields.nth(2)?.to_vec();
        let (root, target) = (unescaped(fields.next()?), unescaped(fields.next()?));
        // Behind a variable number of optional fields.
        let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
        Some(Self { device, root, target, fs_type })
    }
}

/// What of `path` follows `folder`, with its slash; `None` if it is not in there.
pub(crate) fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(folder.strip_suffix(b"/").unwrap_or(folder))?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// Blanks and the like stand there as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| byte == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            bytes.push(code);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        23 22 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw\n\
        24 22 254:2 /vol /srv/a\\040b rw - ext4 /dev/vda2 rw\n\
        25 22\n";

    fn mount(device: &str, root: &str) -> Mount {
        let line = format!("99 1 {device} {root} /x rw master:1 - ext4 none rw");
        Mount::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_mount_is_found_on_the_host() {
        let host = MountInfo::parse(HOST);
        assert_eq!(host.iter().count(), 3);
        let path = |device, root| host.path_of(&mount(device, root));
        assert_eq!(path("254:1", "/etc").unwrap(), b"/etc");
        assert_eq!(path("254:1", "/").unwrap(), b"/");
        assert_eq!(path("0:22", "/docker.sock").unwrap(), b"/run/docker.sock");
        assert_eq!(path("254:2", "/vol/x").unwrap(), b"/srv/a b/x");
        assert_eq!(path("254:2", "/volume"), None);
        assert_eq!(path("0:99", "/"), None);
    }
}
