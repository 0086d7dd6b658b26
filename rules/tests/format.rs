//! The formatter on random and on real rule files.
//!
//! What it may change is told without it: blanks between the tokens of conditions, the order of
//! keys, and how YAML writes a scalar.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may panic anywhere")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use granit_parser::{Event, Parser};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use shrike_rules::diagnose::Code;
use shrike_rules::{Rule, Ruleset, Source, fields, format};

/// A rule file as YAML has it: the entries of each item, by key.
type Items = Vec<BTreeMap<String, String>>;

fn items(text: &str) -> Items {
    let mut items = Items::new();
    let (mut depth, mut key) = (0, None);
    for event in Parser::new_from_str(text) {
        let (event, _) = event.unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut scalar = None;
        let mark = match event {
            Event::SequenceStart(..) => "[",
            Event::MappingStart(..) => "{",
            Event::SequenceEnd => "]",
            Event::MappingEnd => "}",
            Event::Scalar(text, ..) => {
                scalar = Some(text.into_owned());
                ""
            }
            _ => continue,
        };
        let is_end = matches!(mark, "]" | "}");
        depth -= usize::from(is_end);
        match (depth, &key) {
            (1, _) if mark == "{" => items.push(BTreeMap::new()),
            (2, None) => key = Some(scalar.take().expect("a scalar is the key")),
            (2.., Some(name)) => {
                let text = scalar.map(|text| {
                    let text = if name == "condition" { squeezed(&text) } else { text };
                    format!("{text:?} ")
                });
                let item = items.last_mut().expect("an item");
                item.entry(name.clone()).or_default().push_str(text.as_deref().unwrap_or(mark));
                if depth == 2 && (is_end || mark.is_empty()) {
                    key = None;
                }
            }
            _ => {}
        }
        depth += usize::from(matches!(mark, "[" | "{"));
    }
    items
}

/// A condition without the blanks between its tokens, but for one between two words.
fn squeezed(condition: &str) -> String {
    let (mut squeezed, mut quote, mut blank) = (String::new(), None, false);
    let is_word = |c: char| !"()=,<>!".contains(c);
    let mut characters = condition.chars();
    while let Some(character) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            blank = true;
            continue;
        }
        if blank && squeezed.ends_with(is_word) && is_word(character) {
            squeezed.push(' ');
        }
        blank = false;
        squeezed.push(character);
        match quote {
            Some(open) if open == character => quote = None,
            Some(_) if character == '\\' => squeezed.extend(characters.next()),
            None if matches!(character, '"' | '\'') => quote = Some(character),
            _ => {}
        }
    }
    squeezed
}

/// The comments of a text in which no `#` is anything else, sorted.
fn comments(text: &str) -> Vec<&str> {
    let mut comments: Vec<_> =
        text.lines().filter_map(|line| Some(line[line.find('#')?..].trim_end())).collect();
    comments.sort_unstable();
    comments
}

/// What rules come of a text.
fn rules(text: &str) -> Vec<String> {
    let loaded = Ruleset::load(&[Source::new("f", text)]);
    let rule = |rule: &Rule| {
        format!(
            "{} {:?} {:?} {:?} {} {} {} {:?}",
            rule.name(),
            rule.description(),
            rule.priority(),
            rule.tags(),
            rule.source(),
            rule.is_enabled(),
            rule.output().template(),
            squeezed(rule.condition()),
        )
    };
    let rules = loaded.ruleset.rules().iter().map(rule);
    let mut diagnostics: Vec<_> = loaded
        .diagnostics
        .iter()
        .map(|d| format!("{:?} {:?} {}", d.code, d.item, d.message))
        .collect();
    diagnostics.sort();
    rules.chain(diagnostics).collect()
}

/// Formats a text, and checks everything that holds of any.
fn formatted(text: &str) -> String {
    let laid = format(Source::new("f", text)).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    let again = format(Source::new("f", &laid));
    assert_eq!(again.as_deref(), Ok(laid.as_str()), "not its own canonical form, of\n{text}");
    assert_eq!(items(text), items(&laid), "\n{text}\n{laid}");
    assert_eq!(comments(text), comments(&laid), "\n{text}\n{laid}");
    assert_eq!(rules(text), rules(&laid), "\n{text}\n{laid}");
    assert!(laid.ends_with('\n') && !laid.ends_with("\n\n") && !laid.starts_with('\n'), "{laid:?}");
    assert!(!laid.contains("\n\n\n") && !laid.contains(" \n"), "{laid}");
    laid
}

