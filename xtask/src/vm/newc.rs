//! Archives in the `newc` format, which the kernel unpacks as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};

const MAGIC: &str = "070701";
const END: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written. Folders above an entry are added when they are first needed.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inodes: u32,
    folders: HashSet<String>,
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, inodes: 0, folders: HashSet::new() }
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, permissions: u32) -> io::Result<()> {
        self.folders_above(path)?;
        if self.folders.insert(path.to_owned()) {
            self.entry(path, DIRECTORY | permissions, (0, 0), &[])?;
        }
        Ok(())
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.folders_above(path)?;
        self.entry(path, REGULAR | permissions, (0, 0), content)
    }

    /// Adds a symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.folders_above(path)?;
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device by its major and minor number.
    pub fn device(&mut self, path: &str, permissions: u32, number: (u32, u32)) -> io::Result<()> {
        self.folders_above(path)?;
        self.entry(path, CHARACTER_DEVICE | permissions, number, &[])
    }

    /// Ends the archive and hands the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(END, 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn folders_above(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((folder, _)) if !self.folders.contains(folder) => self.folder(folder, 0o755),
            _ => Ok(()),
        }
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{path} is too large"))
        })?;
        let name_size = u32::try_from(path.len() + 1)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path is too long"))?;
        self.inodes += 1;
        let links = 1;
        let fields =
            [self.inodes, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        let mut header = String::from(MAGIC);
        for field in fields {
            // Writing to a string cannot fail.
            let _ = write!(header, "{field:08x}");
        }
        header += path;
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    /// Writes `bytes` and fills up to a multiple of four. The header is one as well, so the
    /// position in the archive needs no count.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as read back: path, mode, device and content.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    fn read(archive: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut rest = archive;
        loop {
            assert_eq!(&rest[..6], MAGIC.as_bytes());
            let field = |index: usize| {
                let digits = std::str::from_utf8(&rest[6 + 8 * index..14 + 8 * index]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let path = String::from_utf8(rest[110..109 + name_size].to_vec()).unwrap();
            let content = (110 + name_size).next_multiple_of(4);
            if path == END {
                return entries;
            }
            let bytes = rest[content..content + size].to_vec();
            entries.push((path, field(1), (field(9), field(10)), bytes));
            rest = &rest[(content + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn entries_are_read_back_whole() {
        let mut archive = Archive::new(Vec::new());
        archive.file("init", 0o755, b"program").unwrap();
        archive.symlink("bin", "usr/bin").unwrap();
        archive.device("dev/console", 0o600, (5, 1)).unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();

        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(
            read(&bytes),
            [
                ("init".to_owned(), 0o100_755, (0, 0), b"program".to_vec()),
                ("bin".to_owned(), 0o120_777, (0, 0), b"usr/bin".to_vec()),
                ("dev".to_owned(), 0o040_755, (0, 0), vec![]),
                ("dev/console".to_owned(), 0o020_600, (5, 1), vec![]),
                ("empty".to_owned(), 0o100_644, (0, 0), vec![]),
            ]
        );
    }

    #[test]
    fn folders_come_before_their_entries_and_only_once() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("tmp", 0o1777).unwrap();
        archive.file("tmp/a/b/one", 0o644, b"1").unwrap();
        archive.file("tmp/a/b/two", 0o644, b"2").unwrap();
        archive.folder("tmp", 0o755).unwrap();
        let entries = read(&archive.finish().unwrap());
        let paths: Vec<&str> = entries.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, ["tmp", "tmp/a", "tmp/a/b", "tmp/a/b/one", "tmp/a/b/two"]);
        assert_eq!(entries[0].1, 0o041_777);
    }
}
