//! The runtimes that can be asked.

use crate::context::cgroup_path::Runtime;

/// A runtime with a socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// Over CRI, which shows the containers of Kubernetes only.
    Containerd,
    /// Over CRI.
    CriO,
    /// Docker Engine.
    Docker,
    /// Over the Docker-compatible part of its interface.
    Podman,
}

/// How a socket is spoken to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Protocol {
    /// The Container Runtime Interface of Kubernetes, version 1.
    Cri,
    /// The interface of Docker Engine, which Podman has too.
    Docker,
}

impl Family {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Containerd, Self::CriO, Self::Docker, Self::Podman];

    /// As in `cgroup_path::Runtime`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Whether it may know a container that a cgroup's path says is of `runtime`.
    pub(crate) fn serves(self, runtime: Runtime) -> bool {
        match runtime {
            Runtime::Containerd => self == Self::Containerd,
            Runtime::CriO => self == Self::CriO,
            Runtime::Docker => self == Self::Docker,
            Runtime::Podman => self == Self::Podman,
            Runtime::Kata => matches!(self, Self::Containerd | Self::CriO),
            Runtime::Unknown => true,
            Runtime::BuildKit
            | Runtime::LibvirtLxc
            | Runtime::Lxc
            | Runtime::Shrike
            | Runtime::SystemdNspawn => false,
        }
    }

    /// Its place in a table.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Containerd => 0,
            Self::CriO => 1,
            Self::Docker => 2,
            Self::Podman => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place() {
        let places: Vec<_> = Family::ALL.into_iter().map(Family::index).collect();
        assert_eq!(places, [0, 1, 2, 3]);
    }

    #[test]
    fn whom_to_ask_is_told_by_the_path() {
        let served = |runtime| {
            Family::ALL.into_iter().filter(|family| family.serves(runtime)).collect::<Vec<_>>()
        };
        assert_eq!(served(Runtime::Docker), [Family::Docker]);
        assert_eq!(served(Runtime::Kata), [Family::Containerd, Family::CriO]);
        assert_eq!(served(Runtime::Unknown), Family::ALL);
        assert_eq!(served(Runtime::Shrike), []);
    }
}
