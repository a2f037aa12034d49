//! Processes that share the database: who is alive, and what the dead left behind.

use super::ledger::Claim;
use super::{Doing, Error, Store, micros};
use crate::types::{Channel, MessageId, MessageState, NodeId, RunId, Time};
use crate::{on_pool, on_writer};
use std::fs::File;

/// Keeps a second engine off a SQLite file while it lives; on PostgreSQL it holds nothing.
#[derive(Debug)]
pub struct EngineLock(#[allow(dead_code, reason = "held, not read: the lock ends with it")] Option<File>);

/// A message whose hand-over a dead process had marked and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub message: MessageId,
    pub run: RunId,
    pub arm: i16,
    pub channel: Channel,
}

impl Store {
    /// Takes the engine's place on a SQLite file; an error names what to do when another holds it.
    pub async fn lock_engine(&self) -> Result<EngineLock, Error> {
        let Store::Sqlite(sqlite) = self else { return Ok(EngineLock(None)) };
        let doing = "take the engine's place";
        let (_, _, path): (i64, String, String) = sqlx::query_as("PRAGMA database_list").fetch_one(&sqlite.read).await.doing(doing)?;
        let refused = |what: String| Error::Unexpected { doing, what };
        let file = File::create(format!("{path}-engine")).map_err(|error| refused(error.to_string()))?;
        match file.try_lock() {
            Ok(()) => Ok(EngineLock(Some(file))),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(refused(format!("another `posthaste run` works on {path}; stop it first, or move to PostgreSQL for several machines")))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(refused(error.to_string())),
        }
    }

    /// Enters this process among the living.
    pub async fn register_node(&self, boot: &str, name: &str, roles: &str, now: Time, alive_until: Time) -> Result<NodeId, Error> {
        let sql = "INSERT INTO nodes (boot_id, name, roles, started_at, alive_until) VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let (id,): (i64,) =
            on_writer!(self, pool => sqlx::query_as(sql).bind(boot).bind(name).bind(roles).bind(micros(now)).bind(micros(alive_until))
            .fetch_one(pool).await)
            .doing("register this process")?;
        Ok(NodeId(id))
    }

    /// Prolongs the lease; `false` when this process has been given up meanwhile.
    pub async fn renew_node(&self, node: NodeId, alive_until: Time) -> Result<bool, Error> {
        let sql = "UPDATE nodes SET alive_until = $2 WHERE id = $1";
        let done = on_writer!(self, pool => sqlx::query(sql).bind(node.0).bind(micros(alive_until)).execute(pool).await.map(|done| done.rows_affected()))
            .doing("renew this process's lease")?;
        Ok(done == 1)
    }

    /// Number and boot name of the processes of a machine.
    pub async fn nodes_named(&self, name: &str) -> Result<Vec<(NodeId, String)>, Error> {
        let rows: Vec<(i64, String)> =
            on_pool!(self, pool => sqlx::query_as("SELECT id, boot_id FROM nodes WHERE name = $1").bind(name).fetch_all(pool).await)
                .doing("look for dead processes")?;
        Ok(rows.into_iter().map(|(id, boot)| (NodeId(id), boot)).collect())
    }

    pub async fn remove_node(&self, node: NodeId) -> Result<(), Error> {
        on_writer!(self, pool => sqlx::query("DELETE FROM nodes WHERE id = $1").bind(node.0).execute(pool).await.map(|_| ()))
            .doing("leave the list of processes")
    }

