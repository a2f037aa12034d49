//! What a campaign's test expects against what the engine did: every difference in plain words.
//!
//! Pure: `engine::trials` runs the engine on a virtual clock and gathers [`Seen`].

use crate::campaigns::{Expect, ExpectMessage};
use crate::types::{Channel, Refusal, Time};
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// What came of one test's people.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `selected` and the words of the funnel.
    pub counts: BTreeMap<String, u64>,
    pub messages: Vec<SeenMessage>,
    pub refused: Vec<SeenRefusal>,
    /// For the tests of a segment: external ids of those in it.
    pub members: Vec<String>,
}

/// A person under every name that a test may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
}

impl Names {
    fn has(&self, name: &str) -> bool {
        [&self.external_id, &self.email, &self.phone]
            .into_iter()
            .any(|one| one.as_deref().is_some_and(|one| one.eq_ignore_ascii_case(name)))
    }
    fn shown(&self) -> &str {
        self.external_id.as_deref().or(self.email.as_deref()).or(self.phone.as_deref()).unwrap_or("somebody without a name")
    }
}

/// A message that was handed over.
#[derive(Debug, Clone)]
pub struct SeenMessage {
    pub to: Names,
    pub channel: Channel,
    pub variant: String,
    pub language: String,
    pub at: Time,
    pub subject: String,
    pub preheader: String,
    /// HTML and text of a letter, or the text of an SMS.
    pub texts: Vec<String>,
    /// Of an SMS.
    pub parts: Option<u16>,
}

#[derive(Debug, Clone)]
pub struct SeenRefusal {
    pub to: Names,
    pub refusal: Refusal,
    pub detail: Option<String>,
}

/// One sentence for each difference; none when all is as expected. `zone` reads local times.
pub fn differences(expect: &Expect, seen: &Seen, zone: Tz) -> Vec<String> {
    let mut found = Vec::new();
    for (word, expected) in &expect.counts {
        let actual = seen.counts.get(word).copied().unwrap_or(0);
        if actual != *expected {
            found.push(format!("{word}: expected {expected}, got {actual}{}", explained(word, seen)));
        }
    }
    for (word, expected) in &expect.refused {
        let who: Vec<&str> = seen.refused.iter().filter(|one| one.refusal.word() == word).map(|one| one.to.shown()).collect();
        if who.len() as u64 != *expected {
            found.push(format!("refused {word}: expected {expected}, got {}{}", who.len(), list(&who)));
        }
    }
    if let Some(members) = &expect.members {
        let (mut expected, mut actual) = (members.clone(), seen.members.clone());
        expected.sort();
        actual.sort();
        if expected != actual {
            found.push(format!("members: expected {}, got {}", words(&expected), words(&actual)));
        }
    }
    for (person, word) in &expect.not_to {
        found.extend(not_to(person, word, seen));
    }
    for (person, expected) in &expect.to {
        found.extend(messages_to(person, expected, seen, zone));
    }
    found
}

fn not_to(person: &str, word: &str, seen: &Seen) -> Option<String> {
    if let Some(refusal) = seen.refused.iter().find(|one| one.to.has(person)) {
        let detail = refusal.detail.as_ref().map_or(String::new(), |detail| format!(" ({detail})"));
        return (refusal.refusal.word() != word)
            .then(|| format!("{person}: expected to be refused {word}, was refused {}{detail}", refusal.refusal));
    }
    match seen.messages.iter().find(|one| one.to.has(person)) {
        Some(message) => Some(format!("{person}: expected to be refused {word}, got a message by {}", message.channel)),
        None => Some(format!("{person}: expected to be refused {word}, was not selected at all")),
    }
}

fn messages_to(person: &str, expected: &[ExpectMessage], seen: &Seen, zone: Tz) -> Vec<String> {
    let messages: Vec<&SeenMessage> = seen.messages.iter().filter(|one| one.to.has(person)).collect();
    if messages.len() != expected.len() {
        let why = seen.refused.iter().find(|one| one.to.has(person)).map_or(String::new(), |one| format!(": refused {}", one.refusal));
        return vec![format!("{person}: expected {} message{}, got {}{why}", expected.len(), plural(expected.len()), messages.len())];
    }
    expected.iter().zip(messages).flat_map(|(expected, message)| one_message(person, expected, message, zone)).collect()
}

