//! What a container is known by: its id, and whose runtime gave it.

use std::fmt;

use shrike_common::Uid;

/// The id of a container or of a pod's sandbox: 64 hexadecimal digits with every runtime that has a
/// socket to ask.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id([u8; 32]);

/// Whose runtime a container is of. What a user's runtime says is believed of that user's containers
/// only: it could claim any id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Scope {
    /// Root's.
    Host,
    /// A user's own, rootless.
    User(u32),
}

/// A container of this host.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    /// Whose runtime gave the id.
    pub(crate) scope: Scope,
    /// The id.
    pub(crate) id: Id,
}

impl Id {
    /// The id that these digits are; `None` for any other name.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (pairs, rest) = text.as_chunks::<2>();
        let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        rest.is_empty().then_some(Self(bytes))
    }

    /// A part of it that tells apart: runtimes draw ids at random.
    pub(super) fn prefix(self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Runtimes write small digits only.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Scope {
    /// Whose runtime made the container of this cgroup. The path must end with the container: what
    /// stands further in is made by who is in there.
    pub(crate) fn of_cgroup(path: &[u8]) -> Self {
        path.split(|&byte| byte == b'/').find_map(user).map_or(Self::Host, Self::of_user)
    }

    /// That of a user.
    pub(crate) fn of_user(uid: Uid) -> Self {
        // Root's own runtime is the host's, wherever its containers are.
        if uid.0 == 0 { Self::Host } else { Self::User(uid.0) }
    }

    /// The user that must be at the other end of the runtime's socket.
    pub(super) fn uid(self) -> u32 {
        match self {
            Self::Host => 0,
            Self::User(uid) => uid,
        }
    }
}

/// The user of `user@UID.service`, below which a user's own systemd makes cgroups.
fn user(name: &[u8]) -> Option<Uid> {
    let uid = name.strip_prefix(b"user@")?.strip_suffix(b".service")?;
    str::from_utf8(uid).ok()?.parse().ok().map(Uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixty_four_digits() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(Id::parse(text.as_bytes()).unwrap().to_string(), text);
        for bad in ["", "abc", &text[1..], &format!("{text}0"), &format!("{text}00")] {
            assert_eq!(Id::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Id::parse(text.to_uppercase().as_bytes()), None);
        assert_eq!(Id::parse("g".repeat(64).as_bytes()), None);
    }

    #[test]
    fn a_users_containers_are_below_the_users_systemd() {
        let scope = |path: &str| Scope::of_cgroup(path.as_bytes());
        let user = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-1.scope";
        assert_eq!(scope(user), Scope::User(1000));
        for host in [
            "/system.slice/docker-1.scope",
            "/machine.slice/libpod-1.scope",
            "/user.slice/user-0.slice/user@0.service/user.slice/libpod-1.scope",
            "/user@x.service/libpod-1.scope",
            "/user@.service",
            "/user@99999999999.service",
        ] {
            assert_eq!(scope(host), Scope::Host, "{host}");
        }
    }
}
