//! Tests of rules: how they are written, what is told of mistakes in them, and what comes of them.
#![allow(clippy::panic, reason = "a test may panic anywhere")]

mod support;

use shrike_rules::test::{Coverage, Failure, Outcome, Suite};
use shrike_rules::{Ruleset, Severity, Source};

const RULES: &str = "
- list: shells
  items: [bash, sh]

- macro: spawned
  condition: evt.type in (execve, execveat)

- macro: container
  condition: (container.id != host)

- rule: Shell
  desc: d
  condition: spawned and container and proc.name in (shells) and not proc.pname = trusted
  output: shell %proc.cmdline in %container.id
  priority: NOTICE

- rule: Open
  desc: d
  condition: >
    evt.type in (open, openat) and
    (fd.name startswith /etc or fd.filename = id_rsa)
  output: opened %fd.name
  priority: NOTICE

- rule: Sleeping
  desc: d
  condition: evt.type = execve and proc.name = sleep
  output: o
  priority: NOTICE
  enabled: false
";

/// The rules with these tests, each a flow mapping or a block of its own.
fn with(tests: &str) -> String {
    format!("{RULES}\n- tests:\n{tests}")
}

fn outcomes(tests: &str) -> Vec<Outcome> {
    let text = with(tests);
    let sources = [Source::new("rules.yaml", &text)];
    let suite = Suite::load(&sources);
    assert_eq!(suite.diagnostics(), [], "{tests}");
    let mut run = suite.run();
    suite.tests().iter().map(|test| run.judge(test)).collect()
}

/// What comes of one test, as text.
fn outcome(test: &str) -> String {
    let outcomes = outcomes(&format!("    - {{name: t, {test}}}\n"));
    assert_eq!(outcomes.len(), 1, "{test}");
    outcomes[0].to_string()
}

/// What comes of one test without its head.
fn failure(test: &str) -> String {
    let outcome = outcome(test);
    let (head, failure) = outcome.split_once('\n').unwrap_or((&outcome, ""));
    assert!(head.starts_with("failed: t  (rules.yaml:3"), "{outcome}");
    failure.to_owned()
}

fn passes(test: &str) {
    let outcome = outcome(test);
    assert!(outcome.starts_with("passed: t"), "{outcome}");
}

const SHELL: &str =
    "{evt.type: execve, proc.aname: [sh, runc], proc.args: [-c, id], container.id: ab}";

#[test]
fn what_is_expected_passes() {
    passes(&format!("event: {SHELL}, alerts: [Shell]"));
    passes(&format!("event: {SHELL}, alerts: Shell"));
    passes(&format!("event: {SHELL}, rules: [Shell, Open], alerts: [Shell]"));
    passes(&format!("event: {SHELL}, output: {{Shell: shell sh -c id in ab}}"));
    passes(&format!("event: {SHELL}, output: {{Shell: [sh -c, in ab]}}"));
    passes(&format!("event: {SHELL}, not: [Open, Sleeping]"));
    passes(&format!("event: {SHELL}, rule: Open, alerts: []"));
    passes("event: {evt.type: execve, proc.name: sh, container.id: host}, alerts: []");
    passes("event: {evt.type: execve, proc.name: sh}, alerts: []");
}

#[test]
fn an_unexpected_alert_is_told_with_its_message() {
    let told = "  \"Shell\" was raised: shell sh -c id in ab";
    for expected in ["alerts: []", "not: [Shell]", "not: Shell", "alerts: [], not: [Shell]"] {
        assert_eq!(failure(&format!("event: {SHELL}, {expected}")), told, "{expected}");
    }
    // Others may be raised beside those that are asked for.
    passes(&format!("event: {SHELL}, alerts: [], not: [Open]"));
    passes(&format!("event: {SHELL}, rule: Open, alerts: [], not: [Open]"));
}

#[test]
fn an_alert_that_does_not_come_is_explained_by_what_decides() {
    let told =
        failure("event: {evt.type: execve, proc.name: zsh, container.id: ab}, alerts: Shell");
    assert_eq!(
        told,
        "  \"Shell\" was not raised\n    \
         proc.name in (shells): proc.name is \"zsh\"  (rules.yaml:13:40)"
    );
    let told = failure(
        "event: {evt.type: openat, fd.name: /x, proc.name: sh}, rule: Shell, alerts: Shell",
    );
    assert_eq!(
        told,
        "  \"Shell\" was not raised\n    \
         spawned does not hold  (rules.yaml:13:14)\n      \
         evt.type in (execve, execveat): evt.type is \"openat\"  (rules.yaml:6:14)\n    \
         container does not hold  (rules.yaml:13:26)\n      \
         container.id != host: the event has no container.id  (rules.yaml:9:15)"
    );
}

