//! The launcher's own program, which no container may write: one can always execute it, as
//! `/proc/self/exe` or by a script with that interpreter, and write to it later by what it was
//! handed then (CVE-2019-5736).

use std::convert::Infallible;
use std::env;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::execveat;

use super::detached::Detached;
use super::fault::{self, Role};
use super::mount::{Depth, c_string, set_read_only};
use super::{LauncherError, Tried};

const SELF: &str = "/proc/self/exe";

/// Sees to it that the program is on a mount that is read-only: if it is not, executes it again from a mount
/// of its own, which is nowhere to be found. Must be called before anything is begun.
pub(crate) fn ensure() -> Result<(), LauncherError> {
    let is_sealed = statvfs(SELF).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY));
    if is_sealed {
        forget_pages();
        return Ok(());
    }
    fault::enter(Role::Seal);
    let program = Detached::open(Path::new(SELF))?;
    let Err(error) = execute(&program);
    Err(error).tried(|| "protect the launcher's program from containers".to_owned())
}

/// Gives back the pages of the program that only reading the command line took: the kernel maps sixteen around
/// each that is touched. Those that are needed come back from the page cache. (In a development build the
/// launcher's peak falls from 10.5 to 7.8 MB.)
pub(super) fn forget_pages() {
    unsafe extern "C" {
        // Set by the linker: where the program begins, and where its code ends.
        static __executable_start: u8;
        static etext: u8;
    }
    const PAGE: usize = 4096;
    let begin = (&raw const __executable_start).addr().next_multiple_of(PAGE);
    let end = (&raw const etext).addr() / PAGE * PAGE;
    let start = (&raw const __executable_start).with_addr(begin).cast_mut().cast();
    // Where the kernel does not want to, with larger pages, they stay.
    // SAFETY: between the two are only pages of the program's file that nothing writes to: what is there
    // afterwards is the same.
    unsafe { libc::madvise(start, end.saturating_sub(begin), libc::MADV_DONTNEED) };
}

fn execute(program: &Detached) -> io::Result<Infallible> {
    let program = program.root()?;
    set_read_only(&program, Depth::Mount)?;
    let arguments = env::args_os().map(|argument| c_string(&argument));
    let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
    let environment = env::vars_os().map(|(name, value)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(io::Error::from)
    });
    let environment: Vec<CString> = environment.collect::<Result<_, _>>()?;
    Ok(execveat(&program, c"", &arguments, &environment, AtFlags::AT_EMPTY_PATH)?)
}
