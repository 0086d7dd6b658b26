//! `shrike ps`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::table::{cut, duration, escaped, table};
use super::view::{Canvas, View, ViewArgs};
use crate::view::{Boundary, Container, Process, Snapshot};

const EXAMPLES: &str = "\
Examples:
  shrike ps
  shrike ps --watch 5
  shrike ps --json | jq -r '.containers[] | select(.boundary != \"watched\").id'

Columns:
  NAMESPACES  which ones are the host's; `own` if none is that a container can have for itself
  BOUNDARY    watched: what crosses it is told; none: to the kernel it is not apart from the host, or not
              yet; - without an agent
  PIDS        its processes, without those of containers in it";

/// Show the containers of this host, of any runtime
///
/// The agent that runs is asked; without one, /proc is read, which cannot tell of boundaries.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct PsArgs {
    #[command(flatten)]
    view: ViewArgs,
}

/// Shows them.
pub(super) fn run(args: &PsArgs) -> anyhow::Result<ExitCode> {
    args.view.show(&Containers)
}

struct Containers;

impl View for Containers {
    fn draw(&self, snapshot: &Snapshot, canvas: Canvas) -> anyhow::Result<String> {
        let heads = [
            "CONTAINER",
            "RUNTIME",
            "POD",
            "IMAGE",
            "NAMESPACES",
            "BOUNDARY",
            "PIDS",
            "AGE",
            "COMMAND",
        ];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(snapshot.containers.iter().map(|container| row(container, snapshot)));
        let text = table(&rows);
        let width = canvas.width.unwrap_or(usize::MAX);
        Ok(text.lines().map(|line| cut(line, width) + "\n").collect())
    }

    fn json(&self, snapshot: &Snapshot) -> anyhow::Result<Value> {
        serde_json::to_value(snapshot).context("cannot print the containers")
    }
}

fn row(container: &Container, snapshot: &Snapshot) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), escaped);
    let first = snapshot.processes.iter().find(|process| process.pid == container.first);
    let pod = container.pod.as_ref();
    vec![
        escaped(&container.short_id()),
        escaped(&container.runtime),
        or_dash(pod.map(|pod| pod.name.as_ref().unwrap_or(&pod.uid).as_str())),
        or_dash(container.image.as_deref()),
        namespaces(container),
        container.boundary.map_or("-", word).to_owned(),
        container.processes.to_string(),
        duration(snapshot.time.duration_since(container.started)),
        first.map(command).unwrap_or_default(),
    ]
}

/// Those of the host. Nobody gives a container a time of its own: that says nothing.
fn namespaces(container: &Container) -> String {
    if container.namespaces == shrike_common::Namespaces::default() {
        return "?".to_owned();
    }
    let hosts = container.host_namespaces.iter().filter(|name| *name != "time");
    let hosts: Vec<String> = hosts.map(|name| escaped(name)).collect();
    if hosts.is_empty() { "own".to_owned() } else { format!("host: {}", hosts.join(",")) }
}

fn word(boundary: Boundary) -> &'static str {
    match boundary {
        Boundary::None => "none",
        Boundary::Watched => "watched",
    }
}

/// What a process runs: its arguments, or in brackets its name.
pub(super) fn command(process: &Process) -> String {
    if process.args.is_empty() {
        return format!("[{}]", escaped(&process.name));
    }
    let rest = if process.args_cut { " …" } else { "" };
    escaped(&process.args.join(" ")) + rest
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn shows_containers_as_a_table() {
        let plain = Canvas { width: None, colour: false };
        let expected = "\
CONTAINER           RUNTIME   POD   IMAGE   NAMESPACES       BOUNDARY   PIDS   AGE   COMMAND
0123456789ab        docker    web   -       host: net,user   watched    2      2 h   nginx: master
0123456789ab/f00d   docker    -     -       own              none       1      5 s   sh
0abc                shrike    -     -       ?                -          1      0 s   top
0abd                unknown   -     -       ?                none       1      0 s
";
        assert_eq!(Containers.draw(&snapshot(), plain).unwrap(), expected);
        let narrow = Canvas { width: Some(30), colour: true };
        let cut = Containers.draw(&snapshot(), narrow).unwrap();
        assert!(cut.lines().all(|line| line.chars().count() <= 30), "{cut}");
    }

    #[test]
    fn nothing_that_a_container_chooses_steers_the_terminal() {
        let mut hostile = snapshot();
        let text = "a\x1b]0;b\u{202e}\n";
        let container = &mut hostile.containers[0];
        container.id = text.to_owned();
        container.runtime = text.to_owned();
        container.image = Some(text.to_owned());
        container.host_namespaces = vec![text.to_owned()];
        hostile.processes[2].args = vec![text.to_owned()];
        let plain = Canvas { width: None, colour: false };
        let drawn = Containers.draw(&hostile, plain).unwrap();
        assert_eq!(drawn.lines().count(), 5);
        assert!(!drawn.contains(['\x1b', '\u{202e}']), "{drawn}");
    }

    #[test]
    fn programs_get_all_of_it() {
        let json = Containers.json(&snapshot()).unwrap();
        assert_eq!(json["containers"][0]["boundary"], "watched");
        assert_eq!(json["containers"][0]["namespaces"]["net"], 1);
        assert_eq!(json["processes"].as_array().unwrap().len(), snapshot().processes.len());
    }
}
