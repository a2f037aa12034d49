//! The first import into an empty base: batches are written one behind the other in long transactions, and the indexes are built at the end.
//!
//! For a base in which nobody else works: transactions are as long as many batches, which a living engine could not bear. What is committed stays
//! when the process dies, and the import is completed by running it again; whoever opens the base next builds the indexes that are missing. A batch
//! that meets somebody else's customers stops everything.
//!
//! On PostgreSQL one connection holds the lock of those who make customers, writes them, and builds the indexes: while it lives nobody else makes any. A second
//! one writes what belongs to them and commits first, so that the server has work for two processors; should the process die in between, whoever builds the
//! indexes takes away what belongs to nobody.

use super::batch::Change;
use super::copying::{COPIED_FIRST, Newcomers};
use super::customers::{Changes, IMPORT_LOCK, write};
use super::{Doing, Error, Store, micros};
use crate::types::Time;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Batches that wait for the database.
const WAITING: usize = 6;
/// New customers of one transaction: on PostgreSQL three times as many are in memory, being gathered, waiting and being sent.
const TRANSACTION: usize = 50_000;
const COPIED: usize = 16_000;

const DOING: &str = "import customers";
const BUILDING: &str = "build the indexes of customers";

/// Writes batches in the background, in their order.
pub struct Filling {
    orders: mpsc::Sender<Order>,
    /// Until it is known how it ended.
    writing: Option<JoinHandle<Ended>>,
    /// What it had when it ended.
    alone: Option<PgConnection>,
}

/// On PostgreSQL with the connection that has the base alone.
type Ended = (Result<(), Error>, Option<PgConnection>);

enum Order {
    /// The batch, and the last number before it.
    Write(Box<Changes>, i64),
    /// Commit, and say when it is done.
    Commit(oneshot::Sender<()>),
}

/// What stands besides the tables' primary keys: name, and how it is made.
const INDEXES: [(&str, &str); 2] = [
    ("addresses_by_key", "CREATE INDEX IF NOT EXISTS addresses_by_key ON addresses (key)"),
    ("customers_by_external_id", "CREATE UNIQUE INDEX IF NOT EXISTS customers_by_external_id ON customers (external_id)"),
];
/// On PostgreSQL each address is held against its customer: of many at once at the end, not one by one.
const REFERENCE: &str = "addresses_customer_id_fkey";

impl Store {
    /// Drops the indexes of the empty base and begins to fill it. `None` where somebody else works in it, or has begun to fill it.
    ///
    /// On SQLite the caller holds the engine's place. On PostgreSQL an engine that starts before it is finished finds all it needs, slowly, and its
    /// sign-ups wait.
    pub async fn fill(&self, now: Time) -> Result<Option<Filling>, Error> {
        let (orders, mut queue) = mpsc::channel(WAITING);
        let writing = match self {
            Store::Sqlite(sqlite) => {
                for (index, _) in INDEXES {
                    let sql = AssertSqlSafe(format!("DROP INDEX IF EXISTS {index}"));
                    sqlx::query(sql).execute(&sqlite.write).await.doing("drop the indexes of customers")?;
                }
                self.spare_memory(true).await?;
                let store = self.clone();
                tokio::spawn(async move { (write_into_sqlite(&store, &mut queue).await, None) })
            }
            Store::Postgres(pool) => {
                // Before anything is left out: without a second connection nothing is.
                let mut beside = pool.acquire().await.doing(DOING)?.detach();
                let Some(mut alone) = emptied(pool, now).await? else { return Ok(None) };
                tokio::spawn(async move {
                    let result = write_into_postgres(&mut alone, &mut beside, &mut queue).await;
                    // What it has not committed is undone before the indexes are built.
                    drop(beside);
                    (result, Some(alone))
                })
            }
        };
        Ok(Some(Filling { orders, writing: Some(writing), alone: None }))
    }

