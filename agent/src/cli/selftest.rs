//! `shrike selftest`, and what it runs in its containers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::selftest::{self, Report, Technique};

const EXAMPLES: &str = "\
Examples:
  shrike selftest
  shrike selftest --json ptrace setns
  kubectl --namespace shrike exec daemonset/shrike -- shrike selftest

Exit codes:
  0  the agent detected every technique
  1  it missed one, or one could not be tried";

/// Try a harmless form of each technique that the default rules tell of, each in a container of its
/// own, and see whether the running agent detects it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SelftestArgs {
    /// The techniques to try; all by default
    #[arg(value_name = "TECHNIQUE", value_parser = technique)]
    techniques: Vec<&'static Technique>,

    /// The Unix socket that the agent sends its alerts to
    #[arg(long, value_name = "PATH", default_value = super::SOCKET)]
    socket: PathBuf,

    /// How long to wait for each alert, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,

    /// Write the results as a JSON array
    #[arg(long)]
    json: bool,

    /// List the techniques, and try none
    #[arg(long)]
    list: bool,
}

/// Perform one technique in this container (what `shrike selftest` runs there)
#[derive(Args, Debug)]
pub(super) struct TechniqueArgs {
    /// The technique
    #[arg(value_parser = technique)]
    technique: &'static Technique,

    /// Makes the attempt recognisable: shown in the process's command line
    #[arg(long)]
    token: Option<String>,
}

/// Runs the self-test.
pub(super) fn run(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    let techniques: Vec<&'static Technique> = if args.techniques.is_empty() {
        selftest::technique::TECHNIQUES.iter().collect()
    } else {
        args.techniques.clone()
    };
    if args.list {
        for technique in techniques {
            println!("{:<18} {}", technique.name, technique.summary);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let patience = Duration::from_secs(args.timeout);
    let reports = selftest::run(&techniques, &args.socket, patience, |report| {
        if !args.json {
            println!("{report}");
        }
    })?;
    let detected = reports.iter().filter(|report| report.is_detected()).count();
    if args.json {
        println!("{}", serde_json::to_string(&reports)?);
    } else {
        println!("{detected} of {} techniques were detected", reports.len());
    }
    let all = reports.iter().all(Report::is_detected);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Performs a technique.
pub(super) fn perform(args: &TechniqueArgs) -> anyhow::Result<ExitCode> {
    selftest::perform(args.technique)?;
    Ok(ExitCode::SUCCESS)
}

fn technique(name: &str) -> Result<&'static Technique, String> {
    Technique::by_name(name).ok_or_else(|| {
        let names: Vec<&str> =
            selftest::technique::TECHNIQUES.iter().map(|technique| technique.name).collect();
        format!("the techniques are {}", names.join(", "))
    })
}
