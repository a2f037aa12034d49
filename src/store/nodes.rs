//! Processes that share the database: who is alive, and what the dead left behind.

use super::control::NEWS;
use super::ledger::Claim;
use super::{Doing, Error, Store, micros};
use crate::types::{Channel, MessageId, MessageState, NodeId, RunId, Time};
use crate::{in_transaction, on_pool, on_writer};
use sqlx::Connection;
use sqlx::postgres::PgListener;
use std::collections::HashSet;
use std::fs::File;
use std::time::Duration;

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

/// What a process works on: blocks, and messages that it tries again.
#[derive(Debug, Clone, Default)]
pub struct Working {
    pub blocks: HashSet<i64>,
    pub messages: HashSet<i64>,
}

/// Processes as people see them.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Node {
    pub id: i64,
    pub boot_id: String,
    pub name: String,
    pub roles: String,
    pub started_at: i64,
    pub alive_until: i64,
    /// Blocks that it holds.
    pub blocks: i64,
}

/// How a process hears that another one has changed something: by SQLite's version of the data, asked often, or by PostgreSQL's NOTIFY.
pub enum News {
    Version { store: Store, last: i64 },
    Listener(Box<PgListener>),
}

impl News {
    /// Waits until something was changed, or for `most`: after that nobody knows, and it is wise to look. `true` when something was changed.
    pub async fn wait(&mut self, most: Duration) -> Result<bool, Error> {
        match self {
            News::Version { store, last } => {
                tokio::time::sleep(LOOK.min(most)).await;
                let version = store.data_version().await?;
                Ok(std::mem::replace(last, version) != version)
            }
            News::Listener(listener) => match tokio::time::timeout(most, listener.recv()).await {
                Ok(received) => received.map(|_| true).doing("listen for changes"),
                Err(_) => Ok(false),
            },
        }
    }
}

/// How often SQLite is asked.
const LOOK: Duration = Duration::from_millis(100);

/// Says that a process is alive, over a connection of its own: a pool whose connections hang, because the network is cut, keeps nobody else from it.
#[derive(Debug)]
pub struct Pulse {
    store: Store,
    connection: Option<sqlx::PgConnection>,
}

impl Pulse {
    pub fn new(store: Store) -> Self {
        Pulse { store, connection: None }
    }

    /// Prolongs the lease; `false` when this process has been given up meanwhile. After an error the connection is made anew.
    pub async fn renew(&mut self, node: NodeId, alive_until: Time) -> Result<bool, Error> {
        let (doing, sql) = ("renew this process's lease", "UPDATE nodes SET alive_until = $2 WHERE id = $1");
        // Taken out first: when the caller gives up waiting, the connection goes too.
        let done = match &self.store {
            Store::Sqlite(sqlite) => {
                sqlx::query(sql).bind(node.0).bind(micros(alive_until)).execute(&sqlite.write).await.doing(doing)?.rows_affected()
            }
            Store::Postgres(pool) => {
                let mut connection = match self.connection.take() {
                    Some(connection) => connection,
                    None => sqlx::PgConnection::connect_with(&pool.connect_options()).await.doing(doing)?,
                };
                let done = sqlx::query(sql).bind(node.0).bind(micros(alive_until)).execute(&mut connection).await.doing(doing)?;
                self.connection = Some(connection);
                done.rows_affected()
            }
        };
        Ok(done == 1)
    }
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

    /// All processes, the eldest first.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let sql = "SELECT n.id, n.boot_id, n.name, n.roles, n.started_at, n.alive_until,
                          (SELECT COUNT(*) FROM blocks b WHERE b.node_id = n.id) AS blocks FROM nodes n ORDER BY n.id";
        on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("list the processes")
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

    /// Takes over what processes held whose lease has ended (on SQLite: every other one, since only one engine lives), and what this process
    /// holds in the database without knowing of it (an answer of the database was lost); `working` is what it knows of. Blocks get a new fence,
    /// messages that were to be tried again are due at once. Gives the messages that were marked and not answered: they must be settled before the
    /// blocks are given back. Until then all stands under this process's name, so that whoever asks next finds what a failure left half done.
    pub async fn take_over(&self, node: NodeId, working: &Working, now: Time) -> Result<(Vec<Orphan>, Vec<Claim>), Error> {
        let doing = "take over from dead processes";
        let dead = self.pick("false", "n.alive_until >= $2");
        let mine = self.pick(
            "NOT IN (SELECT value FROM json_each($3))",
            "NOT IN (SELECT value::bigint FROM jsonb_array_elements_text($3::jsonb) AS e(value))",
        );
        let gone = |table: &str, id: &str| {
            format!(
                "{table}.node_id IS NOT NULL AND $2 > 0 AND CASE WHEN {table}.node_id = $1 THEN {table}.{id} {mine}
                 ELSE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = {table}.node_id AND {dead}) END"
            )
        };
        // A process that was cut off in the middle of a transaction holds its rows locked until the server ends that: they are taken the next time.
        let lock = self.pick("", "FOR UPDATE SKIP LOCKED");
        let which = |table: &str, more: &str| format!("id IN (SELECT {table}.id FROM {table} WHERE {more}{} {lock})", gone(table, "id"));
        let columns = "id, run_id, arm, channel";
        let (retry, deferred, handing_over) = (MessageState::Retry.code(), MessageState::Deferred.code(), MessageState::HandingOver.code());
        let taken =
            format!("UPDATE blocks SET node_id = $1, fence = fence + 1 WHERE {} RETURNING first_id, last_id, fence", which("blocks", ""));
        let waiting = which("messages", &format!("messages.state IN ({retry}, {deferred}) AND "));
        let freed = format!("UPDATE messages SET next_at = $2, node_id = NULL WHERE $1 > 0 AND {waiting}");
        let marked = which("messages", &format!("messages.state = {handing_over} AND "));
        let tried = format!("UPDATE messages SET node_id = $1 WHERE {marked} RETURNING {columns}");
        let blocks = serde_json::to_string(&working.blocks).unwrap_or_default();
        let messages = serde_json::to_string(&working.messages).unwrap_or_default();
        let (claims, orphans) = in_transaction!(self, "take over from dead processes", transaction => {
            let ranges: Vec<(i64, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(taken)).bind(node.0).bind(micros(now)).bind(&blocks)
                .fetch_all(&mut *transaction).await.doing(doing)?;
            sqlx::query(sqlx::AssertSqlSafe(freed)).bind(node.0).bind(micros(now)).bind(&messages).execute(&mut *transaction).await.doing(doing)?;
            let mut orphans: Vec<(i64, i64, i16, i16)> = sqlx::query_as(sqlx::AssertSqlSafe(tried)).bind(node.0).bind(micros(now)).bind(&messages)
                .fetch_all(&mut *transaction).await.doing(doing)?;
            for (first, last, _) in &ranges {
                let sql = format!("SELECT {columns} FROM messages WHERE id BETWEEN $1 AND $2 AND state = {handing_over} ORDER BY id");
                let rows: Vec<(i64, i64, i16, i16)> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(first).bind(last)
                    .fetch_all(&mut *transaction).await.doing(doing)?;
                orphans.extend(rows);
            }
            let claims: Vec<Claim> = ranges.iter().map(|(first, _, fence)| Claim { block: *first, fence: *fence }).collect();
            (claims, orphans)
        });
        self.forget_nodes(node, now).await?;
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

