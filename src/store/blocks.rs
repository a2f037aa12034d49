//! Claiming blocks of messages, and all that is needed to hand one over, in one query a block.

use super::audience::{Bind, Sql};
use super::candidates::{bound, consent};
use super::control::may_send;
use super::{Dialect, Doing, Error, Store, micros};
use crate::policy::Consent;
use crate::types::{Channel, Class, MessageState, NodeId, RunId, RunState, SuppressionReason, Time};
use crate::{in_transaction, on_pool, on_writer};
use futures_util::TryStreamExt;
use sqlx::Row;
use std::collections::BTreeMap;

/// A claimed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Also the number of its first message.
    pub id: i64,
    pub run: RunId,
    pub last: i64,
    pub fence: i64,
}

/// Which messages to load.
#[derive(Debug, Clone)]
pub enum Which {
    /// Blocks of one run.
    Blocks(Vec<Block>),
    /// Messages that are tried again, leased until this microsecond.
    Leased { ids: Vec<i64>, lease: i64 },
}

/// A message that may be due for hand-over, with its customer as of now.
#[derive(Debug, Clone)]
pub struct Due {
    pub id: i64,
    pub run: RunId,
    pub customer: i64,
    pub channel: Channel,
    pub arm: i16,
    pub address: Option<String>,
    pub site: String,
    pub due_at: i64,
    pub expires_at: Option<i64>,
    pub attempts: i16,
    /// Drawn from a coupon before.
    pub code: Option<String>,
    /// When it was first composed, for a message that is tried again.
    pub first_try_at: Option<i64>,
    pub person: Person,
    /// Of the address, while the customer still has it.
    pub key: Option<Vec<u8>>,
    pub suppression: Option<(SuppressionReason, Option<i64>)>,
    pub consent: Option<Consent>,
    pub consent_to_all: Option<Consent>,
    pub erased: bool,
    /// Properties of the event that started it, as JSON text, and when it happened.
    pub event: Option<(String, i64)>,
    /// When it counts for caps if it leaves before the second of these; set when the caps are asked. Microseconds.
    pub counts: Option<(i64, i64)>,
    /// The number of the day that a warm-up has given it; 0: it goes as the identity for what is beyond the numbers.
    pub warm_up_day: Option<i64>,
    /// When that day is over, for a letter that may leave today.
    pub day_ends: Option<Time>,
    /// `except` holds now.
    pub excluded: bool,
    /// `recheck` is on, and segment and where hold no more.
    pub left: bool,
}

impl Due {
    /// A message that stands in no ledger, for looking at: number 0 is nobody's.
    pub fn alone(channel: Channel, arm: i16, address: Option<String>, due: Time, person: Person) -> Self {
        Due {
            id: 0,
            run: RunId(0),
            customer: 0,
            channel,
            arm,
            address,
            site: String::new(),
            due_at: micros(due),
            expires_at: None,
            attempts: 0,
            code: None,
            first_try_at: None,
            person,
            key: None,
            suppression: None,
            consent: None,
            consent_to_all: None,
            erased: false,
            event: None,
            counts: None,
            warm_up_day: None,
            day_ends: None,
            excluded: false,
            left: false,
        }
    }
}

impl Due {
    /// The customer and when the message counts for caps if it leaves now.
    pub fn counted(&self, now: Time) -> (i64, i64) {
        let now = micros(now);
        (self.customer, self.counts.map_or(now, |(at, until)| if now < until { at } else { now }))
    }
}

/// The customer's own fields, and attributes as JSON text.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct Person {
    pub external_id: Option<String>,
    pub draw_key: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub language: Option<String>,
    pub country: Option<String>,
    pub zone: Option<String>,
    pub attributes: String,
    pub created_at: i64,
    pub email: Option<String>,
    pub phone: Option<String>,
}