#[test]
fn negations_and_alternatives_are_explained() {
    let event = "{evt.type: execve, proc.aname: [sh, trusted], container.id: ab}";
    assert_eq!(
        failure(&format!("event: {event}, alerts: Shell")),
        "  \"Shell\" was not raised\n    \
         not proc.pname = trusted: proc.pname is \"trusted\"  (rules.yaml:13:70)"
    );
    assert_eq!(
        failure("event: {evt.type: openat, fd.name: /root/x}, alerts: Open"),
        "  \"Open\" was not raised\n    \
         one of 2 must hold, and none does  (rules.yaml:21:6)\n      \
         fd.name startswith /etc: fd.name is \"/root/x\"  (rules.yaml:21:6)\n      \
         fd.filename = id_rsa: fd.filename is \"x\"  (rules.yaml:21:33)"
    );
}

#[test]
fn what_belongs_together_is_told_together() {
    let rules = "
- rule: r
  desc: d
  condition: >
    evt.type = execve and (proc.name = a and proc.pname = b or proc.name = c) and
    not (proc.tty = 0 and user.uid = 0) and not (group.gid = 0 or user.euid = 1 or user.euid = 0)
  output: o
  priority: info
- tests:
    - name: t
      event: {evt.type: execve, proc.aname: [d, e], proc.tty: 0, user.uid: 0, user.euid: 0, group.gid: 0}
      alerts: [r]
";
    let sources = [Source::new("f", rules)];
    let suite = Suite::load(&sources);
    assert_eq!(
        suite.run().judge(&suite.tests()[0]).to_string(),
        "failed: t  (f:10:13)\n  \"r\" was not raised\n    \
         one of 2 must hold, and none does  (f:5:28)\n      \
         all of 2 must hold  (f:5:28)\n        \
         proc.name = a: proc.name is \"d\"  (f:5:28)\n        \
         proc.pname = b: proc.pname is \"e\"  (f:5:46)\n      \
         proc.name = c: proc.name is \"d\"  (f:5:64)\n    \
         one of 2 must not hold, and all do  (f:6:10)\n      \
         not proc.tty = 0: proc.tty is 0  (f:6:10)\n      \
         not user.uid = 0: user.uid is 0  (f:6:27)\n    \
         not group.gid = 0: group.gid is 0  (f:6:50)\n    \
         not user.euid = 0: user.euid is 0  (f:6:84)"
    );
}

#[test]
fn of_several_events_the_nearest_is_explained() {
    let events =
        "[{evt.type: connect}, {evt.type: open, fd.name: /x}, {evt.type: execve, proc.name: a}]";
    let told = failure(&format!("events: {events}, alerts: [Open]"));
    assert!(told.starts_with("  \"Open\" was not raised; event 2 of 3 came nearest\n"), "{told}");
    let told = failure(
        "events: [{evt.type: open, fd.name: /x}, {evt.type: open, fd.name: /etc/a}], alerts: []",
    );
    assert_eq!(told, "  \"Open\" was raised by event 2 of 2: opened /etc/a");
    passes(&format!(
        "events: [{{evt.type: open, fd.name: /etc/a}}, {SHELL}], alerts: [Shell, Open]"
    ));
}

#[test]
fn of_events_that_are_as_near_the_first_is_explained() {
    let events = "[{evt.type: connect}, {evt.type: execve, container.id: ab}, {evt.type: execve, \
                  container.id: ab, proc.name: zsh}]";
    let told = failure(&format!("events: {events}, rule: Shell, alerts: [Shell]"));
    assert!(told.contains("event 2 of 3 came nearest"), "{told}");
}

#[test]
fn a_rule_that_is_judged_in_two_ways_is_told_of() {
    let rules = with("    - {name: t, recording: r.rec, rule: Sleeping, alerts: []}\n");
    let sources = [Source::new("rules.yaml", &rules)];
    let suite = Suite::load(&sources);
    let mut run = suite.run();
    let mut trial = run.trial(&suite.tests()[0]);
    // No event is like that: rules are sorted by kind, so this one is not looked for.
    let odd = support::Given::new(shrike_rules::Kind::FileOpen)
        .with("evt.type", "execve")
        .with("proc.name", "sleep");
    trial.see(&odd);
    let expected = Failure::Disagreement { rule: "Sleeping".to_owned(), event: 1 };
    assert_eq!(trial.end().failures, [expected]);
}

