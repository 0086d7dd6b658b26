//! What a runtime says of a container, of bounded size whatever that is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::family::Family;
use super::image::Image;
use super::key::Id;

/// The most bytes of one text: the longest key of a label in Kubernetes has 317.
const TEXT: usize = 512;

/// The most bytes of all texts of a container, and of the list entries that hold them.
const ALL: usize = 16 << 10;

/// What one entry of a list costs beside its texts.
const ENTRY: usize = 64;

/// What a runtime says of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Details {
    /// Who says it.
    pub(crate) family: Family,
    /// The name that people gave it; in a pod, that of the container within the pod.
    pub(crate) name: String,
    /// What it was made from.
    pub(crate) image: Image,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// What was asked to be mounted into it; not what each container has, as `/proc`.
    pub(crate) mounts: Vec<Mount>,
    /// Whether it was asked to be privileged, if the runtime tells.
    pub(crate) privileged: Option<bool>,
    /// When its first process was started.
    pub(crate) started: Option<Timestamp>,
    /// How often it was started again. In a pod each time is a container of its own.
    pub(crate) restarts: u32,
    /// The namespaces of the host that it was given.
    pub(crate) host: HostNamespaces,
    /// The pod of Kubernetes that it is in.
    pub(crate) pod: Option<Arc<Pod>>,
    /// The account of Kubernetes that its token is of: see `service_account`.
    pub(crate) service_account: Option<String>,
    /// The sandbox that it is in; its own id if it is one.
    pub(crate) sandbox: Option<Id>,
    /// Whether it is the sandbox of a pod, not one of its containers.
    pub(crate) is_sandbox: bool,
    /// Whether something was left out or cut because there was too much.
    pub(crate) is_cut: bool,
}

/// A mount that a container was asked to have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mount {
    /// The path on the host.
    pub(crate) source: String,
    /// The path in the container.
    pub(crate) destination: String,
    /// Options, as the user gave them.
    pub(crate) mode: String,
    /// Whether it can be written to.
    pub(crate) is_writable: bool,
    /// `private`, `rslave`, …, as mount(8) has it.
    pub(crate) propagation: String,
}

/// Which namespaces a container shares with the host; `None` if the runtime does not tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct HostNamespaces {
    /// That of the network.
    pub(crate) network: Option<bool>,
    /// That of processes.
    pub(crate) pid: Option<bool>,
    /// That of System V's and POSIX's interprocess communication.
    pub(crate) ipc: Option<bool>,
}

/// A pod of Kubernetes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace in Kubernetes.
    pub(crate) namespace: String,
    /// Its uid, as the API server or the kubelet gave it.
    pub(crate) uid: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// How much more may be kept of what a runtime says of a container.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    is_cut: bool,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { left: ALL, is_cut: false }
    }

    /// Whether something did not fit.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// As much of a text as there is room for.
    pub(super) fn text(&mut self, text: &str) -> String {
        let end = text.floor_char_boundary(TEXT.min(self.left));
        let (kept, cut) = text.split_at_checked(end).unwrap_or((text, ""));
        self.left -= kept.len();
        self.is_cut |= !cut.is_empty();
        kept.to_owned()
    }

    /// As many entries as there is room for.
    pub(super) fn list<T, K>(
        &mut self,
        entries: impl IntoIterator<Item = T>,
        mut keep: impl FnMut(&mut Self, T) -> K,
    ) -> Vec<K> {
        let mut kept = Vec::new();
        for entry in entries {
            let Some(left) = self.left.checked_sub(ENTRY) else {
                self.is_cut = true;
                break;
            };
            self.left = left;
            kept.push(keep(self, entry));
        }
        kept
    }

    /// As many labels as there is room for. A key that would have to be cut is left out.
    pub(super) fn labels<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> BTreeMap<String, String> {
        let labels = self.list(labels, |room, (key, value)| {
            if key.len() > TEXT.min(room.left) {
                room.is_cut = true;
                return None;
            }
            Some((room.text(key), room.text(value)))
        });
        labels.into_iter().flatten().collect()
    }
}

impl Details {
    /// Nothing, of a runtime.
    pub(crate) fn of(family: Family) -> Self {
        Self {
            family,
            name: String::new(),
            image: Image::default(),
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            privileged: None,
            started: None,
            restarts: 0,
            host: HostNamespaces::default(),
            pod: None,
            service_account: None,
            sandbox: None,
            is_sandbox: false,
            is_cut: false,
        }
    }

    /// The image is known by these names with digest too.
    pub(super) fn add_digests(&mut self, names: &[String]) {
        // Its texts were cut before, so that they are of bounded size by themselves.
        let mut room = Room::new();
        self.image = Image::new(&mut room, &self.image.name, names, &self.image.id);
        self.is_cut |= room.is_cut();
    }
}

impl Pod {
    /// What the labels say that a kubelet gives to each container, by which Docker knows pods too.
    pub(super) fn of_labels(room: &mut Room, labels: &BTreeMap<String, String>) -> Option<Self> {
        let mut label = |name: &str| {
            labels.get(&format!("io.kubernetes.pod.{name}")).map(|text| room.text(text))
        };
        Some(Self {
            name: label("name")?,
            namespace: label("namespace")?,
            uid: label("uid")?,
            labels: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let mut room = Room::new();
        assert_eq!(room.text("short"), "short");
        assert!(!room.is_cut());
        let text = room.text(&"é".repeat(TEXT));
        assert_eq!((text.len(), room.is_cut()), (TEXT, true));
        let text = room.text(&format!("a{}", "é".repeat(TEXT)));
        assert_eq!(text.len(), TEXT - 1);
    }

    #[test]
    fn all_of_it_has_a_bound() {
        let mut room = Room::new();
        let labels: BTreeMap<_, _> =
            (0..10_000).map(|n| (format!("key-{n}"), "v".repeat(10_000))).collect();
        let kept = room.labels(&labels);
        let size: usize = kept.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(size <= ALL && room.is_cut(), "{size}");
        assert!(kept.len() > 20);
        let empty = vec![""; 10_000];
        assert!(Room::new().list(empty, Room::text).len() <= ALL / ENTRY);
    }

    #[test]
    fn a_key_is_whole_or_absent() {
        let labels = BTreeMap::from([("k".repeat(TEXT + 1), String::new())]);
        let mut room = Room::new();
        assert!(room.labels(&labels).is_empty());
        assert!(room.is_cut());
    }
}
