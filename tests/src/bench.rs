//! What the agent costs, measured where it costs: the same operations on the bare kernel and with
//! the agent beside them. In a guest whose clock counts instructions, nanoseconds are instructions.

mod empty;
mod operation;
mod scale;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::container::{Rootfs, UNCONFINED};
use empty::Empty;
use operation::{OPEN, OPERATIONS, Operation};
pub use scale::scale;

/// Where the host reads what was measured.
const RESULTS: &str = "/dev/virtio-ports/shrike.results";

/// The default rules.
pub const DEFAULT_RULES: &str = concat!(
    include_str!("../../rules/default/boundary.yaml"),
    include_str!("../../rules/default/container.yaml"),
    include_str!("../../rules/default/credentials.yaml"),
    include_str!("../../rules/default/escape.yaml")
);

/// A rule that every operation's own file matches, and that asks for nothing else.
const MARKED_RULES: &str = "
- rule: Marked
  desc: The operation opens its file.
  condition: evt.type in (open, openat) and fd.name startswith /tmp/marked
  output: \"%fd.name\"
  priority: DEBUG
";

/// How often everything is measured; the least counts, since nothing makes a run cheaper.
const ROUNDS: usize = 5;

/// A figure, as the guest tells it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much it was.
    pub value: f64,
}

/// What one operation costs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Cost {
    /// In the task and its children, in nanoseconds.
    task: f64,
    /// In the agent's process.
    agent: f64,
}

/// Whose task works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// A task of the host.
    Host,
    /// A task in a container of our launcher.
    Container,
}

impl Scope {
    const ALL: [Self; 2] = [Self::Host, Self::Container];

    const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Container => "container",
        }
    }
}

/// Measures what the probes cost.
pub fn kernel() -> Result<()> {
    fs::create_dir_all("/tmp")?;
    let rootfs = Rootfs::new()?;
    let mut bare = Vec::new();
    for scope in Scope::ALL {
        for operation in OPERATIONS {
            let cost = measure(&rootfs, operation, scope, None)?.task;
            report(format!("{} ({}) on the bare kernel", operation.name, scope.name()), cost)?;
            bare.push(cost);
        }
    }
    with_agent(&rootfs, "default rules", DEFAULT_RULES, &bare)?;
    with_agent(&rootfs, "a rule that asks for the operation's file", MARKED_RULES, &bare)?;
    let without_rules = with_agent(&rootfs, "no rule", "[]", &bare)?;
    above_empty(&rootfs, &bare, &without_rules)
}

/// What the comparison with the boundary costs at the opening of a file, beyond a program that does nothing
/// there.
fn above_empty(rootfs: &Rootfs, bare: &[f64], without_rules: &[f64]) -> Result<()> {
    let lsm = fs::read_to_string("/sys/kernel/security/lsm")?;
    if !lsm.trim_end().split(',').any(|name| name == "bpf") {
        return Ok(());
    }
    let empty = Empty::attach("file_open")?;
    let mut costs = bare.iter().zip(without_rules);
    for scope in Scope::ALL {
        for operation in OPERATIONS {
            let (bare, added) = costs.next().context("more operations than before")?;
            if operation.name != OPEN {
                continue;
            }
            let nothing = measure(rootfs, operation, scope, None)?.task - bare;
            let name = format!("{OPEN} ({})", scope.name());
            report(
                format!("{name} with an empty program at file_open: added in the task"),
                nothing,
            )?;
            report(format!("{name} with no rule: above an empty program"), added - nothing)?;
        }
    }
    drop(empty);
    Ok(())
}

/// Measures every operation beside an agent with these rules.
/// Returns what was added in the task.
fn with_agent(rootfs: &Rootfs, title: &str, rules: &str, bare: &[f64]) -> Result<Vec<f64>> {
    let agent = Agent::start(rules, &[])?;
    thread::sleep(Duration::from_secs(1));
    let mut bare = bare.iter();
    let mut added = Vec::new();
    for scope in Scope::ALL {
        for operation in OPERATIONS {
            let cost = measure(rootfs, operation, scope, Some(agent.pid()))?;
            let bare = bare.next().context("more operations than before")?;
            let name = format!("{} ({}) with {title}", operation.name, scope.name());
            added.push(cost.task - bare);
            report(format!("{name}: added in the task"), cost.task - bare)?;
            report(format!("{name}: in the agent"), cost.agent)?;
        }
    }
    report(format!("resident memory of the agent with {title}"), agent.resident()?)?;
    report(format!("memory of the maps with {title}"), map_memory(agent.pid())?)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(added)
}

