//! What containers without a terminal write: to files, in the format of the Kubernetes container runtime
//! interface, `TIME STREAM F|P TEXT`. P marks a part of a line that is too long.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use super::{LauncherError, Tried};

/// The newest lines, in a container's folder.
const FILE: &str = "log";

/// The lines before those.
const OLDER: &str = "log.1";

/// How much one of the two holds, in bytes.
const MOST: u64 = 16 << 20;

/// How much of a line is kept together, as with Docker and containerd.
const LONGEST: usize = 16 << 10;

/// Where a line was written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// Takes what a container writes.
pub(super) struct Log {
    files: PathBuf,
    file: File,
    size: u64,
    sources: Vec<Source>,
    /// How many bytes could not be written.
    lost: u64,
}

/// One of the two pipes.
struct Source {
    stream: Stream,
    pipe: OwnedFd,
    /// The beginning of a line.
    line: Vec<u8>,
}

/// Where the container writes.
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Log {
    /// Continues the log in this folder.
    pub(super) fn open(files: &Path) -> Result<(Self, Ends), LauncherError> {
        let path = files.join(FILE);
        let open = |()| -> io::Result<_> {
            let file = append(&path)?;
            let size = file.metadata()?.len();
            // The container's ends block, as those of a terminal do.
            let pipe = || -> io::Result<_> {
                let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
                nix::fcntl::fcntl(&from, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                Ok((from, to))
            };
            let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
            let source = |stream, pipe| Source { stream, pipe, line: Vec::new() };
            let sources = vec![source(Stream::Stdout, out), source(Stream::Stderr, err)];
            let log = Self { files: files.to_owned(), file, size, sources, lost: 0 };
            Ok((log, Ends { stdout, stderr }))
        };
        open(()).tried(|| format!("write {}", path.display()))
    }

    /// What is to be polled.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().map(|source| source.pipe.as_fd())
    }

    /// Writes down all that has been written so far.
    pub(super) fn drain(&mut self) {
        let mut sources = std::mem::take(&mut self.sources);
        sources.retain_mut(|source| self.drain_one(source));
        self.sources = sources;
    }

    /// Writes down what there is, unfinished lines too, and returns how many bytes were lost.
    pub(super) fn finish(mut self) -> u64 {
        self.drain();
        for source in std::mem::take(&mut self.sources) {
            if !source.line.is_empty() {
                self.write(source.stream, 'P', &source.line);
            }
        }
        self.lost
    }

    /// Whether there may be more to come.
    fn drain_one(&mut self, source: &mut Source) -> bool {
        let mut buffer = [0; LONGEST];
        loop {
            match read(&source.pipe, &mut buffer) {
                Ok(0) => {
                    if !source.line.is_empty() {
                        self.write(source.stream, 'P', &std::mem::take(&mut source.line));
                    }
                    return false;
                }
                Ok(len) => self.take(source, buffer.get(..len).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(_) => return true,
            }
        }
    }

    fn take(&mut self, source: &mut Source, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            source.line.extend_from_slice(line);
            self.write(source.stream, 'F', &std::mem::take(&mut source.line));
            bytes = rest.get(1..).unwrap_or_default();
        }
        source.line.extend_from_slice(bytes);
        if source.line.len() >= LONGEST {
            self.write(source.stream, 'P', &std::mem::take(&mut source.line));
        }
    }

    fn write(&mut self, stream: Stream, tag: char, text: &[u8]) {
        let head = format!("{:.9} {stream} {tag} ", Timestamp::now());
        let line = [head.as_bytes(), text, b"\n"].concat();
        if let Err(error) = self.write_line(&line) {
            if self.lost == 0 {
                tracing::warn!("cannot write {}: {error}", self.files.join(FILE).display());
            }
            self.lost += text.len() as u64;
        }
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size >= MOST {
            fs::rename(self.files.join(FILE), self.files.join(OLDER))?;
            self.file = append(&self.files.join(FILE))?;
            self.size = 0;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// What of a log is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogQuery {
    /// The last so many lines only.
    pub(crate) tail: Option<usize>,
    /// Whether to wait for more, until the container has ended.
    pub(crate) follow: bool,
}

/// Something that a container has written.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Line<'a> {
    /// When.
    pub(crate) time: &'a str,
    /// Where to.
    pub(crate) stream: Stream,
    /// Whether it ends here.
    pub(crate) is_whole: bool,
    /// What.
    pub(crate) text: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let mut word = || parts.next().and_then(|word| str::from_utf8(word).ok());
        let (time, stream, tag) = (word()?, word()?, word()?);
        let stream = match stream {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        };
        Some(Self { time, stream, is_whole: tag == "F", text: parts.next().unwrap_or_default() })
    }
}

