//! The rule files that a command is about.

use std::io;
use std::path::PathBuf;

use clap::Args;
use shrike_rules::{Loaded, Options, Ruleset, Selection, Selector, diagnose};

use crate::detect::files::{self, RuleFile};

/// Which rules.
#[derive(Args, Debug)]
pub(super) struct FilesArgs {
    /// Rule files or folders of them (*.yaml, *.yml); later files extend earlier ones
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    selection: SelectionArgs,
}

/// Which rules are in force.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SelectionArgs {
    /// Disable rules: rule=NAME, where * stands for any text, or tag=TAG; may be given several times
    #[arg(long, value_name = "SELECTOR")]
    disable: Vec<Selector>,

    /// Enable rules, also of those that --disable or their files disable; may be given several times
    #[arg(long, value_name = "SELECTOR")]
    enable: Vec<Selector>,
}

impl SelectionArgs {
    /// What was selected.
    pub(crate) fn selection(&self) -> Selection {
        Selection { disabled: self.disable.clone(), enabled: self.enable.clone() }
    }
}

impl FilesArgs {
    /// Loads the files.
    pub(super) fn load(&self) -> anyhow::Result<Loaded> {
        let files = files::read(&self.paths)?;
        let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
        let options = Options { selection: self.selection.selection(), ..Options::default() };
        Ok(Ruleset::load_with(&sources, &options))
    }

    /// Loads the files and tells what is wrong with them. `None` if something could not be loaded.
    pub(super) fn ruleset(&self) -> anyhow::Result<Option<Ruleset>> {
        let loaded = self.load()?;
        let colour = crate::cli::colourful(&io::stderr());
        let is_error = |found: &&diagnose::Diagnostic| found.severity == diagnose::Severity::Error;
        for diagnostic in loaded.diagnostics.iter().filter(is_error) {
            eprint!("{}", diagnose::render(diagnostic, colour));
        }
        Ok((!loaded.has_errors()).then_some(loaded.ruleset))
    }
}
