//! A runtime while it is connected: what runs is listed, events are followed, containers are asked for,
//! those first that the agent has events of. Nothing in here waits for one answer alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Inspected};
use super::failure::Failure;
use super::key::{Id, Key, Scope};
use super::limits::Limits;
use super::notice::{Notice, Notices};
use super::queue::Queue;
use super::retry::Retries;
use super::shared::Shared;
use super::source::{Pace, Question, SourceId, Ticket, Verdict};

/// How many containers are asked for at a time.
const LOOKUPS: usize = 4;

/// From when on an answer is too late for an alert to wait for it.
const SLOW: Duration = Duration::from_millis(300);

/// How often a runtime lists what runs if it tells of nothing by itself.
const POLL: Duration = Duration::from_secs(10);

/// How often it does if it tells, in case that something was missed, and to see that it still answers.
const CHECK: Duration = Duration::from_mins(1);

/// The shortest time from one list to the next.
const GAP: Duration = Duration::from_secs(1);

/// A runtime that is connected.
pub(super) struct Session {
    client: Arc<Client>,
    shared: Arc<Shared>,
    source: SourceId,
    scope: Scope,
    pace: Pace,
    /// Those that are to be asked for.
    queue: Queue,
    /// Those that are asked for now, by the task that does so.
    flying: HashMap<task::Id, Flight>,
    /// Those of them of which there is news.
    again: HashSet<Id>,
    /// Those that could not be asked for.
    retries: Retries,
    /// Those that the agent waits for.
    tickets: HashMap<Id, Ticket>,
    lookups: JoinSet<Result<Option<Inspected>, Failure>>,
    lists: JoinSet<Result<Vec<Id>, Failure>>,
    /// When the last list was asked for.
    listed: Instant,
    next_list: Instant,
    follower: JoinSet<Result<(), Failure>>,
    /// Whether the runtime has events.
    has_events: bool,
    notices: Notices,
    told: Receiver<Notice>,
    /// Whether it was said that a container could not be asked for.
    has_complained: bool,
}

/// A container that is asked for.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: Id,
    since: Instant,
}

impl Session {
    /// Follows events, then lists what runs, so that nothing falls in between.
    pub(super) async fn start(
        client: Client,
        shared: &Arc<Shared>,
        source: SourceId,
        scope: Scope,
    ) -> Result<Self, Failure> {
        let (notices, told) = Notices::new(shared.counters.clone());
        let now = Instant::now();
        let capacity = shared.capacity.min(Limits::of(scope).ids);
        let mut session = Self {
            client: Arc::new(client),
            shared: shared.clone(),
            source,
            scope,
            pace: Pace::new(),
            queue: Queue::new(capacity),
            flying: HashMap::new(),
            again: HashSet::new(),
            retries: Retries::new(capacity),
            tickets: HashMap::new(),
            lookups: JoinSet::new(),
            lists: JoinSet::new(),
            listed: now,
            next_list: now,
            follower: JoinSet::new(),
            has_events: true,
            notices,
            told,
            has_complained: false,
        };
        session.follow();
        session.listed = Instant::now();
        let ids = session.client.list().await?;
        session.next_list = session.listed + CHECK;
        let ids = session.bounded(ids);
        session.compare(&ids);
        // All of it: a container may have been started anew while nobody looked.
        for id in ids {
            session.queue(id, false);
        }
        Ok(session)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether alerts may wait for it.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Goes on until the runtime does not.
    pub(super) async fn run(&mut self, questions: &mut Receiver<Question>) -> Failure {
        loop {
            self.look_up();
            let slow = self.flying.values().map(|flight| flight.since + SLOW).min();
            tokio::select! {
                Some(question) = questions.recv() => self.ask(question),
                Some(notice) = self.told.recv() => self.hear(notice),
                Some(lookup) = self.lookups.join_next_with_id() => {
                    let (task, answer) = lookup.unwrap_or_else(|error| {
                        // It panicked.
                        (error.id(), Err(Failure::Closed(error.to_string())))
                    });
                    if let Some(flight) = self.flying.remove(&task) {
                        self.answered(flight, answer);
                    }
                }
                Some(list) = self.lists.join_next() => match list {
                    Ok(Ok(ids)) => {
                        self.pace.set_prompt(true);
                        self.listed(ids);
                    }
                    Ok(Err(failure)) => return failure,
                    Err(error) => return Failure::Closed(error.to_string()),
                },
                Some(followed) = self.follower.join_next() => match followed {
                    Ok(Err(Failure::Unsupported)) => {
                        self.has_events = false;
                        self.next_list = self.listed + POLL;
                    }
                    // CRI-O does so at once, each time, if it was not told to have events.
                    Ok(Ok(())) => self.list_soon(POLL.saturating_sub(self.listed.elapsed())),
                    Ok(Err(failure)) => return failure,
                    Err(error) => return Failure::Closed(error.to_string()),
                },
                () = sleep_until(self.next_list), if self.lists.is_empty() => self.list(),
                () = sleep_until(slow.unwrap_or(self.next_list)),
                    if slow.is_some() && self.pace.is_prompt() => self.pace.set_prompt(false),
            }
        }
    }

    /// What was waited for will not be answered here.
    pub(super) fn finish(mut self, mut questions: Receiver<Question>) {
        questions.close();
        let open = std::iter::from_fn(|| questions.try_recv().ok());
        let open = open.map(|Question { id, ticket }| (id, ticket));
        for (id, ticket) in open.chain(self.tickets.drain()) {
            ticket.spoil();
            self.shared.waiting.leave(Key { scope: self.scope, id });
        }
    }

    /// The agent has an event of a container.
    fn ask(&mut self, Question { id, ticket }: Question) {
        if self.retries.may(id) && self.queue(id, true) {
            if let Some(former) = self.tickets.insert(id, ticket) {
                // It is not handed in, which must not count as a no.
                former.spoil();
            }
        } else {
            self.shared.counters.refused.add();
            ticket.spoil();
            self.settle(id, ticket);
        }
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            // One that starts is about to have events.
            Notice::Changed(id) => {
                self.queue(id, true);
            }
            Notice::Ended(id) => self.shared.cache.end(Key { scope: self.scope, id }),
        }
    }

