//! Attaches each probe by the best way that this kernel allows, and says which one that was.

use std::error::Error;
use std::iter;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use aya::pin::PinError;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Btf as AyaBtf, Ebpf};
use shrike_common::{Attach, Backend, PROBES, Probe, SYSCALL_EXITS, SyscallExit};

use super::btf::{Btf, BtfError};
use super::cgroup::{self, CgroupError};
use super::survival::{self, Pins};
use super::{SensorError, VMLINUX_BTF};
use crate::plan::Plans;

/// A probe and what became of it.
#[derive(Debug)]
pub(crate) struct ProbeState {
    /// The probe.
    pub(crate) probe: &'static Probe,
    /// The system call at whose end it is, if it is at one.
    pub(crate) exit: Option<&'static SyscallExit>,
    /// Whether anybody needs its events; if not, it is not attached.
    pub(crate) is_needed: bool,
    /// How it is attached; `None` if it could not be, or need not be.
    pub(crate) attached: Option<Attach>,
    /// Why better ways (or all of them) were not taken.
    pub(crate) refused: Vec<Refused>,
}

/// A way of attaching that was not taken.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The way.
    pub(crate) way: Attach,
    /// Why not.
    pub(crate) reason: AttachError,
}

impl Refused {
    /// Whether it was not even tried, since the kernel asks no BPF program in its LSM hooks.
    pub(crate) fn is_of_inactive_lsm(&self) -> bool {
        matches!(self.reason, AttachError::LsmInactive)
    }
}

/// Why a probe could not be attached in one way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error("bpf is not among the active LSMs (kernel option lsm=)")]
    LsmInactive,
    #[error(transparent)]
    Prototype(#[from] BtfError),
    #[error("argument {index} of the hook points to {found:?}, not to {wanted:?}")]
    Argument { index: usize, wanted: &'static str, found: String },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("the object has no such program of that type")]
    NoProgram,
    #[error("the kernel refused the program ({error}); verifier: {verifier}")]
    Refused { error: std::io::Error, verifier: String },
    #[error("the kernel did not attach the program: {}", causes(.0))]
    Program(ProgramError),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error("cannot pin the program's link")]
    PinCgroup(#[source] std::io::Error),
}

/// The links that outlive the agent.
#[derive(Debug)]
pub(super) struct Kept {
    pins: Pins,
    /// Should somebody remove the pins, they are attached as long as the agent runs.
    links: Vec<KeptLink>,
}

/// What holds a link: aya gives away all but those of cgroups.
#[derive(Debug)]
#[expect(dead_code, reason = "it is held only")]
enum KeptLink {
    Pinned(PinnedLink),
    Cgroup(OwnedFd),
}

impl Kept {
    pub(super) fn new(pins: Pins) -> Self {
        Self { pins, links: Vec::new() }
    }

    /// Where they are pinned.
    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    fn keep(&mut self, way: Attach, link: impl Into<FdLink>) -> Result<(), AttachError> {
        let link = link.into().pin(self.pins.link(way.program()))?;
        self.links.push(KeptLink::Pinned(link));
        Ok(())
    }
}

/// All probes, none of them attached yet.
pub(super) fn probes() -> Vec<ProbeState> {
    let state = |probe, exit| ProbeState {
        probe,
        exit,
        is_needed: false,
        attached: None,
        refused: Vec::new(),
    };
    let exits = SYSCALL_EXITS.iter().map(|exit| state(&exit.probe, Some(exit)));
    PROBES.iter().map(|probe| state(probe, None)).chain(exits).collect()
}

/// Attaches every probe that has a kind which is needed, unless it is.
pub(super) fn attach(
    probes: &mut [ProbeState],
    ebpf: &mut Ebpf,
    lsm_active: bool,
    plans: &Plans,
    mut kept: Option<&mut Kept>,
) -> Result<(), SensorError> {
    for state in &mut *probes {
        let is_possible = |way: &Attach| lsm_active || way.backend() != Backend::Lsm;
        let is_needed = |&kind| match state.exit {
            Some(_) => plans.needs_outcome(kind),
            None => plans.needs(kind),
        };
        state.is_needed =
            state.probe.kinds.iter().any(is_needed) && state.probe.ways.iter().any(is_possible);
    }
    let mut missing =
        probes.iter_mut().filter(|state| state.is_needed && state.attached.is_none()).peekable();
    if missing.peek().is_none() {
        return Ok(());
    }
    let btf = Btf::read(Path::new(VMLINUX_BTF))?;
    let aya_btf = AyaBtf::from_sys_fs()?;
    let mut attempt = |probe: &Probe, way: Attach| {
        if matches!(way, Attach::Lsm { .. }) && !lsm_active {
            return Err(AttachError::LsmInactive);
        }
        check_prototype(&btf, probe, way)?;
        let kept = kept.as_deref_mut().filter(|_| probe.survives());
        attach_by(ebpf, &aya_btf, way, kept)
    };
    for state in missing {
        state.refused.clear();
        for &way in state.probe.ways {
            let start = Instant::now();
            let outcome = attempt(state.probe, way);
            tracing::debug!("{} took {:?}", way.program(), start.elapsed());
            match outcome {
                Ok(()) => {
                    state.attached = Some(way);
                    // Another function of the same kind is as good.
                    state.refused.retain(|refused| refused.way.backend() != way.backend());
                    break;
                }
                Err(reason) => state.refused.push(Refused { way, reason }),
            }
        }
        // A system call that the kernel does not have cannot end.
        let is_absent = |refused: &Refused| {
            matches!(refused.reason, AttachError::Prototype(BtfError::NoFunction(_)))
        };
        if state.exit.is_some() && state.attached.is_none() && state.refused.iter().all(is_absent) {
            tracing::debug!("this kernel has no {}", state.probe.name);
            state.is_needed = false;
            state.refused.clear();
        }
    }
    Ok(())
}

/// The way by which each probe would be attached, or why there is none.
pub(crate) fn prospects(
    btf: &Btf,
    lsm_active: bool,
) -> Vec<(&'static Probe, Result<Attach, AttachError>)> {
    let way = |probe: &'static Probe| {
        let mut found = Err(AttachError::LsmInactive);
        for &way in probe.ways.iter().filter(|way| lsm_active || way.backend() != Backend::Lsm) {
            found = check_prototype(btf, probe, way).map(|()| way);
            if found.is_ok() {
                break;
            }
        }
        (probe, found)
    };
    PROBES.iter().map(way).collect()
}

