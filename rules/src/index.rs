//! Which rules of a bucket an event can satisfy: found by texts that the rules ask for, so that what an event costs does
//! not grow with the number of rules that ask for something else.
//!
//! Each rule is taken as alternatives ([`crate::need`]). If every alternative needs some field to be one of a few texts,
//! or to begin with one, the rule is listed under these; any other rule is always a candidate.

use memchr::memmem;
use rustc_hash::FxHashMap;

use crate::event::{Event, Value};
use crate::field::FieldId;
use crate::need::Alternative;

/// The fields that rules are found by, cheapest first: all are had without putting anything together.
const FIELDS: [FieldId; 6] = [
    FieldId::ProcName,
    FieldId::FdName,
    FieldId::FdFilename,
    FieldId::ProcExepath,
    FieldId::ProcPname,
    FieldId::FdDirectory,
];

/// In a smaller bucket every rule is evaluated.
const MIN_RULES: usize = 8;

/// The most bytes of a prefix that are looked at: each takes a node.
const MAX_PREFIX: usize = 32;

/// The most lists of rules that one event can be in before all rules are evaluated.
const MAX_LISTS: usize = 12;

/// The rules of a bucket by what they ask for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// How many rules there are.
    size: u32,
    /// Rules that ask for nothing that is listed.
    always: Box<[u32]>,
    guards: Box<[Guard]>,
}

/// The rules that ask for texts of one field.
#[derive(Debug)]
struct Guard {
    field: FieldId,
    texts: FxHashMap<Box<[u8]>, Box<[u32]>>,
    prefixes: Trie,
}

impl Index {
    /// Of the rules of a bucket, each given by its alternatives.
    pub(crate) fn new<'a>(rules: impl ExactSizeIterator<Item = Vec<Alternative<'a>>>) -> Self {
        let size = u32::try_from(rules.len()).unwrap_or(u32::MAX);
        if rules.len() < MIN_RULES {
            return Self { size, always: (0..size).collect(), ..Self::default() };
        }
        let mut always = Vec::new();
        let mut builders: Vec<Builder> = FIELDS.iter().map(|_| Builder::default()).collect();
        for (rule, alternatives) in (0..).zip(rules) {
            let wants: Option<Vec<_>> = alternatives.iter().map(want).collect();
            match wants {
                None => always.push(rule),
                Some(wants) => {
                    for (field, want) in wants {
                        builders[field].add(want, rule);
                    }
                }
            }
        }
        let guards = FIELDS.iter().zip(builders).filter(|(_, builder)| !builder.is_empty());
        let guards = guards.map(|(field, builder)| builder.build(*field)).collect();
        Self { size, always: always.into(), guards }
    }

    /// The rules that an event may satisfy, in order.
    pub(crate) fn candidates(&self, event: &impl Event) -> Candidates<'_> {
        let mut candidates = Candidates::default();
        candidates.add(&self.always);
        for Guard { field, texts, prefixes } in &self.guards {
            let Some(Value::Text(text)) = event.field(*field, None) else { continue };
            candidates.add(texts.get(&*text).map_or(&[], |rules| rules));
            prefixes.of(&text, |rules| candidates.add(rules));
            // To `pmatch`, one slash is as good as two.
            if memmem::find(&text, b"//").is_some() {
                prefixes.of(&squeezed(&text), |rules| candidates.add(rules));
            }
        }
        if candidates.is_full {
            return Candidates { rest: 0..self.size, ..Candidates::default() };
        }
        candidates
    }
}

/// A path without its repeated slashes.
fn squeezed(path: &[u8]) -> Vec<u8> {
    let mut squeezed = path.to_vec();
    squeezed.dedup_by(|next, before| *next == b'/' && *before == b'/');
    squeezed
}

/// What an alternative can be found by: which of [`FIELDS`], and how.
fn want(alternative: &Alternative<'_>) -> Option<(usize, Want)> {
    let texts =
        |(place, field): (usize, &FieldId)| Some((place, Want::Texts(alternative.texts(*field)?)));
    let prefixes = |(place, field): (usize, &FieldId)| {
        Some((place, Want::Prefixes(alternative.prefixes(*field)?)))
    };
    let mut fields = FIELDS.iter().enumerate();
    fields.find_map(texts).or_else(|| FIELDS.iter().enumerate().find_map(prefixes))
}

