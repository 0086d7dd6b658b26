//! `shrike rules fields`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shrike_rules::field::Field;
use shrike_rules::{Kind, KindSet};

const EXAMPLES: &str = "\
Examples:
  shrike rules fields
  shrike rules fields container
  shrike rules fields --json | jq -r 'select(.kinds == []).field'";

/// Show the fields that conditions and outputs can have
///
/// Fields that only Falco's sensor has are known, so that its rules load, and never have a value here.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct FieldsArgs {
    /// Only fields with this text in their name or meaning
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,

    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Shows the fields. It fails if there is none with the pattern.
pub(super) fn run(args: &FieldsArgs) -> anyhow::Result<ExitCode> {
    let pattern = args.pattern.as_deref().unwrap_or_default().to_lowercase();
    let is_asked = |field: &&Field| {
        field.name.contains(&pattern) || field.doc.to_lowercase().contains(&pattern)
    };
    let fields: Vec<_> = shrike_rules::fields().iter().filter(is_asked).collect();
    let mut out = io::stdout().lock();
    for field in &fields {
        if args.json {
            writeln!(out, "{}", document(field))?;
        } else {
            writeln!(out, "{}", text(field))?;
        }
    }
    if fields.is_empty() {
        eprintln!("shrike: error: no field has {pattern:?} in its name or meaning");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn text(field: &Field) -> String {
    let Field { name, ty, argument, cost, doc, .. } = field;
    let head = format!("{name}{}", argument.shown());
    format!(
        "{head}\n    {doc}\n    type: {}; events: {}; cost: {}",
        ty.name(),
        events(field),
        cost.name()
    )
}

/// The kinds of events that have a field.
fn events(field: &Field) -> String {
    if field.kinds == KindSet::ALL {
        return "all".to_owned();
    }
    if field.kinds.is_empty() {
        return "none of shrike's".to_owned();
    }
    field.kinds.iter().map(Kind::name).collect::<Vec<_>>().join(", ")
}

fn document(field: &Field) -> serde_json::Value {
    json!({
        "field": field.name,
        "argument": field.argument.shown(),
        "type": field.ty.name(),
        "kinds": field.kinds.iter().map(Kind::name).collect::<Vec<_>>(),
        "cost": field.cost.name(),
        "doc": field.doc,
    })
}

/// The page of the documents with all fields.
#[cfg(test)]
fn page() -> String {
    let mut page = String::from(
        "# Fields\n\nWritten by the tests from `rules/src/field.rs` (`SHRIKE_BLESS=1 cargo test -p shrike`); \
         `shrike rules fields` shows the same. The costs: `record`, it is in the record of the event; `lookup`, a \
         process, user or container is looked up; `made`, a text is put together; `walk`, ancestors are looked up one \
         after the other; `runtime`, the runtime of a container must have told, and an alert may wait for it.\n\n\
         | Field | Type | Events | Cost | Meaning |\n|---|---|---|---|---|\n",
    );
    let (told, others): (Vec<_>, Vec<_>) =
        shrike_rules::fields().iter().partition(|field| !field.kinds.is_empty());
    for field in told {
        let Field { name, ty, argument, cost, doc, .. } = field;
        let row = format!(
            "| `{name}{}` | {} | {} | {} | {} |\n",
            argument.shown(),
            ty.name(),
            events(&field),
            cost.name(),
            doc.replace('|', "\\|")
        );
        page.push_str(&row);
    }
    page.push_str(
        "\n## Fields without a value\n\nFalco has these, and rules with them load; no event of shrike has them yet, so \
         that a check of one is false, and its `not` true. `shrike rules check` says where that decides.\n\n\
         | Field | Type | Meaning |\n|---|---|---|\n",
    );
    for Field { name, ty, argument, doc, .. } in others {
        let row = format!("| `{name}{}` | {} | {doc} |\n", argument.shown(), ty.name());
        page.push_str(&row);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_fields_is_of_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fields.md");
        if std::env::var_os("SHRIKE_BLESS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/fields.md is not of this table: run with SHRIKE_BLESS=1");
    }
}
