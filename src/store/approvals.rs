//! Runs that go only when somebody other than the one who applied them has agreed.
//!
//! Until then such a run is held like one that was stopped by itself (`stops`): paused, with `held_at`. Nothing but [`Store::approve_run`] lets it go.

use super::audit::{self, Audit};
use super::batch::{Connection, Field, table};
use super::{Doing, Error, Store, micros};
use crate::on_writer;
use crate::types::{MessageState, RunId, RunState, Time};
use serde_json::json;

/// What came of somebody's agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// It goes.
    Given,
    /// It is agreed to, and still held for another reason.
    StillHeld,
    /// It does not wait for anybody's agreement, or this person is the one who applied it.
    Refused,
}

/// Where a run goes on that is let go: where it stood.
pub(super) fn where_it_stood() -> String {
    format!(
        "CASE WHEN planned_at IS NULL THEN {} WHEN started_at IS NULL THEN {} ELSE {} END",
        RunState::Planning.code(),
        RunState::Ready.code(),
        RunState::Running.code()
    )
}

impl Connection<'_> {
    /// How many messages a run has, refusals left out, as far as this transaction sees; counted no further than `most`.
    pub async fn messages_of_run(&mut self, run: RunId, most: u64) -> Result<u64, Error> {
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT m.id FROM {} AS given JOIN messages m ON m.run_id = given.id AND m.state <> {} LIMIT {}) AS counted",
            table(self.dialect(), &[("id", Field::Long)]),
            MessageState::Refused.code(),
            i64::try_from(most).unwrap_or(i64::MAX)
        );
        let count: Vec<(i64,)> = self.read("count the messages of a run", sql, &json!([{ "id": run.0 }]).to_string()).await?;
        Ok(count.first().and_then(|(count,)| u64::try_from(*count).ok()).unwrap_or(0))
    }

    /// Holds a run that has grown so large that a second person must agree, in the transaction in which it grows, so that no message too many leaves
    /// before; `false` when it is over, or was asked before. One that a person has paused is held too: whoever resumes it must have the agreement.
    pub async fn ask_approval(&mut self, run: RunId, why: &str, now: Time) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE runs SET state = {paused}, held_at = COALESCE(held_at, {now}), approval_why = given.why
             FROM {given} AS given WHERE runs.id = given.id AND runs.state IN ({ready}, {running}, {paused}) AND runs.approval_why IS NULL",
            paused = RunState::Paused.code(),
            ready = RunState::Ready.code(),
            running = RunState::Running.code(),
            now = micros(now),
            given = table(self.dialect(), &[("id", Field::Long), ("why", Field::Text)]),
        );
        let held = self.write("hold a run", sql, &json!([{ "id": run.0, "why": why }]).to_string()).await? > 0;
        if held {
            let (who, action, subject) = ("posthaste".into(), "hold".into(), format!("run {run}"));
            audit::write(self, &Audit { at: now, who, action, subject, detail: Some(why.into()) }).await?;
        }
        Ok(held)
    }
}

impl Store {
    /// Who applied the run's version; what a second person must not be.
    pub async fn applied_by(&self, run: RunId) -> Result<Option<String>, Error> {
        let sql = "SELECT d.applied_by FROM runs r JOIN definitions d ON d.id = r.version_id WHERE r.id = $1";
        let row: Option<(String,)> =
            crate::on_pool!(self, pool => sqlx::query_as(sql).bind(run.0).fetch_optional(pool).await).doing("read who applied a run")?;
        Ok(row.map(|(who,)| who))
    }

    /// Somebody agrees to a run. That it is not the one who applied it is asked in the same statement.
    pub async fn approve_run(&self, run: RunId, who: &str, now: Time) -> Result<Agreement, Error> {
        let sql = format!(
            "UPDATE runs SET approved_by = $2, approved_at = $3, held_at = CASE WHEN held_why IS NULL THEN NULL ELSE held_at END,
                             state = CASE WHEN held_why IS NULL THEN {where_it_stood} ELSE state END
             WHERE id = $1 AND state = {paused} AND approval_why IS NOT NULL AND approved_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM definitions d WHERE d.id = runs.version_id AND d.applied_by = $2)
             RETURNING state",
            where_it_stood = where_it_stood(),
            paused = RunState::Paused.code()
        );
        let row: Option<(i16,)> =
            on_writer!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run.0).bind(who).bind(micros(now)).fetch_optional(pool).await)
                .doing("agree to a run")?;
        let Some((state,)) = row else { return Ok(Agreement::Refused) };
        self.tell().await?;
        let subject = format!("run #{run}");
        self.audit(&Audit { at: now, who: who.into(), action: "runs.approve".into(), subject, detail: None }).await?;
        Ok(if state == RunState::Paused.code() { Agreement::StillHeld } else { Agreement::Given })
    }
}
