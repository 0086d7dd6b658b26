//! How much a container may use.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BlockIo, SpecError};

/// What a container may use at most; as much as there is where nothing is said.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Resources {
    /// Memory.
    pub(crate) memory: Option<Size>,
    /// Memory that is not taken away from it while others have more than theirs.
    pub(crate) memory_reservation: Option<Size>,
    /// Memory and swap.
    pub(crate) memory_swap: Option<Swap>,
    /// Processors, in parts.
    pub(crate) cpus: Option<Cpus>,
    /// Its part of the processors beside others who want them, as against their 1024.
    pub(crate) cpu_shares: Option<u64>,
    /// The processors that it runs on.
    pub(crate) cpuset_cpus: Option<CpuList>,
    /// Processes and threads.
    pub(crate) pids: Option<u32>,
    /// Block devices.
    pub(crate) block: BlockIo,
}

/// A limit of memory and swap together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Swap {
    /// This much of both.
    Together(Size),
    /// As much swap as there is.
    Unlimited,
}

/// A number of processors, in millionths.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Cpus(u64);

/// Some of the processors, as ranges with both ends in them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct CpuList(Vec<(u64, u64)>);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower.get(digits.len()..).unwrap_or_default() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(SpecError::Size),
        };
        let number: u64 = digits.parse().map_err(|_| SpecError::Size)?;
        number.checked_mul(1 << shift).map(Self).ok_or(SpecError::Size)
    }
}

impl FromStr for Swap {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "-1" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Together).map_err(|_| SpecError::Swap),
        }
    }
}

impl Cpus {
    /// What of a period that is.
    pub(crate) fn microseconds_in(self, period: u64) -> u64 {
        self.0.saturating_mul(period) / Self::WHOLE
    }

    const WHOLE: u64 = 1_000_000;
    const LEAST: u64 = Self::WHOLE / 100;
}

impl FromStr for Cpus {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const DIGITS: usize = 6;
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole)
            || !is_number(part)
            || part.len() > DIGITS
            || text.len() < 1 + part.len()
        {
            return Err(SpecError::Cpus);
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| SpecError::Cpus);
        let whole = if whole.is_empty() { 0 } else { number(whole)? };
        let part = number(&format!("{part:0<DIGITS$}"))?;
        let cpus = whole.checked_mul(Self::WHOLE).and_then(|whole| whole.checked_add(part));
        cpus.filter(|&cpus| cpus >= Self::LEAST).map(Self).ok_or(SpecError::Cpus)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::WHOLE, self.0 % Self::WHOLE);
        f.write_str(format!("{whole}.{part:06}").trim_end_matches('0').trim_end_matches('.'))
    }
}

impl CpuList {
    /// Whether these ranges are the same processors.
    pub(crate) fn is(&self, ranges: &[(u64, u64)]) -> bool {
        let set = |ranges: &[(u64, u64)]| -> BTreeSet<u64> {
            ranges.iter().flat_map(|&(first, last)| first..=last).collect()
        };
        set(&self.0) == set(ranges)
    }
}

impl FromStr for CpuList {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        /// No kernel has more (`NR_CPUS`).
        const MOST: u64 = 8192;
        let number = |text: &str| match text.parse() {
            Ok(number) if number < MOST && !text.starts_with('+') => Ok(number),
            _ => Err(SpecError::CpuList),
        };
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = (number(first)?, number(last)?);
            if range.0 <= range.1 { Ok(range) } else { Err(SpecError::CpuList) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.iter().map(|(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        });
        f.write_str(&ranges.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64k", 65536), ("1GiB", 1 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for bad in ["", "m", "-1", "1.5g", "1t", "99999999999g", "1 m"] {
            assert_eq!(bad.parse::<Size>(), Err(SpecError::Size), "{bad:?}");
        }
    }

    #[test]
    fn reads_processors() {
        for (text, shown) in [("1", "1"), ("0.5", "0.5"), ("1.50", "1.5"), (".01", "0.01")] {
            assert_eq!(text.parse::<Cpus>().unwrap().to_string(), shown);
        }
        assert_eq!("1.5".parse::<Cpus>().unwrap().microseconds_in(100_000), 150_000);
        for bad in ["", ".", "0", "0.001", "-1", "+1", "1e3", "1,5", "0.0000001", "99999999999999"]
        {
            assert_eq!(bad.parse::<Cpus>(), Err(SpecError::Cpus), "{bad:?}");
        }
        let list: CpuList = "0-2,4".parse().unwrap();
        assert_eq!(list.to_string(), "0-2,4");
        assert!(list.is(&[(4, 4), (0, 1), (1, 2)]) && !list.is(&[(0, 4)]));
        for bad in ["", "a", "2-1", "0,", "0-", "-1", "+1", "9000"] {
            assert_eq!(bad.parse::<CpuList>(), Err(SpecError::CpuList), "{bad:?}");
        }
    }

    #[test]
    fn reads_limits_of_swap() {
        assert_eq!("-1".parse(), Ok(Swap::Unlimited));
        assert_eq!("64k".parse(), Ok(Swap::Together(Size(65536))));
        assert_eq!("-2".parse::<Swap>(), Err(SpecError::Swap));
    }
}