    /// Builds the indexes that a first import left out, or that were missing since one was killed; does nothing where they stand, or are left out just now.
    pub async fn build_customer_indexes(&self) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => {
                for (_, sql) in INDEXES {
                    sqlx::query(sql).execute(&sqlite.write).await.doing(BUILDING)?;
                }
                Ok(())
            }
            Store::Postgres(pool) => {
                if missing(pool).await?
                    && let Some(mut alone) = lone(pool).await?
                {
                    build(&mut alone).await?;
                    // Without statistics the server would look through all people for each batch of an import that goes on.
                    self.learn_statistics().await?;
                }
                Ok(())
            }
        }
    }

    /// SQLite sorts in as much memory as its cache has, in each of its threads.
    pub(super) async fn sort_little_by_little(&self) -> Result<(), Error> {
        let Store::Sqlite(sqlite) = self else { return Ok(()) };
        for sql in ["PRAGMA shrink_memory", "PRAGMA cache_size = -4000"] {
            sqlx::query(sql).execute(&sqlite.write).await.doing("prepare the database for its indexes")?;
        }
        Ok(())
    }

    /// While a base is filled on SQLite, sorting spills to files, with a second thread to help it.
    pub(super) async fn spare_memory(&self, spare: bool) -> Result<(), Error> {
        let Store::Sqlite(sqlite) = self else { return Ok(()) };
        let pragmas = if spare {
            ["PRAGMA temp_store = FILE", "PRAGMA threads = 2", "PRAGMA cache_size = -12000"]
        } else {
            ["PRAGMA temp_store = MEMORY", "PRAGMA threads = 0", "PRAGMA cache_size = -2000"]
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

    /// Stores what was queued and builds the indexes; also after an error, for what was stored before it is a base like any other.
    pub async fn finish(self, store: &Store) -> Result<(), Error> {
        let Filling { orders, writing, alone } = self;
        drop(orders);
        let (stored, alone) = match writing {
            Some(writing) => ended(writing).await,
            None => (Ok(()), alone),
        };
        let built = match (store, alone) {
            (Store::Postgres(_), Some(mut alone)) => build(&mut alone).await,
            (Store::Postgres(_), None) => Ok(()),
            (Store::Sqlite(_), _) => {
                store.sort_little_by_little().await?;
                store.build_customer_indexes().await?;
                store.spare_memory(false).await
            }
        };
        stored.and(built)
    }

    /// The error with which writing ended.
    async fn failed(&mut self) -> Result<(), Error> {
        let Some(writing) = self.writing.take() else { return Err(stopped()) };
        let (result, alone) = ended(writing).await;
        self.alone = alone;
        result.and_then(|()| Err(stopped()))
    }
}

async fn ended(writing: JoinHandle<Ended>) -> Ended {
    writing.await.unwrap_or_else(|_| (Err(stopped()), None))
}

fn stopped() -> Error {
    Error::Unexpected { doing: DOING, what: "writing stopped; run the import again".into() }
}

/// The lock of those who make customers on a connection of its own, unless somebody has it.
async fn lone(pool: &PgPool) -> Result<Option<PgConnection>, Error> {
    let mut alone = pool.acquire().await.doing(DOING)?.detach();
    let taken = sqlx::query_as("SELECT pg_try_advisory_lock($1)").bind(IMPORT_LOCK).fetch_one(&mut alone).await;
    let (is_ours,): (bool,) = taken.doing("take turns with other imports")?;
    Ok(is_ours.then_some(alone))
}

/// PostgreSQL: the base is empty, nobody works in it and nobody else will make customers; without what would be looked at for each row.
async fn emptied(pool: &PgPool, now: Time) -> Result<Option<PgConnection>, Error> {
    let doing = "prepare the database for a first import";
    let Some(mut alone) = lone(pool).await? else { return Ok(None) };
    let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM customers) OR EXISTS (SELECT 1 FROM nodes WHERE alive_until > $1)";
    let somebody: Option<(i32,)> = sqlx::query_as(sql).bind(micros(now)).fetch_optional(&mut alone).await.doing(doing)?;
    if somebody.is_some() {
        return Ok(None);
    }
    let drops: Vec<String> = INDEXES.iter().map(|(index, _)| format!("DROP INDEX IF EXISTS {index};")).collect();
    // Numbers begin anew with an empty table: merging knows what number comes next.
    // What a killed import may have left belongs to nobody.
    let sql = format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; {} ALTER TABLE addresses DROP CONSTRAINT IF EXISTS {REFERENCE}; {}
         SELECT setval(pg_get_serial_sequence('customers', 'id'), 1, false); COMMIT",
        drops.concat(),
        COPIED_FIRST.map(|table| format!("DELETE FROM {table};")).concat()
    );
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut alone).await {
        Ok(_) => Ok(Some(alone)),
        // Somebody reads the tables for long, or they are not this user's: then rows go in as they do while an engine works.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("55P03" | "42501")) => Ok(None),
        Err(error) => Err(error).doing(doing),
    }
}

