//! A client of Docker Engine, and of Podman. Each question has a connection of its own: that costs
//! little on a Unix socket, and an answer that never comes hinders no other.

mod lines;
mod message;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use self::lines::Lines;
use self::message::{Container, Event, Listed, Version};
use super::client::Inspected;
use super::details::{Details, HostNamespaces, Mount, Pod, Room};
use super::failure::{Failure, chain, excerpt};
use super::family::Family;
use super::image::Image;
use super::key::Id;
use super::notice::{Notice, Notices};
use super::socket::Socket;

/// The most of an error that is read.
const LARGEST_ERROR: usize = 64 << 10;

/// The containers that run.
const LIST: &str = "/containers/json";

/// Events of containers, `{"type":["container"]}`. Their kinds are not given: Docker and Podman differ
/// in them.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";

/// A runtime at a socket.
#[derive(Debug)]
pub(super) struct Engine {
    socket: Socket,
    family: Family,
    /// The names with digest of images by their id: they change with what is pulled, but the digest of
    /// an id stays.
    images: Mutex<HashMap<String, Arc<[String]>>>,
}

impl Engine {
    /// Asks who is there.
    pub(super) async fn connect(socket: Socket) -> Result<Self, Failure> {
        let engine = Self { socket, family: Family::Docker, images: Mutex::default() };
        let version: Option<Version> = engine.ask("/version").await?;
        let version = version.ok_or(Failure::Unsupported)?;
        // Podman can have Docker's socket.
        let is_podman = version.components.iter().any(|part| part.name.starts_with("Podman"));
        let family = if is_podman { Family::Podman } else { Family::Docker };
        tracing::debug!("{} {}", family.name(), excerpt(&version.version));
        Ok(Self { family, ..engine })
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The containers that run.
    pub(super) async fn list(&self) -> Result<Vec<Id>, Failure> {
        let listed: Option<Vec<Listed>> = self.ask(LIST).await?;
        let listed = listed.ok_or(Failure::Unsupported)?;
        Ok(listed.into_iter().filter_map(|entry| entry.id).collect())
    }

    /// Asks for a container; `None` if there is no such thing.
    pub(super) async fn inspect(&self, id: Id) -> Result<Option<Inspected>, Failure> {
        let answer: Option<Container> = self.ask(&format!("/containers/{id}/json")).await?;
        // Where no container has this id, Docker takes it for a name, or for the start of one.
        let answer = answer.filter(|container| container.id == Some(id));
        let Some(container) = answer else { return Ok(None) };
        // Of what was said no more is left than is kept, however long the next answer takes.
        let mut details = self.details(container);
        let lack = match self.digests(&details.image.id).await {
            Ok(digests) => {
                details.add_digests(&digests);
                None
            }
            Err(failure) => Some(failure),
        };
        Ok(Some(Inspected { details, lack }))
    }

    /// Passes on what the runtime tells of containers, until it stops to.
    pub(super) async fn follow(&self, notices: &Notices) -> Result<(), Failure> {
        let exchange = self.socket.within(Exchange::start(&self.socket));
        let mut exchange = exchange.await?;
        // There is no telling how long it takes: some send the head of the answer with the first event.
        let answer = exchange.send(EVENTS).await?;
        if !answer.status().is_success() {
            return Err(Failure::Unsupported);
        }
        let mut body = answer.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| of_hyper(&error))?;
            if let Some(bytes) = frame.data_ref() {
                lines.push(bytes, |line| tell(notices, line));
            }
        }
        Ok(())
    }

    /// The names with digest of an image.
    async fn digests(&self, image: &str) -> Result<Arc<[String]>, Failure> {
        if let Some(digests) = self.images().get(image) {
            return Ok(digests.clone());
        }
        // It goes into the path of a request.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b':';
        if image.is_empty() || image.len() > 200 || !image.bytes().all(is_plain) {
            return Ok(Arc::default());
        }
        let answer: Option<message::Image> = self.ask(&format!("/images/{image}/json")).await?;
        let mut room = Room::new();
        let digests =
            room.list(answer.unwrap_or_default().repo_digests, |room, name| room.text(&name));
        let digests: Arc<[String]> = digests.into();
        let mut images = self.images();
        if images.len() >= self.socket.limits().images {
            images.clear();
        }
        images.insert(image.to_owned(), digests.clone());
        Ok(digests)
    }

    fn images(&self) -> MutexGuard<'_, HashMap<String, Arc<[String]>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of a container, but for the digest of its image.
    fn details(&self, container: Container) -> Details {
        let Container { id: _, name, image, restart_count, state, host_config, mounts, config } =
            container;
        let mut room = Room::new();
        let name = room.text(name.strip_prefix('/').unwrap_or(&name));
        let image = Image::new(&mut room, &config.image, &[], &image);
        let mounts = room.list(&mounts, |room, mount| Mount {
            source: room.text(&mount.source),
            destination: room.text(&mount.destination),
            mode: room.text(&mount.mode),
            is_writable: mount.is_writable,
            propagation: room.text(&mount.propagation),
        });
        let labels = room.labels(&config.labels);
        let pod = Pod::of_labels(&mut room, &labels).map(Arc::new);
        let is_host = |mode: &Option<String>| mode.as_ref().map(|mode| mode == "host");
        Details {
            family: self.family,
            name,
            image,
            labels,
            mounts,
            privileged: host_config.privileged,
            started: time(&state.started_at),
            restarts: restart_count,
            host: HostNamespaces {
                network: is_host(&host_config.network_mode),
                pid: is_host(&host_config.pid_mode),
                ipc: is_host(&host_config.ipc_mode),
            },
            pod,
            service_account: None,
            sandbox: None,
            is_sandbox: false,
            is_cut: room.is_cut(),
        }
    }

    /// Asks; `None` if what is asked for is not there.
    async fn ask<A: DeserializeOwned>(&self, path: &str) -> Result<Option<A>, Failure> {
        let answer = self.socket.within(async {
            let mut exchange = Exchange::start(&self.socket).await?;
            let answer = exchange.send(path).await?;
            let status = answer.status();
            if status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let limits = self.socket.limits();
            let limit = match status.is_success() {
                true if path == LIST => limits.list,
                true => limits.answer,
                false => LARGEST_ERROR,
            };
            let body = Limited::new(answer.into_body(), limit).collect().await.map_err(of_body)?;
            let body = body.to_bytes();
            if !status.is_success() {
                let text = String::from_utf8_lossy(&body);
                return Err(Failure::Refused(format!("{status} {}", excerpt(&text))));
            }
            Ok(Some(body))
        });
        let Some(body) = answer.await? else { return Ok(None) };
        let garbage = |error: serde_json::Error| Failure::Garbage(excerpt(&error.to_string()));
        serde_json::from_slice(&body).map(Some).map_err(garbage)
    }
}

