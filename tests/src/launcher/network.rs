//! Networks: what a container has of them as seen from inside and from the host, who reaches whom, how fast,
//! and that nothing of them is left.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::switch::{Inside, Outside, seen};
use super::userns::on_disk;
use super::{leaves_nothing, wait};
use crate::container::{Ended, Rootfs};
use crate::shell::Shell;

/// How long somebody may take to answer who can be reached.
const ANSWER: Duration = Duration::from_secs(3);

/// Whether the host passes packets on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// How many rules there are with a masquerade, which tells whether there are rules.
const RULES: &str = "/sys/module/nft_masq/refcnt";

/// Where containers answer.
const PORT: u16 = 80;

impl Shell {
    /// Whether the container gets an answer from there.
    fn reaches(&mut self, host: &str) -> Result<bool> {
        let seconds = ANSWER.as_secs();
        let script = format!("busybox nc -w {seconds} {host} {PORT} | grep -q here");
        Ok(self.run(&script)?.code == 0)
    }

    /// Has the container answer at its port.
    fn serve(&mut self) -> Result<()> {
        let script = format!("busybox nc -ll -p {PORT} -e echo here >/dev/null 2>&1 &");
        self.text(&script)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.text("busybox netstat -ltn")?.contains(&format!(":{PORT} ")) {
            ensure!(Instant::now() < deadline, "nobody serves");
        }
        Ok(())
    }

    /// Its address in its first network, as it sees it.
    fn address(&mut self) -> Result<Ipv4Addr> {
        let script = "busybox ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'";
        Ok(self.text(script)?.parse()?)
    }
}

/// `shrike network` with these words.
pub(crate) fn network(words: &[&str]) -> Result<Ended> {
    let mut command = Command::new("shrike");
    let output = command.args(["--log", "error", "network"]).args(words).output()?;
    Ended::new(&output, None)
}

/// A network, as the launcher describes it.
pub(crate) fn inspect(name: &str) -> Result<Value> {
    Ok(serde_json::from_str(network(&["inspect", name])?.text()?)?)
}

/// A text of a network's description.
pub(crate) fn field(described: &Value, pointer: &str) -> Result<String> {
    let value = described.pointer(pointer).and_then(Value::as_str);
    Ok(value.with_context(|| format!("no {pointer} in {described}"))?.to_owned())
}

/// Runs a test with networks, each by its name with its options, and asserts that nothing is left of them.
fn with_networks(networks: &[&[&str]], test: impl FnOnce(&Rootfs) -> Result<()>) -> Result<()> {
    leaves_nothing(|rootfs| among(networks, || test(rootfs)))
}

fn among(networks: &[&[&str]], test: impl FnOnce() -> Result<()>) -> Result<()> {
    let forwards = fs::read_to_string(FORWARDING)?;
    let rules = fs::read_to_string(RULES)?;
    for words in networks {
        network(&[&["create"][..], words].concat())?.text()?;
    }
    let done = test();
    for words in networks {
        let removed = network(&["rm", words[0]])?;
        // What went wrong before is told first.
        if done.is_ok() {
            removed.text()?;
        }
    }
    fs::write(FORWARDING, forwards)?;
    done?;
    ensure!(fs::read_to_string(RULES)? == rules, "rules are left");
    Ok(())
}

