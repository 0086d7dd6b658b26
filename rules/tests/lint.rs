//! Warnings of rules that are well-formed and cannot be meant as they are, and silence about all
//! others.

mod support;

use std::path::{Path, PathBuf};

use shrike_rules::diagnose::Code;
use shrike_rules::{Diagnostic, Loaded, Matching, Options, Ruleset, Severity, Source};
use support::{load, rule};

/// The warnings of our own about a rule with this condition.
fn found(condition: &str) -> Vec<(&'static str, String)> {
    own(&load(&rule("r", condition)))
}

fn own(loaded: &Loaded) -> Vec<(&'static str, String)> {
    assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
    let own = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.code.is_own());
    own.map(|diagnostic| (diagnostic.code.name(), diagnostic.message.clone())).collect()
}

fn codes(found: &[(&'static str, String)]) -> Vec<&'static str> {
    found.iter().map(|(code, _)| *code).collect()
}

#[test]
fn contradictions_are_found() {
    for condition in [
        "proc.name = a and proc.name = b",
        "evt.type = open and evt.type = connect",
        "evt.type = open and evt.type = openat",
        "evt.type in (open, openat) and not evt.type startswith open",
        "proc.name in (a, b) and proc.name in (c, d)",
        "proc.name in (a, b) and not proc.name in (b, a, c)",
        "proc.name = a and proc.name != a",
        "proc.name = a and not proc.name = a",
        "not proc.name = a and proc.name = a",
        "(proc.name = a or proc.pid = 1) and not (proc.pid = 1 or proc.name = a)",
        "proc.pid > 5 and proc.pid < 5",
        "proc.pid > 5 and proc.pid < 7 and proc.pid != 6",
        "proc.pid >= 5 and not proc.pid > 3",
        "proc.pid = 5 and proc.pid > 5",
        "proc.pid in (1, 2) and proc.pid > 2",
        "evt.type = openat and fd.name startswith /etc and fd.name = /bin/sh",
        "evt.type = openat and fd.name startswith /etc and fd.name startswith /bin",
        "evt.type = openat and fd.name startswith /etc and not fd.name startswith /e",
        "evt.type = openat and fd.name endswith .so and fd.name endswith .a",
        "evt.type = openat and fd.name startswith /etc/ssh and not fd.name contains etc",
        "evt.type = openat and fd.name pmatch (/etc) and fd.name = /bin/sh",
        "proc.name glob 'a*' and proc.name = b",
        "proc.name regex '[0-9]+' and proc.name in (a, b)",
        "proc.is_exe_from_memfd = true and proc.is_exe_from_memfd = false",
        "proc.is_exe_from_memfd = true and not proc.is_exe_from_memfd exists",
        "proc.name in ()",
        "proc.name = a and (proc.name = b or proc.name = c)",
        "proc.name = a and (proc.pid = 1 or proc.pid = 2) and not (proc.name = a and proc.name != b)",
        "(proc.name = a and proc.name = b) or (proc.pid = 1 and proc.pid = 2)",
        "proc.aname[2] = a and proc.aname[2] = b",
        "proc.name = anyof (a, b) and proc.name = c",
        "tolower(proc.name) = a and not tolower(proc.name) = a",
        "evt.type = connect and fd.sip = 1.2.3.4 and fd.sip = 5.6.7.8",
    ] {
        assert_eq!(codes(&found(condition)), ["LOAD_NEVER_MATCHES"], "{condition}");
    }
}

#[test]
fn what_can_hold_is_not_warned_of() {
    for condition in [
        "evt.type = execve and proc.name = a and proc.pname = b",
        "evt.type = execve and (proc.name = a or proc.name = b)",
        "evt.type = execve and proc.name in (a, b) and proc.name in (b, c)",
        "evt.type = execve and not proc.name = a and not proc.name = b",
        "evt.type = execve and proc.name != a and proc.name != b",
        // Of several ancestors each can be another.
        "evt.type = execve and proc.aname = a and proc.aname = b",
        "evt.type = execve and proc.aname[1] = a and proc.aname[2] = b",
        "evt.type = execve and proc.env[A] = a and proc.env[B] = b",
        // Of both ends of a connection each can be another.
        "evt.type = connect and fd.ip = 1.2.3.4 and fd.ip = 5.6.7.8",
        "evt.type = connect and fd.port = 1 and fd.port = 2",
        "evt.type = execve and proc.pid > 5 and proc.pid < 7",
        "evt.type = execve and not proc.pid > 5 and not proc.pid <= 5",
        "evt.type = execve and not proc.is_exe_from_memfd = true and not proc.is_exe_from_memfd = false",
        "evt.type = openat and fd.name startswith /etc and fd.name startswith /etc/ssh",
        "evt.type = openat and fd.name startswith /etc and fd.name endswith /etc",
        "evt.type = openat and fd.name startswith /etc and not fd.name startswith /etc/ssh",
        "evt.type = openat and fd.name glob '/e*' and fd.name startswith /etc",
        "evt.type = execve and proc.name = val(proc.pname) and proc.name = a",
        "evt.type = execve and not proc.name in ()",
        "evt.type = execve and (proc.name in () or proc.pid = 1)",
        "evt.type = execve and not (proc.name = a and proc.name = b)",
        "evt.type = execve and proc.name = oneof (a, b) and proc.name = a",
        // The idioms for never and always.
        "evt.num = 0",
        "evt.type = execve and evt.num = 0",
        "evt.type = execve and not evt.num = 0",
        "evt.type = execve and evt.num >= 0",
        "(evt.num = 0) or (proc.name = a and proc.name = b)",
        // The event names of one branch do not matter in the other.
        "(evt.type = openat and fd.filetype = block) or (evt.type = connect and fd.sport = 1)",
        "evt.type in (openat, connect) and (fd.filetype = block or fd.sport = 1)",
        "evt.type in (openat, connect) and fd.filetype = block",
        "evt.type in (openat, accept) and fd.name = /x",
        "fd.filetype = block and not evt.type = connect",
        // One name of two of the same kind.
        "evt.type in (open, openat) and not evt.type = open",
    ] {
        assert_eq!(found(condition), [], "{condition}");
    }
}

#[test]
fn a_disabled_rule_is_not_judged() {
    let disabled = |condition: &str| {
        load(&format!(
            "- {{rule: r, desc: d, priority: info, output: o, enabled: false, condition: '{condition}'}}\n"
        ))
    };
    for condition in [
        "evt.type = open and evt.type = connect",
        "evt.type = accept",
        "evt.type = connect and fd.filetype = a",
    ] {
        assert_eq!(own(&disabled(condition)), [], "{condition}");
    }
}

#[test]
fn events_that_no_sensor_emits_are_named() {
    let message = "no sensor of shrike emits accept, accept4: the rule is loaded and never matches";
    let expected = [("LOAD_NO_SENSOR", message.to_owned())];
    assert_eq!(found("evt.type in (accept, accept4) and proc.name = a"), expected);
    assert_eq!(found("evt.type in (accept, openat) and proc.name = a"), []);
}

#[test]
fn a_field_that_the_events_do_not_have_is_pointed_at() {
    let expected = "\
warning[LOAD_FIELD_NEVER_SET]: no connect event has fd.filetype: the check never holds
 --> rules.yaml:6:9
  |
6 |     and fd.filetype = block
  |         ^^^^^^^^^^^^^^^^^^^
  note: rule 'r' never matches; fd.filetype is known of open, mknod, mmap_exec or file_create
";
    let yaml = "- rule: r\n  desc: d\n  priority: info\n  output: o\n  condition: evt.type = connect\n    and fd.filetype = block\n";
    assert_eq!(support::rendered(yaml), expected);

    let negated = found("evt.type = connect and not fd.filetype = block");
    let message =
        "no connect event has fd.filetype: the check never holds, and its negation always does";
    assert_eq!(negated, [("LOAD_FIELD_NEVER_SET", message.to_owned())]);

    let in_branch =
        found("evt.type in (openat, connect) and (evt.type = openat or fd.filetype = block)");
    assert_eq!(in_branch, []);
    let in_branch = found(
        "(evt.type = connect and (proc.name = a or fd.filetype = block)) or evt.type = openat",
    );
    assert_eq!(codes(&in_branch), ["LOAD_FIELD_NEVER_SET"]);
}

#[test]
fn what_stands_behind_a_check_counts_as_well() {
    for condition in [
        "fd.filetype = block and evt.type = connect",
        "(fd.filetype = block or proc.name = a) and evt.type = connect",
        "not (fd.filetype = block and proc.name = a) and not evt.type != connect",
    ] {
        assert_eq!(codes(&found(condition)), ["LOAD_FIELD_NEVER_SET"], "{condition}");
    }
}

#[test]
fn fields_that_exclude_each_other_make_a_rule_that_never_matches() {
    let condition = "evt.type in (openat, connect) and fd.filetype = block and fd.sport = 1";
    assert_eq!(codes(&found(condition)), ["LOAD_NEVER_MATCHES"]);
}

#[test]
fn a_macro_is_judged_by_all_of_its_users() {
    let yaml = "- {macro: m, condition: fd.filetype = block or proc.name = a}\n".to_owned();
    let connect = rule("c", "evt.type = connect and m");
    assert_eq!(codes(&own(&load(&(yaml.clone() + &connect)))), ["LOAD_FIELD_NEVER_SET"]);
    let open = rule("o", "evt.type = openat and m");
    assert_eq!(own(&load(&(yaml + &connect + &open))), []);
}

#[test]
fn an_empty_list_is_named_as_the_reason() {
    let yaml =
        "- {list: l, items: []}\n".to_owned() + &rule("r", "evt.type = openat and fd.name in (l)");
    let found = own(&load(&yaml));
    let message = "rule 'r' never matches: the list of `fd.name in (l)` is empty";
    assert_eq!(found, [("LOAD_NEVER_MATCHES", message.to_owned())]);
}

#[test]
fn a_rule_that_always_matches_is_warned_of() {
    let found = found("proc.name = a or not proc.name = a");
    assert_eq!(codes(&found), ["LOAD_EVERY_EVENT"]);
}

#[test]
fn many_event_types_come_with_the_test_that_narrows_them() {
    let hint =
        |condition: &str| load(&rule("r", condition)).diagnostics[0].hint.clone().expect("a hint");
    let expected = "only these events can satisfy `fd.sport = 1`: add `evt.type in (connect)`";
    assert_eq!(hint("proc.name = a and fd.sport = 1 and fd.name = /x"), expected);
    assert!(hint("proc.name = a").contains("evt.type in (execve, execveat)"));
}

fn matched(conditions: &[&str], matching: Matching) -> Vec<(&'static str, String)> {
    let yaml: String =
        conditions.iter().enumerate().map(|(index, one)| rule(&format!("r{index}"), one)).collect();
    let options = Options { matching, ..Options::default() };
    own(&Ruleset::load_with(&[Source::new("f", &yaml)], &options))
}

#[test]
fn rules_behind_earlier_ones_are_shadowed() {
    for conditions in [
        ["evt.type = execve and proc.name = a", "proc.name in (a) and evt.type = execve"],
        [
            "evt.type = execve and proc.name = a",
            "evt.type = execve and proc.pid = 1 and proc.name = a",
        ],
        ["evt.type in (execve, execveat) and proc.pid = 1", "evt.type = execve and proc.pid = 1"],
        ["evt.type = execve", "evt.type = execve and proc.pid = 1"],
        [
            "evt.type = execve and proc.pid = 1 or evt.type = fork",
            "evt.type = execve and proc.pid = 1",
        ],
        [
            "evt.type = execve and (proc.name in (a, b) or proc.pid = 1)",
            "evt.type = execve and (proc.pid = 1 or proc.name in (b, a)) and not proc.pname = x",
        ],
    ] {
        assert_eq!(
            codes(&matched(&conditions, Matching::First)),
            ["LOAD_SHADOWED_RULE"],
            "{conditions:?}"
        );
        assert_ne!(codes(&matched(&conditions, Matching::All)), ["LOAD_SHADOWED_RULE"]);
    }
    for conditions in [
        [
            "evt.type = execve and proc.pid = 1 and proc.name = a",
            "evt.type = execve and proc.name = a",
        ],
        ["evt.type = execve and proc.pid = 1", "evt.type in (execve, execveat) and proc.pid = 1"],
        ["evt.type = execve and proc.name = a", "evt.type = execve and proc.name = b"],
        ["evt.type = execve and not proc.name = a", "evt.type = execve and proc.name != a"],
        [
            "evt.type = execve and proc.pid = 1",
            "evt.type = execve and proc.pid = 1 or evt.type = fork",
        ],
        ["evt.num = 0 and evt.type = execve", "evt.type = execve and evt.num = 0 and proc.pid = 1"],
        // The first waits for the result, the second does not.
        ["evt.type = openat", "evt.type = openat and evt.rawres = 0"],
        ["evt.type = openat and evt.rawres exists", "evt.type = openat"],
    ] {
        assert_eq!(matched(&conditions, Matching::First), [], "{conditions:?}");
    }
}

#[test]
fn a_shadow_is_shown_with_both_places() {
    let yaml =
        rule("wide", "evt.type = execve") + &rule("narrow", "evt.type = execve and proc.pid = 1");
    let expected = "\
warning[LOAD_SHADOWED_RULE]: rule 'narrow' is never the first to match: whatever matches it matches 'wide', which comes first
 --> rules.yaml:2:10
  |
2 | - {rule: narrow, desc: d, priority: info, output: o, condition: 'evt.type = execve and proc.pid = 1'}
  |          ^^^^^^
  note: rule 'wide' is here
  --> rules.yaml:1:10
  help: move it above 'wide', or have that one match less
";
    assert_eq!(support::rendered(&yaml), expected);
}

#[test]
fn the_same_condition_twice_is_a_duplicate() {
    let conditions = ["evt.type = execve and proc.pid = 1", "proc.pid = 1 and (evt.type = execve)"];
    assert_eq!(codes(&matched(&conditions, Matching::All)), ["LOAD_DUPLICATE_RULE"]);
    let conditions = ["evt.type = execve and proc.pid = 1", "evt.type = execve and proc.pid = 2"];
    assert_eq!(matched(&conditions, Matching::All), []);
}

#[test]
fn a_rule_that_is_silently_replaced_is_warned_of_within_one_file() {
    let one = rule("r", "evt.type = execve");
    let twice = load(&(one.clone() + &rule("r", "evt.type = fork")));
    assert_eq!(codes(&own(&twice)), ["LOAD_REDEFINED_RULE"]);
    assert_eq!(twice.diagnostics[0].related[0].line, 1);
    let apart = Ruleset::load(&[Source::new("a", &one), Source::new("b", &one)]);
    assert_eq!(apart.diagnostics, []);
    let replaced =
        one + "- {rule: r, condition: evt.type = fork, override: {condition: replace}}\n";
    assert_eq!(load(&replaced).diagnostics, []);
}

#[test]
fn what_rules_use_that_are_left_out_is_not_unused() {
    let items = "- {list: l, items: [a]}\n- {macro: n, condition: proc.name in (l)}\n- {macro: m, condition: n}\n";
    let unused = |rule: &str| {
        let text = items.to_owned() + rule;
        let options =
            Options { minimum_priority: shrike_rules::Priority::Error, ..Options::default() };
        let loaded = Ruleset::load_with(&[Source::new("f", &text)], &options);
        let is_unused =
            |one: &&Diagnostic| matches!(one.code, Code::UnusedList | Code::UnusedMacro);
        loaded.diagnostics.iter().filter(is_unused).count()
    };
    assert_eq!(unused("- {rule: r, desc: d, priority: info, output: o, condition: m}\n"), 0);
    assert_eq!(
        unused(
            "- {rule: r, desc: d, priority: error, output: o, condition: m and proc.nmae = a}\n"
        ),
        0
    );
    assert_eq!(
        unused("- {rule: r, desc: d, priority: error, output: o, condition: m and and}\n"),
        0
    );
    // A macro that only an unused one uses is unused too, with its list.
    assert_eq!(
        unused("- {rule: r, desc: d, priority: error, output: o, condition: evt.type = fork}\n"),
        3
    );
}

/// The rule files of a folder, or none if it is not there.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let read = |path: PathBuf| {
        Some((path.file_name()?.to_string_lossy().into_owned(), std::fs::read(&path).ok()?))
    };
    paths.into_iter().filter_map(read).collect()
}

#[test]
fn our_own_rules_have_no_diagnostics() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("default"));
    assert!(!files.is_empty());
    let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
    for matching in [Matching::First, Matching::All] {
        let options = Options { matching, ..Options::default() };
        assert_eq!(Ruleset::load_with(&sources, &options).diagnostics, []);
    }
}

