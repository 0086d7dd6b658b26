use std::cell::OnceCell;
use std::fs;
use std::thread;

use shrike_common::wire::Text;
use shrike_common::{
    CgroupId, CgroupMkdir, ContainerId, Event, Header, Heartbeat, Membership, Namespaces,
};
use shrike_rules::{Ruleset, Source, Stage};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::context::clock::Clock;
use crate::context::container::Containers;
use crate::context::names::Names;
use crate::context::process::{self, Processes};
use crate::context::runtime::tests::server::{Fake, Manner};
use crate::context::runtime::tests::{Host, until};
use crate::context::runtime::{Family, Key, Protocol, Scope};

const ACT: Event<'_> = Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 });

/// A dispatch, a host with Docker, and a container there.
struct Test {
    host: Host,
    docker: Arc<Fake>,
    directory: Directory,
    dispatch: Dispatch,
    alerts: Receiver<Arc<Alert>>,
    rules: Ruleset,
    containers: Containers,
    container: Container,
    header: Header,
}

impl Test {
    fn new() -> Self {
        let host = Host::new();
        let docker = Fake::docker(&host.socket(), Manner::Well);
        let directory = host.start(Protocol::Docker);
        until("connected", || directory.counters().connected(Family::Docker) == 1);
        let key = host.key(1);
        let slice = match key.scope {
            Scope::Host => "/system.slice".to_owned(),
            Scope::User(uid) => format!("/user@{uid}.service"),
        };
        let path = format!("{slice}/docker-{}.scope", key.id);
        let mut containers = Containers::default();
        let path = Text::new(path.as_bytes(), 0);
        let made = CgroupMkdir { made: CgroupId(7), hierarchy: 0, level: 1, path };
        let processes = Processes::default();
        containers.apply(&Header::default(), &Event::CgroupMkdir(made), &processes);
        let header = Header {
            container: ContainerId(1),
            cgroup: CgroupId(7),
            membership: Membership::Member as u32,
            ..Header::default()
        };
        containers.apply(&header, &ACT, &processes);
        let container = containers.of(&header, &ACT).unwrap().clone();
        assert_eq!(container.key, Some(key));
        let metrics = Arc::new(Metrics::new().unwrap());
        let (sinks, alerts) = Sinks::heard(&metrics);
        let dispatch = Dispatch::new(sinks, metrics, "node".to_owned());
        let rule = |name: &str| {
            format!(
                "- rule: {name}\n  desc: d\n  condition: evt.type = open\n  priority: {name}\n  \
                 output: in %container.name %container.privileged\n"
            )
        };
        let text = rule("CRITICAL") + &rule("NOTICE");
        let loaded = Ruleset::load(&[Source::new("rules.yaml", &text)]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let rules = loaded.ruleset;
        Self { host, docker, directory, dispatch, alerts, rules, containers, container, header }
    }

    fn key(&self) -> Key {
        self.container.key.unwrap()
    }

    fn raise(&mut self, priority: Priority) {
        let rule = self.rules.rules().iter().find(|rule| rule.priority() == priority).unwrap();
        let sight = Sight {
            number: 1,
            header: &self.header,
            event: &ACT,
            result: None,
            stage: Stage::Whole,
            processes: &Processes::default(),
            containers: &self.containers,
            runtimes: Some(&self.directory),
            details: OnceCell::new(),
            kin: crate::detect::Kin::default(),
            names: &Names::default(),
            host: &Namespaces::default(),
            inspection: None,
            clock: Clock::now().unwrap(),
        };
        self.dispatch.raise(rule, &sight);
    }

    /// The next alert, after as many turns as it takes.
    fn next(&mut self) -> Arc<Alert> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Ok(alert) = self.alerts.try_recv() {
                return alert;
            }
            assert!(Instant::now() < deadline);
            self.dispatch.go_on(Some(&self.directory));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has its runtime be asked, until it is too slow for an alert to wait for it.
    fn be_slow(&self) {
        *self.docker.manner.lock().unwrap() = Manner::Slow(Duration::from_millis(1500));
        until("slow", || self.want() == Want::Slow);
    }

    fn want(&self) -> Want {
        self.directory.want(self.container.runtime, self.key())
    }

    fn kill_runtime(&self) {
        self.docker.kill();
        until("gone", || self.directory.counters().connected(Family::Docker) == 0);
    }
}

#[test]
fn what_is_urgent_comes_again_when_a_slow_runtime_has_told() {
    let mut test = Test::new();
    test.docker.add(test.key().id, "web");
    test.be_slow();
    test.raise(Priority::Notice);
    test.raise(Priority::Critical);
    // Neither waits.
    let [late, first] = [(); 2].map(|()| test.alerts.try_recv().unwrap());
    assert_eq!((late.enriched, first.enriched), (Some(false), Some(false)));
    let again = test.next();
    assert_eq!((again.uuid, again.enriched), (first.uuid, Some(true)));
    assert_eq!(again.message, "in web <NA>");
    assert!(!test.dispatch.is_holding());
}

#[test]
fn what_is_urgent_comes_again_though_it_was_denied_before() {
    let mut test = Test::new();
    until("denied", || test.want() == Want::Absent);
    test.raise(Priority::Notice);
    test.raise(Priority::Critical);
    let [late, first] = [(); 2].map(|()| test.alerts.try_recv().unwrap());
    assert_eq!((late.enriched, first.enriched), (Some(false), Some(false)));
    test.dispatch.go_on(Some(&test.directory));
    // It is started at last.
    test.docker.add(test.key().id, "web");
    test.docker.tell("start", test.key().id);
    let again = test.next();
    assert_eq!((again.uuid, again.enriched), (first.uuid, Some(true)));
}

#[test]
fn nothing_is_waited_for_that_will_not_come() {
    let mut test = Test::new();
    *test.docker.manner.lock().unwrap() = Manner::HungAtContainers;
    test.raise(Priority::Notice);
    assert!(is_coming(Some(&test.directory), &test.container));
    test.kill_runtime();
    assert!(!is_coming(Some(&test.directory), &test.container));
    test.dispatch.go_on(Some(&test.directory));
    assert!(!test.dispatch.is_holding());
    assert_eq!(test.alerts.try_recv().unwrap().enriched, Some(false));
    // Who is not asked is not counted either.
    assert_eq!(test.directory.counters().unowned.value(), 0);
}

#[test]
fn those_that_are_out_take_no_place_of_those_that_wait() {
    let mut test = Test::new();
    test.be_slow();
    for _ in 0..=OF_CONTAINER {
        test.raise(Priority::Critical);
    }
    assert_eq!(test.dispatch.held.len(), OF_CONTAINER);
    assert!(test.dispatch.has_place(&test.container, false));
    assert!(!test.dispatch.has_place(&test.container, true));
    // None is kept back, so that nothing is to be looked at when the next comes.
    assert!(!test.dispatch.is_kept(&test.container));
}

/// Written down is less than what a runtime tells, if that is asked.
#[test]
fn what_is_written_down_counts_if_no_runtime_tells() {
    let mut test = Test::new();
    *test.docker.manner.lock().unwrap() = Manner::HungAtContainers;
    let id = test.key().id.to_string();
    let written = serde_json::json!([{ "id": id, "metadata": r#"{"name":"written"}"# }]);
    fs::write(test.host.path().join("containers.json"), written.to_string()).unwrap();
    let bundle = test.host.path().join(&id).join("userdata");
    let record = Arc::new(Record::new(test.key(), process::own().unwrap(), &bundle));
    test.directory.read(&record);
    until("read", || record.details().is_some());
    test.container.record = Some(record);
    let told = || settled(&test.directory, &test.container).map(|details| details.name.clone());
    assert_eq!(told(), None);
    test.kill_runtime();
    assert_eq!(told().as_deref(), Some("written"));
}
