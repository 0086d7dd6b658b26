//! Errors and warnings of rule files: what, where, and what to do about it.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::text::Escaped;

/// An error or warning about a place in a rule file.
///
/// As JSON it is what an editor needs. The names of the keys and [`Code`]s are stable; keys may be
/// added. Lines and columns count from 1, columns in characters (what LSP calls `utf-32`, less one),
/// and the end is the place after the last character.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What class of problem it is.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The file, as the source was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line on which the place ends.
    pub end_line: usize,
    /// The column after the place's last character.
    pub end_column: usize,
    /// How many characters of the excerpt are meant, at least 1.
    pub length: usize,
    /// The line itself, or the part of a long one around the column.
    pub excerpt: Excerpt,
    /// The item that the place belongs to.
    pub item: Option<Item>,
    /// What led to the place, such as the rule that uses a faulty macro.
    pub note: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that have to do with it, such as the rule that shadows another.
    pub related: Vec<Related>,
}

/// Another place that a diagnostic speaks of.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Related {
    /// What is there.
    pub message: String,
    /// The file, as the source was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line on which the place ends.
    pub end_line: usize,
    /// The column after the place's last character.
    pub end_column: usize,
}

/// A part of a source line.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Excerpt {
    /// The text.
    pub text: String,
    /// The characters of the text before the caret.
    pub indent: usize,
}

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The item cannot be used.
    Error,
    /// The item is used; something about it looks wrong.
    Warning,
}

/// An item of a rule file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its name.
    pub name: String,
}

/// What an item of a rule file is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A list.
    List,
    /// A macro.
    Macro,
    /// A rule.
    Rule,
}

impl ItemKind {
    /// The key that makes an item this.
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Macro => "macro",
            Self::Rule => "rule",
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Declares the codes with Falco's names for them.
macro_rules! codes {
    ($($code:ident $name:literal $severity:ident $doc:literal;)*) => {
        /// Classes of problems, named as Falco names them, or as it would.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
        pub enum Code {
            $(#[doc = $doc] #[serde(rename = $name)] $code,)*
        }

        impl Code {
            /// The name of the class.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }

            /// The class with this name.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$code),)*
                    _ => None,
                }
            }

            /// Whether problems of the class are errors.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$code => Severity::$severity,)*
                }
            }
        }
    };
}

codes! {
    YamlParse "LOAD_ERR_YAML_PARSE" Error "The file is not YAML.";
    YamlValidate "LOAD_ERR_YAML_VALIDATE" Error "An item has the wrong shape.";
    CompileCondition "LOAD_ERR_COMPILE_CONDITION" Error "A condition does not compile.";
    CompileOutput "LOAD_ERR_COMPILE_OUTPUT" Error "An output template does not compile.";
    Validate "LOAD_ERR_VALIDATE" Error "An item contradicts another, or this engine.";
    UnknownSource "LOAD_UNKNOWN_SOURCE" Warning "The source of a rule is not provided: it is skipped.";
    NoEventType "LOAD_NO_EVTTYPE" Warning "A rule matches too many types of events.";
    UnknownFilter "LOAD_UNKNOWN_FILTER" Warning "A rule with `skip-if-unknown-filter` is skipped.";
    UnusedMacro "LOAD_UNUSED_MACRO" Warning "No rule uses a macro.";
    UnusedList "LOAD_UNUSED_LIST" Warning "No condition uses a list.";
    UnknownItem "LOAD_UNKNOWN_ITEM" Warning "An item is none of the known ones.";
    DeprecatedItem "LOAD_DEPRECATED_ITEM" Warning "A form that has a better replacement.";
    InvalidMacroName "LOAD_INVALID_MACRO_NAME" Warning "A macro's name cannot be used in a condition.";
    InvalidListName "LOAD_INVALID_LIST_NAME" Warning "A list's name cannot be used in a condition.";
    CompileConditionWarning "LOAD_COMPILE_CONDITION" Warning "A condition probably means something else.";
    AppendNoValues "LOAD_APPEND_NO_VALUES" Warning "An exception is extended by nothing.";
    ExceptionNameNotUnique "LOAD_EXCEPTION_NAME_NOT_UNIQUE" Warning "A rule has two exceptions of one name.";
    UnknownKey "LOAD_UNKNOWN_KEY" Warning "An item has a key that is not known.";
    NeverMatches "LOAD_NEVER_MATCHES" Warning "No event can satisfy the condition of a rule.";
    NoSensor "LOAD_NO_SENSOR" Warning "No sensor emits the events that a rule is about.";
    FieldNeverSet "LOAD_FIELD_NEVER_SET" Warning "No event that reaches a check has its field.";
    EveryEvent "LOAD_EVERY_EVENT" Warning "Every event satisfies the condition of a rule.";
    ShadowedRule "LOAD_SHADOWED_RULE" Warning "An earlier rule matches whatever a rule matches.";
    DuplicateRule "LOAD_DUPLICATE_RULE" Warning "Two rules have the same condition.";
    RedefinedRule "LOAD_REDEFINED_RULE" Warning "A rule takes the place of one of the same file.";
    More "LOAD_MORE" Warning "A file has more problems than are told.";
}

