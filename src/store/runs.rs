//! Occurrences of campaigns and their arms.

use super::batch::Connection;
use super::missed::MissedRow;
use super::planning_right::Right;
use super::{Doing, Error, Store, from_micros, micros};
use crate::types::{CampaignId, RunId, RunState, Time, VersionId};
use crate::{in_transaction, on_pool, on_writer};

/// One occurrence of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: RunId,
    pub campaign: CampaignId,
    /// The campaign's key.
    pub key: String,
    /// From 1 in each campaign.
    pub number: i64,
    pub version: VersionId,
    pub occurrence: String,
    pub is_test: bool,
    pub due_at: Time,
    pub state: RunState,
    pub planned_at: Option<Time>,
    pub finished_at: Option<Time>,
    /// Why it was left out instead of planned.
    pub left_out: Option<String>,
    /// Why it was stopped by itself, and whether it still waits for a person.
    pub held_why: Option<String>,
    pub is_held: bool,
    /// Why a second person must agree, and who did.
    pub approval: Option<Approval>,
    /// What its messages cost under `limits.cost`, in minor units of the limit's currency; 0 without one.
    pub cost: i64,
}

/// A run of so many messages goes only when somebody other than the one who applied its version has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub why: String,
    /// Who agreed, and when.
    pub by: Option<(String, Time)>,
}

impl Run {
    /// Nobody has agreed yet.
    pub fn waits_for_approval(&self) -> bool {
        self.approval.as_ref().is_some_and(|approval| approval.by.is_none())
    }
}

/// What looking at a schedule came to.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What is due: how its run is named, and when.
    pub occurrences: Vec<(String, Time)>,
    /// What went by and is not run.
    pub missed: Vec<MissedRow>,
    /// Everything up to here has been looked at.
    pub until: Time,
}

/// What finishes a plan.
#[derive(Debug, Clone, Default)]
pub struct Finish {
    /// Why it is held until a person has looked.
    pub held: Option<String>,
    /// Why it is held until a second person agrees.
    pub approval: Option<String>,
    /// What its messages cost, in minor units of the limit's currency.
    pub cost: i64,
}

/// An arm of a run: 0 is held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    pub arm: i16,
    pub name: String,
    pub held_out: bool,
}

/// The arm of those held out.
pub const HELD_OUT: i16 = 0;
/// Of those refused before anything was drawn.
pub const NOT_DRAWN: i16 = -1;

const RUN: &str =
    "SELECT r.id, r.campaign_id, c.key, CAST(r.number AS BIGINT) AS number, r.version_id, r.occurrence, r.is_test, r.due_at, r.state, r.planned_at, r.finished_at, r.left_out,
            r.held_why, CASE WHEN r.held_at IS NULL THEN 0 ELSE 1 END AS is_held, r.cost, r.approval_why, r.approved_by, r.approved_at
                   FROM runs r JOIN campaigns c ON c.id = r.campaign_id";
/// As [`RUN`] gives it.
#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    campaign_id: i64,
    key: String,
    number: i64,
    version_id: i64,
    occurrence: String,
    is_test: i16,
    due_at: i64,
    state: i16,
    planned_at: Option<i64>,
    finished_at: Option<i64>,
    left_out: Option<String>,
    held_why: Option<String>,
    is_held: i32,
    cost: i64,
    approval_why: Option<String>,
    approved_by: Option<String>,
    approved_at: Option<i64>,
}

fn run_of(row: Row) -> Run {
    let by = row.approved_by.zip(row.approved_at.map(from_micros));
    Run {
        id: RunId(row.id),
        campaign: CampaignId(row.campaign_id),
        key: row.key,
        number: row.number,
        version: VersionId(row.version_id),
        occurrence: row.occurrence,
        is_test: row.is_test != 0,
        due_at: from_micros(row.due_at),
        state: RunState::from_code(row.state).unwrap_or(RunState::Paused),
        planned_at: row.planned_at.map(from_micros),
        finished_at: row.finished_at.map(from_micros),
        left_out: row.left_out,
        held_why: row.held_why,
        is_held: row.is_held != 0,
        approval: row.approval_why.map(|why| Approval { why, by }),
        cost: row.cost,
    }
}

