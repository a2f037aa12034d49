//! Webhooks as they came, what they tell of messages that are not known yet, and how many came.

use super::batch::{Change, Field, table};
use super::{Doing, Error, Store, micros};
use crate::types::Time;
use crate::{on_pool, on_writer};
use serde::Serialize;
use std::collections::HashSet;

/// A request to be stored.
#[derive(Debug, Clone)]
pub struct NewHook {
    /// Its name in posthaste.yaml.
    pub provider: String,
    pub kind: &'static str,
    /// The same request has the same.
    pub key: [u8; 16],
    pub received_at: Time,
    pub request: Vec<u8>,
}

/// A request that waits to be read.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Hook {
    pub id: i64,
    pub provider: String,
    pub kind: String,
    pub received_at: i64,
    /// As `keep_hooks` was given it.
    pub request: Vec<u8>,
}

/// Something told of a message that is not known (yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub provider: String,
    pub key: [u8; 16],
    /// JSON
    pub told: String,
    pub received_at: i64,
    pub next_at: i64,
}

/// A message that something may have been told of.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    pub id: i64,
    pub customer_id: i64,
    pub channel: i16,
    pub state: i16,
    pub provider: Option<String>,
    pub provider_id: Option<String>,
    pub address: Option<String>,
}

/// How many requests of a provider had this outcome on a day (days since 1970).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct HookCount {
    pub provider: String,
    pub outcome: String,
    pub day: i64,
    pub count: i64,
}

const CANDIDATE: &str = "SELECT id, customer_id, channel, state, provider, provider_id, address FROM messages";

#[derive(Serialize)]
struct Id {
    id: i64,
}

fn json<T: Serialize>(rows: &T) -> Result<String, Error> {
    super::responses::json(rows)
}

impl Store {
    /// Stores requests in one transaction; for each, whether it was not there already. When it returns, they are durable.
    pub async fn keep_hooks(&self, hooks: &[NewHook]) -> Result<Vec<bool>, Error> {
        const DOING: &str = "store webhooks";
        const INTO: &str = "INSERT INTO hooks (provider, kind, key, received_at, request)";
        const ONCE: &str = "ON CONFLICT (provider, key) DO NOTHING";
        let mut change = self.change(DOING).await?;
        let is_new = match &mut change {
            Change::Sqlite(transaction) => {
                let mut is_new = Vec::with_capacity(hooks.len());
                for hook in hooks {
                    let sql = sqlx::AssertSqlSafe(format!("{INTO} VALUES ($1, $2, $3, $4, $5) {ONCE}"));
                    let query = sqlx::query(sql).bind(hook.provider.as_str()).bind(hook.kind).bind(hook.key.as_slice());
                    let done = query.bind(micros(hook.received_at)).bind(hook.request.as_slice()).execute(&mut **transaction).await;
                    is_new.push(done.doing(DOING)?.rows_affected() > 0);
                }
                is_new
            }
            Change::Postgres(transaction) => {
                let sql = format!(
                    "{INTO} SELECT * FROM UNNEST($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bytea[]) {ONCE} RETURNING provider, key"
                );
                let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                    .bind(hooks.iter().map(|hook| hook.provider.as_str()).collect::<Vec<_>>())
                    .bind(hooks.iter().map(|hook| hook.kind).collect::<Vec<_>>())
                    .bind(hooks.iter().map(|hook| hook.key.as_slice()).collect::<Vec<_>>())
                    .bind(hooks.iter().map(|hook| micros(hook.received_at)).collect::<Vec<_>>())
                    .bind(hooks.iter().map(|hook| hook.request.as_slice()).collect::<Vec<_>>())
                    .fetch_all(&mut **transaction)
                    .await
                    .doing(DOING)?;
                // Each was given back once; the same request twice among these is new the first time.
                let mut new: HashSet<(String, Vec<u8>)> = rows.into_iter().collect();
                hooks.iter().map(|hook| new.remove(&(hook.provider.clone(), hook.key.to_vec()))).collect()
            }
        };
        change.commit(DOING).await?;
        Ok(is_new)
    }

    /// Whether any request waits to be read.
    pub async fn hooks_wait(&self) -> Result<bool, Error> {
        let sql = "SELECT id FROM hooks WHERE request IS NOT NULL AND why IS NULL LIMIT 1";
        let row: Option<(i64,)> = on_pool!(self, pool => sqlx::query_as(sql).fetch_optional(pool).await).doing("look for webhooks")?;
        Ok(row.is_some())
    }

