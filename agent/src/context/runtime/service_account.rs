//! The service account of a pod, which CRI does not tell. What tells it without a question to the API
//! server is the token that the kubelet has mounted for the pod: its claims name the account. Nothing of
//! a token is kept but that name, and it is only read if the user wants that: who may read tokens can
//! act as their pods.
//!
//! What is mounted there can also be a folder of the host that somebody has chosen, with anything in it. So it must
//! be a volume in the kubelet's folder of this very pod, whose uid nobody knew when the pod was described; and even
//! there only a regular file is read.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::Deserialize;

use super::details::{Mount, Pod};
use crate::context::file::{Found, Refusal};

/// Where every container with a token has it.
const DESTINATION: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The kinds of volumes that kubelets have had for it.
const VOLUMES: [&str; 2] = ["kubernetes.io~projected", "kubernetes.io~secret"];

/// The largest token.
const TOKEN: usize = 16 << 10;

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Why a token is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("there is none")]
    Absent,
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("it is none of this namespace")]
    Foreign,
}

/// The folder with the token of a pod that has these mounts, from the root of the host.
pub(super) fn volume(pod: &Pod, mounts: &[Mount]) -> Option<PathBuf> {
    let mount = mounts.iter().find(|mount| mount.destination == DESTINATION)?;
    let source = Path::new(&mount.source).strip_prefix("/").ok()?;
    let parts: Option<Vec<_>> = source
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let parts = parts?;
    let [.., "pods", uid, "volumes", kind, _] = parts.as_slice() else { return None };
    (*uid == pod.uid && VOLUMES.contains(kind)).then(|| source.to_owned())
}

/// The account of a pod of this namespace that has a token in this volume. `host` is where the root of the host is;
/// below it the kubelet's volumes must be there as they are on the host. May wait for a file system.
pub(super) fn read(host: &Path, namespace: &str, volume: &Path) -> Result<String, Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root: OwnedFd = open(host, flags, Mode::empty()).map_err(Refusal::Unreachable)?;
    // The kubelet has a link there, to a folder that it makes anew for each token.
    let token = Found::below(&root, &volume.join("token"))?.ok_or(Failure::Absent)?.read(TOKEN)?;
    let account = str::from_utf8(&token).ok().and_then(|token| account(token, namespace));
    account.ok_or(Failure::Foreign)
}

/// The account that a token is of, if that is of this namespace.
fn account(token: &str, namespace: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let subject = claims.sub.strip_prefix("system:serviceaccount:")?;
    let (found, name) = subject.split_once(':')?;
    (found == namespace && name.len() <= 253).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    const VOLUME: &str =
        "/var/lib/kubelet/pods/uid/volumes/kubernetes.io~projected/kube-api-access-x";

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn mount(source: &str) -> Mount {
        Mount {
            source: source.to_owned(),
            destination: DESTINATION.to_owned(),
            mode: String::new(),
            is_writable: false,
            propagation: "rprivate".to_owned(),
        }
    }

    fn pod(uid: &str) -> Pod {
        Pod { uid: uid.to_owned(), ..Pod::default() }
    }

    /// A host with the volume, and the path of the token.
    fn host() -> (TempDir, PathBuf) {
        let host = tempfile::tempdir().unwrap();
        let volume = host.path().join(&VOLUME[1..]);
        fs::create_dir_all(&volume).unwrap();
        (host, volume.join("token"))
    }

    #[test]
    fn the_token_of_the_pod_tells() {
        let (host, token) = host();
        let volume = volume(&pod("uid"), &[mount(VOLUME)]).unwrap();
        let read = |namespace| read(host.path(), namespace, &volume);
        assert!(matches!(read("shop"), Err(Failure::Absent)));
        let claims = r#"{"iss":"k","sub":"system:serviceaccount:shop:cart","exp":1}"#;
        // As the kubelet has it.
        let data = token.with_file_name("..2026");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("token"), jwt(claims)).unwrap();
        symlink("..2026", token.with_file_name("..data")).unwrap();
        symlink("..data/token", &token).unwrap();
        assert_eq!(read("shop").unwrap(), "cart");
        assert!(matches!(read("other"), Err(Failure::Foreign)));
        fs::write(data.join("token"), jwt(claims) + &" ".repeat(TOKEN)).unwrap();
        assert!(matches!(read("shop"), Err(Failure::Refused(Refusal::TooLarge(_)))));
    }

    #[test]
    fn what_is_no_file_of_the_host_is_not_read() {
        let (host, token) = host();
        let volume = volume(&pod("uid"), &[mount(VOLUME)]).unwrap();
        let read = || read(host.path(), "shop", &volume);
        mkfifo(&token, Mode::S_IRWXU).unwrap();
        assert!(matches!(read(), Err(Failure::Refused(Refusal::NotAFile))));
        fs::remove_file(&token).unwrap();
        // The root of links is the host's, wherever that is.
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        symlink(elsewhere.path(), &token).unwrap();
        assert!(matches!(read(), Err(Failure::Absent)));
    }

    #[test]
    fn only_volumes_of_the_pod_itself_count() {
        let found = |uid, source: &str| volume(&pod(uid), &[mount(source)]).is_some();
        assert!(found("uid", VOLUME));
        assert!(found("uid", &VOLUME.replace("projected", "secret")));
        assert!(!found("other", VOLUME));
        for source in [
            "/var/lib/kubelet".to_owned(),
            "/tmp/kubernetes.io~projected/uid/x".to_owned(),
            format!("{VOLUME}/more"),
            format!("{VOLUME}/../../../.."),
            VOLUME.replace("projected", "empty-dir"),
            VOLUME.replace("/volumes/", "/volumes/more/"),
            VOLUME.replace("/pods/", "/.."),
            VOLUME[1..].to_owned(),
        ] {
            assert!(!found("uid", &source), "{source}");
        }
        assert_eq!(volume(&pod("uid"), &[]), None);
    }

    #[test]
    fn what_is_no_token_tells_nothing() {
        let user = jwt(r#"{"sub":"system:node:n"}"#);
        for bad in ["", "a.b", "a.!.c", "..", &jwt("{}"), &jwt("garbage"), &user] {
            assert_eq!(account(bad, "shop"), None, "{bad}");
        }
    }
}