/// What a file of a network device says on the host.
fn device(name: &str, file: &str) -> Result<String> {
    let path = Path::new("/sys/class/net").join(name).join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

pub(super) fn network_is_the_same_from_inside_and_outside() -> Result<()> {
    const FRONT: &[&str] = &["front", "--subnet=10.77.0.0/24", "--gateway=10.77.0.254"];
    with_networks(&[FRONT, &["back", "--internal"]], |rootfs| {
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\nnameserver 10.0.0.53\nsearch lan\n")?;
        let options = ["--name=web", "--hostname=www", "--network=front,back", "--ip=10.77.0.9"];
        let more = ["--add-host=db:10.9.9.9"];
        let mut shell = Shell::start(rootfs, &[&options[..], &more].concat())?;
        let (front, back) = (inspect("front")?, inspect("back")?);
        ensure!(field(&front, "/subnet")? == "10.77.0.0/24", "{front}");
        ensure!(field(&back, "/subnet")?.starts_with("172."), "{back}");
        ensure!(shell.address()? == Ipv4Addr::new(10, 77, 0, 9));
        for (number, described) in [(0, &front), (1, &back)] {
            ensure!(field(described, "/containers/0/name")? == "web", "{described}");
            let address = field(described, "/containers/0/address")?;
            let mac = field(described, "/containers/0/mac")?;
            let port = field(described, "/containers/0/port")?;
            let eth = format!("eth{number}");
            let inside = shell
                .text(&format!("busybox ip addr show {eth}; cat /sys/class/net/{eth}/iflink"))?;
            ensure!(inside.contains(&format!("inet {address}/")), "{inside}");
            ensure!(inside.contains(&format!("link/ether {mac} ")), "{inside}");
            ensure!(inside.contains("UP,LOWER_UP"), "{inside}");
            // The host's end is the very one that the container's is connected with.
            let ends = inside.lines().last() == Some(&device(&port, "ifindex")?);
            ensure!(ends, "{port}: {inside}");
            let bridge = field(described, "/bridge")?;
            ensure!(fs::exists(format!("/sys/class/net/{bridge}/brif/{port}"))?, "{port}");
            ensure!(device(&port, "ifalias")? == "shrike container web");
        }
        ensure!(device(&field(&front, "/bridge")?, "ifalias")? == "shrike network front");
        let routes = shell.text("busybox ip route")?;
        let first = "default via 10.77.0.254 dev eth0";
        ensure!(routes.contains(first) && routes.matches("default").count() == 1, "{routes}");
        let names = shell.text("hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts")?;
        let expected = "www\nwww\nnameserver 10.0.0.53\nsearch lan\n127.0.0.1\tlocalhost\n";
        ensure!(names.starts_with(expected), "{names}");
        for line in ["10.77.0.9\twww web", "10.9.9.9\tdb"] {
            ensure!(names.lines().any(|other| other == line), "{line}: {names}");
        }
        seen(
            "--network NAME,NAME",
            Inside(&shell.text("cd /sys/class/net && echo *")?),
            Outside(&format!(
                "ports of {} and {}",
                field(&front, "/bridge")?,
                field(&back, "/bridge")?
            )),
        );
        let address = field(&front, "/containers/0/address")?;
        seen("--ip ADDRESS", Inside(&shell.address()?.to_string()), Outside(&address));
        let of_host = fs::read_to_string("/var/lib/shrike/containers/web/hosts")?;
        let line = |text: &str| text.lines().find(|line| line.ends_with("db")).map(str::to_owned);
        let (inside, outside) = (line(&names), line(&of_host));
        ensure!(inside.is_some() && inside == outside, "{of_host}");
        let [inside, outside] = [inside, outside].map(Option::unwrap_or_default);
        seen("--add-host NAME:ADDRESS", Inside(&inside), Outside(&outside));
        // The container may write its files, and the host's are others.
        shell.text("echo 10.1.1.1 mine >> /etc/hosts")?;
        ensure!(!fs::read_to_string("/etc/hosts")?.contains("mine"));
        ensure!(!fs::read_to_string(rootfs.path().join("etc/hosts"))?.contains("mine"));
        // The host and the container reach each other, by the bridge.
        shell.serve()?;
        ensure!(answers("10.77.0.9")?, "the host does not reach the container");
        let mut listener = Listener::start("10.77.0.254")?;
        ensure!(shell.reaches("10.77.0.254")?, "the container does not reach the host");
        ensure!(listener.peer()? == Ipv4Addr::new(10, 77, 0, 9));
        shell.end()?;
        ensure!(inspect("front")?["containers"].as_array().is_some_and(Vec::is_empty));
        fs::write("/etc/resolv.conf", "")?;
        fs::remove_file("/etc/resolv.conf")?;
        Ok(())
    })
}

/// Whether somebody answers the host there.
fn answers(address: &str) -> Result<bool> {
    let address = SocketAddr::new(address.parse()?, PORT);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, ANSWER) else { return Ok(false) };
    stream.set_read_timeout(Some(ANSWER))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.contains("here"))
}

