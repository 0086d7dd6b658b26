//! The words of nftables: tables, chains and rules as netlink has them, and their exchange for others in
//! one transaction.

use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::netlink::{Attributes, Message, Netlink, Refusal};

/// A table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Table {
    pub(super) family: libc::c_int,
    pub(super) name: &'static str,
}

/// A chain that the kernel itself goes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Chain {
    pub(super) table: Table,
    pub(super) name: &'static str,
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// Where in the kernel.
    pub(super) hook: libc::c_int,
    /// When, as against others there.
    pub(super) priority: libc::c_int,
}

/// A rule: conditions, and what is done if all of them hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Rule(Attributes);

/// A device that a packet goes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Device {
    In,
    Out,
}

/// A part of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    Link,
    Network,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Accept,
    Drop,
}

impl Verdict {
    fn code(self) -> u32 {
        let code = match self {
            Self::Accept => libc::NF_ACCEPT,
            Self::Drop => libc::NF_DROP,
        };
        code.unsigned_abs()
    }
}

/// The first register, and that of verdicts.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;

/// What each element of a list is.
const ELEMENT: u16 = 1;

/// The kind of data that is compared with.
const VALUE: u16 = 1;

impl Rule {
    /// If the device has this name.
    pub(super) fn device(self, device: Device, name: &str) -> Self {
        self.device_name(device, libc::NFT_CMP_EQ, &whole(name))
    }

    /// If the device has another name.
    pub(super) fn other_device(self, device: Device, name: &str) -> Self {
        self.device_name(device, libc::NFT_CMP_NEQ, &whole(name))
    }

    /// If the device's name begins so.
    pub(super) fn devices(self, device: Device, prefix: &str) -> Self {
        self.device_name(device, libc::NFT_CMP_EQ, prefix.as_bytes())
    }

    /// If a part of the packet is this.
    pub(super) fn has(self, base: Base, offset: u32, value: &[u8]) -> Self {
        self.payload(base, offset, value.len()).compare(libc::NFT_CMP_EQ, value)
    }

    /// If the packet is IPv4, and comes from this network.
    pub(super) fn sent_from(self, subnet: Ipv4Net) -> Self {
        /// Where an address is that a packet comes from.
        const SOURCE: u32 = 12;
        let family = u8::try_from(libc::NFPROTO_IPV4).unwrap_or_default();
        self.meta(libc::NFT_META_NFPROTO)
            .compare(libc::NFT_CMP_EQ, &[family])
            .payload(Base::Network, SOURCE, size_of::<u32>())
            .mask(&subnet.netmask().octets())
            .compare(libc::NFT_CMP_EQ, &subnet.network().octets())
    }

