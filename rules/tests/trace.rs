//! The trace of a condition, which tests of rules explain and count by, is of one mind with the
//! program that rules are matched by.

use proptest::prelude::*;
use shrike_rules::Source;
use shrike_rules::test::{Failure, Suite};

const MACROS: &str = "
- {macro: m0, condition: 'evt.type in (execve, openat) and not proc.name = a'}
- {macro: m1, condition: 'm0 or (fd.name exists and m0)'}
";

const CHECKS: [&str; 20] = [
    "evt.type = execve",
    "evt.type in (openat, connect)",
    "evt.type != openat",
    "evt.num >= 1",
    "proc.name = a",
    "proc.name in (a, b)",
    "proc.name startswith b",
    "proc.aname = b",
    "proc.aname[1] != a",
    "proc.args contains x",
    "proc.args[0] exists",
    "proc.name = val(proc.pname)",
    "len(proc.args) > 2",
    "toupper(proc.name) = A",
    "fd.name pmatch (/a)",
    "fd.ip != 10.0.0.1",
    "fd.net = 10.0.0.0/8",
    "proc.tty != 0",
    "m0",
    "m1",
];

fn condition() -> impl Strategy<Value = String> {
    let check = prop::sample::select(CHECKS.as_slice()).prop_map(str::to_owned);
    check.prop_recursive(4, 24, 4, |inner| {
        let operands = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            operands.clone().prop_map(|operands| format!("({})", operands.join(" and "))),
            operands.prop_map(|operands| format!("({})", operands.join(" or "))),
            inner.prop_map(|operand| format!("not ({operand})")),
        ]
    })
}

fn event() -> impl Strategy<Value = String> {
    let process = (
        prop::option::of(prop::sample::select(["[a]", "[a, b]", "[b, a, b]"].as_slice())),
        prop::option::of(prop::sample::select(["[]", "[x]", "[y, x]"].as_slice())),
        prop::option::of(0..2),
    );
    let own = prop_oneof![
        Just("evt.type: execve"),
        Just("evt.type: procexit"),
        Just("evt.type: openat"),
        Just("evt.type: openat, fd.name: /a/b"),
        Just("evt.type: connect, fd.rip: 10.0.0.1"),
        Just("evt.type: connect, fd.rip: 10.0.0.2, fd.lip: '::1'"),
    ];
    (own, process).prop_map(|(own, (names, arguments, tty))| {
        let mut event = own.to_owned();
        event.extend(names.map(|names| format!(", proc.aname: {names}")));
        event.extend(arguments.map(|arguments| format!(", proc.args: {arguments}")));
        event.extend(tty.map(|tty| format!(", proc.tty: {tty}")));
        format!("{{{event}}}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trace_and_program_agree(
        conditions in prop::collection::vec(condition(), 1..4),
        events in prop::collection::vec(event(), 1..8),
    ) {
        let mut text = MACROS.to_owned();
        for (index, condition) in conditions.iter().enumerate() {
            let keys = "desc: d, output: o, priority: info, warn_evttypes: false";
            let rule = format!("- {{rule: r{index}, {keys}, condition: \"{condition}\"}}\n");
            text.push_str(&rule);
        }
        text += "- tests:\n    - name: t\n      alerts: [r0]\n      events:\n";
        for event in &events {
            text.extend(["        - ", event, "\n"]);
        }
        let sources = [Source::new("f", &text)];
        let suite = Suite::load(&sources);
        prop_assert!(!suite.has_errors(), "{:?}", suite.diagnostics());
        let outcome = suite.run().judge(&suite.tests()[0]);
        for failure in &outcome.failures {
            match failure {
                Failure::Disagreement { .. } => prop_assert!(false, "{text}{outcome}"),
                // What does not match has something that keeps it from matching.
                Failure::Missing { because, .. } => prop_assert!(!because.is_empty(), "{text}"),
                _ => {}
            }
        }
    }
}
