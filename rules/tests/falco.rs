//! Falco's own rule files, if they are at hand: they load unchanged, and what the sensor can tell fires each rule.
#![allow(clippy::expect_used, reason = "a test may panic anywhere")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use shrike_rules::{Extent, Ruleset, Source, Support};

/// The published files, from the folder that `SHRIKE_FALCO_RULES` names, or beside the checkout.
fn files() -> Vec<(String, Vec<u8>)> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/falco-rules");
    let folder =
        std::env::var_os("SHRIKE_FALCO_RULES").map_or_else(|| beside.into(), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: there is no folder {}", folder.display());
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file")))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no rule file in {}", folder.display());
    files
}

fn load(files: &[(String, Vec<u8>)]) -> Ruleset {
    let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
    let loaded = Ruleset::load(&sources);
    let errors: Vec<_> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert!(!loaded.has_errors(), "{}", errors.join("\n"));
    loaded.ruleset
}

#[test]
fn each_file_loads_alone_and_all_of_them_together() {
    let files = files();
    for file in &files {
        assert!(!load(std::slice::from_ref(file)).rules().is_empty());
    }
    load(&files);
}

/// Rules that nothing can fire as they are published, and why.
const NEVER_TRUE: [(&str, &str); 4] = [
    ("Launch Disallowed Container", "whatever has an id is allowed until the macro is replaced"),
    ("Network Connection outside Local Subnet", "the list of namespaces is empty"),
    ("Detect outbound connections to common miner pool ports", "fd.sip.name has no value"),
    ("Contact K8S API Server From Container", "fd.sip.name has no value"),
];

/// For every rule that is about events of the sensor: one that fires it, and the least that must be there for that.
#[test]
fn every_rule_about_events_of_the_sensor_can_fire() {
    let ruleset = load(&files());
    let mut counts = [0; 3];
    for (index, rule) in ruleset.rules().iter().enumerate() {
        let extent = ruleset.support(index).expect("a rule").extent();
        counts[extent as usize] += 1;
        if extent == Extent::Never {
            assert!(ruleset.witness(index).is_none(), "{}", rule.name());
            continue;
        }
        let Some(event) = ruleset.witness(index) else {
            let is_known = NEVER_TRUE.iter().any(|(name, _)| *name == rule.name());
            assert!(is_known, "nothing fires {}: {}", rule.name(), rule.condition());
            continue;
        };
        assert!(ruleset.holds(index, &event), "{}", rule.name());
        let near_miss = ruleset.near_miss(index, &event);
        let near_miss = near_miss.unwrap_or_else(|| panic!("{}: {event:?}", rule.name()));
        assert!(!ruleset.holds(index, &near_miss), "{}", rule.name());
    }
    println!("fully, partly, never: {counts:?}");
}

/// What of each published rule is evaluated, as a page for those who have them.
///
/// Run with `SHRIKE_BLESS=1` to write it.
#[test]
fn the_page_of_the_published_rules_is_up_to_date() {
    let files = files();
    if files.is_empty() {
        return;
    }
    let page = page(&files);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/falco-rules.md");
    if std::env::var_os("SHRIKE_BLESS").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let kept = std::fs::read_to_string(path).expect("the page is there");
    let differs = std::iter::zip(page.lines(), kept.lines()).find(|(new, old)| new != old);
    assert!(page == kept, "run it with SHRIKE_BLESS=1: {differs:?}");
}

fn page(files: &[(String, Vec<u8>)]) -> String {
    let mut page = "\
# What of Falco's rules is evaluated

Each rule that Falco publishes, and how much of it shrike's sensor can tell: *fully*; *partly*, where some of the
events that it names are not emitted or a field of its condition never has a value, so that every check of it is false; or
*never*, where none of the events is emitted. A field that is absent in the output is shown as `<NA>`. Of a rule that is
never evaluated, events alone are listed.

`shrike rules list` tells the same of any files. [falco.md](falco.md) says what else differs. This page is written by
`SHRIKE_BLESS=1 cargo test -p shrike-rules --test falco`, and a test holds it against the files if they are at hand.
"
    .to_owned();
    for file in files {
        let name = Path::new(&file.0).file_name().expect("a name").display();
        let ruleset = load(std::slice::from_ref(file));
        let supports = (0..ruleset.rules().len()).filter_map(|place| ruleset.support(place));
        let supports: Vec<_> = supports.collect();
        let count = |extent| supports.iter().filter(|one| one.extent() == extent).count();
        let (rules, full, partial) = (supports.len(), count(Extent::Full), count(Extent::Partial));
        let never = count(Extent::Never);
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {name}\n\n{rules} rules: {full} fully, {partial} partly, {never} never.\n\n\
             | rule | evaluated | events missing | fields missing | absent in output |\n\
             |---|---|---|---|---|\n"
        );
        for (rule, support) in ruleset.rules().iter().zip(&supports) {
            let off = if rule.is_enabled() { "" } else { " (off)" };
            let Support { missing_events, missing_fields, absent_in_output, .. } = support;
            let events = missing_events.join(" ");
            let (fields, absent) = (missing_fields.join(" "), absent_in_output.join(" "));
            let extent = support.extent().name();
            let name = rule.name();
            let _ = writeln!(page, "| {name}{off} | {extent} | {events} | {fields} | {absent} |");
        }
    }
    page
}
