//! The addresses that containers have in networks, each as long as it runs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::definition::{Definition, is_host};
use super::link::{self, Mac};
use super::{ContainerId, NetworkError, NetworkName};

/// The address of a container in a network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) container: ContainerId,
    pub(super) network: NetworkName,
    /// Which of the container's devices has it.
    pub(super) number: u8,
    pub(super) address: Ipv4Addr,
    /// What the container calls itself.
    pub(super) hostname: String,
}

impl Lease {
    /// The address on the wire.
    pub(super) fn mac(&self) -> Mac {
        Mac::of(self.address)
    }

    /// The container's device.
    pub(super) fn device(&self) -> String {
        format!("eth{}", self.number)
    }

    /// Its end on the host.
    pub(super) fn port(&self) -> String {
        link::port_name(self.container.as_str(), self.number)
    }

    /// What holds up what the container sends by it.
    pub(super) fn queue(&self) -> String {
        link::queue_name(self.container.as_str(), self.number)
    }

    #[cfg(test)]
    pub(super) fn example(container: &str, network: &str, address: &str) -> Self {
        Self {
            container: container.parse().unwrap(),
            network: network.parse().unwrap(),
            number: 0,
            address: address.parse().unwrap(),
            hostname: container.to_owned(),
        }
    }
}

/// An address of a network that nobody has: this one, or the first.
pub(super) fn free(
    network: &Definition,
    leases: &[Lease],
    wanted: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, NetworkError> {
    let Some(address) = wanted else {
        let taken: BTreeSet<Ipv4Addr> = leases.iter().map(|lease| lease.address).collect();
        let is_free = |address: &Ipv4Addr| *address != network.gateway && !taken.contains(address);
        let mut addresses = network.subnet.hosts();
        return addresses.find(is_free).ok_or_else(|| NetworkError::Full(network.name.clone()));
    };
    let (name, subnet) = (network.name.clone(), network.subnet);
    if !is_host(address, subnet) {
        return Err(NetworkError::Outside { address, network: name, subnet });
    }
    let holder = leases.iter().find(|lease| lease.address == address);
    match holder.map(|lease| lease.container.clone()) {
        None if address == network.gateway => Err(NetworkError::GatewayTaken(address)),
        None => Ok(address),
        Some(container) => Err(NetworkError::AddressTaken { address, container }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Definition {
        Definition {
            name: "a".parse().unwrap(),
            subnet: "10.5.0.0/29".parse().unwrap(),
            gateway: Ipv4Addr::new(10, 5, 0, 1),
            internal: false,
        }
    }

    fn leases(last: &[u8]) -> Vec<Lease> {
        last.iter().map(|last| Lease::example("c", "a", &format!("10.5.0.{last}"))).collect()
    }

    #[test]
    fn the_first_free_address_is_given() {
        let free = |last: &[u8]| free(&network(), &leases(last), None);
        assert_eq!(free(&[]).unwrap(), Ipv4Addr::new(10, 5, 0, 2));
        assert_eq!(free(&[2, 4]).unwrap(), Ipv4Addr::new(10, 5, 0, 3));
        assert!(matches!(free(&[2, 3, 4, 5, 6]), Err(NetworkError::Full(_))));
    }

    #[test]
    fn an_address_that_is_asked_for_is_nobody_elses() {
        let free = |address: &str| free(&network(), &leases(&[2]), Some(address.parse().unwrap()));
        assert_eq!(free("10.5.0.6").unwrap(), Ipv4Addr::new(10, 5, 0, 6));
        assert!(matches!(free("10.5.0.2"), Err(NetworkError::AddressTaken { .. })));
        assert!(matches!(free("10.5.0.1"), Err(NetworkError::GatewayTaken(_))));
        for bad in ["10.5.0.0", "10.5.0.7", "10.5.0.8"] {
            assert!(matches!(free(bad), Err(NetworkError::Outside { .. })), "{bad}");
        }
    }
}
