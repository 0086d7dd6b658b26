//! What the agent knows beyond the event at hand: the processes and how they came about, the
//! users' names, what the host gives to a container, and what time it is.

pub(crate) mod clock;
pub(crate) mod inspection;
mod mountinfo;
pub(crate) mod process;
pub(crate) mod user;