/// Somebody of this task's network namespace who answers one connection, and says who made it.
struct Listener(Option<thread::JoinHandle<Result<IpAddr>>>);

impl Listener {
    fn start(address: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, PORT)).context("serve")?;
        Ok(Self::answering(listener))
    }

    fn answering(listener: TcpListener) -> Self {
        Self(Some(thread::spawn(move || {
            let (mut stream, peer) = listener.accept()?;
            stream.write_all(b"here\n")?;
            Ok(peer.ip())
        })))
    }

    fn peer(&mut self) -> Result<IpAddr> {
        let thread = self.0.take().context("asked twice")?;
        thread.join().ok().context("the listener panicked")?
    }
}

pub(super) fn network_names_come_and_go() -> Result<()> {
    with_networks(&[&["front", "--internal"], &["back", "--internal"]], |rootfs| {
        let names = |shell: &mut Shell| shell.text("sed '1,/^# shrike/d' /etc/hosts");
        let mut web = Shell::start(rootfs, &["--name=web", "--network=front"])?;
        ensure!(names(&mut web)?.is_empty());
        let both = ["--name=app", "--hostname=api", "--network=back", "--network=front"];
        let mut app = Shell::start(rootfs, &both)?;
        let mut db = Shell::start(rootfs, &["--name=db", "--network=back"])?;
        let of_app = field(&inspect("front")?, "/containers/1/address")?;
        ensure!(names(&mut web)? == format!("{of_app}\tapi app"));
        let expected = format!("{}\tdb\n{}\tweb", db.address()?, web.address()?);
        ensure!(names(&mut app)? == expected);
        // What the container writes above stays when the rest is written anew.
        db.text("sed 's/localhost$/localhost mine/' /etc/hosts > /tmp/h; cat /tmp/h > /etc/hosts; rm /tmp/h")?;
        ensure!(web.text("busybox ping -c 1 -W 3 app | grep ' 0% packet loss'").is_ok());
        ensure!(web.text("busybox ping -c 1 -W 3 api | grep ' 0% packet loss'").is_ok());
        app.end()?;
        ensure!(names(&mut web)?.is_empty() && names(&mut db)?.is_empty());
        ensure!(db.text("cat /etc/hosts")?.starts_with("127.0.0.1\tlocalhost mine\n"));
        db.end()?;
        web.end()
    })
}

pub(super) fn network_of_users_of_its_own() -> Result<()> {
    on_disk(|rootfs, _| {
        among(&[&["front", "--subnet=10.77.0.0/24"]], || {
            let options = ["--name=mapped", "--network=front", "--userns=remap"];
            let more = ["--sysctl=net.ipv4.conf.eth0.send_redirects=0", "--read-only"];
            let mut shell = Shell::start(rootfs, &options)?;
            ensure!(shell.text("stat -c %u:%g /etc/hosts")? == "0:0");
            shell.text("echo 10.1.1.1 mine >> /etc/hosts")?;
            shell.serve()?;
            ensure!(answers(&shell.address()?.to_string())?, "the host does not reach it");
            let mut listener = Listener::start("10.77.0.1")?;
            ensure!(shell.reaches("10.77.0.1")?, "it does not reach the host");
            listener.peer()?;
            shell.end()?;
            let mut shell = Shell::start(rootfs, &[&options[..], &more].concat())?;
            ensure!(shell.run("echo 10.1.1.1 mine >> /etc/hosts")?.text.contains("Read-only"));
            ensure!(shell.text("cat /proc/sys/net/ipv4/conf/eth0/send_redirects")? == "0");
            shell.end()
        })
    })
}

