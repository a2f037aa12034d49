//! The first import into an empty base: batches are written one behind the other in long transactions, and the indexes are built at the end.
//!
//! For a base in which nobody else works (the caller holds the engine's place): transactions are as long as many batches, which a living
//! engine could not bear. What is committed stays when the process dies, and the import is completed by running it again; whoever opens
//! the base next builds the indexes that are missing. A batch that meets somebody else's customers stops everything.

use super::batch::Change;
use super::customers::{Changes, write};
use super::{Doing, Error, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Batches that wait for the database.
const WAITING: usize = 1;
/// New customers of one transaction.
const TRANSACTION: usize = 20_000;

const DOING: &str = "import customers";

/// Writes batches in the background, in their order.
pub struct Filling {
    orders: mpsc::Sender<Order>,
    writing: Option<JoinHandle<Result<(), Error>>>,
}

enum Order {
    /// The batch, and the last number before it.
    Write(Box<Changes>, i64),
    /// Commit, and say when it is done.
    Commit(oneshot::Sender<()>),
}

impl Store {
    /// Drops the indexes of the empty base and begins to fill it.
    pub async fn fill(&self) -> Result<Filling, Error> {
        for sql in ["DROP INDEX IF EXISTS addresses_by_key", "DROP INDEX IF EXISTS customers_by_external_id"] {
            crate::on_writer!(self, pool => sqlx::query(sql).execute(pool).await.map(|_| ())).doing("drop the indexes of customers")?;
        }
        self.spare_memory(true).await?;
        let (orders, queue) = mpsc::channel(WAITING);
        Ok(Filling { orders, writing: Some(tokio::spawn(follow(self.clone(), queue))) })
    }

    /// Builds the indexes that a first import left out, or that were missing since one was killed; does nothing where they stand.
    pub async fn build_customer_indexes(&self) -> Result<(), Error> {
        for sql in [
            "CREATE INDEX IF NOT EXISTS addresses_by_key ON addresses (key)",
            "CREATE UNIQUE INDEX IF NOT EXISTS customers_by_external_id ON customers (external_id)",
        ] {
            crate::on_writer!(self, pool => sqlx::query(sql).execute(pool).await.map(|_| ())).doing("build the indexes of customers")?;
        }
        Ok(())
    }

    /// SQLite sorts in as much memory as its cache has, in each of its threads.
    pub(super) async fn sort_little_by_little(&self) -> Result<(), Error> {
        let Store::Sqlite(sqlite) = self else { return Ok(()) };
        for sql in ["PRAGMA shrink_memory", "PRAGMA cache_size = -4000"] {
            sqlx::query(sql).execute(&sqlite.write).await.doing("prepare the database for its indexes")?;
        }
        Ok(())
    }

    /// While a base is filled on SQLite, pages of the file are not mapped and sorting spills to files, with a second thread to help it.
    pub(super) async fn spare_memory(&self, spare: bool) -> Result<(), Error> {
        let Store::Sqlite(sqlite) = self else { return Ok(()) };
        let pragmas = if spare {
            ["PRAGMA mmap_size = 0", "PRAGMA temp_store = FILE", "PRAGMA threads = 2", "PRAGMA cache_size = -12000"]
        } else {
            ["PRAGMA mmap_size = 268435456", "PRAGMA temp_store = MEMORY", "PRAGMA threads = 0", "PRAGMA cache_size = -16000"]
        };
        for sql in pragmas {
            sqlx::query(sql).execute(&sqlite.write).await.doing("prepare the database for a first import")?;
        }
        Ok(())
    }
}

impl Filling {
    /// Queues a batch; `last` is the number of the last customer before it. An error may be that of an earlier batch.
    pub async fn write(&mut self, changes: Changes, last: i64) -> Result<(), Error> {
        if self.orders.send(Order::Write(Box::new(changes), last)).await.is_err() {
            return self.failed().await;
        }
        Ok(())
    }

    /// Waits until all that was queued is stored.
    pub async fn commit(&mut self) -> Result<(), Error> {
        let (done, stored) = oneshot::channel();
        if self.orders.send(Order::Commit(done)).await.is_err() || stored.await.is_err() {
            return self.failed().await;
        }
        Ok(())
    }

    /// Stores what was queued and builds the indexes.
    pub async fn finish(mut self, store: &Store) -> Result<(), Error> {
        let stored = self.commit().await;
        // Also after an error: what was stored before it is a base like any other.
        store.sort_little_by_little().await?;
        store.build_customer_indexes().await?;
        store.spare_memory(false).await?;
        stored
    }

    async fn failed(&mut self) -> Result<(), Error> {
        let stopped = || Error::Unexpected { doing: DOING, what: "writing stopped; run the import again".into() };
        match self.writing.take() {
            Some(writing) => writing.await.unwrap_or_else(|_| Err(stopped())).and_then(|()| Err(stopped())),
            None => Err(stopped()),
        }
    }
}

async fn follow(store: Store, mut queue: mpsc::Receiver<Order>) -> Result<(), Error> {
    let mut open: Option<(Change, usize)> = None;
    while let Some(order) = queue.recv().await {
        match order {
            Order::Write(mut changes, last) => {
                let (mut change, rows) = match open.take() {
                    Some(open) => open,
                    None => (store.change(DOING).await?, 0),
                };
                let count = changes.new.len();
                let new_ids = write(&mut change.connection(), &mut changes).await?;
                if new_ids.first().is_some_and(|first| *first != last + 1) {
                    let what = "another process writes customers during a first import; run the import again, alone".into();
                    return Err(Error::Unexpected { doing: DOING, what });
                }
                match rows + count {
                    rows if rows >= TRANSACTION => change.commit(DOING).await?,
                    rows => open = Some((change, rows)),
                }
            }
            Order::Commit(done) => {
                if let Some((change, _)) = open.take() {
                    change.commit(DOING).await?;
                }
                let _ = done.send(());
            }
        }
    }
    match open {
        Some((change, _)) => change.commit(DOING).await,
        None => Ok(()),
    }
}
