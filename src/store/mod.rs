//! What is remembered: SQLite or PostgreSQL, and **all SQL of the project**, one file a noun.
//!
//! A text of SQL serves both databases wherever both understand it (`$1` binds, `->>` reads JSON); what differs is one visible
//! word through [`Store::pick`], or an arm of its own where speed asks for it. Times are bound as microseconds ([`micros`]) and come
//! from the caller's clock, never from `now()`. SQLite has one writing connection: everything that writes goes through the `write` pool of [`Sqlite`].

pub mod addresses;
pub mod answers;
pub mod approvals;
pub mod attributes;
pub mod audit;
pub mod audience;
pub mod batch;
pub mod blocks;
pub mod candidates;
pub mod consents;
pub mod control;
pub mod conversions;
pub mod copies;
mod copying;
pub mod coupons;
pub mod starts;
pub mod customers;
pub mod decisions;
pub mod definitions;
pub mod erasure;
pub mod events;
pub mod filling;
pub mod filling_events;
pub mod hooks;
pub mod inbound;
pub mod ledger;
pub mod links;
pub mod missed;
pub mod nodes;
pub mod parts;
pub mod people;
pub mod people_once;
pub mod planning;
pub mod planning_right;
pub mod portrait;
mod proofs;
pub mod rates;
pub mod replies;
pub mod reports;
pub mod reservations;
pub mod retention;
pub mod responses;
pub mod runs;
pub mod settings;
pub mod settled;
pub mod signups;
pub mod simulated;
mod smooth;
pub mod sql;
pub mod stops;
pub mod strikes;
pub mod suppressions;
pub mod switches;
pub mod samples;
pub mod tallies;
pub mod why;
pub mod wishes;
pub mod trials;
pub mod warm_up;

pub use crate::types::{from_micros, micros};

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::str::FromStr;
use std::time::Duration;

/// An open database; cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    Sqlite(Sqlite),
    Postgres(PgPool),
}

/// SQLite's two pools: many readers, exactly one writer.
#[derive(Debug, Clone)]
pub struct Sqlite {
    pub read: SqlitePool,
    pub write: SqlitePool,
}

/// Which of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// What went wrong, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database address `{url}` cannot be read: {why}")]
    Address { url: String, why: String },
    #[error("cannot open the database")]
    Open(#[source] sqlx::Error),
    #[error("cannot bring the database's tables up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("cannot {doing}")]
    Query {
        doing: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("another process has taken over the planning: nothing more of this plan is written")]
    TakenOver,
    #[error("the database holds something unexpected while we {doing}: {what}")]
    Unexpected { doing: &'static str, what: String },
}

impl Error {
    /// True when the database is away or busy and the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        let (Error::Open(source) | Error::Query { source, .. }) = self else { return false };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => true,
            // PostgreSQL: connection exceptions, lack of room, shutdown, serialization, deadlock. SQLite: busy, locked, disk full.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                ["08", "53", "57P", "25P03"].iter().any(|class| code.starts_with(class))
                    || matches!(code.as_ref(), "40001" | "40P01" | "5" | "6" | "13" | "261" | "517")
            }),
            _ => false,
        }
    }

    /// True when this process has closed its database.
    pub fn is_closed(&self) -> bool {
        matches!(self, Error::Query { source: sqlx::Error::PoolClosed, .. })
    }
}

/// Adds what was being done to a driver's error.
pub trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Query { doing, source })
    }
}

/// Runs the same expression over a reading pool of either database: `on_pool!(store, pool => sqlx::query_as(..).fetch_all(pool).await)`.
#[macro_export]
macro_rules! on_pool {
    ($store:expr, $pool:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite(sqlite) => {
                let $pool = &sqlite.read;
                $body
            }
            $crate::store::Store::Postgres(postgres) => {
                let $pool = postgres;
                $body
            }
        }
    };
}

/// Like [`on_pool!`], over the writing pool.
#[macro_export]
macro_rules! on_writer {
    ($store:expr, $pool:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite(sqlite) => {
                let $pool = &sqlite.write;
                $body
            }
            $crate::store::Store::Postgres(postgres) => {
                let $pool = postgres;
                $body
            }
        }
    };
}

/// Opens a write transaction as `$transaction`, runs the body, commits. The body's `?` must yield `store::Error`; an error rolls back.
#[macro_export]
macro_rules! in_transaction {
    ($store:expr, $doing:literal, $transaction:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite(sqlite) => {
                // IMMEDIATE: a transaction that reads first and writes later would meet SQLITE_BUSY_SNAPSHOT.
                let mut $transaction = $crate::store::Doing::doing(sqlite.write.begin_with("BEGIN IMMEDIATE").await, $doing)?;
                let result = $body;
                $crate::store::Doing::doing($transaction.commit().await, $doing)?;
                result
            }
            $crate::store::Store::Postgres(postgres) => {
                let mut $transaction = $crate::store::Doing::doing(postgres.begin().await, $doing)?;
                let result = $body;
                $crate::store::Doing::doing($transaction.commit().await, $doing)?;
                result
            }
        }
    };
}

