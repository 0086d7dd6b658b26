//! Sockets and connections.

use shrike_common::{Address, Kind, Offset, wire};

use crate::kernel::{Pointer, Sock, Socket, offset, read, read_at};
use crate::plan::Wanted;

pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u16 = 2;

/// `sizeof(sa_family_t)`, in front of every address.
pub(crate) const FAMILY: u32 = 2;

/// `security_socket_create`; the kernel's own sockets are not of interest.
#[inline(always)]
pub(crate) fn socket(family: u32, socket_type: u32, protocol: u32, by_kernel: u32) {
    if by_kernel == 0 {
        let Some(wanted) = Wanted::of(Kind::Socket).and_then(|wanted| wanted.class(family)) else {
            return;
        };
        wanted.emit(|_| wire::Socket { family, socket_type, protocol, reserved: 0 });
    }
}

/// `security_socket_connect`: `address` is the kernel's copy. Of Unix sockets, those for datagrams
/// only: the others come to [`unix_connect`].
// Called, not inlined: what it has on the stack does not count beside what a breach takes.
#[inline(never)]
pub(crate) fn connect(socket: Socket, address: Pointer, len: u32) {
    /// Where a port and an address stand behind the family (`struct sockaddr_in`, `sockaddr_in6`).
    const PORT: u64 = 2;
    const V4: u64 = 4;
    const V6: u64 = 8;
    /// The longest name of a Unix socket.
    const NAME: u32 = 108;
    let at = address as u64;
    let family: u16 = read_at(at);
    let ty = socket.ty();
    if family == AF_UNIX && ty != SOCK_DGRAM {
        return;
    }
    let Some(wanted) = Wanted::of(Kind::Connect).and_then(|wanted| wanted.class(family.into()))
    else {
        return;
    };
    wanted.emit(|record| {
        let name = if family == AF_UNIX { len.saturating_sub(FAMILY).min(NAME) } else { 0 };
        let bound = record.kernel(at + u64::from(FAMILY), name);
        let port: u16 = if matches!(family, AF_INET | AF_INET6) { read_at(at + PORT) } else { 0 };
        let sock = socket.sock();
        let is_ip = matches!(family, AF_INET | AF_INET6);
        wire::Connect {
            family: family.into(),
            socket_type: ty.into(),
            port: u16::from_be(port).into(),
            protocol: if is_ip { read::<u16>(sock, Offset::SockProtocol).into() } else { 0 },
            address: match family {
                AF_INET => Address::v4(read_at(at + V4)),
                AF_INET6 => Address(read_at(at + V6)),
                _ => Address::default(),
            },
            own_address: match family {
                AF_INET => Address::v4(read(sock, Offset::SockRcvSaddr)),
                AF_INET6 => Address(read(sock, Offset::SockRcvSaddr6)),
                _ => Address::default(),
            },
            own_port: if is_ip { read::<u16>(sock, Offset::SockNum).into() } else { 0 },
            reserved: 0,
            path: wire::Span::default(),
            bound,
        }
    });
}

/// `security_unix_stream_connect`: the listener was found.
#[inline(always)]
pub(crate) fn unix_connect(listener: Sock) {
    let listener = listener.0 as u64;
    let Some(wanted) = Wanted::of(Kind::Connect).and_then(|wanted| wanted.class(AF_UNIX.into()))
    else {
        return;
    };
    wanted.emit(|record| {
        let address: u64 = read(listener, Offset::UnixAddr);
        let len: u32 = read(address, Offset::UnixAddressLen);
        let name = address + offset(Offset::UnixAddressName) as u64 + u64::from(FAMILY);
        let bound = record.kernel(name, len.saturating_sub(FAMILY));
        let dentry: u64 = read(listener, Offset::UnixPathDentry);
        let mnt: u64 = read(listener, Offset::UnixPathMnt);
        let path = if dentry == 0 { wire::Span::default() } else { record.path_at(dentry, mnt) };
        wire::Connect {
            family: AF_UNIX.into(),
            socket_type: SOCK_STREAM,
            port: 0,
            protocol: 0,
            address: Address::default(),
            own_address: Address::default(),
            own_port: 0,
            reserved: 0,
            path,
            bound,
        }
    });
}
