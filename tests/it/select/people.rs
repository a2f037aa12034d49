//! Random people: values of mixed and malformed types, and a history around the moments at which rules are asked.

use super::chance::*;
use posthaste::segments::person::*;
use posthaste::types::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const TEXTS: &[&str] = &[
    "Kyiv",
    "kyiv",
    "KYIV ",
    "Львів",
    "львів",
    "",
    " ",
    "a'b\"c",
    "100%",
    "$1",
    "\\",
    "line\nbreak",
    "😀 emoji",
    "Straße",
    "STRASSE",
    "İstanbul",
    "ΟΔΟΣ",
    "true",
    "5",
    "5.0",
    "05",
    "-5",
    "1e5",
    "10",
    "gold",
    "shoes",
    "S1",
    "S2",
    "null",
];
pub const DATES: &[&str] = &[
    "2027-03-01",
    "2027-02-28",
    "2027-02-29",
    "2027-02-30",
    "2024-02-29",
    "2000-03-05",
    "1990-12-31",
    "2027-03-02",
    "2027-3-1",
    "2027-03-01 10:00",
    "2027-03-01 12:30:00",
    "2027-03-01T10:30:00Z",
    "2027-03-01T10:29:59.999Z",
    "2027-03-01T12:30:00+02:00",
    "2027-02-28T23:30:00-05:00",
    "2027-03-01T24:00",
    "2027-03-01T",
    "0000-01-01",
    "0001-01-01T00:00Z",
    "9999-12-31",
    "2026-11-30",
    "2027-03-08 00:00",
    "2027-03-28T03:30",
    "2026-10-25 03:30",
    "2027-03-01T10:30:00+25:00",
    "1969-12-31 23:59",
    "1969-12-31",
];
pub const MONEY: &[&str] = &[
    "500 UAH",
    "500",
    "0.45 UAH",
    "12.5 EUR",
    "12.50 EUR",
    "3 USD",
    "3 usd",
    "-0.455",
    "1,5",
    "100 JPY",
    "0.005 EUR",
    ".5",
    "5.",
    "12345678901234 UAH",
    "9999999999999 UAH",
];

pub fn number(chance: &mut Chance) -> Value {
    chance.pick(&[
        json!(0),
        json!(1),
        json!(-1),
        json!(5),
        json!(5.0),
        json!(10),
        json!(10.5),
        json!(0.1),
        json!(0.2),
        json!(0.3),
        json!(-0.0),
        json!(1e15),
        json!(1e300),
        json!(-1e301),
        json!(9007199254740993_i64),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e-310),
        json!(500),
        json!(12.345),
    ])
}

/// Any value at all.
pub fn junk(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth > 2 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(chance.percent(50)),
        2 => number(chance),
        3 => json!(chance.pick(TEXTS)),
        4 => json!(chance.pick(DATES)),
        5 => json!(chance.pick(MONEY)),
        6 => Value::Array(chance.list(0, 3, |chance| junk(chance, depth + 1))),
        7 => json!({ "a": junk(chance, depth + 1), "tier": junk(chance, depth + 1), "category": junk(chance, depth + 1), "a.b": "X" }),
        _ => json!({}),
    }
}

pub fn value_of(chance: &mut Chance, name: &str) -> Option<Value> {
    Some(match chance.below(10) {
        0 => return None,
        1 | 2 => junk(chance, 0),
        _ => match name {
            "city" | "sku" | "order_id" => json!(chance.pick(TEXTS)),
            "points" | "total" => number(chance),
            "clv" | "amount" => {
                if chance.percent(50) {
                    json!(chance.pick(MONEY))
                } else {
                    number(chance)
                }
            }
            "vip" => json!(chance.percent(50)),
            "birthday" | "seen_at" => json!(chance.pick(DATES)),
            "tags" => {
                Value::Array(chance.list(0, 4, |chance| if chance.percent(80) { json!(chance.pick(TEXTS)) } else { junk(chance, 1) }))
            }
            "items" => Value::Array(chance.list(0, 3, |chance| {
                if chance.percent(85) {
                    let names = ["sku", "category", "price", "at", "title"];
                    Value::Object(names.iter().filter_map(|name| Some((name.to_string(), item_value(chance, name)?))).collect())
                } else {
                    junk(chance, 1)
                }
            })),
            "loyalty" => json!({ "tier": chance.pick(TEXTS), "points": number(chance) }),
            _ => json!(chance.pick(&["S1", "S2", "S3", "none"])),
        },
    })
}

pub fn item_value(chance: &mut Chance, name: &str) -> Option<Value> {
    match name {
        "price" => value_of(chance, "clv"),
        "at" => value_of(chance, "birthday"),
        _ => value_of(chance, "city"),
    }
}

