//! The texts of processes: paths and arguments. Each different one is stored once, and all of them
//! together have a bound, whatever processes are given to execute.

use std::collections::HashSet;
use std::sync::Arc;

/// The longest text that is stored; what is behind it is cut off.
pub(super) const LONGEST: usize = 4096;

/// What every text may have, whatever the others take.
const SHARE: usize = 128;

/// What all texts together may have beyond their shares.
const SPARE: usize = 32 << 20;

/// How many of the longest texts it would take to use up what is left. Divided like this it is never
/// used up: the more there is, the less each new one may have.
const DIVISOR: usize = 2048;

/// Every text that a process has. Handles are given back with [`Texts::release`].
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The hash is keyed: those who choose the texts cannot choose where they collide.
    texts: HashSet<Arc<[u8]>>,
    bytes: usize,
    /// How many bytes are beyond the shares.
    beyond: usize,
    cut: u64,
}

impl Texts {
    /// The one handle on this text, which is cut if it is too long for what is left.
    pub(super) fn intern(&mut self, text: &[u8]) -> Arc<[u8]> {
        let whole = text.get(..LONGEST).unwrap_or(text);
        if let Some(known) = self.known(whole) {
            return known;
        }
        let stored = whole.get(..self.limit()).unwrap_or(whole);
        self.cut += u64::from(stored.len() < text.len());
        if let Some(known) = self.known(stored) {
            return known;
        }
        let stored = Arc::<[u8]>::from(stored);
        self.bytes += stored.len();
        self.beyond += stored.len().saturating_sub(SHARE);
        self.texts.insert(stored.clone());
        stored
    }

    /// The same of a text that may be cut already; and whether it is now.
    pub(super) fn intern_cut(&mut self, text: &[u8], is_cut: bool) -> (Arc<[u8]>, bool) {
        let stored = self.intern(text);
        let is_cut = is_cut || stored.len() < text.len();
        (stored, is_cut)
    }

    /// Takes back a handle, which is to be dropped then. With the last one, the text is forgotten.
    pub(super) fn release(&mut self, text: &Arc<[u8]>) {
        // The other handle is the one in the set.
        if Arc::strong_count(text) == 2 && self.texts.remove(text) {
            self.bytes -= text.len();
            self.beyond -= text.len().saturating_sub(SHARE);
        }
    }

    /// How many bytes all texts have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many texts were cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    fn known(&self, text: &[u8]) -> Option<Arc<[u8]>> {
        if text.is_empty() {
            return Some(Arc::default());
        }
        self.texts.get(text).cloned()
    }

    /// How long a new text may be.
    fn limit(&self) -> usize {
        SHARE + (SPARE.saturating_sub(self.beyond) / DIVISOR).min(LONGEST - SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_a_text_once_and_forgets_it_with_its_last_handle() {
        let mut texts = Texts::default();
        let (one, other) = (texts.intern(b"/bin/sh"), texts.intern(b"/bin/sh"));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(texts.bytes(), 7);
        texts.release(&one);
        drop(one);
        assert_eq!(texts.bytes(), 7);
        texts.release(&other);
        assert_eq!((texts.bytes(), texts.texts.len()), (0, 0));
    }

    #[test]
    fn an_empty_text_takes_nothing() {
        let mut texts = Texts::default();
        let empty = texts.intern(b"");
        assert!(empty.is_empty());
        texts.release(&empty);
        assert_eq!(texts.texts.len(), 0);
    }

    #[test]
    fn has_a_bound_and_leaves_everyone_a_share() {
        let mut texts = Texts::default();
        let mut handles = Vec::new();
        let count = 40_000_usize;
        for number in 0..count {
            let mut text = vec![b'x'; 100_000];
            text[..8].copy_from_slice(&number.to_le_bytes());
            let handle = texts.intern(&text);
            assert!(handle.len() >= SHARE);
            handles.push(handle);
        }
        assert_eq!(handles[0].len(), LONGEST);
        assert!(handles[count - 1].len() < 2 * SHARE, "{}", handles[count - 1].len());
        assert!(texts.bytes() <= SPARE + count * SHARE);
        assert_eq!(texts.cut(), count as u64);
        for handle in handles {
            texts.release(&handle);
        }
        assert_eq!((texts.bytes(), texts.beyond), (0, 0));
    }
}
