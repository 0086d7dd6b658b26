//! The suites in guests: one boot for each kind of guest, at most two side by side.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::kit::Kit;
use super::report::{Entry, Outcome, Report};
use crate::cache::Cache;
use crate::compile::{self, GuestPrograms, Profile};
use crate::console::{Step, line};
use crate::interrupt;
use crate::process::capture;
use crate::setup::kernel::Series;
use crate::setup::{self, Part};
use crate::vm::accelerator::Accelerator;
use crate::vm::initramfs::{self, Content};
use crate::vm::job::{self, Job, Port};
use crate::vm::machine::{Channels, Lines, Machine};
use crate::vm::{BOOT_LIMIT, Configuration, Host, kernel};

/// How many guests run side by side: each of them keeps a processor busy.
const SIDE_BY_SIDE: usize = 2;

/// What the runner in a guest may take besides its suites.
const RUNNER_LIMIT: Duration = Duration::from_secs(30);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Whether the suites and guests of a full run are wanted.
    pub full: bool,
    /// A part of the names of the guests.
    pub guest: Option<String>,
    /// The names of the suites; all if empty.
    pub suites: Vec<String>,
    /// A part of the names of the tests to run.
    pub filter: Option<String>,
}

impl Selection {
    /// Whether a suite is among what is to be run.
    pub fn has(&self, suite: &str) -> bool {
        self.suites.is_empty() || self.suites.iter().any(|named| named == suite)
    }
}

/// The series whose kernels a run needs.
pub fn series(full: bool) -> Vec<Series> {
    Series::ALL.into_iter().filter(|series| full || *series != Series::Newest).collect()
}

/// Runs the selected suites in all kinds of guest, and adds their results.
pub fn run(cache: &Cache, selection: &Selection, offline: bool, report: &mut Report) -> Result<()> {
    let programs = {
        let _step = Step::start("Building", "the programs for the guests");
        compile::guest_programs(&["shrike-tests", "shrike"], Profile::Dev)?
    };
    let agent = programs.others.last().context("cargo built no agent")?;
    let kit = Kit::pack(cache, agent, selection)?;
    let run = Run::prepare(cache, selection, &programs, &kit)?;
    let plan = run.plan()?;
    if plan.iter().any(|(configuration, _)| configuration.debian) {
        setup::ensure(cache, &[Part::Debian], offline)?;
    }
    let waiting: Mutex<VecDeque<_>> = Mutex::new(plan.into());
    if lock(&waiting).is_empty() {
        bail!("no such guest has a suite called {}", selection.suites.join(" or "));
    }
    let report = Mutex::new(report);
    let _careful = interrupt::Careful::start();
    // In a function of its own: the lock must be free while a guest runs.
    let next = || lock(&waiting).pop_front();
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some((configuration, suites)) = next() {
                run.guest(&configuration, &suites, &report)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
        let results: Vec<Result<()>> = workers
            .into_iter()
            .map(|worker| {
                worker.join().unwrap_or_else(|_| bail!("a thread that runs guests failed"))
            })
            .collect();
        results.into_iter().collect()
    })
}

/// A suite, as `shrike-tests list --json` tells it.
#[derive(Clone, Debug, Deserialize)]
struct Suite {
    suite: String,
    tier: String,
    budget: u64,
}

/// One line of the results.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Record { suite: String, test: String, outcome: Outcome, seconds: f64, message: String },
    Done { done: usize },
}

#[derive(Debug)]
struct Run<'a> {
    cache: &'a Cache,
    selection: &'a Selection,
    programs: &'a GuestPrograms,
    kit: &'a Kit,
    host: Host,
    accelerator: Accelerator,
}

impl<'a> Run<'a> {
    fn prepare(
        cache: &'a Cache,
        selection: &'a Selection,
        programs: &'a GuestPrograms,
        kit: &'a Kit,
    ) -> Result<Self> {
        let host = Host::find(cache)?;
        let content = Content::minimal(&programs.init, &host.busybox);
        let trial = kernel(cache, Series::V6_1)?;
        let accelerator = Accelerator::choose(cache, &host, &trial, &content)?;
        Ok(Self { cache, selection, programs, kit, host, accelerator })
    }

    /// The kinds of guest, each with its suites.
    fn plan(&self) -> Result<Vec<(Configuration, Vec<Suite>)>> {
        let mut plan = Vec::new();
        let part = self.selection.guest.as_deref().unwrap_or_default();
        for configuration in configurations(self.selection.full) {
            if !configuration.name().contains(part) {
                continue;
            }
            let suites = self.suites(&configuration)?;
            if !suites.is_empty() {
                plan.push((configuration, suites));
            }
        }
        Ok(plan)
    }

