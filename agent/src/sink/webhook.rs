//! Posts each alert to an HTTP server, as JSON in Falco's shape. What the server cannot take now is
//! tried again; what it does not want is not.

use std::error::Error as StdError;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Inbox;
use super::backoff::Backoff;
use super::resolver::Resolver;
use crate::config::WebhookUrl;
use crate::metrics::AlertLoss;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(5);

/// How long an alert is tried for, before it makes room for newer ones.
const PATIENCE: Duration = Duration::from_mins(5);

/// The most of an answer that is read.
const ANSWER: usize = 64 << 10;

/// How much of it is shown.
const EXCERPT: usize = 200;

/// Starts posting alerts to `url` until the queue is closed.
pub(super) fn start(inbox: Inbox, url: &WebhookUrl) -> anyhow::Result<JoinHandle<()>> {
    let mut http = HttpConnector::new_with_resolver(Resolver::default());
    http.set_connect_timeout(Some(TRY));
    http.enforce_http(false);
    let client = Client::builder(TokioExecutor::new());
    Ok(if url.is_https() {
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("cannot load this host's CA certificates")?
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        tokio::spawn(Webhook::new(client.build(https), url).run(inbox))
    } else {
        tokio::spawn(Webhook::new(client.build(http), url).run(inbox))
    })
}

struct Webhook<C> {
    client: Client<C, Full<Bytes>>,
    url: WebhookUrl,
    /// Whether the last try failed: the log tells of changes only.
    failing: bool,
}

/// What came of one try.
enum Outcome {
    Delivered,
    /// The receiver does not want this alert.
    Rejected(String),
    /// Later it may work; the receiver may have said when.
    Failed {
        reason: String,
        retry_after: Option<Duration>,
    },
}

impl<C: Connect + Clone + Send + Sync + 'static> Webhook<C> {
    fn new(client: Client<C, Full<Bytes>>, url: &WebhookUrl) -> Self {
        Self { client, url: url.clone(), failing: false }
    }

    async fn run(mut self, mut inbox: Inbox) {
        while let Some(alert) = inbox.receiver.recv().await {
            self.deliver(&inbox, Bytes::from(alert.to_json())).await;
        }
    }

    /// Tries until the alert is delivered, refused, or too old.
    async fn deliver(&mut self, inbox: &Inbox, body: Bytes) {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let outcome = self.post(body.clone()).await;
            inbox.metrics.delivery(&inbox.name, matches!(outcome, Outcome::Delivered));
            match outcome {
                Outcome::Delivered => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("webhook {} works again", self.url);
                    }
                    return inbox.done();
                }
                Outcome::Rejected(answer) => {
                    tracing::warn!("webhook {} rejected an alert: {answer}", self.url);
                    return inbox.lost(AlertLoss::Rejected);
                }
                Outcome::Failed { reason, retry_after } => {
                    let wait = backoff.next(retry_after);
                    if !std::mem::replace(&mut self.failing, true) {
                        let waiting = inbox.depth.get();
                        let url = &self.url;
                        tracing::warn!("webhook {url}: {reason}; trying again, {waiting} waiting");
                    }
                    if start.elapsed() + wait > PATIENCE {
                        return inbox.lost(AlertLoss::RetriesExhausted);
                    }
                    sleep(wait).await;
                }
            }
        }
    }

    async fn post(&self, body: Bytes) -> Outcome {
        let request = Request::post(self.url.uri())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("shrike/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::Rejected(error.to_string()),
        };
        match timeout(TRY, self.client.request(request)).await {
            Err(_) => failed(format!("no answer within {} s", TRY.as_secs())),
            Ok(Err(error)) => failed(innermost(&error)),
            Ok(Ok(response)) => judge(response).await,
        }
    }
}

fn failed(reason: String) -> Outcome {
    Outcome::Failed { reason, retry_after: None }
}

/// What an answer means: anything that may pass is tried again.
async fn judge(response: Response<Incoming>) -> Outcome {
    const PASSING: [StatusCode; 2] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    let status = response.status();
    if status.is_success() {
        return Outcome::Delivered;
    }
    if status.is_server_error() || PASSING.contains(&status) {
        let asked = response.headers().get(RETRY_AFTER);
        let retry_after =
            asked.and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        return Outcome::Failed { reason: format!("it answered {status}"), retry_after };
    }
    let body = timeout(TRY, Limited::new(response.into_body(), ANSWER).collect()).await;
    let excerpt = match body {
        Ok(Ok(body)) => excerpt(&body.to_bytes()),
        _ => String::new(),
    };
    Outcome::Rejected(format!("{status} {excerpt}").trim_end().to_owned())
}

fn excerpt(body: &[u8]) -> String {
    let start = body.get(..EXCERPT).unwrap_or(body);
    shrike_rules::Escaped(start).to_string()
}

/// The cause at the end of the chain: "connection refused" rather than "client error".
fn innermost(error: &dyn StdError) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