    /// Processes that are gone and hold nothing any more leave the list: on SQLite at once, on PostgreSQL after an hour, so that they are seen.
    async fn forget_nodes(&self, node: NodeId, now: Time) -> Result<(), Error> {
        let gone = self.pick("$2 > 0", "alive_until < $2");
        let sql = format!("DELETE FROM nodes WHERE id <> $1 AND {gone} AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.node_id = nodes.id)");
        let before = micros(now - chrono::TimeDelta::hours(1));
        on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(node.0).bind(before).execute(pool).await.map(|_| ()))
            .doing("forget dead processes")?;
        let sql = "DELETE FROM breakers WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = breakers.node_id)";
        on_writer!(self, pool => sqlx::query(sql).execute(pool).await.map(|_| ())).doing("forget dead processes")
    }

    /// Breakers that are open: machine, process, provider, since when, why.
    pub async fn breakers(&self) -> Result<Vec<(String, i64, String, i64, String)>, Error> {
        let sql =
            "SELECT n.name, n.id, b.provider, b.since, b.why FROM breakers b JOIN nodes n ON n.id = b.node_id ORDER BY b.provider, n.id";
        on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("look at the providers' breakers")
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
                "UPDATE messages SET state = $2, next_at = $3, node_id = NULL, changed_at = CASE WHEN $2 = {retry} THEN changed_at ELSE $4 END WHERE id IN ({each}) AND state = $5",
                retry = MessageState::Retry.code()
            );
            let list = serde_json::to_string(&ids).unwrap_or_default();
            on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(list).bind(state.code()).bind(next_at).bind(micros(now))
                .bind(MessageState::HandingOver.code()).execute(pool).await.map(|_| ()))
            .doing("settle what a dead process left")?;
        }
        Ok(())
    }

    /// Gives back every block and message this process holds; a block with a message that is marked and not answered stays for whoever takes over.
    pub async fn release_blocks_of(&self, node: NodeId, now: Time) -> Result<(), Error> {
        let doing = "give back blocks";
        let sql = format!(
            "UPDATE blocks SET node_id = NULL WHERE node_id = $1
               AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.id BETWEEN blocks.first_id AND blocks.last_id AND m.state = {})",
            MessageState::HandingOver.code()
        );
        on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(node.0).execute(pool).await.map(|_| ())).doing(doing)?;
        let sql = format!(
            "UPDATE messages SET node_id = NULL, next_at = $2 WHERE node_id = $1 AND state IN ({}, {})",
            MessageState::Retry.code(),
            MessageState::Deferred.code()
        );
        on_writer!(self, pool => sqlx::query(sqlx::AssertSqlSafe(sql)).bind(node.0).bind(micros(now)).execute(pool).await.map(|_| ()))
            .doing(doing)?;
        self.tell().await
    }

    /// The database server's clock in microseconds since 1970; `None` on SQLite, where the machine's is the only one.
    pub async fn server_clock(&self) -> Result<Option<i64>, Error> {
        let Store::Postgres(pool) = self else { return Ok(None) };
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
        let (micros,): (i64,) = sqlx::query_as(sql).fetch_one(pool).await.doing("ask the database for the time")?;
        Ok(Some(micros))
    }

    /// Hears of changes: see [`News`].
    pub async fn news(&self) -> Result<News, Error> {
        Ok(match self {
            Store::Sqlite(_) => News::Version { store: self.clone(), last: self.data_version().await? },
            Store::Postgres(pool) => {
                let mut listener = PgListener::connect_with(pool).await.doing("listen for changes")?;
                listener.listen(NEWS).await.doing("listen for changes")?;
                News::Listener(Box::new(listener))
            }
        })
    }

    /// Changes whenever another process has written (SQLite); always 0 on PostgreSQL.
    async fn data_version(&self) -> Result<i64, Error> {
        match self {
            Store::Sqlite(sqlite) => {
                let (version,): (i64,) = sqlx::query_as("PRAGMA data_version").fetch_one(&sqlite.write).await.doing("look for changes")?;
                Ok(version)
            }
            Store::Postgres(_) => Ok(0),
        }
    }
}
