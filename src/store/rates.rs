//! What is limited in pace, over all processes: slots of time, taken in slices.

use super::{Doing, Error, Store};
use crate::on_writer;

/// Slots that nobody waits for so far ahead were written by a clock that was wrong.
const FARTHEST: i64 = 60_000_000;

impl Store {
    /// Takes the next `count` slots of a pace, `step` microseconds apart; gives the instant of the first, which is `now` or later, and nobody else gets any of them.
    pub async fn take_slots(&self, name: &str, step: i64, count: i64, now: i64) -> Result<i64, Error> {
        let later = self.pick("MAX", "GREATEST");
        let length = step.saturating_mul(count);
        let farthest = now.saturating_add(FARTHEST).saturating_add(step.saturating_mul(64));
        let sql = format!(
            "INSERT INTO rates (name, next_at) VALUES ($1, $2 + $3)
             ON CONFLICT (name) DO UPDATE SET next_at = CASE WHEN rates.next_at > $4 THEN $2 ELSE {later}(rates.next_at, $2) END + $3 RETURNING next_at"
        );
        let (end,): (i64,) =
            on_writer!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(name).bind(now).bind(length).bind(farthest).fetch_one(pool).await)
                .doing("take slots of a limited pace")?;
        Ok(end - length)
    }
}
