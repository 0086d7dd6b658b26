//! Falco's own rule files, if they are at hand: they load unchanged, and what the sensor can tell fires each rule.

use std::path::PathBuf;

use shrike_rules::{Extent, Ruleset, Source};

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
            println!("nothing found for {}: {}", rule.name(), rule.condition());
            continue;
        };
        assert!(ruleset.holds(index, &event), "{}", rule.name());
        let near_miss = ruleset.near_miss(index, &event).expect(rule.name());
        assert!(!ruleset.holds(index, &near_miss), "{}", rule.name());
    }
    println!("fully, partly, never: {counts:?}");
}
