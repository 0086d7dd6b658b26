//! `cargo xtask setup`.

use anyhow::Result;

use super::compiler::{self, Rung};
use super::kernel::Series;
use super::{Part, ensure, guest_parts};
use crate::cache::Cache;
use crate::console;

/// Options of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Environment:
  SHRIKE_CACHE      the folder that everything goes to; by default $XDG_CACHE_HOME/shrike, else
                    $HOME/.cache/shrike. Remove a folder in it to have that part obtained anew.
  SHRIKE_TOOLCHAIN  how to come to a compiler with its library source:
                      distribution           from the distribution's packages
                      distribution-source    only: its rust-src of this very rustc
                      distribution-compiler  only: its own rustc, for the probes alone
                      rustup                 from rustup
                    By default the first way that works; what the toolchain has is always used.

Packages come from the Debian mirrors that this machine uses, other suites included. Nothing is
installed, and neither root nor the machine's own package state is touched.")]
pub struct Options {
    /// Only what building needs, nothing for guests
    #[arg(long, conflicts_with_all = ["kernel", "full"])]
    toolchain: bool,
    /// Another guest kernel besides 6.1 and 6.12
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<Series>,
    /// All guest kernels
    #[arg(long)]
    full: bool,
}

/// Obtains what is missing, and tells which compiler is in use.
pub fn run(cache: &Cache, options: &Options, offline: bool) -> Result<()> {
    ensure(cache, &options.parts(), offline)?;
    if let Some(compiler) = compiler::held(cache, &Rung::from_environment()?)? {
        console::note("Ready", format_args!("{compiler} for the probes"));
    }
    Ok(())
}

impl Options {
    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Toolchain];
        if !self.toolchain {
            parts.extend(guest_parts(self.series()));
        }
        parts
    }

    fn series(&self) -> Vec<Series> {
        let wanted = |series: &Series| {
            self.full || *series != Series::Newest || self.kernel.contains(series)
        };
        Series::ALL.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::setup::tool::Tool;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parts(words: &[&str]) -> Vec<Part> {
        Line::parse_from(std::iter::once("setup").chain(words.iter().copied())).options.parts()
    }

    #[test]
    fn newest_kernel_is_only_fetched_when_asked_for() {
        let newest = Part::Kernel(Series::Newest);
        assert!(!parts(&[]).contains(&newest));
        assert!(parts(&["--full"]).contains(&newest));
        assert!(parts(&["--kernel", "newest"]).contains(&newest));
        assert!(parts(&["--kernel", "newest"]).contains(&Part::Kernel(Series::V6_1)));
    }

    #[test]
    fn toolchain_alone_needs_no_guest() {
        assert_eq!(parts(&["--toolchain"]), [Part::Toolchain]);
        assert!(parts(&[]).contains(&Part::Tool(Tool::Qemu)));
    }
}
