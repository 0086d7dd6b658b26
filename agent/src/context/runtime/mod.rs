//! What container runtimes tell of their containers: names, images, labels, mounts, pods. Each runtime
//! is asked over its own socket, by threads of their own. The event thread reads what is known already
//! ([`Directory::get`]), asks for what is not ([`Directory::want`]), and never waits: not for a lock, not
//! for a runtime that is absent, hung, slow, restarting, or talks garbage.
//!
//! # What can be trusted
//!
//! A runtime of root is as trustworthy as the host. One of a user is believed of that user's containers
//! only ([`Scope`]), and only if it is that user who serves the socket, or owns the file. It has a thread that no other
//! runtime needs, since a user can make a path that hangs whoever follows it.
//!
//! What is kept of a container has a bound, whatever a runtime says, and so has the number of containers.

mod aside;
mod backoff;
mod cache;
mod client;
mod counters;
mod cri;
mod details;
mod endpoint;
mod engine;
mod failure;
mod family;
mod image;
mod key;
mod limits;
mod link;
mod looks;
mod notice;
mod place;
mod queue;
mod record;
mod retry;
mod service_account;
mod session;
mod shared;
mod socket;
mod source;
mod waiting;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tokio::time::sleep;

use self::aside::Aside;
use self::cache::Answer;
use self::link::{Link, State};
use self::looks::Looks;
use self::record::Records;
use self::shared::Shared;
use self::source::{Question, SourceId, Ticket, Verdict};
use super::cgroup_path::Runtime;

pub(crate) use counters::Counters;
#[cfg(test)]
pub(crate) use details::HostNamespaces;
pub(crate) use details::{Details, Mount, Pod};
pub(crate) use endpoint::Endpoint;
pub(crate) use failure::Reason;
pub(crate) use family::Family;
#[cfg(test)]
pub(crate) use family::Protocol;
#[cfg(test)]
pub(crate) use image::Image;
pub(crate) use key::{Id, Key, Scope};
pub(crate) use record::Record;

/// The most containers that are kept by default, four times as many as a large host has.
pub(crate) const CONTAINERS: usize = 4096;

/// The most sockets of users at which runtimes are asked.
const MOST_OF_USERS: usize = 64;

/// How often it is looked for users with runtimes, and for containers that ended long ago.
const ROUND: Duration = Duration::from_secs(5);

/// Where runtimes are, and how they are asked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the root of the host is.
    pub(crate) host: PathBuf,
    /// Places beside the well-known ones.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Whether the well-known places and users' own are looked at.
    pub(crate) discover: bool,
    /// Whether the service accounts of pods are read off their tokens.
    pub(crate) service_accounts: bool,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    /// The most containers that are kept.
    pub(crate) containers: usize,
}

/// What is known of the containers of this host.
#[derive(Debug)]
pub(crate) struct Directory {
    shared: Arc<Shared>,
    records: Records,
    /// The threads end when this is dropped.
    _stop: watch::Sender<()>,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Want {
    /// A runtime is asked, now or before, and answers promptly so far: an alert may wait for it, for a
    /// while.
    Asked,
    /// A runtime is asked, but slow: the answer is for later events.
    Slow,
    /// There are details: see `get`.
    Known,
    /// It was asked for, and no runtime knew it.
    Absent,
    /// No connected runtime is responsible.
    Unowned,
    /// Too many containers are asked for.
    Refused,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: PathBuf::from("/"),
            endpoints: Vec::new(),
            discover: true,
            service_accounts: false,
            patience: Duration::from_secs(10),
            containers: CONTAINERS,
        }
    }
}

