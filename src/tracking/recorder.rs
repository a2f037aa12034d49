//! Group commit of what comes back: handlers hand in responses and wait; one task writes all that wait in one transaction.
//!
//! An answer means: it is durable. While the database is away the task keeps what it has, up to [`QUEUE`] responses in memory, and tries
//! again each second; who cannot wait any longer goes away and its response stays in the queue. There is no local journal
//! yet: what waits in memory is lost when the process dies, and was never confirmed.

use crate::clock::Clock;
use crate::store::Store;
use crate::store::responses::{Counting, Recorded, ResponseRow, digest};
use crate::types::Time;
use chrono::TimeDelta;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Responses that may wait.
pub const QUEUE: usize = 10_000;
/// Responses of one transaction at most: no write transaction on SQLite takes longer than 50 ms.
const BATCH: usize = 200;

/// Takes responses; cheap to clone. The task ends when all clones are gone and everything is written.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    row: ResponseRow,
    /// The visitor's address; used for what is remembered for seconds, kept nowhere.
    from: Option<IpAddr>,
    answer: oneshot::Sender<Recorded>,
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

impl Recorder {
    /// Starts the task on the current runtime. `counting` may change while it runs (the workspace's zone).
    pub fn start(store: Store, clock: Clock, counting: watch::Receiver<Counting>) -> (Recorder, tokio::task::JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write_all(store, clock, counting, waiting));
        (Recorder { queue }, task)
    }

    /// Waits until the response is durable, at most for `patience`. `from` is the visitor's whole address, if there is a visitor.
    pub async fn record(&self, row: ResponseRow, from: Option<IpAddr>, patience: Duration) -> Result<Recorded, NotRecorded> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { row, from, answer }).map_err(|_| NotRecorded::QueueIsFull)?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(recorded)) => Ok(recorded),
            Ok(Err(_)) => Err(NotRecorded::Refused),
            Err(_) => Err(NotRecorded::StillWaiting),
        }
    }
}

async fn write_all(store: Store, clock: Clock, counting: watch::Receiver<Counting>, mut queue: mpsc::Receiver<Waiting>) {
    let mut recent = Recent::default();
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let now = clock.now();
        recent.forget(now);
        batch.retain_mut(|waiting| recent.look_at(waiting));
        let (rows, answers): (Vec<ResponseRow>, Vec<oneshot::Sender<Recorded>>) =
            std::mem::take(&mut batch).into_iter().map(|waiting| (waiting.row, waiting.answer)).unzip();
        loop {
            let now_counting = *counting.borrow();
            match store.record_responses(&rows, &now_counting).await {
                Ok(recorded) => {
                    rows.iter().for_each(|row| recent.remember(row));
                    answers.into_iter().zip(recorded).for_each(|(answer, recorded)| _ = answer.send(recorded));
                    break;
                }
                Err(error) if error.is_temporary() => {
                    tracing::warn!(%error, waiting = rows.len(), "responses wait for the database");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => {
                    // One bad row must not take the others with it.
                    tracing::error!(error = &error as &dyn std::error::Error, "responses are refused together; each is tried alone");
                    for (row, answer) in rows.iter().zip(answers) {
                        match store.record_responses(std::slice::from_ref(row), &now_counting).await {
                            Ok(recorded) => _ = answer.send(recorded.first().copied().unwrap_or(Recorded::Unknown)),
                            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, ?row, "a response is lost"),
                        }
                    }
                    break;
                }
            }
        }
    }
}

/// Hits of the last seconds: what repeats within two is the same hit, and one address that asks for the messages of several people within one
/// second is a crowd.
#[derive(Default)]
struct Recent {
    hits: HashMap<[u8; 16], Time>,
    /// Visitor → (when, message).
    visitors: HashMap<IpAddr, VecDeque<(Time, i64)>>,
}

impl Recent {
    fn forget(&mut self, now: Time) {
        let limit = now - TimeDelta::seconds(10);
        self.hits.retain(|_, at| *at > limit);
        self.visitors.retain(|_, seen| seen.back().is_some_and(|(at, _)| *at > limit));
    }

    /// Flags a crowd. False, and answered, when it repeats a hit that is durable.
    fn look_at(&mut self, waiting: &mut Waiting) -> bool {
        let row = &mut waiting.row;
        let Some(visit) = row.visit.as_mut() else { return true };
        if let Some(from) = waiting.from {
            let seen = self.visitors.entry(from).or_default();
            visit.crowd |= seen.iter().any(|(at, message)| *message != row.message.0 && (row.at - *at).abs() <= TimeDelta::seconds(1));
            seen.push_back((row.at, row.message.0));
            if seen.len() > 16 {
                seen.pop_front();
            }
        }
        if self.hits.get(&same(row)).is_some_and(|at| (row.at - *at).abs() <= TimeDelta::seconds(2)) {
            // The sender is taken out to answer: what stays behind is dropped with it.
            let (nobody, _) = oneshot::channel();
            _ = std::mem::replace(&mut waiting.answer, nobody).send(Recorded::Repeat);
            return false;
        }
        true
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
