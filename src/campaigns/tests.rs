//! `tests:` of campaigns and segments, read and checked; `posthaste test` runs them on a virtual clock.

use super::context::Context;
use super::fields::{Kind, quoted};
use super::model::{Expect, ExpectMessage, Test};
use super::part::{self, Part, json_object};
use super::rows::{self, Row};
use super::tables::test::REFUSAL;
use crate::diagnostics::{Span, nearest};
use crate::literals::WrittenTime;
use crate::types::Channel;
use crate::yaml::Node;
use std::collections::BTreeSet;

/// Names that `arms` may use: the variants, `all` where there are none, and `held_out`; `None` when an attribute gives them.
pub fn arm_names(campaign: Part<'_>) -> Option<BTreeSet<String>> {
    if campaign.has("variants_from") {
        return None;
    }
    let variants = campaign.items("variants").iter().filter_map(|node| node.get("name")?.text()).map(str::to_string);
    let mut names: BTreeSet<String> = variants.collect();
    names.insert("held_out".to_string());
    if names.len() == 1 {
        names.insert("all".to_string());
    }
    Some(names)
}

/// Files that tests name for people and events.
pub fn files(campaign: Part<'_>) -> impl Iterator<Item = String> {
    let tests = campaign.items("tests").iter();
    tests.flat_map(|node| [node.get("people"), node.get("events")]).flatten().filter_map(Node::text).map(rows::path)
}

/// All tests of a campaign; of a segment when there can be no arms.
pub fn read(context: &mut Context<'_>, owner: Part<'_>, arms: &Option<BTreeSet<String>>) -> Option<Vec<Test>> {
    let tests: Vec<Option<Test>> =
        owner.items("tests").iter().map(|node| one(context, Part { file: owner.file, node }, arms, owner.has("segment"))).collect();
    tests.into_iter().collect()
}

fn one(context: &mut Context<'_>, part: Part<'_>, arms: &Option<BTreeSet<String>>, of_segment: bool) -> Option<Test> {
    let before = context.problems.count();
    let people = rows::read(context, part, "people");
    let events = rows::read(context, part, "events");
    let known: BTreeSet<&str> = people.iter().flat_map(names_of).collect();
    people.iter().for_each(|row| person(context, row));
    events.iter().for_each(|row| event(context, row, &known));
    for (customer, span, node) in part.entries("arms") {
        knows(context, &known, customer, span);
        if let (Some(arms), Some(arm)) = (arms, node.text())
            && !arms.contains(arm)
        {
            let help = match nearest(arm, arms.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("arms are {}", quoted(arms.iter().map(String::as_str))),
            };
            context.problem(node.span, format!("there is no arm `{arm}`"), "used here", help);
        }
    }
    let expect = expect(context, part.inner("expect")?, &known, of_segment);
    let at = part.written_time("at")?;
    if context.problems.count() > before {
        return None;
    }
    Some(Test {
        name: part.owned("name")?,
        span: part.start(),
        at: at.local(context.workspace.zone),
        at_instant: match at {
            WrittenTime::Instant(instant) => Some(instant),
            WrittenTime::Local(_) => None,
        },
        run_for: part.duration("run_for"),
        people: people.into_iter().map(|row| row.values).collect(),
        events: events.into_iter().map(|row| row.values).collect(),
        catalogs: catalogs(context, part),
        arms: part.entries("arms").filter_map(|(customer, _, node)| Some((customer.to_string(), node.text()?.to_string()))).collect(),
        expect,
    })
}

fn catalogs(
    context: &mut Context<'_>,
    part: Part<'_>,
) -> std::collections::BTreeMap<String, Vec<serde_json::Map<String, serde_json::Value>>> {
    let entries: Vec<_> = part.entries("catalogs").collect();
    entries
        .into_iter()
        .map(|(name, span, node)| {
            part::must_exist(context.file, context.names, context.problems, Kind::Catalog, name, span);
            (name.to_string(), node.list().unwrap_or_default().iter().map(json_object).collect())
        })
        .collect()
}

/// How a test may call a person.
fn names_of(row: &Row) -> impl Iterator<Item = &str> {
    ["external_id", "email", "phone"].into_iter().filter_map(|key| row.values.get(key)?.as_str())
}

fn knows(context: &mut Context<'_>, known: &BTreeSet<&str>, customer: &str, span: Span) {
    if !known.contains(customer) {
        let help = match nearest(customer, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name somebody of `people` by external_id, email or phone".to_string(),
        };
        context.problem(span, format!("nobody in this test is called `{customer}`"), "used here", help);
    }
}

fn person(context: &mut Context<'_>, row: &Row) {
    if names_of(row).next().is_none() {
        context.problem(row.span, "this person has neither external_id nor address", "one of `people`", "add external_id, email or phone");
    }
    for (name, value) in &row.values {
        let span = row.span_of(name);
        match name.as_str() {
            "consent" => {
                for (topic, channels) in value.as_object().into_iter().flatten() {
                    let span = row.span_of(&format!("consent.{topic}"));
                    part::must_exist(context.file, context.names, context.problems, Kind::Topic, topic, span);
                    channel_names(context, channels, span);
                }
            }
            "suppressed" => channel_names(context, value, span),
            _ => part::must_exist(context.file, context.names, context.problems, Kind::Attribute, name, span),
        }
    }
}

