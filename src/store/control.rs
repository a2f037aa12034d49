//! The brakes: what a person stops, holds up or lets go on, and how running engines hear of it.
//!
//! A brake is a fact in the database that every hand-over mark asks about in its own transaction (`ledger`), so that it holds from its commit on,
//! whatever the processes know. That they hear of it at once ([`Store::tell`]) only spares them work, and stops what is marked and still waits for its turn.

use super::approvals::where_it_stood;
use super::audit::Audit;
use super::{Doing, Error, Store, micros};
use crate::types::{MessageState, RunId, RunState, Time};
use crate::{in_transaction, on_pool, on_writer};
use std::collections::HashSet;

/// The setting that stops every hand-over; its value says since when, by whom and why.
pub const STOPPED: &str = "stopped";
/// The channel on which PostgreSQL carries the news of changes.
pub const NEWS: &str = "posthaste";

/// What is written under [`STOPPED`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stopped {
    pub at: Time,
    pub who: String,
    pub reason: String,
}

/// What must not be handed over now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brakes {
    pub everything: bool,
    /// Runs that are paused or cancelled, or whose campaign is paused.
    pub runs: HashSet<RunId>,
}

impl Brakes {
    pub fn hold(&self, run: RunId) -> bool {
        self.everything || self.runs.contains(&run)
    }
}

/// The condition under which messages of the run `r` (of the campaign `c`) may be handed over.
pub(super) fn may_send() -> String {
    format!(
        "r.state IN ({}, {}) AND c.paused_at IS NULL AND NOT EXISTS (SELECT 1 FROM settings WHERE settings.name = '{STOPPED}')",
        RunState::Ready.code(),
        RunState::Running.code()
    )
}

impl Store {
    /// Tells other processes that something has changed. On SQLite they see it by themselves.
    pub async fn tell(&self) -> Result<(), Error> {
        let Store::Postgres(pool) = self else { return Ok(()) };
        sqlx::query("SELECT pg_notify($1, '')").bind(NEWS).execute(pool).await.map(|_| ()).doing("tell the other machines")
    }

