//! Hands due messages to their providers, at the pace each provider allows, and writes what became of them.
//!
//! What it promises (design.md §6): a message's mark is durable before any byte of its body leaves; a crash before the mark loses nothing, a crash
//! after it leaves the message uncertain (or due again, where its campaign says `resend`). At most `in_flight` messages of a provider are marked and
//! unanswered. Nothing here asks the database for one message: blocks are claimed and loaded whole, and one committer writes all marks
//! and answers that wait in one transaction.
//!
//! Who comes first: runs take turns by the weights of their priorities (`shares`), and no run holds all places. Transactional messages have
//! places of their own everywhere (blocks, composing, a tenth of what may be in flight, turns under a pace) and take others' places where those are free; nobody else
//! takes theirs. Trying again in vain is bounded by each provider's budget (`budget`).

mod block;
mod breaker;
mod budget;
mod committer;
mod compose;
mod hand_over;
mod holding;
mod lanes;
mod otherwise;
mod parts;
mod permits;
mod ramp;
mod rate;
mod recover;
mod references;
mod retry;
mod shares;
mod signing;
mod stops;
mod sites;
mod warm_up;

pub use breaker::{Admission, Breaker};
pub use committer::Committer;
pub use compose::{Compiled, Composed, Composer, Filled, Identity, Sending, Unsendable};
pub use lanes::{Lane, Lanes};
pub use parts::count_parts;
pub use rate::{Rate, Rates, Turn as RateTurn};
pub use references::References;

use crate::clock::Clock;
use crate::store::control::Brakes;
use crate::store::definitions::Loaded;
use crate::store::{self, Store, micros};
use crate::types::{NodeId, RunId, Time, VersionId};
use holding::Holding;
use signing::Signing;
use sites::Sites;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Blocks worked on at the same time of a run that is alone; of several, see `shares`.
pub(crate) const BLOCKS_OF_A_RUN: usize = 4;
/// Blocks worked on at the same time: a slow run or provider leaves room for others.
const BLOCKS_AT_ONCE: usize = 16;
/// Besides, blocks of transactional campaigns: they wait for none of the others.
const URGENT_AT_ONCE: usize = 4;
/// How long a message tried again is ours.
pub(crate) const AGAIN_LEASE: chrono::TimeDelta = chrono::TimeDelta::minutes(15);

/// What a turn of sending did, and when it is wanted again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// Messages handed to a provider, with whatever answer.
    pub handed_over: u64,
    pub next: Option<Time>,
}

/// Until when this process may hand over; a process whose renewal failed for half a lease hands nothing over.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<AtomicI64>);

impl Lease {
    /// A lease that never ends, for engines on a clock of their own.
    pub fn forever() -> Self {
        Lease(Arc::new(AtomicI64::new(i64::MAX)))
    }
    pub fn extend(&self, until: Time) {
        self.0.store(micros(until), Ordering::SeqCst);
    }
    pub fn holds(&self, now: Time) -> bool {
        micros(now) < self.0.load(Ordering::SeqCst)
    }
}

/// The sending stage of one process; cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    store: Store,
    loaded: Loaded,
    clock: Clock,
    node: NodeId,
    lease: Lease,
    outlets: RwLock<Outlets>,
    committer: Committer,
    signing: Signing,
    holding: Holding,
    /// Held while blocks and messages are claimed.
    claiming: AsyncMutex<()>,
    rates: Rates,
    brakes: watch::Sender<Brakes>,
    handed_over: AtomicU64,
    sites: Mutex<Sites>,
    /// Claims under way by run.
    working: Mutex<HashMap<RunId, usize>>,
    /// Whose turn it is.
    turns: Mutex<block::Turns>,
    /// Runs whose channel has no working provider, and until when they are left alone.
    stalled: Mutex<HashMap<RunId, Time>>,
    runs: Mutex<HashMap<RunId, Arc<Sending>>>,
    versions: Mutex<HashMap<VersionId, Arc<Compiled>>>,
    stops: stops::Stops,
    flying: TaskTracker,
    stop: CancellationToken,
}

/// What a dispatcher is made of.
pub struct Parts {
    pub store: Store,
    pub loaded: Loaded,
    pub clock: Clock,
    pub node: NodeId,
    pub lease: Lease,
    pub outlets: Outlets,
    pub stop: CancellationToken,
}

/// What makes messages, and what takes them; both come from the workspace's file, and change with it.
#[derive(Clone)]
pub struct Outlets {
    pub composer: Arc<dyn Composer>,
    pub lanes: Arc<Lanes>,
}

impl Dispatcher {
    /// Starts the committer; must be called inside a runtime.
    pub fn new(parts: Parts) -> Self {
        let holding = Holding::default();
        let committer = Committer::start(parts.store.clone(), parts.node, parts.clock.clone(), holding.clone());
        Dispatcher {
            inner: Arc::new(Inner {
                rates: Rates::new(parts.store.clone()),
                store: parts.store,
                loaded: parts.loaded,
                clock: parts.clock,
                node: parts.node,
                lease: parts.lease,
                outlets: RwLock::new(parts.outlets),
                committer,
                signing: Signing::default(),
                holding,
                claiming: AsyncMutex::default(),
                brakes: watch::Sender::new(Brakes::default()),
                handed_over: AtomicU64::new(0),
                sites: Mutex::default(),
                working: Mutex::default(),
                turns: Mutex::default(),
                stalled: Mutex::default(),
                runs: Mutex::default(),
                versions: Mutex::default(),
                stops: stops::Stops::default(),
                flying: TaskTracker::new(),
                stop: parts.stop,
            }),
        }
    }

