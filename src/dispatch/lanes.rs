//! The providers as dispatch sees them: which one takes a message, how many fly at once, how fast, and which one cannot send at all.

use crate::providers::Provider;
use crate::providers::choice::{Candidate, pick};
use crate::types::{Channel, Time};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Semaphore;

/// A provider that could not send at all is asked again after so long.
const BROKEN_FOR: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// How many messages are composed before a provider has a place for them.
const COMPOSED_AHEAD: usize = 256;

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
    /// Composed and not in flight yet.
    pub composed: Arc<Semaphore>,
    broken_until: AtomicI64,
}

impl Lane {
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        let in_flight = Arc::new(Semaphore::new(provider.width().max(1) * 2));
        Lane {
            provider,
            rate: None,
            weight: 1,
            backup: false,
            countries: None,
            in_flight,
            composed: Arc::new(Semaphore::new(COMPOSED_AHEAD)),
            broken_until: AtomicI64::new(i64::MIN),
        }
    }

    /// It said that it cannot send at all; gives until when it is left alone.
    pub fn stop(&self, now: Time) -> Time {
        let until = now + BROKEN_FOR;
        self.broken_until.store(until.timestamp_micros(), Ordering::SeqCst);
        until
    }

    pub fn is_open(&self, now: Time) -> bool {
        self.broken_until.load(Ordering::SeqCst) <= now.timestamp_micros()
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

    /// The same providers without rates, weights and countries of their own.
    pub fn of(providers: impl IntoIterator<Item = Arc<dyn Provider>>) -> Self {
        Lanes::new(providers.into_iter().map(Lane::new).collect())
    }

    /// Who takes a message: among those that work and reach the country, by weight as drawn from the message's number; backups only when no other
    /// is left.
    pub fn choose(&self, channel: Channel, country: Option<&str>, message: i64, now: Time) -> Option<Arc<Lane>> {
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
        pick(&candidates, country, &message.to_string(), |place| lanes.get(place).is_some_and(|lane| lane.is_open(now)))
            .and_then(|place| lanes.get(place).map(|lane| Arc::clone(lane)))
    }
}
