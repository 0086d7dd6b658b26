//! The agent under test: the real binary, started as a user starts it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything that the agent should do may take; generous, as guests are emulated.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running `shrike run`.
pub struct Agent {
    child: Child,
    dir: PathBuf,
    /// What it leaves in the kernel, if nobody else asks for that.
    pins: Option<PathBuf>,
    doors: Doors,
    stdout: Lines,
    stderr: Lines,
}

/// Where an agent can be asked.
pub struct Doors {
    /// The address of `--metrics`.
    pub metrics: SocketAddr,
}

/// The lines that the agent has written so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Agent {
    /// Starts the agent with these rules and waits until it is ready.
    pub fn start(rules: &str, options: &[&str]) -> Result<Self> {
        let agent = Self::spawn(rules, options)?;
        agent.wait("ready", |agent| agent.get("/readyz").is_ok_and(|(status, _)| status == 200))?;
        Ok(agent)
    }

    /// Starts the agent with these rules.
    pub fn spawn(rules: &str, options: &[&str]) -> Result<Self> {
        let dir = scratch()?;
        let file = dir.join("rules.yaml");
        fs::write(&file, rules)?;
        // The port is free now, and nobody else in the guest takes one.
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let name = dir.file_name().context("a strange folder")?;
        let pins = Path::new("/sys/fs/bpf").join(name);
        let pins = (!options.contains(&"--pins")).then_some(pins);
        let mut child = Command::new("shrike")
            .arg("run")
            .arg("--rules")
            .arg(&file)
            .args(["--metrics", &metrics.to_string()])
            .args((!options.contains(&"--state")).then_some("--state"))
            .args((!options.contains(&"--state")).then_some(&dir))
            .args(pins.iter().flat_map(|pins| [OsStr::new("--pins"), pins.as_os_str()]))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start shrike")?;
        let stdout = Lines::collect(child.stdout.take().context("no stdout")?);
        let stderr = Lines::collect(child.stderr.take().context("no stderr")?);
        Ok(Self { child, dir, pins, doors: Doors { metrics }, stdout, stderr })
    }

    /// Waits for an alert on the console that fits.
    pub fn alert(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut found = None;
        self.wait(&format!("alert with {what}"), |agent| {
            found = agent.alerts().into_iter().find(&fits);
            found.is_some()
        })
        .with_context(|| {
            let outputs = self.alerts().into_iter().map(|alert| alert["output"].to_string());
            format!("the alerts are:\n{}", outputs.collect::<Vec<_>>().join("\n"))
        })?;
        found.context("no alert")
    }

    /// Every alert of a rule on the console so far.
    pub fn alerts(&self) -> Vec<Value> {
        self.told().filter(|alert| alert["source"] != "internal").collect()
    }

    /// Every gap that was told on the console so far.
    pub fn gaps(&self) -> Vec<Value> {
        self.told().filter(|alert| alert["rule"] == "Shrike internal: gap").collect()
    }

    fn told(&self) -> impl Iterator<Item = Value> {
        self.stdout.all().into_iter().filter_map(|line| serde_json::from_str(&line).ok())
    }

    /// What the agent has written to its log so far.
    pub fn log(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// Its resident memory, in KiB.
    pub fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(resident.context("no VmRSS")?.parse()?)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// See [`Doors::metric`].
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        self.doors.metric(name, labels)
    }

    /// Waits until `done` says so.
    pub fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > deadline {
                bail!("not {what} within {PATIENCE:?}; the agent's log:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// See [`Doors::get`].
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.doors.get(path)
    }

    /// Has the agent load other rules.
    pub fn reload(&self, rules: &str) -> Result<()> {
        fs::write(self.dir.join("rules.yaml"), rules)?;
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGHUP)?;
        Ok(())
    }

    /// Ends the agent without a chance to do anything about it.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the agent to end, and returns how it did.
    pub fn stop(mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        self.exit()
    }

    /// Waits until the agent ends by itself.
    pub fn exit(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the agent did not end; its log:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Doors {
    /// The value of a metric: the sum of all samples of `name` that have these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let (status, text) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics answered {status}");
        let fits = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let all =
                labels.iter().all(|(name, value)| rest.contains(&format!("{name}=\"{value}\"")));
            (found == name && all).then(|| value.parse::<u64>().ok()).flatten()
        };
        Ok(text.lines().filter_map(fits).sum())
    }

    /// Sends a GET and returns the status and the body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        let status = head.split(' ').nth(1).context("an answer without a status")?.parse()?;
        Ok((status, body.to_owned()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail if the agent has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(pins) = &self.pins {
            let _ = Command::new("shrike")
                .args(["cleanup", "--pins"])
                .arg(pins)
                .arg("--state")
                .arg(self.dir.join("none"))
                .arg("--socket")
                .arg(self.dir.join("none"))
                .arg("--agent-socket")
                .arg(self.dir.join("none"))
                .output();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Lines {
    fn collect(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let sink = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(std::result::Result::ok) {
                sink.0.lock().expect("a reader panicked").push(line);
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("a reader panicked").clone()
    }
}

/// A new directory for one test.
pub fn scratch() -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("shrike-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}
