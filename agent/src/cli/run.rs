//! `shrike run`.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::rules::SelectionArgs;
use crate::config::{Config, Format, RingSize, WebhookUrl};
use crate::context::runtime::Endpoint;

const EXAMPLES: &str = "\
Examples:
  shrike run --rules rules.yaml
  shrike run --rules /etc/shrike/rules.d --webhook https://alerts.example.org/falco
  shrike run --rules rules.yaml --metrics 0.0.0.0:9750 --output json";

/// Watch this host: evaluate rules on what happens, and raise alerts
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// A rule file, or a folder of them (*.yaml, *.yml); may be given several times, later files
    /// extend earlier ones
    #[arg(long, required = true, value_name = "PATH")]
    rules: Vec<PathBuf>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Post each alert as JSON to this address (http or https); may be given several times
    #[arg(long, value_name = "URL")]
    webhook: Vec<WebhookUrl>,

    /// Serve /metrics, /healthz and /readyz at this address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9750")]
    metrics: SocketAddr,

    /// Send alerts to local programs that connect to this Unix socket, `shrike selftest` among them
    #[arg(long, value_name = "PATH", default_value = super::SOCKET)]
    socket: PathBuf,

    /// Tell what runs on this host at this Unix socket, to `shrike ps` and `shrike tree`
    #[arg(long, value_name = "PATH", default_value = super::AGENT_SOCKET)]
    agent_socket: PathBuf,

    /// Leave a mark in this folder every second, so that the next agent can tell since when nobody has
    /// watched this host; it should be emptied when the host is started
    #[arg(long, value_name = "DIR", default_value = super::STATE)]
    state: PathBuf,

    /// Pin in this folder of a BPF file system what goes on watching containers while no agent runs, so
    /// that the next one can tell of escapes in that time; `none` for nothing
    #[arg(long, value_name = "DIR", default_value = super::PINS)]
    pins: PathBuf,

    /// Ask the container runtime at this socket about its containers, beside those at the usual places:
    /// `cri:///PATH` or `docker:///PATH` (also for Podman); may be given several times
    #[arg(long, value_name = "ENDPOINT")]
    runtime_endpoint: Vec<Endpoint>,

    /// Ask no container runtime: alerts have the ids of containers, but neither names nor images
    #[arg(long, conflicts_with = "runtime_endpoint")]
    no_runtimes: bool,

    /// Read the service accounts of pods off their tokens, which no runtime tells: of a token nothing else is kept
    #[arg(long, conflicts_with = "no_runtimes")]
    service_accounts: bool,

    /// How alerts are written to standard output
    #[arg(long, value_enum, default_value_t = Output::Auto)]
    output: Output,

    /// The size of a lane's ring buffer, for example bulk=8MiB; the lanes are critical,
    /// process and bulk
    #[arg(long, value_name = "LANE=SIZE")]
    ring_size: Vec<RingSize>,

    /// The name of this node in alerts, if not the host's own
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Lines for a person on a terminal, JSON otherwise
    Auto,
    /// One line of text for each alert
    Text,
    /// One line of JSON for each alert, with Falco's keys
    Json,
}

/// Runs the agent until it is told to end.
pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let RunArgs {
        rules,
        selection,
        webhook,
        metrics,
        socket,
        agent_socket,
        state,
        pins,
        runtime_endpoint,
        no_runtimes,
        service_accounts,
        output,
        ring_size,
        hostname,
    } = args;
    let colour = super::colourful(&io::stdout());
    let format = match output {
        Output::Auto if io::stdout().is_terminal() => Format::Text { colour },
        Output::Text => Format::Text { colour },
        Output::Auto | Output::Json => Format::Json,
    };
    let hostname = match hostname {
        Some(name) => name,
        None => nix::unistd::gethostname()
            .context("cannot read this host's name; give one with --hostname")?
            .to_string_lossy()
            .into_owned(),
    };
    crate::run::run(&Config {
        rules,
        selection: selection.selection(),
        webhooks: webhook,
        metrics,
        socket,
        agent_socket,
        state,
        pins: (pins.as_os_str() != "none").then_some(pins),
        runtimes: (!no_runtimes).then_some(runtime_endpoint),
        service_accounts,
        format,
        ring_bytes: ring_size.into_iter().map(|size| (size.lane, size.bytes)).collect(),
        hostname,
        colourful_log: super::colourful(&io::stderr()),
    })?;
    Ok(ExitCode::SUCCESS)
}