    /// The selected suites that want to run in such a guest.
    fn suites(&self, configuration: &Configuration) -> Result<Vec<Suite>> {
        let tests = self.programs.others.first().context("cargo built no shrike-tests")?;
        let mut command = Command::new(tests);
        let listing = capture(command.args(["list", "--json", "--guest", &configuration.name()]))?;
        let mut suites: Vec<Suite> = serde_json::from_str(&listing)?;
        let Selection { full, suites: named, .. } = self.selection;
        suites.retain(|suite| named.is_empty() || named.contains(&suite.suite));
        suites.retain(|suite| *full || !named.is_empty() || suite.tier == "quick");
        Ok(suites)
    }

    /// Boots one guest and runs `suites` in it; once more if the emulator has failed it.
    fn guest(
        &self,
        configuration: &Configuration,
        suites: &[Suite],
        report: &Mutex<&mut Report>,
    ) -> Result<()> {
        let name = configuration.name();
        let _step = Step::start("Testing", &name);
        let logs = super::log_folder()?;
        let console = logs.join(console_log(&name));
        let start = Instant::now();
        let is_whole = self.attempt(configuration, suites, report)?;
        let may_be_stale = self.accelerator == Accelerator::Tcg && configuration.cpus > 1;
        if is_whole || !may_be_stale || !has_run_stale_code(&console)? {
            return Ok(());
        }
        let kept = logs.join(format!("{name}.console.1.log"));
        fs::rename(&console, &kept)?;
        let mut all = lock(report);
        all.forget(&name);
        all.add(Entry {
            place: name,
            suite: "guest".into(),
            test: "first attempt".into(),
            outcome: Outcome::Skipped,
            count: 1,
            seconds: start.elapsed().as_secs_f64(),
            message: format!(
                "the emulator has run code that the kernel had replaced: once more (see {})",
                kept.display()
            ),
        });
        drop(all);
        self.attempt(configuration, suites, report).map(drop)
    }

    /// Boots one guest and runs `suites` in it. Returns whether it told all results.
    fn attempt(
        &self,
        configuration: &Configuration,
        suites: &[Suite],
        report: &Mutex<&mut Report>,
    ) -> Result<bool> {
        let name = configuration.name();
        let start = Instant::now();
        let mut records = Records::default();
        let (outcome, console) = self.boot(configuration, suites, |text| {
            match records.read(&name, text) {
                Ok(Some(entry)) => lock(report).add(entry),
                Ok(None) => {}
                // The count will not match the last line's.
                Err(error) => line(format_args!("{name}: unreadable result ({error}): {text}")),
            }
        })?;
        if interrupt::requested() {
            bail!("interrupted");
        }
        let reason = match outcome {
            Err(error) => Some(format!("{error:#}")),
            Ok(_) if records.done == Some(records.seen) => None,
            Ok(outcome) => Some(format!("the results are cut short: {outcome:?}")),
        };
        let is_whole = reason.is_none();
        if let Some(message) = reason {
            lock(report).add(Entry {
                place: name,
                suite: "guest".into(),
                test: "whole run".into(),
                outcome: Outcome::Failed,
                count: 1,
                seconds: start.elapsed().as_secs_f64(),
                message,
            });
        } else if records.failed > 0 {
            line(console);
        }
        Ok(is_whole)
    }

    /// Runs the guest; hands out how the job ended, and the end of the console.
    fn boot(
        &self,
        configuration: &Configuration,
        suites: &[Suite],
        mut each: impl FnMut(&str) + Send,
    ) -> Result<(Result<job::Outcome>, String)> {
        let name = configuration.name();
        let folder = tempfile::Builder::new().prefix("shrike-guest-").tempdir()?;
        let initramfs = folder.path().join("initramfs");
        let kernel = kernel(self.cache, configuration.series)?;
        let files = self.kit.files(configuration.series);
        let content = Content {
            init: &self.programs.init,
            busybox: &self.host.busybox,
            programs: &self.programs.others,
            files: &files,
        };
        let limit =
            Duration::from_secs(suites.iter().map(|suite| suite.budget).sum()) + RUNNER_LIMIT;
        initramfs::write(&initramfs, &kernel, &content, self.job(configuration, suites, limit))?;

        let logs = super::log_folder()?;
        let console = logs.join(console_log(&name));
        // That of an earlier run says nothing of this one.
        let _ = fs::remove_file(&console);
        let disk = configuration.disk(self.cache)?;
        let machine = Machine {
            host: &self.host,
            accelerator: self.accelerator,
            kernel: &kernel,
            configuration,
            initramfs: &initramfs,
            share: None,
            disk: disk.as_deref(),
            console: &console,
            limit: limit + BOOT_LIMIT,
        };
        let mut raw = create(&logs.join(format!("{name}.results.log")))?;
        let outcome = machine.run(Channels {
            stdout: &mut create(&logs.join(format!("{name}.stdout.log")))?,
            stderr: &mut create(&logs.join(format!("{name}.stderr.log")))?,
            results: &mut Lines::new(|text: &str| {
                // The log is a copy: a full disk must not change a result.
                let _ = writeln!(raw, "{text}");
                each(text);
            }),
        });
        Ok((outcome, machine.console_tail()))
    }

