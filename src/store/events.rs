//! Events: what happened to customers. Append only; the same event comes in once.

use super::batch::{Connection, Field, table};
use super::conversions::{self, Measures};
use super::customers::{CHUNK, placeholders};
use super::starts;
use super::{Doing, Error, Store};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// An event to record. Times in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub customer: i64,
    pub name: String,
    pub occurred_at: i64,
    pub received_at: i64,
    /// A JSON object.
    pub properties: String,
    /// Lower-cased texts by dotted path, where they differ; a JSON object.
    pub folded: Option<String>,
    /// Minor units.
    pub value: Option<i64>,
    pub currency: Option<String>,
    /// Unique for the customer: the hash of source and external id, else of the row and its ordinal among equal rows of its file.
    pub source_key: [u8; 16],
}

/// An event as stored, for lists and exports.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct StoredEvent {
    pub id: i64,
    pub customer_id: i64,
    pub external_id: Option<String>,
    pub name: String,
    pub occurred_at: i64,
    pub received_at: i64,
    pub properties: String,
    pub value: Option<i64>,
    pub currency: Option<String>,
    pub message_id: Option<i64>,
    pub verdict: i16,
}

impl Store {
    /// Records events and what they convert, in one transaction, and keeps them for the campaigns that they start (`starts`). For each event its
    /// number, or `None` when it was there already.
    pub async fn ingest_events(&self, events: &[NewEvent], measures: &Measures, starts: bool) -> Result<Vec<Option<i64>>, Error> {
        const DOING: &str = "record events";
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        let rows = insert(&mut connection, events).await?;
        let new: Vec<i64> = rows.iter().map(|row| row.0).collect();
        conversions::keep(&mut connection, &new, measures).await?;
        if starts {
            starts::keep_events(&mut connection, &new).await?;
        }
        change.commit(DOING).await?;
        let mut ids: std::collections::HashMap<(i64, [u8; 16]), i64> =
            rows.into_iter().filter_map(|(id, customer, key)| Some(((customer, <[u8; 16]>::try_from(key.as_slice()).ok()?), id))).collect();
        // Of equal events in one batch the first is the new one.
        Ok(events.iter().map(|event| ids.remove(&(event.customer, event.source_key))).collect())
    }

    /// Events after a number, in order of their numbers; `customer` narrows.
    pub async fn events_after(&self, last: i64, limit: i64, customer: Option<i64>) -> Result<Vec<StoredEvent>, Error> {
        let narrowed = if customer.is_some() { "AND e.customer_id = $3" } else { "AND $3 = 0" };
        let sql = format!(
            "SELECT e.id, e.customer_id, c.external_id, e.name, e.occurred_at, e.received_at, CAST(e.properties AS TEXT) AS properties, e.value, \
             e.currency, e.message_id, e.verdict FROM events e LEFT JOIN customers c ON c.id = e.customer_id \
             WHERE e.id > $1 {narrowed} ORDER BY e.id LIMIT $2"
        );
        crate::on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(last).bind(limit).bind(customer.unwrap_or(0)).fetch_all(pool).await)
            .doing("read events")
    }
}

pub(super) const INTO: &str =
    "INSERT INTO events (customer_id, name, occurred_at, received_at, properties, folded, value, currency, source_key)";
const ONCE: &str = "ON CONFLICT (customer_id, source_key) DO NOTHING RETURNING id, customer_id, source_key";

/// Binds the nine values of [`INTO`].
macro_rules! bound_event {
    ($query:expr, $event:expr) => {
        $query
            .bind($event.customer)
            .bind($event.name.as_str())
            .bind($event.occurred_at)
            .bind($event.received_at)
            .bind($event.properties.as_str())
            .bind($event.folded.as_deref())
            .bind($event.value)
            .bind($event.currency.as_deref())
            .bind($event.source_key.as_slice())
    };
}
pub(super) use bound_event;

/// Number, customer and key of those that were new.
async fn insert(connection: &mut Connection<'_>, events: &[NewEvent]) -> Result<Vec<(i64, i64, Vec<u8>)>, Error> {
    const DOING: &str = "record events";
    let mut new = Vec::with_capacity(events.len());
    match connection {
        Connection::Sqlite(connection) => {
            for chunk in events.chunks(CHUNK) {
                let sql = format!("{INTO} VALUES {} {ONCE}", placeholders(9, chunk.len()));
                let mut query = sqlx::query_as(AssertSqlSafe(sql));
                for event in chunk {
                    query = bound_event!(query, event);
                }
                new.extend(query.fetch_all(&mut **connection).await.doing(DOING)?);
            }
        }
        Connection::Postgres(connection) => {
            // In the order of customers, so that two batches never wait for each other in a circle.
            let mut sorted: Vec<&NewEvent> = events.iter().collect();
            sorted.sort_by_key(|event| (event.customer, event.source_key));
            let sql = format!(
                "{INTO} SELECT customer, name, occurred_at, received_at, properties::jsonb, folded::jsonb, value, currency, source_key \
                 FROM UNNEST($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bytea[]) \
                 AS given(customer, name, occurred_at, received_at, properties, folded, value, currency, source_key) {ONCE}"
            );
            let query = sqlx::query_as(AssertSqlSafe(sql))
                .bind(sorted.iter().map(|event| event.customer).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.name.clone()).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.occurred_at).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.received_at).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.properties.clone()).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.folded.clone()).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.value).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.currency.clone()).collect::<Vec<_>>())
                .bind(sorted.iter().map(|event| event.source_key.to_vec()).collect::<Vec<_>>());
            new = query.fetch_all(&mut **connection).await.doing(DOING)?;
        }
    }
    Ok(new)
}

/// Which of these customers exist and are not erased.
pub(super) async fn existing(connection: &mut Connection<'_>, ids: &[i64]) -> Result<Vec<i64>, Error> {
    let rows: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    let given = table(connection.dialect(), &[("id", Field::Long)]);
    let sql = format!("SELECT c.id FROM {given} AS given JOIN customers c ON c.id = given.id WHERE c.erased_at IS NULL");
    let found: Vec<(i64,)> = connection.read("look up customers", sql, &Value::Array(rows).to_string()).await?;
    Ok(found.into_iter().map(|row| row.0).collect())
}
