//! Errands that may never end: what a container or a user has put somewhere can be a file system of its own making
//! (FUSE), whose server decides when a call returns. A thread does one after the other. One that takes long is left
//! behind with its thread, and another thread goes on with those that depend on others.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{
    self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError,
};
use std::thread;
use std::time::Duration;

/// How long one may take before others go on. Mostly it is over at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many may be left behind, each with a thread. Any more are turned down until one ends.
const MOST: usize = 8;

/// Something to do that may never end.
pub(super) trait Errand: Send + Sync + 'static {
    /// Whoever it depends on.
    type Party: Eq + Hash + Send;

    fn party(&self) -> Self::Party;

    /// Does it. May never return.
    fn run(&self);

    /// It takes long, and others go on without it.
    fn late(&self);

    /// It will not be done: its party keeps a thread already, or too many others do, or wait.
    fn turn_down(&self);
}

/// The queue of a thread that does errands.
#[derive(Debug)]
pub(super) struct Errands<E>(SyncSender<E>);

/// A thread that does one errand at a time.
struct Worker<E> {
    errands: Sender<Arc<E>>,
    done: Receiver<()>,
}

impl<E: Errand> Errands<E> {
    /// Starts the threads, until this is dropped. At most so many errands may wait.
    pub(super) fn start(name: &'static str, capacity: usize) -> io::Result<Self> {
        let (sender, errands) = mpsc::sync_channel(capacity);
        let worker = Worker::start(name)?;
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || hand_out(name, worker, errands))?;
        Ok(Self(sender))
    }

    /// Has one done, unless too many wait. Never waits itself.
    pub(super) fn send(&self, errand: E) {
        if let Err(TrySendError::Full(errand) | TrySendError::Disconnected(errand)) =
            self.0.try_send(errand)
        {
            errand.turn_down();
        }
    }
}

impl<E: Errand> Worker<E> {
    fn start(name: &'static str) -> io::Result<Self> {
        let (errands, own) = mpsc::channel::<Arc<E>>();
        let (finished, done) = mpsc::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for errand in own {
                errand.run();
                // When nobody waits for that any more, the channel of errands is closed too.
                let _ = finished.send(());
            }
        })?;
        Ok(Self { errands, done })
    }

    /// Whether it still does what it was left behind with.
    fn is_busy(&self, errand: &Arc<E>) -> bool {
        let done = self.done.try_recv();
        if done == Err(TryRecvError::Disconnected) {
            // It panicked, and has said so.
            errand.turn_down();
        }
        done == Err(TryRecvError::Empty)
    }
}

/// Hands errands to a worker, and to another one if that does not end.
fn hand_out<E: Errand>(name: &'static str, first: Worker<E>, errands: Receiver<E>) {
    let mut worker = Some(first);
    let mut behind: HashMap<E::Party, (Worker<E>, Arc<E>)> = HashMap::new();
    for errand in errands {
        behind.retain(|_, (worker, errand)| worker.is_busy(errand));
        let party = errand.party();
        if behind.contains_key(&party) || behind.len() >= MOST {
            errand.turn_down();
            continue;
        }
        let own = match worker.take().map_or_else(|| Worker::start(name), Ok) {
            Ok(own) => own,
            Err(error) => {
                tracing::warn!("cannot start a thread that reads {name}: {error}");
                errand.turn_down();
                continue;
            }
        };
        let errand = Arc::new(errand);
        // Fails if it panicked before, as the next does.
        let _ = own.errands.send(errand.clone());
        match own.done.recv_timeout(PATIENCE) {
            Ok(()) => worker = Some(own),
            Err(RecvTimeoutError::Timeout) => {
                errand.late();
                behind.insert(party, (own, errand));
            }
            // It panicked, and has said so.
            Err(RecvTimeoutError::Disconnected) => errand.turn_down(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    #[derive(Debug, Eq, PartialEq)]
    enum Fate {
        Done(usize),
        Late(usize),
        TurnedDown(usize),
    }

    struct Test {
        party: usize,
        /// Ends when the other end is dropped.
        until: Option<Mutex<Receiver<()>>>,
        told: Sender<Fate>,
    }

    impl Errand for Test {
        type Party = usize;

        fn party(&self) -> usize {
            self.party
        }

        fn run(&self) {
            if let Some(until) = &self.until {
                let _ = until.lock().unwrap().recv();
            }
            self.told.send(Fate::Done(self.party)).unwrap();
        }

        fn late(&self) {
            self.told.send(Fate::Late(self.party)).unwrap();
        }

        fn turn_down(&self) {
            self.told.send(Fate::TurnedDown(self.party)).unwrap();
        }
    }

    #[test]
    fn one_that_never_ends_keeps_nobody_else_waiting() {
        let errands = Errands::start("test", 10).unwrap();
        let (told, fates) = mpsc::channel();
        let next = || fates.recv_timeout(Duration::from_mins(1)).unwrap();
        let send = |party, until| errands.send(Test { party, until, told: told.clone() });
        send(0, None);
        assert_eq!(next(), Fate::Done(0));
        let (release, until) = mpsc::channel();
        send(1, Some(Mutex::new(until)));
        for party in [2, 1, 3] {
            send(party, None);
        }
        assert_eq!([next(), next()], [Fate::Late(1), Fate::Done(2)]);
        assert_eq!([next(), next()], [Fate::TurnedDown(1), Fate::Done(3)]);
        drop(release);
        assert_eq!(next(), Fate::Done(1));
        // It may be that its thread has not said so yet.
        let deadline = Instant::now() + Duration::from_mins(1);
        let again = || {
            send(1, None);
            next()
        };
        while again() != Fate::Done(1) {
            assert!(Instant::now() < deadline);
        }
    }

    #[test]
    fn only_so_many_are_left_behind() {
        let errands = Errands::start("test", 2 * MOST).unwrap();
        let (told, fates) = mpsc::channel();
        let (releases, untils): (Vec<_>, Vec<_>) = (0..=MOST).map(|_| mpsc::channel()).unzip();
        for (party, until) in untils.into_iter().enumerate() {
            let until = Some(Mutex::new(until));
            errands.send(Test { party, until, told: told.clone() });
        }
        let next = || fates.recv_timeout(Duration::from_mins(1)).unwrap();
        for party in 0..MOST {
            assert_eq!(next(), Fate::Late(party));
        }
        assert_eq!(next(), Fate::TurnedDown(MOST));
        drop::<Vec<Sender<()>>>(releases);
    }

    #[test]
    fn one_that_panics_is_turned_down() {
        struct Panic(Sender<()>);

        impl Errand for Panic {
            type Party = ();

            fn party(&self) {}

            fn run(&self) {
                panic!();
            }

            fn late(&self) {}

            fn turn_down(&self) {
                self.0.send(()).unwrap();
            }
        }

        let errands = Errands::start("test", 2).unwrap();
        let (told, fates) = mpsc::channel();
        for _ in 0..2 {
            errands.send(Panic(told.clone()));
            fates.recv_timeout(Duration::from_mins(1)).unwrap();
        }
    }
}
