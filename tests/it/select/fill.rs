//! Writes the people into a database, as the imports and the engine would.

use super::chance::{micros, time};
use super::people::*;
use crate::databases::Database;
use posthaste::segments::values::folded;
use posthaste::store::Store;
use posthaste::types::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

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

pub async fn fill(database: &Database, people: &[Made], rows: &BTreeMap<(String, String), Value>) {
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
        let copies = folded(&person.attributes, own).map_or(Value::Null, |copies| serde_json::from_str(&copies).unwrap());
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
                folded(&event.properties, []).map_or(Value::Null, |copies| serde_json::from_str(&copies).unwrap()),
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
