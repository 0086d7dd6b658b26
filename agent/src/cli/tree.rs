//! `shrike tree`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::ps::command;
use super::table::{cut, escaped, table};
use super::view::{Canvas, View, ViewArgs};
use crate::view::{Branch, Container, Fit, Process, Snapshot, tree};

const EXAMPLES: &str = "\
Examples:
  shrike tree
  shrike tree 3f4e
  shrike tree --json | jq '.processes[] | {pid, depth, container}'";

/// How many containers an error names.
const CANDIDATES: usize = 10;

/// The deepest level that is drawn further in than the one above it.
const DEEPEST: usize = 40;

/// Show the processes of this host as a tree, and where it enters containers
///
/// The agent that runs is asked; without one, /proc is read, where whoever is left behind by its parent is a
/// child of another process.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TreeArgs {
    /// Only this container, with those in it: its id, the beginning of that, or its name
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,

    #[command(flatten)]
    view: ViewArgs,
}

/// Shows it.
pub(super) fn run(args: &TreeArgs) -> anyhow::Result<ExitCode> {
    args.view.show(&Processes { container: args.container.as_deref() })
}

/// Those of a container, or all.
struct Processes<'a> {
    container: Option<&'a str>,
}

impl View for Processes<'_> {
    fn draw(&self, snapshot: &Snapshot, canvas: Canvas) -> anyhow::Result<String> {
        let (_, processes) = self.choose(snapshot)?;
        Ok(draw(&tree(processes), snapshot, canvas))
    }

    fn json(&self, snapshot: &Snapshot) -> anyhow::Result<Value> {
        let (containers, processes) = self.choose(snapshot)?;
        let mut document = serde_json::to_value(snapshot).context("cannot print the tree")?;
        let branches = tree(processes);
        let processes = branches.iter().map(|branch| {
            let mut process = serde_json::to_value(branch.process)?;
            process["depth"] = branch.depth.into();
            Ok(process)
        });
        let processes: serde_json::Result<Vec<Value>> = processes.collect();
        document["containers"] = json!(containers);
        document["processes"] = json!(processes.context("cannot print the tree")?);
        Ok(document)
    }
}

impl Processes<'_> {
    /// The containers and processes that are wanted.
    fn choose<'s>(
        &self,
        snapshot: &'s Snapshot,
    ) -> anyhow::Result<(Vec<&'s Container>, Vec<&'s Process>)> {
        let Some(called) = self.container else {
            return Ok((snapshot.containers.iter().collect(), snapshot.processes.iter().collect()));
        };
        let wanted = find(snapshot, called)?;
        let mut ids = BTreeSet::from([wanted.id.as_str()]);
        // One in it may be in one in it.
        loop {
            let nested = snapshot.containers.iter().filter(|container| {
                container.parent.as_deref().is_some_and(|parent| ids.contains(parent))
            });
            let more: Vec<&str> = nested.map(|container| container.id.as_str()).collect();
            let before = ids.len();
            ids.extend(more);
            if ids.len() == before {
                break;
            }
        }
        let containers = snapshot.containers.iter().filter(|one| ids.contains(one.id.as_str()));
        let is_wanted = |process: &&Process| {
            process.container.as_deref().is_some_and(|container| ids.contains(container))
        };
        Ok((containers.collect(), snapshot.processes.iter().filter(is_wanted).collect()))
    }
}

/// The container that is called so.
fn find<'a>(snapshot: &'a Snapshot, called: &str) -> anyhow::Result<&'a Container> {
    let fits = |fit| {
        let all = snapshot.containers.iter().filter(move |one| one.fits(called) == Some(fit));
        all.collect::<Vec<_>>()
    };
    let mut found = fits(Fit::Whole);
    if found.is_empty() {
        found = fits(Fit::Beginning);
        // Those in it begin alike.
        found.retain(|one| {
            one.parent.as_deref().and_then(|id| snapshot.container(id)?.fits(called)).is_none()
        });
    }
    match *found {
        [one] => Ok(one),
        [] if snapshot.containers.is_empty() => {
            bail!("there is no container {called:?}; none runs")
        }
        [] => bail!("there is no container {called:?}; there is {}", names(&snapshot.containers)),
        _ => bail!("{called:?} may be {}", names(found)),
    }
}

