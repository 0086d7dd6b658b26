//! Where processes are: in which container, cgroup and namespaces, and as which user.

use std::sync::Arc;

use shrike_common::{CgroupId, ContainerId, Header, Membership, Namespaces, NsId, NsType, Uid};

/// Where a process is, as of its last exec, or when it was created, became a member of a container, or was last
/// scanned: what it changes of itself in between (`setuid(2)`, `setns(2)`) is not followed.
///
/// A child mostly is where its parent is; then both have the same one.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Place {
    /// The effective user.
    pub(crate) uid: Uid,
    /// 0 for each that is not known.
    pub(crate) ns: Namespaces,
    /// Whether it is a container's; `None` if no event has told yet.
    pub(crate) membership: Option<Membership>,
    /// The container that it belongs to; 0 if that is none, or not known.
    pub(crate) container: ContainerId,
    /// Its cgroup.
    pub(crate) cgroup: Cgroup,
}

/// The cgroup of a process.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Cgroup {
    /// As events tell it.
    Id(CgroupId),
    /// As `/proc` tells it: the path, in the first hierarchy in which it names a container, or else in the
    /// unified one.
    Path(Box<[u8]>),
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::Id(CgroupId(0))
    }
}

impl Place {
    /// What an event tells of who has acted.
    pub(super) fn told(header: &Header) -> Self {
        Self {
            uid: header.euid,
            ns: header.ns,
            membership: Membership::from_code(header.membership),
            container: header.container,
            cgroup: Cgroup::Id(header.cgroup),
        }
    }

    /// Where a child is that was created with these flags. Which namespaces it was given, its exec will tell.
    pub(super) fn of_child(header: &Header, flags: u64) -> Self {
        /// The child starts in another cgroup.
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let mut place = Self::told(header);
        if flags & CLONE_INTO_CGROUP != 0 {
            place.cgroup = Cgroup::default();
        }
        for ty in NsType::ALL {
            if flags & clone_flag(ty) != 0 {
                *place.ns.get_mut(ty) = NsId(0);
            }
        }
        place
    }

    /// Whether it has both mounts and processes of its own, as nothing but a container has.
    pub(crate) fn is_apart(&self, host: &Namespaces) -> bool {
        self.has_own(NsType::Mnt, host) && self.has_own(NsType::Pid, host)
    }

    /// Whether it has either.
    pub(crate) fn is_partly_apart(&self, host: &Namespaces) -> bool {
        self.has_own(NsType::Mnt, host) || self.has_own(NsType::Pid, host)
    }

    /// Whether a namespace is known not to be the host's.
    fn has_own(&self, ty: NsType, host: &Namespaces) -> bool {
        let own = self.ns.get(ty);
        own != NsId(0) && own != host.get(ty)
    }

    /// What a scan has found, with what only events tell.
    pub(super) fn found(&self, former: &Self) -> Self {
        Self { membership: former.membership, container: former.container, ..self.clone() }
    }

    /// This place, as one with `other` if they are equal.
    pub(super) fn shared(self, other: Option<&Arc<Self>>) -> Arc<Self> {
        match other {
            Some(other) if **other == self => other.clone(),
            _ => Arc::new(self),
        }
    }
}

/// The flag by which a child gets a namespace of its own.
fn clone_flag(ty: NsType) -> u64 {
    match ty {
        NsType::Mnt => 0x2_0000,
        NsType::Pid => 0x2000_0000,
        NsType::Net => 0x4000_0000,
        NsType::User => 0x1000_0000,
        NsType::Uts => 0x400_0000,
        NsType::Ipc => 0x800_0000,
        NsType::Cgroup => 0x200_0000,
        NsType::Time => 0x80,
    }
}
