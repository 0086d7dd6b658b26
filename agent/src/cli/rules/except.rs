//! `shrike rules except`.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;
use shrike_rules::field::{Cost, Field, Type};
use shrike_rules::{Argument, Event, FieldId, Kind, Loaded, Ruleset, Source, Value};

use crate::detect::files::{self, RuleFile};
use crate::replay;

const EXAMPLES: &str = "\
Examples:
  tail -n 1 alerts.json | shrike rules except -
  shrike rules except alert.json --fields proc.exepath,fd.name
  shrike rules except alert.json --rules /etc/shrike/rules.d --recording node.rec >> local.yaml";

/// Propose the exception that would have silenced an alert
///
/// It is made of what tells the program, its image and what it was done to; --fields chooses otherwise. It is tried on
/// the alert, and with --recording on the events of a recording, before it is written to standard output, as an item
/// for a rule file that is loaded after the rule's own.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExceptArgs {
    /// A file with the alert as a line of JSON, or - for standard input; of several lines the first
    #[arg(value_name = "FILE")]
    alert: PathBuf,

    /// The fields of the exception, of those that the alert has, joined by commas
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,

    /// The name of the exception; made of its fields by default
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The rule files, to try the exception with: files or folders, in order
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,

    /// A recording with the event, to be judged with the exception
    #[arg(long, value_name = "FILE", requires = "rules")]
    recording: Option<PathBuf>,
}

/// Proposes an exception.
pub(super) fn run(args: &ExceptArgs) -> anyhow::Result<ExitCode> {
    let alert = Alert::read(&args.alert)?;
    let fields = if args.fields.is_empty() { alert.telling() } else { args.fields.clone() };
    let proposal = Proposal::new(&alert, &fields, args.name.as_deref())?;
    proposal.try_on(&alert)?;
    if !args.rules.is_empty() {
        proposal.try_with(&args.rules, args.recording.as_deref())?;
    }
    write!(io::stdout().lock(), "{}", proposal.text).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// An alert as the agent writes it.
#[derive(Debug, Deserialize)]
struct Alert {
    rule: String,
    output_fields: BTreeMap<String, Json>,
}

/// What an exception can be made of: of each group the first that the alert has.
const TELLING: [&[&str]; 3] = [
    &["proc.exepath", "proc.name"],
    &["container.image.repository", "container.name", "k8s.ns.name"],
    &[
        "fd.name",
        "sysctl.name",
        "mount.target",
        "ptrace.target.name",
        "bpf.prog.name",
        "proc.pname",
    ],
];

impl Alert {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let (name, text) = if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            ("standard input".to_owned(), text)
        } else {
            let name = path.display().to_string();
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
            (name, text)
        };
        let line = text.lines().find(|line| !line.trim().is_empty());
        let line = line.with_context(|| format!("there is no alert in {name}"))?;
        serde_json::from_str(line).with_context(|| {
            format!("the first line of {name} is no alert as `shrike run --output json` writes it")
        })
    }

    /// The fields that tell what it was about, as far as they are of more than this one moment.
    fn telling(&self) -> Vec<String> {
        let has = |name: &&&str| {
            let value = self.output_fields.get(**name);
            value.is_some_and(|value| !value.is_null() && value != "host" && value != "<NA>")
        };
        TELLING
            .iter()
            .filter_map(|names| names.iter().find(has))
            .map(|name| (*name).to_owned())
            .collect()
    }
}

/// The values of an alert are those of its event, as far as the rule shows them.
impl Event for Alert {
    fn kind(&self) -> Kind {
        Kind::Exec
    }

    fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
        let name = field.name();
        let value = match argument {
            None => self.output_fields.get(name),
            Some(Argument::Index(index)) => self.output_fields.get(&format!("{name}[{index}]")),
            Some(Argument::Name(argument)) => self
                .output_fields
                .get(&format!("{name}[{argument}]"))
                .or_else(|| self.output_fields.get(&format!("{name}.{argument}"))),
        };
        match value? {
            Json::Bool(value) => Some((*value).into()),
            Json::Number(value) => value.as_i64().map(Value::from),
            Json::String(text) => match field.info().ty {
                Type::Address | Type::Network => text.parse().ok().map(Value::Address),
                _ => Some(text.as_str().into()),
            },
            _ => None,
        }
    }
}

/// An exception, as an item of a rule file.
struct Proposal {
    rule: String,
    exception: String,
    text: String,
}

impl Proposal {
    fn new(alert: &Alert, fields: &[String], name: Option<&str>) -> anyhow::Result<Self> {
        if fields.is_empty() {
            bail!(
                "the alert has no field that an exception can be made of: choose some with --fields, of {}",
                alert.output_fields.keys().cloned().collect::<Vec<_>>().join(", ")
            );
        }
        let mut values = Vec::new();
        for field in fields {
            let value = alert.output_fields.get(field).filter(|value| !value.is_null());
            let value = value.with_context(|| {
                let known = alert.output_fields.keys().cloned().collect::<Vec<_>>().join(", ");
                format!("the alert has no value of {field}: it has {known}")
            })?;
            ensure!(
                !matches!(value, Json::Array(_) | Json::Object(_)),
                "{field} has no single value in the alert"
            );
            warn_of_costs(field);
            values.push(written(value));
        }
        let quoted = |text: &str| Json::from(text).to_string();
        // Another exception of the same fields must have another name.
        let made = || {
            let mut hasher = DefaultHasher::new();
            values.hash(&mut hasher);
            let fields = fields.join("_").replace(['.', '[', ']'], "_");
            format!("{fields}_{:08x}", hasher.finish() & 0xFFFF_FFFF)
        };
        let name = name.map_or_else(made, str::to_owned);
        let columns: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
        let exception = format!(
            "  exceptions:\n    - name: {}\n      fields: [{}]\n      values:\n        - [{}]\n",
            quoted(&name),
            columns.join(", "),
            values.join(", ")
        );
        let text = format!(
            "- rule: {}\n{exception}  override:\n    exceptions: append\n",
            quoted(&alert.rule)
        );
        Ok(Self { rule: alert.rule.clone(), exception, text })
    }

    /// Whether the exception holds for what the alert tells, whatever the rule asks for besides.
    fn try_on(&self, alert: &Alert) -> anyhow::Result<()> {
        let rule = format!(
            "- rule: tried\n  desc: any event\n  condition: evt.num exists or not evt.num exists\n  \
             output: any\n  priority: DEBUG\n{}",
            self.exception
        );
        let loaded = Ruleset::load(&[Source::new("the exception", &rule)]);
        refuse_errors(&loaded)?;
        ensure!(
            !loaded.ruleset.holds(0, alert),
            "the exception does not hold for the alert that it was made of: this is a fault of shrike"
        );
        Ok(())
    }

    /// Whether it goes with the rules, and keeps the rule silent on a recording.
    fn try_with(&self, rules: &[PathBuf], recording: Option<&Path>) -> anyhow::Result<()> {
        let files = files::read(rules)?;
        let mut sources: Vec<_> = files.iter().map(RuleFile::source).collect();
        let before = Ruleset::load(&sources);
        refuse_errors(&before)?;
        sources.push(Source::new("the exception", &self.text));
        let after = Ruleset::load(&sources);
        refuse_errors(&after)?;
        let Some(recording) = recording else { return Ok(()) };
        let count = |ruleset: &Ruleset| replay::count_alerts(recording, ruleset, &self.rule);
        let (before, after) = (count(&before.ruleset)?, count(&after.ruleset)?);
        eprintln!(
            "shrike: in the recording the rule matches {before} events without the exception, {after} with it"
        );
        ensure!(before > 0, "the recording has no event that the rule {:?} matches", self.rule);
        ensure!(after < before, "the exception silences nothing in the recording");
        Ok(())
    }
}