pub const ATTRIBUTES: &[&str] = &["city", "points", "clv", "vip", "birthday", "seen_at", "tags", "items", "loyalty", "home_shop"];
pub const PROPERTIES: &[&str] = &["sku", "total", "amount", "tags", "items", "order_id", "seen_at"];
pub const EVENTS: &[&str] = &["visit", "purchase", "viewed"];
/// Key, class, topic, category, tags.
type Campaign = (&'static str, Class, Option<&'static str>, Option<&'static str>, &'static [&'static str]);
pub const CAMPAIGNS: &[Campaign] = &[
    ("spring", Class::Advertising, Some("offers"), Some("retail"), &["sale", "a\"b"]),
    ("news", Class::Informational, Some("news"), None, &[]),
    ("receipt", Class::Transactional, None, Some("orders"), &["x"]),
];
pub const LINKS: &[&str] = &["https://shop.example/a", "https://shop.example/{{b}}"];

pub fn document(chance: &mut Chance, names: &[&str]) -> Value {
    Value::Object(names.iter().filter_map(|name| Some((name.to_string(), value_of(chance, name)?))).collect())
}

/// An instant around the moments that rules are asked at.
pub fn instant(chance: &mut Chance) -> Time {
    let near = [
        "2027-03-01T10:30:00Z",
        "2027-03-01T10:29:59.999999Z",
        "2027-02-28T22:00:00Z",
        "2027-02-28T21:59:59.999999Z",
        "2027-02-22T10:30:00Z",
        "2027-03-02T00:00:00Z",
        "2026-12-01T10:30:00Z",
        "2024-02-29T12:00:00Z",
        "2027-01-30T10:30:00Z",
        "2027-02-28T05:00:00Z",
    ];
    if chance.percent(60) {
        time(chance.pick(&near))
    } else {
        time("2027-03-01T10:30:00Z") - chrono::TimeDelta::minutes(chance.below(400_000) as i64)
    }
}

/// A person and what is written about the person's messages besides.
pub struct Made {
    pub person: Person,
    /// Run and arm of each message.
    pub runs: Vec<(i64, i16)>,
}

pub fn person(chance: &mut Chance, number: usize, rows: &BTreeMap<(String, String), Value>) -> Made {
    let text = |chance: &mut Chance| chance.some(80, |chance| chance.pick(TEXTS).to_string());
    let mut addresses = Vec::new();
    for channel in [Channel::Email, Channel::Sms] {
        if chance.percent(70) {
            let suppressed = chance.some(40, |chance| PastSuppression {
                reason: chance.pick(SuppressionReason::ALL),
                since: instant(chance),
                until: chance
                    .some(50, |chance| if chance.percent(50) { time("2027-03-01T10:30:00Z") } else { time("2028-01-01T00:00:00Z") }),
            });
            addresses.push(PastAddress { channel, suppressed });
        }
    }
    let has = |channel: Channel, addresses: &[PastAddress]| addresses.iter().any(|address| address.channel == channel);
    let mut consents = Vec::new();
    for topic in ["offers", "news", "*"] {
        for channel in [Channel::Email, Channel::Sms] {
            if chance.percent(40) {
                let at = chance.pick(&["2027-02-22T10:30:00Z", "2027-02-28T10:00:00Z", "2026-01-01T00:00:00Z"]);
                consents.push(PastConsent {
                    topic: topic.into(),
                    channel,
                    state: chance.pick(ConsentState::ALL),
                    at: time(at),
                    has_proof: chance.percent(50),
                });
            }
        }
    }
    let mut runs = Vec::new();
    let mut messages = Vec::new();
    for run in 1..=6_i64 {
        if !chance.percent(40) {
            continue;
        }
        let (key, class, topic, category, tags) = CAMPAIGNS[(run as usize - 1) % 3];
        let arm = chance.below(3) as i16;
        let state = chance.pick(MessageState::ALL);
        let reason = match state {
            MessageState::Refused => Some(chance.pick(Refusal::ALL).code()),
            MessageState::Failed => Some(chance.pick(Failure::ALL).code()),
            _ => None,
        };
        runs.push((run, arm));
        messages.push(PastMessage {
            campaign: key.into(),
            class,
            topic: topic.map(String::from),
            category: category.map(String::from),
            tags: tags.iter().map(ToString::to_string).collect(),
            channel: chance.pick(&[Channel::Email, Channel::Sms]),
            variant: ["plain", "gift"].get(arm as usize).map(ToString::to_string),
            state,
            reason,
            selected_at: run_at(run),
            changed_at: instant(chance),
            accepted_at: chance.some(60, instant),
            bounced_at: chance.some(30, instant),
            responses: chance.list(0, 4, |chance| {
                let response =
                    chance.pick(&[Response::Opened, Response::Clicked, Response::Replied, Response::Unsubscribed, Response::Complained]);
                let link = (response == Response::Clicked).then(|| chance.pick(LINKS).to_string());
                PastResponse { response, at: instant(chance), verdict: chance.pick(Verdict::ALL), link }
            }),
            converted_at: chance.some(30, instant),
        });
    }
    let made = Person {
        draw_key: format!("person-{number}"),
        external_id: chance.some(90, |_| format!("ext-{number}")),
        email: has(Channel::Email, &addresses).then(|| format!("{}{number}@Example.org", chance.pick(&["ada", "Boris", "ЇЖАК"]))),
        phone: has(Channel::Sms, &addresses).then(|| format!("+38067000{number:04}")),
        first_name: text(chance),
        last_name: text(chance),
        language: text(chance),
        country: text(chance),
        zone: chance.some(80, |chance| {
            chance
                .pick(&[
                    "Europe/Kyiv",
                    "America/New_York",
                    "Pacific/Kiritimati",
                    "Mars/Olympus",
                    "$[",
                    "a\"b",
                    "",
                    "utc",
                    "Asia/Kathmandu",
                    "[0]",
                ])
                .to_string()
        }),
        created_at: instant(chance),
        attributes: document(chance, ATTRIBUTES),
        events: chance.list(0, 12, |chance| PastEvent {
            name: chance.pick(EVENTS).into(),
            at: instant(chance),
            properties: document(chance, PROPERTIES),
        }),
        messages,
        consents,
        addresses,
        rows: rows.clone(),
    };
    Made { person: made, runs }
}

/// The seventh run is a test and counts for nothing.
pub fn run_at(run: i64) -> Time {
    time("2027-02-15T10:00:00Z") + chrono::TimeDelta::days(run * 3)
}
