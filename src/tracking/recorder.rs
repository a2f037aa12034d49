//! Group commit of what comes back: handlers hand in responses and wait; one task writes all that wait in one transaction.
//!
//! An answer means: it is durable. A hit (an open, a click) that the database does not take within [`SOON`] goes to the journal of this machine
//! and is answered when it is fsynced there; those that come in the `WHILE` after it go there at once, since a database that is busy with a run
//! would let each of them wait as long. They stay in the queue all the same; what had no place there is replayed from the journal by another task.
//! Everything else waits for the database: an unsubscription counts when those who send can see it. While the database is away, up to [`QUEUE`]
//! responses are also kept in memory and tried again each second; who cannot wait any longer goes away and its response stays in the queue.
//! At the end what waits is written first ([`Recorder::finish`]); what the journal still holds then is replayed by the next process.

use super::journal::{Journal, Segment, Ticket};
use crate::store::Store;
use crate::store::responses::{Counting, Recorded, ResponseRow, digest};
use crate::types::Time;
use chrono::TimeDelta;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Responses that may wait.
pub const QUEUE: usize = 10_000;
/// How long the database may take before a hit goes to the journal (design.md §9 says 50 ms: so long is who waits behind a run's commits, and then
/// 99 in 100 were answered within 76 ms).
pub const SOON: Duration = Duration::from_millis(10);
/// How long hits go to the journal at once after one had waited too long.
const WHILE: Duration = Duration::from_millis(250);
/// Responses of one transaction at most: no write transaction on SQLite takes longer than 50 ms.
const BATCH: usize = 200;
/// How often the database is tried again, and the journal looked at.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes responses; cheap to clone. Its tasks end when all clones are gone and everything is written.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Waiting>,
    recent: Arc<Mutex<Recent>>,
    journal: Option<Journal>,
    /// Until when hits do not wait for the database.
    hurried: Arc<Mutex<Option<Instant>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Waiting {
    row: ResponseRow,
    answer: oneshot::Sender<Recorded>,
    ticket: Arc<Ticket>,
}

/// It was not recorded (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    #[error("too many responses wait to be recorded")]
    QueueIsFull,
    #[error("the database did not answer in time; the response waits to be recorded")]
    StillWaiting,
    #[error("the database refuses the response")]
    Refused,
}

/// Where a hit is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Database(Recorded),
    Journal,
}

impl Recorder {
    /// Starts the tasks on the current runtime. `counting` may change while they run (the workspace's zone). Without a journal, hits wait for
    /// the database.
    pub fn start(store: Store, counting: watch::Receiver<Counting>, journal: Option<Journal>) -> Recorder {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let recent = Arc::<Mutex<Recent>>::default();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(write_all(store.clone(), counting.clone(), waiting, recent.clone(), stop.clone()));
        if let Some(journal) = journal.clone() {
            tasks.spawn(replay_all(store, counting, journal, queue.downgrade(), stop.clone()));
        }
        tasks.close();
        Recorder { queue, recent, journal, hurried: Arc::default(), tasks, stop }
    }

    /// Takes nothing more, writes what waits, and leaves the rest of the journal to the next process. While the database is away, it may be given up
    /// at any time: only what was never answered is lost.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Waits until the response is in the database, at most for `patience`.
    pub async fn record(&self, row: ResponseRow, patience: Duration) -> Result<Recorded, NotRecorded> {
        wait(self.hand_in(row, Arc::default())?, patience).await
    }

    /// Waits until a hit is durable: in the database, or in the journal when that takes too long. Where even the journal fails it waits for
    /// the database, at most for `patience`. `from` is the visitor's whole address.
    pub async fn hit(&self, mut row: ResponseRow, from: Option<IpAddr>, patience: Duration) -> Result<Kept, NotRecorded> {
        if !lock(&self.recent).look_at(&mut row, from) {
            return Ok(Kept::Database(Recorded::Repeat));
        }
        let Some(journal) = &self.journal else { return self.record(row, patience).await.map(Kept::Database) };
        let ticket = Arc::<Ticket>::default();
        let mut answered = self.hand_in(row.clone(), ticket.clone());
        match &mut answered {
            Ok(answered) if !self.is_hurried() => match tokio::time::timeout(SOON, answered).await {
                Ok(Ok(recorded)) => return Ok(Kept::Database(recorded)),
                Ok(Err(_)) => {}
                Err(_) => *lock(&self.hurried) = Some(Instant::now() + WHILE),
            },
            Ok(_) => {}
            Err(_) => ticket.alone(),
        }
        match journal.append(&row, ticket).await {
            Ok(()) => {
                lock(&self.recent).remember(&row);
                Ok(Kept::Journal)
            }
            Err(_) => wait(answered?, patience).await.map(Kept::Database),
        }
    }

