//! The command line: what can be typed, and what it means.

mod cleanup;
mod container;
mod doctor;
mod events;
mod ps;
mod record;
mod rules;
mod run;
mod selftest;
mod table;
mod tree;
mod view;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigHandler, Signal, signal};
use tracing_subscriber::EnvFilter;

/// Version and revision, as `shrike --version` shows them.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SHRIKE_REVISION"), ")");

/// Where the agent sends alerts to local programs.
const SOCKET: &str = "/run/shrike/alerts.sock";

/// Where the agent tells what runs on this host.
const AGENT_SOCKET: &str = "/run/shrike/agent.sock";

/// The folder of what an agent leaves for the next one.
const STATE: &str = "/run/shrike";

/// The folder of what outlives an agent in the kernel.
const PINS: &str = "/sys/fs/bpf/shrike";

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  it failed, or (doctor) a requirement is not met
  2  the command line is wrong";

/// Detects container escapes and other attacks on this host, from the kernel up
#[derive(Debug, Parser)]
#[command(name = "shrike", version = VERSION, after_help = EXIT_CODES)]
struct Line {
    /// What goes to the log on standard error: error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        value_parser = log_filter
    )]
    log: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Container(container::ContainerArgs),
    Network(container::NetworkArgs),
    Ps(ps::PsArgs),
    Tree(tree::TreeArgs),
    Cleanup(cleanup::CleanupArgs),
    Doctor(doctor::DoctorArgs),
    Events(events::EventsArgs),
    Record(record::RecordArgs),
    Replay(record::ReplayArgs),
    Rules(rules::RulesArgs),
    Selftest(selftest::SelftestArgs),
    #[command(hide = true)]
    Technique(selftest::TechniqueArgs),
}

/// Runs the command that was typed.
pub(crate) fn main() -> anyhow::Result<ExitCode> {
    let line = Line::parse();
    start_log(&line.log);
    match line.command {
        Command::Run(args) => run::run(args),
        Command::Container(args) => Ok(container::run(args)),
        Command::Network(args) => Ok(container::run_network(args)),
        Command::Ps(args) => ps::run(&args),
        Command::Tree(args) => tree::run(&args),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Record(args) => record::record(&args),
        Command::Replay(args) => record::replay(args),
        Command::Rules(args) => rules::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Technique(args) => selftest::perform(&args),
    }
}

