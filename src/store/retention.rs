//! What is kept for a time only: found page by page on a reader, and dropped a few hundred rows at once, so that nobody waits for it.

use super::batch::{Field, table};
use super::{Doing, Error, Store, micros};
use crate::types::Time;
use crate::{on_pool, on_writer};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// Rows that are looked at together.
const PAGE: i64 = 20_000;
/// Rows that are dropped in one transaction: far below 50 ms on SQLite.
const BATCH: usize = 250;
const DAY: &str = "retention";

/// What goes when it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Events by when they happened. What was counted of them stays counted.
    Events,
    /// What templates had read for a message, by when it was handed over: the message can no longer be shown.
    Snapshots,
}

/// A page of rows, and the old ones in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows up to here have been looked at.
    pub last: i64,
    pub old: Vec<i64>,
}

impl Old {
    fn place(self) -> &'static str {
        match self {
            Old::Events => "events",
            Old::Snapshots => "messages",
        }
    }

    fn is_old(self) -> &'static str {
        match self {
            Old::Events => "occurred_at < $3",
            Old::Snapshots => "snapshot IS NOT NULL AND COALESCE(accepted_at, changed_at) < $3",
        }
    }
}

impl Store {
    /// The next page of rows after a number, with those older than `before`; `None` at the end.
    pub async fn old_after(&self, what: Old, last: i64, before: Time) -> Result<Option<Page>, Error> {
        const DOING: &str = "look for what is kept too long";
        let place = what.place();
        let sql = format!("SELECT MAX(id) FROM (SELECT id FROM {place} WHERE id > $1 ORDER BY id LIMIT {PAGE}) AS page");
        let (end,): (Option<i64>,) =
            on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(last).fetch_one(pool).await).doing(DOING)?;
        let Some(end) = end else { return Ok(None) };
        let sql = format!("SELECT id FROM {place} WHERE id > $1 AND id <= $2 AND {} ORDER BY id", what.is_old());
        let old: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(last).bind(end).bind(micros(before)).fetch_all(pool).await)
                .doing(DOING)?;
        Ok(Some(Page { last: end, old: old.into_iter().map(|(id,)| id).collect() }))
    }

    /// Drops some of these rows, in one short transaction; gives the rest.
    pub async fn drop_old<'i>(&self, what: Old, ids: &'i [i64]) -> Result<&'i [i64], Error> {
        const DOING: &str = "drop what was kept long enough";
        let (now, later) = ids.split_at(ids.len().min(BATCH));
        let given = table(self.dialect(), &[("id", Field::Long)]);
        let sql = match what {
            Old::Events => format!("DELETE FROM events WHERE id IN (SELECT id FROM {given} AS given)"),
            Old::Snapshots => format!("UPDATE messages SET snapshot = NULL WHERE id IN (SELECT id FROM {given} AS given)"),
        };
        let rows = Value::Array(now.iter().map(|id| json!({ "id": id })).collect()).to_string();
        let mut change = self.change(DOING).await?;
        change.connection().write(DOING, sql, &rows).await?;
        change.commit(DOING).await?;
        Ok(later)
    }

    /// Takes the turn of dropping what is old, until `until`; false when it is not due, or another process has it.
    pub async fn take_retention(&self, now: Time, until: Time) -> Result<bool, Error> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE CAST(settings.value AS BIGINT) <= $3";
        let taken =
            on_writer!(self, pool => sqlx::query(sql).bind(DAY).bind(micros(until).to_string()).bind(micros(now)).execute(pool).await
            .map(|done| done.rows_affected()))
            .doing("take the turn of dropping what is old")?;
        Ok(taken > 0)
    }

    /// It is done, and due again at `next`.
    pub async fn end_retention(&self, next: Time) -> Result<(), Error> {
        self.keep_setting(DAY, &micros(next).to_string()).await
    }

    /// When it is due; `None` when it never was.
    pub async fn retention_due(&self) -> Result<Option<Time>, Error> {
        Ok(self.setting(DAY).await?.and_then(|value| value.parse().ok()).map(super::from_micros))
    }
}
