//! Runtimes that are not there, or not as they should be.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::super::cri::message;
use super::super::key::Id;

/// How a runtime behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    Well,
    /// Takes connections, and never answers.
    Hung,
    /// Answers all but questions for one container.
    HungAtContainers,
    /// Answers those with an error.
    RefusingContainers,
    /// Answers questions for images, or for pods, with an error.
    Partly,
    /// Does not offer the interface.
    Unsupported,
    /// Takes its time for each answer.
    Slow(Duration),
    Garbage,
    /// Ends in the middle of an answer to a list.
    Cut,
    /// Answers with 100 MB.
    Huge,
    /// Ends the stream of events at once, and each after it.
    NoEvents,
    /// Lists no container, and tells of the start of one.
    Telling,
    /// The same, as CRI-O.
    TellingAsCriO,
}

/// What is known of a fake.
pub(crate) struct Fake {
    pub(crate) manner: Mutex<Manner>,
    containers: Mutex<BTreeMap<String, String>>,
    listeners: Mutex<Vec<UnixStream>>,
    connections: Mutex<Vec<UnixStream>>,
    pub(crate) requests: AtomicUsize,
    path: PathBuf,
}

impl Fake {
    /// Serves Docker's interface at `path`.
    pub(crate) fn docker(path: &Path, manner: Manner) -> Arc<Self> {
        let fake = Arc::new(Self {
            manner: Mutex::new(manner),
            containers: Mutex::default(),
            listeners: Mutex::default(),
            connections: Mutex::default(),
            requests: AtomicUsize::new(0),
            path: path.to_owned(),
        });
        let listener = UnixListener::bind(path).unwrap();
        let own = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if !own.path.exists() {
                    return;
                }
                own.connections.lock().unwrap().push(stream.try_clone().unwrap());
                let own = own.clone();
                // A client that went away is no error.
                thread::spawn(move || own.serve(stream).unwrap_or_default());
            }
        });
        fake
    }

    /// Ends as if killed: connections break, and the socket is gone.
    pub(crate) fn kill(&self) {
        fs::remove_file(&self.path).unwrap();
        for stream in self.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.listeners.lock().unwrap().clear();
    }

    /// Has a container, without a word.
    pub(crate) fn add(&self, id: Id, name: &str) {
        self.containers.lock().unwrap().insert(id.to_string(), name.to_owned());
    }

    pub(crate) fn remove(&self, id: Id) {
        self.containers.lock().unwrap().remove(&id.to_string());
    }

    /// Tells of an event.
    pub(crate) fn tell(&self, action: &str, id: Id) {
        let event =
            json!({ "Type": "container", "Action": action, "Actor": { "ID": id.to_string() } });
        for stream in self.listeners.lock().unwrap().iter_mut() {
            let line = format!("{event}\n");
            let _ = write!(stream, "{:x}\r\n{line}\r\n", line.len());
        }
    }

    /// How many clients follow its events.
    pub(crate) fn followers(&self) -> usize {
        self.listeners.lock().unwrap().len()
    }

    /// Ends the streams of events, in order.
    pub(crate) fn end_events(&self) {
        for mut stream in self.listeners.lock().unwrap().drain(..) {
            let _ = stream.write_all(b"0\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let manner = *self.manner.lock().unwrap();
        let is_container = path.starts_with("/containers/") && path != "/containers/json";
        match manner {
            Manner::Hung => return wait(stream),
            Manner::HungAtContainers if is_container => return wait(stream),
            Manner::RefusingContainers if is_container => return refuse(stream, 500),
            Manner::Partly if path.starts_with("/images/") => return refuse(stream, 500),
            Manner::Unsupported => return refuse(stream, 404),
            Manner::Slow(time) => thread::sleep(time),
            Manner::Garbage => return stream.write_all(&[0xff; 4096]),
            Manner::Huge if path == "/containers/json" => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n[")?;
                let spaces = vec![b' '; 1 << 20];
                return (0..100).try_for_each(|_| stream.write_all(&spaces));
            }
            Manner::Cut if path == "/containers/json" => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{{")?;
                return stream.shutdown(Shutdown::Both);
            }
            _ => {}
        }
        if path.starts_with("/events") {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            if manner == Manner::NoEvents {
                return stream.write_all(b"0\r\n\r\n");
            }
            self.listeners.lock().unwrap().push(stream);
            return Ok(());
        }
        let (status, body) = self.answer(&path);
        let length = body.len();
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    fn answer(&self, path: &str) -> (u16, String) {
        let containers = self.containers.lock().unwrap();
        if path == "/version" {
            return (200, json!({ "Version": "1", "Components": null }).to_string());
        }
        if path == "/containers/json" {
            let list: Vec<_> = containers.keys().map(|id| json!({ "Id": id })).collect();
            return (200, json!(list).to_string());
        }
        if path.starts_with("/images/") {
            return (200, json!({ "RepoDigests": ["base@sha256:7"] }).to_string());
        }
        let asked = path.strip_prefix("/containers/").and_then(|path| path.strip_suffix("/json"));
        let found = asked.and_then(|asked| {
            // As Docker does: by id, then by name.
            let named = || containers.iter().find(|(_, name)| *name == asked);
            containers.get_key_value(asked).or_else(named)
        });
        match found {
            Some((id, name)) => {
                let state = json!({ "Pid": 7, "StartedAt": "2026-11-30T10:00:00Z" });
                let config = json!({ "Image": "base:1", "Labels": { "l": "v" } });
                let name = format!("/{name}");
                (
                    200,
                    json!({
                        "Id": id, "Name": name, "State": state, "Config": config,
                        "Image": "sha256:9",
                    })
                    .to_string(),
                )
            }
            None => (404, json!({ "message": "no such container" }).to_string()),
        }
    }
}

/// Answers with an error.
fn refuse(mut stream: UnixStream, status: u16) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}")
}

/// Keeps a connection until the client gives up.
fn wait(mut stream: UnixStream) -> std::io::Result<()> {
    stream.read(&mut [0; 1]).map(|_| ())
}

/// A server of CRI; ends as if killed when dropped.
pub(crate) struct Cri {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Cri {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Serves CRI at `path`, with one pod of one container, from a thread of its own.
pub(crate) fn cri(path: &Path, sandbox: Id, container: Id, manner: Manner) -> Cri {
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            tokio::select! {
                () = accept(listener, sandbox, container, manner) => {}
                _ = stopped => {}
            }
        });
    });
    Cri { path: path.to_owned(), stop: Some(stop), thread: Some(thread) }
}