fn channel_names(context: &mut Context<'_>, value: &serde_json::Value, span: Span) {
    let words = value.as_array().into_iter().flatten().chain(value.as_str().is_some().then_some(value));
    for word in words.filter_map(serde_json::Value::as_str) {
        if Channel::from_word(word).is_none() {
            context.problem(span, format!("`{word}` is no channel"), "in `people`", "channels are `email` and `sms`");
        }
    }
}

fn event(context: &mut Context<'_>, row: &Row, people: &BTreeSet<&str>) {
    match row.values.get("customer").and_then(serde_json::Value::as_str) {
        Some(customer) => knows(context, people, customer, row.span_of("customer")),
        None => context.problem(
            row.span,
            "this event has no `customer`",
            "to whom did it happen?",
            "add customer: and the external_id of somebody in `people`",
        ),
    }
    match row.values.get("at").and_then(serde_json::Value::as_str).map(WrittenTime::read) {
        Some(Ok(_)) => {}
        Some(Err(why)) => context.problem(row.span_of("at"), why, "when it happened", "write it like `2027-03-01 10:00`"),
        None => context.problem(row.span, "this event has no `at`", "when did it happen?", "add at: 2027-03-01 10:00"),
    }
    let subjects: Vec<&str> = ["event", "message", "consent", "set"].into_iter().filter(|key| row.values.contains_key(*key)).collect();
    let [subject] = subjects.as_slice() else {
        let help = "write one of `event`, `message` (with `was`), `consent` (with `is`) and `set`";
        return context.problem(row.span, "it is not clear what happens here", "one of `events`", help);
    };
    if *subject == "event"
        && let Some(name) = row.values.get("event").and_then(serde_json::Value::as_str)
    {
        part::must_exist(context.file, context.names, context.problems, Kind::Event, name, row.span_of("event"));
        properties(context, row, name);
    }
}

/// Properties must be declared where events are.
fn properties(context: &mut Context<'_>, row: &Row, event: &str) {
    let Some(declared) = context.workspace.events.as_ref().and_then(|events| events.get(event)) else { return };
    for name in row.values.keys().filter(|name| !matches!(name.as_str(), "customer" | "event" | "at")) {
        let first = name.split('.').next().unwrap_or_default();
        if !declared.contains_key(first) {
            let help = match nearest(first, declared.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it under `{event}` in `events` of posthaste.yaml"),
            };
            context.problem(row.span_of(name), format!("the event `{event}` has no property `{name}`"), "used here", help);
        }
    }
}

fn expect(context: &mut Context<'_>, part: Part<'_>, people: &BTreeSet<&str>, of_segment: bool) -> Expect {
    if of_segment && !part.has("members") {
        let help = "write members: [ … ] with the external ids of who is in the segment";
        context.problem(part.start(), "the test of a segment expects `members`", "nothing of it stands here", help);
    }
    if !of_segment && part.has("members") {
        context.problem(
            part.key_span("members"),
            "`members` belongs to tests of segments",
            "this is a campaign",
            "write `to`, `not_to` or counts",
        );
    }
    let mut expect = Expect::default();
    for (key, _, node) in part.node.map().unwrap_or_default().iter().map(|(key, node)| (key.text.as_str(), key.span, node)) {
        if let Some(count) = node.text().and_then(|text| text.parse().ok()) {
            expect.counts.insert(key.to_string(), count);
        }
    }
    for (reason, _, node) in part.entries("refused") {
        if part::is_word(&REFUSAL, reason)
            && let Some(count) = node.text().and_then(|text| text.parse().ok())
        {
            expect.refused.insert(reason.to_string(), count);
        }
    }
    if part.has("members") {
        for node in part.items("members") {
            knows(context, people, node.text().unwrap_or_default(), node.span);
        }
        expect.members = Some(part.texts("members"));
    }
    let not_to: Vec<_> = part.entries("not_to").collect();
    for (customer, span, node) in not_to {
        knows(context, people, customer, span);
        expect.not_to.insert(customer.to_string(), node.text().unwrap_or_default().to_string());
    }
    let to: Vec<_> = part.entries("to").collect();
    for (customer, span, node) in to {
        knows(context, people, customer, span);
        let messages = node.list().unwrap_or(std::slice::from_ref(node)).iter();
        expect.to.insert(customer.to_string(), messages.map(|node| expected(Part { file: part.file, node })).collect());
    }
    expect
}

fn expected(part: Part<'_>) -> ExpectMessage {
    let at = part.written_time("at");
    ExpectMessage {
        channel: part.text("channel").and_then(Channel::from_word),
        variant: part.owned("variant"),
        language: part.owned("language"),
        at: match at {
            Some(WrittenTime::Instant(instant)) => Some(instant),
            _ => None,
        },
        at_local: match at {
            Some(WrittenTime::Local(local)) => Some(local),
            _ => None,
        },
        subject: part.owned("subject"),
        preheader: part.owned("preheader"),
        contains: part.texts("contains"),
        lacks: part.texts("lacks"),
        parts: part.whole("parts").and_then(|parts| u16::try_from(parts).ok()),
    }
}
