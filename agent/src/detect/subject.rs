//! Who acted, as rules see it: the process and where it came from, its user, its container.

use std::collections::BTreeMap;

use shrike_common::{ContainerId, Header, Membership, Pid, StartTime, Uid};
use shrike_rules::{FieldId, Value};

use super::{HOST, Sight, process};
use crate::context::cgroup_path;
use crate::context::container::{self, Container};
use crate::context::process::{Process, Standing};
use crate::context::runtime::{Details, Mount, Pod};

/// A field of these; `index` is its argument.
pub(super) fn field<'a>(
    sight: &'a Sight<'_, '_>,
    field: FieldId,
    index: Option<u32>,
) -> Option<Value<'a>> {
    let header = sight.header;
    Some(match field {
        FieldId::UserLoginuid => match sight.ancestor(0)?.standing.loginuid {
            Standing::NOBODY => Value::Number(-1),
            Uid(uid) => uid.into(),
        },
        FieldId::UserLoginname => {
            sight.names.user(ContainerId(0), sight.ancestor(0)?.standing.loginuid)?.into()
        }
        FieldId::ContainerDuration => age(header.time, sight.its_container()?.started?),
        FieldId::UserUid => header.uid.0.into(),
        FieldId::UserEuid => header.euid.0.into(),
        FieldId::UserName => sight.names.user(sight.root(), header.uid)?.into(),
        FieldId::GroupGid => header.gid.0.into(),
        FieldId::GroupName => sight.names.group(sight.root(), header.gid)?.into(),
        FieldId::ContainerMembership => Membership::from_code(header.membership)?.name().into(),
        FieldId::ContainerId | FieldId::ContainerFullId | FieldId::ContainerType
            if sight.is_of_host() =>
        {
            HOST.into()
        }
        FieldId::ContainerId => match sight.its_container() {
            Some(container) => container.short_id().into(),
            None => container::by_number(header.cgroup).into(),
        },
        FieldId::ContainerFullId => match sight.its_container() {
            Some(container) => (*container.id).into(),
            None => container::by_number(header.cgroup).into(),
        },
        FieldId::ContainerType => match sight.its_container() {
            Some(container) => container.runtime.name().into(),
            None => cgroup_path::Runtime::Unknown.name().into(),
        },
        FieldId::ContainerName if sight.is_of_host() => HOST.into(),
        FieldId::ContainerName => match sight.details() {
            Some(details) => text(&details.name)?.into(),
            None => sight.its_container()?.name()?.into(),
        },
        field if field.is_of_runtime() => sight.told()?.field(field, None)?,
        FieldId::ContainerNestedId => {
            let nested = sight.nested()?;
            container::shortened(nested.id).into()
        }
        FieldId::ContainerNestedType => sight.nested()?.runtime.name().into(),
        FieldId::K8sPodUid => (*sight.its_container()?.pod.as_ref()?.uid).into(),
        FieldId::K8sPodQos => sight.its_container()?.pod.as_ref()?.qos.name().into(),
        FieldId::CgroupPath => sight.containers.cgroup(header.cgroup)?.into(),
        FieldId::ContainerNumber => match sight.container() {
            ContainerId(0) => return None,
            container => container.0.into(),
        },
        FieldId::CgroupId => header.cgroup.0.into(),
        _ => return process::field(sight, field, index),
    })
}

/// A field of these that is asked for by a name.
pub(super) fn named<'a>(sight: &'a Sight<'_, '_>, field: FieldId, name: &str) -> Option<Value<'a>> {
    match field {
        FieldId::ProcEnv => {
            let value =
                |variable: &'a [u8]| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
            sight.ancestor(0)?.environment().find_map(value).map(Value::from)
        }
        field if field.is_of_runtime() => sight.told()?.field(field, Some(name)),
        _ => None,
    }
}

impl Sight<'_, '_> {
    /// Whether a task of the host acts, and not for a container.
    pub(crate) fn is_of_host(&self) -> bool {
        self.container() == ContainerId(0)
            && Membership::from_code(self.header.membership) == Some(Membership::None)
    }

    /// Whether what the runtime of the container has told can be seen; `None` if there is none to be asked.
    pub(crate) fn enriched(&self) -> Option<bool> {
        self.its_container()?.key.filter(|_| self.runtimes.is_some())?;
        Some(self.details().is_some())
    }

    /// What the runtime of the container that the event is about has told of it.
    pub(crate) fn details(&self) -> Option<&Details> {
        let told = || self.its_container()?.details(self.runtimes);
        self.details.get_or_init(told).as_deref()
    }

