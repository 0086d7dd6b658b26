//! A stream of bytes in lines, of bounded length.

/// The longest line that is kept.
const LONGEST: usize = 256 << 10;

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// Whether the line is too long, and what is left of it skipped.
    is_skipped: bool,
}

impl Lines {
    /// Takes bytes, and calls `each` with each line that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut parts = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if self.line.len() + part.len() > LONGEST {
                self.is_skipped = true;
                self.line = Vec::new();
            }
            if !self.is_skipped {
                self.line.extend_from_slice(part);
            }
            if parts.peek().is_some() {
                if !self.is_skipped && !self.line.is_empty() {
                    each(&self.line);
                }
                self.line.clear();
                self.is_skipped = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            let mut each = |line: &[u8]| found.push(String::from_utf8(line.to_vec()).unwrap());
            lines.push(chunk, &mut each);
        }
        found
    }

    #[test]
    fn lines_come_in_any_pieces() {
        assert_eq!(lines(&[b"one\ntwo\nth", b"r", b"ee\n\n", b"four"]), ["one", "two", "three"]);
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let part = vec![b'x'; LONGEST / 2 + 1];
        let mut all = vec![part.as_slice(); 100];
        all.push(b"end\nnext\n");
        assert_eq!(lines(&all), ["next"]);
        let mut lines = Lines::default();
        for part in all {
            lines.push(part, |_| ());
            assert!(lines.line.capacity() <= 2 * LONGEST);
        }
    }
}
