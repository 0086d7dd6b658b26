//! The events of a test: each value in the type that the table of fields gives it.

use std::net::IpAddr;
use std::rc::Rc;

use shrike_common::Kind;

use crate::diagnose::Code;
use crate::event::{Event as _, Value};
use crate::field::{self, ArgumentRule, Field, FieldId, Type};
use crate::file::reader::{Entries, Reader, Reported, Result, find};
use crate::names;
use crate::network::port_of;
use crate::suggest;
use crate::test::{Given, Part};
use crate::yaml::{Content, Node};

/// How many events may have the values of one another (`<<`).
const MAX_BASES: usize = 16;

impl Reader<'_, '_> {
    /// An event; `number` is its place among those of the test.
    pub(super) fn event(&mut self, node: &Node, number: u32) -> Result<Given> {
        let own = self.mapping(node)?;
        self.report_repeated(own);
        let entries = self.with_bases(own)?;
        let mut event = Given::new(self.kind(&entries, node)?);
        let mut outcome = Ok(());
        for (key, value) in &entries {
            if let Err(reported) = self.field(&mut event, key, value) {
                outcome = Err(reported);
            }
        }
        outcome?;
        event.fill(FieldId::EvtNum, number.into());
        Ok(event.complete())
    }

    /// The entries, with those of the mappings at `<<` that are not among them.
    fn with_bases(&mut self, own: &Entries) -> Result<Vec<(Rc<Node>, Rc<Node>)>> {
        let is_base = |key: &Node| matches!(&key.content, Content::Scalar(key) if key.text == "<<");
        let mut entries: Vec<(Rc<Node>, Rc<Node>)> = Vec::new();
        let mut current = own;
        for _ in 0..MAX_BASES {
            for (key, value) in current {
                let Content::Scalar(name) = &key.content else {
                    return Err(self.error(Code::YamlValidate, key, "Value is not a scalar value"));
                };
                if !is_base(key) && find(&entries, &name.text).is_none() {
                    entries.push((Rc::clone(key), Rc::clone(value)));
                }
            }
            match find(current, "<<") {
                Some(base) => current = self.mapping(base)?,
                None => return Ok(entries),
            }
        }
        let node = current.first().map(|(key, _)| Rc::clone(key));
        let message = format!("more than {MAX_BASES} events have the values of one another");
        Err(node.map_or(Reported, |node| self.error(Code::YamlValidate, &node, message)))
    }

    /// The kind of an event, by its type.
    fn kind(&mut self, entries: &Entries, node: &Node) -> Result<Kind> {
        let field = FieldId::EvtType.name();
        let Some(node) = find(entries, field) else {
            let reported = self.error(Code::YamlValidate, node, "the event has no evt.type");
            self.hint(Some("give it one, like 'evt.type: execve'".to_owned()));
            return Err(reported);
        };
        let name = self.scalar(node)?.text.clone();
        if let Some(kind) = names::kind_of(&name) {
            return Ok(kind);
        }
        if names::is_known(&name) {
            let message = format!("no probe sees events of the type {name}");
            return Err(self.error(Code::Validate, node, message));
        }
        let reported = self.error(Code::Validate, node, format!("unknown event type {name}"));
        let seen = names::NAMES.iter().copied().filter(|name| names::kind_of(name).is_some());
        self.hint(suggest::hint(&name, seen));
        Err(reported)
    }

    fn field(&mut self, event: &mut Given, key: &Node, value: &Node) -> Result<()> {
        let name = self.scalar(key)?.text.clone();
        let (own, argument) = match name.split_once('[') {
            Some((own, argument)) => (own, Some(argument.strip_suffix(']').unwrap_or(argument))),
            None => (name.as_str(), None),
        };
        // An argument may also follow after a dot, as in `evt.arg.flags`.
        let dotted = match FieldId::prefix_of(own) {
            Some((id, Some(dotted), length)) if length == own.len() => Some((id, Some(dotted))),
            _ => None,
        };
        let Some((id, argument)) = FieldId::by_name(own).map(|id| (id, argument)).or(dotted) else {
            let reported = self.error(Code::Validate, key, format!("nonexistent field {own}"));
            self.hint(suggest::hint(own, field::all().iter().map(|field| field.name)));
            return Err(reported);
        };
        let info = id.info();
        if !id.sources().is_empty() {
            let sources: Vec<_> = id.sources().iter().map(|source| source.name()).collect();
            let message = format!("{own} has its values from {}", sources.join(" and "));
            let reported = self.error(Code::Validate, key, message);
            self.hint(Some(format!("give the event {}", sources.join(" or "))));
            return Err(reported);
        }
        let kind = event.kind();
        if !info.kinds.contains(kind) {
            let message = format!("an event of the kind {} cannot have {own}", kind.name());
            let reported = self.error(Code::Validate, key, message);
            let kinds: Vec<_> = info.kinds.iter().map(Kind::name).collect();
            self.hint(Some(format!("events of these kinds have it: {}", kinds.join(", "))));
            return Err(reported);
        }
        match argument {
            Some(argument) => {
                let part = self.part(info, argument, key)?;
                let value = self.value(info, value)?;
                event.set(id, part, value);
                Ok(())
            }
            None => self.whole(event, info, value),
        }
    }

