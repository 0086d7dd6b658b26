//! IP networks and the names of ports.

use std::fmt;
use std::net::IpAddr;

/// A network, as an address and the length of its prefix (CIDR).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Of `ADDRESS/PREFIX`, or what is wrong. What is behind the prefix does not matter.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').ok_or("a prefix is missing")?;
        let parsed = address.parse().map_err(|_| format!("invalid address {address}"))?;
        let longest = match parsed {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let length = prefix.parse().ok().filter(|length| *length <= longest);
        let length = length.ok_or_else(|| format!("invalid netmask {prefix}"))?;
        Ok(Self { address: parsed, prefix: length })
    }

    /// The address that it is written with.
    pub(crate) fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether an address is in it: never, if it is of the other family.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (own, other, length) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let difference: u128 = own ^ other;
        // Of no prefix at all, nothing is left.
        difference.checked_shr(length - self.prefix).unwrap_or(0) == 0
    }
}

/// The port that a service has, by the name that IANA gives it: there is no file of services here, and what a rule
/// means must not depend on the node.
pub(crate) fn port_of(service: &str) -> Option<u16> {
    SERVICES.iter().find(|(name, _)| *name == service).map(|(_, port)| *port)
}

const SERVICES: &[(&str, u16)] = &[
    ("amqp", 5672),
    ("amqps", 5671),
    ("bgp", 179),
    ("bootpc", 68),
    ("bootps", 67),
    ("domain", 53),
    ("domain-s", 853),
    ("finger", 79),
    ("ftp", 21),
    ("ftp-data", 20),
    ("ftps", 990),
    ("git", 9418),
    ("gopher", 70),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap2", 143),
    ("imaps", 993),
    ("ipp", 631),
    ("irc", 194),
    ("ircs-u", 6697),
    ("iscsi-target", 3260),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("microsoft-ds", 445),
    ("ms-sql-s", 1433),
    ("mysql", 3306),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("nntp", 119),
    ("ntp", 123),
    ("openvpn", 1194),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("puppet", 8140),
    ("rsync", 873),
    ("rtsp", 554),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("socks", 1080),
    ("ssh", 22),
    ("submission", 587),
    ("submissions", 465),
    ("sunrpc", 111),
    ("syslog", 514),
    ("syslog-tls", 6514),
    ("telnet", 23),
    ("telnets", 992),
    ("tftp", 69),
    ("whois", 43),
    ("x11", 6000),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        for (network, address, has) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/24", "10.1.2.255", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/33", "2001:db8:ffff::1", false),
            ("::ffff:0:0/96", "1.2.3.4", false),
            ("0.0.0.0/0", "::1", false),
        ] {
            let found = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, has, "{address} in {network}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "::1/129", "10.0.0.0/-1", "10.0.0/8", "/8", "x/8"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn services_are_sorted() {
        assert!(SERVICES.is_sorted());
        assert_eq!((port_of("https"), port_of("nosuchsvc")), (Some(443), None));
    }
}
