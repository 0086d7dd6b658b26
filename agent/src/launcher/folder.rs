//! Folders that launchers share: made with those above them, and removed by the last one that leaves them.

use std::error::Error;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// How often a folder may be gone again before what is to be in it is made.
const ATTEMPTS: usize = 100;

/// Makes a folder and those above it.
pub(super) fn make(dir: &Path, mode: u32) -> io::Result<()> {
    persist(|| DirBuilder::new().recursive(true).mode(mode).create(dir))
}

/// Makes something that is in such a folder: again, if another launcher has removed that meanwhile.
pub(super) fn persist<T, E: Error + 'static>(make: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let is_gone = |made: &Result<T, E>| made.as_ref().is_err_and(|error| is_not_found(error));
    (1..ATTEMPTS).map(|_| make()).find(|made| !is_gone(made)).unwrap_or_else(&make)
}

fn is_not_found(error: &(dyn Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |&error| error.source());
    errors.any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_folder_is_made_while_another_launcher_removes_those_above() {
        let root = tempfile::tempdir().unwrap();
        let above = root.path().join("above");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = fs::remove_dir(&above);
                    // Who does nothing else would always be first.
                    thread::sleep(Duration::from_micros(20));
                }
            });
            for number in 0..1000 {
                let dir = above.join(number.to_string());
                let made = make(&dir, 0o700).and_then(|()| fs::remove_dir(&dir));
                if made.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                }
                made.unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn what_can_never_be_made_is_an_error() {
        assert!(make(Path::new("/proc/nowhere/folder"), 0o700).is_err());
    }
}
