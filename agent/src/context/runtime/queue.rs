//! The containers that a runtime is to be asked for: those first that an event came from.

use std::collections::{HashMap, HashSet, VecDeque};

use super::key::Id;

/// Containers that are to be asked for, each once.
#[derive(Debug)]
pub(super) struct Queue {
    /// Those that an event came from.
    urgent: VecDeque<Id>,
    /// Others, and some that were moved to the first since.
    backlog: VecDeque<Id>,
    /// Those in either, and whether in the first.
    queued: HashMap<Id, bool>,
    capacity: usize,
}

impl Queue {
    /// A queue for so many.
    pub(super) fn new(capacity: usize) -> Self {
        Self { urgent: VecDeque::new(), backlog: VecDeque::new(), queued: HashMap::new(), capacity }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Puts a container in, or forward; false if there is no room.
    pub(super) fn push(&mut self, id: Id, is_urgent: bool) -> bool {
        match self.queued.get(&id) {
            None if self.queued.len() >= self.capacity => return false,
            // It stays in the other one too, where it is passed over later.
            None | Some(false) if is_urgent => self.urgent.push_back(id),
            None => {
                self.purge();
                self.backlog.push_back(id);
            }
            Some(_) => return true,
        }
        self.queued.insert(id, is_urgent);
        true
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<Id> {
        loop {
            let id = self.urgent.pop_front().or_else(|| self.backlog.pop_front())?;
            if self.queued.remove(&id).is_some() {
                return Some(id);
            }
        }
    }

    /// What was moved forward does not pile up while its turn never comes.
    fn purge(&mut self) {
        if self.backlog.len() < self.capacity {
            return;
        }
        // One may have been moved forward, asked for, and put in again.
        let mut seen = HashSet::new();
        let queued = &self.queued;
        self.backlog.retain(|id| queued.get(id) == Some(&false) && seen.insert(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::runtime::tests::key;

    fn id(number: usize) -> Id {
        key(number).id
    }

    #[test]
    fn those_with_events_come_first_and_each_once() {
        let mut queue = Queue::new(3);
        assert!(queue.push(id(1), false) && queue.push(id(2), false) && queue.push(id(2), true));
        assert!(queue.push(id(3), true) && queue.push(id(3), true) && !queue.push(id(4), true));
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(popped, [id(2), id(3), id(1)]);
    }

    #[test]
    fn what_moves_forward_does_not_pile_up() {
        let mut queue = Queue::new(10);
        queue.push(id(0), false);
        for round in 0..1000 {
            // New ones, and one that comes again and again.
            for number in [round + 2, 1] {
                assert!(queue.push(id(number), false) && queue.push(id(number), true));
                assert_eq!(queue.pop(), Some(id(number)));
            }
            assert!(queue.backlog.len() <= 10, "{}", queue.backlog.len());
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(id(0)), None));
    }
}