impl Code {
    /// Whether the class is one that Falco does not have.
    pub const fn is_own(self) -> bool {
        use Code::{
            DuplicateRule, EveryEvent, FieldNeverSet, More, NeverMatches, NoSensor, RedefinedRule,
            ShadowedRule,
        };
        matches!(
            self,
            DuplicateRule
                | EveryEvent
                | FieldNeverSet
                | More
                | NeverMatches
                | NoSensor
                | RedefinedRule
                | ShadowedRule
        )
    }
}

/// Renders the diagnostic as rustc does, with terminal colours if `colour` is set.
///
/// The text ends with a newline. It depends on nothing but the diagnostic.
pub fn render(diagnostic: &Diagnostic, colour: bool) -> String {
    let style = Style { colour };
    let Diagnostic { code, message, file, line, column, .. } = diagnostic;
    let (severity, paint) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let gutter = line.to_string().len();
    let mut text = String::new();
    let head = style.paint(paint, &format!("{severity}[{}]", code.name()));
    let file = Escaped(file.as_bytes());
    write_line(&mut text, format_args!("{head}: {}", Escaped(message.as_bytes())));
    write_line(&mut text, format_args!("{:gutter$}--> {file}:{line}:{column}", ""));
    let bar = style.paint("1;34", "|");
    let caret = style.paint(paint, &"^".repeat(diagnostic.length));
    let Excerpt { text: source, indent } = &diagnostic.excerpt;
    let number = style.paint("1;34", &line.to_string());
    write_line(&mut text, format_args!("{:gutter$} {bar}", ""));
    write_line(&mut text, format_args!("{number} {bar} {}", Escaped(source.as_bytes())));
    write_line(&mut text, format_args!("{:gutter$} {bar} {:indent$}{caret}", "", ""));
    for related in &diagnostic.related {
        let Related { message, file, line, column, .. } = related;
        let (message, file) = (Escaped(message.as_bytes()), Escaped(file.as_bytes()));
        let word = style.paint("1;36", "note");
        write_line(&mut text, format_args!("{:gutter$} {word}: {message}", ""));
        write_line(&mut text, format_args!("{:gutter$} --> {file}:{line}:{column}", ""));
    }
    for (word, remark) in [("note", &diagnostic.note), ("help", &diagnostic.hint)] {
        if let Some(remark) = remark {
            let (word, remark) = (style.paint("1;36", word), Escaped(remark.as_bytes()));
            write_line(&mut text, format_args!("{:gutter$} {word}: {remark}", ""));
        }
    }
    text
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(render(self, false).trim_end())
    }
}

fn write_line(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(line);
    text.push('\n');
}

struct Style {
    colour: bool,
}

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
