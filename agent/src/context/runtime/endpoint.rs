//! Where runtimes listen.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::family::Protocol;
use super::key::Scope;
use super::place::{Place, Users};

/// A place where a runtime may listen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Endpoint {
    /// How it is spoken to.
    pub(crate) protocol: Protocol,
    /// The path of its socket, from the root of the host.
    pub(crate) path: PathBuf,
    /// Whose it is.
    pub(crate) scope: Scope,
    /// Whether the user asked for it, and is to be told that it is not there.
    pub(crate) is_asked_for: bool,
}

/// Why the name of an endpoint is none.
#[derive(Debug, Error, Eq, PartialEq)]
#[error("`{0}` names no runtime; write cri:///PATH or docker:///PATH, with the path on the host")]
pub(crate) struct ParseEndpointError(String);

/// The places that distributions use. `/var/run` is looked at where it is a folder only: mostly it is a
/// link to `/run`, which would lead out of a host that is mounted elsewhere.
const WELL_KNOWN: [(Protocol, &str); 7] = [
    (Protocol::Cri, "/run/containerd/containerd.sock"),
    (Protocol::Cri, "/run/crio/crio.sock"),
    (Protocol::Cri, "/run/k0s/containerd.sock"),
    // RKE2's too.
    (Protocol::Cri, "/run/k3s/containerd/containerd.sock"),
    (Protocol::Cri, "/var/snap/microk8s/common/run/containerd.sock"),
    (Protocol::Docker, "/run/docker.sock"),
    (Protocol::Docker, "/run/podman/podman.sock"),
];

/// The folder with a folder for each user.
const USERS: &str = "/run/user";

/// Where a user's runtime listens in there.
const OF_USER: [&str; 2] = ["docker.sock", "podman/podman.sock"];

impl Endpoint {
    fn new(protocol: Protocol, path: impl Into<PathBuf>) -> Self {
        Self { protocol, path: path.into(), scope: Scope::Host, is_asked_for: false }
    }

    /// The well-known places.
    pub(super) fn well_known() -> Vec<Self> {
        WELL_KNOWN.into_iter().map(|(protocol, path)| Self::new(protocol, path)).collect()
    }

    /// Their paths.
    pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
        WELL_KNOWN.into_iter().map(|(_, path)| path)
    }

    /// The users of this host that have a folder for sockets.
    pub(super) fn users(host: &Path) -> Vec<u32> {
        // There is no such folder on hosts that nobody logs in to.
        let users = fs::read_dir(below(host, Path::new(USERS))).into_iter().flatten();
        let uid = |name: std::ffi::OsString| name.to_str()?.parse().ok().filter(|&uid| uid != 0);
        users.filter_map(|entry| uid(entry.ok()?.file_name())).collect()
    }

    /// The sockets that a user has now. May wait for that user.
    pub(super) fn of_user(host: &Path, uid: u32) -> Vec<Self> {
        OF_USER
            .map(|path| Self {
                scope: Scope::User(uid),
                ..Self::new(Protocol::Docker, format!("{USERS}/{uid}/{path}"))
            })
            .into_iter()
            .filter(|endpoint| endpoint.place(host).is_there())
            .collect()
    }

    /// Where it is, as this process sees it.
    pub(super) fn place(&self, host: &Path) -> Place {
        match self.scope {
            Scope::Host => Place::Host(self.path_below(host)),
            Scope::User(uid) => {
                Place::User(Users { host: host.to_owned(), path: self.path.clone(), uid })
            }
        }
    }

    /// The path of one of the host's, as this process sees it.
    fn path_below(&self, host: &Path) -> PathBuf {
        let path = below(host, &self.path);
        let Ok(rest) = self.path.strip_prefix("/run") else { return path };
        // On some hosts it is a folder of its own, where Docker listens.
        let old = below(host, Path::new("/var/run"));
        let is_folder = fs::symlink_metadata(&old).is_ok_and(|old| old.is_dir());
        if is_folder && !path.exists() { old.join(rest) } else { path }
    }
}

