//! Network devices: the bridge of a network, and the pairs that connect containers with it. What is made
//! here is found again by its name.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use base16ct::lower::encode_string;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use sha2::{Digest, Sha256};

use super::netlink::{Attributes, Entry, Message, Netlink, Refusal, text};

/// What the names of bridges begin with.
const BRIDGE: &str = "cgb";

/// What the names of the host's ends of pairs begin with.
pub(super) const PORT: &str = "cgv";

/// What the names of the devices begin with that what containers send is held up in.
const QUEUE: &str = "cgi";

/// The length of every such name, which is the most that a kernel takes.
const LENGTH: usize = 15;

/// The length of `struct ifinfomsg`, `ifaddrmsg` and `rtmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// A device of this network namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// What it is, in words, for whoever lists devices.
    pub(super) alias: Option<String>,
    /// The bridge that it is a port of.
    pub(super) master: Option<u32>,
}

/// An address of a device as those on its wire know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mac(pub(super) [u8; 6]);

impl Mac {
    /// That of the device with an address: as Docker has it, so that nobody remembers a wrong one when the
    /// address is another container's.
    pub(super) fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&parts.join(":"))
    }
}

/// The name of the bridge of a network.
pub(super) fn bridge_name(network: &str) -> String {
    name(BRIDGE, network, "")
}

/// The name of the host's end of a container's device with this number.
pub(super) fn port_name(container: &str, number: u8) -> String {
    name(PORT, container, &format!("{number:x}"))
}

/// The name of the device that what it sends is held up in.
pub(super) fn queue_name(container: &str, number: u8) -> String {
    name(QUEUE, container, &format!("{number:x}"))
}

fn name(prefix: &str, of: &str, suffix: &str) -> String {
    let digest = encode_string(&Sha256::digest(of.as_bytes()));
    let room = LENGTH - prefix.len() - suffix.len();
    let digest: String = digest.chars().take(room).collect();
    format!("{prefix}{digest}{suffix}")
}

/// What a device is by its name, if it is one of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Bridge,
    Port,
    Queue,
}

impl Link {
    /// What it is, if it is one of ours.
    pub(super) fn role(&self) -> Option<Role> {
        let (prefix, digest) = self.name.split_at_checked(BRIDGE.len())?;
        let is_ours = self.name.len() == LENGTH
            && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && self.alias.as_ref().is_none_or(|alias| alias.starts_with(ALIAS));
        let role = match prefix {
            BRIDGE => Role::Bridge,
            PORT => Role::Port,
            QUEUE => Role::Queue,
            _ => return None,
        };
        is_ours.then_some(role)
    }

    /// What it was made for: the name of a network or of a container.
    pub(super) fn owner(&self) -> Option<&str> {
        self.alias.as_ref()?.rsplit_once(' ').map(|(_, owner)| owner)
    }

    fn read(entry: &Entry) -> Option<Self> {
        let header: [u8; LINK_HEADER] = entry.header()?;
        let attribute = |kind| entry.attribute(LINK_HEADER, kind);
        Some(Self {
            index: u32::from_ne_bytes(header.get(4..8)?.try_into().ok()?),
            name: text(attribute(libc::IFLA_IFNAME)?).into_owned(),
            alias: attribute(libc::IFLA_IFALIAS).map(|alias| text(alias).into_owned()),
            master: attribute(libc::IFLA_MASTER)
                .and_then(|index| Some(u32::from_ne_bytes(index.try_into().ok()?))),
        })
    }
}

/// What the words for a device begin with.
const ALIAS: &str = "shrike ";

/// The links, addresses and routes of a network namespace.
pub(super) struct Links(Netlink);