    /// Puts a container in a queue, or forward; false if there is no room.
    fn queue(&mut self, id: Id, is_urgent: bool) -> bool {
        if self.flying.values().any(|flight| flight.id == id) {
            self.again.insert(id);
            return true;
        }
        self.queue.push(id, is_urgent)
    }

    /// Asks for as many containers as may be asked for at a time.
    fn look_up(&mut self) {
        while self.lookups.len() < LOOKUPS {
            let Some(id) = self.queue.pop() else { return };
            let client = self.client.clone();
            let task = self.lookups.spawn(async move { client.inspect(id).await }).id();
            self.flying.insert(task, Flight { id, since: Instant::now() });
        }
    }

    fn answered(&mut self, flight: Flight, answer: Result<Option<Inspected>, Failure>) {
        let Flight { id, since } = flight;
        if since.elapsed() < SLOW {
            self.pace.set_prompt(true);
        }
        let key = Key { scope: self.scope, id };
        let ticket = self.tickets.remove(&id);
        match answer {
            Ok(Some(Inspected { details, lack })) => {
                self.shared.cache.learn(self.source, key, details, &self.shared.counters);
                self.shared.waiting.leave(key);
                if let Some(ticket) = ticket {
                    // Others that do not know it are not to take it for known nowhere.
                    ticket.spoil();
                }
                match lack {
                    None => self.retries.worked(id),
                    Some(failure) => self.failed(id, &failure),
                }
            }
            Ok(None) => {
                self.retries.worked(id);
                if let Some(ticket) = ticket {
                    self.settle(id, ticket);
                }
            }
            Err(failure) => {
                if let Some(ticket) = ticket {
                    ticket.spoil();
                    self.settle(id, ticket);
                }
                self.failed(id, &failure);
            }
        }
        if self.again.remove(&id) && self.retries.may(id) {
            self.queue(id, true);
        }
    }

    /// A container could not be asked for, or not for all.
    fn failed(&mut self, id: Id, failure: &Failure) {
        self.shared.counters.fail(failure.reason());
        if !std::mem::replace(&mut self.has_complained, true) {
            let name = self.client.family().name();
            tracing::warn!("{name} could not be asked for container {id}: {failure}");
        }
        // Whether it still runs is told by a list.
        let wait = self.retries.failed(id);
        self.list_soon(wait);
    }

