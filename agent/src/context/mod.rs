//! What the agent knows beyond the event at hand: the processes and how they came about, the
//! users' names, and what time it is.

pub(crate) mod clock;
pub(crate) mod process;
pub(crate) mod user;