    fn job(&self, configuration: &Configuration, suites: &[Suite], limit: Duration) -> Job {
        let guest = &configuration.name();
        let results = format!("/dev/virtio-ports/{}", Port::Results.name());
        let mut command: Vec<String> =
            ["shrike-tests", "run", "--guest", guest, "--results", &results]
                .map(str::to_owned)
                .into();
        if let Some(filter) = &self.selection.filter {
            command.extend(["--filter".to_owned(), filter.clone()]);
        }
        command.extend(suites.iter().map(|suite| suite.suite.clone()));
        Job {
            modules: Vec::new(),
            command,
            share: false,
            disk: configuration.debian,
            seconds: limit.as_secs(),
        }
    }
}

fn console_log(guest: &str) -> String {
    format!("{guest}.console.log")
}

/// Whether a guest's kernel met a breakpoint that it had removed. With several processors it replaces code that
/// others run by way of one, and QEMU's translations of that code may be older.
fn has_run_stale_code(console: &Path) -> Result<bool> {
    match fs::read(console) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        text => {
            let text = text.with_context(|| format!("cannot read {}", console.display()))?;
            Ok(String::from_utf8_lossy(&text).contains("Oops: int3: "))
        }
    }
}

/// What has come in of the records of one guest.
#[derive(Debug, Default)]
struct Records {
    seen: usize,
    failed: usize,
    done: Option<usize>,
}

impl Records {
    /// Reads one line that `guest` sent; the last one holds no result.
    fn read(&mut self, guest: &str, text: &str) -> serde_json::Result<Option<Entry>> {
        match serde_json::from_str(text)? {
            Line::Record { suite, test, outcome, seconds, message } => {
                self.seen += 1;
                self.failed += usize::from(outcome == Outcome::Failed);
                let place = guest.to_owned();
                Ok(Some(Entry { place, suite, test, outcome, count: 1, seconds, message }))
            }
            Line::Done { done } => {
                self.done = Some(done);
                Ok(None)
            }
        }
    }
}

/// The kinds of guest of a run, those that take longest first.
fn configurations(full: bool) -> Vec<Configuration> {
    let mut configurations = Vec::new();
    for series in series(full).into_iter().rev() {
        for preempt_full in [false, true] {
            for lsm_bpf in [true, false] {
                if full || !preempt_full {
                    let kind =
                        Configuration { series, lsm_bpf, preempt_full, ..Configuration::default() };
                    configurations.push(kind);
                }
            }
        }
        // The distribution's container runtimes, for the suite that asks for them.
        if series != Series::Newest {
            let memory = 3072;
            let debian = true;
            configurations.push(Configuration {
                series,
                memory,
                debian,
                ..Configuration::default()
            });
        }
        // For the suite that loads a policy.
        configurations.push(Configuration { series, selinux: true, ..Configuration::default() });
        // Two processors, for the suites that ask for them.
        if full || series == Series::V6_12 {
            configurations.push(Configuration { series, cpus: 2, ..Configuration::default() });
        }
    }
    configurations
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_run_has_both_supported_series_with_and_without_bpf() {
        let names: Vec<String> = configurations(false).iter().map(Configuration::name).collect();
        assert_eq!(
            names,
            [
                "6.12-bpf",
                "6.12-nobpf",
                "6.12-bpf-debian",
                "6.12-bpf-selinux",
                "6.12-bpf-smp",
                "6.1-bpf",
                "6.1-nobpf",
                "6.1-bpf-debian",
                "6.1-bpf-selinux",
            ]
        );
    }

    #[test]
    fn full_run_adds_the_newest_kernel_and_full_preemption() {
        let names: Vec<String> = configurations(true).iter().map(Configuration::name).collect();
        assert_eq!(names.len(), 20);
        for name in ["newest-bpf", "newest-nobpf-preempt", "6.1-bpf-preempt", "6.1-bpf-smp"] {
            assert!(names.iter().any(|known| known == name), "{name} is missing in {names:?}");
        }
    }

    #[test]
    fn records_are_counted_and_the_last_line_is_noticed() {
        let mut records = Records::default();
        let mut read = |text: &str| records.read("6.1-bpf", text);
        let ok = r#"{"suite":"a","test":"x","outcome":"ok","seconds":0.5,"message":""}"#;
        let failed = r#"{"suite":"a","test":"y","outcome":"failed","seconds":1,"message":"no"}"#;
        assert_eq!(read(ok).unwrap().unwrap().place, "6.1-bpf");
        assert_eq!(read(failed).unwrap().unwrap().message, "no");
        assert!(read("garbage").is_err());
        assert!(read(r#"{"done":3}"#).unwrap().is_none());
        assert_eq!((records.seen, records.failed, records.done), (2, 1, Some(3)));
    }
}
