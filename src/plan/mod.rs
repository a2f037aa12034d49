//! A due campaign becomes a run, and everyone it selects becomes a row of the ledger: a message or a refusal.
//!
//! A run is planned once: the audience is read from one snapshot, decided row by row and written in short transactions into a run in
//! state planning; then the run is ready and `dispatch` finds its blocks. A plan that was not finished is dropped and begun anew, so a crash
//! loses nobody and doubles nobody. One process plans at a time (`store::planning_right`): who was frozen for longer than its lease has lost the right, and
//! none of its later writes is made; another one has dropped its plan and begun anew. What is decided here is asked again at hand-over, where it may have changed.

mod arms;
mod caps;
mod cost;
mod decide;
mod due;
mod leave_out;
mod limits;
mod preview;
mod reach;
mod starts;
mod times;
mod warm_up;
mod write;

pub use crate::policy::country_of_phone;
pub use arms::{ArmNames, message_for, message_of};
pub use caps::{Arbiter, Place, Request, reserved_classes};
pub use cost::{CountParts, Parts};
pub use decide::{Decided, Decider, expires, messages};
pub use due::{MOST_MISSED, Occurrence};
use leave_out::Turnout;
pub use preview::{Foreseen, Preview, foresee, look_together, preview};
pub use reach::Reach;
pub use warm_up::{WarmUps, moved_expiry};
pub use write::{Conditions, add_saved, conditions, samples, selection};

use crate::campaigns::{Campaign, Definitions};
use crate::policy::stops;
use crate::store::conversions::Measures;
use crate::store::definitions::Loaded;
use crate::store::planning_right::Right;
use crate::store::runs::{Finish, Looked, Run};
use crate::store::{self, Store};
use crate::types::{NodeId, RunId, RunState, Time};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a turn of planning did, and when it is wanted again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    pub planned: Vec<RunId>,
    /// What could not be scheduled or planned, in words; tried again at the next turn.
    pub failed: Vec<String>,
    pub next: Option<Time>,
}

/// Why a run cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the applied version of campaign `{campaign}` does not hold that campaign")]
    Missing { campaign: String },
}

/// The planning stage.
#[derive(Clone)]
pub struct Planner {
    store: Store,
    loaded: Loaded,
    node: NodeId,
    /// As this process took it last.
    right: Arc<Mutex<Option<Right>>>,
    /// Campaign → external id → arm.
    forced: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    parts: CountParts,
}

impl Planner {
    /// `parts` counts the parts of short messages, for limits of cost; `node` is the process that plans, entered among the living.
    pub fn new(store: Store, loaded: Loaded, parts: CountParts, node: NodeId) -> Self {
        Planner { store, loaded, node, right: Arc::default(), forced: Arc::default(), parts }
    }