pub(super) fn network_files_are_where_links_lead() -> Result<()> {
    with_networks(&[&["front", "--internal"]], |rootfs| {
        let etc = rootfs.path().join("etc");
        fs::remove_file(etc.join("resolv.conf"))?;
        symlink("../run/resolver/stub.conf", etc.join("resolv.conf"))?;
        let options = ["--network=front", "--dns=10.0.0.53"];
        let script = "cat /etc/resolv.conf /run/resolver/stub.conf";
        let said = rootfs.script(&options, script)?;
        ensure!(said.text()? == "nameserver 10.0.0.53\nnameserver 10.0.0.53", "{said:?}");
        // It is no file of the root file system.
        let own = fs::read_to_string(rootfs.path().join("run/resolver/stub.conf"))?;
        ensure!(own.is_empty(), "{own}");
        seen(
            "--dns ADDRESS",
            Inside("nameserver 10.0.0.53"),
            Outside("an empty file below the mount"),
        );
        // Of a volume, and not of the host's.
        fs::write(rootfs.path().join("own"), "10.2.2.2 own\n")?;
        let volume = format!("--volume={}/own:/etc/hosts", rootfs.path().display());
        let said = rootfs.script(&["--network=front", &volume], "cat /etc/hosts")?;
        ensure!(said.text()? == "10.2.2.2 own", "{said:?}");
        fs::remove_file(rootfs.path().join("own"))?;
        fs::remove_file(etc.join("resolv.conf"))?;
        fs::remove_dir_all(rootfs.path().join("run"))?;
        fs::write(etc.join("resolv.conf"), "")?;
        Ok(())
    })
}

pub(super) fn networks_are_kept_apart() -> Result<()> {
    with_networks(&[&["one"], &["two"], &["three", "--internal"]], |rootfs| {
        ensure!(fs::read_to_string(FORWARDING)?.trim() == "1", "the host does not forward");
        let options = [
            ("a", "--network=one"),
            ("b", "--network=one"),
            ("c", "--network=two"),
            ("d", "--network=three"),
            ("all", "--network=one,two,three"),
        ];
        let mut shells = Vec::new();
        for (name, network) in options {
            let name = format!("--name={name}");
            let mut shell = Shell::start(rootfs, &[&name, network])?;
            shell.serve()?;
            shells.push(shell);
        }
        let mut addresses = Vec::new();
        for shell in shells.iter_mut().take(4) {
            addresses.push(shell.address()?.to_string());
        }
        let groups = [0, 0, 1, 2];
        for (from, own) in groups.iter().enumerate() {
            for (to, other) in groups.iter().enumerate().filter(|&(to, _)| to != from) {
                let reached = shells[from].reaches(&addresses[to])?;
                ensure!(reached == (own == other), "{from} reaches {to}: {reached}");
            }
        }
        for (to, address) in addresses.iter().enumerate() {
            ensure!(shells[4].reaches(address)?, "the one in all does not reach {to}");
            ensure!(answers(address)?, "the host does not reach {to}");
        }
        // Who is in several has an address in each.
        for (from, network) in [(0, "one"), (2, "two"), (3, "three")] {
            let described = inspect(network)?;
            let members = described["containers"].as_array().context("no containers")?;
            let all = members.iter().find(|member| member["name"] == "all").context("not in it")?;
            ensure!(shells[from].reaches(&field(all, "/address")?)?, "{from} does not reach all");
        }
        Ok(())
    })
}

/// Somebody outside: a network namespace that a device of the host leads to.
struct Stranger {
    shell: Shell,
}

impl Stranger {
    const HOST: &'static str = "203.0.113.1";
    const OWN: &'static str = "203.0.113.2";

    fn new(rootfs: &Rootfs) -> Result<Self> {
        let mut shell = Shell::start(rootfs, &["--cap-add=NET_ADMIN"])?;
        let script = format!(
            "ip link add out0 type veth && peer=$(ls /sys/class/net | grep ^veth) && \
             ip link set $peer name out1 && ip link set out1 netns {} && ip addr add {}/24 dev out0 && \
             ip link set out0 up",
            shell.pid,
            Self::HOST
        );
        let output = Command::new("sh").args(["-c", &script]).output()?;
        ensure!(output.status.success(), "{output:?}");
        let own = Self::OWN;
        shell
            .text(&format!("busybox ip addr add {own}/24 dev out1; busybox ip link set out1 up"))?;
        Ok(Self { shell })
    }

