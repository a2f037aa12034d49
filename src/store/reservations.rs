//! What caps count: a row for each message that is reserved or was handed over, by customer.
//!
//! Whoever decides by them holds the customers' lock ([`Connection::lock_customers`]) from reading until commit, so that no two decide about
//! one person at the same time: on SQLite the write transaction is that lock, on PostgreSQL an advisory lock for each group of customers.
//! Messages that are refused, fail, expire or are cancelled are freed by triggers (migration 0005).

use super::batch::{Connection, Field, table};
use super::{Doing, Error, Store, micros};
use crate::types::{MessageState, Refusal, RunId, Time};
use crate::{on_pool, on_writer};
use serde_json::json;

/// A message that counts.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Reservation {
    pub customer_id: i64,
    pub message_id: i64,
    pub campaign_id: i64,
    pub channel: i16,
    pub priority: i16,
    /// Microseconds.
    pub at: i64,
    pub is_handed_over: i16,
}

/// What rules are narrowed to, of a campaign as it is now.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CampaignScope {
    pub id: i64,
    pub key: String,
    pub class: i16,
    pub topic: Option<String>,
    pub category: Option<String>,
    /// A JSON list.
    pub tags: String,
}

/// A message that gives way, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivesWay {
    pub message: i64,
    pub detail: String,
}

/// Neighbouring customers share a lock, so that the messages of a block need few.
const NEIGHBOURS: i64 = 4096;
const LOCKS: i64 = 64;
const LOCK_CLASS: i32 = 0x706f_6300;

const COLUMNS: &str = "r.customer_id, r.message_id, r.campaign_id, r.channel, r.priority, r.at, r.is_handed_over";

fn of_customers(connection: super::Dialect) -> String {
    format!(
        "SELECT {COLUMNS} FROM {} AS given JOIN reservations r ON r.customer_id = given.id ORDER BY r.customer_id, r.at, r.message_id",
        table(connection, &[("id", Field::Long)])
    )
}

fn ids(customers: &[i64]) -> String {
    let mut ids: Vec<i64> = customers.to_vec();
    ids.sort_unstable();
    ids.dedup();
    json!(ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string()
}

impl Connection<'_> {
    /// Nobody else decides about these customers until the transaction ends.
    pub async fn lock_customers(&mut self, customers: &[i64]) -> Result<(), Error> {
        let Connection::Postgres(connection) = self else { return Ok(()) };
        let mut locks: Vec<i32> =
            customers.iter().filter_map(|customer| i32::try_from((customer / NEIGHBOURS).rem_euclid(LOCKS)).ok()).collect();
        locks.sort_unstable();
        locks.dedup();
        sqlx::query("SELECT pg_advisory_xact_lock($1, lock) FROM (SELECT lock FROM UNNEST($2::int[]) AS l(lock) ORDER BY lock) AS locks")
            .bind(LOCK_CLASS)
            .bind(locks)
            .execute(&mut **connection)
            .await
            .doing("lock customers")?;
        Ok(())
    }

    /// What counts for these customers, by customer and time.
    pub async fn reservations(&mut self, customers: &[i64]) -> Result<Vec<Reservation>, Error> {
        let sql = of_customers(self.dialect());
        self.read("read what caps count", sql, &ids(customers)).await
    }

    /// Messages give way, as far as they are not handed over yet. Gives those that did.
    pub async fn give_way(&mut self, rows: &[GivesWay], now: Time) -> Result<Vec<i64>, Error> {
        let free = format!("IN ({}, {}, {})", MessageState::Planned.code(), MessageState::Deferred.code(), MessageState::Held.code());
        let given = table(self.dialect(), &[("id", Field::Long), ("detail", Field::Text)]);
        // A message that somebody writes this moment is being handed over: waiting for it could be waiting for each other.
        let free = self.pick(
            format!("messages.state {free}"),
            format!("messages.id IN (SELECT m.id FROM messages m JOIN {given} AS g ON g.id = m.id WHERE m.state {free} FOR UPDATE OF m SKIP LOCKED)"),
        );
        let sql = format!(
            "UPDATE messages SET state = {refused}, reason = {capped}, detail = given.detail, next_at = NULL, changed_at = {now}
             FROM {given} AS given WHERE messages.id = given.id AND {free} RETURNING messages.id",
            refused = MessageState::Refused.code(),
            capped = Refusal::Capped.code(),
            now = micros(now),
        );
        let rows = json!(rows.iter().map(|row| json!({ "id": row.message, "detail": row.detail })).collect::<Vec<_>>()).to_string();
        let gone: Vec<(i64,)> = self.read("let messages give way", sql, &rows).await?;
        Ok(gone.into_iter().map(|(id,)| id).collect())
    }

    /// Reserves for messages that were planned in this transaction.
    pub async fn reserve(&mut self, rows: &[Reservation]) -> Result<(), Error> {
        self.write_reservations(rows, "").await
    }

    /// Reserves, or moves what is reserved, for messages that may have been refused or cancelled since they were read: those get nothing.
    pub async fn reserve_again(&mut self, rows: &[Reservation]) -> Result<(), Error> {
        let stands = format!(
            "JOIN messages m ON m.id = given.message_id AND m.state IN ({}, {}, {})",
            MessageState::Planned.code(),
            MessageState::Retry.code(),
            MessageState::Deferred.code()
        );
        let held = self.pick(String::new(), "FOR SHARE OF m SKIP LOCKED".to_string());
        self.write_reservations(rows, &format!("{stands} WHERE true {held}")).await
    }

    async fn write_reservations(&mut self, rows: &[Reservation], standing: &str) -> Result<(), Error> {
        const CHUNK: usize = 2000;
        for rows in rows.chunks(CHUNK) {
            let names = ["customer_id", "message_id", "campaign_id", "channel", "priority", "at", "is_handed_over"];
            let columns = names.join(", ");
            let fields = [Field::Long, Field::Long, Field::Long, Field::Small, Field::Small, Field::Long, Field::Small];
            let given: Vec<(&str, Field)> = names.iter().copied().zip(fields).collect();
            let sql = format!(
                "INSERT INTO reservations ({columns}) SELECT {} FROM {} AS given {}
                 ON CONFLICT (customer_id, message_id) DO UPDATE SET at = excluded.at, channel = excluded.channel",
                names.map(|name| format!("given.{name}")).join(", "),
                table(self.dialect(), &given),
                if standing.is_empty() { "WHERE true" } else { standing }
            );
            let row = |row: &Reservation| {
                json!({ "customer_id": row.customer_id, "message_id": row.message_id, "campaign_id": row.campaign_id, "channel": row.channel,
                        "priority": row.priority, "at": row.at, "is_handed_over": row.is_handed_over })
            };
            let rows = json!(rows.iter().map(row).collect::<Vec<_>>()).to_string();
            self.write("reserve places", sql, &rows).await?;
        }
        Ok(())
    }

    /// What was accepted counts from then, and gives way to nobody: `[[customer, message, microseconds], …]`.
    pub async fn confirm_reservations(&mut self, rows: &str) -> Result<(), Error> {
        let each = self.pick("json_each($1) AS e", "jsonb_array_elements($1::jsonb) AS e(value)");
        let sql = format!(
            "WITH r AS (SELECT CAST(e.value ->> 0 AS BIGINT) AS customer, CAST(e.value ->> 1 AS BIGINT) AS message, CAST(e.value ->> 2 AS BIGINT) AS at FROM {each})
             UPDATE reservations SET at = r.at, is_handed_over = 1 FROM r WHERE reservations.customer_id = r.customer AND reservations.message_id = r.message"
        );
        self.write("confirm places", sql, rows).await?;
        Ok(())
    }

    /// Forgets what is too long ago to count for anything, of these customers.
    pub async fn forget_reservations(&mut self, customers: &[i64], before: i64) -> Result<(), Error> {
        let sql = format!(
            "DELETE FROM reservations WHERE at < {before} AND customer_id IN (SELECT id FROM {} AS given)",
            table(self.dialect(), &[("id", Field::Long)])
        );
        self.write("forget old reservations", sql, &ids(customers)).await?;
        Ok(())
    }
}

