//! Sockets, made and connected.

#![allow(clippy::unnecessary_wraps, reason = "all deeds have one signature")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::Result;
use serde_json::{Value, json};

use super::call::{call, compat, low};
use super::{Done, Scene, done};

fn stream(family: i32) -> i64 {
    call!(SYS_socket, family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)
}

/// `struct sockaddr_in`.
fn v4(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let family = u16::try_from(libc::AF_INET).expect("a small number");
    [&family.to_ne_bytes()[..], &port.to_be_bytes(), &address.octets(), &[0; 8]].concat()
}

/// `struct sockaddr_un`.
fn unix(name: &[u8]) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).expect("a small number");
    [&family.to_ne_bytes()[..], name].concat()
}

/// What is told of a stream that has no address of its own yet.
fn ip(family: i32, address: &str, port: u16) -> Value {
    json!({
        "family": family,
        "socket_type": libc::SOCK_STREAM,
        "port": port,
        "protocol": libc::IPPROTO_TCP,
        "address": address,
        "own_address": if family == libc::AF_INET { "0.0.0.0" } else { "::" },
        "own_port": 0,
        "path": "",
        "bound": "",
    })
}

fn connect(socket: i64, address: &[u8]) -> i64 {
    call!(SYS_connect, socket, address.as_ptr(), address.len())
}

pub(super) fn connect_tcp(_: &Scene<'_>) -> Result<Done> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let result = connect(stream(libc::AF_INET), &v4(Ipv4Addr::LOCALHOST, port));
    Ok(done("connect", result, false, ip(libc::AF_INET, "127.0.0.1", port)))
}

/// From a port that it has chosen.
pub(super) fn connect_bound(_: &Scene<'_>) -> Result<Done> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let own = socket.local_addr()?;
    let result = connect(socket.as_raw_fd().into(), &v4(Ipv4Addr::LOCALHOST, 9));
    let mut fields = ip(libc::AF_INET, "127.0.0.1", 9);
    fields["socket_type"] = libc::SOCK_DGRAM.into();
    fields["protocol"] = libc::IPPROTO_UDP.into();
    fields["own_address"] = own.ip().to_string().into();
    fields["own_port"] = own.port().into();
    Ok(done("connect", result, false, fields))
}

pub(super) fn connect_v6(_: &Scene<'_>) -> Result<Done> {
    let listener = TcpListener::bind("[::1]:0")?;
    let port = listener.local_addr()?.port();
    let family = u16::try_from(libc::AF_INET6)?;
    let mut one = [0; 16];
    one[15] = 1;
    let address = [&family.to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &one, &[0; 4]].concat();
    let result = connect(stream(libc::AF_INET6), &address);
    Ok(done("connect", result, false, ip(libc::AF_INET6, "::1", port)))
}

pub(super) fn connect_refused(_: &Scene<'_>) -> Result<Done> {
    let result = connect(stream(libc::AF_INET), &v4(Ipv4Addr::LOCALHOST, 9));
    Ok(done("connect", result, false, ip(libc::AF_INET, "127.0.0.1", 9)))
}

/// By the one call for sockets of the 32-bit table.
pub(super) fn connect_compat(_: &Scene<'_>) -> Result<Done> {
    const I386_SOCKETCALL: u32 = 102;
    const SYS_CONNECT: u32 = 3;
    let address = low(&v4(Ipv4Addr::LOCALHOST, 9))?;
    let socket = u32::try_from(stream(libc::AF_INET))?;
    let arguments = [socket, address, 16].map(u32::to_ne_bytes).concat();
    let result = compat(I386_SOCKETCALL, [SYS_CONNECT, low(&arguments)?, 0]);
    let fields = ip(libc::AF_INET, "127.0.0.1", 9);
    Ok(Done { abi: "i386", ..done("socketcall", result, false, fields) })
}

fn unix_fields(socket_type: i32, path: &str, bound: &str) -> Value {
    json!({
        "family": libc::AF_UNIX,
        "socket_type": socket_type,
        "port": 0,
        "protocol": 0,
        "address": "::",
        "own_address": "::",
        "own_port": 0,
        "path": path,
        "bound": bound,
    })
}

pub(super) fn connect_path(scene: &Scene<'_>) -> Result<Done> {
    let path = scene.dir.join("socket");
    let listener = UnixListener::bind(&path)?;
    let result = connect(stream(libc::AF_UNIX), &unix(scene.path("socket")?.as_bytes_with_nul()));
    drop(listener);
    fs::remove_file(&path)?;
    // The kernel keeps the name with its end.
    let bound = json!([scene.text("socket")]);
    let mut fields = unix_fields(libc::SOCK_STREAM, &scene.text("socket"), "");
    fields["bound"] = bound;
    Ok(done("connect", result, false, fields))
}

pub(super) fn connect_abstract(_: &Scene<'_>) -> Result<Done> {
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name("marked")?)?;
    let result = connect(stream(libc::AF_UNIX), &unix(b"\0marked"));
    drop(listener);
    Ok(done("connect", result, false, unix_fields(libc::SOCK_STREAM, "", "\0marked")))
}

/// To a socket in a folder that is closed to this user.
pub(super) fn connect_denied(scene: &Scene<'_>) -> Result<Done> {
    let name = scene.path("closed/socket")?;
    let result = connect(stream(libc::AF_UNIX), &unix(name.as_bytes_with_nul()));
    let mut fields = unix_fields(0, "", "");
    fields["bound"] = json!([scene.text("closed/socket")]);
    Ok(done("connect", result, true, fields))
}

fn new_socket(family: i32, ty: i32, protocol: i32, raw: bool) -> Result<Done> {
    let result = call!(SYS_socket, family, ty | libc::SOCK_CLOEXEC, protocol);
    let fields = json!({ "family": family, "socket_type": ty, "protocol": protocol });
    Ok(done("socket", result, raw, fields))
}

pub(super) fn socket(_: &Scene<'_>) -> Result<Done> {
    new_socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP, false)
}

pub(super) fn socket_raw(_: &Scene<'_>) -> Result<Done> {
    new_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, false)
}

pub(super) fn socket_unknown(_: &Scene<'_>) -> Result<Done> {
    new_socket(1000, libc::SOCK_STREAM, 0, true)
}