/// First and last numbers of blocks that are given in their order.
fn ranges(blocks: &[Block]) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for block in blocks {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == block.id => *last = block.last,
            _ => ranges.push((block.id, block.last)),
        }
    }
    ranges
}

/// Conditions that are asked again, over the alias `c`.
#[derive(Debug, Clone, Default)]
pub struct Again {
    pub except: Option<Sql>,
    pub audience: Option<Sql>,
    pub topic: Option<String>,
    /// Whether the event that started each is wanted.
    pub event: bool,
    /// Nobody reads of the customers more than where they live and their language.
    pub unread: bool,
    /// Their email address is wanted, whatever the message goes to.
    pub email: bool,
    /// Their phone is wanted even where the country is known.
    pub phone: bool,
}

/// A row of the question in [`Store::load_due`], by the places of its columns: by their names each row costs half as much again.
macro_rules! due_of {
    ($row:expr, $doing:expr) => {{
        let row = $row;
        let mut place = 0;
        macro_rules! next {
            () => {{
                place += 1;
                row.try_get(place - 1).doing($doing)?
            }};
        }
        Due {
            id: next!(),
            run: RunId(next!()),
            customer: next!(),
            channel: Channel::from_code(next!()).unwrap_or(Channel::Email),
            arm: next!(),
            address: next!(),
            site: next!(),
            due_at: next!(),
            expires_at: next!(),
            attempts: next!(),
            code: next!(),
            warm_up_day: next!(),
            first_try_at: next!(),
            person: Person {
                external_id: next!(),
                draw_key: next!(),
                first_name: next!(),
                last_name: next!(),
                language: next!(),
                country: next!(),
                zone: next!(),
                attributes: next!(),
                created_at: next!(),
                email: next!(),
                phone: next!(),
            },
            erased: {
                let erased_at: Option<i64> = next!();
                erased_at.is_some()
            },
            key: next!(),
            suppression: {
                let (reason, until): (Option<i16>, Option<i64>) = (next!(), next!());
                reason.map(|code| (SuppressionReason::from_code(code).unwrap_or(SuppressionReason::Manual), until))
            },
            consent: consent(next!(), next!()),
            consent_to_all: consent(next!(), next!()),
            event: {
                let (properties, at): (Option<String>, Option<i64>) = (next!(), next!());
                properties.map(|properties| (properties, at.unwrap_or_default()))
            },
            excluded: {
                let excluded: i32 = next!();
                excluded != 0
            },
            left: {
                let left: i32 = next!();
                left != 0
            },
            counts: None,
            day_ends: None,
        }
    }};
}

/// The runs of transactional campaigns that may have something to send.
fn urgent_runs() -> String {
    format!(
        "SELECT u.id FROM runs u WHERE u.campaign_id IN (SELECT k.id FROM campaigns k WHERE k.class = {}) AND u.state IN ({}, {})",
        Class::Transactional.code(),
        RunState::Ready.code(),
        RunState::Running.code()
    )
}

impl Store {
    /// Claims up to `limit` blocks that are due, of runs that may send; none of `stalled`. No two processes ever hold the same block.
    pub async fn claim_blocks(&self, node: NodeId, now: Time, limit: i64, stalled: &[RunId]) -> Result<Vec<Block>, Error> {
        self.claim_blocks_where(node, now, limit, stalled, "ORDER BY b.due_at, b.id").await
    }

    /// The same of one run, in the order of the blocks' numbers.
    pub async fn claim_blocks_of(&self, run: RunId, node: NodeId, now: Time, limit: i64) -> Result<Vec<Block>, Error> {
        self.claim_blocks_where(node, now, limit, &[], &format!("AND b.run_id = {} ORDER BY b.id", run.0)).await
    }