/// Which ones they are; not all, if they are many.
fn names<'a>(containers: impl IntoIterator<Item = &'a Container>) -> String {
    let ids: Vec<String> = containers.into_iter().map(|one| escaped(&one.short_id())).collect();
    let more = ids.len().saturating_sub(CANDIDATES);
    let shown: Vec<String> = ids.into_iter().take(CANDIDATES).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn draw(branches: &[Branch<'_>], snapshot: &Snapshot, canvas: Canvas) -> String {
    let mut rows = vec![["PID", "USER", "PROCESS"].map(str::to_owned).to_vec()];
    // For each level, what stands before those below it.
    let mut rails: Vec<&str> = Vec::new();
    for branch in branches {
        rails.truncate(branch.depth.min(DEEPEST));
        let (joint, rail) = match (branch.depth, branch.is_last) {
            (0, _) => ("", ""),
            (_, true) => ("└─ ", "   "),
            (_, false) => ("├─ ", "│  "),
        };
        let mark = mark(branch, snapshot).map_or_else(String::new, |mark| mark + " ");
        let lead: String = rails.concat();
        rows.push(vec![
            branch.process.pid.to_string(),
            user(branch.process),
            format!("{lead}{joint}{mark}{}", command(branch.process)),
        ]);
        if branch.depth < DEEPEST {
            rails.push(rail);
        }
    }
    let width = canvas.width.unwrap_or(usize::MAX);
    let text = table(&rows);
    let lines = text.lines().map(|line| cut(line, width));
    // The heads have no branch.
    let marks = [None].into_iter().chain(branches.iter().map(|branch| mark(branch, snapshot)));
    let painted = lines.zip(marks).map(|(line, mark)| match mark {
        Some(mark) if canvas.colour => paint(&line, &mark) + "\n",
        _ => line + "\n",
    });
    painted.collect()
}

/// What tells that a process is not where the one above it is.
fn mark(branch: &Branch<'_>, snapshot: &Snapshot) -> Option<String> {
    let own = branch.process.container.as_deref();
    if own == branch.above {
        return None;
    }
    let Some(id) = own else { return Some("[host]".to_owned()) };
    let container = snapshot.container(id);
    let runtime = container.map_or("unknown", |container| container.runtime.as_str());
    let id = container.map_or_else(|| id.to_owned(), Container::short_id);
    Some(format!("[{} {}]", escaped(runtime), escaped(&id)))
}

fn paint(line: &str, mark: &str) -> String {
    // The first one: nothing that somebody else has chosen stands before it but the name of a user.
    line.replacen(mark, &format!("\x1b[1;36m{mark}\x1b[0m"), 1)
}

fn user(process: &Process) -> String {
    process.user.as_deref().map_or_else(|| process.uid.to_string(), escaped)
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    const PLAIN: Canvas = Canvas { width: None, colour: false };

    fn drawn(container: Option<&str>, canvas: Canvas) -> Result<String, String> {
        let processes = Processes { container };
        processes.draw(&snapshot(), canvas).map_err(|error| error.to_string())
    }

    #[test]
    fn marks_where_it_enters_a_container_and_where_it_leaves_one() {
        let expected = "\
PID   USER    PROCESS
1     root    /sbin/init
10    root    └─ containerd-shim -id 0123
11    nginx      ├─ [docker 0123456789ab] nginx: master
12    1000       │  ├─ nginx: worker\\x1b[2J
13    root       │  └─ [host] sh -c id
14    root       └─ [docker 0123456789ab/f00d] sh
2     root    [kthreadd]
20    root    └─ [shrike 0abc] top
";
        assert_eq!(drawn(None, PLAIN).unwrap(), expected);
    }

    #[test]
    fn only_marks_are_coloured_and_only_if_asked_for() {
        let colour = drawn(None, Canvas { width: None, colour: true }).unwrap();
        assert!(colour.contains("├─ \x1b[1;36m[docker 0123456789ab]\x1b[0m nginx"), "{colour}");
        assert_eq!(colour.matches('\x1b').count(), 8, "{colour}");
        let plain = colour.replace("\x1b[1;36m", "").replace("\x1b[0m", "");
        assert_eq!(plain, drawn(None, PLAIN).unwrap());
        let cut = drawn(None, Canvas { width: Some(20), colour: false }).unwrap();
        assert!(cut.lines().all(|line| line.chars().count() <= 20), "{cut}");
    }

    #[test]
    fn one_container_is_shown_with_those_in_it() {
        for called in ["0123", "01", snapshot().containers[0].id.as_str()] {
            let text = drawn(Some(called), PLAIN).unwrap();
            let pids: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
            assert_eq!(pids, ["PID", "11", "12", "14"], "{text}");
        }
        let named = drawn(Some("web"), PLAIN).unwrap();
        assert!(named.contains("\n20 "), "{named}");
        let inner = format!("{}/f0", snapshot().containers[0].id);
        assert_eq!(drawn(Some(&inner), PLAIN).unwrap().lines().count(), 2);
    }

    #[test]
    fn says_which_containers_there_are() {
        let error = drawn(Some("x"), PLAIN).unwrap_err();
        let all = "0123456789ab, 0123456789ab/f00d, 0abc, 0abd";
        assert_eq!(error, format!("there is no container \"x\"; there is {all}"));
        let error = drawn(Some("0ab"), PLAIN).unwrap_err();
        assert_eq!(error, "\"0ab\" may be 0abc, 0abd");
        let error = drawn(Some(""), PLAIN).unwrap_err();
        assert_eq!(error, "\"\" may be 0123456789ab, 0abc, 0abd");
        let many: Vec<Container> = vec![snapshot().containers[2].clone(); 13];
        assert!(names(&many).ends_with("0abc, 0abc and 3 more"), "{}", names(&many));
        let none = Snapshot { containers: Vec::new(), ..snapshot() };
        let error = Processes { container: Some("x") }.draw(&none, PLAIN).unwrap_err();
        assert_eq!(error.to_string(), "there is no container \"x\"; none runs");
    }

    #[test]
    fn programs_get_the_order_of_the_lines() {
        let json = Processes { container: Some("0123") }.json(&snapshot()).unwrap();
        let processes = json["processes"].as_array().unwrap().iter();
        let shape: Vec<_> = processes
            .map(|one| (one["pid"].as_u64().unwrap(), one["depth"].as_u64().unwrap()))
            .collect();
        assert_eq!(shape, [(11, 0), (12, 1), (14, 0)]);
        assert_eq!(json["containers"].as_array().unwrap().len(), 2);
        assert_eq!(json["source"], "agent");
    }

    #[test]
    fn a_deep_tree_does_not_grow_to_the_right_for_ever() {
        let one = snapshot().processes[0].clone();
        let chain = (1..=5000_u32).map(|pid| Process { pid, parent: Some(pid - 1), ..one.clone() });
        let deep = Snapshot { processes: chain.collect(), ..snapshot() };
        let text = Processes { container: None }.draw(&deep, PLAIN).unwrap();
        assert_eq!(text.lines().count(), 5001);
        assert!(text.lines().all(|line| line.chars().count() < 200));
    }
}