impl Directory {
    /// Starts the threads that ask runtimes.
    pub(crate) fn start(config: &Config) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(config.containers));
        let (stop, stopped) = watch::channel(());
        let links = |endpoints| Links { config: config.clone(), shared: shared.clone(), endpoints };
        let (mut of_host, of_users): (Vec<_>, Vec<_>) =
            config.endpoints.iter().cloned().partition(|endpoint| endpoint.scope == Scope::Host);
        if config.discover {
            let known = |endpoint: &Endpoint| of_host.iter().any(|own| own.path == endpoint.path);
            let others: Vec<_> =
                Endpoint::well_known().into_iter().filter(|endpoint| !known(endpoint)).collect();
            of_host.extend(others);
        }
        run("runtimes", links(of_host).keep(), stopped.clone())?;
        if config.discover || !of_users.is_empty() {
            run("users-runtimes", links(of_users).discover(), stopped)?;
        }
        let records = Records::start(&shared.counters)?;
        Ok(Self { shared, records, _stop: stop })
    }

    /// The details of a container, if they are known. Never waits.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Details>> {
        self.shared.cache.details(key)
    }

    /// Whether a runtime that is connected may still tell of a container, or has done so. Asks nobody, and never waits.
    pub(crate) fn may_tell(&self, runtime: Runtime, key: &Key) -> bool {
        let is_served = || {
            let sources = self.shared.sources.load();
            sources.iter().any(|source| source.serves(runtime, key.scope))
        };
        let is_known = |answer| matches!(answer, Answer::Known(_));
        self.shared.cache.answer(key).map_or_else(is_served, is_known)
    }

    /// Asks for a container that the path of a cgroup says is of `runtime`. Never waits.
    pub(crate) fn want(&self, runtime: Runtime, key: Key) -> Want {
        let Shared { cache, waiting, counters, sources, .. } = &*self.shared;
        match cache.answer(&key) {
            Some(Answer::Known(_)) => return Want::Known,
            Some(Answer::Absent) => return Want::Absent,
            None => {}
        }
        let sources = sources.load();
        let mut responsible =
            sources.iter().filter(|source| source.serves(runtime, key.scope)).peekable();
        if responsible.peek().is_none() {
            counters.unowned.add();
            return Want::Unowned;
        }
        let is_prompt = responsible.clone().all(|source| source.pace.is_prompt());
        let asked = if is_prompt { Want::Asked } else { Want::Slow };
        if !waiting.enter(key) {
            return asked;
        }
        counters.wants.add();
        let ticket = Ticket::default();
        let mut took = 0;
        for source in responsible {
            match source.sender.try_send(Question { id: key.id, ticket: ticket.clone() }) {
                Ok(()) => took += 1,
                Err(_) => ticket.spoil(),
            }
        }
        if took == 0 {
            waiting.leave(key);
            counters.refused.add();
            return Want::Refused;
        }
        // All may have said no meanwhile, with nobody left to notice.
        if ticket.hand_in() != Verdict::Open {
            waiting.leave(key);
        }
        asked
    }

    /// Has it read what a runtime has written down of a container. Never waits.
    pub(crate) fn read(&self, record: &Arc<Record>) {
        self.records.read(record);
    }

    /// Whether a runtime is connected that answers for such containers, and promptly. Never waits.
    #[cfg(test)]
    fn owner(&self, runtime: Runtime, scope: Scope) -> bool {
        let sources = self.shared.sources.load();
        let mut responsible =
            sources.iter().filter(|source| source.serves(runtime, scope)).peekable();
        responsible.peek().is_some() && responsible.all(|source| source.pace.is_prompt())
    }

    /// What the metrics tell.
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How many containers are known.
    pub(crate) fn known(&self) -> usize {
        self.shared.cache.len()
    }

    /// How many are asked for and not answered yet.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.shared.waiting.count()
    }
}

/// The ways to the runtimes of one thread.
struct Links {
    config: Config,
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
}

impl Links {
    /// Keeps the runtimes of the host connected.
    async fn keep(self) {
        let mut tasks = JoinSet::new();
        let mut kept = HashMap::new();
        let mut missing: Vec<_> = self.endpoints.iter().cloned().zip((1..).map(SourceId)).collect();
        loop {
            for (endpoint, source) in missing.drain(..) {
                let task = tasks.spawn(self.link(endpoint.clone(), source).keep());
                kept.insert(task.id(), (endpoint, source));
            }
            sleep(ROUND).await;
            self.shared.cache.clean();
            missing.extend(ended(&mut tasks).filter_map(|task| kept.remove(&task)));
            for (endpoint, _) in &missing {
                let shown = failure::excerpt(&endpoint.path.display().to_string());
                tracing::warn!("what asks the runtime at {shown} has failed, and is started again");
            }
        }
    }

    /// Keeps the runtimes of users connected, as users come and go.
    async fn discover(self) {
        /// Above those of the host's runtimes.
        const FIRST: u32 = 1 << 16;
        let mut tasks = JoinSet::new();
        let mut kept: HashMap<task::Id, PathBuf> = HashMap::new();
        let mut sources = (FIRST..).map(SourceId);
        let mut looks = Looks::new(self.config.host.clone());
        let mut has_cut = false;
        loop {
            for task in ended(&mut tasks) {
                kept.remove(&task);
            }
            let mut found = self.endpoints.clone();
            if self.config.discover {
                found.extend(looks.found().await);
            }
            for endpoint in found {
                if kept.values().any(|path| *path == endpoint.path) {
                    continue;
                }
                if kept.len() >= MOST_OF_USERS {
                    if !std::mem::replace(&mut has_cut, true) {
                        tracing::warn!(
                            "users have more than {MOST_OF_USERS} runtimes; the others are not asked"
                        );
                    }
                    break;
                }
                let path = endpoint.path.clone();
                if let Some(source) = sources.next() {
                    kept.insert(tasks.spawn(self.link(endpoint, source).keep()).id(), path);
                }
            }
            sleep(ROUND).await;
        }
    }

    fn link(&self, endpoint: Endpoint, source: SourceId) -> Link {
        Link {
            endpoint,
            source,
            shared: self.shared.clone(),
            host: self.config.host.clone(),
            patience: self.config.patience,
            service_accounts: self.config.service_accounts,
            aside: Aside::new(),
            state: State::default(),
        }
    }
}

/// The tasks that have ended, whether or not they panicked.
fn ended(tasks: &mut JoinSet<()>) -> impl Iterator<Item = task::Id> {
    std::iter::from_fn(|| tasks.try_join_next_with_id()).map(|ended| match ended {
        Ok((task, ())) => task,
        Err(error) => error.id(),
    })
}

/// Runs a task in a thread of its own until it is told to stop.
fn run(
    name: &str,
    task: impl Future<Output = ()> + Send + 'static,
    mut stopped: watch::Receiver<()>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = task => {}
                // Fails when the other end is gone, which is what is waited for.
                _ = stopped.changed() => {}
            }
        });
        // A call that hangs is not waited for.
        runtime.shutdown_background();
    })?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
