//! An alert: a rule that matched an event, rendered once for every sink.

use std::fmt;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use shrike_rules::{Event, FieldId, Output, Priority, Rule, Value};
use uuid::Uuid;

use crate::detect::HOST;

/// A rule that matched an event. Serialises to Falco's JSON, with the `uuid` that its consumers add.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Alert {
    /// Identifies the alert, whatever way it takes.
    pub(crate) uuid: Uuid,
    /// The node.
    pub(crate) hostname: String,
    /// When the event happened.
    #[serde(serialize_with = "iso8601")]
    pub(crate) time: Timestamp,
    /// How urgent it is.
    pub(crate) priority: Priority,
    /// The rule's name.
    pub(crate) rule: String,
    /// The source of the event.
    pub(crate) source: String,
    /// The rule's tags.
    pub(crate) tags: Vec<String>,
    /// The rule's message, behind the time of day and the priority.
    pub(crate) output: String,
    /// The fields of the message, in its order, and the time in nanoseconds since 1970.
    #[serde(serialize_with = "fields")]
    pub(crate) output_fields: Vec<(String, Json)>,
    /// Whether what the container's runtime tells is in it, or what that has written down where no more is to be
    /// told; not there if there is no such container, or no runtime is to be asked. An urgent one that left without
    /// it comes again, with the same `uuid`, if the runtime tells soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enriched: Option<bool>,
    /// The message alone.
    #[serde(skip)]
    pub(crate) message: String,
}

/// What is told of a container in each alert about one, whatever the rule's message has.
const OF_CONTAINERS: [FieldId; 6] = [
    FieldId::ContainerId,
    FieldId::ContainerName,
    FieldId::ContainerImageRepository,
    FieldId::ContainerImageTag,
    FieldId::K8sNsName,
    FieldId::K8sPodName,
];

impl Alert {
    /// Renders the match of `rule` on `event`.
    pub(crate) fn new(
        rule: &Rule,
        event: &impl Event,
        enriched: Option<bool>,
        time: Timestamp,
        hostname: &str,
    ) -> Self {
        let own_time = ("evt.time".to_owned(), json(Some(Value::Number(time.as_nanosecond()))));
        let of_template = rule
            .output()
            .fields(event)
            .filter(|&(name, _)| name != "evt.time")
            .map(|(name, value)| (name.to_owned(), json(value)));
        let mut output_fields: Vec<_> = [own_time].into_iter().chain(of_template).collect();
        if is_about_container(event) {
            for field in OF_CONTAINERS {
                if !output_fields.iter().any(|(name, _)| name == field.name()) {
                    output_fields.push((field.name().to_owned(), json(event.field(field, None))));
                }
            }
        }
        let mut alert = Self {
            uuid: Uuid::new_v4(),
            hostname: hostname.to_owned(),
            time,
            priority: rule.priority(),
            rule: rule.name().to_owned(),
            source: rule.source().to_owned(),
            tags: rule.tags().to_vec(),
            output: String::new(),
            output_fields,
            enriched,
            message: String::new(),
        };
        alert.say(rule.output().render(event));
        alert
    }

    /// Puts in what is known of the container by now; `is_all` if no more will be. `rest` is the message with room
    /// for that.
    pub(crate) fn enrich(&mut self, rest: &Output, told: &impl Event, is_all: bool) {
        self.say(rest.render(told));
        for (name, value) in rest.fields(told) {
            self.put(name, json(value));
        }
        for field in OF_CONTAINERS.into_iter().filter(|field| field.is_of_runtime()) {
            self.put(field.name(), json(told.field(field, None)));
        }
        self.enriched = Some(is_all);
    }

    fn put(&mut self, name: &str, value: Json) {
        if let Some((_, old)) = self.output_fields.iter_mut().find(|(known, _)| known == name) {
            *old = value;
        }
    }

    fn say(&mut self, message: String) {
        let (time, priority) = (self.time.strftime("%H:%M:%S.%9f"), self.priority);
        self.output = format!("{time}: {priority} {message}");
        self.message = message;
    }

    /// The alert as one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            // No field of an alert can fail to serialise; if one did, say so instead of nothing.
            Json::from(format!("alert {} of rule {}: {error}", self.uuid, self.rule)).to_string()
        })
    }
}

fn is_about_container(event: &impl Event) -> bool {
    let id = event.field(FieldId::ContainerId, None);
    id.is_some_and(|id| !matches!(id, Value::Text(id) if *id == *HOST.as_bytes()))
}

/// One line for a person.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, priority, rule, message, .. } = self;
        write!(f, "{} {priority} {rule}: {message}", time.strftime("%H:%M:%S.%3f"))
    }
}

/// A value as Falco's JSON has it. Bytes that are not UTF-8 become U+FFFD.
fn json(value: Option<Value<'_>>) -> Json {
    match value {
        None => Json::Null,
        Some(Value::Bool(value)) => value.into(),
        Some(Value::Number(number)) => i64::try_from(number)
            .map(Json::from)
            .or_else(|_| u64::try_from(number).map(Json::from))
            .unwrap_or_else(|_| number.to_string().into()),
        Some(Value::Text(bytes)) => String::from_utf8_lossy(&bytes).into(),
        Some(Value::Address(address)) => address.to_string().into(),
    }
}

