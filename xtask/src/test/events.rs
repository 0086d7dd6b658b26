//! `docs/events.md`: the kinds of event as they are declared, and in which guests each was seen to be
//! told whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use shrike_common::{Kind, Need};

use super::report::{Outcome, Report};

/// Where it is written, in the workspace.
pub const PATH: &str = "docs/events.md";

/// How the part that comes from the results begins.
const RESULTS: &str = "## What was seen\n";

/// The whole page.
pub fn page(report: &Report) -> String {
    declaration() + &results(report)
}

/// The part that comes from the declaration.
fn declaration() -> String {
    let mut text = String::from(
        "# Events\n\nWritten by `cargo xtask test --full`, from the declaration of the kinds in \
         `common/src/kinds.rs` and from the results of the tests. Rules see events through \
         [fields](../README.md) of their own; `shrike events --json` shows these.\n\n\
         Every event also tells who acted: process, thread and parent, user ids, effective, \
         permitted and inheritable capabilities, name, cgroup, the eight namespaces, whether the task is a container's, the \
         system call and its table, CPU, time and sequence number.\n",
    );
    for &kind in Kind::ALL {
        let need = match kind.need() {
            Need::Always => "always sent",
            Need::Asked => "sent if a rule or a reader asks",
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n## `{}`\n\n{}\n\nLane `{}`; {need}.\n",
            kind.name(),
            plain(kind.doc()),
            kind.lane().name()
        );
        let fields = kind.declared().iter().filter(|field| field.name != "reserved");
        let rows: Vec<String> = fields
            .map(|field| {
                let doc = plain(field.doc).replace('|', "\\|");
                format!("| `{}` | {} | {doc} |\n", field.name, type_name(field.ty))
            })
            .collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n| field | type | |\n| --- | --- | --- |\n{}", rows.concat());
        }
    }
    text.push('\n');
    text
}

/// What a type is in JSON.
fn type_name(ty: &str) -> &str {
    match ty {
        "Address" => "IP address",
        "Namespaces" => "numbers by type",
        "Span" => "text",
        "[u8; 16]" => "name",
        "StartTime" => "nanoseconds of boot time",
        _ => "number",
    }
}

/// A comment without the links that only its own documentation can follow.
fn plain(doc: &str) -> String {
    let mut text = String::new();
    let mut rest = doc.trim();
    while let Some((before, link)) = rest.split_once("[`") {
        text += before;
        let Some((name, after)) = link.split_once("`]") else { break };
        let _ = write!(text, "`{name}`");
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    text + rest
}

/// The part that comes from the results: a row for each kind and outcome, a column for each guest.
fn results(report: &Report) -> String {
    let mut guests = BTreeSet::new();
    let mut cells: BTreeMap<(&str, &str), BTreeMap<&str, &str>> = BTreeMap::new();
    for entry in report.of("matrix").filter(|entry| entry.outcome == Outcome::Ok) {
        guests.insert(entry.place.as_str());
        for line in entry.message.lines() {
            let cell = line.strip_prefix("cell ").and_then(|cell| cell.split_once(": "));
            let Some((outcome, result)) = cell else { continue };
            cells.entry((&entry.test, outcome)).or_default().insert(&entry.place, result);
        }
    }
    let mut text = format!(
        "{RESULTS}\nIn each kind of guest (kernel, whether `bpf` is among the active security modules, \
         full preemption), a process did each of these things and said what it knows of itself; the \
         whole event was compared with that, and there was one. `n/a` tells why there cannot be one.\n\n"
    );
    let columns: Vec<&str> = guests.iter().copied().collect();
    let _ = writeln!(text, "| kind | outcome | {} |", columns.join(" | "));
    let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(columns.len()));
    for ((kind, outcome), results) in &cells {
        let row: Vec<&str> =
            columns.iter().map(|guest| results.get(guest).copied().unwrap_or("missing")).collect();
        let _ = writeln!(text, "| `{kind}` | {outcome} | {} |", row.join(" | "));
    }
    let all = cells.values().flat_map(BTreeMap::values);
    let (ok, other): (Vec<&str>, Vec<&str>) = all.partition(|result| **result == "ok");
    let _ =
        writeln!(text, "\n{} cells: {} ok, {} n/a.", ok.len() + other.len(), ok.len(), other.len());
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test::report::Entry;
    use crate::workspace;

    /// The part from the declaration is written by this test when `SHRIKE_BLESS` is set.
    #[test]
    fn the_page_has_every_kind_as_it_is_declared() {
        let path = workspace::root().join(PATH);
        let written = fs::read_to_string(&path).unwrap_or_default();
        let results = written.find(RESULTS).map_or("", |at| &written[at..]);
        let page = declaration() + results;
        if std::env::var_os("SHRIKE_BLESS").is_some() {
            fs::write(&path, page).unwrap();
        } else {
            assert_eq!(written, page, "docs/events.md is old: run this test with SHRIKE_BLESS=1");
        }
    }

    #[test]
    fn links_are_left_out() {
        assert_eq!(plain(" The [`Lane`](crate::Lane) and [`Pid`]."), "The `Lane` and `Pid`.");
    }

    #[test]
    fn a_cell_is_a_kind_an_outcome_and_a_guest() {
        let entry = |place: &str, message: &str| Entry {
            place: place.into(),
            suite: "matrix".into(),
            test: "exec".into(),
            outcome: Outcome::Ok,
            count: 1,
            seconds: 0.0,
            message: message.into(),
        };
        let mut report = Report::default();
        report.add(entry("6.1-bpf", "cell allowed: ok\ncell denied: n/a: never"));
        report.add(entry("6.12-bpf", "cell allowed: ok"));
        let text = results(&report);
        assert!(text.contains("| kind | outcome | 6.1-bpf | 6.12-bpf |\n"), "{text}");
        assert!(text.contains("| `exec` | allowed | ok | ok |\n"), "{text}");
        assert!(text.contains("| `exec` | denied | n/a: never | missing |\n"), "{text}");
        assert!(text.ends_with("\n3 cells: 2 ok, 1 n/a.\n"), "{text}");
    }
}