    /// If the packet belongs to a connection that was let through, or is about one.
    pub(super) fn established(self) -> Self {
        /// The bits of `established` and `related`.
        const STATES: u32 = 1 << 1 | 1 << 2;
        let (destination, key) = (1, 2);
        let state = Attributes::default()
            .big_endian(destination, REGISTER)
            .big_endian(key, libc::NFT_CT_STATE.unsigned_abs());
        self.expression("ct", &state)
            .mask(&STATES.to_ne_bytes())
            .compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// Gives it the host's address on its way out.
    pub(super) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::default())
    }

    /// Ends its way through the chain.
    pub(super) fn verdict(self, verdict: Verdict) -> Self {
        let (destination, data) = (1, 2);
        let (kind, code) = (2, 1);
        let verdict = Attributes::default().big_endian(code, verdict.code());
        let immediate = Attributes::default()
            .big_endian(destination, VERDICT)
            .nest(data, &Attributes::default().nest(kind, &verdict));
        self.expression("immediate", &immediate)
    }

    fn device_name(self, device: Device, operator: libc::c_int, name: &[u8]) -> Self {
        let key = match device {
            Device::In => libc::NFT_META_IIFNAME,
            Device::Out => libc::NFT_META_OIFNAME,
        };
        self.meta(key).compare(operator, name)
    }

    fn meta(self, key: libc::c_int) -> Self {
        let (destination, which) = (1, 2);
        let meta = Attributes::default()
            .big_endian(destination, REGISTER)
            .big_endian(which, key.unsigned_abs());
        self.expression("meta", &meta)
    }

    fn payload(self, base: Base, offset: u32, length: usize) -> Self {
        let base = match base {
            Base::Link => libc::NFT_PAYLOAD_LL_HEADER,
            Base::Network => libc::NFT_PAYLOAD_NETWORK_HEADER,
        };
        let payload = Attributes::default()
            .big_endian(1, REGISTER)
            .big_endian(2, base.unsigned_abs())
            .big_endian(3, offset)
            .big_endian(4, u32::try_from(length).unwrap_or(u32::MAX));
        self.expression("payload", &payload)
    }

    fn compare(self, operator: libc::c_int, value: &[u8]) -> Self {
        let compare = Attributes::default()
            .big_endian(1, REGISTER)
            .big_endian(2, operator.unsigned_abs())
            .nest(3, &Attributes::default().bytes(VALUE, value));
        self.expression("cmp", &compare)
    }

    /// Keeps these bits of the register.
    fn mask(self, mask: &[u8]) -> Self {
        let zero = vec![0; mask.len()];
        let bits = Attributes::default()
            .big_endian(1, REGISTER)
            .big_endian(2, REGISTER)
            .big_endian(3, u32::try_from(mask.len()).unwrap_or(u32::MAX))
            .nest(4, &Attributes::default().bytes(VALUE, mask))
            .nest(5, &Attributes::default().bytes(VALUE, &zero));
        self.expression("bitwise", &bits)
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::default().text(1, name).nest(2, data);
        Self(self.0.nest(ELEMENT, &expression))
    }
}

/// Exchanges what these tables have, all at once.
pub(super) fn replace(
    tables: &[Table],
    chains: &[Chain],
    rules: &[(Chain, Rule)],
) -> Result<(), Refusal> {
    // What is made first cannot be missing when it is removed.
    let mut messages: Vec<Message> = tables.iter().flat_map(removal).collect();
    messages.extend(tables.iter().map(|table| table.message(libc::NFT_MSG_NEWTABLE)));
    messages.extend(chains.iter().map(Chain::message));
    messages.extend(rules.iter().map(|(chain, rule)| chain.rule(rule)));
    transact(messages)
}

/// Removes these tables; they need not be there.
pub(super) fn remove(tables: &[Table]) -> Result<(), Refusal> {
    match transact(tables.iter().flat_map(removal).collect()) {
        Err(refusal) if is_absent(&refusal) => Ok(()),
        removed => removed,
    }
}