    /// The right under which this turn plans.
    fn right(&self) -> Result<Right, store::Error> {
        self.held().ok_or(store::Error::TakenOver)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Right>> {
        self.right.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts these customers into these arms, campaign → external id → arm (or `held_out`), and holds out nobody else of those campaigns: what
    /// a campaign's tests ask for.
    pub fn with_arms(mut self, forced: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        self.forced = Arc::new(forced);
        self
    }

    /// Makes the runs that are due and plans them. A campaign that cannot be planned is logged and does not stop the others.
    pub async fn turn(&self, now: Time) -> Result<Turn, Error> {
        let known = *self.held();
        let taken = self.store.take_right_to_plan(self.node, known, now).await?;
        *self.held() = taken;
        if taken.is_none() {
            // Another machine plans; look again soon.
            return Ok(Turn { next: Some(now + chrono::TimeDelta::seconds(1)), ..Turn::default() });
        }
        let mut turn = Turn::default();
        if self.store.stopped().await?.is_some() {
            return Ok(turn);
        }
        for row in self.store.campaigns().await? {
            let (Some(version), None) = (row.version, row.paused_at) else { continue };
            let next = async {
                let definitions = self.loaded.definitions(version).await?;
                let campaign = campaign_of(&definitions, &row.key)?;
                let due = due::look(&campaign.schedule, row.scheduled_until, now);
                if !due.occurrences.is_empty() || due.looked_until > row.scheduled_until {
                    let occurrences = due.occurrences.iter().map(|occurrence| (occurrence.name(), occurrence.at)).collect();
                    let looked = Looked { occurrences, missed: due.missed, until: due.looked_until };
                    self.store.create_runs(row.id, version, &looked, self.right()?).await?;
                    for missed in looked.missed {
                        let (first, last, count, why) = (missed.first, missed.last, missed.occurrences, missed.why);
                        tracing::warn!(campaign = row.key, first, last, count, why, "missed: not run");
                    }
                }
                let started = self.start(&row, version, &definitions, campaign, now).await?;
                Ok::<_, Error>((due.next, started))
            };
            match next.await {
                Ok((next, started)) => {
                    turn.next = [turn.next, next].into_iter().flatten().min();
                    turn.planned.extend(started);
                }
                Err(Error::Store(store::Error::TakenOver)) => return Ok(self.taken_over(turn, now)),
                Err(error) => {
                    tracing::error!(campaign = row.key, error = &error as &dyn std::error::Error, "cannot look for due occurrences");
                    turn.failed.push(format!("cannot schedule {}: {error}", row.key));
                }
            }
        }
        for run in self.by_importance(self.store.runs_in(&[RunState::Planning]).await?).await {
            match self.plan(&run, now).await {
                Ok(true) => turn.planned.push(run.id),
                Ok(false) => {}
                Err(Error::Store(store::Error::TakenOver)) => return Ok(self.taken_over(turn, now)),
                Err(error) => {
                    tracing::error!(campaign = run.key, run = run.number, error = &error as &dyn std::error::Error, "cannot plan");
                    turn.failed.push(format!("cannot plan run {} of {}: {error}", run.number, run.key));
                }
            }
        }
        Ok(turn)
    }

    /// What was done before the right was lost.
    fn taken_over(&self, turn: Turn, now: Time) -> Turn {
        tracing::warn!("this process was away for longer than its lease: another one plans now, and what was begun here is dropped");
        *self.held() = None;
        Turn { next: Some(now + chrono::TimeDelta::seconds(1)), ..turn }
    }

    /// The higher priority first, then who was due first: under a cap the important message takes its place before the others are sent.
    async fn by_importance(&self, runs: Vec<Run>) -> Vec<Run> {
        let mut ranked = Vec::with_capacity(runs.len());
        for run in runs {
            // What cannot be read fails when it is planned.
            let priority = match self.loaded.definitions(run.version).await {
                Ok(definitions) => definitions.campaigns.get(&run.key).map_or(0, |campaign| campaign.priority),
                Err(_) => 0,
            };
            ranked.push(((std::cmp::Reverse(priority), run.due_at, run.campaign, run.number), run));
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, run)| run).collect()
    }

    /// Plans one run from the beginning; `false` when it waits, or is left out.
    async fn plan(&self, run: &Run, now: Time) -> Result<bool, Error> {
        let right = self.right()?;
        let definitions = self.loaded.definitions(run.version).await?;
        let campaign = campaign_of(&definitions, &run.key)?;
        match self.turnout(run, &definitions, campaign, now).await? {
            Turnout::Plan => {}
            Turnout::Wait => return Ok(false),
            Turnout::LeaveOut(why) => {
                self.store.leave_run_out(run.id, &why, now, self.right()?).await?;
                tracing::warn!(campaign = run.key, run = run.number, why, "left out");
                return Ok(false);
            }
        }
        caps::prepare(&self.store, &self.loaded, &definitions.workspace.policy, now, right).await?;
        self.store.drop_plan(run.id, right).await?;
        let write::Written { arms, selected, messages, cost } =
            write::plan(&self.store, &definitions, campaign, run, self.forced.get(&run.key), (&self.parts, right), now).await?;
        let stop_if = campaign.stop_if.and(definitions.workspace.policy.stop_if);
        let held = stops::audience(&stop_if, selected).filter(|_| !run.is_test && run.held_why.is_none());
        let approval = definitions.workspace.policy.approval.as_ref();
        let approval = stops::approval(approval, campaign.class, messages).filter(|_| !run.is_test);
        let finish = Finish { held, approval, cost };
        self.store.finish_planning(run.id, &arms, &finish, now, right).await?;
        for why in [&finish.held, &finish.approval].into_iter().flatten() {
            tracing::error!(campaign = run.key, run = run.number, owner = campaign.owner, why, "held: a person has to look");
        }
        // What happened between the due time and now has come in before there was anybody to convert.
        self.store.convert_earlier(run.id, &Measures::of(run.version, campaign, &definitions.workspace)).await?;
        self.store.tell().await?;
        tracing::info!(campaign = run.key, run = run.number, "planned");
        Ok(true)
    }
}

/// The campaign that a version was applied for.
pub fn campaign_of<'a>(definitions: &'a Definitions, key: &str) -> Result<&'a Campaign, Error> {
    definitions.campaigns.get(key).ok_or_else(|| Error::Missing { campaign: key.to_string() })
}
