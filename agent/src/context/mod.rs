//! What the agent knows beyond the event at hand: the processes and how they came about, the
//! containers and their cgroups, the users' names, what the host gives to a container, and what time it is.

pub(crate) mod cgroup;
pub(crate) mod cgroup_path;
pub(crate) mod clock;
mod conmon;
pub(crate) mod container;
mod errand;
mod file;
pub(crate) mod inspection;
pub(crate) mod mountinfo;
pub(crate) mod names;
pub(crate) mod process;
pub(crate) mod rescan;
pub(crate) mod runtime;
#[cfg(test)]
pub(crate) mod sample;
mod user;
