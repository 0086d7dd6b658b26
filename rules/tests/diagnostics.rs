//! What a person sees of a mistake: the exact text, and the exact place in every YAML style.

mod support;

use shrike_rules::{Loaded, Ruleset, Severity, Source, diagnose};
use support::load;

fn only(loaded: &Loaded) -> &shrike_rules::Diagnostic {
    assert_eq!(loaded.diagnostics.len(), 1, "{:#?}", loaded.diagnostics);
    &loaded.diagnostics[0]
}

#[test]
fn a_misspelt_field_in_a_folded_scalar_is_shown_where_it_stands() {
    let yaml = "\
# comment
- rule: Shadow read
  desc: d
  condition: >
    evt.type = openat and
      fd.nam = /etc/shadow
    and proc.name != x
  output: o
  priority: warning
";
    let expected = "\
error[LOAD_ERR_COMPILE_CONDITION]: nonexistent field fd.nam
 --> rules.yaml:6:7
  |
6 |       fd.nam = /etc/shadow
  |       ^^^^^^
  help: did you mean fd.name?
";
    assert_eq!(diagnose::render(only(&load(yaml)), false), expected);
}

#[test]
fn colour_is_the_callers_choice() {
    let loaded = load("- rule: x\n");
    let plain = diagnose::render(&loaded.diagnostics[0], false);
    let coloured = diagnose::render(&loaded.diagnostics[0], true);
    assert!(!plain.contains('\x1b') && coloured.contains("\x1b[1;31merror["));
}

#[test]
fn places_are_right_in_every_scalar_style() {
    let styles = [
        "condition: evt.type = execve and proc.nam = a",
        "condition: 'proc.cmdline = \"it''s\" and proc.nam = a'",
        "condition: \"proc.cmdline = \\\"\\u0041\\\" and\\n proc.nam = a\"",
        "condition: |-\n    evt.type = execve\n    and proc.nam = a",
        "condition: >- # why\n    evt.type = execve\n\n    and\n    proc.nam = a",
        "condition: evt.type = execve\n    and\n    proc.nam = a",
        "condition: \"proc.cmdline = é and \\\n     proc.nam = a\"",
    ];
    for style in styles {
        let yaml = format!("- rule: r\n  desc: d\n  output: o\n  priority: info\n  {style}\n");
        let loaded = load(&yaml);
        let diagnostic = only(&loaded);
        let line = yaml.lines().nth(diagnostic.line - 1).expect("the line is in the file");
        let column = line.chars().count() - line.chars().skip(diagnostic.column - 1).count();
        let found: String = line.chars().skip(column).take(diagnostic.length).collect();
        assert_eq!(found, "proc.nam", "{yaml}{diagnostic}");
    }
}

#[test]
fn an_appended_condition_is_blamed_in_its_own_file() {
    let base =
        "- rule: r\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: info\n";
    let local = "- rule: r\n  condition: and proc.pid = abc\n  override: {condition: append}\n";
    let loaded = Ruleset::load(&[Source::new("base", base), Source::new("local", local)]);
    let diagnostic = only(&loaded);
    assert_eq!((diagnostic.file.as_str(), diagnostic.line, diagnostic.column), ("local", 2, 29));
    assert_eq!(diagnostic.message, "abc is not a valid number");
}

#[test]
fn a_mistake_in_a_macro_is_reported_once_with_who_uses_it() {
    let yaml = "
- macro: inner
  condition: evt.type = opne
- macro: outer
  condition: inner or evt.type = execve
- {rule: a, desc: d, output: o, priority: info, condition: outer}
- {rule: b, desc: d, output: o, priority: info, condition: outer}
";
    let loaded = load(yaml);
    let diagnostic = only(&loaded);
    assert_eq!(diagnostic.message, "unknown event type opne");
    assert_eq!(diagnostic.note.as_deref(), Some("used by macro 'outer', used by rule 'a'"));
    assert_eq!(diagnostic.hint.as_deref(), Some("did you mean open?"));
    assert!(loaded.ruleset.rules().is_empty());
}

#[test]
fn every_mistake_is_reported_and_good_rules_stay() {
    let yaml = "
- rule: bad
  desc: d
  condition: proc.nam = a and proc.pid contains 1 and nosuch
  output: '%fd.nam %evt.nu'
  priority: urgent
- rule: worse
  priority: info
- rule: good
  desc: d
  condition: evt.type = execve
  output: o
  priority: info
- macro: m
  condition: (proc.name = a
- rule: broken
  desc: d
  condition: proc.nam = a and proc.pid contains 1 and nosuch
  output: '%fd.nam %evt.nu'
  priority: info
";
    let loaded = load(yaml);
    let messages: Vec<_> = loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| (diagnostic.line, diagnostic.message.as_str()))
        .collect();
    assert_eq!(
        messages,
        [
            (6, "Invalid priority 'urgent'"),
            (7, "Item has no mapping for key 'condition'"),
            (7, "Item has no mapping for key 'output'"),
            (7, "Item has no mapping for key 'desc'"),
            (15, "expected a ')' token"),
            (18, "nonexistent field proc.nam"),
            (18, "operator contains is not allowed for proc.pid, a number"),
            (18, "Undefined macro 'nosuch' used in filter."),
            (19, "invalid formatting token: unknown filter field fd.nam"),
            (19, "invalid formatting token: unknown filter field evt.nu"),
        ]
    );
    assert_eq!(loaded.ruleset.rules().len(), 1);
}

#[test]
fn a_terminal_is_safe_from_what_a_file_says() {
    let yaml = "- rule: \"a\\e[2J\"\n  condition: \"x\\e[31m\"\n  desc: d\n  output: o\n  priority: info\n";
    for diagnostic in &load(yaml).diagnostics {
        assert!(!diagnose::render(diagnostic, false).contains('\x1b'));
    }
}
