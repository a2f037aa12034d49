//! The right to plan: one process has it at a time, and loses it when its lease ends.
//!
//! The lease is that of the process (`nodes`). Who takes the right raises the fence, and every write of a plan names the fence that it began under, in its own
//! transaction ([`Connection::still_plans`]): a process that was frozen for longer than its lease writes nothing of its plan when it wakes. On PostgreSQL the
//! question keeps the right from being taken until that transaction ends; one that was frozen inside a transaction is cut off by the server after 20 seconds.

use super::batch::Connection;
use super::{Doing, Error, Store, micros};
use crate::types::{NodeId, Time};
use crate::{in_transaction, on_pool, on_writer};

/// The right as one process took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    fence: i64,
}

const DOING: &str = "take the right to plan";

impl Store {
    /// Takes the right to plan, or keeps the one that is `known`; `None` while another living process has it. On SQLite there is one engine, and every other
    /// one is dead.
    pub async fn take_right_to_plan(&self, node: NodeId, known: Option<Right>, now: Time) -> Result<Option<Right>, Error> {
        // The usual case costs no write.
        let sql = "SELECT node_id, fence FROM planning WHERE id = 1";
        let (holder, fence): (Option<i64>, i64) = on_pool!(self, pool => sqlx::query_as(sql).fetch_one(pool).await).doing(DOING)?;
        if holder == Some(node.0) && known == Some(Right { fence }) {
            return Ok(known);
        }
        let alive = self.pick("false", "n.alive_until >= $2");
        let lock = self.pick("", "FOR UPDATE SKIP LOCKED");
        let sql = format!(
            "UPDATE planning SET node_id = $1, fence = fence + 1 WHERE id IN (
                 SELECT p.id FROM planning p WHERE $2 > 0 AND (p.node_id IS NULL OR p.node_id = $1
                    OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = p.node_id AND {alive})) {lock})
             RETURNING fence"
        );
        let taken: Option<(i64,)> =
            on_writer!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(node.0).bind(micros(now)).fetch_optional(pool).await)
                .doing(DOING)?;
        Ok(taken.map(|(fence,)| Right { fence }))
    }

    /// Keeps a setting that belongs to planning.
    pub async fn keep_planning_setting(&self, name: &str, value: &str, right: Right) -> Result<(), Error> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        in_transaction!(self, "keep a setting", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            sqlx::query(sql).bind(name).bind(value).execute(&mut *transaction).await.doing("keep a setting")?;
        });
        Ok(())
    }

    /// The process that has the right to plan, living or not.
    pub async fn planner(&self) -> Result<Option<NodeId>, Error> {
        let sql = "SELECT node_id FROM planning WHERE id = 1";
        let (node,): (Option<i64>,) = on_pool!(self, pool => sqlx::query_as(sql).fetch_one(pool).await).doing("look who plans")?;
        Ok(node.map(NodeId))
    }
}

impl Connection<'_> {
    /// Nobody takes the right before this transaction has ended; [`Error::TakenOver`] when somebody has.
    pub async fn still_plans(&mut self, right: Right) -> Result<(), Error> {
        let lock = self.pick("", "FOR SHARE");
        let sql = format!("SELECT fence FROM planning WHERE fence = CAST($1 AS BIGINT) {lock}");
        let held: Vec<(i64,)> = self.read("look whether this process still plans", sql, &right.fence.to_string()).await?;
        if held.is_empty() { Err(Error::TakenOver) } else { Ok(()) }
    }
}
