//! `shrike-tests`: lists the suites on the host, runs them in a guest.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use shrike_tests::actor::{self, Guise};
use shrike_tests::bench;
use shrike_tests::configuration::Configuration;
use shrike_tests::deed::{self, Deed};
use shrike_tests::handed::{self, Handed};
use shrike_tests::record::Results;
use shrike_tests::runner::{self, Selection};
use shrike_tests::runtimes::attribution;
use shrike_tests::suite::{Suite, Tier};
use shrike_tests::{SUITES, books, corpus, crossing, demo, exploit, flood, launcher, permitted};

/// End-to-end tests of shrike
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the suites
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Only those that want to run in this guest
        #[arg(long, value_name = "NAME")]
        guest: Option<Configuration>,
    },
    /// Run tests in this guest, each in a process of its own
    Run {
        /// Where to write one record per test; standard output by default
        #[arg(long, value_name = "PATH")]
        results: Option<PathBuf>,
        /// What kind of guest this is, like 6.1-bpf
        #[arg(long, value_name = "NAME")]
        guest: Configuration,
        /// A part of the names of the tests to run
        #[arg(long, value_name = "TEXT", default_value = "")]
        filter: String,
        /// The suites to run; all by default
        #[arg(value_name = "SUITE", value_parser = suite)]
        suites: Vec<&'static Suite>,
    },
    /// Be the process that a test watches: do one thing, and say what this process knows of itself
    #[command(hide = true)]
    Actor { guise: Guise, file: PathBuf },
    /// Be the workload of a test that floods
    #[command(hide = true)]
    Flooder {
        what: flood::What,
        /// Take the name of the cgroup, and flood with one thread
        #[arg(long)]
        rename: bool,
        cgroup: PathBuf,
        file: PathBuf,
    },
    /// Be the process beside a flood
    #[command(hide = true)]
    Quiet { cgroup: PathBuf, file: PathBuf },
    /// Be the workload of a test that counts: open a file as often as it is told to
    #[command(hide = true)]
    Opener { file: PathBuf },
    /// Record something of each kind in a file
    #[command(hide = true)]
    Corpus { file: PathBuf },
    /// Do something of a kind, and say what this process knows of it
    #[command(hide = true)]
    Deed { kind: String, outcome: String, place: PathBuf },
    /// Be a container's process that leaves it
    #[command(hide = true)]
    Cross { way: String },
    /// Be the process in a container that exploits of the kernel happen to
    #[command(hide = true)]
    Exploiter {
        /// What to be: the first one by default
        #[arg(long)]
        role: Option<Role>,
        acts: Vec<String>,
    },
    /// Change what a process may change of itself, or execute a command as another user
    #[command(hide = true)]
    Permitted {
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Make a system call by its number, and say what it returns
    #[command(hide = true)]
    Call {
        /// By the 32-bit table
        #[arg(long)]
        compat: bool,
        number: u32,
        arguments: Vec<u64>,
    },
    /// Be a container's process that uses what the host hands over to it
    #[command(hide = true, subcommand)]
    Handed(Handed),
    /// Measure what the agent costs
    #[command(hide = true, subcommand)]
    Bench(Bench),
    /// Show the agent at work, with a token for each escape
    #[command(hide = true)]
    Demo { tokens: Vec<String> },
    /// Run one test in this process
    #[command(hide = true)]
    Exec {
        #[arg(value_parser = suite)]
        suite: &'static Suite,
        test: String,
    },
}

/// Processes that exploits happen to.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Role {
    /// The one that acts on itself, or has the victim acted on
    Act,
    /// One that is acted on by another
    Victim,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What the probes add to operations of tasks
    Kernel,
    /// Whether each container is told as the one that it is
    Context {
        /// How many are started with each runtime
        count: u32,
    },
    /// What memory the agent takes beside many containers and processes
    Scale {
        /// How many containers are started
        count: usize,
    },
    /// Be the task that does an operation
    Worker { operation: String },
}

/// What a listing says about a suite.
#[derive(Debug, Serialize)]
struct Entry {
    suite: &'static str,
    tier: Tier,
    budget: u64,
    tests: Vec<&'static str>,
}

fn main() -> ExitCode {
    run(Line::parse().action).unwrap_or_else(|error| {
        eprintln!("{}", described(&error));
        ExitCode::FAILURE
    })
}

fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::List { json, guest } => list(json, guest.as_ref()),
        Action::Run { results, guest, filter, suites } => {
            let suites = if suites.is_empty() { SUITES.iter().collect() } else { suites };
            let selection = Selection { guest: &guest, filter: &filter };
            let failed = runner::run(&suites, &selection, open(results.as_deref())?)?;
            Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Action::Actor { guise, file } => actor::main(guise, &file).map(|()| ExitCode::SUCCESS),
        Action::Flooder { what, rename, cgroup, file } => {
            flood::flooder(what, rename, &cgroup, &file).map(|()| ExitCode::SUCCESS)
        }
        Action::Quiet { cgroup, file } => flood::quiet(&cgroup, &file).map(|()| ExitCode::SUCCESS),
        Action::Opener { file } => books::opener(&file).map(|()| ExitCode::SUCCESS),
        Action::Corpus { file } => corpus::record(&file).map(|()| ExitCode::SUCCESS),
        Action::Deed { kind, outcome, place } => deed(&kind, &outcome, &place),
        Action::Cross { way } => crossing::main(&way).map(|()| ExitCode::SUCCESS),
        Action::Exploiter { role, acts } => exploiter(role, &acts).map(|()| ExitCode::SUCCESS),
        Action::Permitted { command } => permitted::main(&command).map(|()| ExitCode::SUCCESS),
        Action::Call { compat, number, arguments } => {
            launcher::seccomp::main(compat, number, &arguments).map(|()| ExitCode::SUCCESS)
        }
        Action::Handed(way) => handed::main(&way).map(|()| ExitCode::SUCCESS),
        Action::Bench(Bench::Kernel) => bench::kernel().map(|()| ExitCode::SUCCESS),
        Action::Bench(Bench::Context { count }) => {
            attribution::run(count).map(|()| ExitCode::SUCCESS)
        }
        Action::Bench(Bench::Scale { count }) => bench::scale(count).map(|()| ExitCode::SUCCESS),
        Action::Bench(Bench::Worker { operation }) => {
            bench::worker(&operation).map(|()| ExitCode::SUCCESS)
        }
        Action::Demo { tokens } => demo::run(&tokens).map(|()| ExitCode::SUCCESS),
        Action::Exec { suite, test } => {
            let test =
                suite.test(&test).with_context(|| format!("no test {}::{test}", suite.name))?;
            (test.run)().map(|()| ExitCode::SUCCESS)
        }
    }
}

fn deed(kind: &str, outcome: &str, place: &Path) -> Result<ExitCode> {
    if (kind, outcome) == ("exec", "executed") {
        deed::executed(&place.to_string_lossy())?;
    } else {
        let deed =
            Deed::find(kind, outcome).with_context(|| format!("no deed {kind} {outcome}"))?;
        deed.main(place)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn exploiter(role: Option<Role>, acts: &[String]) -> Result<()> {
    let first = acts.first().map(String::as_str).unwrap_or_default();
    match role {
        None => exploit::act::main(acts),
        Some(Role::Act) => exploit::act::once(first),
        Some(Role::Victim) => exploit::act::victim(first),
    }
}

fn suite(name: &str) -> Result<&'static Suite, String> {
    SUITES.iter().find(|suite| suite.name == name).ok_or_else(|| {
        let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        format!("the suites are {}", names.join(", "))
    })
}

/// The error with its causes, and the line of a test that it comes from.
fn described(error: &Error) -> String {
    let backtrace = error.backtrace().to_string();
    let line = backtrace
        .lines()
        .find_map(|line| line.split_once(concat!(env!("CARGO_MANIFEST_DIR"), "/")));
    match line {
        Some((_, line)) => format!("{error:#}\nat {line}"),
        None => format!("{error:#}"),
    }
}

fn list(json: bool, guest: Option<&Configuration>) -> Result<ExitCode> {
    let wanted = SUITES.iter().filter(|suite| guest.is_none_or(|guest| (suite.wants)(guest)));
    let entries: Vec<Entry> = wanted.map(|suite| Entry::of(suite, guest)).collect();
    if json {
        println!("{}", serde_json::to_string(&entries)?);
    } else {
        for Entry { suite, tier, budget, tests } in entries {
            println!("{suite}: {} tests, {tier:?}, at most {budget} s", tests.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: Option<&Path>) -> Result<Results> {
    let Some(path) = path else { return Ok(Results::new(Box::new(io::stdout()))) };
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("cannot open {} for results", path.display()))?;
    Ok(Results::new(Box::new(file)))
}

impl Entry {
    fn of(suite: &Suite, guest: Option<&Configuration>) -> Self {
        Self {
            suite: suite.name,
            tier: suite.tier(guest),
            budget: suite.budget.as_secs(),
            tests: suite.tests.iter().map(|test| test.name).collect(),
        }
    }
}
