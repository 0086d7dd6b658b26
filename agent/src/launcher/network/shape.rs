//! How fast a device may send: token buckets (`tc-tbf(8)`).
//!
//! What a container is sent is held up at the host's end of its pair, where it leaves the host. What it sends
//! arrives there, and nothing that arrives can be held up: it is handed to a device of its own, whose queue
//! gives it back later. The container has none of these devices, whatever its capabilities.

use nix::errno::Errno;

use super::netlink::{Attributes, Entry, Message, Netlink, Refusal, attribute};
use crate::launcher::spec::BitRate;

/// `struct tcmsg`: the family, the device, the handle, the parent, and what else a filter has.
const HEADER: usize = 20;

/// Where a queue is that holds up everything.
const ROOT: u32 = u32::MAX;

/// Where what arrives can be looked at (`TC_H_INGRESS`), and the handle of what does.
const INGRESS: u32 = 0xFFFF_FFF1;
const INGRESS_HANDLE: u32 = 0xFFFF_0000;

/// The options of a token bucket (`TCA_TBF_*`).
const PARAMETERS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;

/// Has a device send no faster, and sees that it took that.
pub(super) fn limit(netlink: &mut Netlink, index: u32, rate: BitRate) -> Result<(), Refusal> {
    let attributes =
        Attributes::default().text(libc::TCA_KIND, "tbf").nest(libc::TCA_OPTIONS, &bucket(rate));
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let at = header(index, 0x0001_0000, ROOT, 0);
    request(netlink, Message::new(libc::RTM_NEWQDISC, flags, &at, &attributes))?;
    let (found, wanted) = (rate_of(netlink, index)?, rate.bytes_per_second());
    if found == Some(wanted) {
        return Ok(());
    }
    let why = format!("the rate should be {wanted} bytes in a second and is {found:?}");
    Err(Refusal::from(Errno::EPROTO).because(&why))
}

/// How many bytes a device may send in a second, as the kernel says.
fn rate_of(netlink: &mut Netlink, index: u32) -> Result<Option<u64>, Refusal> {
    let at = header(index, 0, 0, 0);
    let request = Message::new(libc::RTM_GETQDISC, 0, &at, &Attributes::default());
    let rate = |entry: &Entry| {
        let header: [u8; HEADER] = entry.header()?;
        let own = header.get(4..8)? == index.to_ne_bytes();
        let options = entry.attribute(HEADER, libc::TCA_OPTIONS)?;
        let is_bucket = entry.attribute(HEADER, libc::TCA_KIND)? == b"tbf\0";
        if !own || !is_bucket {
            return None;
        }
        // The larger one is there if the other one is too small for it.
        if let Some(rate) = attribute(options, RATE64) {
            return Some(u64::from_ne_bytes(rate.try_into().ok()?));
        }
        let rate = attribute(options, PARAMETERS)?.get(8..12)?;
        Some(u32::from_ne_bytes(rate.try_into().ok()?).into())
    };
    Ok(netlink.list(&request)?.iter().find_map(rate))
}

/// Has everything that arrives at a device go through another one's queue first.
pub(super) fn divert(netlink: &mut Netlink, from: u32, to: u32) -> Result<(), Refusal> {
    /// `ETH_P_ALL`.
    const ALL: u16 = 3;
    // The first priority, and below it the protocol.
    let which = 1 << 16 | u32::from(ALL.to_be());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let ingress = Attributes::default().text(libc::TCA_KIND, "ingress");
    let at = header(from, INGRESS_HANDLE, INGRESS, 0);
    request(netlink, Message::new(libc::RTM_NEWQDISC, flags, &at, &ingress))?;
    let filter = Attributes::default()
        .text(libc::TCA_KIND, "u32")
        .nest(libc::TCA_OPTIONS, &everything_to(to));
    let at = header(from, 0, INGRESS_HANDLE, which);
    request(netlink, Message::new(libc::RTM_NEWTFILTER, flags, &at, &filter))
}

/// What is missing is named by what the kernel cannot find.
fn request(netlink: &mut Netlink, message: Message) -> Result<(), Refusal> {
    netlink.request(message).map_err(|refusal| match refusal.errno {
        Errno::ENOENT => refusal.because("is there no module for it?"),
        _ => refusal,
    })
}

