//! What `shrike run` is told, checked: the rest of the agent need not ask again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;
use shrike_common::Lane;
use shrike_rules::Selection;

use crate::context::runtime::Endpoint;

/// What `shrike run` is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Rule files and folders, in order.
    pub(crate) rules: Vec<PathBuf>,
    /// Which rules are in force.
    pub(crate) selection: Selection,
    /// Where alerts are posted to.
    pub(crate) webhooks: Vec<WebhookUrl>,
    /// Where metrics and health are served.
    pub(crate) metrics: SocketAddr,
    /// The Unix socket that alerts are sent to clients of.
    pub(crate) socket: PathBuf,
    /// The Unix socket at which the agent tells what runs.
    pub(crate) agent_socket: PathBuf,
    /// The folder of what an agent leaves for the next one.
    pub(crate) state: PathBuf,
    /// The folder of what outlives the agent in the kernel; if not given, nothing does.
    pub(crate) pins: Option<PathBuf>,
    /// Where container runtimes are asked beside the usual places; `None` if none is to be asked.
    pub(crate) runtimes: Option<Vec<Endpoint>>,
    /// Whether the service accounts of pods are read off their tokens.
    pub(crate) service_accounts: bool,
    /// How alerts are written to standard output.
    pub(crate) format: Format,
    /// The sizes of ring buffers that differ from the default, in bytes.
    pub(crate) ring_bytes: BTreeMap<Lane, u32>,
    /// The name of this node in alerts.
    pub(crate) hostname: String,
    /// Whether standard error takes colours.
    pub(crate) colourful_log: bool,
}

/// How alerts are written to standard output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// One JSON object a line.
    Json,
    /// One line for a person.
    Text {
        /// With colours.
        colour: bool,
    },
}

/// The address of a webhook: `http` or `https`, with a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct WebhookUrl(Uri);

/// The size of a lane's ring buffer, as `LANE=SIZE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RingSize {
    /// The lane.
    pub(crate) lane: Lane,
    /// The size in bytes: a power of two, at least a page.
    pub(crate) bytes: u32,
}

/// Why an option is refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum OptionError {
    #[error("expected an address like https://alerts.example.org/path")]
    Url,
    #[error("the scheme must be http or https")]
    Scheme,
    #[error("a user name or password in the address is not supported")]
    Credentials,
    #[error("expected LANE=SIZE, for example bulk=8MiB")]
    RingSize,
    #[error("there is no lane {0:?}; the lanes are critical, process and bulk")]
    Lane(String),
    #[error("cannot read {0:?} as a size; use bytes, KiB or MiB, for example 512KiB")]
    Size(String),
    #[error("the size must be a power of two from 4KiB to 1024MiB")]
    NotPowerOfTwo,
}

impl WebhookUrl {
    /// The address.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WebhookUrl {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let uri: Uri = text.parse().map_err(|_| OptionError::Url)?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(OptionError::Scheme),
            None => return Err(OptionError::Url),
        }
        let authority = uri.authority().ok_or(OptionError::Url)?;
        if authority.as_str().contains('@') {
            return Err(OptionError::Credentials);
        }
        Ok(Self(uri))
    }
}

impl FromStr for RingSize {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        /// The kernel asks for whole pages.
        const PAGE: u32 = 4096;
        const MAX: u32 = 1 << 30;
        let (name, size) = text.split_once('=').ok_or(OptionError::RingSize)?;
        let lane = Lane::ALL
            .into_iter()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| OptionError::Lane(name.to_owned()))?;
        let bytes = bytes(size).ok_or_else(|| OptionError::Size(size.to_owned()))?;
        if !bytes.is_power_of_two() || !(PAGE..=MAX).contains(&bytes) {
            return Err(OptionError::NotPowerOfTwo);
        }
        Ok(Self { lane, bytes })
    }
}

fn bytes(size: &str) -> Option<u32> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("B", 1), ("", 1)];
    let (number, unit) =
        units.iter().find_map(|(suffix, unit)| Some((size.strip_suffix(suffix)?, unit)))?;
    number.trim_end().parse::<u32>().ok()?.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_of_rings() {
        let size = |text: &str| text.parse::<RingSize>().map(|size| (size.lane, size.bytes));
        assert_eq!(size("bulk=16KiB"), Ok((Lane::Bulk, 16 << 10)));
        assert_eq!(size("process=1MiB"), Ok((Lane::Process, 1 << 20)));
        assert_eq!(size("bulk=4096"), Ok((Lane::Bulk, 4096)));
        assert_eq!(size("bulk"), Err(OptionError::RingSize));
        assert_eq!(size("slow=1MiB"), Err(OptionError::Lane("slow".into())));
        assert_eq!(size("bulk=many"), Err(OptionError::Size("many".into())));
        assert_eq!(size("bulk=9999999999"), Err(OptionError::Size("9999999999".into())));
        for wrong in ["bulk=12KiB", "bulk=2KiB", "bulk=0", "bulk=2048MiB"] {
            assert_eq!(size(wrong), Err(OptionError::NotPowerOfTwo), "{wrong}");
        }
    }

    #[test]
    fn reads_addresses_of_webhooks() {
        let url = |text: &str| text.parse::<WebhookUrl>();
        assert!(url("https://alerts.example.org/x?y=z").unwrap().is_https());
        assert!(!url("http://127.0.0.1:2801").unwrap().is_https());
        assert_eq!(url("http://[::1]:80/").unwrap().to_string(), "http://[::1]:80/");
        assert_eq!(url("ftp://x/"), Err(OptionError::Scheme));
        assert_eq!(url("/alerts"), Err(OptionError::Url));
        assert_eq!(url("http://user:secret@host/"), Err(OptionError::Credentials));
    }
}
