//! What a container may use at most. Limits are written through `cgroups-rs`, which ignores some failures:
//! each is read back.

use std::fmt::Display;

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::error::Error;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup as Controllers, MaxValue};
use nix::unistd::{SysconfVar, sysconf};

use super::cgroup::CgroupError;
use super::spec::{Resources, Size, Swap};

/// In which time a container may use its processors for as long as it is allowed to, in microseconds: the
/// kernel's own default.
const PERIOD: u64 = 100_000;

/// The controllers that these limits need, but for those of block devices.
pub(super) fn controllers(resources: &Resources) -> Vec<&'static str> {
    let Resources {
        memory,
        memory_reservation,
        memory_swap,
        cpus,
        cpu_shares,
        cpuset_cpus,
        pids,
        block: _,
    } = resources;
    let needed = [
        ("memory", memory.is_some() || memory_reservation.is_some() || memory_swap.is_some()),
        ("cpu", cpus.is_some() || cpu_shares.is_some()),
        ("cpuset", cpuset_cpus.is_some()),
        ("pids", pids.is_some()),
    ];
    needed.into_iter().filter(|&(_, needed)| needed).map(|(name, _)| name).collect()
}

/// Sets the limits.
pub(super) fn set(
    controllers: &Controllers,
    is_v2: bool,
    resources: &Resources,
) -> Result<(), CgroupError> {
    memory(controllers, is_v2, resources)?;
    processors(controllers, is_v2, resources)?;
    if let Some(limit) = resources.pids {
        let controller = controllers.controller_of::<PidController>();
        let controller = controller.ok_or(CgroupError::NoController("pids"))?;
        let wanted = MaxValue::Value(limit.into());
        keep(
            "pids",
            limit,
            || controller.set_pid_max(wanted),
            || {
                let found = controller.get_pid_max()?;
                Ok((found == wanted, found.to_string()))
            },
        )?;
    }
    Ok(())
}

fn memory(
    controllers: &Controllers,
    is_v2: bool,
    resources: &Resources,
) -> Result<(), CgroupError> {
    let (limit, reservation) = (resources.memory, resources.memory_reservation);
    if limit.is_none() && reservation.is_none() && resources.memory_swap.is_none() {
        return Ok(());
    }
    let controller = controllers.controller_of::<MemController>();
    let controller = controller.ok_or(CgroupError::NoController("memory"))?;
    if let Some(size) = limit {
        keep(
            "memory",
            size.0,
            || controller.set_limit(bytes(size)),
            || Ok(same_size(size, controller.memory_stat().limit_in_bytes)),
        )?;
    }
    if let Some(size) = reservation {
        keep(
            "memory reservation",
            size.0,
            || controller.set_soft_limit(bytes(size)),
            || Ok(same_size(size, controller.memory_stat().soft_limit_in_bytes)),
        )?;
    }
    // Docker's limit is of both together, as that of cgroup v1 is; that of v2 is of swap alone.
    if let (Some(swap), Some(Size(memory))) = (resources.memory_swap, limit) {
        const UNLIMITED: i64 = -1;
        if let Swap::Together(Size(together)) = swap
            && together < memory
        {
            return Err(CgroupError::SwapBelowMemory { together, memory });
        }
        let wanted = match swap {
            Swap::Unlimited => UNLIMITED,
            Swap::Together(size) if is_v2 => bytes(Size(size.0.saturating_sub(memory))),
            Swap::Together(size) => bytes(size),
        };
        keep(
            "swap",
            wanted,
            || controller.set_memswap_limit(wanted),
            || {
                let found = controller.memswap().limit_in_bytes;
                let is_unlimited = wanted == UNLIMITED && !(0..=i64::MAX / 2).contains(&found);
                Ok((is_unlimited || same_pages(wanted, found), found.to_string()))
            },
        )?;
    }
    Ok(())
}

fn processors(
    controllers: &Controllers,
    is_v2: bool,
    resources: &Resources,
) -> Result<(), CgroupError> {
    if resources.cpus.is_some() || resources.cpu_shares.is_some() {
        let controller = controllers.controller_of::<CpuController>();
        let controller = controller.ok_or(CgroupError::NoController("cpu"))?;
        if let Some(cpus) = resources.cpus {
            let quota = i64::try_from(cpus.microseconds_in(PERIOD)).unwrap_or(i64::MAX);
            let set = || controller.set_cfs_quota_and_period(Some(quota), Some(PERIOD));
            keep("cpus", cpus, set, || {
                let found = (controller.cfs_quota()?, controller.cfs_period()?);
                Ok((found == (quota, PERIOD), format!("{} of {} µs", found.0, found.1)))
            })?;
        }
        if let Some(shares) = resources.cpu_shares {
            let wanted = if is_v2 { weight(shares) } else { shares };
            keep(
                "cpu shares",
                shares,
                || controller.set_shares(wanted),
                || {
                    let found = controller.shares()?;
                    Ok((found == wanted, found.to_string()))
                },
            )?;
        }
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        let controller = controllers.controller_of::<CpuSetController>();
        let controller = controller.ok_or(CgroupError::NoController("cpuset"))?;
        keep(
            "cpuset",
            cpus,
            || controller.set_cpus(&cpus.to_string()),
            || {
                let found = controller.cpuset().cpus;
                Ok((cpus.is(&found), format!("{found:?}")))
            },
        )?;
    }
    Ok(())
}

/// Sets a limit, and asks what it is then and whether that is what was wanted.
fn keep(
    name: &'static str,
    wanted: impl Display,
    set: impl FnOnce() -> Result<(), Error>,
    found: impl FnOnce() -> Result<(bool, String), Error>,
) -> Result<(), CgroupError> {
    let failed = |source| CgroupError::Limit { name, wanted: wanted.to_string(), source };
    set().map_err(failed)?;
    let (is_taken, found) = found().map_err(failed)?;
    if is_taken {
        Ok(())
    } else {
        Err(CgroupError::NotTaken { name, wanted: wanted.to_string(), found })
    }
}

/// The weight of cgroup v2 (1 to 10,000) for the shares of v1 (2 to 262,144), as the OCI runtimes have it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn bytes(size: Size) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

fn same_size(wanted: Size, found: i64) -> (bool, String) {
    (same_pages(bytes(wanted), found), found.to_string())
}

/// The kernel counts memory in whole pages.
fn same_pages(wanted: i64, found: i64) -> bool {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    found / page == wanted / page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let weights = [0, 2, 1024, 262_144, u64::MAX].map(weight);
        assert_eq!(weights, [1, 1, 39, 10_000, 10_000]);
    }
}
