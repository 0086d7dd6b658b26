use super::*;

fn formatted(text: &str) -> String {
    let once = format(Source::new("f", text)).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    assert_eq!(format(Source::new("f", &once)).as_deref(), Ok(once.as_str()), "of\n{text}");
    once
}

/// A macro with a condition that starts beneath its key, at the column of blocks.
fn laid(condition: &str) -> String {
    let macro_ = format!("- macro: m\n  condition: |\n    {}\n", condition.replace('\n', "\n    "));
    formatted(&macro_).strip_prefix("- macro: m\n  condition:").expect("the key").to_owned()
}

/// What stays as it is.
fn kept(text: &str) {
    assert_eq!(formatted(text), text);
}

#[test]
fn conditions_that_fit_are_one_line() {
    assert_eq!(laid("a.b=c"), " a.b = c\n");
    assert_eq!(
        laid("( a.b=c and\n  not(d) )or not  not e"),
        " (a.b = c and not (d)) or not not e\n"
    );
    assert_eq!(
        laid("a.b in(a ,\"b c\",'d')and a.c>=0x1F"),
        " a.b in (a, \"b c\", 'd') and a.c >= 0x1F\n"
    );
    assert_eq!(laid("a.b[ c]==d"), " |\n    a.b[ c]==d\n", "it does not parse");
    assert_eq!(laid("a.b[c]==d and a.b['x y'] exists"), " a.b[c] == d and a.b['x y'] exists\n");
    assert_eq!(laid("a.b= anyof (l,m)or a.b=anyof"), " a.b = anyof (l, m) or a.b = anyof\n");
    assert_eq!(laid("a.b in ( )"), " a.b in ()\n");
    assert_eq!(
        laid("tolower( a.b )=concat(a.b,\"x\")and join( ',',( a.b,len( c.d) ) ) = x"),
        " tolower(a.b) = concat(a.b, \"x\") and join(',', (a.b, len(c.d))) = x\n"
    );
    assert_eq!(laid("getopt(a.b , 'x:')[ x]=y"), " |\n    getopt(a.b , 'x:')[ x]=y\n");
    assert_eq!(laid("getopt(a.b , 'x:')[x]=val(c.d)"), " getopt(a.b, 'x:')[x] = val(c.d)\n");
}

#[test]
fn conditions_are_folded_where_plain_text_would_be_something_else() {
    assert_eq!(laid("a.b = \"c: d\""), " >\n    a.b = \"c: d\"\n");
    assert_eq!(laid("a.b = 'c #d'"), " >\n    a.b = 'c #d'\n");
    assert_eq!(laid("null"), " >\n    null\n");
    assert_eq!(laid("not null"), " not null\n");
}

#[test]
fn longer_conditions_show_their_structure() {
    let name = "x".repeat(36);
    assert_eq!(
        laid(&format!("a.b={name} and not (c.d={name} or e.f in ({name},{name}) or g) and h or i")),
        format!(
            " >
    a.b = {name}
      and not (
        c.d = {name}
        or e.f in ({name}, {name})
        or g
      )
      and h
    or i
"
        )
    );
    assert_eq!(
        laid(&format!("not ((b.c = {name} and ((not d.e in ({name},{name})))))")),
        format!(
            " >
    not ((
      b.c = {name}
      and ((not d.e in (
        {name}, {name}
      )))
    ))
"
        )
    );
    let words = ["aaaaaaaaa"; 12].join(",");
    assert_eq!(
        laid(&format!("a and not b.c in ({words})")),
        format!(
            " >
    a
    and not b.c in (
      {}
      aaaaaaaaa, aaaaaaaaa, aaaaaaaaa, aaaaaaaaa
    )
",
            "aaaaaaaaa, ".repeat(8).trim_end()
        )
    );
}

#[test]
fn a_line_is_as_wide_as_it_may_be() {
    let fits = "x".repeat(WIDTH - "  condition: a.b = ".len());
    assert_eq!(laid(&format!("a.b={fits}")), format!(" a.b = {fits}\n"));
    assert_eq!(laid(&format!("a.b={fits}x")), format!(" >\n    a.b = {fits}x\n"));
    let fits = "x".repeat(WIDTH - "  items: []".len());
    assert_eq!(
        formatted(&format!("- list: l\n  items: [\n    {fits}]\n")),
        format!("- list: l\n  items: [{fits}]\n")
    );
    assert_eq!(
        formatted(&format!("- list: l\n  items: [{fits}, y]\n")),
        format!("- list: l\n  items: [\n    {fits}, y\n    ]\n")
    );
}

