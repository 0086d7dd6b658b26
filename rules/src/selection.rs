//! Which rules are in force, beyond what their files say.

use std::str::FromStr;

use crate::glob::Glob;

/// Rules by name or by tag.
#[derive(Clone, Debug)]
pub struct Selector(By);

#[derive(Clone, Debug)]
enum By {
    /// A pattern of the name, as `glob` takes it.
    Rule(Glob),
    Tag(String),
}

impl Selector {
    pub(crate) fn selects(&self, name: &str, tags: &[String]) -> bool {
        match &self.0 {
            By::Rule(pattern) => pattern.matches(name.as_bytes()),
            By::Tag(tag) => tags.contains(tag),
        }
    }
}

/// The text selects no rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected rule=NAME, where * stands for any text, or tag=TAG")]
pub struct NoSelector;

impl FromStr for Selector {
    type Err = NoSelector;

    /// Reads `rule=NAME` or `tag=TAG`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some(("rule", name)) if !name.is_empty() => {
                Ok(Self(By::Rule(Glob::new(name.as_bytes(), false))))
            }
            Some(("tag", tag)) if !tag.is_empty() => Ok(Self(By::Tag(tag.to_owned()))),
            _ => Err(NoSelector),
        }
    }
}

/// Rules to be disabled, and those of them, and others, to be enabled after all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These are not in force.
    pub disabled: Vec<Selector>,
    /// These are, whatever else is said of them.
    pub enabled: Vec<Selector>,
}

impl Selection {
    /// Whether a rule is in force; `enabled` is what its file says.
    pub(crate) fn enables(&self, name: &str, tags: &[String], enabled: bool) -> bool {
        let is_among = |all: &[Selector]| all.iter().any(|selector| selector.selects(name, tags));
        is_among(&self.enabled) || enabled && !is_among(&self.disabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enabled_by_name_or_tag_stays_so() {
        let selectors =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let selection = |disabled: &[&str], enabled: &[&str]| Selection {
            disabled: selectors(disabled),
            enabled: selectors(enabled),
        };
        let tags = ["net".to_owned()];
        let enables = |selection: Selection, file| selection.enables("Odd dial", &tags, file);
        assert!(enables(selection(&[], &[]), true));
        assert!(!enables(selection(&[], &[]), false));
        assert!(!enables(selection(&["rule=Odd*"], &[]), true));
        assert!(!enables(selection(&["tag=net"], &["rule=Even*"]), true));
        assert!(enables(selection(&["rule=*"], &["tag=net"]), true));
        assert!(enables(selection(&[], &["rule=Odd dial"]), false));
        assert!(enables(selection(&["rule=odd*", "tag=ne"], &[]), true));
        for text in ["net", "rule=", "tag=", "name=x", ""] {
            assert_eq!(text.parse::<Selector>().err(), Some(NoSelector), "{text}");
        }
    }
}
