//! A folder that one launcher has at a time, or several that share it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{LauncherError, Tried, state, unpacker};

/// Waits until nobody else has a folder, or only others who share it, as long as `go_on` holds. The folder is made where it is missing;
/// `others` is who else may have it.
pub(super) fn take(
    dir: &Path,
    how: FlockArg,
    others: &str,
    go_on: impl Fn() -> Result<(), LauncherError>,
) -> Result<Flock<File>, LauncherError> {
    const PAUSE: Duration = Duration::from_millis(20);
    let begin = Instant::now();
    let mut is_told = false;
    loop {
        state::make(dir).tried(|| format!("create {}", dir.display()))?;
        let file = match File::open(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.tried(|| format!("open {}", dir.display()))?,
        };
        match Flock::lock(file, how) {
            // It may have been removed, as empty, between the two.
            Ok(lock) if state::is_at(&lock, dir) => return Ok(lock),
            Ok(_) => continue,
            Err((_, Errno::EAGAIN)) => {}
            Err((_, errno)) => return Err(errno).tried(|| format!("lock {}", dir.display())),
        }
        if !is_told && begin.elapsed() > unpacker::PATIENCE {
            is_told = true;
            tracing::info!("waiting for {others}");
        }
        go_on()?;
        thread::sleep(PAUSE);
    }
}