    /// Takes over the blocks of processes whose lease has ended (on SQLite: of every other one, since only one engine lives), with a new fence,
    /// and gives the messages they had marked and not answered. Those must be settled before the blocks are given back.
    pub async fn take_over(&self, node: NodeId, now: Time) -> Result<(Vec<Orphan>, Vec<Claim>), Error> {
        let dead = self.pick("true", "n.alive_until < $2");
        let doing = "take over from dead processes";
        let sql = format!(
            "UPDATE blocks SET node_id = $1, fence = fence + 1
             WHERE node_id IS NOT NULL AND node_id <> $1 AND $2 > 0
               AND (NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = blocks.node_id) OR EXISTS (SELECT 1 FROM nodes n WHERE n.id = blocks.node_id AND {dead}))
             RETURNING first_id, last_id, fence"
        );
        let ranges: Vec<(i64, i64, i64)> =
            on_writer!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(node.0).bind(micros(now)).fetch_all(pool).await)
                .doing(doing)?;
        let mut orphans = Vec::new();
        let columns = "SELECT id, run_id, arm, channel FROM messages";
        let claims = ranges.iter().map(|(first, _, fence)| Claim { block: *first, fence: *fence }).collect();
        for (first, last, _) in ranges {
            let sql = format!("{columns} WHERE id BETWEEN $1 AND $2 AND state = {} ORDER BY id", MessageState::HandingOver.code());
            let rows: Vec<(i64, i64, i16, i16)> =
                on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(first).bind(last).fetch_all(pool).await)
                    .doing(doing)?;
            orphans.extend(rows);
        }
        // Those tried again belong to no block: their lease is their own.
        let ended = self.pick("true", "next_at < $1");
        let sql = format!(
            "{columns} WHERE next_at IS NOT NULL AND state = {} AND {ended} AND $1 > 0 ORDER BY id",
            MessageState::HandingOver.code()
        );
        let rows: Vec<(i64, i64, i16, i16)> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(micros(now)).fetch_all(pool).await).doing(doing)?;
        orphans.extend(rows);
        if matches!(self, Store::Sqlite(_)) {
            on_writer!(self, pool => sqlx::query("DELETE FROM nodes WHERE id <> $1").bind(node.0).execute(pool).await.map(|_| ()))
                .doing(doing)?;
        }
        let orphans = orphans
            .into_iter()
            .map(|(message, run, arm, channel)| Orphan {
                message: MessageId(message),
                run: RunId(run),
                arm,
                channel: Channel::from_code(channel).unwrap_or(Channel::Email),
            })
            .collect();
        Ok((orphans, claims))
    }

    /// Orphans become uncertain, or are due again (with the same Message-ID) where `resend` says so.
    pub async fn settle_orphans(&self, orphans: &[(MessageId, bool)], now: Time) -> Result<(), Error> {
        for (state, next_at, resend) in [(MessageState::Uncertain, None, false), (MessageState::Retry, Some(micros(now)), true)] {
            let ids: Vec<i64> = orphans.iter().filter(|(_, again)| *again == resend).map(|(id, _)| id.0).collect();
            if ids.is_empty() {
                continue;
            }
            let each =
                self.pick("SELECT value FROM json_each($1)", "SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS e(value)");
            let sql = format!(
                "UPDATE messages SET state = $2, next_at = $3, changed_at = CASE WHEN $2 = {retry} THEN changed_at ELSE $4 END WHERE id IN ({each}) AND state = $5",
                retry = MessageState::Retry.code()
            );
            let list = serde_json::to_string(&ids).unwrap_or_default();
            on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(list).bind(state.code()).bind(next_at).bind(micros(now))
                .bind(MessageState::HandingOver.code()).execute(pool).await.map(|_| ()))
            .doing("settle what a dead process left")?;
        }
        Ok(())
    }

    /// Gives back every block this process holds.
    pub async fn release_blocks_of(&self, node: NodeId) -> Result<(), Error> {
        on_writer!(self, pool => sqlx::query("UPDATE blocks SET node_id = NULL WHERE node_id = $1").bind(node.0).execute(pool).await.map(|_| ()))
            .doing("give back blocks")
    }

    /// Changes whenever another process has written (SQLite); always 0 on PostgreSQL.
    pub async fn data_version(&self) -> Result<i64, Error> {
        match self {
            Store::Sqlite(sqlite) => {
                let (version,): (i64,) = sqlx::query_as("PRAGMA data_version").fetch_one(&sqlite.write).await.doing("look for changes")?;
                Ok(version)
            }
            Store::Postgres(_) => Ok(0),
        }
    }
}
