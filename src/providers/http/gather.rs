//! Many messages in one request: whoever sends while all places for requests are taken waits together with the others, and the next free
//! place takes them all. Nobody waits for a batch to fill.
//!
//! Answers are by place, in the order of the request. A batch without a complete answer leaves every message of it unknown; one that is
//! refused as a whole is certainly not taken, and its halves are asked, until the message at fault stands alone.

use super::{Answer, Caller, Options, Request};
use crate::providers::settings::Error;
use crate::providers::{Look, Looking, Outcome, Outgoing, Provider, Searching, Sending, Sought};
use crate::types::Channel;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// The messages of a request hold so many bytes at most, unless it is one message.
const LARGEST_REQUEST: usize = 8 << 20;

/// How a provider takes many messages at once.
pub(crate) trait Batch: Send + Sync {
    fn channel(&self) -> Channel;
    /// Messages in a request at most.
    fn most(&self) -> usize;
    /// What stands for the message in a request; the error is why it cannot be sent.
    fn item(&self, outgoing: &Outgoing) -> Result<Value, Outcome>;
    /// Whether two items must not stand in one request.
    fn excludes(&self, _one: &Value, _other: &Value) -> bool {
        false
    }
    fn request(&self, items: &[Value]) -> Request;
    fn read(&self, answer: &Answer, items: &[Value]) -> Read;
    fn look(&self) -> Option<Request> {
        None
    }
    fn looked(&self, answer: &Answer) -> Look {
        Look::by_status(answer)
    }
    /// As [`super::Api::search`].
    fn search(&self, _sought: &Sought) -> Vec<Request> {
        Vec::new()
    }
    /// As [`super::Api::found`].
    fn found(&self, answer: &Answer, _sought: &Sought) -> Result<Option<String>, String> {
        Err(answer.reply())
    }
}

/// What the answer to a batch says.
pub(crate) enum Read {
    /// One for each item, in their order; those that lack are unknown.
    Each(Vec<Outcome>),
    /// The same of every item.
    All(Outcome),
    /// None was taken because of one of them; of one item alone, this is the outcome.
    Parts(Outcome),
}

/// A message that waits for a request, and who wants to know what became of it.
struct Waiting {
    item: Value,
    size: usize,
    told: oneshot::Sender<Outcome>,
}

/// A provider made of a [`Batch`].
pub(crate) struct Gathering<B> {
    name: String,
    batch: B,
    caller: Caller,
    /// Requests under way.
    places: Semaphore,
    width: usize,
    waiting: Mutex<VecDeque<Waiting>>,
}

impl<B: Batch> Gathering<B> {
    pub fn new(name: &str, options: &Options, batch: B) -> Result<Gathering<B>, Error> {
        Ok(Gathering {
            name: name.to_string(),
            caller: Caller::new(name, options)?,
            places: Semaphore::new(options.connections),
            width: options.connections * batch.most(),
            waiting: Mutex::default(),
            batch,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Outcome {
        let item = match self.batch.item(outgoing) {
            Ok(item) => item,
            Err(outcome) => return outcome,
        };
        let (told, mut outcome) = oneshot::channel();
        let size = item.to_string().len();
        self.waiting().push_back(Waiting { item, size, told });
        // Whoever drops a request half-way leaves its messages without an answer.
        let lost = |_| Outcome::Unknown { reply: "the request was given up before it was answered".to_string() };
        loop {
            tokio::select! {
                biased;
                outcome = &mut outcome => return outcome.unwrap_or_else(lost),
                // The semaphore is never closed.
                place = self.places.acquire() => {
                    let taken = self.take();
                    if taken.is_empty() {
                        drop(place);
                        return outcome.await.unwrap_or_else(lost);
                    }
                    self.send_all(taken).await;
                }
            }
        }
    }

    /// Those who wait, as many as fit into a request.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let (mut taken, mut size): (Vec<Waiting>, usize) = (Vec::new(), 0);
        while let Some(next) = waiting.pop_front() {
            let fits = taken.is_empty() || (taken.len() < self.batch.most() && size + next.size <= LARGEST_REQUEST);
            if !fits || taken.iter().any(|one| self.batch.excludes(&one.item, &next.item)) {
                waiting.push_front(next);
                break;
            }
            size += next.size;
            taken.push(next);
        }
        taken
    }

    async fn send_all(&self, all: Vec<Waiting>) {
        let mut parts = vec![all];
        while let Some(mut part) = parts.pop() {
            let items: Vec<Value> = part.iter_mut().map(|one| one.item.take()).collect();
            let read = match self.caller.ask(self.batch.request(&items)).await {
                Ok(answer) => self.batch.read(&answer, &items),
                Err(outcome) => Read::All(outcome),
            };
            let outcomes = match read {
                Read::Each(outcomes) => outcomes,
                Read::All(outcome) => vec![outcome; part.len()],
                Read::Parts(outcome) if part.len() == 1 => vec![outcome],
                Read::Parts(_) => {
                    part.iter_mut().zip(items).for_each(|(one, item)| one.item = item);
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                    continue;
                }
            };
            let missing = || Outcome::Unknown { reply: "the answer says nothing of this message".to_string() };
            let mut outcomes = outcomes.into_iter();
            for one in part {
                // Who does not listen any more was told by the drop.
                let _ = one.told.send(outcomes.next().unwrap_or_else(missing));
            }
        }
    }
}

impl<B: Batch> Provider for Gathering<B> {
    fn name(&self) -> &str {
        &self.name
    }
    fn channel(&self) -> Channel {
        self.batch.channel()
    }
    fn width(&self) -> usize {
        self.width
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(self.deliver(outgoing))
    }
    fn pause(&self) -> Option<Duration> {
        self.caller.pause()
    }
    fn look(&self) -> Looking<'_> {
        Box::pin(self.caller.look(self.batch.look(), |answer| self.batch.looked(answer)))
    }
    fn search<'a>(&'a self, sought: &'a Sought) -> Searching<'a> {
        Box::pin(self.caller.search(self.batch.search(sought), |answer| self.batch.found(answer, sought)))
    }
}
