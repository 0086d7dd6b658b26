//! `shrike record`: what the probes send, into a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use shrike_common::wire::Wire;
use shrike_common::{Header, Kind, Membership, Pid};

use crate::context::clock::Clock;
use crate::node::KernelRelease;
use crate::recording::{Origin, Recorder};
use crate::watch::{Scope, Watch, Watcher};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// Records until the scope's end, SIGINT or SIGTERM.
pub(crate) fn record(path: &Path, scope: Scope) -> anyhow::Result<()> {
    let wrong = || format!("cannot write recording {}", path.display());
    let file = File::create_new(path).with_context(wrong)?;
    let mut watch = Watch::start(scope)?;
    let hostname = nix::unistd::gethostname().context("cannot read this host's name")?;
    let kernel = KernelRelease::running().context("cannot tell the kernel's version")?;
    let clock = Clock::now().context("cannot read the clock")?;
    let origin = Origin::here(&hostname.to_string_lossy(), &kernel.to_string(), &watch.host, clock);
    let mut writer = Writer {
        recorder: Recorder::start(BufWriter::new(file), &origin).with_context(wrong)?,
        scope,
        count: 0,
        own: Pid(std::process::id()),
        shown: Instant::now(),
    };
    tracing::info!("recording to {}", path.display());
    let outcome = watch.run(&mut writer)?;
    let Writer { recorder, count, .. } = writer;
    outcome.and_then(|()| recorder.finish()?.into_inner()?.sync_all()).with_context(wrong)?;
    tracing::info!("{count} events were recorded, {} were lost", watch.lost()?);
    Ok(())
}

/// Writes what is within the scope.
struct Writer {
    recorder: Recorder<BufWriter<File>>,
    scope: Scope,
    count: u64,
    own: Pid,
    shown: Instant,
}

impl Watcher for Writer {
    fn record(&mut self, record: &[u8]) -> io::Result<()> {
        let Some(header) = Header::view(record, 0) else { return Ok(()) };
        let is_member = header.membership == Membership::Member as u32;
        let kind = Kind::from_code(header.kind);
        let is_within = kind.is_some_and(|kind| self.scope.contains(kind, is_member));
        if !is_within || header.tgid == self.own {
            return Ok(());
        }
        // The outcome is a part of an event.
        self.count += u64::from(kind != Some(Kind::Outcome));
        self.recorder.record(record)
    }

    fn pause(&mut self) -> io::Result<bool> {
        if io::stderr().is_terminal() && self.shown.elapsed() >= PROGRESS {
            self.shown = Instant::now();
            eprint!("\r{} events", self.count);
        }
        Ok(true)
    }
}