impl Links {
    /// Those of the namespace that this task is in.
    pub(super) fn here() -> Result<Self, Refusal> {
        Netlink::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// The socket, for what is asked of devices beyond this.
    pub(super) fn netlink(&mut self) -> &mut Netlink {
        &mut self.0
    }

    /// All of them.
    pub(super) fn all(&mut self) -> Result<Vec<Link>, Refusal> {
        let header = link_header(0, false);
        let request = Message::new(libc::RTM_GETLINK, 0, &header, &Attributes::default());
        Ok(self.0.list(&request)?.iter().filter_map(Link::read).collect())
    }

    /// The one of this name.
    pub(super) fn find(&mut self, name: &str) -> Result<Option<Link>, Refusal> {
        Ok(self.all()?.into_iter().find(|link| link.name == name))
    }

    /// The index of the one of this name, which must be there.
    pub(super) fn index(&mut self, name: &str) -> Result<u32, Refusal> {
        self.find(name)?.map(|link| link.index).ok_or_else(|| Errno::ENODEV.into())
    }

    /// Makes a bridge; one of that name is taken as it is.
    pub(super) fn ensure_bridge(&mut self, name: &str, mac: Mac) -> Result<(), Refusal> {
        let attributes = Attributes::default()
            .text(libc::IFLA_IFNAME, name)
            .bytes(libc::IFLA_ADDRESS, &mac.0)
            .nest(libc::IFLA_LINKINFO, &Attributes::default().text(libc::IFLA_INFO_KIND, "bridge"));
        existing(self.make(&attributes))
    }

    /// Makes a device that gives what it is sent to its queue.
    pub(super) fn make_queue(&mut self, name: &str) -> Result<(), Refusal> {
        let attributes = Attributes::default()
            .text(libc::IFLA_IFNAME, name)
            .nest(libc::IFLA_LINKINFO, &Attributes::default().text(libc::IFLA_INFO_KIND, "ifb"));
        self.make(&attributes)
    }

    /// Makes a pair: one end is a port of a bridge, the other, with this address on the wire, a device of
    /// another namespace.
    pub(super) fn make_pair(
        &mut self,
        port: &str,
        bridge: u32,
        inner: (&str, Mac),
        namespace: &File,
    ) -> Result<(), Refusal> {
        /// `VETH_INFO_PEER`.
        const PEER: u16 = 1;
        let (name, mac) = inner;
        let descriptor = namespace.as_raw_fd().unsigned_abs();
        let peer = Attributes::behind(&link_header(0, false))
            .text(libc::IFLA_IFNAME, name)
            .bytes(libc::IFLA_ADDRESS, &mac.0)
            .number(libc::IFLA_NET_NS_FD, descriptor);
        let kind = Attributes::default()
            .text(libc::IFLA_INFO_KIND, "veth")
            .nest(libc::IFLA_INFO_DATA, &Attributes::default().nest(PEER, &peer));
        let attributes = Attributes::default()
            .text(libc::IFLA_IFNAME, port)
            .number(libc::IFLA_MASTER, bridge)
            .nest(libc::IFLA_LINKINFO, &kind);
        self.make(&attributes)
    }

    /// Says what a device is for.
    pub(super) fn name_owner(
        &mut self,
        index: u32,
        what: &str,
        owner: &str,
    ) -> Result<(), Refusal> {
        let alias = format!("{ALIAS}{what} {owner}");
        // Of this attribute the kernel takes the zero for a part of the text.
        let attributes = Attributes::default().bytes(libc::IFLA_IFALIAS, alias.as_bytes());
        self.change(index, false, &attributes)
    }

    /// Brings a device up.
    pub(super) fn bring_up(&mut self, index: u32) -> Result<(), Refusal> {
        self.change(index, true, &Attributes::default())
    }

    /// Removes a device; it need not be there.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Refusal> {
        let attributes = Attributes::default().text(libc::IFLA_IFNAME, name);
        let request = Message::new(libc::RTM_DELLINK, 0, &link_header(0, false), &attributes);
        match self.0.request(request) {
            Err(refusal) if refusal.errno == Errno::ENODEV => Ok(()),
            removed => removed,
        }
    }

    /// Gives a device an address; it may have it already.
    pub(super) fn add_address(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        subnet: Ipv4Net,
    ) -> Result<(), Refusal> {
        let [family, scope] = [ipv4(), libc::RT_SCOPE_UNIVERSE];
        let header = [&[family, subnet.prefix_len(), 0, scope][..], &index.to_ne_bytes()].concat();
        let attributes = Attributes::default()
            .bytes(libc::IFA_LOCAL, &address.octets())
            .bytes(libc::IFA_ADDRESS, &address.octets())
            .bytes(libc::IFA_BROADCAST, &subnet.broadcast().octets());
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        existing(self.0.request(Message::new(libc::RTM_NEWADDR, flags, &header, &attributes)))
    }

