//! Shares of a lane: when its ring buffer fills up because somebody floods it, what others do must
//! still find room. From half full on, each cgroup may put in so much at a time; the fuller the ring,
//! the less, but never less than a little. The last quarter is for breaches, which no flood can be allowed
//! to hide, and the last of that for the agent itself.

use aya_ebpf::btf_maps::{LruHashMap, RingBuf};
use aya_ebpf::helpers::generated::bpf_ringbuf_query;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::btf_map;
use shrike_common::Lane;

use crate::kernel::fetch_add;

/// `BPF_RB_AVAIL_DATA` and `BPF_RB_RING_SIZE`.
const USED: u64 = 0;
const SIZE: u64 = 1;

/// For how long a share is, about 134 ms: a power of two in nanoseconds.
const WINDOW: u32 = 27;

/// What anybody may put in while the ring is not full to its last quarter, in bytes: a few records.
const LEAST: u64 = 8192;

/// The part of what is free that one cgroup may take.
const PART: u64 = 8;

/// How many cgroups can flood at the same time, each in each lane; of more, those that were seen last
/// are held to their shares.
const GROUPS: usize = 1024;

#[btf_map]
static SHARES: LruHashMap<Group, Share, GROUPS> = LruHashMap::new();

#[derive(Clone, Copy)]
#[repr(C)]
struct Group {
    cgroup: u64,
    lane: u64,
}

/// What a cgroup has put in.
#[derive(Clone, Copy)]
#[repr(C)]
struct Share {
    window: u64,
    bytes: u64,
}

/// How full a ring is.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    used: u64,
    size: u64,
}

impl Level {
    /// How full it is now.
    #[inline(always)]
    pub(crate) fn of<const BYTES: usize>(ring: &RingBuf<u8, BYTES>) -> Self {
        let query = |what| {
            // SAFETY: it is a ring buffer, and the helper reads it only.
            unsafe { bpf_ringbuf_query((&raw const *ring).cast_mut().cast(), what) }
        };
        Self { used: query(USED), size: query(SIZE) }
    }

    /// Whether a record of about `bytes` may be put in.
    #[inline(always)]
    pub(crate) fn has_room(self, lane: Lane, bytes: u64) -> bool {
        self.used < self.size / 2 || self.has_share(lane, bytes)
    }

    /// Whether there is more than what the agent itself needs.
    #[inline(always)]
    pub(crate) fn has_last_room(self) -> bool {
        self.used < self.size / 16 * 15
    }

    #[inline(never)]
    fn has_share(self, lane: Lane, bytes: u64) -> bool {
        let last = self.size / 4 * 3;
        if self.used >= last {
            return false;
        }
        let allowed = ((last - self.used) / PART).max(LEAST);
        let group = Group {
            // SAFETY: the helper has no precondition.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            lane: lane as u64,
        };
        // SAFETY: as above.
        let window = unsafe { bpf_ktime_get_boot_ns() } >> WINDOW;
        if let Some(share) = SHARES.get_ptr_mut(group) {
            // SAFETY: the look-up gave a valid entry. Others of the cgroup change it at the same time:
            // a little more or less is no harm.
            unsafe {
                if (*share).window != window {
                    (*share).window = window;
                    (*share).bytes = 0;
                }
                fetch_add(&raw mut (*share).bytes, bytes) < allowed
            }
        } else {
            // If there is no room for it, nobody is held to a share.
            let _ = SHARES.insert(group, Share { window, bytes }, 0);
            true
        }
    }
}