/// The options of a token bucket.
fn bucket(rate: BitRate) -> Attributes {
    /// How long something may wait, in parts of a second.
    const PATIENCE: u64 = 10;
    /// What may be sent at once, likewise.
    const BURSTS: u64 = 50;
    /// It must be no less than what a device may be handed at once.
    const LEAST: u64 = 16 << 10;
    let bytes = rate.bytes_per_second();
    let burst = narrow((bytes / BURSTS).max(LEAST));
    let limit = narrow(bytes / PATIENCE).saturating_add(burst);
    let specification = rate_specification(narrow(bytes));
    // The second rate is for peaks: there is none.
    let parameters = [
        &specification[..],
        &[0; 12],
        &limit.to_ne_bytes(),
        // By time in ticks, and for tables of older kernels.
        &[0; 8],
    ];
    Attributes::default()
        .bytes(PARAMETERS, &parameters.concat())
        .bytes(RATE64, &bytes.to_ne_bytes())
        .number(BURST, burst)
}

/// `struct tc_ratespec`: as Ethernet counts, with nothing added.
fn rate_specification(bytes: u32) -> [u8; 12] {
    const ETHERNET: u8 = 1;
    let [a, b, c, d] = bytes.to_ne_bytes();
    [0, ETHERNET, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

/// The options of a filter that hands everything to a device.
fn everything_to(index: u32) -> Attributes {
    const SELECTOR: u16 = 5;
    const ACTION: u16 = 7;
    const ACTION_KIND: u16 = 1;
    const ACTION_OPTIONS: u16 = 2;
    const PARAMETERS: u16 = 2;
    /// `TC_ACT_STOLEN`, and `TCA_EGRESS_REDIR`.
    const STOLEN: u32 = 4;
    const REDIRECT: u32 = 1;
    // `struct tc_u32_sel` with one key, which is of no bits: it ends there.
    let selector = [&[1, 0, 1][..], &[0; 13], &[0; 16]].concat();
    // `struct tc_mirred`.
    let numbers = [0, 0, STOLEN, 0, 0, REDIRECT, index];
    let parameters: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    let options = Attributes::default().bytes(PARAMETERS, &parameters);
    let first = Attributes::default().text(ACTION_KIND, "mirred").nest(ACTION_OPTIONS, &options);
    Attributes::default()
        .bytes(SELECTOR, &selector)
        .nest(ACTION, &Attributes::default().nest(1, &first))
}

fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let parts = [0, index, handle, parent, info].into_iter().flat_map(u32::to_ne_bytes);
    header.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    header
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(rate: &str) -> (Vec<u8>, u64, u32) {
        let bytes = Attributes::default().nest(2, &bucket(rate.parse().unwrap())).into_bytes();
        let options = attribute(&bytes, 2).unwrap().to_vec();
        let part = |kind| attribute(&options, kind).unwrap();
        let rate = u64::from_ne_bytes(part(4).try_into().unwrap());
        (part(1).to_vec(), rate, u32::from_ne_bytes(part(6).try_into().unwrap()))
    }

    #[test]
    fn a_bucket_has_the_rate_in_bytes() {
        let (parameters, rate, burst) = bucket_of("8m");
        assert_eq!((parameters.len(), rate, burst), (36, 1_000_000, 20_000));
        assert_eq!(parameters[8..12], 1_000_000_u32.to_ne_bytes());
        assert_eq!(parameters[24..28], 120_000_u32.to_ne_bytes());
        let (_, _, burst) = bucket_of("64k");
        assert_eq!(burst, 16 << 10, "a packet must fit");
        let (parameters, rate, _) = bucket_of("100g");
        assert_eq!(rate, 12_500_000_000);
        assert_eq!(parameters[8..12], [0xFF; 4], "the other one counts");
    }

    #[test]
    fn a_filter_hands_everything_over() {
        let bytes = Attributes::default().nest(2, &everything_to(9)).into_bytes();
        let options = attribute(&bytes, 2).unwrap();
        assert_eq!(attribute(options, 5).unwrap().len(), 32);
        let first = attribute(attribute(options, 7).unwrap(), 1).unwrap();
        assert_eq!(attribute(first, 1).unwrap(), b"mirred\0");
        let parameters = attribute(attribute(first, 2).unwrap(), 2).unwrap();
        assert_eq!(parameters.len(), 28);
        assert_eq!(parameters[24..], 9_u32.to_ne_bytes());
    }
}
