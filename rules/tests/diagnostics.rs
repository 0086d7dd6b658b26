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

/// What stands below the message about a condition: the line, the caret, and what to do.
fn advice(condition: &str) -> String {
    let items =
        "- {list: shells, items: [sh, bash]}\n- {macro: spawned, condition: evt.type = execve}\n";
    let used = "- {rule: k, desc: d, priority: info, output: o, condition: spawned and proc.name in (shells)}\n";
    let yaml = format!(
        "{items}{used}- rule: r\n  desc: d\n  priority: info\n  output: o\n  condition: |\n    {condition}\n"
    );
    let loaded = load(&yaml);
    let diagnostic = only(&loaded);
    diagnostic.hint.clone().unwrap_or_default()
}

#[test]
fn a_parenthesis_that_is_not_closed_is_shown_where_it_opened() {
    let yaml = "\
- rule: r
  desc: d
  priority: info
  output: o
  condition: evt.type = execve and (proc.name = \")\"
    and (proc.pid = 1)
";
    let expected = "\
error[LOAD_ERR_COMPILE_CONDITION]: expected a ')' token
 --> rules.yaml:6:23
  |
6 |     and (proc.pid = 1)
  |                       ^
  note: this '(' is not closed
  --> rules.yaml:5:36
  help: add a ')'
";
    assert_eq!(support::rendered(yaml), expected);
}

#[test]
fn a_quote_that_is_not_closed_is_shown_where_it_opened() {
    let yaml = "\
- rule: r
  desc: d
  priority: info
  output: o
  condition: proc.cmdline contains \"a b and
    evt.type = execve
";
    let expected = "\
error[LOAD_ERR_COMPILE_CONDITION]: expected a closing \"
 --> rules.yaml:5:36
  |
5 |   condition: proc.cmdline contains \"a b and
  |                                    ^
  help: the text begins here and has no end
";
    assert_eq!(support::rendered(yaml), expected);
}

#[test]
fn habits_of_other_languages_are_known() {
    for (condition, expected) in [
        ("proc.name = a && proc.pid = 1", "write `and`"),
        ("(proc.name = a && proc.pid = 1)", "write `and`"),
        ("proc.name = a || proc.pid = 1", "write `or`"),
        ("proc.name = a OR proc.pid = 1", "write `or`"),
        ("!spawned", "write `not `"),
        ("proc.name <> a", "not equal is `!=`"),
        ("proc.name =! a", "not equal is `!=`"),
        ("proc.name is a", "did you mean =?"),
        ("proc.name like a", "did you mean glob?"),
        ("proc.name starts_with a", "did you mean startswith?"),
        ("proc.name contian a", "did you mean contains?"),
        ("proc.name not in (a)", "`not` stands before the field: not proc.name …"),
        ("proc.name = (a, b)", "for a list of values write `in (…)`"),
        ("proc.name in [a, b]", "a list stands in parentheses: (a, b)"),
        (
            "proc.name in (a b)",
            "values of a list are separated by commas; one with blanks needs quotes",
        ),
        ("proc.name in (a,)", "a value is missing: a comma too many?"),
        ("proc.name in (val(proc.pname))", "a list holds constants only"),
        ("fd.name pmatch /etc", "write (/etc) for a list of that one value"),
        ("spawned proc.name = a", "join checks by `and` or `or`"),
        ("evt.type = execve proc.name = a", "join checks by `and` or `or`"),
        ("proc.cmdline contains a b", "a value with blanks, '=', ',' or parentheses needs quotes"),
        ("proc.name = a)", "there is no '(' for it"),
        ("proc.name = a or", "there is nothing after `or`"),
        ("and proc.name = a", "there is nothing before `and`"),
        ("proc.name", "say what proc.name is compared with, or write `proc.name exists`"),
        ("name = a", "did you mean fd.name or proc.name or user.name?"),
        ("lower(proc.name) = a", "did you mean tolower(…)?"),
        ("Proc.Name = a", "did you mean proc.name?"),
        ("evt.type = Execve", "did you mean execve?"),
        ("shells", "shells is a list: compare a field with it, as in proc.name in (shells)"),
        ("proc.name in spawned", "spawned is a macro: it stands alone, as a check does"),
        ("proc.name = shells", "use in (shells), or quote the value"),
        ("spwned", "did you mean spawned?"),
        ("proc.name in shels", "did you mean shells?"),
        ("%proc.name = a", "a field is named without this sign here, as in proc.name"),
    ] {
        assert_eq!(advice(condition), expected, "{condition}");
    }
}

#[test]
fn habits_of_other_files_are_known() {
    for (yaml, expected) in [
        ("- rules: x\n", "did you mean rule?"),
        ("rule: x\n", "each item begins with '- ', as in `- rule: …`"),
        ("- {list: x, items: a}\n", "write a list, as in [a, b]"),
        (
            "- list: x\n  items: a: b\n",
            "a value with ': ' needs quotes, or stands below `>-`; else check the indentation",
        ),
        ("- list: x\n\titems: [a]\n", "YAML is indented with blanks, not with tabs"),
        (
            "- {rule: r, desc: d, output: o, condition: evt.type = fork, priority: WARN}\n",
            "did you mean warning?",
        ),
        ("- {macro: m, condition: a, override: {condition: add}}\n", "it is `append` or `replace`"),
    ] {
        assert_eq!(load(yaml).diagnostics[0].hint.as_deref(), Some(expected), "{yaml}");
    }
}

#[test]
fn the_json_of_a_diagnostic_is_what_editors_rely_on() {
    let yaml = "- {rule: é, desc: d, priority: info, output: o, condition: evt.type = fork}\n\
                - {rule: b, desc: d, priority: info, output: o, condition: evt.type = fork}\n";
    let found = serde_json::to_value(&load(yaml).diagnostics).expect("JSON");
    let line = "- {rule: b, desc: d, priority: info, output: o, condition: evt.type = fork}";
    let expected = serde_json::json!([{
        "severity": "warning",
        "code": "LOAD_SHADOWED_RULE",
        "message": "rule 'b' is never the first to match: whatever matches it matches 'é', which comes first",
        "file": "rules.yaml",
        "line": 2,
        "column": 10,
        "end_line": 2,
        "end_column": 11,
        "length": 1,
        "excerpt": {"text": line, "indent": 9},
        "item": {"kind": "rule", "name": "b"},
        "note": null,
        "hint": "move it above 'é', or have that one match less",
        "related": [{
            "message": "rule 'é' is here",
            "file": "rules.yaml",
            "line": 1,
            "column": 10,
            "end_line": 1,
            "end_column": 11,
        }],
    }]);
    assert_eq!(found.to_string(), expected.to_string());
}

#[test]
fn a_place_of_several_lines_has_its_end() {
    let yaml = "- rule: r\n  desc: d\n  priority: info\n  output: o\n  condition: evt.type = connect and (fd.filetype = a\n    or fd.filetype\n    = b)\n";
    let loaded = load(yaml);
    let ends: Vec<_> = loaded
        .diagnostics
        .iter()
        .flat_map(|one| &one.related)
        .map(|related| (related.line, related.column, related.end_line, related.end_column))
        .collect();
    assert_eq!(ends, [(5, 38, 7, 8)]);
}

#[test]
fn codes_are_found_by_name() {
    assert_eq!(diagnose::Code::by_name("LOAD_MORE"), Some(diagnose::Code::More));
    assert_eq!(diagnose::Code::by_name("LOAD"), None);
}
