//! Automatic stops: what came of a run so far, and holding it until a person has looked.

use super::audit::Audit;
use super::tallies::Metric;
use super::{Doing, Error, Store, micros};
use crate::policy::stops::Seen;
use crate::types::{Failure, MessageState, RunId, RunState, Time};
use crate::{on_pool, on_writer};

/// The state of a message as its reader sees it, of the run under the alias: what waits in a held run is held.
pub(super) fn seen_state(message: &str, run: &str) -> String {
    format!(
        "CAST(CASE WHEN {run}.held_at IS NOT NULL AND {message}.state IN ({}, {}, {}) THEN {} ELSE {message}.state END AS SMALLINT)",
        MessageState::Planned.code(),
        MessageState::Retry.code(),
        MessageState::Deferred.code(),
        MessageState::Held.code()
    )
}

/// What came of the messages of a run: state, reason, how many, how many of them bounced. Walks the run's part of the index that keeps a customer from
/// being planned twice, never the other runs' messages; the rows lie close together, for they are numbered as they were planned, a window of customers
/// after another.
pub const OUTCOMES_OF_RUN: &str =
    "SELECT state, COALESCE(reason, 0), COUNT(*), COUNT(bounced_at) FROM messages WHERE run_id = $1 GROUP BY 1, 2";

impl Store {
    /// Runs that hand over now, of which something bad came back; not those that a person has let go on.
    pub async fn runs_with_bad_responses(&self) -> Result<Vec<RunId>, Error> {
        let sql = format!(
            "SELECT r.id FROM runs r WHERE r.state = {} AND r.held_why IS NULL AND r.is_test = 0
               AND EXISTS (SELECT 1 FROM tallies t WHERE t.run_id = r.id AND t.metric IN ({}, {}, {})) ORDER BY r.id",
            RunState::Running.code(),
            Metric::Unsubscribes.code(),
            Metric::Complaints.code(),
            Metric::BouncesHard.code()
        );
        let rows: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("look for what came back")?;
        Ok(rows.into_iter().map(|(id,)| RunId(id)).collect())
    }

    /// What came of a run so far. Goes through all its messages, and no others.
    pub async fn seen_of_run(&self, run: RunId) -> Result<Seen, Error> {
        let doing = "add up what came back";
        let mut seen = Seen::default();
        let rows: Vec<(i16, i32, i64, i64)> =
            on_pool!(self, pool => sqlx::query_as(OUTCOMES_OF_RUN).bind(run.0).fetch_all(pool).await).doing(doing)?;
        for (state, reason, count, bounced) in rows {
            let count = u64::try_from(count).unwrap_or(0);
            let is_hard = [Failure::InvalidAddress, Failure::InvalidDomain, Failure::Inactive, Failure::OwnerChanged]
                .iter()
                .any(|one| i32::from(one.code()) == reason);
            match MessageState::from_code(state) {
                Some(MessageState::Accepted) => seen.delivered += count - u64::try_from(bounced).unwrap_or(0),
                Some(MessageState::Failed) => {
                    seen.failures += count;
                    seen.hard_bounces += if is_hard { count } else { 0 };
                }
                _ => {}
            }
        }
        let sql = "SELECT metric, CAST(SUM(count) AS BIGINT) FROM tallies WHERE run_id = $1 GROUP BY metric";
        let rows: Vec<(i16, i64)> = on_pool!(self, pool => sqlx::query_as(sql).bind(run.0).fetch_all(pool).await).doing(doing)?;
        for (metric, count) in rows {
            let count = u64::try_from(count).unwrap_or(0);
            match metric {
                one if one == Metric::Unsubscribes.code() => seen.unsubscribes = count,
                one if one == Metric::Complaints.code() => seen.complaints = count,
                one if one == Metric::BouncesHard.code() => seen.hard_bounces += count,
                _ => {}
            }
        }
        Ok(seen)
    }

    /// Holds a run that hands over, once; `false` when it is over, paused, or was let go on by a person.
    pub async fn hold_run(&self, run: RunId, why: &str, now: Time) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE runs SET state = {}, held_at = $2, held_why = $3 WHERE id = $1 AND state IN ({}, {}) AND held_why IS NULL",
            RunState::Paused.code(),
            RunState::Ready.code(),
            RunState::Running.code()
        );
        let done =
            on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run.0).bind(micros(now)).bind(why).execute(pool).await
            .map(|done| done.rows_affected()))
            .doing("hold a run")?;
        self.tell().await?;
        if done > 0 {
            let subject = format!("run {run}");
            self.audit(&Audit { at: now, who: "posthaste".into(), action: "hold".into(), subject, detail: Some(why.into()) }).await?;
        }
        Ok(done > 0)
    }
}
