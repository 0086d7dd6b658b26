//! The doctor's findings, for people and for programs.

use std::fmt::{self, Display, Write as _};

use serde::Serialize;

/// Lines for people are wrapped at this width.
const WIDTH: usize = 100;

/// What the doctor found about one requirement.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// What was looked at; never changes, so that programs can rely on it.
    pub(crate) name: &'static str,
    /// What is there.
    pub(crate) found: String,
    /// What that means.
    #[serde(flatten)]
    pub(crate) status: Status,
}

/// Whether a requirement is met.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub(crate) enum Status {
    /// It is.
    Ok,
    /// Shrike runs, and sees or does less.
    Warning(Advice),
    /// Shrike does not run, or is blind.
    Failed(Advice),
}

/// What to know about a requirement that is not met.
#[derive(Debug, Serialize)]
pub(crate) struct Advice {
    /// Why it matters.
    pub(crate) why: String,
    /// What to do.
    pub(crate) cure: String,
}

/// Everything that the doctor found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    met: bool,
    pub(super) checks: Vec<Check>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), status: Status::Ok }
    }

    pub(super) fn warning(
        name: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let status = Status::Warning(Advice { why: why.into(), cure: cure.into() });
        Self { name, found: found.into(), status }
    }

    pub(super) fn failed(
        name: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let status = Status::Failed(Advice { why: why.into(), cure: cure.into() });
        Self { name, found: found.into(), status }
    }
}

impl Report {
    pub(super) fn new(checks: Vec<Check>) -> Self {
        let met = !checks.iter().any(|check| matches!(check.status, Status::Failed(_)));
        Self { met, checks }
    }

    /// Whether shrike can do its work here: no requirement failed.
    pub(crate) fn is_met(&self) -> bool {
        self.met
    }

    /// The findings as a table for a terminal.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut table = Table {
            text: String::new(),
            indent: 2 + self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0) + 2,
            colour,
        };
        let (mut met, mut partly, mut failed) = (0, 0, 0);
        for check in &self.checks {
            table.row(check);
            match check.status {
                Status::Ok => met += 1,
                Status::Warning(_) => partly += 1,
                Status::Failed(_) => failed += 1,
            }
        }
        table.line(format_args!("\n{met} met, {partly} met in part, {failed} not met"));
        table.text
    }
}

/// A table under construction.
struct Table {
    text: String,
    /// Where the column of the findings starts.
    indent: usize,
    colour: bool,
}

impl Table {
    fn row(&mut self, check: &Check) {
        let (mark, code, advice) = match &check.status {
            Status::Ok => ('✓', "32", None),
            Status::Warning(advice) => ('!', "33", Some(advice)),
            Status::Failed(advice) => ('✗', "31", Some(advice)),
        };
        let name = self.indent - 2;
        let head = format!("{mark} {:name$}", check.name);
        let painted = head.replacen(mark, &self.paint(code, mark), 1);
        self.paragraph(&painted, self.indent, &check.found);
        if let Some(Advice { why, cure }) = advice {
            let indent = self.indent;
            for (label, words) in [("why", why), ("cure", cure)] {
                let label = self.paint("2", format_args!("{label:6}"));
                self.paragraph(&format!("{:indent$}{label}", ""), indent + 6, words);
            }
        }
    }

    /// Writes words behind a head and wraps them, never within a word: an option that is to be
    /// copied stays in one piece.
    fn paragraph(&mut self, head: &str, indent: usize, words: &str) {
        let mut line = String::new();
        let mut head = head.to_owned();
        for word in words.split(' ') {
            let width = indent + line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && width > WIDTH {
                self.line(format_args!("{head}{line}"));
                head = " ".repeat(indent);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(format_args!("{head}{line}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Check::ok("kernel", "6.12.0"),
            Check::warning(
                "bpf-lsm",
                "not active",
                "without it the kernel's answer to every question of the probes comes from elsewhere, \
                 which is worse",
                "add lsm=lockdown,capability,landlock,yama,bpf,apparmor to the kernel command line",
            ),
            Check::failed("btf", "missing", "it is needed", "boot another kernel"),
        ])
    }

    const TABLE: &str = "\
✓ kernel   6.12.0
! bpf-lsm  not active
           why   without it the kernel's answer to every question of the probes comes from
                 elsewhere, which is worse
           cure  add lsm=lockdown,capability,landlock,yama,bpf,apparmor to the kernel command line
✗ btf      missing
           why   it is needed
           cure  boot another kernel

1 met, 1 met in part, 1 not met
";

    #[test]
    fn renders_a_table() {
        assert_eq!(report().render(false), TABLE);
    }

    #[test]
    fn paints_the_table_if_asked_to() {
        let painted = report().render(true);
        assert!(painted.contains("\x1b[32m✓\x1b[0m kernel   6.12.0\n"), "{painted}");
        assert!(painted.contains("\x1b[33m!\x1b[0m bpf-lsm  not active\n"), "{painted}");
        assert!(painted.contains("\x1b[31m✗\x1b[0m btf      missing\n"), "{painted}");
        assert!(painted.contains("\x1b[2mwhy   \x1b[0mit is needed\n"), "{painted}");
        let mut plain = painted;
        for code in ["\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, TABLE);
    }

    #[test]
    fn keeps_a_long_word_in_one_piece() {
        let option = format!("lsm={}", "capability,".repeat(12));
        let report =
            Report::new(vec![Check::warning("lsm", "off", "why", format!("add {option}"))]);
        let rendered = report.render(false);
        assert!(rendered.lines().any(|line| line.trim() == option), "{rendered}");
    }

    #[test]
    fn serialises_for_programs() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(value["met"], json!(false));
        assert_eq!(
            value["checks"][0],
            json!({"name": "kernel", "found": "6.12.0", "status": "ok"})
        );
        assert_eq!(value["checks"][1]["status"], json!("warning"));
        assert_eq!(
            value["checks"][2],
            json!({
                "name": "btf",
                "found": "missing",
                "status": "failed",
                "why": "it is needed",
                "cure": "boot another kernel",
            })
        );
    }

    #[test]
    fn is_met_as_long_as_nothing_failed() {
        assert!(!report().is_met());
        let warned = Report::new(vec![Check::warning("a", "b", "c", "d"), Check::ok("e", "f")]);
        assert!(warned.is_met());
    }
}
