//! Reads a condition from a file: every problem at its words, with what to do.

mod dates;
mod history;
mod keys;
mod paths;
mod properties;
mod sense;
mod tests;
#[cfg(test)]
mod cases;

use super::model::*;
use crate::diagnostics::{Problem, Problems, Span, nearest};
use crate::literals::{DateExpression, Duration, Share, ValueType};
use crate::types::Channel;
use crate::yaml::{Key, Node};
use keys::Keys;

/// The words that a condition can begin with.
const SUBJECTS: &[&str] =
    &["all", "any", "not", "attribute", "event", "message", "step", "consent", "reachable", "suppressed", "enrolled", "segment", "sample"];

/// Reads one condition. `None` when something is wrong in it; `problems` says what.
pub fn read(file: &str, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<Condition> {
    Reader { file, known, problems }.condition(node)
}

/// Reads the `where` of an event named `event`: property → value, list of values, or tests. Values may be taken from the customer;
/// where there is none at hand, refuse what [`PropertyTests::needs_customer`].
pub fn read_properties(file: &str, event: &str, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<PropertyTests> {
    let mut reader = Reader { file, known, problems };
    let fields = reader.fields_of_event(event);
    reader.properties(node, fields.as_ref(), &format!("event `{event}`"))
}

/// Reads a property of an event as a path, for what is measured (`value: amount`), with a problem when the event lacks it.
pub fn read_property(file: &str, event: &str, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<(Path, Kind)> {
    Reader { file, known, problems }.measured(event, node)
}

/// Reads the name of an attribute that holds a date or a date with a time.
pub fn read_date_attribute(file: &str, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<Path> {
    let mut reader = Reader { file, known, problems };
    let name = reader.text(node, "an attribute's name")?;
    let (path, declared) = reader.attribute_path(node.span, &name)?;
    match declared {
        None | Some(ValueType::Date | ValueType::DateTime) => Some(path),
        Some(other) => {
            let label = format!("`{name}` is of the type {other}");
            reader.problem(node.span, format!("`{name}` is no date"), label, "name an attribute of the type date or datetime");
            None
        }
    }
}

/// Checks that an event of this name may be used here: it is declared, where events are, and not one of the system's own.
pub fn check_event(file: &str, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<String> {
    Reader { file, known, problems }.event_name(node)
}

struct Reader<'r, 'k> {
    file: &'r str,
    known: &'r Known<'k>,
    problems: &'r mut Problems,
}

impl Reader<'_, '_> {
    fn problem(&mut self, span: Span, title: impl Into<String>, label: impl Into<String>, help: impl Into<String>) {
        let mut problem = Problem::new(self.file, span, title).label(label);
        let help = help.into();
        if !help.is_empty() {
            problem = problem.help(help);
        }
        self.problems.push(problem);
    }

    /// What is known to the format and not built yet.
    fn later(&mut self, span: Span, what: &str) {
        self.problem(
            span,
            format!("{what} cannot be used yet"),
            "not built yet",
            "leave it out for now: this version of Posthaste does not read it",
        );
    }

    fn condition(&mut self, node: &Node) -> Option<Condition> {
        let Some(entries) = node.map() else {
            self.problem(
                node.span,
                "a condition is expected",
                format!("this is {}", node.kind()),
                "write a subject and what is asked of it, like `{ attribute: city, is: Kyiv }`",
            );
            return None;
        };
        let subjects: Vec<&(Key, Node)> = entries.iter().filter(|(key, _)| is_subject(&key.text, entries)).collect();
        let (key, value) = match subjects.as_slice() {
            [] => {
                self.no_subject(node.span, entries);
                return None;
            }
            [subject] => *subject,
            [first, second, ..] => {
                self.problem(
                    second.0.span,
                    format!("a condition has one subject, and here are `{}` and `{}`", first.0.text, second.0.text),
                    "a second subject",
                    "write two conditions in a list: `all: [ { … }, { … } ]`",
                );
                return None;
            }
        };
        let mut keys = Keys::new(entries, key);
        let read = match key.text.as_str() {
            "all" => self.parts(value, "all").map(Condition::All),
            "any" => self.parts(value, "any").map(Condition::Any),
            "not" => self.condition(value).map(|part| Condition::Not(Box::new(part))),
            "attribute" => self.attribute(value, &mut keys),
            "event" => self.event(value, &mut keys),
            "message" => self.message(value, &mut keys),
            "consent" => self.consent(value, &mut keys),
            "reachable" => self.reachable(value, &mut keys),
            "suppressed" => self.suppressed(value, &mut keys),
            "segment" => self.segment(value),
            "sample" => self.sample(value, &mut keys),
            "step" => {
                self.later(key.span, "the subject `step`");
                return None;
            }
            _ => {
                self.later(key.span, "the subject `enrolled`");
                return None;
            }
        };
        keys.finish(self, &format!("`{}`", key.text)).then_some(())?;
        read
    }

    fn no_subject(&mut self, span: Span, entries: &[(Key, Node)]) {
        let near = entries.iter().find_map(|(key, _)| Some((key, nearest(&key.text, SUBJECTS.iter().copied())?)));
        match (near, entries.first()) {
            (Some((key, subject)), _) => {
                self.problem(key.span, format!("there is no subject `{}`", key.text), "unknown word", format!("did you mean `{subject}`?"))
            }
            (None, Some((key, _))) => self.problem(
                key.span,
                "this condition has no subject",
                "asks nothing of anything",
                format!("a condition begins with one of: {}", SUBJECTS.join(", ")),
            ),
            (None, None) => self.problem(span, "an empty condition", "asks nothing", "everyone is `{ segment: everyone }`"),
        }
    }

    fn parts(&mut self, node: &Node, word: &str) -> Option<Vec<Condition>> {
        let Some(items) = node.list() else {
            self.problem(
                node.span,
                format!("`{word}` wants a list of conditions"),
                format!("this is {}", node.kind()),
                format!("write `{word}: [ {{ … }}, {{ … }} ]`"),
            );
            return None;
        };
        if items.is_empty() {
            self.problem(node.span, format!("`{word}` has no conditions"), "empty", "write at least one condition");
            return None;
        }
        let read: Vec<Option<Condition>> = items.iter().map(|item| self.condition(item)).collect();
        let parts = read.into_iter().collect::<Option<Vec<Condition>>>()?;
        if word == "all" {
            self.contradictions(items, &parts);
        }
        Some(parts)
    }

    /// Two conditions of `all` that want one attribute to be two different things.
    fn contradictions(&mut self, nodes: &[Node], parts: &[Condition]) {
        let wanted = |condition: &Condition| match condition {
            Condition::Attribute(AttributeCondition { path, tests }) => tests.iter().find_map(|test| match test {
                Test::Is(operands) if !operands.iter().any(|operand| matches!(operand, Operand::Attribute(..))) => {
                    Some((path.written.clone(), operands.clone()))
                }
                _ => None,
            }),
            _ => None,
        };
        for (number, part) in parts.iter().enumerate() {
            let Some((path, operands)) = wanted(part) else { continue };
            let earlier = parts[..number]
                .iter()
                .filter_map(wanted)
                .find(|(other, others)| *other == path && !operands.iter().any(|operand| others.contains(operand)));
            if earlier.is_some() {
                self.problem(
                    nodes[number].span,
                    format!("nobody can satisfy this: `{path}` cannot be two different things at once"),
                    "contradicts a condition above",
                    "use `any: [ … ]`, or one condition with `in: [ … ]`",
                );
            }
        }
    }

    fn segment(&mut self, node: &Node) -> Option<Condition> {
        let name = self.text(node, "a segment's name")?;
        if name == "everyone" {
            return Some(Condition::EVERYONE);
        }
        self.one_of(node.span, &name, self.known.segments, "segment", "campaigns/segments/NAME.yaml holds a segment")
            .then_some(Condition::Segment(name))
    }

    fn sample(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let draw = match keys.take("draw") {
            Some(draw) => self.text(draw, "the name of a draw"),
            None => {
                self.problem(
                    node.span,
                    "a sample needs the name of its draw",
                    "drawn how?",
                    "write `{ sample: 10%, draw: pilot }`; the same draw gives the same people everywhere",
                );
                None
            }
        };
        let text = self.text(node, "a percentage")?;
        let share = self.literal(node.span, Share::read(&text))?;
        Some(Condition::Sample { share, draw: draw? })
    }

    fn reachable(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let topic = match keys.take("topic") {
            Some(topic) => Some(self.topic(topic)?),
            None => None,
        };
        Some(Condition::Reachable { channel: self.channel(node)?, topic })
    }

    fn suppressed(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let reason = match keys.take("reason") {
            Some(reason) => {
                let word = self.text(reason, "a reason")?;
                let known = crate::types::SuppressionReason::from_word(&word);
                if known.is_none() {
                    let words: Vec<&str> = crate::types::SuppressionReason::ALL.iter().map(|reason| reason.word()).collect();
                    self.unknown_word(reason.span, &word, "reason", &words);
                }
                Some(known?)
            }
            None => None,
        };
        Some(Condition::Suppressed { channel: self.channel(node)?, reason })
    }

    // Values that several subjects share.

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match node.text() {
            Some(text) if !node.is_empty() => Some(text.to_string()),
            _ => {
                let found = if node.is_empty() { "nothing is written here".to_string() } else { format!("this is {}", node.kind()) };
                self.problem(node.span, format!("{what} is expected"), found, "");
                None
            }
        }
    }

    fn literal<T>(&mut self, span: Span, read: Result<T, String>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                let (title, help) = why.split_once("; ").map_or((why.as_str(), ""), |(title, help)| (title, help));
                self.problem(span, title, "", help);
                None
            }
        }
    }

    fn duration(&mut self, node: &Node) -> Option<Duration> {
        let text = self.text(node, "a duration")?;
        self.literal(node.span, Duration::read(&text))
    }

    fn date(&mut self, node: &Node) -> Option<DateExpression> {
        let text = self.text(node, "a date")?;
        self.literal(node.span, DateExpression::read(&text))
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        let text = self.text(node, "true or false")?;
        self.literal(node.span, crate::literals::boolean(&text))
    }

    /// The items of a list, or the one value that stands in its place.
    fn items<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match node.list() {
            Some([]) => {
                self.problem(node.span, "an empty list", "nothing can be one of these", "write at least one value");
                None
            }
            Some(items) => Some(items),
            None => Some(std::slice::from_ref(node)),
        }
    }

    fn each<T>(&mut self, node: &Node, mut read: impl FnMut(&mut Self, &Node) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<Option<T>> = self.items(node)?.iter().map(|item| read(self, item)).collect();
        read.into_iter().collect()
    }

    /// Reads an optional key with one or several values.
    fn several<T>(&mut self, keys: &mut Keys<'_>, key: &str, read: impl FnMut(&mut Self, &Node) -> Option<T>) -> Option<Vec<T>> {
        match keys.take(key) {
            Some(node) => self.each(node, read),
            None => Some(Vec::new()),
        }
    }

    fn channel(&mut self, node: &Node) -> Option<Channel> {
        let word = self.text(node, "a channel")?;
        let channel = Channel::from_word(&word);
        if channel.is_none() {
            let words: Vec<&str> = Channel::ALL.iter().map(|channel| channel.word()).collect();
            self.unknown_word(node.span, &word, "channel", &words);
        }
        channel
    }

    fn topic(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node, "a topic")?;
        self.one_of(node.span, &name, self.known.topics, "topic", "topics are declared in posthaste.yaml").then_some(name)
    }

    fn one_of(&mut self, span: Span, name: &str, known: &std::collections::BTreeSet<String>, what: &str, where_from: &str) -> bool {
        if known.contains(name) {
            return true;
        }
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => where_from.to_string(),
        };
        self.problem(span, format!("there is no {what} `{name}`"), "not found", help);
        false
    }

    fn unknown_word(&mut self, span: Span, word: &str, what: &str, words: &[&str]) {
        let help = match nearest(word, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it is one of: {}", words.join(", ")),
        };
        self.problem(span, format!("there is no {what} `{word}`"), "unknown word", help);
    }
}

/// `any` and `message: any` differ by place: a key is a subject unless another subject's table has it as a narrowing key.
fn is_subject(word: &str, entries: &[(Key, Node)]) -> bool {
    let has = |subject: &str| entries.iter().any(|(key, _)| key.text == subject);
    SUBJECTS.contains(&word) && !(word == "step" && has("message"))
}