/// What was read and found to be true of Falco's rules: sensors and fields that are not there, one
/// list that is to be filled, and one rule behind a more general one.
#[test]
fn falcos_rules_raise_no_false_alarm() {
    let folder = std::env::var_os("SHRIKE_FALCO_RULES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/falco-rules"),
        PathBuf::from,
    );
    let files = files(&folder);
    if files.is_empty() {
        eprintln!("skipped: no {}; set SHRIKE_FALCO_RULES to the folder", folder.display());
        return;
    }
    let alone = files.iter().map(|file| vec![file]);
    let all = std::iter::once(files.iter().collect::<Vec<_>>());
    for files in alone.chain(all) {
        let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
        for diagnostic in Ruleset::load(&sources).diagnostics {
            let is_true = match diagnostic.code {
                Code::NoSensor | Code::FieldNeverSet => true,
                Code::NeverMatches => {
                    diagnostic.message.contains("is empty") || diagnostic.note.is_some()
                }
                Code::ShadowedRule => diagnostic.message.contains("NPM Package Install"),
                _ => diagnostic.severity == Severity::Error || !diagnostic.code.is_own(),
            };
            assert!(is_true, "{diagnostic}");
            let is_unused = matches!(diagnostic.code, Code::UnusedList | Code::UnusedMacro);
            assert!(!is_unused, "{diagnostic}");
        }
    }
}
