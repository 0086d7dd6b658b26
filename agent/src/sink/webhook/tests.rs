//! Against a real server on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::alert::tests::alert;
use crate::metrics::Metrics;

/// A server that answers in turn with these statuses and values of `Retry-After`, then with 200.
struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    answers: Vec<(u16, &'static str)>,
    bodies: Vec<String>,
}

impl Server {
    async fn start(answers: &[(u16, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = answers.iter().rev().copied().collect();
        let script = Arc::new(Mutex::new(Script { answers, ..Script::default() }));
        tokio::spawn(Self::serve(listener, script.clone()));
        Self { address, script }
    }

    async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
        while let Ok((stream, _)) = listener.accept().await {
            let script = script.clone();
            let service = service_fn(move |request| Self::answer(request, script.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(
        request: Request<Incoming>,
        script: Arc<Mutex<Script>>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
        let body = request.into_body().collect().await?.to_bytes();
        let mut script = script.lock().unwrap();
        script.bodies.push(String::from_utf8(body.to_vec()).unwrap());
        let (status, retry_after) = script.answers.pop().unwrap_or((200, ""));
        let mut answer = Response::builder().status(status);
        if !retry_after.is_empty() {
            answer = answer.header(RETRY_AFTER, retry_after);
        }
        Ok(answer.body(Full::new(Bytes::from("not\x1b[31m today"))).unwrap())
    }
}

/// Posts one alert to `url` and waits for the webhook's end; returns the metrics.
async fn post(url: &str) -> String {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (sender, receiver) = mpsc::channel(1);
    let depth = metrics.queued("hook");
    depth.inc();
    sender.send(Arc::new(alert("A rule"))).await.unwrap();
    drop(sender);
    let inbox =
        Inbox { name: "hook".into(), receiver, depth: depth.clone(), metrics: metrics.clone() };
    start(inbox, &url.parse().unwrap()).unwrap().await.unwrap();
    assert_eq!(depth.get(), 0, "nothing waits any more");
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

/// The same to a server with these answers; returns the bodies that it got, too.
async fn post_to(answers: &[(u16, &'static str)]) -> (Vec<String>, String) {
    let server = Server::start(answers).await;
    let metrics = post(&format!("http://{}/alerts", server.address)).await;
    let bodies = server.script.lock().unwrap().bodies.clone();
    (bodies, metrics)
}

fn deliveries(outcome: &str, count: u32) -> String {
    format!("shrike_sink_deliveries_total{{outcome=\"{outcome}\",sink=\"hook\"}} {count}\n")
}

fn lost(reason: &str) -> String {
    format!("shrike_alerts_lost_total{{reason=\"{reason}\",sink=\"hook\"}} 1\n")
}

#[tokio::test]
async fn posts_an_alert_as_json() {
    let (bodies, metrics) = post_to(&[]).await;
    let [body] = &bodies[..] else { panic!("{bodies:?}") };
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(json["rule"], "A rule");
    assert!(metrics.contains(&deliveries("delivered", 1)), "{metrics}");
}

#[tokio::test]
async fn tries_the_same_alert_again_when_the_server_is_busy() {
    let (bodies, metrics) = post_to(&[(503, ""), (429, "0"), (500, "")]).await;
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the uuid stays the same");
    assert!(metrics.contains(&deliveries("failed", 3)), "{metrics}");
    assert!(metrics.contains(&deliveries("delivered", 1)), "{metrics}");
}

#[tokio::test]
async fn does_not_insist_when_the_server_refuses() {
    let (bodies, metrics) = post_to(&[(400, "")]).await;
    assert_eq!(bodies.len(), 1);
    assert!(metrics.contains(&lost("rejected")), "{metrics}");
}

#[tokio::test]
async fn shows_what_the_server_said_and_nothing_that_steers_a_terminal() {
    let server = Server::start(&[(404, "")]).await;
    let url: WebhookUrl = format!("http://{}/", server.address).parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let outcome = Webhook::new(client, &url).post(Bytes::new()).await;
    let Outcome::Rejected(answer) = outcome else { panic!("it should have been rejected") };
    assert_eq!(answer, "404 Not Found not\\x1b[31m today");
}

#[tokio::test]
async fn waits_as_long_as_the_server_asks() {
    let server = Server::start(&[(503, "7"), (503, "soon")]).await;
    let url: WebhookUrl = format!("http://{}/", server.address).parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let webhook = Webhook::new(client, &url);
    let mut asked = Vec::new();
    for _ in 0..2 {
        let outcome = webhook.post(Bytes::new()).await;
        let Outcome::Failed { retry_after, .. } = outcome else { panic!("it should have failed") };
        asked.push(retry_after);
    }
    assert_eq!(asked, [Some(Duration::from_secs(7)), None]);
}

#[tokio::test(start_paused = true)]
async fn gives_an_alert_up_when_nobody_listens_for_long() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let metrics = post(&format!("http://{address}/")).await;
    assert!(metrics.contains(&lost("retries_exhausted")), "{metrics}");
}
