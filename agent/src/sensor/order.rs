//! Puts the records of all lanes into one order. Each lane delivers its own records when they are
//! ready, so an exec may be read after the file opens of the new program. Nothing is held back for
//! a fixed time: in each round the records up to a *watermark* are final, the time before which
//! every lane is known to have been read to its end.

use std::ops::Range;

use shrike_common::Header;
use shrike_common::wire::Wire;

/// Records that were read and wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Order {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    time: u64,
    range: Range<usize>,
}

impl Order {
    /// Takes a record from a lane and returns its time; 0 for bytes without a header, which the
    /// decoder will refuse.
    pub(crate) fn push(&mut self, record: &[u8]) -> u64 {
        let time = Header::view(record, 0).map_or(0, |header| header.time);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.records.push(Record { time, range: start..self.bytes.len() });
        time
    }

    /// Hands out the records up to the watermark, oldest first, and keeps the others.
    pub(crate) fn drain(&mut self, watermark: u64, mut each: impl FnMut(&[u8])) {
        // Stable: records of the same time stay in the order of their lane.
        self.records.sort_by_key(|record| record.time);
        let due = self.records.partition_point(|record| record.time <= watermark);
        for record in self.records.drain(..due) {
            each(self.bytes.get(record.range).unwrap_or_default());
        }
        self.compact();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Moves what is kept to the front, so that the memory does not grow.
    fn compact(&mut self) {
        self.records.sort_by_key(|record| record.range.start);
        let mut end = 0;
        for record in &mut self.records {
            let len = record.range.len();
            self.bytes.copy_within(record.range.clone(), end);
            record.range = end..end + len;
            end += len;
        }
        self.bytes.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn record(time: u64, mark: u8) -> Vec<u8> {
        let mut record = vec![0; size_of::<Header>()];
        let at = offset_of!(Header, time);
        record[at..at + 8].copy_from_slice(&time.to_le_bytes());
        record.push(mark);
        record
    }

    fn drain(order: &mut Order, watermark: u64) -> String {
        let mut marks = String::new();
        order.drain(watermark, |record| marks.push(char::from(*record.last().unwrap())));
        marks
    }

    #[test]
    fn merges_lanes_by_time_up_to_the_watermark() {
        let mut order = Order::default();
        for (time, mark) in [(30, b'c'), (50, b'e'), (10, b'a'), (20, b'b'), (60, b'f')] {
            assert_eq!(order.push(&record(time, mark)), time);
        }
        assert_eq!(drain(&mut order, 30), "abc");
        assert!(!order.is_empty());
        order.push(&record(40, b'd'));
        assert_eq!(drain(&mut order, u64::MAX), "def");
        assert!(order.is_empty());
    }

    #[test]
    fn keeps_the_order_of_a_lane_within_one_time() {
        let mut order = Order::default();
        for mark in b'a'..=b'e' {
            order.push(&record(7, mark));
        }
        assert_eq!(drain(&mut order, 7), "abcde");
    }

    #[test]
    fn does_not_grow_while_records_wait() {
        let mut order = Order::default();
        order.push(&record(1000, b'z'));
        for time in 0..500 {
            order.push(&record(time, b'.'));
            assert_eq!(drain(&mut order, time), ".");
        }
        assert_eq!(order.bytes.len(), record(0, 0).len());
        assert_eq!(drain(&mut order, 1000), "z");
    }

    #[test]
    fn passes_on_what_has_no_header() {
        let mut order = Order::default();
        assert_eq!(order.push(b"x"), 0);
        assert_eq!(drain(&mut order, 0), "x");
    }
}
