//! Output templates: parsed once, checked against the field table, rendered per alert.

use std::fmt::Write as _;

use crate::ast::{FieldRef, Operand, Span, Word};
use crate::check::Problem;
use crate::diagnose::Code;
use crate::eval::Subject;
use crate::event::{Event, Value};
use crate::field::{self, FieldId};
use crate::lex;
use crate::operand::{self, Typed};
use crate::parse;
use crate::suggest;
use crate::term::Term;
use crate::text::Escaped;

/// Where Falco once put what it knew of the container: it is left out.
pub(crate) const REMOVED: &str = "%container.info";

/// What stands for a value that an event does not have.
const ABSENT: &str = "<NA>";

/// A parsed output template.
#[derive(Clone, Debug)]
pub struct Output {
    template: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Field(Placeholder),
    Literal(String),
}

#[derive(Clone, Debug)]
struct Placeholder {
    /// The field as written, with its argument; or the transformer.
    name: String,
    term: Term,
    /// The number of characters to pad or cut to.
    width: Option<usize>,
}

impl Output {
    /// Parses a template, blanks around it left out; every mistake is reported.
    pub(crate) fn parse(template: &str) -> Result<Self, Vec<Problem>> {
        let mut parts = Vec::new();
        let mut problems = Vec::new();
        // A leading asterisk asks for a message even where values are missing: always given.
        let whole = template;
        let template = whole.trim_end();
        let blanks = template.len() - template.trim_start().len();
        let mut position = blanks + usize::from(template[blanks..].starts_with('*'));
        while let Some(offset) = template[position..].find('%') {
            push_literal(&mut parts, &template[position..position + offset]);
            position += offset;
            if template[position..].starts_with("%%") {
                push_literal(&mut parts, "%");
                position += 2;
                continue;
            }
            if template[position..].starts_with(REMOVED) {
                position += REMOVED.len();
                continue;
            }
            match placeholder(template, position) {
                Ok((part, length)) => {
                    parts.push(Part::Field(part));
                    position += length;
                }
                Err(problem) => {
                    problems.push(problem);
                    position += 1;
                }
            }
        }
        push_literal(&mut parts, &template[position..]);
        if problems.is_empty() {
            Ok(Self { template: whole.trim().replace(REMOVED, ""), parts })
        } else {
            Err(problems)
        }
    }

    /// The template as written.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The message for `event`: one line, safe to show; a missing value is `<NA>`.
    pub fn render(&self, event: &impl Event) -> String {
        let mut message = String::with_capacity(self.template.len() * 2);
        for part in &self.parts {
            match part {
                Part::Literal(text) => message.push_str(text),
                Part::Field(placeholder) => placeholder.render(event, &mut message),
            }
        }
        message
    }

    /// The fields of the template with their values, in order, each name once.
    pub fn fields<'a, E: Event>(
        &'a self,
        event: &'a E,
    ) -> impl Iterator<Item = (&'a str, Option<Value<'a>>)> {
        self.placeholders().enumerate().filter_map(move |(index, placeholder)| {
            let Placeholder { name, term, .. } = placeholder;
            let is_repeated = self.placeholders().take(index).any(|earlier| earlier.name == *name);
            (!is_repeated).then(|| (name.as_str(), term.value(event)))
        })
    }

    /// The same template with the values of this event in it, but for fields of such a kind: they are asked for
    /// when the rest is rendered.
    #[must_use]
    pub fn settled(&self, event: &impl Event, is_later: fn(FieldId) -> bool) -> Self {
        let mut parts = Vec::new();
        for part in &self.parts {
            match part {
                Part::Field(placeholder) if placeholder.term.mentions(is_later) => {
                    // What is known now will not be asked for later.
                    match placeholder.term.settled(event, is_later) {
                        Some(term) => {
                            parts.push(Part::Field(Placeholder { term, ..placeholder.clone() }));
                        }
                        None => push_literal(&mut parts, ABSENT),
                    }
                }
                Part::Field(placeholder) => {
                    let mut text = String::new();
                    placeholder.render(event, &mut text);
                    push_literal(&mut parts, &text);
                }
                Part::Literal(text) => push_literal(&mut parts, text),
            }
        }
        Self { template: self.template.clone(), parts }
    }

    /// Whether the message has a field of such a kind.
    pub(crate) fn mentions(&self, field: fn(FieldId) -> bool) -> bool {
        self.placeholders().any(|placeholder| placeholder.term.mentions(field))
    }

    /// Calls `see` with every field of the message.
    pub(crate) fn subjects(&self, see: &mut dyn FnMut(&Subject)) {
        self.placeholders().for_each(|placeholder| placeholder.term.subjects(see));
    }

    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(placeholder) => Some(placeholder),
            Part::Literal(_) => None,
        })
    }
}