    /// Another workspace file was applied. What flies, lands where it started for.
    pub fn change_outlets(&self, outlets: Outlets) {
        *self.inner.outlets.write().unwrap_or_else(std::sync::PoisonError::into_inner) = outlets;
        self.inner.stalled().clear();
    }

    /// What sends now.
    pub fn outlets(&self) -> Outlets {
        self.inner.outlets()
    }

    /// Settles what dead processes left: their blocks are free again, their unanswered messages uncertain or due again. Gives how many
    /// of both there were.
    pub async fn recover(&self) -> Result<usize, store::Error> {
        recover::recover(&self.inner).await
    }

    /// Asks the database what must not be handed over now; what is marked and waits for its turn stops at once.
    pub async fn look_at_brakes(&self) -> Result<(), store::Error> {
        let found = self.inner.store.brakes().await?;
        self.inner.brakes.send_if_modified(|brakes| {
            let is_new = *brakes != found;
            *brakes = found;
            is_new
        });
        Ok(())
    }

    /// Hands over everything that is due and waits for the answers. On a virtual clock it takes one block after another.
    pub async fn turn(&self) -> Result<Turn, store::Error> {
        let inner = &self.inner;
        let before = inner.handed_over.load(Ordering::SeqCst);
        let (blocks, urgent) = (TaskTracker::new(), TaskTracker::new());
        let at_once = if inner.clock.is_virtual() { 1 } else { BLOCKS_AT_ONCE };
        stops::look(inner).await?;
        self.look_at_brakes().await?;
        while !inner.stop.is_cancelled() {
            let now = inner.clock.now();
            if !inner.clock.is_virtual() {
                stops::look(inner).await?;
            }
            if !inner.lease.holds(now) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let has_room = blocks.len() < at_once;
            let is_urgent = !inner.clock.is_virtual() && urgent.len() < URGENT_AT_ONCE;
            let claims = block::claim(inner, now, has_room, is_urgent).await?;
            if claims.is_empty() {
                if blocks.is_empty() && urgent.is_empty() && inner.flying.is_empty() {
                    break;
                }
                if inner.clock.is_virtual() {
                    blocks.close();
                    blocks.wait().await;
                    blocks.reopen();
                    inner.flying.close();
                    inner.flying.wait().await;
                    inner.flying.reopen();
                    inner.committer.flush().await;
                } else {
                    wait_for_one_or(&blocks, Duration::from_millis(50)).await;
                }
                continue;
            }
            if inner.clock.is_virtual() {
                block::work_in_turn(inner, claims).await;
                continue;
            }
            for claim in claims {
                let place = if claim.urgent { &urgent } else { &blocks };
                place.spawn(block::work(inner.clone(), claim));
            }
        }
        for place in [&blocks, &urgent] {
            place.close();
            place.wait().await;
        }
        inner.flying.close();
        inner.flying.wait().await;
        inner.flying.reopen();
        inner.committer.flush().await;
        let now = inner.clock.now();
        inner.store.finish_cancelling(now).await?;
        inner.store.finish_runs(now).await?;
        let next = inner.store.next_due().await?.map(store::from_micros);
        let stalled_until = inner.stalled().values().copied().min();
        // What is due already and was not taken is stalled, or held by others.
        let next = match next {
            Some(next) if next <= now => Some(stalled_until.unwrap_or(now + chrono::TimeDelta::seconds(1))),
            next => next,
        };
        Ok(Turn { handed_over: inner.handed_over.load(Ordering::SeqCst) - before, next })
    }

    /// Waits until what flies has landed, and everything decided so far is written.
    pub async fn land(&self) {
        self.inner.flying.close();
        self.inner.flying.wait().await;
        self.inner.flying.reopen();
        self.inner.committer.flush().await;
    }
}

impl Inner {
    fn outlets(&self) -> Outlets {
        self.outlets.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
    /// Ends when nothing of this run may leave any more.
    async fn halted(&self, run: RunId) {
        let mut brakes = self.brakes.subscribe();
        tokio::select! {
            _ = brakes.wait_for(|brakes| brakes.hold(run)) => {}
            () = self.stop.cancelled() => {}
        }
    }
    fn may_go(&self, run: RunId) -> bool {
        !self.stop.is_cancelled() && !self.brakes.borrow().hold(run)
    }
    fn sites(&self) -> std::sync::MutexGuard<'_, Sites> {
        self.sites.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn working(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, usize>> {
        self.working.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn turns(&self) -> std::sync::MutexGuard<'_, block::Turns> {
        self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn stalled(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Time>> {
        self.stalled.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Sending>>> {
        self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn versions(&self) -> std::sync::MutexGuard<'_, HashMap<VersionId, Arc<Compiled>>> {
        self.versions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Until a block is done, or the time is over.
async fn wait_for_one_or(blocks: &TaskTracker, most: Duration) {
    let before = blocks.len();
    let deadline = tokio::time::Instant::now() + most;
    while blocks.len() == before && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