    fn is_hurried(&self) -> bool {
        lock(&self.hurried).is_some_and(|until| Instant::now() < until)
    }

    fn hand_in(&self, row: ResponseRow, ticket: Arc<Ticket>) -> Result<oneshot::Receiver<Recorded>, NotRecorded> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { row, answer, ticket }).map_err(|_| NotRecorded::QueueIsFull)?;
        Ok(answered)
    }
}

async fn wait(answered: oneshot::Receiver<Recorded>, patience: Duration) -> Result<Recorded, NotRecorded> {
    match tokio::time::timeout(patience, answered).await {
        Ok(Ok(recorded)) => Ok(recorded),
        Ok(Err(_)) => Err(NotRecorded::Refused),
        Err(_) => Err(NotRecorded::StillWaiting),
    }
}

async fn write_all(
    store: Store,
    counting: watch::Receiver<Counting>,
    mut queue: mpsc::Receiver<Waiting>,
    recent: Arc<Mutex<Recent>>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = queue.recv_many(&mut batch, BATCH) => count,
            // What is in the queue then is still received.
            () = stop.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let (rows, answers): (Vec<ResponseRow>, Vec<_>) =
            batch.drain(..).map(|waiting| (waiting.row, (waiting.answer, waiting.ticket))).unzip();
        let mut answers: Vec<Option<_>> = answers.into_iter().map(Some).collect();
        let recorded = record_rows(&store, &rows, &counting, |place, recorded| {
            if let Some((answer, ticket)) = answers.get_mut(place).and_then(Option::take) {
                lock(&recent).remember(&rows[place]);
                ticket.recorded();
                let _ = answer.send(recorded);
            }
        });
        if recorded.await.is_err() {
            return;
        }
        // Those that the database refuses: a replay sets them aside, where a person finds them.
        answers.into_iter().flatten().for_each(|(_, ticket)| ticket.alone());
    }
}

/// This process does not use its database any more.
struct Closed;

/// Writes rows in one transaction, and tries again while the database is away. `done` hears of each row that is durable; those that the
/// database refuses are logged, and their number is given.
async fn record_rows(
    store: &Store,
    rows: &[ResponseRow],
    counting: &watch::Receiver<Counting>,
    mut done: impl FnMut(usize, Recorded),
) -> Result<usize, Closed> {
    loop {
        let now_counting = *counting.borrow();
        match store.record_responses(rows, &now_counting).await {
            Ok(recorded) => {
                recorded.into_iter().enumerate().for_each(|(place, recorded)| done(place, recorded));
                return Ok(0);
            }
            Err(error) if error.is_closed() => return Err(Closed),
            Err(error) if error.is_temporary() => {
                tracing::warn!(%error, waiting = rows.len(), "responses wait for the database");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                // One bad row must not take the others with it.
                tracing::error!(error = &error as &dyn std::error::Error, "responses are refused together; each is tried alone");
                let mut refused = 0;
                for (place, row) in rows.iter().enumerate() {
                    match store.record_responses(std::slice::from_ref(row), &now_counting).await {
                        Ok(recorded) => done(place, recorded.first().copied().unwrap_or(Recorded::Unknown)),
                        Err(error) if error.is_closed() => return Err(Closed),
                        Err(error) => {
                            refused += 1;
                            let (message, response) = (row.message.0, row.response.word());
                            tracing::error!(error = &error as &dyn std::error::Error, message, response, "the database refuses a response");
                        }
                    }
                }
                return Ok(refused);
            }
        }
    }
}

