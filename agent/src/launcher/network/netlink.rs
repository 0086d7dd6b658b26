//! The kernel's netlink: requests as they are written, the socket that they go through, and what comes
//! back. Links, traffic control and nftables are all spoken to this way, and no crate has types for the
//! three of them.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// How long the kernel may take to answer: it waits for readers of what is changed.
const PATIENCE: i64 = 30;

/// How much the kernel sends at once at most.
const LARGEST: usize = 64 << 10;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// What messages and attributes are padded to.
const ALIGNMENT: usize = 4;

/// Attributes, one behind the other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Attributes(Vec<u8>);

/// A request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message(Vec<u8>);

/// What the kernel says of something in a listing: what is of fixed length, and attributes.
#[derive(Debug)]
pub(super) struct Entry(Vec<u8>);

/// The kernel's no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    /// In the kernel's own words, if it has any.
    reason: Option<String>,
}

/// A socket that belongs to the network namespace in which it was opened.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Attributes {
    /// Attributes behind a header, as some attributes have them nested.
    pub(super) fn behind(header: &[u8]) -> Self {
        Self(padded(header))
    }

    /// Adds an attribute.
    pub(super) fn bytes(mut self, kind: u16, payload: &[u8]) -> Self {
        const OWN: usize = 4;
        // The kernel refuses what does not have the length that it says.
        let length = u16::try_from(OWN + payload.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(padded(payload));
        self
    }

    /// Adds a text.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds a number in the machine's order.
    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_ne_bytes())
    }

    /// Adds a number in the network's order.
    pub(super) fn big_endian(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// Adds attributes as one.
    pub(super) fn nest(self, kind: u16, content: &Self) -> Self {
        const NESTED: u16 = 1 << 15;
        self.bytes(kind | NESTED, &content.0)
    }

    /// As the kernel takes them.
    #[cfg(test)]
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Message {
    /// A request of this kind.
    pub(super) fn new(
        kind: u16,
        flags: libc::c_int,
        header: &[u8],
        attributes: &Attributes,
    ) -> Self {
        let body = [padded(header), attributes.0.clone()].concat();
        let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flag_bits(flags | libc::NLM_F_REQUEST).to_ne_bytes());
        // The number, and the sender, which the kernel fills in.
        bytes.extend([0; 8]);
        bytes.extend(body);
        Self(bytes)
    }

    fn add_flags(&mut self, flags: libc::c_int) {
        let bits = flag_bits(flags).to_ne_bytes();
        self.0.iter_mut().skip(6).zip(bits).for_each(|(byte, bits)| *byte |= bits);
    }

    fn set_sequence(&mut self, sequence: u32) {
        let number = sequence.to_ne_bytes();
        self.0.iter_mut().skip(8).zip(number).for_each(|(byte, part)| *byte = part);
    }
}

impl Entry {
    /// The part of fixed length.
    pub(super) fn header<const LENGTH: usize>(&self) -> Option<[u8; LENGTH]> {
        self.0.get(..LENGTH)?.try_into().ok()
    }

    /// What an attribute behind a part of that length has.
    pub(super) fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        attribute(self.0.get(header..)?, kind)
    }
}

/// What an attribute has, among others.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// Two bits of the kind are none of its name.
    const MASK: u16 = (1 << 14) - 1;
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let found = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let payload = rest.get(4..length)?;
        if found & MASK == kind {
            return Some(payload);
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
}

/// The text of an attribute.
pub(super) fn text(payload: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(payload.strip_suffix(&[0]).unwrap_or(payload))
}

impl Netlink {
    /// Opens a socket in the network namespace of this task.
    pub(super) fn open(protocol: SockProtocol) -> Result<Self, Refusal> {
        /// What a large set of rules takes.
        const ROOM: usize = 16 << 20;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(&socket, option)?;
        }
        // Who may not have it gets an error for what is too long.
        let _ = setsockopt(&socket, sockopt::SndBufForce, &ROOM);
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel do something.
    pub(super) fn request(&mut self, message: Message) -> Result<(), Refusal> {
        self.exchange(vec![message], 0)
    }

