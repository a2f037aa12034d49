//! What caps count: a row for each message that is reserved or was handed over, by customer.
//!
//! Whoever decides by them holds the customers' lock ([`Connection::lock_customers`]) from reading until commit, so that no two decide about
//! one person at the same time: on SQLite the write transaction is that lock, on PostgreSQL an advisory lock for each group of customers.
//! Messages that are refused, fail, expire or are cancelled are freed by triggers (migration 0005).

use super::batch::{Connection, Field, table};
use super::{Doing, Error, Store, micros};
use crate::types::{CampaignId, MessageState, Refusal, RunId, Time};
use crate::{on_pool, on_writer};
use serde_json::json;

/// A message that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A reservation as it is read: four whole numbers with blanks between them, customer, message, time, and the rest in one. All that is asked for comes
/// as one text, since what a driver does for a row costs many times as much as the row.
const WRITTEN: &str = "r.customer_id || ' ' || r.message_id || ' ' || r.at || ' ' ||
    (((r.campaign_id * 16 + r.channel) * 128 + r.priority) * 2 + r.is_handed_over)";

/// Reads what [`of_customers`] asks for; gives it by customer and message.
fn read_written(text: Option<String>) -> Vec<Reservation> {
    let text = text.unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse::<i64>().unwrap_or(0));
    let mut found = Vec::with_capacity(text.len() / 32);
    while let (Some(customer_id), Some(message_id), Some(at), Some(rest)) = (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    {
        let small = |number: i64| i16::try_from(number).unwrap_or(0);
        found.push(Reservation {
            customer_id,
            message_id,
            campaign_id: rest >> 12,
            channel: small((rest >> 8) & 15),
            priority: small((rest >> 1) & 127),
            at,
            is_handed_over: small(rest & 1),
        });
    }
    // Neither database promises the order in which it puts a text together.
    found.sort_unstable_by_key(|one| (one.customer_id, one.message_id));
    found
}

/// Which reservations of some customers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Those that count from this time on …
    pub from: i64,
    /// … and those that are so old that they are to be forgotten.
    pub forget_before: i64,
}

/// The question and its `$1`, a JSON list of customers. Where these are most of their neighbours the neighbours are read with them, for that is one
/// walk along the table.
fn of_customers(dialect: super::Dialect, customers: &[i64], span: Span) -> (String, String) {
    let ids = sorted(customers);
    let spanned = format!("(r.at >= {} OR r.at < {})", span.from, span.forget_before);
    let whole = |rows: &str| match dialect {
        super::Dialect::Sqlite => format!("SELECT group_concat({WRITTEN}, ' ') FROM {rows} AND {spanned}"),
        super::Dialect::Postgres => format!("SELECT string_agg({WRITTEN}, ' ') FROM {rows} AND {spanned}"),
    };
    match (ids.first(), ids.last()) {
        (Some(first), Some(last)) if last - first < 2 * ids.len() as i64 => {
            let neighbours = match dialect {
                super::Dialect::Sqlite => "reservations r WHERE r.customer_id BETWEEN $1 ->> 0 AND $1 ->> 1",
                super::Dialect::Postgres => {
                    "reservations r WHERE r.customer_id BETWEEN ($1::jsonb ->> 0)::bigint AND ($1::jsonb ->> 1)::bigint"
                }
            };
            (whole(neighbours), format!("[{first}, {last}]"))
        }
        _ => {
            let given = match dialect {
                super::Dialect::Sqlite => "json_each($1) AS given JOIN reservations r ON r.customer_id = given.value WHERE true",
                super::Dialect::Postgres => {
                    "jsonb_array_elements_text($1::jsonb) AS given(value) JOIN reservations r ON r.customer_id = given.value::bigint WHERE true"
                }
            };
            (whole(given), json!(ids).to_string())
        }
    }
}

fn sorted(customers: &[i64]) -> Vec<i64> {
    let mut ids: Vec<i64> = customers.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn ids(customers: &[i64]) -> String {
    json!(sorted(customers).iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string()
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

    /// What counts for these customers, and perhaps for some of their neighbours, by customer and message.
    pub async fn reservations(&mut self, customers: &[i64], span: Span) -> Result<Vec<Reservation>, Error> {
        let (sql, given) = of_customers(self.dialect(), customers, span);
        let written: Vec<(Option<String>,)> = self.read("read what caps count", sql, &given).await?;
        Ok(read_written(written.into_iter().next().and_then(|(text,)| text)))
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

    /// Reserves for the messages among those with the numbers `first` to `last`, which were planned in this transaction.
    pub async fn reserve_planned(&mut self, (first, last): (i64, i64), campaign: CampaignId, priority: u8, now: Time) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO reservations (customer_id, message_id, campaign_id, channel, priority, at, is_handed_over)
             SELECT m.customer_id, m.id, {campaign}, m.channel, {priority},
                    COALESCE(m.next_at, CASE WHEN m.due_at > {now} THEN m.due_at ELSE {now} END), 0
             FROM messages m WHERE m.id BETWEEN {lowest} AND {highest} AND m.state <> {refused}",
            campaign = campaign.0,
            now = micros(now),
            lowest = self.pick("$1 ->> 0", "($1::jsonb ->> 0)::bigint"),
            highest = self.pick("$1 ->> 1", "($1::jsonb ->> 1)::bigint"),
            refused = MessageState::Refused.code(),
        );
        self.write("reserve places", sql, &format!("[{first}, {last}]")).await?;
        Ok(())
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
        const CHUNK: usize = 2000;
        for rows in rows.chunks(CHUNK) {
            let names = ["customer_id", "message_id", "campaign_id", "channel", "priority", "at", "is_handed_over"];
            let columns = names.join(", ");
            let fields = [Field::Long, Field::Long, Field::Long, Field::Small, Field::Small, Field::Long, Field::Small];
            let given: Vec<(&str, Field)> = names.iter().copied().zip(fields).collect();
            let sql = format!(
                "INSERT INTO reservations ({columns}) SELECT {} FROM {} AS given {stands} WHERE true {held}
                 ON CONFLICT (customer_id, message_id) DO UPDATE SET at = excluded.at, channel = excluded.channel",
                names.map(|name| format!("given.{name}")).join(", "),
                table(self.dialect(), &given),
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
    pub async fn reservations_of(&self, customers: &[i64], span: Span) -> Result<Vec<Reservation>, Error> {
        let (sql, given) = of_customers(self.dialect(), customers, span);
        let written: Vec<(Option<String>,)> = self.read_batch("read what caps count", sql, &given).await?;
        Ok(read_written(written.into_iter().next().and_then(|(text,)| text)))
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
