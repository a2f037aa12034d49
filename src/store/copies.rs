//! A copy of the whole base in a SQLite file of its own, for looking ahead: what happens in it happens nowhere else.
//!
//! The copy is that of one snapshot, from either database, and nothing waits for the disk in it: it is to be thrown away.

use super::candidates::Snapshot;
use super::{Doing, Error, Sqlite, Store, sqlite_options};
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Row};
use std::path::Path;

const DOING: &str = "copy the base";

/// Rows of one statement.
const ROWS: usize = 500;

/// What belongs to living processes, and what the copy has already.
const LEFT_OUT: [&str; 2] = ["nodes", "_sqlx_migrations"];

impl Store {
    /// Copies everything to the SQLite file `path`, which must not be there yet, and opens it.
    pub async fn copied_to(&self, path: &Path) -> Result<Store, Error> {
        let careless = |options: SqliteConnectOptions| {
            options
                .synchronous(SqliteSynchronous::Off)
                .foreign_keys(false)
                .pragma("secure_delete", "OFF")
                .pragma("cache_size", "-65536")
                .pragma("wal_autocheckpoint", "8192")
        };
        // What a reader keeps for itself is void after each write.
        let reading = || careless(sqlite_options(path)).pragma("cache_size", "-4096");
        if let Store::Sqlite(sqlite) = self {
            sqlx::query("VACUUM INTO $1").bind(path.to_string_lossy().into_owned()).execute(&sqlite.read).await.doing(DOING)?;
        }
        let copy = Store::sqlite(careless(sqlite_options(path)), reading()).await?;
        copy.migrate().await?;
        let Store::Sqlite(target) = &copy else { return Ok(copy) };
        match self {
            Store::Sqlite(_) => {
                sqlx::query("DELETE FROM nodes").execute(&target.write).await.doing(DOING)?;
            }
            Store::Postgres(_) => self.pour_into(target).await?,
        }
        Ok(copy)
    }

    /// Row by row, table by table: as JSON on the way, since both databases read and write it.
    async fn pour_into(&self, target: &Sqlite) -> Result<(), Error> {
        let Snapshot::Postgres(mut snapshot) = self.snapshot().await? else { return Ok(()) };
        let tables: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
                .fetch_all(&target.read)
                .await
                .doing(DOING)?;
        for (table,) in tables.into_iter().filter(|(table,)| !LEFT_OUT.contains(&table.as_str())) {
            let columns: Vec<(String, String)> = sqlx::query_as("SELECT name, type FROM pragma_table_info($1) ORDER BY cid")
                .bind(&table)
                .fetch_all(&target.read)
                .await
                .doing(DOING)?;
            let (mut given, mut taken, mut names) = (Vec::new(), Vec::new(), Vec::new());
            for (place, (name, kind)) in columns.iter().enumerate() {
                names.push(format!("\"{name}\""));
                given.push(match kind.as_str() {
                    "BLOB" => format!("encode(t.\"{name}\", 'hex')"),
                    "TEXT" => format!("t.\"{name}\"::text"),
                    _ => format!("t.\"{name}\""),
                });
                taken.push(match kind.as_str() {
                    "BLOB" => format!("unhex(value ->> {place})"),
                    _ => format!("value ->> {place}"),
                });
            }
            let read = format!("SELECT json_build_array({})::text FROM \"{table}\" t", given.join(", "));
            let write = format!("INSERT OR REPLACE INTO \"{table}\" ({}) SELECT {} FROM json_each($1)", names.join(", "), taken.join(", "));
            let mut transaction = target.write.begin().await.doing(DOING)?;
            let mut rows = sqlx::query(AssertSqlSafe(read)).fetch(&mut *snapshot);
            let mut waiting = Vec::with_capacity(ROWS);
            loop {
                let row = rows.try_next().await.doing(DOING)?;
                let is_last = row.is_none();
                if let Some(row) = row {
                    waiting.push(row.try_get::<String, _>(0).doing(DOING)?);
                }
                if waiting.len() == ROWS || is_last && !waiting.is_empty() {
                    let json = format!("[{}]", waiting.join(","));
                    waiting.clear();
                    sqlx::query(AssertSqlSafe(write.clone())).bind(json).execute(&mut *transaction).await.doing(DOING)?;
                }
                if is_last {
                    break;
                }
            }
            transaction.commit().await.doing(DOING)?;
        }
        Ok(())
    }
}
