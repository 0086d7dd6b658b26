//! Input that is made to crash or stall the loader.

mod support;

use proptest::prelude::*;
use shrike_rules::{Ruleset, Source};
use support::{complaint, load, matches, rule};

/// Macros m0, m1, …, each made of the one before it.
fn chain(count: usize, condition: impl Fn(&str) -> String) -> String {
    let first = "- {macro: m0, condition: proc.name = a}\n".to_owned();
    let rest = (1..count).map(|level| {
        let condition = condition(&format!("m{}", level - 1));
        format!("- {{macro: m{level}, condition: {condition}}}\n")
    });
    first + &rest.collect::<String>()
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |depth: usize| "(".repeat(depth) + "evt.type = execve" + &")".repeat(depth);
    assert_eq!(complaint(&deep(199)), "");
    assert!(complaint(&deep(200)).contains("exceeded max depth limit"));
    assert!(complaint(&deep(1_000_000)).contains("exceeded max depth limit"));
    assert!(complaint(&"tolower(".repeat(250_000)).contains("exceeded max depth limit"));
    assert!(complaint(&"not ".repeat(500_000)).contains("expected"));
    assert!(complaint(&"not ".repeat(1_000_000)).contains("longer than 2 MiB"));
}

#[test]
fn macros_that_double_are_refused() {
    let loaded = load(&(chain(64, |below| format!("{below} and {below}")) + &rule("r", "m63")));
    assert!(loaded.diagnostics[0].message.contains("more than 100000 checks"));
}

#[test]
fn macros_that_chain_are_refused() {
    let loaded = load(&(chain(10_000, |below| format!("not {below}")) + &rule("r", "m9999")));
    assert!(loaded.diagnostics.iter().any(|d| d.message.contains("macros nest deeper")));
}

#[test]
fn macros_that_need_themselves_are_refused() {
    let yaml = "
- {macro: a, condition: evt.type = execve}
- {macro: b, condition: a and proc.name = x}
- {macro: a, condition: or b, override: {condition: append}}
";
    let loaded = load(&(yaml.to_owned() + &rule("r", "b")));
    assert_eq!(loaded.diagnostics[0].message, "reference loop in macro 'b'");
}

#[test]
fn bytes_that_are_not_utf8_have_a_place() {
    let loaded = Ruleset::load(&[Source::new("f", b"- list: l\n  items: [\xff]\n")]);
    let diagnostic = &loaded.diagnostics[0];
    assert_eq!((diagnostic.line, diagnostic.column), (2, 11));
    assert!(diagnostic.message.contains("not UTF-8"));
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let yaml = "# ".to_owned() + &"x".repeat(16 << 20);
    let loaded = load(&yaml);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].message, "the file is larger than 16 MiB");
}

#[test]
fn aliases_that_double_take_no_more_than_they_are() {
    let levels = (1..60).map(|level| format!("- &a{level} [*a{0}, *a{0}]\n", level - 1));
    let loaded = load(&(String::from("- &a0 [x]\n") + &levels.collect::<String>()));
    assert_eq!(loaded.diagnostics.len(), 60);
    let list =
        (0..64).map(|level| format!("- {{list: l{}, items: [l{level}, l{level}]}}\n", level + 1));
    let lists = "- {list: l0, items: [a]}\n".to_owned() + &list.collect::<String>();
    let loaded = load(&(lists + &rule("r", "evt.type = fork and proc.name in (l64)")));
    assert_eq!(loaded.diagnostics, []);
}

#[test]
fn yaml_that_nests_deep_is_refused() {
    for open in ["[", "{a: ", "- ", "? "] {
        let loaded = load(&open.repeat(200_000));
        assert!(loaded.has_errors(), "{open}: {:?}", loaded.diagnostics);
    }
}

#[test]
fn nul_bytes_are_refused_where_text_is_compared() {
    assert!(complaint("evt.type = openat and fd.name = 'a\\x00b'").contains("NUL"));
    // In YAML itself they are no characters.
    assert!(load("- list: l\n  items: [a\0b]\n").diagnostics.len() < 3);
}

#[test]
fn a_rule_defined_a_hundred_thousand_times_is_told_of_five_hundred_times() {
    let loaded = load(&rule("r", "evt.type = execve").repeat(100_000));
    assert_eq!((loaded.ruleset.rules().len(), loaded.diagnostics.len()), (1, 501));
    let last = loaded.diagnostics.last().expect("there are some");
    assert_eq!((last.code.name(), last.message.as_str()), ("LOAD_MORE", "and 99499 more"));
}

#[test]
fn errors_are_kept_when_there_are_many_warnings() {
    let yaml = "- {x: 1}\n".repeat(2_000) + "- {rule: r}\n";
    let loaded = load(&yaml);
    assert!(loaded.has_errors());
    assert_eq!(loaded.diagnostics.len(), 500 + 1 + 1);
}

#[test]
fn a_million_problems_on_one_line_are_told_of_in_part() {
    let loaded = load(&("[".to_owned() + &"{x: 1},".repeat(1_000_000) + "]"));
    assert_eq!(loaded.diagnostics.len(), 501);
    let last = &loaded.diagnostics[499];
    assert_eq!((last.line, last.column), (1, 2 + 7 * 499 + 1));
}

#[test]
fn a_list_with_a_million_items_is_taken() {
    let items = (0..1_000_000).map(|number| format!("i{number}")).collect::<Vec<_>>().join(",");
    let yaml = format!("- {{list: l, items: [{items}]}}\n")
        + &rule("r", "evt.type = fork and proc.name in (l) and proc.name = i7");
    assert_eq!(load(&yaml).diagnostics, []);
}

