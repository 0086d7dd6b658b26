//! An application as people run it, of the distribution's own programs in containers of our launcher: a web
//! server in front, a program behind it, a database behind that, each in the networks that it needs. It is
//! under load, every request is answered and counted by the database, nobody reaches across, and the agent
//! finds nothing wrong with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::image::PROGRAMS;
use super::output;
use crate::agent::Agent;
use crate::container::Rootfs;
use crate::launcher::network::{field, inspect, network};
use crate::shell::Shell;

const RULES: &str = concat!(
    include_str!("../../../rules/default/boundary.yaml"),
    include_str!("../../../rules/default/container.yaml"),
    include_str!("../../../rules/default/credentials.yaml"),
    include_str!("../../../rules/default/escape.yaml"),
);

/// How many requests there are: of a page, of the program, and of the database alone.
const PAGES: u32 = 2000;
const COUNTS: u32 = 100;
const QUERIES: u32 = 5000;

const WEB: u16 = 80;
const PROGRAM: u16 = 8080;
const DATABASE: u16 = 6379;

const NGINX: &str = "user root; worker_processes 2; pid /run/nginx.pid; error_log stderr warn;
    events { worker_connections 256; }
    http {
      access_log off;
      server {
        listen 80;
        location / { root /srv/www; }
        location /count { proxy_pass http://app:8080/cgi-bin/count; }
      }
    }";

/// Counts a request, and says how many there have been.
const COUNT: &str = "#!/bin/sh
    printf 'Content-Type: text/plain\\r\\n\\r\\n'
    exec /usr/bin/redis-cli -h db incr hits
";

pub(super) fn run() -> Result<()> {
    let agent = Agent::start(RULES, &[])?;
    let rootfs = Rootfs::new()?;
    furnish(rootfs.path())?;
    for words in [
        &["create", "frontend"][..],
        &["create", "backend", "--internal"],
        &["create", "data", "--internal"],
    ] {
        network(words)?.text()?;
    }
    let mut database = start(&rootfs, "db", "data")?;
    let daemon = "redis-server --bind 0.0.0.0 --protected-mode no --save '' --dir /tmp";
    serve(&mut database, daemon, DATABASE)?;
    let mut program = start(&rootfs, "app", "backend,data")?;
    serve(&mut program, &format!("busybox httpd -f -p {PROGRAM} -h /srv"), PROGRAM)?;
    let mut web = start(&rootfs, "web", "frontend,backend")?;
    serve(&mut web, "nginx -c /etc/nginx.conf -g 'daemon off;'", WEB)?;
    let mut client = start(&rootfs, "client", "frontend")?;
    let probe = start(&rootfs, "probe", "frontend")?;

    let load = thread::spawn(move || -> Result<()> {
        answered(&mut client, &format!("ab -q -n {PAGES} -c 8 http://web/page"), PAGES)?;
        answered(&mut client, &format!("ab -q -l -n {COUNTS} -c 4 http://web/count"), COUNTS)?;
        client.end()
    });
    // Meanwhile nobody reaches what is none of his business, whatever he knows of it.
    let (front, back) = (address("frontend", "web")?, address("backend", "web")?);
    let (inner, behind) = (address("backend", "app")?, address("data", "app")?);
    let db = address("data", "db")?;
    let mut shells = [probe, web, program, database];
    let [from_client, from_web, from_program, from_database] = [0, 1, 2, 3];
    for (what, from, address, port, expected) in [
        ("a client reaches the web server", from_client, &front, WEB, true),
        ("a client reaches the program", from_client, &inner, PROGRAM, false),
        ("a client reaches the database", from_client, &db, DATABASE, false),
        ("a client reaches the web server from behind", from_client, &back, WEB, false),
        ("the web server reaches the program", from_web, &inner, PROGRAM, true),
        ("the web server reaches the database", from_web, &db, DATABASE, false),
        ("the web server reaches the program from behind", from_web, &behind, PROGRAM, false),
        ("the program reaches the database", from_program, &db, DATABASE, true),
        ("the program reaches the web server's front", from_program, &front, WEB, false),
        ("the database reaches the web server", from_database, &front, WEB, false),
        ("the database reaches the web server from behind", from_database, &back, WEB, false),
    ] {
        // Who serves others meanwhile may take a while; who is kept out waits in vain.
        let patience = if expected { 30 } else { 3 };
        let tried =
            shells[from].run(&format!("busybox nc -w {patience} {address} {port} < /dev/null"))?;
        ensure!((tried.code == 0) == expected, "{what}: {tried:?}");
    }
    for name in ["app", "db"] {
        let known = shells[from_client].run(&format!("grep -w {name} /etc/hosts"))?;
        ensure!(known.code == 1, "{name} is known: {known:?}");
    }
    load.join().ok().context("the load panicked")??;
    // The database has counted what was answered.
    let program = &mut shells[from_program];
    let counted = program.text("redis-cli -h db get hits")?;
    ensure!(counted == COUNTS.to_string(), "{counted} of {COUNTS}");
    let queries = format!("redis-benchmark -h db -n {QUERIES} -c 10 -t set,get --csv");
    let said = program.text(&queries)?;
    ensure!(said.contains("\"SET\"") && said.contains("\"GET\""), "{said}");
    let stats = program.text("redis-cli -h db info commandstats")?;
    for command in ["set", "get"] {
        let calls = stats.lines().find_map(|line| {
            let rest = line.strip_prefix(&format!("cmdstat_{command}:calls="))?;
            rest.split(',').next()?.parse::<u32>().ok()
        });
        ensure!(calls.is_some_and(|calls| calls >= QUERIES), "{command}: {calls:?}: {stats}");
    }
    let rules = || output(Command::new("nft").args(["list", "ruleset"]));
    ensure!(rules()?.contains("table bridge shrike"), "no rules: {}", rules()?);
    for shell in shells {
        shell.end()?;
    }
    for name in ["frontend", "backend", "data"] {
        network(&["rm", name])?.text()?;
    }
    ensure!(!rules()?.contains("shrike"), "rules are left: {}", rules()?);
    fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
    // What is told of how the containers were started is no more than a notice.
    let wrong: Vec<Value> = agent.alerts().into_iter().filter(is_warning).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    ensure!(agent.metric("shrike_events_lost_total", &[])? == 0, "events were lost");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// A root file system with what the programs are told, and where they write.
fn furnish(root: &Path) -> Result<()> {
    for folder in ["srv/www", "srv/cgi-bin", "run", "var/log/nginx", "var/lib/nginx"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("srv/www/page"), "a page\n")?;
    fs::write(root.join("etc/nginx.conf"), NGINX)?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    let count = root.join("srv/cgi-bin/count");
    fs::write(&count, COUNT)?;
    Ok(fs::set_permissions(&count, fs::Permissions::from_mode(0o755))?)
}

fn start(rootfs: &Rootfs, name: &str, networks: &str) -> Result<Shell> {
    let volumes = PROGRAMS.map(|(source, target)| format!("--volume={source}:{target}:ro"));
    let own = [format!("--name={name}"), format!("--network={networks}")];
    let limits = ["--memory=256m", "--pids-limit=64"].map(str::to_owned);
    let options = [&volumes[..], &own, &limits].concat();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Shell::start(rootfs, &options).with_context(|| format!("start {name}"))
}

/// Has a container run a service, and waits until somebody listens there.
fn serve(shell: &mut Shell, service: &str, port: u16) -> Result<()> {
    const PATIENCE: Duration = Duration::from_mins(1);
    let log = format!("/tmp/{port}.log");
    shell.text(&format!("{service} > {log} 2>&1 &"))?;
    let deadline = Instant::now() + PATIENCE;
    while !shell.text("busybox netstat -ltn")?.contains(&format!(":{port} ")) {
        let told = shell.run(&format!("cat {log}"));
        ensure!(Instant::now() < deadline, "{service} does not listen: {told:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Has `ab` send requests, all of which must be answered well.
fn answered(client: &mut Shell, command: &str, count: u32) -> Result<()> {
    let said = client.text(command)?;
    let number = |what: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(what));
        line.and_then(|rest| rest.trim().parse::<u32>().ok())
    };
    let is_well = number("Complete requests:") == Some(count)
        && number("Failed requests:") == Some(0)
        && number("Non-2xx responses:").is_none();
    ensure!(is_well, "{command}: {said}");
    for line in said.lines().filter(|line| line.starts_with("Requests per second")) {
        eprintln!("{command}: {line}");
    }
    Ok(())
}

/// The address of a container in a network.
fn address(network: &str, name: &str) -> Result<String> {
    let described = inspect(network)?;
    let members = described["containers"].as_array().context("no containers")?;
    let member = members.iter().find(|member| member["name"] == name);
    field(member.with_context(|| format!("{name} is not in {network}"))?, "/address")
}

fn is_warning(alert: &Value) -> bool {
    !["Notice", "Informational", "Debug"].iter().any(|priority| alert["priority"] == **priority)
}
