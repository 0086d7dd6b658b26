//! What is known of containers. The event thread reads a table that never changes while it does so; the
//! clients of runtimes replace it by a new one for each thing that they learn, so that nothing in here
//! can make an event wait.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::counters::Counters;
use super::details::Details;
use super::key::{Id, Key, Scope};
use super::limits::OF_USER;
use super::source::SourceId;

/// How long a container that has ended is still known: its last events are under way.
const FAREWELL: Duration = Duration::from_mins(1);

/// How long it is believed that nobody knows a container: runtimes start a container's first processes
/// about when they write down that there is one.
const ABSENCE: Duration = Duration::from_secs(10);

/// What is known of a container.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Known(Arc<Details>),
    /// No runtime knows it.
    Absent,
}

/// What is known of containers.
#[derive(Debug)]
pub(super) struct Cache {
    table: ArcSwap<HashMap<Key, Answer>>,
    book: Mutex<HashMap<Key, Entry>>,
    capacity: usize,
}

/// What only those who write need to know of a container.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Who told of it.
    source: Option<SourceId>,
    /// When something was told of it last, other than by a list.
    told: Instant,
    /// Until when it is kept; of one that runs as long as it does.
    until: Option<Instant>,
}

impl Cache {
    /// A cache of at most so many containers.
    pub(super) fn new(capacity: usize) -> Self {
        Self { table: ArcSwap::default(), book: Mutex::default(), capacity }
    }

    /// What is known of a container. Never waits.
    pub(super) fn answer(&self, key: &Key) -> Option<Answer> {
        self.table.load().get(key).cloned()
    }

    /// The details of a container. Never waits.
    pub(super) fn details(&self, key: &Key) -> Option<Arc<Details>> {
        match self.table.load().get(key) {
            Some(Answer::Known(details)) => Some(details.clone()),
            _ => None,
        }
    }

    /// Whether a container is only known for a while.
    #[cfg(test)]
    pub(super) fn ends(&self, key: &Key) -> bool {
        self.book().get(key).is_some_and(|entry| entry.until.is_some())
    }

    /// How many containers are known.
    pub(super) fn len(&self) -> usize {
        self.table.load().values().filter(|answer| matches!(answer, Answer::Known(_))).count()
    }

    /// A runtime told of a container.
    pub(super) fn learn(&self, source: SourceId, key: Key, details: Details, counters: &Counters) {
        let mut book = self.book();
        if !book.contains_key(&key) && !self.has_room(&mut book, key.scope) {
            counters.overflown.add();
            return;
        }
        book.insert(key, Entry { source: Some(source), told: Instant::now(), until: None });
        let is_cut = details.is_cut;
        let former = self.change(|table| table.insert(key, Answer::Known(Arc::new(details))));
        let was_cut = matches!(former, Some(Answer::Known(former)) if former.is_cut);
        if is_cut && !was_cut {
            counters.cut.add();
        }
    }

    /// No runtime knows a container.
    pub(super) fn miss(&self, key: Key) {
        let mut book = self.book();
        // Unless one that was not asked has told of it.
        if book.contains_key(&key) || !self.has_room(&mut book, key.scope) {
            return;
        }
        let told = Instant::now();
        book.insert(key, Entry { source: None, told, until: Some(told + ABSENCE) });
        self.change(|table| table.insert(key, Answer::Absent));
    }

    /// A container has ended.
    pub(super) fn end(&self, key: Key) {
        if let Some(entry) = self.book().get_mut(&key)
            && entry.source.is_some()
        {
            entry.told = Instant::now();
            entry.until.get_or_insert(entry.told + FAREWELL);
        }
    }

    /// A user's runtime is gone: nobody would tell that its containers end. The host's come back as what they were,
    /// and tell then what has ended; until then their containers may go on without them.
    pub(super) fn part(&self, source: SourceId) {
        let until = Instant::now() + FAREWELL;
        let mut book = self.book();
        let of_it = book
            .iter_mut()
            .filter(|(key, entry)| entry.source == Some(source) && key.scope != Scope::Host);
        for (_, entry) in of_it {
            entry.until.get_or_insert(until);
        }
    }

