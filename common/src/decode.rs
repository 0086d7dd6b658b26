//! From the bytes of a record to an event, refusing whatever the format does not allow.

use core::fmt;

use crate::wire::Wire;
use crate::{ABI_VERSION, Event, Header, Kind};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// Shorter than the header, or than the header says.
    Short,
    /// Written by a probe of another version.
    Version(u16),
    /// A kind that this agent does not know.
    Kind(u16),
    /// A field lies outside of the record.
    Field(Kind),
}

/// Reads the record that `record` starts with.
pub fn decode(record: &[u8]) -> Result<(Header, Event<'_>), Malformed> {
    let header = Header::view(record, 0).ok_or(Malformed::Short)?;
    if header.version != ABI_VERSION {
        return Err(Malformed::Version(header.version));
    }
    let record = record.get(..header.size as usize).ok_or(Malformed::Short)?;
    let kind = Kind::from_code(header.kind).ok_or(Malformed::Kind(header.kind))?;
    let event = Event::view(kind, record, size_of::<Header>()).ok_or(Malformed::Field(kind))?;
    Ok((header, event))
}

impl core::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "record is shorter than it says"),
            Self::Version(version) => {
                write!(f, "record has format version {version}, this agent reads {ABI_VERSION}")
            }
            Self::Kind(code) => write!(f, "record has the unknown kind {code}"),
            Self::Field(kind) => {
                write!(f, "a field of the {} record lies outside of it", kind.name())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::wire::Text;
    use crate::{Exit, FileOpen, NsId};

    /// A file-open record for `path`, of which the first byte was given, built byte by byte as the format says.
    fn file_open(path: &[u8]) -> Vec<u8> {
        const FIXED: usize = 8 + 8 + 6 * 4 + 2 * 8;
        let mut record = header(Kind::FileOpen, FIXED + path.len());
        let offset = u32::try_from(record.len() + FIXED).unwrap();
        record.extend(7_u64.to_le_bytes());
        record.extend(0xEF53_u64.to_le_bytes());
        for field in [0x10_0001_u32, 0o100_000, 0o060_644, 0x80_0000, 4711, 0] {
            record.extend(field.to_le_bytes());
        }
        record.extend(offset.to_le_bytes());
        record.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        record.extend(Text::TRUNCATED.to_le_bytes());
        record.extend(offset.to_le_bytes());
        record.extend([1, 0, 0, 0]);
        record.extend(path);
        record
    }

    fn header(kind: Kind, rest: usize) -> Vec<u8> {
        let mut record = std::vec![0; size_of::<Header>()];
        record[0..2].copy_from_slice(&ABI_VERSION.to_le_bytes());
        record[2..4].copy_from_slice(&(kind as u16).to_le_bytes());
        let size = u32::try_from(size_of::<Header>() + rest).unwrap();
        record[4..8].copy_from_slice(&size.to_le_bytes());
        record
    }

    #[test]
    fn reads_every_field() {
        let record = file_open(b"/etc/shadow");
        let (header, event) = decode(&record).unwrap();
        assert_eq!(header.size as usize, record.len());
        let Event::FileOpen(open) = event else { panic!("{event:?}") };
        let FileOpen { inode, fs_magic, dev, flags, mode, rdev, mnt_ns, reserved, path, given } =
            open;
        assert_eq!((inode, fs_magic, dev), (7, 0xEF53, 0x10_0001));
        assert_eq!((flags, mode, rdev), (0o100_000, 0o060_644, 0x80_0000));
        assert_eq!((mnt_ns, reserved), (NsId(4711), 0));
        assert_eq!(path, Text::new(b"/etc/shadow", Text::TRUNCATED));
        assert_eq!(given, Text::new(b"/", 0));
        assert!(path.has(Text::TRUNCATED) && !path.has(Text::DELETED));
    }

    #[test]
    fn ignores_what_follows_the_record() {
        let mut record = header(Kind::Exit, 8);
        record.extend(256_i32.to_le_bytes());
        record.extend([0; 4]);
        record.extend(b"the next record");
        let (_, event) = decode(&record).unwrap();
        assert_eq!(event, Event::Exit(Exit { status: 256, reserved: 0 }));
    }

    #[test]
    fn refuses_every_truncation() {
        let record = file_open(b"/etc/shadow");
        for len in 0..record.len() {
            assert_eq!(decode(&record[..len]), Err(Malformed::Short), "{len} bytes");
        }
    }

    #[test]
    fn refuses_a_text_outside_of_the_record() {
        let span = size_of::<Header>() + 40;
        for (offset, len) in [(u32::MAX, 1_u16), (0, 4), (8, 8), (u32::MAX, u16::MAX)] {
            let mut record = file_open(b"/etc/shadow");
            record[span..span + 4].copy_from_slice(&offset.to_le_bytes());
            record[span + 4..span + 6].copy_from_slice(&len.to_le_bytes());
            assert_eq!(decode(&record), Err(Malformed::Field(Kind::FileOpen)), "{offset}+{len}");
        }
    }

    #[test]
    fn names_what_it_does_not_know() {
        let mut record = file_open(b"/");
        record[2] = 200;
        assert_eq!(decode(&record), Err(Malformed::Kind(200)));
        record[0] = 9;
        assert_eq!(decode(&record), Err(Malformed::Version(9)));
    }
}