impl Store {
    /// Campaign and number of every run.
    pub async fn runs_named(&self) -> Result<std::collections::BTreeMap<i64, (String, i64)>, Error> {
        let sql = "SELECT r.id, c.key, CAST(r.number AS BIGINT) FROM runs r JOIN campaigns c ON c.id = r.campaign_id";
        let rows: Vec<(i64, String, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("read the names of runs")?;
        Ok(rows.into_iter().map(|(id, key, number)| (id, (key, number))).collect())
    }

    /// Makes a run in state planning for each occurrence that has none yet, and notes what was missed and how far was looked.
    pub async fn create_runs(&self, campaign: CampaignId, version: VersionId, looked: &Looked, right: Right) -> Result<(), Error> {
        in_transaction!(self, "make runs", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            Connection::from(&mut *transaction).note_missed(campaign, &looked.missed).await?;
            for (occurrence, due) in &looked.occurrences {
                sqlx::query(
                    "INSERT INTO runs (campaign_id, number, version_id, occurrence, is_test, due_at, state)
                     SELECT $1, COALESCE((SELECT MAX(number) FROM runs WHERE campaign_id = $1), 0) + 1, $2, $3, $4, $5, $6 WHERE true
                     ON CONFLICT (campaign_id, occurrence) DO NOTHING")
                    .bind(campaign.0).bind(version.0).bind(occurrence).bind(i16::from(occurrence.starts_with("test:")))
                    .bind(micros(*due)).bind(RunState::Planning.code())
                    .execute(&mut *transaction).await.doing("make a run")?;
            }
            sqlx::query("UPDATE campaigns SET scheduled_until = $2 WHERE id = $1 AND scheduled_until < $2")
                .bind(campaign.0).bind(micros(looked.until)).execute(&mut *transaction).await.doing("note what was scheduled")?;
        });
        Ok(())
    }

    /// Runs in one of these states, the earliest due first.
    pub async fn runs_in(&self, states: &[RunState]) -> Result<Vec<Run>, Error> {
        let list: Vec<String> = states.iter().map(|state| state.code().to_string()).collect();
        let sql = format!("{RUN} WHERE r.state IN ({}) ORDER BY r.due_at, r.id", list.join(", "));
        let rows: Vec<Row> = on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("read runs")?;
        Ok(rows.into_iter().map(run_of).collect())
    }

    /// All runs of a campaign, or of all, in the order of their numbers.
    pub async fn runs_of(&self, campaign: Option<&str>) -> Result<Vec<Run>, Error> {
        let sql = format!("{RUN} WHERE $1 = '' OR c.key = $1 ORDER BY c.key, r.number");
        let rows: Vec<Row> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(campaign.unwrap_or("")).fetch_all(pool).await)
                .doing("read runs")?;
        Ok(rows.into_iter().map(run_of).collect())
    }

