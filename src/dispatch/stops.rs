//! Looks now and then whether a run that hands over must be held: too much of what it delivered came back.

use super::Inner;
use crate::plan::campaign_of;
use crate::policy::stops;
use crate::store;
use crate::types::{RunId, Time};
use chrono::TimeDelta;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Adding up a large run takes a while: not more often than this.
const EVERY: TimeDelta = TimeDelta::seconds(10);

/// What this process remembers about it.
#[derive(Debug, Default)]
pub(super) struct Stops(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// Runs of which a message failed since they were looked at.
    troubled: BTreeSet<RunId>,
    /// When a run may be looked at again.
    next: HashMap<RunId, Time>,
    next_round: Option<Time>,
}

impl Stops {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of this run failed.
    pub fn failed(&self, run: RunId) {
        self.memory().troubled.insert(run);
    }
}

/// Holds what must be held. Asked often, it looks at most every ten seconds; on a virtual clock each time.
pub(super) async fn look(inner: &Inner) -> Result<(), store::Error> {
    let now = inner.clock.now();
    {
        let mut memory = inner.stops.memory();
        if !inner.clock.is_virtual() && memory.next_round.is_some_and(|next| next > now) {
            return Ok(());
        }
        memory.next_round = Some(now + EVERY);
    }
    let mut runs: BTreeSet<RunId> = inner.store.runs_with_bad_responses().await?.into_iter().collect();
    runs.extend(std::mem::take(&mut inner.stops.memory().troubled));
    for run in runs {
        if !inner.clock.is_virtual() && inner.stops.memory().next.get(&run).is_some_and(|next| *next > now) {
            // Not forgotten, only later.
            inner.stops.failed(run);
            continue;
        }
        inner.stops.memory().next.insert(run, now + EVERY);
        let Ok(sending) = inner.sending(run).await else { continue };
        let Ok(campaign) = campaign_of(&sending.compiled.definitions, &sending.run.key) else { continue };
        let stop_if = campaign.stop_if.and(sending.compiled.definitions.workspace.policy.stop_if);
        let Some(why) = stops::share(&stop_if, &inner.store.seen_of_run(run).await?) else { continue };
        if !sending.run.is_test && inner.store.hold_run(run, &why, now).await? {
            tracing::error!(campaign = campaign.key, run = sending.run.number, owner = campaign.owner, why, "held: a person has to look");
        }
    }
    Ok(())
}
