//! Consents: an append-only record with proof, and today's state, kept in the same transaction.
//!
//! The later `at` wins; on a tie, withdrawn. The record keeps what lost as well.

use super::Error;
use super::Store;
use super::batch::{Connection, Field, table};
use super::customers::among_ids;
use crate::types::ConsentState;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Today's state for a topic (`*` for all) on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConsent {
    pub topic: String,
    pub channel: i16,
    pub state: ConsentState,
    /// Microseconds.
    pub at: i64,
    pub has_proof: bool,
}

/// A change of consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRow {
    pub customer: i64,
    /// `*` for all.
    pub topic: String,
    pub channel: i16,
    pub state: ConsentState,
    pub at: i64,
    pub received_at: i64,
    pub source: String,
    pub proof: Option<String>,
    /// The same change with the same key is kept once.
    pub source_key: [u8; 16],
}

impl ConsentRow {
    /// Whether this change takes the place of a state: later, or at the same time and withdrawn.
    pub fn beats(&self, at: i64) -> bool {
        self.at > at || self.at == at && self.state == ConsentState::Withdrawn
    }
}

pub(super) async fn of_customers(connection: &mut Connection<'_>, ids: &[i64]) -> Result<Vec<(i64, StoredConsent)>, Error> {
    let sql = "SELECT customer_id, topic, channel, state, at, has_proof FROM consent_state WHERE customer_id @ ORDER BY customer_id, topic, channel";
    let rows: Vec<(i64, String, i16, i16, i64, i16)> = among_ids(connection, sql, ids).await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, topic, channel, state, at, has_proof)| {
            let state = ConsentState::from_code(state)?;
            Some((id, StoredConsent { topic, channel, state, at, has_proof: has_proof != 0 }))
        })
        .collect())
}

/// Appends changes and keeps the state; gives how many were new. What is there already changes nothing.
pub async fn append(connection: &mut Connection<'_>, rows: &[ConsentRow]) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let dialect = connection.dialect();
    let record: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "customer": row.customer, "topic": row.topic, "channel": row.channel, "state": row.state.code(), "at": row.at,
                "received_at": row.received_at, "source": row.source, "proof": row.proof, "source_key": hex::encode(row.source_key),
            })
        })
        .collect();
    let given = table(
        dialect,
        &[
            ("customer", Field::Long),
            ("topic", Field::Text),
            ("channel", Field::Small),
            ("state", Field::Small),
            ("at", Field::Long),
            ("received_at", Field::Long),
            ("source", Field::Text),
            ("proof", Field::Text),
            ("source_key", Field::Bytes),
        ],
    );
    // `WHERE true`: SQLite could take the ON of ON CONFLICT for one of a join.
    let sql = format!(
        "INSERT INTO consents (customer_id, topic, channel, state, at, received_at, source, proof, source_key) \
         SELECT customer, topic, channel, state, at, received_at, source, proof, source_key FROM {given} AS given WHERE true \
         ON CONFLICT (customer_id, source_key) DO NOTHING"
    );
    let appended = connection.write("keep consents", sql, &Value::Array(record).to_string()).await?;
    keep_state(connection, rows).await?;
    Ok(appended)
}

async fn keep_state(connection: &mut Connection<'_>, rows: &[ConsentRow]) -> Result<(), Error> {
    let mut latest: HashMap<(i64, &str, i16), &ConsentRow> = HashMap::new();
    for row in rows {
        let place = latest.entry((row.customer, &row.topic, row.channel)).or_insert(row);
        if row.beats(place.at) {
            *place = row;
        }
    }
    let mut latest: Vec<&ConsentRow> = latest.into_values().collect();
    latest.sort_by_key(|row| (row.customer, &row.topic, row.channel));
    let states: Vec<Value> = latest
        .iter()
        .map(|row| {
            json!({"customer": row.customer, "topic": row.topic, "channel": row.channel, "state": row.state.code(), "at": row.at,
                   "has_proof": i16::from(row.proof.is_some())})
        })
        .collect();
    let given = table(
        connection.dialect(),
        &[
            ("customer", Field::Long),
            ("topic", Field::Text),
            ("channel", Field::Small),
            ("state", Field::Small),
            ("at", Field::Long),
            ("has_proof", Field::Small),
        ],
    );
    let sql = format!(
        "INSERT INTO consent_state (customer_id, topic, channel, state, at, has_proof) \
         SELECT customer, topic, channel, state, at, has_proof FROM {given} AS given WHERE true \
         ON CONFLICT (customer_id, topic, channel) DO UPDATE SET state = excluded.state, at = excluded.at, has_proof = excluded.has_proof \
         WHERE excluded.at > consent_state.at OR (excluded.at = consent_state.at AND excluded.state = {withdrawn})",
        withdrawn = ConsentState::Withdrawn.code()
    );
    connection.write("keep the state of consent", sql, &Value::Array(states).to_string()).await?;
    Ok(())
}

impl Store {
    /// Appends changes of consent in a transaction of their own.
    pub async fn append_consents(&self, rows: &[ConsentRow]) -> Result<u64, Error> {
        let mut change = self.change("keep consents").await?;
        let appended = append(&mut change.connection(), rows).await?;
        change.commit("keep consents").await?;
        Ok(appended)
    }
}