    /// A runtime told of all its containers, after it was asked to at `start`: of each other one that it told of,
    /// that has ended. What it told of one since then is newer. Returns those of them of which nothing is known,
    /// or not yet what is only known once they are started.
    pub(super) fn compare(
        &self,
        source: SourceId,
        scope: Scope,
        ids: &[Id],
        start: Instant,
    ) -> Vec<Id> {
        let until = Instant::now() + FAREWELL;
        let listed: HashSet<_> = ids.iter().copied().collect();
        let mut book = self.book();
        let is_older = |entry: &Entry| entry.source == Some(source) && entry.told < start;
        for (key, entry) in book.iter_mut().filter(|(_, entry)| is_older(entry)) {
            if listed.contains(&key.id) {
                entry.until = None;
            } else {
                entry.until.get_or_insert(until);
            }
        }
        let table = self.table.load();
        let is_known = |id: &Id| match table.get(&Key { scope, id: *id }) {
            Some(Answer::Known(details)) => details.is_sandbox || details.started.is_some(),
            _ => false,
        };
        ids.iter().copied().filter(|id| !is_known(id)).collect()
    }

    /// Forgets what ended long ago.
    pub(super) fn clean(&self) {
        let now = Instant::now();
        self.forget(&mut self.book(), |_, entry| entry.until.is_some_and(|until| until <= now));
    }

    /// Whether there is room for one more of these, at the cost of what has ended if need be. Who needs more than a
    /// share has it at no cost of others, and users at none of the host.
    fn has_room(&self, book: &mut HashMap<Key, Entry>, scope: Scope) -> bool {
        let has_share = |book: &mut HashMap<Key, Entry>| {
            self.make_room(book, OF_USER, |key| key.scope == scope)
                && self.make_room(book, self.capacity / 2, |key| key.scope != Scope::Host)
        };
        (scope == Scope::Host || has_share(book)) && self.make_room(book, self.capacity, |_| true)
    }

    /// Whether there are fewer of such than `most`, once those that have ended are forgotten if need be.
    fn make_room(
        &self,
        book: &mut HashMap<Key, Entry>,
        most: usize,
        is_such: impl Fn(&Key) -> bool,
    ) -> bool {
        let is_full =
            |book: &HashMap<Key, Entry>| book.keys().filter(|key| is_such(key)).count() >= most;
        if is_full(book) {
            self.forget(book, |key, entry| is_such(key) && entry.until.is_some());
        }
        !is_full(book)
    }

    fn forget(&self, book: &mut HashMap<Key, Entry>, is_old: impl Fn(&Key, &Entry) -> bool) {
        let count = book.len();
        book.retain(|key, entry| !is_old(key, entry));
        if book.len() != count {
            self.change(|table| table.retain(|key, _| book.contains_key(key)));
        }
    }

