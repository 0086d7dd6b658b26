//! A shell in a container of our launcher, for tests that do one thing after the other in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::agent::scratch;
use crate::container::Rootfs;

/// A shell in a container that does what it is told, until this is dropped.
pub struct Shell {
    launcher: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// The host's pid of the shell.
    pub pid: u32,
}

/// What a script has written, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: u8,
    pub text: String,
}

impl Shell {
    /// Starts a container with these options, and waits until the shell does something.
    pub fn start(rootfs: &Rootfs, options: &[&str]) -> Result<Self> {
        let dir = scratch()?;
        let pid_file = dir.join("pid");
        let option = format!("--pid-file={}", pid_file.display());
        let mut launcher = rootfs.launcher(&[options, &[&option]].concat(), &["sh"]);
        let launcher = launcher.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut launcher = launcher.spawn().context("start the launcher")?;
        let input = launcher.stdin.take();
        let output = launcher.stdout.take().context("no standard output")?;
        let mut shell = Self { launcher, input, output: BufReader::new(output), pid: 0 };
        let started = shell.run("true");
        if let Err(error) = started {
            let mut told = String::new();
            if let Some(mut stderr) = shell.launcher.stderr.take() {
                stderr.read_to_string(&mut told)?;
            }
            bail!("{error}: {told}");
        }
        shell.pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        fs::remove_dir_all(dir)?;
        Ok(shell)
    }

    /// Has the shell run a script.
    pub fn run(&mut self, script: &str) -> Result<Said> {
        const END: &str = "END-OF-SCRIPT";
        let input = self.input.as_mut().context("no standard input")?;
        writeln!(input, "({script}\n) </dev/null 2>&1; code=$?; echo; echo {END} $code")?;
        let mut text = String::new();
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "the shell has ended: {text}");
            if let Some(code) = line.strip_prefix(END) {
                return Ok(Said { code: code.trim().parse()?, text: text.trim().to_owned() });
            }
            text += &line;
        }
    }

    /// What a script wrote that went well.
    pub fn text(&mut self, script: &str) -> Result<String> {
        let said = self.run(script)?;
        ensure!(said.code == 0, "{script}: {said:?}");
        Ok(said.text)
    }

    /// Ends the shell and with it the container.
    pub fn end(mut self) -> Result<()> {
        self.input = None;
        let status = self.launcher.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    /// Ends the launcher without a chance to do anything about it.
    pub fn kill_launcher(&mut self) -> Result<()> {
        self.launcher.kill()?;
        self.launcher.wait()?;
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Both fail if it has ended, which is fine.
        self.input = None;
        let _ = self.launcher.wait();
    }
}