    /// Has the kernel do several things. It confirms that message, and whatever it refuses is told before.
    pub(super) fn exchange(
        &mut self,
        mut messages: Vec<Message>,
        confirmed: usize,
    ) -> Result<(), Refusal> {
        if let Some(message) = messages.get_mut(confirmed) {
            message.add_flags(libc::NLM_F_ACK);
        }
        let first = self.sequence + 1;
        let mut last = first;
        for (index, message) in messages.iter_mut().enumerate() {
            self.sequence += 1;
            message.set_sequence(self.sequence);
            if index == confirmed {
                last = self.sequence;
            }
        }
        let bytes: Vec<u8> = messages.into_iter().flat_map(|message| message.0).collect();
        self.send(&bytes)?;
        let mut refused = None;
        loop {
            for answer in answers(&self.receive()?) {
                if answer.kind != libc::NLMSG_ERROR || answer.sequence < first {
                    continue;
                }
                let outcome = answer.outcome();
                // A batch as a whole is refused by its first message.
                let is_final =
                    answer.sequence == last || outcome.is_err() && answer.sequence == first;
                refused = refused.or(outcome.err());
                if is_final {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Lists what the kernel has.
    pub(super) fn list(&mut self, message: &Message) -> Result<Vec<Entry>, Refusal> {
        /// How often something may come in between.
        const ATTEMPTS: u32 = 5;
        let mut entries = Vec::new();
        for _ in 0..ATTEMPTS {
            entries.clear();
            if self.list_once(message.clone(), &mut entries)? {
                return Ok(entries);
            }
        }
        Err(Errno::EINTR.into())
    }

    /// Returns whether the listing is of one moment.
    fn list_once(
        &mut self,
        mut message: Message,
        entries: &mut Vec<Entry>,
    ) -> Result<bool, Refusal> {
        self.sequence += 1;
        message.add_flags(libc::NLM_F_DUMP);
        message.set_sequence(self.sequence);
        self.send(&message.0)?;
        let mut is_whole = true;
        loop {
            let bytes = self.receive()?;
            for answer in answers(&bytes).filter(|answer| answer.sequence == self.sequence) {
                is_whole &= !answer.has(libc::NLM_F_DUMP_INTR);
                match answer.kind {
                    libc::NLMSG_DONE => return answer.outcome().map(|()| is_whole),
                    libc::NLMSG_ERROR => answer.outcome()?,
                    _ => entries.push(Entry(answer.body.to_vec())),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Refusal> {
        send(self.socket.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = vec![0; LARGEST];
        loop {
            match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(length) => {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// What came back.
struct Answer<'a> {
    kind: libc::c_int,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Answer<'_> {
    fn has(&self, flag: libc::c_int) -> bool {
        self.flags & flag_bits(flag) != 0
    }

    /// Whether it says yes.
    fn outcome(&self) -> Result<(), Refusal> {
        let number = self.body.get(..4).and_then(|bytes| bytes.try_into().ok());
        match number.map_or(0, i32::from_ne_bytes) {
            0 => Ok(()),
            number => {
                let errno = Errno::from_raw(number.wrapping_neg());
                Err(Refusal { errno, reason: self.reason() })
            }
        }
    }

    /// What the kernel adds in words.
    fn reason(&self) -> Option<String> {
        /// `NLMSGERR_ATTR_MSG`.
        const MESSAGE: u16 = 1;
        if !self.has(libc::NLM_F_ACK_TLVS) {
            return None;
        }
        // Behind the number, and the header of what was asked for.
        let text = text(attribute(self.body.get(4 + HEADER..)?, MESSAGE)?).into_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// The messages among these bytes.
fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        let answer = Answer {
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?).into(),
            flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
            sequence: u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?),
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(answer)
    })
}

impl Refusal {
    /// Adds what it is likely to mean.
    pub(super) fn because(mut self, why: &str) -> Self {
        self.reason = Some(match self.reason.take() {
            Some(reason) => format!("{reason} ({why})"),
            None => why.to_owned(),
        });
        self
    }
}

/// The flags of a message, which has 16 bits for them.
fn flag_bits(flags: libc::c_int) -> u16 {
    u16::try_from(flags).unwrap_or_default()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    padded
}

fn enable(socket: &OwnedFd, option: libc::c_int) -> Result<(), Refusal> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(|_| Errno::EINVAL)?;
    let value = (&raw const on).cast();
    // SAFETY: the value is a number that outlives the call, as long as is said.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, value, length) };
    Errno::result(result).map(drop).map_err(Into::into)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}: {reason}", self.errno.desc()),
            None => f.write_str(self.errno.desc()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, reason: None }
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.reason {
            Some(_) => Self::new(Self::from(refusal.errno).kind(), refusal),
            None => refusal.errno.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let inner = Attributes::default().text(3, "ab");
        let outer = Attributes::default().number(1, 0x0102_0304).nest(2, &inner);
        let number = 0x0102_0304_u32.to_ne_bytes();
        let expected =
            [&[8, 0, 1, 0][..], &number, &[12, 0, 2, 0x80], &[7, 0, 3, 0, b'a', b'b', 0, 0]];
        assert_eq!(outer.0, expected.concat());
        assert_eq!(attribute(&outer.0, 1), Some(&number[..]));
        let nested = attribute(&outer.0, 2).unwrap();
        assert_eq!(text(attribute(nested, 3).unwrap()), "ab");
        assert_eq!(attribute(&outer.0, 3), None);
    }

    #[test]
    fn what_is_cut_short_has_no_attributes() {
        let whole = Attributes::default().text(1, "name").0;
        for length in 0..whole.len() - 3 {
            assert_eq!(attribute(&whole[..length], 1), None, "{length}");
        }
        assert_eq!(attribute(&[0, 0, 1, 0], 1), None, "shorter than its own header");
        assert_eq!(attribute(&[0xFF, 0xFF, 1, 0], 1), None);
    }

    #[test]
    fn a_message_says_its_length_and_number() {
        let mut message = Message::new(16, libc::NLM_F_CREATE, &[7], &Attributes::default());
        message.add_flags(libc::NLM_F_ACK);
        message.set_sequence(9);
        let expected = [&[20, 0, 0, 0, 16, 0, 5, 4][..], &[9, 0, 0, 0, 0, 0, 0, 0], &[7, 0, 0, 0]];
        assert_eq!(message.0, expected.concat());
    }

    #[test]
    fn a_refusal_has_the_kernels_words() {
        let error = (-libc::EPERM).to_ne_bytes();
        let words = Attributes::default().text(1, "not for you").0;
        let body = [&error[..], &[0; HEADER], &words].concat();
        let flags = flag_bits(libc::NLM_F_ACK_TLVS | libc::NLM_F_CAPPED);
        let answer = Answer { kind: libc::NLMSG_ERROR, flags, sequence: 1, body: &body };
        let refusal = answer.outcome().unwrap_err();
        assert_eq!(refusal.errno, Errno::EPERM);
        assert_eq!(refusal.to_string(), "Operation not permitted: not for you");
        let yes = Answer { body: &[0; 20], flags: 0, ..answer };
        assert!(yes.outcome().is_ok());
    }

    #[test]
    fn the_kernel_lists_the_loopback_device() {
        let mut netlink = Netlink::open(SockProtocol::NetlinkRoute).unwrap();
        let request = Message::new(libc::RTM_GETLINK, 0, &[0; 16], &Attributes::default());
        let entries = netlink.list(&request).unwrap();
        let name = |entry: &Entry| {
            entry.attribute(16, libc::IFLA_IFNAME).map(|name| text(name).into_owned())
        };
        assert!(entries.iter().any(|entry| name(entry).as_deref() == Some("lo")), "{entries:?}");
        let unknown = Message::new(
            libc::RTM_NEWLINK,
            0,
            &[0; 16],
            &Attributes::default().text(libc::IFLA_IFNAME, "none"),
        );
        assert!(netlink.request(unknown).is_err());
    }
}