/// Whether a table is there, as far as this task may know.
pub(super) fn exists(table: Table) -> Result<bool, Refusal> {
    let found = Netlink::open(SockProtocol::NetlinkNetFilter)
        .and_then(|mut netlink| netlink.request(table.message(libc::NFT_MSG_GETTABLE)));
    match found {
        Ok(()) => Ok(true),
        Err(refusal) if matches!(refusal.errno, Errno::ENOENT | Errno::EPERM) => Ok(false),
        Err(refusal) if is_absent(&refusal) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// Whether this kernel has no nftables at all, or not of this family.
fn is_absent(refusal: &Refusal) -> bool {
    matches!(refusal.errno, Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT)
}

fn removal(table: &Table) -> [Message; 2] {
    [libc::NFT_MSG_NEWTABLE, libc::NFT_MSG_DELTABLE].map(|kind| table.message(kind))
}

fn transact(messages: Vec<Message>) -> Result<(), Refusal> {
    let subsystem = u16::try_from(libc::NFNL_SUBSYS_NFTABLES).unwrap_or_default();
    let frame = |kind: libc::c_int| {
        let header = header(libc::AF_UNSPEC, subsystem);
        let kind = u16::try_from(kind).unwrap_or_default();
        Message::new(kind, 0, &header, &Attributes::default())
    };
    let last = messages.len();
    let mut batch = vec![frame(libc::NFNL_MSG_BATCH_BEGIN)];
    batch.extend(messages);
    batch.push(frame(libc::NFNL_MSG_BATCH_END));
    Netlink::open(SockProtocol::NetlinkNetFilter)?.exchange(batch, last)
}

impl Table {
    fn message(&self, kind: libc::c_int) -> Message {
        message(kind, 0, self.family, &Attributes::default().text(1, self.name))
    }
}

impl Chain {
    fn message(&self) -> Message {
        let Self { table, name, kind, hook, priority } = *self;
        let hook = Attributes::default()
            .big_endian(1, hook.unsigned_abs())
            .big_endian(2, priority.cast_unsigned());
        let attributes = Attributes::default()
            .text(1, table.name)
            .text(3, name)
            .nest(4, &hook)
            .big_endian(5, Verdict::Accept.code())
            .text(7, kind);
        message(libc::NFT_MSG_NEWCHAIN, 0, table.family, &attributes)
    }

    fn rule(&self, rule: &Rule) -> Message {
        let attributes =
            Attributes::default().text(1, self.table.name).text(2, self.name).nest(4, &rule.0);
        message(libc::NFT_MSG_NEWRULE, libc::NLM_F_APPEND, self.table.family, &attributes)
    }
}

fn message(
    kind: libc::c_int,
    flags: libc::c_int,
    family: libc::c_int,
    attributes: &Attributes,
) -> Message {
    let makes = [libc::NFT_MSG_NEWTABLE, libc::NFT_MSG_NEWCHAIN, libc::NFT_MSG_NEWRULE];
    let flags = if makes.contains(&kind) { flags | libc::NLM_F_CREATE } else { flags };
    let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).unwrap_or_default();
    Message::new(kind, flags, &header(family, 0), attributes)
}

/// `struct nfgenmsg`.
fn header(family: libc::c_int, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [u8::try_from(family).unwrap_or_default(), 0, high, low]
}

/// The name of a device as the kernel compares it.
fn whole(name: &str) -> [u8; libc::IFNAMSIZ] {
    let mut bytes = [0; libc::IFNAMSIZ];
    bytes.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::network::netlink::{attribute, text};

    /// The names of a rule's expressions, and the data of each.
    fn expressions(rule: &Rule) -> Vec<(String, Vec<u8>)> {
        let bytes = rule.0.clone().into_bytes();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_ne_bytes(rest[..2].try_into().unwrap()));
            let element = &rest[4..length];
            let name = text(attribute(element, 1).unwrap()).into_owned();
            found.push((name, attribute(element, 2).unwrap().to_vec()));
            rest = &rest[length..];
        }
        found
    }

    fn names(rule: &Rule) -> Vec<String> {
        expressions(rule).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_rule_is_a_list_of_expressions() {
        let rule =
            Rule::default().device(Device::In, "cgb0").established().verdict(Verdict::Accept);
        assert_eq!(names(&rule), ["meta", "cmp", "ct", "bitwise", "cmp", "immediate"]);
        let all = expressions(&rule);
        let (_, meta) = &all[0];
        assert_eq!(attribute(meta, 2), Some(&[0, 0, 0, 6][..]), "the incoming device");
        let (_, compared) = &all[1];
        let name = attribute(attribute(compared, 3).unwrap(), 1).unwrap();
        assert_eq!(name, b"cgb0\0\0\0\0\0\0\0\0\0\0\0\0");
        let (_, immediate) = &all[5];
        let verdict = attribute(attribute(immediate, 2).unwrap(), 2).unwrap();
        assert_eq!(attribute(verdict, 1), Some(&[0, 0, 0, 1][..]));
    }

    #[test]
    fn a_prefix_is_compared_without_its_end() {
        let rule = Rule::default().devices(Device::In, "cgv");
        let (_, compared) = &expressions(&rule)[1];
        assert_eq!(attribute(attribute(compared, 3).unwrap(), 1).unwrap(), b"cgv");
    }

    #[test]
    fn a_network_is_compared_by_its_mask() {
        let rule = Rule::default().sent_from("172.18.0.0/16".parse().unwrap());
        assert_eq!(names(&rule), ["meta", "cmp", "payload", "bitwise", "cmp"]);
        let all = expressions(&rule);
        let value = |of: &[u8], kind| attribute(attribute(of, kind).unwrap(), 1).unwrap().to_vec();
        assert_eq!(value(&all[3].1, 4), [255, 255, 0, 0]);
        assert_eq!(value(&all[4].1, 3), [172, 18, 0, 0]);
    }
}
