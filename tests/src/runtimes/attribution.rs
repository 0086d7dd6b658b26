//! Whether each container is told as the one that it is, from its first program on, however many are started one
//! after the other.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::image::{self, NAME};
use super::oci::{Bundle, UNKNOWN};
use super::watch::file;
use super::{Daemon, output};
use crate::agent::Agent;
use crate::bench::report;
use crate::container::Rootfs;

/// What the program of each container has among its arguments.
const MARK: &str = "attributed";

const RULES: &str = "
- rule: Container's program
  desc: The first program of a container of this bench.
  condition: evt.type in (execve, execveat) and proc.name = true and proc.args startswith attributed
  output: \"%container.full_id %container.type %proc.args\"
  priority: NOTICE
";

/// How long the agent may take for the last events.
const PATIENCE: Duration = Duration::from_mins(1);

/// What became of the containers of a runtime.
#[derive(Default)]
struct Count {
    wrong: u32,
    of_the_host: u32,
    missing: u32,
}

/// Starts so many containers with each runtime.
pub fn run(count: u32) -> Result<()> {
    let agent = Agent::start(RULES, &[])?;
    let rootfs = Rootfs::new()?;
    let archive = image::archive(&image::layer(rootfs.path())?)?;
    let (log, _) = file("containerd.log")?;
    let answers = || output(Command::new("ctr").arg("version")).is_ok();
    let _daemon = Daemon::start(&mut Command::new("containerd"), &log, answers)?;
    output(Command::new("ctr").args(["images", "import"]).arg(&archive))?;
    let bundle = Bundle::new(rootfs.path())?;

    let oci = |runtime: &str, id: &str| {
        bundle.write(&format!("exec /bin/true {MARK} {id}"), |_| Ok(()))?;
        bundle.run(runtime, id).map(drop)
    };
    let ctr = |id: &str| {
        let mut command = Command::new("ctr");
        command.args(["run", "--rm", NAME, id, "/bin/true", MARK, id]);
        output(&mut command).map(drop)
    };
    let ours = |id: &str| {
        let options = ["--name", id];
        let mut command = rootfs.launcher(&options, &["/bin/true", MARK, id]);
        output(command.stdin(Stdio::null())).map(drop)
    };
    each(&agent, count, "runc", UNKNOWN, |id| oci("runc", id))?;
    each(&agent, count, "crun", UNKNOWN, |id| oci("crun", id))?;
    each(&agent, count, "shrike", "shrike", ours)?;
    each(&agent, count, "containerd", "containerd", ctr)?;
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// Starts the containers of a runtime, and sees which are told as what they are.
fn each(
    agent: &Agent,
    count: u32,
    name: &str,
    runtime: &str,
    start: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let id = |number: u32| format!("{name}-{number}");
    for number in 0..count {
        start(&id(number)).with_context(|| format!("start container {}", id(number)))?;
    }
    let told = told(agent, &id(count.saturating_sub(1)))?;
    let mut result = Count::default();
    for number in 0..count {
        let id = id(number);
        let found = told.get(&id).map(|(found, runtime)| (found.as_str(), runtime.as_str()));
        match found {
            Some(found) if found == (id.as_str(), runtime) => continue,
            Some(("host", _)) => result.of_the_host += 1,
            Some(_) => result.wrong += 1,
            None => result.missing += 1,
        }
        eprintln!("{id} is told as {found:?}");
    }
    let Count { wrong, of_the_host, missing } = result;
    for (what, number) in [
        ("started", count),
        ("told as another container", wrong),
        ("told as the host", of_the_host),
        ("not told", missing),
    ] {
        report(format!("{name}: {what}"), number.into())?;
    }
    Ok(())
}

/// The container and its runtime that the agent has told of each, once it has told of the last one, or told nothing
/// more for long.
fn told(agent: &Agent, last: &str) -> Result<HashMap<String, (String, String)>> {
    let start = Instant::now();
    loop {
        let mut told = HashMap::new();
        for alert in agent.alerts() {
            let text = |name: &str| alert["output_fields"][name].as_str().unwrap_or_default();
            if let Some(id) = text("proc.args").strip_prefix(MARK) {
                let container = (text("container.full_id").into(), text("container.type").into());
                told.insert(id.trim().to_owned(), container);
            }
        }
        if told.contains_key(last) || start.elapsed() > PATIENCE {
            return Ok(told);
        }
        thread::sleep(Duration::from_millis(500));
    }
}
