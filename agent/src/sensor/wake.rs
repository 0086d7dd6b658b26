//! When the probes wake the agent. Waking somebody costs the task that an event belongs to more than
//! the event itself, so the agent says when it wants that: not while it works, and at once after it
//! has found nothing to do. See `ebpf/src/wake.rs`.

use std::io;
use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::Map;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use shrike_common::Wake;

/// The word that both sides share.
pub(super) struct WakeWord {
    page: NonNull<AtomicU64>,
    /// Keeps the map's memory.
    _map: Map,
}

/// Why the word cannot be shared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakeError {
    #[error("the eBPF object has no array WAKE")]
    NoMap,
    #[error("cannot share memory with the probes")]
    Share(#[source] io::Error),
}

// SAFETY: the word is only used atomically, and lives as long as this.
unsafe impl Send for WakeWord {}

const PAGE: NonZero<usize> = NonZero::new(4096).expect("it is not zero");

impl WakeWord {
    /// Shares the word with the loaded probes.
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, WakeError> {
        let map = ebpf.take_map("WAKE").ok_or(WakeError::NoMap)?;
        let Map::Array(data) = &map else { return Err(WakeError::NoMap) };
        // SAFETY: a new mapping of a whole page, which the map has.
        let page = unsafe {
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            mmap(None, PAGE, access, MapFlags::MAP_SHARED, data.fd(), 0)
        };
        let page = page.map_err(|errno| WakeError::Share(errno.into()))?;
        Ok(Self { page: page.cast(), _map: map })
    }

    /// Says from now on what is worth to be woken for. An event that is sent after this wakes; one
    /// that was sent before is in its lane, so the lanes must be looked at once more.
    pub(super) fn want(&self, wake: Wake) {
        // SAFETY: the mapping lives as long as this.
        unsafe { self.page.as_ref() }.store(wake as u64, Ordering::SeqCst);
    }
}

impl Drop for WakeWord {
    fn drop(&mut self) {
        // SAFETY: nothing points into the mapping any more. That it fails cannot be helped.
        let _ = unsafe { munmap(self.page.cast(), PAGE.get()) };
    }
}