/// A value as the file has it. What a text has in it comes from whoever caused the alert: it must stay a text.
fn written(value: &Json) -> String {
    match value {
        Json::String(text) => Json::from(shrike_rules::quoted(text)).to_string(),
        other => other.to_string(),
    }
}

/// Says if an alert would have to wait for the values.
fn warn_of_costs(field: &str) {
    let known = shrike_rules::fields().iter().find(|known| known.name == field);
    if let Some(Field { cost: Cost::Runtime, name, .. }) = known {
        eprintln!(
            "shrike: warning: {name} is known only once the container's runtime has told: what comes before still raises \
             the alert"
        );
    }
}

fn refuse_errors(loaded: &Loaded) -> anyhow::Result<()> {
    if loaded.has_errors() {
        let all: Vec<_> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        bail!("the rules with the exception do not load:\n{}", all.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = r#"{"rule": "Odd: \"x\"", "priority": "Warning", "output_fields": {
        "proc.exepath": "/usr/bin/my tool", "proc.pid": 42, "container.image.repository": null,
        "fd.name": "/etc/a=b, (c)", "container.id": "host", "fd.rip": "10.0.0.1", "evt.failed": false,
        "proc.aname[2]": "init"}}"#;

    fn alert() -> Alert {
        serde_json::from_str(ALERT).unwrap()
    }

    #[test]
    fn an_exception_silences_the_alert_that_it_is_made_of() {
        let alert = alert();
        assert_eq!(alert.telling(), ["proc.exepath", "fd.name"]);
        let all = ["proc.exepath", "fd.name", "proc.pid", "fd.rip", "evt.failed", "proc.aname[2]"];
        let proposal = Proposal::new(&alert, &all.map(str::to_owned), None).unwrap();
        proposal.try_on(&alert).unwrap();
        let mut other = self::alert();
        other.output_fields.insert("proc.pid".to_owned(), 43.into());
        assert!(proposal.try_on(&other).is_err(), "it would silence everything");
    }

    #[test]
    fn what_an_alert_has_in_it_stays_a_text() {
        for hostile in [
            "\"x\") or evt.num exists or (proc.name = \"y\"",
            "/x\" or evt.num exists or fd.name = \"",
            "(a, b)",
            "val(proc.name)",
            "tolower(proc.name)",
            "'x'",
            "\\\"",
            "a\n- rule: x",
            "#x: [y]",
        ] {
            let mut alert = alert();
            alert.output_fields.insert("fd.name".to_owned(), hostile.into());
            let proposal = Proposal::new(&alert, &["fd.name".to_owned()], None).unwrap();
            proposal.try_on(&alert).unwrap_or_else(|error| panic!("{hostile}: {error:#}"));
            assert!(proposal.try_on(&self::alert()).is_err(), "{hostile}: it silences others");
        }
    }

    #[test]
    fn it_extends_the_rule() {
        let rule = "- rule: 'Odd: \"x\"'\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: INFO\n";
        let proposal = Proposal::new(&alert(), &["proc.exepath".to_owned()], Some("mine")).unwrap();
        let loaded = Ruleset::load(&[Source::new("r", rule), Source::new("x", &proposal.text)]);
        assert_eq!(loaded.diagnostics, []);
        assert!(loaded.ruleset.rules()[0].condition().contains("/usr/bin/my tool"));
    }

    #[test]
    fn what_the_alert_does_not_have_is_said() {
        let complaint = |fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|&field| field.to_owned()).collect();
            Proposal::new(&alert(), &fields, None).err().unwrap().to_string()
        };
        assert!(complaint(&[]).contains("choose some with --fields"));
        assert!(complaint(&["proc.tty"]).contains("no value of proc.tty: it has"));
        assert!(complaint(&["container.image.repository"]).contains("no value"));
    }
}
