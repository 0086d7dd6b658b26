//! How much is taken in of what a runtime says. What a user's runtime says is whatever that user likes, and there
//! may be many such users: they get as much as a user's containers need, so that none of them can make the agent
//! large.

use super::key::Scope;

/// The most containers of one user's runtimes, so that none takes the room of all others. All users' together have
/// half of the room there is, so that they leave the host's theirs.
pub(super) const OF_USER: usize = 256;

/// How much is taken in of what a runtime says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The ids of a list; there is another limit for all runtimes.
    pub(super) ids: usize,
    /// The bytes of a list.
    pub(super) list: usize,
    /// The bytes of another answer of an engine.
    pub(super) answer: usize,
    /// The bytes of another message of CRI.
    pub(super) message: usize,
    /// The bytes of an answer that wait to be taken; `None` for what hyper has by itself.
    pub(super) buffer: Option<usize>,
    /// The images of which the digests are kept.
    pub(super) images: usize,
    /// The sandboxes that are kept.
    pub(super) sandboxes: usize,
    /// The bytes of a file of records.
    pub(super) records: usize,
}

impl Limits {
    /// A list of a thousand containers has a few megabytes, and a container less than two thousand bytes in a file
    /// of records. The limits of CRI are the kubelet's.
    const HOST: Self = Self {
        ids: usize::MAX,
        list: 16 << 20,
        answer: 2 << 20,
        message: 4 << 20,
        buffer: None,
        images: 1024,
        sandboxes: super::CONTAINERS,
        records: 16 << 20,
    };

    /// An entry of a list of Docker's has two thousand bytes, with the labels that Compose gives.
    const USER: Self = Self {
        ids: OF_USER,
        list: OF_USER * 2048,
        answer: 128 << 10,
        message: 128 << 10,
        buffer: Some(32 << 10),
        images: 64,
        sandboxes: OF_USER,
        records: 1 << 20,
    };

    /// Those for runtimes of a scope.
    pub(super) fn of(scope: Scope) -> Self {
        match scope {
            Scope::Host => Self::HOST,
            Scope::User(_) => Self::USER,
        }
    }
}
