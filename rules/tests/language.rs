//! What conditions mean: precedence, operators, missing values, lists and macros.

mod support;

use shrike_rules::{Kind, KindSet, Matching, Options, Rule, Ruleset, Source};
use support::{Given, complaint, load, matches, rule};

fn shell() -> Given {
    Given::new(Kind::Exec)
        .with("evt.type", "execve")
        .with("evt.num", 7_u32)
        .with("evt.cpu", 1_u32)
        .with("proc.name", "myexe")
        .with("proc.cmdline", "myexe -c \"x=1, (y)\"")
        .with("proc.exepath", "/opt/Dir/myexe")
        .with("proc.is_exe_from_memfd", false)
        .with("proc.aname[0]", "myexe")
        .with("proc.aname[1]", "bash")
        .with("proc.aname[2]", "sshd")
        .with("proc.args", "-c x")
        .with("proc.args[0]", "-c")
        .with("user.uid", 0_u32)
}

#[test]
fn and_binds_tighter_than_or_and_not_to_one_check() {
    let event = shell();
    assert!(matches("proc.name=myexe or proc.name=a and proc.name=b", &event));
    assert!(!matches("(proc.name=myexe or proc.name=a) and proc.name=b", &event));
    assert!(matches("not proc.name=a and proc.name=myexe", &event));
    assert!(!matches("not (proc.name=a or proc.name=myexe)", &event));
    assert!(matches("not not proc.name=myexe", &event));
    assert!(matches("not(proc.name=a)and(proc.name=myexe)or(proc.name=b)", &event));
}

#[test]
fn every_operator_compares_as_documented() {
    let event = shell();
    let holds = [
        "proc.name = myexe",
        "proc.name == myexe",
        "proc.name != other",
        "proc.name exists",
        "proc.name in (sh, myexe)",
        "proc.name intersects (sh, myexe)",
        "proc.name contains yex",
        "proc.name icontains YEX",
        "proc.name startswith my",
        "proc.name endswith exe",
        "proc.name glob m?e*",
        "proc.name iglob MYE[X]?",
        "proc.exepath pmatch (/etc, /opt/*/)",
        "proc.cmdline contains \"x=1, (y)\"",
        "user.uid = 0 and user.uid != 1",
        "evt.num < 8 and evt.num <= 7 and evt.num > 6 and evt.num >= 7",
        "user.uid in (5, 0, -1)",
        "proc.is_exe_from_memfd = false and proc.is_exe_from_memfd != true",
        "proc.is_exe_from_memfd in (false)",
        "proc.name = oneof (myexe, bash) and proc.name != allof (bash, sh)",
        "proc.name startswith anyof (x, my)",
        "proc.name regex '(my|your)[a-z]+'",
        "proc.name > 1",
    ];
    for condition in holds {
        assert!(matches(condition, &event), "{condition}");
        assert!(!matches(&format!("not ({condition})"), &event), "not ({condition})");
    }
    let fails = [
        "proc.name in ()",
        "proc.name = \"\"",
        "proc.exepath pmatch (/op)",
        "proc.exepath contains dir",
        "proc.name glob my",
        "proc.name regex my",
        "proc.name < 1",
        "proc.name == oneof ()",
        "proc.is_exe_from_memfd = true",
        "user.uid > 0",
    ];
    for condition in fails {
        assert!(!matches(condition, &event), "{condition}");
    }
}

#[test]
fn regular_expressions_are_checked_when_they_are_loaded() {
    assert!(complaint("proc.name regex \"(\"").contains("invalid regex pattern"));
    assert!(complaint("proc.name regex \"a)(b\"").contains("help: unopened group"));
    assert!(complaint("proc.name regex \"(a{1000}){1000}\"").contains("size limit"));
    let event = Given::open("/tmp/x").with("fd.name", b"/tmp/\xff/x".to_vec());
    assert!(matches("fd.name regex \"/tmp/./x\"", &event));
}

