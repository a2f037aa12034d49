//! What planning reads and writes: the audience with all that decisions need, streamed from one snapshot, and the rows of the ledger.
//!
//! Reading goes by customer number, so that the joins walk every table in its own order; nothing is sorted by the database and
//! memory does not grow with the audience. Writing is one transaction a window of customers (≤ 50 ms), so that an engine can go on.

use super::audience::{Bind, Sql};
use super::batch::Connection;
use super::people_once::PeopleOnce;
use super::{Dialect, Doing, Error, Store, micros};
use crate::policy::Consent;
use crate::types::{CampaignId, Channel, ConsentState, MessageState, Refusal, RunId, SuppressionReason, Time};
use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Row, Sqlite};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows that are read, decided and written together.
pub const WINDOW: usize = 4096;
/// Messages of a block.
pub const BLOCK: usize = 256;

/// Whom to read and what of them.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Over the alias `c`: segment and where, without except.
    pub condition: Sql,
    pub topic: Option<String>,
    /// Channels that some message of the campaign uses.
    pub channels: Vec<Channel>,
    /// Attribute paths whose values are wanted, in order.
    pub attributes: Vec<String>,
    pub re_entry: Option<ReEntry>,
    /// The channel (by its place) of whose address the last engagement is wanted.
    pub engagement: Option<usize>,
    /// Whether it is wanted what says in which zone the customer lives.
    pub places: bool,
    /// Where many previews are made, what they read in common.
    pub once: Option<Arc<PeopleOnce>>,
}

/// Leaves out who had something of this campaign since then (`None`: ever).
#[derive(Debug, Clone)]
pub struct ReEntry {
    pub campaign: CampaignId,
    pub since: Option<Time>,
}

/// One selected customer.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: i64,
    pub draw_key: String,
    pub country: Option<String>,
    /// As `Selection::channels`.
    pub ways: Vec<Way>,
    /// As `Selection::attributes`: JSON text, `None` when missing.
    pub attributes: Vec<Option<String>>,
    pub engaged_at: Option<i64>,
    /// With `Selection::places`; the phone only where the country is not known.
    pub zone: Option<String>,
    pub phone: Option<String>,
}

/// A customer on one channel.
#[derive(Debug, Clone, Default)]
pub struct Way {
    pub address: Option<String>,
    pub site: String,
    pub suppression: Option<(SuppressionReason, Option<i64>)>,
    pub consent: Option<Consent>,
    pub consent_to_all: Option<Consent>,
}

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
    pub address: Option<String>,
    pub site: String,
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