    /// The brakes that are on.
    pub async fn brakes(&self) -> Result<Brakes, Error> {
        let sql = format!(
            "SELECT CAST(0 AS BIGINT) FROM settings WHERE name = '{STOPPED}'
             UNION ALL SELECT r.id FROM runs r JOIN campaigns c ON c.id = r.campaign_id
             WHERE r.state = {paused} OR (r.state IN ({ready}, {running}) AND c.paused_at IS NOT NULL)
                OR (r.state = {cancelled} AND EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = r.id))",
            paused = RunState::Paused.code(),
            ready = RunState::Ready.code(),
            running = RunState::Running.code(),
            cancelled = RunState::Cancelled.code(),
        );
        let rows: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("look at the brakes")?;
        let everything = rows.iter().any(|(run,)| *run == 0);
        Ok(Brakes { everything, runs: rows.into_iter().filter(|(run,)| *run > 0).map(|(run,)| RunId(run)).collect() })
    }

    /// Nothing is handed over or planned any more, by any process, until [`Store::resume_all`]. A second time changes nothing.
    pub async fn stop_all(&self, stopped: &Stopped) -> Result<(), Error> {
        let value = serde_json::to_string(stopped).unwrap_or_default();
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        on_writer!(self, pool => sqlx::query(sql).bind(STOPPED).bind(&value).execute(pool).await.map(|_| ())).doing("stop everything")?;
        self.tell().await?;
        let detail = (!stopped.reason.is_empty()).then(|| stopped.reason.clone());
        self.audit(&Audit { at: stopped.at, who: stopped.who.clone(), action: "stop_all".into(), subject: "everything".into(), detail })
            .await
    }

    /// Lets everything go on; `false` when nothing was stopped.
    pub async fn resume_all(&self, who: &str, now: Time) -> Result<bool, Error> {
        let done = on_writer!(self, pool => sqlx::query("DELETE FROM settings WHERE name = $1").bind(STOPPED).execute(pool).await.map(|done| done.rows_affected()))
            .doing("let everything go on")?;
        self.tell().await?;
        if done > 0 {
            self.audit(&Audit { at: now, who: who.into(), action: "resume_all".into(), subject: "everything".into(), detail: None })
                .await?;
        }
        Ok(done > 0)
    }

    /// Since when and why everything is stopped.
    pub async fn stopped(&self) -> Result<Option<Stopped>, Error> {
        let value = self.setting(STOPPED).await?;
        value
            .map(|value| {
                serde_json::from_str(&value).map_err(|error| Error::Unexpected { doing: "read the brake", what: error.to_string() })
            })
            .transpose()
    }

    /// Campaign, run and how many of its messages wait, of every run that is not over.
    pub async fn waiting(&self) -> Result<Vec<(String, i64, i64)>, Error> {
        let states: Vec<String> = MessageState::WAITING.iter().map(|state| state.code().to_string()).collect();
        let sql = format!(
            "SELECT c.key, CAST(r.number AS BIGINT), COUNT(*) FROM runs r JOIN campaigns c ON c.id = r.campaign_id JOIN messages m ON m.run_id = r.id
             WHERE r.state NOT IN ({}, {}) AND m.state IN ({}) GROUP BY c.key, r.number ORDER BY c.key, r.number",
            RunState::Done.code(),
            RunState::Cancelled.code(),
            states.join(", ")
        );
        on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("count what waits")
    }

    /// Stops new hand-overs of a campaign, or lets them go on; `false` when there is no such campaign.
    pub async fn pause_campaign(&self, key: &str, at: Option<Time>) -> Result<bool, Error> {
        let sql = "UPDATE campaigns SET paused_at = $2 WHERE key = $1";
        let done =
            on_writer!(self, pool => sqlx::query(sql).bind(key).bind(at.map(micros)).execute(pool).await.map(|done| done.rows_affected()))
                .doing("pause a campaign")?;
        self.tell().await?;
        Ok(done > 0)
    }

    /// Stops new hand-overs of a run; `false` when it is over, or paused already.
    pub async fn pause_run(&self, run: RunId) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE runs SET state = {} WHERE id = $1 AND state IN ({}, {}, {})",
            RunState::Paused.code(),
            RunState::Planning.code(),
            RunState::Ready.code(),
            RunState::Running.code()
        );
        self.change_run(run, sql, "pause a run").await
    }

    /// Lets a paused run go on where it stood (one that was not planned to the end is planned anew); `false` when it is not paused, or waits for a
    /// second person's agreement.
    pub async fn resume_run(&self, run: RunId) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE runs SET held_at = NULL, state = {} WHERE id = $1 AND state = {} AND (approval_why IS NULL OR approved_at IS NOT NULL)",
            where_it_stood(),
            RunState::Paused.code()
        );
        self.change_run(run, sql, "resume a run").await
    }

    async fn change_run(&self, run: RunId, sql: String, doing: &'static str) -> Result<bool, Error> {
        let done = on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run.0).execute(pool).await.map(|done| done.rows_affected()))
            .doing(doing)?;
        self.tell().await?;
        Ok(done > 0)
    }

    /// Cancels what has not been handed over of a campaign's unfinished runs; gives how many messages that were. What flies, finishes.
    pub async fn cancel_campaign(&self, key: &str, now: Time) -> Result<u64, Error> {
        let mut cancelled = 0;
        for run in self.runs_of(Some(key)).await? {
            if !matches!(run.state, RunState::Done | RunState::Cancelled) {
                cancelled += self.cancel_run(run.id, now).await?;
            }
        }
        Ok(cancelled)
    }

    /// Cancels what has not been handed over of a run. Blocks that a process holds stay with it until it gives them back: what it has marked is settled
    /// by its answers, or by who takes over from it.
    pub async fn cancel_run(&self, run: RunId, now: Time) -> Result<u64, Error> {
        let sql = format!(
            "UPDATE runs SET state = {cancelled}, finished_at = $2, held_at = NULL WHERE id = $1 AND state NOT IN ({done}, {cancelled})",
            done = RunState::Done.code(),
            cancelled = RunState::Cancelled.code()
        );
        on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run.0).bind(micros(now)).execute(pool).await.map(|_| ()))
            .doing("cancel a run")?;
        self.tell().await?;
        self.cancel_what_waits(run, now).await
    }

    /// Goes on with what a cancelling process left, and with what processes have given back since.
    pub async fn finish_cancelling(&self, now: Time) -> Result<(), Error> {
        let sql = format!(
            "SELECT r.id FROM runs r WHERE r.state = {} AND EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = r.id AND b.node_id IS NULL)",
            RunState::Cancelled.code()
        );
        let runs: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("look for cancelled runs")?;
        for (run,) in runs {
            self.cancel_what_waits(RunId(run), now).await?;
        }
        Ok(())
    }

    async fn cancel_what_waits(&self, run: RunId, now: Time) -> Result<u64, Error> {
        let (mut cancelled, mut after) = (0, 0_i64);
        loop {
            // A few at a time: no transaction is long while an engine lives.
            let blocks: Vec<(i64, i64)> =
                on_pool!(self, pool => sqlx::query_as("SELECT id, last_id FROM blocks WHERE run_id = $1 AND id > $2 ORDER BY id LIMIT 8")
                .bind(run.0).bind(after).fetch_all(pool).await)
                .doing("cancel a run")?;
            let Some((last, _)) = blocks.last() else { break };
            after = *last;
            in_transaction!(self, "cancel a run", transaction => {
                for (first, last) in &blocks {
                    cancelled += sqlx::query("UPDATE messages SET state = $3, changed_at = $4 WHERE id BETWEEN $1 AND $2 AND state = $5")
                        .bind(first).bind(last).bind(MessageState::Cancelled.code()).bind(micros(now)).bind(MessageState::Planned.code())
                        .execute(&mut *transaction).await.doing("cancel messages")?.rows_affected();
                    sqlx::query("DELETE FROM blocks WHERE id = $1 AND node_id IS NULL").bind(first).execute(&mut *transaction).await.doing("cancel messages")?;
                }
            });
        }
        let sql = format!(
            "UPDATE messages SET state = $2, changed_at = $3, next_at = NULL, node_id = NULL WHERE next_at IS NOT NULL AND run_id = $1 AND state IN ({}, {})",
            MessageState::Retry.code(),
            MessageState::Deferred.code()
        );
        cancelled += on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run.0).bind(MessageState::Cancelled.code()).bind(micros(now))
            .execute(pool).await.map(|done| done.rows_affected()))
        .doing("cancel messages")?;
        Ok(cancelled)
    }
}