#[test]
fn a_check_on_a_missing_value_is_false_and_its_negation_true() {
    let event = shell();
    for check in [
        "fd.name = a",
        "fd.name != a",
        "fd.name exists",
        "fd.name in (a)",
        "fd.name contains \"\"",
        "fd.name glob *",
        "fd.name pmatch (/)",
        "proc.pid >= 0",
        "evt.is_open_write = false",
        "evt.is_open_write != true",
        "proc.aname[3] != x",
    ] {
        assert!(!matches(check, &event), "{check}");
        assert!(matches(&format!("not {check}"), &event), "not {check}");
    }
}

#[test]
fn ancestors_are_walked_without_the_process_itself() {
    let event = shell();
    assert!(matches("proc.aname = sshd", &event));
    assert!(matches("proc.aname in (x, bash)", &event));
    assert!(!matches("proc.aname = myexe", &event));
    assert!(matches("proc.aname[0] = myexe and proc.aname[1] = bash", &event));
    assert!(!matches("proc.aname exists", &Given::new(Kind::Exec).with("evt.type", "execve")));
}

#[test]
fn arguments_are_one_text_or_one_of_them() {
    assert!(matches("proc.args = \"-c x\" and proc.args[0] = -c", &shell()));
    assert!(!matches("proc.args[1] exists", &shell()));
}

