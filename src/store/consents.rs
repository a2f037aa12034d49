//! Consents: an append-only record with proof, and today's state, kept in the same transaction.
//!
//! The later `at` wins; on a tie, withdrawn. The record keeps what lost as well. An objection to advertising and profiling is a state for all topics
//! (`*`) on every channel; nothing that is appended lifts it, neither an import nor a later consent: only `wishes` take it back.

use super::batch::Connection;
use super::customers::{CHUNK, among_ids, placeholders};
use super::responses::digest;
use super::sql::Sql;
use super::starts;
use super::{Doing, Error, Store, micros};
use crate::on_pool;
use crate::types::{ConsentState, Time};
use sqlx::AssertSqlSafe;

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
    /// When it ends by itself.
    pub until: Option<i64>,
    /// The same change with the same key is kept once.
    pub source_key: [u8; 16],
}

impl ConsentRow {
    /// Whether this change takes the place of a state: later, or at the same time and withdrawn. An objection gives way to no change.
    pub fn beats(&self, state: ConsentState, at: i64) -> bool {
        use ConsentState::{Objected, Withdrawn};
        (state != Objected || self.state == Objected) && (self.at > at || self.at == at && matches!(self.state, Withdrawn | Objected))
    }
}

/// Leaves out of a condition over the customers `c` who objected to advertising and profiling.
pub fn leave_out_objected(condition: &mut Sql) {
    // The number stands in the text, so that the index of objections is used.
    let objected = ConsentState::Objected.code();
    condition.push(&format!(" AND c.id NOT IN (SELECT customer_id FROM consent_state WHERE state = {objected})"));
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

/// Keeps the changes for the campaigns that they start.
pub(super) async fn keep_starts(connection: &mut Connection<'_>, rows: &[ConsentRow]) -> Result<(), Error> {
    let keys: Vec<(i64, [u8; 16])> = rows.iter().map(|row| (row.customer, row.source_key)).collect();
    starts::keep_by_key(connection, starts::Kept::Consents, &keys).await
}

/// Appends changes and keeps the state; gives how many were new. What is there already changes nothing.
pub async fn append(connection: &mut Connection<'_>, rows: &[ConsentRow]) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let appended = record(connection, rows).await?;
    keep_state(connection, rows).await?;
    Ok(appended)
}

const RECORD: &str = "INSERT INTO consents (customer_id, topic, channel, state, at, received_at, source, proof, source_key, until)";
const ONCE: &str = "ON CONFLICT (customer_id, source_key) DO NOTHING";

/// Appends to the record alone; the state stays as it is.
pub(super) async fn record(connection: &mut Connection<'_>, rows: &[ConsentRow]) -> Result<u64, Error> {
    const DOING: &str = "keep consents";
    let mut appended = 0;
    match connection {
        Connection::Sqlite(connection) => {
            for chunk in rows.chunks(CHUNK) {
                if let Some(said) = said_alike(chunk) {
                    let rows = placeholders(2, chunk.len());
                    let sql = format!("{RECORD} SELECT column1, ?, ?, ?, ?, ?, ?, ?, column2, ? FROM (VALUES {rows}) WHERE true {ONCE}");
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    query = query.bind(said.topic.as_str()).bind(said.channel).bind(said.state.code()).bind(said.at).bind(said.received_at);
                    query = query.bind(said.source.as_str()).bind(said.proof.as_deref()).bind(said.until);
                    for row in chunk {
                        query = query.bind(row.customer).bind(row.source_key.as_slice());
                    }
                    appended += query.execute(&mut **connection).await.doing(DOING)?.rows_affected();
                    continue;
                }
                let mut query = sqlx::query(AssertSqlSafe(format!("{RECORD} VALUES {} {ONCE}", placeholders(10, chunk.len()))));
                for row in chunk {
                    query = query
                        .bind(row.customer)
                        .bind(row.topic.as_str())
                        .bind(row.channel)
                        .bind(row.state.code())
                        .bind(row.at)
                        .bind(row.received_at)
                        .bind(row.source.as_str())
                        .bind(row.proof.as_deref())
                        .bind(row.source_key.as_slice())
                        .bind(row.until);
                }
                appended += query.execute(&mut **connection).await.doing(DOING)?.rows_affected();
            }
        }
        Connection::Postgres(connection) => {
            let sql = format!(
                "{RECORD} SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[], $7::text[], \
                 $8::text[], $9::bytea[], $10::bigint[]) {ONCE}"
            );
            let query = sqlx::query(AssertSqlSafe(sql))
                .bind(rows.iter().map(|row| row.customer).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.topic.clone()).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.channel).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.state.code()).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.at).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.received_at).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.source.clone()).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.proof.clone()).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.source_key.to_vec()).collect::<Vec<_>>())
                .bind(rows.iter().map(|row| row.until).collect::<Vec<_>>());
            appended = query.execute(&mut **connection).await.doing(DOING)?.rows_affected();
        }
    }
    Ok(appended)
}

