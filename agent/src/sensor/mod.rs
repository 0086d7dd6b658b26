//! From the kernel to a stream of records: loads the probes, attaches them, reads their lanes in
//! order. The only part of the agent that knows how the kernel looks inside.

mod attach;
mod books;
mod btf;
mod cgroup;
mod home;
mod label;
mod lane;
mod load;
mod order;
mod plan;
mod roll;
mod survival;
mod symbol;
mod wake;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::Ebpf;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use shrike_common::{
    Backend, CgroupId, ContainerId, Counter, Kind, Lane, NsId, Pid, StartTime, Wake,
};

use crate::node::LsmList;
use crate::plan::Plans;

use attach::Kept;
pub(crate) use attach::{ProbeState, prospects};
use books::Books;
pub(crate) use books::BooksError;
pub(crate) use btf::Btf;
pub(crate) use cgroup::root as cgroup_root;
use lane::LaneReader;
use order::Order;
use plan::{Exits, PlanWriter};
use survival::Former;
pub(crate) use survival::{Pins, PinsError};
use wake::WakeWord;

/// Where the running kernel shows its type information.
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// How long an event that is not critical may wait while the agent is at work: so that it works on
/// many at a time.
const NAP: Duration = Duration::from_millis(5);

/// The loaded and attached probes.
pub(crate) struct Sensor {
    ebpf: Ebpf,
    probes: Vec<ProbeState>,
    lanes: Vec<LaneReader>,
    books: Books,
    order: Order,
    plan: PlanWriter,
    lsm_active: bool,
    wake: WakeWord,
    /// What outlives the agent, if anything does.
    kept: Option<Kept>,
    /// The former agent's probes, while they are being detached.
    former: Option<Former>,
    /// How many breaches of the time when no agent ran are lost.
    lost_unattended: u64,
    /// When the probes were attached.
    start: u64,
    /// Whether the last reading found something.
    is_busy: bool,
    /// Everything that happened before this boot time was handed out.
    seen: u64,
    /// What the probes say of themselves, in builds that let them.
    #[cfg(feature = "probe-log")]
    messages: aya_log::EbpfLogger<&'static dyn log::Log>,
}

/// What the sensor needs to know to start.
#[derive(Debug)]
pub(crate) struct SensorOptions {
    /// The sizes of the lanes' ring buffers in bytes; the object's own where a lane is missing.
    pub(crate) ring_bytes: BTreeMap<Lane, u32>,
    /// The active LSMs.
    pub(crate) lsms: LsmList,
    /// What the probes are to send.
    pub(crate) plans: Plans,
    /// The agent's own process.
    pub(crate) own: (Pid, StartTime),
    /// The host's mount namespace: a task of another one may be a container's.
    pub(crate) init_mnt_ns: NsId,
    /// The folder of what outlives the agent; if not given, nothing does.
    pub(crate) pins: Option<PathBuf>,
}