    /// The oldest requests that wait.
    pub async fn waiting_hooks(&self, limit: i64) -> Result<Vec<Hook>, Error> {
        let sql =
            "SELECT id, provider, kind, received_at, request FROM hooks WHERE request IS NOT NULL AND why IS NULL ORDER BY id LIMIT $1";
        on_pool!(self, pool => sqlx::query_as(sql).bind(limit).fetch_all(pool).await).doing("read webhooks")
    }

    /// These are read: the requests go, except those that could not be read.
    pub async fn finish_hooks(&self, read: &[i64], unread: &[(i64, String)]) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Finished<'a> {
            id: i64,
            why: Option<&'a str>,
        }
        let all = read.iter().map(|id| Finished { id: *id, why: None });
        let rows: Vec<Finished> = all.chain(unread.iter().map(|(id, why)| Finished { id: *id, why: Some(why) })).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut change = self.change("note that webhooks are read").await?;
        let given = table(self.dialect(), &[("id", Field::Long), ("why", Field::Text)]);
        let sql = format!(
            "UPDATE hooks SET why = given.why, request = CASE WHEN given.why IS NULL THEN NULL ELSE request END FROM {given} AS given WHERE hooks.id = given.id"
        );
        change.connection().write("note that webhooks are read", sql, &json(&rows)?).await?;
        change.commit("note that webhooks are read").await
    }

    /// Forgets requests that were read before one time, and those that could not be read before another. At most a thousand at once; gives how many.
    pub async fn forget_hooks(&self, read_before: Time, unread_before: Time) -> Result<u64, Error> {
        let sql = "DELETE FROM hooks WHERE id IN (SELECT id FROM hooks WHERE request IS NULL AND received_at < $1 OR why IS NOT NULL AND received_at < $2 LIMIT 1000)";
        on_writer!(self, pool => sqlx::query(sql).bind(micros(read_before)).bind(micros(unread_before)).execute(pool).await
            .map(|done| done.rows_affected()))
        .doing("forget old webhooks")
    }

    /// Requests that could not be read, the newest first: number, provider, when, why.
    pub async fn unread_hooks(&self, limit: i64) -> Result<Vec<(i64, String, i64, String)>, Error> {
        let sql = "SELECT id, provider, received_at, why FROM hooks WHERE why IS NOT NULL ORDER BY id DESC LIMIT $1";
        on_pool!(self, pool => sqlx::query_as(sql).bind(limit).fetch_all(pool).await).doing("read webhooks that could not be read")
    }

    /// Adds to the counts of a day.
    pub async fn count_hooks(&self, counts: &[HookCount]) -> Result<(), Error> {
        if counts.is_empty() {
            return Ok(());
        }
        let mut change = self.change("count webhooks").await?;
        let fields = [("provider", Field::Text), ("outcome", Field::Text), ("day", Field::Long), ("count", Field::Long)];
        let given = table(self.dialect(), &fields);
        let sql = format!(
            "INSERT INTO hook_counts (provider, outcome, day, count) SELECT provider, outcome, day, count FROM {given} AS given WHERE true
             ORDER BY provider, outcome, day ON CONFLICT (provider, outcome, day) DO UPDATE SET count = hook_counts.count + excluded.count"
        );
        change.connection().write("count webhooks", sql, &json(&counts)?).await?;
        change.commit("count webhooks").await
    }

    /// The counts from a day on.
    pub async fn hook_counts(&self, since_day: i64) -> Result<Vec<HookCount>, Error> {
        let sql = "SELECT provider, outcome, day, count FROM hook_counts WHERE day >= $1 ORDER BY provider, outcome, day";
        on_pool!(self, pool => sqlx::query_as(sql).bind(since_day).fetch_all(pool).await).doing("read the counts of webhooks")
    }
}

