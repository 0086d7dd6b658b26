//! Falco's rule language, without any I/O.
//!
//! [`Ruleset::load`] takes the text of rule files and gives back rules and diagnostics;
//! [`Ruleset::matches`] evaluates the rules on whatever implements [`Event`]:
//!
//! ```
//! use shrike_rules::{Argument, Event, FieldId, Kind, Ruleset, Source, Value, event_type};
//!
//! struct Opened {
//!     path: Vec<u8>,
//! }
//!
//! impl Event for Opened {
//!     fn kind(&self) -> Kind {
//!         Kind::FileOpen
//!     }
//!
//!     fn field(&self, field: FieldId, _: Option<Argument<'_>>) -> Option<Value<'_>> {
//!         match field {
//!             FieldId::EvtType => Some(event_type(self.kind(), Some("openat")).into()),
//!             FieldId::FdName => Some(self.path.as_slice().into()),
//!             _ => None,
//!         }
//!     }
//! }
//!
//! let rules = "
//! - list: secrets
//!   items: [/etc/shadow, /etc/gshadow]
//! - rule: Secret opened
//!   desc: Somebody opened a file with password hashes.
//!   condition: evt.type in (open, openat, openat2) and fd.name in (secrets)
//!   output: secret opened (file=%fd.name process=%proc.name)
//!   priority: WARNING
//! ";
//! let loaded = Ruleset::load(&[Source::new("rules.yaml", rules)]);
//! assert_eq!(loaded.diagnostics, []);
//!
//! let event = Opened { path: b"/etc/shadow".to_vec() };
//! let rule = loaded.ruleset.matches(&event).next().expect("the rule matches");
//! assert_eq!(rule.output().render(&event), "secret opened (file=/etc/shadow process=<NA>)");
//! ```
//!
//! On its way from text to a match a rule passes through the modules in this order: `yaml` and
//! `file` read items, `merge` lets later ones redefine and extend earlier ones, `lex` and `parse`
//! turn a condition into the tree of `ast` (an `exception` becomes a condition first), `check` gives names and
//! constants their meaning from the table in [`field`], `operand` does so with transformers, which `term` evaluates,
//! `compile` puts the result into the program that `eval` runs, on the rules that `index` finds for an event; `output`
//! does the like for templates, `selection` says which rules are in force, and `load` leads them all.
//!
//! `lint` looks at what came of it for rules that cannot be meant as they are, and `advice` has a word for what is no
//! rule at all; `findings` keeps as many complaints as anybody reads. Whatever is wrong on the way becomes a
//! [`Diagnostic`] at its place in `source`. `need` tells what an event must at least be, `support` what of a rule a
//! sensor can tell, `witness` finds an event for it, and `spell` shows checks as text. [`format()`] lays rule files out
//! and has no part in this.
//!
//! Rule files may also have tests of their rules, which [`test`] runs; `trace` keeps for them where
//! each part of a condition stands.

mod advice;
mod ast;
mod check;
mod compile;
pub mod diagnose;
mod eval;
mod event;
mod exception;
pub mod field;
mod file;
mod findings;
mod format;
mod getopt;
mod glob;
mod index;
mod lex;
mod lint;
mod lists;
mod load;
mod merge;
mod names;
mod need;
mod network;
mod operand;
mod output;
mod parameter;
mod parse;
mod path;
mod rule;
mod ruleset;
mod selection;
mod source;
mod spell;
mod suggest;
mod support;
mod term;
pub mod test;
mod text;
mod trace;
mod witness;
mod yaml;

/// Whether `text` is of the pattern, as the operator `glob` has it.
pub fn is_glob_match(pattern: &str, text: &str) -> bool {
    glob::Glob::new(pattern.as_bytes(), false).matches(text.as_bytes())
}

pub use diagnose::{Diagnostic, Severity};
pub use event::{Argument, Event, KindSet, Stage, Value, event_type};
pub use exception::quoted;
pub use field::{Field, FieldId, all as fields};
pub use format::format;
pub use need::Alternative;
pub use output::Output;
pub use rule::{Priority, Rule, UnknownPriority};
pub use ruleset::{Loaded, Matches, Matching, Options, Ruleset, Source};
pub use selection::{NoSelector, Selection, Selector};
pub use shrike_common::Kind;
pub use support::{Extent, Support};
pub use text::Escaped;
pub use witness::Witness;