/// Why the sensor could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SensorError {
    #[error(transparent)]
    Btf(#[from] btf::BtfError),
    #[error("cannot read the kernel's type information")]
    AyaBtf(#[from] aya::BtfError),
    #[error(transparent)]
    Load(#[from] load::LoadError),
    #[error(transparent)]
    Lane(#[from] lane::LaneError),
    #[error(transparent)]
    Books(#[from] BooksError),
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    #[error(transparent)]
    Wake(#[from] wake::WakeError),
    #[error("cannot take over what the former agent has left; `shrike cleanup` removes it")]
    Pins(#[from] PinsError),
    #[cfg(feature = "probe-log")]
    #[error("cannot read the probes' messages")]
    Messages(#[from] aya_log::Error),
    #[error("no probe could be attached: {0}")]
    Nothing(String),
}

impl Sensor {
    /// Loads and attaches the probes. Events are recorded from here on.
    pub(crate) fn start(options: &SensorOptions) -> Result<Self, SensorError> {
        let btf = Btf::read(Path::new(VMLINUX_BTF))?;
        let pins = options.pins.as_deref().and_then(open_pins);
        let former = pins.as_ref().and_then(Pins::former);
        let is_taken_over = match &pins {
            Some(pins) => pins.take_over(&load::object()?)?,
            None => false,
        };
        let mut ebpf = load::load(&btf, options, pins.as_ref())?;
        if let Some(pins) = &pins {
            pins.leave(&ebpf)?;
        }
        let mut kept = pins.map(Kept::new);
        let lanes = LaneReader::open(&mut ebpf)?;
        let books = Books::open(&mut ebpf)?;
        let wake = WakeWord::open(&mut ebpf)?;
        #[cfg(feature = "probe-log")]
        let messages = aya_log::EbpfLogger::init(&mut ebpf)?;
        // Before a probe runs that would follow it.
        let mut plan = PlanWriter::open(&mut ebpf, options.own)?;
        plan.follow(&options.plans, &Exits::default())?;
        if is_taken_over {
            tracing::info!("membership of containers is taken over from the former agent");
            plan.roll_called()?;
        }
        drop(btf);
        let mut probes = attach::probes();
        let lsm_active = options.lsms.has_bpf();
        attach::attach(&mut probes, &mut ebpf, lsm_active, &options.plans, kept.as_mut())?;
        let start = boot_time();
        if probes.iter().all(|state| state.attached.is_none()) {
            let reason = probes
                .first()
                .and_then(|state| state.refused.first())
                .map_or_else(String::new, |refused| refused.reason.to_string());
            return Err(SensorError::Nothing(reason));
        }
        // Only now is it known which outcomes will be told.
        let exits = Exits::of(&probes);
        if !exits.is_empty() {
            plan.follow(&options.plans, &exits)?;
        }
        if let Some(kept) = &kept {
            // This agent's probes are attached: those of the former one may go.
            kept.pins().settle()?;
        }
        // What they have noticed until then is told by them.
        if former.as_ref().is_some_and(|former| !former.wait_until_gone()) {
            tracing::warn!("the former agent's probes are still attached");
        }
        if let Err(error) = roll::call() {
            tracing::warn!(
                "cannot read /proc: {error}; containers that run already are not known as such"
            );
        }
        plan.roll_called()?;
        Ok(Self {
            ebpf,
            probes,
            lanes,
            books,
            order: Order::default(),
            plan,
            lsm_active,
            wake,
            kept,
            lost_unattended: former.as_ref().map_or(0, Former::lost),
            former,
            start,
            is_busy: true,
            seen: boot_time(),
            #[cfg(feature = "probe-log")]
            messages,
        })
    }

    /// Follows other plans from now on: the records of events that follow them carry the generation
    /// that is returned, or a later one. No event is lost that one of both plans wants, unless the
    /// new one needs a probe that cannot be attached.
    pub(crate) fn follow(&mut self, plans: &Plans) -> Result<u32, SensorError> {
        let Self { probes, ebpf, kept, .. } = self;
        attach::attach(probes, ebpf, self.lsm_active, plans, kept.as_mut())?;
        let generation = self.plan.follow(plans, &Exits::of(&self.probes))?;
        attach::detach_unneeded(&mut self.probes, &mut self.ebpf);
        Ok(generation)
    }

    /// Whether the last reading found something.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// The boot time before which everything that was sent has been handed out, in nanoseconds.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// The cgroups of the containers that were there before this.
    pub(crate) fn homes(&self) -> Vec<(CgroupId, ContainerId)> {
        home::read(&self.ebpf).unwrap_or_else(|error| {
            tracing::warn!(
                "cannot read which cgroups are containers': {error}; those that run already are named by where \
                 their tasks are now"
            );
            Vec::new()
        })
    }

    /// How many breaches are lost that were noticed while no agent ran.
    pub(crate) fn lost_unattended(&self) -> u64 {
        self.lost_unattended
    }

    /// The generation of the plan that the probes follow.
    pub(crate) fn generation(&self) -> u32 {
        self.plan.generation()
    }

    /// The probes and how they are attached.
    pub(crate) fn probes(&self) -> &[ProbeState] {
        &self.probes
    }

    /// The backends that run probes which can answer.
    pub(crate) fn backends(&self) -> impl Iterator<Item = Backend> {
        let answers = |state: &&ProbeState| {
            state.probe.kinds.iter().any(|kind| matches!(kind, Kind::Heartbeat | Kind::Sysctl))
        };
        self.probes.iter().filter(answers).filter_map(|state| Some(state.attached?.backend()))
    }

    /// Waits for records, at most for `timeout`. Returns which ones of `others` are readable, or closed.
    ///
    /// While there is something to do it only takes naps, of which critical events wake it: under
    /// load no event wakes anybody. After a nap in which nothing happened it sleeps, until the first
    /// event.
    pub(crate) fn wait<const N: usize>(
        &mut self,
        others: [BorrowedFd<'_>; N],
        timeout: Duration,
    ) -> Result<[bool; N], Errno> {
        let (wake, timeout) = match (self.order.is_empty(), self.is_busy) {
            // What is kept becomes due as soon as the lanes were read once more.
            (false, _) => (Wake::Never, Duration::ZERO),
            (true, true) => (Wake::Critical, NAP),
            (true, false) => (Wake::Any, timeout),
        };
        self.wake.want(wake);
        // Asked after that: what a lane has by now wakes nobody.
        let lanes =
            self.lanes.iter().filter(|reader| Wake::of(reader.lane()) as u64 <= wake as u64);
        let mut fds: Vec<PollFd<'_>> = others
            .into_iter()
            .chain(lanes.map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let polled = poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
        let mut is_ready = [false; N];
        for (is_ready, fd) in is_ready.iter_mut().zip(&fds) {
            *is_ready = fd.any().unwrap_or(false);
        }
        self.wake.want(Wake::Never);
        match polled {
            Ok(_) => Ok(is_ready),
            Err(Errno::EINTR) => Ok([false; N]),
            Err(errno) => Err(errno),
        }
    }

    /// Reads a bite from every lane and hands out the records that are due, in the order of time.
    pub(crate) fn read(&mut self, each: impl FnMut(&[u8])) {
        #[cfg(feature = "probe-log")]
        self.messages.flush();
        // Before the lanes are read: an event of an earlier time is in its lane already, unless
        // its probe is being preempted this very moment.
        let now = boot_time();
        if let Some(former) = &mut self.former {
            // Asked before: what it sends until then is read.
            let is_gone = former.is_gone();
            former.drain(&mut self.order, self.start);
            if is_gone {
                self.former = None;
            }
        }
        let watermark =
            self.lanes.iter_mut().map(|lane| lane.bite(&mut self.order, now)).min().unwrap_or(now);
        self.is_busy = !self.order.is_empty();
        self.seen = watermark;
        self.order.drain(watermark, each);
    }

    /// A total of the probes' books.
    pub(crate) fn total(&self, counter: Counter, kind: Kind) -> Result<u64, BooksError> {
        self.books.total(counter, kind)
    }

    /// For each attached probe, the runs that the kernel skipped.
    pub(crate) fn missed(&self) -> impl Iterator<Item = (&'static str, io::Result<u64>)> {
        self.probes.iter().filter_map(|state| {
            Some((state.attached?.program(), books::missed(&self.ebpf, state)?))
        })
    }

    /// For each lane, how many sequence numbers never arrived.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (Lane, u64)> {
        self.lanes.iter().map(|reader| (reader.lane(), reader.missing()))
    }
}

/// Without the folder, the agent watches all the same.
fn open_pins(dir: &Path) -> Option<Pins> {
    match Pins::open(dir) {
        Ok(pins) => Some(pins),
        Err(error) => {
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            tracing::warn!(
                "{error}{cause}; what containers do while no agent runs will not be told by the next one"
            );
            None
        }
    }
}

/// Nanoseconds of boot time, the clock of the records.
pub(crate) fn boot_time() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |now| u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}
