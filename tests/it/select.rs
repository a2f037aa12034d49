//! Who: random rules over random people, values of mixed and malformed types. Both databases give what the plain evaluation in memory gives.
//!
//! POSTHASTE_RULES is the number of rules (400 when it is not set), POSTHASTE_SEED the first seed of their chance (1).

use crate::databases::{Database, databases};
use posthaste::literals::{DateExpression, Duration, Money, Share, Unit, WrittenTime};
use posthaste::segments::person::*;
use posthaste::segments::values::{folded, lower_case};
use posthaste::segments::*;
use posthaste::store::Store;
use posthaste::types::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Chance that can be repeated: SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
    fn some<T>(&mut self, percent: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.percent(percent).then(|| make(self))
    }
    fn list<T>(&mut self, least: usize, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| make(self)).collect()
    }
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

const TEXTS: &[&str] = &[
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
const DATES: &[&str] = &[
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
const MONEY: &[&str] = &[
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

fn number(chance: &mut Chance) -> Value {
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
fn junk(chance: &mut Chance, depth: usize) -> Value {
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

fn value_of(chance: &mut Chance, name: &str) -> Option<Value> {
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

fn item_value(chance: &mut Chance, name: &str) -> Option<Value> {
    match name {
        "price" => value_of(chance, "clv"),
        "at" => value_of(chance, "birthday"),
        _ => value_of(chance, "city"),
    }
}

const ATTRIBUTES: &[&str] = &["city", "points", "clv", "vip", "birthday", "seen_at", "tags", "items", "loyalty", "home_shop"];
const PROPERTIES: &[&str] = &["sku", "total", "amount", "tags", "items", "order_id", "seen_at"];
const EVENTS: &[&str] = &["visit", "purchase", "viewed"];
const CAMPAIGNS: &[(&str, Class, Option<&str>, Option<&str>, &[&str])] = &[
    ("spring", Class::Advertising, Some("offers"), Some("retail"), &["sale", "a\"b"]),
    ("news", Class::Informational, Some("news"), None, &[]),
    ("receipt", Class::Transactional, None, Some("orders"), &["x"]),
];
const LINKS: &[&str] = &["https://shop.example/a", "https://shop.example/{{b}}"];

fn document(chance: &mut Chance, names: &[&str]) -> Value {
    Value::Object(names.iter().filter_map(|name| Some((name.to_string(), value_of(chance, name)?))).collect())
}

/// An instant around the moments that rules are asked at.
fn instant(chance: &mut Chance) -> Time {
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
struct Made {
    person: Person,
    /// Run and arm of each message.
    runs: Vec<(i64, i16)>,
}

fn person(chance: &mut Chance, number: usize, rows: &BTreeMap<(String, String), Value>) -> Made {
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
fn run_at(run: i64) -> Time {
    time("2027-02-15T10:00:00Z") + chrono::TimeDelta::days(run * 3)
}

fn micros(time: Time) -> i64 {
    time.timestamp_micros()
}

fn words(value: Option<String>) -> Value {
    value.map_or(Value::Null, Value::String)
}

/// Writes rows given as JSON objects: column → value; `hex:` begins bytes, a nested value is JSON.
async fn write(store: &Store, table: &str, columns: &[&str], rows: Vec<Vec<Value>>) {
    for rows in rows.chunks(200) {
        let mut sql = format!(
            "INSERT INTO {table} ({}) VALUES ",
            columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
        );
        let mut first = true;
        let literal = |value: &Value, column: &str| match value {
            Value::Null => "NULL".to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) if text.starts_with("hex:") => {
                store.pick(format!("x'{}'", &text[4..]), format!("decode('{}', 'hex')", &text[4..]))
            }
            Value::String(text) if !["attributes", "properties", "folded", "values"].contains(&column) => {
                format!("'{}'", text.replace('\'', "''"))
            }
            other => format!("'{}'", other.to_string().replace('\'', "''")),
        };
        for row in rows {
            sql.push_str(if first { "(" } else { ", (" });
            first = false;
            sql.push_str(&row.iter().zip(columns).map(|(value, column)| literal(value, column)).collect::<Vec<_>>().join(", "));
            sql.push(')');
        }
        let sql = sqlx::AssertSqlSafe(sql);
        match store {
            Store::Sqlite(sqlite) => drop(sqlx::raw_sql(sql).execute(&sqlite.write).await.unwrap()),
            Store::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
        }
    }
}

async fn fill(database: &Database, people: &[Made], rows: &BTreeMap<(String, String), Value>) {
    let store = &database.store;
    write(
        store,
        "catalog_rows",
        &["catalog", "key", "values", "updated_at"],
        rows.iter().map(|((catalog, key), values)| vec![json!(catalog), json!(key), values.clone(), json!(0)]).collect(),
    )
    .await;
    write(
        store,
        "campaigns",
        &["id", "key", "class", "topic", "category", "tags", "first_applied_at", "scheduled_until"],
        CAMPAIGNS
            .iter()
            .enumerate()
            .map(|(at, (key, class, topic, category, tags))| {
                vec![
                    json!(at + 1),
                    json!(key),
                    json!(class.code()),
                    json!(topic),
                    json!(category),
                    json!(json!(tags).to_string()),
                    json!(0),
                    json!(0),
                ]
            })
            .collect(),
    )
    .await;
    write(
        store,
        "runs",
        &["id", "campaign_id", "number", "version_id", "occurrence", "is_test", "due_at", "state", "planned_at"],
        (1..=7_i64)
            .map(|run| {
                vec![
                    json!(run),
                    json!((run - 1) % 3 + 1),
                    json!(run),
                    json!(1),
                    json!(run.to_string()),
                    json!(i32::from(run == 7)),
                    json!(micros(run_at(run))),
                    json!(4),
                    if run % 2 == 0 { json!(micros(run_at(run))) } else { Value::Null },
                ]
            })
            .collect(),
    )
    .await;
    write(
        store,
        "arms",
        &["run_id", "arm", "name", "held_out"],
        (1..=7_i64)
            .flat_map(|run| {
                [(0, "plain", 0), (1, "gift", 0), (2, "held_out", 1)]
                    .map(|(arm, name, out)| vec![json!(run), json!(arm), json!(name), json!(out)])
            })
            .collect(),
    )
    .await;
    write(
        store,
        "links",
        &["version_id", "number", "target"],
        LINKS.iter().enumerate().map(|(at, target)| vec![json!(1), json!(at + 1), json!(target)]).collect(),
    )
    .await;
    let (mut customers, mut addresses, mut suppressions, mut events, mut messages, mut consents, mut conversions) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for (id, Made { person, runs }) in people.iter().enumerate() {
        let id = id as i64 + 1;
        let own = [
            ("external_id", person.external_id.as_deref()),
            ("first_name", person.first_name.as_deref()),
            ("last_name", person.last_name.as_deref()),
            ("language", person.language.as_deref()),
            ("country", person.country.as_deref()),
            ("zone", person.zone.as_deref()),
        ];
        let copies = folded(&person.attributes, own).unwrap_or(Value::Null);
        customers.push(vec![
            json!(id),
            words(person.external_id.clone()),
            json!(person.draw_key),
            words(person.first_name.clone()),
            words(person.last_name.clone()),
            words(person.language.clone()),
            words(person.country.clone()),
            words(person.zone.clone()),
            person.attributes.clone(),
            copies,
            json!(micros(person.created_at)),
            json!(0),
        ]);
        for address in &person.addresses {
            let key = format!("hex:{:030x}{:02x}", id, address.channel.code());
            let text = if address.channel == Channel::Email { person.email.clone() } else { person.phone.clone() };
            addresses.push(vec![json!(id), json!(address.channel.code()), words(text), json!(1), json!(key)]);
            // Another address counts for nothing.
            addresses.push(vec![
                json!(id),
                json!(address.channel.code()),
                json!("000@other.example"),
                json!(0),
                json!(format!("hex:{:032x}", 1_000_000 + id)),
            ]);
            if let Some(suppression) = address.suppressed {
                suppressions.push(vec![
                    json!(key),
                    json!(address.channel.code()),
                    json!(suppression.reason.code()),
                    json!(micros(suppression.since)),
                    suppression.until.map_or(Value::Null, |until| json!(micros(until))),
                ]);
            }
        }
        let source = |events: &Vec<Vec<Value>>| json!(format!("hex:{:032x}", events.len()));
        for event in &person.events {
            events.push(vec![
                json!(id),
                json!(event.name),
                json!(micros(event.at)),
                json!(0),
                event.properties.clone(),
                folded(&event.properties, []).unwrap_or(Value::Null),
                Value::Null,
                Value::Null,
                json!(0),
                source(&events),
            ]);
        }
        for (message, (run, arm)) in person.messages.iter().zip(runs) {
            let number = messages.len() as i64 + 1;
            let optional = |time: Option<Time>| time.map_or(Value::Null, |time| json!(micros(time)));
            messages.push(vec![
                json!(number),
                json!(run),
                json!(id),
                json!(message.channel.code()),
                json!(arm),
                json!(message.state.code()),
                json!(message.reason),
                json!(0),
                json!(micros(message.changed_at)),
                optional(message.accepted_at),
                optional(message.bounced_at),
            ]);
            for response in &message.responses {
                let link =
                    response.link.as_ref().map_or(Value::Null, |link| json!(LINKS.iter().position(|known| known == link).unwrap() + 1));
                events.push(vec![
                    json!(id),
                    json!(format!("message.{}", response.response.word())),
                    json!(micros(response.at)),
                    json!(0),
                    json!({}),
                    Value::Null,
                    json!(number),
                    link,
                    json!(response.verdict.code()),
                    source(&events),
                ]);
            }
            if let Some(at) = message.converted_at {
                conversions.push(vec![json!(run), json!(id), json!(0), json!(arm), json!(micros(at)), json!(1), json!("")]);
                conversions.push(vec![json!(run), json!(id), json!(0), json!(arm), json!(micros(at) + 1_000_000), json!(1), json!("EUR")]);
                conversions.push(vec![json!(run), json!(id), json!(1), json!(arm), json!(0), json!(1), json!("")]);
            }
        }
        // A test message, which was opened and counts for nothing.
        let number = messages.len() as i64 + 1;
        messages.push(vec![
            json!(number),
            json!(7),
            json!(id),
            json!(1),
            json!(0),
            json!(7),
            Value::Null,
            json!(0),
            json!(0),
            json!(0),
            Value::Null,
        ]);
        events.push(vec![
            json!(id),
            json!("message.opened"),
            json!(micros(time("2027-02-28T10:00:00Z"))),
            json!(0),
            json!({}),
            Value::Null,
            json!(number),
            Value::Null,
            json!(0),
            source(&events),
        ]);
        for consent in &person.consents {
            consents.push(vec![
                json!(id),
                json!(consent.topic),
                json!(consent.channel.code()),
                json!(consent.state.code()),
                json!(micros(consent.at)),
                json!(i32::from(consent.has_proof)),
            ]);
        }
    }
    write(
        store,
        "customers",
        &[
            "id",
            "external_id",
            "draw_key",
            "first_name",
            "last_name",
            "language",
            "country",
            "zone",
            "attributes",
            "folded",
            "created_at",
            "updated_at",
        ],
        customers,
    )
    .await;
    write(store, "addresses", &["customer_id", "channel", "address", "is_primary", "key"], addresses).await;
    write(store, "suppressions", &["key", "channel", "reason", "since", "until"], suppressions).await;
    write(
        store,
        "events",
        &["customer_id", "name", "occurred_at", "received_at", "properties", "folded", "message_id", "link", "verdict", "source_key"],
        events,
    )
    .await;
    write(
        store,
        "messages",
        &["id", "run_id", "customer_id", "channel", "arm", "state", "reason", "due_at", "changed_at", "accepted_at", "bounced_at"],
        messages,
    )
    .await;
    write(store, "consent_state", &["customer_id", "topic", "channel", "state", "at", "has_proof"], consents).await;
    write(store, "conversions", &["run_id", "customer_id", "measure", "arm", "first_at", "events", "currency"], conversions).await;
}

// Rules.

fn duration(chance: &mut Chance) -> Duration {
    Duration {
        count: 1 + chance.below(7) as u32,
        unit: chance.pick(&[Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year]),
    }
}

fn expression(chance: &mut Chance) -> DateExpression {
    match chance.below(6) {
        0 => DateExpression::Date(chance.pick(&["2027-03-01", "2027-02-28", "1990-12-31", "2024-02-29"]).parse().unwrap()),
        1 => DateExpression::Time(
            WrittenTime::read(chance.pick(&["2027-03-01 10:00", "2027-03-01 12:30", "2027-03-01T10:30:00Z", "2027-03-28 03:30"])).unwrap(),
        ),
        2 => DateExpression::Today,
        3 => DateExpression::Now,
        4 => DateExpression::Ago(duration(chance)),
        _ => DateExpression::In(duration(chance)),
    }
}

fn comparison(chance: &mut Chance) -> Comparison {
    chance.pick(&[Comparison::Is, Comparison::MoreThan, Comparison::LessThan, Comparison::AtLeast, Comparison::AtMost])
}

fn path(written: &str) -> Path {
    let through = match written {
        "home_shop.city" | "sku.city" => vec![("shops".to_string(), vec!["city".to_string()])],
        "home_shop.region.city" => vec![("shops".to_string(), vec!["region".to_string()]), ("shops".to_string(), vec!["city".to_string()])],
        _ => Vec::new(),
    };
    let start = match OwnField::from_word(written) {
        Some(field) => Start::Own(field),
        None if !through.is_empty() => Start::Names(vec![written.split('.').next().unwrap_or("").to_string()]),
        None => Start::Names(written.split('.').map(String::from).collect()),
    };
    Path { written: written.to_string(), start, through }
}

const OWN: &[&str] = &["external_id", "email", "phone", "first_name", "last_name", "language", "country", "zone", "created_at"];
const PATHS: &[&str] = &[
    "city",
    "points",
    "clv",
    "vip",
    "birthday",
    "seen_at",
    "tags",
    "items",
    "loyalty",
    "loyalty.tier",
    "loyalty.points",
    "home_shop",
    "home_shop.city",
    "home_shop.region.city",
    "nothing",
];
const PROPERTY_PATHS: &[&str] = &["sku", "sku.city", "total", "amount", "tags", "items", "order_id", "seen_at", "nothing"];
const ITEM_PATHS: &[&str] = &["sku", "category", "price", "at", "title", "tier", "a"];

fn attribute_path(chance: &mut Chance) -> Path {
    if chance.percent(20) { path(chance.pick(OWN)) } else { path(chance.pick(PATHS)) }
}

fn money(chance: &mut Chance) -> Money {
    Money {
        minor: chance.pick(&[0, 45, 46, 50_000, 1_250, -46, 60_250, 500]),
        currency: chance.pick(&["UAH", "UAH", "EUR", "JPY", "USD"]).to_string(),
    }
}

fn rule_number(chance: &mut Chance) -> f64 {
    chance.pick(&[0.0, 1.0, -1.0, 5.0, 10.0, 10.5, 0.1, 0.3, 1e15, 1e300, 500.0, 2.0, 9007199254740992.0])
}

fn operand(chance: &mut Chance) -> Operand {
    match chance.below(7) {
        0 | 1 => Operand::Text(chance.pick(TEXTS).to_string()),
        2 => Operand::Number(rule_number(chance)),
        3 => Operand::Money(money(chance)),
        4 => Operand::Boolean(chance.percent(50)),
        5 => Operand::Loose(if chance.percent(50) { chance.pick(TEXTS).to_string() } else { rule_number(chance).to_string() }),
        _ => Operand::Attribute(attribute_path(chance), chance.pick(&[Kind::Loose, Kind::Text, Kind::Number, Kind::Money, Kind::Boolean])),
    }
}

fn size_operand(chance: &mut Chance) -> Operand {
    match chance.below(6) {
        0..=2 => Operand::Number(rule_number(chance)),
        3 | 4 => Operand::Money(money(chance)),
        _ => Operand::Attribute(attribute_path(chance), chance.pick(&[Kind::Number, Kind::Money])),
    }
}

fn date_test(chance: &mut Chance, references: bool) -> DateTest {
    let operand = |chance: &mut Chance| match references && chance.percent(25) {
        true => DateOperand::Attribute(path(chance.pick(&["birthday", "seen_at", "created_at", "city"]))),
        false => DateOperand::Expression(expression(chance)),
    };
    match chance.below(7) {
        0 => DateTest::Is(operand(chance)),
        1 => DateTest::Before(operand(chance)),
        2 => DateTest::After(operand(chance)),
        3 => DateTest::From(operand(chance)),
        4 => DateTest::Until(operand(chance)),
        5 => DateTest::Within(duration(chance)),
        _ => DateTest::WithinNext(duration(chance)),
    }
}

fn test(chance: &mut Chance, depth: usize) -> Test {
    let part = |chance: &mut Chance| {
        let text: Vec<char> = chance
            .pick(&["Kyiv", "львів", "a'b\"c", "100%", "Straße", "İstanbul", "😀 emoji", "ΟΔΟΣ", "5.0", "ext-1", "@Example", "ЇЖ"])
            .chars()
            .collect();
        let from = chance.below(text.len());
        text[from..(from + 1 + chance.below(3)).min(text.len())].iter().collect::<String>()
    };
    match chance.below(if depth > 1 { 10 } else { 13 }) {
        0 => Test::Missing(chance.percent(70)),
        1 | 2 => Test::Is(chance.list(1, 3, operand)),
        3 => Test::StartsWith(part(chance)),
        4 => Test::EndsWith(part(chance)),
        5 => Test::Contains(lower_case(&part(chance))),
        6 | 7 => Test::Compare(comparison(chance), size_operand(chance)),
        8 => Test::Date(date_test(chance, true)),
        9 => {
            if chance.percent(50) {
                Test::AnyDate(chance.list(1, 3, |chance| DateTest::Is(DateOperand::Expression(expression(chance)))))
            } else {
                Test::Anniversary(chance.list(1, 2, |chance| date_test(chance, false)))
            }
        }
        10 => Test::HasAny(chance.list(1, 3, |chance| item(chance, depth))),
        11 => Test::HasAll(chance.list(1, 2, |chance| item(chance, depth))),
        _ => Test::Size(vec![(comparison(chance), chance.below(4) as f64)]),
    }
}

fn item(chance: &mut Chance, depth: usize) -> Item {
    if chance.percent(50) { Item::Value(operand(chance)) } else { Item::Row(properties(chance, ITEM_PATHS, depth + 1)) }
}

fn properties(chance: &mut Chance, paths: &[&str], depth: usize) -> PropertyTests {
    PropertyTests { tests: chance.list(1, 2, |chance| (path(chance.pick(paths)), chance.list(1, 2, |chance| test(chance, depth)))) }
}

fn window(chance: &mut Chance) -> Window {
    match chance.below(4) {
        0 => Window::default(),
        1 => Window { within: Some(duration(chance)), ..Window::default() },
        _ => Window { within: None, from: chance.some(60, expression), until: chance.some(60, expression) },
    }
}

fn filter(chance: &mut Chance) -> PropertyTests {
    if chance.percent(40) { properties(chance, PROPERTY_PATHS, 0) } else { PropertyTests::default() }
}

fn event(chance: &mut Chance) -> EventCondition {
    let property = |chance: &mut Chance| path(chance.pick(&["total", "amount", "sku", "order_id", "nothing"]));
    let kind = chance.pick(&[Kind::Number, Kind::Money]);
    let measure = match chance.below(9) {
        0..=3 => Measure::Count,
        4 => Measure::Sum(property(chance), kind),
        5 => Measure::Average(property(chance), kind),
        6 => Measure::Smallest(property(chance), kind),
        7 => Measure::Largest(property(chance), kind),
        _ => Measure::Distinct(property(chance)),
    };
    let counts = matches!(measure, Measure::Count | Measure::Distinct(_));
    let tests = match chance.percent(40) && counts {
        true => vec![(Comparison::AtLeast, Operand::Number(1.0))],
        false => chance.list(1, 2, |chance| {
            let operand = match (counts, kind) {
                (true, _) => Operand::Number(chance.below(4) as f64),
                (_, Kind::Money) => {
                    if chance.percent(80) {
                        Operand::Money(money(chance))
                    } else {
                        Operand::Attribute(attribute_path(chance), Kind::Money)
                    }
                }
                _ => {
                    if chance.percent(80) {
                        Operand::Number(rule_number(chance))
                    } else {
                        Operand::Attribute(attribute_path(chance), Kind::Number)
                    }
                }
            };
            (comparison(chance), operand)
        }),
    };
    EventCondition {
        name: chance.pick(EVENTS).into(),
        window: window(chance),
        filter: filter(chance),
        measure,
        tests,
        edge: chance.some(25, |chance| Edge {
            last: chance.percent(50),
            dates: chance.list(0, 2, |chance| date_test(chance, true)),
            filter: filter(chance),
        }),
        without: chance.some(25, |chance| Without {
            name: chance.pick(EVENTS).into(),
            filter: filter(chance),
            same: chance.some(70, |chance| {
                (
                    path(chance.pick(&["sku", "order_id", "total"])),
                    path(chance.pick(&["sku", "order_id", "items.sku", "tags", "total", "items.a.tier"])),
                )
            }),
        }),
        save_as: None,
    }
}

fn message(chance: &mut Chance) -> MessageCondition {
    let strings = |chance: &mut Chance, percent: usize, list: &[&str]| {
        if chance.percent(percent) { chance.list(1, 2, |chance| chance.pick(list).to_string()) } else { Vec::new() }
    };
    let was: Vec<Was> = chance.list(1, 3, |chance| chance.pick(Was::ALL).0);
    MessageCondition {
        campaigns: strings(chance, 40, &["spring", "news", "receipt"]),
        variant: strings(chance, 20, &["plain", "gift", "held_out"]),
        channel: if chance.percent(20) { vec![chance.pick(&[Channel::Email, Channel::Sms])] } else { Vec::new() },
        topic: strings(chance, 15, &["offers", "news"]),
        class: if chance.percent(15) { vec![chance.pick(Class::ALL)] } else { Vec::new() },
        category: strings(chance, 15, &["retail", "orders"]),
        tag: strings(chance, 15, &["sale", "a\"b", "none"]),
        link: if was == [Was::Clicked] { strings(chance, 60, LINKS) } else { Vec::new() },
        reason: if chance.percent(15) { chance.list(1, 3, |chance| Reason::Refusal(chance.pick(Refusal::ALL))) } else { Vec::new() },
        was,
        window: window(chance),
        tests: if chance.percent(60) { vec![(Comparison::AtLeast, 1.0)] } else { vec![(comparison(chance), chance.below(4) as f64)] },
        machine: chance.percent(30),
    }
}

fn condition(chance: &mut Chance, depth: usize) -> Condition {
    match chance.below(if depth > 2 { 12 } else { 16 }) {
        0..=5 => {
            Condition::Attribute(AttributeCondition { path: attribute_path(chance), tests: chance.list(1, 2, |chance| test(chance, 0)) })
        }
        6 | 7 => Condition::Event(Box::new(event(chance))),
        8 => Condition::Message(Box::new(message(chance))),
        9 => {
            let none = chance.percent(20);
            Condition::Consent(ConsentCondition {
                topic: chance.pick(&["offers", "news"]).into(),
                is: if none { vec![ConsentIs::None, ConsentIs::Pending] } else { vec![chance.pick(ConsentIs::ALL).0] },
                channel: chance.some(50, |chance| chance.pick(&[Channel::Email, Channel::Sms, Channel::Letter])),
                window: if none { Window::default() } else { window(chance) },
                proof_missing: !none && chance.percent(20),
            })
        }
        10 => {
            let channel = chance.pick(&[Channel::Email, Channel::Sms, Channel::Letter]);
            match chance.percent(50) {
                true => Condition::Reachable { channel, topic: chance.some(50, |chance| chance.pick(&["offers", "news"]).to_string()) },
                false => Condition::Suppressed { channel, reason: chance.some(50, |chance| chance.pick(SuppressionReason::ALL)) },
            }
        }
        11 => match chance.percent(50) {
            true => Condition::Segment(chance.pick(&["first", "second", "unknown"]).into()),
            false => {
                Condition::Sample { share: Share(chance.pick(&[0, 1000, 5000, 10000])), draw: chance.pick(&["pilot", "other"]).into() }
            }
        },
        12 => Condition::All(chance.list(0, 3, |chance| condition(chance, depth + 1))),
        13 => Condition::Any(chance.list(0, 3, |chance| condition(chance, depth + 1))),
        _ => Condition::Not(Box::new(condition(chance, depth + 1))),
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test]
async fn both_databases_select_whom_the_plain_evaluation_selects() {
    let (rules, seed) = (setting("POSTHASTE_RULES", 400), setting("POSTHASTE_SEED", 1));
    let rows = BTreeMap::from([
        (("shops".to_string(), "S1".to_string()), json!({ "city": "Kyiv", "region": "S2" })),
        (("shops".to_string(), "S2".to_string()), json!({ "city": "Львів", "region": 5 })),
        (("shops".to_string(), "S3".to_string()), json!({ "city": null, "region": "S1" })),
        (("products".to_string(), "S1".to_string()), json!({ "city": "wrong catalog" })),
    ]);
    let mut chance = Chance(seed);
    let people: Vec<Made> = (0..100).map(|number| person(&mut chance, number, &rows)).collect();
    let databases = databases().await;
    for database in &databases {
        fill(database, &people, &rows).await;
    }
    let rates = BTreeMap::from([("EUR".to_string(), 48.2), ("JPY".to_string(), 0.3)]);
    let mut segments = BTreeMap::from([("first".to_string(), condition(&mut chance, 2))]);
    segments.insert("second".to_string(), Condition::Not(Box::new(Condition::Segment("first".into()))));
    let mut wrong = Vec::new();
    let mut spent = BTreeMap::new();
    let mut selected = 0;
    for number in 0..rules {
        let mut chance = Chance(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let rule = condition(&mut chance, 0);
        let zone = match chance.below(3) {
            0 => ZoneInForce::Fixed(chrono_tz::Europe::Kyiv),
            1 => ZoneInForce::Fixed(chrono_tz::America::New_York),
            _ => ZoneInForce::Recipient { fallback: chrono_tz::Europe::Kyiv },
        };
        let now = time(chance.pick(&["2027-03-01T10:30:00Z", "2027-02-28T22:00:00Z", "2028-02-28T23:00:00Z"]));
        for database in &databases {
            let samples = database.store.draw_samples(&[&rule], &segments, "seed").await.unwrap();
            let moment = Moment { now, zone, segments: &segments, currency: "UAH", rates: &rates, seed: "seed", samples: &samples };
            let expected = |rule: &Condition| -> Vec<i64> {
                people.iter().enumerate().filter(|(_, made)| evaluate(rule, &made.person, &moment)).map(|(id, _)| id as i64 + 1).collect()
            };
            let started = std::time::Instant::now();
            let found = database.store.audience(&rule, &moment).await;
            *spent.entry(database.name).or_insert(std::time::Duration::ZERO) += started.elapsed();
            let expected_all = expected(&rule);
            selected += expected_all.len();
            if found.as_ref().is_ok_and(|found| *found == expected_all) {
                continue;
            }
            // The smallest parts that are wrong say where.
            let mut parts = Vec::new();
            rule.walk(&mut |part| {
                if !matches!(part, Condition::All(_) | Condition::Any(_) | Condition::Not(_)) {
                    parts.push(part);
                }
            });
            for part in parts {
                let found = database.store.audience(part, &moment).await;
                let expected = expected(part);
                match found {
                    Ok(found) if found == expected => {}
                    Ok(found) => {
                        let id = (1..=100).find(|id| found.contains(id) != expected.contains(id)).unwrap();
                        let person = &people[id as usize - 1].person;
                        wrong.push(format!(
                            "{} rule {number} at {now} in {zone:?}: {part:?}\n  memory says {} of {id}: {}\n  events {:?}",
                            database.name,
                            expected.contains(&id),
                            person.attributes,
                            person.events.iter().map(|e| format!("{} {} {}", e.name, e.at, e.properties)).collect::<Vec<_>>()
                        ));
                    }
                    Err(error) => wrong.push(format!("{} rule {number}: {part:?}\n  {:?}", database.name, error)),
                }
            }
            if wrong.is_empty() {
                wrong.push(format!("{} rule {number}: {rule:?}\n  {found:?} instead of {expected_all:?}", database.name));
            }
        }
        if wrong.len() > 5 {
            break;
        }
    }
    eprintln!("{rules} rules: {spent:?}");
    assert!(wrong.is_empty(), "{} differences, the first are:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(selected > 0, "the rules select somebody");
}

/// How fast conditions are on many customers: prints times and SQLite's plans. Not part of the usual run:
/// `POSTHASTE_CUSTOMERS=1000000 cargo test --test it at_scale -- --ignored --nocapture`
#[tokio::test]
#[ignore = "takes minutes and gigabytes"]
async fn conditions_at_scale_go_by_indexes() {
    let customers = setting("POSTHASTE_CUSTOMERS", 20_000);
    let rates = BTreeMap::new();
    let segments = BTreeMap::new();
    let kyiv = ZoneInForce::Fixed(chrono_tz::Europe::Kyiv);
    let recipient = ZoneInForce::Recipient { fallback: chrono_tz::Europe::Kyiv };
    for database in databases().await {
        let store = &database.store;
        let (random, number) = store.pick(("abs(random())", "value"), ("(random() * 1000000000)::bigint", "value"));
        let series = |count: u64| {
            store.pick(
                format!("(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {count}) SELECT value FROM n) AS n"),
                format!("(SELECT generate_series(1, {count}) AS value) AS n"),
            )
        };
        let (json, source) = store.pick(("", "CAST(value AS BLOB)"), ("::jsonb", "int8send(value::bigint)"));
        let now = micros(time("2027-03-01T10:30:00Z"));
        let statements = [
            format!(
                "INSERT INTO customers (id, external_id, draw_key, zone, attributes, created_at, updated_at) SELECT {number}, 'k' || {number}, 'k' || {number}, \
                 'Europe/Berlin', ('{{\"city\":\"' || CASE WHEN {random} % 10 = 0 THEN 'Kyiv' ELSE 'Lviv' END || '\",\"birthday\":\"19' || ({random} % 89 + 10) || '-0' \
                 || ({random} % 9 + 1) || '-1' || ({random} % 10) || '\",\"points\":' || ({random} % 1000) || '}}'){json}, {now}, {now} FROM {}",
                series(customers)
            ),
            format!(
                "INSERT INTO events (customer_id, name, occurred_at, received_at, properties, source_key) SELECT {random} % {customers} + 1, \
                 CASE {random} % 3 WHEN 0 THEN 'purchase' WHEN 1 THEN 'visit' ELSE 'viewed' END, {now} - ({random} % 31536000) * 1000000, {now}, \
                 ('{{\"amount\":\"' || ({random} % 1000) || ' UAH\",\"sku\":\"S' || ({random} % 100) || '\"}}'){json}, {source} FROM {}",
                series(customers * 5)
            ),
            "ANALYZE".to_string(),
        ];
        for statement in statements {
            let started = std::time::Instant::now();
            let sql = sqlx::AssertSqlSafe(statement.clone());
            match store {
                Store::Sqlite(sqlite) => drop(sqlx::raw_sql(sql).execute(&sqlite.write).await.unwrap()),
                Store::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
            }
            eprintln!("{} filled in {:?}: {}", database.name, started.elapsed(), &statement[..40.min(statement.len())]);
        }
        let attribute = |path_of: &str, test: Test| Condition::Attribute(AttributeCondition { path: path(path_of), tests: vec![test] });
        let days = |count: u32| Window { within: Some(Duration { count, unit: Unit::Day }), ..Window::default() };
        let plain = |name: &str, window: Window| EventCondition {
            name: name.into(),
            window,
            filter: PropertyTests::default(),
            measure: Measure::Count,
            tests: vec![(Comparison::AtLeast, Operand::Number(1.0))],
            edge: None,
            without: None,
            save_as: None,
        };
        let event = |event: EventCondition| Condition::Event(Box::new(event));
        let hryvnias = |minor: i64| Operand::Money(Money { minor, currency: "UAH".into() });
        let soon = || attribute("birthday", Test::Anniversary(vec![DateTest::WithinNext(Duration { count: 7, unit: Unit::Day })]));
        for (name, zone, rule) in [
            ("everyone", kyiv, Condition::EVERYONE),
            ("city is Kyiv", kyiv, attribute("city", Test::Is(vec![Operand::Text("Kyiv".into())]))),
            ("points at least 900", kyiv, attribute("points", Test::Compare(Comparison::AtLeast, Operand::Number(900.0)))),
            (
                "birthday before 1950",
                kyiv,
                attribute(
                    "birthday",
                    Test::Date(DateTest::Before(DateOperand::Expression(DateExpression::Date("1950-01-01".parse().unwrap())))),
                ),
            ),
            ("birthday in the next 7 days", kyiv, soon()),
            ("birthday in the next 7 days of their own zones", recipient, soon()),
            ("bought within 90 days", kyiv, event(plain("purchase", days(90)))),
            ("not bought within 90 days", kyiv, Condition::Not(Box::new(event(plain("purchase", days(90)))))),
            (
                "bought at least 3 times",
                kyiv,
                event(EventCondition { tests: vec![(Comparison::AtLeast, Operand::Number(3.0))], ..plain("purchase", Window::default()) }),
            ),
            (
                "bought S7",
                kyiv,
                event(EventCondition {
                    filter: PropertyTests { tests: vec![(path("sku"), vec![Test::Is(vec![Operand::Text("S7".into())])])] },
                    ..plain("purchase", days(365))
                }),
            ),
            (
                "bought for at least 2000 UAH",
                kyiv,
                event(EventCondition {
                    measure: Measure::Sum(path("amount"), Kind::Money),
                    tests: vec![(Comparison::AtLeast, hryvnias(200_000))],
                    ..plain("purchase", days(365))
                }),
            ),
            (
                "last bought 90 to 180 days ago",
                kyiv,
                event(EventCondition {
                    edge: Some(Edge {
                        last: true,
                        dates: [180, 90]
                            .map(|count| DateOperand::Expression(DateExpression::Ago(Duration { count, unit: Unit::Day })))
                            .into_iter()
                            .zip([true, false])
                            .map(|(date, from)| if from { DateTest::From(date) } else { DateTest::Until(date) })
                            .collect(),
                        filter: PropertyTests::default(),
                    }),
                    ..plain("purchase", Window::default())
                }),
            ),
            (
                "viewed within 7 days and not bought since",
                kyiv,
                event(EventCondition {
                    without: Some(Without {
                        name: "purchase".into(),
                        filter: PropertyTests::default(),
                        same: Some((path("sku"), path("sku"))),
                    }),
                    ..plain("viewed", days(7))
                }),
            ),
            (
                "a message of any campaign was opened",
                kyiv,
                Condition::Message(Box::new(MessageCondition {
                    campaigns: vec![],
                    was: vec![Was::Opened, Was::Clicked],
                    variant: vec![],
                    channel: vec![],
                    topic: vec![],
                    class: vec![],
                    category: vec![],
                    tag: vec![],
                    link: vec![],
                    reason: vec![],
                    window: days(30),
                    tests: vec![(Comparison::AtLeast, 1.0)],
                    machine: false,
                })),
            ),
        ] {
            let moment = Moment {
                now: time("2027-03-01T10:30:00Z"),
                zone,
                segments: &segments,
                currency: "UAH",
                rates: &rates,
                seed: "seed",
                samples: Samples::NONE,
            };
            let started = std::time::Instant::now();
            let count = store.count_audience(&rule, &moment).await.unwrap();
            eprintln!("{:8} {:>9.2?} {count:>9}  {name}", database.name, started.elapsed());
            if let Store::Sqlite(_) = store {
                let mut sql = posthaste::store::audience::Sql::new(store.dialect());
                sql.push("EXPLAIN QUERY PLAN SELECT COUNT(*) FROM customers c WHERE ");
                posthaste::store::audience::compile(&rule, &moment, store.dialect(), &mut sql);
                let plan: Vec<(i64, i64, i64, String)> = sql.fetch(store, "explain").await.unwrap();
                for (_, _, _, step) in &plan {
                    assert!(
                        !["SCAN e", "SCAN f", "SCAN m ", "SCAN h", "SCAN r "]
                            .iter()
                            .any(|scan| step.starts_with(scan) && !step.contains("VIRTUAL")),
                        "{name}: {step}"
                    );
                }
            }
        }
    }
}