#[test]
fn conditions_with_very_many_checks_are_refused_or_taken() {
    let many = |count: usize| "proc.pid = 1 or ".repeat(count) + "proc.pid = 2";
    let loaded = load(&rule("r", &format!("evt.type = fork and ({})", many(50_000))));
    assert_eq!(loaded.diagnostics, []);
    assert!(complaint(&many(100_000)).contains("more than 100000 checks"));
    assert!(complaint(&many(1_000_000)).contains("longer than 2 MiB"));
    let unknown = "a.b = 1 or ".repeat(100_000) + "a.b = 1";
    assert_eq!(load(&rule("r", &unknown)).diagnostics.len(), 501);
}

#[test]
fn regular_expressions_that_grow_are_refused() {
    for pattern in ["((a{100}){100}){100}", "(\\\\w{100}){100}", "((((a?){50}){50}){50}){50}"] {
        assert!(
            complaint(&format!("proc.name regex \"{pattern}\"")).contains("invalid regex"),
            "{pattern}"
        );
    }
    let deep = "(".repeat(1_000) + "a" + &")".repeat(1_000);
    assert!(complaint(&format!("proc.name regex \"{deep}\"")).contains("invalid regex"));
}

#[test]
fn globs_that_backtrack_take_bounded_time() {
    let text: &'static str = "a".repeat(65_536).leak();
    let event = support::Given::open(text);
    for pattern in ["*a".repeat(1_000) + "*b", "*a".repeat(1_000) + "b", "*".repeat(100_000) + "b"]
    {
        assert!(!matches(&format!("evt.type = openat and fd.name glob '{pattern}'"), &event));
    }
    assert_eq!(
        complaint(&format!("evt.type = openat and fd.name glob '{}'", "[a-z]*".repeat(100_000))),
        ""
    );
}

#[test]
fn a_rule_is_extended_many_times() {
    let more = "- {rule: r, condition: or proc.pid = 1, desc: d, tags: [t], \
                override: {condition: append, desc: append, tags: append}}\n";
    let loaded = load(&(rule("r", "evt.type = fork and proc.name = a") + &more.repeat(20_000)));
    assert!(!loaded.has_errors());
    assert_eq!(loaded.ruleset.rules()[0].tags(), ["t"]);
}

#[test]
fn alternatives_that_multiply_are_not_multiplied() {
    let each = (0..60).map(|n| format!("(proc.name = a{n} or proc.pid = {n} or proc.tty = {n})"));
    let condition = format!("evt.type = fork and {}", each.collect::<Vec<_>>().join(" and "));
    let nested = (0..60).fold("proc.pid = 0".to_owned(), |inner, n| {
        format!("(proc.pid = {n} or proc.name = a and ({inner}))")
    });
    let yaml = rule("a", &condition) + &rule("b", &format!("evt.type = fork and {nested}"));
    assert_eq!(load(&yaml).diagnostics, []);
}

/// Ten thousand rules as people write them; `cargo xtask bench rules` tells how long such files take.
#[test]
fn ten_thousand_rules_are_loaded() {
    let items = "- {list: shells, items: [sh, bash, zsh]}\n\
                 - {macro: spawned, condition: 'evt.type in (execve, execveat)'}\n\
                 - {macro: opened, condition: 'evt.type in (open, openat) and fd.filetype = regular'}\n";
    let condition = |n: usize| {
        let begin = if n.is_multiple_of(2) {
            "spawned and proc.pname in (shells)"
        } else {
            "opened and fd.name startswith /d"
        };
        format!(
            "{begin} and proc.name in (a{n}, b{}, c) and not (proc.cmdline contains x{} or \
             proc.aname[2] = y{}) and (user.name != root or container.id != host)",
            n % 50,
            n % 31,
            n % 7
        )
    };
    let rules = (0..10_000).map(|n| rule(&format!("r{n}"), &condition(n)));
    let yaml = items.to_owned() + &rules.collect::<String>();
    let loaded = load(&yaml);
    assert_eq!((loaded.ruleset.rules().len(), loaded.diagnostics), (10_000, Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_the_loader(bytes: Vec<u8>) {
        Ruleset::load(&[Source::new("f", &bytes)]);
    }

    #[test]
    fn no_text_panics_the_parser(condition in "[ -~é\n]{0,60}", output in "[ -~é]{0,30}") {
        let yaml = serde_json::json!([{
            "rule": "r", "desc": "d", "priority": "info", "condition": condition, "output": output,
        }]);
        for diagnostic in load(&yaml.to_string()).diagnostics {
            let _ = diagnostic.to_string();
        }
    }

    #[test]
    fn no_tokens_panic_the_parser(
        tokens in proptest::collection::vec(
            prop_oneof![
                "proc\\.name|proc\\.aname\\[2\\]|evt\\.type|fd\\.nam|m|l",
                "and|or|not|\\(|\\)|,|=|!=|in|exists|contains|anyof|val\\(|join\\(|<=",
                "execve|\"a\\\\x41\"|'q|0x1|-5|[é]",
            ],
            0..24,
        ),
        style in "[|>]-?",
    ) {
        let condition = tokens.join("\n    ");
        let yaml = format!(
            "- list: l\n  items: [a, l]\n- macro: m\n  condition: proc.name in (l)\n- rule: r\n  \
             desc: d\n  output: o\n  priority: info\n  condition: {style}\n    {condition}\n"
        );
        for diagnostic in load(&yaml).diagnostics {
            prop_assert!(diagnostic.line <= yaml.lines().count());
        }
    }
}
