//! `shrike run`: puts the parts together, and takes them apart again when it is told to end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context as _, anyhow, ensure};
use nix::errno::Errno;
use nix::sys::prctl::set_thp_disable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shrike_common::Namespaces;
use shrike_rules::{Options, Ruleset, Severity, diagnose};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::alive::{self, Alive};
use crate::config::Config;
use crate::context::process;
use crate::context::runtime::{self, Directory};
use crate::detect::files::{self, RuleFile};
use crate::dispatch::Dispatch;
use crate::engine::Engine;
use crate::gap::{Gap, Gaps, Reason};
use crate::health::Health;
use crate::http::Server;
use crate::metrics::Metrics;
use crate::node::{self, KernelRelease, LsmList};
use crate::pipeline::{Context, Pipeline};
use crate::plan::Plans;
use crate::pulse::Pulse;
use crate::sensor::{self, ProbeState, Sensor, SensorOptions};
use crate::sink;
use crate::view;

/// Takes as many descriptors as it may: of a thousand, which is what services get, the probes alone take hundreds.
fn raise_descriptors() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
}

/// Runs the agent until SIGINT or SIGTERM.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let release = KernelRelease::running().context("cannot tell the kernel's version")?;
    ensure!(
        release.is_supported(),
        "this kernel is {release}, shrike needs {} or newer",
        KernelRelease::FLOOR
    );
    // The kernel would make huge pages of what is given back, which took 24 MB more within a minute.
    if let Err(error) = set_thp_disable(true) {
        tracing::warn!("cannot do without huge pages: {error}; the agent takes more memory");
    }
    if let Err(error) = raise_descriptors() {
        tracing::warn!("cannot have more descriptors: {error}; many containers may be too many");
    }
    let metrics = Arc::new(Metrics::new().context("cannot register the metrics")?);
    let health = Arc::new(Health::starting(Pipeline::HEALTH, "not started"));
    let ruleset = load_rules(config, &metrics, &health)?;
    // One thread for all that waits for the network; the events have a thread of their own.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let outcome = runtime.block_on(serve(config, ruleset, &metrics, &health));
    // A sink that did not end in time must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    config: &Config,
    ruleset: Ruleset,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> anyhow::Result<()> {
    // Before anything is announced: whoever waits for that may send a signal at once.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let address = Server::new(metrics, health).start(config.metrics).await?;
    let (sinks, workers) = sink::start(config.format, &config.socket, &config.webhooks, metrics)?;
    let (asker, questions) = view::channel().context("cannot create an eventfd")?;
    let view = view::Server::start(&config.agent_socket, "--agent-socket", asker)?;
    let host = node::host_namespaces(Path::new("/proc")).context("cannot tell containers apart")?;
    let sensor = start_sensor(config, Plans::of_rules(&ruleset), &host, metrics, health)?;
    // After the probes are attached: what happens from here on is in the events.
    let cgroups = sensor::cgroup_root().context("cannot find the cgroups of this host")?;
    let runtimes = start_runtimes(config)?;
    let context = Context::scan(host, &cgroups, &sensor.homes(), runtimes)
        .context("cannot read the running processes and their cgroups")?;
    return_memory();
    let (alive, since) = open_state(config, &sensor);
    let rules = ruleset.rules().len();
    let (reload, reloads) = mpsc::channel();
    let (stopped, stop) = nix::unistd::pipe().context("cannot create a pipe")?;
    let mut ended = start_events(
        Pipeline {
            engine: Engine::new(sensor.generation(), ruleset),
            sensor,
            reloads,
            questions,
            context,
            pulse: Pulse::default(),
            alive,
            gaps: Gaps::from(since.end),
            dispatch: Dispatch::new(sinks, metrics.clone(), config.hostname.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
        },
        since,
        stopped,
    )?;
    let (version, host) = (env!("CARGO_PKG_VERSION"), &config.hostname);
    tracing::info!(
        "shrike {version} watches {host}; rules: {rules}; metrics: http://{address}/metrics"
    );
    let outcome = loop {
        tokio::select! {
            outcome = &mut ended => break outcome,
            _ = interrupt.recv() => break end(ended, stop).await,
            _ = terminate.recv() => break end(ended, stop).await,
            _ = hangup.recv() => if let Some(ruleset) = load_other_rules(config) {
                // If nobody takes them any more, the agent is ending anyway.
                let _ = reload.send(ruleset);
            },
        }
    };
    view.finish().await;
    // The event thread has dropped its end of the queues.
    workers.finish().await;
    outcome.map_err(|_| anyhow!("the event thread panicked"))?.context("cannot wait for events")
}

/// Starts to ask container runtimes, unless nobody is to be asked.
fn start_runtimes(config: &Config) -> anyhow::Result<Option<Directory>> {
    let Some(endpoints) = &config.runtimes else { return Ok(None) };
    let options = runtime::Config {
        host: node::host_root().to_owned(),
        endpoints: endpoints.clone(),
        service_accounts: config.service_accounts,
        ..runtime::Config::default()
    };
    Directory::start(&options).map(Some).context("cannot start to ask container runtimes")
}

/// Opens the mark for the next agent, and tells since when nobody has watched until now.
fn open_state(config: &Config, sensor: &Sensor) -> (Option<Alive>, Gap) {
    let path = config.state.join(alive::FILE);
    let (alive, last) = match Alive::open(&path) {
        Ok((alive, last)) => (Some(alive), last),
        Err(error) => {
            tracing::warn!(
                "cannot use {}: {error}; the next agent will not know since when nobody watched",
                path.display()
            );
            (None, None)
        }
    };
    let reason = if last.is_some() { Reason::Restart } else { Reason::Start };
    let (subject, start, end) = (String::new(), last.unwrap_or(0), sensor.seen());
    (alive, Gap { reason, subject, start, end, lost: 0, is_open: false })
}

/// Gives back to the kernel what only the start needed, which is most of it: the kernel's types.
fn return_memory() {
    // SAFETY: the call has no precondition.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How the event thread ended.
type Ended = Result<(), Errno>;

/// Runs the pipeline on a thread of its own.
fn start_events(
    pipeline: Pipeline,
    since: Gap,
    stopped: OwnedFd,
) -> anyhow::Result<oneshot::Receiver<Ended>> {
    let (sender, ended) = oneshot::channel();
    thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || {
            // If nobody listens any more, the agent is ending anyway.
            let _ = sender.send(pipeline.run(&since, &stopped));
        })
        .context("cannot start the event thread")?;
    Ok(ended)
}

/// Ends the event thread by closing its pipe.
async fn end(
    ended: oneshot::Receiver<Ended>,
    stop: OwnedFd,
) -> Result<Ended, oneshot::error::RecvError> {
    tracing::info!("ending");
    drop(stop);
    ended.await
}

/// Loads the rules and shows what is wrong with them. The good ones are used also if others are
/// not; the agent is not ready then, so that nobody takes it for whole.
fn load_rules(config: &Config, metrics: &Metrics, health: &Health) -> anyhow::Result<Ruleset> {
    let files = files::read(&config.rules)?;
    let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
    let loaded = Ruleset::load_with(&sources, &options(config));
    let mut errors = 0;
    for diagnostic in &loaded.diagnostics {
        eprint!("{}", diagnose::render(diagnostic, config.colourful_log));
        errors += usize::from(diagnostic.severity == Severity::Error);
    }
    let rules = loaded.ruleset.rules();
    metrics.rules(rules.len(), errors);
    if errors > 0 {
        ensure!(!rules.is_empty(), "no rule could be loaded; errors in the rule files: {errors}");
        tracing::warn!("going on with {} rules; errors in the rule files: {errors}", rules.len());
        health.unmet("rules", format!("errors in the rule files: {errors}"));
    }
    Ok(loaded.ruleset)
}

fn options(config: &Config) -> Options {
    Options { selection: config.selection.clone(), ..Options::default() }
}

/// Loads the rules again, on SIGHUP. Only without any error: those in force are better than half of
/// the new ones.
fn load_other_rules(config: &Config) -> Option<Ruleset> {
    let files = match files::read(&config.rules) {
        Ok(files) => files,
        Err(error) => {
            tracing::error!("the former rules stay in force: {error:#}");
            return None;
        }
    };
    let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
    let loaded = Ruleset::load_with(&sources, &options(config));
    for diagnostic in &loaded.diagnostics {
        eprint!("{}", diagnose::render(diagnostic, config.colourful_log));
    }
    if loaded.has_errors() || loaded.ruleset.rules().is_empty() {
        tracing::error!(
            "the former rules stay in force: there are errors in the new ones, or no rules"
        );
        return None;
    }
    Some(loaded.ruleset)
}

fn start_sensor(
    config: &Config,
    plans: Plans,
    host: &Namespaces,
    metrics: &Metrics,
    health: &Health,
) -> anyhow::Result<Sensor> {
    let lsms = LsmList::read(Path::new(LsmList::PATH)).unwrap_or_else(|error| {
        tracing::warn!("cannot read {}: {error}; taking every LSM for inactive", LsmList::PATH);
        LsmList::default()
    });
    let has_bpf = lsms.has_bpf();
    let options = SensorOptions {
        ring_bytes: config.ring_bytes.clone(),
        lsms,
        plans,
        own: process::own().context("cannot read /proc/self")?,
        init_mnt_ns: host.mnt,
        pins: config.pins.clone(),
    };
    let sensor = Sensor::start(&options).context("cannot start the sensor")?;
    if !has_bpf {
        tracing::warn!(
            "bpf is not among the active LSMs (kernel option lsm=): probes of LSM hooks are attached \
             by fentry instead, which the kernel may skip"
        );
    }
    report_probes(&sensor, metrics, health);
    Ok(sensor)
}

/// Tells how the probes are attached: in the log, in the metrics, and by being ready or not.
pub(crate) fn report_probes(sensor: &Sensor, metrics: &Metrics, health: &Health) {
    let mut attached: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let (mut detached, mut unneeded) = (Vec::new(), Vec::new());
    for ProbeState { probe, exit, is_needed, attached: way, refused } in sensor.probes() {
        let name = probe.name;
        // That no LSM program runs at all was said once.
        for refused in refused.iter().filter(|refused| !refused.is_of_inactive_lsm()) {
            let backend = refused.way.backend().name();
            tracing::warn!("probe {name} is not attached by {backend}: {}", refused.reason);
        }
        if let Some(backend) = way.map(|way| way.backend().name()) {
            metrics.probe_attached(name, backend);
            attached.entry(backend).or_default().push(name);
        } else {
            metrics.probe_detached(name, *is_needed);
            if *is_needed {
                detached.push(name);
            } else if exit.is_none() {
                unneeded.push(name);
            }
        }
    }
    for (backend, probes) in attached {
        tracing::info!("attached by {backend}: {}", probes.join(", "));
    }
    if !unneeded.is_empty() {
        tracing::info!("not attached, as no rule needs them: {}", unneeded.join(", "));
    }
    if !detached.is_empty() {
        health.unmet("probes", format!("not attached: {}", detached.join(", ")));
    }
}
