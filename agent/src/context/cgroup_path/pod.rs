//! The pods of Kubernetes, as the kubelet names their levels in the hierarchy of cgroups
//! (`CgroupName.ToCgroupfs`, `CgroupName.ToSystemd`).

use std::fmt::{self, Write};

use super::{find, is_name};

/// A pod of Kubernetes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pod<'a> {
    /// Which one.
    pub(crate) uid: PodUid<'a>,
    /// Its class of service.
    pub(crate) qos: Qos,
}

/// The uid of a pod: a UUID, or a digest if the pod comes from a file. Shown with the dashes that
/// systemd does not allow in the name of a slice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PodUid<'a>(pub(super) &'a [u8]);

/// A class of service (`v1.PodQOSClass`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Qos {
    BestEffort,
    Burstable,
    Guaranteed,
}

impl<'a> Pod<'a> {
    /// That of `podUID`, which stands below the folder of a class.
    pub(super) fn of_folder(name: &'a [u8], qos: Qos) -> Option<Self> {
        let uid = name.strip_prefix(b"pod").filter(|uid| is_name(uid))?;
        Some(Self { uid: PodUid(uid), qos })
    }

    /// That of `kubepods-CLASS-podUID.slice`, behind whatever the kubelet's own root is called.
    pub(super) fn of_slice(name: &'a [u8]) -> Option<Self> {
        const ALL: &[u8] = b"kubepods-";
        let name = name.strip_suffix(b".slice")?;
        let class = name.get(find(name, ALL)?..)?.strip_prefix(ALL)?;
        let (qos, pod) = if let Some(pod) = class.strip_prefix(b"burstable-") {
            (Qos::Burstable, pod)
        } else if let Some(pod) = class.strip_prefix(b"besteffort-") {
            (Qos::BestEffort, pod)
        } else {
            (Qos::Guaranteed, class)
        };
        Self::of_folder(pod, qos)
    }
}

impl fmt::Display for PodUid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is ASCII.
        let dashed = |&byte: &u8| if byte == b'_' { '-' } else { char::from(byte) };
        self.0.iter().map(dashed).try_for_each(|char| f.write_char(char))
    }
}

impl Qos {
    /// As Kubernetes has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        }
    }
}
