//! Named lists, and their expansion where a condition names one.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::slice::Iter;

use crate::ast::Word;

/// The lists of a ruleset.
#[derive(Debug, Default)]
pub(crate) struct Lists<'a> {
    lists: BTreeMap<&'a str, List<'a>>,
}

#[derive(Debug)]
struct List<'a> {
    items: &'a [String],
    is_used: Cell<bool>,
}

impl<'a> Lists<'a> {
    pub(crate) fn add(&mut self, name: &'a str, items: &'a [String]) {
        self.lists.insert(name, List { items, is_used: Cell::new(false) });
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().copied()
    }

    /// The names of the lists that nothing asked for.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(|(_, list)| !list.is_used.get()).map(|(name, _)| *name)
    }

    /// Notes that a list is used, and with it those that it names.
    pub(crate) fn mark(&self, name: &str) {
        let mut names = vec![name];
        while let Some(list) = names.pop().and_then(|name| self.lists.get(name)) {
            if !list.is_used.replace(true) {
                names.extend(
                    list.items
                        .iter()
                        .map(String::as_str)
                        .filter(|item| self.lists.contains_key(item)),
                );
            }
        }
    }

    /// The items of the list that `word` names, in the place of the word.
    ///
    /// Lists within lists are expanded to the last level, whatever the order of definition; a
    /// name within its own expansion is an ordinary value, as `sh` in a list `sh`.
    pub(crate) fn expand(&self, word: &Word) -> Option<Vec<Word>> {
        if word.quoted {
            return None;
        }
        let (name, list) = self.lists.get_key_value(str::from_utf8(&word.bytes).ok()?)?;
        let mut expansion =
            Expansion { lists: self, word, states: HashMap::new(), items: Vec::new() };
        expansion.add(name, list);
        Some(expansion.items)
    }
}

struct Expansion<'l> {
    lists: &'l Lists<'l>,
    word: &'l Word,
    states: HashMap<&'l str, State>,
    items: Vec<Word>,
}

enum State {
    /// The list's items are being added.
    Open,
    /// They all were.
    Done,
}

impl<'l> Expansion<'l> {
    /// Adds the items of a list, and of those that it names, in order.
    fn add(&mut self, name: &'l str, list: &'l List<'l>) {
        // A stack of its own: lists can be nested as deep as a hostile file likes.
        let mut stack = vec![self.open(name, list)];
        while let Some((name, items)) = stack.last_mut() {
            let Some(item) = items.next() else {
                self.states.insert(name, State::Done);
                stack.pop();
                continue;
            };
            let Some((inner, list)) = self.lists.lists.get_key_value(item.as_str()) else {
                self.items.push(self.literal(item));
                continue;
            };
            match self.states.get(inner) {
                None => stack.push(self.open(inner, list)),
                Some(State::Open) => self.items.push(self.literal(item)),
                // Its items are there already, and expanding it each time takes exponential time.
                Some(State::Done) => {}
            }
        }
    }

    fn open(&mut self, name: &'l str, list: &'l List<'l>) -> (&'l str, Iter<'l, String>) {
        list.is_used.set(true);
        self.states.insert(name, State::Open);
        (name, list.items.iter())
    }

    /// An item as a constant; its own quotes, if it brings them, are not part of the value.
    fn literal(&self, item: &str) -> Word {
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| item.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)));
        let bytes = unquoted.unwrap_or(item).as_bytes().to_vec();
        Word { span: self.word.span, bytes, quoted: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Span;

    fn expand(lists: &[(&str, &[&str])], name: &str) -> Option<Vec<String>> {
        let owned: Vec<(&str, Vec<String>)> = lists
            .iter()
            .map(|(name, items)| (*name, items.iter().map(|item| (*item).to_owned()).collect()))
            .collect();
        let mut lists = Lists::default();
        for (name, items) in &owned {
            lists.add(name, items);
        }
        let word = Word { span: Span::new(0..1), bytes: name.into(), quoted: false };
        let text = |word: Word| String::from_utf8(word.bytes).expect("text");
        lists.expand(&word).map(|words| words.into_iter().map(text).collect())
    }

    #[test]
    fn lists_expand_to_the_last_level_in_any_order() {
        let lists: &[(&str, &[&str])] = &[("c", &["b", "z"]), ("b", &["a", "y"]), ("a", &["x"])];
        assert_eq!(expand(lists, "c").unwrap(), ["x", "y", "z"]);
        assert_eq!(expand(lists, "d"), None);
    }

    #[test]
    fn a_name_within_its_own_list_is_a_value() {
        assert_eq!(expand(&[("sh", &["sh", "bash"])], "sh").unwrap(), ["sh", "bash"]);
        let circle: &[(&str, &[&str])] = &[("a", &["b", "1"]), ("b", &["a", "2"])];
        assert_eq!(expand(circle, "a").unwrap(), ["a", "2", "1"]);
    }

    #[test]
    fn doubling_lists_take_linear_time() {
        let names: Vec<String> = (0..200).map(|n| format!("l{n}")).collect();
        let items: Vec<Vec<&str>> =
            (0..200).map(|n| if n == 0 { vec!["x"] } else { vec![&*names[n - 1]; 2] }).collect();
        let lists: Vec<(&str, &[&str])> =
            names.iter().map(String::as_str).zip(items.iter().map(Vec::as_slice)).collect();
        assert_eq!(expand(&lists, "l199").unwrap(), ["x"]);
    }

    #[test]
    fn items_may_bring_their_own_quotes() {
        assert_eq!(expand(&[("l", &["\"one two\"", "three"])], "l").unwrap(), ["one two", "three"]);
    }
}
