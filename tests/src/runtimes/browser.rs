//! Chromium in a container, with the sandbox that it makes of namespaces: an ordinary user's process gives
//! its children a user namespace, makes them a root directory without any file and has them drop everything.

use anyhow::{Result, ensure};

use super::docker::{Engine, docker, program_volumes};
use super::image::NAME;
use super::watch::{Watch, says};

pub(super) fn run() -> Result<()> {
    let mut watch = Watch::start()?;
    let _engine = Engine::start(watch.rootfs.path())?;
    let page = "data:text/html,<p>drawn</p>";
    let script = format!(
        "{}; export HOME=/tmp
         chromium-headless-shell --disable-gpu --dump-dom '{page}' 2>/tmp/log || cat /tmp/log >&2",
        says("browser", "start")
    );
    // The engine's own filter permits no user namespaces.
    let mut words = vec!["run", "--rm", "--network=none", "--user=1000:1000"];
    words.extend([
        "--security-opt=seccomp=unconfined",
        "--tmpfs=/tmp:mode=1777",
        "--volume=/etc:/etc:ro",
    ]);
    let volumes = program_volumes();
    words.extend(volumes.iter().map(String::as_str));
    words.extend([NAME, "/usr/bin/bash", "-c", &script]);
    let said = docker(&words)?;
    watch.hear(&said, 1)?;
    ensure!(said.contains("<p>drawn</p>"), "{said}");
    // The process of which those that draw are forked is executed within the sandbox.
    let is_sandboxed = |command: &str| {
        command.contains("--type=zygote") && !command.contains("--no-zygote-sandbox")
    };
    watch.sandboxed("browser", is_sandboxed)?;
    watch.finish()
}
