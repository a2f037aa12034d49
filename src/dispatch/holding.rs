//! What this process works on, so that it can tell from that what it holds in the database without knowing of it: a claim whose answer was lost
//! on the way, or a take-over that failed halfway.

use crate::store::ledger::{Batch, Claim};
use crate::store::nodes::Working;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Holding(Arc<Mutex<Working>>);

impl Holding {
    fn working(&self) -> MutexGuard<'_, Working> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn block(&self, claim: Claim) {
        self.working().blocks.insert(claim.block);
    }

    pub fn messages(&self, ids: &[i64]) {
        self.working().messages.extend(ids);
    }

    /// These are about to be given back in a transaction that has them locked: from its commit on they may be taken up anew.
    pub fn let_go(&self, ids: &[i64]) {
        let mut working = self.working();
        for id in ids {
            working.messages.remove(id);
        }
    }

    pub fn now(&self) -> Working {
        self.working().clone()
    }

    /// A batch is written: what it finishes or gives back is held no more.
    pub fn settled(&self, batch: &Batch) {
        let mut working = self.working();
        for claim in batch.finished.iter().chain(batch.released.iter().map(|(claim, _)| claim)) {
            working.blocks.remove(&claim.block);
        }
        if !working.messages.is_empty() {
            let settled = batch.answers.iter().map(|answer| answer.message).chain(batch.left.iter().map(|left| left.message));
            for message in settled {
                working.messages.remove(&message);
            }
        }
    }
}
