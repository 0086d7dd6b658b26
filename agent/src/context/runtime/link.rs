//! The way to a runtime: looks for its socket, connects, and does so again whenever that ends. What
//! becomes of it is logged when it changes, not with each try.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::aside::Aside;
use super::backoff::Backoff;
use super::client::Client;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::key::Scope;
use super::place::Place;
use super::session::Session;
use super::shared::Shared;
use super::socket::Socket;
use super::source::{Question, Source, SourceId};

/// How many containers may be asked for before the first is answered.
const QUESTIONS: usize = 1024;

/// How long a runtime must have been connected to be tried again soon.
const STEADY: Duration = Duration::from_secs(30);

/// The waits while a runtime fails.
const TRIES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The waits while there is no socket. Looking costs next to nothing.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The way to a runtime.
pub(super) struct Link {
    pub(super) endpoint: Endpoint,
    pub(super) source: SourceId,
    pub(super) shared: Arc<Shared>,
    /// Where the root of the host is.
    pub(super) host: PathBuf,
    /// How long an answer may take.
    pub(super) patience: Duration,
    pub(super) service_accounts: bool,
    /// For calls that may hang.
    pub(super) aside: Aside,
    pub(super) state: State,
}

/// What is known of a runtime, and was logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum State {
    #[default]
    Unknown,
    Absent,
    Connected,
    Failing,
}

impl Link {
    /// Keeps the runtime connected. Returns when the socket of a user is gone, since there may be ever
    /// new users.
    pub(super) async fn keep(mut self) {
        let mut looks = Backoff::new(LOOKS.0, LOOKS.1);
        let mut tries = Backoff::new(TRIES.0, TRIES.1);
        loop {
            let failure = match self.is_there().await {
                Ok(false) => {
                    self.absent();
                    if self.endpoint.scope != Scope::Host && !self.endpoint.is_asked_for {
                        return;
                    }
                    sleep(looks.next()).await;
                    continue;
                }
                Ok(true) => {
                    looks.reset();
                    let start = Instant::now();
                    let failure = self.connected().await;
                    if start.elapsed() >= STEADY {
                        tries.reset();
                    }
                    failure
                }
                Err(failure) => failure,
            };
            // What is as it should be is no failure again and again.
            if !self.is_in_order(&failure) || self.state != State::Failing {
                self.shared.counters.fail(failure.reason());
            }
            // A runtime that ended in order has taken its socket with it.
            if !matches!(self.is_there().await, Ok(false)) {
                self.failing(&failure);
            }
            sleep(tries.next()).await;
        }
    }

    /// Whether there is something at its place. A user can make a path that hangs.
    async fn is_there(&self) -> Result<bool, Failure> {
        let place = self.endpoint.place(&self.host);
        match &place {
            Place::Host(_) => Ok(place.is_there()),
            Place::User(_) => self.aside.call(self.patience, move || place.is_there()).await,
        }
    }

    /// Connects, and stays so as long as it goes.
    async fn connected(&mut self) -> Failure {
        let mut session = match self.connect().await {
            Ok(session) => session,
            Err(failure) => return failure,
        };
        let (sender, mut questions) = mpsc::channel::<Question>(QUESTIONS);
        let family = session.client().family();
        let connected = self.shared.connect(Source {
            id: self.source,
            family,
            scope: self.endpoint.scope,
            sender,
            pace: session.pace().clone(),
        });
        if self.turn(State::Connected) {
            tracing::info!("{} at {} tells of its containers", family.name(), self.shown());
        }
        let failure = session.run(&mut questions).await;
        drop(connected);
        session.finish(questions);
        failure
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let Endpoint { protocol, scope, .. } = self.endpoint;
        let place = self.endpoint.place(&self.host);
        let socket = Socket::new(place, scope, self.patience, self.aside.clone());
        let accounts = self.service_accounts.then(|| self.host.clone());
        let client = Client::connect(protocol, socket, accounts).await?;
        Session::start(client, &self.shared, self.source, scope).await
    }

    fn absent(&mut self) {
        let was = self.state;
        if self.turn(State::Absent) {
            match was {
                State::Unknown if self.endpoint.is_asked_for => tracing::warn!(
                    "there is no runtime at {}; it is looked for until there is",
                    self.shown()
                ),
                State::Unknown => {}
                _ => tracing::info!("the runtime at {} is gone", self.shown()),
            }
        }
    }

    fn failing(&mut self, failure: &Failure) {
        if !self.turn(State::Failing) {
            return;
        }
        let cause = super::failure::chain(failure);
        let shown = self.shown();
        if self.is_in_order(failure) {
            tracing::info!("{shown} has no containers to tell of: {cause}");
        } else {
            tracing::warn!(
                "{shown}: {cause}; alerts go without details of its containers meanwhile"
            );
        }
    }

    /// Nothing is wrong with a containerd that only Docker uses.
    fn is_in_order(&self, failure: &Failure) -> bool {
        matches!(failure, Failure::Unsupported) && !self.endpoint.is_asked_for
    }

    /// Whether it was different before.
    fn turn(&mut self, state: State) -> bool {
        std::mem::replace(&mut self.state, state) != state
    }

    fn shown(&self) -> String {
        super::failure::excerpt(&self.endpoint.path.display().to_string())
    }
}