fn folder(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from)
}

/// The rule files of a folder; none if it is not there.
fn rule_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("skipped: no {}; set SHRIKE_FALCO_RULES to the folder", folder.display());
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("a file").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("the file is readable");
            (path, text)
        })
        .collect()
}

#[test]
fn falcos_own_files_stay_what_they_are() {
    for (path, text) in rule_files(&folder("SHRIKE_FALCO_RULES", "../../shared/falco-rules")) {
        let laid = formatted(&text);
        // Nothing is wider than a line but comments and what cannot be broken.
        let wide = laid.lines().filter(|line| line.chars().count() > 100 && !line.contains('#'));
        let wide: Vec<_> = wide.collect();
        assert!(wide.len() <= 2, "{}: {wide:#?}", path.display());
        assert!(!laid.contains("typechar='f'"), "a condition was not laid out");
    }
}

#[test]
fn the_default_rules_are_canonical() {
    let files = rule_files(&folder("", "default"));
    assert!(!files.is_empty());
    for (path, text) in files {
        let laid = formatted(&text);
        assert!(laid == text, "{} is not: run shrike rules format on it", path.display());
    }
}

#[test]
fn the_example_of_the_documentation_is_canonical() {
    let page = include_str!("../../docs/rules-format.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.expect("an example");
    assert_eq!(formatted(example), example);
}

/// A token of a condition and what may stand before it.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    /// Whether a blank has to stand before it.
    apart: bool,
}

type Tokens = Vec<Token>;

fn apart(text: &str) -> Token {
    Token { text: text.to_owned(), apart: true }
}

fn beside(text: &str) -> Token {
    Token { text: text.to_owned(), apart: false }
}

/// Makes the first token follow at once what stands before it: a parenthesis or a comma.
fn joined(mut tokens: Tokens) -> Tokens {
    if let Some(first) = tokens.first_mut() {
        first.apart = false;
    }
    tokens
}

fn field() -> impl Strategy<Value = String> {
    let names: Vec<_> = fields().iter().map(|field| field.name).collect();
    let argument = prop_oneof![
        6 => Just(String::new()),
        1 => select(&["[0]", "[12]", "[/proc*]", "[a.b/c]", "[\"x  y\"]", "['[']"][..])
            .prop_map(str::to_owned),
    ];
    (select(names), argument).prop_map(|(name, argument)| format!("{name}{argument}"))
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/][a-z0-9/.*-]{0,12}",
        "\"[a-z(,=: ]{0,10}\"",
        "'[a-z)\"<> ]{0,30}'",
        "\"a\\\\\"b\\\\x41\\\\\\\\\"",
        select(&["<NA>", "10.0.0.0/8", "anyof", "and", "-5", "[x]", "a:b", "né"][..])
            .prop_map(str::to_owned),
    ]
}

fn list() -> impl Strategy<Value = Tokens> {
    proptest::collection::vec(value(), 0..14).prop_map(|values| {
        let mut tokens = vec![apart("(")];
        for (number, value) in values.iter().enumerate() {
            if number > 0 {
                tokens.push(beside(","));
            }
            tokens.push(beside(value));
        }
        tokens.push(beside(")"));
        tokens
    })
}

/// A field, or one within transformers.
fn operand() -> impl Strategy<Value = Tokens> {
    let field = field().prop_map(|name| vec![apart(&name)]);
    field.prop_recursive(3, 12, 3, |inner| {
        let simple =
            (select(&["tolower(", "toupper(", "b64(", "basename(", "len("][..]), inner.clone());
        let several = proptest::collection::vec(inner, 1..4);
        prop_oneof![
            simple.prop_map(|(name, inner)| {
                [vec![apart(name)], joined(inner), vec![beside(")")]].concat()
            }),
            several.clone().prop_map(|all| {
                let mut tokens = vec![apart("concat("), beside("\"x y\"")];
                for one in all {
                    tokens.push(beside(","));
                    tokens.extend(joined(one));
                }
                tokens.push(beside(")"));
                tokens
            }),
            several.prop_map(|all| {
                let mut tokens = vec![apart("join("), beside("','"), beside(","), beside("(")];
                for (number, one) in all.into_iter().enumerate() {
                    if number > 0 {
                        tokens.push(beside(","));
                    }
                    tokens.extend(joined(one));
                }
                tokens.extend([beside(")"), beside(")")]);
                tokens
            }),
            select(&["", "[x]", "[\"x\"]"][..]).prop_map(|option| {
                let end = format!("){option}");
                vec![
                    apart("getopt("),
                    beside("proc.args"),
                    beside(","),
                    beside("'x:'"),
                    beside(&end),
                ]
            }),
        ]
    })
}

