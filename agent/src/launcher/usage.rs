//! What a container uses, as the kernel counts it for its cgroups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What v1 has in place of no limit is close to the highest number: `PAGE_COUNTER_MAX`, in bytes.
const UNLIMITED: u64 = 1 << 62;

/// What a container has used, and may use. What its host does not count is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Processor time so far, in microseconds.
    pub(crate) cpu_usec: Option<u64>,
    /// Memory now, in bytes, with the files that the kernel keeps for it.
    pub(crate) memory_bytes: Option<u64>,
    /// The most that it may have.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Processes and threads now.
    pub(crate) pids: Option<u64>,
    /// The most that it may have.
    pub(crate) pids_limit: Option<u64>,
    /// Bytes read from block devices so far.
    pub(crate) read_bytes: Option<u64>,
    /// Bytes written to them so far.
    pub(crate) written_bytes: Option<u64>,
    /// How many of its processes the kernel has killed for lack of memory.
    pub(crate) oom_kills: Option<u64>,
}

impl Usage {
    /// Reads the files of these cgroups: of v2, or of v1 hierarchies, each of which has its own part.
    pub(super) fn read(cgroups: &[PathBuf]) -> io::Result<Self> {
        if cgroups.is_empty() {
            return Err(io::Error::other("it has no cgroup"));
        }
        let file = |name: &str| cgroups.iter().find_map(|dir| text(&dir.join(name)));
        let number = |name: &str| file(name)?.trim().parse::<u64>().ok();
        let limit = |name: &str| number(name).filter(|&limit| limit < UNLIMITED);
        let field = |name: &str, field: &str| keyed(&file(name)?, field);
        // `CONFIG_MEMCG` of v1 has its own names, of v2 others; none of the two has both.
        let legacy_cpu = || Some(number("cpuacct.usage")? / 1000);
        let (read, written) = (
            file("io.stat").map(|text| total(&text, "rbytes=")),
            file("io.stat").map(|text| total(&text, "wbytes=")),
        );
        let legacy_io = |word: &str| {
            let text = file("blkio.throttle.io_service_bytes")?;
            Some(
                text.lines()
                    .filter_map(|line| line.split_once(word)?.1.trim().parse::<u64>().ok())
                    .sum(),
            )
        };
        Ok(Self {
            cpu_usec: field("cpu.stat", "usage_usec").or_else(legacy_cpu),
            memory_bytes: number("memory.current").or_else(|| number("memory.usage_in_bytes")),
            memory_limit_bytes: limit("memory.max").or_else(|| limit("memory.limit_in_bytes")),
            pids: number("pids.current"),
            pids_limit: limit("pids.max"),
            read_bytes: read.or_else(|| legacy_io(" Read ")),
            written_bytes: written.or_else(|| legacy_io(" Write ")),
            oom_kills: field("memory.events", "oom_kill")
                .or_else(|| field("memory.oom_control", "oom_kill")),
        })
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number behind a word at the beginning of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The sum of the numbers behind a word in any place.
fn total(text: &str, key: &str) -> u64 {
    let numbers =
        text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let unified = dir(&[
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            ("pids.max", "64\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=1\n"),
            ("memory.events", "low 0\noom 1\noom_kill 2\n"),
        ]);
        let usage = Usage {
            cpu_usec: Some(1500),
            memory_bytes: Some(4096),
            memory_limit_bytes: None,
            pids: Some(3),
            pids_limit: Some(64),
            read_bytes: Some(15),
            written_bytes: Some(21),
            oom_kills: Some(2),
        };
        assert_eq!(Usage::read(&[unified.path().into()]).unwrap(), usage);
        let cpu = dir(&[("cpuacct.usage", "1500000\n"), ("cpu.stat", "nr_periods 0\n")]);
        let memory = dir(&[
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ]);
        let pids = dir(&[("pids.current", "3\n"), ("pids.max", "64\n")]);
        let block = dir(&[(
            "blkio.throttle.io_service_bytes",
            "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 5\n8:16 Write 1\nTotal 36\n",
        )]);
        let dirs = [&cpu, &memory, &pids, &block].map(|dir| dir.path().to_owned());
        assert_eq!(Usage::read(&dirs).unwrap(), usage);
        assert!(Usage::read(&[]).is_err());
    }
}