/// Where a state stands.
fn place(row: &ConsentRow) -> (i64, &str, i16) {
    (row.customer, &row.topic, row.channel)
}

/// One of the rows, where several say the same of different customers, as those of a file mostly do: it is bound once then.
fn said_alike<'a>(rows: impl IntoIterator<Item = &'a ConsentRow>) -> Option<&'a ConsentRow> {
    let said = |row: &'a ConsentRow| (&row.topic, row.channel, row.state, row.at, row.received_at, &row.source, &row.proof, row.until);
    let mut rows = rows.into_iter();
    let first = rows.next()?;
    let mut rows = rows.peekable();
    (rows.peek().is_some() && rows.all(|row| said(row) == said(first))).then_some(first)
}

/// The last word in each place, by place.
pub(super) fn latest(rows: &[ConsentRow]) -> Vec<&ConsentRow> {
    let mut latest: Vec<&ConsentRow> = rows.iter().collect();
    latest.sort_by_key(|row| place(row));
    // Of several in one place the one that beats those before it.
    latest.dedup_by(|next, kept| {
        let same = place(next) == place(kept);
        if same && next.beats(kept.state, kept.at) {
            *kept = *next;
        }
        same
    });
    latest
}

const STATE: &str = "INSERT INTO consent_state (customer_id, topic, channel, state, at, has_proof, until)";

async fn keep_state(connection: &mut Connection<'_>, rows: &[ConsentRow]) -> Result<(), Error> {
    const DOING: &str = "keep the state of consent";
    let latest = latest(rows);
    let later = format!(
        "ON CONFLICT (customer_id, topic, channel) DO UPDATE SET state = excluded.state, at = excluded.at, has_proof = excluded.has_proof, until = excluded.until \
         WHERE (consent_state.state <> {objected} OR excluded.state = {objected}) \
         AND (excluded.at > consent_state.at OR (excluded.at = consent_state.at AND excluded.state IN ({withdrawn}, {objected})))",
        withdrawn = ConsentState::Withdrawn.code(),
        objected = ConsentState::Objected.code()
    );
    match connection {
        Connection::Sqlite(connection) => {
            for chunk in latest.chunks(CHUNK) {
                if let Some(said) = said_alike(chunk.iter().copied()) {
                    let rows = placeholders(1, chunk.len());
                    let sql = format!("{STATE} SELECT column1, ?, ?, ?, ?, ?, ? FROM (VALUES {rows}) WHERE true {later}");
                    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(said.topic.as_str()).bind(said.channel).bind(said.state.code());
                    query = query.bind(said.at).bind(i16::from(said.proof.is_some())).bind(said.until);
                    for row in chunk {
                        query = query.bind(row.customer);
                    }
                    query.execute(&mut **connection).await.doing(DOING)?;
                    continue;
                }
                let mut query = sqlx::query(AssertSqlSafe(format!("{STATE} VALUES {} {later}", placeholders(7, chunk.len()))));
                for row in chunk {
                    query = query
                        .bind(row.customer)
                        .bind(row.topic.as_str())
                        .bind(row.channel)
                        .bind(row.state.code())
                        .bind(row.at)
                        .bind(i16::from(row.proof.is_some()))
                        .bind(row.until);
                }
                query.execute(&mut **connection).await.doing(DOING)?;
            }
        }
        Connection::Postgres(connection) => {
            let sql = format!(
                "{STATE} SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::smallint[], $4::smallint[], $5::bigint[], $6::smallint[], $7::bigint[]) {later}"
            );
            sqlx::query(AssertSqlSafe(sql))
                .bind(latest.iter().map(|row| row.customer).collect::<Vec<_>>())
                .bind(latest.iter().map(|row| row.topic.clone()).collect::<Vec<_>>())
                .bind(latest.iter().map(|row| row.channel).collect::<Vec<_>>())
                .bind(latest.iter().map(|row| row.state.code()).collect::<Vec<_>>())
                .bind(latest.iter().map(|row| row.at).collect::<Vec<_>>())
                .bind(latest.iter().map(|row| i16::from(row.proof.is_some())).collect::<Vec<_>>())
                .bind(latest.iter().map(|row| row.until).collect::<Vec<_>>())
                .execute(&mut **connection)
                .await
                .doing(DOING)?;
        }
    }
    Ok(())
}