/// Detaches the probes that nobody needs any more.
pub(super) fn detach_unneeded(probes: &mut [ProbeState], ebpf: &mut Ebpf) {
    for state in probes.iter_mut().filter(|state| !state.is_needed) {
        let Some(way) = state.attached.take() else { continue };
        let outcome = match ebpf.program_mut(way.program()) {
            Some(Program::Lsm(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::CgroupSysctl(program)) => program.unload(),
            _ => continue,
        };
        if let Err(error) = outcome {
            tracing::warn!("cannot detach probe {}: {error}", state.probe.name);
        }
    }
}

/// Arguments move between kernel versions: what a probe takes must be what the hook gives.
fn check_prototype(btf: &Btf, probe: &Probe, way: Attach) -> Result<(), AttachError> {
    let found = match way {
        Attach::Lsm { hook, .. } => btf.function(&format!("bpf_lsm_{hook}"))?,
        Attach::Fentry { function, .. } | Attach::Fexit { function, .. } => {
            btf.function(function)?
        }
        Attach::Tracepoint { name, .. } => btf.tracepoint(name)?,
        Attach::CgroupSysctl { .. } => return Ok(()),
    };
    for (index, &wanted) in probe.arguments.iter().enumerate() {
        let found = found.get(index).map_or("", String::as_str);
        if !wanted.is_empty() && wanted != found {
            return Err(AttachError::Argument { index, wanted, found: found.to_owned() });
        }
    }
    Ok(())
}

impl From<ProgramError> for AttachError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error: error, verifier_log } => {
                let log = verifier_log.to_string();
                tracing::debug!("all that the verifier says:\n{log}");
                Self::Refused { error, verifier: last_words(&log) }
            }
            error => Self::Program(error),
        }
    }
}

/// Attaches a loaded program. If it is kept, the link is pinned; if not, it is the program's.
macro_rules! attach {
    ($program:ident, $way:ident, $kept:ident) => {{
        let link = $program.attach()?;
        match $kept {
            Some(kept) => kept.keep($way, $program.take_link(link)?),
            None => Ok(()),
        }
    }};
}

fn attach_by(
    ebpf: &mut Ebpf,
    btf: &AyaBtf,
    way: Attach,
    kept: Option<&mut Kept>,
) -> Result<(), AttachError> {
    let program = ebpf.program_mut(way.program()).ok_or(AttachError::NoProgram)?;
    match (way, program) {
        (Attach::Lsm { hook, .. }, Program::Lsm(program)) => {
            program.load(hook, btf)?;
            attach!(program, way, kept)
        }
        (Attach::Fentry { function, .. }, Program::FEntry(program)) => {
            program.load(function, btf)?;
            attach!(program, way, kept)
        }
        (Attach::Fexit { function, .. }, Program::FExit(program)) => {
            program.load(function, btf)?;
            attach!(program, way, kept)
        }
        (Attach::Tracepoint { name, .. }, Program::BtfTracePoint(program)) => {
            program.load(name, btf)?;
            attach!(program, way, kept)
        }
        (Attach::CgroupSysctl { .. }, Program::CgroupSysctl(program)) => {
            let root = cgroup::open_root()?;
            program.load()?;
            let Some(kept) = kept else {
                // The mode is for the older way to attach; a link allows others beside it, and takes no
                // flags.
                return Ok(program.attach(&root, CgroupAttachMode::Single).map(drop)?);
            };
            let path = kept.pins.link(way.program());
            let link = survival::attach_to_cgroup(program.fd()?, &root, &path)
                .map_err(AttachError::PinCgroup)?;
            kept.links.push(KeptLink::Cgroup(link));
            Ok(())
        }
        _ => Err(AttachError::NoProgram),
    }
}

/// An error with all that caused it, in one line.
fn causes(error: &ProgramError) -> String {
    let causes = iter::successors(Some(error as &dyn Error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The line in which the verifier says what it does not like: the last one before its statistics.
fn last_words(log: &str) -> String {
    /// How the lines of its statistics start.
    const STATISTICS: [&str; 4] = ["processed ", "stack depth ", "subprog ", "verification time "];
    log.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
        .unwrap_or("it gave no reason")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_verifiers_verdict_and_not_its_statistics() {
        let log = "0: R1=ctx() R10=fp0\n1: (79) r6 = *(u64 *)(r1 +0)\ninvalid bpf_context access\n\
                   verification time 7 usec\nstack depth 16+40\nprocessed 2 insns (limit 9)\n\
                   subprog 1 (tell) static insns_self 0 insns_total 0 stack 0\n\n";
        assert_eq!(last_words(log), "invalid bpf_context access");
        assert_eq!(last_words(""), "it gave no reason");
    }
}
