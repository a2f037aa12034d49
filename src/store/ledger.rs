//! What the committer writes: marks before hand-over and results after it, many in one transaction, one statement a kind; and the sums.
//!
//! Every write names what it expects: a mark the fence of its block (or the lease of a message tried again) and a run that may send, a result the
//! attempt it answers. So a process that was given up cannot change what others have taken over.

use super::batch::{Connection, storable};
use super::consents::{self, ConsentRow};
use super::control::may_send;
use super::stops::seen_state;
use super::strikes::{self, Strike, StrikeRow};
use super::{Doing, Error, Store, micros, smooth};
use crate::types::{Channel, Failure, MessageState, NodeId, Refusal, RunId, RunState, SuppressionReason, Time};
use crate::{in_transaction, on_pool};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// By what right a message is written: the fence of its block, or (block 0) its own lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub block: i64,
    pub fence: i64,
}

/// From here on a crash makes the message uncertain.
#[derive(Debug, Clone)]
pub struct Mark {
    pub message: i64,
    pub claim: Claim,
    pub provider: String,
    /// The number of the try that begins.
    pub attempt: i16,
}

/// A message that a provider took which only remembers: accepted without a mark, since nothing left.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub message: i64,
    pub claim: Claim,
    pub provider: String,
    /// From when on it counts for caps, in microseconds, where it does.
    pub counts_at: Option<i64>,
}

/// Recorded messages that differ in nothing but their numbers.
struct Together<'a> {
    claim: Claim,
    provider: &'a str,
    counts_at: Option<i64>,
    messages: Vec<i64>,
}

impl Together<'_> {
    fn are_neighbours(&self) -> Option<(i64, i64)> {
        let (first, last) = (*self.messages.first()?, *self.messages.last()?);
        (last - first + 1 == self.messages.len() as i64).then_some((first, last))
    }
    fn messages(&self, list: &str, ends: &str) -> String {
        if self.are_neighbours().is_some() { format!("BETWEEN {ends}") } else { format!("IN ({list})") }
    }
    fn json(&self) -> String {
        self.are_neighbours().map_or_else(|| json(&self.messages), |(first, last)| format!("[{first}, {last}]"))
    }
}

/// Marks by what they have in common, as the statement reads them: block, fence, provider, messages.
fn marked_together(marks: &[Mark]) -> Vec<(i64, i64, &str, Vec<i64>)> {
    let mut groups: Vec<(i64, i64, &str, Vec<i64>)> = Vec::new();
    for mark in marks {
        let key = (mark.claim.block, mark.claim.fence, mark.provider.as_str());
        match groups.iter_mut().rev().find(|group| (group.0, group.1, group.2) == key) {
            Some(group) => group.3.push(mark.message),
            None => groups.push((key.0, key.1, key.2, vec![mark.message])),
        }
    }
    groups
}

fn recorded_together(recorded: &[Recorded]) -> Vec<Together<'_>> {
    let mut groups: Vec<Together> = Vec::new();
    for row in recorded {
        let same = |group: &&mut Together| group.claim == row.claim && group.provider == row.provider && group.counts_at == row.counts_at;
        match groups.iter_mut().rev().find(same) {
            Some(group) => group.messages.push(row.message),
            None => {
                groups.push(Together { claim: row.claim, provider: &row.provider, counts_at: row.counts_at, messages: vec![row.message] })
            }
        }
    }
    for group in &mut groups {
        group.messages.sort_unstable();
    }
    groups
}

/// A message that will not be handed over, or not now, decided before its mark.
#[derive(Debug, Clone)]
pub struct Left {
    pub message: i64,
    pub claim: Claim,
    pub state: MessageState,
    pub reason: Option<i16>,
    pub detail: Option<String>,
    /// When it is taken up again, for retry and deferred.
    pub next_at: Option<Time>,
}

/// The provider's answer to attempt `attempt` of a message.
#[derive(Debug, Clone)]
pub struct Answer {
    pub message: i64,
    /// By what right it was marked.
    pub claim: Claim,
    pub attempt: i16,
    pub provider: String,
    pub at: Time,
    /// When the message was first composed: its Date, the same over all attempts.
    pub began: Time,
    pub state: MessageState,
    pub reason: Option<Failure>,
    pub reply: Option<String>,
    pub provider_id: Option<String>,
    pub next_at: Option<Time>,
    /// Compressed variables, with an accepted message.
    pub snapshot: Option<Vec<u8>>,
    /// The try does not count (the provider could not send at all).
    pub uncounted: bool,
    /// The customer, and from when on in microseconds, where the message counts for caps.
    pub reserved_for: Option<(i64, i64)>,
}