impl Placeholder {
    fn render(&self, event: &impl Event, message: &mut String) {
        let start = message.len();
        // Writing to a string cannot fail.
        let _ = match self.term.value(event) {
            None => message.write_str(ABSENT),
            Some(Value::Bool(value)) => write!(message, "{value}"),
            Some(Value::Number(value)) => write!(message, "{value}"),
            Some(Value::Address(value)) => write!(message, "{value}"),
            Some(Value::Text(text)) => write!(message, "{}", Escaped(&text)),
        };
        let Some(width) = self.width else { return };
        let written = message[start..].chars().count();
        match message[start..].char_indices().nth(width) {
            Some((cut, _)) => message.truncate(start + cut),
            None => message.extend(std::iter::repeat_n(' ', width - written)),
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(literal)) => literal.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

/// The placeholder whose `%` stands at `start`, and its length.
fn placeholder(template: &str, start: usize) -> Result<(Placeholder, usize), Problem> {
    let rest = &template[start + 1..];
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let name_start = start + 1 + digits;
    let (operand, end) = operand(template, name_start)?;
    let term = match operand::typed(&operand).map_err(in_output)? {
        Typed::Term(term, _) => term,
        Typed::List(_) => {
            return Err(problem(name_start..end, "a single value is expected, and this is a list"));
        }
    };
    // More columns than any terminal has would only serve to exhaust memory.
    let width = rest[..digits].parse::<u16>().ok().map(usize::from);
    if digits > 0 && width.is_none() {
        return Err(problem(start..name_start, "the width of a field is at most 65535"));
    }
    let name = template[name_start..end].to_owned();
    Ok((Placeholder { name, term, width }, end - start))
}

/// The field or transformer at `start`, and where it ends.
fn operand(template: &str, start: usize) -> Result<(Operand, usize), Problem> {
    let call = parse::call_at(template, start).map_err(|error| in_output(error.into()))?;
    if let Some((call, end)) = call {
        return Ok((Operand::Call(call), end));
    }
    let name_end = start + field_length(template, start)?;
    let (argument, end) = argument(template, name_end)?;
    let (span, name) = (Span::new(start..end), template[start..name_end].to_owned());
    Ok((Operand::Field(FieldRef { span, name, argument }), end))
}

/// The length of the longest known field name at `start`.
fn field_length(template: &str, start: usize) -> Result<usize, Problem> {
    let text = &template[start..];
    if let Some((_, _, length)) = FieldId::prefix_of(text) {
        return Ok(length);
    }
    let Some(length) = lex::field_name_length(text) else {
        let message = "invalid formatting token: a field must follow '%'";
        return Err(problem(start - 1..start, message)
            .with_hint(Some("write %% for a percent sign".to_owned())));
    };
    let name = &text[..length];
    let message = format!("invalid formatting token: unknown filter field {name}");
    let hint = suggest::hint(name, field::all().iter().map(|field| field.name));
    Err(Problem { is_unknown_name: true, ..problem(start..start + length, &message) }
        .with_hint(hint))
}

/// The argument in brackets at `start`, and where it ends.
fn argument(template: &str, start: usize) -> Result<(Option<Word>, usize), Problem> {
    let mut cursor = lex::Cursor::new(template);
    cursor.rewind(start);
    if !cursor.symbol("[") {
        return Ok((None, start));
    }
    let word = cursor.field_argument().map_err(|error| in_output(error.into()))?;
    match word {
        Some(word) if cursor.symbol("]") => Ok((Some(word), cursor.position())),
        _ => Err(problem(start..start + 1, "the argument of the field has no closing ']'")),
    }
}

fn problem(span: std::ops::Range<usize>, message: &str) -> Problem {
    Problem::new(Code::CompileOutput, Span::new(span), message)
}

fn in_output(problem: Problem) -> Problem {
    Problem { code: Code::CompileOutput, ..problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Argument;
    use crate::field::FieldId;
    use shrike_common::Kind;

    struct Process;

    impl Event for Process {
        fn kind(&self) -> Kind {
            Kind::Exec
        }

        fn field(&self, field: FieldId, argument: Option<Argument<'_>>) -> Option<Value<'_>> {
            match (field, argument) {
                (FieldId::ProcName, None) => Some("sh\n\x1b[0m".into()),
                (FieldId::ProcPid, None) => Some(42_u32.into()),
                (FieldId::ProcIsExeFromMemfd, None) => Some(true.into()),
                (FieldId::ProcAname, Some(Argument::Index(level @ 1..=2))) => {
                    Some(format!("a{level}").into())
                }
                _ => None,
            }
        }
    }

    fn render(template: &str) -> String {
        Output::parse(template).expect("a valid template").render(&Process)
    }

    fn complaint(template: &str) -> (Span, String) {
        let problem = Output::parse(template).expect_err("a mistake").remove(0);
        assert_eq!(problem.code, Code::CompileOutput);
        (problem.span, problem.message)
    }

    #[test]
    fn what_comes_later_is_put_where_it_belongs() {
        struct Later;
        impl Event for Later {
            fn kind(&self) -> Kind {
                Kind::Exec
            }
            fn field(&self, field: FieldId, _: Option<Argument<'_>>) -> Option<Value<'_>> {
                (field == FieldId::ContainerName).then(|| "web".into())
            }
        }
        let output =
            Output::parse("*%proc.pid in %6container.name (%proc.name, %container.image) 5%%");
        let settled = output.unwrap().settled(&Process, FieldId::is_of_runtime);
        assert_eq!(settled.render(&Later), "42 in web    (sh\\n\\x1b[0m, <NA>) 5%");
        assert_eq!(settled.fields(&Later).count(), 2);
    }

    #[test]
    fn values_are_printed_as_falco_prints_them() {
        assert_eq!(render("*pid=%proc.pid, %proc.is_exe_from_memfd"), "pid=42, true");
        assert_eq!(render(" %proc.aname[2]%proc.aname %proc.aname[3]. "), "a2a1 <NA>.");
        assert_eq!(render("100%% %fd.name"), "100% <NA>");
        assert_eq!(render("[%6proc.pid][%1proc.pid]"), "[42    ][4]");
    }

    #[test]
    fn hostile_values_stay_on_their_line() {
        assert_eq!(render("%proc.name"), "sh\\n\\x1b[0m");
    }

    #[test]
    fn fields_are_listed_once_in_order() {
        let output = Output::parse("%proc.pid %fd.name %proc.pid %proc.aname[2]").unwrap();
        let fields: Vec<_> = output.fields(&Process).collect();
        let expected = [
            ("proc.pid", Some(Value::Number(42))),
            ("fd.name", None),
            ("proc.aname[2]", Some("a2".into())),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name, value.clone())));
    }

    #[test]
    fn what_is_made_of_both_has_both() {
        struct Later;
        impl Event for Later {
            fn kind(&self) -> Kind {
                Kind::Exec
            }
            fn field(&self, field: FieldId, _: Option<Argument<'_>>) -> Option<Value<'_>> {
                (field == FieldId::ContainerName).then(|| "web".into())
            }
        }
        let output = Output::parse(
            "%concat(proc.aname[1], \"@\", toupper(container.name)) %concat(fd.name, container.name)",
        );
        let settled = output.unwrap().settled(&Process, FieldId::is_of_runtime);
        assert_eq!(settled.render(&Later), "a1@WEB <NA>");
    }

    #[test]
    fn transformers_are_rendered() {
        let rendered = render("%toupper(proc.aname[1])-%5len(proc.aname[2])|%basename(fd.name)");
        assert_eq!(rendered, "A1-2    |<NA>");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let unknown = "invalid formatting token: unknown filter field proc.nosuch".to_owned();
        assert_eq!(complaint("a %proc.nosuch b"), (Span::new(3..14), unknown));
        assert!(complaint("50%").1.contains("a field must follow"));
        assert!(complaint("%99999999proc.pid").1.contains("width"));
        assert!(complaint("%proc.aname[2").1.contains("closing"));
        assert!(complaint("%proc.pid[2]").1.contains("takes no argument"));
        assert!(complaint("%toupper(proc.pid)").1.contains("a text is expected"));
        assert!(complaint("%toupper(proc.name").1.contains("closing the transformer"));
        assert!(complaint("%getopt((\"-a\"), \"a\")").1.contains("this is a list"));
    }
}