/// Replays the journal whenever it holds something and the database answers; ends when nobody records any more.
async fn replay_all(
    store: Store,
    counting: watch::Receiver<Counting>,
    journal: Journal,
    recorders: mpsc::WeakSender<Waiting>,
    stop: CancellationToken,
) {
    let mut sealed = Vec::new();
    while recorders.upgrade().is_some() && !stop.is_cancelled() {
        if matches!(tokio::time::timeout(AGAIN, store.ping()).await, Ok(Ok(()))) {
            sealed.extend(journal.seal().await);
            for segment in std::mem::take(&mut sealed) {
                if !segment.is_recorded() && segment.is_on_its_way() {
                    sealed.push(segment);
                    continue;
                }
                let path = segment.path.clone();
                if let Err(error) = replay(&store, &counting, segment, &stop).await {
                    tracing::error!(%error, path = %path.display(), "a file of the journal cannot be replayed; it is tried again");
                }
            }
        }
        tokio::select! { () = tokio::time::sleep(AGAIN) => {}, () = stop.cancelled() => {} }
    }
}

async fn replay(store: &Store, counting: &watch::Receiver<Counting>, segment: Segment, stop: &CancellationToken) -> std::io::Result<()> {
    if segment.is_recorded() {
        return segment.remove();
    }
    let mut hits = segment.hits()?;
    let (mut count, mut refused) = (0, 0);
    loop {
        let rows: Vec<ResponseRow> = hits.by_ref().take(BATCH).collect();
        if rows.is_empty() {
            break;
        }
        // The file stays as it is: what of it is recorded already is known again by its keys.
        if stop.is_cancelled() {
            return Ok(());
        }
        count += rows.len();
        let Ok(not_taken) = record_rows(store, &rows, counting, |_, _| {}).await else { return Ok(()) };
        refused += not_taken;
    }
    tracing::info!(count, path = %segment.path.display(), "hits of the journal are in the database");
    if hits.damaged || refused > 0 {
        let path = segment.set_aside()?;
        tracing::error!(path = %path.display(), refused, "a file of the journal holds hits that could not be replayed; it is kept");
        return Ok(());
    }
    segment.remove()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hits of the last seconds: what repeats within two is the same hit, and one address that asks for the messages of several people within one
/// second is a crowd.
#[derive(Debug, Default)]
struct Recent {
    hits: HashMap<[u8; 16], Time>,
    /// Visitor → (when, message).
    visitors: HashMap<IpAddr, VecDeque<(Time, i64)>>,
    forgotten_at: Time,
}

impl Recent {
    /// Once a second, what is older than ten.
    fn forget(&mut self, now: Time) {
        if (now - self.forgotten_at).abs() < TimeDelta::seconds(1) {
            return;
        }
        self.forgotten_at = now;
        let limit = now - TimeDelta::seconds(10);
        self.hits.retain(|_, at| *at > limit);
        self.visitors.retain(|_, seen| seen.back().is_some_and(|(at, _)| *at > limit));
    }

    /// Flags a crowd. False when it repeats a hit that is durable.
    fn look_at(&mut self, row: &mut ResponseRow, from: Option<IpAddr>) -> bool {
        self.forget(row.at);
        let Some(visit) = row.visit.as_mut() else { return true };
        if let Some(from) = from {
            let seen = self.visitors.entry(from).or_default();
            visit.crowd |= seen.iter().any(|(at, message)| *message != row.message.0 && (row.at - *at).abs() <= TimeDelta::seconds(1));
            seen.push_back((row.at, row.message.0));
            if seen.len() > 16 {
                seen.pop_front();
            }
        }
        self.hits.get(&same(row)).is_none_or(|at| (row.at - *at).abs() > TimeDelta::seconds(2))
    }

    fn remember(&mut self, row: &ResponseRow) {
        if row.visit.is_some() {
            self.hits.insert(same(row), row.at);
        }
    }
}

/// The same for the same visitor, message and link.
fn same(row: &ResponseRow) -> [u8; 16] {
    let visit = row.visit.clone().unwrap_or_default();
    let kind = [row.response.code() as u8, u8::from(visit.head)];
    digest(&[&kind, &row.message.0.to_be_bytes(), &row.link.to_be_bytes(), visit.network.as_bytes(), visit.agent.as_bytes()])
}
