//! What a simulation reads of the copy in which it ran.

use super::{Doing, Error, Store, from_micros, micros};
use crate::on_pool;
use crate::types::{MessageState, Time};
use std::collections::BTreeMap;

const DOING: &str = "read the simulation";

/// A run of the simulation with its messages: state, reason, how many.
#[derive(Debug, Clone)]
pub struct SimulatedRun {
    pub campaign: String,
    pub number: i64,
    pub due_at: Time,
    pub states: Vec<(i16, Option<i16>, u64)>,
}

impl Store {
    /// The number of the newest run; 0 when there is none.
    pub async fn last_run(&self) -> Result<i64, Error> {
        let (last,): (i64,) =
            on_pool!(self, pool => sqlx::query_as("SELECT COALESCE(MAX(id), 0) FROM runs").fetch_one(pool).await).doing(DOING)?;
        Ok(last)
    }

    /// Runs that came after the run `last`, in the order of their due times.
    pub async fn simulated_runs(&self, last: i64) -> Result<Vec<SimulatedRun>, Error> {
        let sql = "SELECT r.id, c.key, CAST(r.number AS BIGINT), r.due_at FROM runs r JOIN campaigns c ON c.id = r.campaign_id
                   WHERE r.id > $1 AND r.is_test = 0 ORDER BY r.due_at, c.key, r.number";
        let rows: Vec<(i64, String, i64, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(last).fetch_all(pool).await).doing(DOING)?;
        let sql = format!(
            "SELECT m.run_id, {}, m.reason, COUNT(*) FROM messages m JOIN runs r ON r.id = m.run_id WHERE m.run_id > $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            super::stops::seen_state("m", "r")
        );
        let counts: Vec<(i64, i16, Option<i16>, i64)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(last).fetch_all(pool).await).doing(DOING)?;
        let mut states: BTreeMap<i64, Vec<(i16, Option<i16>, u64)>> = BTreeMap::new();
        for (run, state, reason, count) in counts {
            let reason = reason.filter(|_| state == MessageState::Refused.code());
            states.entry(run).or_default().push((state, reason, count as u64));
        }
        let run = |(id, campaign, number, due): (i64, String, i64, i64)| SimulatedRun {
            campaign,
            number,
            due_at: from_micros(due),
            states: states.get(&id).cloned().unwrap_or_default(),
        };
        Ok(rows.into_iter().map(run).collect())
    }

    /// Messages that were accepted from `from` on after they had to wait by rule: campaign, quarter of an hour since 1970, why, how many.
    pub async fn simulated_waits(&self, from: Time) -> Result<Vec<(String, i64, String, u64)>, Error> {
        let sql = format!(
            "SELECT c.key, m.accepted_at / 900000000, m.detail, COUNT(*) FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
             WHERE m.state = {} AND m.detail IS NOT NULL AND m.accepted_at >= $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            MessageState::Accepted.code()
        );
        let rows: Vec<(String, i64, String, i64)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(micros(from)).fetch_all(pool).await).doing(DOING)?;
        Ok(rows.into_iter().map(|(campaign, quarter, why, count)| (campaign, quarter, why, count as u64)).collect())
    }

    /// How customers are called: by external id, else by number.
    pub async fn names_of(&self, customers: &[i64]) -> Result<BTreeMap<i64, String>, Error> {
        let list: Vec<String> = customers.iter().map(i64::to_string).collect();
        let sql = format!("SELECT id, external_id FROM customers WHERE external_id IS NOT NULL AND id IN ({})", list.join(", "));
        let rows: Vec<(i64, String)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing(DOING)?;
        Ok(rows.into_iter().collect())
    }
}
