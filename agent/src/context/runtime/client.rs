//! A connection to a runtime, in whichever protocol.

use std::path::PathBuf;

use super::cri::Cri;
use super::details::Details;
use super::engine::Engine;
use super::failure::Failure;
use super::family::{Family, Protocol};
use super::key::Id;
use super::notice::Notices;
use super::socket::Socket;

/// A connection to a runtime.
#[derive(Debug)]
pub(super) enum Client {
    Cri(Cri),
    Engine(Engine),
}

/// What a runtime says of a container.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) details: Details,
    /// Why that is not all.
    pub(super) lack: Option<Failure>,
}

impl Client {
    /// Connects, and asks who is there. `accounts` is where the host is, if service accounts are looked
    /// for.
    pub(super) async fn connect(
        protocol: Protocol,
        socket: Socket,
        accounts: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        Ok(match protocol {
            Protocol::Cri => Self::Cri(Cri::connect(socket, accounts).await?),
            Protocol::Docker => Self::Engine(Engine::connect(socket).await?),
        })
    }

    pub(super) fn family(&self) -> Family {
        match self {
            Self::Cri(cri) => cri.family(),
            Self::Engine(engine) => engine.family(),
        }
    }

    /// What runs.
    pub(super) async fn list(&self) -> Result<Vec<Id>, Failure> {
        match self {
            Self::Cri(cri) => cri.list().await,
            Self::Engine(engine) => engine.list().await,
        }
    }

    /// Asks for a container; `None` if there is no such thing.
    pub(super) async fn inspect(&self, id: Id) -> Result<Option<Inspected>, Failure> {
        match self {
            Self::Cri(cri) => cri.inspect(id).await,
            Self::Engine(engine) => engine.inspect(id).await,
        }
    }

    /// Passes on what the runtime tells of containers, until it stops to.
    pub(super) async fn follow(&self, notices: &Notices) -> Result<(), Failure> {
        match self {
            Self::Cri(cri) => cri.follow(notices).await,
            Self::Engine(engine) => engine.follow(notices).await,
        }
    }
}
