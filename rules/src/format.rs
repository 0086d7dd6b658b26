//! Rule files in their canonical form: one way to lay out what means the same, comments kept.
//!
//! A file is cut into its items and what stands between them. Each item is laid out anew entry by
//! entry; an entry that cannot be, because a comment stands in its middle or because it is of an
//! unusual kind, stays as it is written, and so does an item with anchors, aliases or tags.
//! Nothing is handed out that was not read again and found to be the same.

mod condition;
mod fill;
mod item;
mod meaning;
mod outline;
mod scalar;
mod value;

use crate::diagnose::{Code, Diagnostic};
use crate::ruleset::Source;
use crate::source::{self, SourceFile};
use crate::yaml;
use outline::{Gap, Outline};

/// The most columns of a line, where it can be broken.
const WIDTH: usize = 100;

/// Lays a rule file out in the canonical form.
///
/// The result loads to the same definitions, has the same comments, and is its own canonical form.
/// A condition that does not parse stays as it is written: this is no check of the rules.
///
/// The diagnostics say why there is no result: the text is not YAML, or laying it out would change
/// what it means.
///
/// ```
/// use shrike_rules::{Source, format};
///
/// let rules = "- macro: shell\n  condition: (proc.name in (sh,bash))  # and others\n";
/// let canonical = "- macro: shell\n  condition: (proc.name in (sh, bash)) # and others\n";
/// assert_eq!(format(Source::new("rules.yaml", rules)).as_deref(), Ok(canonical));
/// ```
pub fn format(source: Source<'_>) -> Result<String, Vec<Diagnostic>> {
    let (text, is_whole) = source::decode(source.text);
    let file = SourceFile::new(source.name, text);
    if !is_whole {
        return Err(vec![file.not_utf8()]);
    }
    file.documents().map_err(|error| vec![*error])?;
    let unified = unified(text);
    let Some(outline) = Outline::of(&unified) else { return Ok(text.to_owned()) };
    let formatted = lay(&outline);
    if formatted == text || is_same(&outline, &formatted) {
        return Ok(formatted);
    }
    let message = "laying the file out would change what it means: it is left as it is";
    Err(vec![file.diagnostic(Code::Validate, &(0..0), message)])
}

/// The text with the canonical line breaks, and nothing before the first or missing after the last.
fn unified(text: &str) -> String {
    let mut unified = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    if !unified.is_empty() && !unified.ends_with('\n') {
        unified.push('\n');
    }
    unified
}

fn lay(outline: &Outline<'_>) -> String {
    let mut text = String::new();
    let mut is_open = false;
    for item in &outline.items {
        let laid = item::lay(outline, item);
        write_gap(&mut text, &item.gap, is_open);
        if !item.gap.ends_in_comment() && !is_open {
            separate(&mut text);
        }
        text.push_str(&laid);
        is_open = item.is_open;
    }
    write_gap(&mut text, &outline.rest, is_open);
    text
}

/// Writes what stands between two items, with one blank line before it.
fn write_gap(text: &mut String, gap: &Gap<'_>, is_open: bool) {
    if is_open {
        // The blank lines are a scalar's.
        text.push_str(gap.source);
        return;
    }
    let mut is_separated = false;
    for line in gap.source.lines().map(str::trim) {
        if line.is_empty() {
            is_separated = false;
            continue;
        }
        if !is_separated {
            separate(text);
        }
        text.push_str(line);
        text.push('\n');
        is_separated = true;
    }
}

/// Ends a text in one blank line, unless it is empty.
fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
}

/// Whether what was laid out has the items and comments of what it was made of.
fn is_same(outline: &Outline<'_>, formatted: &str) -> bool {
    let (Ok(before), Ok(after)) = (yaml::parse(outline.text), yaml::parse(formatted)) else {
        return false;
    };
    let Some(laid) = Outline::of(formatted) else { return false };
    meaning::is_same(&before, &after) && outline.comment_texts() == laid.comment_texts()
}

#[cfg(test)]
mod tests;
