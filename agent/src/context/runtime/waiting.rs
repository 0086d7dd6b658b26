//! Which containers were asked for and not answered yet, so that a thousand events of one container ask
//! for it once. The event thread never waits here: there is no lock, and what does not fit is asked for
//! again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::key::{Key, Scope};

/// How many containers are told apart.
const SLOTS: usize = 1024;

/// No container.
const FREE: u64 = 0;

/// Containers that are waited for, each in the slot that its id leads to. A later one takes the slot of
/// an earlier one, which is then asked for twice at worst.
#[derive(Debug)]
pub(super) struct Waiting(Box<[AtomicU64]>);

impl Waiting {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(FREE)).collect())
    }

    /// Notes that a container is asked for; false if it is noted already.
    pub(super) fn enter(&self, key: Key) -> bool {
        let mark = mark(key);
        self.slot(mark).is_none_or(|slot| slot.swap(mark, Ordering::Relaxed) != mark)
    }

    /// It is answered, or will not be.
    pub(super) fn leave(&self, key: Key) {
        let mark = mark(key);
        if let Some(slot) = self.slot(mark) {
            // Fails if it is noted no more, which is what is wanted.
            let _ = slot.compare_exchange(mark, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// How many are waited for.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|slot| slot.load(Ordering::Relaxed) != FREE).count()
    }

    fn slot(&self, mark: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(mark).ok()? % SLOTS)
    }
}

/// What a slot has for a container: never that of none.
fn mark(key: Key) -> u64 {
    let scope = match key.scope {
        Scope::Host => 0,
        // Spreads users over all bits.
        Scope::User(uid) => u64::from(uid).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    (key.id.prefix() ^ scope).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::runtime::tests::key;

    #[test]
    fn a_container_is_asked_for_once_until_it_is_answered() {
        let waiting = Waiting::new();
        assert!(waiting.enter(key(1)));
        assert!(!waiting.enter(key(1)));
        assert!(waiting.enter(Key { scope: Scope::User(1), ..key(1) }));
        assert_eq!(waiting.count(), 2);
        waiting.leave(key(1));
        assert!(waiting.enter(key(1)));
    }

    #[test]
    fn ids_made_to_collide_cost_a_second_question_only() {
        let waiting = Waiting::new();
        let other = Key { scope: Scope::Host, ..key(1 + SLOTS) };
        assert!(waiting.enter(key(1)));
        assert!(waiting.enter(other));
        // Takes nothing of the other's away.
        waiting.leave(key(1));
        assert!(!waiting.enter(other));
        assert!(waiting.enter(key(1)));
    }
}
