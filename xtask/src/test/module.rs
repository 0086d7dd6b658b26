//! The kernel module of the tests, built for the kernel of a guest.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::console::Step;
use crate::process::{capture, find_program};
use crate::setup::Part;
use crate::setup::headers::Headers;
use crate::setup::kernel::Series;
use crate::setup::tool::Tool;
use crate::workspace;

/// The suite that needs it.
pub const SUITE: &str = "exploit";

/// The name of the module's file.
pub const FILE: &str = "shrike_exploit.ko";

/// Its source, in `tests/module`.
const SOURCES: [&str; 2] = ["Kbuild", "shrike_exploit.c"];

/// The series that it is built for.
pub const SERIES: [Series; 2] = [Series::V6_1, Series::V6_12];

/// What setup must see to before it can be built.
pub fn parts() -> Vec<Part> {
    let headers = SERIES.into_iter().map(Part::Headers);
    [Part::Tool(Tool::Make)].into_iter().chain(headers).collect()
}

/// Builds the module, unless it is there from the same source for the same kernel.
pub fn build(cache: &Cache, series: Series) -> Result<PathBuf> {
    let headers = Headers::held(cache, series)
        .with_context(|| format!("the headers of {series} are gone: run cargo xtask setup"))?;
    let folder = workspace::target().join("module").join(&headers.release);
    let (module, key) = (folder.join(FILE), folder.join("built-from"));
    let sources = sources()?;
    let wanted = wanted(&headers, &sources);
    if module.exists() && fs::read_to_string(&key).is_ok_and(|held| held == wanted) {
        return Ok(module);
    }
    let _step = Step::start("Building", format_args!("{FILE} for {}", headers.release));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (name, text) in &sources {
        fs::write(folder.join(name), text)?;
    }
    let make = Tool::Make.held(cache).context("make is gone: run cargo xtask setup")?;
    capture(
        make.command()
            .arg("-C")
            .arg(headers.build())
            .arg(format!("M={}", folder.display()))
            .arg(format!("CC={}", compiler()?.display()))
            .arg("modules")
            .env("LD_LIBRARY_PATH", headers.libraries()),
    )
    .context("cannot build the kernel module of the tests")?;
    fs::write(key, wanted)?;
    Ok(module)
}

fn sources() -> Result<Vec<(&'static str, String)>> {
    let folder = workspace::root().join("tests/module");
    let read = |name| {
        let path = folder.join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name, text))
    };
    SOURCES.into_iter().map(read).collect()
}

/// What the module is to be built from.
fn wanted(headers: &Headers, sources: &[(&str, String)]) -> String {
    let mut text = format!("{}\n", headers.release);
    for (name, source) in sources {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}\n{source}");
    }
    text
}

/// The compiler that Rust links with, too. The kernel's own is another version mostly, which does not
/// matter for a module as plain as this.
fn compiler() -> Result<PathBuf> {
    match ["gcc", "cc"].into_iter().find_map(find_program) {
        Some(compiler) if capture(Command::new(&compiler).arg("--version")).is_ok() => Ok(compiler),
        _ => bail!("this machine has no C compiler\nrun: apt-get install gcc"),
    }
}