/// Shows an error and what caused it.
pub(crate) fn report(error: &anyhow::Error) {
    eprintln!("shrike: error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// Whether a stream takes colours: it is a terminal, and nobody asked for none
/// (<https://no-color.org>).
fn colourful(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Has this process end, as other programs do, when whoever reads what it says has had enough.
fn end_with_reader() {
    // SAFETY: no handler is installed. Without it, writing fails.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

fn start_log(filter: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_target(false)
        .with_ansi(colourful(&io::stderr()))
        .with_writer(io::stderr)
        .init();
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    /// A host with some containers.
    pub(super) fn snapshot() -> crate::view::Snapshot {
        const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let inner = format!("{ID}/f00d");
        let process =
            |(pid, parent, started, user, args, container): (u32, u32, &str, u32, &str, &str)| {
                serde_json::json!({
                    "pid": pid,
                    "vpid": 1,
                    "parent": parent,
                    "started": started,
                    "uid": user,
                    "user": match user { 0 => Some("root"), 101 => Some("nginx"), _ => None },
                    "name": "kthreadd",
                    "exe": "/bin/x",
                    "args": args.split_terminator('|').collect::<Vec<_>>(),
                    "cgroup": "",
                    "namespaces": {},
                    "container": (!container.is_empty()).then_some(container),
                })
            };
        let container = |id: &str, runtime: &str, first: u32, started: &str| {
            serde_json::json!({
                "id": id,
                "numbers": [],
                "runtime": runtime,
                "cgroup": "",
                "namespaces": {},
                "host_namespaces": [],
                "first": first,
                "started": started,
                "processes": 1,
            })
        };
        let (hours, now) = ("2026-01-02T00:00:00Z", "2026-01-02T02:00:00Z");
        let mut containers = [
            container(ID, "docker", 11, hours),
            container(&inner, "docker", 14, "2026-01-02T01:59:55Z"),
            container("0abc", "shrike", 20, now),
            container("0abd", "unknown", 99, now),
        ];
        containers[0]["namespaces"] =
            serde_json::json!({ "net": 1, "user": 2, "time": 3, "mnt": 4 });
        containers[0]["host_namespaces"] = serde_json::json!(["net", "user", "time"]);
        containers[0]["pod"] =
            serde_json::json!({ "uid": "0-1", "qos": "Burstable", "name": "web" });
        containers[0]["boundary"] = "watched".into();
        containers[0]["processes"] = 2.into();
        containers[1]["namespaces"] = serde_json::json!({ "mnt": 5 });
        containers[1]["boundary"] = "none".into();
        containers[1]["parent"] = ID.into();
        containers[2]["name"] = "web".into();
        containers[3]["boundary"] = "none".into();
        let processes = [
            (1, 0, "2026-01-01T00:00:00Z", 0, "/sbin/init", ""),
            (2, 0, "2026-01-01T00:00:01Z", 0, "", ""),
            (11, 10, hours, 101, "nginx: master", ID),
            (12, 11, "2026-01-02T00:00:01Z", 1000, "nginx: worker\x1b[2J", ID),
            (13, 11, "2026-01-02T00:00:02Z", 0, "sh|-c|id", ""),
            (14, 10, "2026-01-02T01:59:55Z", 0, "sh", &inner),
            (10, 1, "2026-01-01T00:00:02Z", 0, "containerd-shim|-id|0123", ""),
            (20, 2, now, 0, "top", "0abc"),
        ];
        let document = serde_json::json!({
            "source": "agent",
            "time": now,
            "host": {},
            "containers": containers,
            "processes": processes.map(process),
        });
        serde_json::from_value(document).unwrap()
    }

    fn refused(arguments: &[&str]) -> clap::Error {
        let arguments = ["shrike"].iter().chain(arguments);
        Line::try_parse_from(arguments).expect_err("it should be refused")
    }

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn names_what_it_does_not_know_and_what_was_meant() {
        let error = refused(&["run", "--rulez", "x"]).to_string();
        assert!(error.contains("'--rulez'") && error.contains("'--rules'"), "{error}");
        let error = refused(&["rum"]).to_string();
        assert!(error.contains("'rum'") && error.contains("'run'"), "{error}");
    }

    #[test]
    fn asks_for_rules() {
        let error = refused(&["run"]);
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
        assert!(error.to_string().contains("--rules <PATH>"), "{error}");
    }

    #[test]
    fn says_what_is_wrong_with_a_value() {
        for (option, value, reason) in [
            ("--ring-size", "bulk=12KiB", "power of two"),
            ("--ring-size", "slow=1MiB", "the lanes are critical, process and bulk"),
            ("--webhook", "ftp://x/", "must be http or https"),
            ("--metrics", "localhost", "invalid socket address"),
            ("--log", "shrike=loud", "invalid"),
        ] {
            let error = refused(&["run", "--rules", "x", option, value]).to_string();
            assert!(error.contains(option) && error.contains(reason), "{error}");
        }
        for command in ["ps", "tree"] {
            let error = refused(&[command, "--watch", "web"]).to_string();
            assert!(error.contains("--watch") && error.contains("number of seconds"), "{error}");
        }
        for (option, value, reason) in [
            ("--cap-add", "CAP_FLY", "there is no capability \"CAP_FLY\""),
            ("--security-opt", "apparmr=x", "expected seccomp=FILE"),
            ("--security-opt", "no-new-privileges=1", "=false"),
            ("--volume", "data:/data", "absolute paths"),
            ("--memory", "much", "512m"),
            ("--device", "sda", "absolute paths"),
            ("--device", "/srv/disk", "/srv/disk is not (HOST:CONTAINER)"),
            ("--device-cgroup-rule", "c 1:3", "\"c 1:3 rwm\""),
            ("--device-read-bps", "/dev/sda:fast", "/dev/sda:1m"),
            ("--device-write-iops", "/dev/sda:1m", "/dev/sda:100"),
            ("--blkio-weight", "1001", "10..=1000"),
            ("--user", "root", "UID:GID"),
            ("--env", "=x", "NAME=VALUE"),
            ("--name", "a/b", "hyphens"),
        ] {
            let run = ["container", "run", "--rootfs", "x", option, value, "--", "sh"];
            let error = refused(&run).to_string();
            assert!(error.contains(option) && error.contains(reason), "{error}");
        }
    }

    /// A manifest of the repository, as JSON.
    fn manifest(path: &str) -> serde_json::Value {
        let path = format!("{}/../deploy/{path}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn the_daemonset_starts_this_agent() {
        let daemonset = manifest("kubernetes/daemonset.yaml");
        let pod = &daemonset["spec"]["template"]["spec"];
        assert_eq!(pod["hostPID"], true);
        let container = &pod["containers"][0];
        assert_eq!(container["image"], concat!("shrike:", env!("CARGO_PKG_VERSION")));
        let arguments: Vec<&str> =
            container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let line = Line::try_parse_from(["shrike"].iter().chain(&arguments)).unwrap();
        assert!(matches!(line.command, Command::Run(_)));
        let port = &container["ports"][0]["containerPort"];
        assert!(arguments.contains(&format!("--metrics=0.0.0.0:{port}").as_str()));
        assert_eq!(manifest("kubernetes/service.yaml")["spec"]["ports"][0]["port"], *port);
        let mounted = |path: &str| {
            container["volumeMounts"].as_array().unwrap().iter().any(|m| m["mountPath"] == path)
        };
        let folder = std::path::Path::new(SOCKET).parent().unwrap().to_str().unwrap();
        assert!(mounted(folder) && mounted("/etc/shrike/rules.d") && mounted("/sys/fs/cgroup"));
        let bpf_fs = std::path::Path::new(PINS).parent().unwrap().to_str().unwrap();
        assert!(mounted(bpf_fs));
    }

    #[test]
    fn the_rules_of_the_config_map_load() {
        use shrike_rules::{Ruleset, Source};
        let map = manifest("kubernetes/configmap.yaml");
        let rules = map["data"]["cluster.yaml"].as_str().unwrap();
        let loaded = Ruleset::load(&[Source::new("cluster.yaml", rules)]);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        for other in [
            "kubernetes/kustomization.yaml",
            "kubernetes/namespace.yaml",
            "prometheus/alerts.yaml",
            "prometheus/scrape.yaml",
        ] {
            assert!(manifest(other).is_object(), "{other}");
        }
    }

    #[test]
    fn a_container_has_one_root() {
        let error = refused(&["container", "run", "--", "sh"]);
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
        let both = ["container", "run", "--rootfs", "x", "--image", "y", "--", "sh"];
        assert_eq!(refused(&both).kind(), ErrorKind::ArgumentConflict);
    }
}
