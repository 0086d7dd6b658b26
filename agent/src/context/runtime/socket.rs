//! The socket of a runtime, and who is at its other end.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::aside::Aside;
use super::failure::Failure;
use super::key::Scope;
use super::limits::Limits;
use super::place::Place;

/// A socket.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    place: Place,
    scope: Scope,
    patience: Duration,
    aside: Aside,
}

impl Socket {
    /// The socket at a place, which only the owner of this scope is believed to serve, and whose answers may take
    /// as long as `patience`.
    pub(super) fn new(place: Place, scope: Scope, patience: Duration, aside: Aside) -> Self {
        Self { place, scope, patience, aside }
    }

    /// How much is taken in of what is said there.
    pub(super) fn limits(&self) -> Limits {
        Limits::of(self.scope)
    }

    /// Connects. Nothing is sent before it is known who listens: a user can have a link to any socket
    /// where the user's runtime would be.
    pub(super) async fn connect(&self) -> Result<TokioIo<UnixStream>, Failure> {
        let stream = match &self.place {
            Place::Host(path) => {
                self.within(async { UnixStream::connect(path).await.map_err(Failure::Connect) })
                    .await?
            }
            Place::User(users) => {
                let users = users.clone();
                let stream = self.aside(move || users.connect()).await??;
                UnixStream::from_std(stream).map_err(Failure::Connect)?
            }
        };
        let (expected, found) =
            (self.scope.uid(), stream.peer_cred().map_err(Failure::Connect)?.uid());
        if found != expected {
            return Err(Failure::Impostor { expected, found });
        }
        Ok(TokioIo::new(stream))
    }

    /// Makes a call that may hang, and gives up when the time for an answer is over.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.aside.call(self.patience, call).await
    }

    /// Gives up when the time for an answer is over.
    pub(super) async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = |_| Err(Failure::Hung(self.patience));
        timeout(self.patience, answer).await.unwrap_or_else(late)
    }
}
