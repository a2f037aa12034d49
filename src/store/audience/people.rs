//! One customer with the whole history a condition may ask for, for explanations.

use crate::on_pool;
use crate::segments::Person;
use crate::segments::person::*;
use crate::store::{Doing, Error, Store, from_micros};
use crate::types::{Channel, Class, ConsentState, MessageState, Response, SuppressionReason, Verdict};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;

const DOING: &str = "read a customer's history";

#[derive(sqlx::FromRow)]
struct CustomerRow {
    draw_key: String,
    external_id: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    language: Option<String>,
    country: Option<String>,
    zone: Option<String>,
    attributes: String,
    created_at: i64,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: i64,
    campaign: String,
    class: i16,
    topic: Option<String>,
    category: Option<String>,
    tags: String,
    channel: i16,
    variant: Option<String>,
    state: i16,
    reason: Option<i16>,
    selected_at: i64,
    changed_at: i64,
    accepted_at: Option<i64>,
    bounced_at: Option<i64>,
    converted_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    name: String,
    occurred_at: i64,
    properties: String,
    message_id: Option<i64>,
    verdict: i16,
    link: Option<String>,
}

/// Channel, address, and the suppression's reason, beginning and end.
type AddressRow = (i16, String, Option<i16>, Option<i64>, Option<i64>);