#[test]
fn a_message_that_differs_is_shown() {
    assert_eq!(
        failure(&format!("event: {SHELL}, output: {{Shell: shell}}")),
        "  \"Shell\" has another message:\n    expected: shell\n    \
         found:    shell sh -c id in ab"
    );
    let told = failure(&format!("event: {SHELL}, output: {{Shell: [sh -c, in cd]}}"));
    assert!(told.contains("expected: in cd\n") && !told.contains("expected: sh -c"), "{told}");
    let told = failure("event: {evt.type: connect}, output: {Shell: [sh]}");
    assert!(told.starts_with("  \"Shell\" was not raised"), "{told}");
}

#[test]
fn a_disabled_rule_is_judged_if_it_is_named() {
    let event = "event: {evt.type: execve, proc.name: sleep}";
    passes(&format!("{event}, alerts: []"));
    passes(&format!("{event}, alerts: [Sleeping]"));
    assert_eq!(
        failure(&format!("{event}, rule: Sleeping, alerts: []")),
        "  \"Sleeping\" was raised: o"
    );
}

#[test]
fn no_rule_is_in_the_shadow_of_another() {
    let rules = "
- {rule: r1, desc: d, condition: evt.type = execve, output: o, priority: info}
- {rule: r2, desc: d, condition: evt.type = execve, output: o, priority: info}
- tests: [{name: t, event: {evt.type: execve}, alerts: [r1, r2]}]
";
    let sources = [Source::new("f", rules)];
    let suite = Suite::load(&sources);
    assert!(suite.run().judge(&suite.tests()[0]).passed());
}

#[test]
fn events_take_the_values_of_others() {
    let found = outcomes(&format!(
        "    - name: a\n      event: &shell {SHELL}\n      alerts: [Shell]\n    \
         - name: b\n      event: {{<<: *shell, container.id: host}}\n      alerts: []\n    \
         - name: c\n      event: {{<<: *shell, proc.name: null, proc.aname: null}}\n      alerts: []\n"
    ));
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(Outcome::passed), "{found:?}");
}