    /// Only called by who has the book.
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Key, Answer>) -> T) -> T {
        let mut table = HashMap::clone(&self.table.load());
        let changed = change(&mut table);
        self.table.store(Arc::new(table));
        changed
    }

    fn book(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Whoever panicked has left it whole: each change is one call.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;
    use crate::context::runtime::tests::{details, key};

    const SOURCE: SourceId = SourceId(1);

    fn filled(capacity: usize, count: usize) -> (Cache, Counters) {
        let (cache, counters) = (Cache::new(capacity), Counters::default());
        for number in 0..count {
            cache.learn(SOURCE, key(number), details("c"), &counters);
        }
        (cache, counters)
    }

    fn expire(cache: &Cache) {
        for entry in cache.book().values_mut() {
            entry.until = entry.until.map(|_| Instant::now());
        }
        cache.clean();
    }

    #[test]
    fn has_a_bound_and_says_what_was_left_out() {
        let (cache, counters) = filled(10, 15);
        assert_eq!((cache.len(), counters.overflown.value()), (10, 5));
        // What has ended makes room, and what is known can change.
        cache.end(key(3));
        cache.learn(SOURCE, key(20), details("new"), &counters);
        cache.learn(SOURCE, key(4), details("changed"), &counters);
        assert_eq!((cache.len(), counters.overflown.value()), (10, 5));
        assert!(cache.details(&key(3)).is_none());
        assert_eq!(cache.details(&key(4)).unwrap().name, "changed");
    }

    #[test]
    fn a_user_has_a_share_only() {
        let (cache, counters) = filled(10_000, 0);
        for number in 0..=OF_USER {
            let key = Key { scope: Scope::User(1000), ..key(number) };
            cache.learn(SOURCE, key, details("c"), &counters);
        }
        assert_eq!(counters.overflown.value(), 1);
        cache.learn(SOURCE, key(1), details("c"), &counters);
        assert_eq!(cache.len(), OF_USER + 1);
    }

    #[test]
    fn users_together_leave_room_for_the_host() {
        let (cache, counters) = filled(100, 0);
        for number in 0..100 {
            let scope = Scope::User(u32::try_from(number).unwrap());
            cache.learn(SOURCE, Key { scope, ..key(number) }, details("c"), &counters);
        }
        assert_eq!((cache.len(), counters.overflown.value()), (50, 50));
        for number in 0..50 {
            cache.learn(SOURCE, key(number), details("c"), &counters);
        }
        assert_eq!((cache.len(), counters.overflown.value()), (100, 50));
        // One of a user's that has ended makes room for another user's.
        cache.end(Key { scope: Scope::User(7), ..key(7) });
        let other = Key { scope: Scope::User(99), ..key(99) };
        cache.learn(SOURCE, other, details("c"), &counters);
        assert!(cache.details(&other).is_some() && cache.len() == 100);
    }

    #[test]
    fn a_full_share_costs_others_nothing() {
        let (cache, counters) = filled(10_000, 1);
        cache.end(key(0));
        let of_user = |number| Key { scope: Scope::User(1000), ..key(number) };
        for number in 0..OF_USER {
            cache.learn(SOURCE, of_user(number), details("c"), &counters);
        }
        cache.end(of_user(7));
        cache.learn(SOURCE, of_user(OF_USER), details("c"), &counters);
        assert_eq!((counters.overflown.value(), cache.len()), (0, OF_USER + 1));
        assert!(cache.details(&of_user(7)).is_none() && cache.details(&key(0)).is_some());
    }

    #[test]
    fn what_a_users_runtime_told_goes_with_it() {
        let (cache, counters) = filled(10, 1);
        let of_user = |number| Key { scope: Scope::User(1000), ..key(number) };
        for number in [1, 2] {
            cache.learn(SOURCE, of_user(number), details("c"), &counters);
        }
        cache.learn(SourceId(2), of_user(3), details("of another"), &counters);
        cache.part(SOURCE);
        assert!(cache.details(&of_user(1)).is_some());
        // It is back.
        cache.learn(SOURCE, of_user(2), details("again"), &counters);
        expire(&cache);
        let known = [1, 2, 3].map(|number| cache.details(&of_user(number)).is_some());
        assert_eq!(known, [false, true, true]);
        // That the host's is gone does not end its containers.
        assert!(cache.details(&key(0)).is_some());
    }

    #[test]
    fn a_container_that_ended_is_known_a_while() {
        let (cache, counters) = filled(10, 2);
        cache.end(key(0));
        cache.clean();
        assert!(cache.details(&key(0)).is_some());
        expire(&cache);
        assert!(cache.details(&key(0)).is_none());
        // One that was started again stays.
        cache.end(key(1));
        cache.learn(SOURCE, key(1), details("again"), &counters);
        expire(&cache);
        assert!(cache.details(&key(1)).is_some());
    }

    #[test]
    fn absence_is_believed_for_a_while() {
        let (cache, counters) = filled(10, 1);
        cache.miss(key(0));
        assert!(cache.details(&key(0)).is_some());
        cache.miss(key(5));
        assert!(matches!(cache.answer(&key(5)), Some(Answer::Absent)));
        assert_eq!(cache.len(), 1);
        expire(&cache);
        assert!(cache.answer(&key(5)).is_none());
        cache.miss(key(5));
        cache.learn(SOURCE, key(5), details("late"), &counters);
        expire(&cache);
        assert!(cache.details(&key(5)).is_some());
    }

    #[test]
    fn a_list_tells_what_ended_and_what_is_new() {
        let (cache, counters) = filled(10, 2);
        let other = SourceId(2);
        cache.learn(other, key(2), details("of another"), &counters);
        let unstarted = Details { started: None, ..details("created") };
        cache.learn(SOURCE, key(3), unstarted, &counters);
        let ids = [key(1).id, key(3).id, key(4).id];
        let unknown = cache.compare(SOURCE, Scope::Host, &ids, Instant::now());
        assert_eq!(unknown, [key(3).id, key(4).id]);
        expire(&cache);
        let known = [0, 1, 2, 3].map(|number| cache.details(&key(number)).is_some());
        assert_eq!(known, [false, true, true, true]);
    }

    #[test]
    fn what_was_told_since_a_list_was_asked_for_is_newer() {
        let (cache, counters) = filled(10, 2);
        let start = Instant::now();
        // One has started meanwhile, and one has ended.
        cache.learn(SOURCE, key(2), details("new"), &counters);
        cache.end(key(1));
        cache.compare(SOURCE, Scope::Host, &[key(0).id, key(1).id], start);
        let ends = || [0, 1, 2].map(|number| cache.ends(&key(number)));
        assert_eq!(ends(), [false, true, false]);
        // The next list has what is so.
        cache.compare(SOURCE, Scope::Host, &[key(1).id, key(2).id], Instant::now());
        assert_eq!(ends(), [true, false, false]);
    }

    #[test]
    fn what_is_cut_is_counted_once_for_each_container() {
        let (cache, counters) = filled(10, 1);
        let cut = || Details { is_cut: true, ..details("c") };
        for number in [0, 0, 1] {
            cache.learn(SOURCE, key(number), cut(), &counters);
        }
        assert_eq!(counters.cut.value(), 2);
    }

    /// Times are told, not asserted: they are up to the machine, and to what else it does.
    #[test]
    fn how_fast_a_hit_is() {
        const ROUNDS: u32 = 100;
        let (cache, _) = filled(4096, 1000);
        let keys: Vec<_> = (0..1000).map(key).collect();
        let round = || {
            let start = Instant::now();
            for key in &keys {
                black_box(cache.details(black_box(key)));
            }
            start.elapsed() / 1000
        };
        let mut times: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2);
        println!("a hit among 1,000 containers: {median:?} at the median of rounds");
        let start = Instant::now();
        for number in 0..1000 {
            cache.learn(SOURCE, key(number), details("again"), &Counters::default());
        }
        println!("a change of one of 1,000 takes {:?}", start.elapsed() / 1000);
    }

    #[test]
    fn how_much_memory_there_is_to_it() {
        let resident = || {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
        };
        let before = resident();
        let (cache, counters) = (Cache::new(4096), Counters::default());
        for number in 0..1000 {
            let labels = (0..100).map(|n| (format!("key-{n}"), "v".repeat(100))).collect();
            let details = Details { labels, ..details("c") };
            cache.learn(SOURCE, key(number), details, &counters);
        }
        let now = resident().saturating_sub(before);
        println!("1,000 containers with 100 labels of 100 bytes each: {now} kB");
        // It is 21 MB. Other tests of this process may take in floods of 16 MB meanwhile.
        assert!(now < 80 << 10, "{now} kB");
    }
}
