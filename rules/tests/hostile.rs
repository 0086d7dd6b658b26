//! Input that is made to crash or stall the loader.

mod support;

use proptest::prelude::*;
use shrike_rules::{Ruleset, Source};
use support::{complaint, load, rule};

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
    assert!(complaint(&"tolower(".repeat(1_000_000)).contains("exceeded max depth limit"));
    assert!(complaint(&"not ".repeat(1_000_000)).contains("expected"));
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