impl Store {
    /// Appends changes of consent in a transaction of their own; `starts`: they may start campaigns.
    pub async fn append_consents(&self, rows: &[ConsentRow], starts: bool) -> Result<u64, Error> {
        let mut change = self.change("keep consents").await?;
        let appended = append(&mut change.connection(), rows).await?;
        if starts {
            keep_starts(&mut change.connection(), rows).await?;
        }
        change.commit("keep consents").await?;
        Ok(appended)
    }
}

/// Where a consent comes from that has ended by itself.
pub const ENDED: &str = "ended";

impl Store {
    /// Withdraws the consents whose time is over, with that time; gives how many. Nobody did this: it starts no campaign.
    pub async fn end_consents(&self, now: Time) -> Result<u64, Error> {
        const DOING: &str = "end consents whose time is over";
        let sql = format!(
            "SELECT customer_id, topic, channel, until, at FROM consent_state WHERE until <= $1 AND state IN ({}, {}) ORDER BY customer_id LIMIT 500",
            ConsentState::Granted.code(),
            ConsentState::Confirmed.code()
        );
        let mut ended = 0;
        loop {
            let sql = AssertSqlSafe(sql.clone());
            let over: Vec<(i64, String, i16, i64, i64)> =
                on_pool!(self, pool => sqlx::query_as(sql).bind(micros(now)).fetch_all(pool).await).doing(DOING)?;
            if over.is_empty() {
                return Ok(ended);
            }
            let row = |(customer, topic, channel, until, at): (i64, String, i16, i64, i64)| ConsentRow {
                customer,
                channel,
                state: ConsentState::Withdrawn,
                at: until.max(at),
                received_at: micros(now),
                source: ENDED.into(),
                proof: None,
                until: None,
                source_key: digest(&[ENDED.as_bytes(), topic.as_bytes(), &channel.to_be_bytes(), &until.to_be_bytes()]),
                topic,
            };
            let rows: Vec<ConsentRow> = over.into_iter().map(row).collect();
            ended += rows.len() as u64;
            self.append_consents(&rows, false).await?;
        }
    }

    /// When the next consent ends by itself.
    pub async fn next_end_of_consent(&self) -> Result<Option<Time>, Error> {
        let sql = format!(
            "SELECT MIN(until) FROM consent_state WHERE until IS NOT NULL AND state IN ({}, {})",
            ConsentState::Granted.code(),
            ConsentState::Confirmed.code()
        );
        let row: (Option<i64>,) =
            on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).fetch_one(pool).await).doing("look for consents that end")?;
        Ok(row.0.map(super::from_micros))
    }
}