/// A connection for one question.
struct Exchange {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// Moves the bytes; ended with this.
    _connection: JoinSet<()>,
}

impl Exchange {
    async fn start(socket: &Socket) -> Result<Self, Failure> {
        let stream = socket.connect().await?;
        let mut builder = http1::Builder::new();
        if let Some(buffer) = socket.limits().buffer {
            builder.max_buf_size(buffer);
        }
        let (sender, connection) =
            builder.handshake(stream).await.map_err(|error| of_hyper(&error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            // Whoever waits for the answer is told.
            let _ = connection.await;
        });
        Ok(Self { sender, _connection: tasks })
    }

    async fn send(&mut self, path: &str) -> Result<Response<Incoming>, Failure> {
        let request = Request::get(path)
            .header(HOST, "localhost")
            .header(USER_AGENT, concat!("shrike/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| Failure::Garbage(error.to_string()))?;
        self.sender.send_request(request).await.map_err(|error| of_hyper(&error))
    }
}

/// Passes a line of events on. Kinds that say nothing of what is kept, as those of health checks, and
/// lines of another form are passed over.
fn tell(notices: &Notices, line: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return };
    let Some(id) = Id::parse(event.actor.id.as_bytes()) else { return };
    match event.action.as_str() {
        "create" | "rename" | "restart" | "start" | "update" => notices.tell(Notice::Changed(id)),
        "destroy" | "die" | "died" | "remove" => notices.tell(Notice::Ended(id)),
        _ => {}
    }
}

/// A time as Go writes it; the year 1 is none.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|&time| time > Timestamp::UNIX_EPOCH)
}

fn of_hyper(error: &hyper::Error) -> Failure {
    let told = excerpt(&chain(error));
    if error.is_parse() { Failure::Garbage(told) } else { Failure::Closed(told) }
}

fn of_body(error: Box<dyn StdError + Send + Sync>) -> Failure {
    if error.is::<LengthLimitError>() {
        return Failure::TooLarge;
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => of_hyper(&error),
        Err(error) => Failure::Closed(excerpt(&error.to_string())),
    }
}

#[cfg(test)]
mod tests;
