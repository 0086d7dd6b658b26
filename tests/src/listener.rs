//! The test's own webhook receiver: HTTP/1.1 over a socket, plain or in TLS, without the agent's
//! libraries.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rcgen::CertifiedKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// Receives POSTs on a port of 127.0.0.1 and answers each with 200.
pub struct Listener {
    address: SocketAddr,
    bodies: Receiver<Post>,
}

/// What somebody posted.
#[derive(Debug)]
pub struct Post {
    pub body: Value,
    pub arrived: SystemTime,
}

/// Somebody whom a certificate speaks for.
pub struct Identity {
    /// The certificate, which signs itself.
    pub pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// A new identity for a host name.
    pub fn of(name: &str) -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([name.to_owned()]).context("make a certificate")?;
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())?;
        Ok(Self { pem: cert.pem(), config: Arc::new(config) })
    }
}

impl Listener {
    pub fn start() -> Result<Self> {
        Self::accept(serve)
    }

    /// A listener that proves to be `identity`.
    pub fn start_tls(identity: &Identity) -> Result<Self> {
        let config = identity.config.clone();
        Self::accept(move |stream, bodies| {
            if let Ok(connection) = ServerConnection::new(config.clone()) {
                serve(StreamOwned::new(connection, stream), bodies);
            }
        })
    }

    fn accept(serve: impl Fn(TcpStream, &Sender<Post>) + Send + Sync + 'static) -> Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").context("bind the listener")?;
        let address = socket.local_addr()?;
        let (sender, bodies) = mpsc::channel();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let (serve, sender) = (serve.clone(), sender.clone());
                thread::spawn(move || serve(stream, &sender));
            }
        });
        Ok(Self { address, bodies })
    }

    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The address under a host name.
    pub fn https_url(&self, host: &str) -> String {
        format!("https://{host}:{}/alerts", self.address.port())
    }

    /// Waits for a POST whose body fits.
    pub fn expect(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        Ok(self.post(what, fits)?.body)
    }

    /// The same, with the time of its arrival.
    pub fn post(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Post> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.bodies.recv_timeout(left) {
                Ok(post) if fits(&post.body) => return Ok(post),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        bail!("no POST with {what} within 10 s")
    }
}

/// Serves one connection until it is closed.
fn serve(stream: impl Read + Write, bodies: &Sender<Post>) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut stream = BufReader::new(stream);
    while let Some(body) = request(&mut stream) {
        let arrived = SystemTime::now();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let answered = stream.get_mut().write_all(OK).and_then(|()| stream.get_mut().flush());
        if bodies.send(Post { body, arrived }).is_err() || answered.is_err() {
            return;
        }
    }
}

/// Reads a request and returns its body.
fn request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