    /// Which value is meant by `field[argument]`.
    fn part(&mut self, info: &Field, argument: &str, key: &Node) -> Result<Part> {
        let message = match (info.argument, argument.parse()) {
            (ArgumentRule::Ancestor | ArgumentRule::OptionalIndex, Ok(index)) => {
                return Ok(Part::Index(index));
            }
            (ArgumentRule::Name | ArgumentRule::OptionalName, _) => {
                return Ok(Part::Name(argument.to_owned()));
            }
            (rule, _) if rule.is_dotted() => return Ok(Part::Name(argument.to_owned())),
            (ArgumentRule::None, _) => format!("field {} takes no argument", info.name),
            _ => format!("the argument of {} must be a number from 0", info.name),
        };
        Err(self.error(Code::Validate, key, message))
    }

    /// All values of a field.
    fn whole(&mut self, event: &mut Given, info: &Field, node: &Node) -> Result<()> {
        let id = info.id;
        match (info.argument, &node.content) {
            (ArgumentRule::Ancestor, Content::Null) => {
                event.set(id, Part::Index(0), None);
                event.set(id, Part::Index(1), None);
            }
            (ArgumentRule::Ancestor, Content::Sequence(nodes)) => {
                self.indexed(event, info, nodes)?;
            }
            (ArgumentRule::OptionalIndex, Content::Sequence(nodes)) => {
                let texts = self.indexed(event, info, nodes)?;
                event.fill(id, texts.join(&b' ').into());
            }
            (ArgumentRule::Name | ArgumentRule::OptionalName, Content::Mapping(entries)) => {
                let mut pairs = Vec::new();
                for (key, node) in entries {
                    let name = self.scalar(key)?.text.clone();
                    let value = self.value(info, node)?;
                    if let Some(Value::Text(text)) = &value {
                        pairs.push([name.as_bytes(), b"=", text].concat());
                    }
                    event.set(id, Part::Name(name), value);
                }
                if info.argument == ArgumentRule::OptionalName {
                    event.fill(id, pairs.join(&b' ').into());
                }
            }
            (ArgumentRule::Ancestor, _) => {
                let hint = "the process itself, its parent, and so on: [sh, bash, sshd]";
                return Err(self.misshapen(info, node, "a list", hint));
            }
            (ArgumentRule::Name, _) => {
                let hint = format!("names with their values: {{{}: {{app: web}}}}", info.name);
                return Err(self.misshapen(info, node, "a mapping", &hint));
            }
            _ => {
                let value = self.value(info, node)?;
                event.set(id, Part::Whole, value);
            }
        }
        Ok(())
    }

    /// Sets the values of a field by their number, and gives back those that are texts.
    fn indexed(
        &mut self,
        event: &mut Given,
        info: &Field,
        nodes: &[Rc<Node>],
    ) -> Result<Vec<Vec<u8>>> {
        let mut texts = Vec::new();
        for (node, index) in nodes.iter().zip(0..) {
            let value = self.value(info, node)?;
            if let Some(Value::Text(text)) = &value {
                texts.push(text.to_vec());
            }
            event.set(info.id, Part::Index(index), value);
        }
        Ok(texts)
    }

    fn misshapen(&mut self, info: &Field, node: &Node, shape: &str, hint: &str) -> Reported {
        let message = format!("the values of {} are written as {shape}", info.name);
        let reported = self.error(Code::YamlValidate, node, message);
        self.hint(Some(hint.to_owned()));
        reported
    }

    /// A single value, in the type of its field; `None` if it is written that there is none.
    fn value(&mut self, info: &Field, node: &Node) -> Result<Option<Value<'static>>> {
        let text = match &node.content {
            Content::Null => return Ok(None),
            Content::Scalar(scalar) => scalar.text.as_str(),
            _ => {
                let message = format!("{} has a single value", info.name);
                return Err(self.error(Code::YamlValidate, node, message));
            }
        };
        typed(info.ty, text).map(Some).map_err(|expected| {
            let (name, ty) = (info.name, info.ty.name());
            let message = format!("{text} is not a valid {ty} for {name}");
            let reported = self.error(Code::Validate, node, message);
            self.hint(Some(format!("expected {expected}")));
            reported
        })
    }
}

/// The value that a text is in a type, or what is expected in its place.
fn typed(ty: Type, text: &str) -> std::result::Result<Value<'static>, &'static str> {
    match ty {
        Type::Bool => text.parse().map(Value::Bool).map_err(|_| "true or false"),
        Type::Number => text.parse().map(Value::Number).map_err(|_| "a decimal integer"),
        Type::Port => {
            let port = port_of(text).or_else(|| text.parse().ok());
            port.map(|port| Value::Number(port.into()))
                .ok_or("a number up to 65535, or the name of a service")
        }
        Type::Address | Type::Network => text
            .parse()
            .map(|address: IpAddr| address.into())
            .map_err(|_| "an address like 10.0.0.1 or 2001:db8::1"),
        Type::EventName if !names::is_known(text) => Err("the name of a system call or event"),
        Type::Bytes | Type::EventName | Type::Text => Ok(text.to_owned().into()),
    }
}