fn iso8601<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))
}

fn fields<S: Serializer>(fields: &[(String, Json)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (name, value) in fields {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

#[cfg(test)]
pub(crate) mod tests {
    use shrike_rules::{Argument, FieldId, Kind, Ruleset, Source};

    use super::*;

    struct Open;

    impl Event for Open {
        fn kind(&self) -> Kind {
            Kind::FileOpen
        }

        fn field(&self, field: FieldId, _: Option<Argument<'_>>) -> Option<Value<'_>> {
            Some(match field {
                FieldId::EvtType => "openat".into(),
                FieldId::FdName => b"/tmp/a\x1b[31m\xff".as_slice().into(),
                FieldId::ProcPid => 4711_u32.into(),
                FieldId::EvtIsOpenRead => true.into(),
                FieldId::CgroupId => u64::MAX.into(),
                _ => return None,
            })
        }
    }

    /// An alert of the rule `rule`.
    pub(crate) fn alert(rule: &str) -> Alert {
        let text = format!(
            "- rule: {rule}
  desc: A test.
  condition: evt.type = openat
  output: \"opened %fd.name (pid=%proc.pid read=%evt.is_open_read cg=%cgroup.id user=%user.name)\"
  priority: WARNING
  tags: [T1005]
"
        );
        let loaded = Ruleset::load(&[Source::new("rules.yaml", &text)]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let time = Timestamp::from_nanosecond(1_795_478_400_000_000_042).unwrap();
        Alert::new(&loaded.ruleset.rules()[0], &Open, None, time, "node-1")
    }

    #[test]
    fn has_falcos_keys_and_types() {
        let alert = alert("File opened");
        // No more than in the message, for what is not about a container.
        let json: Json = serde_json::from_str(&alert.to_json()).unwrap();
        let expected = serde_json::json!({
            "uuid": alert.uuid.to_string(),
            "hostname": "node-1",
            "time": "2026-11-24T00:00:00.000000042Z",
            "priority": "Warning",
            "rule": "File opened",
            "source": "syscall",
            "tags": ["T1005"],
            "output": "00:00:00.000000042: Warning opened /tmp/a\\x1b[31m\u{fffd} (pid=4711 \
                       read=true cg=18446744073709551615 user=<NA>)",
            "output_fields": {
                "evt.time": 1_795_478_400_000_000_042_u64,
                "fd.name": "/tmp/a\u{1b}[31m\u{fffd}",
                "proc.pid": 4711,
                "evt.is_open_read": true,
                "cgroup.id": u64::MAX,
                "user.name": null,
            },
        });
        assert_eq!(json, expected);
        assert!(!alert.to_json().contains('\n'));
    }

    /// An open in a container, before and after its runtime has told of it.
    struct Inside(bool);

    impl Event for Inside {
        fn kind(&self) -> Kind {
            Kind::FileOpen
        }

        fn field(&self, field: FieldId, _: Option<Argument<'_>>) -> Option<Value<'_>> {
            match field {
                FieldId::ContainerId => Some("0123456789ab".into()),
                FieldId::ContainerName => self.0.then(|| "web".into()),
                FieldId::K8sPodName => self.0.then(|| "pod".into()),
                _ => Open.field(field, None),
            }
        }
    }

    #[test]
    fn what_a_runtime_tells_later_is_put_in() {
        let rule = "- rule: r\n  desc: d\n  condition: evt.type = openat\n  priority: WARNING\n  \
                    output: pid %proc.pid in %container.name\n";
        let loaded = Ruleset::load(&[Source::new("rules.yaml", rule)]);
        let rule = &loaded.ruleset.rules()[0];
        let time = Timestamp::UNIX_EPOCH;
        let mut alert = Alert::new(rule, &Inside(false), Some(false), time, "node-1");
        let uuid = alert.uuid;
        assert_eq!(alert.message, "pid 4711 in <NA>");
        let value = |alert: &Alert, name: &str| {
            let mut fields = alert.output_fields.iter();
            fields.find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        // Also what the message does not have.
        assert_eq!(value(&alert, "container.id"), Some("0123456789ab".into()));
        assert_eq!(value(&alert, "k8s.pod.name"), Some(Json::Null));
        let rest = rule.output().settled(&Inside(false), FieldId::is_of_runtime);
        alert.enrich(&rest, &Inside(true), true);
        assert_eq!((alert.uuid, alert.enriched), (uuid, Some(true)));
        assert_eq!(alert.output, "00:00:00.000000000: Warning pid 4711 in web");
        assert_eq!(value(&alert, "proc.pid"), Some(4711.into()));
        assert_eq!(value(&alert, "k8s.pod.name"), Some("pod".into()));
    }

    #[test]
    fn is_one_safe_line_for_a_person() {
        assert_eq!(
            alert("File opened").to_string(),
            "00:00:00.000 Warning File opened: opened /tmp/a\\x1b[31m\u{fffd} (pid=4711 \
             read=true cg=18446744073709551615 user=<NA>)"
        );
    }
}
