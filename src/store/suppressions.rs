//! Suppressions: addresses that must not be sent to, kept under their keys, so that they outlive an erasure.

use super::Store;
use super::batch::{Connection, Field, table};
use super::{Doing, Error};
use crate::types::SuppressionReason;
use serde_json::{Value, json};
use std::collections::HashMap;

/// A suppression to write, or as stored. Times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    pub key: [u8; 16],
    pub channel: i16,
    pub reason: SuppressionReason,
    pub since: i64,
    /// `None`: for ever.
    pub until: Option<i64>,
    pub source: String,
}

impl SuppressionRow {
    /// What stays when both are given: the one that lasts longer; the one before when both last as long.
    fn outlasts(&self, other: &SuppressionRow) -> bool {
        match (self.until, other.until) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(a), Some(b)) => a > b,
        }
    }
}

/// Writes suppressions; none is ever shortened or lifted by this. A pause, which stops advertising only, gives way to any other reason. Gives how many were new or lengthened.
pub async fn suppress(connection: &mut Connection<'_>, rows: &[SuppressionRow]) -> Result<u64, Error> {
    let mut longest: HashMap<[u8; 16], &SuppressionRow> = HashMap::new();
    for row in rows {
        let place = longest.entry(row.key).or_insert(row);
        if row.outlasts(place) {
            *place = row;
        }
    }
    if longest.is_empty() {
        return Ok(0);
    }
    let mut longest: Vec<&SuppressionRow> = longest.into_values().collect();
    longest.sort_by_key(|row| row.key);
    let rows: Vec<Value> = longest
        .iter()
        .map(|row| {
            json!({"key": hex::encode(row.key), "channel": row.channel, "reason": row.reason.code(), "since": row.since,
                   "until": row.until, "source": row.source})
        })
        .collect();
    let given = table(
        connection.dialect(),
        &[
            ("key", Field::Bytes),
            ("channel", Field::Small),
            ("reason", Field::Small),
            ("since", Field::Long),
            ("until", Field::Long),
            ("source", Field::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO suppressions (key, channel, reason, since, until, source) \
         SELECT key, channel, reason, since, until, source FROM {given} AS given WHERE true \
         ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, since = excluded.since, source = excluded.source, \
         until = CASE WHEN excluded.until < suppressions.until THEN suppressions.until ELSE excluded.until END \
         WHERE suppressions.until IS NOT NULL AND (excluded.until IS NULL OR excluded.until > suppressions.until \
         OR suppressions.reason = {paused} AND excluded.reason <> {paused})",
        paused = SuppressionReason::Paused.code()
    );
    connection.write("keep suppressions", sql, &Value::Array(rows).to_string()).await
}

impl Store {
    /// The suppressions of these keys.
    pub async fn suppressions(&self, keys: &[[u8; 16]]) -> Result<Vec<SuppressionRow>, Error> {
        const DOING: &str = "read suppressions";
        let columns = "SELECT key, channel, reason, since, until, source FROM suppressions WHERE key";
        type Row = (Vec<u8>, i16, i16, i64, Option<i64>, String);
        let rows: Vec<Row> = match self {
            Store::Sqlite(sqlite) => {
                let json = serde_json::to_string(&keys.iter().map(hex::encode).collect::<Vec<_>>()).unwrap_or_default();
                let sql = format!("{columns} IN (SELECT unhex(value) FROM json_each($1))");
                sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(json).fetch_all(&sqlite.read).await
            }
            Store::Postgres(pool) => {
                let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
                sqlx::query_as(sqlx::AssertSqlSafe(format!("{columns} = ANY($1)"))).bind(keys).fetch_all(pool).await
            }
        }
        .doing(DOING)?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, channel, reason, since, until, source)| {
                let key = <[u8; 16]>::try_from(key.as_slice()).ok()?;
                Some(SuppressionRow { key, channel, reason: SuppressionReason::from_code(reason)?, since, until, source })
            })
            .collect())
    }

    /// Writes suppressions in a transaction of their own.
    pub async fn keep_suppressions(&self, rows: &[SuppressionRow]) -> Result<u64, Error> {
        let mut change = self.change("keep suppressions").await?;
        let kept = suppress(&mut change.connection(), rows).await?;
        change.commit("keep suppressions").await?;
        Ok(kept)
    }
}
