//! A channel of gRPC over a runtime's socket, and what became of it.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower_service::Service;

use super::super::failure::{Failure, chain, excerpt};
use super::super::socket::Socket;

/// The most bytes that a runtime may send without being asked for more.
const WINDOW: u32 = 1 << 20;

/// Connects to a socket.
pub(super) async fn open(socket: &Socket) -> Result<Channel, Failure> {
    // The address is never looked at.
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let connector = Connector(Some(socket.clone()));
    let channel = endpoint.connect_with_connector(connector);
    socket.within(async { channel.await.map_err(|error| of_transport(&error)) }).await
}

/// What gRPC's own words mean.
pub(super) fn of_status(status: &Status) -> Failure {
    let told = excerpt(status.message());
    match status.code() {
        Code::Unimplemented => Failure::Unsupported,
        // Found on this side: the limit above.
        Code::OutOfRange => Failure::TooLarge,
        Code::Internal | Code::DataLoss => Failure::Garbage(told),
        Code::Unavailable | Code::Cancelled => Failure::Closed(told),
        // An error of this side, not an answer.
        Code::Unknown if status.source().is_some() => of_connection(status),
        _ => Failure::Refused(told),
    }
}

/// Connecting goes through layers that hide why it failed.
pub(super) fn of_transport(error: &tonic::transport::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<Failure>() {
            Some(Failure::Impostor { expected, found }) => {
                return Failure::Impostor { expected: *expected, found: *found };
            }
            Some(Failure::Hung(patience)) => return Failure::Hung(*patience),
            Some(Failure::Closed(told)) => return Failure::Closed(told.clone()),
            Some(Failure::Connect(error)) => {
                return Failure::Connect(io::Error::new(error.kind(), error.to_string()));
            }
            _ => cause = error.source(),
        }
    }
    of_connection(error)
}

/// What became of a connection.
fn of_connection(error: &(dyn StdError + 'static)) -> Failure {
    let told = excerpt(&chain(error));
    let mut cause = Some(error);
    while let Some(error) = cause {
        // What this side could not make sense of, as opposed to what the other side or the socket did.
        if error.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library) {
            return Failure::Garbage(told);
        }
        cause = error.source();
    }
    Failure::Closed(told)
}

/// Opens the socket for tonic, once: that a connection broke must not go unnoticed.
struct Connector(Option<Socket>);

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = self.0.take();
        Box::pin(async move {
            match socket {
                Some(socket) => socket.connect().await,
                None => Err(Failure::Closed("connected before".to_owned())),
            }
        })
    }
}
