//! A provider's budget for trying again (standards.md §7.3: retries at most a tenth of sends), so that an outage makes no herd.
//!
//! The rule: every first try that is answered for good (taken, or refused) earns a tenth of a retry; a retry costs one, and one that is answered for good
//! gives back two. So what is limited is trying again *in vain*: at most a tenth of what was answered, one more for each retry that helped, what the
//! budget starts with (enough for what a crash left behind), and one each half minute, which finds out whether trying helps again. When it does,
//! the budget doubles with every round, and the queue goes at the provider's pace; when it does not, messages wait with no try counted.
//!
//! Each process keeps its own and tries again by what it sent itself, so that the rule holds over all processes together. Probes of an open
//! [`super::Breaker`] are not retries. Pure: the caller brings the time.

use crate::types::Time;
use chrono::TimeDelta;

/// What a first try that was answered earns.
const TENTH: f64 = 0.1;
/// What a retry that was answered gives back.
const DOUBLE: f64 = 2.0;
/// No more is kept: a long healthy time does not buy a herd.
const MOST: f64 = 1000.0;
/// With nothing left, one retry goes so often.
const TRICKLE: TimeDelta = TimeDelta::seconds(30);

/// One provider's, in one process.
#[derive(Debug)]
pub struct Budget {
    left: f64,
    /// Retries under way.
    out: usize,
    trickled: Option<Time>,
}

impl Budget {
    /// For a provider with so many messages marked and unanswered at most: a crash leaves as many to be tried again.
    pub fn new(in_flight: usize) -> Self {
        Budget { left: (2.0 * in_flight as f64).clamp(50.0, MOST), out: 0, trickled: None }
    }

    /// Whether a message may be tried again now; it is under way then, until [`Budget::answered`], [`Budget::in_vain`] or [`Budget::not_tried`].
    pub fn take(&mut self, now: Time) -> bool {
        if self.left >= 1.0 {
            self.left -= 1.0;
        } else if self.trickled.is_none_or(|last| last + TRICKLE <= now) {
            self.trickled = Some(now);
        } else {
            return false;
        }
        self.out += 1;
        true
    }

    /// Retries are under way that may give something back at once.
    pub fn is_waiting(&self) -> bool {
        self.out > 0
    }

    /// A try was answered for good.
    pub fn answered(&mut self, is_retry: bool) {
        self.earn(if is_retry { DOUBLE } else { TENTH });
        self.out = self.out.saturating_sub(usize::from(is_retry));
    }

    /// A retry was told to come again, or got no answer.
    pub fn in_vain(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// A retry did not take place after all.
    pub fn not_tried(&mut self) {
        self.earn(1.0);
        self.out = self.out.saturating_sub(1);
    }

    fn earn(&mut self, more: f64) {
        self.left = (self.left + more).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many retries may go at this instant.
    fn go(budget: &mut Budget, now: Time, wanted: usize) -> usize {
        (0..wanted).filter(|_| budget.take(now)).count()
    }

    #[test]
    fn in_vain_at_most_a_tenth_of_what_was_answered_is_tried_again_and_one_each_half_minute() {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let mut budget = Budget::new(20);
        (0..1000).for_each(|_| budget.answered(false));
        let first = go(&mut budget, start, 10_000);
        assert_eq!(first, 50 + 100, "what it starts with, a tenth, and the first of the trickle");
        (0..first).for_each(|_| budget.in_vain());
        let trickle: usize = (1..=3600).map(|second| go(&mut budget, start + TimeDelta::seconds(second), 100)).sum();
        assert!((118..=121).contains(&trickle), "{trickle} in an hour");
    }

    #[test]
    fn when_trying_helps_again_each_round_doubles_up_to_a_bound() {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let mut budget = Budget::new(20);
        let empty = go(&mut budget, start, 100);
        (0..empty).for_each(|_| budget.in_vain());
        let mut rounds = Vec::new();
        for round in 1..=12 {
            let went = go(&mut budget, start + TimeDelta::minutes(round), 5000);
            (0..went).for_each(|_| budget.answered(true));
            rounds.push(went);
        }
        assert_eq!(&rounds[..4], [1, 3, 7, 15], "{rounds:?}");
        assert!(rounds.iter().all(|went| *went <= 1001), "{rounds:?}");
        assert!(!budget.is_waiting());
    }

    #[test]
    fn what_was_not_tried_costs_nothing() {
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let mut budget = Budget::new(1);
        for _ in 0..1000 {
            assert!(budget.take(now));
            assert!(budget.is_waiting());
            budget.not_tried();
        }
    }
}
