//! Failures that suppress an address only when they come again: a full mailbox, a disabled one, a domain that takes no mail
//! (standards.md §1.8). What shows that the address lives (a person's open or click) wipes them out.

use super::batch::{Connection, Field, table};
use super::responses::json;
use super::{Error, micros};
use crate::types::{SuppressionReason, Time};
use chrono::TimeDelta;
use serde::Serialize;

/// How a failure weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strike {
    /// Full, or not reached for too long: five over at least 30 days suppress.
    Soft = 1,
    /// The mailbox is disabled or the domain takes no mail: two, at least 24 hours apart, suppress.
    Dead = 2,
}

/// A failure of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrikeRow {
    pub key: Vec<u8>,
    pub channel: i16,
    pub strike: Strike,
    pub at: Time,
}

const SOFT_COUNT: i64 = 5;
const SOFT_SPAN: TimeDelta = TimeDelta::days(30);
const DEAD_SPAN: TimeDelta = TimeDelta::hours(24);
/// After so long without another, failures are counted from the beginning.
const FORGOTTEN: TimeDelta = TimeDelta::days(180);

fn long(span: TimeDelta) -> i64 {
    span.num_microseconds().unwrap_or(i64::MAX)
}

/// Counts failures, and suppresses the addresses for which they are enough.
pub async fn strike(connection: &mut Connection<'_>, rows: &[StrikeRow]) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Row {
        key: String,
        kind: i16,
        channel: i16,
        at: i64,
    }
    if rows.is_empty() {
        return Ok(());
    }
    let mut given: Vec<Row> = rows
        .iter()
        .map(|row| Row { key: hex::encode(&row.key), kind: row.strike as i16, channel: row.channel, at: micros(row.at) })
        .collect();
    given.sort_by(|a, b| (&a.key, a.kind, a.at).cmp(&(&b.key, b.kind, b.at)));
    let given = json(&given)?;
    let rows =
        table(connection.dialect(), &[("key", Field::Bytes), ("kind", Field::Small), ("channel", Field::Small), ("at", Field::Long)]);
    let (least, greatest) = connection.pick(("MIN", "MAX"), ("LEAST", "GREATEST"));
    let forgotten = format!("excluded.last_at - strikes.last_at > {}", long(FORGOTTEN));
    let sql = format!(
        "INSERT INTO strikes (key, kind, channel, first_at, last_at, count)
         SELECT key, kind, MAX(channel), MIN(at), MAX(at), COUNT(*) FROM {rows} AS given WHERE true GROUP BY key, kind ORDER BY key, kind
         ON CONFLICT (key, kind) DO UPDATE SET
            first_at = CASE WHEN {forgotten} THEN excluded.first_at ELSE {least}(strikes.first_at, excluded.first_at) END,
            count = CASE WHEN {forgotten} THEN excluded.count ELSE strikes.count + excluded.count END,
            last_at = {greatest}(strikes.last_at, excluded.last_at)"
    );
    connection.write("count failures", sql, &given).await?;
    let sql = format!(
        "INSERT INTO suppressions (key, channel, reason, since, until, source)
         SELECT s.key, s.channel, CASE s.kind WHEN {dead} THEN {hard_bounce} ELSE {soft_bounces} END, s.last_at, NULL, 'failed again'
         FROM strikes s
         WHERE s.key IN (SELECT key FROM {rows} AS given)
           AND (s.kind = {dead} AND s.count >= 2 AND s.last_at - s.first_at >= {dead_span}
                OR s.kind = {soft} AND s.count >= {SOFT_COUNT} AND s.last_at - s.first_at >= {soft_span}
                   AND NOT EXISTS (SELECT 1 FROM strikes d WHERE d.key = s.key AND d.kind = {dead} AND d.count >= 2
                                   AND d.last_at - d.first_at >= {dead_span}))
         ORDER BY s.key
         ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, until = NULL, source = excluded.source WHERE suppressions.until IS NOT NULL",
        dead = Strike::Dead as i16,
        soft = Strike::Soft as i16,
        hard_bounce = SuppressionReason::HardBounce.code(),
        soft_bounces = SuppressionReason::SoftBounces.code(),
        dead_span = long(DEAD_SPAN),
        soft_span = long(SOFT_SPAN),
    );
    connection.write("suppress what failed again", sql, &given).await?;
    Ok(())
}