/// The first thing that is told of a test with these keys.
fn complaint(test: &str) -> String {
    let rules = with(&format!("    - {{name: t, {test}}}\n"));
    let sources = [Source::new("rules.yaml", &rules)];
    let suite = Suite::load(&sources);
    suite.diagnostics().first().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn mistakes_are_shown_at_their_place() {
    assert_eq!(
        complaint("event: {evt.type: execve, proc.nmae: sh}, alerts: []"),
        "error[LOAD_ERR_VALIDATE]: nonexistent field proc.nmae\n  \
         --> rules.yaml:33:43\n   |\n\
         33 |     - {name: t, event: {evt.type: execve, proc.nmae: sh}, alerts: []}\n   |\
         \u{20}                                          ^^^^^^^^^\n   \
         help: did you mean proc.name?"
    );
}

#[test]
fn every_mistake_is_told_with_what_to_do() {
    for (test, message, hint) in [
        ("event: {evt.type: execve}", "the test expects nothing", "alerts: []"),
        ("alerts: []", "the test has no event", "give it one"),
        ("events: [], alerts: []", "the test has no event", ""),
        ("event: {proc.name: sh}, alerts: []", "the event has no evt.type", "evt.type: execve"),
        ("event: {evt.type: exceve}, alerts: []", "unknown event type exceve", "mean execve?"),
        ("event: {evt.type: accept}, alerts: []", "no probe sees events of the type accept", ""),
        ("event: {evt.type: execve}, alerts: [Shel]", "nonexistent rule 'Shel'", "mean Shell?"),
        ("event: {evt.type: execve}, rule: Shel, alerts: []", "nonexistent rule", "mean Shell?"),
        ("event: {evt.type: execve}, not: [Shel]", "nonexistent rule 'Shel'", "mean Shell?"),
        ("event: {evt.type: execve}, output: {Shel: x}", "nonexistent rule", "mean Shell?"),
        (
            "event: {evt.type: execve, fd.name: /x}, alerts: []",
            "kind exec cannot have fd.name",
            "file_open",
        ),
        (
            "event: {evt.type: execve, proc.tty: x}, alerts: []",
            "x is not a valid number for proc.tty",
            "decimal",
        ),
        (
            "event: {evt.type: openat, evt.is_open_read: 1}, alerts: []",
            "valid bool",
            "true or false",
        ),
        (
            "event: {evt.type: connect, fd.rip: 10.0.0}, alerts: []",
            "valid IP address for fd.rip",
            "10.0.0.1",
        ),
        ("event: {evt.type: connect, fd.rport: 65536}, alerts: []", "valid port", "65535"),
        (
            "event: {evt.type: connect, fd.ip: 10.0.0.1}, alerts: []",
            "fd.ip has its values from",
            "fd.rip or fd.lip",
        ),
        ("event: {evt.type: connect, fd.snet: 10.0.0.1}, alerts: []", "from fd.sip", "fd.sip"),
        (
            "event: {evt.type: execve, proc.aname: sh}, alerts: []",
            "written as a list",
            "its parent",
        ),
        (
            "event: {evt.type: execve, container.label: x}, alerts: []",
            "written as a mapping",
            "{app: web}",
        ),
        (
            "event: {evt.type: execve, 'proc.aname[x]': sh}, alerts: []",
            "must be a number from 0",
            "",
        ),
        ("event: {evt.type: execve, 'proc.name[1]': sh}, alerts: []", "takes no argument", ""),
        ("event: {evt.type: execve, proc.name: [sh]}, alerts: []", "has a single value", ""),
        ("event: {evt.type: execve}, events: [], alerts: []", "cannot be used together", ""),
        (
            "rule: Shell, rules: [Open], event: {evt.type: execve}, alerts: []",
            "'rule' and 'rules'",
            "",
        ),
        (
            "rules: [], event: {evt.type: execve}, alerts: []",
            "about no rule at all",
            "leave 'rules' out",
        ),
        ("event: {evt.type: execve}, alerts: ", "'alerts' has no value", "alerts: []"),
        ("event: [], alerts: []", "Value is not a mapping", ""),
    ] {
        let told = complaint(test);
        assert!(told.starts_with("error[") && told.contains(message), "{test}:\n{told}");
        assert!(told.contains(hint), "{test}:\n{told}");
    }
    for (tests, message) in [
        ("    - {event: {evt.type: execve}, alerts: []}\n", "no mapping for key 'name'"),
        ("    - {name: t, evnt: {evt.type: execve}, alerts: []}\n", "did you mean event?"),
        ("    {name: t}\n", "Value is not a sequence"),
    ] {
        let text = with(tests);
        let sources = [Source::new("rules.yaml", &text)];
        let suite = Suite::load(&sources);
        let told: String = suite.diagnostics().iter().map(ToString::to_string).collect();
        assert!(told.contains(message), "{told}");
        assert!(suite.tests().is_empty());
    }
}

#[test]
fn all_mistakes_of_a_test_are_told() {
    let text = with(
        "    - {name: t, event: {evt.type: execve, proc.nmae: sh, proc.tty: x}, alerts: [a], not: [b]}\n",
    );
    let sources = [Source::new("rules.yaml", &text)];
    // Names of rules are looked at once the rest is in order.
    assert_eq!(Suite::load(&sources).diagnostics().len(), 2);
    let text = with("    - {name: t, event: {evt.type: execve}, alerts: [a], not: [b]}\n");
    let sources = [Source::new("rules.yaml", &text)];
    assert_eq!(Suite::load(&sources).diagnostics().len(), 2);
}

#[test]
fn a_test_of_a_rule_that_is_not_loaded_is_an_error() {
    let text = "
- {rule: r, desc: d, condition: evt.type = execve and proc.nmae = x, output: o, priority: info}
- tests: [{name: t, event: {evt.type: execve}, alerts: [r]}]
";
    let sources = [Source::new("f", text)];
    let suite = Suite::load(&sources);
    let messages: Vec<_> = suite.diagnostics().iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["nonexistent field proc.nmae", "rule 'r' is not loaded"]);
    assert!(suite.has_errors() && suite.tests().is_empty());
}

#[test]
fn whoever_only_loads_rules_does_not_look_at_tests() {
    let text = with("    - {name: t, event: nonsense}\n");
    let loaded = Ruleset::load(&[Source::new("rules.yaml", &text)]);
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(loaded.ruleset.rules().len(), 3);
    let sources = [Source::new("rules.yaml", &text)];
    let suite = Suite::load(&sources);
    assert!(suite.diagnostics().iter().all(|d| d.severity == Severity::Error));
    assert!(suite.has_errors());
}

