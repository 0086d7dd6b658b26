//! The names of address families and socket types (`include/linux/socket.h`, `include/linux/net.h`).

use std::net::IpAddr;

/// The families that a connection's address is understood of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    /// `ipv4` or `ipv6`.
    Ip(&'static str),
    /// By path or by abstract name.
    Unix,
    /// Any other.
    Other,
}

impl Family {
    /// The family with this number.
    pub(super) fn of(number: u32) -> Self {
        match i32::try_from(number) {
            Ok(libc::AF_INET) => Self::Ip("ipv4"),
            Ok(libc::AF_INET6) => Self::Ip("ipv6"),
            Ok(libc::AF_UNIX) => Self::Unix,
            _ => Self::Other,
        }
    }
}

/// An address and a port, as in a URL.
pub(super) fn address(ip: IpAddr, port: u32) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// The name of the protocol of an IP socket, as Falco has it; none if it is another one, or not known.
pub(super) fn protocol(number: u32, socket_type: u32) -> Option<&'static str> {
    let is = |value: i32, number: u32| i32::try_from(number) == Ok(value);
    match number {
        _ if is(libc::SOCK_RAW, socket_type) => Some("raw"),
        _ if is(libc::IPPROTO_TCP, number) || is(libc::IPPROTO_MPTCP, number) => Some("tcp"),
        _ if is(libc::IPPROTO_UDP, number) => Some("udp"),
        _ if is(libc::IPPROTO_ICMP, number) || is(libc::IPPROTO_ICMPV6, number) => Some("icmp"),
        _ => None,
    }
}

/// The name of an address family, or its number.
pub(super) fn family(number: u32) -> String {
    let name = FAMILIES.iter().find(|(family, _)| i32::try_from(number) == Ok(*family));
    name.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// The name of a socket type, or its number.
pub(super) fn type_name(number: u32) -> String {
    let name = TYPES.iter().find(|(ty, _)| i32::try_from(number) == Ok(*ty));
    name.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

macro_rules! named {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

static FAMILIES: &[(i32, &str)] = named! {
    AF_UNSPEC AF_UNIX AF_INET AF_AX25 AF_IPX AF_APPLETALK AF_NETROM AF_BRIDGE AF_ATMPVC AF_X25
    AF_INET6 AF_ROSE AF_DECnet AF_NETBEUI AF_SECURITY AF_KEY AF_NETLINK AF_PACKET AF_ASH AF_ECONET
    AF_ATMSVC AF_RDS AF_SNA AF_IRDA AF_PPPOX AF_WANPIPE AF_LLC AF_IB AF_MPLS AF_CAN AF_TIPC
    AF_BLUETOOTH AF_IUCV AF_RXRPC AF_ISDN AF_PHONET AF_IEEE802154 AF_CAIF AF_ALG AF_NFC AF_VSOCK
    AF_XDP
};

static TYPES: &[(i32, &str)] =
    named! { SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!((family(17), family(38)), ("AF_PACKET".to_owned(), "AF_ALG".to_owned()));
        assert_eq!((family(999), type_name(3)), ("999".to_owned(), "SOCK_RAW".to_owned()));
        assert_eq!((Family::of(10), Family::of(1)), (Family::Ip("ipv6"), Family::Unix));
    }
}
