//! The networks that a container is joined to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ContainerId, Joined, Network, Spec, SpecError};

/// How many networks a container is joined to at most: its devices are numbered by one digit.
const MOST: usize = 16;

/// The name of a network: also that of its file.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct NetworkName(String);

/// What a container has of the networks that it is joined to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct NetworkOptions {
    /// Its address in the first one.
    pub(crate) address: Option<Ipv4Addr>,
    /// Names that it knows beside those of its networks.
    pub(crate) hosts: Vec<HostEntry>,
    /// Whom it asks for other names; whom the host asks if there are none.
    pub(crate) nameservers: Vec<IpAddr>,
    /// How fast each of them sends to it.
    pub(crate) ingress: Option<BitRate>,
    /// How fast it sends to each of them.
    pub(crate) egress: Option<BitRate>,
}

/// A name, and whose it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct HostEntry {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
}

/// A number of bits in a second.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct BitRate(u64);

impl Network {
    /// Several options of the command line together.
    pub(crate) fn of(options: Vec<Self>) -> Result<Self, SpecError> {
        let mut all = options.into_iter();
        let first = all.next().unwrap_or(Self::None);
        all.try_fold(first, |network, other| match (network, other) {
            (Self::Named(names), Self::Named(others)) => {
                Ok(Self::Named(names.into_iter().chain(others).collect()))
            }
            _ => Err(SpecError::NetworkAlone),
        })
    }

    /// Whether the container has a network namespace of its own making.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Self::None | Self::Named(_) => true,
            Self::Host | Self::Joined(_) => false,
        }
    }
}

impl FromStr for Network {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ if text.contains(':') => Joined::parse(text, "none").map(Self::Joined),
            _ => text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Named),
        }
    }
}

impl Spec {
    /// What only a container that is joined to networks has.
    pub(super) fn check_networks(&self) -> Result<(), SpecError> {
        let Network::Named(names) = &self.network else {
            let options = &self.network_options;
            let refused = [
                (options.address.is_some(), "--ip"),
                (!options.hosts.is_empty(), "--add-host"),
                (!options.nameservers.is_empty(), "--dns"),
                (options.ingress.is_some(), "--ingress-bandwidth"),
                (options.egress.is_some(), "--egress-bandwidth"),
            ];
            return match refused.into_iter().find(|&(is_asked, _)| is_asked) {
                Some((_, option)) => Err(SpecError::NeedsNetwork(option)),
                None => Ok(()),
            };
        };
        if names.len() > MOST {
            return Err(SpecError::Networks);
        }
        let mut seen = names.iter().enumerate();
        match seen.find(|&(index, name)| names.iter().take(index).any(|other| other == name)) {
            Some((_, name)) => Err(SpecError::NetworkTwice(name.clone())),
            None => Ok(()),
        }
    }
}

impl NetworkName {
    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NetworkName {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if ["none", "host"].contains(&text) {
            return Err(SpecError::NetworkAlone);
        }
        // What is safe as the name of a file for the one is so for the other.
        text.parse::<ContainerId>().map(|name| Self(name.as_str().to_owned()))
    }
}

impl FromStr for HostEntry {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (name, address) = text.split_once(':').ok_or(SpecError::HostEntry)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(SpecError::HostEntry);
        }
        let address = address.parse().map_err(|_| SpecError::HostEntry)?;
        Ok(Self { name: name.to_owned(), address })
    }
}

impl BitRate {
    /// Those that Kubernetes allows.
    const LEAST: u64 = 1000;
    const MOST: u64 = 1_000_000_000_000_000;

    /// That many bytes in a second.
    pub(crate) fn bytes_per_second(self) -> u64 {
        const BITS: u64 = 8;
        self.0 / BITS
    }
}

impl FromStr for BitRate {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: u64 = match lower.get(digits.len()..).unwrap_or_default() {
            "" => 1,
            "k" => 1000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            "ki" => 1 << 10,
            "mi" => 1 << 20,
            "gi" => 1 << 30,
            _ => return Err(SpecError::BitRate),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SpecError::BitRate);
        }
        let number: u64 = digits.parse().map_err(|_| SpecError::BitRate)?;
        let rate = number.checked_mul(factor);
        rate.filter(|rate| (Self::LEAST..=Self::MOST).contains(rate))
            .map(Self)
            .ok_or(SpecError::BitRate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Network {
        Network::Named(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn networks_are_named_together_or_one_by_one() {
        assert_eq!("none".parse(), Ok(Network::None));
        assert_eq!("host".parse(), Ok(Network::Host));
        assert_eq!("front,back".parse(), Ok(named(&["front", "back"])));
        for bad in ["", "a,", "a,none", "host,a", "a b", "../a", "-a"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
        let of = |options: &[&str]| {
            Network::of(options.iter().map(|option| option.parse().unwrap()).collect())
        };
        assert_eq!(of(&["a", "b,c"]), Ok(named(&["a", "b", "c"])));
        assert_eq!(of(&["host"]), Ok(Network::Host));
        assert_eq!(of(&["a", "none"]), Err(SpecError::NetworkAlone));
        assert_eq!(of(&["host", "host"]), Err(SpecError::NetworkAlone));
        assert!(Network::None.is_own() && named(&["a"]).is_own() && !Network::Host.is_own());
    }

    #[test]
    fn reads_names_of_hosts() {
        let entry: HostEntry = "db:10.0.0.1".parse().unwrap();
        assert_eq!((entry.name.as_str(), entry.address.to_string().as_str()), ("db", "10.0.0.1"));
        assert_eq!("a:::1".parse::<HostEntry>().unwrap().address.to_string(), "::1");
        for bad in ["", "db", ":1.2.3.4", "db:", "db:host-gateway", "a b:1.2.3.4", "a\n:1.2.3.4"] {
            assert_eq!(bad.parse::<HostEntry>(), Err(SpecError::HostEntry), "{bad:?}");
        }
    }

    #[test]
    fn reads_rates() {
        let bytes = |text: &str| text.parse().map(BitRate::bytes_per_second);
        assert_eq!(bytes("8000"), Ok(1000));
        assert_eq!(bytes("10M"), Ok(1_250_000));
        assert_eq!(bytes("1g"), Ok(125_000_000));
        assert_eq!(bytes("8Ki"), Ok(1024));
        for bad in ["", "m", "999", "-1m", "+1m", "1.5m", "1t", "10 m", "9999999999g"] {
            assert_eq!(bytes(bad), Err(SpecError::BitRate), "{bad:?}");
        }
    }
}
