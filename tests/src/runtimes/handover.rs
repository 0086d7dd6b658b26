//! Descriptors that a container has from the host: handed over by a service of the host through a socket,
//! or there when it starts, as files, terminals and sockets of the host's. It may use what it was given.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::docker::Engine;
use super::image::NAME;
use super::oci::{Bundle, until};
use super::watch::{Watch, says};
use super::{finish, output};
use crate::agent::scratch;
use crate::handed::{ADDED, GIVEN, PROGRAM};
use crate::runc;

/// How long a side waits for the other, in seconds.
const PATIENCE: i64 = 60;

pub(super) fn run() -> Result<()> {
    let mut watch = Watch::start()?;
    let bundle = Bundle::new(watch.rootfs.path())?;
    for runtime in ["runc", "crun"] {
        receive(&mut watch, &bundle, runtime).context("received through a socket")?;
        inherit(&mut watch, &bundle, runtime).context("inherited")?;
        listen(&mut watch, &bundle, runtime).context("activated by a socket")?;
        stdio(&mut watch, &bundle, runtime).context("a file as standard output")?;
        terminal(&mut watch, &bundle, runtime).context("a terminal of the host")?;
    }
    let _engine = Engine::start(watch.rootfs.path())?;
    let script = format!("{}; {TERMINAL}", says("docker", "terminal"));
    let mut docker = Command::new("docker");
    docker.args(["run", "--rm", "-it", "--network=none", NAME, "sh", "-c", &script]);
    watch.hear(&at_a_terminal(docker)?, 1)?;
    watch.finish()
}

/// A file of the host's, below a folder that no container is given.
fn given() -> Result<(PathBuf, File)> {
    let path = scratch()?.join("given");
    fs::write(&path, GIVEN)?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    Ok((path, file))
}

/// Sees that the container has written into the file that it was given.
fn is_used(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    ensure!(text == format!("{GIVEN}{ADDED}"), "the file is left as {text:?}");
    Ok(())
}

/// A bundle that says who it is and executes our program.
fn acts(bundle: &Bundle, name: &str, way: &str, volume: Option<&Path>) -> Result<()> {
    let script = format!("{}; exec {PROGRAM} handed {way}", says(name, "start"));
    bundle.write(&script, |config| {
        runc::mount(config, PROGRAM, PROGRAM)?;
        let volume = volume.map(|volume| volume.display().to_string());
        volume.map_or(Ok(()), |volume| runc::mount(config, &volume, "/volume"))
    })
}

fn receive(watch: &mut Watch, bundle: &Bundle, runtime: &str) -> Result<()> {
    let name = format!("received-{runtime}");
    let volume = scratch()?;
    let listener = UnixListener::bind(volume.join("socket"))?;
    setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
    acts(bundle, &name, "received /volume/socket", Some(&volume))?;
    let (path, file) = given()?;
    let said = thread::scope(|scope| {
        let service = scope.spawn(move || -> Result<()> {
            let (caller, _) = listener.accept().context("the container does not call")?;
            let descriptors = [file.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&descriptors)];
            let flags = MsgFlags::empty();
            sendmsg::<()>(caller.as_raw_fd(), &[IoSlice::new(b"!")], &rights, flags, None)?;
            Ok(())
        });
        let said = bundle.run(runtime, &name)?;
        service.join().map_err(|_| anyhow!("the service panicked"))??;
        Ok::<_, anyhow::Error>(said)
    })?;
    watch.hear(&said, 1)?;
    is_used(&path)
}

fn inherit(watch: &mut Watch, bundle: &Bundle, runtime: &str) -> Result<()> {
    let name = format!("inherited-{runtime}");
    acts(bundle, &name, "inherited", None)?;
    let (path, file) = given()?;
    watch.hear(&finish(&mut with(file.into(), runtime, bundle, &name))?, 1)?;
    is_used(&path)
}

fn listen(watch: &mut Watch, bundle: &Bundle, runtime: &str) -> Result<()> {
    let name = format!("listening-{runtime}");
    acts(bundle, &name, "listening", None)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut caller = TcpStream::connect(listener.local_addr()?)?;
    caller.set_read_timeout(Some(Duration::from_secs(PATIENCE.unsigned_abs())))?;
    watch.hear(&finish(&mut with(listener.into(), runtime, bundle, &name))?, 1)?;
    let mut answer = String::new();
    caller.read_to_string(&mut answer).context("the container does not answer")?;
    ensure!(answer == GIVEN, "the container answers {answer:?}");
    Ok(())
}

/// Runs the bundle with a descriptor as systemd hands it over.
fn with(descriptor: OwnedFd, runtime: &str, bundle: &Bundle, name: &str) -> Command {
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec {runtime} run --bundle {} {name} 3<&0 </dev/null",
        bundle.dir.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(descriptor);
    command
}

/// Reads and writes by descriptor and by name.
const STDIO: &str = "read -r line && [ \"$line\" = given ] && read -r line < /dev/stdin && \
    [ \"$line\" = given ] && echo by-name >> /dev/stdout && echo by-name >> /dev/stderr && echo done";

/// Starts a container whose standard streams are files of the host's.
fn stdio(watch: &mut Watch, bundle: &Bundle, runtime: &str) -> Result<()> {
    let name = format!("stdio-{runtime}");
    bundle.write(&format!("{}; {STDIO}", says(&name, "start")), |_| Ok(()))?;
    let (_, input) = given()?;
    let log = scratch()?.join("log");
    let file = OpenOptions::new().create(true).append(true).open(&log)?;
    let mut command = bundle.detached(runtime, &name);
    let status = command.stdin(input).stdout(file.try_clone()?).stderr(file).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    watch.hear(&until(&log, "done")?, 1)?;
    output(Command::new(runtime).args(["delete", "--force", &name])).map(drop)
}

/// What people do at a terminal.
const TERMINAL: &str = "[ -t 0 ] && [ -t 1 ] && echo by-name > /dev/stdout && \
    read -r line < /dev/stdin && [ \"$line\" = typed ] && echo done";

fn terminal(watch: &mut Watch, bundle: &Bundle, runtime: &str) -> Result<()> {
    let name = |whose: &str| format!("terminal-{whose}-{runtime}");
    // Of the container's own, the runtime passes everything on.
    let (own, given) = (name("own"), name("given"));
    bundle.write(&format!("{}; {TERMINAL}", says(&own, "start")), |config| {
        config["process"]["terminal"] = true.into();
        Ok(())
    })?;
    watch.hear(&at_a_terminal(bundle.command(runtime, &own))?, 1)?;
    bundle.write(&format!("{}; {TERMINAL}", says(&given, "start")), |_| Ok(()))?;
    watch.hear(&at_a_terminal(bundle.detached(runtime, &given))?, 1)?;
    output(Command::new(runtime).args(["delete", "--force", &given])).map(drop)
}

/// What a command, and what it leaves running, writes to a terminal of the host's at which somebody has
/// typed.
fn at_a_terminal(mut command: Command) -> Result<String> {
    let OpenptyResult { master, slave } = openpty(None, None)?;
    let mut master = File::from(master);
    master.write_all(b"typed\n")?;
    let status =
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave).status()?;
    // With it goes the last of our own ends.
    drop(command);
    let mut text = Vec::new();
    // The end of a terminal is an error.
    let _ = master.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(status.success() && text.contains("done\r"), "{status}: {text}");
    Ok(text)
}
