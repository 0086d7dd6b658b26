//! Where a socket is. Below a user's folder there can be anything: links to elsewhere, and file systems of the user's
//! own making. No link is followed there, and nothing but a socket of that user's is connected to.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as Stream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::failure::Failure;

/// Where a socket is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A path that root has made, as this process sees it.
    Host(PathBuf),
    /// A path that a user may have made.
    User(Users),
}

/// A path that a user may have made. All calls may wait for that user.
#[derive(Clone, Debug)]
pub(super) struct Users {
    /// Where the root of the host is.
    pub(super) host: PathBuf,
    /// The path from there.
    pub(super) path: PathBuf,
    /// Whose the socket must be.
    pub(super) uid: u32,
}

impl Place {
    /// Whether there is something. May wait if it is a user's.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Host(path) => fs::exists(path).is_ok_and(|is_there| is_there),
            Self::User(users) => users.find().is_ok(),
        }
    }
}

impl Users {
    /// Connects to the socket, if it is one of the user's. Waits for nobody to take the connection.
    pub(super) fn connect(&self) -> Result<Stream, Failure> {
        let of_errno = |errno: Errno| Failure::Connect(errno.into());
        let found = self.find().map_err(of_errno)?;
        let stat = fstat(&found).map_err(of_errno)?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFSOCK {
            return Err(of_errno(Errno::ENOTSOCK));
        }
        if stat.st_uid != self.uid {
            return Err(Failure::Impostor { expected: self.uid, found: stat.st_uid });
        }
        let stream = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            // What was found, whatever is at its path by now.
            let address = UnixAddr::new(&*format!("/proc/self/fd/{}", found.as_raw_fd()))?;
            connect(stream.as_raw_fd(), &address)?;
            Ok(Stream::from(stream))
        };
        stream().map_err(of_errno)
    }

    /// What is there, not opened.
    fn find(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let root = open(&self.host, flags | OFlag::O_DIRECTORY, Mode::empty())?;
        let how = OpenHow::new().flags(flags).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        openat2(root, self.path.strip_prefix("/").unwrap_or(&self.path), how)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    fn users(host: &TempDir, path: &str) -> Users {
        let uid = nix::unistd::getuid().as_raw();
        Users { host: host.path().to_owned(), path: path.into(), uid }
    }

    #[test]
    fn only_a_socket_of_the_users_is_connected_to() {
        let host = tempfile::tempdir().unwrap();
        fs::create_dir(host.path().join("own")).unwrap();
        let _listener = UnixListener::bind(host.path().join("own/r.sock")).unwrap();
        fs::write(host.path().join("own/file"), "").unwrap();
        let socket = users(&host, "/own/r.sock");
        socket.connect().unwrap();
        let other = Users { uid: socket.uid + 1, ..socket };
        assert!(matches!(other.connect(), Err(Failure::Impostor { .. })));
        for (path, kind) in
            [("/own/file", Errno::ENOTSOCK), ("/own", Errno::ENOTSOCK), ("/gone", Errno::ENOENT)]
        {
            let error = users(&host, path).connect().unwrap_err();
            let Failure::Connect(error) = error else { panic!("{path}: {error}") };
            assert_eq!(error.raw_os_error(), Some(kind as i32), "{path}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let host = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(host.path().join("r.sock")).unwrap();
        symlink("r.sock", host.path().join("link.sock")).unwrap();
        symlink(".", host.path().join("folder")).unwrap();
        assert!(Place::User(users(&host, "/r.sock")).is_there());
        for path in ["/link.sock", "/folder/r.sock", "/../r.sock"] {
            let users = users(&host, path);
            assert!(users.connect().is_err() && !Place::User(users).is_there(), "{path}");
        }
    }
}