fn coverage(tests: &str, pattern: Option<&str>) -> Coverage {
    let text = with(tests);
    let sources = [Source::new("rules.yaml", &text)];
    let suite = Suite::load(&sources);
    assert_eq!(suite.diagnostics(), []);
    let mut run = suite.run();
    for test in suite.tests() {
        let outcome = run.judge(test);
        assert!(outcome.passed(), "{outcome}");
    }
    run.coverage(pattern)
}

/// Each condition with whether it was true and false.
fn conditions(coverage: &Coverage) -> Vec<(&str, bool, bool)> {
    let conditions = coverage.conditions.iter();
    conditions.map(|c| (c.condition.as_str(), c.was_true, c.was_false)).collect()
}

#[test]
fn only_what_has_a_say_is_covered() {
    let found =
        coverage(&format!("    - {{name: t, event: {SHELL}, alerts: [Shell]}}\n"), Some("shell"));
    assert_eq!(
        conditions(&found),
        [
            ("evt.type in (execve, execveat)", true, false),
            ("container.id != host", true, false),
            ("spawned", true, false),
            ("container", true, false),
            ("proc.name in (shells)", true, false),
            ("proc.pname = trusted", false, true),
        ]
    );
    assert_eq!((found.rules_matched(), found.rules.len(), found.percent()), (1, 1, 0));
    let other =
        "    - {name: t, event: {evt.type: openat, fd.name: /etc/x}, rule: Open, alerts: [Open]}\n";
    let found = coverage(other, Some("[!s]*"));
    // What stands behind the alternative that holds has no say.
    let expected = [
        ("evt.type in (open, openat)", true, false),
        ("fd.name startswith /etc", true, false),
        ("fd.filename = id_rsa", false, false),
    ];
    assert_eq!(conditions(&found), expected);
}

#[test]
fn what_was_true_and_false_counts() {
    let tests = format!(
        "    - {{name: a, event: {SHELL}, alerts: [Shell]}}\n    \
         - {{name: b, rule: Shell, event: {{evt.type: execve, container.id: host}}, alerts: []}}\n"
    );
    let found = coverage(&tests, None);
    let covered: Vec<_> =
        found.conditions.iter().filter(|c| c.is_covered()).map(|c| c.condition.as_str()).collect();
    assert_eq!(covered, ["container.id != host", "container"]);
    assert_eq!((found.conditions_covered(), found.conditions.len(), found.percent()), (2, 11, 18));
    let rules: Vec<_> =
        found.rules.iter().map(|r| (r.rule.as_str(), r.matched, r.unmatched, r.line)).collect();
    assert_eq!(rules, [("Shell", 1, 1, 11), ("Open", 0, 0, 17), ("Sleeping", 0, 0, 25)]);
}

#[test]
fn fields_by_index_and_name_have_their_parts() {
    let rules = "
- rule: r
  desc: d
  condition: >
    evt.type = execve and proc.args[1] = id and proc.args = '-c id' and proc.aname = init and
    proc.aname[2] = init and container.label[app] = web and container.labels = 'app:web,b:c' and
    proc.env[LD_PRELOAD] = /x.so and proc.env = 'LD_PRELOAD=/x.so A=b' and evt.num = 1
  output: o
  priority: info
- tests:
    - name: t
      event:
        evt.type: execve
        proc.args: [-c, id]
        proc.aname: [sh, sshd, init]
        container.label: {app: web, b: c}
        proc.env: {LD_PRELOAD: /x.so, A: b}
      alerts: [r]
    - name: by argument
      event:
        evt.type: execve
        proc.args: -c id
        proc.args[1]: id
        proc.aname[1]: sshd
        proc.aname[2]: init
        container.label[app]: web
        container.labels: app:web,b:c
        proc.env[LD_PRELOAD]: /x.so
        proc.env: LD_PRELOAD=/x.so A=b
      alerts: [r]
";
    let sources = [Source::new("f", rules)];
    let suite = Suite::load(&sources);
    assert_eq!(suite.diagnostics(), []);
    let mut run = suite.run();
    for test in suite.tests() {
        let outcome = run.judge(test);
        assert!(outcome.passed(), "{outcome}");
    }
}

