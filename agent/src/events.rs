//! `shrike events`: the live stream of events as they come from the kernel, like an strace of the
//! whole host. Fields and their names come from the declaration of the kinds.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Map, Value as Json, json};
use shrike_common::wire::Text;
use shrike_common::{
    Abi, BreachKind, Event, Header, Kind, Membership, Namespaces, Noticed, NsType, Origin, Pid,
    Property, Value, Way, decode,
};
use shrike_rules::Escaped;

use crate::context::clock::Clock;
use crate::context::process;
use crate::detect::{result, syscall};
use crate::outcome::{Outcomes, Waiting};
use crate::sensor::boot_time;
use crate::watch::{Scope, Watch, Watcher};

/// How events are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// One JSON object a line.
    Json,
    /// One line for a person.
    Text {
        /// With colours.
        colour: bool,
    },
}

/// Shows events on standard output until SIGINT or SIGTERM, or until nobody reads them.
pub(crate) fn show(scope: Scope, form: Form) -> anyhow::Result<()> {
    let mut watch = Watch::start(scope)?;
    let mut shown = Shown {
        printer: Printer::new(BufWriter::new(io::stdout().lock()), form),
        scope,
        clock: Clock::now().context("cannot read the clock")?,
        count: 0,
        own: Pid(std::process::id()),
    };
    let outcome = watch.run(&mut shown)?;
    tracing::info!("{} events were shown, {} were lost", shown.count, watch.lost()?);
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// Shows what is within the scope.
struct Shown<W: Write> {
    printer: Printer<BufWriter<W>>,
    scope: Scope,
    clock: Clock,
    count: u64,
    own: Pid,
}

impl<W: Write + AsFd> Watcher for Shown<W> {
    fn record(&mut self, record: &[u8]) -> io::Result<()> {
        let (header, event) = match decode(record) {
            Ok(decoded) => decoded,
            Err(error) => {
                tracing::warn!("refused a record of {} bytes: {error}", record.len());
                return Ok(());
            }
        };
        let is_member = header.membership == Membership::Member as u32;
        if !self.scope.contains(event.kind(), is_member) || header.tgid == self.own {
            return Ok(());
        }
        self.count += u64::from(event.kind() != Kind::Outcome);
        self.printer.event(&header, &event, record, self.clock)
    }

    fn pause(&mut self) -> io::Result<bool> {
        self.printer.give_up(boot_time(), self.clock)?;
        self.printer.flush()?;
        self.clock.refresh()?;
        Ok(!is_reader_gone(self.printer.out.get_ref())?)
    }
}

/// Whether the other end of a pipe was closed: on a quiet host, no write would tell.
fn is_reader_gone(out: &impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().is_some_and(|found| found.contains(PollFlags::POLLERR)))
}

/// Writes events, a line each: when they happen, or when it is known what became of them.
pub(crate) struct Printer<W> {
    out: W,
    form: Form,
    outcomes: Outcomes,
}

