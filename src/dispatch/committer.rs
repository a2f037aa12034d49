//! The one task that writes marks and answers: all that wait go into one transaction, and when the commit returns it starts again. A lone message
//! is as fast as the disk. While a crowd is under way a batch that is still small waits a moment for more (standards.md §7.2: at most 5 ms or 64
//! rows): a commit costs the processor as much as a dozen rows.

use super::holding::Holding;
use crate::clock::Clock;
use crate::kill_points::{Point, reached};
use crate::store::Store;
use crate::store::consents::ConsentRow;
use crate::store::ledger::{Answer, Batch, Claim, Left, Mark, Recorded, Suppress};
use crate::store::strikes::StrikeRow;
use crate::types::{NodeId, Time};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// At most so many rows in one transaction, which keeps it far below 50 ms.
const MOST: usize = 1000;

/// A batch of so many rows waits for nobody …
const ENOUGH: usize = 64;
/// … and a smaller one for so long, if the one before had so many that others will come.
const MOMENT: Duration = Duration::from_millis(2);
const CROWD: usize = 12;

enum Work {
    Mark(Mark, oneshot::Sender<bool>),
    Answer(Box<Answer>),
    Suppress(Suppress),
    Strike(StrikeRow),
    Consent(ConsentRow),
    Left(Left),
    Recorded(Recorded),
    Finished(Claim),
    Released(Claim, Time),
    Breaker(String, Option<(Time, String)>),
    Flush(oneshot::Sender<()>),
}

/// Hands rows to the committer; cheap to clone.
#[derive(Clone)]
pub struct Committer {
    work: mpsc::UnboundedSender<Work>,
}

impl Committer {
    /// Starts the task. It ends when the last handle is gone and all is written.
    pub fn start(store: Store, node: NodeId, clock: Clock, holding: Holding) -> Self {
        let (work, received) = mpsc::unbounded_channel();
        tokio::spawn(run(Writer { store, node, clock, holding }, received));
        Committer { work }
    }

    /// Writes the mark; `true` once it is durable, `false` when it was not granted.
    pub async fn mark(&self, mark: Mark) -> bool {
        let (done, answer) = oneshot::channel();
        let _ = self.work.send(Work::Mark(mark, done));
        answer.await.unwrap_or(false)
    }
    pub fn answer(&self, answer: Answer) {
        let _ = self.work.send(Work::Answer(Box::new(answer)));
    }
    pub fn suppress(&self, suppress: Suppress) {
        let _ = self.work.send(Work::Suppress(suppress));
    }
    pub fn strike(&self, row: StrikeRow) {
        let _ = self.work.send(Work::Strike(row));
    }
    /// What a provider's answer says of consent.
    pub fn consent(&self, row: ConsentRow) {
        let _ = self.work.send(Work::Consent(row));
    }
    pub fn left(&self, left: Left) {
        let _ = self.work.send(Work::Left(left));
    }
    /// A provider that only remembers has it.
    pub fn recorded(&self, recorded: Recorded) {
        let _ = self.work.send(Work::Recorded(recorded));
    }
    pub fn finished(&self, claim: Claim) {
        let _ = self.work.send(Work::Finished(claim));
    }
    pub fn released(&self, claim: Claim, due: Time) {
        let _ = self.work.send(Work::Released(claim, due));
    }
    /// A provider's breaker has opened (since when, why) or closed.
    pub fn breaker(&self, provider: String, open: Option<(Time, String)>) {
        let _ = self.work.send(Work::Breaker(provider, open));
    }
    /// Returns when all that was given before is written.
    pub async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        let _ = self.work.send(Work::Flush(done));
        let _ = answer.await;
    }
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    marks: HashMap<i64, oneshot::Sender<bool>>,
    flushes: Vec<oneshot::Sender<()>>,
    rows: usize,
}

impl Waiting {
    /// It is small, of a sending that goes on, and nobody asks for it at once.
    fn may_wait(&self) -> bool {
        self.rows < ENOUGH && !self.batch.marks.is_empty() && self.flushes.is_empty()
    }

    fn take_all(&mut self, received: &mut mpsc::UnboundedReceiver<Work>) {
        while self.rows < MOST
            && let Ok(work) = received.try_recv()
        {
            self.add(work);
        }
    }

    fn add(&mut self, work: Work) {
        self.rows += 1;
        match work {
            Work::Mark(mark, done) => {
                self.marks.insert(mark.message, done);
                self.batch.marks.push(mark);
            }
            Work::Answer(answer) => self.batch.answers.push(*answer),
            Work::Suppress(suppress) => self.batch.suppress.push(suppress),
            Work::Strike(row) => self.batch.strikes.push(row),
            Work::Consent(row) => self.batch.consents.push(row),
            Work::Left(left) => self.batch.left.push(left),
            Work::Recorded(recorded) => self.batch.recorded.push(recorded),
            Work::Finished(claim) => self.batch.finished.push(claim),
            Work::Released(claim, due) => self.batch.released.push((claim, due)),
            Work::Breaker(provider, open) => self.batch.breakers.push((provider, open)),
            Work::Flush(done) => self.flushes.push(done),
        }
    }
}

struct Writer {
    store: Store,
    node: NodeId,
    clock: Clock,
    holding: Holding,
}

async fn run(writer: Writer, mut received: mpsc::UnboundedReceiver<Work>) {
    let mut waiting = Waiting::default();
    let mut before = 0;
    while let Some(work) = received.recv().await {
        waiting.add(work);
        waiting.take_all(&mut received);
        if before >= CROWD && waiting.may_wait() {
            let moment = tokio::time::sleep(MOMENT);
            tokio::pin!(moment);
            while waiting.may_wait() {
                tokio::select! {
                    Some(work) = received.recv() => {
                        waiting.add(work);
                        waiting.take_all(&mut received);
                    }
                    () = &mut moment => break,
                }
            }
        }
        before = waiting.rows;
        writer.commit(&mut waiting).await;
    }
}

impl Writer {
    /// Writes what waits. While the database is away marks are refused (nothing leaves), and answers are kept until they can be written.
    async fn commit(&self, waiting: &mut Waiting) {
        let mut tries = 0;
        while !waiting.batch.is_empty() {
            let (has_marks, has_answers) = (!waiting.batch.marks.is_empty(), !waiting.batch.answers.is_empty());
            if has_marks {
                reached(Point::BeforeMark);
            }
            match self.store.commit_batch(self.node, self.clock.now(), &waiting.batch).await {
                Ok(granted) => {
                    if has_marks {
                        reached(Point::AfterMark);
                    }
                    if has_answers {
                        reached(Point::AfterCommit);
                    }
                    for message in granted {
                        if let Some(done) = waiting.marks.remove(&message) {
                            let _ = done.send(true);
                        }
                    }
                    self.holding.settled(&waiting.batch);
                    break;
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot write to the ledger");
                    waiting.take_back_marks(self.clock.now());
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100 * tries.min(50))).await;
                }
            }
        }
        let done = std::mem::take(waiting);
        for flush in done.flushes {
            let _ = flush.send(());
        }
    }
}

impl Waiting {
    /// Nobody knows whether a commit that failed was made after all. Dropping the senders refuses the marks, so that nothing leaves; and should they
    /// be in the database, they are taken back before anything else is written.
    fn take_back_marks(&mut self, now: Time) {
        self.marks.clear();
        for mark in std::mem::take(&mut self.batch.marks) {
            self.batch.answers.push(Answer::not_sent((mark.message, mark.claim), mark.attempt, mark.provider, now));
        }
    }
}