/// Hands out the lines of the log in this folder. `is_over` tells whether nothing more can come; `each` whether
/// to go on.
pub(super) fn read_log(
    files: &Path,
    query: LogQuery,
    is_over: impl Fn() -> Result<bool, LauncherError>,
    mut each: impl FnMut(&Line<'_>) -> io::Result<()>,
) -> Result<(), LauncherError> {
    const PAUSE: Duration = Duration::from_millis(100);
    let path = files.join(FILE);
    let what = || format!("read {}", path.display());
    let mut lines = Vec::new();
    let older = there(File::open(files.join(OLDER))).tried(what)?;
    let Some(file) = there(File::open(&path)).tried(what)? else { return Ok(()) };
    let mut newest = BufReader::new(file);
    for reader in older.map(BufReader::new).iter_mut().chain([&mut newest]) {
        while let Some(line) = next(reader).tried(what)? {
            lines.push(line);
        }
    }
    let skipped = query.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut tell = |line: &[u8]| {
        if let Some(line) = Line::parse(line) {
            return each(&line).tried(|| "show the log".to_owned());
        }
        tracing::warn!("{} has a line that is none of a log", path.display());
        Ok(())
    };
    lines.iter().skip(skipped).try_for_each(|line| tell(line))?;
    let mut is_last = !query.follow;
    while !is_last {
        thread::sleep(PAUSE);
        // Asked first: what was written before the end is read.
        is_last = is_over()?;
        while let Some(line) = next(&mut newest).tried(what)? {
            tell(&line)?;
        }
        if !super::state::is_at(newest.get_ref(), &path)
            && let Some(file) = there(File::open(&path)).tried(what)?
        {
            // Put aside between the two.
            while let Some(line) = next(&mut newest).tried(what)? {
                tell(&line)?;
            }
            newest = BufReader::new(file);
            is_last = false;
        }
    }
    Ok(())
}

/// The next line, if it is there with its end.
fn next(reader: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let len = reader.read_until(b'\n', &mut line)?;
    if len == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        return Ok(Some(line));
    }
    // Its writer is in the midst of it.
    reader.seek_relative(-i64::try_from(len).map_err(io::Error::other)?)?;
    Ok(None)
}

fn there<T>(file: io::Result<T>) -> io::Result<Option<T>> {
    match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, ends) = Log::open(dir.path()).unwrap();
        let (mut out, mut err) = (File::from(ends.stdout), File::from(ends.stderr));
        out.write_all(b"one\ntw").unwrap();
        err.write_all(b"oh\n").unwrap();
        log.drain();
        out.write_all(b"o\n\nend").unwrap();
        drop((out, err));
        assert_eq!(log.finish(), 0);
        let expected = [
            ("stdout", true, "one"),
            ("stderr", true, "oh"),
            ("stdout", true, "two"),
            ("stdout", true, ""),
            ("stdout", false, "end"),
        ];
        let expected = expected.map(|(stream, is_whole, text)| {
            (stream.to_owned(), is_whole, text.as_bytes().to_owned())
        });
        assert_eq!(lines(dir.path(), None), expected);
        assert_eq!(lines(dir.path(), Some(2)), expected[3..]);
    }

    #[test]
    fn a_long_line_is_split_and_a_full_file_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, ends) = Log::open(dir.path()).unwrap();
        let mut out = File::from(ends.stdout);
        let text = vec![b'x'; LONGEST];
        out.write_all(&text).unwrap();
        log.drain();
        log.size = MOST;
        out.write_all(b"y\n").unwrap();
        log.drain();
        assert!(fs::metadata(dir.path().join(OLDER)).unwrap().size() > LONGEST as u64);
        let lines = lines(dir.path(), None);
        assert_eq!(lines, [("stdout".into(), false, text), ("stdout".into(), true, b"y".to_vec())]);
    }

    #[test]
    fn other_lines_are_none_of_a_log() {
        for bad in ["", "x", "1 2 3 4", "t stdin F x"] {
            assert_eq!(Line::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    fn lines(dir: &Path, tail: Option<usize>) -> Vec<(String, bool, Vec<u8>)> {
        let mut lines = Vec::new();
        let query = LogQuery { tail, follow: false };
        let each = |line: &Line<'_>| {
            line.time.parse::<Timestamp>().unwrap();
            lines.push((line.stream.to_string(), line.is_whole, line.text.to_vec()));
            Ok(())
        };
        read_log(dir, query, || Ok(true), each).unwrap();
        lines
    }
}