#[test]
fn keys_have_one_order_and_take_their_comments_along() {
    let written = "\
# file

  -   priority: INFO # loud
      # about the tags
      tags: # why
        - a

        - b
      # about the name
      rule: r
      zeta: 1
      output: 'o'
      condition: a
      desc: d
      # last
  # next
  - list: l
    items: []";
    let canonical = "\
# file

# about the name
- rule: r
  desc: d
  condition: a
  output: o
  priority: INFO # loud
  # about the tags
  tags: # why
    - a

    - b
  zeta: 1
  # last

# next
- list: l
  items: []
";
    assert_eq!(formatted(written), canonical);
}

#[test]
fn blank_lines_separate_items_and_comments_keep_theirs() {
    assert_eq!(
        formatted(
            "\n\n# a\n\n\n# b\n- macro: m\n\n  condition: x\n# c\n\n\n- macro: n\n  condition: y\n\n\n# d\n\n"
        ),
        "# a\n\n# b\n- macro: m\n  condition: x\n\n# c\n\n- macro: n\n  condition: y\n\n# d\n"
    );
    for text in ["", "# only\n", "---\n", "# a\n---\n- macro: m\n  condition: x\n...\n# b\n"] {
        let laid = formatted(text);
        assert_eq!(laid.replace("\n\n", "\n"), text);
    }
    assert_eq!(formatted("# a"), "# a\n");
}

#[test]
fn a_comment_within_a_value_keeps_the_value_as_it_is() {
    kept("- list: l\n  items: [a,\n    # in\n    b] # beside\n");
    kept("- list: l\n  items:\n    - a # first\n    - b\n");
    kept("- list: l\n  items:\n    - a\n    # - b\n  append: true\n");
    kept("- macro: m\n  condition: > # why\n    a  and\n    b\n");
    assert_eq!(
        formatted("-   list: l\n    items: [a,\n      # in\n      b]\n"),
        "- list: l\n  items: [a,\n    # in\n    b]\n"
    );
}

#[test]
fn a_comment_below_a_list_at_the_column_of_its_key_is_the_next_keys() {
    assert_eq!(
        formatted(
            "- rule: r\n  exceptions:\n  - [a,  b]\n  # on\n  enabled: true\n  tags:\n  - [a]\n  # c\n"
        ),
        "- rule: r\n  tags:\n    - [a]\n  # on\n  enabled: true\n  exceptions:\n    - [a, b]\n  # c\n"
    );
}

#[test]
fn text_is_the_same_after_folding() {
    let long = "word ".repeat(30);
    let long = long.trim_end();
    let (first, second) = long.split_at("word ".len() * 19);
    let lines = format!("{}\n    {second}\n", first.trim_end());
    let rule = |text: &str| format!("- rule: r\n  output:{text}");
    assert_eq!(formatted(&rule(&format!(" {long}\n"))), rule(&format!(" >-\n    {lines}")));
    assert_eq!(formatted(&rule(&format!(" \"{long}\"\n"))), rule(&format!(" >-\n    {lines}")));
    assert_eq!(formatted(&rule(&format!(" >\n   {long}\n"))), rule(&format!(" >\n    {lines}")));
    assert_eq!(formatted(&rule(" >-\n   a\n   b\n")), rule(" a b\n"));
    assert_eq!(formatted(&rule(" >-\n   a\n\n   b\n")), rule(" >-\n    a\n\n    b\n"));
    assert_eq!(formatted(&rule(" >\n   a\n   b\n")), rule(" >\n    a b\n"));
    assert_eq!(formatted(&rule(" |\n   a\n\n    b\n")), rule(" |\n    a\n\n     b\n"));
    kept(&rule(" >\n    a\n      b\n    c\n"));
    kept(&rule(" |2\n     a\n    b\n"));
    kept(&rule(" \"a\\n b\"\n"));
}

#[test]
fn quotes_stay_where_they_are_needed() {
    let list = |items: &str| format!("- list: l\n  items: [{items}]\n");
    assert_eq!(formatted(&list("\"a\", 'b c', '/d'")), list("a, b c, /d"));
    kept(&list("'1', \"true\", 'a, b', \"\", '\"q\"', \"\\t\", '[', 'a: b', 'a #b', '~'"));
    assert_eq!(formatted("- rule: 'it''s'\n"), "- rule: it's\n");
    assert_eq!(formatted("- rule: 'a, [b]'\n"), "- rule: a, [b]\n");
    assert_eq!(formatted("- rule: 'a\n    b: c'\n"), "- rule: 'a b: c'\n");
}

