//! The providers as dispatch sees them: which one takes a message, how many fly at once, how fast, and which one cannot send at all.

use super::breaker::{Admission, Breaker};
use super::budget::Budget;
use crate::providers::Provider;
use crate::providers::choice::{Candidate, pick};
use crate::types::{Channel, Time};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// How many messages are composed before a provider has a place for them.
const COMPOSED_AHEAD: usize = 256;

/// A provider that wants to be left alone for longer hands its messages on to another, or they wait in their blocks.
pub(super) const SHORT_PAUSE: Duration = Duration::from_secs(3);

/// One provider.
pub struct Lane {
    pub provider: Arc<dyn Provider>,
    /// Messages a second, over all machines.
    pub rate: Option<f64>,
    pub weight: u32,
    pub backup: bool,
    /// `None`: all countries.
    pub countries: Option<BTreeSet<String>>,
    /// Marked and unanswered: at most twice the provider's width.
    pub in_flight: Arc<Semaphore>,
    /// Of these all but a tenth are for messages that are not transactional: transactional ones take any that is free, and never wait for a whole queue.
    pub usual: Arc<Semaphore>,
    /// Composed and not in flight yet.
    pub composed: Arc<Semaphore>,
    /// The same for transactional messages.
    pub composed_urgent: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    budget: Mutex<Budget>,
    /// Told each time that something has come back to the budget.
    pub paid_back: Notify,
}

impl Lane {
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        let width = provider.width().max(1) * 2;
        let in_flight = Arc::new(Semaphore::new(width));
        // With one connection nothing can be kept back: it would wait for every mark.
        let kept = if width < 4 { 0 } else { (width / 10).max(1) };
        Lane {
            provider,
            rate: None,
            weight: 1,
            backup: false,
            countries: None,
            in_flight,
            usual: Arc::new(Semaphore::new(width - kept)),
            composed: Arc::new(Semaphore::new(COMPOSED_AHEAD)),
            composed_urgent: Arc::new(Semaphore::new(COMPOSED_AHEAD)),
            breaker: Mutex::default(),
            budget: Mutex::new(Budget::new(width)),
            paid_back: Notify::new(),
        }
    }

    /// Messages a second: as written, and as the provider itself said, whichever is slower.
    pub fn pace(&self) -> Option<f64> {
        match (self.rate, self.provider.rate()) {
            (Some(written), Some(said)) => Some(written.min(said)),
            (written, said) => written.or(said),
        }
    }

    pub fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All open providers.
#[derive(Default)]
pub struct Lanes {
    lanes: Vec<Arc<Lane>>,
}

impl Lanes {
    pub fn new(lanes: Vec<Lane>) -> Self {
        Lanes { lanes: lanes.into_iter().map(Arc::new).collect() }
    }

    pub fn providers(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.lanes.iter().map(|lane| &lane.provider)
    }

    /// The same providers without rates, weights and countries of their own.
    pub fn of(providers: impl IntoIterator<Item = Arc<dyn Provider>>) -> Self {
        Lanes::new(providers.into_iter().map(Lane::new).collect())
    }

    /// Who takes a message: among those that work and reach the country, by weight as drawn from the message's number; backups only when no other
    /// is left. Each that is passed over because it does not answer hands its messages on to the next.
    pub fn choose(&self, channel: Channel, country: Option<&str>, message: i64, now: Time) -> Option<(Arc<Lane>, Admission)> {
        let lanes: Vec<&Arc<Lane>> = self.lanes.iter().filter(|lane| lane.provider.channel() == channel).collect();
        let candidates: Vec<Candidate<'_>> = lanes
            .iter()
            .map(|lane| Candidate {
                name: lane.provider.name(),
                countries: lane.countries.as_ref(),
                weight: lane.weight,
                backup: lane.backup,
            })
            .collect();
        let admitted = Cell::new(Admission::Usual);
        let admit = |place: usize| {
            let lane = lanes.get(place).filter(|lane| lane.provider.pause().is_none_or(|pause| pause <= SHORT_PAUSE));
            let admission = lane.and_then(|lane| lane.breaker().admit(now));
            admission.inspect(|admission| admitted.set(*admission)).is_some()
        };
        let place = pick(&candidates, country, &message.to_string(), admit)?;
        lanes.get(place).map(|lane| (Arc::clone(lane), admitted.get()))
    }

    /// When a provider of the channel that does not answer, or wants to be left alone, is asked again; `None` when there is none such.
    pub fn next_probe(&self, channel: Channel, now: Time) -> Option<Time> {
        let again = |lane: &Arc<Lane>| {
            let pause = lane.provider.pause().and_then(|pause| chrono::TimeDelta::from_std(pause).ok());
            lane.breaker().next_probe().max(pause.map(|pause| now + pause))
        };
        self.lanes.iter().filter(|lane| lane.provider.channel() == channel).filter_map(again).min()
    }
}
