//! The rows of the ledger as planned, written one transaction a window of customers (≤ 50 ms), so that an engine can go on.

use super::batch::Connection;
use super::{Doing, Error, micros};
use crate::types::{Channel, MessageState, Refusal, RunId, Time};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use std::sync::Arc;

/// Messages of a block.
pub const BLOCK: usize = 256;

/// A row of the ledger as planned.
#[derive(Debug, Clone)]
pub struct Planned {
    pub customer: i64,
    /// What started it; 0 where the clock did.
    pub entry: i64,
    pub channel: Channel,
    pub arm: i16,
    pub refusal: Option<Refusal>,
    pub detail: Option<String>,
    pub address: Option<Arc<str>>,
    pub site: Arc<str>,
    /// Microseconds since 1970; of a refusal too, since measures count from it.
    pub due_at: i64,
    pub expires_at: Option<i64>,
    /// When a message that waits by rule is taken up; it is deferred then.
    pub next_at: Option<i64>,
    /// The number of its row among the days of a warm-up; 0: it goes as the identity that sends what is beyond the day's number.
    pub warm_up_day: Option<i64>,
}

impl Planned {
    pub fn state(&self) -> MessageState {
        match (self.refusal, self.next_at) {
            (Some(_), _) => MessageState::Refused,
            (None, Some(_)) => MessageState::Deferred,
            (None, None) => MessageState::Planned,
        }
    }
}

impl Connection<'_> {
    /// Writes one window of a plan: rows get the next numbers in their order; blocks are cut from the planned messages among them, which must come
    /// first, those due at the same time together. Gives the number of the first row.
    pub async fn write_plan(&mut self, run: RunId, rows: &[Planned], now: Time) -> Result<i64, Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let next = self.pick(
            "INSERT INTO settings (name, value) VALUES ('next_message', CAST(1 + $1 AS TEXT))
             ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(settings.value AS INTEGER) + $1 AS TEXT) RETURNING CAST(value AS INTEGER)",
            "INSERT INTO settings (name, value) VALUES ('next_message', (1 + $1)::text)
             ON CONFLICT (name) DO UPDATE SET value = (settings.value::bigint + $1)::text RETURNING value::bigint",
        );
        match self {
            Connection::Sqlite(connection) => {
                let (end,): (i64,) = sqlx::query_as(next).bind(count).fetch_one(&mut **connection).await.doing("take message numbers")?;
                let first = end - count;
                let mut chunks = rows.chunks(CHUNK).scan(first, |from, chunk| {
                    let id = *from;
                    *from += chunk.len() as i64;
                    Some(inserted(run, id, chunk, now))
                });
                let mut next = chunks.next();
                while let Some(query) = next {
                    // While the database writes one chunk, the next is made.
                    let (written, made) = tokio::join!(query.execute(&mut **connection), async { chunks.next() });
                    written.doing("write a plan")?;
                    next = made;
                }
                // A statement for all: each is a turn between threads.
                for cut in blocks(rows, first).chunks(CHUNK) {
                    let values: Vec<String> = cut.iter().map(|(from, to, due)| format!("({from},{},{from},{to},{due})", run.0)).collect();
                    let sql = format!("INSERT INTO blocks (id, run_id, first_id, last_id, due_at) VALUES {}", values.join(","));
                    // Numbers only; each is another text, which need not be kept.
                    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(false);
                    query.execute(&mut **connection).await.doing("cut blocks")?;
                }
                Ok(first)
            }
            Connection::Postgres(connection) => {
                let (end,): (i64,) = sqlx::query_as(next).bind(count).fetch_one(&mut **connection).await.doing("take message numbers")?;
                let first = end - count;
                let column = |of: &dyn Fn(&Planned) -> i16| rows.iter().map(of).collect::<Vec<i16>>();
                sqlx::query(
                    "INSERT INTO messages (id, run_id, customer_id, entry, channel, arm, state, reason, detail, address, site, due_at, expires_at, next_at, warm_up_day, changed_at)
                     SELECT v.id, $1, v.customer, v.entry, v.channel, v.arm, v.state, v.reason, v.detail, v.address, v.site, v.due, v.expires, v.next_at, v.warm_up_day, $2
                     FROM UNNEST($3::bigint[], $4::bigint[], $5::smallint[], $6::smallint[], $7::smallint[], $8::smallint[], $9::text[], $10::text[], $11::bigint[],
                                 $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[])
                          AS v(id, customer, channel, arm, state, reason, address, site, due, expires, detail, next_at, entry, warm_up_day)")
                    .bind(run.0).bind(micros(now))
                    .bind((first..end).collect::<Vec<i64>>())
                    .bind(rows.iter().map(|row| row.customer).collect::<Vec<i64>>())
                    .bind(column(&|row| row.channel.code())).bind(column(&|row| row.arm)).bind(column(&|row| row.state().code()))
                    .bind(rows.iter().map(|row| row.refusal.map(Refusal::code)).collect::<Vec<Option<i16>>>())
                    .bind(rows.iter().map(|row| row.address.as_deref()).collect::<Vec<Option<&str>>>())
                    .bind(rows.iter().map(|row| &*row.site).collect::<Vec<&str>>())
                    .bind(rows.iter().map(|row| row.due_at).collect::<Vec<i64>>())
                    .bind(rows.iter().map(|row| row.expires_at).collect::<Vec<Option<i64>>>())
                    .bind(rows.iter().map(|row| row.detail.as_deref()).collect::<Vec<Option<&str>>>())
                    .bind(rows.iter().map(|row| row.next_at).collect::<Vec<Option<i64>>>())
                    .bind(rows.iter().map(|row| row.entry).collect::<Vec<i64>>())
                    .bind(rows.iter().map(|row| row.warm_up_day).collect::<Vec<Option<i64>>>())
                    .execute(&mut **connection).await.doing("write a plan")?;
                let cut = blocks(rows, first);
                let column = |of: fn(&(i64, i64, i64)) -> i64| cut.iter().map(of).collect::<Vec<i64>>();
                sqlx::query("INSERT INTO blocks (id, run_id, first_id, last_id, due_at) SELECT b.first, $1, b.first, b.last, b.due FROM UNNEST($2::bigint[], $3::bigint[], $4::bigint[]) AS b(first, last, due)")
                    .bind(run.0).bind(column(|block| block.0)).bind(column(|block| block.1)).bind(column(|block| block.2))
                    .execute(&mut **connection).await.doing("cut blocks")?;
                Ok(first)
            }
        }
    }
}

