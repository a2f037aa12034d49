//! The keys beside a subject: each is taken once, and what is left is a problem.

use super::Reader;
use crate::diagnostics::nearest;
use crate::yaml::{Key, Node};

/// Keys of one mapping, and which of them were asked for.
pub(super) struct Keys<'n> {
    entries: &'n [(Key, Node)],
    taken: Vec<&'n str>,
    /// Every key that was asked for, present or not: what could be meant by an unknown one.
    asked: Vec<String>,
}

impl<'n> Keys<'n> {
    /// The subject's own key counts as taken.
    pub(super) fn new(entries: &'n [(Key, Node)], subject: &'n Key) -> Self {
        Keys { entries, taken: vec![subject.text.as_str()], asked: Vec::new() }
    }

    /// All keys of a mapping without a subject.
    pub(super) fn of(entries: &'n [(Key, Node)]) -> Self {
        Keys { entries, taken: Vec::new(), asked: Vec::new() }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<&'n Node> {
        self.take_entry(key).map(|(_, node)| node)
    }

    pub(super) fn take_entry(&mut self, key: &str) -> Option<&'n (Key, Node)> {
        self.asked.push(key.to_string());
        let entry = self.entries.iter().find(|(known, _)| known.text == key)?;
        self.taken.push(entry.0.text.as_str());
        Some(entry)
    }

    /// Takes keys that cannot be read, since something else is wrong.
    pub(super) fn pass(&mut self, keys: &[&str]) {
        for key in keys {
            let _ = self.take(key);
        }
    }

    /// Looks without taking.
    pub(super) fn peek(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// True when nothing is left; else each left key is a problem.
    pub(super) fn finish(&self, reader: &mut Reader<'_, '_>, of: &str) -> bool {
        let mut clean = true;
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.taken.contains(&key.text.as_str())) {
            clean = false;
            let help = match nearest(&key.text, self.asked.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if in_words(&key.text).is_some() => in_words(&key.text).unwrap_or_default().to_string(),
                None if self.asked.is_empty() => format!("{of} has no other keys"),
                None => format!("beside {of} may stand: {}", self.asked.join(", ")),
            };
            reader.problem(key.span, format!("the key `{}` does not belong to {of}", key.text), "unknown here", help);
        }
        clean
    }
}

/// What a sign of formulas is called here.
fn in_words(sign: &str) -> Option<&'static str> {
    Some(match sign {
        ">" => "write `more_than: 100`",
        "<" => "write `less_than: 100`",
        ">=" | "=>" => "write `at_least: 100`",
        "<=" | "=<" => "write `at_most: 100`",
        "=" | "==" => "write `is: …`",
        "!=" | "<>" => "write `not: { attribute: …, is: … }`",
        _ => return None,
    })
}