impl Store {
    /// The customer with everything that conditions see; `None` when there is no such number.
    pub async fn person(&self, id: i64) -> Result<Option<Person>, Error> {
        let json = |column: &str| self.pick(column.to_string(), format!("CAST({column} AS TEXT)"));
        let sql = format!(
            "SELECT draw_key, external_id, first_name, last_name, language, country, zone, {} AS attributes, created_at FROM customers WHERE id = $1",
            json("attributes")
        );
        let row: Option<CustomerRow> =
            on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(pool).await).doing(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let mut person = Person {
            draw_key: row.draw_key,
            external_id: row.external_id,
            first_name: row.first_name,
            last_name: row.last_name,
            language: row.language,
            country: row.country,
            zone: row.zone,
            created_at: from_micros(row.created_at),
            attributes: serde_json::from_str(&row.attributes).unwrap_or_default(),
            ..Person::default()
        };
        self.add_addresses(id, &mut person).await?;
        self.add_consents(id, &mut person).await?;
        let messages = self.add_messages(id, &mut person).await?;
        let sql = format!(
            "SELECT e.name, e.occurred_at, {} AS properties, e.message_id, e.verdict, \
             (SELECT l.target FROM messages m JOIN runs r ON r.id = m.run_id JOIN links l ON l.version_id = r.version_id AND l.number = e.link \
              WHERE m.id = e.message_id) AS link FROM events e WHERE e.customer_id = $1 ORDER BY e.id",
            json("e.properties")
        );
        let rows: Vec<EventRow> = on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_all(pool).await).doing(DOING)?;
        for row in rows {
            let response = row.name.strip_prefix("message.").and_then(Response::from_word);
            let message = row.message_id.and_then(|id| messages.iter().position(|known| *known == id));
            if let (Some(response), Some(message)) = (response, message) {
                person.messages[message].responses.push(PastResponse {
                    response,
                    at: from_micros(row.occurred_at),
                    verdict: Verdict::from_code(row.verdict).unwrap_or(Verdict::Suspect),
                    link: row.link.clone(),
                });
            }
            person.events.push(PastEvent {
                name: row.name,
                at: from_micros(row.occurred_at),
                properties: serde_json::from_str(&row.properties).unwrap_or_default(),
            });
        }
        self.add_rows(&mut person).await?;
        Ok(Some(person))
    }

    async fn add_addresses(&self, id: i64, person: &mut Person) -> Result<(), Error> {
        let rows: Vec<AddressRow> = on_pool!(self, pool => sqlx::query_as(
            "SELECT a.channel, a.address, p.reason, p.since, p.until FROM addresses a LEFT JOIN suppressions p ON p.key = a.key \
             WHERE a.customer_id = $1 AND a.is_primary = 1 ORDER BY a.channel, a.address"
        ).bind(id).fetch_all(pool).await)
        .doing(DOING)?;
        for (channel, address, reason, since, until) in rows {
            let Some(channel) = Channel::from_code(channel) else { continue };
            match channel {
                Channel::Email if person.email.is_none() => person.email = Some(address),
                Channel::Sms if person.phone.is_none() => person.phone = Some(address),
                _ => {}
            }
            let suppressed = reason.and_then(SuppressionReason::from_code).map(|reason| PastSuppression {
                reason,
                since: from_micros(since.unwrap_or_default()),
                until: until.map(from_micros),
            });
            person.addresses.push(PastAddress { channel, suppressed });
        }
        Ok(())
    }

    async fn add_consents(&self, id: i64, person: &mut Person) -> Result<(), Error> {
        let rows: Vec<(String, i16, i16, i64, i16)> = on_pool!(self, pool => sqlx::query_as(
            "SELECT topic, channel, state, at, CAST(has_proof AS SMALLINT) FROM consent_state WHERE customer_id = $1 ORDER BY topic, channel"
        ).bind(id).fetch_all(pool).await)
        .doing(DOING)?;
        for (topic, channel, state, at, has_proof) in rows {
            if let (Some(channel), Some(state)) = (Channel::from_code(channel), ConsentState::from_code(state)) {
                person.consents.push(PastConsent { topic, channel, state, at: from_micros(at), has_proof: has_proof != 0 });
            }
        }
        Ok(())
    }

    /// Gives the numbers of the messages, in the order of `person.messages`.
    async fn add_messages(&self, id: i64, person: &mut Person) -> Result<Vec<i64>, Error> {
        let rows: Vec<MessageRow> = on_pool!(self, pool => sqlx::query_as(
            "SELECT m.id, k.key AS campaign, k.class, k.topic, k.category, k.tags, m.channel, m.state, m.reason, m.changed_at, m.accepted_at, m.bounced_at, \
             (SELECT x.name FROM arms x WHERE x.run_id = m.run_id AND x.arm = m.arm AND x.held_out = 0) AS variant, \
             COALESCE(r.planned_at, r.due_at) AS selected_at, \
             (SELECT MIN(v.first_at) FROM conversions v WHERE v.run_id = m.run_id AND v.measure = 0 AND v.customer_id = m.customer_id) AS converted_at \
             FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns k ON k.id = r.campaign_id \
             WHERE m.customer_id = $1 AND r.is_test = 0 ORDER BY m.id"
        ).bind(id).fetch_all(pool).await)
        .doing(DOING)?;
        let mut ids = Vec::new();
        for row in rows {
            let (Some(class), Some(channel), Some(state)) =
                (Class::from_code(row.class), Channel::from_code(row.channel), MessageState::from_code(row.state))
            else {
                continue;
            };
            ids.push(row.id);
            person.messages.push(PastMessage {
                campaign: row.campaign,
                class,
                topic: row.topic,
                category: row.category,
                tags: serde_json::from_str(&row.tags).unwrap_or_default(),
                channel,
                variant: row.variant,
                state,
                reason: row.reason,
                selected_at: from_micros(row.selected_at),
                changed_at: from_micros(row.changed_at),
                accepted_at: row.accepted_at.map(from_micros),
                bounced_at: row.bounced_at.map(from_micros),
                responses: Vec::new(),
                converted_at: row.converted_at.map(from_micros),
            });
        }
        Ok(ids)
    }

    /// Rows of catalogs whose keys stand anywhere in the person's values, and in those rows.
    async fn add_rows(&self, person: &mut Person) -> Result<(), Error> {
        let mut texts = BTreeSet::new();
        texts_of(&person.attributes, &mut texts);
        person.events.iter().for_each(|event| texts_of(&event.properties, &mut texts));
        for _ in 0..3 {
            let list = serde_json::json!(texts).to_string();
            let sql = self.pick(
                "SELECT catalog, key, \"values\" FROM catalog_rows WHERE key IN (SELECT value FROM json_each($1))",
                "SELECT catalog, key, CAST(\"values\" AS TEXT) FROM catalog_rows WHERE key IN (SELECT jsonb_array_elements_text(CAST($1 AS jsonb)))",
            );
            let rows: Vec<(String, String, String)> = self.read_batch(DOING, sql.to_string(), &list).await?;
            let known = texts.len();
            for (catalog, key, values) in rows {
                let values: Value = serde_json::from_str(&values).unwrap_or_default();
                texts_of(&values, &mut texts);
                person.rows.insert((catalog, key), values);
            }
            if texts.len() == known {
                break;
            }
        }
        Ok(())
    }
}

fn texts_of(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(texts.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| texts_of(value, texts)),
        _ => {}
    }
}