/// The user in whose folder a socket is.
fn user(path: &str) -> Option<u32> {
    let name = path.strip_prefix(USERS)?.strip_prefix('/')?.split('/').next()?;
    name.parse().ok().filter(|&uid| uid != 0)
}

/// A path of the host, seen from outside of it.
fn below(host: &Path, path: &Path) -> PathBuf {
    host.join(path.strip_prefix("/").unwrap_or(path))
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let (protocol, path) = match text.split_once("://") {
            Some(("cri", path)) => (Protocol::Cri, path),
            Some(("docker" | "podman", path)) => (Protocol::Docker, path),
            _ => return Err(ParseEndpointError(text.to_owned())),
        };
        if !path.starts_with('/') {
            return Err(ParseEndpointError(text.to_owned()));
        }
        // See above.
        let run = path.strip_prefix("/var/run/").map(|rest| format!("/run/{rest}"));
        let path = run.unwrap_or_else(|| path.to_owned());
        let scope = user(&path).map_or(Scope::Host, Scope::User);
        Ok(Self { scope, is_asked_for: true, ..Self::new(protocol, path) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_user_names_protocol_and_path() {
        let parse = |text: &str| text.parse::<Endpoint>();
        let endpoint = parse("cri:///var/run/crio/crio.sock").unwrap();
        assert_eq!(endpoint.path, Path::new("/run/crio/crio.sock"));
        assert_eq!((endpoint.protocol, endpoint.is_asked_for), (Protocol::Cri, true));
        let scope = |text| parse(text).unwrap().scope;
        assert_eq!(scope("podman:///srv/p.sock"), Scope::Host);
        assert_eq!(scope("podman:///run/user/7/p.sock"), Scope::User(7));
        for bad in ["/run/docker.sock", "tcp://host:1", "cri://relative", ""] {
            assert_eq!(parse(bad), Err(ParseEndpointError(bad.to_owned())));
        }
    }

    #[test]
    fn the_host_may_be_mounted_elsewhere() {
        let endpoint: Endpoint = "docker:///run/docker.sock".parse().unwrap();
        assert_eq!(endpoint.path_below(Path::new("/host")), Path::new("/host/run/docker.sock"));
        assert_eq!(endpoint.path_below(Path::new("/")), Path::new("/run/docker.sock"));
    }

    #[test]
    fn the_old_folder_counts_if_it_is_one() {
        let host = tempfile::tempdir().unwrap();
        let endpoint: Endpoint = "docker:///run/docker.sock".parse().unwrap();
        let (new, old) =
            (host.path().join("run/docker.sock"), host.path().join("var/run/docker.sock"));
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        let _old = UnixListener::bind(&old).unwrap();
        assert_eq!(endpoint.path_below(host.path()), old);
        let _new = UnixListener::bind(&new).unwrap();
        assert_eq!(endpoint.path_below(host.path()), new);
    }

    #[test]
    fn users_have_sockets_of_their_own() {
        let host = tempfile::tempdir().unwrap();
        assert!(Endpoint::users(host.path()).is_empty());
        let podman = host.path().join("run/user/1000/podman");
        fs::create_dir_all(&podman).unwrap();
        for other in ["0", "x", "1001"] {
            fs::create_dir_all(host.path().join("run/user").join(other)).unwrap();
        }
        let _listener = UnixListener::bind(podman.join("podman.sock")).unwrap();
        let mut users = Endpoint::users(host.path());
        users.sort_unstable();
        assert_eq!(users, [1000, 1001]);
        assert_eq!(Endpoint::of_user(host.path(), 1001), []);
        let found = Endpoint::of_user(host.path(), 1000);
        let [only] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(only.scope, Scope::User(1000));
        assert_eq!(only.path, Path::new("/run/user/1000/podman/podman.sock"));
    }
}
