//! Who may reach whom: the rules of nftables for all networks of this host, made anew whenever a network
//! or a container comes or goes, and taken over by the kernel in one step.
//!
//! Containers of one network reach each other over its bridge, which asks nobody. What goes from one bridge
//! to another is routed by the host, and refused here; so is what comes from outside, but for answers. A
//! port takes from its container what comes from the container's own addresses, and nothing else.

use super::definition::Definition;
use super::lease::Lease;
use super::link::{self, PORT};
use super::netlink::Refusal;
use super::nft::{self, Base, Chain, Device, Rule, Table, Verdict};

/// What both tables are called.
const NAME: &str = "shrike";

/// What is routed, and what is for the host itself.
pub(super) const ROUTED: Table = Table { family: libc::NFPROTO_INET, name: NAME };

/// What goes over bridges.
const BRIDGED: Table = Table { family: libc::NFPROTO_BRIDGE, name: NAME };

const TABLES: [Table; 2] = [ROUTED, BRIDGED];

const FORWARD: Chain = Chain {
    table: ROUTED,
    name: "forward",
    kind: "filter",
    hook: libc::NF_INET_FORWARD,
    priority: libc::NF_IP_PRI_FILTER,
};

const INPUT: Chain = Chain {
    table: ROUTED,
    name: "input",
    kind: "filter",
    hook: libc::NF_INET_LOCAL_IN,
    priority: libc::NF_IP_PRI_FILTER,
};

const MASQUERADE: Chain = Chain {
    table: ROUTED,
    name: "masquerade",
    kind: "nat",
    hook: libc::NF_INET_POST_ROUTING,
    priority: libc::NF_IP_PRI_NAT_SRC,
};

const PORTS: Chain = Chain {
    table: BRIDGED,
    name: "ports",
    kind: "filter",
    hook: libc::NF_BR_PRE_ROUTING,
    priority: libc::NF_BR_PRI_FILTER_BRIDGED,
};

/// Has the kernel keep the networks apart. Without any, nothing is left.
pub(super) fn apply<'a>(
    networks: impl Iterator<Item = &'a Definition> + Clone,
    leases: &[Lease],
) -> Result<(), Refusal> {
    if networks.clone().next().is_none() {
        return nft::remove(&TABLES);
    }
    let mut chains = vec![FORWARD, INPUT, PORTS];
    if networks.clone().any(|network| !network.internal) {
        chains.push(MASQUERADE);
    }
    nft::replace(&TABLES, &chains, &rules(networks, leases))
}

/// Whether there are rules.
pub(super) fn is_there() -> Result<bool, Refusal> {
    nft::exists(ROUTED)
}

fn rules<'a>(
    networks: impl Iterator<Item = &'a Definition> + Clone,
    leases: &[Lease],
) -> Vec<(Chain, Rule)> {
    let mut rules = Vec::new();
    let mut add = |chain, rule| rules.push((chain, rule));
    for network in networks.clone() {
        // Where the host has its bridges ask (br_netfilter).
        let bridge = &network.bridge();
        let within = Rule::default().device(Device::In, bridge).device(Device::Out, bridge);
        add(FORWARD, within.verdict(Verdict::Accept));
    }
    for network in networks {
        let bridge = &network.bridge();
        let arriving = || Rule::default().device(Device::Out, bridge);
        let leaving = || Rule::default().device(Device::In, bridge);
        if network.internal {
            add(FORWARD, arriving().verdict(Verdict::Drop));
            add(FORWARD, leaving().verdict(Verdict::Drop));
            add(INPUT, leaving().established().verdict(Verdict::Accept));
            add(INPUT, leaving().verdict(Verdict::Drop));
        } else {
            add(FORWARD, arriving().established().verdict(Verdict::Accept));
            add(FORWARD, arriving().verdict(Verdict::Drop));
            let outside = Rule::default().other_device(Device::Out, bridge);
            add(MASQUERADE, outside.sent_from(network.subnet).masquerade());
        }
    }
    for lease in leases {
        for rule in own_addresses(lease) {
            add(PORTS, rule.verdict(Verdict::Accept));
        }
    }
    add(PORTS, Rule::default().devices(Device::In, PORT).verdict(Verdict::Drop));
    rules
}

/// IPv4 and ARP from where they are to come from.
fn own_addresses(lease: &Lease) -> [Rule; 2] {
    /// Where a frame has its sender and its type.
    const SENDER: u32 = 6;
    const TYPE: u32 = 12;
    /// Where ARP has the two addresses of its sender.
    const ARP_LINK: u32 = 8;
    const ARP_ADDRESS: u32 = 14;
    const IPV4: u16 = 0x0800;
    const ARP: u16 = 0x0806;
    /// Where IPv4 has the address of its sender.
    const ADDRESS: u32 = 12;
    let (mac, address) = (lease.mac().0, lease.address.octets());
    let from = |kind: u16| {
        Rule::default()
            .device(Device::In, &link::port_name(lease.container.as_str(), lease.number))
            .has(Base::Link, SENDER, &mac)
            .has(Base::Link, TYPE, &kind.to_be_bytes())
    };
    [
        from(IPV4).has(Base::Network, ADDRESS, &address),
        from(ARP).has(Base::Network, ARP_LINK, &mac).has(Base::Network, ARP_ADDRESS, &address),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, subnet: &str, internal: bool) -> Definition {
        let subnet: ipnet::Ipv4Net = subnet.parse().unwrap();
        let gateway = subnet.hosts().next().unwrap();
        Definition { name: name.parse().unwrap(), subnet, gateway, internal }
    }

    fn count(rules: &[(Chain, Rule)], chain: Chain) -> usize {
        rules.iter().filter(|(other, _)| *other == chain).count()
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let networks = [network("in", "10.1.0.0/24", true)];
        let rules = rules(networks.iter(), &[]);
        assert_eq!(count(&rules, MASQUERADE), 0);
        let bridge = networks[0].bridge();
        let dropped = Rule::default().device(Device::In, &bridge).verdict(Verdict::Drop);
        for chain in [FORWARD, INPUT] {
            assert!(rules.contains(&(chain, dropped.clone())), "{chain:?}");
        }
    }

    #[test]
    fn answers_come_before_the_rest_is_refused() {
        let networks = [network("a", "10.1.0.0/24", false), network("b", "10.2.0.0/24", false)];
        let rules = rules(networks.iter(), &[]);
        assert_eq!(count(&rules, MASQUERADE), 2);
        assert_eq!(count(&rules, INPUT), 0);
        for network in &networks {
            let arriving = Rule::default().device(Device::Out, &network.bridge());
            let at = |rule: Rule| rules.iter().position(|other| *other == (FORWARD, rule.clone()));
            let answers = at(arriving.clone().established().verdict(Verdict::Accept)).unwrap();
            let rest = at(arriving.verdict(Verdict::Drop)).unwrap();
            assert!(answers < rest);
        }
    }

    #[test]
    fn a_port_takes_what_is_its_containers_own() {
        let networks = [network("a", "10.1.0.0/24", false)];
        let leases = [Lease::example("web", "a", "10.1.0.2")];
        let rules = rules(networks.iter(), &leases);
        assert_eq!(count(&rules, PORTS), 3);
        let (chain, last) = rules.last().unwrap();
        let rest = Rule::default().devices(Device::In, "cgv").verdict(Verdict::Drop);
        assert_eq!((chain, last), (&PORTS, &rest));
    }
}
