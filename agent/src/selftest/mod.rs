//! Proves that the running agent detects what it should: every default rule is tried once, by a
//! real but harmless technique in a container of our own, and the alert must name the very process.

mod attempt;
mod report;
pub(crate) mod technique;
mod watch;

use std::path::Path;
use std::time::Duration;

pub(crate) use report::{Outcome, Report};
pub(crate) use technique::Technique;

use attempt::Stage;
pub(crate) use attempt::perform;
use watch::Watch;

/// Tries `techniques` one after the other against the agent that listens at `socket`, and tells of
/// each result as it is known.
pub(crate) fn run(
    techniques: &[&'static Technique],
    socket: &Path,
    patience: Duration,
    mut each: impl FnMut(&Report),
) -> anyhow::Result<Vec<Report>> {
    let watch = Watch::start(socket)?;
    let stage = Stage::set()?;
    let mut reports = Vec::new();
    for &technique in techniques {
        let outcome = match stage.attempt(technique) {
            Ok(act) => watch.verdict(technique.rule, &act, patience),
            Err(error) => Outcome::Failed { reason: format!("{error:#}") },
        };
        let report = Report { technique, outcome };
        each(&report);
        reports.push(report);
    }
    Ok(reports)
}