fn check() -> impl Strategy<Value = Tokens> {
    let symbols = select(&["=", "==", "!="][..]);
    let words =
        select(&["glob", "iglob", "contains", "icontains", "startswith", "endswith", "regex"][..]);
    let numbers = select(&["<", "<=", ">", ">="][..]);
    let with_list = select(&["in", "intersects", "pmatch"][..]);
    let right_operand = prop_oneof![
        2 => operand(),
        1 => field().prop_map(|name| vec![apart("val("), beside(&name), beside(")")]),
    ]
    .prop_filter("a field alone is a constant", |tokens| tokens.len() > 1);
    let list_or_name = prop_oneof![4 => list(), 1 => Just(vec![apart("shells")])];
    let quantifier = select(&["anyof", "allof", "oneof"][..]);
    let right = prop_oneof![
        2 => Just(vec![apart("exists")]),
        6 => (symbols.clone(), value()).prop_map(|(operator, value)| {
            vec![beside(operator), beside(&value)]
        }),
        3 => (words, value()).prop_map(|(operator, value)| vec![apart(operator), apart(&value)]),
        2 => (numbers, select(&["0", "-1", "0x1F", "1.5e+3"][..]))
            .prop_map(|(operator, number)| vec![beside(operator), beside(number)]),
        4 => (with_list, list_or_name.clone()).prop_map(|(operator, list)| {
            [vec![apart(operator)], list].concat()
        }),
        2 => (symbols, right_operand).prop_map(|(operator, right)| {
            [vec![beside(operator)], joined(right)].concat()
        }),
        1 => (quantifier, list_or_name).prop_map(|(quantifier, list)| {
            [vec![apart("startswith"), apart(quantifier)], list].concat()
        }),
    ];
    (operand(), right).prop_map(|(left, right)| [left, right].concat())
}

fn condition() -> impl Strategy<Value = Tokens> {
    let leaf = prop_oneof![4 => check(), 1 => "[a-z_]{1,20}".prop_map(|name| vec![apart(&format!("m_{name}"))])];
    let any = leaf.prop_recursive(4, 24, 4, |inner| {
        let many = proptest::collection::vec(inner.clone(), 2..5);
        prop_oneof![
            3 => (many, select(&["and", "or"][..])).prop_map(|(operands, operator)| {
                operands.join(&apart(operator))
            }),
            1 => inner.clone().prop_map(|inner| {
                [vec![apart("not"), apart("(")], joined(inner), vec![beside(")")]].concat()
            }),
            1 => inner.prop_map(|inner| {
                [vec![apart("(")], joined(inner), vec![beside(")")]].concat()
            }),
        ]
    });
    // The tokens that may not stand together without a blank.
    any.prop_map(joined)
}

/// Writes tokens with the blanks that `choices` choose.
fn written(tokens: &[Token], choices: &[u8]) -> String {
    let mut text = String::new();
    for (token, choice) in std::iter::zip(tokens, choices.iter().cycle()) {
        // What would be read as one with the text before it.
        let sticks = text.ends_with(|c: char| "<>=!".contains(c))
            && token.text.starts_with(['<', '>', '=', '!'])
            || (text.ends_with("exists") && !token.text.starts_with(')'));
        let quoted = text.ends_with(['"', '\'']) && token.text.starts_with(['"', '\'']);
        let needs = sticks || quoted || (token.apart && !text.is_empty());
        text.push_str(match choice % 8 {
            0 => "  ",
            1 => "\n",
            2 | 3 => " ",
            _ if needs => " ",
            _ => "",
        });
        text.push_str(&token.text);
    }
    text.trim().to_owned()
}

/// A key with its value and comments, as they may be written.
#[derive(Clone, Debug)]
struct Entry {
    key: &'static str,
    /// The text from behind the colon, lines beneath it indented by two.
    value: String,
    above: bool,
    beside: bool,
}

fn prose() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-z%.=()|]{1,14}|[A-Z][a-z]+:|it's|\"q", 1..30)
        .prop_map(|words| format!("x{}", words.join(" ")))
}