impl<W: Write> Printer<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W, form: Form) -> Self {
        Self { out, form, outcomes: Outcomes::default() }
    }

    /// Writes an event, or has it wait.
    pub(crate) fn event(
        &mut self,
        header: &Header,
        event: &Event<'_>,
        record: &[u8],
        clock: Clock,
    ) -> io::Result<()> {
        match event {
            Event::Outcome(outcome) => {
                let ended = self.outcomes.ended(header, outcome.since);
                ended.iter().try_for_each(|one| self.late(one, Some(outcome.result), clock))
            }
            _ if header.has(Header::OUTCOME) => {
                self.outcomes.wait(0, header, record);
                Ok(())
            }
            _ => self.line(header, event, result::implied(header, event), clock),
        }
    }

    /// Writes what has waited too long, without a result.
    pub(crate) fn give_up(&mut self, now: u64, clock: Clock) -> io::Result<()> {
        let overdue = self.outcomes.overdue(now);
        overdue.iter().try_for_each(|one| self.late(one, None, clock))
    }

    fn late(&mut self, waiting: &Waiting, result: Option<i64>, clock: Clock) -> io::Result<()> {
        // It was decoded before.
        let Ok((header, event)) = decode(&waiting.record) else { return Ok(()) };
        self.line(&header, &event, result, clock)
    }

    fn line(
        &mut self,
        header: &Header,
        event: &Event<'_>,
        result: Option<i64>,
        clock: Clock,
    ) -> io::Result<()> {
        match self.form {
            Form::Json => writeln!(self.out, "{}", json(header, event, result, clock)),
            Form::Text { colour } => text(&mut self.out, header, event, result, clock, colour),
        }
    }

    /// Hands on what was written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn text(
    out: &mut impl Write,
    header: &Header,
    event: &Event<'_>,
    result: Option<i64>,
    clock: Clock,
    colour: bool,
) -> io::Result<()> {
    let time = clock.timestamp(header.time).strftime("%H:%M:%S.%6f");
    let member = if header.membership == Membership::Member as u32 { " container" } else { "" };
    let (start, end) = if colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let (name, kind) = (Escaped(header.comm()), event.kind().name());
    write!(out, "{time} {name}[{}]{member} {start}{kind}{end}", header.tgid)?;
    for (name, value) in fields(event) {
        let flags =
            flag_names(&value).or_else(|| meaning(event.kind(), name, &value).map(str::to_owned));
        match value {
            Value::Address(address) => write!(out, " {name}={}", address.ip())?,
            Value::Number(number) => write!(out, " {name}={number}")?,
            Value::Text(text) => {
                let text = words(name, text.bytes).join(&b' ');
                write!(out, " {name}=\"{}\"", Escaped(&text))?;
            }
            Value::Name(bytes) => write!(out, " {name}=\"{}\"", Escaped(until_nul(&bytes)))?,
            Value::Namespaces(namespaces) => {
                let all: Vec<String> =
                    present(&namespaces).map(|(ty, id)| format!("{}:[{id}]", ty.name())).collect();
                write!(out, " {name}={}", all.join(","))?;
            }
        }
        if let Some(flags) = flags {
            write!(out, " ({flags})")?;
        }
    }
    if header.has(Header::RAW) {
        write!(out, " (attempt)")?;
    }
    match result {
        Some(result) if result < 0 => writeln!(out, " = {result} {}", result::name(result)),
        Some(result) => writeln!(out, " = {result}"),
        None => writeln!(out),
    }
}

fn json(header: &Header, event: &Event<'_>, result: Option<i64>, clock: Clock) -> Json {
    let mut own = Map::new();
    for (name, value) in fields(event) {
        let flags = flag_names(&value);
        if let Some(meaning) = meaning(event.kind(), name, &value) {
            own.insert(format!("{name}_name"), meaning.into());
        }
        let value = match value {
            Value::Address(address) => address.ip().to_string().into(),
            Value::Number(number) => i64::try_from(number)
                .map_or_else(|_| u64::try_from(number).map_or(Json::Null, Json::from), Json::from),
            // Arguments end with a NUL each.
            Value::Text(text) if text.bytes.ends_with(b"\0") => {
                let words = words(name, text.bytes);
                words.iter().map(|word| String::from_utf8_lossy(word)).collect()
            }
            Value::Text(text) => String::from_utf8_lossy(text.bytes).into(),
            Value::Name(bytes) => String::from_utf8_lossy(until_nul(&bytes)).into(),
            Value::Namespaces(namespaces) => ids(&namespaces),
        };
        own.insert(name.to_owned(), value);
        if let Some(flags) = flags {
            own.insert(format!("{name}_flags"), flags.into());
        }
    }
    json!({
        "time": clock.timestamp(header.time).to_string(),
        "kind": event.kind().name(),
        "pid": header.tgid.0,
        "tid": header.tid.0,
        "ppid": header.ppid.0,
        "name": String::from_utf8_lossy(header.comm()),
        "uid": header.uid.0,
        "gid": header.gid.0,
        "euid": header.euid.0,
        "capabilities": {
            "effective": format!("{:016x}", header.effective),
            "permitted": format!("{:016x}", header.permitted),
            "inheritable": format!("{:016x}", header.inheritable),
        },
        "membership": Membership::from_code(header.membership).map(Membership::name),
        "container": header.container.0,
        "cgroup": header.cgroup.0,
        "namespaces": ids(&header.ns),
        "cpu": header.cpu,
        "sequence": header.sequence,
        "syscall": syscall::name(header),
        "abi": Abi::from_code(header.abi).map(Abi::name),
        "raw": header.has(Header::RAW),
        "result": result,
        "fields": own,
    })
}

/// The fields of an event, without those that only fill gaps.
fn fields<'a>(event: &Event<'a>) -> Vec<(&'static str, Value<'a>)> {
    let mut fields = Vec::new();
    event.fields(&mut |name, value| {
        if name != "reserved" {
            fields.push((name, value));
        }
    });
    fields
}

