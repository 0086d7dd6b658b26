//! The mark that a running agent leaves every second, so that the next one knows since when nobody
//! has watched.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The name of the file in the folder of what an agent leaves for the next one.
pub(crate) const FILE: &str = "alive";

/// Identifies the time since the host was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How long a mark is: the identity of the boot, and a time of 20 digits.
const LENGTH: usize = 36 + 1 + 20 + 1;

/// The file of the mark.
#[derive(Debug)]
pub(crate) struct Alive {
    path: PathBuf,
    file: File,
    boot: String,
}

impl Alive {
    /// Opens the file, and returns what the last agent of this boot has marked: nanoseconds of boot
    /// time.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<u64>)> {
        let boot = fs::read_to_string(BOOT_ID)?.trim_end().to_owned();
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut mark = [0; LENGTH];
        let len = file.read_at(&mut mark, 0)?;
        let last = mark.get(..len).and_then(|mark| read(mark, &boot));
        Ok((Self { path: path.to_owned(), file, boot }, last))
    }

    /// Everything up to now was seen.
    pub(crate) fn mark(&self, now: u64) -> io::Result<()> {
        let text = format!("{:36} {now:020}\n", self.boot);
        self.file.write_all_at(text.as_bytes(), 0)
    }

    /// Where the mark is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read(mark: &[u8], boot: &str) -> Option<u64> {
    let (of, time) = str::from_utf8(mark).ok()?.trim_end().split_once(' ')?;
    (of == boot).then(|| time.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_agent_knows_the_last_mark_of_this_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/alive");
        let (alive, last) = Alive::open(&path).unwrap();
        assert_eq!(last, None);
        alive.mark(1_234_567_890_123).unwrap();
        alive.mark(987).unwrap();
        assert_eq!(Alive::open(&path).unwrap().1, Some(987));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&text[..8], "01234567")).unwrap();
        assert_eq!(Alive::open(&path).unwrap().1, None);
        fs::write(&path, b"\xFF\xFEgarbage").unwrap();
        assert_eq!(Alive::open(&path).unwrap().1, None);
    }
}
