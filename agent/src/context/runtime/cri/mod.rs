//! A client of the Container Runtime Interface, as containerd and CRI-O serve it.

mod channel;
mod events;
mod info;
pub(super) mod message;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::uri::PathAndQuery;
use jiff::Timestamp;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use self::channel::{of_status, of_transport};
use self::info::Info;
use self::message::{
    CONTAINER_RUNNING, ContainerFilter, ContainerStatusRequest, ContainerStatusResponse,
    ListContainersRequest, ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse,
    NODE, PodSandboxFilter, PodSandboxStatusRequest, PodSandboxStatusResponse, SANDBOX_READY,
    StateValue, VersionRequest, VersionResponse,
};
use super::client::Inspected;
use super::details::{Details, HostNamespaces, Mount, Pod, Room};
use super::failure::{Failure, excerpt};
use super::family::Family;
use super::image::Image;
use super::key::Id;
use super::notice::Notices;
use super::service_account;
use super::socket::Socket;

/// A connection.
#[derive(Debug)]
pub(super) struct Cri {
    channel: Channel,
    socket: Socket,
    family: Family,
    /// Where the host is, if service accounts are looked for.
    accounts: Option<PathBuf>,
    /// What is known of sandboxes, since each of their containers needs it.
    sandboxes: Mutex<HashMap<Id, Sandbox>>,
}

#[derive(Clone, Debug)]
struct Sandbox {
    pod: Arc<Pod>,
    host: HostNamespaces,
    privileged: Option<bool>,
    created: Option<Timestamp>,
    is_cut: bool,
}