impl Answer {
    /// The try was marked and certainly not begun: it does not count, and the message is due again at `next_at`.
    pub fn not_sent((message, claim): (i64, Claim), attempt: i16, provider: String, next_at: Time) -> Self {
        Answer {
            message,
            claim,
            attempt,
            provider,
            at: next_at,
            began: next_at,
            state: MessageState::Retry,
            reason: None,
            reply: None,
            provider_id: None,
            next_at: Some(next_at),
            snapshot: None,
            uncounted: true,
            reserved_for: None,
        }
    }
}

/// An address that must not be sent to any more.
#[derive(Debug, Clone)]
pub struct Suppress {
    pub key: Vec<u8>,
    pub channel: Channel,
    pub reason: SuppressionReason,
    pub source: String,
}

/// Everything that waits for one commit.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub marks: Vec<Mark>,
    pub left: Vec<Left>,
    pub recorded: Vec<Recorded>,
    pub answers: Vec<Answer>,
    pub suppress: Vec<Suppress>,
    /// Addresses that failed in a way that suppresses only when it comes again.
    pub strikes: Vec<StrikeRow>,
    /// Consent that ends by what a provider said.
    pub consents: Vec<ConsentRow>,
    /// Blocks with nothing planned left.
    pub finished: Vec<Claim>,
    /// Providers whose breaker has opened (since when, why) or closed, in this process.
    pub breakers: Vec<(String, Option<(Time, String)>)>,
    /// Blocks given back, to be claimed again not before this time.
    pub released: Vec<(Claim, Time)>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
            && self.left.is_empty()
            && self.recorded.is_empty()
            && self.answers.is_empty()
            && self.suppress.is_empty()
            && self.strikes.is_empty()
            && self.consents.is_empty()
            && self.finished.is_empty()
            && self.released.is_empty()
            && self.breakers.is_empty()
    }
}

/// Rows of JSON arrays as a table `e(value)`.
const EACH: (&str, &str) = ("json_each($1) AS e", "jsonb_array_elements($1::jsonb) AS e(value)");

/// Runs that are done become running again when one of these messages (a JSON list) waits to be tried again.
pub(super) const WAKE: (&str, &str) = (
    "UPDATE runs SET state = $2, finished_at = NULL WHERE state = $3 AND id IN (SELECT m.run_id FROM messages m WHERE m.next_at IS NOT NULL AND m.id IN (SELECT value FROM json_each($1)))",
    "UPDATE runs SET state = $2, finished_at = NULL WHERE state = $3 AND id IN (SELECT m.run_id FROM messages m WHERE m.next_at IS NOT NULL AND m.id IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS e(value)))",
);

/// The condition that a row of `messages` is that of an erased person: what a provider says of it is not kept. A row that was waited for shows itself as it
/// is now and its customer as before, so the address is asked, which an erasure takes; messages of webhooks have none to begin with.
pub(super) fn is_erased() -> String {
    format!(
        "messages.address IS NULL AND (messages.channel <> {} OR EXISTS (SELECT 1 FROM customers u WHERE u.id = messages.customer_id AND u.erased_at IS NOT NULL))",
        Channel::Webhook.code()
    )
}

/// The condition that a message is still what its claim took: rows `r` with block and fence, of the process `node`.
pub(super) fn held_by(node: &str) -> String {
    format!(
        "((r.block > 0 AND messages.state = {planned} AND EXISTS (SELECT 1 FROM blocks b WHERE b.id = r.block AND b.fence = r.fence AND b.node_id = {node}))
          OR (r.block = 0 AND messages.state IN ({retry}, {deferred}) AND messages.next_at = r.fence AND messages.node_id = {node}))",
        planned = MessageState::Planned.code(),
        retry = MessageState::Retry.code(),
        deferred = MessageState::Deferred.code(),
    )
}

fn json<T: serde::Serialize>(rows: &[T]) -> String {
    let written = serde_json::to_string(rows).unwrap_or_else(|_| "[]".into());
    // Replies are others' words.
    match storable(&written) {
        Cow::Borrowed(_) => written,
        Cow::Owned(kept) => kept,
    }
}