#[test]
fn collections_have_one_entry_a_line() {
    assert_eq!(
        formatted(
            "- rule: r\n  override: {tags: append}\n  exceptions: [{name: e, fields: [a.b, c.d], \
             values: [[x, [y, z]], [v, w]]}, {name: f, fields: a.b}]\n"
        ),
        "- rule: r
  exceptions:
    - name: e
      fields: [a.b, c.d]
      values:
        - [x, [y, z]]
        - [v, w]
    - name: f
      fields: a.b
  override:
    tags: append
"
    );
}

#[test]
fn what_is_unusual_stays_as_it_is() {
    for item in [
        "- list: &a l\n  items:   [ x ]\n",
        "- macro: m\n  condition: !x   a\n",
        "- *a\n",
        "-\n",
        "- ~\n",
        "- - a\n  -   b\n",
        "- plain   text\n",
        "- {list: l,   items: [a]}\n",
        "- ? list\n  : l\n",
        "- rule: a\n  tags: []\n  rule: b\n",
        "- list: l\n  items:\n    -\n    - a\n    -\n",
        "- macro: m\n  condition: |+\n    a\n\n\n",
    ] {
        let text = format!("- list: &a b\n\n{item}");
        let laid = formatted(&format!("{text}- macro: n\n  condition: a.b=c\n"));
        let separator = if item.ends_with("\n\n") { "" } else { "\n" };
        assert_eq!(laid, format!("{text}{separator}- macro: n\n  condition: a.b = c\n"));
    }
    for text in ["{list:   l}\n", "plain   text\n", "[{list: l}]\n", "--- !t\n- list:   l\n"] {
        kept(text);
    }
}

#[test]
fn line_breaks_become_those_of_unix() {
    assert_eq!(
        formatted("\u{feff}# a\r\n- rule: r\r\n  output: |\r\n    a\r\n    b\r\n"),
        "# a\n- rule: r\n  output: |\n    a\n    b\n"
    );
}

#[test]
fn what_is_no_yaml_is_refused() {
    let refused = |text: &[u8]| format(Source::new("f", text)).unwrap_err()[0].code;
    assert_eq!(refused(b"- a: [b\n"), Code::YamlParse);
    assert_eq!(refused(b"- a: \xff\n"), Code::YamlParse);
}

#[test]
fn a_difference_is_noticed() {
    let differ = |before: &str, after: &str| !is_same(&Outline::of(before).unwrap(), after);
    let rule = "- rule: r\n  condition: a and b or c\n  tags: [x, y] # c\n";
    assert!(!differ(rule, "- rule: r # c\n  tags: [x, 'y']\n  condition: a and  b or c\n"));
    for other in [
        rule.replace("b or", "b) or").replace("a and", "(a and").replace("or c", "or d"),
        rule.replace("a and b or c", "a and (b or c)"),
        rule.replace("a and", "not a and"),
        rule.replace("x, y", "y, x"),
        rule.replace(", y", ""),
        rule.replace("rule: r", "rule: R"),
        rule.replace("# c", ""),
        rule.replace("# c", "# d"),
        rule.replace("# c", "# c # c"),
        rule.replace("tags", "tag"),
        format!("{rule}- macro: m\n"),
        format!("{rule}---\n[]\n"),
        String::new(),
    ] {
        assert!(differ(rule, &other), "{other}");
    }
}

#[test]
fn hostile_files_take_little() {
    let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(laid(&nested(199)), format!(" >\n    {}\n", nested(199)));
    assert_eq!(laid(&nested(200)), format!(" |\n    {}\n", nested(200)));
    let negated = format!("- macro: m\n  condition: {}a\n", "not ".repeat(100_000));
    assert_eq!(formatted(&negated).matches("not").count(), 100_000);
    let levels = (1..60).map(|level| format!("- &a{level} [*a{0}, *a{0}]\n\n", level - 1));
    let bomb = String::from("- &a0 [x]\n\n") + &levels.collect::<String>();
    kept(bomb.strip_suffix('\n').expect("a line"));
    let many = "- macro: m\n  condition: a.b=c\n".repeat(2_000);
    assert_eq!(formatted(&many).len(), many.len() + 2_000 * 2 + 1_999);
}
