//! Faults, for tests: a step that is done and yet fails, a process that ends there, or stays there for a
//! moment. `SHRIKE_FAULT` names one as `[ROLE-]KIND:STEP`, like `error:3` or `init-kill:12`. Only programs
//! with debug assertions look at it; in all others there is nothing of this.

#[cfg(not(debug_assertions))]
use std::io;

/// Who goes through steps: each counts its own.
#[cfg_attr(not(debug_assertions), expect(dead_code, reason = "only what is tested asks for it"))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// The launcher before it has executed itself again.
    Seal,
    /// The launcher, and every other command.
    Launcher,
    /// The first task of a container.
    Init,
    /// The process that unpacks layers.
    Unpacker,
}

/// A step has been done: whether it is to fail.
#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "it may fail where it is tested")]
pub(super) fn step() -> io::Result<()> {
    Ok(())
}

/// This process has another role from now on.
#[cfg(not(debug_assertions))]
pub(super) fn enter(_: Role) {}

#[cfg(debug_assertions)]
pub(super) use injected::{enter, step};

#[cfg(debug_assertions)]
mod injected {
    use std::env;
    use std::io;
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::thread;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{Pid, getpid, write};

    use super::Role;

    const VARIABLE: &str = "SHRIKE_FAULT";

    /// How long a process stays where it is to.
    const PAUSE: Duration = Duration::from_millis(300);

    /// What happens at a step.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Kind {
        /// It fails.
        Error,
        /// The process ends without a chance to do anything about it.
        Kill,
        /// It goes on later.
        Pause,
    }

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    struct Fault {
        role: Role,
        kind: Kind,
        step: u32,
    }

    /// How far a process has come in its role.
    struct Progress {
        role: Role,
        /// A child that has not taken its own role yet has a copy of this.
        process: Option<Pid>,
        steps: u32,
    }

    static PROGRESS: Mutex<Progress> =
        Mutex::new(Progress { role: Role::Launcher, process: None, steps: 0 });

    impl Fault {
        /// The one that is asked for.
        fn asked() -> Option<Self> {
            static ASKED: OnceLock<Option<Fault>> = OnceLock::new();
            *ASKED.get_or_init(|| Self::parse(&env::var(VARIABLE).ok()?))
        }

        fn parse(text: &str) -> Option<Self> {
            let (what, step) = text.split_once(':')?;
            let (role, kind) = match what.split_once('-') {
                None => (Role::Launcher, what),
                Some(("seal", kind)) => (Role::Seal, kind),
                Some(("init", kind)) => (Role::Init, kind),
                Some(("unpacker", kind)) => (Role::Unpacker, kind),
                Some(_) => return None,
            };
            let kind = match kind {
                "error" => Kind::Error,
                "kill" => Kind::Kill,
                "pause" => Kind::Pause,
                _ => return None,
            };
            Some(Self { role, kind, step: step.parse().ok()? })
        }
    }

    /// This process has another role from now on.
    pub(in super::super) fn enter(role: Role) {
        let mut progress = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = Progress { role, process: Some(getpid()), steps: 0 };
    }

    /// A step has been done: whether it is to fail.
    pub(in super::super) fn step() -> io::Result<()> {
        let Some(fault) = Fault::asked() else { return Ok(()) };
        {
            let mut progress = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
            let process = getpid();
            if fault.role != progress.role || *progress.process.get_or_insert(process) != process {
                return Ok(());
            }
            progress.steps += 1;
            if fault.step != progress.steps {
                return Ok(());
            }
        }
        // For the test: whoever gets the error may not tell it. There may be nobody to read it.
        let _ = write(io::stderr(), format!("injected at step {}\n", fault.step).as_bytes());
        match fault.kind {
            Kind::Error => Err(io::Error::other("injected")),
            Kind::Pause => {
                thread::sleep(PAUSE);
                Ok(())
            }
            Kind::Kill => {
                let _ = kill(getpid(), Signal::SIGKILL);
                // The first process of a pid namespace cannot kill itself.
                // SAFETY: ends the task and does nothing else.
                unsafe { libc::_exit(128 + libc::SIGKILL) }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_what_is_asked_for() {
            let fault = |role, kind, step| Some(Fault { role, kind, step });
            assert_eq!(Fault::parse("error:3"), fault(Role::Launcher, Kind::Error, 3));
            assert_eq!(Fault::parse("init-kill:12"), fault(Role::Init, Kind::Kill, 12));
            assert_eq!(Fault::parse("unpacker-pause:1"), fault(Role::Unpacker, Kind::Pause, 1));
            for bad in ["", "error", "error:", "error:-1", "x-error:1", "init-x:1", "init:1"] {
                assert_eq!(Fault::parse(bad), None, "{bad:?}");
            }
        }
    }
}