    pub async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        let sql = format!("{RUN} WHERE r.id = $1");
        let row: Option<Row> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_optional(pool).await).doing("read a run")?;
        Ok(row.map(run_of))
    }

    /// The number that the campaign's next run will have.
    pub async fn next_run_number(&self, campaign: CampaignId) -> Result<i64, Error> {
        let sql = "SELECT CAST(COALESCE(MAX(number), 0) AS BIGINT) + 1 FROM runs WHERE campaign_id = $1";
        let (number,): (i64,) = on_pool!(self, pool => sqlx::query_as(sql).bind(campaign.0).fetch_one(pool).await).doing("number a run")?;
        Ok(number)
    }

    /// The number of an earlier run of the campaign that still hands messages over for the first time, or is not planned yet; of those due before
    /// `due_before`. Messages that are tried again do not count, and neither do paused runs.
    pub async fn run_that_still_goes(&self, run: &Run, due_before: Time) -> Result<Option<i64>, Error> {
        let sql = format!(
            "SELECT CAST(r.number AS BIGINT) FROM runs r WHERE r.campaign_id = $1 AND r.number < $2 AND r.is_test = 0 AND r.due_at < $3
               AND (r.state = {planning} OR r.state IN ({ready}, {running}) AND EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = r.id))
             ORDER BY r.number DESC LIMIT 1",
            planning = RunState::Planning.code(),
            ready = RunState::Ready.code(),
            running = RunState::Running.code()
        );
        let row: Option<(i64,)> = on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run.campaign.0).bind(run.number)
            .bind(micros(due_before)).fetch_optional(pool).await)
        .doing("look for a run that still goes")?;
        Ok(row.map(|(number,)| number))
    }

    /// The last run of the campaign before this one that was not left out or cancelled.
    pub async fn run_before(&self, run: &Run) -> Result<Option<Run>, Error> {
        let sql = format!(
            "{RUN} WHERE r.campaign_id = $1 AND r.number < $2 AND r.is_test = 0 AND r.state <> {} ORDER BY r.number DESC LIMIT 1",
            RunState::Cancelled.code()
        );
        let row: Option<Row> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run.campaign.0).bind(run.number).fetch_optional(pool).await)
                .doing("look for the run before")?;
        Ok(row.map(run_of))
    }

    /// A run that is due is not planned at all, and says why.
    pub async fn leave_run_out(&self, run: RunId, why: &str, now: Time, right: Right) -> Result<(), Error> {
        let sql = "UPDATE runs SET state = $2, left_out = $3, finished_at = $4 WHERE id = $1 AND state = $5";
        in_transaction!(self, "leave a run out", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            sqlx::query(sql).bind(run.0).bind(RunState::Cancelled.code()).bind(why).bind(micros(now))
                .bind(RunState::Planning.code()).execute(&mut *transaction).await.doing("leave a run out")?;
        });
        Ok(())
    }

    /// The arms of a run, held-out people first.
    pub async fn arms(&self, run: RunId) -> Result<Vec<Arm>, Error> {
        let sql = "SELECT arm, name, held_out FROM arms WHERE run_id = $1 ORDER BY arm";
        let rows: Vec<(i16, String, i16)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(run.0).fetch_all(pool).await).doing("read the arms")?;
        Ok(rows.into_iter().map(|(arm, name, held_out)| Arm { arm, name, held_out: held_out != 0 }).collect())
    }

    /// The plan is complete: its arms are known and its messages may leave, unless the run is held.
    pub async fn finish_planning(&self, run: RunId, arms: &[Arm], finish: &Finish, now: Time, right: Right) -> Result<(), Error> {
        let held_at = (finish.held.is_some() || finish.approval.is_some()).then(|| micros(now));
        let state = if held_at.is_some() { RunState::Paused } else { RunState::Ready };
        in_transaction!(self, "finish planning", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            for arm in arms {
                sqlx::query("INSERT INTO arms (run_id, arm, name, held_out) VALUES ($1, $2, $3, $4)")
                    .bind(run.0).bind(arm.arm).bind(&arm.name).bind(i16::from(arm.held_out))
                    .execute(&mut *transaction).await.doing("store the arms")?;
            }
            sqlx::query("UPDATE runs SET state = $2, planned_at = $3, held_at = $5, held_why = COALESCE($6, held_why), approval_why = $7, cost = $8
                 WHERE id = $1 AND state = $4")
                .bind(run.0).bind(state.code()).bind(micros(now)).bind(RunState::Planning.code()).bind(held_at).bind(finish.held.as_deref())
                .bind(finish.approval.as_deref()).bind(finish.cost)
                .execute(&mut *transaction).await.doing("finish planning")?;
        });
        Ok(())
    }

    /// Takes back what a planner that died had written; a few rows at a time.
    pub async fn drop_plan(&self, run: RunId, right: Right) -> Result<(), Error> {
        let doing = "drop an unfinished plan";
        loop {
            let gone = in_transaction!(self, "drop an unfinished plan", transaction => {
                Connection::from(&mut *transaction).still_plans(right).await?;
                sqlx::query("DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE run_id = $1 LIMIT 1000)")
                    .bind(run.0).execute(&mut *transaction).await.doing(doing)?.rows_affected()
            });
            if gone == 0 {
                break;
            }
        }
        in_transaction!(self, "drop an unfinished plan", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            for sql in ["DELETE FROM blocks WHERE run_id = $1", "DELETE FROM arms WHERE run_id = $1"] {
                sqlx::query(sql).bind(run.0).execute(&mut *transaction).await.doing(doing)?;
            }
        });
        Ok(())
    }

    /// Runs with nothing left to hand over become done; those of triggers only when their day is over everywhere, since until then more may come.
    pub async fn finish_runs(&self, now: Time) -> Result<Vec<RunId>, Error> {
        let sql = format!(
            "UPDATE runs SET state = {done}, finished_at = $1
             WHERE state IN ({ready}, {running}) AND (occurrence NOT LIKE 'when:%' OR due_at < $1 - {two_days}) AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.run_id = runs.id)
               AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.next_at IS NOT NULL AND m.run_id = runs.id) RETURNING id",
            done = RunState::Done.code(),
            ready = RunState::Ready.code(),
            running = RunState::Running.code(),
            two_days = 2 * 86_400_000_000_i64
        );
        let rows: Vec<(i64,)> = on_writer!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(micros(now)).fetch_all(pool).await)
            .doing("finish runs")?;
        Ok(rows.into_iter().map(|(id,)| RunId(id)).collect())
    }
}