    /// Sends by a gateway what no other route is for.
    pub(super) fn add_default_route(
        &mut self,
        index: u32,
        gateway: Ipv4Addr,
    ) -> Result<(), Refusal> {
        let header = [
            ipv4(),
            0,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let attributes = Attributes::default()
            .bytes(libc::RTA_GATEWAY, &gateway.octets())
            .number(libc::RTA_OIF, index);
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.0.request(Message::new(libc::RTM_NEWROUTE, flags, &header, &attributes))
    }

    /// What is reached from here without a default route: the subnets of addresses, and of routes.
    pub(super) fn reached(&mut self) -> Result<Vec<Ipv4Net>, Refusal> {
        let family = [ipv4(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let list = |kind, header: &[u8]| Message::new(kind, 0, header, &Attributes::default());
        let addresses = self.0.list(&list(libc::RTM_GETADDR, &family[..ADDRESS_HEADER]))?;
        let routes = self.0.list(&list(libc::RTM_GETROUTE, &family))?;
        let of_addresses = addresses.iter().filter_map(|entry| {
            let [_, prefix, ..]: [u8; ADDRESS_HEADER] = entry.header()?;
            subnet(entry.attribute(ADDRESS_HEADER, libc::IFA_LOCAL)?, prefix)
        });
        let of_routes = routes.iter().filter_map(|entry| {
            let [_, prefix, _, _, _, _, _, kind, ..]: [u8; ROUTE_HEADER] = entry.header()?;
            let destination = entry.attribute(ROUTE_HEADER, libc::RTA_DST)?;
            // The others are of addresses, and of no subnet.
            (kind != libc::RTN_LOCAL && kind != libc::RTN_BROADCAST)
                .then(|| subnet(destination, prefix))?
        });
        Ok(of_addresses.chain(of_routes).collect())
    }

    fn make(&mut self, attributes: &Attributes) -> Result<(), Refusal> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.0.request(Message::new(libc::RTM_NEWLINK, flags, &link_header(0, false), attributes))
    }

    fn change(&mut self, index: u32, is_up: bool, attributes: &Attributes) -> Result<(), Refusal> {
        self.0.request(Message::new(libc::RTM_SETLINK, 0, &link_header(index, is_up), attributes))
    }
}

/// What is there already need not be made.
fn existing(made: Result<(), Refusal>) -> Result<(), Refusal> {
    match made {
        Err(refusal) if refusal.errno == Errno::EEXIST => Ok(()),
        made => made,
    }
}

/// `struct ifinfomsg`.
fn link_header(index: u32, is_up: bool) -> [u8; LINK_HEADER] {
    let up = if is_up { libc::IFF_UP.to_ne_bytes() } else { [0; 4] };
    let mut header = [0; LINK_HEADER];
    let parts = index.to_ne_bytes().into_iter().chain(up).chain(up);
    header.iter_mut().skip(4).zip(parts).for_each(|(byte, part)| *byte = part);
    header
}

fn subnet(address: &[u8], prefix: u8) -> Option<Ipv4Net> {
    let octets: [u8; 4] = address.try_into().ok()?;
    Ipv4Net::new(octets.into(), prefix).ok().map(|net| net.trunc())
}

/// The family of addresses.
fn ipv4() -> u8 {
    u8::try_from(libc::AF_INET).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_length_that_kernels_take() {
        let names =
            [bridge_name("a"), port_name("web", 0), port_name("web", 15), queue_name("web", 1)];
        for name in &names {
            assert_eq!(name.len(), LENGTH, "{name}");
            let link = Link { index: 1, name: name.clone(), alias: None, master: None };
            assert!(link.role().is_some(), "{name}");
        }
        assert_ne!(names[1], names[2]);
        assert_ne!(port_name("web", 0), port_name("web2", 0));
    }

    #[test]
    fn devices_of_others_are_left_alone() {
        let link = |name: &str, alias: Option<&str>| Link {
            index: 1,
            name: name.into(),
            alias: alias.map(Into::into),
            master: None,
        };
        let bridge = bridge_name("front");
        let own = link(&bridge, Some("shrike network front"));
        assert_eq!((own.role(), own.owner()), (Some(Role::Bridge), Some("front")));
        for other in [
            link(&bridge, Some("my bridge")),
            link("cgb", None),
            link("cgroup-bridge00", None),
            link("docker0", None),
            link("veth0123456789a", None),
        ] {
            assert_eq!(other.role(), None, "{other:?}");
        }
    }

    #[test]
    fn addresses_on_the_wire_follow_from_addresses() {
        assert_eq!(Mac::of(Ipv4Addr::new(172, 18, 0, 2)).to_string(), "02:42:ac:12:00:02");
    }

    #[test]
    fn a_header_has_the_index_and_the_flag() {
        let mut expected = [0; LINK_HEADER];
        expected[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(link_header(7, false), expected);
        expected[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        expected[12..16].copy_from_slice(&1_u32.to_ne_bytes());
        assert_eq!(link_header(7, true), expected);
    }
}
