//! `shrike replay`: a recording again, as events, judged by rules, or counted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use shrike_common::{Header, Kind, decode};
use shrike_rules::{Ruleset, diagnose};

use crate::alert::Alert;
use crate::detect::Sight;
use crate::detect::files::{self, RuleFile};
use crate::events::{Form, Printer};
use crate::pipeline::Context;
use crate::recording::{Recording, RecordingError};

/// What is made of the records.
pub(crate) enum Purpose {
    /// They are shown.
    Show(Form),
    /// Rules judge them, and the alerts are shown.
    Judge(Vec<PathBuf>, Form),
    /// They are only decoded and counted.
    Count,
}

/// Reads a recording to its end, or as far as it can be read.
pub(crate) fn replay(path: &Path, purpose: &Purpose) -> anyhow::Result<()> {
    let wrong = || format!("recording {}", path.display());
    let file = File::open(path).with_context(wrong)?;
    let mut recording = Recording::open(BufReader::new(file)).with_context(wrong)?;
    let outcome = match purpose {
        Purpose::Show(form) => show(&mut recording, *form),
        Purpose::Judge(rules, form) => judge(&mut recording, rules, *form),
        Purpose::Count => count(&mut recording),
    };
    match outcome {
        // Who closes the pipe has seen enough.
        Err(error) if is_closed_pipe(&error) => Ok(()),
        outcome => outcome.with_context(wrong),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show(recording: &mut Recording<impl io::Read>, form: Form) -> anyhow::Result<()> {
    let mut printer = Printer::new(BufWriter::new(io::stdout().lock()), form);
    let clock = crate::context::clock::Clock::at(recording.origin().boot);
    each(recording, |record| match decode(record) {
        Ok((header, event)) => {
            printer.give_up(header.time, clock)?;
            Ok(printer.event(&header, &event, record, clock)?)
        }
        Err(error) => {
            refused(record, error);
            Ok(())
        }
    })?;
    printer.give_up(u64::MAX, clock)?;
    Ok(printer.flush()?)
}

fn judge(
    recording: &mut Recording<impl io::Read>,
    rules: &[PathBuf],
    form: Form,
) -> anyhow::Result<()> {
    let ruleset = load(rules)?;
    let hostname = recording.origin().hostname.clone();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut alerts = 0_u64;
    let mut written = Ok(());
    let mut judge = |sight: &Sight<'_, '_>| {
        for rule in ruleset.matches(sight) {
            let time = sight.clock.timestamp(sight.header.time);
            let alert = Alert::new(rule, sight, sight.enriched(), time, &hostname);
            let line = match form {
                Form::Json => writeln!(out, "{}", alert.to_json()),
                Form::Text { .. } => writeln!(out, "{alert}"),
            };
            alerts += 1;
            if written.is_ok() {
                written = line;
            }
        }
    };
    let outcome = sights(recording, &mut judge);
    written?;
    let events = outcome?;
    out.flush()?;
    tracing::info!("alerts: {alerts}, from {events} events");
    Ok(())
}

/// Hands out what rules see of the recording at a path.
pub(crate) fn look(path: &Path, mut each: impl FnMut(&Sight<'_, '_>)) -> anyhow::Result<()> {
    let wrong = || format!("recording {}", path.display());
    let file = File::open(path).with_context(wrong)?;
    let mut recording = Recording::open(BufReader::new(file)).with_context(wrong)?;
    sights(&mut recording, &mut each).map(|_| ()).with_context(wrong)
}

/// How many events of the recording at a path a rule matches, whatever comes before it.
pub(crate) fn count_alerts(path: &Path, ruleset: &Ruleset, rule: &str) -> anyhow::Result<u64> {
    let mut alerts = 0;
    let place = ruleset.rules().iter().position(|other| other.name() == rule);
    let place = place.with_context(|| format!("there is no rule {rule:?} in the files"))?;
    let kinds = ruleset.rules()[place].kinds();
    look(path, |sight| {
        let is_seen = kinds.contains(shrike_rules::Event::kind(sight));
        alerts += u64::from(is_seen && ruleset.holds(place, sight));
    })?;
    Ok(alerts)
}

/// Hands out what rules see of a recording, as far as it can be read, and returns how many records it has.
fn sights(
    recording: &mut Recording<impl io::Read>,
    look: &mut impl FnMut(&Sight<'_, '_>),
) -> anyhow::Result<u64> {
    let mut context = Context::of_recording(&recording.origin().clone());
    let mut records = 0;
    let outcome = each(recording, |record| {
        match decode(record) {
            Ok((header, event)) => {
                context.give_up(header.time, look);
                context.see(&header, &event, record, look);
            }
            Err(error) => refused(record, error),
        }
        records += 1;
        Ok(())
    });
    context.give_up(u64::MAX, look);
    outcome.map(|()| records)
}

fn count(recording: &mut Recording<impl io::Read>) -> anyhow::Result<()> {
    let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut malformed = 0_u64;
    let (mut first, mut last) = (u64::MAX, 0);
    let start = Instant::now();
    let outcome = each(recording, |record| {
        match decode(record) {
            Ok((Header { time, .. }, event)) => {
                *counts.entry(event.kind()).or_default() += 1;
                (first, last) = (first.min(time), last.max(time));
            }
            Err(_) => malformed += 1,
        }
        Ok(())
    });
    let elapsed = start.elapsed();
    let total: u64 = counts.values().sum();
    let mut out = io::stdout().lock();
    for (kind, count) in &counts {
        writeln!(out, "{count:10}  {}", kind.name())?;
    }
    if malformed > 0 {
        writeln!(out, "{malformed:10}  records that could not be understood")?;
    }
    let span = std::time::Duration::from_nanos(last.saturating_sub(first));
    writeln!(out, "{total:10}  events of {:.1} s", span.as_secs_f64())?;
    let rate = u128::from(total) * 1_000_000 / elapsed.as_micros().max(1);
    tracing::info!("read and decoded in {:.3} s: {rate} events a second", elapsed.as_secs_f64());
    outcome
}

/// Hands out every record up to the end, or up to where the recording is damaged.
fn each(
    recording: &mut Recording<impl io::Read>,
    mut see: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut block = Vec::new();
    let mut outcome = Ok(());
    loop {
        let more = recording.next(&mut block, |record| {
            if outcome.is_ok() {
                outcome = see(record);
            }
        });
        outcome?;
        outcome = Ok(());
        match more {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                return Err::<(), RecordingError>(error).context("not all of it was replayed");
            }
        }
    }
}

fn refused(record: &[u8], error: shrike_common::Malformed) {
    tracing::warn!("refused a record of {} bytes: {error}", record.len());
}

fn load(paths: &[PathBuf]) -> anyhow::Result<Ruleset> {
    let files = files::read(paths)?;
    let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
    let loaded = Ruleset::load(&sources);
    for diagnostic in &loaded.diagnostics {
        eprint!("{}", diagnose::render(diagnostic, false));
    }
    ensure!(!loaded.has_errors(), "there are errors in the rules");
    Ok(loaded.ruleset)
}