#[test]
fn values_are_explained_in_their_own_form() {
    let rules = "
- rule: r
  desc: d
  condition: >
    evt.type = connect and fd.ip = 10.0.0.9 and fd.rport = https and proc.aname = init and
    proc.aname[2] = init and tolower(proc.name) = sh and proc.name = val(proc.pname) and
    len(proc.cmdline) > 1 and fd.is_server = true
  output: o
  priority: info
- tests:
    - name: t
      event: {evt.type: connect, fd.rip: 10.0.0.1, fd.lip: 10.0.0.2, fd.rport: http, proc.aname: [A, b]}
      alerts: [r]
";
    let sources = [Source::new("f", rules)];
    let suite = Suite::load(&sources);
    let outcome = suite.run().judge(&suite.tests()[0]);
    let [Failure::Missing { because, .. }] = &outcome.failures[..] else { panic!("{outcome}") };
    let found: Vec<_> = because.iter().filter_map(|reason| reason.found.as_deref()).collect();
    assert_eq!(
        found,
        [
            "fd.ip is 10.0.0.1, 10.0.0.2",
            "fd.rport is 80",
            "proc.aname is \"b\"",
            "the event has no proc.aname[2]",
            "it makes \"a\"",
            "proc.name is \"A\", compared with \"b\"",
            "it makes nothing: a value is missing",
            "fd.is_server is false",
        ]
    );
}

#[test]
fn a_recording_is_for_whoever_can_read_it() {
    let rules = with("    - {name: t, recording: shell.rec, alerts: [Shell]}\n");
    let sources = [Source::new("rules.yaml", &rules)];
    let suite = Suite::load(&sources);
    assert_eq!(suite.diagnostics(), []);
    let test = &suite.tests()[0];
    assert_eq!((test.recording(), test.file()), (Some("shell.rec"), "rules.yaml"));
    let mut run = suite.run();
    assert_eq!(run.judge(test).failures, [Failure::NoEvent]);
    let mut trial = run.trial(test);
    let event = support::Given::new(shrike_rules::Kind::Exec)
        .with("evt.type", "execve")
        .with("proc.name", "sh")
        .with("container.id", "ab");
    trial.see(&event);
    assert!(trial.end().passed());
    assert!(suite.is_about(test, "SH*l") && !suite.is_about(test, "Open"));
}

#[test]
fn hostile_tests_end() {
    let mut tests = "    - {name: t, event: &e0 {evt.type: execve}, alerts: []}\n".to_owned();
    for n in 1..40 {
        let base = n - 1;
        let test = format!("    - {{name: t{n}, event: &e{n} {{<<: *e{base}}}, alerts: []}}\n");
        tests.push_str(&test);
    }
    let text = with(&tests);
    let sources = [Source::new("rules.yaml", &text)];
    let suite = Suite::load(&sources);
    assert!(suite.diagnostics()[0].message.contains("more than 16 events"));
    for text in [
        "- tests: &a [*a]\n",
        "- tests: {a: b}\n",
        "- tests: [{name: t, event: &a {<<: *a, evt.type: open}, alerts: []}]\n",
        "- tests: [{name: t, event: {[a]: b, evt.type: open}, alerts: []}]\n",
        "- tests: [[[]], null, 1]\n",
        "tests: x\n",
    ] {
        let sources = [Source::new("f", text)];
        assert!(Suite::load(&sources).has_errors(), "{text}");
    }
}

#[test]
fn what_the_documentation_shows_works() {
    let document = include_str!("../../docs/rule-tests.md");
    let block = document.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let rules = block.unwrap();
    let sources = [Source::new("rules.yaml", rules)];
    let suite = Suite::load(&sources);
    assert_eq!((suite.diagnostics(), suite.tests().len()), (&[][..], 3));
    let mut run = suite.run();
    for test in suite.tests() {
        let outcome = run.judge(test);
        assert!(outcome.passed(), "{outcome}");
    }
    let wrong = rules
        .replace("raises none", "raises it as well")
        .replace("alerts: []", "alerts: [Shell in container]");
    let sources = [Source::new("rules.yaml", &wrong)];
    let suite = Suite::load(&sources);
    let mut run = suite.run();
    let outcomes: Vec<_> = suite.tests().iter().map(|test| run.judge(test)).collect();
    assert!(document.contains(&outcomes[2].to_string()), "{}", outcomes[2]);
    let coverage = run.coverage(None);
    assert_eq!((coverage.conditions_covered(), coverage.conditions.len()), (2, 4));
    let wrong = rules.replace("container.id: host}", "proc.nmae: zsh}");
    let sources = [Source::new("rules.yaml", &wrong)];
    let told = Suite::load(&sources).diagnostics()[0].to_string();
    assert!(document.contains(&told), "{told}");
}