/// One view of the database, held open.
pub enum Snapshot {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Binds every value of an [`Sql`] in order.
macro_rules! bound {
    ($query:expr, $binds:expr) => {{
        let mut query = $query;
        for bind in $binds {
            query = match bind {
                Bind::Text(value) => query.bind(value.clone()),
                Bind::Integer(value) => query.bind(*value),
                Bind::Float(value) => query.bind(*value),
            };
        }
        query
    }};
}
pub(crate) use bound;

impl Store {
    /// Opens a reading snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let doing = "open a reading snapshot";
        Ok(match self {
            Store::Sqlite(sqlite) => Snapshot::Sqlite(sqlite.read.begin().await.doing(doing)?),
            Store::Postgres(pool) => {
                Snapshot::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.doing(doing)?)
            }
        })
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
                for (from, to, due) in blocks(rows, first) {
                    sqlx::query("INSERT INTO blocks (id, run_id, first_id, last_id, due_at) VALUES ($1, $2, $1, $3, $4)")
                        .bind(from)
                        .bind(run.0)
                        .bind(to)
                        .bind(due)
                        .execute(&mut **connection)
                        .await
                        .doing("cut blocks")?;
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
                    .bind(rows.iter().map(|row| row.site.as_str()).collect::<Vec<&str>>())
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
            .bind(row.address.as_deref())
            .bind(row.site.as_str())
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

/// Adds a row to the window, and sends the window when it is full.
macro_rules! push {
    ($selection:expr, $row:expr, $window:expr, $windows:expr, $doing:expr) => {{
        let row = $row;
        let id: i64 = row.try_get(0).doing($doing)?;
        // A second primary address would be a second row; the first is the one.
        if $window.last().is_none_or(|last: &Candidate| last.id != id) {
            if $window.len() == WINDOW && $windows.send(std::mem::replace(&mut $window, Vec::with_capacity(WINDOW))).await.is_err() {
                return Ok(());
            }
            let mut ways = Vec::with_capacity($selection.channels.len());
            for way in 0..$selection.channels.len() {
                let at = FIXED + way * 8;
                let suppressed: Option<i16> = row.try_get(at + 2).doing($doing)?;
                let until: Option<i64> = row.try_get(at + 3).doing($doing)?;
                ways.push(Way {
                    address: row.try_get(at).doing($doing)?,
                    site: row.try_get::<Option<String>, _>(at + 1).doing($doing)?.unwrap_or_default(),
                    suppression: suppressed.map(|code| (SuppressionReason::from_code(code).unwrap_or(SuppressionReason::Manual), until)),
                    consent: consent(row.try_get(at + 4).doing($doing)?, row.try_get(at + 5).doing($doing)?),
                    consent_to_all: consent(row.try_get(at + 6).doing($doing)?, row.try_get(at + 7).doing($doing)?),
                });
            }
            let at = FIXED + $selection.channels.len() * 8;
            let mut attributes = Vec::with_capacity($selection.attributes.len());
            for index in 0..$selection.attributes.len() {
                attributes.push(row.try_get(at + index).doing($doing)?);
            }
            $window.push(Candidate {
                id,
                draw_key: row.try_get(1).doing($doing)?,
                country: row.try_get(2).doing($doing)?,
                engaged_at: row.try_get(3).doing($doing)?,
                zone: row.try_get(4).doing($doing)?,
                phone: row.try_get(5).doing($doing)?,
                ways,
                attributes,
            });
        }
    }};
}

/// Columns before those of the ways.
const FIXED: usize = 6;

pub(crate) fn consent(state: Option<i16>, at: Option<i64>) -> Option<Consent> {
    Some(Consent { state: ConsentState::from_code(state?)?, at: at? })
}

impl Snapshot {
    pub(super) async fn read_shared_addresses(&mut self, channel: Channel) -> Result<HashSet<String>, Error> {
        // By key, which has an index: nothing is sorted. A key holds the channel and the address in lower case.
        let sql = "SELECT DISTINCT a.address FROM addresses a WHERE a.channel = $1
                   AND a.key IN (SELECT key FROM addresses GROUP BY key HAVING COUNT(*) > 1)";
        let rows: Vec<(String,)> = match self {
            Snapshot::Sqlite(transaction) => sqlx::query_as(sql).bind(channel.code()).fetch_all(&mut **transaction).await,
            Snapshot::Postgres(transaction) => sqlx::query_as(sql).bind(channel.code()).fetch_all(&mut **transaction).await,
        }
        .doing("look for shared addresses")?;
        Ok(rows.into_iter().map(|(address,)| address).collect())
    }

    /// As [`Snapshot::candidates`], from the database.
    pub(super) async fn stream(&mut self, selection: &Selection, windows: mpsc::Sender<Vec<Candidate>>) -> Result<(), Error> {
        let doing = "read the audience";
        match self {
            Snapshot::Sqlite(transaction) => {
                let sql = question(selection, Dialect::Sqlite);
                let mut rows = bound!(sqlx::query(sqlx::AssertSqlSafe(sql.text.clone())), &sql.binds).fetch(&mut **transaction);
                let mut window = Vec::with_capacity(WINDOW);
                while let Some(row) = rows.try_next().await.doing(doing)? {
                    push!(selection, row, window, windows, doing);
                }
                let _ = windows.send(window).await;
            }
            Snapshot::Postgres(transaction) => {
                let sql = question(selection, Dialect::Postgres);
                let mut rows = bound!(sqlx::query(sqlx::AssertSqlSafe(sql.text.clone())), &sql.binds).fetch(&mut **transaction);
                let mut window = Vec::with_capacity(WINDOW);
                while let Some(row) = rows.try_next().await.doing(doing)? {
                    push!(selection, row, window, windows, doing);
                }
                let _ = windows.send(window).await;
            }
        }
        Ok(())
    }
}

/// The one statement of a plan.
fn question(selection: &Selection, dialect: Dialect) -> Sql {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT c.id, c.draw_key, c.country");
    match selection.engagement {
        Some(way) => sql.push(&format!(", a{way}.engaged_at")),
        None => sql.push(", CAST(NULL AS BIGINT)"),
    }
    sql.push(match selection.places {
        true => {
            ", c.zone, CASE WHEN c.country IS NULL THEN
                 (SELECT p.address FROM addresses p WHERE p.customer_id = c.id AND p.channel = 2 AND p.is_primary = 1 LIMIT 1) END"
        }
        false => ", CAST(NULL AS TEXT), CAST(NULL AS TEXT)",
    });
    for (way, channel) in selection.channels.iter().enumerate() {
        sql.push(&match channel {
            // A system is told of everybody, under the number by which it knows them.
            Channel::Webhook => {
                ", COALESCE(c.external_id, '#' || c.id), CAST('' AS TEXT), CAST(NULL AS SMALLINT), CAST(NULL AS BIGINT)".to_string()
            }
            _ => format!(", a{way}.address, a{way}.site, s{way}.reason, s{way}.until"),
        });
        sql.push(&match &selection.topic {
            Some(_) => format!(", t{way}.state, t{way}.at, w{way}.state, w{way}.at"),
            None => ", CAST(NULL AS SMALLINT), CAST(NULL AS BIGINT), CAST(NULL AS SMALLINT), CAST(NULL AS BIGINT)".to_string(),
        });
    }
    for path in &selection.attributes {
        sql.push(", ");
        push_attribute(&mut sql, path, dialect);
    }
    sql.push(" FROM customers c");
    for (way, channel) in selection.channels.iter().enumerate() {
        let has_addresses = *channel != Channel::Webhook;
        let channel = channel.code();
        if has_addresses {
            sql.push(&format!(
                " LEFT JOIN addresses a{way} ON a{way}.customer_id = c.id AND a{way}.channel = {channel} AND a{way}.is_primary = 1
                  LEFT JOIN suppressions s{way} ON s{way}.key = a{way}.key"
            ));
        }
        if let Some(topic) = &selection.topic {
            sql.push(&format!(
                " LEFT JOIN consent_state t{way} ON t{way}.customer_id = c.id AND t{way}.channel = {channel} AND t{way}.topic = "
            ));
            sql.bind(Bind::Text(topic.clone()));
            sql.push(&format!(
                " LEFT JOIN consent_state w{way} ON w{way}.customer_id = c.id AND w{way}.channel = {channel} AND w{way}.topic = '*'"
            ));
        }
    }
    chosen(&mut sql, selection);
    sql
}

/// Who is selected, in the order of their numbers.
pub(super) fn chosen(sql: &mut Sql, selection: &Selection) {
    sql.push(" WHERE c.erased_at IS NULL AND (");
    sql.append(&selection.condition);
    sql.push(")");
    if let Some(re_entry) = &selection.re_entry {
        push_re_entry(sql, re_entry);
    }
    sql.push(" ORDER BY c.id");
}

/// The attribute as JSON text, or NULL.
pub(crate) fn push_attribute(sql: &mut Sql, path: &str, dialect: Dialect) {
    let own = ["external_id", "first_name", "last_name", "language", "country", "zone"];
    match dialect {
        Dialect::Sqlite if own.contains(&path) => sql.push(&format!("CASE WHEN c.{path} IS NULL THEN NULL ELSE json_quote(c.{path}) END")),
        Dialect::Postgres if own.contains(&path) => sql.push(&format!("to_json(c.{path})::text")),
        Dialect::Sqlite => {
            sql.push("c.attributes -> ");
            let quoted: Vec<String> = path.split('.').map(|part| format!("\"{part}\"")).collect();
            sql.bind(Bind::Text(format!("$.{}", quoted.join("."))));
        }
        Dialect::Postgres => {
            sql.push("(c.attributes #> CAST(");
            let quoted: Vec<String> = path.split('.').map(|part| format!("\"{part}\"")).collect();
            sql.bind(Bind::Text(format!("{{{}}}", quoted.join(","))));
            sql.push(" AS text[]))::text");
        }
    }
}

/// Something was sent, or will be, or the person was held out.
fn push_re_entry(sql: &mut Sql, re_entry: &ReEntry) {
    let (refused, failed, expired, cancelled) =
        (MessageState::Refused.code(), MessageState::Failed.code(), MessageState::Expired.code(), MessageState::Cancelled.code());
    sql.push(
        " AND NOT EXISTS (SELECT 1 FROM messages mr JOIN runs rr ON rr.id = mr.run_id
            WHERE mr.customer_id = c.id AND rr.is_test = 0 AND rr.campaign_id = ",
    );
    sql.bind(Bind::Integer(re_entry.campaign.0));
    sql.push(&format!(
        " AND (mr.state NOT IN ({refused}, {failed}, {expired}, {cancelled}) OR (mr.state = {refused} AND mr.reason = {}))",
        Refusal::HeldOut.code()
    ));
    if let Some(since) = re_entry.since {
        sql.push(" AND COALESCE(mr.accepted_at, mr.due_at) >= ");
        sql.bind(Bind::Integer(micros(since)));
    }
    sql.push(")");
}
