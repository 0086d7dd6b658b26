//! `shrike rules format`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use shrike_rules::{Source, diagnose, format};
use tempfile::NamedTempFile;

use crate::detect::files;

const EXAMPLES: &str = "\
Examples:
  shrike rules format /etc/shrike/rules.d
  shrike rules format --check rules/*.yaml
  shrike rules format - < local.yaml";

/// How the file on standard input is named.
const STDIN: &str = "<stdin>";

/// Lay rule files out in the canonical form
///
/// Comments stay where they are, and the rules stay the same. Prints the names of the files that it
/// changes. A file that is not YAML is left as it is.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct FormatArgs {
    /// Change no file: print which are not canonical, from which line on, and how many lines would
    /// come and go
    #[arg(long)]
    check: bool,

    /// Rule files, folders of them, or - for standard input, laid out on standard output
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Formats the files. It fails if some are not canonical and were not to be changed, or could not
/// be formatted.
pub(super) fn run(args: &FormatArgs) -> anyhow::Result<ExitCode> {
    let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
    let all_well = if args.paths.iter().all(is_stdin) {
        format_stdin(args.check)?
    } else if args.paths.iter().any(is_stdin) {
        bail!("cannot format standard input and files at once: give - alone");
    } else {
        format_files(&args.paths, args.check)?
    };
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn format_stdin(check: bool) -> anyhow::Result<bool> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
    let Some(laid) = laid(Source::new(STDIN, &text)) else { return Ok(false) };
    let mut out = io::stdout().lock();
    if !check {
        out.write_all(laid.as_bytes()).context("cannot write to standard output")?;
        return Ok(true);
    }
    let change = Change::between(&text, &laid);
    if let Some(change) = &change {
        writeln!(out, "{}", change.of(STDIN)).context("cannot write to standard output")?;
    }
    Ok(change.is_none())
}

fn format_files(paths: &[PathBuf], check: bool) -> anyhow::Result<bool> {
    let mut all_well = true;
    let mut out = io::stdout().lock();
    for file in files::read(paths)? {
        let source = file.source();
        let Some(laid) = laid(source) else {
            all_well = false;
            continue;
        };
        let Some(change) = Change::between(source.text, &laid) else { continue };
        let line = if check {
            all_well = false;
            change.of(source.name)
        } else {
            replace(file.path(), &laid)
                .with_context(|| format!("cannot write {}", file.path().display()))?;
            source.name.to_owned()
        };
        writeln!(out, "{line}").context("cannot write to standard output")?;
    }
    Ok(all_well)
}

/// The canonical form of a file; if it has none, what is wrong with it is told.
fn laid(source: Source<'_>) -> Option<String> {
    let colour = crate::cli::colourful(&io::stderr());
    match format(source) {
        Ok(laid) => Some(laid),
        Err(diagnostics) => {
            for diagnostic in diagnostics {
                eprint!("{}", diagnose::render(&diagnostic, colour));
            }
            None
        }
    }
}

/// What formatting changes.
#[derive(Debug, Eq, PartialEq)]
struct Change {
    /// The first line that is another, from 1.
    line: usize,
    added: usize,
    removed: usize,
}

impl Change {
    fn between(before: &[u8], after: &str) -> Option<Self> {
        if before == after.as_bytes() {
            return None;
        }
        let lines = |text| <[u8]>::split_inclusive(text, |byte| *byte == b'\n');
        let (before, after) = (lines(before), lines(after.as_bytes()));
        let same = std::iter::zip(before.clone(), after.clone()).take_while(|(a, b)| a == b);
        // How often each line is there more in one than in the other.
        let mut balance = HashMap::<_, isize>::new();
        after.for_each(|line| *balance.entry(line).or_default() += 1);
        before.for_each(|line| *balance.entry(line).or_default() -= 1);
        let sum =
            |sign: isize| balance.values().map(|count| (count * sign).max(0).unsigned_abs()).sum();
        Some(Self { line: same.count() + 1, added: sum(1), removed: sum(-1) })
    }

    fn of(&self, name: &str) -> String {
        let Self { line, added, removed } = self;
        format!("{name}:{line}: not canonical (+{added} -{removed} lines)")
    }
}

/// Puts a text in the place of a file's, at once and with the same owner and mode.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The file behind a link is replaced, not the link.
    let path = fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let data = File::open(&path)?.metadata()?;
    let mut new = NamedTempFile::with_prefix_in(".shrike-", folder)?;
    let own = new.as_file().metadata()?;
    if (own.uid(), own.gid()) != (data.uid(), data.gid()) {
        fchown(new.as_file(), Some(data.uid()), Some(data.gid()))?;
    }
    new.as_file().set_permissions(data.permissions())?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::slice;

    use super::*;

    const WRITTEN: &str = "- macro: m\n  condition: a.b=c\n";
    const CANONICAL: &str = "- macro: m\n  condition: a.b = c\n";

    #[test]
    fn a_file_is_replaced_with_its_mode_and_its_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("m.yaml"), dir.path().join("l.yaml"));
        fs::write(&file, WRITTEN).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("m.yaml", &link).unwrap();
        assert!(format_files(slice::from_ref(&link), false).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), CANONICAL);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_canonical_file_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.yaml");
        fs::write(&file, CANONICAL).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        assert!(format_files(&[dir.path().to_owned()], false).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().ino(), before);
        assert!(format_files(&[file], true).unwrap());
    }

    #[test]
    fn checking_changes_nothing_and_one_bad_file_stops_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (bad, file) = (dir.path().join("a.yaml"), dir.path().join("b.yaml"));
        fs::write(&bad, "- [\n").unwrap();
        fs::write(&file, WRITTEN).unwrap();
        assert!(!format_files(slice::from_ref(&file), true).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), WRITTEN);
        assert!(!format_files(&[dir.path().to_owned()], false).unwrap());
        assert_eq!(fs::read_to_string(&bad).unwrap(), "- [\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), CANONICAL);
    }

    #[test]
    fn a_change_is_counted_in_lines() {
        assert_eq!(Change::between(b"a\n", "a\n"), None);
        let change = |before: &str, after| Change::between(before.as_bytes(), after).unwrap();
        assert_eq!(change("a\nb\nc\n", "a\nx\ny\nc\n").of("f"), "f:2: not canonical (+2 -1 lines)");
        assert_eq!(change("a\nb", "a\nb\n"), Change { line: 2, added: 1, removed: 1 });
        assert_eq!(change("a\nb\n", "b\na\n"), Change { line: 1, added: 0, removed: 0 });
    }
}
