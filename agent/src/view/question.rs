//! Questions to the event thread, which owns the tables: it is woken for one, takes a look, and goes on. It never
//! waits for who asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::look::Look;

/// How long the event thread may take: it may be starting, or have much to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// The event thread's end.
pub(crate) struct Questions {
    asked: Receiver<oneshot::Sender<Look>>,
    bell: Arc<EventFd>,
}

/// The other end.
pub(crate) struct Asker {
    asked: Sender<oneshot::Sender<Look>>,
    bell: Arc<EventFd>,
}

/// Why a question is not answered.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Silence {
    #[error("the agent is ending")]
    Ending,
    #[error("the agent is starting, or has too much to do; try again")]
    Busy,
}

/// Both ends.
pub(crate) fn channel() -> io::Result<(Asker, Questions)> {
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let bell = Arc::new(bell);
    let (sender, asked) = mpsc::channel();
    Ok((Asker { asked: sender, bell: bell.clone() }, Questions { asked, bell }))
}

impl Questions {
    /// Becomes readable with a question.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Answers what was asked: whatever that is, with one look.
    pub(crate) fn answer(&self, look: impl FnOnce() -> Look) {
        // Before: what is asked after this rings again.
        let _ = self.bell.read();
        // The last one: who asked before has lost patience.
        let Some(asker) = self.asked.try_iter().last().filter(|asker| !asker.is_closed()) else {
            return;
        };
        // It may lose it just now.
        let _ = asker.send(look());
    }
}

impl Asker {
    /// Asks for a look. One at a time: it has the tables for itself.
    pub(super) async fn look(&mut self) -> Result<Look, Silence> {
        let (asker, answer) = oneshot::channel();
        self.asked.send(asker).map_err(|_| Silence::Ending)?;
        // It cannot be full: the event thread empties it.
        let _ = self.bell.write(1);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(look) => look.map_err(|_| Silence::Ending),
            Err(_) => Err(Silence::Busy),
        }
    }
}
