//! What this process works on, so that it can tell from that what it holds in the database without knowing of it: a claim whose answer was lost
//! on the way, or a take-over that failed halfway.
//!
//! A claim is known by its fence. What is given back may be claimed anew before the news of that has come through here, and what ends then is the claim
//! that was given back, not the new one.

use crate::store::ledger::{Batch, Claim};
use crate::store::nodes::Working;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Holding(Arc<Mutex<Held>>);

/// Blocks and messages with the fence (of messages: the lease) of the newest claim on each.
#[derive(Debug, Default)]
struct Held {
    blocks: HashMap<i64, i64>,
    messages: HashMap<i64, i64>,
}

impl Held {
    fn drop_block(&mut self, claim: Claim) {
        if self.blocks.get(&claim.block) == Some(&claim.fence) {
            self.blocks.remove(&claim.block);
        }
    }

    fn drop_message(&mut self, message: i64, claim: Claim) {
        if claim.block == 0 && self.messages.get(&message) == Some(&claim.fence) {
            self.messages.remove(&message);
        }
    }
}

impl Holding {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn block(&self, claim: Claim) {
        self.held().blocks.insert(claim.block, claim.fence);
    }

    /// Messages that are tried again, under a lease.
    pub fn messages(&self, ids: &[i64], claim: Claim) {
        self.held().messages.extend(ids.iter().map(|id| (*id, claim.fence)));
    }

    /// These are about to be given back in a transaction that has them locked: from its commit on they may be taken up anew.
    pub fn let_go(&self, ids: &[i64]) {
        let mut held = self.held();
        for id in ids {
            held.messages.remove(id);
        }
    }

    pub fn now(&self) -> Working {
        let held = self.held();
        Working { blocks: held.blocks.keys().copied().collect(), messages: held.messages.keys().copied().collect() }
    }

    /// A batch is written: what it finishes or gives back is held no more.
    pub fn settled(&self, batch: &Batch) {
        let mut held = self.held();
        for claim in batch.finished.iter().chain(batch.released.iter().map(|(claim, _)| claim)) {
            held.drop_block(*claim);
        }
        if !held.messages.is_empty() {
            batch.answers.iter().for_each(|answer| held.drop_message(answer.message, answer.claim));
            batch.left.iter().for_each(|left| held.drop_message(left.message, left.claim));
            batch.recorded.iter().for_each(|recorded| held.drop_message(recorded.message, recorded.claim));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_anew_before_its_return_is_told_is_still_held() {
        let holding = Holding::default();
        let (first, again) = (Claim { block: 257, fence: 1 }, Claim { block: 257, fence: 2 });
        holding.block(first);
        holding.block(again);
        let given_back = |claim| Batch { released: vec![(claim, crate::types::Time::UNIX_EPOCH)], ..Batch::default() };
        holding.settled(&given_back(first));
        assert_eq!(holding.now().blocks, [257].into());
        holding.settled(&given_back(again));
        assert!(holding.now().blocks.is_empty());
    }

    #[test]
    fn a_message_that_is_leased_anew_is_held_whatever_its_earlier_claims_say() {
        let holding = Holding::default();
        let now = crate::types::Time::UNIX_EPOCH;
        let answer = |claim| {
            let not_sent = crate::store::ledger::Answer::not_sent((5, claim), 1, "relay".into(), now);
            Batch { answers: vec![not_sent], ..Batch::default() }
        };
        let (of_block, lease) = (Claim { block: 1, fence: 7 }, Claim { block: 0, fence: 8 });
        holding.messages(&[5, 6], lease);
        holding.settled(&answer(of_block));
        holding.settled(&answer(Claim { block: 0, fence: 7 }));
        assert_eq!(holding.now().messages, [5, 6].into());
        holding.settled(&answer(lease));
        assert_eq!(holding.now().messages, [6].into());
    }
}