fn one_message(person: &str, expected: &ExpectMessage, message: &SeenMessage, zone: Tz) -> Vec<String> {
    let mut found = Vec::new();
    let mut same = |what: &str, expected: Option<String>, actual: String| {
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            found.push(format!("{person}: {what}: expected {expected}, got {actual}"));
        }
    };
    same("channel", expected.channel.map(|channel| channel.to_string()), message.channel.to_string());
    same("variant", expected.variant.clone(), message.variant.clone());
    same("language", expected.language.clone(), message.language.clone());
    same("subject", expected.subject.as_ref().map(|text| format!("\"{text}\"")), format!("\"{}\"", message.subject));
    same("preheader", expected.preheader.as_ref().map(|text| format!("\"{text}\"")), format!("\"{}\"", message.preheader));
    same("parts", expected.parts.map(|parts| parts.to_string()), message.parts.map_or("none".into(), |parts| parts.to_string()));
    let local = |time: Time| time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string();
    same("at", expected.at.map(local), local(message.at));
    same(
        "at",
        expected.at_local.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
        message.at.with_timezone(&zone).naive_local().format("%Y-%m-%d %H:%M:%S").to_string(),
    );
    for words in &expected.contains {
        if !message.texts.iter().any(|text| text.contains(words.as_str())) {
            found.push(format!("{person}: the message does not contain \"{words}\""));
        }
    }
    for words in &expected.lacks {
        if message.texts.iter().any(|text| text.contains(words.as_str())) {
            found.push(format!("{person}: the message contains \"{words}\", and should not"));
        }
    }
    found
}

/// Who was refused, behind a count that is off.
fn explained(word: &str, seen: &Seen) -> String {
    if word != "messages" && word != "accepted" || seen.refused.is_empty() {
        return String::new();
    }
    let refused: Vec<String> = seen.refused.iter().take(5).map(|one| format!("{} {}", one.to.shown(), one.refusal)).collect();
    format!("; refused: {}{}", refused.join(", "), if seen.refused.len() > 5 { " …" } else { "" })
}

fn list(who: &[&str]) -> String {
    if who.is_empty() { String::new() } else { format!(" ({})", who.iter().take(5).copied().collect::<Vec<_>>().join(", ")) }
}

fn words(list: &[String]) -> String {
    if list.is_empty() { "nobody".into() } else { list.join(", ") }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Names {
        Names { external_id: Some("ada".into()), email: Some("ada@example.org".into()), phone: None }
    }

    fn seen() -> Seen {
        Seen {
            counts: BTreeMap::from([("selected".into(), 2), ("messages".into(), 1)]),
            messages: vec![SeenMessage {
                to: ada(),
                channel: Channel::Email,
                variant: "gift".into(),
                language: "en".into(),
                at: "2027-03-01T08:00:00Z".parse().unwrap(),
                subject: "Hello".into(),
                preheader: String::new(),
                texts: vec!["20% off".into()],
                parts: None,
            }],
            refused: vec![SeenRefusal {
                to: Names { external_id: Some("bo".into()), ..Names::default() },
                refusal: Refusal::NoConsent,
                detail: None,
            }],
            members: vec!["ada".into()],
        }
    }

    #[test]
    fn what_is_as_expected_says_nothing() {
        let expect = Expect {
            counts: BTreeMap::from([("selected".into(), 2)]),
            refused: BTreeMap::from([("no_consent".into(), 1)]),
            members: Some(vec!["ada".into()]),
            not_to: BTreeMap::from([("bo".into(), "no_consent".into())]),
            to: BTreeMap::from([(
                "ADA@example.org".into(),
                vec![ExpectMessage {
                    subject: Some("Hello".into()),
                    contains: vec!["20%".into()],
                    at_local: Some("2027-03-01T10:00:00".parse().unwrap()),
                    ..ExpectMessage::default()
                }],
            )]),
        };
        assert_eq!(differences(&expect, &seen(), Tz::Europe__Kyiv), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_sentence() {
        let expect = Expect {
            counts: BTreeMap::from([("messages".into(), 2)]),
            refused: BTreeMap::from([("held_out".into(), 1)]),
            members: Some(vec![]),
            not_to: BTreeMap::from([("ada".into(), "capped".into()), ("bo".into(), "capped".into()), ("cy".into(), "capped".into())]),
            to: BTreeMap::from([(
                "ada".into(),
                vec![ExpectMessage { subject: Some("Bye".into()), lacks: vec!["20%".into()], ..ExpectMessage::default() }],
            )]),
        };
        let found = differences(&expect, &seen(), Tz::Europe__Kyiv);
        assert_eq!(
            found,
            [
                "messages: expected 2, got 1; refused: bo no_consent",
                "refused held_out: expected 1, got 0",
                "members: expected nobody, got ada",
                "ada: expected to be refused capped, got a message by email",
                "bo: expected to be refused capped, was refused no_consent",
                "cy: expected to be refused capped, was not selected at all",
                "ada: subject: expected \"Bye\", got \"Hello\"",
                "ada: the message contains \"20%\", and should not",
            ]
        );
    }
}