fn prose_value() -> impl Strategy<Value = String> {
    let styles = select(&["", "\"", "'", ">", ">-", "|", "|-"][..]);
    (prose(), styles, any::<u8>()).prop_map(|(text, style, width)| {
        let breaks = usize::from(width % 12) + 2;
        let words: Vec<_> = text.split(' ').collect();
        let lines: Vec<_> = words.chunks(breaks).map(|words| words.join(" ")).collect();
        let lines = lines.join("\n    ");
        match style {
            "" if text.contains(": ") || text.ends_with(':') => format!(" >-\n    {lines}"),
            "" => format!(" {lines}"),
            "'" => format!(" '{}'", lines.replace('\'', "''")),
            "\"" => format!(" \"{}\"", lines.replace('"', "\\\"")),
            _ => format!(" {style}\n    {lines}"),
        }
    })
}

fn condition_value() -> impl Strategy<Value = String> {
    let choices = proptest::collection::vec(any::<u8>(), 40);
    (condition(), choices, select(&["|", ">", ">-", "\"", "'", ""][..])).prop_map(
        |(tokens, choices, style)| {
            let text = written(&tokens, &choices);
            let lines = text.replace('\n', "\n    ");
            match style {
                "'" => format!(" '{}'", lines.replace('\'', "''")),
                "\"" => format!(" \"{}\"", lines.replace('\\', "\\\\").replace('"', "\\\"")),
                "" if !text.contains(": ") && !text.contains("  ") => format!(" {lines}"),
                "" => format!(" >\n    {lines}"),
                _ => format!(" {style}\n    {lines}"),
            }
        },
    )
}

fn list_value() -> impl Strategy<Value = String> {
    let element = prop_oneof![
        4 => "[a-z/][a-z0-9/.-]{0,20}",
        1 => "'[a-z,: ]{0,10}'",
        1 => "\"[a-z\\[ 0-9]{1,10}\"",
    ];
    (proptest::collection::vec(element, 0..20), 0..4).prop_map(|(elements, style)| match style {
        0 => format!(" [{}]", elements.join(",")),
        1 => format!(" [ {} ]", elements.join(" , ")),
        2 => format!(" [\n    {}\n    ]", elements.join(",\n    ")),
        _ if elements.is_empty() => " []".to_owned(),
        _ => elements.iter().fold(String::new(), |text, element| text + "\n    - " + element),
    })
}

fn entry(key: &'static str) -> impl Strategy<Value = Entry> {
    let value = match key {
        "condition" => condition_value().boxed(),
        "desc" | "output" => prose_value().boxed(),
        "items" | "tags" => list_value().boxed(),
        "priority" => select(&[" INFO", " 'warning'", " \"DEBUG\""][..]).prop_map_into().boxed(),
        "override" => {
            select(&[" {tags: append}", "\n    tags: append"][..]).prop_map_into().boxed()
        }
        "exceptions" => select(
            &[
                "\n  - name: e\n    fields: [a, b]\n    values:\n    - [x,  y]",
                " [{name: e, values: [[a, [b]]]}]",
            ][..],
        )
        .prop_map_into()
        .boxed(),
        "enabled" => select(&[" true", " no"][..]).prop_map_into().boxed(),
        _ => "[a-z]{1,9}( [a-z0-9](:?[a-z0-9]){0,8}){0,2}"
            .prop_map(|name| format!(" {name}"))
            .boxed(),
    };
    let often = prop::bool::weighted(0.2);
    (value, often, often).prop_map(move |(value, above, beside)| Entry {
        key,
        value,
        above,
        beside,
    })
}