impl Store {
    /// Writes a batch durably, in one transaction. Gives the marks that were granted, in the order of their numbers; a mark that is missing was
    /// not: the run was paused or cancelled, the message has expired, or the claim is lost.
    pub async fn commit_batch(&self, node: NodeId, now: Time, batch: &Batch) -> Result<Vec<i64>, Error> {
        if let Store::Postgres(pool) = self
            && batch.is_smooth()
        {
            return smooth::commit(pool, node, now, batch).await;
        }
        let each = self.pick(EACH.0, EACH.1);
        let (planned, handing_over, retry, deferred, uncertain, accepted) = (
            MessageState::Planned.code(),
            MessageState::HandingOver.code(),
            MessageState::Retry.code(),
            MessageState::Deferred.code(),
            MessageState::Uncertain.code(),
            MessageState::Accepted.code(),
        );
        let held = held_by("$3");
        in_transaction!(self, "write to the ledger", transaction => {
            let mut granted = Vec::new();
            if !batch.marks.is_empty() {
                let may_send = may_send();
                let sql = self.pick(
                    // Block and run are asked once for all of their messages.
                    format!(
                        "WITH g AS MATERIALIZED (
                             SELECT e.value ->> 0 AS block, e.value ->> 1 AS fence, e.value ->> 2 AS provider, e.value -> 3 AS ids FROM json_each($1) AS e
                             WHERE e.value ->> 0 = 0 OR EXISTS (
                                 SELECT 1 FROM blocks b JOIN runs r ON r.id = b.run_id JOIN campaigns c ON c.id = r.campaign_id
                                 WHERE b.id = e.value ->> 0 AND b.fence = e.value ->> 1 AND b.node_id = $3 AND {may_send}))
                         UPDATE messages SET state = {handing_over}, attempts = attempts + 1, provider = g.provider, changed_at = $2 FROM g, json_each(g.ids) AS i
                         WHERE messages.id = i.value AND (messages.expires_at IS NULL OR messages.expires_at > $2)
                           AND ((g.block > 0 AND messages.state = {planned})
                                OR (g.block = 0 AND messages.state IN ({retry}, {deferred}) AND messages.next_at = g.fence AND messages.node_id = $3
                                    AND EXISTS (SELECT 1 FROM runs r JOIN campaigns c ON c.id = r.campaign_id WHERE r.id = messages.run_id AND {may_send})))
                         RETURNING messages.id"),
                    // The blocks are kept as they are until the marks are in the database. Otherwise a process that dies while its last commit is on its way could be
                    // taken over in between: its messages would be marked after whoever took over had looked for marks, and nobody would ever settle them.
                    format!(
                        "WITH r AS (SELECT i.value::bigint AS id, CAST(e.value ->> 0 AS BIGINT) AS block, CAST(e.value ->> 1 AS BIGINT) AS fence, e.value ->> 2 AS provider
                                    FROM {each} CROSS JOIN LATERAL jsonb_array_elements(e.value -> 3) AS i(value)),
                              kept AS MATERIALIZED (SELECT b.id, b.fence, b.node_id FROM blocks b WHERE b.id IN (SELECT r.block FROM r) FOR SHARE OF b)
                         UPDATE messages SET state = {handing_over}, attempts = attempts + 1, provider = r.provider, changed_at = $2 FROM r
                         WHERE messages.id = r.id AND {marked} AND (messages.expires_at IS NULL OR messages.expires_at > $2)
                           AND EXISTS (SELECT 1 FROM runs r JOIN campaigns c ON c.id = r.campaign_id WHERE r.id = messages.run_id AND {may_send})
                         RETURNING messages.id",
                        marked = held.replace("FROM blocks b", "FROM kept b")));
                let rows = marked_together(&batch.marks);
                let ids: Vec<(i64,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).bind(micros(now)).bind(node.0)
                    .fetch_all(&mut *transaction).await.doing("mark hand-overs")?;
                granted.extend(ids.into_iter().map(|(id,)| id));
                granted.sort_unstable();
            }
            if !batch.left.is_empty() {
                let rows: Vec<_> = batch.left.iter().map(|row| (row.message, row.claim.block, row.claim.fence, row.state.code(), row.reason, &row.detail,
                    row.next_at.map(micros))).collect();
                let sql = format!(
                    "WITH r AS (SELECT CAST(e.value ->> 0 AS BIGINT) AS id, CAST(e.value ->> 1 AS BIGINT) AS block, CAST(e.value ->> 2 AS BIGINT) AS fence,
                                       CAST(e.value ->> 3 AS SMALLINT) AS state, CAST(e.value ->> 4 AS SMALLINT) AS reason, e.value ->> 5 AS detail,
                                       CAST(e.value ->> 6 AS BIGINT) AS next_at FROM {each})
                     UPDATE messages SET state = r.state, reason = r.reason, detail = r.detail, next_at = r.next_at, node_id = NULL, changed_at = $2,
                                         address = CASE WHEN r.reason = {erased} THEN NULL ELSE messages.address END FROM r
                     WHERE messages.id = r.id AND {held}", erased = Refusal::Erased.code());
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).bind(micros(now)).bind(node.0)
                    .execute(&mut *transaction).await.doing("write what is not handed over")?;
            }
            for group in recorded_together(&batch.recorded) {
                let held = match group.claim.block {
                    0 => format!("state IN ({retry}, {deferred}) AND next_at = $3 AND node_id = $4 AND $5 = 0"),
                    _ => format!("state = {planned} AND EXISTS (SELECT 1 FROM blocks b WHERE b.fence = $3 AND b.node_id = $4 AND b.id = $5)"),
                };
                let these = format!("id {}", group.messages(self.pick("SELECT value FROM json_each($1)", "SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS e(value)"),
                    self.pick("$1 ->> 0 AND $1 ->> 1", "($1::jsonb ->> 0)::bigint AND ($1::jsonb ->> 1)::bigint")));
                let sql = format!(
                    "UPDATE messages SET state = {accepted}, attempts = attempts + 1, provider = $6, accepted_at = $2, changed_at = $2,
                                         reason = NULL, next_at = NULL, node_id = NULL
                     WHERE {these} AND {held}");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(group.json()).bind(micros(now)).bind(group.claim.fence).bind(node.0)
                    .bind(group.claim.block).bind(group.provider)
                    .execute(&mut *transaction).await.doing("write recorded messages")?;
                if let Some(at) = group.counts_at {
                    let sql = format!(
                        "UPDATE reservations SET at = $3, is_handed_over = 1
                         WHERE (customer_id, message_id) IN (SELECT m.customer_id, m.id FROM messages m WHERE m.{these} AND m.state = {accepted} AND m.accepted_at = $2)");
                    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(group.json()).bind(micros(now)).bind(at).execute(&mut *transaction).await.doing("confirm places")?;
                }
            }
            let (taken, others): (Vec<&Answer>, Vec<&Answer>) = batch.answers.iter().partition(|answer| answer.state == MessageState::Accepted);
            if !taken.is_empty() {
                let rows: Vec<_> = taken.iter().map(|row| (row.message, row.attempt, micros(row.at), &row.provider_id,
                    row.snapshot.as_ref().map(hex::encode))).collect();
                let snapshot = self.pick("unhex(e.value ->> 4)", "decode(e.value ->> 4, 'hex')");
                let sql = format!(
                    "WITH r AS (SELECT CAST(e.value ->> 0 AS BIGINT) AS id, CAST(e.value ->> 1 AS SMALLINT) AS attempt, CAST(e.value ->> 2 AS BIGINT) AS at,
                                       e.value ->> 3 AS provider_id, {snapshot} AS snapshot FROM {each})
                     UPDATE messages SET state = {accepted}, accepted_at = r.at, changed_at = r.at, provider_id = r.provider_id,
                                         snapshot = CASE WHEN {} THEN NULL ELSE r.snapshot END,
                                         reason = NULL, detail = NULL, next_at = NULL, node_id = NULL FROM r
                     WHERE messages.id = r.id AND messages.attempts = r.attempt AND messages.state IN ({handing_over}, {uncertain})", is_erased());
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).execute(&mut *transaction).await.doing("write accepted messages")?;
                let parts: Vec<(i64, &str)> = taken.iter().filter_map(|row| Some((row.message, row.provider_id.as_deref()?))).collect();
                Connection::from(&mut *transaction).keep_parts(&parts).await?;
                let reserved: Vec<_> = taken.iter().filter_map(|row| row.reserved_for.map(|(customer, at)| (customer, row.message, at))).collect();
                if !reserved.is_empty() {
                    Connection::from(&mut *transaction).confirm_reservations(&json(&reserved)).await?;
                }
            }
            if !others.is_empty() {
                let rows: Vec<_> = others.iter().map(|row| (row.message, row.attempt, micros(row.at), row.state.code(), row.reason.map(Failure::code),
                    row.reply.as_deref().map(short), row.next_at.map(micros), i16::from(row.uncounted))).collect();
                let sql = format!(
                    "WITH r AS (SELECT CAST(e.value ->> 0 AS BIGINT) AS id, CAST(e.value ->> 1 AS SMALLINT) AS attempt, CAST(e.value ->> 2 AS BIGINT) AS at,
                                       CAST(e.value ->> 3 AS SMALLINT) AS state, CAST(e.value ->> 4 AS SMALLINT) AS reason, e.value ->> 5 AS detail,
                                       CAST(e.value ->> 6 AS BIGINT) AS next_at, CAST(e.value ->> 7 AS SMALLINT) AS uncounted FROM {each})
                     UPDATE messages SET state = r.state, reason = r.reason, detail = CASE WHEN {} THEN NULL ELSE r.detail END, next_at = r.next_at,
                                         node_id = NULL, changed_at = r.at, attempts = messages.attempts - r.uncounted FROM r
                     WHERE messages.id = r.id AND messages.attempts = r.attempt AND messages.state IN ({handing_over}, {uncertain})", is_erased());
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).execute(&mut *transaction).await.doing("write answers")?;
                // A late answer that says "again" wakes a run that was thought done.
                let waiting: Vec<i64> = others.iter().filter(|row| row.state == MessageState::Retry).map(|row| row.message).collect();
                if !waiting.is_empty() {
                    let sql = self.pick(WAKE.0, WAKE.1);
                    sqlx::query(sql).bind(json(&waiting)).bind(RunState::Running.code()).bind(RunState::Done.code())
                        .execute(&mut *transaction).await.doing("go on with a run")?;
                }
            }
            let tries: Vec<_> = batch.answers.iter().filter(|row| (row.state != MessageState::Accepted || row.attempt > 1) && !row.uncounted)
                .map(|row| (row.message, row.attempt, micros(row.began), &row.provider, outcome(row), row.reply.as_deref().map(short))).collect();
            if !tries.is_empty() {
                let sql = format!(
                    "INSERT INTO attempts (message_id, number, at, provider, outcome, reply)
                     SELECT CAST(e.value ->> 0 AS BIGINT), CAST(e.value ->> 1 AS SMALLINT), CAST(e.value ->> 2 AS BIGINT), e.value ->> 3, e.value ->> 4,
                            CASE WHEN EXISTS (SELECT 1 FROM messages WHERE messages.id = CAST(e.value ->> 0 AS BIGINT) AND {}) THEN NULL ELSE e.value ->> 5 END
                     FROM {each} WHERE true ON CONFLICT (message_id, number) DO UPDATE SET outcome = excluded.outcome, reply = excluded.reply", is_erased());
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&tries)).execute(&mut *transaction).await.doing("write attempts")?;
            }
            if !batch.suppress.is_empty() {
                let rows: Vec<_> = batch.suppress.iter().map(|row| (hex::encode(&row.key), row.channel.code(), row.reason.code(), &row.source)).collect();
                let key = self.pick("unhex(e.value ->> 0)", "decode(e.value ->> 0, 'hex')");
                let sql = format!(
                    "INSERT INTO suppressions (key, channel, reason, since, until, source)
                     SELECT {key}, CAST(e.value ->> 1 AS SMALLINT), CAST(e.value ->> 2 AS SMALLINT), $2, NULL, e.value ->> 3 FROM {each} WHERE true
                     ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, until = NULL, source = excluded.source WHERE suppressions.until IS NOT NULL");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).bind(micros(now)).execute(&mut *transaction).await.doing("suppress addresses")?;
            }
            if !batch.strikes.is_empty() {
                let soft: Vec<_> = batch.strikes.iter().filter(|row| row.strike == Strike::Soft).map(|row| hex::encode(&row.key)).collect();
                let keys = self.pick("SELECT unhex(e.value) FROM json_each($1) AS e", "SELECT decode(e.value, 'hex') FROM jsonb_array_elements_text($1::jsonb) AS e(value)");
                let sql = format!("UPDATE addresses SET soft_bounces = soft_bounces + 1 WHERE key IN ({keys})");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&soft)).execute(&mut *transaction).await.doing("count soft bounces")?;
                strikes::strike(&mut Connection::from(&mut *transaction), &batch.strikes).await?;
            }
            if !batch.consents.is_empty() {
                let mut connection = Connection::from(&mut *transaction);
                consents::append(&mut connection, &batch.consents).await?;
                consents::keep_starts(&mut connection, &batch.consents).await?;
            }
            if !batch.finished.is_empty() {
                let rows: Vec<_> = batch.finished.iter().map(|claim| (claim.block, claim.fence)).collect();
                let sql = format!(
                    "DELETE FROM blocks WHERE node_id = $2 AND EXISTS (SELECT 1 FROM {each} WHERE CAST(e.value ->> 0 AS BIGINT) = blocks.id AND CAST(e.value ->> 1 AS BIGINT) = blocks.fence)
                       AND id IN (SELECT CAST(e.value ->> 0 AS BIGINT) FROM {each})");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).bind(node.0).execute(&mut *transaction).await.doing("finish blocks")?;
            }
            if !batch.released.is_empty() {
                let rows: Vec<_> = batch.released.iter().map(|(claim, due)| (claim.block, claim.fence, micros(*due))).collect();
                let sql = format!(
                    "WITH r AS (SELECT CAST(e.value ->> 0 AS BIGINT) AS id, CAST(e.value ->> 1 AS BIGINT) AS fence, CAST(e.value ->> 2 AS BIGINT) AS due FROM {each})
                     UPDATE blocks SET node_id = NULL, due_at = CASE WHEN r.due > blocks.due_at THEN r.due ELSE blocks.due_at END FROM r
                     WHERE blocks.id = r.id AND blocks.fence = r.fence AND blocks.node_id = $2");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(&rows)).bind(node.0).execute(&mut *transaction).await.doing("give back blocks")?;
            }
            for (provider, open) in &batch.breakers {
                sqlx::query("DELETE FROM breakers WHERE node_id = $1 AND provider = $2").bind(node.0).bind(provider)
                    .execute(&mut *transaction).await.doing("note a provider's state")?;
                if let Some((since, why)) = open {
                    sqlx::query("INSERT INTO breakers (node_id, provider, since, why) VALUES ($1, $2, $3, $4)")
                        .bind(node.0).bind(provider).bind(micros(*since)).bind(short(why).replace('\0', "\u{fffd}"))
                        .execute(&mut *transaction).await.doing("note a provider's state")?;
                }
            }
            Ok(granted)
        })
    }

    /// The sums of a campaign's runs, or of one run (tests are not counted).
    pub async fn funnel(&self, campaign: &str, run: Option<i64>) -> Result<Funnel, Error> {
        let sql = format!(
            "SELECT {}, COALESCE(CASE WHEN m.state = 0 THEN m.reason END, 0), COUNT(*), COUNT(m.bounced_at), COUNT(m.confirmed_at)
             FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
             WHERE c.key = $1 AND r.is_test = 0 AND ($2 = 0 OR r.number = $2) GROUP BY 1, 2",
            seen_state("m", "r")
        );
        let sql = sqlx::AssertSqlSafe(sql);
        let rows: Vec<(i16, i32, i64, i64, i64)> = match self {
            Store::Sqlite(sqlite) => sqlx::query_as(sql).bind(campaign).bind(run.unwrap_or(0)).fetch_all(&sqlite.read).await,
            Store::Postgres(pool) => sqlx::query_as(sql).bind(campaign).bind(run.unwrap_or(0)).fetch_all(pool).await,
        }
        .doing("add up the ledger")?;
        let mut funnel = Funnel::default();
        for (state, reason, count, bounced, confirmed) in rows {
            let count = u64::try_from(count).unwrap_or(0);
            funnel.bounced += u64::try_from(bounced).unwrap_or(0);
            funnel.confirmed += u64::try_from(confirmed).unwrap_or(0);
            match MessageState::from_code(state) {
                Some(MessageState::Refused) => {
                    let reason = i16::try_from(reason).ok().and_then(Refusal::from_code);
                    *funnel.refused.entry(reason.map_or("unknown", Refusal::word)).or_default() += count;
                }
                Some(state) => *funnel.messages.entry(state).or_default() += count,
                None => return Err(Error::Unexpected { doing: "add up the ledger", what: format!("the message state {state}") }),
            }
        }
        Ok(funnel)
    }

    /// Places where the ledger contradicts itself; empty when all is well. For tests and `doctor`.
    pub async fn ledger_faults(&self) -> Result<Vec<String>, Error> {
        let faults = [
            ("a refusal without its reason", "SELECT COUNT(*) FROM messages WHERE state = 0 AND reason IS NULL"),
            ("an accepted message without its time", "SELECT COUNT(*) FROM messages WHERE state = 7 AND accepted_at IS NULL"),
            ("a message to try again without its time", "SELECT COUNT(*) FROM messages WHERE state IN (3, 4) AND next_at IS NULL"),
            (
                "a settled message that would be tried again",
                "SELECT COUNT(*) FROM messages WHERE state IN (0, 5, 6, 7, 8, 9, 10) AND next_at IS NOT NULL",
            ),
            (
                "a planned message in no block",
                "SELECT COUNT(*) FROM messages m WHERE m.state = 1 AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = m.run_id AND m.id BETWEEN b.first_id AND b.last_id)",
            ),
            (
                "a message handed over by nobody",
                "SELECT COUNT(*) FROM messages m WHERE m.state = 2 AND m.next_at IS NULL AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = m.run_id AND m.id BETWEEN b.first_id AND b.last_id AND b.node_id IS NOT NULL)",
            ),
        ];
        let mut found = Vec::new();
        for (what, sql) in faults {
            let (count,): (i64,) = on_pool!(self, pool => sqlx::query_as(sql).fetch_one(pool).await).doing("check the ledger")?;
            if count > 0 {
                found.push(format!("{count} × {what}"));
            }
        }
        Ok(found)
    }
}