async fn accept(listener: tokio::net::UnixListener, sandbox: Id, container: Id, manner: Manner) {
    while let Ok((mut stream, _)) = listener.accept().await {
        if manner == Manner::Garbage {
            tokio::spawn(async move {
                stream.write_all(&[0xff; 4096]).await.unwrap_or_default();
                std::future::pending::<()>().await;
            });
            continue;
        }
        let service = service_fn(move |request: Request<Incoming>| async move {
            Ok::<_, Infallible>(grpc(request, sandbox, container, manner).await)
        });
        let server = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

/// A body of frames that are there already.
struct Frames {
    frames: std::vec::IntoIter<Frame<Bytes>>,
    /// Whether there is no end to it.
    is_endless: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.next() {
            None if self.is_endless => Poll::Pending,
            frame => Poll::Ready(frame.map(Ok)),
        }
    }
}

async fn grpc(
    request: Request<Incoming>,
    sandbox: Id,
    container: Id,
    manner: Manner,
) -> Response<Frames> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = body.slice(5..);
    match manner {
        Manner::Hung => std::future::pending().await,
        Manner::Slow(time) => tokio::time::sleep(time).await,
        _ => {}
    }
    let listed = |id: Id| vec![message::Listed { id: id.to_string() }];
    let answer = match method.as_str() {
        "Version" => message::VersionResponse {
            runtime_name: if manner == Manner::TellingAsCriO { "cri-o" } else { "containerd" }
                .to_owned(),
            runtime_version: "1".to_owned(),
        }
        .encode_to_vec(),
        "ListPodSandbox" => {
            message::ListPodSandboxResponse { items: listed(sandbox) }.encode_to_vec()
        }
        "ListContainers" if manner == Manner::Huge => {
            // The head of a message of 100 MB.
            let head = [&[0][..], &104_857_600_u32.to_be_bytes(), &[0; 64]].concat();
            return frames(Some(head.into()), 0);
        }
        "ListContainers" if matches!(manner, Manner::Telling | Manner::TellingAsCriO) => Vec::new(),
        "Subscribe" if manner == Manner::Telling => {
            let start = message::TaskStart { container_id: container.to_string() };
            let event = Some(message::Any { value: start.encode_to_vec() });
            let envelope = message::Envelope { topic: "/tasks/start".to_owned(), event };
            let data = vec![Frame::data(framed(&envelope.encode_to_vec()))];
            return respond(Frames { frames: data.into_iter(), is_endless: true });
        }
        "GetContainerEvents" if manner == Manner::TellingAsCriO => {
            let started = message::ContainerEventResponse {
                container_id: container.to_string(),
                container_event_type: 1,
            };
            let data = vec![Frame::data(framed(&started.encode_to_vec()))];
            return respond(Frames { frames: data.into_iter(), is_endless: true });
        }
        "ListContainers" => {
            message::ListContainersResponse { containers: listed(container) }.encode_to_vec()
        }
        "ContainerStatus" => {
            let asked = message::ContainerStatusRequest::decode(body).unwrap();
            if asked.container_id != container.to_string() || !asked.verbose {
                return frames(None, 5);
            }
            status(sandbox).encode_to_vec()
        }
        "PodSandboxStatus" => {
            let asked = message::PodSandboxStatusRequest::decode(body).unwrap();
            if manner == Manner::Partly {
                return frames(None, 2);
            }
            if asked.pod_sandbox_id != sandbox.to_string() {
                return frames(None, 5);
            }
            pod().encode_to_vec()
        }
        _ => return frames(None, 12),
    };
    frames(Some(framed(&answer)), 0)
}

