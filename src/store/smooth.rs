//! What a sending under way without trouble writes, on PostgreSQL: first tries, and letters that were accepted at the first, in one statement.
//!
//! One statement is a transaction by itself: one turn of question and answer with the server instead of five. Everything else `ledger` writes.

use super::control::may_send;
use super::ledger::{Answer, Batch, is_erased};
use super::{Doing, Error, micros};
use crate::types::{MessageState, NodeId, Time};
use sqlx::postgres::PgPool;
use std::collections::HashSet;

impl Batch {
    /// Whether [`commit`] can write it.
    pub(super) fn is_smooth(&self) -> bool {
        let marked: HashSet<i64> = self.marks.iter().map(|mark| mark.message).collect();
        self.left.is_empty()
            && self.recorded.is_empty()
            && self.suppress.is_empty()
            && self.strikes.is_empty()
            && self.consents.is_empty()
            && self.released.is_empty()
            && self.breakers.is_empty()
            && self.marks.iter().all(|mark| mark.claim.block > 0)
            && self.answers.iter().all(Answer::is_smooth)
            // One statement sees each row as it was before; one that was answered and is marked again would be changed once.
            && !self.answers.iter().any(|answer| marked.contains(&answer.message))
    }
}

impl Answer {
    /// Accepted at the first try, in one part, and called what PostgreSQL can store.
    fn is_smooth(&self) -> bool {
        let is_whole = !self.provider_id.as_ref().is_some_and(|id| id.contains([' ', '\0']));
        self.state == MessageState::Accepted && self.attempt == 1 && !self.uncounted && is_whole
    }
}

/// Writes a batch that is smooth, durably. Gives the marks that were granted, as `Store::commit_batch` does.
pub(super) async fn commit(pool: &PgPool, node: NodeId, now: Time, batch: &Batch) -> Result<Vec<i64>, Error> {
    // The blocks are kept as they are until the marks are in the database, as in `commit_batch`.
    let sql = format!(
        "WITH granted AS MATERIALIZED (
             SELECT b.id, b.fence FROM blocks b JOIN runs r ON r.id = b.run_id JOIN campaigns c ON c.id = r.campaign_id
             WHERE b.id = ANY($1) AND b.node_id = $2 AND {may_send} FOR SHARE OF b),
         marked AS (
             UPDATE messages SET state = {handing_over}, attempts = attempts + 1, provider = r.provider, changed_at = $3
             FROM UNNEST($4::bigint[], $5::bigint[], $6::bigint[], $7::text[]) AS r (id, block, fence, provider)
                 JOIN granted g ON g.id = r.block AND g.fence = r.fence
             WHERE messages.id = r.id AND messages.state = {planned} AND (messages.expires_at IS NULL OR messages.expires_at > $3)
             RETURNING messages.id),
         taken AS (
             UPDATE messages SET state = {accepted}, accepted_at = r.at, changed_at = r.at, provider_id = r.provider_id,
                                 snapshot = CASE WHEN {erased} THEN NULL ELSE r.snapshot END, reason = NULL, detail = NULL, next_at = NULL, node_id = NULL
             FROM UNNEST($8::bigint[], $9::bigint[], $10::text[], $11::bytea[]) AS r (id, at, provider_id, snapshot)
             WHERE messages.id = r.id AND messages.attempts = 1 AND messages.state IN ({handing_over}, {uncertain})),
         counted AS (
             UPDATE reservations SET at = r.at, is_handed_over = 1 FROM UNNEST($12::bigint[], $13::bigint[], $14::bigint[]) AS r (customer, message, at)
             WHERE reservations.customer_id = r.customer AND reservations.message_id = r.message),
         finished AS (
             DELETE FROM blocks b USING UNNEST($15::bigint[], $16::bigint[]) AS r (id, fence)
             WHERE b.id = r.id AND b.fence = r.fence AND b.node_id = $2)
         SELECT id FROM marked ORDER BY id",
        may_send = may_send(),
        erased = is_erased(),
        planned = MessageState::Planned.code(),
        handing_over = MessageState::HandingOver.code(),
        uncertain = MessageState::Uncertain.code(),
        accepted = MessageState::Accepted.code(),
    );
    let mut blocks: Vec<i64> = batch.marks.iter().map(|mark| mark.claim.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let counted = || batch.answers.iter().filter_map(|row| row.reserved_for.map(|(customer, at)| (customer, row.message, at)));
    let ids: Vec<(i64,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(blocks)
        .bind(node.0)
        .bind(micros(now))
        .bind(batch.marks.iter().map(|row| row.message).collect::<Vec<_>>())
        .bind(batch.marks.iter().map(|row| row.claim.block).collect::<Vec<_>>())
        .bind(batch.marks.iter().map(|row| row.claim.fence).collect::<Vec<_>>())
        .bind(batch.marks.iter().map(|row| row.provider.as_str()).collect::<Vec<_>>())
        .bind(batch.answers.iter().map(|row| row.message).collect::<Vec<_>>())
        .bind(batch.answers.iter().map(|row| micros(row.at)).collect::<Vec<_>>())
        .bind(batch.answers.iter().map(|row| row.provider_id.as_deref()).collect::<Vec<_>>())
        .bind(batch.answers.iter().map(|row| row.snapshot.as_deref()).collect::<Vec<_>>())
        .bind(counted().map(|row| row.0).collect::<Vec<_>>())
        .bind(counted().map(|row| row.1).collect::<Vec<_>>())
        .bind(counted().map(|row| row.2).collect::<Vec<_>>())
        .bind(batch.finished.iter().map(|claim| claim.block).collect::<Vec<_>>())
        .bind(batch.finished.iter().map(|claim| claim.fence).collect::<Vec<_>>())
        .fetch_all(pool)
        .await
        .doing("write to the ledger")?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}
