//! What a network is: its subnet, its gateway, and whether it has a way out.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::link::{self, Mac};
use super::{NetworkError, NetworkName};

/// The lengths of prefixes that leave room for a gateway and a container.
const PREFIXES: std::ops::RangeInclusive<u8> = 8..=30;

/// A network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// What it is called.
    pub(crate) name: NetworkName,
    /// Where its containers have their addresses.
    pub(crate) subnet: Ipv4Net,
    /// The host's own address in it.
    pub(crate) gateway: Ipv4Addr,
    /// Whether it ends at the host.
    pub(crate) internal: bool,
}

/// A network as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct NewNetwork {
    pub(crate) name: NetworkName,
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) internal: bool,
}

/// A subnet that somebody has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Taken {
    pub(crate) subnet: Ipv4Net,
    /// The network whose it is; the host's own if there is none.
    pub(crate) network: Option<NetworkName>,
}

impl Definition {
    /// Makes a network of what is asked for: in a subnet of its own.
    pub(super) fn new(new: NewNetwork, taken: &[Taken]) -> Result<Self, NetworkError> {
        let NewNetwork { name, subnet, gateway, internal } = new;
        let subnet = match subnet {
            Some(subnet) => checked(subnet, taken)?,
            None => free(taken).ok_or(NetworkError::NoSubnet)?,
        };
        let gateway = match gateway {
            Some(gateway) if is_host(gateway, subnet) => gateway,
            Some(gateway) => return Err(NetworkError::Gateway { gateway, subnet }),
            None => subnet.hosts().next().ok_or(NetworkError::Prefix)?,
        };
        Ok(Self { name, subnet, gateway, internal })
    }

    /// The device that connects its containers.
    pub(crate) fn bridge(&self) -> String {
        link::bridge_name(self.name.as_str())
    }

    /// The bridge's address on the wire.
    pub(super) fn mac(&self) -> Mac {
        Mac::of(self.gateway)
    }
}

/// Whether an address can be somebody's in a subnet.
pub(super) fn is_host(address: Ipv4Addr, subnet: Ipv4Net) -> bool {
    subnet.contains(&address) && address != subnet.network() && address != subnet.broadcast()
}

/// A subnet that is asked for.
fn checked(subnet: Ipv4Net, taken: &[Taken]) -> Result<Ipv4Net, NetworkError> {
    if !PREFIXES.contains(&subnet.prefix_len()) {
        return Err(NetworkError::Prefix);
    }
    if subnet.trunc() != subnet {
        return Err(NetworkError::HostBits { subnet, meant: subnet.trunc() });
    }
    let first = subnet.network();
    let is_special = first.is_loopback()
        || first.is_link_local()
        || first.octets().first().is_none_or(|&octet| octet == 0 || octet >= 224);
    if is_special {
        return Err(NetworkError::Special(subnet));
    }
    match taken.iter().find(|taken| overlap(taken.subnet, subnet)) {
        Some(taken) => Err(NetworkError::Overlap { subnet, taken: taken.clone() }),
        None => Ok(subnet),
    }
}

/// The first of those that Docker takes as well.
fn free(taken: &[Taken]) -> Option<Ipv4Net> {
    let large = (18..32).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|part| (Ipv4Addr::new(192, 168, part * 16, 0), 20));
    large
        .chain(small)
        .filter_map(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .find(|&subnet| !taken.iter().any(|taken| overlap(taken.subnet, subnet)))
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(subnet: Option<&str>, gateway: Option<&str>) -> NewNetwork {
        NewNetwork {
            name: "a".parse().unwrap(),
            subnet: subnet.map(|subnet| subnet.parse().unwrap()),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            internal: false,
        }
    }

    fn taken(subnet: &str) -> Taken {
        Taken { subnet: subnet.parse().unwrap(), network: None }
    }

    fn subnet(new: NewNetwork, taken: &[Taken]) -> Result<String, NetworkError> {
        Definition::new(new, taken).map(|network| network.subnet.to_string())
    }

    #[test]
    fn a_free_subnet_is_chosen() {
        assert_eq!(subnet(new(None, None), &[]).unwrap(), "172.18.0.0/16");
        let some = [taken("172.18.5.0/24"), taken("172.19.0.0/16"), taken("0.0.0.0/32")];
        assert_eq!(subnet(new(None, None), &some).unwrap(), "172.20.0.0/16");
        let large = [taken("172.16.0.0/12")];
        assert_eq!(subnet(new(None, None), &large).unwrap(), "192.168.0.0/20");
        let all = [taken("172.16.0.0/12"), taken("192.168.0.0/16")];
        assert!(matches!(subnet(new(None, None), &all), Err(NetworkError::NoSubnet)));
    }

    #[test]
    fn a_subnet_that_is_asked_for_is_nobody_elses() {
        let network = Definition::new(new(Some("10.5.0.0/24"), None), &[]).unwrap();
        assert_eq!(network.gateway, Ipv4Addr::new(10, 5, 0, 1));
        for other in ["10.0.0.0/8", "10.5.0.0/24", "10.5.0.128/25", "10.5.0.7/32"] {
            let error = subnet(new(Some("10.5.0.0/24"), None), &[taken(other)]).unwrap_err();
            assert!(error.to_string().contains(other), "{error}");
        }
        assert!(subnet(new(Some("10.5.0.0/24"), None), &[taken("10.5.1.0/24")]).is_ok());
        for (bad, part) in [
            ("10.5.0.1/24", "10.5.0.0/24"),
            ("10.5.0.0/31", "30"),
            ("0.0.0.0/0", "30"),
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("169.254.0.0/16", "169.254.0.0/16"),
            ("224.0.0.0/8", "224.0.0.0/8"),
            ("0.0.0.0/8", "0.0.0.0/8"),
        ] {
            let error = subnet(new(Some(bad), None), &[]).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn a_gateway_is_within_the_subnet() {
        let gateway = |gateway| Definition::new(new(Some("10.5.0.0/30"), Some(gateway)), &[]);
        assert_eq!(gateway("10.5.0.2").unwrap().gateway, Ipv4Addr::new(10, 5, 0, 2));
        for bad in ["10.5.0.0", "10.5.0.3", "10.5.0.4"] {
            assert!(matches!(gateway(bad), Err(NetworkError::Gateway { .. })), "{bad}");
        }
    }
}