#[test]
fn values_that_are_not_text_are_compared_as_bytes() {
    let event = Given::new(Kind::FileOpen)
        .with("evt.type", "openat")
        .with("fd.name", b"/tmp/\xff\x01x".to_vec());
    assert!(matches(r#"fd.name = "/tmp/\xff\x01x" and fd.name startswith /tmp"#, &event));
}

#[test]
fn lists_and_macros_are_resolved() {
    let yaml = "
- list: inner
  items: [a, 'b c']
- list: outer
  items: [inner, myexe]
- macro: named
  condition: proc.name in (outer)
- macro: shell
  condition: named or proc.name = sh
- rule: r
  desc: d
  condition: evt.type = execve and not not shell
  output: o
  priority: info
";
    let loaded = load(yaml);
    assert_eq!(loaded.diagnostics, []);
    let count = |event: &Given| loaded.ruleset.matches(event).count();
    assert_eq!(count(&shell()), 1);
    assert_eq!(count(&shell().with("proc.name", "b c")), 1);
    assert_eq!(count(&shell().with("proc.name", "sh")), 1);
    assert_eq!(count(&shell().with("proc.name", "inner")), 0);
}

#[test]
fn rules_are_looked_at_for_the_kinds_that_can_satisfy_them() {
    let kinds = |condition: &str| load(&rule("r", condition)).ruleset.rules()[0].kinds();
    let opens = KindSet::from(Kind::FileOpen);
    assert_eq!(kinds("evt.type in (open, openat) and fd.name = a"), opens);
    assert_eq!(kinds("not evt.type != openat2"), opens);
    assert_eq!(kinds("evt.type startswith open or evt.type = file_open"), opens);
    assert_eq!(
        kinds("not (evt.type = execve or not evt.type in (execve, procexit))"),
        Kind::Exit.into()
    );
    assert_eq!(kinds("evt.type = chmod"), KindSet::NONE);
    assert_eq!(kinds("evt.num = 0"), KindSet::NONE);
    assert_eq!(kinds("evt.num >= 0 and proc.name = a"), KindSet::ALL);
    assert_eq!(kinds("evt.type = execve and evt.num = 0 or evt.type = clone"), Kind::Fork.into());
}

#[test]
fn the_first_rule_wins_unless_all_are_asked_for() {
    let yaml = rule("one", "evt.type = execve")
        + &rule("two", "proc.name = myexe")
        + &rule("three", "evt.type = openat");
    let names = |matching| {
        let options = Options { matching, ..Options::default() };
        let loaded = Ruleset::load_with(&[Source::new("f", &yaml)], &options);
        let event = shell();
        loaded.ruleset.matches(&event).map(|rule| rule.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(Matching::First), ["one"]);
    assert_eq!(names(Matching::All), ["one", "two"]);
}

#[test]
fn transformers_make_values_of_fields() {
    let event = Given::open("/opt/Tool.sh")
        .with("proc.name", "sh")
        .with("proc.pname", "sh")
        .with("proc.pid", 5_i64)
        .with("proc.ppid", 4_i64)
        .with("proc.args[0]", "-lp")
        .with("proc.args[1]", "8080")
        .with("proc.aname[2]", "Init");
    for (condition, holds) in [
        ("toupper(proc.name) = SH", true),
        ("tolower(proc.aname[2]) = init", true),
        ("basename(fd.name) in (Tool.sh, x)", true),
        ("basename(tolower(fd.name)) endswith .sh", true),
        ("len(fd.name) = 12", true),
        ("len(concat(proc.name, \"a\")) = 3", true),
        ("b64(concat(\"YWFh\", \"YmJi\")) = aaabbb", true),
        ("b64(fd.name) exists", false),
        ("join(\",\", (proc.pid, proc.name)) = \"5,sh\"", true),
        ("join(\",\", (proc.pid, proc.cmdline)) exists", false),
        ("getopt(proc.args, \"lp:\") intersects (l)", true),
        ("getopt(proc.args, \"lp:\") in (l, p, 8080)", true),
        ("getopt(proc.args, \"lp:\") in (l, p)", false),
        ("getopt(proc.args, \"lp:\")[p] = 8080", true),
        ("len(getopt(proc.args, \"lp:\")) = 3", true),
        ("proc.name = val(proc.pname)", true),
        ("proc.name != val(proc.pname)", false),
        ("proc.name in val(proc.pname)", true),
        ("proc.pid > val(proc.ppid)", true),
        ("fd.name icontains toupper(proc.pname)", true),
        ("fd.name endswith concat(\".\", proc.name)", true),
        ("proc.name = val(proc.cmdline)", false),
        ("not proc.name = val(proc.cmdline)", true),
    ] {
        assert_eq!(matches(condition, &event), holds, "{condition}");
    }
}

#[test]
fn transformers_are_typed() {
    for (condition, found) in [
        ("toupper(proc.pid) = a", "a text is expected, and this is a number"),
        ("len(proc.pid) = 1", "a text is expected, and this is a number"),
        ("len(proc.name) contains a", "operator contains is not allowed"),
        ("tolower(proc.aname) = a", "needs an index here"),
        ("concat(proc.name) = a", "concat() takes two texts or more"),
        ("concat(proc.name, proc.pid) = a", "a text is expected"),
        ("getopt(proc.name, \"a\") intersects (a)", "is no list"),
        ("getopt((\"-a\"), \"a\")[ab] = a", "an option is one character"),
        ("getopt((\"-a\"), \"a\") = a", "operator = is not allowed for the transformer, a list"),
        ("proc.name = val(proc.pid)", "proc.name, a text, is compared with a number"),
        ("proc.name regex val(proc.pname)", "operator regex takes constants only"),
        ("proc.name = val(proc.aname[2])", "proc.aname cannot be on the right-hand side"),
        ("fd.ip = val(fd.sip)", "fd.ip can be compared with constants only"),
    ] {
        let text = complaint(condition);
        assert!(text.contains(found), "{condition}: {text}");
    }
}

/// What `docs/falco.md` tells of conditions.
#[test]
fn what_differs_from_falco_is_as_its_page_says() {
    let address = |text: &str| shrike_rules::Value::Address(text.parse().expect("an address"));
    let event = Given::new(Kind::Connect)
        .with("evt.type", "connect")
        .with("evt.dir", "<")
        .with("proc.name", "a12")
        .with("fd.rip", address("192.0.2.1"))
        .with("fd.lip", address("198.51.100.4"))
        .with("fd.rport", 443_u32);
    for condition in [
        "fd.ip intersects (198.51.100.4) and fd.net intersects (192.0.2.0/24)",
        "fd.port intersects (443) and fd.ip exists and fd.net exists and fd.port exists",
        "not fd.net = ::/0",
        "fd.rport = https",
        "proc.name regex a\\d+ and proc.name regex '(?i)A[0-9]+'",
        "evt.dir = <",
    ] {
        assert!(matches(condition, &event), "{condition}");
    }
    assert!(!matches("fd.ip exists or fd.net exists or fd.port exists", &Given::open("/etc/x")));
    for condition in [
        "proc.name regex '(a)\\\\1'",
        "proc.name regex '(?=a)a12'",
        "proc.pid = 0x1f",
        "proc.pid = 1.5",
        "proc.pid = 1e+3",
    ] {
        assert!(complaint(condition).starts_with("error"), "{condition}");
    }
    assert!(complaint("evt.type = umount2").contains("LOAD_NO_SENSOR"));
    for accepted in [
        "- required_plugin_versions: [{name: container, version: 99.0.0}]\n".to_owned(),
        rule("r", "evt.type = execve and evt.dir = <"),
        rule("r", "evt.type = execve and proc.name regex sh"),
        rule("r", "evt.type = execve and proc.name = tolower"),
    ] {
        assert_eq!(load(&accepted).diagnostics, [], "{accepted}");
    }
    // An item with a mistake takes nothing with it.
    let loaded = load(&(rule("a", "evt.type =") + &rule("b", "evt.type = fork")));
    let names: Vec<_> = loaded.ruleset.rules().iter().map(Rule::name).collect();
    assert_eq!(names, ["b"]);
}

/// However many rules there are, so that they are found by what they ask for.
#[test]
fn a_path_with_repeated_slashes_is_found() {
    let connected =
        Given::new(Kind::Connect).with("evt.type", "connect").with("fd.name", "//run//docker.sock");
    let item = |name: &str, condition: &str| {
        format!("- {{rule: {name}, desc: d, condition: {condition}, output: o, priority: info}}\n")
    };
    let others =
        (0..9).map(|number| item(&format!("R{number}"), "evt.type = connect and fd.name = /x"));
    let text = others.collect::<Vec<_>>().concat()
        + &item("T", "evt.type = connect and fd.name pmatch (/run/docker.sock)");
    let loaded = Ruleset::load(&[Source::new("r", &text)]);
    let names: Vec<_> = loaded.ruleset.matches(&connected).map(Rule::name).collect();
    assert_eq!(names, ["T"], "{:?}", loaded.diagnostics);
}

#[test]
fn arguments_of_events_are_texts_and_as_they_are() {
    let event = |result: i64, name: &str| {
        Given::new(Kind::Exec)
            .with("evt.type", "execve")
            .with("proc.pid", 7_u32)
            .with("thread.cap_effective", "CAP_SYS_ADMIN")
            .with("evt.rawres", result)
            .with("evt.res", name.to_owned())
    };
    let (done, failed) = (event(0, "SUCCESS"), event(-2, "ENOENT"));
    for (condition, of_done, of_failed) in [
        ("evt.arg.pid = 7", true, true),
        ("evt.arg[4] = 7", true, true),
        ("evt.rawarg.pid = 7", true, true),
        ("evt.arg.res = 0", true, false),
        ("evt.arg.res = ENOENT", false, true),
        ("evt.rawarg.res < 0", false, true),
        // What the sensor tells by name is no number.
        ("evt.rawarg.cap_effective exists", false, false),
        ("evt.arg.cap_effective contains SYS_ADMIN", true, true),
    ] {
        let holds = |event: &Given| matches(condition, event);
        assert_eq!((holds(&done), holds(&failed)), (of_done, of_failed), "{condition}");
    }
}