/// Kilobytes of kernel memory in the BPF maps that a process holds.
fn map_memory(pid: u32) -> Result<f64> {
    let mut total = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        total += map_bytes(&info).unwrap_or_default();
    }
    Ok(f64::from(u32::try_from(total / 1024)?))
}

/// The bytes of one map, from its text in `/proc/PID/fdinfo`; `None` of anything else. Kernels before
/// 6.4 do not count all of a map, so what its values take is the least.
fn map_bytes(info: &str) -> Option<u64> {
    const PER_CPU: [u64; 3] = [5, 6, 10];
    const RING: u64 = 27;
    let number = |name: &str| -> Option<u64> {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let (ty, entries) = (number("map_type")?, number("max_entries")?);
    let values = number("value_size")?.next_multiple_of(8) * entries;
    let values = match ty {
        RING => entries,
        ty if PER_CPU.contains(&ty) => values * u64::try_from(possible_cpus()).ok()?,
        _ => values,
    };
    Some(number("memlock")?.max(values))
}

/// How many CPUs the kernel has room for.
fn possible_cpus() -> usize {
    // SAFETY: the call has no precondition.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(count).unwrap_or(1)
}

/// Measures an operation in a process of its own, several times.
fn measure(
    rootfs: &Rootfs,
    operation: &Operation,
    scope: Scope,
    agent: Option<u32>,
) -> Result<Cost> {
    const PROGRAM: &str = "/usr/bin/shrike-tests";
    let arguments = [PROGRAM, "bench", "worker", operation.name];
    let mut worker = match scope {
        Scope::Host => {
            let mut worker = Command::new(PROGRAM);
            worker.args(&arguments[1..]);
            worker
        }
        Scope::Container => {
            // What a filter costs is not the agent's.
            rootfs.launcher(&[&format!("--volume={PROGRAM}:{PROGRAM}"), UNCONFINED], &arguments)
        }
    };
    let mut worker = worker.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut orders = worker.stdin.take().context("no stdin")?;
    let mut answers = BufReader::new(worker.stdout.take().context("no stdout")?);
    let mut least: Option<Cost> = None;
    for round in 0..=ROUNDS {
        let before = agent.map(process_time).transpose()?.unwrap_or_default();
        writeln!(orders)?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        // What the agent has yet to read belongs to the operation.
        thread::sleep(Duration::from_millis(200));
        let after = agent.map(process_time).transpose()?.unwrap_or_default();
        let task = answer.trim().parse().with_context(|| format!("the answer {answer:?}"))?;
        let cost = Cost {
            task: each(Duration::from_nanos(task), operation.count),
            agent: each(after.saturating_sub(before), operation.count),
        };
        // The first round warms up.
        if round > 0 {
            least = Some(least.map_or(cost, |least| Cost {
                task: least.task.min(cost.task),
                agent: least.agent.min(cost.agent),
            }));
        }
    }
    drop(orders);
    ensure!(worker.wait()?.success(), "the worker failed");
    least.context("no round")
}

/// The worker's own main function: does the operation once for each line on its standard input, as
/// often as it is to be done in a round, and tells how long that took in this task and its children.
pub fn worker(name: &str) -> Result<()> {
    let operation = OPERATIONS.iter().find(|operation| operation.name == name);
    let operation = operation.with_context(|| format!("no operation {name}"))?;
    let mut run = (operation.prepare)()?;
    for line in std::io::stdin().lines() {
        line?;
        let before = spent()?;
        for _ in 0..operation.count {
            run()?;
        }
        println!("{}", spent()?.saturating_sub(before).as_nanos());
    }
    Ok(())
}

/// How long this task and its waited-for children have run.
fn spent() -> Result<Duration> {
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let [user, system] = [children.user_time(), children.system_time()].map(duration);
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?) + user? + system?)
}

fn duration(time: TimeVal) -> Result<Duration> {
    let [seconds, microseconds] = [time.tv_sec(), time.tv_usec()];
    Ok(Duration::from_secs(seconds.try_into()?) + Duration::from_micros(microseconds.try_into()?))
}

fn process_time(pid: u32) -> Result<Duration> {
    Ok(clock_gettime(clock_getcpuclockid(Pid::from_raw(pid.try_into()?))?)?.into())
}

/// Of `count` times that took this long together, one.
fn each(duration: Duration, count: u32) -> f64 {
    duration.as_secs_f64() * 1e9 / f64::from(count)
}

/// Tells the host a figure.
pub fn report(name: String, value: f64) -> Result<()> {
    println!("{value:12.0}  {name}");
    let figure = Figure { name, value };
    let path = PathBuf::from(RESULTS);
    let mut results = OpenOptions::new().append(true).open(path).context("open the results")?;
    writeln!(results, "{}", serde_json::to_string(&figure)?).context("write the results")
}
