//! Takes values out of a mapping that has been held against its field table. What is missing or wrong is `None`: if it is wrong,
//! the problem has been reported.

use super::fields::{Choice, Kind};
use super::names::Names;
use super::shapes::Checker;
use crate::diagnostics::{Problem, Problems, Span};
use crate::literals::{self, Duration, Share, Words, WrittenTime};
use crate::yaml::{Node, Value};
use std::collections::BTreeMap;

/// A mapping of a file.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub file: &'a str,
    pub node: &'a Node,
}

impl<'a> Part<'a> {
    pub fn get(self, key: &str) -> Option<&'a Node> {
        self.node.get(key).filter(|node| !node.is_empty())
    }
    pub fn has(self, key: &str) -> bool {
        self.node.get(key).is_some()
    }
    pub fn inner(self, key: &str) -> Option<Part<'a>> {
        self.get(key).filter(|node| node.map().is_some()).map(|node| Part { file: self.file, node })
    }
    /// The mapping's entries under a key.
    pub fn entries(self, key: &str) -> impl Iterator<Item = (&'a str, Span, &'a Node)> {
        self.get(key).and_then(Node::map).unwrap_or_default().iter().map(|(key, node)| (key.text.as_str(), key.span, node))
    }
    /// The list's items under a key; a single value is a list of one.
    pub fn items(self, key: &str) -> &'a [Node] {
        match self.get(key) {
            Some(node) => node.list().unwrap_or(std::slice::from_ref(node)),
            None => &[],
        }
    }
    pub fn text(self, key: &str) -> Option<&'a str> {
        self.get(key)?.text()
    }
    pub fn owned(self, key: &str) -> Option<String> {
        self.text(key).map(str::to_string)
    }
    pub fn texts(self, key: &str) -> Vec<String> {
        self.items(key).iter().filter_map(Node::text).map(str::to_string).collect()
    }
    pub fn words(self, key: &str) -> Option<Words> {
        self.get(key).map(words)
    }
    pub fn boolean(self, key: &str) -> Option<bool> {
        literals::boolean(self.text(key)?).ok()
    }
    pub fn whole(self, key: &str) -> Option<u64> {
        literals::whole(self.text(key)?).ok()
    }
    pub fn duration(self, key: &str) -> Option<Duration> {
        Duration::read(self.text(key)?).ok()
    }
    pub fn share(self, key: &str) -> Option<Share> {
        Share::read(self.text(key)?).ok()
    }
    pub fn written_time(self, key: &str) -> Option<WrittenTime> {
        WrittenTime::read(self.text(key)?).ok()
    }
    /// The span of a value, else of the mapping.
    pub fn span(self, key: &str) -> Span {
        self.node.get(key).map_or(self.node.span, |node| node.span)
    }
    /// The span of the key itself, else of the mapping's beginning.
    pub fn key_span(self, key: &str) -> Span {
        self.node.map().and_then(|entries| entries.iter().find(|(k, _)| k.text == key)).map_or_else(|| self.start(), |(key, _)| key.span)
    }
    /// Where a problem of the mapping as a whole is shown: its first key.
    pub fn start(self) -> Span {
        self.node.map().and_then(|entries| entries.first()).map_or(self.node.span, |(key, _)| key.span)
    }
    pub fn problem(self, span: Span, title: impl Into<String>) -> Problem {
        Problem::new(self.file, span, title)
    }
}

/// A text, or one for each language.
pub fn words(node: &Node) -> Words {
    match &node.value {
        Value::Map(entries) => {
            Words(entries.iter().filter_map(|(language, node)| Some((language.text.clone(), node.text()?.to_string()))).collect())
        }
        _ => Words::of(node.text().unwrap_or_default()),
    }
}

/// Texts under free keys; a plain text stands under `other`.
pub fn by_country(node: &Node) -> BTreeMap<String, String> {
    match &node.value {
        Value::Map(entries) => entries.iter().filter_map(|(key, node)| Some((key.text.clone(), node.text()?.to_string()))).collect(),
        _ => node.text().map(|text| ("other".to_string(), text.to_string())).into_iter().collect(),
    }
}

/// What a file says as JSON: texts as written, nothing as null.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        _ if node.is_empty() => serde_json::Value::Null,
        Value::Scalar { text, .. } => serde_json::Value::String(text.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(_) => serde_json::Value::Object(json_object(node)),
    }
}

/// A mapping as a JSON object.
pub fn json_object(node: &Node) -> serde_json::Map<String, serde_json::Value> {
    node.map().unwrap_or_default().iter().map(|(key, node)| (key.text.clone(), json(node))).collect()
}

/// Checks that what is looked up exists; the problem says what was probably meant.
pub fn must_exist(file: &str, names: &Names, problems: &mut Problems, kind: Kind, name: &str, span: Span) {
    Checker { file, names, problems }.no_such(kind, name, span);
}

/// Whether a word is one of a choice's.
pub fn is_word(choice: &Choice, word: &str) -> bool {
    choice.words.contains(&word)
}

/// A part of a value, by byte offsets inside its text; the whole where quotes or escapes make that uncertain.
pub fn inside(node: &Node, range: std::ops::Range<usize>) -> Span {
    let Value::Scalar { text, quoted } = &node.value else { return node.span };
    let (length, quotes) = (node.span.end - node.span.start, usize::from(*quoted));
    if length == text.len() + 2 * quotes && range.start < range.end {
        node.span.part(range.start + quotes..range.end + quotes)
    } else {
        node.span
    }
}
