//! The service account of a pod, which CRI does not tell. What tells it without a question to the API
//! server is the token that the kubelet has mounted for the pod: its claims name the account. Nothing of
//! a token is kept but that name, and it is only read if the user wants that: who may read tokens can
//! act as their pods.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::details::Mount;

/// Where every container with a token has it.
const DESTINATION: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The kinds of volumes that kubelets have had for it. No pod can have another source there that looks
/// like this but from the folder of a pod.
const VOLUMES: [&str; 2] = ["kubernetes.io~projected", "kubernetes.io~secret"];

/// The largest token.
const TOKEN: u64 = 16 << 10;

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// The account of the pod that has these mounts. `host` is where the root of the host is; below it the
/// kubelet's volumes must be there as they are on the host.
pub(super) fn read(host: &Path, namespace: &str, mounts: &[Mount]) -> Option<String> {
    let mount = mounts.iter().find(|mount| mount.destination == DESTINATION)?;
    let source = Path::new(&mount.source);
    let is_volume =
        |part: Component<'_>| part.as_os_str().to_str().is_some_and(|name| VOLUMES.contains(&name));
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !source.components().any(is_volume) || !source.components().all(is_plain) {
        return None;
    }
    let path = host.join(source.strip_prefix("/").ok()?).join("token");
    account(&token(&path).ok()?, namespace)
}

fn token(path: &Path) -> io::Result<String> {
    let mut token = String::new();
    File::open(path)?.take(TOKEN).read_to_string(&mut token)?;
    Ok(token)
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

    #[test]
    fn the_token_of_the_pod_tells() {
        let host = tempfile::tempdir().unwrap();
        let volume = host.path().join(&VOLUME[1..]);
        fs::create_dir_all(&volume).unwrap();
        let claims = r#"{"iss":"k","sub":"system:serviceaccount:shop:cart","exp":1}"#;
        fs::write(volume.join("token"), jwt(claims)).unwrap();
        let read = |namespace: &str, source: &str| read(host.path(), namespace, &[mount(source)]);
        assert_eq!(read("shop", VOLUME).as_deref(), Some("cart"));
        assert_eq!(read("other", VOLUME), None);
        assert_eq!(read("shop", "/var/lib/kubelet"), None);
        assert_eq!(read("shop", &format!("{VOLUME}/../../../..")), None);
        assert_eq!(read("shop", &VOLUME.replace("/uid/", "/gone/")), None);
        assert_eq!(super::read(host.path(), "shop", &[]), None);
    }

    #[test]
    fn what_is_no_token_tells_nothing() {
        let user = jwt(r#"{"sub":"system:node:n"}"#);
        for bad in ["", "a.b", "a.!.c", "..", &jwt("{}"), &jwt("garbage"), &user] {
            assert_eq!(account(bad, "shop"), None, "{bad}");
        }
    }
}