impl Cri {
    /// Connects, and asks who is there.
    pub(super) async fn connect(
        socket: Socket,
        accounts: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let channel = channel::open(&socket).await?;
        let sandboxes = Mutex::default();
        let cri = Self { channel, socket, family: Family::Containerd, accounts, sandboxes };
        let request = VersionRequest { version: "v1".to_owned() };
        let answer: Option<VersionResponse> =
            cri.call("/runtime.v1.RuntimeService/Version", request).await?;
        let answer = answer.ok_or(Failure::Unsupported)?;
        let family = match answer.runtime_name.as_str() {
            "containerd" => Family::Containerd,
            "cri-o" => Family::CriO,
            other => return Err(Failure::Garbage(format!("`{}` is unknown", excerpt(other)))),
        };
        tracing::debug!("{} {}", family.name(), excerpt(&answer.runtime_version));
        Ok(Self { family, ..cri })
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The containers that run, and the sandboxes that are ready.
    pub(super) async fn list(&self) -> Result<Vec<Id>, Failure> {
        let state = Some(StateValue { state: SANDBOX_READY });
        let request = ListPodSandboxRequest { filter: Some(PodSandboxFilter { state }) };
        let answer: Option<ListPodSandboxResponse> =
            self.call("/runtime.v1.RuntimeService/ListPodSandbox", request).await?;
        let sandboxes = answer.unwrap_or_default().items;
        let state = Some(StateValue { state: CONTAINER_RUNNING });
        let request = ListContainersRequest { filter: Some(ContainerFilter { state }) };
        let answer: Option<ListContainersResponse> =
            self.call("/runtime.v1.RuntimeService/ListContainers", request).await?;
        let containers = answer.unwrap_or_default().containers;

        let id = |listed: &message::Listed| Id::parse(listed.id.as_bytes());
        let ready: HashSet<Id> = sandboxes.iter().filter_map(id).collect();
        self.sandboxes().retain(|id, _| ready.contains(id));
        Ok(ready.into_iter().chain(containers.iter().filter_map(id)).collect())
    }

    /// Asks for a container or a sandbox; `None` if there is no such thing.
    pub(super) async fn inspect(&self, id: Id) -> Result<Option<Inspected>, Failure> {
        let whole = |sandbox| Inspected { details: self.of_sandbox(id, sandbox), lack: None };
        let known = self.sandboxes().get(&id).cloned();
        if let Some(sandbox) = known {
            return Ok(Some(whole(sandbox)));
        }
        let request = ContainerStatusRequest { container_id: id.to_string(), verbose: true };
        let answer: Option<ContainerStatusResponse> =
            self.call("/runtime.v1.RuntimeService/ContainerStatus", request).await?;
        let Some(answer) = answer else {
            return Ok(self.sandbox(id).await?.map(whole));
        };
        let info = Info::read(&answer.info);
        let (sandbox, lack) = match Id::parse(info.sandbox.as_bytes()) {
            Some(id) => match self.sandbox(id).await {
                Ok(sandbox) => (sandbox.map(|sandbox| (id, sandbox)), None),
                // The container is told of without its pod until that is known.
                Err(failure) => (None, Some(failure)),
            },
            None => (None, None),
        };
        let mut details = self.of_container(answer, &info, sandbox)?;
        details.service_account = self.service_account(&details).await;
        Ok(Some(Inspected { details, lack }))
    }

    /// The account of the pod of a container, if it is asked for and known.
    async fn service_account(&self, details: &Details) -> Option<String> {
        let (host, pod) = (self.accounts.clone()?, details.pod.clone()?);
        let volume = service_account::volume(&pod, &details.mounts)?;
        let read = move || service_account::read(&host, &pod.namespace, &volume);
        let read = self.socket.aside(read).await;
        let account = match read {
            Ok(account) => account.map_err(|failure| failure.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        let name = &details.name;
        account
            .inspect_err(|failure| tracing::debug!("the token of container {name}: {failure}"))
            .ok()
    }

    /// Passes on what the runtime tells of containers, until it stops to.
    pub(super) async fn follow(&self, notices: &Notices) -> Result<(), Failure> {
        match self.family {
            Family::Containerd => events::of_containerd(self, notices).await,
            _ => events::of_cri(self, notices).await,
        }
    }

    /// Calls a method that answers with a stream. Runtimes begin their answer with the first message, so
    /// that nothing can be told from silence.
    async fn stream<Q, A>(&self, method: &'static str, request: Q) -> Result<Streaming<A>, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc(self.socket.limits().message);
        grpc.ready().await.map_err(|error| of_transport(&error))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(method);
        let answer = grpc.server_streaming(Request::new(request), path, codec).await;
        Ok(answer.map_err(|status| of_status(&status))?.into_inner())
    }

    /// Calls a method; `None` if what is asked for is not there.
    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<Option<A>, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let answer = self.socket.within(async {
            let limits = self.socket.limits();
            let limit = if method.contains("/List") { limits.list } else { limits.message };
            let mut grpc = self.grpc(limit);
            grpc.ready().await.map_err(|error| of_transport(&error))?;
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(method);
            match grpc.unary(Request::new(request), path, codec).await {
                Ok(answer) => Ok(Some(answer.into_inner())),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(of_status(&status)),
            }
        });
        answer.await
    }

    /// A caller that takes answers of at most so many bytes.
    fn grpc(&self, limit: usize) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(limit)
    }

    /// What there is to know of a sandbox.
    async fn sandbox(&self, id: Id) -> Result<Option<Sandbox>, Failure> {
        let known = self.sandboxes().get(&id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose: true };
        let answer: Option<PodSandboxStatusResponse> =
            self.call("/runtime.v1.RuntimeService/PodSandboxStatus", request).await?;
        let Some(answer) = answer else { return Ok(None) };
        let sandbox = Sandbox::of(&answer)?;
        let mut sandboxes = self.sandboxes();
        // Those that a list did not have are of a moment.
        if sandboxes.len() >= self.socket.limits().sandboxes {
            sandboxes.clear();
        }
        sandboxes.insert(id, sandbox.clone());
        Ok(Some(sandbox))
    }

    fn sandboxes(&self) -> MutexGuard<'_, HashMap<Id, Sandbox>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_container(
        &self,
        answer: ContainerStatusResponse,
        info: &Info,
        sandbox: Option<(Id, Sandbox)>,
    ) -> Result<Details, Failure> {
        let status = answer.status.ok_or_else(|| Failure::Garbage("no status".to_owned()))?;
        let metadata = status.metadata.unwrap_or_default();
        let spec = status.image.unwrap_or_default();
        let mut room = Room::new();
        let asked = [info.image().unwrap_or_default(), &spec.user_specified_image, &spec.image];
        let image = asked.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let id = if status.image_id.is_empty() { &status.image_ref } else { &status.image_id };
        let image = Image::new(&mut room, image, std::slice::from_ref(&status.image_ref), id);
        let name = room.text(&metadata.name);
        let mounts = room.list(&status.mounts, |room, mount| Mount {
            source: room.text(&mount.host_path),
            destination: room.text(&mount.container_path),
            mode: String::new(),
            is_writable: !mount.readonly,
            propagation: propagation(mount.propagation).to_owned(),
        });
        let labels: BTreeMap<_, _> = status.labels.into_iter().collect();
        let labels = room.labels(&labels);
        let pod = match &sandbox {
            Some((_, sandbox)) => Some(sandbox.pod.clone()),
            None => Pod::of_labels(&mut room, &labels).map(Arc::new),
        };
        let is_pod_cut = sandbox.as_ref().is_some_and(|(_, sandbox)| sandbox.is_cut);
        Ok(Details {
            family: self.family,
            name,
            image,
            labels,
            mounts,
            privileged: info.privileged(),
            started: time(status.started_at),
            restarts: metadata.attempt,
            host: sandbox.as_ref().map(|(_, sandbox)| sandbox.host).unwrap_or_default(),
            pod,
            service_account: None,
            sandbox: sandbox.map(|(id, _)| id),
            is_sandbox: false,
            is_cut: room.is_cut() || is_pod_cut,
        })
    }