    /// A container is not known here. If nobody else is asked, it is known nowhere, or can be asked for again where
    /// not all could be asked.
    fn settle(&self, id: Id, ticket: Ticket) {
        let key = Key { scope: self.scope, id };
        match ticket.hand_in() {
            Verdict::Open => return,
            Verdict::Unknown => {}
            Verdict::Absent => {
                self.shared.counters.absent.add();
                self.shared.cache.miss(key);
            }
        }
        self.shared.waiting.leave(key);
    }

    /// As many of a list as may be kept at all.
    fn bounded(&self, mut ids: Vec<Id>) -> Vec<Id> {
        let capacity = self.queue.capacity();
        for _ in capacity..ids.len() {
            self.shared.counters.overflown.add();
        }
        ids.truncate(capacity);
        ids
    }

    /// What ended is let go, what is new or failed before is asked for.
    fn listed(&mut self, ids: Vec<Id>) {
        let ids = self.bounded(ids);
        let mut wanted = self.compare(&ids);
        wanted.extend(self.retries.due(&ids));
        wanted.retain(|&id| self.retries.may(id));
        for id in wanted {
            self.queue(id, false);
        }
    }

    /// What ended is let go; returns what there is to ask for.
    fn compare(&self, ids: &[Id]) -> Vec<Id> {
        self.shared.cache.compare(self.source, self.scope, ids, self.listed.into_std())
    }

    fn list(&mut self) {
        if self.has_events && self.follower.is_empty() {
            self.follow();
        }
        self.listed = Instant::now();
        self.next_list = self.listed + if self.has_events { CHECK } else { POLL };
        let client = self.client.clone();
        self.lists.spawn(async move { client.list().await });
    }

    /// Lists after `wait`, or when it may be done again.
    fn list_soon(&mut self, wait: Duration) {
        let soon = (Instant::now() + wait).max(self.listed + GAP);
        self.next_list = self.next_list.min(soon);
    }

    fn follow(&mut self) {
        let (client, notices) = (self.client.clone(), self.notices.clone());
        self.follower.spawn(async move { client.follow(&notices).await });
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::context::runtime::aside::Aside;
    use crate::context::runtime::family::Protocol;
    use crate::context::runtime::socket::Socket;
    use crate::context::runtime::tests::server::{Fake, Manner};
    use crate::context::runtime::tests::{Host, key};

    /// Has a session with a runtime that never says a word of a container, until that is so.
    fn with_session(has: impl FnOnce(&mut Session), is_so: impl Fn(&Shared) -> bool) {
        let host = Host::new();
        let _docker = Fake::docker(&host.socket(), Manner::HungAtContainers);
        let shared = Arc::new(Shared::new(10));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endpoint = host.endpoint(Protocol::Docker);
            let (scope, place) = (endpoint.scope, endpoint.place(host.path()));
            let socket = Socket::new(place, scope, Duration::from_mins(1), Aside::new());
            let client = Client::connect(Protocol::Docker, socket, None).await.unwrap();
            let mut session = Session::start(client, &shared, SourceId(1), scope).await.unwrap();
            has(&mut session);
            let (_sender, mut questions) = mpsc::channel(1);
            let start = Instant::now();
            while !is_so(&shared) {
                assert!(start.elapsed() < Duration::from_mins(1));
                let _ = timeout(Duration::from_millis(10), session.run(&mut questions)).await;
            }
            assert!(session.flying.is_empty() && session.tickets.is_empty());
        });
    }

    #[test]
    fn a_lookup_that_does_not_return_is_a_failure() {
        let ticket = Ticket::default();
        let other = ticket.clone();
        with_session(
            |session| {
                session.ask(Question { id: key(1).id, ticket });
                session.look_up();
                // As if it had panicked, without its words.
                session.lookups.abort_all();
            },
            |shared| shared.counters.failures(super::super::Reason::Closed) == 1,
        );
        assert_eq!(other.hand_in(), Verdict::Unknown);
    }

    #[test]
    fn a_question_that_takes_the_place_of_another_is_no_answer() {
        let former = Ticket::default();
        let other = former.clone();
        with_session(
            |session| {
                for ticket in [former, Ticket::default()] {
                    session.ask(Question { id: key(1).id, ticket });
                }
                assert_eq!(session.tickets.len(), 1);
                session.tickets.clear();
                session.queue.pop();
            },
            |shared| shared.counters.absent.value() == 0,
        );
        assert_eq!(other.hand_in(), Verdict::Unknown);
    }
}
