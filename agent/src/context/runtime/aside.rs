//! Calls that may never return, as on a path that others have made: a thread of their own makes them, and who waits
//! for them gives up when its patience is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::failure::Failure;

/// Makes one call at a time, so that one that hangs keeps one thread only, however often it is tried again.
#[derive(Clone, Debug)]
pub(super) struct Aside(Arc<Semaphore>);

impl Aside {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// What the call returns, if it does in time.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        patience: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = async {
            let permit = self.0.clone().acquire_owned().await.map_err(|error| error.to_string())?;
            let called = spawn_blocking(move || {
                // Given back when the call returns, not when nobody waits any more.
                let _permit = permit;
                call()
            });
            called.await.map_err(|error| error.to_string())
        };
        let late = |_| Err(Failure::Hung(patience));
        let returned = async { turn.await.map_err(Failure::Closed) };
        timeout(patience, returned).await.unwrap_or_else(late)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_call_that_hangs_keeps_one_thread_only() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let (release, hung) = mpsc::channel::<()>();
        runtime.block_on(async {
            let (aside, hasty) = (Aside::new(), Duration::from_millis(50));
            let first = aside.call(hasty, move || hung.recv().is_err()).await;
            assert!(matches!(first, Err(Failure::Hung(_))));
            // Is not made at all.
            let second = aside.call(hasty, || panic!("made beside the first")).await;
            assert!(matches!(second, Err(Failure::Hung(_))));
            drop(release);
            assert!(aside.call(Duration::from_mins(1), || true).await.unwrap());
        });
    }
}
