//! The test's own webhook receiver: plain HTTP/1.1 over a socket, without the agent's libraries.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Receives POSTs on a port of 127.0.0.1 and answers each with 200.
pub struct Listener {
    address: SocketAddr,
    bodies: Receiver<Value>,
}

impl Listener {
    pub fn start() -> Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").context("bind the listener")?;
        let address = socket.local_addr()?;
        let (sender, bodies) = mpsc::channel();
        thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, &sender));
            }
        });
        Ok(Self { address, bodies })
    }

    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// Waits for a POST whose body fits.
    pub fn expect(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.bodies.recv_timeout(left) {
                Ok(body) if fits(&body) => return Ok(body),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        bail!("no POST with {what} within 10 s")
    }
}

/// Serves one connection until it is closed.
fn serve(stream: TcpStream, bodies: &Sender<Value>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if bodies.send(value).is_err()
            || writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err()
        {
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