/// The statement that writes one chunk of a plan into SQLite, from the message number `first` on.
fn inserted<'q>(run: RunId, first: i64, chunk: &'q [Planned], now: Time) -> Query<'q, Sqlite, SqliteArguments> {
    let mut text = String::with_capacity(chunk.len() * 40 + 400);
    text.push_str(
        "INSERT INTO messages (id, run_id, customer_id, entry, channel, arm, state, reason, detail, address, site, due_at, expires_at, next_at, warm_up_day, changed_at)
         SELECT column1, ?, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11, column12, column13, column14, ? FROM (VALUES ",
    );
    for index in 0..chunk.len() {
        text.push_str(if index == 0 { "(?,?,?,?,?,?,?,?,?,?,?,?,?,?)" } else { ",(?,?,?,?,?,?,?,?,?,?,?,?,?,?)" });
    }
    text.push(')');
    let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(run.0).bind(micros(now)).persistent(chunk.len() == CHUNK);
    for (id, row) in (first..).zip(chunk) {
        query = query
            .bind(id)
            .bind(row.customer)
            .bind(row.entry)
            .bind(row.channel.code())
            .bind(row.arm)
            .bind(row.state().code())
            .bind(row.refusal.map(Refusal::code))
            .bind(row.detail.as_deref())
            .bind(row.address.clone())
            .bind(row.site.clone())
            .bind(row.due_at)
            .bind(row.expires_at)
            .bind(row.next_at)
            .bind(row.warm_up_day);
    }
    query
}

/// Rows of one statement: fourteen values each, and SQLite takes 32,766.
const CHUNK: usize = 1024;

/// First and last number of each block, and when it is due: the messages of a block are due together.
fn blocks(rows: &[Planned], first: i64) -> Vec<(i64, i64, i64)> {
    let messages = rows.iter().take_while(|row| row.state() == MessageState::Planned).count();
    let mut cut = Vec::new();
    let mut from = 0;
    for together in rows[..messages].chunk_by(|a, b| a.due_at == b.due_at) {
        for block in together.chunks(BLOCK) {
            cut.push((first + from, first + from + block.len() as i64 - 1, block[0].due_at));
            from += block.len() as i64;
        }
    }
    cut
}