/// The name of what a number of a boundary or of its breach stands for.
fn meaning(kind: Kind, field: &str, value: &Value<'_>) -> Option<&'static str> {
    let Value::Number(number) = *value else { return None };
    let code = u32::try_from(number).ok()?;
    match (kind, field) {
        (Kind::Boundary, "origin") => Origin::from_code(code).map(Origin::name),
        (Kind::Breach, "breach") => BreachKind::from_code(code).map(BreachKind::name),
        (Kind::Breach, "noticed") => Noticed::from_code(code).map(Noticed::name),
        (Kind::Breach, "way") => Way::from_code(code).map(Way::name),
        (Kind::Breach, "property") => Property::from_code(code).map(Property::name),
        _ => None,
    }
}

/// What is peculiar about a text, joined by `|`.
fn flag_names(value: &Value<'_>) -> Option<String> {
    const NAMES: [(u16, &str); 4] = [
        (Text::DELETED, "deleted"),
        (Text::TRUNCATED, "truncated"),
        (Text::UNREACHABLE, "unreachable"),
        (Text::UNREADABLE, "unreadable"),
    ];
    let Value::Text(text) = value else { return None };
    let names: Vec<&str> =
        NAMES.iter().filter(|(flag, _)| text.has(*flag)).map(|(_, name)| *name).collect();
    (!names.is_empty()).then(|| names.join("|"))
}

/// The parts of a text that end with a NUL each; of most texts, the text.
fn words(name: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let words = bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|&byte| byte == 0);
    match name {
        "env" => words.map(process::without_password).collect(),
        _ => words.map(<[u8]>::to_vec).collect(),
    }
}

fn ids(namespaces: &Namespaces) -> Json {
    present(namespaces)
        .map(|(ty, id)| (ty.name().to_owned(), Json::from(id)))
        .collect::<Map<_, _>>()
        .into()
}

fn present(namespaces: &Namespaces) -> impl Iterator<Item = (NsType, u32)> {
    NsType::ALL.into_iter().map(|ty| (ty, namespaces.get(ty).0)).filter(|(_, id)| *id != 0)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use shrike_common::{Exec, Mount, NsId, Unshare};

    use super::*;

    fn header() -> Header {
        let mut header = Header { tgid: Pid(7), membership: 1, ..Header::default() };
        header.comm[..2].copy_from_slice(b"sh");
        header
    }

    fn line(event: &Event<'_>) -> String {
        let mut out = Vec::new();
        text(&mut out, &header(), event, None, Clock::now().unwrap(), false).unwrap();
        let line = String::from_utf8(out).unwrap();
        line.split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn a_person_sees_every_field() {
        let fs_type = Text::new(b"ext4\x1b", 0);
        let mount = Event::Mount(Mount { fs_magic: 1, dev: 2, bdev: 3, fs_type });
        let expected = "sh[7] container mount fs_magic=1 dev=2 bdev=3 fs_type=\"ext4\\x1b\"\n";
        assert_eq!(line(&mount), expected);
        let joined = Namespaces { mnt: NsId(5), uts: NsId(6), ..Namespaces::default() };
        let unshare = Event::Unshare(Unshare { joined });
        assert_eq!(line(&unshare), "sh[7] container unshare joined=mnt:[5],uts:[6]\n");
    }

    #[test]
    fn arguments_are_told_apart() {
        let [path, args] = [&b"/bin/cat"[..], b"cat\0a b\0"].map(|bytes| Text::new(bytes, 0));
        let [env, cwd] = [&b"LD_X=1\0LD_Y=\0"[..], b"/srv"].map(|bytes| Text::new(bytes, 0));
        let exec = Event::Exec(Exec { inode: 1, dev: 2, path, args, env, cwd, ..Exec::default() });
        let end = " path=\"/bin/cat\" args=\"cat a b\" env=\"LD_X=1 LD_Y=\" cwd=\"/srv\"\n";
        assert!(line(&exec).ends_with(end), "{}", line(&exec));
        let json = json(&header(), &exec, None, Clock::now().unwrap());
        assert_eq!(json["fields"]["args"], serde_json::json!(["cat", "a b"]));
        assert_eq!(json["fields"]["path"], "/bin/cat");
    }

    #[test]
    fn a_machine_does_as_well() {
        let joined = Namespaces { mnt: NsId(5), ..Namespaces::default() };
        let event = Event::Unshare(Unshare { joined });
        let json = json(&header(), &event, None, Clock::now().unwrap());
        assert_eq!(json["kind"], "unshare");
        assert_eq!((&json["pid"], &json["membership"]), (&7.into(), &"member".into()));
        assert_eq!(json["fields"], serde_json::json!({ "joined": { "mnt": 5 } }));
    }
}