    /// Answers one connection from within.
    fn listen(&self) -> Result<Listener> {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.shell.pid))?;
        // A namespace is that of a thread.
        let bound = thread::spawn(move || -> Result<TcpListener> {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(TcpListener::bind((Self::OWN, PORT))?)
        });
        let listener = bound.join().ok().context("the thread panicked")??;
        Ok(Listener::answering(listener))
    }
}

pub(super) fn network_has_a_way_out_or_none() -> Result<()> {
    with_networks(&[&["open"], &["closed", "--internal"]], |rootfs| {
        let mut outside = Stranger::new(rootfs)?;
        let mut open = Shell::start(rootfs, &["--name=o", "--network=open"])?;
        let caps = ["--name=c", "--network=closed", "--cap-add=NET_ADMIN"];
        let mut closed = Shell::start(rootfs, &caps)?;
        // It is seen to come from the host: outside there is no route to the container.
        let mut listener = outside.listen()?;
        ensure!(open.reaches(Stranger::OWN)?, "no way out");
        ensure!(listener.peer()? == Stranger::HOST.parse::<IpAddr>()?, "not masqueraded");
        // The host's other addresses are within reach.
        let mut listener = Listener::start(Stranger::HOST)?;
        ensure!(open.reaches(Stranger::HOST)?, "the host is not reached");
        listener.peer()?;
        let address = open.address()?;
        open.serve()?;
        // Nobody gets in from outside, even who knows the way.
        let subnet = field(&inspect("open")?, "/subnet")?;
        outside.shell.text(&format!("busybox ip route add {subnet} via {}", Stranger::HOST))?;
        ensure!(!outside.shell.reaches(&address.to_string())?, "somebody got in");
        // The closed one has no way out, and none that its administrator can make.
        let inner = closed.address()?;
        closed.serve()?;
        ensure!(!closed.text("busybox ip route")?.contains("default"));
        let gateway = field(&inspect("closed")?, "/gateway")?;
        closed.text(&format!("busybox ip route add default via {gateway}"))?;
        for (address, what) in [(Stranger::OWN, "out"), (Stranger::HOST, "to the host")] {
            ensure!(!closed.reaches(address)?, "a way {what}");
        }
        let listener = TcpListener::bind((gateway.as_str(), PORT))?;
        ensure!(!closed.reaches(&gateway)?, "the host's own address in it is reached");
        drop(listener);
        ensure!(!closed.reaches(&address.to_string())?, "another network is reached");
        ensure!(answers(&inner.to_string())?, "the host does not reach into it");
        outside.shell.end()?;
        open.end()?;
        closed.end()
    })
}

pub(super) fn network_takes_a_containers_own_addresses_only() -> Result<()> {
    with_networks(&[&["front", "--subnet=10.77.0.0/24", "--internal"]], |rootfs| {
        let options = ["--name=liar", "--network=front", "--cap-add=NET_ADMIN"];
        let mut liar = Shell::start(rootfs, &options)?;
        let mut other = Shell::start(rootfs, &["--name=other", "--network=front"])?;
        other.serve()?;
        let address = other.address()?.to_string();
        ensure!(liar.reaches(&address)?, "not reached before");
        let own = liar.address()?;
        let exchange = |from: &str, to: &str| {
            format!(
                "busybox ip addr del {from}/24 dev eth0 && busybox ip addr add {to}/24 dev eth0"
            )
        };
        liar.text(&exchange(&own.to_string(), "10.77.0.99"))?;
        ensure!(!liar.reaches(&address)?, "reached with another address");
        liar.text(&exchange("10.77.0.99", &own.to_string()))?;
        ensure!(liar.reaches(&address)?, "not reached with its own again");
        liar.text(
            "busybox ip link set eth0 down; busybox ip link set eth0 address 02:42:0a:4d:00:63
             busybox ip link set eth0 up",
        )?;
        ensure!(!liar.reaches(&address)?, "reached with another address on the wire");
        liar.end()?;
        other.end()
    })
}

/// Sends that many bytes to a container.
fn send(address: Ipv4Addr, bytes: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match TcpStream::connect((address, PORT)) {
            Ok(stream) => break stream,
            // It is not there yet.
            Err(error) => ensure!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(50));
    };
    stream.write_all(&vec![b'x'; bytes])?;
    Ok(())
}