/// The reply's first kilobyte.
fn short(reply: &str) -> &str {
    let mut end = reply.len().min(1024);
    while !reply.is_char_boundary(end) {
        end -= 1;
    }
    &reply[..end]
}

fn outcome(answer: &Answer) -> &'static str {
    match answer.state {
        MessageState::Accepted => "accepted",
        MessageState::Failed => "refused",
        MessageState::Uncertain => "unknown",
        _ => "later",
    }
}

/// The sums of design.md §6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Funnel {
    /// By the refusal's word.
    pub refused: BTreeMap<&'static str, u64>,
    /// Messages by state.
    pub messages: BTreeMap<MessageState, u64>,
    pub bounced: u64,
    pub confirmed: u64,
}

impl Funnel {
    pub fn selected(&self) -> u64 {
        self.refused() + self.all_messages()
    }
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }
    pub fn all_messages(&self) -> u64 {
        self.messages.values().sum()
    }
    pub fn in_state(&self, state: MessageState) -> u64 {
        self.messages.get(&state).copied().unwrap_or(0)
    }
    pub fn waiting(&self) -> u64 {
        MessageState::WAITING.iter().map(|state| self.in_state(*state)).sum()
    }
    pub fn accepted(&self) -> u64 {
        self.in_state(MessageState::Accepted)
    }
}

impl Store {
    /// The sums of one run by its number in the database.
    pub async fn run_states(&self, run: RunId) -> Result<BTreeMap<(i16, Option<i16>), i64>, Error> {
        let sql = "SELECT state, reason, COUNT(*) FROM messages WHERE run_id = $1 GROUP BY state, reason";
        let rows: Vec<(i16, Option<i16>, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(run.0).fetch_all(pool).await).doing("add up a run")?;
        Ok(rows.into_iter().map(|(state, reason, count)| ((state, reason), count)).collect())
    }

    /// What the messages of a run wait for, by rule or for a person, and how many.
    pub async fn waits_of(&self, run: RunId) -> Result<Vec<(MessageState, String, i64)>, Error> {
        let sql = format!(
            "SELECT state, COALESCE(detail, ''), COUNT(*) FROM messages WHERE run_id = $1 AND state IN ({}, {}) GROUP BY 1, 2 ORDER BY 1, 2",
            MessageState::Deferred.code(),
            MessageState::Held.code()
        );
        let rows: Vec<(i16, String, i64)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run.0).fetch_all(pool).await).doing("read what waits")?;
        Ok(rows.into_iter().filter_map(|(state, why, count)| Some((MessageState::from_code(state)?, why, count))).collect())
    }
}
