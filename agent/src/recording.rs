//! Recordings: a stream of records in a file, as the probes sent them.
//!
//! A file is a magic text and a sequence of blocks. Each block has a head of three little-endian
//! 32-bit numbers (how many bytes and how many records follow, and the CRC-32 of all that, the two
//! numbers included), then the records one behind the other; each tells its own length. The first
//! block holds no records but what is needed to understand them, in JSON; a block without bytes ends
//! the file.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use shrike_common::wire::Wire;
use shrike_common::{ABI_VERSION, Header, Namespaces, NsId, NsType};

use crate::context::clock::Clock;

/// What every recording begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"SHRIKE\0\x01";

/// A block is written when it has so many bytes.
const BLOCK: usize = 256 * 1024;

/// No block is longer: whoever reads more has a damaged file.
const LONGEST: u32 = 16 * 1024 * 1024;

/// What a recording tells of the host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Origin {
    /// The version of the records.
    pub(crate) abi: u16,
    /// The name of the host.
    pub(crate) hostname: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The version of shrike that recorded.
    pub(crate) shrike: String,
    /// The time of day at boot time 0, in nanoseconds since 1970.
    pub(crate) boot: i64,
    /// The inode numbers of the host's namespaces, in the order of [`NsType::ALL`].
    pub(crate) namespaces: [u32; NsType::ALL.len()],
}

impl Origin {
    /// This host.
    pub(crate) fn here(hostname: &str, kernel: &str, host: &Namespaces, clock: Clock) -> Self {
        Self {
            abi: ABI_VERSION,
            hostname: hostname.to_owned(),
            kernel: kernel.to_owned(),
            shrike: env!("CARGO_PKG_VERSION").to_owned(),
            boot: i64::try_from(clock.boot()).unwrap_or_default(),
            namespaces: NsType::ALL.map(|ty| host.get(ty).0),
        }
    }

    /// The host's namespaces.
    pub(crate) fn host(&self) -> Namespaces {
        let mut host = Namespaces::default();
        for (ty, id) in NsType::ALL.into_iter().zip(self.namespaces) {
            *host.get_mut(ty) = NsId(id);
        }
        host
    }
}

/// Writes a recording.
pub(crate) struct Recorder<W: Write> {
    out: W,
    block: Vec<u8>,
    records: u32,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording.
    pub(crate) fn start(mut out: W, origin: &Origin) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        let mut recorder = Self { out, block: serde_json::to_vec(origin)?, records: 0 };
        recorder.end_block()?;
        Ok(recorder)
    }

    /// Adds a record.
    pub(crate) fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.block.extend_from_slice(record);
        self.records += 1;
        if self.block.len() >= BLOCK { self.end_block() } else { Ok(()) }
    }

    /// Ends the recording.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.end_block()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        let head = Head { len, records: self.records };
        self.out.write_all(&head.bytes())?;
        self.out.write_all(&head.checksum(&self.block).to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        self.records = 0;
        Ok(())
    }
}

/// What stands before a block's checksum.
#[derive(Clone, Copy)]
struct Head {
    len: u32,
    records: u32,
}

impl Head {
    fn bytes(self) -> [u8; 8] {
        (u64::from(self.len) | u64::from(self.records) << 32).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 8]) -> Self {
        let [l0, l1, l2, l3, r0, r1, r2, r3] = bytes;
        let [len, records] = [[l0, l1, l2, l3], [r0, r1, r2, r3]].map(u32::from_le_bytes);
        Self { len, records }
    }

    fn checksum(self, block: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.bytes());
        hasher.update(block);
        hasher.finalize()
    }
}

/// Reads a recording.
pub(crate) struct Recording<R> {
    input: R,
    origin: Origin,
    /// How many bytes were read.
    offset: u64,
    /// How many records.
    records: u64,
    has_ended: bool,
}

/// Why a recording could not be read, or not further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    #[error("it is no recording of shrike")]
    Foreign,
    #[error("it has version {0} of the format, this shrike reads {version}", version = MAGIC[7])]
    Version(u8),
    #[error(
        "its records have version {0}, this shrike reads {ABI_VERSION}; replay it with the shrike \
         that recorded it"
    )]
    Abi(u16),
    #[error("what it tells of its host cannot be understood")]
    Origin(#[from] serde_json::Error),
    #[error("it is damaged at byte {offset}; the {records} records before that were read")]
    Damaged { offset: u64, records: u64 },
    #[error(
        "it was cut off at byte {offset}, or is still being written; the {records} records before \
         that were read"
    )]
    Truncated { offset: u64, records: u64 },
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

impl<R: Read> Recording<R> {
    /// Begins to read a recording.
    pub(crate) fn open(mut input: R) -> Result<Self, RecordingError> {
        let mut magic = [0; MAGIC.len()];
        if let Err(error) = input.read_exact(&mut magic) {
            let is_short = error.kind() == io::ErrorKind::UnexpectedEof;
            return Err(if is_short { RecordingError::Foreign } else { error.into() });
        }
        let ([.., version], [expected @ .., own]) = (magic, *MAGIC);
        if !magic.starts_with(&expected) {
            return Err(RecordingError::Foreign);
        }
        if version != own {
            return Err(RecordingError::Version(version));
        }
        let origin = Origin {
            abi: 0,
            hostname: String::new(),
            kernel: String::new(),
            shrike: String::new(),
            boot: 0,
            namespaces: Default::default(),
        };
        let mut recording =
            Self { input, origin, offset: MAGIC.len() as u64, records: 0, has_ended: false };
        let mut head = Vec::new();
        recording.read_block(&mut head)?;
        recording.origin = serde_json::from_slice(&head)?;
        match recording.origin.abi {
            ABI_VERSION => Ok(recording),
            other => Err(RecordingError::Abi(other)),
        }
    }