    /// The same, as far as it can be believed.
    fn told(&self) -> Option<Told<'_>> {
        Some(Told::new(self.its_container()?, self.details()?))
    }

    /// What is known of the container that the event is about.
    pub(crate) fn its_container(&self) -> Option<&Container> {
        self.containers.of(self.header, self.event)
    }

    /// The container within that one whose cgroup the task is in.
    fn nested(&self) -> Option<cgroup_path::Container<'_>> {
        self.its_container()?.nested(self.containers.cgroup(self.header.cgroup)?)
    }

    /// The container whose files say what the task's users are called: a runtime at work has the host's still.
    fn root(&self) -> ContainerId {
        match Membership::from_code(self.header.membership) {
            Some(Membership::Member) => self.header.container,
            _ => ContainerId(0),
        }
    }

    /// The name that the kernel gave at the exec, which no program can choose later. Of a process that nobody has seen,
    /// what the thread is called now.
    pub(super) fn name(&self) -> &[u8] {
        self.ancestor(0).map_or(self.header.comm(), Process::name)
    }

    pub(super) fn session_leader(&self) -> Option<&Process> {
        self.processes.session_leader(self.header.tgid, self.header.start)
    }

    pub(super) fn group_leader(&self) -> Option<&Process> {
        self.processes.group_leader(self.header.tgid, self.header.start)
    }

    pub(super) fn lineage(&self) -> impl Iterator<Item = (Pid, &Process)> {
        self.processes.lineage(self.header.tgid, self.header.start)
    }

    pub(super) fn ancestor(&self, generations: u32) -> Option<&Process> {
        let Header { tgid, start, .. } = *self.header;
        let look_up = || self.processes.ancestor(tgid, start, generations);
        match self.kin.get(generations as usize) {
            Some(known) => *known.get_or_init(look_up),
            None => look_up(),
        }
    }
}

/// What a runtime has told of a container.
pub(crate) struct Told<'a> {
    details: &'a Details,
    /// Its pod, if it can be believed that there is one.
    pod: Option<&'a Pod>,
}

impl<'a> Told<'a> {
    pub(crate) fn new(container: &Container, details: &'a Details) -> Self {
        Self { details, pod: details.pod.as_deref().filter(|_| container.has_pod(details)) }
    }

    /// A field of these; `name` is its argument.
    pub(crate) fn field(&self, field: FieldId, name: Option<&str>) -> Option<Value<'a>> {
        let Self { details, pod } = *self;
        let image = &details.image;
        Some(match field {
            FieldId::ContainerName => text(&details.name)?.into(),
            FieldId::ContainerImage => text(&image.name)?.into(),
            FieldId::ContainerImageRepository => text(&image.repository)?.into(),
            FieldId::ContainerImageTag => text(&image.tag)?.into(),
            FieldId::ContainerImageDigest => text(&image.digest)?.into(),
            FieldId::ContainerImageId => text(&image.id)?.into(),
            FieldId::ContainerPrivileged => details.privileged?.into(),
            FieldId::ContainerStartTs => Value::Number(details.started?.as_nanosecond()),
            FieldId::ContainerLabel => details.labels.get(name?)?.as_str().into(),
            FieldId::ContainerLabels => labels(&details.labels)?.into(),
            FieldId::ContainerMounts => mounts(&details.mounts)?.into(),
            FieldId::ContainerMount => {
                mount_text(mount(&details.mounts, name?, |mount| &mount.source)?).into()
            }
            FieldId::ContainerMountSource => {
                let mount = mount(&details.mounts, name?, |mount| &mount.destination)?;
                mount.source.as_str().into()
            }
            FieldId::ContainerMountDest => {
                let mount = mount(&details.mounts, name?, |mount| &mount.source)?;
                mount.destination.as_str().into()
            }
            FieldId::ContainerMountMode => {
                mount(&details.mounts, name?, |mount| &mount.source)?.mode.as_str().into()
            }
            FieldId::ContainerMountRdwr => {
                let mount = mount(&details.mounts, name?, |mount| &mount.source)?;
                if mount.is_writable { "true" } else { "false" }.into()
            }
            FieldId::ContainerMountPropagation => {
                mount(&details.mounts, name?, |mount| &mount.source)?.propagation.as_str().into()
            }
            FieldId::ContainerHostPid => details.host.pid?.into(),
            FieldId::ContainerHostNetwork => details.host.network?.into(),
            FieldId::ContainerHostIpc => details.host.ipc?.into(),
            FieldId::ContainerRestarts => details.restarts.into(),
            FieldId::K8sPodLabel => pod?.labels.get(name?)?.as_str().into(),
            FieldId::K8sPodLabels => labels(&pod?.labels)?.into(),
            FieldId::K8sPodSandboxId => {
                container::short(&details.sandbox?.to_string()).to_owned().into()
            }
            FieldId::K8sSaName => details.service_account.as_deref()?.into(),
            FieldId::K8sNsName => text(&pod?.namespace)?.into(),
            FieldId::K8sPodName => text(&pod?.name)?.into(),
            _ => return None,
        })
    }
}

/// As Falco writes them.
fn labels(labels: &BTreeMap<String, String>) -> Option<String> {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

/// As Falco writes them.
fn mounts(mounts: &[Mount]) -> Option<String> {
    let mounts: Vec<_> = mounts.iter().map(mount_text).collect();
    (!mounts.is_empty()).then(|| mounts.join(" "))
}

fn mount_text(mount: &Mount) -> String {
    let Mount { source, destination, mode, is_writable, propagation } = mount;
    format!("{source}:{destination}:{mode}:{is_writable}:{propagation}")
}

/// The mount at a place, or the first whose path is of a pattern.
fn mount<'m>(mounts: &'m [Mount], which: &str, path: fn(&Mount) -> &String) -> Option<&'m Mount> {
    match which.parse() {
        Ok(place) => mounts.get::<usize>(place),
        Err(_) => mounts.iter().find(|mount| shrike_rules::is_glob_match(which, path(mount))),
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// How long something is there that has started then.
pub(super) fn age(now: u64, start: StartTime) -> Value<'static> {
    now.saturating_sub(start.0).into()
}