    /// Runs with a block that is due and free, who was due first before the others.
    pub async fn runs_with_blocks(&self, now: Time) -> Result<Vec<RunId>, Error> {
        let sql = format!(
            "SELECT r.id FROM runs r JOIN campaigns c ON c.id = r.campaign_id
             WHERE {} AND EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = r.id AND b.node_id IS NULL AND b.due_at <= $1) ORDER BY r.due_at, r.id",
            may_send()
        );
        let rows: Vec<(i64,)> = on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(micros(now)).fetch_all(pool).await)
            .doing("look for what is due")?;
        Ok(rows.into_iter().map(|(run,)| RunId(run)).collect())
    }

    /// The same of transactional campaigns alone.
    pub async fn claim_urgent_blocks(&self, node: NodeId, now: Time, limit: i64, stalled: &[RunId]) -> Result<Vec<Block>, Error> {
        // The sign keeps SQLite from walking through everybody else's blocks in the order of the index.
        self.claim_blocks_where(node, now, limit, stalled, &format!("AND b.run_id IN ({}) ORDER BY +b.due_at, b.id", urgent_runs())).await
    }

    /// Whether a block of a transactional campaign is due and free.
    pub async fn has_urgent_blocks(&self, now: Time) -> Result<bool, Error> {
        let sql =
            format!("SELECT b.id FROM blocks b WHERE b.run_id IN ({}) AND b.node_id IS NULL AND +b.due_at <= $1 LIMIT 1", urgent_runs());
        let row: Option<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(micros(now)).fetch_optional(pool).await)
                .doing("look for urgent blocks")?;
        Ok(row.is_some())
    }

    async fn claim_blocks_where(&self, node: NodeId, now: Time, limit: i64, stalled: &[RunId], order: &str) -> Result<Vec<Block>, Error> {
        let lock = self.pick("", "FOR UPDATE OF b SKIP LOCKED");
        let (ready, running) = (RunState::Ready.code(), RunState::Running.code());
        let stalled: Vec<String> = stalled.iter().map(|run| run.0.to_string()).collect();
        let not_stalled = if stalled.is_empty() { String::new() } else { format!("AND b.run_id NOT IN ({})", stalled.join(", ")) };
        let claim = format!(
            "UPDATE blocks SET node_id = $1, fence = fence + 1 WHERE id IN (
                 SELECT b.id FROM blocks b JOIN runs r ON r.id = b.run_id JOIN campaigns c ON c.id = r.campaign_id
                 WHERE b.node_id IS NULL AND b.due_at <= $2 AND {may_send} {not_stalled}
                 {order} LIMIT $3 {lock})
             RETURNING id, run_id, last_id, fence",
            may_send = may_send()
        );
        let mut blocks = in_transaction!(self, "claim blocks", transaction => {
            let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(claim)).bind(node.0).bind(micros(now)).bind(limit)
                .fetch_all(&mut *transaction).await.doing("claim blocks")?;
            let mut runs: Vec<i64> = rows.iter().map(|row| row.1).collect();
            runs.dedup();
            for run in runs {
                sqlx::query("UPDATE runs SET state = $2, started_at = $3 WHERE id = $1 AND state = $4")
                    .bind(run).bind(running).bind(micros(now)).bind(ready)
                    .execute(&mut *transaction).await.doing("start a run")?;
            }
            rows.into_iter().map(|(id, run, last, fence)| Block { id, run: RunId(run), last, fence }).collect::<Vec<_>>()
        });
        blocks.sort_by_key(|block| block.id);
        Ok(blocks)
    }

    /// Leases messages that are to be tried again and whose time has come, until `lease`; by run.
    pub async fn claim_again(&self, node: NodeId, now: Time, lease: Time, limit: i64) -> Result<BTreeMap<RunId, Vec<i64>>, Error> {
        let lock = self.pick("", "FOR UPDATE OF m SKIP LOCKED");
        let sql = format!(
            "UPDATE messages SET next_at = $2, node_id = $4 WHERE id IN (
                 SELECT m.id FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
                 WHERE m.next_at IS NOT NULL AND m.next_at <= $1 AND m.state IN ({retry}, {deferred}) AND {may_send}
                 ORDER BY m.next_at, m.id LIMIT $3 {lock})
             RETURNING id, run_id",
            retry = MessageState::Retry.code(),
            deferred = MessageState::Deferred.code(),
            may_send = may_send()
        );
        let rows: Vec<(i64, i64)> =
            on_writer!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(micros(now)).bind(micros(lease)).bind(limit).bind(node.0).fetch_all(pool).await)
                .doing("take up messages to try again")?;
        let mut runs: BTreeMap<RunId, Vec<i64>> = BTreeMap::new();
        for (id, run) in rows {
            runs.entry(RunId(run)).or_default().push(id);
        }
        runs.values_mut().for_each(|ids| ids.sort_unstable());
        Ok(runs)
    }

    /// When the next block or message falls due, among those that may be sent; may lie in the past.
    pub async fn next_due(&self) -> Result<Option<i64>, Error> {
        let sql = format!(
            "SELECT MIN(at) FROM (
                 SELECT MIN(b.due_at) AS at FROM blocks b JOIN runs r ON r.id = b.run_id JOIN campaigns c ON c.id = r.campaign_id
                 WHERE b.node_id IS NULL AND {may_send}
                 UNION ALL
                 SELECT MIN(m.next_at) FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
                 WHERE m.next_at IS NOT NULL AND m.state IN (3, 4) AND {may_send}) AS due",
            may_send = may_send()
        );
        let (at,): (Option<i64>,) =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await).doing("look for what is due next")?;
        Ok(at)
    }

    /// The messages of a claim that still wait, with their customers and with what forbids them now; in the order of their numbers.
    pub async fn load_due(&self, which: &Which, again: &Again) -> Result<Vec<Due>, Error> {
        let doing = "read the messages of a block";
        let mut sql = Sql::new(self.dialect());
        let first_try_at =
            "CASE WHEN m.attempts > 0 THEN COALESCE((SELECT MIN(y.at) FROM attempts y WHERE y.message_id = m.id), m.changed_at) END";
        let phone = "(SELECT p.address FROM addresses p WHERE p.customer_id = c.id AND p.channel = 2 AND p.is_primary = 1 LIMIT 1)";
        let person = match again.unread {
            true => format!(
                "NULL, '', NULL, NULL, c.language, c.country, c.zone, '{{}}', CAST(0 AS BIGINT), NULL, CASE WHEN c.country IS NULL THEN {phone} END"
            ),
            false => format!(
                "c.external_id, c.draw_key, c.first_name, c.last_name, c.language, c.country, c.zone, {attributes}, c.created_at,
                 {email}, {phone}",
                attributes = self.pick("c.attributes", "c.attributes::text"),
                email = match again.email {
                    true => "(SELECT e.address FROM addresses e WHERE e.customer_id = c.id AND e.channel = 1 AND e.is_primary = 1 LIMIT 1)",
                    false => "CAST(NULL AS TEXT)",
                },
                phone = match again.phone {
                    true => phone.to_string(),
                    false => format!("CASE WHEN c.country IS NULL THEN {phone} END"),
                },
            ),
        };
        sql.push(&format!(
            "SELECT m.id, m.run_id, m.customer_id, m.channel, m.arm, m.address, m.site, m.due_at, m.expires_at, m.attempts, m.code, m.warm_up_day, {first_try_at},
                    {person}, c.erased_at, a.key, s.reason, s.until, t.state, t.at, w.state, w.at, "
        ));
        sql.push(match (again.event, self.dialect()) {
            (false, _) => "CAST(NULL AS TEXT) AS event_properties, CAST(NULL AS BIGINT) AS event_at, ",
            (true, Dialect::Sqlite) => {
                "(SELECT v.properties FROM events v WHERE v.id = m.entry) AS event_properties, \
                 (SELECT v.occurred_at FROM events v WHERE v.id = m.entry) AS event_at, "
            }
            (true, Dialect::Postgres) => {
                "(SELECT v.properties::text FROM events v WHERE v.id = m.entry) AS event_properties, \
                 (SELECT v.occurred_at FROM events v WHERE v.id = m.entry) AS event_at, "
            }
        });
        for (condition, holds, name) in [(&again.except, "1", "excluded"), (&again.audience, "0", "left_audience")] {
            match condition {
                None => sql.push(&format!("CAST(0 AS INTEGER) AS {name}")),
                Some(condition) => {
                    sql.push("CASE WHEN (");
                    sql.append(condition);
                    sql.push(&format!(") THEN {holds} ELSE 1 - {holds} END AS {name}"));
                }
            }
            if name == "excluded" {
                sql.push(", ");
            }
        }
        match (which, self.dialect()) {
            (Which::Blocks(blocks), Dialect::Sqlite) => {
                // A table of ranges, first in the join: of many ranges with OR between them SQLite makes a walk along the whole ledger.
                sql.push(" FROM json_each(");
                sql.bind(Bind::Text(serde_json::json!(ranges(blocks)).to_string()));
                sql.push(") AS x CROSS JOIN messages m");
            }
            _ => sql.push(" FROM messages m"),
        }
        sql.push(
            " JOIN customers c ON c.id = m.customer_id
              LEFT JOIN addresses a ON a.customer_id = m.customer_id AND a.channel = m.channel AND a.address = m.address
              LEFT JOIN suppressions s ON s.key = a.key
              LEFT JOIN consent_state t ON t.customer_id = m.customer_id AND t.channel = m.channel AND t.topic = ",
        );
        sql.bind(Bind::Text(again.topic.clone().unwrap_or_default()));
        sql.push(" LEFT JOIN consent_state w ON w.customer_id = m.customer_id AND w.channel = m.channel AND w.topic = '*' WHERE ");
        match which {
            Which::Blocks(_) if self.dialect() == Dialect::Sqlite => {
                sql.push(&format!("m.id BETWEEN x.value ->> 0 AND x.value ->> 1 AND m.state = {}", MessageState::Planned.code()));
            }
            Which::Blocks(blocks) => {
                sql.push("(");
                // Neighbouring blocks are one range.
                for (place, range) in ranges(blocks).into_iter().enumerate() {
                    sql.push(if place == 0 { "m.id BETWEEN " } else { " OR m.id BETWEEN " });
                    sql.bind(Bind::Integer(range.0));
                    sql.push(" AND ");
                    sql.bind(Bind::Integer(range.1));
                }
                sql.push(&format!(") AND m.state = {}", MessageState::Planned.code()));
            }
            Which::Leased { ids, lease } => {
                let list: Vec<String> = ids.iter().map(i64::to_string).collect();
                sql.push(&format!("m.id IN ({}) AND m.state IN (3, 4) AND m.next_at = ", list.join(", ")));
                sql.bind(Bind::Integer(*lease));
            }
        }
        if !matches!((which, self.dialect()), (Which::Blocks(_), Dialect::Sqlite)) {
            sql.push(" ORDER BY m.id");
        }
        match self {
            Store::Sqlite(sqlite) => {
                let mut rows = bound!(sqlx::query(sqlx::AssertSqlSafe(sql.text.clone())), &sql.binds).fetch(&sqlite.read);
                let mut dues = Vec::new();
                while let Some(row) = rows.try_next().await.doing(doing)? {
                    dues.push(due_of!(&row, doing));
                }
                // They come in the order of their ranges, which is this one.
                dues.sort_by_key(|due: &Due| due.id);
                Ok(dues)
            }
            Store::Postgres(pool) => {
                let rows = bound!(sqlx::query(sqlx::AssertSqlSafe(sql.text.clone())), &sql.binds).fetch_all(pool).await.doing(doing)?;
                rows.iter().map(|row| Ok(due_of!(row, doing))).collect()
            }
        }
    }
}
