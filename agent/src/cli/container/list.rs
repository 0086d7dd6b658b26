//! `shrike container ps` and `inspect`.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::table::{age, table};
use crate::launcher::{Container, ContainerId, LauncherError, Root, Status};

/// List the containers that run
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,

    /// Print names only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,

    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

impl ListArgs {
    pub(super) fn run(&self) {
        let mut containers = Container::all();
        containers.retain(|container| self.all || container.status.pid().is_some());
        if self.json {
            println!("{:#}", containers.iter().map(summary).collect::<Value>());
        } else if self.quiet {
            for container in &containers {
                println!("{}", container.id());
            }
        } else {
            let heads = ["NAME", "STATUS", "PID", "CREATED", "FROM", "COMMAND"];
            let mut rows = vec![heads.map(str::to_owned).to_vec()];
            rows.extend(containers.iter().map(row));
            print!("{}", table(&rows));
        }
    }
}

/// Show all that is known of containers, as JSON
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// The containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ContainerId>,
}

impl InspectArgs {
    pub(super) fn run(&self) -> Result<(), LauncherError> {
        let details = self.names.iter().map(|name| details(&Container::find(name)?));
        println!("{:#}", details.collect::<Result<Value, LauncherError>>()?);
        Ok(())
    }
}

fn row(container: &Container) -> Vec<String> {
    let status = match &container.status {
        Status::Exited(end) => format!("exited ({}) {} ago", end.code, age(end.at)),
        status => status.word().to_owned(),
    };
    vec![
        container.id().to_string(),
        status,
        container.status.pid().map(|pid| pid.to_string()).unwrap_or_default(),
        format!("{} ago", age(container.record.created)),
        source(container),
        shortened(&command(container).join(" ")),
    ]
}

fn summary(container: &Container) -> Value {
    json!({
        "name": container.id().as_str(),
        "status": container.status,
        "created": container.record.created,
        "from": source(container),
        "command": command(container),
    })
}

fn details(container: &Container) -> Result<Value, LauncherError> {
    let record = &container.record;
    Ok(json!({
        "name": container.id().as_str(),
        "status": container.status,
        "created": record.created,
        "started": record.started,
        "kept": record.is_kept,
        "process": record.process,
        "selinux": record.selinux,
        "spec": record.spec,
        "capabilities": record.spec.capability_set().names(),
        "cgroups": container.cgroups(),
        "namespaces": container.namespaces(),
        "layers": container.layers()?,
        "files": container.files,
    }))
}

/// What it is made of.
fn source(container: &Container) -> String {
    let (Root::Folder(path) | Root::Archive(path)) = &container.record.spec.root;
    path.display().to_string()
}

/// What is executed; the image's own command is known when it has been started.
fn command(container: &Container) -> &[String] {
    match &container.record.process {
        Some(process) => &process.args,
        None => &container.record.spec.command,
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
