//! Looks for the sockets of users, each user's apart: a path that hangs is looked at no more until it does not, and
//! keeps nobody from seeing the others.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::endpoint::Endpoint;

/// How long a look may take. Mostly it is over at once.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks for the sockets of users.
#[derive(Debug)]
pub(super) struct Looks {
    host: PathBuf,
    /// Those that hang, by user.
    hung: HashMap<u32, JoinHandle<Vec<Endpoint>>>,
}

impl Looks {
    pub(super) fn new(host: PathBuf) -> Self {
        Self { host, hung: HashMap::new() }
    }

    /// The sockets that the users of this host have now, but those that take long to see.
    pub(super) async fn found(&mut self) -> Vec<Endpoint> {
        let mut found = Vec::new();
        for uid in Endpoint::users(&self.host) {
            // One that was late before is over by now, or not waited for again.
            let (mut look, patience) = if let Some(look) = self.hung.remove(&uid) {
                (look, Duration::ZERO)
            } else {
                let host = self.host.clone();
                (spawn_blocking(move || Endpoint::of_user(&host, uid)), PATIENCE)
            };
            match timeout(patience, &mut look).await {
                Ok(Ok(endpoints)) => found.extend(endpoints),
                // One that panicked has said so.
                Ok(Err(_)) => {}
                Err(_) => {
                    self.hung.insert(uid, look);
                }
            }
        }
        found
    }
}