pub(super) fn network_rates_are_kept() -> Result<()> {
    /// Bytes in a second: of 4 Mbit and of 2.
    const INGRESS: f64 = 500_000.0;
    const EGRESS: f64 = 250_000.0;
    const BYTES: usize = 1_500_000;
    // A bucket is full at the beginning, and headers count for the rate, and not here.
    let within = |what: &str, rate: f64, limit: f64| {
        eprintln!("{what}: {rate:.0} of {limit:.0} bytes in a second");
        ensure!(rate < limit * 1.05, "{what}: {rate} bytes in a second");
        ensure!(rate > limit * 0.6, "{what}: only {rate} bytes in a second");
        Ok(())
    };
    #[expect(clippy::cast_precision_loss, reason = "far below what a float counts exactly")]
    let rate = |bytes: usize, time: Duration| bytes as f64 / time.as_secs_f64();
    with_networks(&[&["front", "--subnet=10.77.0.0/24"]], |rootfs| {
        let limits = ["--ingress-bandwidth=4m", "--egress-bandwidth=2M"];
        let options = ["--name=slow", "--network=front", "--cap-add=NET_ADMIN"];
        let mut slow = Shell::start(rootfs, &[&options[..], &limits].concat())?;
        let address = slow.address()?;
        // What it has of devices is nothing that it could free itself by.
        slow.text("test $(ls /sys/class/net | wc -l) = 2; busybox ip link set eth0 qlen 10000")?;
        // To the container: it counts, and the host takes the time.
        let started = Instant::now();
        let sender = thread::spawn(move || send(address, BYTES));
        let said = slow.text(&format!(
            "read start rest < /proc/uptime; busybox nc -l -p {PORT} | wc -c; cut -d' ' -f1 /proc/uptime
             echo $start"
        ))?;
        let time = started.elapsed();
        sender.join().ok().context("the sender panicked")??;
        let [counted, end, start] = said.lines().collect::<Vec<_>>()[..] else {
            anyhow::bail!("a strange answer: {said}");
        };
        ensure!(counted.parse::<usize>()? == BYTES, "{said}");
        let received = Duration::from_secs_f64(end.parse::<f64>()? - start.parse::<f64>()?);
        within("sent to it, as the host sees it", rate(BYTES, time), INGRESS)?;
        within("sent to it, as it sees it", rate(BYTES, received), INGRESS)?;
        // From the container: the host counts and takes the time, and so does the container.
        let listener = TcpListener::bind(("10.77.0.1", PORT))?;
        let reader = thread::spawn(move || -> Result<(usize, Duration)> {
            let (mut stream, _) = listener.accept()?;
            let started = Instant::now();
            let counted = std::io::copy(&mut stream, &mut std::io::sink())?;
            Ok((usize::try_from(counted)?, started.elapsed()))
        });
        let started = Instant::now();
        slow.text(&format!("head -c {BYTES} /dev/zero | busybox nc 10.77.0.1 {PORT}"))?;
        let inside = started.elapsed();
        let (counted, outside) = reader.join().ok().context("the reader panicked")??;
        ensure!(counted == BYTES, "{counted} came");
        within("sent by it, as the host sees it", rate(BYTES, outside), EGRESS)?;
        within("sent by it, as it sees it", rate(BYTES, inside), EGRESS)?;
        let bits = |time| format!("{:.2} Mbit/s", rate(BYTES, time) * 8.0 / 1e6);
        seen("--egress-bandwidth 2M", Inside(&bits(inside)), Outside(&bits(outside)));
        seen("--ingress-bandwidth 4m", Inside(&bits(received)), Outside(&bits(time)));
        slow.end()?;
        // Without limits it is faster than that.
        let mut fast = Shell::start(rootfs, &["--name=fast", "--network=front"])?;
        let address = fast.address()?;
        let started = Instant::now();
        let sender = thread::spawn(move || send(address, BYTES));
        fast.text(&format!("busybox nc -l -p {PORT} | wc -c"))?;
        sender.join().ok().context("the sender panicked")??;
        let free = rate(BYTES, started.elapsed());
        eprintln!("without a limit: {free:.0} bytes in a second");
        ensure!(free > INGRESS * 2.0, "{free} bytes in a second without a limit");
        fast.end()
    })
}

