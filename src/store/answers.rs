//! Answers to words like STOP and HELP. Each is marked before it is sent: one whose process died is not sent again.

use super::{Doing, Error, Store, micros};
use crate::on_writer;
use crate::types::Time;
use chrono::TimeDelta;
use sqlx::AssertSqlSafe;

/// What kind of word is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// One that ends consent.
    Stop = 1,
    /// One that asks for help.
    Help = 2,
}

/// An answer that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAnswer {
    pub provider: String,
    /// The key of the number.
    pub key: [u8; 16],
    pub kind: Answered,
    /// When it was asked for.
    pub at: Time,
    /// Later it is not sent.
    pub until: Time,
    /// Our number, to which the word came.
    pub sender: String,
    pub recipient: String,
    pub text: String,
}

/// One that this process is sending.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ClaimedAnswer {
    pub id: i64,
    pub provider: String,
    pub at: i64,
    pub until: i64,
    pub sender: String,
    pub recipient: String,
    pub text: String,
}

const WAITING: i16 = 1;
const SENDING: i16 = 2;
const OVER: i16 = 3;
/// One of a kind to a number in this time.
const EACH: TimeDelta = TimeDelta::hours(24);
/// What is being sent for so long is not: its process has died, and nobody knows how far it came.
const LOST: TimeDelta = TimeDelta::minutes(15);

impl Store {
    /// Keeps an answer that is to be sent; false when this number got one of the kind within a day, or is about to.
    pub async fn keep_answer(&self, answer: &NewAnswer) -> Result<bool, Error> {
        let sql = format!(
            "INSERT INTO keyword_answers (provider, key, kind, at, until, sender, recipient, text, state, next_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {WAITING}, $4)
             ON CONFLICT (provider, key, kind) DO UPDATE SET at = excluded.at, until = excluded.until, sender = excluded.sender,
                recipient = excluded.recipient, text = excluded.text, state = excluded.state, next_at = excluded.next_at, detail = NULL
             WHERE keyword_answers.state = {OVER} AND keyword_answers.at < excluded.at - {}",
            EACH.num_microseconds().unwrap_or(i64::MAX)
        );
        let kept = on_writer!(self, pool => sqlx::query(AssertSqlSafe(sql)).bind(&answer.provider).bind(answer.key.as_slice()).bind(answer.kind as i16)
            .bind(micros(answer.at)).bind(micros(answer.until)).bind(&answer.sender).bind(&answer.recipient).bind(&answer.text)
            .execute(pool).await.map(|done| done.rows_affected()));
        Ok(kept.doing("keep an answer")? > 0)
    }

    /// Marks answers that are due as being sent; from here on a crash leaves them unsent for good. What comes too late, and what a dead process was sending, is
    /// over.
    pub async fn claim_answers(&self, now: Time, limit: i64) -> Result<Vec<ClaimedAnswer>, Error> {
        let doing = "take answers that are to be sent";
        let over = format!(
            "UPDATE keyword_answers SET state = {OVER}, sender = '', recipient = '', text = '',
                    detail = CASE WHEN state = {SENDING} THEN 'its process died' ELSE COALESCE(detail, 'too late') END
             WHERE state <> {OVER} AND (state = {WAITING} AND until <= $1 OR state = {SENDING} AND next_at <= $2)"
        );
        on_writer!(self, pool => sqlx::query(AssertSqlSafe(over)).bind(micros(now)).bind(micros(now - LOST)).execute(pool).await.map(|_| ()))
            .doing(doing)?;
        let lock = self.pick("", "FOR UPDATE SKIP LOCKED");
        let sql = format!(
            "UPDATE keyword_answers SET state = {SENDING}, next_at = $1
             WHERE id IN (SELECT id FROM keyword_answers WHERE state = {WAITING} AND next_at <= $1 ORDER BY next_at, id LIMIT $2 {lock})
             RETURNING id, provider, at, until, sender, recipient, text"
        );
        on_writer!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(micros(now)).bind(limit).fetch_all(pool).await).doing(doing)
    }

    /// What became of one: over, or due again at `again` where it certainly was not taken.
    pub async fn settle_answer(&self, id: i64, detail: &str, again: Option<Time>) -> Result<(), Error> {
        let sql = match again {
            Some(_) => {
                format!("UPDATE keyword_answers SET state = {WAITING}, detail = $2, next_at = $3 WHERE id = $1 AND state = {SENDING}")
            }
            None => format!(
                "UPDATE keyword_answers SET state = {OVER}, detail = $2, sender = '', recipient = '', text = '' WHERE id = $1 AND state = {SENDING} AND $3 = 0"
            ),
        };
        let detail = detail.replace('\0', "\u{fffd}");
        on_writer!(self, pool => sqlx::query(AssertSqlSafe(sql)).bind(id).bind(&detail).bind(again.map_or(0, micros)).execute(pool).await.map(|_| ()))
            .doing("settle an answer")
    }

    /// When an answer is due next.
    pub async fn next_answer(&self) -> Result<Option<Time>, Error> {
        let sql = format!("SELECT MIN(next_at) FROM keyword_answers WHERE state = {WAITING} AND state <> {OVER}");
        let (at,): (Option<i64>,) =
            crate::on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).fetch_one(pool).await).doing("look for answers")?;
        Ok(at.map(super::from_micros))
    }
}
