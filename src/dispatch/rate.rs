//! How fast: paces that hold over all machines together.
//!
//! A pace of so many a second is a row of slots in time, one each 1/rate second. Processes take slots from the database in slices (a quarter of a second
//! at most), so that no two ever have the same one, and each message uses one just before its socket. A slot is good for 50 ms; what went by unused is
//! void, so that nobody catches up: over any second at most 1.05 × rate + 1 messages leave, whatever the number of processes and their fortunes.
//!
//! A message takes its turn before its mark and its slot after it ([`Rate::turn`], [`Turn::slot`]): few are marked and wait. Where slots are far apart the
//! slot itself is waited for before the mark. On a virtual clock nobody waits.

use crate::clock::Clock;
use crate::store::Store;
use chrono::TimeDelta;
use std::collections::HashMap;
use std::sync::{Arc, Mutex as Plain, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// A slot can be used so long after its instant.
const GOOD_FOR: i64 = 50_000;
/// A slice reaches at most so far.
const SLICE: i64 = 250_000;
/// Slots farther apart are waited for before the mark.
const FAR_APART: i64 = 200_000;
/// While the database gives no slots.
const PATIENCE: Duration = Duration::from_millis(500);

/// A pace, by its name in the database.
#[derive(Debug)]
pub struct Rate {
    name: String,
    /// Microseconds from slot to slot.
    step: i64,
    store: Store,
    turns: Arc<Semaphore>,
    /// Transactional messages wait for nobody else's turn.
    urgent: Arc<Semaphore>,
    slots: Mutex<Slots>,
}

fn step_of(per_second: f64) -> i64 {
    ((1e6 / per_second.max(1e-6)) as i64).max(1)
}

/// A slice: slots from `next` on, `left` of them.
#[derive(Debug)]
struct Slots {
    next: i64,
    left: i64,
    /// How many to take the next time: more while all are used, fewer when some went by.
    size: i64,
}

/// A message's turn under a pace.
#[derive(Debug)]
pub struct Turn {
    rate: Arc<Rate>,
    has_slot: bool,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Rate {
    /// `per_second` may be a fraction; nought is one in eleven days.
    pub fn new(store: Store, name: impl Into<String>, per_second: f64) -> Self {
        let step = step_of(per_second);
        // As many as half a second takes may be marked and wait.
        let turns = (500_000 / step).clamp(1, 10_000) as usize;
        Rate {
            name: name.into(),
            step,
            store,
            turns: Arc::new(Semaphore::new(turns)),
            urgent: Arc::new(Semaphore::new(turns)),
            slots: Mutex::new(Slots { next: 0, left: 0, size: 1 }),
        }
    }

    /// Waits for this message's turn. To be dropped when the message does not go after all.
    pub async fn turn(self: &Arc<Self>, clock: &Clock, urgent: bool) -> Turn {
        if clock.is_virtual() {
            return Turn { rate: self.clone(), has_slot: true, _turn: None };
        }
        // The semaphore is never closed.
        let turns = if urgent { &self.urgent } else { &self.turns };
        let turn = turns.clone().acquire_owned().await.ok();
        let has_slot = self.step > FAR_APART;
        if has_slot {
            self.wait_for_slot(clock).await;
        }
        Turn { rate: self.clone(), has_slot, _turn: turn }
    }

    async fn wait_for_slot(&self, clock: &Clock) {
        let slot = self.next_slot(clock).await;
        let wait = slot - clock.now().timestamp_micros();
        if wait > 0 {
            tokio::time::sleep(TimeDelta::microseconds(wait).to_std().unwrap_or_default()).await;
        }
    }

    /// The next slot of ours. Who waits for the lock is served in order.
    async fn next_slot(&self, clock: &Clock) -> i64 {
        let mut slots = self.slots.lock().await;
        loop {
            let now = clock.now().timestamp_micros();
            slots.let_go(self.step, now - GOOD_FOR);
            if slots.left > 0 {
                let slot = slots.next;
                slots.next += self.step;
                slots.left -= 1;
                return slot;
            }
            let count = slots.size.clamp(1, (SLICE / self.step).max(1));
            match self.store.take_slots(&self.name, self.step, count, now).await {
                Ok(first) => *slots = Slots { next: first, left: count, size: count * 2 },
                Err(error) => {
                    tracing::error!(pace = self.name, error = &error as &dyn std::error::Error, "no slots: nothing leaves at this pace");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }
}

impl Slots {
    /// Slots before `oldest` are void.
    fn let_go(&mut self, step: i64, oldest: i64) {
        let gone = ((oldest - self.next + step - 1) / step).clamp(0, self.left);
        if gone > 0 {
            self.next += gone * step;
            self.left -= gone;
            self.size = (self.size / 2).max(1);
        }
    }
}

impl Turn {
    /// Waits for the slot; to be called after the mark, just before the socket.
    pub async fn slot(&mut self, clock: &Clock) {
        if !std::mem::replace(&mut self.has_slot, true) {
            self.rate.wait_for_slot(clock).await;
        }
        self._turn = None;
    }
}

/// The paces of a process by name: who asks for the same pace gets the same one.
#[derive(Debug, Clone)]
pub struct Rates {
    store: Store,
    known: Arc<Plain<HashMap<String, Arc<Rate>>>>,
}

impl Rates {
    pub fn new(store: Store) -> Self {
        Rates { store, known: Arc::default() }
    }

    /// The pace `name`; a changed figure begins at once. Names: `provider:NAME`, `site:PROVIDER/SITE`, `campaign:KEY`.
    pub fn get(&self, name: &str, per_second: f64) -> Arc<Rate> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(name).filter(|rate| rate.step == step_of(per_second)) {
            Some(rate) => rate.clone(),
            None => {
                let fresh = Arc::new(Rate::new(self.store.clone(), name, per_second));
                known.insert(name.to_string(), fresh.clone());
                fresh
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_went_by_are_void() {
        let mut slots = Slots { next: 1_000, left: 10, size: 8 };
        slots.let_go(100, 1_000);
        assert_eq!((slots.next, slots.left, slots.size), (1_000, 10, 8));
        slots.let_go(100, 1_001);
        assert_eq!((slots.next, slots.left, slots.size), (1_100, 9, 4));
        slots.let_go(100, 1_000_000);
        assert_eq!((slots.left, slots.size), (0, 2));
        slots.let_go(100, 2_000_000);
        assert_eq!((slots.left, slots.size), (0, 2), "with none left nothing is let go");
    }
}