/// The network devices of the host with names of ours.
fn devices() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/net")?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with("cg")).collect())
}

/// An agent's container has files of its own, which may be of a disk that cannot be written, and sees the devices
/// and rules of the host.
pub(super) fn networks_of_another_launcher_are_left_alone() -> Result<()> {
    with_networks(&[&["front", "--subnet=10.77.0.0/24"]], |rootfs| {
        let web = Shell::start(rootfs, &["--name=web", "--network=front"])?;
        let (devices_before, rules) = (devices()?, fs::read_to_string(RULES)?);
        for options in [
            &["--privileged", "--network=host"][..],
            &["--privileged", "--network=host", "--read-only"],
        ] {
            let said = rootfs.run(options, &["shrike", "container", "gc"])?;
            ensure!(said.text()?.ends_with("0 leftovers"), "{options:?}: {said:?}");
            ensure!(devices()? == devices_before, "{options:?}: {:?}", devices()?);
            ensure!(fs::read_to_string(RULES)? == rules, "{options:?}: the rules are gone");
        }
        // The place of its own files, in the root file system that is used as it is.
        fs::remove_dir_all(rootfs.path().join("var"))?;
        web.end()
    })
}

pub(super) fn network_is_cleaned_up_after_a_killed_launcher() -> Result<()> {
    let gc = |options: &[&str]| -> Result<String> {
        let output = Command::new("shrike").args(["container", "gc"]).args(options).output()?;
        Ok(Ended::new(&output, None)?.text()?.to_owned())
    };
    with_networks(&[&["front", "--subnet=10.77.0.0/24"]], |rootfs| {
        let options = ["--name=orphan", "--network=front", "--egress-bandwidth=1m"];
        let mut shell = Shell::start(rootfs, &options)?;
        let port = field(&inspect("front")?, "/containers/0/port")?;
        ensure!(devices()?.len() == 3, "{:?}", devices()?);
        shell.kill_launcher()?;
        // The pair goes with the container's namespace, and the launcher is not needed for it.
        let path = PathBuf::from("/sys/class/net").join(&port);
        wait("gone with its container", || !path.exists())?;
        ensure!(devices()?.len() == 2, "{:?}", devices()?);
        ensure!(inspect("front")?["containers"].as_array().is_some_and(Vec::is_empty));
        // Somebody else gets the address.
        let mut next = Shell::start(rootfs, &["--name=next", "--network=front", "--ip=10.77.0.2"])?;
        ensure!(next.address()? == Ipv4Addr::new(10, 77, 0, 2));
        next.end()?;
        ensure!(gc(&[])?.contains("/run/shrike/containers/orphan"), "not the container");
        ensure!(devices()?.len() == 1, "{:?}", devices()?);
        // Once more, with nobody who takes the address back before.
        let mut shell = Shell::start(rootfs, &options)?;
        let queue = devices()?.into_iter().find(|name| name.starts_with("cgi")).context("none")?;
        shell.kill_launcher()?;
        wait("gone with its container", || !path.exists())?;
        for options in [&["--dry-run"][..], &[]] {
            let told = gc(options)?;
            for part in ["networks/.leases", &queue, "containers/orphan"] {
                ensure!(
                    told.contains(part) || part == queue && options.is_empty(),
                    "{part}: {told}"
                );
            }
        }
        ensure!(devices()?.len() == 1, "{:?}", devices()?);
        ensure!(gc(&[])?.ends_with("0 leftovers"), "not clean");
        Ok(())
    })?;
    // A network that nobody defined: its file was lost.
    leaves_nothing(|_| {
        network(&["create", "lost", "--internal"])?.text()?;
        fs::remove_file("/var/lib/shrike/networks/lost.json")?;
        let told = gc(&[])?;
        ensure!(told.contains("/sys/class/net/cgb") && told.contains("nftables"), "{told}");
        ensure!(devices()?.is_empty(), "{:?}", devices()?);
        ensure!(gc(&[])?.ends_with("0 leftovers"), "not clean");
        Ok(())
    })
}

