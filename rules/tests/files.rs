//! Rule files: several of them, redefinition, appending and overriding, warnings.

mod support;

use shrike_rules::{Loaded, Options, Priority, Rule, Ruleset, Source};
use support::load;

const BASE: &str = "
- rule: r1
  desc: first
  condition: evt.type = execve
  output: 'o %evt.num'
  priority: INFO
  tags: [a]
";

/// Loads the base and one more file.
fn extended(more: &str) -> Loaded {
    Ruleset::load(&[Source::new("base.yaml", BASE), Source::new("more.yaml", more)])
}

fn rule(loaded: &Loaded) -> &Rule {
    &loaded.ruleset.rules()[0]
}

fn codes(loaded: &Loaded) -> Vec<&'static str> {
    loaded.diagnostics.iter().map(|diagnostic| diagnostic.code.name()).collect()
}

#[test]
fn a_rule_has_all_that_its_file_says() {
    let loaded = load(BASE);
    assert_eq!(loaded.diagnostics, []);
    let rule = rule(&loaded);
    assert_eq!((rule.name(), rule.description(), rule.source()), ("r1", "first", "syscall"));
    assert_eq!((rule.priority(), rule.tags()), (Priority::Informational, &["a".to_owned()][..]));
    assert_eq!((rule.condition(), rule.is_enabled()), ("evt.type = execve", true));
}

#[test]
fn a_later_rule_of_the_same_name_replaces_all() {
    let loaded = extended(
        "- {rule: r0, desc: d, condition: evt.type = open, output: o, priority: info}\n\
         - {rule: r1, desc: d, condition: evt.type = openat, output: o, priority: error}\n",
    );
    assert_eq!(loaded.diagnostics, []);
    let names: Vec<_> = loaded.ruleset.rules().iter().map(Rule::name).collect();
    assert_eq!(names, ["r1", "r0"]);
    assert_eq!((rule(&loaded).condition(), rule(&loaded).tags()), ("evt.type = openat", &[][..]));
}

#[test]
fn overrides_append_and_replace_key_by_key() {
    let loaded = extended(
        "- rule: r1\n  condition: and proc.name = z\n  tags: [a, b]\n  priority: error\n  \
         enabled: no\n  desc: more\n  override:\n    {condition: append, tags: append, \
         priority: replace, enabled: replace, desc: append}\n",
    );
    assert_eq!(loaded.diagnostics, []);
    let rule = rule(&loaded);
    assert_eq!(rule.condition(), "evt.type = execve and proc.name = z");
    assert_eq!((rule.tags().join(" ").as_str(), rule.priority()), ("a b", Priority::Error));
    assert_eq!((rule.is_enabled(), rule.description()), (false, "first more"));
    assert!(loaded.ruleset.kinds().is_empty());
}

#[test]
fn mistakes_in_overrides_are_errors() {
    for (more, message) in [
        ("{rule: r1, priority: error, override: {priority: append}}", "use 'replace' instead"),
        ("{rule: r1, condition: x, override: {condition: prepend}}", "Invalid override operation"),
        ("{rule: r1, condition: x, override: {output: replace}}", "'output' is not defined"),
        ("{rule: r1, condition: x, desc: y, override: {desc: append}}", "Key 'condition' needs"),
        ("{rule: r1, condition: x, append: true, override: {condition: append}}", "together"),
        ("{rule: r2, condition: x, override: {condition: append}}", "no rule by that name"),
        ("{list: l, items: [x], append: true}", "no list by that name"),
        ("{rule: r1, source: aws, desc: d, condition: x, output: o, priority: info}", "source"),
    ] {
        let loaded = extended(&format!("- {more}\n"));
        let messages: Vec<_> = loaded.diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert!(
            loaded.has_errors() && messages.iter().any(|m| m.contains(message)),
            "{messages:?}"
        );
    }
}

#[test]
fn the_old_forms_still_work_and_warn() {
    let loaded = extended("- {rule: r1, append: true, condition: and proc.name = a, output: x}\n");
    assert_eq!(codes(&loaded), ["LOAD_DEPRECATED_ITEM"]);
    assert_eq!(rule(&loaded).condition(), "evt.type = execve and proc.name = a");
    assert_eq!(rule(&loaded).output().template(), "o %evt.num");

    let loaded = extended("- {rule: r1, enabled: false}\n");
    assert_eq!(codes(&loaded), ["LOAD_DEPRECATED_ITEM"]);
    assert!(!rule(&loaded).is_enabled());
}

#[test]
fn lists_and_macros_are_extended_before_anything_is_compiled() {
    let loaded = load(
        "- {list: l, items: [a]}\n- {macro: m, condition: proc.name in (l)}\n\
         - {rule: r, desc: d, condition: evt.type = execve and m, output: o, priority: info}\n\
         - {list: l, items: [b], override: {items: append}}\n\
         - {macro: m, condition: or proc.name = c, override: {condition: append}}\n",
    );
    assert_eq!(loaded.diagnostics, []);
    for (name, count) in [("a", 1), ("b", 1), ("c", 1), ("d", 0)] {
        let event = support::Given::new(shrike_rules::Kind::Exec)
            .with("evt.type", "execve")
            .with("proc.name", name);
        assert_eq!(loaded.ruleset.matches(&event).count(), count, "{name}");
    }
}