async fn missing(pool: &PgPool) -> Result<bool, Error> {
    let sql = "SELECT (SELECT COUNT(*) FROM unnest($1::text[]) AS index(name) WHERE to_regclass(name) IS NULL)
                    + (SELECT COUNT(*) FROM unnest($2::text[]) AS reference(name) WHERE NOT EXISTS
                        (SELECT 1 FROM pg_constraint WHERE conname = reference.name AND conrelid = to_regclass('addresses')))";
    let names: Vec<&str> = INDEXES.iter().map(|(name, _)| *name).collect();
    let count = sqlx::query_as(sql).bind(names).bind(vec![REFERENCE]).fetch_one(pool).await;
    let (count,): (i64,) = count.doing("look for the indexes of customers")?;
    Ok(count > 0)
}

/// PostgreSQL: all that the base needs, where it is missing.
async fn build(alone: &mut PgConnection) -> Result<(), Error> {
    let indexes: Vec<&str> = INDEXES.iter().map(|(_, sql)| *sql).collect();
    // The locks wait for whoever still writes. Somebody may have become a customer since, so that numbers alone tell nothing.
    let orphans: Vec<String> = COPIED_FIRST
        .iter()
        .map(|table| format!("DELETE FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM customers c WHERE c.id = t.customer_id)"))
        .collect();
    let sql = format!(
        "BEGIN; SET LOCAL maintenance_work_mem = '256MB'; LOCK TABLE customers, {} IN SHARE ROW EXCLUSIVE MODE; {}; {};
         ALTER TABLE addresses DROP CONSTRAINT IF EXISTS {REFERENCE};
         ALTER TABLE addresses ADD CONSTRAINT {REFERENCE} FOREIGN KEY (customer_id) REFERENCES customers (id); COMMIT",
        COPIED_FIRST.join(", "),
        orphans.join("; "),
        indexes.join("; ")
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(alone).await.doing(BUILDING).map(drop)
}

async fn write_into_sqlite(store: &Store, queue: &mut mpsc::Receiver<Order>) -> Result<(), Error> {
    let mut open: Option<(Change, usize)> = None;
    while let Some(order) = queue.recv().await {
        match order {
            Order::Write(mut changes, last) => {
                let (mut change, rows) = match open.take() {
                    Some(open) => open,
                    None => (store.change(DOING).await?, 0),
                };
                let count = changes.new.len();
                numbered(&write(&mut change.connection(), &mut changes).await?, last)?;
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

/// What is done in its order.
enum Step {
    Store(Newcomers),
    Change(Box<Changes>, i64),
    Say(oneshot::Sender<()>),
}

/// Newcomers are gathered while those before them are sent; what changes somebody who is there is written after those gathered before it.
async fn write_into_postgres(alone: &mut PgConnection, beside: &mut PgConnection, queue: &mut mpsc::Receiver<Order>) -> Result<(), Error> {
    let (steps, mut next) = mpsc::channel(1);
    let gather = async move {
        let mut newcomers = Newcomers::default();
        while let Some(order) = queue.recv().await {
            let step = match order {
                Order::Write(changes, last) => match newcomers.take(changes, last) {
                    Ok(()) if newcomers.count < COPIED => continue,
                    Ok(()) => None,
                    Err(changes) => Some(Step::Change(changes, last)),
                },
                Order::Commit(done) => Some(Step::Say(done)),
            };
            for step in [Some(Step::Store(std::mem::take(&mut newcomers))), step].into_iter().flatten() {
                // Nobody listens after an error, which is told below.
                if steps.send(step).await.is_err() {
                    return;
                }
            }
        }
        let _ = steps.send(Step::Store(newcomers)).await;
    };
    let store = async move {
        while let Some(step) = next.recv().await {
            match step {
                Step::Store(newcomers) => newcomers.store(alone, beside, DOING).await?,
                Step::Change(mut changes, last) => {
                    let mut transaction = alone.begin().await.doing(DOING)?;
                    numbered(&write(&mut (&mut *transaction).into(), &mut changes).await?, last)?;
                    transaction.commit().await.doing(DOING)?;
                }
                Step::Say(done) => _ = done.send(()),
            }
        }
        Ok(())
    };
    tokio::join!(gather, store).1
}

/// New customers must have the numbers that were expected for them.
fn numbered(new_ids: &[i64], last: i64) -> Result<(), Error> {
    if new_ids.first().is_some_and(|first| *first != last + 1) {
        let what = "another process writes customers during a first import; run the import again, alone".into();
        return Err(Error::Unexpected { doing: DOING, what });
    }
    Ok(())
}