/// What a field must be.
enum Want {
    Texts(Vec<Vec<u8>>),
    Prefixes(Vec<Vec<u8>>),
}

/// Whether rules can be found by a field.
pub(crate) fn is_indexed(field: FieldId) -> bool {
    FIELDS.contains(&field)
}

#[derive(Default)]
struct Builder {
    texts: FxHashMap<Vec<u8>, Vec<u32>>,
    prefixes: FxHashMap<Vec<u8>, Vec<u32>>,
}

impl Builder {
    fn add(&mut self, want: Want, rule: u32) {
        let (map, texts, is_prefix) = match want {
            Want::Texts(texts) => (&mut self.texts, texts, false),
            Want::Prefixes(texts) => (&mut self.prefixes, texts, true),
        };
        for mut text in texts {
            if is_prefix {
                // A shorter one lets more pass.
                text.truncate(MAX_PREFIX);
            }
            let rules = map.entry(text).or_default();
            if rules.last() != Some(&rule) {
                rules.push(rule);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.prefixes.is_empty()
    }

    fn build(self, field: FieldId) -> Guard {
        let texts = self.texts.into_iter().map(|(text, rules)| (text.into(), rules.into()));
        let mut prefixes = Trie::default();
        for (prefix, rules) in self.prefixes {
            prefixes.add(&prefix, rules);
        }
        Guard { field, texts: texts.collect(), prefixes }
    }
}

/// Rules by the beginning of a text.
#[derive(Debug)]
struct Trie {
    nodes: Vec<TrieNode>,
}

#[derive(Debug, Default)]
struct TrieNode {
    /// By their first byte, sorted.
    children: Vec<(u8, u32)>,
    rules: Box<[u32]>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![TrieNode::default()] }
    }
}

impl Trie {
    fn add(&mut self, prefix: &[u8], rules: Vec<u32>) {
        let mut node = 0;
        for byte in prefix {
            node = match self.nodes[node].children.binary_search_by_key(byte, |(byte, _)| *byte) {
                Ok(place) => self.nodes[node].children[place].1 as usize,
                Err(place) => {
                    let new = self.nodes.len();
                    self.nodes.push(TrieNode::default());
                    // A file of rules has fewer bytes than that.
                    let number = u32::try_from(new).unwrap_or(u32::MAX);
                    self.nodes[node].children.insert(place, (*byte, number));
                    new
                }
            };
        }
        self.nodes[node].rules = rules.into();
    }

    /// Calls `found` with the rules of every prefix of a text.
    fn of<'a>(&'a self, text: &[u8], mut found: impl FnMut(&'a [u32])) {
        let mut node = &self.nodes[0];
        for byte in text {
            let Ok(place) = node.children.binary_search_by_key(byte, |(byte, _)| *byte) else {
                return;
            };
            node = &self.nodes[node.children[place].1 as usize];
            found(&node.rules);
        }
    }
}

/// Rules of a bucket, in order, each once.
#[derive(Debug, Default)]
pub(crate) struct Candidates<'a> {
    lists: [&'a [u32]; MAX_LISTS],
    count: usize,
    is_full: bool,
    /// If there are too many lists: every rule.
    rest: std::ops::Range<u32>,
}

impl<'a> Candidates<'a> {
    fn add(&mut self, rules: &'a [u32]) {
        if rules.is_empty() {
            return;
        }
        match self.lists.get_mut(self.count) {
            Some(list) => {
                *list = rules;
                self.count += 1;
            }
            None => self.is_full = true,
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let lists = &mut self.lists[..self.count];
        let Some(next) = lists.iter().filter_map(|list| list.first().copied()).min() else {
            return self.rest.next();
        };
        for list in lists {
            if let [first, rest @ ..] = list
                && *first == next
            {
                *list = rest;
            }
        }
        Some(next)
    }
}