impl Store {
    /// Messages that some provider calls so; several where a provider gives one number to a whole batch.
    pub async fn messages_called(&self, provider_ids: &[String]) -> Result<Vec<Candidate>, Error> {
        #[derive(Serialize)]
        struct Called<'a> {
            id: &'a str,
        }
        if provider_ids.is_empty() {
            return Ok(Vec::new());
        }
        let given = table(self.dialect(), &[("id", Field::Text)]);
        let sql = format!("{CANDIDATE} WHERE provider_id IS NOT NULL AND provider_id IN (SELECT id FROM {given} AS given) ORDER BY id");
        let rows = json(&provider_ids.iter().map(|id| Called { id }).collect::<Vec<_>>())?;
        self.read_batch("find messages by their providers' numbers", sql, &rows).await
    }

    /// Messages by number.
    pub async fn messages_numbered(&self, ids: &[i64]) -> Result<Vec<Candidate>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let given = table(self.dialect(), &[("id", Field::Long)]);
        let sql = format!("{CANDIDATE} WHERE id IN (SELECT id FROM {given} AS given) ORDER BY id");
        self.read_batch("find messages", sql, &json(&ids.iter().map(|id| Id { id: *id }).collect::<Vec<_>>())?).await
    }

    /// Keeps what nobody was found for; what is there already stays as it is.
    pub async fn keep_orphans(&self, orphans: &[Orphan]) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            provider: &'a str,
            key: String,
            told: &'a str,
            received_at: i64,
            next_at: i64,
        }
        if orphans.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = orphans
            .iter()
            .map(|orphan| Row {
                provider: &orphan.provider,
                key: hex::encode(orphan.key),
                told: &orphan.told,
                received_at: orphan.received_at,
                next_at: orphan.next_at,
            })
            .collect();
        let fields = [
            ("provider", Field::Text),
            ("key", Field::Bytes),
            ("told", Field::Text),
            ("received_at", Field::Long),
            ("next_at", Field::Long),
        ];
        let given = table(self.dialect(), &fields);
        let mut change = self.change("keep what is told of unknown messages").await?;
        // One that is looked at again keeps its age and gets its next time.
        let sql = format!(
            "INSERT INTO orphans (provider, key, told, received_at, next_at) SELECT provider, key, MAX(told), MIN(received_at), MAX(next_at)
             FROM {given} AS given WHERE true GROUP BY provider, key ORDER BY provider, key
             ON CONFLICT (provider, key) DO UPDATE SET next_at = excluded.next_at"
        );
        change.connection().write("keep what is told of unknown messages", sql, &json(&rows)?).await?;
        change.commit("keep what is told of unknown messages").await
    }

    /// Orphans that are due to be looked at again.
    pub async fn due_orphans(&self, now: Time, limit: i64) -> Result<Vec<Orphan>, Error> {
        let sql = "SELECT provider, key, told, received_at, next_at FROM orphans WHERE next_at <= $1 ORDER BY next_at LIMIT $2";
        let rows: Vec<(String, Vec<u8>, String, i64, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(micros(now)).bind(limit).fetch_all(pool).await)
                .doing("read what is told of unknown messages")?;
        let orphan = |(provider, key, told, received_at, next_at): (String, Vec<u8>, String, i64, i64)| {
            Some(Orphan { provider, key: key.try_into().ok()?, told, received_at, next_at })
        };
        Ok(rows.into_iter().filter_map(orphan).collect())
    }

    /// When the next orphan is due.
    pub async fn next_orphan(&self) -> Result<Option<Time>, Error> {
        let row: (Option<i64>,) = on_pool!(self, pool => sqlx::query_as("SELECT MIN(next_at) FROM orphans").fetch_one(pool).await)
            .doing("read what is told of unknown messages")?;
        Ok(row.0.map(super::from_micros))
    }

    /// These orphans are settled, or too old.
    pub async fn drop_orphans(&self, orphans: &[(String, [u8; 16])]) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            provider: &'a str,
            key: String,
        }
        if orphans.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = orphans.iter().map(|(provider, key)| Row { provider, key: hex::encode(key) }).collect();
        let given = table(self.dialect(), &[("provider", Field::Text), ("key", Field::Bytes)]);
        let mut change = self.change("forget what is settled").await?;
        let sql = format!("DELETE FROM orphans WHERE (provider, key) IN (SELECT provider, key FROM {given} AS given)");
        change.connection().write("forget what is settled", sql, &json(&rows)?).await?;
        change.commit("forget what is settled").await
    }

    /// How many orphans wait.
    pub async fn orphan_count(&self) -> Result<i64, Error> {
        let row: (i64,) = on_pool!(self, pool => sqlx::query_as("SELECT COUNT(*) FROM orphans").fetch_one(pool).await)
            .doing("count what is told of unknown messages")?;
        Ok(row.0)
    }
}
