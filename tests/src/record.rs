//! What the runner tells about each test: one JSON object a line.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It held.
    Ok,
    /// It did not, or took too long.
    Failed,
    /// It had nothing to test in this guest.
    Skipped,
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// The name of its suite.
    pub suite: &'static str,
    /// Its name.
    pub test: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// What it said; if it is ok, only what belongs into a report.
    pub message: String,
}

/// The last line: a reader that misses it knows that the run was cut short.
#[derive(Clone, Copy, Debug, Serialize)]
struct Done {
    done: usize,
}

/// Where records go.
pub struct Results {
    out: Box<dyn Write>,
    records: usize,
}

impl Results {
    /// Writes records to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        Self { out, records: 0 }
    }

    /// Writes one record.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        self.records += 1;
        self.line(record)
    }

    /// Writes the last line.
    pub fn finish(mut self) -> Result<()> {
        let done = Done { done: self.records };
        self.line(&done)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.out.write_all(&line).and_then(|()| self.out.flush()).context("cannot write results")
    }
}

impl Record {
    /// Makes a record.
    pub fn new(
        suite: &'static str,
        test: &'static str,
        outcome: Outcome,
        took: Duration,
        message: String,
    ) -> Self {
        Self { suite, test, outcome, seconds: took.as_secs_f64(), message }
    }
}
