//! Whatever is said of a rule is true of every event: what never matches matches none, and what is
//! shadowed is never the first.

mod support;

use proptest::prelude::*;
use shrike_rules::{FieldId, Kind, Matching, Options, Rule, Ruleset, Source};
use support::{Given, rule};

/// Conditions over few values of few fields, so that they often contradict themselves.
fn condition() -> impl Strategy<Value = String> {
    let check = prop_oneof![
        "proc\\.name (=|!=|startswith|endswith|contains|glob) (a|b|ab|'a\\*')",
        "proc\\.name in \\((a|b|ab)(, (a|b|ba))?\\)",
        "proc\\.name (=|!=) (allof|anyof|oneof) \\((a|b)(, (ab|b))?\\)",
        "proc\\.name in \\(\\)",
        "proc\\.name exists",
        "proc\\.aname(\\[1\\])? (=|!=) (a|b)",
        "proc\\.pid (=|!=|<|<=|>|>=) [0-3]",
        "proc\\.pid in \\([0-3], [0-3]\\)",
        "proc\\.is_exe_from_memfd = (true|false)",
        "fd\\.name (startswith|endswith|=) (/a|/ab|/)",
        "fd\\.name pmatch \\((/a|/ab)\\)",
        "fd\\.(filetype|name) exists",
        "fd\\.(sport|port) (=|!=|<) [0-3]",
        "evt\\.type (=|!=) (open|openat|connect|execve|accept)",
        "evt\\.type in \\((open|accept), (connect|openat)\\)",
        "evt\\.num (=|>=) 0",
        "tolower\\(proc\\.name\\) = (a|b)",
        "proc\\.name = val\\(proc\\.pname\\)",
    ];
    check.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4)
                .prop_map(|all| format!("({})", all.join(" and "))),
            proptest::collection::vec(inner.clone(), 2..4)
                .prop_map(|all| format!("({})", all.join(" or "))),
            inner.prop_map(|one| format!("not ({one})")),
        ]
    })
}

/// Events of three kinds, with or without each value that their kind can have.
fn event() -> impl Strategy<Value = Given> {
    let name = || proptest::option::of(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("ba")]);
    let number = || proptest::option::of(0_u32..4);
    let path = proptest::option::of(prop_oneof![Just("/a"), Just("/ab"), Just("/a/b"), Just("x")]);
    let ty = prop_oneof![
        Just((Kind::FileOpen, "open")),
        Just((Kind::FileOpen, "openat")),
        Just((Kind::Connect, "connect")),
        Just((Kind::Exec, "execve")),
    ];
    let memory = proptest::option::of(any::<bool>());
    (ty, name(), name(), name(), number(), number(), number(), path, memory).prop_map(
        |((kind, ty), name, parent, grandparent, pid, sport, port, path, memory)| {
            let has = |field: &str| {
                FieldId::by_name(field).is_some_and(|id| id.info().kinds.contains(kind))
            };
            let mut event = Given::new(kind).with("evt.type", ty).with("evt.num", 7_u32);
            for (field, text) in [
                ("proc.name", name),
                ("proc.pname", parent),
                ("proc.aname[1]", parent),
                ("proc.aname[2]", parent.and(grandparent)),
                ("fd.name", path.filter(|_| has("fd.name"))),
                ("fd.filetype", path.filter(|_| has("fd.filetype"))),
            ] {
                event = text.into_iter().fold(event, |event, text| event.with(field, text));
            }
            for (field, number) in
                [("proc.pid", pid), ("fd.sport", sport), ("fd.rport", port), ("fd.lport", sport)]
            {
                let number = number.filter(|_| field == "proc.pid" || has(field));
                event = number.into_iter().fold(event, |event, number| event.with(field, number));
            }
            memory.into_iter().fold(event, |event, is| event.with("proc.is_exe_from_memfd", is))
        },
    )
}

fn load(rules: &str, matching: Matching) -> (Ruleset, Vec<String>) {
    let options = Options { matching, ..Options::default() };
    let loaded = Ruleset::load_with(&[Source::new("f", rules)], &options);
    let own = loaded.diagnostics.iter().filter(|one| one.code.is_own());
    let codes =
        own.map(|one| format!("{} {}", one.code.name(), one.note.as_deref().unwrap_or_default()));
    let codes = codes.collect();
    (loaded.ruleset, codes)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_never_matches_matches_nothing(
        condition in condition(),
        events in proptest::collection::vec(event(), 32),
    ) {
        let (ruleset, warnings) = load(&rule("r", &condition), Matching::All);
        let never = ["LOAD_NEVER_MATCHES", "LOAD_NO_SENSOR", "never matches"];
        let is_never = warnings.iter().any(|one| never.iter().any(|never| one.contains(never)));
        let is_always = warnings.iter().any(|one| one.starts_with("LOAD_EVERY_EVENT"));
        for event in &events {
            let matches = ruleset.matches(event).next().is_some();
            prop_assert!(!(matches && is_never), "{condition}: {warnings:?}");
            prop_assert!(matches || !is_always, "{condition}: {warnings:?}");
        }
    }

    #[test]
    fn what_is_shadowed_is_never_first(
        first in condition(),
        more in condition(),
        events in proptest::collection::vec(event(), 32),
    ) {
        for second in [more.clone(), format!("{more} and {first}"), format!("({first}) and ({more})")] {
            let rules = rule("first", &first) + &rule("second", &second);
            let (ruleset, warnings) = load(&rules, Matching::First);
            if !warnings.iter().any(|one| one.starts_with("LOAD_SHADOWED_RULE")) {
                continue;
            }
            for event in &events {
                let name = ruleset.matches(event).next().map(Rule::name);
                prop_assert_ne!(name, Some("second"), "{} | {}", &first, &second);
            }
        }
    }
}
