//! Messages that change to another channel after they were planned: nothing of them has left yet, and a cap has no room on the first one.

use super::batch::{Connection, Field, table};
use super::candidates::{Way, consent};
use super::ledger::{Claim, held_by};
use super::{Doing, Error, micros};
use crate::types::{Channel, MessageState, NodeId, RunId, SuppressionReason, Time};
use serde_json::json;
use std::collections::HashMap;

/// Which customer might be reached on which channel instead.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub message: i64,
    pub customer: i64,
    pub channel: Channel,
}

/// What a customer has there, and whether somebody else's message of the run goes to that address already.
#[derive(Debug, Clone)]
pub struct OtherWay {
    pub way: Way,
    pub is_duplicate: bool,
}

/// How a message goes on.
#[derive(Debug, Clone)]
pub struct Switch {
    pub message: i64,
    pub claim: Claim,
    pub channel: Channel,
    pub address: String,
    pub site: String,
    pub expires_at: i64,
    pub next_at: i64,
    pub detail: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    message: i64,
    address: String,
    site: String,
    reason: Option<i16>,
    until: Option<i64>,
    state: Option<i16>,
    at: Option<i64>,
    state_of_all: Option<i16>,
    at_of_all: Option<i64>,
    is_duplicate: i32,
}

/// Of PostgreSQL's advisory locks: who changes channels in a run, one at a time.
const LOCK_CLASS: i32 = 0x706f_6301;

impl Connection<'_> {
    /// What these customers have on these channels. Nobody else changes channels in this run until the transaction ends, so that one address is not
    /// taken twice; the caller has locked the customers before.
    pub async fn other_ways(&mut self, run: RunId, topic: Option<&str>, asked: &[Asked]) -> Result<HashMap<i64, OtherWay>, Error> {
        if let Connection::Postgres(connection) = self {
            let run = i32::try_from(run.0.rem_euclid(i64::from(i32::MAX))).unwrap_or(0);
            sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
                .bind(LOCK_CLASS)
                .bind(run)
                .execute(&mut **connection)
                .await
                .doing("lock a run")?;
        }
        let given = table(
            self.dialect(),
            &[("message", Field::Long), ("customer", Field::Long), ("channel", Field::Small), ("topic", Field::Text)],
        );
        let sql = format!(
            "SELECT g.message, a.address, a.site, s.reason, s.until, t.state, t.at, w.state AS state_of_all, w.at AS at_of_all,
                    CASE WHEN EXISTS (SELECT 1 FROM addresses o JOIN messages d ON d.run_id = {run} AND d.customer_id = o.customer_id
                                      WHERE o.key = a.key AND o.customer_id <> g.customer AND d.channel = g.channel AND d.state <> {refused}) THEN 1 ELSE 0 END AS is_duplicate
             FROM {given} AS g JOIN addresses a ON a.customer_id = g.customer AND a.channel = g.channel AND a.is_primary = 1
             LEFT JOIN suppressions s ON s.key = a.key
             LEFT JOIN consent_state t ON t.customer_id = g.customer AND t.channel = g.channel AND t.topic = g.topic
             LEFT JOIN consent_state w ON w.customer_id = g.customer AND w.channel = g.channel AND w.topic = '*'",
            run = run.0,
            refused = MessageState::Refused.code(),
        );
        let row = |one: &Asked| json!({ "message": one.message, "customer": one.customer, "channel": one.channel.code(), "topic": topic });
        let rows = json!(asked.iter().map(row).collect::<Vec<_>>()).to_string();
        let found: Vec<Row> = self.read("look for another channel", sql, &rows).await?;
        let way = |row: Row| {
            let suppression = row.reason.map(|code| (SuppressionReason::from_code(code).unwrap_or(SuppressionReason::Manual), row.until));
            let way = Way {
                address: Some(row.address.into()),
                site: row.site.into(),
                suppression,
                consent: consent(row.state, row.at),
                consent_to_all: consent(row.state_of_all, row.at_of_all),
            };
            (row.message, OtherWay { way, is_duplicate: row.is_duplicate != 0 })
        };
        Ok(found.into_iter().map(way).collect())
    }

    /// Puts messages on their other channel, where they wait until `next_at`. Gives those that were still the claim's own.
    pub async fn switch_channels(&mut self, node: NodeId, rows: &[Switch], now: Time) -> Result<Vec<i64>, Error> {
        let fields = [
            ("id", Field::Long),
            ("block", Field::Long),
            ("fence", Field::Long),
            ("channel", Field::Small),
            ("address", Field::Text),
            ("site", Field::Text),
            ("expires_at", Field::Long),
            ("next_at", Field::Long),
            ("detail", Field::Text),
        ];
        let given = table(self.dialect(), &fields);
        // A message that somebody writes this moment is being cancelled: waiting for it could be waiting for each other.
        let free = self.pick(
            String::new(),
            format!("AND messages.id IN (SELECT m.id FROM messages m JOIN {given} AS g ON g.id = m.id FOR UPDATE OF m SKIP LOCKED)"),
        );
        let sql = format!(
            "UPDATE messages SET channel = r.channel, address = r.address, site = r.site, expires_at = r.expires_at, next_at = r.next_at, detail = r.detail,
                    state = {deferred}, reason = NULL, node_id = NULL, changed_at = {now}
             FROM {given} AS r WHERE messages.id = r.id AND {held} {free} RETURNING messages.id",
            deferred = MessageState::Deferred.code(),
            now = micros(now),
            held = held_by(&node.0.to_string()),
        );
        let row = |one: &Switch| {
            json!({ "id": one.message, "block": one.claim.block, "fence": one.claim.fence, "channel": one.channel.code(), "address": one.address,
                    "site": one.site, "expires_at": one.expires_at, "next_at": one.next_at, "detail": one.detail })
        };
        let rows = json!(rows.iter().map(row).collect::<Vec<_>>()).to_string();
        let switched: Vec<(i64,)> = self.read("send messages another way", sql, &rows).await?;
        // The day that a warm-up had given them is free again.
        let these = table(self.dialect(), &[("id", Field::Long)]);
        let rows = json!(switched.iter().map(|(id,)| json!({ "id": id })).collect::<Vec<_>>()).to_string();
        let days = format!(
            "INSERT INTO warm_up_freed (warm_up_day) SELECT m.warm_up_day FROM {these} AS g JOIN messages m ON m.id = g.id WHERE m.warm_up_day > 0 AND m.attempts = 0"
        );
        self.write("free the days of a warm-up", days, &rows).await?;
        let none = format!("UPDATE messages SET warm_up_day = NULL WHERE warm_up_day IS NOT NULL AND id IN (SELECT id FROM {these} AS g)");
        self.write("free the days of a warm-up", none, &rows).await?;
        Ok(switched.into_iter().map(|(id,)| id).collect())
    }
}