#[test]
fn a_macro_does_not_see_later_ones() {
    let loaded = load(
        "- {macro: m1, condition: m2}\n- {macro: m2, condition: proc.name = a}\n\
         - {rule: r, desc: d, condition: evt.type = execve and m1, output: o, priority: info}\n",
    );
    let error = loaded.diagnostics.iter().find(|d| d.message.contains("m2")).expect("an error");
    assert_eq!(error.hint.as_deref(), Some("m2 is defined later: move it above its user"));
}

#[test]
fn what_looks_wrong_is_warned_of() {
    let loaded = extended(
        "- {list: l, items: [x], colour: red}\n- {macro: 1m, condition: proc.name = a}\n\
         - {thing: x}\n\
         - {rule: r2, desc: d, condition: proc.name = proc.pname, output: o, priority: info}\n\
         - {rule: r3, desc: d, condition: bad (, output: o, priority: info, source: aws}\n",
    );
    assert!(!loaded.has_errors());
    let mut found = codes(&loaded);
    found.sort_unstable();
    let expected = [
        "LOAD_COMPILE_CONDITION",
        "LOAD_INVALID_MACRO_NAME",
        "LOAD_NO_EVTTYPE",
        "LOAD_UNKNOWN_ITEM",
        "LOAD_UNKNOWN_KEY",
        "LOAD_UNKNOWN_SOURCE",
        "LOAD_UNUSED_LIST",
        "LOAD_UNUSED_MACRO",
    ];
    assert_eq!(found, expected);
}

#[test]
fn unknown_names_can_be_forgiven() {
    let loaded = load(
        "- {macro: m, condition: proc.nosuch = a}\n\
         - {rule: r1, desc: d, condition: evt.type = execve and m, output: o, priority: info, \
         skip-if-unknown-filter: true}\n\
         - {rule: r2, desc: d, condition: evt.type = execve and m, output: o, priority: info}\n",
    );
    // The rule that does not forgive still shows the mistake, in the macro.
    assert_eq!(codes(&loaded), ["LOAD_ERR_COMPILE_CONDITION", "LOAD_UNKNOWN_FILTER"]);
    assert_eq!(loaded.diagnostics[0].note.as_deref(), Some("used by rule 'r2'"));
}

#[test]
fn engine_versions_are_compared() {
    for (version, code) in [
        ("26", None),
        ("0.63.0", None),
        ("0.64.0", Some("LOAD_ERR_VALIDATE")),
        ("1.0.0", Some("LOAD_ERR_VALIDATE")),
        ("latest", Some("LOAD_ERR_YAML_VALIDATE")),
        ("0.31", Some("LOAD_ERR_YAML_VALIDATE")),
    ] {
        let loaded = load(&format!("- required_engine_version: {version}\n"));
        assert_eq!(codes(&loaded), code.into_iter().collect::<Vec<_>>(), "{version}");
    }
}

#[test]
fn less_urgent_rules_can_be_left_out() {
    let options = Options { minimum_priority: Priority::Warning, ..Options::default() };
    let loaded = Ruleset::load_with(&[Source::new("f", BASE)], &options);
    assert!(loaded.ruleset.rules().is_empty());
}

/// Whatever a value of an exception has in it, it stays one value.
#[test]
fn a_value_of_an_exception_does_not_break_out() {
    for value in [
        r#""a" or evt.num >= 0"#,
        r#""a") or (evt.num >= 0"#,
        "tolower(proc.name) or evt.num >= 0 or len(proc.name)",
        "(a) or evt.num in (0)",
        "a, b",
        "a or b",
    ] {
        let more = format!(
            "- rule: r1\n  exceptions:\n    - name: e\n      fields: [proc.cmdline]\n      values:\n        - [{value:?}]\n  \
             override: {{exceptions: append}}\n"
        );
        let loaded = extended(&more);
        assert_eq!(loaded.diagnostics, [], "{value}");
        let condition = rule(&loaded).condition();
        let quoted = value.replace('"', "\\\"");
        let expected = format!("(evt.type = execve) and not ((proc.cmdline = \"{quoted}\"))");
        assert_eq!(condition, expected);
    }
    for field in ["proc.aname[1] = x or proc.name", "proc.name exists or proc.name", "proc.name "] {
        let more = format!(
            "- rule: r1\n  exceptions: [{{name: e, fields: [{field:?}], values: [[a]]}}]\n  override: {{exceptions: append}}\n"
        );
        assert!(extended(&more).has_errors(), "{field}");
    }
}

/// An item with a mistake changes nothing, whatever else it brings.
#[test]
fn an_item_with_a_mistake_changes_nothing() {
    let base = "- rule: r1\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: INFO\n  exceptions:\n    \
                - {name: x, fields: [proc.name, proc.exepath], values: [[a, /b]]}\n";
    let condition = |more: &str| {
        let loaded = Ruleset::load(&[Source::new("base", base), Source::new("more", more)]);
        assert!(loaded.has_errors(), "{more}");
        rule(&loaded).condition().to_owned()
    };
    let before = rule(&load(base)).condition().to_owned();
    for more in [
        "- rule: r1\n  exceptions: [{name: x, values: [[sh]]}]\n  override: {exceptions: append}\n",
        "- rule: r1\n  condition: and proc.name exists\n  exceptions: [{name: x, fields: [proc.name], values: [[sh]]}]\n  \
         override: {condition: append, exceptions: append}\n",
    ] {
        assert_eq!(condition(more), before);
    }
}