impl Store {
    /// What counts for these customers, as of now and without a lock: for looking ahead.
    pub async fn reservations_of(&self, customers: &[i64]) -> Result<Vec<Reservation>, Error> {
        self.read_batch("read what caps count", of_customers(self.dialect()), &ids(customers)).await
    }

    /// All campaigns, as rules see them.
    pub async fn campaign_scopes(&self) -> Result<Vec<CampaignScope>, Error> {
        let tags = self.pick("tags", "tags::text AS tags");
        let sql = format!("SELECT id, key, class, topic, category, {tags} FROM campaigns ORDER BY id");
        on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("read the campaigns")
    }

    /// Runs that may have messages since then.
    pub async fn runs_since(&self, since: Time) -> Result<Vec<RunId>, Error> {
        let sql =
            "SELECT id FROM runs WHERE is_test = 0 AND planned_at IS NOT NULL AND (finished_at IS NULL OR finished_at >= $1) ORDER BY id";
        let rows: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(micros(since)).fetch_all(pool).await).doing("read the runs")?;
        Ok(rows.into_iter().map(|(id,)| RunId(id)).collect())
    }

    /// Makes the reservations of a run's messages that have none, after the customer `after`, some thousands at a time. Gives the last customer,
    /// or `None` when the run is through.
    pub async fn reserve_run(&self, run: RunId, priority: u8, after: i64) -> Result<Option<i64>, Error> {
        let doing = "count what was sent before there were caps";
        let sql = "SELECT MAX(customer_id) FROM (SELECT customer_id FROM messages WHERE run_id = $1 AND customer_id > $2 ORDER BY customer_id LIMIT 4000) AS next";
        let (last,): (Option<i64>,) =
            on_pool!(self, pool => sqlx::query_as(sql).bind(run.0).bind(after).fetch_one(pool).await).doing(doing)?;
        let Some(last) = last else { return Ok(None) };
        let sql = format!(
            "INSERT INTO reservations (customer_id, message_id, campaign_id, channel, priority, at, is_handed_over)
             SELECT m.customer_id, m.id, u.campaign_id, m.channel, {priority}, COALESCE(m.accepted_at, m.next_at, m.due_at),
                    CASE WHEN m.state IN ({planned}, {deferred}, {held}) THEN 0 ELSE 1 END
             FROM messages m JOIN runs u ON u.id = m.run_id
             WHERE m.run_id = $1 AND m.customer_id > $2 AND m.customer_id <= $3 AND m.state NOT IN ({refused}, {failed}, {expired}, {cancelled})
             ON CONFLICT (customer_id, message_id) DO NOTHING",
            planned = MessageState::Planned.code(),
            deferred = MessageState::Deferred.code(),
            held = MessageState::Held.code(),
            refused = MessageState::Refused.code(),
            failed = MessageState::Failed.code(),
            expired = MessageState::Expired.code(),
            cancelled = MessageState::Cancelled.code(),
        );
        on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run.0).bind(after).bind(last).execute(pool).await.map(|_| ()))
            .doing(doing)?;
        Ok(Some(last))
    }
}
