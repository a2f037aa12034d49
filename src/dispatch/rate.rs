//! How fast: a token bucket with at most one second of burst. Tokens are taken after the mark, just before the socket.

use crate::clock::Clock;
use crate::types::Time;
use chrono::TimeDelta;
use std::sync::Mutex;

/// A pace of so many a second.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    /// When the next token is there, if nobody takes one before.
    next: Mutex<Option<Time>>,
}

impl Rate {
    pub fn new(per_second: f64) -> Self {
        Rate { per_second: per_second.max(1e-6), next: Mutex::new(None) }
    }

    /// Reserves one token and says how long to wait for it. Over any second at most rate + burst pass; the burst is one second's worth, at most ten.
    pub fn reserve(&self, now: Time) -> TimeDelta {
        let step = TimeDelta::microseconds((1e6 / self.per_second) as i64);
        let burst = step * (self.per_second.clamp(1.0, 10.0) as i32 - 1);
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = next.unwrap_or(now).max(now - burst);
        *next = Some(at + step);
        (at - now).max(TimeDelta::zero())
    }

    /// Takes a token. On a virtual clock nobody waits.
    pub async fn take(&self, clock: &Clock) {
        if clock.is_virtual() {
            return;
        }
        let wait = self.reserve(clock.now());
        if wait > TimeDelta::zero() {
            tokio::time::sleep(wait.to_std().unwrap_or_default()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_a_second_are_a_hundred_a_second() {
        let rate = Rate::new(100.0);
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let waits: Vec<i64> = (0..1010).map(|_| rate.reserve(start).num_milliseconds()).collect();
        assert_eq!((waits[0], waits[10], waits[1009]), (0, 100, 10_090));
        // After a pause the burst is at most ten.
        let later = start + TimeDelta::minutes(5);
        let at_once = (0..100).filter(|_| rate.reserve(later) == TimeDelta::zero()).count();
        assert_eq!(at_once, 10);
    }
}