impl Store {
    /// Opens `sqlite:PATH` (made when missing; `sqlite::memory:` is refused, it cannot be shared) or `postgres://…`, and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Store, Error> {
        let store = Store::connect(url).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Opens the database as it is.
    pub async fn connect(url: &str) -> Result<Store, Error> {
        let bad = |why: String| Error::Address { url: without_password(url), why };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url)
                .map_err(|error| bad(error.to_string()))?
                .application_name("posthaste")
                // Conditions are long expressions: compiling them to machine code takes longer than running them.
                .options([
                    ("jit", "off"),
                    // Who is cut off or frozen in the middle of a transaction keeps nobody waiting for its rows much longer than its lease.
                    ("idle_in_transaction_session_timeout", "20s"),
                    ("tcp_user_timeout", "20s"),
                    ("tcp_keepalives_idle", "10"),
                    ("tcp_keepalives_interval", "5"),
                    ("tcp_keepalives_count", "2"),
                ]);
            // A pool tries until its time is over and forgets why; one connection says at once what is wrong.
            let first = options.connect().await.map_err(Error::Open)?;
            sqlx::Connection::close(first).await.map_err(Error::Open)?;
            let pool = PgPoolOptions::new()
                .max_connections(16)
                .acquire_timeout(Duration::from_secs(10))
                .test_before_acquire(false)
                .connect_with(options)
                .await
                .map_err(Error::Open)?;
            return Ok(Store::Postgres(pool));
        }
        let Some(path) = url.strip_prefix("sqlite:") else {
            return Err(bad("it must begin with `sqlite:` or `postgres://`".into()));
        };
        if path.contains(":memory:") || path.is_empty() {
            return Err(bad("a file name is needed after `sqlite:`".into()));
        }
        let path = path.strip_prefix("//").unwrap_or(path);
        let options = sqlite_options(path);
        // What readers sort goes to a file where it is much: adding up a run sorts all its messages, 35 bytes each.
        Store::sqlite(options.clone(), options.pragma("temp_store", "FILE")).await
    }

    /// `reading`: what the connections are opened with that only read.
    async fn sqlite(options: SqliteConnectOptions, reading: SqliteConnectOptions) -> Result<Store, Error> {
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(options)
            .await
            .map_err(Error::Open)?;
        let read = SqlitePoolOptions::new()
            .max_connections(8)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(reading.read_only(true).create_if_missing(false))
            .await
            .map_err(Error::Open)?;
        Ok(Store::Sqlite(Sqlite { read, write }))
    }

    /// Adds the tables that are missing; does nothing on a database that is up to date.
    pub async fn migrate(&self) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => sqlx::migrate!("migrations/sqlite").run(&sqlite.write).await,
            Store::Postgres(pool) => sqlx::migrate!("migrations/postgres").run(pool).await,
        }
        .map_err(Error::Migrate)?;
        // A first import that was killed leaves its indexes to whoever comes next.
        self.build_customer_indexes().await?;
        if self.dialect() == Dialect::Sqlite {
            self.build_event_indexes().await?;
        }
        Ok(())
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Store::Sqlite(_) => Dialect::Sqlite,
            Store::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The word that differs between the databases.
    pub fn pick<T>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Store::Sqlite(_) => sqlite,
            Store::Postgres(_) => postgres,
        }
    }

    /// Closes all connections; on SQLite the log is folded into the file.
    pub async fn close(&self) {
        match self {
            Store::Sqlite(sqlite) => {
                sqlite.read.close().await;
                sqlite.write.close().await
            }
            Store::Postgres(pool) => pool.close().await,
        }
    }
}

/// How every SQLite file is opened.
fn sqlite_options(path: impl AsRef<std::path::Path>) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30))
        .foreign_keys(true)
        .statement_cache_capacity(200)
        // The file is not mapped: what is mapped counts as ours, and reading it is no faster. SQLite walks through its whole cache at each commit
        // after which a page was split: 16 MB cost a third of the writer's time.
        .pragma("cache_size", "-2000")
        .pragma("temp_store", "MEMORY")
        .pragma("secure_delete", "ON")
        .pragma("journal_size_limit", "67108864")
        // Rows that a reading thread may be ahead: with few, two threads wake each other for every row.
        .row_buffer_size(1024)
}

/// A database address that can be shown.
pub fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("***"));
            parsed.to_string()
        }
        _ => url.to_string(),
    }
}
