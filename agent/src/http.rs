//! Serves metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::health::Health;
use crate::metrics::Metrics;

/// The most clients at a time; more wait.
const CONNECTIONS: usize = 64;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an earlier agent may still hold the address: one that was killed is gone only when the
/// kernel has detached its probes.
const FAREWELL: Duration = Duration::from_secs(5);

/// The type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is served.
#[derive(Clone)]
pub(crate) struct Server {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Server {
    /// A server of these metrics and this state.
    pub(crate) fn new(metrics: &Arc<Metrics>, health: &Arc<Health>) -> Self {
        Self { metrics: metrics.clone(), health: health.clone() }
    }

    /// Listens at `address` and serves from now on; returns the address with its port. Must be
    /// called within the async runtime.
    pub(crate) async fn start(self, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        let listener = bind(address).await.with_context(|| {
            format!("cannot serve metrics at {address}; choose another address with --metrics")
        })?;
        let address = listener.local_addr().context("cannot tell the address of the server")?;
        tokio::spawn(self.accept(listener));
        Ok(address)
    }

    async fn accept(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        // The semaphore is never closed.
        while let Ok(permit) = room.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.serve(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection to the metrics server: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!("a client of the metrics server went away: {error}");
        }
    }

    fn answer<T>(&self, request: &Request<T>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => match self.metrics.render() {
                Ok(metrics) => answer(StatusCode::OK, METRICS_TYPE, metrics),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            "/healthz" => {
                let stuck = self.health.stuck();
                let reason = |silence: Duration| {
                    format!("the event thread has been stuck for {} s", silence.as_secs())
                };
                state(&stuck.map(reason).into_iter().collect::<Vec<_>>())
            }
            "/readyz" => state(&self.health.reasons()),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
        }
    }
}

/// 200 if there is no reason why not, 503 and the reasons otherwise.
fn state(reasons: &[String]) -> Response<Full<Bytes>> {
    let (status, word) = if reasons.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let body = format!("{}\n", json!({ "status": word, "reasons": reasons }));
    answer(status, "application/json", body.into_bytes())
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + FAREWELL;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn server() -> Server {
        let health = Arc::new(Health::starting("probes", "not attached yet"));
        Server::new(&Arc::new(Metrics::new().unwrap()), &health)
    }

    async fn ask(server: &Server, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let answer = server.answer(&request);
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn tells_why_it_is_not_ready() {
        let server = server();
        let (status, body) = ask(&server, Method::GET, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = json!({ "status": "unavailable", "reasons": ["probes: not attached yet"] });
        assert_eq!(json, expected);
        server.health.met("probes");
        let (status, body) = ask(&server, Method::GET, "/readyz").await;
        assert_eq!((status, body.contains("\"status\":\"ok\"")), (StatusCode::OK, true), "{body}");
    }

    #[tokio::test]
    async fn is_alive_and_knows_its_pages() {
        let server = server();
        let status = async |method, path| ask(&server, method, path).await.0;
        assert_eq!(status(Method::GET, "/healthz").await, StatusCode::OK);
        assert_eq!(status(Method::HEAD, "/metrics").await, StatusCode::OK);
        assert_eq!(status(Method::GET, "/other").await, StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/metrics").await, StatusCode::METHOD_NOT_ALLOWED);
        let (_, metrics) = ask(&server, Method::GET, "/metrics").await;
        assert!(metrics.contains("# TYPE shrike_build_info gauge"), "{metrics}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_one_clear_error() {
        let address = server().start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = server().start(address).await.unwrap_err();
        let expected =
            format!("cannot serve metrics at {address}; choose another address with --metrics");
        assert_eq!(error.to_string(), expected);
    }
}
