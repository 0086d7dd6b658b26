//! What was found in rule files, as far as anybody would read it: a file with a million mistakes
//! has a few hundred diagnostics, and one that says how many more there are.

use std::collections::HashMap;

use crate::diagnose::{Code, Diagnostic, Severity};
use crate::source::SourceFile;

/// The most errors, and the most warnings, that are kept of one file.
pub(crate) const MAX_OF_FILE: usize = 500;

/// Diagnostics, limited in number.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    files: HashMap<String, Counts>,
    was_last_kept: bool,
}

/// How many diagnostics a file has.
#[derive(Debug, Default)]
struct Counts {
    errors: usize,
    warnings: usize,
    dropped: usize,
}

impl Counts {
    fn of(&mut self, severity: Severity) -> &mut usize {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        }
    }
}

impl Findings {
    /// Whether another diagnostic of the file would not be kept; it is counted then, so that it need
    /// not be made.
    pub(crate) fn drops(&mut self, file: &SourceFile<'_>, code: Code) -> bool {
        let Some(counts) = self.files.get_mut(file.name()) else { return false };
        let is_full = *counts.of(code.severity()) >= MAX_OF_FILE;
        counts.dropped += usize::from(is_full);
        self.was_last_kept &= !is_full;
        is_full
    }

    /// Adds a diagnostic.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.files.contains_key(&diagnostic.file) {
            self.files.insert(diagnostic.file.clone(), Counts::default());
        }
        let Some(counts) = self.files.get_mut(&diagnostic.file) else { return };
        let count = counts.of(diagnostic.severity);
        self.was_last_kept = *count < MAX_OF_FILE;
        if self.was_last_kept {
            *count += 1;
            self.kept.push(diagnostic);
        } else {
            counts.dropped += 1;
        }
    }

    /// Adds what another part of the loader found.
    pub(crate) fn extend(&mut self, other: Self) {
        for diagnostic in other.kept {
            self.push(diagnostic);
        }
        for (file, counts) in other.files {
            self.files.entry(file).or_default().dropped += counts.dropped;
        }
    }

    /// What was added last, if it was kept.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Diagnostic> {
        self.kept.last_mut().filter(|_| self.was_last_kept)
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Takes back what was added after there were so many.
    pub(crate) fn truncate(&mut self, length: usize) {
        for diagnostic in self.kept.drain(length..) {
            if let Some(counts) = self.files.get_mut(&diagnostic.file) {
                *counts.of(diagnostic.severity) -= 1;
            }
        }
    }

    /// Every diagnostic in the order of files and places, and for each file how many more there are.
    pub(crate) fn finish(mut self, files: &[SourceFile<'_>]) -> Vec<Diagnostic> {
        let mut order = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            order.entry(file.name()).or_insert(index);
            let dropped =
                self.files.get_mut(file.name()).map(|counts| std::mem::take(&mut counts.dropped));
            if let Some(dropped @ 1..) = dropped {
                let end = file.text().len()..file.text().len();
                self.kept.push(file.diagnostic(Code::More, &end, format!("and {dropped} more")));
            }
        }
        self.kept.sort_by_key(|diagnostic| {
            let Diagnostic { file, line, column, code, .. } = diagnostic;
            (order.get(file.as_str()).copied(), *code == Code::More, *line, *column)
        });
        self.kept
    }
}
