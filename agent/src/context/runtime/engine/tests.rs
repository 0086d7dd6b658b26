use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::context::runtime::aside::Aside;
use crate::context::runtime::counters::Counters;
use crate::context::runtime::key::Scope;
use crate::context::runtime::place::Place;

const ID: &str = "4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e0123";

fn engine() -> Engine {
    let socket =
        Socket::new(Place::Host("/nowhere".into()), Scope::Host, Duration::ZERO, Aside::new());
    Engine { socket, family: Family::Docker, images: Mutex::default() }
}

fn details(value: Value) -> Details {
    let mut details = engine().details(serde_json::from_value(value).unwrap());
    details.add_digests(&["nginx@sha256:1".to_owned()]);
    details
}

#[test]
fn a_container_of_docker() {
    let found = details(json!({
        "Id": ID, "Created": "2026-11-30T10:00:00.123456789Z", "Name": "/web", "RestartCount": 2,
        "Image": "sha256:9", "State": {
            "Status": "running", "Running": true, "Pid": 42, "StartedAt": "2026-11-30T10:00:01Z" },
        "HostConfig": { "Privileged": true, "NetworkMode": "host", "PidMode": "", "IpcMode": "private" },
        "Mounts": [{ "Type": "bind", "Source": "/etc", "Destination": "/host/etc", "Mode": "ro",
            "RW": false, "Propagation": "rprivate" }],
        "Config": { "Image": "nginx:1", "Labels": { "a": "b" }, "Entrypoint": "not a list",
            "Healthcheck": { "Test": ["CMD-SHELL", "curl localhost"], "Interval": 1 } },
    }));
    let mut room = Room::new();
    let expected = Details {
        family: Family::Docker,
        name: "web".to_owned(),
        image: Image::new(&mut room, "nginx:1", &["nginx@sha256:1".to_owned()], "sha256:9"),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        mounts: vec![Mount {
            source: "/etc".to_owned(),
            destination: "/host/etc".to_owned(),
            mode: "ro".to_owned(),
            is_writable: false,
            propagation: "rprivate".to_owned(),
        }],
        privileged: Some(true),
        started: Some("2026-11-30T10:00:01Z".parse().unwrap()),
        restarts: 2,
        host: HostNamespaces { network: Some(true), pid: Some(false), ipc: Some(false) },
        pod: None,
        service_account: None,
        sandbox: None,
        is_sandbox: false,
        is_cut: false,
    };
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_there_is_not_known() {
    let null = json!({ "Name": null, "State": null, "HostConfig": null, "Mounts": null,
        "Config": { "Labels": null, "Healthcheck": null }, "Created": null, "RestartCount": null });
    for value in [json!({}), null, json!({ "State": { "StartedAt": "0001-01-01T00:00:00Z" } })] {
        let found = details(value);
        assert_eq!((found.started, found.privileged), (None, None));
        assert_eq!(found.host, HostNamespaces::default());
    }
}

#[test]
fn pods_are_known_by_labels() {
    let labels = json!({ "io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "n",
        "io.kubernetes.pod.uid": "u" });
    let pod = details(json!({ "Config": { "Labels": labels } })).pod.unwrap();
    assert_eq!((pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str()), ("p", "n", "u"));
}

#[test]
fn events_of_both_runtimes() {
    let (notices, mut receiver) = Notices::new(Arc::new(Counters::default()));
    let mut told = |line: String| {
        tell(&notices, line.as_bytes());
        receiver.try_recv().ok()
    };
    let id = Id::parse(ID.as_bytes()).unwrap();
    let event = |action| json!({ "Action": action, "Type": "container", "Actor": { "ID": ID } });
    assert_eq!(told(event("start").to_string()), Some(Notice::Changed(id)));
    for end in ["die", "died", "destroy", "remove"] {
        assert_eq!(told(event(end).to_string()), Some(Notice::Ended(id)));
    }
    for other in ["exec_start: /bin/sh -c 'true'", "health_status: healthy", "top"] {
        assert_eq!(told(event(other).to_string()), None);
    }
    for garbage in ["", "{}", "[]", "\u{0}", "{\"Action\":\"start\",\"Actor\":{\"ID\":\"x\"}}"] {
        assert_eq!(told(garbage.to_owned()), None);
    }
}