pub(super) fn network_is_made_again_when_it_is_gone() -> Result<()> {
    with_networks(&[&["front"]], |rootfs| {
        let bridge = field(&inspect("front")?, "/bridge")?;
        let deleted = Command::new("ip").args(["link", "del", &bridge]).output()?;
        ensure!(deleted.status.success() && devices()?.is_empty(), "{deleted:?}");
        fs::write(FORWARDING, "0")?;
        let mut shell = Shell::start(rootfs, &["--name=web", "--network=front"])?;
        shell.serve()?;
        ensure!(answers(&shell.address()?.to_string())?, "not reached");
        ensure!(fs::read_to_string(FORWARDING)?.trim() == "1");
        shell.end()
    })
}

pub(super) fn networks_that_cannot_be_had_are_named() -> Result<()> {
    let refused = |ended: &Ended, code: i32, part: &str| {
        ensure!(ended.code == code && ended.stderr.contains(part), "{part}: {ended:?}");
        Ok(())
    };
    with_networks(&[&["front", "--subnet=10.77.0.0/24", "--internal"]], |rootfs| {
        for (words, code, part) in [
            (&["create", "front"][..], 125, "a network front already"),
            (&["create", "a", "--subnet=10.77.0.0/16"], 125, "10.77.0.0/24 of the network front"),
            (&["create", "a", "--subnet=10.77.1.1/24"], 125, "10.77.1.0/24"),
            (&["create", "a", "--subnet=127.5.0.0/16"], 125, "127.5.0.0/16"),
            (&["create", "a", "--subnet=10.1.0.0/24", "--gateway=10.2.0.1"], 125, "10.2.0.1"),
            (&["create", "../a"], 2, "a name starts with"),
            (&["create", "host"], 2, "none and host"),
            (&["create", "a", "--gateway=10.2.0.1"], 2, "--subnet"),
            (&["rm", "none-such"], 125, "no network none-such"),
            (&["inspect", "none-such"], 125, "no network none-such"),
        ] {
            refused(&network(words)?, code, part)?;
        }
        let mut shell = Shell::start(rootfs, &["--name=web", "--network=front", "--ip=10.77.0.5"])?;
        for (options, code, part) in [
            (&["--network=none-such"][..], 125, "no network none-such"),
            (&["--network=front,front"], 125, "front is given twice"),
            (&["--network=none", "--network=front"], 125, "given alone"),
            (&["--network=front,host"], 2, "given alone"),
            (&["--ip=10.77.0.7"], 125, "--ip needs a network"),
            (&["--egress-bandwidth=1m"], 125, "--egress-bandwidth needs a network"),
            (&["--network=front", "--ip=10.77.0.5"], 125, "in use by the container web"),
            (&["--network=front", "--ip=10.78.0.5"], 125, "10.78.0.5 is no address"),
            (&["--network=front", "--ip=10.77.0.1"], 125, "10.77.0.1 is the gateway's"),
            (&["--network=front", "--ingress-bandwidth=1"], 2, "bits in a second"),
        ] {
            let ended = rootfs.run(options, &["true"])?;
            refused(&ended, code, part)?;
            ensure!(ended.pid.is_none(), "{ended:?}");
        }
        refused(&network(&["rm", "front"])?, 125, "front is in use by web")?;
        // What fails later leaves nothing either.
        let failed = rootfs.run(&["--network=front", "--egress-bandwidth=1m"], &["no-such"])?;
        refused(&failed, 127, "no-such")?;
        ensure!(devices()?.len() == 2, "{:?}", devices()?);
        shell.text("true")?;
        shell.end()?;
        let listed: Value = serde_json::from_str(network(&["ls", "--json"])?.text()?)?;
        ensure!(listed[0]["name"] == "front" && listed[0]["internal"] == true, "{listed}");
        ensure!(network(&["ls"])?.text()?.contains("10.77.0.0/24"));
        Ok(())
    })
}