/// A message as gRPC has it.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

fn frames(data: Option<Bytes>, status: u16) -> Response<Frames> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    let all: Vec<_> =
        data.map(Frame::data).into_iter().chain([Frame::trailers(trailers)]).collect();
    respond(Frames { frames: all.into_iter(), is_endless: false })
}

fn respond(body: Frames) -> Response<Frames> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn status(sandbox: Id) -> message::ContainerStatusResponse {
    let info = json!({ "sandboxID": sandbox.to_string(), "pid": 42,
        "config": { "image": { "user_specified_image": "nginx:1" },
            "linux": { "security_context": { "privileged": true } } } });
    message::ContainerStatusResponse {
        status: Some(message::ContainerStatus {
            metadata: Some(message::ContainerMetadata { name: "web".to_owned(), attempt: 3 }),
            started_at: 2_000_000_000,
            image: Some(message::ImageSpec {
                image: "docker.io/library/nginx:2".to_owned(),
                ..Default::default()
            }),
            image_ref: "docker.io/library/nginx@sha256:7".to_owned(),
            image_id: "sha256:9".to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            mounts: vec![message::Mount {
                container_path: "/data".to_owned(),
                host_path: "/var/data".to_owned(),
                readonly: true,
                propagation: 1,
            }],
        }),
        info: [("info".to_owned(), info.to_string())].into(),
    }
}

fn pod() -> message::PodSandboxStatusResponse {
    let options = message::NamespaceOption { network: message::NODE, pid: 1, ipc: 0 };
    let namespaces = message::Namespace { options: Some(options) };
    message::PodSandboxStatusResponse {
        status: Some(message::PodSandboxStatus {
            metadata: Some(message::PodSandboxMetadata {
                name: "cart".to_owned(),
                uid: "u-1".to_owned(),
                namespace: "shop".to_owned(),
            }),
            created_at: 1_000_000_000,
            linux: Some(message::LinuxPodSandboxStatus { namespaces: Some(namespaces) }),
            labels: [("app".to_owned(), "cart".to_owned())].into(),
        }),
        info: [("info".to_owned(), r#"{"pid":41,"config":{"linux":{}}}"#.to_owned())].into(),
    }
}
