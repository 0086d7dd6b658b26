//! What rules cost: to load, and to judge the events of a recording of a real guest, on one processor of this machine.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use tempfile::TempDir;

use super::{Figure, to_f64};
use crate::compile::{self, Profile};
use crate::console::{Step, note};
use crate::process::capture;
use crate::workspace;

const METHOD: &str = "this machine, one processor: each event of tests/data/every-kind.rec, nothing looked up yet, judged \
                      100 times, messages rendered; the mean of each";

/// The recording: what a guest did in which something of each kind was done.
const RECORDING: &str = "tests/data/every-kind.rec";

/// The project's own rules.
const OWN: &str = "rules/default";

/// Falco's, beside the checkout.
const FALCO: &str = "../shared/falco-rules";

/// A rule that matches each program that is executed, with an output as real ones have it.
const MATCHING: &str = "\
- rule: Matching
  desc: d
  condition: evt.type in (execve, execveat) and proc.name exists
  output: executed %proc.exepath (user=%user.name command=%proc.cmdline parent=%proc.pname pid=%proc.pid
    ancestors=%proc.aname[2] %proc.aname[3] container=%container.id cwd=%proc.cwd terminal=%proc.tty)
  priority: NOTICE
";

/// What `shrike rules bench` tells.
#[derive(Debug, Deserialize)]
struct Report {
    rules: usize,
    load_ms: f64,
    resident_bytes: usize,
    without_match: Costs,
    with_match: Costs,
}

#[derive(Debug, Deserialize)]
struct Costs {
    mean_ns: Option<f64>,
    p99_ns: f64,
}

impl Costs {
    fn mean(&self) -> f64 {
        self.mean_ns.unwrap_or_default()
    }
}

/// Measures sets of rules.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let program = compile::programs(&["shrike"], Profile::Release)?;
    let shrike = Shrike { program: program.first().context("cargo built no shrike")?.clone() };
    let _step = Step::start("Measuring", "rules");
    let root = workspace::root();
    let made = TempDir::new().context("cannot make a folder for rules")?;
    let matching = made.path().join("matching.yaml");
    fs::write(&matching, MATCHING).context("cannot write rules")?;
    let mut figures = Vec::new();
    let mut measure = |name: &str, rules: &[PathBuf]| -> Result<()> {
        let with_matching: Vec<_> = rules.iter().chain([&matching]).cloned().collect();
        figures.extend(costs(name, &shrike.report(rules)?, &shrike.report(&with_matching)?));
        Ok(())
    };
    let own = root.join(OWN);
    measure("our rules", std::slice::from_ref(&own))?;
    let falco = root.join(FALCO);
    if falco.is_dir() {
        measure("our rules and Falco's", &[own, falco])?;
    } else {
        note("Measuring", format_args!("our rules alone: {FALCO} is not there"));
    }
    let mut mean = |count: usize| -> Result<f64> {
        let path = made.path().join(format!("{count}.yaml"));
        fs::write(&path, generated(count)).context("cannot write rules")?;
        let report = shrike.report(&[path])?;
        let name = |what| format!("{count} generated rules: {what}");
        let goal = (count == MOST).then_some(1_000.0);
        figures.push(figure(name("time to load"), report.load_ms, "ms", goal));
        figures.push(figure(name("memory"), to_f64(report.resident_bytes / 1024), "KiB", None));
        figures.push(figure(
            name("an event that none matches"),
            report.without_match.mean(),
            "ns",
            None,
        ));
        Ok(report.without_match.mean())
    };
    let (few, many) = (mean(100)?, mean(1_000)?);
    mean(MOST)?;
    figures.push(figure(
        "1,000 rules beside 100".to_owned(),
        many / few.max(1.0),
        "times",
        Some(2.0),
    ));
    Ok(figures)
}

/// The largest number of rules.
const MOST: usize = 10_000;

struct Shrike {
    program: PathBuf,
}

impl Shrike {
    fn report(&self, rules: &[PathBuf]) -> Result<Report> {
        let recording = workspace::root().join(RECORDING);
        let mut command = Command::new(&self.program);
        command.args(["rules", "bench", "--recording"]).arg(recording).args(rules);
        let text = capture(&mut command)?;
        serde_json::from_str(&text).with_context(|| format!("shrike told {text:?}"))
    }
}

/// What a set of rules costs, and what an event does that another rule matches.
fn costs(name: &str, report: &Report, matching: &Report) -> Vec<Figure> {
    let Report { rules, load_ms, resident_bytes, without_match: silent, .. } = report;
    let loud = &matching.with_match;
    let name = |what: &str| format!("{name} ({rules}): {what}");
    let mixed = silent.mean().mul_add(0.99, loud.mean() * 0.01);
    vec![
        figure(name("time to load"), *load_ms, "ms", Some(50.0)),
        figure(name("memory"), to_f64(resident_bytes / 1024), "KiB", None),
        figure(name("an event that none matches"), silent.mean(), "ns", Some(333.0)),
        figure(name("the same, 99th percentile"), silent.p99_ns, "ns", Some(2_000.0)),
        figure(name("an event that one matches, rendered"), loud.mean(), "ns", None),
        figure(name("an event, if one of a hundred is matched"), mixed, "ns", Some(2_000.0)),
    ]
}

fn figure(name: String, value: f64, unit: &'static str, goal: Option<f64>) -> Figure {
    Figure { name, value, unit, kernel: "-".to_owned(), goal, method: METHOD }
}

/// So many rules, of which one in ten is about opened files: by name, by folder, by program, or by what must be searched.
fn generated(count: usize) -> String {
    let mut text = String::from(
        "- list: tools\n  items: [nc, ncat, socat]\n- macro: by_tool\n  condition: (proc.name in (tools) or proc.pname in (tools))\n",
    );
    for number in 0..count {
        let condition = match number {
            _ if number % 10 > 0 => format!("evt.type = setns and proc.name = nobody{number}"),
            _ => match number / 10 % 4 {
                0 => format!("evt.type in (open, openat) and fd.name = /srv/made-up-{number}"),
                1 => format!(
                    "evt.type in (open, openat) and fd.name startswith /srv/{number}/ and by_tool"
                ),
                2 => format!(
                    "evt.type in (open, openat) and proc.name = made-up-{number} and fd.name contains x"
                ),
                _ => format!(
                    "evt.type in (open, openat) and proc.name in (a{number}, b{number}) and not fd.name pmatch (/usr, /lib)"
                ),
            },
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "- rule: Generated {number}\n  desc: d\n  condition: {condition}\n  output: o %fd.name\n  priority: INFO\n"
        );
    }
    text
}
