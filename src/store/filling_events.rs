//! The first import of events: rows are written one behind the other in long transactions, and the indexes are built at the end.
//!
//! As for customers (`filling`): nobody else works in the base, what is committed stays when the process dies, and whoever opens the base next
//! builds the indexes that are missing. An event that comes twice in the file is found when the index that tells them apart is built; the first one stays.

use super::batch::Change;
use super::customers::placeholders;
use super::events::{INTO, NewEvent, bound_event};
use super::{Dialect, Doing, Error, Store};
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches that wait for the database.
const WAITING: usize = 2;
/// Events of one transaction.
const TRANSACTION: usize = 50_000;
/// Rows of one statement, always as many, so that it is prepared once.
const CHUNK: usize = 100;

const DOING: &str = "record events";

/// Writes batches in the background, in their order.
pub struct FillingEvents {
    batches: mpsc::Sender<Vec<NewEvent>>,
    writing: Option<JoinHandle<Result<(), Error>>>,
}

impl Store {
    /// True on SQLite while nothing has happened to anybody, and nobody got a message that an event could count for.
    pub async fn can_fill_events(&self) -> Result<bool, Error> {
        if self.dialect() != Dialect::Sqlite {
            return Ok(false);
        }
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM messages)";
        let any: Option<(i64,)> = crate::on_pool!(self, pool => sqlx::query_as(sql).fetch_optional(pool).await).doing("look for events")?;
        Ok(any.is_none())
    }

    /// Drops the indexes of the empty table and begins to fill it.
    pub async fn fill_events(&self) -> Result<FillingEvents, Error> {
        for sql in ["DROP INDEX IF EXISTS events_by_key", "DROP INDEX IF EXISTS events_by_name"] {
            crate::on_writer!(self, pool => sqlx::query(sql).execute(pool).await.map(|_| ())).doing("drop the indexes of events")?;
        }
        self.spare_memory(true).await?;
        let (batches, queue) = mpsc::channel(WAITING);
        Ok(FillingEvents { batches, writing: Some(tokio::spawn(follow(self.clone(), queue))) })
    }

    /// Builds the indexes that a first import left out, or that were missing since one was killed; does nothing where they stand. Gives how many events
    /// were there twice and are there once now.
    pub async fn build_event_indexes(&self) -> Result<u64, Error> {
        let doing = "build the indexes of events";
        let unique = "CREATE UNIQUE INDEX IF NOT EXISTS events_by_key ON events (customer_id, source_key)";
        let build = async |sql: &'static str| crate::on_writer!(self, pool => sqlx::query(sql).execute(pool).await.map(|_| ()));
        let mut repeated = 0;
        match build(unique).await {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                let sql = "DELETE FROM events WHERE id IN (SELECT id FROM (
                               SELECT id, ROW_NUMBER() OVER (PARTITION BY customer_id, source_key ORDER BY id) AS place FROM events) WHERE place > 1)";
                let gone = crate::on_writer!(self, pool => sqlx::query(sql).execute(pool).await.map(|done| done.rows_affected()));
                repeated = gone.doing("leave out what came twice")?;
                build(unique).await.doing(doing)?;
            }
            built => built.doing(doing)?,
        }
        build("CREATE INDEX IF NOT EXISTS events_by_name ON events (name, customer_id, occurred_at)").await.doing(doing)?;
        Ok(repeated)
    }
}

impl FillingEvents {
    /// Queues a batch. An error may be that of an earlier one.
    pub async fn write(&mut self, events: Vec<NewEvent>) -> Result<(), Error> {
        match self.batches.send(events).await {
            Ok(()) => Ok(()),
            Err(_) => stopped(self.writing.take()).await,
        }
    }

    /// Stores what was queued and builds the indexes; gives how many of the events had come twice.
    pub async fn finish(self, store: &Store) -> Result<u64, Error> {
        let FillingEvents { batches, writing } = self;
        drop(batches);
        let written = match writing {
            Some(writing) => writing.await.unwrap_or_else(|_| Err(broken())),
            None => Err(broken()),
        };
        // Also after an error: what was stored before it is a base like any other.
        store.sort_little_by_little().await?;
        let repeated = store.build_event_indexes().await?;
        store.spare_memory(false).await?;
        written.map(|()| repeated)
    }
}

async fn stopped(writing: Option<JoinHandle<Result<(), Error>>>) -> Result<(), Error> {
    match writing {
        Some(writing) => writing.await.unwrap_or_else(|_| Err(broken())).and_then(|()| Err(broken())),
        None => Err(broken()),
    }
}

fn broken() -> Error {
    Error::Unexpected { doing: DOING, what: "writing stopped; run the import again".into() }
}

async fn follow(store: Store, mut queue: mpsc::Receiver<Vec<NewEvent>>) -> Result<(), Error> {
    let whole = format!("{INTO} VALUES {}", placeholders(9, CHUNK));
    let mut open: Option<(Change, usize)> = None;
    while let Some(events) = queue.recv().await {
        let (mut change, before) = match open.take() {
            Some(open) => open,
            None => (store.change(DOING).await?, 0),
        };
        if let Change::Sqlite(transaction) = &mut change {
            for chunk in events.chunks(CHUNK) {
                let sql = match chunk.len() {
                    CHUNK => whole.clone(),
                    rows => format!("{INTO} VALUES {}", placeholders(9, rows)),
                };
                let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == CHUNK);
                for event in chunk {
                    query = bound_event!(query, event);
                }
                query.execute(&mut **transaction).await.doing(DOING)?;
            }
        }
        match before + events.len() {
            rows if rows >= TRANSACTION => change.commit(DOING).await?,
            rows => open = Some((change, rows)),
        }
    }
    match open {
        Some((change, _)) => change.commit(DOING).await,
        None => Ok(()),
    }
}