    /// Where it was made.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Hands out the records of the next block. Returns whether there was one.
    pub(crate) fn next(
        &mut self,
        block: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<bool, RecordingError> {
        if self.has_ended {
            return Ok(false);
        }
        let start = self.offset;
        let count = self.read_block(block)?;
        if block.is_empty() {
            self.has_ended = true;
            return Ok(false);
        }
        let mut rest = block.as_slice();
        for _ in 0..count {
            // The checksum is right, so this is what was written; it is not trusted all the same.
            let size = Header::view(rest, 0).map_or(0, |header| header.size as usize);
            let Some((record, others)) = rest.split_at_checked(size).filter(|_| size > 0) else {
                return Err(RecordingError::Damaged { offset: start, records: self.records });
            };
            each(record);
            self.records += 1;
            rest = others;
        }
        Ok(true)
    }

    /// Reads a block and returns how many records it has.
    fn read_block(&mut self, block: &mut Vec<u8>) -> Result<u32, RecordingError> {
        let mut numbers = [0; 8];
        self.fill(&mut numbers)?;
        let mut checksum = [0; 4];
        self.fill(&mut checksum)?;
        let head = Head::from_bytes(numbers);
        let damaged = RecordingError::Damaged { offset: self.offset, records: self.records };
        if head.len > LONGEST {
            return Err(damaged);
        }
        block.resize(head.len as usize, 0);
        self.fill(block)?;
        if head.checksum(block) != u32::from_le_bytes(checksum) {
            return Err(damaged);
        }
        self.offset += u64::from(head.len) + (numbers.len() + checksum.len()) as u64;
        Ok(head.records)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RecordingError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                RecordingError::Truncated { offset: self.offset, records: self.records }
            }
            _ => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn origin() -> Origin {
        let host = Namespaces { mnt: NsId(7), ..Namespaces::default() };
        Origin::here("node", "6.12.1", &host, Clock::now().unwrap())
    }

    fn record(len: usize, mark: u8) -> Vec<u8> {
        let mut record = vec![mark; size_of::<Header>() + len];
        let size = u32::try_from(record.len()).unwrap();
        let at = offset_of!(Header, size);
        record[at..at + 4].copy_from_slice(&size.to_le_bytes());
        record
    }

    fn recorded(records: &[Vec<u8>]) -> Vec<u8> {
        let mut recorder = Recorder::start(Vec::new(), &origin()).unwrap();
        for record in records {
            recorder.record(record).unwrap();
        }
        recorder.finish().unwrap()
    }

    /// All records, and how reading ended.
    fn read(file: &[u8]) -> (Vec<Vec<u8>>, Result<(), RecordingError>) {
        let mut records = Vec::new();
        let mut recording = match Recording::open(file) {
            Ok(recording) => recording,
            Err(error) => return (records, Err(error)),
        };
        let mut block = Vec::new();
        loop {
            match recording.next(&mut block, |record| records.push(record.to_vec())) {
                Ok(true) => {}
                Ok(false) => return (records, Ok(())),
                Err(error) => return (records, Err(error)),
            }
        }
    }

    fn many() -> Vec<Vec<u8>> {
        (0..600_u32).map(|number| record(1000, number.to_le_bytes()[0])).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let file = recorded(&many());
        let (records, outcome) = read(&file);
        assert!(outcome.is_ok() && records == many());
        assert_eq!(Recording::open(file.as_slice()).unwrap().origin().host().mnt, NsId(7));
        let (records, outcome) = read(&recorded(&[]));
        assert!(outcome.is_ok() && records.is_empty());
    }

    #[test]
    fn what_was_cut_off_is_read_up_to_there() {
        let file = recorded(&many());
        let (records, outcome) = read(&file[..file.len() - 100]);
        assert!(
            matches!(outcome, Err(RecordingError::Truncated { records: 400.., .. })),
            "{outcome:?}"
        );
        assert!(records.len() >= 400 && records == many()[..records.len()]);
        // Without the block that ends it.
        let (records, outcome) = read(&file[..file.len() - 12]);
        assert!(matches!(outcome, Err(RecordingError::Truncated { records: 600, .. })));
        assert_eq!(records, many());
    }

    #[test]
    fn every_damage_is_found() {
        let file = recorded(&[record(20, 1), record(30, 2)]);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            let (_, outcome) = read(&damaged);
            assert!(outcome.is_err(), "byte {at}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let error = |file: &[u8]| read(file).1.unwrap_err().to_string();
        assert_eq!(error(b"PK"), "it is no recording of shrike");
        assert_eq!(error(b"#!/bin/sh\nexit"), "it is no recording of shrike");
        let newer = b"SHRIKE\0\x02";
        assert_eq!(error(newer), "it has version 2 of the format, this shrike reads 1");
    }
}