    fn of_sandbox(&self, id: Id, sandbox: Sandbox) -> Details {
        let Sandbox { pod, host, privileged, created, is_cut } = sandbox;
        Details {
            family: self.family,
            name: String::new(),
            image: Image::default(),
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            privileged,
            started: created,
            restarts: 0,
            host,
            pod: Some(pod),
            service_account: None,
            sandbox: Some(id),
            is_sandbox: true,
            is_cut,
        }
    }
}

impl Sandbox {
    fn of(answer: &PodSandboxStatusResponse) -> Result<Self, Failure> {
        let status =
            answer.status.as_ref().ok_or_else(|| Failure::Garbage("no status".to_owned()))?;
        let info = Info::read(&answer.info);
        let metadata = status.metadata.clone().unwrap_or_default();
        let mut room = Room::new();
        let labels: BTreeMap<_, _> = status.labels.clone().into_iter().collect();
        let pod = Pod {
            name: room.text(&metadata.name),
            namespace: room.text(&metadata.namespace),
            uid: room.text(&metadata.uid),
            labels: room.labels(&labels),
        };
        let namespaces = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref());
        let host = namespaces.and_then(|namespaces| namespaces.options.as_ref()).map(|options| {
            HostNamespaces {
                network: Some(options.network == NODE),
                pid: Some(options.pid == NODE),
                ipc: Some(options.ipc == NODE),
            }
        });
        Ok(Self {
            pod: Arc::new(pod),
            host: host.unwrap_or_default(),
            privileged: info.privileged(),
            created: time(status.created_at),
            is_cut: room.is_cut(),
        })
    }
}

/// `MountPropagation`, as mount(8) has it.
fn propagation(value: i32) -> &'static str {
    match value {
        0 => "rprivate",
        1 => "rslave",
        2 => "rshared",
        _ => "",
    }
}

/// A time in nanoseconds; CRI has 0 for none.
fn time(nanoseconds: i64) -> Option<Timestamp> {
    if nanoseconds <= 0 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()
}
