//! What is allowed in a rule and cannot be meant: rules that never match, or only where an earlier
//! one does, and checks of fields that no event has which reaches them.
//!
//! Nothing here decides whether a rule is loaded. Each warning is certain: what cannot be decided
//! in bounded time is not warned of.

mod form;
mod overlap;
mod reach;
mod report;
mod trace;
mod value;

pub(crate) use report::{Judged, Warning, judge};
pub(crate) use trace::{SpotId, Trace};