fn item() -> impl Strategy<Value = Vec<Entry>> {
    const RULE: &[&str] = &[
        "desc",
        "condition",
        "output",
        "priority",
        "tags",
        "enabled",
        "exceptions",
        "override",
        "zeta",
    ];
    let rule = subsequence(RULE, 0..=RULE.len()).prop_map(|keys| [&["rule"], &*keys].concat());
    let keys = prop_oneof![
        3 => rule,
        1 => Just(vec!["macro", "condition"]),
        1 => Just(vec!["list", "items"]),
    ];
    keys.prop_shuffle().prop_flat_map(|keys| keys.into_iter().map(entry).collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
struct File {
    items: Vec<(Vec<Entry>, usize, bool)>,
    column: usize,
    tail: bool,
}

fn file() -> impl Strategy<Value = File> {
    let item = (item(), 0..3_usize, any::<bool>());
    (proptest::collection::vec(item, 1..5), select(&[0, 2][..]), any::<bool>())
        .prop_map(|(items, column, tail)| File { items, column, tail })
}

impl File {
    /// The text, in which each comment has a number.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut number = 0;
        let mut comment = |key: &str| {
            number += 1;
            format!("# c{number} {key}.")
        };
        let indent = " ".repeat(self.column);
        for (entries, blanks, above) in &self.items {
            text.push_str(&"\n".repeat(*blanks));
            if *above {
                let _ = writeln!(text, "{indent}{}", comment("item"));
            }
            for (place, entry) in entries.iter().enumerate() {
                let Entry { key, value, above, beside } = entry;
                if *above && place > 0 {
                    let _ = writeln!(text, "{indent}  {}", comment(key));
                }
                let dash = if place == 0 { "- " } else { "  " };
                let value = value.replace('\n', &format!("\n{indent}"));
                let _ = write!(text, "{indent}{dash}{key}:{value}");
                // Behind a block there is no place for one.
                if *beside && !value.contains('\n') {
                    let _ = write!(text, " {}", comment(key));
                }
                text.push('\n');
            }
            if self.tail {
                let _ = writeln!(text, "{indent}   {}", comment("tail"));
            }
        }
        text
    }
}

/// Whether each comment stands where it did: above the same key, or beside it.
fn keeps_places(laid: &str) -> Result<(), TestCaseError> {
    let lines: Vec<_> = laid.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let Some((before, comment)) = line.split_once("# c") else { continue };
        let key = comment.split(' ').nth(1).expect("the key").trim_end_matches('.');
        if matches!(key, "item" | "tail") {
            continue;
        }
        let here = if before.trim().is_empty() {
            lines[number..].iter().map(|line| line.trim_start()).find(|line| !line.starts_with('#'))
        } else {
            Some(before)
        };
        let here = here.unwrap_or_default().trim_start_matches("- ").trim_start();
        prop_assert!(here.starts_with(&format!("{key}:")), "{key}: {line:?}\n{laid}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::default() })]

    #[test]
    fn random_files_stay_what_they_are(file in file()) {
        let laid = formatted(&file.text());
        keeps_places(&laid)?;
    }

    #[test]
    fn blanks_in_a_condition_do_not_matter(
        tokens in condition(),
        one in proptest::collection::vec(any::<u8>(), 40),
        other in proptest::collection::vec(any::<u8>(), 40),
    ) {
        let laid = |choices: &[u8]| {
            let text = written(&tokens, choices).replace('\n', "\n    ");
            formatted(&format!("- macro: m\n  condition: |\n    {text}\n"))
        };
        let (one, other) = (laid(&one), laid(&other));
        prop_assert_eq!(&one, &other);
        prop_assert!(!one.contains("condition: |"), "it was not laid out: {}", one);
        let head = one.lines().nth(1).expect("the condition").split_whitespace().nth(1);
        let is_block = head == Some(">");
        let fits = one.lines().all(|line| line.len() <= 100);
        prop_assert!(is_block || fits, "{}", one);
    }

    #[test]
    fn no_text_is_damaged(text in "(- (rule|macro|list|&a x|\\*a): ?|  [a-z]+: ?|[>|][+-]?|[#'\"\\[\\]{},: a-z~-]|\n *){0,40}") {
        match format(Source::new("f", &text)) {
            Ok(laid) => {
                prop_assert_eq!(format(Source::new("f", &laid)), Ok(laid.clone()));
                prop_assert_eq!(scalars(&text), scalars(&laid), "{}", laid);
            }
            // A last line of blanks without its end may be part of a value.
            Err(_) if text.ends_with(' ') => {}
            // That the result would be another has to be found before, item by item.
            Err(errors) => prop_assert_eq!(errors[0].code, Code::YamlParse, "{}", text),
        }
    }
}

/// The scalars of a text that is any YAML, sorted.
fn scalars(text: &str) -> Option<Vec<String>> {
    let mut scalars = Vec::new();
    for event in Parser::new_from_str(text) {
        if let (Event::Scalar(text, ..), _) = event.ok()? {
            scalars.push(squeezed(&text));
        }
    }
    scalars.sort();
    Some(scalars)
}
