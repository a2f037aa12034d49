//! Why a condition holds for a person or does not: each part with the value that was seen.

use super::evaluate::{Evaluation, Measured, Seen};
use super::model::*;
use super::moment::Moment;
use super::person::Person;
use super::{DEEPEST, words};
use crate::literals::{Money, minor_digits};
use crate::types::Channel;
use serde::Serialize;
use serde_json::Value;

/// One condition: whether it held, and the value that decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The condition in plain words.
    pub words: String,
    pub held: bool,
    /// What was seen of the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Explanation>,
}

/// Explains the condition for the person. `held` is what [`super::evaluate()`] gives.
pub fn explain(condition: &Condition, person: &Person, moment: &Moment<'_>) -> Explanation {
    Evaluation::new(person, moment).explain(condition, 0)
}

/// The condition alone, with its parts, for a reader without a customer: line by line, deeper parts indented.
pub fn outline(condition: &Condition) -> Vec<(usize, String)> {
    fn add(condition: &Condition, depth: usize, lines: &mut Vec<(usize, String)>) {
        lines.push((depth, condition.to_string()));
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| add(part, depth + 1, lines)),
            Condition::Not(part) => add(part, depth + 1, lines),
            _ => {}
        }
    }
    let mut lines = Vec::new();
    add(condition, 0, &mut lines);
    lines
}

impl Explanation {
    /// The lines of the tree: depth and part.
    pub fn lines(&self) -> Vec<(usize, &Explanation)> {
        fn add<'e>(part: &'e Explanation, depth: usize, lines: &mut Vec<(usize, &'e Explanation)>) {
            lines.push((depth, part));
            part.parts.iter().for_each(|part| add(part, depth + 1, lines));
        }
        let mut lines = Vec::new();
        add(self, 0, &mut lines);
        lines
    }

    /// The innermost parts that decided: those that failed where it failed, those that held where it held.
    pub fn deciding(&self) -> Vec<&Explanation> {
        if self.parts.is_empty() {
            return vec![self];
        }
        // `not` fails because its part held.
        let negated = self.parts.len() == 1 && self.parts[0].held != self.held;
        let wanted = if negated { !self.held } else { self.held };
        self.parts.iter().filter(|part| part.held == wanted).flat_map(Explanation::deciding).collect()
    }
}

impl Evaluation<'_, '_> {
    fn explain(&self, condition: &Condition, depth: usize) -> Explanation {
        let parts: Vec<Explanation> = match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().map(|part| self.explain(part, depth)).collect(),
            Condition::Not(part) => vec![self.explain(part, depth)],
            Condition::Segment(name) => match self.moment.segments.get(name) {
                Some(inner) if depth < DEEPEST => vec![self.explain(inner, depth + 1)],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        Explanation { words: condition.to_string(), held: self.holds(condition, depth), seen: self.seen(condition), parts }
    }

    fn seen(&self, condition: &Condition) -> Option<String> {
        Some(match condition {
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) | Condition::Segment(_) | Condition::Sample { .. } => return None,
            Condition::Attribute(AttributeCondition { path, .. }) => {
                let seen = self.find(path, &self.person.attributes);
                format!("`{}` is {}", path.written, seen.map_or("missing".to_string(), |seen| shown(&seen)))
            }
            Condition::Event(event) => {
                let counted = self.counted(event);
                let last = counted.iter().max_by_key(|past| past.at);
                let count = match (counted.len(), last) {
                    (1, Some(last)) => format!("1 such event, at {}", self.local(last.at)),
                    (count, Some(last)) => format!("{count} such events, the last at {}", self.local(last.at)),
                    _ => "no such event".to_string(),
                };
                match event.measure {
                    Measure::Count => count,
                    _ => format!(
                        "{count}; {} is {}",
                        words::measure(&event.measure),
                        self.measured_words(self.measured(&event.measure, &counted), event)
                    ),
                }
            }
            Condition::Message(message) => match self.messages(message) {
                0 => "no such message".to_string(),
                1 => "1 such message".to_string(),
                count => format!("{count} such messages"),
            },
            Condition::Consent(consent) => self.consent_words(&consent.topic, consent.channel),
            Condition::Reachable { channel, topic } => {
                let address = self.address_words(*channel);
                match topic {
                    Some(topic) => format!("{address}; {}", self.consent_words(topic, Some(*channel))),
                    None => address,
                }
            }
            Condition::Suppressed { channel, .. } => self.address_words(*channel),
        })
    }

    fn local(&self, at: crate::types::Time) -> String {
        at.with_timezone(&self.here.zone).format("%Y-%m-%d %H:%M").to_string()
    }

    fn measured_words(&self, measured: Measured, event: &EventCondition) -> String {
        let money = matches!(
            event.measure,
            Measure::Sum(_, Kind::Money)
                | Measure::Average(_, Kind::Money)
                | Measure::Smallest(_, Kind::Money)
                | Measure::Largest(_, Kind::Money)
        );
        let own =
            |minor: i128| Money { minor: i64::try_from(minor).unwrap_or(i64::MAX), currency: self.currencies.own.clone() }.to_string();
        match measured {
            Measured::Missing => "missing".to_string(),
            Measured::Money(minor) => own(minor),
            Measured::Number(number) => number.to_string(),
            Measured::Average(sum, count) if money => {
                let digits = minor_digits(&self.currencies.own).unwrap_or(2);
                format!("{:.*} {}", digits as usize, sum / count / 10f64.powi(digits as i32), self.currencies.own)
            }
            Measured::Average(sum, count) => (sum / count).to_string(),
        }
    }

    fn consent_words(&self, topic: &str, channel: Option<Channel>) -> String {
        let channels: &[Channel] = channel.as_ref().map_or(Channel::ALL, std::slice::from_ref);
        let states: Vec<String> = channels
            .iter()
            .filter_map(|channel| self.consent_on(topic, *channel).map(|consent| (channel, consent)))
            .map(|(channel, consent)| format!("consent by {channel} is {} since {}", consent.state, self.local(consent.at)))
            .collect();
        if states.is_empty() { "no consent is known".to_string() } else { states.join(", ") }
    }

    fn address_words(&self, channel: Channel) -> String {
        let mut addresses = self.person.addresses.iter().filter(|address| address.channel == channel);
        let Some(address) = addresses.next() else { return format!("no address for {channel}") };
        match address.suppressed {
            Some(suppression) if suppression.until.is_none_or(|until| until > self.moment.now) => {
                format!("the {channel} address is suppressed ({})", suppression.reason)
            }
            _ => format!("has an address for {channel}"),
        }
    }
}

/// A value as people read it; long ones are cut.
fn shown(seen: &Seen<'_>) -> String {
    let text = match seen {
        Seen::Instant(at) => at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Seen::Value(value) => match value.as_ref() {
            Value::String(text) => format!("“{text}”"),
            other => other.to_string(),
        },
    };
    if text.chars().count() <= 80 { text } else { format!("{}…", text.chars().take(79).collect::<String>()) }
}
